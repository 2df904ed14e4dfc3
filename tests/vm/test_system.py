# SPDX-License-Identifier: MIT
"""The packages on a whole Debian system, with systemd and udev.

The tests boot a system into which the packages were installed beforehand, as
that is quicker than to do it in the VM.
"""

import re
import shutil

import pytest

from lab import kernels, system
from lab.cluster import guest

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800),
              pytest.mark.not_on("debug", "kcsan",
                                 reason="the system has its own kernels")]
# Everything takes longer here than in the lab's small VMs.
LONG = 900


@pytest.fixture(autouse=True, scope="module")
def needed():
    """Skips, where such a system cannot be had."""
    if not shutil.which("dh_dkms"):
        pytest.skip("dh-dkms is not installed")
    try:
        system.archive()
    except kernels.Unavailable as err:
        pytest.skip(str(err))


@pytest.fixture
def boot(vms, monkeypatch):
    """Boots a system, and waits until all is up."""
    monkeypatch.setattr("lab.vm.BOOT_TIMEOUT", LONG)

    def function(a_system, **options):
        options["qemu"] = [*a_system.qemu, *options.get("qemu", ())]
        cluster = vms(guest(system=a_system, memory="1G", cpus=2, **options))
        vm = cluster[0]
        vm.run("systemctl is-system-running --wait", LONG)
        assert vm.check("systemctl --failed --no-legend --plain") == ""
        return cluster
    return function


def check_booted(vm, release):
    """The module was built for this kernel and has come by itself, the node is
    the group's, and users get what they may."""
    assert vm.check("uname -r").strip() == release
    # Nothing has asked for it but udev.
    where = vm.check("modinfo -n ivshmem").strip()
    assert where.partition(".ko")[0] == (f"/lib/modules/{release}/updates/dkms/"
                                         "ivshmem")
    vm.check("udevadm settle --timeout=300", LONG)
    assert vm.check("stat -c '%U %G %a' /dev/ivshmem0") == "root ivshmem 660\n"
    link = vm.check("echo /dev/ivshmem/by-path/*").strip()
    assert re.search(r"/pci-0000:[\w:.]+$", link)
    assert vm.check(f"readlink -f {link}") == "/dev/ivshmem0\n"

    info = vm.check("runuser -u alice -- ivshmemctl info")
    assert "\nvectors: 4\n" in info
    own = re.search(r"^position: (\d+)$", info, re.M)[1]
    waiter = vm.start_job("runuser -u alice -- ivshmemctl wait --verbose "
                          "--vector 2 --timeout 300")
    waiter.expect("waiting", 300)
    vm.check(f"runuser -u alice -- ivshmemctl ring {own} 2")
    assert waiter.wait(300).check().out.endswith("vector 2 count 1\n")

    refused = vm.run("runuser -u bob -- ivshmemctl info")
    assert refused.rc == 1
    assert refused.out == ("ivshmemctl: /dev/ivshmem0: Permission denied (are "
                           "you in the group ivshmem?)\n")
    # The list needs no right.
    assert "/dev/ivshmem0" in vm.check("runuser -u bob -- ivshmemctl list")


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_booted(builder, boot, which):
    """The packages were there before the second kernel: DKMS has built the
    module for both, and each boots into a machine that is ready."""
    systems = system.installed(builder)
    assert len(systems) == 2
    the_system = systems[which]
    check_booted(boot(the_system)[0], the_system.kernel.release)

# SPDX-License-Identifier: MIT
"""The udev rule, as systemd's udevd takes it: in a VM whose devices it manages.

udevd and its libraries are those of the machine that runs the tests. They reach
the VM as an archive on a virtio disk.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.build import TOP, cpio, install
from lab.cluster import guest
from lab.vm import Doorbell

pytestmark = pytest.mark.not_on("virt", reason="udevd is that of this machine")
RULES = TOP / "packaging/udev/60-ivshmem.rules"
GROUP = 4711
PORTS = [option for i in range(2) for option in
         ("-device", f"pcie-root-port,id=rp{i},slot={i + 1},chassis={i + 1},"
          f"addr={i + 4},pref64-reserve=64M")]
# What stands behind the two ports.
PATHS = [f"pci-0000:{i + 1:02x}:00.0" for i in range(2)]
LINKS = "/dev/ivshmem/by-path"


def udev_root(root: Path):
    """Puts udevd, what it needs, and the rule into a folder."""
    udevadm = shutil.which("udevadm")
    if not udevadm:
        pytest.skip("udev is not installed")
    libraries = subprocess.run(["ldd", udevadm], text=True, check=True,
                               stdout=subprocess.PIPE).stdout
    if "not found" in libraries:
        pytest.skip("udev lacks a library")
    for name in re.findall(r"(/\S+)", libraries):
        (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, root / name[1:])
    for folder in ("usr/bin", "lib/systemd", "lib/udev/rules.d", "etc", "run"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(udevadm, root / "usr/bin/udevadm")
    (root / "lib/systemd/systemd-udevd").symlink_to("/usr/bin/udevadm")
    shutil.copy(RULES, root / "lib/udev/rules.d")
    install(root / "etc/group", f"root:x:0:\nivshmem:x:{GROUP}:\n")
    install(root / "etc/passwd", "root:x:0:0::/:/bin/sh\n")


@pytest.fixture
def vm(vms, tmp_path):
    """A VM with two root ports, a device in the first, and udevd."""
    udev_root(tmp_path / "root")
    disk = tmp_path / "disk"
    disk.write_bytes(cpio(tmp_path / "root"))
    # QEMU wants whole sectors.
    with open(disk, "ab") as file:
        file.truncate(disk.stat().st_size + -disk.stat().st_size % 512)
    # The disk, and with it what comes after the ports.
    qemu = [*PORTS, "-drive", f"file={disk},format=raw,if=virtio,readonly=on"]
    the_vm = vms(guest([Doorbell(id="iv0", bus="rp0")], qemu=qemu,
                       machine="q35", modules=["virtio_pci", "virtio_blk"]))[0]
    the_vm.check("modprobe -a virtio_pci virtio_blk; "
                 "while [ ! -b /dev/vda ]; do sleep 0.05; done; "
                 "cd / && cpio -idu < /dev/vda 2>/dev/null")
    the_vm.check("/lib/systemd/systemd-udevd --daemon")
    the_vm.check("udevadm trigger --action=add --subsystem-match=misc && "
                 "udevadm settle --timeout=50")
    yield the_vm
    the_vm.check("udevadm control --exit")


def node(vm, path) -> str:
    """What the link of a place leads to."""
    return vm.check(f"readlink -f {LINKS}/{path}").strip()


def settled(vm, node_exists: str):
    vm.check(f"while [ ! -e {node_exists} ]; do sleep 0.05; done; "
             "udevadm settle --timeout=50")


def check_rule(vm):
    """One device: its node, its link, and what udev says of the rule."""
    assert vm.check("stat -c '%g %a' /dev/ivshmem0").split() == [str(GROUP),
                                                               "660"]
    assert vm.check(f"ls {LINKS}").split() == [PATHS[0]]
    assert node(vm, PATHS[0]) == "/dev/ivshmem0"
    # No word of complaint about the rule.
    said = vm.check("udevadm test /sys/class/misc/ivshmem0 2>&1")
    lines = [line for line in said.splitlines() if "60-ivshmem.rules" in line]
    assert not [line for line in lines
                if re.search(r"invalid|unknown|ignor|fail|error", line, re.I)]
    assert any("GROUP" in line for line in lines), said
    # The others of the subsystem are left alone.
    assert vm.check("stat -c %g /dev/cpu_dma_latency").strip() == "0"


def check_links(vm):
    """A link goes with its device, and leads to the same device whatever number
    that has."""
    second = Doorbell(id="iv1", bus="rp1", server=vm.devices[0].server)
    vm.plug(second)
    settled(vm, "/dev/ivshmem1")
    assert sorted(vm.check(f"ls {LINKS}").split()) == PATHS
    assert node(vm, PATHS[1]) == "/dev/ivshmem1"
    assert vm.check("stat -c %g /dev/ivshmem1").strip() == str(GROUP)

    # The numbers change places.
    first, other = (path.removeprefix("pci-") for path in PATHS)
    driver = "/sys/bus/pci/drivers/ivshmem"
    vm.check(f"cd {driver} && echo {first} > unbind && echo {other} > unbind && "
             "udevadm settle --timeout=50")
    assert vm.run(f"ls {LINKS}/*").rc
    vm.check(f"cd {driver} && echo {other} > bind && echo {first} > bind")
    settled(vm, "/dev/ivshmem1")
    assert node(vm, PATHS[0]) == "/dev/ivshmem1"
    assert node(vm, PATHS[1]) == "/dev/ivshmem0"

    vm.unplug(second)
    vm.check("while [ -e /dev/ivshmem0 ]; do sleep 0.05; done; "
             "udevadm settle --timeout=50")
    assert vm.check(f"ls {LINKS}").split() == [PATHS[0]]


def test_udev(vm):
    """The node is the group's, and a link leads to it that stays the same."""
    check_rule(vm)
    check_links(vm)

# SPDX-License-Identifier: MIT
"""The packages on a whole Debian system, with systemd and udev.

Most tests boot a system into which the packages were installed beforehand, as
that is quicker; one installs them in the VM as README tells.
"""

import re
import shutil
from pathlib import Path

import pytest

from lab import kernels, system
from lab.build import TOP, cpio
from lab.cluster import guest
from lab.service import check_service

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800),
              pytest.mark.not_on("debug", "kcsan",
                                 reason="the system has its own kernels")]
# Everything takes longer here than in the lab's small VMs.
LONG = 900
README = (TOP / "README.md").read_text()
# A server that somebody has set up.
CONFIG, SOCKET = "/etc/ivshmem/main.conf", "ivshmem-server@main.socket"


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
    # Signed by the key that DKMS has made here: by its number.
    key = vm.check("openssl x509 -in /var/lib/dkms/mok.pub -inform DER -noout "
                   "-serial").strip().removeprefix("serial=")
    assert key and vm.check("modinfo -F sig_key ivshmem").strip() == ":".join(
        re.findall("..", key))
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

    refused = vm.run("runuser -u bob -- ivshmemctl read 0 1")
    assert refused.rc == 1
    assert refused.out == ("ivshmemctl: /dev/ivshmem0: Permission denied (are "
                           "you in the group ivshmem?)\n")
    # What sysfs tells needs no right.
    assert "/dev/ivshmem0" in vm.check("runuser -u bob -- ivshmemctl list")


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_booted(builder, boot, which):
    """The packages were there before the second kernel: DKMS has built the
    module for both, and each boots into a machine that is ready. In one of them
    the server is a service."""
    systems = system.installed(builder)
    assert len(systems) == 2
    the_system = systems[which]
    vm = boot(the_system)[0]
    check_booted(vm, the_system.kernel.release)
    if not which:
        check_service(builder, vm)


def commands(word: str) -> list:
    """The lines of README's block of commands that has this word."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)
    found = [block for block in blocks if word in block]
    assert len(found) == 1, word
    return found[0].replace("\\\n", " ").splitlines()


def test_readme(builder, boot, tmp_path):
    """README's example, word for word, in a system without the packages and in
    a second VM."""
    disk = tmp_path / "disk"
    disk.write_bytes(cpio(system.packages(builder)[0].parent))
    with open(disk, "ab") as file:
        file.truncate(disk.stat().st_size + -disk.stat().st_size % 512)
    cluster = boot(system.clean(builder), qemu=[
        "-drive", f"file={disk},format=raw,if=virtio,readonly=on"])
    a = cluster[0]
    assert a.run("modinfo ivshmem").rc and a.run("ls /dev/ivshmem0").rc
    b = cluster.add(guest())[0]

    a.check("mkdir /root/packages && cd /root/packages && "
            "cpio -id --quiet < /dev/vdb")
    first = commands("apt install ./ivshmem-")
    for line in first[:-1]:
        apt_install(a, line)
    assert "position: 0\n" in a.check(first[-1])
    [wait] = commands("ivshmemctl wait")
    waiter = a.start_job(wait.replace("wait", "wait --verbose"))
    waiter.expect("waiting", 300)
    for line in commands("ivshmemctl ring"):
        b.check(line)
    assert waiter.wait(300).check().out.endswith("vector 1 count 1\n")
    [read] = commands("ivshmemctl read")
    assert a.check(read) == "hello\n"
    check_program(a)
    check_purge(builder, a)


def apt_install(vm, line):
    """Runs it where nobody can answer."""
    vm.check("cd /root/packages && DEBIAN_FRONTEND=noninteractive "
             + line.replace("apt install", "apt install -y"), LONG)


def check_program(vm):
    """README's program, built there: one waits, and another one, here on the same
    machine, writes and rings."""
    apt_install(vm, re.search("`(apt install ./lib.*?)`", README)[1])
    vm.put("\n".join(commands("ivshmem_open")).encode(), "/root/hello.c")
    for line in commands("hello.c"):
        vm.check(line, LONG)
    waiter = vm.start_job("exec ./hello")
    # In its ioctl().
    vm.check("until grep -q '^16 ' /proc/$(pidof hello)/syscall; do sleep 0.1; "
             "done", LONG)
    vm.check(re.search("`(./hello 0 .*?)`", README)[1])
    assert tuple(waiter.wait(300)) == (0, "hi\n")


def names(builder) -> str:
    """The packages."""
    return " ".join(deb.name.split("_")[0] for deb in system.packages(builder))


def check_purge(builder, vm):
    """It takes away what runs, too."""
    vm.check(f"apt-get purge -y {names(builder)}", LONG)
    assert vm.run("ls -d /dev/ivshmem* /sys/module/ivshmem 2>/dev/null").out == ""
    assert vm.run("getent group ivshmem").rc == 2


@pytest.fixture
def tree(builder, tmp_path):
    the_tree = system.Tree(tmp_path / "tree")
    yield the_tree
    the_tree.remove()


def newer(builder, tmp_path):
    """The packages of a version to come."""
    top = tmp_path / "sources"
    shutil.copytree(TOP, top, ignore=lambda folder, names: (
        {".git", "build", "tests"} if Path(folder) == TOP else ()))
    config = (top / "dkms.conf").read_text()
    config, count = re.subn(r'(PACKAGE_VERSION=)"[\d.]+"', r'\1"99.0.0"',
                            config)
    assert count == 1
    (top / "dkms.conf").write_text(config)
    return system.packages(builder, top, "packages-newer")


def test_upgrade_and_purge(builder, tree, tmp_path):
    """Upgrade, downgrade and purge: of each version its module alone is there,
    and in the end nothing."""
    tree.put(system.packages(builder), "/root/old")
    tree.put(newer(builder, tmp_path), "/root/new")
    before = tree.files()
    install = "apt-get install -y --allow-downgrades /root/{}/*.deb"
    old = system.packages(builder)[0].name.split("_")[1]
    for version, folder in ((old, "old"), ("99.0.0", "new"), (old, "old")):
        tree.run(install.format(folder))
        status = tree.run("dkms status").splitlines()
        assert len(status) == 1
        assert status[0].startswith(f"ivshmem/{version}, ")
        assert status[0].endswith(": installed")
        assert tree.run("ivshmemctl --version") == f"ivshmemctl {version}\n"
    # What has been set up stays until then.
    tree.run(f"echo size 1M > {CONFIG}; systemctl enable {SOCKET}")
    tree.run(f"apt-get remove -y {names(builder)}")
    assert tree.run(f"cat {CONFIG}") == "size 1M\n"
    tree.run(f"dpkg --purge {names(builder)}")
    after = tree.files()
    # What other packages keep for themselves.
    theirs = re.compile(r"/var/lib/(dpkg|apt|systemd|dkms/mok)|/var/lib/dkms |"
                        r"/etc/(group|gshadow|ld\.so\.cache)-? |"
                        r"(/usr)?/lib/modules/[^/]+/modules\.[\w.]+ ")
    left = {line for line in before ^ after if not theirs.match(line)}
    assert not sorted(left)

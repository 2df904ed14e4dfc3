# SPDX-License-Identifier: MIT
"""libvirt makes machines of the lines that README.md and server.rst give.

virt-qemu-run is libvirt's driver of QEMU without its daemon, with all its files
in one folder.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lab.build import TOP
from lab.server import Server
from lab.vm import BOOT_TIMEOUT
from serverlab import Client

# It is libvirt that is tested here, not the guest's kernel.
pytestmark = pytest.mark.only_on("6.12")

DOMAIN = """<domain type='qemu'>
  <name>ivshmem</name>
  <memory unit='M'>512</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 loglevel=7 panic=-1 mitigations=off</cmdline>
  </os>
  <cpu mode='maximum'/>
  <devices>
    <serial type='file'><source path='{console}'/></serial>
    {shmem}
  </devices>
</domain>
"""
# QEMU is nobody's business but ours, and there is no systemd to ask.
CONFIG = """cgroup_controllers = [ ]
stdio_handler = "file"
"""


def example(kind, **replace):
    """What the documents have for one kind of device, with other values of these
    attributes. They differ in nothing else."""
    text = "".join((TOP / name).read_text() for name in
                   ("README.md", "Documentation/server.rst"))
    found = set()
    for shmem in re.findall(r"<shmem .*?</shmem>", text, re.S):
        if f"<model type='ivshmem-{kind}'/>" not in shmem:
            continue
        for name, value in replace.items():
            shmem, count = re.subn(rf"(?<={name}=')[^']*(?=')", value, shmem)
            assert count == 1
        found.add(re.sub(r"\n *", "\n", shmem))
    [shmem] = found
    return shmem


class Domain:
    """A machine that libvirt runs."""

    def __init__(self, folder: Path, kernel, initrd, shmem):
        if not shutil.which("virt-qemu-run"):
            pytest.skip("libvirt-daemon-driver-qemu is not installed")
        self.pid_file = folder / "root/run/qemu/ivshmem.pid"
        self.console, self.log = folder / "console.log", folder / "libvirt.log"
        (folder / "root/etc").mkdir(parents=True)
        (folder / "root/etc/qemu.conf").write_text(CONFIG)
        (folder / "domain.xml").write_text(DOMAIN.format(
            kernel=kernel.vmlinux, initrd=initrd, console=self.console,
            shmem=shmem))
        # For root, libvirt would want a user of its own to run QEMU as.
        user = [] if os.geteuid() else ["unshare", "--map-user=65534",
                                        "--map-group=65534"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*user, "virt-qemu-run", "-r", folder / "root",
                 folder / "domain.xml"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env={**os.environ, "HOME": str(folder),
                                 "XDG_RUNTIME_DIR": str(folder)})

    def expect(self, pattern):
        """Waits until the guest's kernel has said something."""
        end = time.monotonic() + BOOT_TIMEOUT
        while True:
            said = ""
            with contextlib.suppress(FileNotFoundError):
                said = self.console.read_text(errors="replace")
            if match := re.search(pattern, said):
                return match
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, (
                f"no {pattern!r}: {said[-2000:]}\n{self.log.read_text()}")
            time.sleep(0.1)

    def stop(self):
        """Ends it; QEMU goes with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            # Where libvirt did not end it, it would stay.
            with contextlib.suppress(OSError):
                os.kill(int(self.pid_file.read_text()), signal.SIGKILL)


@pytest.fixture
def folder():
    """A folder whose path leaves room for those of libvirt's sockets."""
    with tempfile.TemporaryDirectory(prefix="ivshmem-") as name:
        yield Path(name)


@pytest.fixture
def domain(builder, kernel, folder):
    """Starts a machine with a device as the documents describe it."""
    started = []

    def start(shmem):
        started.append(Domain(folder, kernel, builder.initramfs(kernel),
                              shmem))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_doorbell(domain, builder, folder):
    """The machine joins the server, and another peer learns of its vectors."""
    server = Server(builder.tools() / "ivshmem-server", folder, vectors=4)
    try:
        vm = domain(example("doorbell", path=str(server.socket), name="main"))
        vm.expect(r"ivshmem0: 4194304 bytes, 4 vectors, position 0\r?\n")
        other = Client(server.socket)
        try:
            other.handshake(4)
            assert set(other.peers) == {0, other.id}
        finally:
            other.close()
        vm.stop()
        server.stop()
    finally:
        server.destroy()


def test_plain(domain):
    """libvirt makes the memory itself, under the name that it was given."""
    name = f"ivshmem-test-{os.getpid()}"
    memory = Path("/dev/shm", name)
    try:
        vm = domain(example("plain", name=name))
        vm.expect(r"ivshmem0: 4194304 bytes, 0 vectors, position 0\r?\n")
        assert memory.stat().st_size == 4 << 20
        vm.stop()
    finally:
        memory.unlink(missing_ok=True)

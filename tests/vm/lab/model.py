# SPDX-License-Identifier: MIT
"""A running ivshmem-device: the device of some VMs as a process.

A cluster starts one for servers={"device": {"guests": 2, ...}}; the VMs that
have a ModelDevice of it run in a QEMU that can do so, see qemu11.
"""

import contextlib
import dataclasses
import os
import socket
import subprocess
import time
from pathlib import Path

from .build import TOP, make
from .vm import device_option


class ModelError(AssertionError):
    """The model did not start, or complained."""


def build(builder) -> Path:
    """The program, with sanitizers: it speaks to a QEMU that may be wrong."""
    def run():
        make("-C", TOP / "tests/device", f"O={builder.out}", "sanitized")
        return builder.out / "sanitized/bin/ivshmem-device"
    return builder.once("ivshmem-device", run)


@dataclasses.dataclass
class ModelDevice:
    """The device of one guest of a model: a Model, or its name."""
    guest: int = 0
    server: object = "device"
    id: str = "iv0"
    bus: str = ""
    options: str = ""

    def backend(self, _vm):
        return []

    def device(self):
        return device_option("vfio-user-pci", self,
                             socket={"type": "unix", "path":
                                     self.server.sockets[self.guest]})

    def plug(self, vm):
        """Nothing of it is in QEMU but the device."""

    def unplug(self, vm):
        """Nothing of it is in QEMU but the device."""


class Model:
    """An ivshmem-device with some guests: options are those of its command
    line, irq="intx" for --irq intx, trap=True for --trap."""

    def __init__(self, builder, folder: Path, guests=1, name="device",
                 **options):
        self.name = name
        self.log_file = folder / f"{name}.log"
        self.sockets = [str(folder / f"{name}{i}.sock") for i in range(guests)]
        control = folder / f"{name}.control"
        argv = [build(builder), "--control", control]
        for key, value in options.items():
            argv += [f"--{key}"] if value is True else [f"--{key}", value]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL",
                 *[str(a) for a in [*argv, *self.sockets]]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        self.control = socket.socket(socket.AF_UNIX)
        self.connect(control)

    def connect(self, path):
        """Connects once it listens on all its sockets."""
        deadline = time.monotonic() + 30
        while not os.path.exists(self.sockets[-1]):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.destroy()
                raise ModelError(f"ivshmem-device did not start:\n{self.log()}")
            time.sleep(0.005)
        self.control.settimeout(30)
        self.control.connect(str(path))

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def command(self, *words) -> list:
        """Runs a command of the control socket; see tests/device/control.c."""
        line = " ".join(str(w) for w in words)
        self.control.sendall(line.encode() + b"\n")
        answer = self.control.recv(4096).decode().split()
        if not answer or answer[0] != "ok":
            raise ModelError(f"{line}: {answer}\n{self.log()}")
        return answer[1:]

    def stats(self, guest=0) -> dict:
        """What has happened to the device of a guest."""
        pairs = [pair.split("=") for pair in self.command("stats", guest)]
        return {name: int(value) for name, value in pairs}

    def check(self):
        """Fails when it has ended or complained."""
        if self.process.poll() is not None or self.log():
            raise ModelError(f"{self.name}: {self.process.returncode}\n"
                             + self.log())

    def stop(self):
        """Ends it; it must have been well until then."""
        try:
            self.check()
        finally:
            self.destroy()

    def destroy(self):
        with contextlib.suppress(OSError):
            self.control.close()
        self.process.kill()
        self.process.wait()

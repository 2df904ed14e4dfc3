# SPDX-License-Identifier: MIT
"""Kinds of processors: what Debian, compilers and QEMU call them, and what they
need of the lab. Those without QEMU are compiled for and not booted."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Arch:
    """A kind of processor."""
    debian: str                 # of packages
    flavour: str                # of Debian's kernels
    # How its compiler's programs begin, if that is not the machine's own.
    gnu: str = ""
    # QEMU: the program; its package, if the machine's own is not for it; and whether
    # it has to be newer than the machine's.
    qemu: str = ""
    package: str = ""
    newer: bool = False
    cpu: str = ""
    # What stands for the machines that tests ask for.
    machines: dict = dataclasses.field(default_factory=dict)
    # The kernel's console and the agent's line: names, and the latter's options.
    console: str = ""
    line: str = ""
    serial: tuple = ()
    # For the kernel's command line.
    append: str = ""


AMD64 = Arch("amd64", "amd64", qemu="qemu-system-x86_64", cpu="max",
             console="ttyS0", line="ttyS1", serial=("-serial", "chardev:agent"),
             append="tsc=reliable no_timer_check")
I386 = Arch("i386", "686-pae")
# Without firmware the kernel would put registers of several devices into one page.
ALIGNED = "pci=resource_alignment=12@pci:1af4:1110"
# Messages beyond 64 take version 3 of the interrupt controller.
ARM64 = Arch("arm64", "arm64", gnu="aarch64-linux-gnu-",
             qemu="qemu-system-aarch64", package="qemu-system-arm",
             cpu="cortex-a57",
             machines=dict.fromkeys(("q35", "pc"), "virt,gic-version=3"),
             console="ttyAMA0", line="ttyS0",
             serial=("-device", "pci-serial,chardev=agent"),
             append=ALIGNED)
# The controller of messages that QEMU 7.2 emulates loses the line of a serial port.
RISCV64 = Arch("riscv64", "riscv64", gnu="riscv64-linux-gnu-",
               qemu="qemu-system-riscv64", package="qemu-system-riscv", newer=True,
               cpu="rv64,svpbmt=on",
               machines=dict.fromkeys(("q35", "pc"), "virt,aia=aplic-imsic"),
               console="ttyS1", line="ttyS0",
               serial=("-device", "pci-serial,chardev=agent"), append=ALIGNED)
S390X = Arch("s390x", "s390x", gnu="s390x-linux-gnu-")

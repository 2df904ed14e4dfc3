# SPDX-License-Identifier: MIT
"""What is compiled for and not booted, or not by default."""

import re
import struct

import pytest

from lab import kernels

# By kernel: bits and byte order in an ELF file, and the number of its processor.
FILES = {
    "6.1-i386": (1, "<", 3),
    "6.1-arm64": (2, "<", 183),
    "newest-arm64": (2, "<", 183),
    "6.12-riscv64": (2, "<", 243),
    "6.1-s390x": (2, ">", 22),
}


def build(builder, name) -> bytes:
    """The module for some headers; fails when the driver causes a warning."""
    try:
        kernel = kernels.get(name)
        log = builder.module_log(kernel, "W=1")
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    wrong = [line for line in log.splitlines()
             if re.search(r"\bdriver/.*\b(warning|error)\b", line)]
    assert not wrong
    return builder.module(kernel, "W=1").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_processor(builder, name):
    """Other processors than x86-64: of 32 bits, and with the other byte order."""
    bits, order, machine = FILES[name]
    module = build(builder, name)
    assert module.startswith(b"\x7fELF" + bytes([bits, 1 if order == "<" else 2]))
    assert struct.unpack_from(order + "H", module, 18) == (machine,)


def test_oldest(builder):
    """The oldest kernel that the driver is for; check-matrix boots it, too."""
    module = build(builder, "5.10")
    assert b"\0vermagic=5.10." in module

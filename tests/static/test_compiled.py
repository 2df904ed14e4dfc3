# SPDX-License-Identifier: MIT
"""What is compiled for and not booted."""

import re

import pytest

from lab import kernels, sources


def build(builder, get, *args) -> bytes:
    """The module for some headers; fails when the driver causes a warning."""
    try:
        kernel = get(*args)
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    log = builder.module_log(kernel, "W=1")
    wrong = [line for line in log.splitlines()
             if re.search(r"\bdriver/.*\b(warning|error)\b", line)]
    assert not wrong
    return builder.module(kernel, "W=1").read_bytes()


def test_i386(builder):
    """32-bit x86."""
    module = build(builder, sources.i386_headers)
    # An ELF file of 32 bits.
    assert module.startswith(b"\x7fELF\x01")


def test_oldest(builder):
    """The oldest kernel that the driver is for; check-matrix boots it, too."""
    module = build(builder, kernels.get, "5.10")
    assert b"\0vermagic=5.10." in module

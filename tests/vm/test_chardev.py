# SPDX-License-Identifier: MIT
"""Every call of /dev/ivshmemN, by guest programs on shared VMs."""

import pytest

from lab.cluster import guest
from lab.tap import run_guest_program

SIZE = 4 << 20
MACHINES = [("q35", 1), ("pc", 2)]


@pytest.fixture(params=MACHINES, ids=lambda p: f"{p[0]}-{p[1]}cpu")
def machine(request, vms):
    name, cpus = request.param
    return vms(guest(machine=name, cpus=cpus), share=True)[0]


def test_info(machine):
    """open, GET_INFO, lseek, and what there is not."""
    run_guest_program(machine, "getinfo", "/dev/ivshmem0", SIZE, 4, 0)


@pytest.mark.ci_debug
@pytest.mark.parametrize("program", ["ring", "waits", "read", "poll", "mmap",
                                     "signals"])
def test_program(machine, program):
    run_guest_program(machine, program, timeout=150)

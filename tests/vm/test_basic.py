# SPDX-License-Identifier: MIT
"""The shortest way through the driver, on both machines."""

import pytest

from lab.cluster import guest
from lab.tap import run_guest_program


@pytest.mark.ci_debug
@pytest.mark.parametrize("machine, cpus", [("q35", 1), ("pc", 2)])
def test_basic(vms, machine, cpus):
    """Loaded by modalias; memory, doorbell and each way to hear it work."""
    vm = vms(guest(machine=machine, cpus=cpus), share=True)[0]
    run_guest_program(vm, "basic")

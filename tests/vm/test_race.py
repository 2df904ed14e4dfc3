# SPDX-License-Identifier: MIT
"""Interrupts against everything that waits for them."""

import pytest

from lab import guestmod
from lab.cluster import guest
from lab.tap import run_guest_program

# Rings for waits that are about to sleep; and rings without a pause.
PHASE_RINGS = 10000
FREE_RINGS = 100000

# Where a wait is made so late that its interrupt always comes just then: on the
# way into a queue, between that and the look at the count, and before the sleep.
WINDOWS = ["prepare_to_wait", "schedule_hrtimeout", "prepare_to_wait_event",
           "__pollwait", "add_wait_queue", "ivshmem_subscribe_listen",
           "ivshmem_subscribe_pending", "ivshmem_subscribe_count"]
WINDOW_US = 3000
WINDOW_RINGS = 90


@pytest.fixture(params=[("q35", 1), ("pc", 2)],
                ids=lambda p: f"{p[0]}-{p[1]}cpu")
def machine(request, vms):
    name, cpus = request.param
    return vms(guest(machine=name, cpus=cpus), share=True)[0]


def test_readers(machine):
    """Sixteen readers, each of which sees every interrupt."""
    run_guest_program(machine, "readers", timeout=150)


def test_phase(machine):
    """A ring that comes about when a program goes to sleep."""
    run_guest_program(machine, "race", "/dev/ivshmem0", "phase", PHASE_RINGS,
                      timeout=270)


def test_window(machine, lab):
    """A ring that comes in the middle of a wait, at each place where it could
    be lost."""
    for symbol in WINDOWS:
        guestmod.load(lab, machine, "refuse", symbol=symbol, late=WINDOW_US,
                      comm="race")
        run_guest_program(machine, "race", "/dev/ivshmem0", "window",
                          WINDOW_RINGS, timeout=90)
        times = int(machine.check("cat /sys/module/refuse/parameters/times"))
        machine.check("rmmod refuse")
        assert times, symbol


@pytest.mark.ci_kcsan
def test_free(machine):
    """A thread that rings without a pause while others wait."""
    run_guest_program(machine, "race", "/dev/ivshmem0", "free", FREE_RINGS,
                      timeout=270)

# SPDX-License-Identifier: MIT
"""A machine moves to another QEMU while it runs."""

import pytest

from lab.cluster import guest
from lab.tap import judge, run_guest_program
from lab.vm import Plain

NODE = "/dev/ivshmem0"
MB = 1 << 20


@pytest.mark.not_on("riscv64", reason="its QEMU ends by an assertion of its own")
def test_plain(vms):
    """A plain device that is said to be the memory's owner goes along with what
    is in it, and with the programs that have mapped it."""
    device = Plain("4M", options="master=on")
    cluster = vms(guest([device]))
    old = cluster[0]
    job = old.start_job(f"/tests/hold {NODE} until")
    job.expect("^# held$")
    old.check("echo what stays | ivshmemctl write 4000000")

    path = old.folder / "migration"
    new, = cluster.start(guest([device], qemu=("-incoming", f"unix:{path}")))
    new.take_over(old, f"unix:{path}")
    assert new.check("ivshmemctl read 4000000 10") == "what stays"
    new.check(r"printf '\002' | ivshmemctl write 0")
    judge("hold until", *job.wait())
    run_guest_program(new, "plain", NODE, 4 * MB, "plain")

# SPDX-License-Identifier: MIT
"""Peers that never stop ringing."""

import time

from lab.cluster import guest
from lab.tap import run_guest_program

NODE = "/dev/ivshmem0"
SYSFS = "/sys/class/misc/ivshmem0"
STORM = 5000


def counted(vm):
    return sum(int(n) for n in vm.check(f"cat {SYSFS}/counts/*", 30).split())


def test_storm(vms):
    """Three machines ring a fourth at once, of which the reader has stopped: it
    goes on doing what it is told, and no processor is stuck."""
    cluster = vms(*[guest() for _ in range(4)], share=True)
    victim, others = cluster[0], cluster.vms[1:]
    reader = victim.start_job(f"/tests/hold {NODE} read")
    reader.expect("^# held$")
    position = victim.check(f"cat {SYSFS}/position").strip()
    before = counted(victim)
    floods = [vm.start_job(f"/tests/flood {NODE} {position} {vector}")
              for vector, vm in enumerate(others)]
    for flood in floods:
        flood.expect("^# ready$")
    rounds, deadline = 0, time.monotonic() + 120
    while counted(victim) < before + STORM or rounds < 10:
        assert victim.check("echo $((6 * 7))", 30) == "42\n"
        victim.check("ivshmemctl info", 30)
        rounds += 1
        assert time.monotonic() < deadline, "they do not ring"
    assert all(flood.running for flood in floods)
    for flood in floods:
        flood.kill()
        flood.wait()
    reader.kill()
    reader.wait()
    for vm in cluster:
        run_guest_program(vm, "basic", NODE)

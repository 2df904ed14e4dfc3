# SPDX-License-Identifier: MIT
"""Peers that never stop ringing."""

import statistics
import time

from lab.cluster import guest
from lab.tap import run_guest_program

NODE = "/dev/ivshmem0"
SYSFS = "/sys/class/misc/ivshmem0"
STORM = 5000
ROUNDS = 20
# So long is calm listened to, in seconds: at first the host favours who is told.
CALM = 5
# Of a command in the storm, as many times what it takes in calm.
SLOWER = 5


def counted(vm):
    return sum(int(n) for n in vm.check(f"cat {SYSFS}/counts/*", 30).split())


def flood(vms, position=None):
    """Has each ring a vector of a peer, or of itself, without end."""
    jobs = []
    for vector, vm in enumerate(vms):
        peer = position or vm.check(f"cat {SYSFS}/position").strip()
        jobs.append(vm.start_job(f"/tests/flood {NODE} {peer} {vector}"))
        jobs[-1].expect("^# ready$")
    return jobs


def end(jobs):
    assert all(job.running for job in jobs)
    for job in jobs:
        job.kill()
        job.wait()


def answer(vm) -> float:
    """How long a machine takes to do what it is told."""
    start = time.monotonic()
    assert vm.check("echo $((6 * 7))", 30) == "42\n"
    return time.monotonic() - start


def test_storm(vms):
    """Three machines ring a fourth at once, of which the reader has stopped: it
    goes on doing what it is told, and no processor is stuck."""
    cluster = vms(*[guest() for _ in range(4)], share=True)
    victim, others = cluster[0], cluster.vms[1:]
    reader = victim.start_job(f"/tests/hold {NODE} read")
    reader.expect("^# held$")
    position = victim.check(f"cat {SYSFS}/position").strip()
    # They take as much of the host as in the storm, of which that alone is left.
    jobs = flood(others)
    calm, deadline = [], time.monotonic() + CALM
    while time.monotonic() < deadline or len(calm) < ROUNDS:
        calm.append(answer(victim))
        victim.check("ivshmemctl info", 30)
    end(jobs)
    before = counted(victim)
    jobs = flood(others, position)
    storm, deadline = [], time.monotonic() + 120
    while counted(victim) < before + STORM or len(storm) < ROUNDS:
        storm.append(answer(victim))
        victim.check("ivshmemctl info", 30)
        assert time.monotonic() < deadline, "they do not ring"
    end([reader, *jobs])
    calm, storm = statistics.median(calm), statistics.median(storm)
    print(f"measured: {calm:.3f} s in calm, {storm:.3f} s in the storm "
          f"of {counted(victim) - before} interrupts")
    assert storm < SLOWER * calm
    for vm in cluster:
        run_guest_program(vm, "basic", NODE)

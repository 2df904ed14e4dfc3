# SPDX-License-Identifier: MIT
"""Random calls, for as long as one likes: IVSHMEM_FUZZ_CALLS says how many,
IVSHMEM_FUZZ_SEED repeats a run. `make fuzz` makes ten million."""

import os
import re
import secrets

import pytest

from lab.cluster import guest
from lab.tap import run_guest_program

CALLS = int(os.environ.get("IVSHMEM_FUZZ_CALLS", "20000"))
SEED = os.environ.get("IVSHMEM_FUZZ_SEED") or hex(secrets.randbits(32))


@pytest.mark.ci_debug
@pytest.mark.ci_kcsan
def test_fuzz(vms, kernel):
    """No warning, nobody hangs, and the device works afterwards. On the kernel
    that has KCOV, it guides what is called."""
    print("seed", SEED)
    # A debug kernel on a busy machine manages some hundred calls a second.
    timeout = 120 + CALLS // 50
    vm = vms(guest(machine="pc", cpus=2), share=CALLS <= 100000)[0]
    options = [f"--calls={CALLS}", f"--seed={SEED}"]
    if kernel.name == "debug":
        vm.mount_debugfs()
        options.append("--guided")
    tap = run_guest_program(vm, "fuzz", "/dev/ivshmem0", *options,
                            timeout=timeout)
    # How many of each.
    print(tap.text)
    for total in re.findall(r"^# (all .*|.* steps .*)$", tap.text, re.M):
        print("measured:", total)

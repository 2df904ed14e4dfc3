# SPDX-License-Identifier: MIT
"""Calls of a program for which the kernel has no memory."""

from . import guestmod
from .tap import run_guest_program
from .vm import VMError

# What the driver takes memory with, by the names of several kernels.
ALLOCATORS = {
    "open": ("__kvmalloc_node_noprof", "kvmalloc_node_noprof", "kvmalloc_node"),
    "bind": ("__kmalloc_cache_noprof", "kmalloc_trace",
             "kmem_cache_alloc_trace"),
}
ALLOCATORS["subscribe"] = ALLOCATORS["open"]


def check(lab, vm, node, call, folder="/tests"):
    """Such a call fails and changes nothing."""
    for symbol in ALLOCATORS[call]:
        try:
            guestmod.load(lab, vm, "refuse", symbol=symbol, comm="starved")
            break
        except VMError:
            # No function of this name.
            continue
    run_guest_program(vm, "nomem", node, call, folder=folder)
    assert vm.check("cat /sys/module/refuse/parameters/times") == "1\n"
    vm.check("rmmod refuse")

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Two VMs share memory and ring each other's doorbell, for a person to watch.

Exit status 0 means that all of it really happened.
"""

import os
import secrets
import shlex
import signal
import sys
import time

from lab import build, kernels
from lab.cluster import Cluster, Lab, guest
from lab.vm import serve

START = time.monotonic()


class DemoError(Exception):
    """Something that was to be shown did not happen."""


def say(text: str, end="\n"):
    print(f"{time.monotonic() - START:5.1f} s  {text}", end=end, flush=True)


def boot(lab: Lab, kernel) -> Cluster:
    """Boots two VMs, with a dot a second for whoever waits."""
    cluster = Cluster(lab, kernel, [])
    server = cluster.server(size="4M", vectors=4)
    say(f"ivshmem-server runs: {server.size} of shared memory, "
        f"{server.vectors} vectors a peer")
    say("booting guests A and B ", end="")
    vms = cluster.start(*[guest(name=name, tests=False) for name in "AB"])
    while not serve(lambda: all(vm.ready for vm in vms), 1):
        print(".", end="", flush=True)
    for vm in vms:
        vm.wait_ready()
    print(" up", flush=True)
    return cluster


def position(vm) -> int:
    """Own peer id of a VM, whose module must have come by modalias."""
    alias = vm.check("cat /sys/bus/pci/drivers/ivshmem/*/modalias").strip()
    where = int(vm.check("cat /sys/class/misc/ivshmem0/position"))
    say(f"{vm.name}: ivshmem.ko loaded for {alias.split('sv')[0]}…, "
        f"/dev/ivshmem0 is peer {where}")
    return where


def message(sender, receiver, peer: int, vector: int):
    """One VM leaves a message in the memory and rings; the other reads it."""
    text = f"hello {receiver.name}, this is {sender.name}: {secrets.token_hex(8)}"
    waiter = receiver.start_job(
        f"ivshmemctl wait --verbose --vector {vector} --timeout 30")
    waiter.expect("waiting")
    sender.check(f"printf %s {shlex.quote(text)} | ivshmemctl write 0")
    say(f"{sender.name}: writes {text!r}")
    sender.check(f"ivshmemctl ring {peer} {vector}")
    say(f"{sender.name}: rings peer {peer}, vector {vector}")
    woken = waiter.wait(40).check().out.splitlines()[-1]
    if woken != f"vector {vector} count 1":
        raise DemoError(f"{receiver.name} woke with {woken!r}")
    say(f"{receiver.name}: wakes with {woken}")
    got = receiver.check(f"ivshmemctl read 0 {len(text)}")
    if got != text:
        raise DemoError(f"{receiver.name} read {got!r}")
    say(f"{receiver.name}: reads  {got!r}")


def ping_pong(first, second, first_peer: int, second_peer: int):
    """A hundred times there and back."""
    answerer = second.start_job(f"/samples/ping-pong pong {first_peer} 100")
    answerer.expect("ready")
    result = first.check(f"/samples/ping-pong ping {second_peer} 100").strip()
    answerer.wait(30).check()
    if not result.startswith("100 round trips: median "):
        raise DemoError(f"ping-pong said {result!r}")
    say(f"{first.name}: {result}")


def show(lab: Lab, name: str):
    say(f"getting Debian's kernel {name}")
    kernel = kernels.get(name)
    say(f"building module and tools for {kernel.release}")
    lab.builder.tools()
    lab.builder.initramfs(kernel, tests=False)
    cluster = boot(lab, kernel)
    try:
        a, b = cluster
        peers = position(a), position(b)
        if peers[0] == peers[1]:
            raise DemoError("both are the same peer")
        message(a, b, peers[1], vector=1)
        message(b, a, peers[0], vector=2)
        ping_pong(a, b, *peers)
        cluster.stop()
    finally:
        cluster.discard()
    say("module unloaded, guests off, server ended, kernel logs clean")


def main() -> int:
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.default_int_handler)
    lab = Lab()
    try:
        show(lab, os.environ.get("KERNEL") or "6.1")
    except (AssertionError, DemoError, build.BuildError,
            kernels.Unavailable) as err:
        print(f"\nThe demo failed: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        lab.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())

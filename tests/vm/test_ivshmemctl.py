# SPDX-License-Identifier: MIT
"""ivshmemctl, each command, between two VMs."""

import hashlib
import os
import re

import pytest

from lab.cluster import guest
from lab.vm import Doorbell, Plain
from serverlab import Client

NODE = "/dev/ivshmem0"
SIZE = 4 << 20


def fails(vm, command, status, message):
    """The command ends with this status and this line, and prints nothing."""
    result = vm.run(f"{command} > /tmp/stdout; rc=$?; wc -c < /tmp/stdout; "
                    "exit $rc")
    assert result.out == f"ivshmemctl: {message}\n0\n"
    assert result.rc == status


def info(vm, device=NODE) -> dict:
    lines = vm.check(f"ivshmemctl -d {device} info").splitlines()
    return dict(line.split(": ") for line in lines if ": " in line)


def position(vm) -> str:
    return info(vm)["position"]


def counts(vm) -> dict:
    """How often each vector that ever did has fired."""
    lines = vm.check("ivshmemctl info")
    return {int(v): int(c) for v, c in
            re.findall(r"^vector (\d+) count (\d+)$", lines, re.M)}


def start_wait(vm, *options):
    """Starts to wait; what comes from here on must be seen."""
    job = vm.start_job(" ".join(["ivshmemctl wait --verbose", *options]))
    job.expect("^ivshmemctl: /dev/ivshmem0: waiting$")
    return job


def as_nobody(vm, command) -> str:
    vm.check("echo 'nobody:x:65534:65534::/:/bin/sh' > /etc/passwd; "
             "echo 'nogroup:x:65534:' > /etc/group")
    return f"su -s /bin/sh -c '{command}' nobody"


def test_peers(vms):
    """Who is there, as the server's directory has it; the vectors that the server
    rings when somebody joins or leaves wake a guest."""
    options = ["--directory", "--notify-join", "1", "--notify-leave", "3"]
    cluster = vms(guest(), guest(), servers={"main": {"options": options}})
    a, b = cluster
    ids = {vm: int(position(vm)) for vm in cluster}
    assert set(ids.values()) == {0, 1}

    def listed(vm, *more):
        known = sorted([*ids.values(), *more])
        return vm.check("ivshmemctl peers") == "".join(
            f"{peer}{' (this one)' * (peer == ids[vm])}\n" for peer in known)

    assert listed(a) and listed(b)
    waits = [start_wait(vm, "--vector 1", "--timeout 60") for vm in cluster]
    client = Client(cluster.servers["main"].socket)
    try:
        assert client.handshake(4).id == 2
        for job in waits:
            assert re.search(r"^vector 1 count \d+$", job.wait().check().out, re.M)
        assert listed(a, 2) and listed(b, 2)
        waits = [start_wait(vm, "--vector 3", "--timeout 60")
                 for vm in cluster]
    finally:
        client.close()
    for job in waits:
        assert job.wait().check().out.endswith("vector 3 count 1\n")
    assert listed(a) and listed(b)


def test_list_and_info(vms):
    """What the commands, sysfs and the devices themselves say is the same."""
    vm = vms(guest([Doorbell(vectors=4), Plain("1M", id="iv1")]), share=True)[0]
    lines = [line.split() for line in vm.check("ivshmemctl list").splitlines()]
    columns = ["device", "position", "vectors", "size", "revision", "irq_mode",
               "cache_mode", "pci"]
    assert lines[0] == columns
    devices = {line[0]: dict(zip(columns, line)) for line in lines[1:]}
    assert list(devices) == [NODE, "/dev/ivshmem1"]

    shapes = set()
    for device, row in devices.items():
        name = device.removeprefix("/dev/")
        assert info(vm, device).items() >= row.items()
        for column in columns[1:-1]:
            path = f"/sys/class/misc/{name}/{column}"
            assert vm.check(f"cat {path}").strip() == row[column]
        assert vm.check(f"cat /sys/bus/pci/devices/{row['pci']}/device") == \
            "0x1110\n"
        text = vm.check(f"ivshmemctl -d {device} info")
        assert vm.check(as_nobody(vm, f"ivshmemctl -d {device} info")) == \
            text.replace("doorbell: no\n", "doorbell: unknown\n")
        shapes.add((row["vectors"], row["size"], row["irq_mode"],
                    info(vm, name[-1])["doorbell"]))
    assert shapes == {("4", "4194304", "msix", "yes"),
                      ("0", "1048576", "none", "no")}


def test_node_of_another_name(vm):
    numbers = vm.check("cat /sys/class/misc/ivshmem0/dev").strip()
    vm.check(f"mknod /tmp/node c {numbers.replace(':', ' ')}")
    by_name, by_node = info(vm), info(vm, "/tmp/node")
    assert by_node == {**by_name, "device": "/tmp/node"}
    vm.check("rm /tmp/node")


def test_rights(vm):
    """Everybody may ask what there is; the rest is for those who may open the
    node."""
    vm.check(f"ivshmemctl ring {position(vm)} 3")
    vm.check("until ivshmemctl info | grep '^vector 3 '; do usleep 10000; done")
    vm.check(f"chmod 660 {NODE}")
    for command in "list", "info":
        as_root = vm.check(f"ivshmemctl {command}")
        assert vm.check(as_nobody(vm, f"ivshmemctl {command}")) == as_root
    for command in "ring 0 0", "wait", "read 0 1", "write 0":
        fails(vm, as_nobody(vm, f"ivshmemctl {command} < /dev/null"), 1,
              f"{NODE}: Permission denied (are you in the group ivshmem?)")

    vm.check(f"chmod 664 {NODE}")
    vm.check(as_nobody(vm, "ivshmemctl info"))
    assert vm.check(as_nobody(vm, "ivshmemctl read 0 9 | wc -c")) == "9\n"
    assert vm.run(as_nobody(vm, "ivshmemctl wait --timeout 0")).rc == 3
    for command in "ring 0 0", "write 0":
        fails(vm, as_nobody(vm, f"ivshmemctl {command} < /dev/null"), 1,
              f"{NODE}: Permission denied (are you in the group ivshmem?)")
    vm.check(f"chmod 660 {NODE}")


def test_message_there_and_back(pair):
    for sender, receiver in pair, reversed(list(pair)):
        waiter = start_wait(receiver, "--timeout 60")
        before = counts(receiver).get(2, 0)
        text = f"from {sender.name} to {receiver.name}"
        sender.check(f"printf '{text}' | ivshmemctl write 0x1001")
        sender.check(f"ivshmemctl ring {position(receiver)} 2")
        assert waiter.wait().check().out.splitlines()[1:] == \
            [f"vector 2 count {before + 1}"]
        assert receiver.check(f"ivshmemctl read 4097 {len(text)}") == text


def test_wait_sees_its_vector_only(pair):
    a, b = pair
    waiter = start_wait(b, "--vector 1", "--timeout 60")
    before = counts(b).get(1, 0)
    for vector in 0, 3, 1:
        a.check(f"ivshmemctl ring {position(b)} {vector}")
    assert waiter.wait().check().out.splitlines()[1:] == \
        [f"vector 1 count {before + 1}"]


def test_wait_for_several(pair):
    """Each line comes when its interrupt does, and counts go on."""
    a, b = pair
    waiter = start_wait(b, "--count 3", "--timeout 60")
    before = counts(b)
    for i, vector in enumerate((3, 0, 3)):
        count = before.get(vector, 0) + 1 + (i == 2)
        a.check(f"ivshmemctl ring {position(b)} {vector}")
        waiter.expect(rf"(^vector \d count \d+\n){{{i}}}"
                      rf"vector {vector} count {count}$")
    waiter.wait().check()


def test_waiters_share_nothing(pair):
    """Each of several sees the same interrupt."""
    a, b = pair
    waiters = [start_wait(b, "--timeout 60") for _ in range(4)]
    a.check(f"ivshmemctl ring {position(b)} 0")
    assert len({w.wait().check().out for w in waiters}) == 1


def test_wait_timeout(vm):
    vm.check(f"ivshmemctl ring {position(vm)} 1")
    result = vm.run("cut -d' ' -f1 /proc/uptime; ivshmemctl wait --timeout 0.5; "
                    "rc=$?; cut -d' ' -f1 /proc/uptime; exit $rc")
    start, end = map(float, result.out.split())
    assert result.rc == 3
    assert end - start >= 0.49


def test_wait_without_end(vm):
    waiter = start_wait(vm, "--count 0")
    for i in range(1, 4):
        vm.check(f"ivshmemctl ring {position(vm)} 1")
        waiter.expect(rf"(vector 1 count \d+\n){{{i}}}")
    waiter.kill(15)
    assert waiter.wait().rc != 0


def test_ring(pair):
    """Oneself; nobody; a vector that is not there."""
    a, _ = pair
    waiter = start_wait(a, "--timeout 60")
    a.check(f"ivshmemctl ring {position(a)} 3")
    assert " 3 count " in waiter.wait().check().out
    a.check("ivshmemctl ring 65535 0")
    fails(a, "ivshmemctl ring 0 4", 1,
          f"{NODE}: Invalid argument (is there such a vector?)")
    fails(a, "ivshmemctl wait --vector 4", 1,
          f"{NODE}: Invalid argument (is there such a vector?)")


def test_plain_has_no_interrupts(vms):
    vm = vms(guest([Doorbell(vectors=4), Plain("1M", id="iv1")]), share=True)[0]
    number = next(n for n in (0, 1) if info(vm, n)["doorbell"] == "no")
    for command in "ring 0 0", "wait", "wait --vector 0":
        fails(vm, f"ivshmemctl -d {number} {command}", 1,
              f"/dev/ivshmem{number}: No such device or address "
              "(this device has no interrupts)")
    vm.check(f"echo shared | ivshmemctl -d {number} write 0xFFFF9")
    assert vm.check(f"ivshmemctl -d {number} read 0xFFFF9 7") == "shared\n"


@pytest.mark.parametrize("offset, length", [(0, 1), (4095, 2), (12345, 70000),
                                            (SIZE - 5, 5)])
def test_bytes_arrive_unchanged(pair, offset, length):
    a, b = pair
    data = os.urandom(length)
    a.put(data, "/tmp/data")
    a.check(f"ivshmemctl write {offset} < /tmp/data")
    result = b.check(f"ivshmemctl read {offset} {length} | sha256sum")
    assert result.split()[0] == hashlib.sha256(data).hexdigest()


def test_whole_memory(pair):
    a, b = pair
    a.check(f"head -c {SIZE} /dev/urandom > /tmp/data && "
            "ivshmemctl write 0 < /tmp/data")
    assert b.check("ivshmemctl read 0 4M | sha256sum") == \
        a.check("sha256sum < /tmp/data; rm /tmp/data")


def test_beyond_end(vm):
    """What fits is written, and the rest is an error."""
    vm.check(f"printf ..... | ivshmemctl write {SIZE - 5}")
    fails(vm, f"printf 123456 | ivshmemctl write {SIZE - 3}", 1,
          f"{NODE}: only the first 3 bytes were written: "
          "No space left on device")
    assert vm.check(f"ivshmemctl read {SIZE - 5} 5") == "..123"
    fails(vm, f"printf 1 | ivshmemctl write {SIZE + 1}", 1,
          f"{NODE}: {SIZE + 1} is beyond its end at {SIZE}")
    fails(vm, f"ivshmemctl read {SIZE - 1} 2", 1, f"{NODE}: 2 bytes from "
          f"{SIZE - 1} on reach beyond its end at {SIZE}")


UNTIL_GONE = f"while [ -e {NODE} ]; do usleep 10000; done"
UNPLUGGED = f"ivshmemctl: {NODE}: No such device (was it unplugged?)"


@pytest.mark.not_on("virt", reason="the machine cannot plug in without a port")
def test_unplug(vms):
    """Whatever a command is doing, it ends with an error that says why."""
    device = Doorbell(vectors=4)
    vm = vms(guest([], machine="pc"), servers={"main": {}})
    device.server = vm.servers["main"]
    vm = vm[0]
    vm.plug(device)
    vm.check(f"until [ -e {NODE} ]; do usleep 10000; done")
    jobs = [
        start_wait(vm),
        start_wait(vm, "--vector 3 --count 0 --timeout 1000"),
        # Both have mapped and copied before, and do again afterwards.
        vm.start_job("{ ivshmemctl read 0 4M; echo rc $? >&2; } | "
                     "{ head -c 1 > /dev/null; echo waiting >&2; "
                     f"{UNTIL_GONE}; cat > /dev/null; }}"),
        vm.start_job(f"{{ printf x; {UNTIL_GONE}; printf y; }} | "
                     "{ ivshmemctl write 0; echo rc $? >&2; }"),
    ]
    jobs[2].expect("^waiting$")
    vm.check("until [ \"$(ivshmemctl read 0 1)\" = x ]; do usleep 10000; done")
    vm.unplug(device)
    for job in jobs[:2]:
        result = job.wait()
        assert result.out.splitlines()[1:] == [UNPLUGGED]
        assert result.rc == 1
    for job in jobs[2:]:
        assert job.wait().out.splitlines()[-2:] == [UNPLUGGED, "rc 1"]
    fails(vm, "ivshmemctl list", 1,
          f"there is no {NODE} (is the module ivshmem loaded?)")
    fails(vm, "ivshmemctl info", 1, f"{NODE}: No such file or directory "
          "(is the module ivshmem loaded?)")

# SPDX-License-Identifier: MIT
"""The samples, between two VMs: each does what its first comment says."""

import re
import shlex

import pytest

from lab.build import TOP

# Those that wait for events, and take how many.
WAITERS = {
    "read": "vector {v} has fired {count} times",
    "io_uring": "vector {v} has fired {count} times",
    "sigio": "vector {v} has fired {count} times",
    "epoll-eventfd": "vector {v} has fired 1 times more",
}
OTHERS = {"wait", "poll", "ping-pong", "busy-poll", "frames"}
# Has a test with the other front end.
ELSEWHERE = {"uio"}

USAGE = {
    "read": "read TIMES", "io_uring": "io_uring TIMES", "sigio": "sigio TIMES",
    "epoll-eventfd": "epoll-eventfd TIMES", "wait": "wait VECTOR TIMES",
    "ping-pong": "ping-pong ping|pong PEER [ROUNDS [DEVICE]]",
    "busy-poll": "busy-poll ask|answer PEER TIMES",
    "frames": "frames fill|show PEER TIMES",
}


def position(vm) -> int:
    return int(vm.check("cat /sys/class/misc/ivshmem0/position"))


def count(vm, vector) -> int:
    return int(vm.check(f"cat /sys/class/misc/ivshmem0/counts/{vector}"))


def need(vm, name):
    if name == "io_uring" and vm.run("[ -e /samples/io_uring ]").rc:
        pytest.skip("liburing is not installed")


def test_all():
    """None is forgotten here."""
    names = {path.stem for path in (TOP / "samples").glob("*.c")}
    assert names == set(WAITERS) | OTHERS | ELSEWHERE


@pytest.mark.parametrize("name", WAITERS)
def test_waiter(pair, name):
    """Hears a peer's rings, one after the other, and ends after the last."""
    a, b = pair
    need(b, name)
    peer = position(b)
    job = b.start_job(f"/samples/{name} 3")
    for i, vector in enumerate((0, 3, 1)):
        if name == "io_uring":
            # It says so before each read.
            job.expect(r"\A([^\0]*reading\n){%d}" % (i + 1))
        else:
            job.expect("^ready$")
        now = count(b, vector) + 1
        a.check(f"ivshmemctl ring {peer} {vector}")
        job.expect("^" + WAITERS[name].format(v=vector, count=now) + "$")
    done = job.wait(timeout=20)
    assert done.rc == 0, done.out
    assert len(re.findall("^vector", done.out, re.M)) == 3


# What a sample that waits says when there is nothing left to wait for.
FAREWELLS = {
    "read 1": "read: read: No such device",
    "io_uring 1": "io_uring: read: No such device",
    "sigio 1": "sigio: read: No such device",
    "epoll-eventfd 1": "epoll-eventfd: /dev/ivshmem0: No such device",
    "wait 1 1": "wait: wait: No such device",
    "poll": "poll: the device has been unplugged",
    "ping-pong pong 0 1": "ping-pong: wait for number 1: No such device",
    "busy-poll answer 0 1": "busy-poll: wait: No such device",
    "frames show 0 1": "frames: wait for frame 1: No such device",
}


@pytest.mark.parametrize("command", FAREWELLS)
def test_unplug(pair, command):
    """Each ends when the device goes, and says why."""
    vm, name = pair[1], command.split()[0]
    need(vm, name)
    slot = vm.check("basename $(readlink -f /sys/class/misc/ivshmem0/device)")
    # Input that does not end.
    job = vm.start_job("rm -f /tmp/in; mkfifo /tmp/in; "
                       f"exec /samples/{command} <> /tmp/in")
    job.expect("^rea(dy|ding)$")
    # Not before it sleeps, or it may be about to look at the memory.
    vm.check(f"while grep -q running /proc/$(pidof {name})/syscall; do :; done")
    driver = "/sys/bus/pci/drivers/ivshmem"
    vm.check(f"echo {slot.strip()} > {driver}/unbind")
    try:
        job.expect(f"^{re.escape(FAREWELLS[command])}$")
    finally:
        vm.check(f"echo {slot.strip()} > {driver}/bind")
    done = job.wait(timeout=20)
    assert done.rc == 1
    # Nothing has fired.
    assert not re.search("^vector", done.out, re.M)


def test_wait(pair):
    """Waits for one vector, and hears nothing of the others."""
    a, b = pair
    peer = position(b)
    job = b.start_job("/samples/wait 2 2")
    job.expect("^ready$")
    # Somebody else has heard the other vector by the time that it goes on.
    other = b.start_job("ivshmemctl wait --verbose --vector 1 --timeout 30")
    other.expect("waiting")
    a.check(f"ivshmemctl ring {peer} 1")
    assert other.wait(timeout=30).rc == 0
    b.check("true")
    assert job.out == "ready\n"
    a.check(f"ivshmemctl ring {peer} 2")
    job.expect(r"\Aready\nvector 2 has fired 1 times more\n")
    a.check(f"ivshmemctl ring {peer} 2")
    assert job.wait(timeout=20).out == \
        "ready\n" + "vector 2 has fired 1 times more\n" * 2


def test_poll(pair):
    """Rings for its input, prints what comes, ends with its input."""
    a, b = pair
    first, second = position(a), position(b)
    other = a.start_job("/samples/read 1")
    other.expect("^ready$")
    b.check("rm -f /tmp/in /tmp/stop; mkfifo /tmp/in")
    keeper = b.start_job("while [ ! -e /tmp/stop ]; do sleep 0.05; done > /tmp/in")
    job = b.start_job("/samples/poll < /tmp/in")
    job.expect("^ready$")
    b.check(f"echo {first} 2 > /tmp/in")
    other.expect("^vector 2 has fired")
    assert other.wait(timeout=20).rc == 0

    now = count(b, 1) + 1
    a.check(f"ivshmemctl ring {second} 1")
    job.expect(f"^vector 1, count {now}$")
    b.check("echo what > /tmp/in")
    job.expect("^poll: not PEER VECTOR: what$")
    b.check("echo 0 77 > /tmp/in")
    job.expect("^poll: ring: Invalid argument$")
    b.check("touch /tmp/stop")
    assert keeper.wait(timeout=20).rc == 0
    assert job.wait(timeout=20).rc == 0


def test_ping_pong(pair):
    a, b = pair
    job = b.start_job(f"/samples/ping-pong pong {position(a)} 20")
    job.expect("^ready$")
    out = a.check(f"/samples/ping-pong ping {position(b)} 20")
    match = re.fullmatch(r"20 round trips: median (\d+) us, fastest (\d+), "
                         r"slowest (\d+)\n", out)
    assert match, out
    median, fastest, slowest = (int(g) for g in match.groups())
    assert 0 < fastest <= median <= slowest
    assert job.wait(timeout=20).rc == 0


def test_busy_poll(pair):
    """As many interrupts on both sides as there were questions."""
    a, b = pair
    before = count(a, 1), count(b, 1)
    job = b.start_job(f"/samples/busy-poll answer {position(a)} 30")
    job.expect("^ready$")
    out = a.check(f"/samples/busy-poll ask {position(b)} 30")
    done = job.wait(timeout=20)
    assert done.rc == 0, done.out
    for text in (out, done.out):
        match = re.fullmatch(r"ready\n30 interrupts, slept for (\d+) of them\n",
                             text)
        assert match and int(match[1]) <= 30, text
    assert (count(a, 1), count(b, 1)) == (before[0] + 30, before[1] + 30)


def test_frames(pair):
    """No frame is shown before it is whole, or overwritten while it is shown."""
    a, b = pair
    job = b.start_job(f"/samples/frames show {position(a)} 12")
    job.expect("^ready$")
    out = a.check(f"/samples/frames fill {position(b)} 12")
    assert out == "12 frames filled\n"
    done = job.wait(timeout=60)
    assert tuple(done) == (0, "ready\n12 frames shown, 12 of them whole\n")


@pytest.mark.parametrize("name", USAGE)
def test_usage(pair, name):
    """Without arguments each says what it wants; without a device, that."""
    need(pair[0], name)
    done = pair[0].run(f"/samples/{name}")
    assert tuple(done) == (1, f"{name}: usage: {USAGE[name]}\n")
    words = USAGE[name].split("[")[0].split()[1:]
    args = [w.split("|")[0] if "|" in w else "1" for w in words]
    done = pair[0].run("mv /dev/ivshmem0 /dev/away; "
                       + shlex.join([f"/samples/{name}", *args])
                       + "; rc=$?; mv /dev/away /dev/ivshmem0; exit $rc")
    assert tuple(done) == (
        1, f"{name}: /dev/ivshmem0: No such file or directory\n")

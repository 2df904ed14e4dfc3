# SPDX-License-Identifier: MIT
"""ivshmem-server's control socket, and what it says there."""
import fcntl
import json
import os
import re
import resource
import select
import socket
import termios

import pytest

from serverlab import BOUND, wait_until

ME = os.geteuid()


@pytest.fixture(name="status")
def fixture_status(run, folder):
    """What --status prints."""
    def status(*args):
        code, out, err = run("--status", folder / "control", *args)
        assert (code, err) == (0, "")
        return out
    return status


@pytest.fixture(name="busy")
def fixture_busy(server, folder):
    """A server of which there is something to tell."""
    running = server("--control", folder / "control", "--max-peers", "4",
                     "--size", "64K", "--stall-timeout", "60", vectors=300)
    running.connect()
    running.wait_log("peer 0 joined")
    for _ in range(3):
        running.join(300, keep=False)
    assert running.connect().receive()[0] < 0
    running.clients[2].sock.close()
    running.wait_log("peer 2 left")
    running.clients[1].sock.send(b"x")
    running.wait_log("peer 1 disconnected")
    return running


def test_json(busy, status):
    """Everything, as JSON."""
    told = json.loads(status("--json"))
    assert told["version"] and told["pid"] == busy.pid
    assert 0 < told["uptime"] < 600
    assert (told["memory"], told["vectors"]) == (65536, 300)
    assert (told["joined"], told["left"]) == (4, 1)
    assert told["disconnected"] == {"stalled": 0, "misbehaved": 1, "failed": 0}
    assert told["refused"] == {"access": 0, "limit": 1, "shortage": 0}

    blocked, other = told["peers"]
    assert (blocked["id"], other["id"]) == (0, 3)
    for peer in told["peers"]:
        assert (peer["uid"], peer["pid"]) == (ME, os.getpid())
        assert peer["vectors"] == 300
        assert 0 < peer["connected"] <= told["uptime"]
    assert (other["queued"], other["waiting"]) == (0, 0)
    assert blocked["waiting"] > 0
    # What has not been sent and what has are all that there is.
    got = 0
    while got < 3 + 4 * 300 - blocked["queued"]:
        busy.clients[0].receive(keep=False)
        got += 1
    assert blocked["queued"] > 100
    assert json.loads(status("--json"))["peers"][0]["queued"] < blocked["queued"]


def test_text(busy, status):
    """The same for people."""
    lines = status().splitlines()
    assert re.fullmatch(rf"up for \d+ s, pid {busy.pid}, version .*", lines[0])
    assert lines[1:5] == [
        "memory of 65536 bytes, 300 vectors a peer",
        "4 joined, 1 left; disconnected: 0 stalled, 1 sent data, 0 failed",
        "refused: 0 by access lists, 1 by limits, 0 for want of something",
        "2 peers"]
    assert lines[5].split() == ["ID", "UID", "PID", "VECTORS", "CONNECTED/s",
                                "QUEUED", "WAITING/s"]
    assert [line.split()[:4] for line in lines[6:]] == [
        [str(i), str(ME), str(os.getpid()), "300"] for i in (0, 3)]


SAMPLE = re.compile(r"(ivshmem_\w+)((?:\{\w+=\"\w+\"(?:,\w+=\"\w+\")*\})?) "
                    r"(\d+(?:\.\d+)?)")


def test_prometheus(busy, status):
    """The same in Prometheus's text format: each metric with its type."""
    values, types = {}, {}
    for line in status("--prometheus").splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name and name not in types
            types[name] = line.split()[3]
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match[1] == name
            values[match[1] + match[2]] = float(match[3])
    assert {types[n] for n in types if n.endswith("_total")} == {"counter"}
    assert {types[n] for n in types if not n.endswith("_total")} == {"gauge"}
    assert values["ivshmem_peers"] == 2
    assert values["ivshmem_joined_total"] == 4
    assert values['ivshmem_left_total{reason="left"}'] == 1
    assert values['ivshmem_left_total{reason="misbehaved"}'] == 1
    assert values['ivshmem_refused_total{reason="limit"}'] == 1
    assert values[f'ivshmem_peer_queued_messages{{id="0",uid="{ME}"}}'] > 100
    assert values[f'ivshmem_peer_vectors{{id="3",uid="{ME}"}}'] == 300
    assert busy.process.poll() is None


def test_counts(server, status, folder):
    """The reasons that are left."""
    running = server("--control", folder / "control", "--stall-timeout", "0.1",
                     "--allow-uid", str(ME + 1), vectors=300)
    assert running.connect().receive()[0] < 0
    assert json.loads(status("--json"))["refused"]["access"] == 1
    running.leave_all()
    running.end()

    running = server("--control", folder / "control", "--stall-timeout", "0.1",
                     vectors=300)
    running.connect()
    running.wait_log("peer 0 disconnected")
    assert json.loads(status("--json"))["disconnected"]["stalled"] == 1
    running.leave_all()
    running.end()

    running = server("--control", folder / "control", limits=(64, 64),
                     vectors=40)
    running.join(40, keep=False)
    assert running.connect().receive()[0] < 0
    assert json.loads(status("--json"))["refused"]["shortage"] == 1


@pytest.mark.parametrize("args,mode", [([], 0o600),
                                       (["--control-mode", "640"], 0o640)])
def test_mode(server, folder, args, mode):
    """Only for the server's user, if nothing else is asked for."""
    server("--control", folder / "control", *args)
    assert (folder / "control").stat().st_mode & 0o7777 == mode


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_group(server, folder):
    """A group of those who watch."""
    server("--control", folder / "control", "--control-group", "4343")
    assert (folder / "control").stat().st_gid == 4343


def test_removed(server, folder):
    """The socket goes with the server."""
    running = server("--control", folder / "control")
    running.end()
    assert sorted(os.listdir(folder)) == ["log"]


def connect(path):
    """A connection to the control socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(BOUND)
    sock.connect(str(path))
    return sock


def answer(sock):
    """All that comes until the end."""
    parts = []
    try:
        while True:
            parts.append(sock.recv(65536))
            if not parts[-1]:
                break
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("request_", [
    b"\n", b"jso\n", b"jsonx\n", b"json \n", b"JSON\n", b"json\r\n", b"\0\n",
    b"json\njson\n", b"json\nx", b"x" * 31 + b"\n", b"x" * 32, b"x" * 100000,
    b"\n" * 100000, bytes(range(11, 256)) * 16],
    ids=lambda request: str(request[:12]))
def test_bad_requests(server, status, folder, request_):
    """What is no request gets no answer, and does no harm."""
    running = server("--control", folder / "control")
    peer = running.join()
    with connect(folder / "control") as sock:
        try:
            sock.sendall(request_)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert answer(sock) == b""
    running.wait_log("peer 0 joined")
    assert json.loads(status("--json"))["peers"][0]["id"] == peer.id


def test_trickle(server, folder):
    """A request may come in pieces."""
    server("--control", folder / "control")
    with connect(folder / "control") as sock:
        for byte in b"json\n":
            sock.send(bytes([byte]))
            # It is to see each by itself.
            wait_until(lambda: not any(fcntl.ioctl(sock, termios.TIOCOUTQ,
                                                   bytes(4))), "the server")
        assert json.loads(answer(sock))["peers"] == []


def test_many_idle(server, status, folder):
    """Whoever says nothing keeps nobody away, and holds few files."""
    running = server("--control", folder / "control")
    idle = [connect(folder / "control") for _ in range(50)]
    assert json.loads(status("--json"))["peers"] == []
    assert running.fd_count() <= running.baseline + 8
    # The ones that came first had to go.
    assert answer(idle[0]) == b""
    idle[-1].sendall(b"json\n")
    assert json.loads(answer(idle[-1]))
    for sock in idle:
        sock.close()
    running.join()


def test_no_files_left(server, folder):
    """Without a file descriptor nobody is answered, and nothing spins; with some,
    all are."""
    running = server("--control", folder / "control")
    limits = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    asking = [connect(folder / "control") for _ in range(3)]
    for sock in asking:
        sock.sendall(b"json\n")
    client = running.connect()
    running.wait_log("clients that connect now have to wait")
    before = running.cpu_seconds()
    running.wait_wakeups(2)
    assert running.cpu_seconds() - before < 0.2
    assert not select.select(asking, [], [], 0)[0]
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, limits)
    client.handshake()
    # One more brings them in.
    asking.append(connect(folder / "control"))
    asking[-1].sendall(b"json\n")
    for sock in asking:
        with sock:
            assert json.loads(answer(sock))["joined"] == 1


def test_no_server(run, folder):
    """Nobody there; nobody who answers; a path that is too long."""
    status, out, err = run("--status", folder / "none")
    assert (status, out) == (1, "")
    assert f"cannot ask {folder}/none: No such file or directory" in err
    status, _, err = run("--status", "x" * 108)
    assert status == 1
    assert "the path is too long" in err


@pytest.mark.parametrize("args,message", [
    (["--json"], "--json and --prometheus go with --status"),
    (["--control", ""], "--control : must be a path"),
    (["--status", ""], "--status : must be a path"),
    (["--control-mode", "8"], "must be an octal number up to 777"),
    (["--control-group", "no such group"], "must be the name or number of a"),
])
def test_options(run, folder, args, message):
    """What makes no sense."""
    status, _, err = run("--socket", folder / "s", *args)
    assert status == 2
    assert message in err

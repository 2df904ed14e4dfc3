# SPDX-License-Identifier: MIT
"""How ivshmem-server starts and ends: options, sockets, signals, the log."""
import fcntl
import os
import re
import signal
import socket
import subprocess

import pytest

from serverlab import BOUND, TOP, Client, Server, wait_until


def stale_socket(path):
    """Leaves a socket that nobody serves."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def listens(path):
    """Whether somebody serves the socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return not sock.connect_ex(str(path))


def test_help(run):
    """--help tells of every option, on standard output."""
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    assert out.startswith("Usage: ivshmem-server ")
    source = (TOP / "tools/ivshmem-server/options.c").read_text()
    names = re.findall(r'{ "([a-z-]+)",', source)
    assert "socket" in names
    manual = (TOP / "Documentation/man/ivshmem-server.8").read_text()
    for name in names:
        assert re.search(f"--{name}[ \n]", out)
        assert re.search(rf"(Fl|,) -{name}(\s|$)", manual, re.M), name
    assert max(map(len, out.splitlines())) < 80
    assert run("-h") == (status, out, err)


def test_version(run):
    """--version tells the project's version."""
    conf = (TOP / "dkms.conf").read_text()
    version = re.search('PACKAGE_VERSION="(.*)"', conf)[1]
    status, out, err = run("--version")
    assert (status, err) == (0, "")
    assert re.fullmatch(rf"ivshmem-server {re.escape(version)}\n"
                        r"built in:( [+-]\w+)+\n", out)
    assert run("-V") == run("--version")


@pytest.mark.parametrize("words,expected", [
    (["--con"], ["--config", "--control", "--control-mode", "--control-group"]),
    (["--size", "4M", "--js"], ["--json"]),
    (["--hugetlb", ""], ["2M", "1G"]),
    (["--sandbox", "d"], ["deny"]),
    (["--user", "nobod"], ["nobody"]),
    (["--allow-gid", "daemo"], ["daemon"]),
    (["--config", "dkms.con"], ["dkms.conf"]),
    (["--size", ""], []),
])
def test_completion(server_program, words, expected):
    """bash completes options, files, users and what else there is to choose."""
    script = ('. packaging/bash-completion/ivshmem-server\n'
              '_ivshmem_server "$1" "$2" "$3"\n'
              'printf "%s\\n" "${COMPREPLY[@]}"')
    previous = words[-2] if len(words) > 1 else "ivshmem-server"
    done = subprocess.run(["bash", "-c", script, "bash", server_program,
                           words[-1], previous], cwd=TOP, check=True, text=True,
                          stdout=subprocess.PIPE)
    assert done.stdout.split() == expected


POWER = "must be a power of two, 4K or more"
NUMBER = "must be a number from 1 to 2048"
SECONDS = "must be a number of seconds from 0.1 to 86400"


@pytest.mark.parametrize("option,message", [
    *((("--size", bad), f"--size {bad}: {POWER}") for bad in (
        "", "0", "1", "2048", "2K", "4095", "3M", "4097", "4194303", "5G", "-4096",
        "+4096", " 4096", "4096 ", "4KB", "4KiB", "K", "x", "0x1000", "4.0M", "4P",
        "16777216T", "16777217T", "18446744073709551616", "99999999999999999999")),
    *((("--vectors", bad), f"--vectors {bad}: {NUMBER}") for bad in (
        "", "0", "2049", "-1", "1.5", "two", "4294967297", "1 ")),
    *((("--stall-timeout", bad), f"--stall-timeout {bad}: {SECONDS}") for bad in (
        "", "0", "0.05", "-1", "86401", "nan", "inf", "1s", "1e9")),
    (("extra",), "extra: not an option"),
    (("--socket", ""), "a path for the socket is needed"),
    (("--sockets", "x"), "unrecognized option '--sockets'"),
    (("-x",), "invalid option -- 'x'"),
    (("--size",), "requires an argument"),
    (("--quiet=no",), "doesn't allow an argument"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_bad_options(run, folder, option, message):
    """Each wrong command line gets a message, status 2 and no socket."""
    status, out, err = run("--socket", folder / "socket", *option)
    assert (status, out) == (2, "")
    assert message in err
    assert not os.listdir(folder)


def test_no_socket_option(run):
    """The path of the socket has no default."""
    status, out, err = run("--size", "4M")
    assert (status, out) == (2, "")
    assert "--socket PATH" in err


def test_too_much_memory(run, folder):
    """A size that the kernel does not give."""
    status, _, err = run("--socket", folder / "s", "--size", "8388608T")
    assert status == 1
    assert "cannot make 9223372036854775808 bytes of shared memory" in err
    assert not os.listdir(folder)


def test_missing_folder(run, folder):
    """A folder that is not there is named."""
    status, _, err = run("--socket", folder / "no" / "socket")
    assert status == 1
    assert f"the socket's folder {folder}/no: No such file or directory" in err


def test_long_path(run, server, folder):
    """A path that does not fit is refused, one that just fits is not."""
    fits = folder / ("x" * (107 - len(str(folder)) - 1))
    status, _, err = run("--socket", str(fits) + "x")
    assert status == 1
    assert "the socket's path has 108 bytes, no more than 107" in err
    assert not os.listdir(folder)
    server(path=fits).join()


def test_relative_path(server, folder, monkeypatch):
    """A path without a folder is in the current one."""
    monkeypatch.chdir(folder)
    server(path="here").join()


@pytest.mark.parametrize("make", [
    lambda path: path.write_text("precious"),
    lambda path: path.mkdir(),
    lambda path: path.symlink_to("nowhere"),
    os.mkfifo], ids=["file", "folder", "link", "fifo"])
def test_not_a_socket(run, folder, make):
    """What is no socket is not replaced."""
    path = folder / "socket"
    make(path)
    before = os.lstat(path)
    status, _, err = run("--socket", path)
    assert status == 1
    assert f"{path} is there already and is not a socket" in err
    assert os.lstat(path).st_ino == before.st_ino
    assert not path.is_file() or path.read_text() == "precious"


def test_stale_socket(server, folder):
    """A socket that nobody serves is replaced."""
    stale_socket(folder / "socket")
    running = server()
    assert "which nobody serves" in running.log()
    running.join()


def test_restart_after_kill(server):
    """After a crash the next server can start at once."""
    killed = server()
    killed.end(signal.SIGKILL, -signal.SIGKILL)
    assert os.path.lexists(killed.path)
    server().join()


def test_live_socket(server, run):
    """A socket that is in use stays."""
    running = server()
    status, _, err = run("--socket", running.path)
    assert status == 1
    assert f"{running.path} is in use: a server is running there" in err
    running.join()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET,
                                  socket.SOCK_STREAM])
def test_foreign_live_socket(run, folder, kind):
    """So does one of another program, even if that one is very busy."""
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        if kind == socket.SOCK_STREAM:
            sock.listen(0)
            full = socket.socket(socket.AF_UNIX)
            full.connect(str(path))
            with full:
                status, _, err = run("--socket", path)
        else:
            if kind == socket.SOCK_SEQPACKET:
                sock.listen()
            status, _, err = run("--socket", path)
    assert status == 1
    assert "is in use" in err
    assert path.is_socket()


def test_locked_folder(run, folder):
    """Servers take turns, and one that does not get its turn gives up."""
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    status, _, err = run("--socket", folder / "socket")
    assert status == 1
    assert f"cannot lock the socket's folder {folder}: " in err
    assert not os.listdir(folder)
    os.close(fd)


def test_waits_for_folder(server, folder):
    """One whose turn comes later waits for it."""
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = server(wait=False)
    waiting.wait_log("open files allow")
    os.close(fd)
    waiting.wait_log("listening on")
    waiting.end()


def test_race_for_stale_socket(server_program, folder):
    """Of many that start at once over a stale socket, one runs."""
    path = folder / "socket"
    for _ in range(5):
        stale_socket(path)
        racers = []
        try:
            for i in range(6):
                own = folder / str(i)
                own.mkdir(exist_ok=True)
                racers.append(Server(server_program, own, path=path, wait=False))
            wait_until(lambda: sum(r.process.poll() is None for r in racers) == 1,
                       "all but one to give up")
            winner = next(r for r in racers if r.process.poll() is None)
            winner.wait_log("listening on")
            winner.join().close()
            for racer in racers:
                if racer is not winner:
                    assert racer.process.returncode == 1
                    assert "is in use" in racer.log()
            winner.end()
            assert not path.exists()
        finally:
            for racer in racers:
                if racer.process.poll() is None:
                    racer.process.kill()
                    racer.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(server, number):
    """Both remove the socket; clients see the end, and nothing else."""
    running = server("--no-quiet-departures")
    clients = [running.join(), running.join()]
    assert clients[0].receive_peer(1) == 1
    running.end(number)
    assert not os.path.lexists(running.path)
    for client in clients:
        client.expect_closed()


def test_ends_while_blocked(server):
    """It also ends at once when clients do not read."""
    running = server(vectors=64)
    for _ in range(10):
        running.connect()
    running.wait_log("peer 9 joined")
    running.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("mode,socket_mode,message", [
    (0o755, None, "cannot make the socket {}: Permission denied"),
    (0o755, 0o777, "cannot remove {}: Permission denied"),
    (0o777, 0o700, "cannot tell whether {} is in use: Permission denied"),
    (0o700, None, "cannot open the socket's folder {.parent}: Permission denied"),
], ids=["folder", "stale", "socket", "hidden"])
def test_not_ours(run, folder, mode, socket_mode, message):
    """Another user's folder, or another user's socket in it: one line says so, and
    nothing changes."""
    path = folder / "place" / "socket"
    path.parent.mkdir()
    if socket_mode is not None:
        stale_socket(path)
        path.chmod(socket_mode)
    path.parent.chmod(mode)
    before = os.path.lexists(path) and os.lstat(path)
    status, _, err = run("-q", "--socket", path, user=64321)
    assert status == 1
    assert err == f"ivshmem-server: error: {message.format(path)}\n"
    assert before == (os.path.lexists(path) and os.lstat(path))


def test_foreign_socket_stays(server, folder):
    """At the end it removes its own socket, not one that came in its place."""
    running = server()
    os.unlink(running.path)
    stale_socket(running.path)
    running.end()
    assert running.path.is_socket()
    assert "it is not this server's any more" in running.log()


def test_socket_already_removed(server):
    """That its socket was removed does not disturb the end."""
    running = server()
    os.unlink(running.path)
    running.end()


def test_log_reader_gone(server_program, folder):
    """That nobody reads the log any more does not end the server."""
    path = folder / "socket"
    process = subprocess.Popen([server_program, "--socket", path],
                               stderr=subprocess.PIPE)
    try:
        while b"listening on" not in process.stderr.readline():
            pass
        process.stderr.close()
        for _ in range(3):
            Client(path).handshake().close()
    finally:
        process.terminate()
        assert process.wait(BOUND) == 0


def test_log_levels(server, folder):
    """--quiet leaves the warnings, --verbose adds to the rest."""
    quiet = server("--quiet", path=folder / "quiet", wait=False)
    wait_until(lambda: listens(quiet.path), "the server")
    client = quiet.join()
    assert quiet.log() == ""
    client.sock.send(b"x")
    quiet.wait_log("ivshmem-server: warning: peer ")
    quiet.end()

    verbose = server("--verbose", path=folder / "verbose")
    verbose.kill(signal.SIGSTOP)
    verbose.wait_stopped()
    verbose.connect().close()
    verbose.kill(signal.SIGCONT)
    verbose.wait_log("debug: a client was gone before it could join")
    verbose.join()
    for line in verbose.log().splitlines():
        assert re.match("ivshmem-server: (info|debug): ", line)


def test_closed_standard_fds(server_program, folder):
    """Without standard error no log line ends up in a client's socket."""
    path = folder / "socket"
    process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh",
                                server_program, "-v", "--socket", path])
    try:
        wait_until(lambda: listens(path), "the server")
        for fd in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
        first = Client(path).handshake()
        second = Client(path).handshake()
        assert first.receive_peer(1) == second.id
        second.close()
        third = Client(path).handshake()
        assert first.receive_peer(1) == third.id
        assert os.pread(first.memory, 4096, 0) == bytes(4096)
        first.close()
        third.close()
    finally:
        process.terminate()
        assert process.wait(BOUND) == 0

# SPDX-License-Identifier: MIT
"""ivshmemctl without a device, and with fake_device.c in the place of one."""
import os
import struct
import subprocess
import threading
import time

import pytest

from lab import kernels
from serverlab import BUILD, TOP, build

NODE = "/dev/ivshmem0"
MIB = 1 << 20
SIZE = 4 * MIB

pytestmark = pytest.mark.skipif(os.path.exists(NODE),
                                reason="this machine has a device")


@pytest.fixture(scope="module", params=["plain", "sanitized"])
def ctl(request):
    """The program as it is delivered, and with sanitizers."""
    out, flags = BUILD, []
    if request.param == "sanitized":
        out = BUILD / "sanitized"
        flags = ["CFLAGS=-O1 -g -fsanitize=address,undefined "
                 "-fno-sanitize-recover=all"]
    for part in "libivshmem", "ivshmemctl":
        build(f"tools/{part}", *flags,
              "static" if part == "libivshmem" else "all", out=out)
    return out / "bin" / "ivshmemctl"


@pytest.fixture(scope="module")
def preload():
    """The fake device as a library."""
    library = BUILD / "tests" / "fake_device.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    with kernels.locked(BUILD / "lab.lock"):
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                        "-O1", "-shared", "-fPIC", f"-I{TOP}/include/uapi",
                        "-o", library, TOP / "tests/unit/fake_device.c"],
                       check=True)
    return library


@pytest.fixture(name="run")
def fixture_run(ctl):
    """Runs the program to its end."""
    def run(*args, stdin=b"", stdout=subprocess.PIPE, env=None):
        return subprocess.run([ctl, *args], input=stdin, stdout=stdout,
                              stderr=subprocess.PIPE, timeout=60, check=False,
                              env=env)
    return run


class Fake:
    """Runs the program with a fake device, whose memory is a file."""
    def __init__(self, ctl, run, preload, memory):
        self.ctl = ctl
        self.run_plain = run
        self.memory = memory
        self.env = {"LD_PRELOAD": str(preload), "IVSHMEM_FAKE": str(memory),
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def run(self, *args, events="", **kwargs):
        return self.run_plain(
            *args, env={**self.env, "IVSHMEM_FAKE_EVENTS": events}, **kwargs)

    def start(self, *args, events="", **kwargs):
        process = subprocess.Popen(
            [self.ctl, *args], bufsize=0, stderr=subprocess.PIPE, **kwargs,
            env={**self.env, "IVSHMEM_FAKE_EVENTS": events})
        watchdog = threading.Timer(60, process.kill)
        watchdog.daemon = True
        watchdog.start()
        return process


@pytest.fixture(name="fake")
def fixture_fake(ctl, run, preload, tmp_path):
    memory = tmp_path / "memory"
    memory.write_bytes(os.urandom(SIZE))
    return Fake(ctl, run, preload, memory)


def check(result, status, stderr, stdout=b""):
    """All that a user can see of a program that was run."""
    line = f"ivshmemctl: {stderr}\n" if stderr else ""
    assert result.stderr.decode() == line
    assert result.returncode == status
    assert result.stdout == stdout


@pytest.mark.parametrize("args, message", [
    ("", "no command (see ivshmemctl --help)"),
    ("frob", "there is no command 'frob' (see ivshmemctl --help)"),
    ("--bogus", "unrecognized option '--bogus'"),
    ("-x", "invalid option -- 'x'"),
    ("info --device", "option '--device' requires an argument"),
    ("list it", "usage: ivshmemctl list"),
    ("info it", "usage: ivshmemctl info"),
    ("wait 1", "usage: ivshmemctl wait [OPTION...]"),
    ("ring", "usage: ivshmemctl ring PEER VECTOR"),
    ("ring 1", "usage: ivshmemctl ring PEER VECTOR"),
    ("ring 1 2 3", "usage: ivshmemctl ring PEER VECTOR"),
    ("read 0", "usage: ivshmemctl read OFFSET LENGTH"),
    ("write", "usage: ivshmemctl write OFFSET"),
    ("write 0 1", "usage: ivshmemctl write OFFSET"),
    ("ring 1 2 --vector 1", "ring does not take --vector"),
    ("list --count=1", "list does not take --count"),
    ("read 0 1 --timeout 1", "read does not take --timeout"),
    ("info --verbose", "info does not take --verbose"),
    ("ring 65536 0", "PEER: 65536 is more than 65535"),
    ("ring 0 65536", "VECTOR: 65536 is more than 65535"),
    ("ring 1K 0", "PEER: '1K' is not a number"),
    ("ring 0x 0", "PEER: '0x' is not a number"),
    ("ring 0x0x1 0", "PEER: '0x0x1' is not a number"),
    ("ring 1 -1", "invalid option -- '1'"),
    ("ring -- 1 -1", "VECTOR: '-1' is not a number"),
    ("ring +1 0", "PEER: '+1' is not a number"),
    ("wait --vector 2048", "--vector: 2048 is more than 2047"),
    ("wait --vector one", "--vector: 'one' is not a number"),
    ("wait --count 1.5", "--count: '1.5' is not a number"),
    ("wait --count 18446744073709551616",
     "--count: 18446744073709551616 is too large"),
    ("wait --timeout 1s", "--timeout: '1s' is not a number"),
    ("wait --timeout 1.2.3", "--timeout: '1.2.3' is not a number"),
    ("wait --timeout .", "--timeout: '.' is not a number"),
    ("wait --timeout inf", "--timeout: 'inf' is not a number"),
    ("wait --timeout 1e3", "--timeout: '1e3' is not a number"),
    ("wait --timeout 0x1", "--timeout: '0x1' is not a number"),
    ("wait --timeout=-1", "--timeout: '-1' is not a number"),
    ("wait --timeout 1000000001", "--timeout: 1000000001 is too large"),
    ("read 12x 1", "OFFSET: '12x' is not a number"),
    ("read 1KB 1", "OFFSET: '1KB' is not a number"),
    ("read 0 1T", "LENGTH: '1T' is not a number"),
    ("read K 1", "OFFSET: 'K' is not a number"),
    ("read 0 0x10000000000000000", "LENGTH: 0x10000000000000000 is too large"),
    ("read 0 17179869184G", "LENGTH: 17179869184G is too large"),
    ("write 0x1g2", "OFFSET: '0x1g2' is not a number"),
])
def test_usage_errors(run, args, message):
    check(run(*args.split()), 2, message)


@pytest.mark.parametrize("word", ["", " 1", "1 "])
def test_blanks_are_no_numbers(run, word):
    check(run("ring", word, "0"), 2, f"PEER: '{word}' is not a number")
    check(run("wait", "--timeout", word), 2,
          f"--timeout: '{word}' is not a number")


COMMANDS = [["info"], ["ring", "0", "0"], ["wait"], ["read", "0", "1"],
            ["write", "0"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("device, message", [
    ("/dev/null",
     "/dev/null: Inappropriate ioctl for device (this is no ivshmem device)"),
    ("7", "/dev/ivshmem7: No such file or directory "
     "(is the module ivshmem loaded?)"),
    ("", ": No such file or directory (is the module ivshmem loaded?)"),
    ("/dev/null/x", "/dev/null/x: Not a directory"),
])
def test_wrong_device(run, command, device, message):
    check(run("--device", device, *command), 1, message)
    check(run(*command, "-d", device), 1, message)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_device_is_another_file(run, tmp_path, command):
    """None of them blocks, and none of them is changed."""
    regular, fifo = tmp_path / "regular", tmp_path / "fifo"
    regular.write_bytes(b"precious")
    os.mkfifo(fifo)
    for path in regular, fifo, tmp_path:
        check(run("-d", str(path), *command, stdin=b"x"), 1,
              f"{path}: Inappropriate ioctl for device "
              "(this is no ivshmem device)")
    assert regular.read_bytes() == b"precious"


def test_no_device_by_default(run):
    check(run("info"), 1, "/dev/ivshmem0: No such file or directory "
          "(is the module ivshmem loaded?)")


def test_list_nothing(run):
    check(run("list"), 1,
          "there is no /dev/ivshmem0 (is the module ivshmem loaded?)")


def test_version_is_the_projects(run):
    version = subprocess.run(
        ["bash", "-c", f". {TOP}/dkms.conf; echo $PACKAGE_VERSION"],
        stdout=subprocess.PIPE, check=True).stdout
    for option in "-V", "--version":
        check(run(option), 0, "", b"ivshmemctl " + version)


def test_help(run):
    text = run("--help").stdout.decode()
    for command in "list", "info", "ring", "peers", "wait", "read", "write":
        assert f"\n  {command} " in text
        result = run(command, "--help")
        check(result, 0, "", result.stdout)
        assert result.stdout.startswith(
            f"Usage: ivshmemctl [--device PATH|N] {command}".encode())
        assert result.stdout.endswith(b"\n")
        assert run("-h", command).stdout == result.stdout
    for option in "--vector", "--count", "--timeout", "--verbose":
        assert option in run("wait", "--help").stdout.decode()


@pytest.mark.parametrize("words, expected", [
    ([""], "list info ring peers wait read write"),
    (["r"], "ring read"),
    (["-d", "1", "wa"], "wait"),
    (["--"], "--device --help --version"),
    (["ring", "-"], "--device --help"),
    (["wait", "--v"], "--vector --verbose"),
    (["wait", "--count", ""], ""),
    (["ring", ""], ""),
    (["read", "0", ""], ""),
])
def test_completion(words, expected):
    script = """. packaging/bash-completion/ivshmemctl
        COMP_WORDS=(ivshmemctl "$@") COMP_CWORD=$#
        _ivshmemctl ivshmemctl "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
        echo "${COMPREPLY[*]}" """
    assert subprocess.run(
        ["bash", "-eu", "-c", script, "bash", *words], cwd=TOP, check=True,
        stdout=subprocess.PIPE).stdout.decode() == expected + "\n"


@pytest.mark.parametrize("command", ["--help", "--version", "info", "wait",
                                     "read"])
def test_full_output(fake, command):
    """Output that gets lost is an error."""
    args = ["0", "1"] if command == "read" else []
    with open("/dev/full", "wb") as full:
        check(fake.run(command, *args, stdout=full, events="0"), 1,
              "standard output: No space left on device", None)


def test_info(fake):
    check(fake.run("info"), 0, "", b"""device: /dev/ivshmem0
pci: -
position: 3
vectors: 4
size: 4194304
revision: 1
irq_mode: msix
cache_mode: write-back
doorbell: yes
vector 2 count 17
""")


def test_device_by_number_or_path(fake):
    for device in "0", NODE:
        assert fake.run("-d", device, "info").returncode == 0


def test_ring(fake):
    for args in ("65535", "3"), ("0xffFF", "0X3"), ("065535", "03"):
        result = fake.run("ring", *args)
        assert result.stderr == b"ring 65535 3\n"
        assert result.returncode == 0
    assert fake.run("ring", "0", "65535").stderr == b"ring 0 65535\n"
    check(fake.run("ring", "0", "4"), 1,
          "/dev/ivshmem0: Invalid argument (is there such a vector?)")


def test_wait(fake):
    check(fake.run("wait", events="31"), 0, "", b"vector 3 count 1\n")
    check(fake.run("wait", "--count", "2", events="310"), 0, "",
          b"vector 3 count 1\nvector 1 count 2\n")
    check(fake.run("wait", "--vector", "1", events="3310"), 0, "",
          b"vector 1 count 3\n")
    check(fake.run("wait", events="j"), 0, "",
          b"vector 0 count 1 status 0xffffffff join\n")
    check(fake.run("wait", "--verbose", events="0"), 0,
          "/dev/ivshmem0: waiting", b"vector 0 count 1\n")
    check(fake.run("wait", "--vector", "4"), 1,
          "/dev/ivshmem0: Invalid argument (is there such a vector?)")


def test_wait_timeout(fake):
    for seconds in "0", "0.3":
        start = time.monotonic()
        check(fake.run("wait", "--count", "3", "--timeout", seconds,
                       events="21"), 3, "",
              b"vector 2 count 1\nvector 1 count 2\n")
        assert time.monotonic() - start >= float(seconds)


def test_wait_prints_at_once(fake):
    with fake.start("wait", "--count", "2", "--timeout", "1000", events="0",
                    stdout=subprocess.PIPE) as process:
        assert process.stdout.read(99) == b"vector 0 count 1\n"
        assert process.poll() is None
        process.kill()


def test_wait_until_unplug(fake):
    check(fake.run("wait", "--count", "0", events="21x"), 1,
          "/dev/ivshmem0: No such device (was it unplugged?)",
          b"vector 2 count 1\nvector 1 count 2\n")


@pytest.mark.parametrize("offset, length", [
    (0, 0), (0, 1), (1, 4095), (4095, 2), (0, SIZE), (SIZE - 1, 1), (SIZE, 0),
    (12345, 2 * MIB + 7), (MIB - 1, MIB + 2)])
def test_read(fake, offset, length):
    check(fake.run("read", str(offset), hex(length)), 0, "",
          fake.memory.read_bytes()[offset:offset + length])


def test_read_suffixes(fake):
    memory = fake.memory.read_bytes()
    check(fake.run("read", "1M", "2k"), 0, "", memory[MIB:MIB + 2048])
    check(fake.run("read", "0x1K", "0"), 0, "")
    check(fake.run("read", "0", "1G"), 1, "/dev/ivshmem0: 1073741824 bytes "
          "from 0 on reach beyond its end at 4194304")


@pytest.mark.parametrize("offset, length", [
    (SIZE, 1), (SIZE + 1, 0), (1, SIZE), (2**64 - 1, 2), (1, 2**64 - 1)])
def test_read_beyond_end(fake, offset, length):
    check(fake.run("read", str(offset), str(length)), 1,
          f"/dev/ivshmem0: {length} bytes from {offset} on reach beyond "
          f"its end at {SIZE}")


@pytest.mark.parametrize("offset, length", [
    (0, 0), (0, 1), (4095, 2), (0, SIZE), (SIZE - 1, 1), (SIZE, 0),
    (12345, 2 * MIB + 7)])
def test_write(fake, offset, length):
    expected = bytearray(fake.memory.read_bytes())
    data = os.urandom(length)
    expected[offset:offset + length] = data
    check(fake.run("write", str(offset), stdin=data), 0, "")
    assert fake.memory.read_bytes() == expected


@pytest.mark.parametrize("offset", [SIZE, SIZE - 1, SIZE - MIB, 1])
def test_write_beyond_end(fake, offset):
    expected = bytearray(fake.memory.read_bytes())
    data = os.urandom(SIZE - offset)
    expected[offset:] = data
    check(fake.run("write", str(offset), stdin=data + b"x"), 1,
          f"/dev/ivshmem0: only the first {len(data)} bytes were written: "
          "No space left on device")
    assert fake.memory.read_bytes() == expected


def test_write_from_beyond_end(fake):
    check(fake.run("write", str(SIZE + 1)), 1,
          f"/dev/ivshmem0: {SIZE + 1} is beyond its end at {SIZE}")


def test_write_in_pieces(fake):
    """What comes in has been written before more is waited for."""
    with fake.start("write", "10", stdin=subprocess.PIPE) as process:
        for i in range(3):
            process.stdin.write(b"piece%d" % i)
            deadline = time.monotonic() + 30
            while fake.memory.read_bytes()[10 + 6 * i:16 + 6 * i] != \
                    b"piece%d" % i:
                assert time.monotonic() < deadline
        process.stdin.close()
        assert process.wait() == 0


def test_output_lost_at_close(fake):
    fake.env["IVSHMEM_FAKE_FULL"] = "1"
    check(fake.run("read", "0", "1"), 1,
          "standard output: Disk quota exceeded", fake.memory.read_bytes()[:1])


@pytest.mark.parametrize("fd, stream, args", [
    (0, "input", ["write", "0"]), (1, "output", ["read", "0", "1"]),
    (1, "output", ["info"])])
def test_closed_streams(fake, fd, stream, args):
    """The device does not take their place."""
    before = fake.memory.read_bytes()
    with fake.start(*args, events="0123",
                    preexec_fn=lambda: os.close(fd)) as process:
        assert process.stderr.read().decode() == \
            f"ivshmemctl: standard {stream}: Bad file descriptor\n"
        assert process.wait() == 1
    assert fake.memory.read_bytes() == before


def test_closed_errors(fake):
    """Nor is what goes wrong written into the memory."""
    before = fake.memory.read_bytes()
    with fake.start("ring", "0", "4", preexec_fn=lambda: os.close(2)) as process:
        assert process.wait() == 1
    assert fake.memory.read_bytes() == before


UNPLUGGED = b"ivshmemctl: /dev/ivshmem0: No such device (was it unplugged?)\n"


def test_unplug_while_reading(fake):
    with fake.start("read", "0", "4M", stdout=subprocess.PIPE) as process:
        # Blocked in the pipe since its first piece.
        assert process.stdout.read(1)
        os.truncate(fake.memory, 0)
        while process.stdout.read(MIB):
            pass
        assert process.stderr.read() == UNPLUGGED
        assert process.wait() == 1


def test_unplug_while_writing(fake):
    with fake.start("write", "0", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"x")
        while fake.memory.read_bytes()[0] != ord("x"):
            assert process.poll() is None
        os.truncate(fake.memory, 0)
        process.stdin.write(b"y")
        assert process.stderr.read() == UNPLUGGED
        assert process.wait() == 1


def test_reader_goes_away(fake):
    """As other programs do: silently by SIGPIPE, or with an error."""
    for restore, status, stderr in (
            (True, -13, b""),
            (False, 1, b"ivshmemctl: standard output: Broken pipe\n")):
        with fake.start("read", "0", "4M", stdout=subprocess.PIPE,
                   restore_signals=restore) as process:
            assert process.stdout.read(1)
            process.stdout.close()
            assert process.stderr.read() == stderr
            assert process.wait() == status


def test_input_fails(fake):
    directory = os.open("/", os.O_RDONLY)
    with fake.start("write", "0", stdin=directory) as process:
        os.close(directory)
        assert process.stderr.read() == \
            b"ivshmemctl: standard input: Is a directory\n"
        assert process.wait() == 1


def directory(ids, magic=b"ivshmdir", version=1, generation=2):
    """The end of the memory where a server keeps a directory of peers."""
    present = bytearray(8192)
    for peer in ids:
        present[peer // 8] |= 1 << peer % 8
    head = struct.pack("<8sIIQ", magic, version, 99, generation)
    return head.ljust(4096, b"\xff") + present


@pytest.mark.parametrize("ids,out", [
    ([], b""), ([3], b"3 (this one)\n"),
    ([0, 2, 3, 7, 8, 65535], b"0\n2\n3 (this one)\n7\n8\n65535\n"),
    (range(65536), b"".join(b"%d%s\n" % (i, b" (this one)" if i == 3 else b"")
                            for i in range(65536)))],
    ids=["none", "own", "some", "all"])
@pytest.mark.parametrize("generation", [2, 3])
def test_peers(fake, ids, out, generation):
    """All ids that there can be; also if the server died while it wrote."""
    end = directory(ids, generation=generation)
    fake.memory.write_bytes(os.urandom(SIZE - len(end)) + end)
    check(fake.run("peers"), 0, "", out)


@pytest.mark.parametrize("end", [
    directory([1], magic=b"ivshmdi\0"), directory([1], version=2),
    directory([1]) + bytes(4096)])
def test_no_peers(fake, end):
    """No directory, one in another form, or at another place."""
    fake.memory.write_bytes(bytes(SIZE - len(end)) + end)
    check(fake.run("peers"), 1, f"{NODE}: the server keeps no directory of peers "
                                "in this memory")


def test_peers_small_memory(fake):
    """A memory that is smaller than a directory."""
    fake.memory.write_bytes(directory([1])[4096:])
    check(fake.run("peers"), 1, f"{NODE}: the server keeps no directory of peers "
                                "in this memory")

# SPDX-License-Identifier: MIT
"""One virtual machine: QEMU, its QMP socket, its agent and its kernel log.

All VMs of the process are served by whoever waits for one of them, so there
are no threads, and a VM that dies is noticed by every wait.
"""

import base64
import contextlib
import dataclasses
import json
import os
import re
import select
import shlex
import socket
import subprocess
import time
from pathlib import Path

from . import cross
from .arch import AMD64
from .kernels import Kernel, Unavailable

QEMU, = cross.qemu(AMD64)
# A busy machine makes a VM slow; this is the most that a boot may take.
BOOT_TIMEOUT = 120
RUN_TIMEOUT = 60

APPEND = ("loglevel=5 panic=-1 panic_on_warn=1 oops=panic printk.devkmsg=on "
          "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 "
          "cryptomgr.notests mitigations=off nokaslr")

# What the lab's own kernels are told beyond that. While identify_cpu() looks
# anew whether there are five levels of page tables, KASAN takes an interrupt's
# accesses for wild ones.
OWN = {"debug": "kmemleak=on no5lvl"}
LEAKS = """debug=/sys/kernel/debug
[ -e $debug/kmemleak ] || mount -t debugfs debug $debug
sleep 5
echo scan > $debug/kmemleak
echo scan > $debug/kmemleak
cat $debug/kmemleak"""

# What must never stand in a kernel log.
TROUBLE = re.compile(
    r"\bBUG\b|WARNING|\bOops\b|KASAN|UBSAN|KCSAN|Call Trace|Kernel panic|"
    r"possible (circular|recursive) locking|inconsistent lock state|"
    r"lock held when returning|suspicious RCU|sleeping function called|"
    r"unreferenced object|nobody cared|refcount_t|memory leak|"
    r"detected stall|blocked for more than|general protection|"
    r"bad page (map|state)|Bad (rss-counter|page)|bad p(te|md|ud|4d|gd) |"
    r"x86/PAT: .*(conflict|invalid memtype|expected mapping type)|"
    r"scheduling while atomic|stack-protector|list_(add|del) corruption|"
    r"use-after-free|double free")

# What an eventfd is in /proc/PID/fd.
EVENTFD = "anon_inode:[eventfd]"


class VMError(AssertionError):
    """A VM did not do what it was told, or its kernel complained."""


class VMDied(VMError):
    """QEMU ended, or the guest's kernel panicked."""


class BootDied(VMDied):
    """The guest's kernel panicked with nothing of ours in it yet."""


@dataclasses.dataclass
class Result:
    """How a command in a guest ended."""
    command: str
    rc: int
    out: str

    def check(self):
        if self.rc:
            raise VMError(f"{self.command}: exit status {self.rc}\n{self.out}")
        return self

    def __iter__(self):
        return iter((self.rc, self.out))


@dataclasses.dataclass
class Doorbell:
    """An ivshmem-doorbell device on a server: a Server, or its name."""
    server: object = "main"
    vectors: int = 4
    id: str = "iv0"
    bus: str = ""
    options: str = ""

    def backend(self, _vm):
        path = getattr(self.server, "socket", self.server)
        return ["-chardev", f"socket,id={self.id}-chr,path={path}"]

    def device(self):
        return device_option("ivshmem-doorbell", self,
                             chardev=f"{self.id}-chr", vectors=self.vectors)

    def plug(self, vm):
        path = getattr(self.server, "socket", self.server)
        addr = {"type": "unix", "data": {"path": str(path)}}
        vm.qmp("chardev-add", id=f"{self.id}-chr", backend={
            "type": "socket", "data": {"addr": addr, "server": False}})

    def unplug(self, vm):
        vm.qmp("chardev-remove", id=f"{self.id}-chr")


@dataclasses.dataclass
class Plain:
    """An ivshmem-plain device.

    memory is a path, or a name for VMs of one cluster that share it, and None
    for memory of its own.
    """
    size: str = "4M"
    memory: object = None
    id: str = "iv0"
    bus: str = ""
    options: str = ""

    def properties(self):
        size = int(self.size[:-1]) << {"K": 10, "M": 20, "G": 30}[self.size[-1]]
        props = {"id": f"{self.id}-mem", "size": size, "share": True}
        if self.memory:
            return {"qom-type": "memory-backend-file",
                    "mem-path": str(self.memory), **props}
        return {"qom-type": "memory-backend-memfd", **props}

    def backend(self, _vm):
        return ["-object", json.dumps(self.properties())]

    def device(self):
        return device_option("ivshmem-plain", self, memdev=f"{self.id}-mem")

    def plug(self, vm):
        vm.qmp("object-add", **self.properties())

    def unplug(self, vm):
        vm.qmp("object-del", id=f"{self.id}-mem")


def device_option(driver, device, **props) -> dict:
    option = {"driver": driver, "id": device.id, **props}
    if device.bus:
        option["bus"] = device.bus
    for pair in filter(None, device.options.split(",")):
        key, _, value = pair.partition("=")
        option[key] = value
    return option


class Job:
    """A command that runs in a guest."""

    def __init__(self, vm, number, command):
        self.vm, self.number, self.command = vm, number, command
        self.data = b""
        self.rc = None

    @property
    def out(self) -> str:
        return self.data.decode(errors="replace").replace("\r\n", "\n")

    @property
    def running(self) -> bool:
        return self.rc is None

    def wait(self, timeout=RUN_TIMEOUT) -> Result:
        """Waits for its end; kills it, and fails, when the time is up."""
        if not serve(lambda: self.rc is not None, timeout, self.vm):
            self.kill()
            ended = serve(lambda: self.rc is not None, 10, self.vm)
            self.vm.broken = self.vm.broken or not ended
            raise VMError(f"{self.command}: still running after {timeout} s"
                          f"{'' if ended else ' and not to be killed'}\n"
                          f"{self.out}\n{self.vm.tail()}")
        return Result(self.command, self.rc, self.out)

    def expect(self, pattern, timeout=RUN_TIMEOUT) -> re.Match:
        """Waits until its output matches a pattern."""
        regex = re.compile(pattern, re.M)
        serve(lambda: regex.search(self.out) or self.rc is not None, timeout,
              self.vm)
        match = regex.search(self.out)
        if not match:
            state = "ended" if self.rc is not None else f"in {timeout} s"
            raise VMError(f"{self.command}: no {pattern!r}, {state}\n{self.out}")
        return match

    def kill(self, sig=9):
        if self.running:
            self.vm.send(b"K %d %d\n" % (self.number, sig))


class VM:
    """A virtual machine. Made by start(), ended by stop() or destroy()."""

    def __init__(self, kernel: Kernel, initrd: Path, folder: Path, name="vm",
                 machine="q35", cpus=1, memory="512M", devices=(), append="",
                 program=(), qemu=(), shell=False, turns=False):
        self.kernel, self.initrd, self.name = kernel, initrd, name
        self.machine = kernel.arch.machines.get(machine, machine)
        self.cpus, self.memory, self.turns = cpus, memory, turns
        self.devices, self.append = devices, append
        self.program = program or cross.qemu(kernel.arch)
        self.qemu_options = qemu
        self.folder = folder / name
        self.shell_socket = self.folder / "shell" if shell else None
        self.log_file = self.folder / "console.log"
        self.qemu_file = self.folder / "qemu.log"
        self.jobs, self.numbers, self.events = {}, 0, []
        self.buffer, self.qmp_buffer, self.answer = b"", b"", None
        self.process = self.agent = self.monitor = None
        self.ready = self.broken = self.ending = False
        self.checked = 0

    # Life

    def start(self):
        """Starts QEMU; wait_ready() then waits for the guest."""
        self.folder.mkdir(parents=True)
        self.agent, agent = socket.socketpair()
        self.monitor, monitor = socket.socketpair()
        fds = (agent.fileno(), monitor.fileno())
        with open(self.qemu_file, "wb") as log:
            # Whatever becomes of us, QEMU does not stay behind.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command(*fds)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=fds, start_new_session=True)
        agent.close()
        monitor.close()
        self.agent.setblocking(False)
        self.monitor.setblocking(False)
        LIVE.append(self)
        return self

    def command(self, agent: int, monitor: int):
        accel = os.environ.get("IVSHMEM_ACCEL", "tcg")
        if self.turns and accel == "tcg":
            accel += ",thread=single"
        arch = self.kernel.arch
        argv = [*self.program, "-no-user-config", "-nodefaults", "-accel", accel,
                "-machine", self.machine, "-cpu", arch.cpu, "-smp", self.cpus,
                "-m", self.memory, "-display", "none", "-nic", "none",
                "-no-reboot", "-kernel", self.kernel.vmlinux,
                "-initrd", self.initrd, "-append", " ".join((
                    f"console={arch.console}", APPEND, arch.append,
                    OWN.get(self.kernel.name, ""), self.append)),
                "-chardev", f"file,id=console,path={self.log_file}",
                "-serial", "chardev:console",
                "-chardev", f"socket,id=agent,fd={agent}",
                *arch.serial,
                "-chardev", f"socket,id=monitor,fd={monitor}",
                "-mon", "chardev=monitor,mode=control"]
        if self.shell_socket:
            argv += ["-chardev", f"socket,id=shell,path={self.shell_socket},"
                     "server=on,wait=off", "-serial", "chardev:shell"]
        argv += self.qemu_options
        for device in self.devices:
            argv += device.backend(self)
            argv += ["-device", json.dumps(device.device())]
        return [str(a) for a in argv]

    def wait_ready(self, timeout=BOOT_TIMEOUT):
        if not serve(lambda: self.ready, timeout, self):
            self.destroy()
            raise VMError(f"{self.name}: no agent after {timeout} s\n"
                          + self.tail())
        self.qmp("qmp_capabilities")
        return self

    def take_over(self, old: "VM", uri: str):
        """Becomes what another VM is, which ends: this one was started with
        -incoming, and the URI that stands there."""
        self.qmp("qmp_capabilities")
        old.check_log()
        old.qmp("migrate", uri=uri)
        if not serve(lambda: old.qmp("query-migrate").get("status") in
                     ("completed", "failed"), BOOT_TIMEOUT, old):
            raise VMError(f"{self.name}: migration does not end")
        if old.qmp("query-migrate")["status"] != "completed":
            raise VMError(f"{self.name}: {old.qmp('query-migrate')}")
        self.inherit(old)
        self.ready = True
        old.destroy()

    def inherit(self, old: "VM"):
        """What ran in another VM runs in this one."""
        self.jobs, self.numbers = old.jobs, old.numbers
        for job in self.jobs.values():
            job.vm = self

    def hibernate(self):
        """Powers off, with all that runs in its swap."""
        self.check_log()
        self.power_off("echo shutdown > /sys/power/disk && "
                       "echo disk > /sys/power/state", BOOT_TIMEOUT)

    def wake(self, old: "VM", swap: str):
        """Goes on where another VM was hibernated, whose devices it has."""
        asleep = old.jobs[old.numbers]
        self.numbers = old.numbers
        self.start_job(f"cat /sys/class/block/{swap}/dev > /sys/power/resume")
        self.inherit(old)
        asleep.wait(BOOT_TIMEOUT).check()

    def stop(self):
        """Unloads the module, powers off, and judges the whole log."""
        try:
            for job in self.jobs.values():
                job.kill()
            serve(lambda: not any(j.running for j in self.jobs.values()), 10,
                  self)
            self.run("[ ! -e /sys/module/ivshmem ] || rmmod ivshmem").check()
            self.check_leaks()
            self.check_log()
            self.power_off("poweroff -f")
        finally:
            self.destroy()

    def power_off(self, command: str, timeout=RUN_TIMEOUT):
        """Runs a command that ends it, and judges the rest of its log."""
        self.ending = True
        self.start_job(command)
        if not serve(lambda: self.process.poll() is not None, timeout, self):
            raise VMError(f"{self.name}: does not power off\n{self.tail()}")
        self.judge(self.log()[self.checked:])
        if self.process.returncode:
            raise VMError(f"{self.name}: QEMU exit status "
                          f"{self.process.returncode}\n{self.qemu_log()}")

    def check_leaks(self):
        """Looks for memory that nobody points to, if the kernel can tell.

        kmemleak believes so of what is five seconds old and has looked the same
        twice.
        """
        if "kmemleak=on" in OWN.get(self.kernel.name, ""):
            self.judge(self.check(LEAKS, timeout=BOOT_TIMEOUT))

    def destroy(self):
        """Ends it at once."""
        self.ending = self.broken = True
        if self in LIVE:
            LIVE.remove(self)
        if self.process:
            self.process.kill()
            self.process.wait()
        for sock in (self.agent, self.monitor):
            if sock:
                sock.close()

    @property
    def alive(self) -> bool:
        return bool(self.process) and not self.ending

    # The agent

    def send(self, data: bytes):
        deadline = time.monotonic() + RUN_TIMEOUT
        while data:
            try:
                data = data[self.agent.send(data):]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise VMError(f"{self.name}: agent does not listen\n"
                                  + self.tail()) from None
                select.select([], [self.agent], [], 1)
            except OSError:
                self.died()

    def start_job(self, command: str) -> Job:
        """Starts a shell command in the guest."""
        if not self.ready or self.process is None:
            raise VMError(f"{self.name}: not running")
        self.numbers += 1
        job = self.jobs[self.numbers] = Job(self, self.numbers, command)
        data = command.encode()
        self.send(b"R %d %d\n%s" % (self.numbers, len(data), data))
        return job

    def run(self, command: str, timeout=RUN_TIMEOUT) -> Result:
        """Runs a shell command in the guest to its end."""
        return self.start_job(command).wait(timeout)

    def check(self, command: str, timeout=RUN_TIMEOUT) -> str:
        """Runs a command that must succeed; returns what it printed."""
        return self.run(command, timeout).check().out

    def put(self, data: bytes, path: str, mode=0o644):
        """Writes a file in the guest."""
        path = shlex.quote(path)
        self.check(f": > {path}")
        for start in range(0, len(data), 30000):
            text = base64.b64encode(data[start:start + 30000]).decode()
            self.check(f"echo {text} | base64 -d >> {path}")
        self.check(f"chmod {mode:o} {path}")

    def kill_jobs(self):
        """Ends what a test has left running."""
        for job in self.jobs.values():
            job.kill()
        serve(lambda: not any(j.running for j in self.jobs.values()), 10, self)
        self.jobs = {n: j for n, j in self.jobs.items() if j.running}

    # QMP

    def qmp(self, execute: str, timeout=RUN_TIMEOUT, fds=(), **arguments):
        """Runs a QMP command, sends fds along; returns what it returns."""
        self.answer = None
        request = json.dumps({"execute": execute, "arguments": arguments})
        try:
            socket.send_fds(self.monitor, [request.encode() + b"\n"], fds)
        except OSError:
            self.died()
        if not serve(lambda: self.answer is not None, timeout, self):
            self.broken = True
            raise VMError(f"{self.name}: QMP {execute}: no answer")
        if "error" in self.answer:
            raise VMError(f"{self.name}: QMP {execute}: "
                          f"{self.answer['error']['desc']}")
        return self.answer["return"]

    def hmp(self, line: str) -> str:
        """Runs a command of QEMU's human monitor."""
        return self.qmp("human-monitor-command", **{"command-line": line})

    def event(self, name: str, timeout=RUN_TIMEOUT, **data) -> dict:
        """Waits for a QMP event with this data, and takes it."""
        def find():
            return next((e for e in self.events if e["event"] == name
                         and data.items() <= e.get("data", {}).items()), None)
        if not serve(find, timeout, self):
            raise VMError(f"{self.name}: no {name} {data or ''} in {timeout} s")
        found = find()
        self.events.remove(found)
        return found

    def plug(self, device):
        """Hot-plugs a device."""
        device.plug(self)
        self.qmp("device_add", **device.device())

    def unplug(self, device):
        """Asks the guest to let go of a device, waits for it, removes it."""
        with self.detaching(device):
            self.qmp("device_del", id=device.id)

    @contextlib.contextmanager
    def detaching(self, device):
        """Removes what a device leaves in QEMU that something takes away."""
        before = self.open_fds()
        yield
        self.event("DEVICE_DELETED", device=device.id)
        device.unplug(self)
        self.occupy_fds(before - self.open_fds())

    def open_fds(self) -> set:
        try:
            return {int(n) for n in os.listdir(f"/proc/{self.process.pid}/fd")}
        except OSError:
            # It has died; whoever waits for it will notice.
            return set()

    def eventfds(self) -> int:
        """How many of them QEMU has: one for each vector of each peer that it
        has heard of, and some others."""
        count = 0
        for number in self.open_fds():
            # It may just have been closed.
            with contextlib.suppress(OSError):
                count += os.readlink(
                    f"/proc/{self.process.pid}/fd/{number}") == EVENTFD
        return count

    def wait_eventfds(self, count: int):
        """Waits until QEMU has as many: it has taken what a server has sent."""
        if not serve(lambda: self.eventfds() == count, RUN_TIMEOUT, self):
            raise VMError(f"{self.name}: {self.eventfds()} eventfds, "
                          f"not {count}")

    def occupy_fds(self, numbers: set):
        """Keeps numbers of descriptors that QEMU has closed from being used.

        Without KVM, QEMU closes the eventfds of an unplugged ivshmem-doorbell
        and goes on polling their numbers for the device that it has freed. It
        dies at the first descriptor that gets one of them and is readable.
        """
        numbers, tries = set(numbers), 2 * len(numbers) + 64
        while numbers and tries:
            eventfd = os.eventfd(0)
            numbers.discard(self.qmp("add-fd", fds=[eventfd])["fd"])
            os.close(eventfd)
            tries -= 1

    # The kernel log

    def log(self) -> str:
        try:
            return self.log_file.read_text(errors="replace").replace("\r", "")
        except OSError:
            return ""

    def qemu_log(self) -> str:
        return self.qemu_file.read_text(errors="replace").strip()

    def tail(self, lines=60) -> str:
        """The end of what kernel and QEMU said, for a report."""
        text = "\n".join(self.log().splitlines()[-lines:])
        return (f"--- {self.name}: end of the kernel log\n{text}\n"
                f"--- {self.name}: QEMU\n{self.qemu_log()}")

    def mark(self, text: str):
        """Writes a line into the kernel log, and waits until it is there."""
        line = f"lab {len(self.log())}: {text}"
        self.check(f"echo {shlex.quote(line)} > /dev/kmsg")
        if not serve(lambda: line in self.log(), 30, self):
            self.broken = True
            raise VMError(f"{self.name}: the kernel log stands still\n"
                          + self.tail())
        return self.log().rindex(line) + len(line)

    def since(self) -> str:
        """The kernel log since it was judged last."""
        return self.log()[self.checked:]

    def check_log(self, allow=()):
        """Judges the kernel log since the last time; allow: patterns of lines
        that a test has caused on purpose."""
        end = self.mark("checked")
        part, self.checked = self.log()[self.checked:end], end
        self.judge(part, allow)

    def judge(self, text: str, allow=()):
        lines = text.splitlines()
        for i, line in enumerate(lines):
            if TROUBLE.search(line) and not any(re.search(p, line)
                                                for p in allow):
                self.broken = True
                part = "\n".join(lines[max(0, i - 5):i + 60])
                raise VMError(f"{self.name}: the kernel log says:\n{part}")

    def mount_debugfs(self):
        """Makes sure that it is there, at /sys/kernel/debug."""
        self.check("grep -q ' /sys/kernel/debug ' /proc/mounts || "
                   "mount -t debugfs debug /sys/kernel/debug")

    def inodes(self) -> int:
        """How many inodes are in use: each device has one."""
        # What was looked at a short while ago may stay the first time.
        self.check("sync; for i in 1 2 3; do echo 3 > /proc/sys/vm/drop_caches; "
                   "done")
        return int(self.check("cut -f 1 /proc/sys/fs/inode-nr"))

    def leaks(self) -> str:
        """What kmemleak finds of the module, where the kernel has one and
        kmemleak=on stands in append."""
        self.mount_debugfs()
        if self.run("grep -q kmemleak=on /proc/cmdline && "
                    "[ -e /sys/kernel/debug/kmemleak ]").rc:
            return ""
        # What is found the second time was not only on its way.
        self.check("cd /sys/kernel/debug; echo scan > kmemleak; "
                   "echo scan > kmemleak", 300)
        return self.check("grep -B 30 -A 30 ivshmem /sys/kernel/debug/kmemleak "
                          "|| true")

    # Used by serve()

    def died(self):
        """Reports the end of a VM that nobody wanted."""
        self.process.wait()
        if self in LIVE:
            LIVE.remove(self)
        self.broken = True
        status = self.process.returncode
        # The first line of a module, be it that it taints, has its name.
        alone = not self.ready and not status and "ivshmem" not in self.log()
        kind = BootDied if alone else VMDied
        raise kind(f"{self.name} died, QEMU exit status {status}\n"
                   + self.tail())

    def readable(self, sock):
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if not self.ending:
                self.died()
            self.process.wait()
            if self in LIVE:
                LIVE.remove(self)
        elif sock is self.agent:
            self.buffer += data
            self.parse_agent()
        else:
            self.qmp_buffer += data
            self.parse_qmp()

    def parse_agent(self):
        while True:
            head, newline, rest = self.buffer.partition(b"\n")
            if not newline:
                return
            if head == b"H 0 0":
                self.ready = True
                self.buffer = rest
                continue
            match = re.fullmatch(rb"([OX]) (\d+) (\d+)", head)
            if not match:
                # The firmware and the tty say a few things before the agent.
                if self.ready:
                    raise VMError(f"{self.name}: agent says {head!r}")
                self.buffer = rest
                continue
            number, value = int(match[2]), int(match[3])
            job = self.jobs.get(number)
            if match[1] == b"X":
                if job:
                    job.rc = value
                self.buffer = rest
                continue
            if len(rest) < value:
                return
            if job:
                job.data += rest[:value]
            self.buffer = rest[value:]

    def parse_qmp(self):
        *lines, self.qmp_buffer = self.qmp_buffer.split(b"\n")
        for line in filter(None, lines):
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)
            elif "QMP" not in message:
                self.answer = message


LIVE = []


def serve(condition, timeout: float, vm: VM = None) -> bool:
    """Serves all VMs until a condition holds; False if the time is up first.

    Raises VMDied when any of them dies, or when the given one is dead.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if vm and vm not in LIVE:
            if vm.ending:
                return bool(condition())
            vm.died()
        sockets = {s: v for v in LIVE for s in (v.agent, v.monitor)}
        # Some conditions are not about a socket: look again now and then.
        ready, _, _ = select.select(list(sockets), [], [], min(left, 0.05))
        for sock in ready:
            if sockets[sock] in LIVE:
                sockets[sock].readable(sock)
    return True


def need_qemu():
    try:
        subprocess.run([QEMU, "--version"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Unavailable(f"{QEMU} does not run") from None

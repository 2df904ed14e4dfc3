# SPDX-License-Identifier: MIT
"""The driver on forms of the device that only a model can be: interrupt pins,
revision 0, the registers of the first design, and devices that misbehave."""

import itertools
import re
import time

import pytest

from lab import guestmod, starved
from lab.cluster import guest
from lab.entries import debuggers_see_it, settings
from lab.model import ModelDevice
from lab.tap import judge, run_guest_program

# Slots that are a multiple of 4 apart share an interrupt line. QEMU takes BAR2
# of a device with a pin out of the guest's reach once there was an interrupt, so
# that each access becomes a message: theirs is small.
SERVERS = {
    "pins": {"guests": 2, "irq": "intx", "revision": 0, "size": 1 << 16},
    "late": {"guests": 1, "irq": "intx", "revision": 0, "position": 7,
             "late": 25, "trap": True},
    "stock": {"guests": 1, "irq": "msix", "position": 3, "size": 8 << 20},
    "mute": {"guests": 1, "irq": "none"},
    "noregs": {"guests": 1, "regs": 0},
    "nobar": {"guests": 1, "size": 0},
    "smallbar": {"guests": 1, "size": 256},
}
SLOTS = {("pins", 0): 4, ("late", 0): 5, ("nobar", 0): 6, ("smallbar", 0): 7,
         ("pins", 1): 8, ("mute", 0): 9, ("noregs", 0): 10, ("stock", 0): 12}


# On the one, handlers and those who wait for them run side by side.
CPUS = {"q35": {}, "pc": {"cpus": 2}}
# What instructions are counted with: each takes a nanosecond.
ICOUNT = ("-icount", "shift=0,sleep=off")
# One of QEMU's own on the line of the two pins, for a driver of the kernel's own.
OTHER = ("-device", "ich9-usb-uhci1,addr=0x10")


class Machine:
    """A VM, and the models of its devices."""

    def __init__(self, cluster):
        self.vm, self.models = cluster[0], cluster.servers

    def slot(self, model, index=0) -> str:
        return f"0000:00:{SLOTS[model, index]:02x}.0"

    def node(self, model, index=0) -> str:
        """The character device of a device."""
        path = f"/sys/bus/pci/devices/{self.slot(model, index)}/misc"
        return "/dev/" + self.vm.check(f"ls {path}").strip()

    def unbind(self, model, index=0):
        self.vm.check(f"echo {self.slot(model, index)} "
                      "> /sys/bus/pci/drivers/ivshmem/unbind")

    def bind(self, model, index=0) -> bool:
        """Lets the driver try the device; whether it took it."""
        return self.vm.run(f"echo {self.slot(model, index)} "
                           "> /sys/bus/pci/drivers/ivshmem/bind").rc == 0

    def rebind(self, model, index=0) -> bool:
        self.unbind(model, index)
        return self.bind(model, index)

    def said(self, name, text):
        """Whether the driver has said something of a device since the last
        check of the log."""
        self.vm.mark("said")
        return re.search(rf"ivshmem {self.slot(*name)}: .*{text}",
                         self.vm.since())

    def count(self, model, index=0) -> int:
        """Interrupts of the first vector, as the driver counts them."""
        name = self.node(model, index).removeprefix("/dev/")
        return int(self.vm.check(f"cat /sys/class/misc/{name}/counts/0"))

    def wait_count(self, count, model, index=0):
        """Waits until the driver has counted so many."""
        name = self.node(model, index).removeprefix("/dev/")
        self.vm.check(f"until [ $(cat /sys/class/misc/{name}/counts/0) -ge "
                      f"{count} ]; do sleep 0.05; done", timeout=400)

    def healthy(self):
        """The devices that do not misbehave still work."""
        run_guest_program(self.vm, "basic", self.node("stock"))

    def quiet(self, number) -> bool:
        """Whether there is no interrupt on a line while other devices work."""
        show = f"grep '^ *{number}:' /proc/interrupts"
        before = self.vm.check(show)
        self.healthy()
        return self.vm.check(show) == before


def boot(vms, name, models, **options):
    """A VM with the devices of some models, and another on the line of the pins."""
    devices = [ModelDevice(index, server=model, id=f"{model}{index}",
                           options=f"addr={slot:#x}")
               for (model, index), slot in SLOTS.items() if model in models]
    return Machine(vms(guest(devices, machine=name, qemu=OTHER, **CPUS[name],
                             modules=["uhci_hcd", "brd"]),
                       servers={model: SERVERS[model] for model in models},
                       **options))


@pytest.fixture(params=["q35", "pc"])
def machine(request, vms):
    """A shared VM with one device of each kind."""
    return boot(vms, request.param, SERVERS, share=True)


# What lacks a BAR, or has too small a one.
REFUSED = {"noregs": "BAR0 has no room for the registers",
           "nobar": "BAR2 is not whole pages of memory",
           "smallbar": "BAR2 is not whole pages of memory"}


def test_probed(machine):
    """Each device is taken, or refused with a word on why."""
    log = machine.vm.log()
    for name, text in REFUSED.items():
        assert re.search(rf"ivshmem {machine.slot(name)}: .*{text}", log)
        assert machine.vm.run(f"ls /sys/bus/pci/devices/{machine.slot(name)}"
                              "/misc").rc
        # It is as free as it was, and the driver sees it through once more.
        assert not machine.bind(name)
        assert machine.said([name], text)
    stats = machine.models["late"].stats()
    assert stats["mask"] == 0xffffffff
    table = machine.vm.check("ivshmemctl list")
    assert " 7 " in table
    machine.healthy()


def test_stock_form(machine):
    """The form that QEMU shows, in a process: nothing is different."""
    run_guest_program(machine.vm, "basic", machine.node("stock"))


def test_late_position(machine):
    """Memory is left alone until the position is known; and without one, probe
    gives up after a while, and succeeds when tried again later."""
    model, vm = machine.models["late"], machine.vm
    assert model.stats()["early"] == 0

    machine.unbind("late")
    model.command("position", 0, 0xffffffff)
    assert not machine.bind("late")
    assert machine.said(["late"], "no peer id .* reads 0xffffffff")
    assert model.stats()["early"] == 0
    assert model.stats()["mask"] == 0

    model.command("position", 0, 7)
    assert machine.bind("late")
    assert " 7 " in vm.check(f"ivshmemctl list | grep {machine.node('late')}")


def test_wrong_position(machine):
    """A position that no peer can have is refused, and the device let go."""
    model = machine.models["stock"]
    machine.unbind("stock")
    model.command("position", 0, 65536)
    assert not machine.bind("stock")
    assert machine.said(["stock"], "position register reads 0x10000")
    model.command("position", 0, 3)
    assert machine.bind("stock")
    machine.healthy()


@pytest.mark.parametrize("position", [65536, 0xffffffff])
def test_failed_line(machine, position):
    """A device that holds its line leaves it in peace while the driver waits for
    a position, and when that has been in vain."""
    model, vm = machine.models["pins"], machine.vm
    number = line(vm)[0]
    machine.unbind("pins", 1)
    model.command("position", 1, position)
    model.command("mode", 1, "deaf")
    sent = model.stats(1)["interrupts"]
    assert not machine.bind("pins", 1)
    assert machine.said(["pins", 1], f"position register reads {position:#x}")
    assert machine.quiet(number)
    # One, as enabling the device enables its pin.
    assert model.stats(1)["interrupts"] <= sent + 1
    assert "nobody cared" not in vm.since()
    model.command("mode", 1, "none")
    model.command("position", 1, 1)
    assert machine.bind("pins", 1)
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)


def line(vm) -> tuple:
    """The line that both pins share with another driver: number, interrupts."""
    if vm.run("[ -e /sys/bus/pci/drivers/uhci_hcd ]").rc:
        pytest.skip("the kernel has no uhci_hcd to share the line with")
    lines = [l.split() for l in vm.check("cat /proc/interrupts").splitlines()
             if l.count("ivshmem") == 2 and "uhci_hcd" in l]
    assert len(lines) == 1, "the devices do not share a line"
    counts = itertools.takewhile(str.isdigit, lines[0][1:])
    return lines[0][0].rstrip(":"), sum(map(int, counts))


def test_shared_line(machine):
    """Each ring on a line that two devices share is heard, by the right one,
    whichever processor takes the interrupts."""
    vm, (number, before) = machine.vm, line(machine.vm)
    cpus = CPUS[vm.machine].get("cpus", 1)
    rounds = 1000 // cpus
    for cpu in reversed(range(cpus)):
        vm.check(f"echo {1 << cpu} > /proc/irq/{number}/smp_affinity")
        run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                          machine.node("pins", 1), rounds, timeout=120)
    assert line(vm)[1] - before >= 2 * cpus * rounds
    assert "nobody cared" not in vm.since()


def test_masked(machine):
    """What arrives while no driver is there waits in the status register."""
    model = machine.models["pins"]
    machine.unbind("pins", 1)
    before = model.stats(1)
    assert before["mask"] == 0
    model.command("ring", 1, 1)
    after = model.stats(1)
    assert after["events"] == before["events"] + 1
    assert after["interrupts"] == before["interrupts"]
    assert after["status"] == 1

    assert machine.bind("pins", 1)
    machine.wait_count(1, "pins", 1)
    after = model.stats(1)
    assert after["interrupts"] == before["interrupts"] + 1
    assert after["status"] == 0


def test_status(machine):
    """The status is handed out; all ones in it are a notice."""
    model, vm = machine.models["pins"], machine.vm
    job = vm.start_job(f"/tests/intx_events {machine.node('pins', 1)} 1")
    job.expect("^# ready$")
    model.command("ring", 1, 5)
    match = job.expect(r"event vector=(\d+) flags=(\w+) status=(\w+)$")
    # The stock doorbell carries no value.
    assert match.groups() == ("0", "0", "0x1")
    judge("intx_events", *job.wait())


@pytest.mark.parametrize("mode", ["stuck", "deaf", "storm"])
def test_endless(machine, mode):
    """A line that never falls is given pauses. It, and one that rises again at
    once, leave the machine alive; when it ends the device works."""
    model, vm = machine.models["pins"], machine.vm
    assert machine.rebind("pins", 1)
    number, before = line(vm)[0], model.stats(1)["interrupts"]
    warnings = "dmesg | grep -c 'without end'"
    warned = int(vm.run(warnings).out)
    model.command("mode", 1, mode)
    vm.check(f"until [ $({warnings}) -gt {warned} ]; do sleep 0.1; done",
             timeout=120)
    assert machine.said(["pins", 1], "interrupts without end")
    machine.healthy()
    assert model.stats(1)["interrupts"] > before + 20

    # Without a driver the line is left in peace, whatever the device does.
    machine.unbind("pins", 1)
    deadline = time.monotonic() + 30
    while not machine.quiet(number):
        assert time.monotonic() < deadline
    assert "nobody cared" not in vm.since()
    assert machine.bind("pins", 1)
    machine.healthy()
    model.command("mode", 1, "none")
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)


def test_silent(machine):
    """A line that is high and says nothing: no interrupt of it is claimed, beside
    others that share it."""
    model, vm = machine.models["pins"], machine.vm
    number, count = line(vm)[0], machine.count("pins", 1)
    unhandled = f"sed -n 's/^unhandled //p' /proc/irq/{number}/spurious"
    before, sent = int(vm.check(unhandled)), model.stats(1)["interrupts"]
    # The guest may not get to anything else meanwhile.
    model.command("mode", 1, "silent")
    deadline = time.monotonic() + 60
    while model.stats(1)["interrupts"] < sent + 500:
        assert time.monotonic() < deadline, model.stats(1)
        time.sleep(0.01)
    model.command("mode", 1, "none")
    # It starts again after a pause of 100 ms.
    after = int(vm.check(unhandled))
    assert after != before and after >= 20
    assert machine.count("pins", 1) == count
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)


@pytest.mark.only_on("6.12")
def test_nobody_cared(vms):
    """Where that goes on the kernel gives the line up, and looks by itself from
    time to time, so that the device can still be rung. The others are as they
    were, and a device that is plugged in later has the line back."""
    vms.allow("nobody cared|Call Trace")
    # The kernel counts anew after 100 ms without. In a guest that is always busy,
    # and whose time is its instructions, those are longer than QEMU or the model
    # ever wait for their turn.
    cluster = vms(guest([ModelDevice(0, id="iv0", options="addr=0x4"),
                         ModelDevice(1, id="iv1", options="addr=0x5")],
                        machine="pc", qemu=ICOUNT),
                  servers={"device": {"guests": 2, "irq": "intx", "revision": 0,
                                      "size": 1 << 16}})
    vm, model = cluster[0], cluster.servers["device"]
    lines = vm.check("sed -n 's/^ *\\([0-9]*\\):.*ivshmem.-0$/\\1/p' "
                     "/proc/interrupts").split()
    assert len(lines) == 2, "they are to have a line each"
    interrupts = f"awk '/ivshmem0-0$/ {{ print $2 }}' /proc/interrupts"
    sent = model.stats(0)["interrupts"]
    busy = vm.start_job("while :; do :; done")
    model.command("mode", 0, "silent")
    deadline = time.monotonic() + 300
    while not re.search(r"Disabling IRQ #\d+\n", vm.log()):
        assert time.monotonic() < deadline, model.stats(0)
        time.sleep(0.1)
    busy.kill()
    busy.wait()
    assert model.stats(0)["interrupts"] >= sent + 99900
    run_guest_program(vm, "basic", "/dev/ivshmem1", "pin")
    given_up = vm.check(interrupts)
    assert vm.check("cat /sys/class/misc/ivshmem0/counts/0") == "0\n"
    vm.check("ivshmemctl -d /dev/ivshmem0 info")

    model.command("mode", 0, "none")
    run_guest_program(vm, "intx_pair", "/dev/ivshmem0", "/dev/ivshmem1", 20)
    assert vm.check(interrupts) == given_up

    model.command("mode", 0, "silent")
    job = vm.start_job("/tests/uio_unplug /dev/ivshmem0")
    job.expect("^# ready$")
    vm.unplug(vm.devices[0])
    judge("uio_unplug", *job.wait())
    model.command("mode", 0, "none")
    vm.plug(vm.devices[0])
    vm.check("until [ -e /dev/ivshmem0 ]; do sleep 0.05; done")
    given_up = int(vm.check(interrupts))
    run_guest_program(vm, "basic", "/dev/ivshmem0", "pin")
    assert int(vm.check(interrupts)) > given_up


def test_message_storm(machine):
    """Messages without end, which the driver cannot keep from coming, leave the
    machine alive; when they end, so do the interrupts."""
    model, vm = machine.models["stock"], machine.vm
    count = machine.count("stock")
    model.command("mode", 0, "storm")
    machine.wait_count(count + 1000, "stock")
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)
    model.command("mode", 0, "none")
    # What was sent before goes the way of what these send, in front of them.
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)
    count, sent = machine.count("stock"), model.stats()["interrupts"]
    machine.healthy()
    # That rings the last vector, once.
    assert machine.count("stock") == count
    assert model.stats()["interrupts"] == sent + 1


def test_all_ones(machine):
    """A device whose registers read as ones is not there: no interrupt of its
    line is taken for a notice, and it can be let go and come back."""
    model, vm = machine.models["pins"], machine.vm
    mine, other = machine.count("pins", 0), machine.count("pins", 1)
    model.command("mode", 1, "ones")
    model.command("ring", 0, 1)
    machine.wait_count(mine + 1, "pins", 0)
    assert machine.count("pins", 1) == other
    assert not machine.rebind("pins", 1)
    assert machine.said(["pins", 1], "no peer id")
    model.command("mode", 1, "none")
    assert machine.bind("pins", 1)
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)


def test_no_interrupt(machine, lab):
    """A pin whose line cannot be had leaves a device that others can be rung
    through, and that gets its interrupt when it is tried again."""
    vm = machine.vm
    machine.unbind("pins", 1)
    guestmod.load(lab, vm, "refuse", symbol="request_threaded_irq", error=-16)
    assert machine.bind("pins", 1)
    vm.check("rmmod refuse")
    assert machine.said(["pins", 1], r"cannot take interrupt \d+: -16\b")
    node, count = machine.node("pins", 1), machine.count("pins", 0)
    assert vm.check("cat /sys/class/misc/" + node.removeprefix("/dev/")
                    + "/vectors") == "0\n"
    vm.check(f"ivshmemctl -d {node} ring 0 1")
    machine.wait_count(count + 1, "pins", 0)
    assert machine.rebind("pins", 1)
    run_guest_program(vm, "intx_pair", machine.node("pins", 0),
                      machine.node("pins", 1), 20)


def test_burst(machine, request):
    """As many events as come, each after the last was seen, are counted; the
    kernel looks every 100,000 whether anybody cares."""
    # Once for all of Debian's kernels.
    kernels = [k for k in request.config.getoption("--kernels").split(",")
               if k not in ("debug", "kcsan")] or [None]
    most = machine.vm.machine == "q35" and \
        request.node.callspec.params["kernel"] == kernels[-1]
    events = 105000 if most else 3000
    model = machine.models["pins"]
    before, start = machine.count("pins", 1), line(machine.vm)[1]
    model.command("burst", 1, events)
    machine.wait_count(before + events, "pins", 1)
    # Every 512 interrupts the driver reads on, for up to 16 events.
    assert line(machine.vm)[1] - start >= (events - 16) * 512 // (512 + 16)
    assert machine.count("pins", 1) == before + events
    assert model.stats(1)["status"] == 0
    machine.healthy()


@pytest.mark.parametrize("name", ["pins", "stock"])
def test_uio(machine, name):
    """UIO beside the character device, with a pin and with messages."""
    run_guest_program(machine.vm, "uio_both", machine.node(name))


# With what each takes after the name of the device.
PROGRAMS = {
    "getinfo": (8 << 20, 4, 3), "vectors": (4,), "ring": (), "waits": (),
    "read": (), "readers": (), "poll": (), "mmap": (), "signals": (),
    "eventfd": (), "subscribe": (), "epoll": (), "uring": (), "splice": (),
    "sigio": (), "rights": (), "sharing": (), "sysfs": (), "busy": (),
    "churn": (100,), "race": ("free", 2000), "unplug": ("unbind",),
    "unplug churn": ("churn", 5), "fuzz": ("--calls=20000",),
}
# One vector is enough for them, or for a part of them.
PIN_PROGRAMS = {
    **{name: PROGRAMS[name] for name in
       ["ring", "waits", "read", "readers", "poll", "mmap", "signals",
        "eventfd", "epoll", "uring", "splice", "sigio", "rights", "sysfs",
        "busy", "unplug", "unplug churn", "fuzz"]},
    "basic": ("pin",), "getinfo": (1 << 16, 1, 0, "pin"),
    "race": ("phase", 500),
}


@pytest.mark.parametrize("machine", ["q35"], indirect=True)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(machine, program):
    """What holds for QEMU's own device holds for this one."""
    run_guest_program(machine.vm, program.split()[0], machine.node("stock"),
                      *PROGRAMS[program], timeout=270)


@pytest.mark.parametrize("program", PIN_PROGRAMS)
def test_pin_program(machine, kernel, program):
    """It holds for one with an interrupt pin too, on a line that it shares."""
    args = PIN_PROGRAMS[program]
    if kernel.name == "debug" and program == "unplug churn":
        # The model's pin is slow: each takes a minute.
        args = "churn", 2
    run_guest_program(machine.vm, program.split()[0], machine.node("pins"), *args,
                      timeout=270)


@pytest.mark.parametrize("call", starved.ALLOCATORS)
def test_no_memory(machine, lab, call):
    """With a pin too a call that gets no memory fails and changes nothing."""
    starved.check(lab, machine.vm, machine.node("pins"), call)


@pytest.mark.parametrize("machine", ["q35"], indirect=True)
def test_map_calls(machine, lab):
    """What may be done to its mapping, and what may not, is no different either."""
    vm = machine.vm
    guestmod.load(lab, vm, "pagewalk")
    vm.check("modprobe brd rd_nr=1 rd_size=1024")
    run_guest_program(vm, "map_calls", machine.node("stock"), 8 << 20,
                      next(settings(vm)), int(debuggers_see_it(vm)), 1,
                      timeout=180)


@pytest.mark.parametrize("machine", ["q35"], indirect=True)
def test_in_use(machine):
    """Unbound below all ways of using it: each is told."""
    debugger = "debugger" if debuggers_see_it(machine.vm) else ""
    job = machine.vm.start_job(f"/tests/inuse {machine.node('stock')} {debugger}")
    job.expect("^# ready$", 180)
    machine.unbind("stock")
    judge("inuse", *job.wait())
    assert machine.bind("stock")
    machine.healthy()


def test_mute(machine):
    """A device without any interrupt is plain memory."""
    node = machine.node("mute")
    run_guest_program(machine.vm, "plain", node, 4 << 20, "plain")
    run_guest_program(machine.vm, "uio_plain", node)


@pytest.mark.parametrize("name", ["pins", "stock", "mute"])
def test_unbind(machine, name):
    """Unbound with both nodes open and mapped: nothing is left behind."""
    job = machine.vm.start_job(f"/tests/uio_unplug {machine.node(name)}")
    job.expect("^# ready$")
    machine.unbind(name)
    judge("uio_unplug", *job.wait())
    assert machine.bind(name)


def test_unplug(vms):
    """Pulled out of the machine with both nodes open and mapped, and plugged in
    again. (QEMU itself dies where it does so to a model with messages.)"""
    vm = vms(guest([ModelDevice(bus="rp0")], qemu=[
        "-device", "pcie-root-port,id=rp0,slot=1"]), servers={
            "device": {"guests": 1, "irq": "intx", "revision": 0,
                       "size": 1 << 16}})[0]
    for _ in range(2):
        job = vm.start_job("/tests/uio_unplug /dev/ivshmem0")
        job.expect("^# ready$")
        vm.unplug(vm.devices[0])
        judge("uio_unplug", *job.wait())
        vm.check("[ ! -e /dev/ivshmem0 ] && [ ! -e /dev/uio0 ]")
        vm.plug(vm.devices[0])
        vm.check("until [ -e /dev/ivshmem0 ] && [ -e /dev/uio0 ]; do "
                 "sleep 0.05; done")
        run_guest_program(vm, "basic", "/dev/ivshmem0", "pin")


def test_reset(vms):
    """Reset by the port above it, below programs that use a device with messages
    and its peer."""
    vm = vms(guest([ModelDevice(0, bus="rp0"), ModelDevice(1, id="iv1")], cpus=2,
                   qemu=["-device", "pcie-root-port,id=rp0,slot=1"]),
             servers={"device": {"guests": 2}})[0]
    device = "/sys/bus/pci/devices/0000:01:00.0"
    name = vm.check(f"ls {device}/misc").strip()
    peer = {"ivshmem0": "ivshmem1", "ivshmem1": "ivshmem0"}[name]
    resets = 3
    job = vm.start_job(f"/tests/reset /dev/{name} {resets} /dev/{peer}")
    job.expect("^# ready$")
    for _ in range(resets):
        vm.check(f"echo 1 > {device}/reset")
    judge("reset", *job.wait(240))
    run_guest_program(vm, "basic", f"/dev/{name}")


# The first design: two VMs, each with one device that has a pin, and others with
# messages: one as it was specified, one with too small a BAR0 to be known by it,
# and one with a larger BAR0.
FIRST = {
    "pin": {"guests": 2, "irq": "intx", "revision": 0, "layout": "2010",
            "size": 1 << 16},
    # 31 is the highest for whom there is a register.
    "msi": {"guests": 2, "irq": "msix", "revision": 0, "layout": "2010",
            "position": 30},
    "narrow": {"guests": 2, "irq": "msix", "revision": 0, "layout": "2010",
               "position": 6, "regs": 256},
    "wide": {"guests": 2, "irq": "msix", "revision": 0, "layout": "2010",
             "position": 200, "regs": 8192},
}


def first_guest(index):
    """One of them. Its devices are in the order of their names above."""
    return guest([ModelDevice(index, server=name, id=name,
                              options=f"addr={slot:#x}")
                  for slot, name in enumerate(FIRST, 4)])


@pytest.fixture
def first(vms):
    return vms(first_guest(0), first_guest(1), servers=FIRST, share=True)


# What peers hear when one comes: a status of ones, or vector 0.
JOINS = [("0", "0x1", "0xffffffff"), ("0", "0x1", "0")]
EVENT = r"event vector=(\d+) flags=(\w+) status=(\w+)$"


def listen(vm, device):
    """A job that prints the next event of a device, and is ready for it."""
    job = vm.start_job(f"/tests/intx_events /dev/ivshmem{device} 1")
    job.expect("^# ready$")
    return job


def refused(vm, device, peer, value):
    """Whether such a ring is an error, and the right one."""
    ring = vm.run(f"ivshmemctl -d {device} ring {peer} {value}")
    return ring.rc and "Invalid argument" in ring.out


def force(vm, layout):
    """Loads the module with one layout for all devices, or -1 for their own."""
    vm.check(f"rmmod ivshmem && modprobe ivshmem doorbell_per_peer={layout}")


def heard(job):
    """Waits for the one event that a job is to print."""
    match = job.expect(EVENT)
    judge("intx_events", *job.wait())
    return match.groups()


@pytest.mark.parametrize("sender", [0, 1])
def test_first_design(first, sender):
    """Values pass both ways; the doorbell of each peer is its own."""
    a, b = first[sender], first[1 - sender]
    for device, value, event in ((0, 4660, ("0", "0", "0x1234")),
                                 (1, 2, ("2", "0", "0")),
                                 (3, 3, ("3", "0", "0"))):
        peer = list(FIRST.values())[device].get("position", 0) + 1 - sender
        job = listen(b, device)
        a.check(f"ivshmemctl -d {device} ring {peer} {value}")
        assert heard(job) == event
        # 0 says nothing.
        assert refused(a, device, peer, 0)

    # There is no register for peer 32; of the larger BAR0, none for 256.
    for device, peer in ((0, 32), (1, 32), (3, 256)):
        assert refused(a, device, peer, 1)
        a.check(f"ivshmemctl -d {device} ring {peer - 1} 1")


def test_first_design_memory(first):
    """What one writes the other reads."""
    a, b = first
    for device in range(len(FIRST)):
        a.check(f"echo hello{device} | ivshmemctl -d {device} write 4096")
        assert b.check(f"ivshmemctl -d {device} read 4096 6") == f"hello{device}"


def test_first_design_join(first):
    """That a peer comes is told: by a status of ones, or by vector 0."""
    a, b = first
    jobs = [listen(a, device) for device in (0, 1)]
    # The model takes the start of a VM for it; a reset of one is none.
    for model in first.servers.values():
        model.command("join", 1)
    assert [heard(job) for job in jobs] == JOINS


@pytest.mark.parametrize("name", ["pin", "msi"])
def test_first_design_subscribe(first, name):
    """The notice is for those who subscribe to its vector."""
    device, model = list(FIRST).index(name), first.servers[name]
    job = first[0].start_job(f"/tests/joins /dev/ivshmem{device}")
    for number in range(1, 8 if name == "pin" else 6):
        match = job.expect(rf"^# {number} (join|ring (\d))$")
        if match[1] == "join":
            model.command("join", 1)
        else:
            model.command("ring", FIRST[name].get("position", 0), match[2])
    judge("joins", *job.wait())


def test_first_design_joins(vms):
    """The same of a machine that really starts."""
    cluster = vms(first_guest(0), servers=FIRST)
    jobs = [listen(cluster[0], device) for device in (0, 1)]
    cluster.start(first_guest(1))
    assert [heard(job) for job in jobs] == JOINS
    cluster[1].wait_ready()


def test_forced_layout(first):
    """A module parameter overrules what the size of BAR0 says: only one register
    for all takes a peer for which there is no register of its own."""
    a, b = first
    for layout in -2, 2, "x":
        a.check("rmmod ivshmem")
        assert a.run(f"modprobe ivshmem doorbell_per_peer={layout}").rc
        assert f"`{layout}' invalid for parameter `doorbell_per_peer'" in a.log()
        a.check("modprobe ivshmem")
    # Peer and value as the one register takes them; it is that of peer 0, who
    # finds in its status what was written.
    job = listen(a, 0)
    force(b, 0)
    b.check("ivshmemctl -d 0 ring 32 7")
    assert heard(job) == ("0", "0", "0x200007")

    # Even a BAR0 that says nothing of it has registers for some peers.
    job = listen(b, 2)
    force(a, 1)
    a.check("ivshmemctl -d 2 ring 7 1")
    assert heard(job) == ("1", "0", "0")
    assert refused(a, 2, 8, 1)
    assert refused(a, 0, 32, 1)

    for vm in first:
        force(vm, -1)
    job = listen(a, 0)
    b.check("ivshmemctl -d 0 ring 0 7")
    assert heard(job) == ("0", "0", "0x7")
    assert refused(b, 0, 32, 7)


@pytest.mark.parametrize("device", [0, 1, 3])
def test_first_design_uio(first, device):
    """Through UIO too each peer has its register, also beyond the first page."""
    run_guest_program(first[0], "uio_both", f"/dev/ivshmem{device}")


@pytest.mark.only_on("debug", "kcsan")
@pytest.mark.ci_kcsan
def test_handler(vms):
    """What of the above says most of the handler, without the rest: beside another
    on its line, on two processors, with pauses, and while the driver lets go."""
    machine = boot(vms, "pc", ["pins", "stock"])
    test_shared_line(machine)
    test_endless(machine, "stuck")
    test_unbind(machine, "pins")


@pytest.mark.only_on("debug")
@pytest.mark.ci_debug
def test_old_forms(vms):
    """What of the above says most of revision 0, of pins and of the first design,
    with one machine: notices, UIO, and a driver that lets go below both nodes."""
    first = vms(first_guest(0), servers=FIRST)
    for device, name in enumerate(["pin", "msi"]):
        test_first_design_subscribe(first, name)
        test_first_design_uio(first, device)
        job = first[0].start_job(f"/tests/uio_unplug /dev/ivshmem{device}")
        job.expect("^# ready$")
        first[0].check(f"echo 0000:00:{4 + device:02x}.0 "
                       "> /sys/bus/pci/drivers/ivshmem/unbind")
        judge("uio_unplug", *job.wait())

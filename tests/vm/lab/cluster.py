# SPDX-License-Identifier: MIT
"""Servers and VMs that belong together, and the pool that keeps them."""

import contextlib
import dataclasses
import itertools
import shutil
import tempfile
import warnings
from pathlib import Path

from . import qemu11
from .build import Builder
from .model import Model, ModelDevice
from .server import Server
from .vm import LIVE, VM, BootDied, Doorbell, Plain, need_qemu

# Idle VMs cost memory and little else.
MAX_POOLED = 6


def guest(devices=(Doorbell(),), **options) -> dict:
    """What a VM is to be: devices, and arguments of VM and of initramfs(); or
    a system to boot."""
    return {"devices": tuple(devices), **options}


class Cluster:
    """Some servers, by name, and some VMs that use them.

    A Doorbell names its server; a Plain names its memory, and shares it with
    other VMs that name the same.
    """

    def __init__(self, lab, kernel, guests, servers=None):
        self.lab, self.kernel = lab, kernel
        self.folder = lab.new_folder()
        self.servers, self.vms = {}, []
        self.failed = self.paused = False
        wanted = {d.server for g in guests for d in g["devices"]
                  if isinstance(d, Doorbell) and isinstance(d.server, str)}
        try:
            for name in sorted(wanted | set(servers or ())):
                self.server(name, **(servers or {}).get(name, {}))
            self.add(*guests)
        except BaseException:
            self.failed = True
            self.discard()
            raise

    def server(self, name="main", **options):
        """Starts another server; with guests=, the model of a device."""
        if "guests" in options:
            self.servers[name] = Model(self.lab.builder, self.folder, name=name,
                                       **options)
            return self.servers[name]
        program = self.lab.builder.tools() / "ivshmem-server"
        self.servers[name] = Server(program, self.folder, name=name, **options)
        return self.servers[name]

    def add(self, *guests):
        """Boots more VMs, side by side; returns them."""
        new = self.start(*guests)
        for vm in new:
            vm.wait_ready()
        return new

    def start(self, *guests):
        """Starts more VMs; their wait_ready() has yet to be called."""
        need_qemu()
        new = []
        for options in guests:
            options = dict(options)
            image = {k: options.pop(k) for k in
                     ("modules", "autoload", "tests", "m32", "shell", "own")
                     if k in options}
            system = options.pop("system", None)
            kernel = system.kernel if system else self.kernel
            initrd = (system.initrd if system else
                      self.lab.builder.initramfs(kernel, **image))
            name = options.pop("name", "") or chr(ord("a") + len(self.vms))
            if self.kernel.name == "kcsan":
                # Races need two.
                options.setdefault("cpus", 2)
            options["devices"] = [self.resolve(d) for d in options["devices"]]
            if any(isinstance(d, ModelDevice) for d in options["devices"]):
                options["program"] = qemu11.get(kernel.arch)
            vm = VM(kernel, initrd, self.folder, name,
                    shell=bool(image.get("shell")), **options)
            self.vms.append(vm)
            new.append(vm.start())
        return new

    def resolve(self, device):
        """A device whose server or memory is given by name, made real."""
        if (isinstance(device, (Doorbell, ModelDevice))
                and isinstance(device.server, str)):
            return dataclasses.replace(device,
                                       server=self.servers[device.server])
        if isinstance(device, Plain) and isinstance(device.memory, str):
            return dataclasses.replace(device,
                                       memory=self.folder / device.memory)
        return device

    def __iter__(self):
        return iter(self.vms)

    def __getitem__(self, index) -> VM:
        return self.vms[index]

    @property
    def usable(self) -> bool:
        return not self.failed and all(not vm.broken and vm in LIVE
                                       for vm in self.vms)

    def check(self, allow=()):
        """Cleans up after a test, judges what kernels and servers have said."""
        try:
            for vm in self.vms:
                if not vm.ending:
                    vm.kill_jobs()
                    vm.check_log(allow)
            for server in self.servers.values():
                if server.process.returncode is None:
                    server.check()
        except BaseException:
            self.failed = True
            raise

    def pause(self):
        """Has the VMs take no time until resume(): also one that idles does."""
        for vm in self.vms:
            vm.qmp("stop")
            vm.event("STOP")
        self.paused = True

    def resume(self):
        if self.paused:
            for vm in self.vms:
                vm.qmp("cont")
                vm.event("RESUME")
        self.paused = False

    def stop(self):
        """Ends all in good order; raises the first thing that is wrong."""
        try:
            self.resume()
            for vm in self.vms:
                if not vm.ending:
                    vm.stop()
            for server in self.servers.values():
                if server.process.returncode is None:
                    server.stop()
        except BaseException:
            self.failed = True
            raise
        finally:
            self.discard()

    def discard(self):
        """Ends all at once; keeps the logs of what went wrong."""
        for vm in self.vms:
            vm.destroy()
        for server in self.servers.values():
            server.destroy()
        if self.failed:
            with contextlib.suppress(OSError):
                self.lab.keep_logs(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


class Lab:
    """All that runs in this process, and what is kept for the next test."""

    def __init__(self, builder: Builder = None):
        self.builder = builder or Builder()
        self.root = Path(tempfile.mkdtemp(prefix="ivshmem-lab-"))
        self.counter = itertools.count(1)
        self.pool = {}

    def new_folder(self) -> Path:
        folder = self.root / str(next(self.counter))
        folder.mkdir()
        return folder

    def keep_logs(self, folder: Path):
        target = self.builder.out / "logs" / f"{self.root.name}-{folder.name}"
        for log in folder.rglob("*.log"):
            copy = target / log.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, copy)

    def cluster(self, kernel, guests, servers=None) -> Cluster:
        """A new one.

        A kernel under TCG can die while it boots, of a static key that it
        patches for one. That is tried once more, and told at the run's end.
        """
        try:
            return Cluster(self, kernel, guests, servers)
        except BootDied as err:
            warnings.warn(f"booted again: {kernel.name}: {err}", stacklevel=2)
            return Cluster(self, kernel, guests, servers)

    def shared(self, kernel, guests, servers=None) -> Cluster:
        """A cluster that outlives the test, made when there is none yet."""
        key = (kernel.root, repr(guests), repr(servers))
        cluster = self.pool.pop(key, None)
        if cluster and not cluster.usable:
            cluster.discard()
            cluster = None
        if cluster:
            cluster.resume()
        else:
            self.make_room(len(guests))
            cluster = self.cluster(kernel, guests, servers)
        # The one used last stands last.
        self.pool[key] = cluster
        return cluster

    def make_room(self, count: int):
        """Ends what has not been used for longest."""
        while self.pool and count + sum(len(c.vms) for c in
                                        self.pool.values()) > MAX_POOLED:
            self.pool.pop(next(iter(self.pool))).stop()

    def drop(self, cluster: Cluster):
        """Ends a cluster that a failed test has used."""
        self.pool = {k: c for k, c in self.pool.items() if c is not cluster}
        cluster.failed = True
        cluster.discard()

    def close(self):
        """Ends all; raises the first thing that is wrong."""
        first = None
        while self.pool:
            _, cluster = self.pool.popitem()
            try:
                cluster.stop()
            except AssertionError as err:
                first = first or err
        self.destroy()
        if first:
            raise first

    def destroy(self):
        for cluster in self.pool.values():
            cluster.discard()
        self.pool.clear()
        shutil.rmtree(self.root, ignore_errors=True)

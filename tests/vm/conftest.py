# SPDX-License-Identifier: MIT
"""Fixtures that give a test its kernel, servers and VMs."""

import pytest

from lab import kernels
from lab.cluster import Cluster, Lab, guest


@pytest.fixture(scope="session")
def lab(builder):
    """All VMs of the run."""
    the_lab = Lab(builder)
    try:
        yield the_lab
        the_lab.close()
    finally:
        the_lab.destroy()


class Vms:
    """Gives a test its VMs; see the fixture of this name."""

    def __init__(self, lab, kernel):
        self.lab, self.kernel = lab, kernel
        self.own, self.pooled, self.allowed = [], [], []

    def __call__(self, *guests, servers=None, share=False) -> Cluster:
        guests = guests or (guest(),)
        try:
            if share:
                cluster = self.lab.shared(self.kernel, guests, servers)
                if cluster not in self.pooled:
                    self.pooled.append(cluster)
            else:
                self.lab.make_room(len(guests))
                cluster = self.lab.cluster(self.kernel, guests, servers)
                self.own.append(cluster)
        except kernels.Unavailable as err:
            pytest.skip(str(err))
        return cluster

    def allow(self, pattern: str):
        """Lines like this in the kernel log are meant, in this test."""
        self.allowed.append(pattern)

    def report(self) -> list:
        """What the kernels have said during the test, for its report."""
        return [(f"kernel log of VM {vm.name}", vm.since()[-6000:])
                for cluster in self.own + self.pooled for vm in cluster.vms]

    def finish(self, failed: bool):
        """Ends the test's own VMs, judges all."""
        first = None
        for cluster in self.own + self.pooled:
            own = cluster in self.own
            if failed or first:
                cluster.failed = True
                if own:
                    cluster.discard()
                else:
                    self.lab.drop(cluster)
                continue
            try:
                cluster.check(self.allowed)
                if own:
                    cluster.stop()
                else:
                    cluster.pause()
            except AssertionError as err:
                first = err
                cluster.discard()
        if first:
            raise first


@pytest.fixture
def vms(request, lab, kernel):
    """Boots VMs: vms(guest(), guest(machine="pc", cpus=2)).

    Each guest() has one ivshmem-doorbell device on a server called "main"
    unless it says otherwise. They boot side by side, and end with the test;
    with share=True they stay for other tests that ask for the same. Every
    kernel log is searched afterwards.
    """
    factory = Vms(lab, kernel)
    request.node.vms = factory
    yield factory
    call = getattr(request.node, "reports", {}).get("call")
    # One that is skipped half way leaves things as they are, too.
    factory.finish(failed=call is None or not call.passed)


@pytest.fixture
def vm(vms):
    """One shared VM, 1 CPU, with an ivshmem-doorbell device of 4 vectors."""
    return vms(guest(), share=True)[0]


@pytest.fixture
def pair(vms):
    """Two shared VMs, a and b, whose devices are on one server."""
    return vms(guest(), guest(), share=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    factory = getattr(item, "vms", None)
    if report.failed and call.when == "call" and factory:
        report.sections += [s for s in factory.report() if s[1].strip()]

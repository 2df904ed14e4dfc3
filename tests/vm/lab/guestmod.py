# SPDX-License-Identifier: MIT
"""The modules of tests/guest/kmod, built for a VM's kernel and loaded there."""

import shutil

import pytest

from . import build
from .arch import RISCV64

SOURCES = build.TOP / "tests/guest/kmod"


def module(builder, kernel, name):
    """NAME.ko for a kernel."""
    folder = builder.out / "guest-modules" / kernel.release
    files = list(build.files_of(SOURCES))

    def compile_all():
        for path in files:
            shutil.copyfile(path, folder / path.name)
        build.make("-C", kernel.kdir, f"M={folder}", *kernel.make_flags,
                   build.JOBS, "modules", enter=kernel.enter)

    builder.once(("guest-modules", kernel.root), builder.stamped, folder,
                 build.digest(files, str(kernel.root)), compile_all)
    return folder / f"{name}.ko"


def load(lab, vm, name, **params):
    """Loads a module into a running VM. One without parameters may be there
    already; one with them would not do what it is told now."""
    if vm.run(f"[ -e /sys/module/{name} ]").rc == 0:
        if params:
            raise AssertionError(f"{vm.name}: {name} has not been unloaded")
        return
    if vm.kernel.arch == RISCV64 and (name == "meet" or "symbol" in params):
        pytest.skip("the kernel cannot probe where a function begins")
    stripped = vm.folder / f"{name}.ko"
    if not stripped.exists():
        build.strip_debug(module(lab.builder, vm.kernel, name), stripped,
                          vm.kernel.arch)
        vm.put(stripped.read_bytes(), f"/tmp/{name}.ko")
    vm.check(f"insmod /tmp/{name}.ko "
             + " ".join(f"{key}={value}" for key, value in params.items()))

# SPDX-License-Identifier: MIT
"""What page table entries a mapping is to have; see Documentation/design.rst."""

import re

KB, MB = 1 << 10, 1 << 20


def configured(kernel, option):
    """Whether an option is built into the kernel."""
    config = (kernel.kdir / "include/config/auto.conf").read_text()
    return f"CONFIG_{option}=y" in config.splitlines()


def can_be_huge(kernel):
    """Whether a mapping can have huge entries on this kernel."""
    return configured(kernel, "ARCH_SUPPORTS_PMD_PFNMAP")


def mbind_is_safe(kernel):
    """Whether mbind() knows what huge entries of a driver are."""
    version = tuple(int(n) for n in re.findall(r"\d+", kernel.release)[:3])
    return version >= (7, 3, 4) or not configured(kernel, "NUMA")


def with_huge(vm, huge=1):
    """Loads the driver again, and has it make huge entries, or none."""
    vm.check(f"rmmod ivshmem && modprobe ivshmem huge={huge}")


def settings(vm):
    """Yields how large the largest entry is: as the driver decides, and where it
    can be told otherwise, so too."""
    decides = int(mbind_is_safe(vm.kernel))
    parameter = vm.check("cat /sys/module/ivshmem/parameters/huge")
    assert parameter == "NY"[decides] + "\n"
    if not can_be_huge(vm.kernel):
        yield 4 * KB
        return
    yield 2 * MB if decides else 4 * KB
    with_huge(vm, 1 - decides)
    yield 4 * KB if decides else 2 * MB


def debuggers_see_it(vm):
    """Whether the kernel calls the driver's access(), and has what that needs."""
    return (configured(vm.kernel, "HAVE_IOREMAP_PROT")
            and vm.run("grep -qw vmap_pfn /proc/kallsyms").rc == 0)

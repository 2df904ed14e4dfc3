# SPDX-License-Identifier: MIT
"""What page table entries a mapping is to have; see Documentation/design.rst."""

KB, MB = 1 << 10, 1 << 20


def configured(kernel, option):
    """Whether an option is built into the kernel."""
    config = (kernel.kdir / "include/config/auto.conf").read_text()
    return f"CONFIG_{option}=y" in config.splitlines()


def can_be_huge(kernel):
    """Whether a mapping can have huge entries on this kernel."""
    return configured(kernel, "ARCH_SUPPORTS_PMD_PFNMAP")


def with_huge(vm):
    """Loads the driver again, and has it make huge entries."""
    vm.check("rmmod ivshmem && modprobe ivshmem huge=1")


def settings(vm):
    """Yields how large the largest entry is: as the driver decides, and where
    that is small by caution, with huge ones as well."""
    huge = can_be_huge(vm.kernel)
    if not huge or configured(vm.kernel, "NUMA"):
        assert vm.check("cat /sys/module/ivshmem/parameters/huge") == (
            "N\n" if configured(vm.kernel, "NUMA") else "Y\n")
        yield 4 * KB
    if huge:
        if configured(vm.kernel, "NUMA"):
            with_huge(vm)
        yield 2 * MB

# SPDX-License-Identifier: MIT
"""A copy of the driver with mistakes in it, of which a parameter chooses one."""

import shutil
from pathlib import Path

from .build import MODULE_SOURCES, TOP

PARAMETER = "/sys/module/ivshmem/parameters/mistake"

# What each copy has beside its mistakes.
CHOICE = [
    ("ivshmem.h", "#define IVSHMEM_H",
     "#define IVSHMEM_H\nextern int ivshmem_mistake;"),
    ("pci.c", "static DEFINE_IDA(ivshmem_ida);",
     "int ivshmem_mistake;\n"
     "module_param_named(mistake, ivshmem_mistake, int, 0644);\n"
     "static DEFINE_IDA(ivshmem_ida);"),
]


def make(folder: Path, names: list, edits: list):
    """Writes the copy to a folder.

    names: of the mistakes, by number; number 0 is none
    edits: (file, what stands there once, what stands there instead); in the
           last, {name} is 1 if that mistake is chosen, and 0 if not
    """
    shutil.rmtree(folder, ignore_errors=True)
    for source in MODULE_SOURCES:
        for path in sorted((TOP / source).rglob("*.[ch]")) or [TOP / source]:
            copy = folder / path.relative_to(TOP)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(TOP / "driver/probe.mk", folder / "driver")
    chosen = {name: f"(ivshmem_mistake == {number})"
              for number, name in enumerate(names)}
    for name, right, wrong in (*CHOICE, *edits):
        path = folder / "driver" / name
        text = path.read_text()
        assert text.count(right) == 1, f"{name} has changed: {right}"
        if (name, right, wrong) not in CHOICE:
            wrong = wrong.format(**chosen)
        path.write_text(text.replace(right, wrong))

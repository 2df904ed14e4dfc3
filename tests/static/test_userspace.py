# SPDX-License-Identifier: MIT
"""The programs build without a warning, with gcc and clang."""

import os
import re
import shutil

import pytest

from lab.build import TOP, make

PARTS = ["tools", "samples", "tests/guest"]


@pytest.mark.parametrize("compiler", ["gcc", "clang-14"])
@pytest.mark.parametrize("part", PARTS)
def test_warnings(builder, compiler, part):
    """All of it, as for a package: optimised, and nothing is left to say."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    out = builder.out / "static" / compiler
    log = make("-C", TOP / part, f"O={out}", f"CC={compiler}",
               "CFLAGS=-O2 -g -Werror", f"-j{os.cpu_count()}", "all")
    assert not re.search(r"\bwarning:", log), log

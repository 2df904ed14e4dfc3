# SPDX-License-Identifier: MIT
"""The C programs of this folder's Makefile."""
import subprocess

import pytest

from serverlab import BOUND, BUILD, TOP, build

HERE = TOP / "tests/unit"
NAMES = subprocess.run(["make", "-s", "-C", HERE, "list"], check=True, text=True,
                       stdout=subprocess.PIPE).stdout.split()


@pytest.mark.parametrize("name", NAMES)
def test_c_program(name):
    """Builds and runs one."""
    program = BUILD / "unit" / name
    build(HERE, program)
    run = subprocess.run([program], stderr=subprocess.PIPE, text=True,
                         timeout=BOUND, check=False)
    assert run.returncode == 0, run.stderr

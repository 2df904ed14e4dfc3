# SPDX-License-Identifier: MIT
"""make check-matrix: the table says what was found, and nothing else."""

import os
import subprocess
import sys

from lab.build import TOP

CONFTEST = """
import collections, pytest
pytest_plugins = ["lab.matrix"]
def pytest_addoption(parser):
    parser.addoption("--kernels")
def pytest_generate_tests(metafunc):
    if "kernel" in metafunc.fixturenames:
        metafunc.parametrize("kernel", metafunc.config.getoption(
            "--kernels").split(","), indirect=True, scope="session")
@pytest.fixture(scope="session")
def kernel(request):
    if request.param == "9.9":
        pytest.skip("there is no http://example.org/a/9.9  404 [IP: ::1 80]")
    return collections.namedtuple("Kernel", "release")(request.param + ".0-amd64")
"""
INI = "[pytest]\nmarkers =\n    system: its own kernel\n"
LANES = {
    "one": """
import pytest
def test_a(kernel): pass
def test_b(kernel):
    if kernel.release[0] == "6": pytest.skip("no  such\\nthing")
@pytest.fixture
def broken():
    yield
    assert 0
def test_c(kernel, broken): pass
def test_host(): assert 0
@pytest.mark.system
def test_system(kernel): assert 0
""",
    "two": "def test_d(kernel): pass\n",
}


def run(folder, *options, **lanes) -> int:
    """Has these lanes in a folder, and runs them; returns pytest's status."""
    files = {"conftest": CONFTEST, **{f"test_{k}": v for k, v in lanes.items()}}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pytest.ini").write_text(INI)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--matrix",
         folder / "matrix.rst", *options,
         *[folder / f"test_{name}.py" for name in lanes]], text=True,
        env={**os.environ, "PYTHONPATH": str(TOP / "tests/vm"),
             "PYTHONDONTWRITEBYTECODE": "1"}, cwd=folder, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    return done.returncode


def table(folder) -> list:
    """The rows of the table that was written."""
    text = (folder / "matrix.rst").read_text()
    rows = text.partition("   * - ")[2].partition("\n\n")[0].split("   * - ")
    return [[cell.strip() for cell in row.split("     - ")] for row in rows]


def test_cells(tmp_path):
    """The worst of a test's phases counts; each test that was skipped has its
    reason; a kernel that cannot be had is no pass."""
    assert run(tmp_path, "-n2", "--kernels=6.1,10.2-rt,9.9", **LANES) == 1
    assert table(tmp_path) == [
        ["lane", "6.1", "9.9", "10.2-rt"],
        ["release", "6.1.0-amd64", "none", "10.2-rt.0-amd64"],
        ["one", "1 fail, 1 pass, 1 skip", "3 skip", "1 fail, 2 pass"],
        ["two", "1 pass", "1 skip", "1 pass"]]
    remarks = [line for line in (tmp_path / "matrix.rst").read_text().splitlines()
               if line.startswith("* ")]
    assert remarks == ["* one, 6.1: no such thing (1)",
                       "* one, 9.9: there is no 9.9 404 (3)",
                       "* two, 9.9: there is no 9.9 404 (1)"]


def test_again(tmp_path):
    """What was not run again stays, what was is replaced, a gap is a gap."""
    assert run(tmp_path, "--kernels=6.1", one=LANES["one"]) == 1
    fixed = "def test_a(kernel): pass\n"
    assert run(tmp_path, "--kernels=6.1", two=LANES["two"]) == 0
    assert run(tmp_path, "--kernels=5.10", one=fixed) == 0
    rows = [["lane", "5.10", "6.1"], ["release", "5.10.0-amd64", "6.1.0-amd64"],
            ["one", "1 pass", "1 fail, 1 pass, 1 skip"],
            ["two", "not run", "1 pass"]]
    assert table(tmp_path) == rows
    assert "* one, 6.1: no such thing (1)\n" in (tmp_path /
                                                 "matrix.rst").read_text()
    assert run(tmp_path, "--kernels=6.1", one=fixed) == 0
    rows[2][2] = "1 pass"
    assert table(tmp_path) == rows
    assert "no such" not in (tmp_path / "matrix.rst").read_text()


def test_parts(tmp_path):
    """A table is not made of parts of lanes."""
    assert run(tmp_path, "--kernels=6.1", "-k", "test_d", two=LANES["two"]) == 4
    assert not (tmp_path / "matrix.rst").exists()

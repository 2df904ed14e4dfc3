# SPDX-License-Identifier: MIT
"""systemd understands the units, and finds little that they could do."""

import re
import shutil
import subprocess

import pytest

from lab.build import TOP

UNITS = TOP / "packaging/systemd"


@pytest.fixture(name="units")
def fixture_units(tmp_path):
    """Both units as an instance, with programs that are there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for path in UNITS.iterdir():
        text = path.read_text().replace("/usr/sbin/ivshmem-server", "/bin/true")
        (tmp_path / path.name).write_text(text)
        (tmp_path / path.name.replace("@", "@test")).write_text(text)
    return tmp_path


def analyze(*args):
    """Runs systemd-analyze; returns its status and what it says."""
    done = subprocess.run(["systemd-analyze", *args], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_verify(units, kind):
    """There is no mistake in them."""
    status, out = analyze("verify", "--man=no",
                          str(units / f"ivshmem-server@test.{kind}"))
    ours = [line for line in out.splitlines() if "ivshmem" in line]
    assert not ours, "\n".join(ours)
    assert status == 0, out


def test_security(units):
    """The service is exposed to little: 10 is all, 0 nothing."""
    _, out = analyze("security", "--offline=true", "--no-pager",
                     str(units / "ivshmem-server@test.service"))
    level = re.search(r"Overall exposure level for .*: ([\d.]+)", out)
    assert level, out
    assert float(level[1]) <= 1.0, out


def test_program():
    """The service runs the program with options that it has."""
    text = (UNITS / "ivshmem-server@.service").read_text()
    line = re.search("^ExecStart=(.*)$", text, re.M)[1].split()
    source = (TOP / "tools/ivshmem-server/options.c").read_text()
    assert line[0] == "/usr/sbin/ivshmem-server"
    for option in line[1:]:
        if option.startswith("--"):
            assert f'{{ "{option[2:]}",' in source

# SPDX-License-Identifier: MIT
"""What Documentation/security.rst promises has a test."""

import re

from lab.build import TOP

TEXT = (TOP / "Documentation/security.rst").read_text()
NAMED = re.findall(r"``(tests/[\w/.]+)::(\w+)``", TEXT)


def test_named():
    """Each test that is named is there, and somebody runs it."""
    assert len(NAMED) > 40
    runners = "".join(path.read_text()
                      for path in (TOP / "tests/vm").glob("test_*.py"))
    missing = []
    for name, function in NAMED:
        path = TOP / name
        text = path.read_text() if path.exists() else ""
        if path.suffix == ".c":
            there = (re.search(rf"^static void {function}\(", text, re.M)
                     and re.search(rf"\t{function}\(", text)
                     and f'"{path.stem}"' in runners)
        else:
            there = re.search(rf"^def {function}\(", text, re.M)
        if not there:
            missing.append(f"{name}::{function}")
    assert not missing


def test_each_cannot():
    """Each point below a "cannot" names one."""
    points = []
    for part in re.split(r"\bcannot\n\n", TEXT)[1:]:
        listed = re.match(r"(?:- .*\n(?:  .*\n)*)+", part)[0]
        points += re.split(r"^- ", listed, flags=re.M)[1:]
    assert len(points) > 25
    assert not [point for point in points if "::" not in point]

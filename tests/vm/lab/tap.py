# SPDX-License-Identifier: MIT
"""Runs a guest program and judges its TAP output."""

import dataclasses
import re
import shlex

POINT = re.compile(r"^(not )?ok\b *(\d+)?(?: *-)? *(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(?: *# *SKIP *(.*))?$", re.I)
SKIP = re.compile(r"# *SKIP\b *(.*)$", re.I)


class TapError(AssertionError):
    """A guest program has found something wrong, or has not told its result."""


@dataclasses.dataclass
class Tap:
    """What a TAP stream says."""
    plan: int = None
    passed: list = dataclasses.field(default_factory=list)
    failed: list = dataclasses.field(default_factory=list)
    skipped: list = dataclasses.field(default_factory=list)
    errors: list = dataclasses.field(default_factory=list)
    skip_all: str = None
    text: str = ""


def parse(text: str) -> Tap:
    tap = Tap(text=text)
    number = 0
    for line in text.splitlines():
        plan = PLAN.match(line)
        point = POINT.match(line)
        if plan:
            if tap.plan is not None:
                tap.errors.append("two plans")
            tap.plan = int(plan[1])
            if tap.plan == 0:
                tap.skip_all = plan[2] or "no reason given"
        elif point:
            number += 1
            if point[2] and int(point[2]) != number:
                tap.errors.append(f"test point {point[2]} is the {number}th")
            if point[1]:
                tap.failed.append(line)
            elif SKIP.search(point[3]):
                tap.skipped.append(line)
            else:
                tap.passed.append(line)
        elif line.startswith("Bail out!"):
            tap.errors.append(line)
    if tap.plan is None:
        tap.errors.append("no plan")
    elif tap.plan != number:
        tap.errors.append(f"{tap.plan} test points planned, {number} came")
    elif number == 0 and tap.skip_all is None:
        tap.errors.append("no test point")
    return tap


def judge(title: str, rc: int, text: str) -> Tap:
    """Fails unless all that was planned came, and was ok."""
    tap = parse(text)
    if rc and not tap.failed:
        tap.errors.append(f"exit status {rc}")
    if tap.failed or tap.errors:
        raise TapError("\n".join([f"{title}:", *tap.failed, *tap.errors, "---",
                                  text.rstrip()]))
    return tap


def run_guest_program(vm, name: str, *args, timeout=60,
                      folder="/tests") -> Tap:
    """Runs a program of tests/guest in a VM; those of /tests32 need m32=True.

    Fails with the points that are not ok, and when the plan is missing or not
    kept. A program that skips itself (1..0 # SKIP why) skips the test.
    """
    command = shlex.join([f"{folder}/{name}", *[str(a) for a in args]])
    done = vm.run(command, timeout)
    tap = judge(f"{vm.name}: {command}", done.rc, done.out)
    if tap.skip_all is not None:
        # Only here is pytest needed: the demo does without.
        import pytest  # pylint: disable=import-outside-toplevel
        pytest.skip(f"{name}: {tap.skip_all}")
    return tap

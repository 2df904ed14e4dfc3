# SPDX-License-Identifier: MIT
"""The documents tell all that there is: calls, errors, attributes, samples."""

import os
import re
import subprocess

import pytest

from lab.build import TOP, make

HEADER = (TOP / "include/uapi/linux/ivshmem.h").read_text()
PAGE = "Documentation/man/ivshmem.4"
GUIDE = "Documentation/uapi.rst"


def text(name) -> str:
    return (TOP / name).read_text()


def words(name) -> set:
    return set(re.findall(r"\w+", text(name)))


@pytest.mark.parametrize("name", [PAGE, GUIDE])
def test_calls(name):
    """Each call has its place."""
    calls = set(re.findall(r"#define (IVSHMEM_\w+)\s+_IO", HEADER))
    assert len(calls) >= 5
    assert not calls - words(name)


def test_errors():
    """The page and the guide name every error that the header does, and explain
    the same ones."""
    errors = set(re.findall(r"\bE[A-Z]{3,}\b", HEADER)) - {"EPOLLIN", "EPOLLRDNORM",
                                                         "EPOLLERR", "EPOLLHUP"}
    assert len(errors) >= 10
    page = set(re.findall(r"^\.It Bq Er (\w+)", text(PAGE), re.M))
    guide = set(re.findall(r"^(E[A-Z]+) {2,}", text(GUIDE), re.M))
    assert page == guide
    assert not errors - page
    # What the driver can return; a restarted call ends as EINTR.
    driver = set()
    for path in (TOP / "driver").glob("*.c"):
        if path.name in ("chardev.c", "wait.c", "subscribe.c", "doorbell.c"):
            driver |= set(re.findall(r"-(E[A-Z]+)\b", path.read_text()))
    assert not driver - page - {"ERESTARTSYS", "ENOSPC"}


def test_attributes():
    """Each attribute in sysfs is described, and no other."""
    source = text("driver/sysfs.c")
    names = {f"/{name}" for name in
             re.findall(r"DEVICE_ATTR_RO\((\w+)\)", source)}
    if "count_attr" in source:
        names.add("/counts/<V>")
    described = re.findall(r"^What:\s+/sys/class/misc/ivshmem<N>(\S+)$",
                           text("Documentation/ABI/testing/"
                                "sysfs-class-misc-ivshmem"), re.M)
    assert sorted(described) == sorted(names)


def test_parameters():
    """So is each module parameter."""
    names = set()
    for path in (TOP / "driver").glob("*.c"):
        names |= set(re.findall(r"module_param(?:_named|_cb)?\((\w+),",
                                path.read_text()))
    assert names == set(re.findall(r"^\.It Va (\w+)$", text(PAGE), re.M))


def test_tracepoints():
    names = re.findall(r"TRACE_EVENT\((\w+),", text("driver/trace.h"))
    assert not set(names) - words(GUIDE)


def test_samples():
    """A document shows each sample, or says what it is."""
    shown = text(GUIDE) + text("Documentation/uio.rst")
    for path in (TOP / "samples").glob("*.c"):
        assert f"samples/{path.name}" in shown


def test_messages():
    """The messages that are explained are messages of the programs."""
    page = text("Documentation/troubleshooting.rst")
    page = page[:page.index("What others say")]
    messages = re.findall(r"^``(.*)``$", page, re.M)
    assert len(messages) >= 20
    sources = ""
    for path in sorted([*TOP.glob("driver/*.c"), *TOP.glob("tools/*/*.c")]):
        # A long message is written as several strings.
        sources += re.sub(r'"\s*"', "", path.read_text())
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', sources)
    # What differs from case to case.
    known = "\n".join(re.sub(r"%[-+# 0-9.]*[a-z]*", "\0", s) for s in strings)
    for message in messages:
        parts = [re.escape(part.strip()) for part in message.split("\u2026")
                 if part.strip()]
        assert re.search("[^\n]*".join(parts), known), message


def test_program(tmp_path):
    """README's program is whole: it builds by the line that stands there, against
    what is installed, and says what is wrong where there is no device."""
    make("-C", TOP / "tools/libivshmem", "install", f"O={tmp_path}/build",
         f"prefix={tmp_path}/usr", f"libdir={tmp_path}/usr/lib")
    readme = text("README.md")
    program, = re.findall(r"`hello\.c`:\n\n```c\n(.*?)^```$", readme, re.M | re.S)
    line, = re.findall(r"^cc .*hello\.c.*$", readme, re.M)
    (tmp_path / "hello.c").write_text(program)
    script = f"set -e; cc() {{ gcc -Wall -Wextra -Werror \"$@\"; }}; {line}; ./hello"
    done = subprocess.run(
        ["sh", "-c", script], text=True, cwd=tmp_path, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": f"{tmp_path}/usr/lib",
             "PKG_CONFIG_PATH": f"{tmp_path}/usr/lib/pkgconfig"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (
        1, "hello: /dev/ivshmem0: No such file or directory\n")

# SPDX-License-Identifier: MIT
"""Analyzers: what they find is mended, or stands here with a reason."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import kernels, sources
from lab.build import TOP, make

PARTS = ["tools", "samples", "tests/guest", "tests/device", "tests/unit"]

# coccicheck: scripts that need a compiler for OCaml, which is 445 MB. One is for
# another driver, the other looks for what sparse finds too.
OCAML = {"check_bq27xxx_data.cocci", "badzero.cocci"}

# clang-tidy: what is not asked for.
TIDY = [
    "bugprone-*", "clang-analyzer-*", "misc-*", "performance-*", "portability-*",
    # Wants memset_s() and the like, which no libc of Linux has.
    "-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling",
    # Wants strlcpy(); where strcpy() is used, the size was looked at before.
    "-clang-analyzer-security.insecureAPI.strcpy",
    # System calls have arguments that can be swapped, and so have wrappers.
    "-bugprone-easily-swappable-parameters",
    # Offsets are off_t here and uint64_t there, and random numbers become
    # arguments of any type. gcc's and the sanitizers' word is taken on these.
    "-bugprone-narrowing-conversions",
    # Constants as 64 << 20, which fit.
    "-bugprone-implicit-widening-of-multiplication-result",
    # if (strcmp()) is what kernel style has.
    "-bugprone-suspicious-string-compare",
    # _GNU_SOURCE is reserved, and there to be defined.
    "-bugprone-reserved-identifier",
    # An array of pointers grows by the size of a pointer.
    "-bugprone-sizeof-expression",
    # Fixed addresses are what tests of mappings need.
    "-performance-no-int-to-ptr",
    # The fuzzer forks fuzzers, to a depth that it counts.
    "-misc-no-recursion",
    # A few bytes in a test, against an order that one can read.
    "-clang-analyzer-optin.performance.Padding",
]
# What is said of a file and is not so, or is meant.
FINE = {
    # It was filled from a file whose end was looked for.
    ("access.c", "-Wanalyzer-use-of-uninitialized-value"),
    # The pointers are in use until the program ends, and end with it.
    ("samples/epoll-eventfd.c", "clang-analyzer-unix.Malloc"),
    ("tests/unit/crowd.c", "clang-analyzer-unix.Malloc"),
    # The kernel fills these: a ring's entry, a message and its descriptors.
    ("tests/guest/inuse.c", "clang-analyzer-core.CallAndMessage"),
    ("tools/ivshmem-server/state.c", "clang-analyzer-core.CallAndMessage"),
    ("tools/ivshmem-server/state.c",
     "clang-analyzer-core.UndefinedBinaryOperatorResult"),
    # Where it fails, ordinary memory stays in its place.
    ("tests/guest/fuzz.c", "bugprone-unused-return-value"),
    # The tests that preload it set the variable.
    ("tests/unit/fake_device.c", "clang-analyzer-core.NonNullParamChecker"),
}

BUG = """
#include <stdlib.h>
int test(void);
int test(void)
{
	char *p = calloc(1, 8);

	free(p);
	return *p;
}
"""


def parallel(function, things) -> list:
    """What a function finds in each thing, all in one list."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for found in pool.map(function, things) for line in found]


def lines(argv) -> list:
    """What a command prints; an error of the command is something, too."""
    done = subprocess.run([str(a) for a in argv], cwd=TOP, text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.stdout.splitlines() or [f"status {done.returncode}"
                                        for _ in range(bool(done.returncode))]


def spatch(script, folder) -> list:
    """What a script of coccicheck reports."""
    text = script.read_text()
    if script.name in OCAML or "virtual report" not in text:
        return []
    options = re.search(r"// Options:(.*)", text)
    include = [flag for path in (sources.tree() / "include",
                                 sources.tree() / "arch/x86/include",
                                 TOP / "include/uapi") for flag in ("-I", path)]
    found = lines(["spatch", "-D", "report", "--no-show-diff", "--very-quiet",
                   "--cocci-file", script, *(options[1].split() if options else ()),
                   "--dir", folder, *include])
    # Of the script itself.
    return [line for line in found if not line.startswith("warning: line")]


@pytest.fixture(scope="module")
def scripts():
    """All of coccicheck's."""
    if not shutil.which("spatch"):
        pytest.skip("coccinelle is not installed")
    try:
        folder = sources.tree() / "scripts/coccinelle"
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    return sorted(folder.rglob("*.cocci"))


def test_coccicheck(scripts):
    """The kernel's semantic patches find nothing in the driver."""
    assert len(scripts) > 50
    found = parallel(lambda script: spatch(script, TOP / "driver"), scripts)
    assert not found, "\n".join(found)


def test_coccicheck_sees(scripts, tmp_path):
    """They would."""
    (tmp_path / "test.c").write_text("""
void test(struct ivshmem_device *ivs)
{
	kfree(ivs);
	ivs->gone = true;
}
""")
    script = next(s for s in scripts if s.name == "kfree.cocci")
    assert "reference preceded by free" in "\n".join(spatch(script, tmp_path))


@pytest.mark.parametrize("part", PARTS)
def test_gcc_analyzer(part, tmp_path):
    """gcc -fanalyzer has nothing to say about the programs."""
    log = make("-C", TOP / part, f"O={tmp_path}", "CC=gcc",
               "CFLAGS=-O2 -g -fanalyzer", f"-j{os.cpu_count()}", "all")
    assert "-fanalyzer" in log
    found = [match[0] for match in
             re.finditer(r"^(\S+?):\d+:\d+: warning: .* \[(-W\S+)\]$", log, re.M)
             if (Path(match[1]).name, match[2]) not in FINE]
    assert not found, "\n".join(found)


def test_gcc_analyzer_sees(tmp_path):
    """It would."""
    (tmp_path / "test.c").write_text(BUG)
    assert "-Wanalyzer-use-after-free" in "\n".join(
        lines(["gcc", "-fanalyzer", "-c", tmp_path / "test.c", "-o", "/dev/null"]))


def tidy(path) -> list:
    """What clang-tidy finds in a file."""
    include = [f"-I{TOP}/{name}" for name in ("include/uapi", "tools/libivshmem",
                                              "tools/ivshmem-server",
                                              "tools/ivshmemctl")]
    said = lines(["clang-tidy-14", "--quiet", "--checks=-*," + ",".join(TIDY), path,
                  "--", "-std=gnu11", "-D_GNU_SOURCE", '-DIVSHMEM_VERSION="0"',
                  *include])
    name = str(path.relative_to(TOP))
    found = []
    for line in said:
        match = re.search(r": (?:warning|error): .* \[(\S+)\]$", line)
        if match and (name, match[1]) not in FINE:
            found.append(line)
    return found


def test_clang_tidy():
    """clang-tidy has nothing to say about programs, library and server."""
    if not shutil.which("clang-tidy-14"):
        pytest.skip("clang-tidy-14 is not installed")
    files = [path for part in (*PARTS, "tests/vm/lab")
             for path in sorted((TOP / part).rglob("*.c"))
             if "kmod" not in path.parts]
    assert len(files) > 50
    found = parallel(tidy, files)
    assert not found, "\n".join(found)


def test_clang_tidy_sees(tmp_path, monkeypatch):
    """It would."""
    if not shutil.which("clang-tidy-14"):
        pytest.skip("clang-tidy-14 is not installed")
    monkeypatch.setitem(globals(), "TOP", tmp_path)
    path = tmp_path / "test.c"
    path.write_text(BUG)
    assert "after it is freed" in "\n".join(tidy(path))

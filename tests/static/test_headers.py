# SPDX-License-Identifier: MIT
"""The public headers compile for whoever includes them, and stay as they are."""

import re
import shutil
import subprocess

import pytest

from lab.build import TOP

HEADER = TOP / "include/uapi/linux/ivshmem.h"
UAPI = ["-I", TOP / "include/uapi"]
LIBRARY = [*UAPI, "-I", TOP / "tools/libivshmem"]

COMPILERS = {
    "c90": ["gcc", "-std=c90"],
    "c99": ["gcc", "-std=c99"],
    "c99-m32": ["gcc", "-std=c99", "-m32"],
    "gnu17": ["gcc", "-std=gnu17"],
    "clang-c11": ["clang-14", "-std=c11"],
    "c++98": ["g++", "-std=c++98"],
    "c++11": ["g++", "-std=c++11"],
    "c++11-m32": ["g++", "-std=c++11", "-m32"],
    "c++20": ["g++", "-std=c++20"],
}


def compile_text(argv, text: str, tmp_path, name="test"):
    """Compiles a text; every warning is an error."""
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    source = tmp_path / (name + (".cc" if argv[0] == "g++" else ".c"))
    source.write_text(text)
    done = subprocess.run([*argv, "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
                           "-Wundef", "-Werror", "-c", source, "-o",
                           tmp_path / "test.o"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_uapi(compiler, tmp_path):
    """The uapi header stands alone, twice, and its macros are usable."""
    calls = re.findall(r"#define (IVSHMEM_\w+)\s+_IO", HEADER.read_text())
    assert len(calls) >= 5
    compile_text([*COMPILERS[compiler], *UAPI], f"""
#include <linux/ivshmem.h>
#include <linux/ivshmem.h>
unsigned long test(void);
unsigned long test(void)
{{
	struct ivshmem_info info;
	info.size = 0;
	return IVSHMEM_DOORBELL(IVSHMEM_MAX_PEER, 1) + (unsigned long)info.size +
	       (IVSHMEM_WAIT_FOREVER != 0) + IVSHMEM_ANY_VECTOR +
	       {" + ".join(calls)};
}}
""", tmp_path)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_library(compiler, tmp_path):
    """So does the library's header."""
    compile_text([*COMPILERS[compiler], *LIBRARY], """
#include <ivshmem.h>
int test(struct ivshmem *ivs);
int test(struct ivshmem *ivs)
{
	return ivshmem_ring(ivs, 0, 0);
}
""", tmp_path)


@pytest.mark.parametrize("bits", ["-m64", "-m32"])
def test_abi(bits, tmp_path):
    """Sizes, offsets and numbers never change, and are the same for 32 bits."""
    sizes = {
        "info": {"size": 0, "features": 8, "position": 12, "vectors": 16,
                 "revision": 20, "irq_mode": 24, "cache_mode": 28,
                 "reserved": 32, None: 64},
        "event": {"vector": 0, "flags": 2, "status": 4, "count": 8, None: 16},
        "wait": {"count": 0, "timeout_ns": 8, "busy_ns": 16, "vector": 24,
                 "flags": 28, "doorbell": 32, "reserved": 36, None: 48},
        "eventfd": {"fd": 0, "vector": 4, "reserved": 8, None: 16},
        "subscribe": {"bitmap": 0, "bits": 8, "flags": 12, "reserved": 16,
                      None: 24},
    }
    numbers = {"IVSHMEM_GET_INFO": 0x8040c400, "IVSHMEM_RING_DOORBELL": 0xc401,
               "IVSHMEM_WAIT": 0xc030c402, "IVSHMEM_SET_EVENTFD": 0x4010c403,
               "IVSHMEM_SUBSCRIBE": 0x4018c404,
               "IVSHMEM_MAX_VECTORS": 2048, "IVSHMEM_MAX_PEER": 65535,
               "IVSHMEM_DOORBELL(0xabcd, 0x1234)": 0xabcd1234,
               "IVSHMEM_FEATURE_DOORBELL": 1, "IVSHMEM_FEATURE_INTERRUPT": 2,
               "IVSHMEM_IRQ_NONE": 0, "IVSHMEM_IRQ_INTX": 1,
               "IVSHMEM_IRQ_MSIX": 2, "IVSHMEM_CACHE_WRITE_BACK": 0,
               "IVSHMEM_CACHE_UNCACHED": 1, "IVSHMEM_EVENT_JOIN": 1,
               "IVSHMEM_ANY_VECTOR": 0xffffffff,
               "IVSHMEM_WAIT_FOREVER": 0xffffffffffffffff,
               "IVSHMEM_WAIT_RING": 1, "IVSHMEM_SUBSCRIBE_ALL": 1}
    # None is forgotten here; those that are left hold nothing.
    names = re.findall(r"^(?:#define\s+|\t)(IVSHMEM_\w+)",
                       HEADER.read_text(), re.M)
    assert set(names) == ({name.partition("(")[0] for name in numbers}
                          | {"IVSHMEM_IOC_TYPE"})
    text = "#include <stddef.h>\n#include <linux/ivshmem.h>\n"
    for name, fields in sizes.items():
        struct = f"struct ivshmem_{name}"
        have = {f"sizeof({struct})": fields[None]}
        # There are no holes, so that each field ends where the next one begins.
        for (field, start), end in zip(fields.items(), [*fields.values()][1:]):
            have[f"offsetof({struct}, {field})"] = start
            have[f"sizeof((({struct} *)0)->{field})"] = end - start
        for what, value in have.items():
            text += f'_Static_assert({what} == {value}, "{what}");\n'
    for name, value in numbers.items():
        text += f'_Static_assert({name} == {value:#x}, "{name}");\n'
    text += "extern int nothing;\n"
    # A hole in a struct is a byte of the kernel's that a program can read.
    compile_text(["gcc", "-std=gnu11", "-Wpadded", bits, *UAPI], text, tmp_path)


def test_abi_sees(tmp_path):
    """The test above would notice."""
    with pytest.raises(pytest.fail.Exception, match="static assertion failed"):
        compile_text(["gcc", "-std=gnu11", *UAPI],
                     "#include <linux/ivshmem.h>\n"
                     "_Static_assert(sizeof(struct ivshmem_info) == 60, \"\");\n"
                     "extern int nothing;\n", tmp_path)

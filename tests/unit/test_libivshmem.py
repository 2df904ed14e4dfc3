# SPDX-License-Identifier: MIT
"""libivshmem: its calls on a fake device, and what programs build against."""
import os
import re
import shutil
import subprocess

import pytest

from serverlab import BUILD, TOP, build

SOURCE = TOP / "tools" / "libivshmem"
SHARED = BUILD / "lib" / "libivshmem.so.0"
WARN = ["-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wshadow"]


def output(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          **kwargs).stdout.decode()


@pytest.fixture(scope="module", autouse=True)
def fixture_build():
    build(SOURCE)


def symbols_of_map():
    return set(re.findall(r"^\t(ivshmem_\w+);$",
                          (SOURCE / "libivshmem.map").read_text(), re.M))


def test_exported_symbols_are_those_of_the_map():
    symbols = output("nm", "-D", "--defined-only", "--format=posix", SHARED)
    assert {line.split()[0] for line in symbols.splitlines()} == \
        {"LIBIVSHMEM_0.1"} | {f"{name}@@LIBIVSHMEM_0.1"
                              for name in symbols_of_map()}


def test_abi_only_grows():
    """What a release exported must stay; a name goes only with the SONAME."""
    assert symbols_of_map() >= {
        "ivshmem_close", "ivshmem_count", "ivshmem_fd", "ivshmem_get_info",
        "ivshmem_map", "ivshmem_open", "ivshmem_read_events", "ivshmem_ring",
        "ivshmem_set_eventfd", "ivshmem_subscribe", "ivshmem_unmap",
        "ivshmem_wait"}
    assert "Library soname: [libivshmem.so.0]" in output("readelf", "-d", SHARED)


def test_archive_defines_nothing_else():
    symbols = output("nm", "--defined-only", "--extern-only", "--format=posix",
                     BUILD / "lib" / "libivshmem.a")
    names = {line.split()[0] for line in symbols.splitlines()
             if " " in line}
    assert names == symbols_of_map()


def test_header_manual_and_map_agree():
    header = (SOURCE / "ivshmem.h").read_text()
    declared = set(re.findall(r"^\w[^#()]*?\b(ivshmem_\w+)\(", header, re.M))
    documented = set(re.findall(r"^ \* (ivshmem_\w+)\(\) - ", header, re.M))
    manual = (TOP / "Documentation/man/libivshmem.3").read_text()
    described = set(re.findall(r"^\.Ft .*\n\.Fn (ivshmem_\w+) ", manual, re.M))
    assert declared == documented == described == symbols_of_map()
    for name in declared:
        assert re.search(rf"^\.Nm {name}( ,)?$", manual, re.M)


@pytest.mark.parametrize("compiler, standard", [
    ("gcc", "c99"), ("gcc", "gnu17"), ("clang", "c99"), ("g++", "c++11"),
    ("g++", "c++20"), ("clang++", "c++17")])
def test_header_alone(tmp_path, compiler, standard):
    """First in a program, twice, and beside the kernel's header."""
    source = tmp_path / ("use.cc" if "++" in compiler else "use.c")
    source.write_text("""\
        #include <ivshmem.h>
        #include <ivshmem.h>
        #include <linux/ivshmem.h>
        int use(struct ivshmem *ivs, struct ivshmem_wait *wait);
        int use(struct ivshmem *ivs, struct ivshmem_wait *wait)
        {
                uint64_t count = wait->count;

                return ivshmem_wait(ivs, IVSHMEM_ANY_VECTOR, &count, -1);
        }\n""")
    # Debian's clang packages have their version in the name.
    compiler = shutil.which(compiler) or f"{compiler}-14"
    subprocess.run([compiler, f"-std={standard}", *WARN, f"-I{SOURCE}",
                    f"-I{TOP}/include/uapi", "-c", "-o", tmp_path / "use.o",
                    source], check=True)
    names = output("nm", "--undefined-only", "--format=posix",
                   tmp_path / "use.o")
    assert "ivshmem_wait" in names.split()


def test_calls(tmp_path):
    """test_libivshmem.c, with sanitizers."""
    flags = ["-std=gnu11", *WARN, "-D_GNU_SOURCE", "-g", "-O1",
             f"-I{SOURCE}", f"-I{TOP}/include/uapi"]
    fake = tmp_path / "fake_device.so"
    program = tmp_path / "test_libivshmem"
    subprocess.run(["gcc", *flags, "-shared", "-fPIC", "-o", fake,
                    TOP / "tests/unit/fake_device.c"], check=True)
    subprocess.run(["gcc", *flags, "-D_FILE_OFFSET_BITS=64",
                    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    "-o", program, TOP / "tests/unit/test_libivshmem.c",
                    *sorted(SOURCE.glob("*.c"))], check=True)
    memory = tmp_path / "memory"
    memory.write_bytes(bytes(1 << 20))
    result = subprocess.run(
        [program], capture_output=True, check=False, timeout=60,
        env={"LD_PRELOAD": str(fake), "IVSHMEM_FAKE": str(memory),
             "IVSHMEM_FAKE_EVENTS": "0102",
             "ASAN_OPTIONS": "verify_asan_link_order=0"})
    assert result.stderr.decode() == "ring 65535 3\n"
    assert result.returncode == 0


def test_install(tmp_path):
    """A program finds all it needs through pkg-config, dynamic and static."""
    # What is installed elsewhere must not stay in the tree's own build.
    out = tmp_path / "build"
    subprocess.run(["make", "-s", "-C", SOURCE, "install", f"O={out}",
                    f"DESTDIR={tmp_path}", "prefix=/usr",
                    "libdir=/usr/lib/abc"], check=True)
    env = {**os.environ, "PKG_CONFIG_PATH": "",
           "PKG_CONFIG_LIBDIR": f"{tmp_path}/usr/lib/abc/pkgconfig",
           "PKG_CONFIG_SYSROOT_DIR": str(tmp_path)}
    flags = output("pkg-config", "--cflags", "--libs", "libivshmem",
                   env=env).split()
    version = output("bash", "-c", f". {TOP}/dkms.conf; echo $PACKAGE_VERSION")
    assert output("pkg-config", "--modversion", "libivshmem", env=env) == version

    source = tmp_path / "open.c"
    source.write_text("""
        #include <ivshmem.h>
        int main(void) { return !!ivshmem_open("/nowhere", 0); }
        """)
    program = tmp_path / "open"
    for extra in [], ["-static"]:
        subprocess.run(["gcc", source, "-o", program, *flags, *extra],
                       check=True)
        subprocess.run([program], check=True, env={
            "LD_LIBRARY_PATH": str(tmp_path / "usr/lib/abc")})
    manuals = {page.name for page in
               (tmp_path / "usr/share/man/man3").iterdir()}
    assert manuals == {f"{name}.3" for name in symbols_of_map()} | \
        {"libivshmem.3"}

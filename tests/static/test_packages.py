# SPDX-License-Identifier: MIT
"""Debian's and rpm's packages: built, and accepted by those who judge them."""

import re
import shutil
import subprocess

import pytest

from lab.build import TOP, make
from lab.system import packages

VERSION = re.search(r'^PACKAGE_VERSION="(.*)"$',
                    (TOP / "dkms.conf").read_text(), re.M)[1]
# A file of each package that no other has, for Debian and for rpm.
PLACES = {
    "ivshmem-dkms": [f"/usr/src/ivshmem-{VERSION}/dkms.conf",
                     f"/usr/src/ivshmem-{VERSION}/driver/probe.mk",
                     "/usr/lib/udev/rules.d/60-ivshmem.rules",
                     "/usr/lib/sysusers.d/ivshmem-dkms.conf",
                     "modprobe.d/ivshmem.conf", "modules-load.d/ivshmem.conf",
                     "/man4/ivshmem.4"],
    "ivshmem-tools": ["/usr/bin/ivshmemctl", "/completions/ivshmemctl",
                      "/man1/ivshmemctl.1"],
    "ivshmem-server": ["/usr/sbin/ivshmem-server", "/man8/ivshmem-server.8",
                       "/completions/ivshmem-server",
                       "/usr/lib/systemd/system/ivshmem-server@.service",
                       "/usr/lib/systemd/system/ivshmem-server@.socket",
                       "/usr/lib/sysusers.d/ivshmem-server.conf"],
    "libivshmem0": ["/libivshmem.so.0"],
    "libivshmem-dev": ["/usr/include/ivshmem.h", "/usr/include/linux/ivshmem.h",
                       "/usr/include/ivshmem-directory.h",
                       "/libivshmem.a", "/libivshmem.so", "/libivshmem.pc",
                       "/man3/libivshmem.3", "/man3/ivshmem_wait.3",
                       "/ping-pong.c"],
}


def run(*argv) -> str:
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    done = subprocess.run([str(a) for a in argv], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)
    return done.stdout


def check_places(listings: dict):
    """Each file is in the one package where it belongs."""
    for package, places in PLACES.items():
        for place in places:
            pattern = re.compile(rf"{re.escape(place)}(\.gz)?$", re.M)
            have = {p for p, text in listings.items() if pattern.search(text)}
            assert have == {package}, place


def check_scripts(scripts: dict):
    """Scripts of each package are such that a shell can read them."""
    for name, text in scripts.items():
        done = subprocess.run(["sh", "-n"], input=text, text=True, check=False,
                              stderr=subprocess.PIPE)
        assert not done.returncode, f"{name}: {done.stderr}"
        # A macro that nobody knows stands there as it is.
        assert not re.search(r"%\{?\w+|#DEBHELPER#", text), name


def test_deb(builder):
    """Debian's packages: lintian finds no error, each file has its place."""
    if not shutil.which("dh_dkms"):
        pytest.skip("dh-dkms is not installed")
    debs = packages(builder)
    names = {deb.name.split("_")[0]: deb for deb in debs}
    assert set(names) == set(PLACES)
    assert all(f"_{VERSION}_" in deb.name for deb in debs)
    run("lintian", "--fail-on", "error,warning", "--allow-root", *debs)
    listings = {}
    for name, deb in names.items():
        lines = run("dpkg-deb", "--contents", deb).splitlines()
        listings[name] = "\n".join(line.split()[5].removeprefix(".")
                                   for line in lines)
    check_places(listings)
    check_scripts({f"{name} {script}": run("dpkg-deb", "-I", names[name], script)
                   for name in ("ivshmem-dkms", "ivshmem-server")
                   for script in ("postinst", "prerm", "postrm")})


def test_rpm(builder):
    """Packages of other distributions, and rpmlint."""
    if not shutil.which("rpmbuild"):
        pytest.skip("rpm is not installed")
    make("rpm", f"O={builder.out}")
    rpms = {rpm.name.split(f"-{VERSION}")[0]: rpm
            for rpm in (builder.out / "rpm").glob("*.rpm")}
    run("rpmlint", "-c", TOP / "packaging/rpmlint.toml",
        TOP / "packaging/ivshmem.spec", *rpms.values())
    listings = {name: run("rpm", "-qpl", rpm) for name, rpm in rpms.items()}
    listings["libivshmem-dev"] = listings.pop("ivshmem-devel")
    check_places(listings)
    tag = "%{{NAME}} {0}\\n%{{{0}}}\\n====\\n"
    scripts = run("rpm", "-qp", "--qf", "".join(
        tag.format(s) for s in ("POSTIN", "PREUN", "POSTUN")), *rpms.values())
    found = dict(part.split("\n", 1) for part in scripts.split("====\n") if part)
    check_scripts(found)
    # Another release of the same version does not end without a driver.
    for script in "POSTIN", "PREUN":
        assert "--rpm_safe_upgrade" in found[f"ivshmem-dkms {script}"]

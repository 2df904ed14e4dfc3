# SPDX-License-Identifier: MIT
"""DKMS builds the module, in the oldest and the newest form that is around.

It runs as it does for a user, on the machine's own files, but with folders in
memory where it reads and writes: nothing of the machine changes.
"""

import os
import re
import subprocess

import pytest

from lab import kernels
from lab.build import TOP, clean_env

# dkms 2.8, 3.0 and 3.2, by the suites that have them.
SUITES = [("bullseye", "bullseye-security"), ("bookworm", "bookworm-security"),
          ("trixie", "trixie-backports")]
VERSION = re.search(r'^PACKAGE_VERSION="(.*)"$',
                    (TOP / "dkms.conf").read_text(), re.M)[1]
# {0} a folder, {1} the kernel's release, {2} its headers, {3} the cache
ALONE = """
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /usr/src
mount -t tmpfs tmpfs {0}
mkdir {0}/upper {0}/work
mount -t overlay overlay /usr/lib \
    -o lowerdir=/usr/lib,upperdir={0}/upper,workdir={0}/work
mount --bind {3} {3}
mount -o remount,bind,ro {3}
mkdir -p /usr/lib/modules/{1} /var/lib/dkms
ln -s {2} /usr/lib/modules/{1}/build
"""


class Dkms:
    """One version of dkms, for one kernel."""

    def __init__(self, program, kernel, folder):
        self.folder, self.kernel = folder, kernel
        # It cannot be told which compiler to take, but make can.
        self.program = f"env MAKEFLAGS={' '.join(kernel.make_flags)} {program}"
        self.release = kernel.release

    def make(self, target: str, flags="") -> str:
        return (f"make -C {TOP} {target} DKMS='{self.program}' "
                f"DKMS_FLAGS='{flags}'\n")

    def run(self, script: str):
        script = ALONE.format(self.folder, self.release, self.kernel.kdir,
                              kernels.cache_dir()) + script
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        done = subprocess.run(
            ["unshare", *user, "--mount", "sh", "-ec", script], text=True,
            env={**clean_env(), "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        print(done.stdout)
        return done


@pytest.fixture(params=SUITES, ids=lambda suites: suites[0])
def dkms(request, kernel, tmp_path):
    """A dkms of some age. It does not need to be installed."""
    if kernel.enter:
        pytest.skip("this kernel needs the compiler of another system")
    try:
        root = kernels.bring(kernels.cache_dir() / "dkms" / request.param[0],
                             request.param, ["dkms"], lambda root, final: None)
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    return Dkms(root / "usr/sbin/dkms", kernel, tmp_path)


def test_dkms(dkms):
    """make dkms-install, once more over itself, and make dkms-uninstall."""
    install = dkms.make("dkms-install", f"-k {dkms.release}")
    status = f"{dkms.program} status\n"
    done = dkms.run(install + status + install + status
                    + "find /lib/modules/ -name '*.ko*'\n"
                    + dkms.make("dkms-uninstall") + "echo LEFT\n" + status
                    + "find /lib/modules/ /usr/src/ /var/lib/ "
                    "-name '*ivshmem*'\n")
    assert not done.returncode
    before, _, after = done.stdout.partition("LEFT\n")
    known = [line for line in before.splitlines()
             if re.match(rf"ivshmem.*\b{re.escape(VERSION)}\b.*: installed$",
                         line)]
    assert len(known) == 2 and all(dkms.release in line for line in known)
    assert f"\n/lib/modules/{dkms.release}/updates/dkms/ivshmem.ko" in before
    assert not after


@pytest.mark.parametrize("release", ["4.19.0-27-amd64", "5.4.300", "5.9.16"])
def test_too_old(dkms, release):
    """It does not try on a kernel that is too old, and says why."""
    dkms.release = release
    done = dkms.run(dkms.make("dkms-install", f"-k {release}"))
    assert done.returncode and "BUILD_EXCLUSIVE" in done.stdout

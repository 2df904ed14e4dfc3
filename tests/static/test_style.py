# SPDX-License-Identifier: MIT
"""Style, licences, manual pages, version: what a reviewer would look for."""

import re
import shutil
import subprocess

import pytest

from lab import kernels, sources
from lab.build import TOP, make


def tracked(*patterns):
    """The project's files: those that git knows and those that it may know."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others",
                            "--exclude-standard", "--", *patterns], cwd=TOP,
                           stdout=subprocess.PIPE, check=True).stdout
    paths = [TOP / name for name in names.decode().split("\0") if name]
    return sorted(p for p in paths if p.is_file())


# What the kernel asks of its own code only: programs have no BIT(), __printf(),
# kstrtoul(), strscpy() and READ_ONCE().
USERSPACE = {"BIT_MACRO", "PREFER_DEFINED_ATTRIBUTE_MACRO",
             "PREFER_KERNEL_TYPES", "SSCANF_TO_KSTRTO", "STRCPY", "VOLATILE"}
FINDING = re.compile(r"^(?P<path>/\S+?):\d+: \w+:(?P<type>\w+):", re.M)


@pytest.fixture(scope="module")
def checkpatch():
    if not shutil.which("perl"):
        pytest.skip("perl is not installed")
    try:
        return sources.tree() / "scripts/checkpatch.pl"
    except kernels.Unavailable as err:
        return pytest.skip(str(err))


@pytest.mark.parametrize("part", ["driver", "include", "tools", "samples",
                                  "tests"])
def test_checkpatch(checkpatch, part):
    """checkpatch --strict has nothing to say."""
    files = tracked(f"{part}/*.c", f"{part}/*.h")
    if not files:
        pytest.skip(f"{part} has no C files")
    # Not from within the tree: it would leave a file behind there.
    done = subprocess.run(
        ["perl", checkpatch, "--no-tree", "--strict", "--no-summary", "--terse",
         "--show-types", "-f", *files], cwd="/", text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = []
    for line in done.stdout.splitlines():
        match = FINDING.match(line)
        if not match:
            continue
        fine = set() if part in ("driver", "include") else USERSPACE
        if match["type"] not in fine:
            found.append(line)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


SPDX = re.compile(r"SPDX-License-Identifier: ([^\n*]+?)\s*(\*/|-->)?$", re.M)
# Files that have no comments, or whose form others have laid down.
NO_SPDX = re.compile(r"^(LICENSES/|CHANGELOG|README|\.gitignore|dkms\.conf|"
                     r"packaging/debian/|Documentation/ABI/)|\.(config|csv|json|png|svg)$")


def test_spdx():
    """Each file says its licence in its first lines, and the text is there."""
    bad = []
    for path in tracked():
        name = str(path.relative_to(TOP))
        if not path.stat().st_size or NO_SPDX.search(name):
            continue
        head = path.read_text(errors="replace").splitlines()[:3]
        match = SPDX.search("\n".join(head))
        if not match:
            bad.append(f"{name}: no SPDX line")
            continue
        licence = match[1].split(" WITH ")
        for part in licence:
            if not list((TOP / "LICENSES").glob(
                    f"*/{part.removesuffix('-only')}")):
                bad.append(f"{name}: LICENSES has no {part}")
        if name.startswith("driver/") and licence != ["GPL-2.0-only"]:
            bad.append(f"{name}: {match[1]}")
    if bad:
        pytest.fail("\n".join(bad), pytrace=False)


@pytest.mark.parametrize("page", [str(p.relative_to(TOP)) for p in
                                  tracked("Documentation/man/*")])
def test_manual_page(page):
    """mandoc has nothing to say about a manual page."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", TOP / page],
                          text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode or done.stdout:
        pytest.fail(done.stdout, pytrace=False)


def test_html(builder):
    """Sphinx has nothing to say about the documents."""
    if not shutil.which("sphinx-build"):
        pytest.skip("sphinx-build is not installed")
    make("html", f"O={builder.out}", "SPHINXOPTS=-W -q -E --keep-going -n")
    assert (builder.out / "html/index.html").exists()


def test_version():
    """The version stands in dkms.conf and nowhere else in the sources."""
    config = (TOP / "dkms.conf").read_text()
    version = re.search(r'^PACKAGE_VERSION="(\d+\.\d+\.\d+)"$', config, re.M)[1]
    word = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    found = [str(p.relative_to(TOP)) for p in tracked()
             if word.search(p.read_text(errors="replace"))]
    # A changelog names every version; so does that of a package.
    found = [n for n in found if not n.lower().endswith("changelog.md")
             and not n.endswith("debian/changelog")]
    assert found == ["dkms.conf"]

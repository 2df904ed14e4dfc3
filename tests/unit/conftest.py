# SPDX-License-Identifier: MIT
"""Fixtures of the host programs' tests."""
import os
import pathlib
import subprocess
import tempfile

import pytest

pytest.register_assert_rewrite("serverlab")

# pylint: disable=wrong-import-position
from lab import kernels  # noqa: E402
from serverlab import BOUND, BUILD, PAGES, Server, build  # noqa: E402

SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.fixture(scope="session")
def server_program():
    """The server with sanitizers."""
    out = BUILD / "san"
    build("tools/ivshmem-server", "SECCOMP=no", f"CFLAGS=-O1 -g {SANITIZERS}",
          out=out)
    return out / "bin" / "ivshmem-server"


@pytest.fixture(name="huge_pages")
def fixture_huge_pages():
    """Sets how many free pages of a size there are: of no other test's, and 0 in
    the end."""
    used = set()

    def make(number, size="2M"):
        pool = PAGES[size] / "nr_hugepages"
        if not os.access(pool, os.W_OK) or (pool not in used and
                                            pool.read_text() != "0\n"):
            pytest.skip(f"huge pages of {size} cannot be had, or are in use")
        used.add(pool)
        pool.write_text(str(number))
        if pool.read_text() != f"{number}\n":
            pytest.skip(f"there is no room for huge pages of {size}")

    with kernels.locked(pathlib.Path(tempfile.gettempdir(), "ivshmem-pages")):
        yield make
        for pool in used:
            pool.write_text("0")


@pytest.fixture(name="folder")
def fixture_folder():
    """A folder that every user can use, with a short path."""
    with tempfile.TemporaryDirectory(prefix="ivshmem-") as folder:
        os.chmod(folder, 0o777)
        yield pathlib.Path(folder)


@pytest.fixture(name="server")
def fixture_server(server_program, folder):
    """Starts a server, which after the test has to have closed all and end."""
    servers = []

    def start(*args, **keywords):
        servers.append(Server(server_program, folder, *args, **keywords))
        return servers[-1]

    yield start
    try:
        for one in servers:
            if not one.ended:
                one.leave_all()
                one.end()
                assert not os.path.lexists(one.path)
    finally:
        for one in servers:
            one.destroy()


@pytest.fixture(name="run")
def fixture_run(server_program):
    """Runs the server where it is to end by itself: status, stdout, stderr."""
    def run(*args, **keywords):
        done = subprocess.run([server_program, *args], timeout=BOUND, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, **keywords)
        assert "Sanitizer" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr
    return run

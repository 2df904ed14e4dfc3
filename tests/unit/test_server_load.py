# SPDX-License-Identifier: MIT
"""ivshmem-server with as many peers as a machine may want."""
import os
import resource
import subprocess

import pytest

from serverlab import BUILD, Server, build, wait_until


@pytest.fixture(name="programs", scope="module")
def fixture_programs():
    """The server as it is installed, without sanitizers, and its clients."""
    for folder, target in (("tools/ivshmem-server", "all"),
                           ("tests/unit", BUILD / "unit/crowd")):
        build(folder, target)
    return BUILD / "bin/ivshmem-server", BUILD / "unit/crowd"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("peers,vectors", [
    pytest.param(1000, 8, marks=pytest.mark.skipif(
        not os.environ.get("IVSHMEM_LOAD"), reason="IVSHMEM_LOAD=1: minutes")),
    (200, 8), (100, 64)])
def test_crowd(programs, folder, peers, vectors):
    """All get all, whatever the soft limit; in the end nothing is left."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < peers * (vectors + 1) + 100:
        pytest.skip(f"the hard limit of open files is {hard}")
    server, crowd = programs
    running = Server(server, folder, "--stall-timeout", "3600", vectors=vectors,
                     limits=(256, hard))
    with subprocess.Popen([crowd, running.path, str(peers), str(vectors)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as clients:
        try:
            line = clients.stdout.readline()
            assert line, clients.stderr.read()
            assert running.fd_count() == \
                running.baseline + peers * (vectors + 1)
            clients.stdin.close()
            wait_until(lambda: running.fd_count() == running.baseline,
                       "the server to close what it had", bound=60)
            assert "warning" not in running.log()
            assert running.join(vectors).id == peers
            running.leave_all()
            running.end()
        finally:
            clients.kill()
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()

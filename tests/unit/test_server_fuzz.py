# SPDX-License-Identifier: MIT
"""Random options, requests and clients do the server no harm; see also make
fuzz-server."""
import random
import shutil
import subprocess

import pytest

from serverlab import BUILD, build

OPTIONS = [b"size 64M\nvectors 4\nstall-timeout 1.5\n",
           b"# nothing\n\nallow-uid 0\nmode 0660\nquiet\n",
           b"--size 1G --vectors 2048 -q", b"-l 8K -n 1 --no-quiet-departures"]
REQUESTS = [b"text\n", b"js\0te\0on\n", b"prometheus\n\0json\n", b"x" * 300]


# Any bytes are a script.
SCRIPTS = [random.Random(number).randbytes(200) for number in range(12)]


@pytest.mark.skipif(not shutil.which("clang-14"), reason="no clang-14")
@pytest.mark.parametrize("what,seeds", [("options", OPTIONS),
                                        ("control", REQUESTS),
                                        ("clients", SCRIPTS)])
def test_fuzz(tmp_path, what, seeds):
    """Files and command lines, what clients of the control socket send, or what
    all clients do, for some seconds."""
    program = BUILD / f"unit/fuzz_{what}"
    build("tests/unit", program)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run([program, "-max_total_time=10", "-len_control=0",
                           "-max_len=400", corpus], check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:].decode(errors="replace")

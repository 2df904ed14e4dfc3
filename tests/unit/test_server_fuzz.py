# SPDX-License-Identifier: MIT
"""Random options do the server no harm; see also make fuzz-server."""
import shutil
import subprocess

import pytest

from serverlab import BUILD, build

SEEDS = [b"size 64M\nvectors 4\nstall-timeout 1.5\n",
         b"# nothing\n\nallow-uid 0\nmode 0660\nquiet\n",
         b"--size 1G --vectors 2048 -q", b"-l 8K -n 1 --no-quiet-departures"]


@pytest.mark.skipif(not shutil.which("clang-14"), reason="no clang-14")
def test_options(tmp_path):
    """Files and command lines, for some seconds."""
    program = BUILD / "unit/fuzz_options"
    build("tests/unit", program)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run([program, "-max_total_time=10", corpus], check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:].decode(errors="replace")

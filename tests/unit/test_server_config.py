# SPDX-License-Identifier: MIT
"""ivshmem-server's configuration file."""
import os

import pytest


def write(folder, text):
    """A configuration file."""
    path = folder / "main.conf"
    path.write_text(text)
    return path


def test_config(server, folder):
    """Options in a file, with comments and blanks."""
    config = write(folder, f"# ours\n\n  size\t 64K \n#size 1\nvectors 3\r\n"
                           f"no-quiet-departures\n socket {folder}/a b ")
    running = server("--config", config, path=folder / "a b", options=())
    a, b = running.join(3), running.join(3)
    assert os.fstat(a.memory).st_size == 65536
    assert a.receive_peer(3) == b.id
    b.close()
    assert a.receive() == (b.id, None)


def test_order(server, folder):
    """What comes later on the command line wins, in both directions."""
    config = write(folder, "size 64K\nvectors 2")
    running = server("--size", "8K", "--config", config, "--vectors", "3",
                     vectors=1)
    client = running.join(3)
    assert os.fstat(client.memory).st_size == 65536


@pytest.mark.parametrize("text,message", [
    ("size 3M", "main.conf:1: size 3M: must be a power of two, 4K or more"),
    ("\n\n# x\nvectors 0 \n", "main.conf:4: vectors 0: must be a number from "),
    ("--size 4M", "main.conf:1: --size: not an option of a configuration file"),
    ("siz 4M", "main.conf:1: siz: not an option of a configuration file"),
    ("config x", "main.conf:1: config: not an option of a configuration file"),
    ("help", "main.conf:1: help: not an option of a configuration file"),
    ("version", "main.conf:1: version: not an option of a"),
    ("size", "main.conf:1: size needs a value"),
    ("quiet no", "main.conf:1: quiet takes no value"),
    ("size=4M", "main.conf:1: size=4M: not an option of a configuration"),
    ("size 4M\0", "main.conf: Invalid or incomplete multibyte"),
    ("#" * 65537, "main.conf: File too large"),
], ids=lambda value: value[:20].strip().replace("\0", "0"))
def test_bad(run, folder, text, message):
    """An error names file and line; nothing is started."""
    config = write(folder, text)
    status, out, err = run("--socket", folder / "socket", "--config", config)
    assert (status, out) == (2, "")
    assert message in err
    assert os.listdir(folder) == ["main.conf"]


def test_not_a_file(run, folder):
    """What is no file is not read, and a FIFO does not block."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    for path, message in ((folder / "none", "No such file or directory"),
                          (folder, "Invalid argument"),
                          (fifo, "Invalid argument")):
        status, _, err = run("--socket", folder / "socket", "--config", path)
        assert status == 2
        assert f"cannot read the configuration file {path}: {message}" in err


def test_two_files(run, folder):
    """One file, not several."""
    config = write(folder, "size 4M")
    status, _, err = run("--config", config, "--config", config)
    assert status == 2
    assert "one file is enough" in err


def test_largest(server, folder):
    """A file that just fits."""
    text = "size 64K\n"
    config = write(folder, text + "#" * (65536 - len(text)))
    running = server("--config", config)
    assert os.fstat(running.join().memory).st_size == 65536

# SPDX-License-Identifier: MIT
"""Measures ivshmem-server: how long peers take to join, and its memory.

All peers join one after another as fast as they can, in a process beside the
server's. By the protocol that is peers x peers x vectors messages. With --qemu
the server out of QEMU's source gets the same, and what it does not bear is said:
messages that it lost, or with how many peers it ended.
Writes a table to the terminal, and server.json and server.svg below build/bench.
"""

import argparse
import json
import math
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

# pylint: disable=wrong-import-position
from lab import contrib, kernels  # noqa: E402

BUILD = Path(os.environ.get("O", TOP / "build"))
# If neither side has done anything for so long, messages were lost.
STALLED = 10
WIDTH, HEIGHT, MARGIN = 560, 320, 60
COLOURS = {"ours": "#0060a0", "qemu": "#c04000"}


def command(which, path, vectors):
    """How to run one of the two servers."""
    if which == "ours":
        return [BUILD / "bin/ivshmem-server", "--socket", path, "--vectors",
                str(vectors), "--quiet", "--stall-timeout", "3600"]
    return [contrib.get("ivshmem-server"), "-F", "-S", path, "-n", str(vectors),
            "-m", path.parent]


def cpu(process):
    """The seconds that a process of one thread has had a processor."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


def wait_joined(server, crowd):
    """Waits until all peers have all, or nothing goes on any more. Returns the
    seconds, how many have connected, and how many messages have come."""
    used, since = None, time.monotonic()
    while not select.select([crowd.stdout], [], [], 0.05)[0]:
        now = cpu(server) + cpu(crowd)
        if now != used:
            used, since = now, time.monotonic()
        if time.monotonic() - since > STALLED:
            crowd.stdin.close()
    seconds, peers, messages = crowd.stdout.readline().split()
    return float(seconds), int(peers), int(messages)


def failure(server, crowd, row, peers, messages):
    """What went wrong, if anything did."""
    if messages == row["messages"]:
        return ""
    if crowd.stdin.closed:
        return f"lost {row['messages'] - messages} messages"
    try:
        return f"ended, status {server.wait(STALLED)}, when {peers} had connected"
    except subprocess.TimeoutExpired:
        return f"hung up on a peer when {peers} had connected"


def measure(which, peers, vectors, limit):
    """One server, one crowd."""
    row = {"server": which, "peers": peers, "vectors": vectors,
           "messages": peers * (3 + peers * vectors)}
    with tempfile.TemporaryDirectory(prefix="ivshmem-") as folder:
        path = Path(folder) / "socket"
        with subprocess.Popen(command(which, path, vectors),
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL,
                              preexec_fn=lambda: resource.setrlimit(
                                  resource.RLIMIT_NOFILE, limit)) as server:
            try:
                while not path.exists():
                    assert server.poll() is None
                    time.sleep(0.01)
                before, begun = fds(server), cpu(server)
                with subprocess.Popen(
                        [BUILD / "unit/crowd", path, str(peers), str(vectors)],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL) as crowd:
                    row["seconds"], *came = wait_joined(server, crowd)
                    row["error"] = failure(server, crowd, row, *came)
                    if not row["error"]:
                        row |= memory(server)
                        row["cpu"] = cpu(server) - begun
                        row["files"] = fds(server) - before
                    crowd.kill()
            finally:
                server.kill()
    return row


def fds(process):
    """How many files it has open."""
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def memory(process):
    """What it uses, and the most that it has used."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return {key: int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1])
            for key, name in (("rss_kib", "VmRSS"), ("peak_kib", "VmHWM"))}


def plot(rows, title, value, text, top):
    """One value over peers, both logarithmic, a line for each server."""
    peers = [r["peers"] for r in rows]
    values = [max(value(r), 1e-4) for r in rows]
    lines = [f'<text x="{MARGIN}" y="{top + 24}">{title}</text>']

    def place(number, amount):
        x = (math.log(number / min(peers))
             / (math.log(max(peers) / min(peers)) or 1))
        y = (math.log(amount / min(values))
             / (math.log(max(values) / min(values)) or 1))
        return (MARGIN + x * (WIDTH - 2 * MARGIN),
                top + HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN))

    for which, colour in COLOURS.items():
        points = [(r, *place(r["peers"], max(value(r), 1e-4)))
                  for r in rows if r["server"] == which]
        path = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" '
                     f'stroke="{colour}"/>')
        for row, x, y in points:
            lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" '
                      f'fill="{colour}"/>',
                      f'<text x="{x:.1f}" text-anchor="middle" fill="{colour}" '
                      f'y="{y + (-8 if which == "ours" else 18):.1f}">'
                      f'{text(row)}</text>']
    lines += [f'<text x="{place(n, min(values))[0]:.1f}" text-anchor="middle" '
              f'y="{top + HEIGHT - MARGIN + 36}">{n} peers</text>'
              for n in sorted(set(peers))]
    return lines


def svg(rows):
    """Processor time and memory, of the loads with as many vectors as the first."""
    vectors = rows[0]["vectors"]
    rows = [r for r in rows if r["vectors"] == vectors and not r["error"]]
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
             f'height="{2 * HEIGHT}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    lines += plot(rows, "Processor time until all peers know each other, "
                  f"{vectors} vectors each: ours blue, QEMU's red",
                  lambda r: r["cpu"], lambda r: f'{r["cpu"]:.2g} s', 0)
    lines += plot(rows, "The most memory that the server has used",
                  lambda r: r["peak_kib"],
                  lambda r: f'{r["peak_kib"] / 1024:.1f} MiB', HEIGHT)
    return "\n".join([*lines, "</svg>", ""])


def main():
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads",
                        default="10x8,30x8,100x8,1000x8,10x64,100x64",
                        help="peers x vectors (default: %(default)s)")
    parser.add_argument("--qemu", action="store_true",
                        help="QEMU's server, too; its source is built first")
    # 1024 is what programs get on Debian; the hard limit is the machine's.
    parser.add_argument("--soft-limit", type=int, default=1024, metavar="N",
                        help="open files that a server may have unless it sees "
                        "to it (default: %(default)s)")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = min(args.soft_limit, hard), hard
    try:
        if args.qemu:
            contrib.get("ivshmem-server")
    except kernels.Unavailable as err:
        sys.exit(f"QEMU's server cannot be had: {err}")
    rows = []
    print("server  peers  vectors   messages   seconds  messages/s  cpu seconds"
          "   files   peak KiB")
    for load in args.loads.split(","):
        for which in ["ours"] + ["qemu"] * args.qemu:
            row = measure(which, *map(int, load.split("x")), limit)
            rows.append(row)
            print(f"{which:6} {row['peers']:6} {row['vectors']:8} "
                  f"{row['messages']:10}", row["error"] or
                  f"{row['seconds']:9.3f} "
                  f"{row['messages'] / row['seconds']:11.0f} "
                  f"{row['cpu']:12.4f} {row['files']:7} "
                  f"{row['peak_kib']:10}", flush=True)
    folder = BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.json").write_text(json.dumps(rows, indent=2) + "\n")
    (folder / "server.svg").write_text(svg(rows))


if __name__ == "__main__":
    main()

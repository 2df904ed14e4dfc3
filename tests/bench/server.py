# SPDX-License-Identifier: MIT
"""Measures ivshmem-server: how long peers take to join, and its memory.

All peers join one after another as fast as they can, in a process beside the
server's. By the protocol that is peers x peers x vectors messages. Writes a
table to the terminal, and server.json and server.svg below build/bench.
"""

import argparse
import json
import math
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("O", TOP / "build"))
WIDTH, HEIGHT, MARGIN = 560, 320, 60


def measure(peers, vectors):
    """One server, one crowd."""
    with tempfile.TemporaryDirectory(prefix="ivshmem-") as folder:
        path = Path(folder) / "socket"
        with subprocess.Popen([BUILD / "bin/ivshmem-server", "--socket", path,
                               "--vectors", str(vectors), "--quiet",
                               "--stall-timeout", "3600"]) as server:
            try:
                while not path.exists():
                    assert server.poll() is None
                    time.sleep(0.01)
                with subprocess.Popen(
                        [BUILD / "unit/crowd", path, str(peers), str(vectors)],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd:
                    seconds = float(crowd.stdout.readline())
                    status = Path(f"/proc/{server.pid}/status").read_text()
                    crowd.stdin.close()
            finally:
                server.terminate()
    memory = {name: int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1])
              for name in ("VmRSS", "VmHWM")}
    return {"peers": peers, "vectors": vectors, "seconds": seconds,
            "messages": peers * (3 + peers * vectors), "rss_kib":
            memory["VmRSS"], "peak_kib": memory["VmHWM"]}


def svg(rows):
    """Seconds over peers, both logarithmic, beside what n x n would be."""
    top, low = max(r["seconds"] for r in rows), min(r["seconds"] for r in rows)
    low = max(min(low, top / 10), 1e-4)

    def place(peers, seconds):
        first, last = rows[0]["peers"], rows[-1]["peers"]
        x = math.log(peers / first) / math.log(last / first)
        y = math.log(max(seconds, low) / low) / math.log(top / low)
        return (MARGIN + x * (WIDTH - 2 * MARGIN),
                HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN))

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
             f'height="{HEIGHT}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="{MARGIN}" y="24">Seconds until all peers know each '
             f'other, {rows[0]["vectors"]} vectors each</text>']
    points = [place(r["peers"], r["seconds"]) for r in rows]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    lines.append(f'<polyline points="{path}" fill="none" stroke="#0060a0"/>')
    for row, (x, y) in zip(rows, points):
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        lines.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">'
                     f'{row["seconds"]:.3g} s</text>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 20}" '
                     f'text-anchor="middle">{row["peers"]} peers, '
                     f'{row["peak_kib"] / 1024:.1f} MiB</text>')
    return "\n".join([*lines, "</svg>", ""])


def main():
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="10,100,1000")
    parser.add_argument("--vectors", type=int, default=8)
    args = parser.parse_args()
    rows = []
    print("peers   messages   seconds   us/message   peak KiB")
    for peers in map(int, args.peers.split(",")):
        row = measure(peers, args.vectors)
        rows.append(row)
        print(f"{peers:5} {row['messages']:10} {row['seconds']:9.3f} "
              f"{row['seconds'] / row['messages'] * 1e6:12.2f} "
              f"{row['peak_kib']:10}", flush=True)
    folder = BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.json").write_text(json.dumps(rows, indent=2) + "\n")
    (folder / "server.svg").write_text(svg(rows))


if __name__ == "__main__":
    main()

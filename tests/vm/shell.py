#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Two VMs that share memory, a shell in each, side by side in tmux."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

from lab import build, kernels
from lab.cluster import Cluster, Lab, guest

# Runs in the guest on a serial line of its own. Leaving it ends the guest.
SCRIPT = """
while [ ! -e /tmp/shell ]; do sleep 0.1; done
exec </dev/ttyS2 >/dev/ttyS2 2>&1
stty sane
cat /etc/motd
cd
export TERM=linux PS1="$(hostname)# "
setsid -c sh
poweroff -f
"""

MOTD = """This is guest {name}, peer {own}; guest {other} is peer {peer}. Try:
  ivshmemctl info
  ivshmemctl wait --count 0         here, and in the other guest:
  ivshmemctl ring PEER VECTOR
  echo hello | ivshmemctl write 0   and there: ivshmemctl read 0 5
  /samples/ping-pong
C-d ends a guest. C-b o changes to the other, C-b d leaves both.
"""


def motd(vm, own: int, other, peer: int, rows: int, columns: int):
    text = MOTD.format(name=vm.name, own=own, other=other.name, peer=peer)
    vm.check(f"hostname guest-{vm.name}")
    vm.check(f"stty -F /dev/ttyS2 rows {rows} cols {columns}")
    vm.put(text.encode(), "/etc/motd")


def connected(vm) -> bool:
    """Whether somebody is at the other end of the guest's shell."""
    lines = {c["label"]: c["filename"] for c in vm.qmp("query-chardev")}
    return not lines["shell"].startswith("disconnected:")


def show(cluster: Cluster):
    """Runs tmux until the person leaves it."""
    a, b = cluster
    columns, rows = shutil.get_terminal_size()
    rows = max((rows - 2) // 2, 4)
    own = [int(vm.check("cat /sys/class/misc/ivshmem0/position"))
           for vm in (a, b)]
    motd(a, own[0], b, own[1], rows, columns)
    motd(b, own[1], a, own[0], rows, columns)
    pane = [f"socat -,raw,echo=0 unix-connect:{shlex.quote(str(vm.shell_socket))}"
            for vm in (a, b)]
    tmux = ["tmux", "-L", f"ivshmem-{os.getpid()}", "-f", "/dev/null"]
    env = {k: v for k, v in os.environ.items() if k != "TMUX"}
    client = subprocess.Popen(
        [*tmux, "new-session", pane[0], ";", "split-window", "-v", pane[1],
         ";", "select-pane", "-t", "0"], env=env)
    try:
        for vm in (a, b):
            while client.poll() is None and not connected(vm):
                time.sleep(0.05)
            if client.poll() is None:
                vm.check("touch /tmp/shell")
            # Whoever leaves a shell ends its guest, and that is no failure.
            vm.ending = True
        client.wait()
    finally:
        subprocess.run([*tmux, "kill-server"], env=env, check=False,
                       stderr=subprocess.DEVNULL)
        client.wait()


def main() -> int:
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        print("make shell is for a person at a terminal; this is none. "
              "make demo runs without.", file=sys.stderr)
        return 1
    if not shutil.which("tmux") or not shutil.which("socat"):
        print("make shell needs tmux and socat", file=sys.stderr)
        return 1
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.default_int_handler)
    lab = Lab()
    try:
        kernel = kernels.get(os.environ.get("KERNEL") or "6.1")
        print(f"booting two guests with {kernel.release}", flush=True)
        cluster = Cluster(lab, kernel, [
            guest(name=name, tests=False, shell=SCRIPT) for name in "AB"])
        try:
            show(cluster)
        finally:
            cluster.discard()
    except (AssertionError, build.BuildError, kernels.Unavailable) as err:
        print(err, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        lab.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())

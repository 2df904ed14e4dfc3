# SPDX-License-Identifier: MIT
"""A running ivshmem-server."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path


class ServerError(AssertionError):
    """The server did not start, did not end well, or complained."""


class Server:
    """ivshmem-server in the foreground, on a socket in a folder."""

    def __init__(self, program: Path, folder: Path, size="4M", vectors=4,
                 options=(), name="server"):
        self.size, self.vectors, self.name = size, vectors, name
        self.socket = folder / f"{name}.sock"
        self.log_file = folder / f"{name}.log"
        argv = [program, "--socket", self.socket, "--size", size, "--vectors",
                vectors, *options]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *[str(a) for a in argv]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        deadline = time.monotonic() + 30
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.destroy()
                raise ServerError(f"{name} did not start: "
                                  f"{self.process.returncode}\n{self.log()}")
            time.sleep(0.005)

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def check(self):
        """Fails when the server has ended or reported an error."""
        status = self.process.poll()
        if status is not None:
            raise ServerError(f"{self.name} ended: {status}\n{self.log()}")
        self.judge()

    def judge(self):
        bad = [line for line in self.log().splitlines()
               if re.search(r"\b(error|warning):|Sanitizer", line)]
        if bad:
            raise ServerError(f"{self.name} complains:\n" + "\n".join(bad))

    def stop(self):
        """Ends it with SIGTERM; it must then go well, and remove its socket."""
        try:
            self.check()
            self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(30)
            except subprocess.TimeoutExpired:
                raise ServerError(f"{self.name} ignores SIGTERM\n"
                                  + self.log()) from None
            if status:
                raise ServerError(f"{self.name}: exit status {status}\n"
                                  + self.log())
            self.judge()
            if os.path.lexists(self.socket):
                raise ServerError(f"{self.name} left its socket behind")
        finally:
            self.destroy()

    def destroy(self):
        self.process.kill()
        self.process.wait()

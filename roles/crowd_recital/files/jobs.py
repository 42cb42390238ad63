# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Aggregate and upload the sessions of crowd-recital again and again; runs in its container, in /.

    python jobs.py SECONDS      between the beginnings of two runs

The admin client ends with 0 whatever happens, and says "Error:" when something did. That is told with the
number of failures in a row; the next run tries again, as the jobs in the server would.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

COMMANDS = ("aggregate_sessions", "upload_sessions")


def run(command: str) -> bool:
    """Run one command of the admin client with its output shown; whether it went well."""
    done = subprocess.run(
        [sys.executable, "server/admin_client.py", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="", flush=True)
    return done.returncode == 0 and not any(
        line.startswith("Error:") for line in done.stdout.splitlines()
    )


def main() -> None:
    # The command that runs is let to its end: the signal reaches this process alone.
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    seconds, failures = int(sys.argv[1]), 0
    while not ending.is_set():
        started = time.monotonic()
        # Not all() of a list: what could not be aggregated must not keep the others from the upload.
        good = [run(command) for command in COMMANDS if not ending.is_set()]
        failures = 0 if all(good) else failures + 1
        if failures:
            print(f"jobs: failed {failures} time(s) in a row", flush=True)
        ending.wait(max(0.0, started + seconds - time.monotonic()))


if __name__ == "__main__":
    main()

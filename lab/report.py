# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab says while it works, and how it says that it cannot go on."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

QUIET_SECONDS = 3.0  # a step that takes longer starts to report
EVERY_SECONDS = 10.0  # ... and goes on reporting at this pace

_lock = threading.Lock()


class LabError(Exception):
    """A failure told to the user as it is, without a traceback.

    what: what was tried and what was found, one sentence.
    hint: what the user can do about it, one sentence, or None.
    """

    def __init__(self, what: str, hint: str | None = None):
        super().__init__(what if hint is None else f"{what}\n       {hint}")


def say(text: str) -> None:
    """Print one line at once, also when several threads speak."""
    with _lock:
        print(text, file=sys.stdout, flush=True)


class step:
    """One step of the work: prints its title and seconds when done, and signs of life while it takes long.

    The body may set `state` (shown meanwhile), `watch` (file whose last line is) and `note` (for the end).
    """

    def __init__(self, title: str):
        self.title = title
        self.state = ""
        self.watch: Path | None = None
        self.note = ""
        self._done = threading.Event()

    def __enter__(self) -> step:
        self._start = time.monotonic()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._done.set()
        self._ticker.join()
        end = "failed" if kind else self.note
        say(f"{self._seconds():6.1f} s  {self.title}{': ' + end if end else ''}")

    def _seconds(self) -> float:
        return time.monotonic() - self._start

    def _tick(self) -> None:
        pause = QUIET_SECONDS
        while not self._done.wait(pause):
            pause = EVERY_SECONDS
            state = self._state()
            say(f"     ...  {self.title}, {self._seconds():.0f} s{': ' + state if state else ''}")

    def _state(self) -> str:
        if self.watch and self.watch.is_file():
            lines = self.watch.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1].removeprefix("I: ").rstrip(".")[:60] if lines else ""
        return self.state

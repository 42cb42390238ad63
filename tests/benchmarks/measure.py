# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks that shall change nothing, and tells what they took."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Run:
    """One run of a playbook: seconds of wall time, remote tasks and remote calls of the busiest host."""

    seconds: float
    tasks: int
    calls: int


def ansible(program: str, inventory: Path, *words: str, **variables: str) -> tuple[str, float]:
    """Run one of Ansible's programs; return its output and its seconds, exit where it fails."""
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        **variables,
    }
    command = [Path(sys.executable).parent / program, "-i", inventory, *words]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-3000:]
        sys.exit(f"{program} {words[0]} failed, so there is nothing to measure:\n{output}")
    return done.stdout, seconds


def play(inventory: Path, playbook: Path, log: Path) -> Run:
    """Run a playbook once; exit where it fails or changes something."""
    log.write_text("", encoding="utf-8")
    output, seconds = ansible(
        "ansible-playbook",
        inventory,
        str(playbook),
        ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callbacks"),
        ANSIBLE_CALLBACKS_ENABLED="remote_calls",
        REMOTE_CALLS=str(log),
    )
    if changed := re.findall(r"^(\S+) .*changed=([1-9]\d*)", output, re.MULTILINE):
        hosts = ", ".join(f"{host}: {count}" for host, count in changed)
        sys.exit(
            f"{playbook.name} changed something ({hosts}), so it was no second run. Run it, then this again."
        )
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    calls = Counter(host for host, _, _ in entries)
    tasks = Counter(host for host, _ in {(host, task) for host, task, _ in entries})
    return Run(seconds, max(tasks.values(), default=0), max(calls.values(), default=0))


def figures(values: list[float], digits: int) -> str:
    """Return a median with its range."""
    return f"{median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"

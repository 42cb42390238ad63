# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second run costs: `site.yml` on a fleet that needs nothing, beside a play that only pings.

    make bench                      on the lab that `make demo` left
    .venv/bin/python tests/benchmarks/noop.py --inventory inventories/mine --runs 9

Runs alternate after one uncounted run of each, so that a slower minute of the machine hits both. A run in
which anything changed is no no-op and ends the benchmark.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Run, figures, play

PING = """\
- hosts: managers:workers
  gather_facts: false
  tasks:
    - name: Ping
      ansible.builtin.ping:
"""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Measure what a second run of site.yml costs.")
    parser.add_argument(
        "--inventory", type=Path, default=ROOT / "inventories" / "lab", help="default: the lab"
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="counted runs of each playbook (default: %(default)s)"
    )
    asked = parser.parse_args()
    if not asked.inventory.exists():
        sys.exit(f"There is no inventory {asked.inventory}; make one with: make demo")
    with tempfile.TemporaryDirectory() as folder:
        ping, log = Path(folder, "ping.yml"), Path(folder, "calls.jsonl")
        ping.write_text(PING, encoding="utf-8")
        playbooks = {"a play that pings": ping, "site.yml, nothing to do": ROOT / "site.yml"}
        runs: dict[str, list[Run]] = {name: [] for name in playbooks}
        for number in range(asked.runs + 1):
            for name, playbook in playbooks.items():
                result = play(asked.inventory.resolve(), playbook, log)
                if number:
                    runs[name].append(result)
                print(
                    f"  {'run ' + str(number) if number else 'warm-up'}: {name}: {result.seconds:.2f} s",
                    flush=True,
                )
    print(f"\n{'':24} {'seconds, median [range]':>25} {'remote tasks':>13} {'remote calls':>13}")
    for name, results in runs.items():
        tasks, calls = (max(getattr(result, part) for result in results) for part in ("tasks", "calls"))
        print(f"{name:24} {figures([result.seconds for result in results], 2):>25} {tasks:>13} {calls:>13}")
    pairs = zip(*runs.values(), strict=True)
    print(f"{'ratio, run by run':24} {figures([slow.seconds / fast.seconds for fast, slow in pairs], 1):>25}")
    print("\nTasks and calls are those of the busiest host; a task that loops makes several calls.")


if __name__ == "__main__":
    main()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command with a lab of its own, whose inventory it finds in GPUFLEET_INVENTORY.

    python scripts/with_lab.py NAME HOSTS [--managers N] [--fronts N] [--fleet] [--gpus HOST=NUMBER,...]
                               -- COMMAND...

With --fleet the hosts are a Swarm with its ingress, and no system, before the command starts. The lab is
removed afterwards, whatever became of the command, whose exit code is returned.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
BARE_SWARM = ("--extra-vars", '{"fleet_systems": []}')


def main() -> int:
    """Make the lab, run the command, remove the lab."""
    parser = argparse.ArgumentParser(description="Run a command with a lab of its own.")
    parser.add_argument("name")
    parser.add_argument("hosts")
    parser.add_argument("--managers", default="1")
    parser.add_argument("--fronts", default="0")
    parser.add_argument("--fleet", action="store_true")
    parser.add_argument("--gpus", default="", help="pretend cards, as the lab takes them")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpufleet-") as folder:
        inventory = str(Path(folder) / "fleet")
        lab = [sys.executable, "-m", "lab"]
        place = ["--name", options.name, "--inventory", inventory]
        try:
            # An earlier run that was killed may have left its hosts.
            subprocess.run([*lab, "down", *place], cwd=ROOT, check=True)
            size = ["--hosts", options.hosts, "--managers", options.managers, "--fronts", options.fronts]
            size += ["--gpus", options.gpus]
            subprocess.run([*lab, "up", *place, *size], cwd=ROOT, check=True)
            if options.fleet:
                play = [str(PLAYBOOK), "-i", inventory, "site.yml", *BARE_SWARM]
                subprocess.run(play, cwd=ROOT, check=True)
            env = {**os.environ, "GPUFLEET_INVENTORY": inventory}
            return subprocess.run(options.command, cwd=ROOT, env=env, check=False).returncode
        except subprocess.CalledProcessError as error:
            return error.returncode
        finally:
            subprocess.run([*lab, "down", *place], cwd=ROOT, check=False)


if __name__ == "__main__":
    sys.exit(main())

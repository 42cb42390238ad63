# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys a stack on a real Swarm for tests, and looks at the result with Docker's own tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
MANAGER = os.environ.get("GPUFLEET_MANAGER", "managers[0]")
# An image with sh, sleep and printf that every node can get.
IMAGE = os.environ.get("GPUFLEET_TEST_IMAGE", "redis:7.4")
STACK = "it"


# What the Swarm has of the stack, read with Docker's own tool so that the module is not its own witness.
# Ansible would take Go's braces for its own, so they are written as << and >> here.
LOOK = (
    """
services=$(docker service ls -q --filter label=com.docker.stack.namespace=STACK)
echo "["; [ -z "$services" ] || docker service inspect $services | sed '1d;$d'; echo "]"
echo "---"
for kind in network config secret; do
  docker $kind ls --filter label=com.docker.stack.namespace=STACK --format "$kind <<.Name>>"
done
echo "---"
for service in $services; do
  docker service ps --no-trunc --filter desired-state=running --format "$service <<.ID>>" $service
done
""".replace("STACK", STACK)
    .replace("<<", "{{ '{{' }}")
    .replace(">>", "{{ '}}' }}")
)


def service(**keys):
    """Return a service that does nothing for long, and ends at once when it is told to."""
    return {"image": IMAGE, "command": ["sleep", "100000"], "stop_grace_period": "1s", **keys}


def quick(**deploy):
    """Return a deploy section whose updates are watched for a second."""
    return {"update_config": {"monitor": "1s"}, **deploy}


class Fleet:
    """Runs the module from a playbook of its own, in a folder of its own."""

    def __init__(self, folder, host=None, timeout=400):
        self.folder = folder
        self.host = host or MANAGER
        self.timeout = timeout

    def play(self, tasks, *flags):
        """Run tasks on the host and return the registered results by name."""
        out = self.folder / "out.json"
        names = [task["register"] for task in tasks if "register" in task]
        save = {
            "name": "Keep the results",
            "ansible.builtin.copy": {
                "dest": str(out),
                "content": "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}",
            },
            "delegate_to": "localhost",
            "become": False,
            "check_mode": False,
            "diff": False,
        }
        play = {"hosts": self.host, "become": True, "gather_facts": False, "tasks": [*tasks, save]}
        (self.folder / "play.yml").write_text(json.dumps([play]))
        command = (
            shutil.which("ansible-playbook", path=str(Path(sys.executable).parent)) or "ansible-playbook"
        )
        run = subprocess.run(
            [command, "-i", str(Path(INVENTORY).absolute()), *flags, str(self.folder / "play.yml")],
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        self.output = run.stdout
        return json.loads(out.read_text())

    def deploy(self, definition=None, *flags, **options):
        """Run the module once, then look. Return (result, state)."""
        arguments = {"name": STACK, "wait_timeout": 120, **options}
        if definition is not None:
            arguments["definition"] = yaml.safe_dump(definition)
        results = self.play(
            [
                {"gpufleet.swarm.stack": arguments, "register": "result", "ignore_errors": True},
                {
                    "ansible.builtin.shell": LOOK,
                    "register": "look",
                    "changed_when": False,
                    "check_mode": False,
                },
            ],
            *flags,
        )
        return results["result"], state(results["look"]["stdout"])


def state(text):
    services, objects, tasks = text.split("---")
    found = {entry["Spec"]["Name"]: entry for entry in json.loads(services)}
    names = {entry["ID"]: name for name, entry in found.items()}
    running = {name: [] for name in found}
    for line in tasks.split("\n"):
        if line.strip():
            identity, task = line.split()
            # docker service ls -q prints shortened ids
            running[next(name for full, name in names.items() if full.startswith(identity))].append(task)
    return {
        "services": found,
        "versions": {name: entry["Version"]["Index"] for name, entry in found.items()},
        "previous": {name: entry.get("PreviousSpec") for name, entry in found.items()},
        "tasks": {name: sorted(ids) for name, ids in running.items()},
        "objects": sorted(line for line in objects.strip().split("\n") if line),
    }

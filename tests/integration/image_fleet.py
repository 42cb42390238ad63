# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays on the fleet of a lab for the suites on images, and looks at its hosts past SSH and Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# What runs on the controller; everything else in a result is a remote task.
LOCAL = {
    "ansible.builtin.include_role",
    "ansible.builtin.include_tasks",
    "ansible.builtin.set_fact",
    "ansible.builtin.debug",
    "ansible.builtin.assert",
    "ansible.builtin.validate_argument_spec",
}


class Run:
    """The outcome of a playbook."""

    def __init__(self, process):
        self.output = process.stdout + process.stderr
        self.rc = process.returncode
        start = process.stdout.find("{\n")
        assert start >= 0, self.output
        self.data = json.loads(process.stdout[start:])

    def results(self):
        """Return (name of the task, host, its result) in the order they ran."""
        return [
            (task["task"]["name"].rpartition(" : ")[2], host, result)
            for play in self.data["plays"]
            for task in play["tasks"]
            for host, result in task["hosts"].items()
        ]

    def names(self):
        """Return the names of the tasks that ran."""
        return [name for name, _host, result in self.results() if not result.get("skipped")]

    def remote(self):
        """Return the number of calls that were sent to hosts; each turn of a loop is one, but a loop whose
        results are withheld (no_log) is one in all."""
        calls = 0
        for _name, _host, result in self.results():
            turns = result.get("results", [result])
            calls += sum(
                not turn.get("skipped") and result.get("action") not in LOCAL
                for turn in turns
                if "localhost" not in str(turn.get("_ansible_delegated_vars", ""))
            )
        return calls

    def changed(self):
        return sum(stats["changed"] for stats in self.data["stats"].values())

    def loads(self):
        """Return what was loaded from an archive, [(host, names, bytes)]."""
        return [
            (turn["__images_node"], turn["loaded"], turn["bytes"])
            for _name, _host, result in self.results()
            for turn in result.get("results", [])
            if "bytes" in turn
        ]

    def message(self):
        """Return what the failed tasks said, on one line."""
        failed = [
            str(turn.get("msg"))
            for _name, _host, result in self.results()
            for turn in (result, *result.get("results", []))
            if turn.get("failed") or turn.get("unreachable")
        ]
        return " ".join(" ".join(failed).split())


class Fleet:
    """The lab's fleet: a manager and a worker."""

    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        values = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        groups = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        self.lab = values["fleet_name"]
        self.manager = next(iter(groups["managers"]["hosts"]))
        self.worker = next(iter(groups["workers"]["hosts"]))
        self.nodes = (self.manager, self.worker)
        self.credentials = self.inventory / "credentials"

    def call(self, playbook, *arguments, **variables):
        env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_FORCE_COLOR": "false",
        }
        command = [
            BIN / "ansible-playbook",
            "-i",
            self.inventory,
            *arguments,
            "-e",
            json.dumps(variables),
            playbook,
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
        )
        return Run(done)

    def play(
        self, role, *arguments, fails=False, hosts="managers[0]", tasks_from="main", task=None, **variables
    ):
        """Run a role, with variables of the task beside those of the inventory, and return the Run."""
        path = self.folder / "play.yml"
        step = {"ansible.builtin.include_role": {"name": f"gpufleet.swarm.{role}", "tasks_from": tasks_from}}
        play = {"hosts": hosts, "become": True, "gather_facts": False, "any_errors_fatal": True}
        path.write_text(json.dumps([{**play, "tasks": [{**step, "vars": task or {}}]}]))
        run = self.call(path, *arguments, **variables)
        assert (run.rc != 0) is fails, run.message() or run.output
        return run

    def deploy(self, services, *arguments, name="it", task=None, **options):
        """Deploy a stack of these services by the role."""
        template = self.folder / f"{name}.yml.j2"
        template.write_text(json.dumps({"services": services}))
        given = {"stack_name": name, "stack_template": str(template), "stack_wait_timeout": 90}
        return self.play("stack", *arguments, task={**given, **(task or {})}, **options)

    def on(self, host, script, check=True):
        """Run a script on a host and return what it prints."""
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return (done.stdout + ("" if check else done.stderr)).strip()

    def put(self, host, path, text):
        command = ["docker", "exec", "-i", f"gpufleet-{self.lab}-{host}", "sh", "-c", f"cat > '{path}'"]
        subprocess.run(command, input=text, text=True, check=True)

    def carry(self, source, target, path):
        """Carry a folder from one host to the same place on another."""
        pack = ["docker", "exec", f"gpufleet-{self.lab}-{source}", "tar", "-C", "/", "-cf", "-"]
        pack.append(path.lstrip("/"))
        packed = subprocess.run(pack, capture_output=True, check=True).stdout
        unpack = ["docker", "exec", "-i", f"gpufleet-{self.lab}-{target}", "tar", "-C", "/", "-xf", "-"]
        subprocess.run(unpack, input=packed, check=True)

    def images(self, host):
        """Return the names of the images that a host has."""
        return set(self.on(host, "docker images --format '{{.Repository}}:{{.Tag}}'").split())

    def received(self, host):
        """Return the bytes that a host has received from other hosts."""
        return int(self.on(host, "cat /sys/class/net/eth0/statistics/rx_bytes"))


def service(image, **deploy):
    """Return a service that does nothing for long, and ends at once when it is told to."""
    return {"image": image, "command": ["sleep", "100000"], "stop_grace_period": "1s", "deploy": deploy}

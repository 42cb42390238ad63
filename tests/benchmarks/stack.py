# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to deploy a stack that is already there: the stack module beside other ways, and its growth.

    make bench                      on the lab that `make demo` left
    .venv/bin/python tests/benchmarks/stack.py --inventory inventories/mine --runs 9

Deploys stacks named bench-* on the first manager and removes them at the end. All ways run once a round, one
after the other, so that a slower minute of the machine hits all of them. Requests are counted in a round that
is not timed, by a socket that passes them on to the Engine. Installs what docker_stack needs on the manager:
python3-yaml and python3-jsondiff, and python3-docker for the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import yaml
from measure import HERE, ROOT, ansible, figures, play

SERVICES, NETWORKS, CONFIGS, SECRETS = 25, 2, 4, 3
GROWTH = (25, 100, 250)
REMOTE = "/var/tmp/gpufleet-bench"
IMAGE = os.environ.get("GPUFLEET_TEST_IMAGE", "redis:7.4")

PING = [{"name": "Ping", "ansible.builtin.ping": {}}]
# What runs on the manager alone, without Ansible.
ON_MANAGER = {
    "cli": "`docker stack deploy`, on the manager",
    "loop": "`docker stack deploy` for each service's file, on the manager",
    "sdk": "floor: a process lists the stack's objects, docker SDK",
    "http": "floor: the same, standard library over the socket",
}
PLAYS = {
    "ping": "a play that pings",
    "ours": "`gpufleet.swarm.stack` in a play",
    "docker_stack": "`community.docker.docker_stack` in a play",
}


def stack(services: int, replicas: int) -> dict:
    """Return a stack file; paths of its files are relative to it."""
    entries = {}
    for number in range(services):
        entries[f"service{number:03}"] = {
            "image": IMAGE,
            "command": ["sleep", "1000000"],
            "stop_grace_period": "1s",
            "environment": {"NUMBER": str(number), "LEVEL": "info", "MODE": "batch"},
            "networks": [f"n{number % NETWORKS}"],
            "configs": [{"source": f"c{number % CONFIGS}", "target": "/etc/app.conf"}],
            "secrets": [f"s{number % SECRETS}"],
            "deploy": {
                "replicas": replicas,
                "labels": {"part": "bench", "number": str(number)},
                "update_config": {"order": "start-first", "monitor": "1s"},
                "resources": {"limits": {"memory": "64M"}},
            },
        }
    return {
        "version": "3.8",
        "services": entries,
        "networks": {f"n{number}": {} for number in range(NETWORKS)},
        "configs": {f"c{number}": {"file": f"c{number}.conf"} for number in range(CONFIGS)},
        "secrets": {f"s{number}": {"file": f"s{number}.txt"} for number in range(SECRETS)},
    }


def one_service(whole: dict, name: str) -> dict:
    """Return the file of one service, with what it uses."""
    service = whole["services"][name]
    used = {
        "networks": service["networks"],
        "configs": [each["source"] for each in service["configs"]],
        "secrets": service["secrets"],
    }
    parts = {kind: {key: whole[kind][key] for key in keys} for kind, keys in used.items()}
    return {"version": "3.8", "services": {name: service}, **parts}


class Bench:
    """Everything in one folder: stack files, playbooks, and the script for the manager."""

    def __init__(self, inventory: Path, folder: Path):
        self.inventory = inventory
        self.folder = folder
        self.log = folder / "calls.jsonl"
        files = folder / "files"
        (files / "each").mkdir(parents=True)
        for number in range(CONFIGS):
            text = "".join(f"option{line} = value {number}\n" for line in range(40))
            (files / f"c{number}.conf").write_text(text)
            shutil.copy(files / f"c{number}.conf", files / "each")
        for number in range(SECRETS):
            (files / f"s{number}.txt").write_text(f"a benchmark's secret {number}\n")
            shutil.copy(files / f"s{number}.txt", files / "each")
        whole = stack(SERVICES, 1)
        (files / "stack.yml").write_text(yaml.safe_dump(whole))
        for name in whole["services"]:
            (files / "each" / f"{name}.yml").write_text(yaml.safe_dump(one_service(whole, name)))
        for services in GROWTH:
            (files / f"stack-{services}.yml").write_text(yaml.safe_dump(stack(services, 0)))
        shutil.copy(HERE / "on_manager.py", files)

    def playbook(self, name: str, *tasks: dict) -> Path:
        """Write a playbook for the manager."""
        path = self.folder / f"{name}.yml"
        play = {"hosts": "managers[0]", "become": True, "gather_facts": False, "tasks": list(tasks)}
        path.write_text(yaml.safe_dump([play]))
        return path

    def run(self, name: str, *tasks: dict) -> None:
        """Run tasks on the manager, whatever they change."""
        ansible("ansible-playbook", self.inventory, str(self.playbook(name, *tasks)))

    def on_manager(self, command: str) -> dict:
        """Run the manager's half of this and return what it tells."""
        words = ("managers[0]", "--become", "-m", "ansible.builtin.command")
        output, _ = ansible(
            "ansible", self.inventory, *words, "-a", f"python3 {REMOTE}/on_manager.py {command}"
        )
        _, _, told = output.partition(">>\n")
        return json.loads(told) if told.strip() else {}

    def ours(self, name: str, file: str, **more: str) -> dict:
        """Return a task of our module."""
        options = {"name": name, "files": [str(self.folder / "files" / file)], **more}
        return {"name": "Deploy with the stack module", "gpufleet.swarm.stack": options}

    def theirs(self, **more: str) -> dict:
        """Return a task of docker_stack."""
        options = {
            "name": "bench-module",
            "compose": [f"{REMOTE}/stack.yml"],
            "resolve_image": "never",
            **more,
        }
        return {"name": "Deploy with docker_stack", "community.docker.docker_stack": options}

    def prepare(self) -> None:
        """Bring files and packages to the manager, and deploy everything a first time."""
        packages = {"name": ["python3-yaml", "python3-jsondiff", "python3-docker"], "update_cache": True}
        self.run(
            "prepare",
            {"name": "Install what docker_stack needs", "ansible.builtin.apt": packages},
            {
                "name": "Copy the files",
                "ansible.builtin.copy": {
                    "src": f"{self.folder}/files/",
                    "dest": f"{REMOTE}/",
                    "mode": "0700",
                },
            },
            self.ours("bench-ours", "stack.yml"),
            self.theirs(),
            *(self.ours(f"bench-{services}", f"stack-{services}.yml") for services in GROWTH),
        )
        self.on_manager("times")
        self.on_manager("listen")

    def clean(self) -> None:
        """Remove what prepare() made, the packages excepted."""
        names = (
            "bench-ours",
            "bench-module",
            "bench-cli",
            "bench-loop",
            *(f"bench-{number}" for number in GROWTH),
        )
        script = {"cmd": f"python3 {REMOTE}/on_manager.py stop", "removes": f"{REMOTE}/on_manager.py"}
        self.run(
            "clean",
            {"name": "End the counting", "ansible.builtin.command": script},
            *(
                {"name": "Remove", "gpufleet.swarm.stack": {"name": name, "state": "absent"}}
                for name in names
            ),
            {"name": "Remove the files", "ansible.builtin.file": {"path": REMOTE, "state": "absent"}},
        )

    def count(self) -> dict[str, dict[str, int]]:
        """Return {way: requests that read, that wrote, objects that got another version}."""
        counting = {"docker_host": f"unix://{REMOTE}/counting.sock"}
        ways = {
            "ours": lambda: self.run("counted", self.ours("bench-ours", "stack.yml", **counting)),
            "docker_stack": lambda: self.run("counted", self.theirs(**counting)),
            "cli": lambda: self.on_manager("deploy-counted"),
            "loop": lambda: self.on_manager("loop-counted"),
        }
        counts = {}
        for name, way in ways.items():
            before = self.on_manager("versions")
            self.on_manager("counted")
            way()
            after = self.on_manager("versions")
            changed = sum(before.get(key) != version for key, version in after.items())
            counts[name] = {**self.on_manager("counted"), "versions": changed}
        return counts

    def rounds(self, number: int) -> tuple[dict[str, list[float]], dict[int, list[float]]]:
        """Return the seconds of every way, and of our module by size. A first round is not kept."""
        plays = {
            "ping": self.playbook("ping", *PING),
            "ours": self.playbook("ours", self.ours("bench-ours", "stack.yml")),
            "docker_stack": self.playbook("docker_stack", self.theirs()),
        }
        sizes = {
            services: self.playbook(
                f"size-{services}", self.ours(f"bench-{services}", f"stack-{services}.yml")
            )
            for services in GROWTH
        }
        taken = {name: [] for name in (*plays, *ON_MANAGER)}
        growth = {services: [] for services in sizes}
        for each in range(number + 1):
            found = {name: play(self.inventory, path, self.log).seconds for name, path in plays.items()}
            found.update(self.on_manager("times"))
            grown = {
                services: play(self.inventory, path, self.log).seconds for services, path in sizes.items()
            }
            print(f"  {f'round {each}' if each else 'warm-up'}: {_told(found)}; {_told(grown)}", flush=True)
            if each:
                for kept, new in ((taken, found), (growth, grown)):
                    for name, seconds in new.items():
                        kept[name].append(seconds)
        return taken, growth


def _told(seconds: dict) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())


def above(seconds: list[float], ping: list[float]) -> list[float]:
    """Return what each round took above its own ping play."""
    return [value - floor for value, floor in zip(seconds, ping, strict=True)]


def report(taken: dict, growth: dict, counts: dict, runs: int) -> None:
    """Print the tables."""
    objects = f"{NETWORKS} networks, {CONFIGS} configs, {SECRETS} secrets"
    print(f"\nA stack of {SERVICES} services ({objects}) with nothing to do, {runs} rounds:\n")
    print(
        "| way | seconds, median [range] | above a ping play | API reads | API writes | new versions |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, seconds in taken.items():
        count = counts.get(name, {})
        cells = [count.get(key, "") for key in ("reads", "writes", "versions")]
        over = figures(above(seconds, taken["ping"]), 2) if name in ("ours", "docker_stack") else ""
        title = {**PLAYS, **ON_MANAGER}[name]
        print("|", " | ".join(str(cell) for cell in (title, figures(seconds, 2), over, *cells)), "|")
    ratios = [ours / theirs for ours, theirs in zip(taken["ours"], taken["docker_stack"], strict=True)]
    print(f"\nOur play takes {figures(ratios, 2)} of docker_stack's, round by round.")
    print("\nOur module by size of the stack, nothing to do:\n")
    print("| services | seconds, median [range] | above a ping play | a service, milliseconds |")
    print("| --- | --- | --- | --- |")
    for services, seconds in growth.items():
        over = above(seconds, taken["ping"])
        each = 1000 * median(over) / services
        print(f"| {services} | {figures(seconds, 2)} | {figures(over, 2)} | {each:.1f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure deploys of a stack that is already there.")
    parser.add_argument(
        "--inventory", type=Path, default=ROOT / "inventories" / "lab", help="default: the lab"
    )
    parser.add_argument("--runs", type=int, default=5, help="counted rounds (default: %(default)s)")
    asked = parser.parse_args()
    if not asked.inventory.exists():
        sys.exit(f"There is no inventory {asked.inventory}; make one with: make demo")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked.inventory.resolve(), Path(folder))
        try:
            bench.prepare()
            counts = bench.count()
            taken, growth = bench.rounds(asked.runs)
        finally:
            bench.clean()
    report(taken, growth, counts, asked.runs)


if __name__ == "__main__":
    main()

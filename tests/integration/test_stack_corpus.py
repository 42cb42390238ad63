# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack files of tests/differential/corpus on live Engines.

What the CLI has deployed needs no change but for the intended deviations; what the module has deployed is
left alone by its second run, which writes nothing, and keeps its tasks and what a rollback would need.

GPUFLEET_INVENTORY   inventory with a Swarm of a manager with Engine 26.1 and a worker with 20.10, which
                     leaves it to be a Swarm of its own. Without the variable all of this is skipped
GPUFLEET_CORPUS      names of stack files, with commas between them (default: all that can run)
"""

from __future__ import annotations

import json
import os
import shlex
import tarfile

import pytest

from tests.differential.corpus import FOLDER, cases
from tests.differential.deviations import unmeant
from tests.integration.stack_fleet import Fleet

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
CHOSEN = set(filter(None, os.environ.get("GPUFLEET_CORPUS", "").split(",")))
HOSTS = {"26.1": "managers[0]", "20.10": "workers[-1]"}
PLACE = "/tmp/gpufleet-corpus"
AT_ONCE = 9  # stacks, so that two processors can start their tasks in time

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")


def live(engine):
    """Return the cases that can run on an Engine with the CLI of its own version."""
    return [
        case
        for case in cases().values()
        if case.live == "yes" and case.written and not (case.since and engine == "20.10")
        if engine not in case.not_live and (not CHOSEN or case.id in CHOSEN)
    ]


GROUPS = [
    (engine, tuple(case.id for case in live(engine)[start : start + AT_ONCE]))
    for engine in HOSTS
    for start in range(0, len(live(engine)), AT_ONCE)
]


class Swarm(Fleet):
    """One Swarm of one host."""

    def __init__(self, host, folder):
        super().__init__(folder, host, timeout=900)

    def script(self, text):
        """Run a script on the host and return what it printed; Ansible does not fill in anything in it."""
        file = self.folder / "script.sh"
        file.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        task = {
            "name": "Run a script",
            "ansible.builtin.script": {"cmd": str(file)},
            "register": "ran",
            "changed_when": False,
        }
        return self.play([task])["ran"]["stdout"]

    def modules(self, group, *flags, **options):
        """Run the module on every case; return its results by case."""
        stacks = [
            {
                "name": stack_name(case),
                "files": [str(FOLDER / file) for file, _text in case.texts],
                "environment": case.environment,
            }
            for case in group
        ]
        task = {
            "name": "Deploy",
            "gpufleet.swarm.stack": {
                "name": "{{ item.name }}",
                "files": "{{ item.files }}",
                "environment": "{{ item.environment }}",
                **options,
            },
            "loop": stacks,
            "loop_control": {"label": "{{ item.name }}"},
            "register": "result",
            "ignore_errors": True,
        }
        results = self.play([task], *flags)["result"]["results"]
        return {case.id: result for case, result in zip(group, results, strict=True)}

    def look(self):
        """Return every service of the corpus as the Engine has it, and the ids of its tasks, both by name."""
        specs, tasks = self.script(LOOK).split("---")
        found = {entry["Spec"]["Name"]: entry for entry in json.loads(specs)}
        running = {name: set() for name in found}
        for line in tasks.strip().splitlines():
            task, name = line.split()
            running[name].add(task)
        return found, running


# Read with Docker's own tool, so that the module is not its own witness.
NAMES = "docker service ls --format '{{.Name}}' | grep ^corpus-"
LOOK = f"""
docker service inspect $({NAMES})
echo ---
for name in $({NAMES}); do
  docker service ps --quiet --no-trunc --filter desired-state=running $name | sed "s/$/ $name/"
done
"""
# Those for which something is left to do: neither 2/2 nor 0/3 (3/3 completed).
SETTLE = r"""
for attempt in $(seq 300); do
  left=$(docker service ls --format '{{.Name}} {{.Replicas}}' | grep ^corpus- |
    grep -Ev ' ([0-9]+)/\1( |$)|\(([0-9]+)/\3 completed\)')
  [ -z "$left" ] && exit
  sleep 1
done
echo "$left"
"""
REMOVE = """
docker stack ls --format '{{.Name}}' | grep ^corpus- | xargs --no-run-if-empty docker stack rm >/dev/null
for attempt in $(seq 120); do
  left=$(docker ps --all --quiet --filter name=^corpus-; docker network ls --quiet --filter name=corpus-)
  [ -z "$left" ] && break
  sleep 1
done
docker volume ls --quiet --filter name=corpus- | xargs --no-run-if-empty docker volume rm >/dev/null
echo "$left"
"""


def stack_name(case):
    return f"corpus-{case.id}"


def cli_deploys(group):
    """Return a script that deploys every case with `docker stack deploy`."""
    lines = ["set -e", f"cd {PLACE}"]
    for case in group:
        variables = [f"{name}={value}" for name, value in case.environment.items()]
        files = [word for file, _text in case.texts for word in ("--compose-file", file)]
        command = ["docker", "stack", "deploy", "--resolve-image", "never", *files, stack_name(case)]
        lines.append(shlex.join(["env", *variables, *command]))
    return "\n".join(lines)


@pytest.fixture(scope="module")
def swarms(tmp_path_factory):
    """Return a Swarm for each Engine; both have the corpus."""
    # In one piece: a folder would be copied file by file.
    archive = tmp_path_factory.mktemp("corpus") / "corpus.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(FOLDER, arcname=".")
    made = {engine: Swarm(host, tmp_path_factory.mktemp("swarm")) for engine, host in HOSTS.items()}
    # Twice is as good as once: a Swarm of its own has a manager.
    made["20.10"].script(
        "docker info --format '{{.Swarm.ControlAvailable}}' | grep --quiet true && exit\n"
        "docker swarm leave && docker swarm init --advertise-addr $(hostname --ip-address)"
    )
    for engine, swarm in made.items():
        # Any host has one, but not the smallest image of one; a stack file mounts it. Empty, it says UTC.
        swarm.script("touch /etc/localtime")
        found = swarm.script("docker version --format '{{.Client.Version}} {{.Server.Version}}'").split()
        assert [version.startswith(engine + ".") for version in found] == [True, True], found
        swarm.play(
            [
                {
                    "name": "Make a folder for the corpus",
                    "ansible.builtin.file": {"path": PLACE, "state": "directory", "mode": "0755"},
                },
                {
                    "name": "Unpack the corpus",
                    "ansible.builtin.unarchive": {"src": str(archive), "dest": PLACE},
                },
            ]
        )
        assert swarm.script(REMOVE).strip() == ""
    return made


@pytest.fixture
def group(request, swarms):
    """Return a Swarm and the cases to deploy there; they are removed afterwards."""
    engine, names = request.param
    known = cases()
    yield engine, swarms[engine], [known[name] for name in names]
    assert swarms[engine].script(REMOVE).strip() == ""


@pytest.mark.parametrize(
    "group", GROUPS, ids=[f"{engine}-{names[0]}..{names[-1]}" for engine, names in GROUPS], indirect=True
)
def test_corpus(group):
    engine, swarm, stacks = group
    swarm.script(cli_deploys(stacks))
    assert swarm.script(SETTLE).strip() == ""

    foretold = swarm.modules(stacks, "--check")
    assert {name: result["msg"] for name, result in foretold.items() if result.get("failed")} == {}
    others = {name: unmeant(name, engine, result["plan"]) for name, result in foretold.items()}
    assert {name: paths for name, paths in others.items() if paths} == {}

    deployed = swarm.modules(stacks, wait_timeout=300)
    assert {name: result["msg"] for name, result in deployed.items() if result.get("failed")} == {}
    assert {name: result["plan"] for name, result in deployed.items()} == {
        name: result["plan"] for name, result in foretold.items()
    }
    assert swarm.script(SETTLE).strip() == ""
    services, tasks = swarm.look()

    again = swarm.modules(stacks)
    done = {
        name: (result["plan"], result["changed"], result["engine"]["writes"])
        for name, result in again.items()
    }
    assert done == dict.fromkeys(done, ([], False, 0))
    services_after, tasks_after = swarm.look()
    assert tasks_after == tasks
    for name, service in services_after.items():
        for part in ("ID", "Version", "Spec", "PreviousSpec"):
            assert service.get(part) == services[name].get(part), f"{name}: {part}"


def test_what_is_run_live():
    """Tell how much of the corpus runs here, and why the rest does not."""
    known = cases()
    for engine in HOSTS:
        print(f"Engine {engine}: {len(live(engine))} files of {len({case.name for case in known.values()})}")
    reasons = {case.name: case.live for case in known.values() if case.live != "yes"}
    for case in known.values():
        reasons |= {f"{case.name} on Engine {engine}": why for engine, why in case.not_live.items()}
    print(*(f"not run: {name}: {reason}" for name, reason in sorted(reasons.items())), sep="\n")
    assert CHOSEN or len(live("26.1")) >= 40

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is the truth on a live Swarm too: random edits of a random stack, each deployed on the one before.

The same checks as tests/property/test_plan_truth.py, on fields that leave a sleeping container running.
Nobody else may deploy on the Swarm meanwhile. GPUFLEET_SEED makes other cases.

Environment: see test_stack_module.py.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.integration.stack_fleet import IMAGE, INVENTORY, Fleet
from tests.property import stacks, truth
from tests.property.fields import BY_PATH
from tests.property.stacks import KEYS, OUTSIDE, STACK, TELLTALES

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")

SEED = int(os.environ.get("GPUFLEET_SEED", "20260"))
CASES = 30
# Stays up whatever signal a row of the table makes the one to stop it, and ends at once.
COMMAND = ["sh", "-c", "trap 'exit 0' TERM INT QUIT; while :; do sleep 0.2; done"]
# Rows that need something of the node or the image, or end the container.
UNFIT = (
    "image",
    "command",
    "entrypoint",
    "user",
    "group_add",
    "volumes",
    "ports",
    "deploy.endpoint_mode",
    "sysctls",
)
RESERVED_SUBNET = len(stacks.NETWORKS) - 1
# Every object of the Swarm as JSON, one list a line, so that the module is not its own witness.
KINDS = ("service", "network", "config", "secret")
LOOK = """
for kind in KINDS; do
  curl -sSf --unix-socket /var/run/docker.sock http://docker/v1.41/${kind}s
done
""".replace("KINDS", " ".join(KINDS))
PREPARE = f"""
docker network create -d overlay {OUTSIDE["networks"]}
echo of others | docker config create {OUTSIDE["configs"]} -
echo of others | docker secret create {OUTSIDE["secrets"]} -
"""
CLEAN = f"""
docker network rm {OUTSIDE["networks"]}
docker config rm {OUTSIDE["configs"]}
docker secret rm {OUTSIDE["secrets"]}
true
"""
# What others do to a service between two deploys. It is over before the first look: the Engine writes to a
# service once more at the end of an update, which is no doing of the deploy's.
UPDATE = "timeout 60 docker service update --detach=false --quiet"
MOVES = (
    f"{UPDATE} --label-add by=others NAME",
    f"{UPDATE} --env-add BY=others NAME",
    f"{UPDATE} --limit-memory 96M NAME",
    f"{UPDATE} --force NAME",
    "docker service rm NAME",
)


@st.composite
def chains(draw):
    """Draw stacks, each an edit of the one before, with what others do in between."""
    chain = [(draw(stacks.stacks()), None)]
    while len(chain) < CASES:
        move = draw(st.none() | st.tuples(st.sampled_from(MOVES), st.sampled_from(KEYS)))
        chain.append((draw(stacks.edited(chain[-1][0])), move))
    return chain


def cases():
    """Return the chain with the most edits of a few."""
    drawn = []

    @seed(SEED)
    @settings(
        max_examples=10,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(chains())
    def draw(chain):
        drawn.append([(fit(stack), move) for stack, move in chain])

    draw()
    return max(drawn, key=edits)


def edits(chain):
    """Return how many stacks of a chain differ from the one before."""
    return sum(one[0] != other[0] for one, other in pairwise(chain))


def fit(stack):
    """Take out of a stack what these hosts cannot run."""
    stack.image, stack.command = IMAGE, COMMAND
    stack.networks = {
        key: 0 if number == RESERVED_SUBNET else number for key, number in stack.networks.items()
    }
    for service in stack.services.values():
        if service.mode.endswith("-job"):
            service.mode = service.mode.removesuffix("-job")
        service.numbers = {
            path: number
            for path, number in service.numbers.items()
            if path not in UNFIT and BY_PATH[path].values[number][0] != 0
        }
        # An update is watched for a second instead of five.
        service.numbers["deploy.update_config"] = 3
    return stack


class World:
    """The live Swarm, and what the tests know of its secrets."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.secrets = {OUTSIDE["secrets"]: "of others"}

    def deploy(self, stack, move):
        """Let others do something, then predict, deploy, and deploy again in one play; return its results."""
        options = {**stack.options(), "wait_timeout": 120}
        del options["definition"]
        module = {"gpufleet.swarm.stack": {**options, "definition": stack.definition()}}
        look = {"ansible.builtin.shell": {"cmd": LOOK}, "changed_when": False, "check_mode": False}
        tasks = [
            {**look, "register": "before"},
            {**module, "register": "predicted", "check_mode": True, "diff": True},
            {**look, "register": "still"},
            {**module, "register": "result", "diff": True},
            {**look, "register": "after"},
            {**module, "register": "again", "diff": True},
            {**look, "register": "last"},
        ]
        if move:
            others = {"ansible.builtin.command": move[0].replace("NAME", truth.own_name(move[1]))}
            tasks.insert(0, {**others, "register": "others", "failed_when": False})
        results = self.fleet.play(tasks)
        told = self.fleet.output + json.dumps([results[name] for name in ("predicted", "result", "again")])
        assert not any(word in told for word in TELLTALES)
        return results

    def learn(self, stack, after):
        """Remember what a new secret of the stack holds: no Engine tells, but its name is new."""
        for kind, name in after:
            key = name.removeprefix(f"{STACK}_").rpartition("-")[0]
            if kind == "secret" and key in stack.secrets:
                self.secrets.setdefault(name, stack.secrets[key])


def snapshot(result):
    """Return {(kind, name): object} of what an Engine told, without what comes and goes by itself."""
    found = {}
    for kind, line in zip(KINDS, result["stdout"].splitlines(), strict=True):
        for entry in json.loads(line):
            if kind == "network" and entry["Scope"] != "swarm":
                continue
            if kind == "network":
                kept = ("Id", "Name", "Attachable", "Internal", "Labels", "Options")
                entry["Options"] = {
                    key: value for key, value in (entry["Options"] or {}).items() if "vxlanid" not in key
                }
                found[kind, entry["Name"]] = {key: entry[key] for key in kept}
            else:
                kept = ("ID", "Spec", "PreviousSpec", "Version")
                found[kind, entry["Spec"]["Name"]] = {key: entry[key] for key in kept if key in entry}
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    absent = {"gpufleet.swarm.stack": {"name": STACK, "state": "absent"}}
    fleet.play([absent, {"ansible.builtin.shell": {"cmd": CLEAN + PREPARE}, "changed_when": True}])
    yield World(fleet)
    fleet.play([absent, {"ansible.builtin.shell": {"cmd": CLEAN}, "changed_when": True}])


@pytest.mark.parametrize("number", range(CASES))
def test_a_plan_names_what_becomes_different_and_nothing_else(world, number, chain):
    stack, move = chain[number]
    results = world.deploy(stack, move)
    predicted, result, again = (results[name] for name in ("predicted", "result", "again"))
    assert not result.get("failed"), result["msg"]
    before, still, after, last = (snapshot(results[name]) for name in ("before", "still", "after", "last"))
    assert still == before and predicted["engine"]["writes"] == 0
    assert predicted["plan"] == result["plan"]
    world.learn(stack, after)
    truth.check_deploy(stack, result, before, after, world.secrets)
    assert (again["changed"], again["plan"], again["engine"]["writes"]) == (False, [], 0)
    assert last == after


@pytest.fixture(scope="module")
def chain():
    return cases()


def test_the_cases_are_worth_it(chain):
    assert len(chain) == CASES and edits(chain) >= CASES // 2
    assert len({secret for stack, _move in chain for secret in stack.secrets.values()}) > 1

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is the truth: what it names becomes different, nothing else does, and afterwards nothing is left.

Random stacks are deployed on a Swarm in memory (storing_swarm), edited at random, changed by others between
two deploys, and deployed again. What is read of the Swarm is compared with tables written by hand (fields,
stacks). The cases are the same in every run; GPUFLEET_SEED makes others.
"""

from __future__ import annotations

import copy
import json
import os

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.property import stacks, truth
from tests.property.deployer import Deployer
from tests.property.fields import BY_PATH, FIELDS, NAMESPACE
from tests.property.stacks import OUTSIDE, STACK, TELLTALES
from tests.property.storing_swarm import StoringSwarm

SEED = int(os.environ.get("GPUFLEET_SEED", "20260"))
EXAMPLES = 170  # each of two deploys and more
DIGEST = "@sha256:" + "1" * 64


class World:
    """A Swarm with one stack and things of others, and the checks after each deploy."""

    def __init__(self, folder):
        self.swarm = StoringSwarm()
        self.deployer = Deployer(self.swarm, folder)
        self.stack = None
        self.deploys = self.planned = 0
        outside = self.swarm.add("networks", {"Name": OUTSIDE["networks"], "Driver": "overlay", "Labels": {}})
        self.swarm.add("configs", {"Name": OUTSIDE["configs"], "Labels": {}, "Data": "b2Y="})
        self.swarm.add("secrets", {"Name": OUTSIDE["secrets"], "Labels": {}, "Data": "b2Y="})
        # Another stack whose name begins like ours.
        task = {"ContainerSpec": {"Image": "tiny:1"}, "Networks": [{"Target": outside}]}
        labels = {NAMESPACE: STACK + "2"}
        for name in (f"{STACK}2_a", f"{STACK}_stranger"):
            spec = {"Name": name, "Labels": labels, "TaskTemplate": task, "Mode": {}, "EndpointSpec": {}}
            self.swarm.add("services", spec)

    def deploy(self, stack):
        """Predict, deploy, deploy again; check all three."""
        self.deploys += 1
        before = self.swarm.snapshot()
        writes = self.swarm.writes
        predicted = self._told(self.deployer.deploy(check_mode=True, **stack.options()))
        assert self.swarm.writes == writes and self.swarm.snapshot() == before
        self.swarm.calls.clear()
        result = self._told(self.deployer.deploy(**stack.options()))
        after = self.swarm.snapshot()
        assert result["plan"] == predicted["plan"]
        assert result["changed"] == bool(result["plan"]) == bool(result["actions"])
        secrets = {name: stacks.decoded(data) for name, data in self.swarm.secret_data.items()}
        truth.check_deploy(stack, result, before, after, secrets)
        assert len(self.swarm.calls) == len(result["actions"])
        self._check_order(stack, result["plan"])
        self.planned += result["changed"]
        writes = self.swarm.writes
        again = self._told(self.deployer.deploy(**stack.options()))
        assert (again["changed"], again["plan"], again["actions"]) == (False, [], [])
        assert self.swarm.writes == writes and self.swarm.snapshot() == after
        self.stack = copy.deepcopy(stack)

    def _told(self, result):
        assert not result.get("failed"), result["msg"]
        told = json.dumps(result, default=str)
        assert not any(word in told for word in TELLTALES)
        assert "diff" in result or not result["changed"]
        return result

    def _check_order(self, stack, plan):
        """Services are written after those they depend on."""
        written = []
        for call, data in self.swarm.calls:
            if call.startswith("POST /services/") and data:
                written.append(data["Name"].removeprefix(f"{STACK}_"))
        for number, key in enumerate(written):
            assert not set(stack.services[key].depends_on) & set(written[number:]), written
        restarted = [item for item in plan if item["kind"] == "service"]
        assert len(written) == sum(item["action"] != "remove" for item in restarted)

    # What others do between two deploys

    def write(self, key, path, number):
        """Change a field of a service."""
        row = BY_PATH[path]
        if key in self.stack.services and self.stack.services[key].allows(row):
            self.swarm.change(truth.own_name(key), lambda spec: row.write(spec, number))

    def pin(self, key):
        """Pin the image to a digest, as another client's deploy does. No difference to the file."""
        if key in self.stack.services:
            self.swarm.change(truth.own_name(key), _pin)

    def force(self, key):
        """Restart the tasks, as docker service update --force does. No difference to the file."""
        if key in self.stack.services:
            self.swarm.change(truth.own_name(key), _force)

    def remove(self, key):
        """Remove a service."""
        if key in self.stack.services:
            self.swarm.remove(truth.own_name(key))
            self.stack.services = {each: kept for each, kept in self.stack.services.items() if each != key}

    def stray(self, key):
        """Add a service to the stack that its file does not have."""
        name = f"{truth.own_name(key)}-stray"
        if ("service", name) not in self.swarm.snapshot():
            labels = {NAMESPACE: STACK}
            task = {"ContainerSpec": {"Image": "tiny:1"}}
            spec = {"Name": name, "Labels": labels, "TaskTemplate": task, "Mode": {}, "EndpointSpec": {}}
            self.swarm.add("services", spec)

    def relabel(self, key):
        """Change the labels of a config."""
        for kind, name in self.swarm.snapshot():
            if kind == "config" and name.startswith(f"{STACK}_{'x' if key in 'ac' else 'y'}-"):
                self.swarm.relabel("configs", name, {NAMESPACE: STACK, "by": "others"})


def _pin(spec):
    container = spec["TaskTemplate"]["ContainerSpec"]
    container["Image"] = container["Image"].partition("@")[0] + DIGEST
    spec["TaskTemplate"]["Placement"] = {
        **(spec["TaskTemplate"].get("Placement") or {}),
        "Platforms": [{"Architecture": "amd64", "OS": "linux"}],
    }


def _force(spec):
    spec["TaskTemplate"]["ForceUpdate"] += 1


KEY = st.sampled_from(stacks.KEYS)
OTHERS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), KEY, stacks.NUMBERS).map(lambda drawn: (*drawn[:2], *drawn[2])),
        st.tuples(st.sampled_from(("pin", "force", "remove", "stray", "relabel")), KEY),
    ),
    max_size=2,
)


@pytest.fixture(scope="module")
def cases(count):
    """Count what is checked, and say so at the end."""
    done = {"stacks": 0, "deploys": 0, "planned": 0}
    yield done
    count(
        f"plan truth: {done['deploys']} deploys of {done['stacks']} random stacks, {done['planned']} of them "
        f"with something to do, seed {SEED}"
    )


@seed(SEED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_a_plan_names_what_becomes_different_and_nothing_else(data, cases, tmp_path_factory):
    world = World(tmp_path_factory.getbasetemp())
    stack = data.draw(stacks.stacks(), label="first")
    world.deploy(stack)
    for _ in range(data.draw(st.integers(1, 2), label="rounds")):
        for move, *arguments in data.draw(OTHERS, label="others"):
            getattr(world, move)(*arguments)
        stack = data.draw(stacks.edited(stack), label="next")
        world.deploy(stack)
    cases["stacks"] += 1
    cases["deploys"] += world.deploys
    cases["planned"] += world.planned


def test_enough_was_tried(cases):
    assert cases["planned"] >= 300


def test_the_table_of_fields_can_be_read_back(tmp_path):
    """Each value of the table, alone: what it says about an Engine is what the Engine then has."""
    world = World(tmp_path)
    rows = 0
    for row in FIELDS:
        for number in range(len(row.values)):
            world.deploy(stacks.Stack({"a": stacks.Service(numbers={row.path: number})}))
            rows += 1
    assert rows > 100

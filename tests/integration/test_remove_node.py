# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host leaves the Swarm: its tasks move first, and what would harm the fleet is refused.

Needs a lab of three managers and a worker. The tests build on each other, in the order they stand in.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.integration.stack_fleet import INVENTORY, quick, service

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOSTS = {"manager1", "manager2", "manager3", "worker1"}

# Without a lab there is nothing to ask; `make integration SUITE=nodes` makes one and skips nothing.
pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet")


class Fleet:
    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        values = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        self.lab = values["fleet_name"]

    def run(self, playbook, *arguments, fails=False, **variables):
        """Run a playbook; return (what it said on one line, how many changes it made)."""
        given = json.dumps({"fleet_systems": [], **variables})
        command = [BIN / "ansible-playbook", "-i", self.inventory, *arguments, "-e", given, playbook]
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"}
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
        )
        told = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, told[-6000:]
        return " ".join(told.split()), sum(map(int, re.findall(r"changed=(\d+)", told)))

    def remove(self, name, *arguments, **options):
        return self.run(
            ROOT / "playbooks" / "remove_node.yml", *arguments, **{"remove_node": name, **options}
        )

    def deploy(self, services):
        """Deploy services as the stack web."""
        options = {"name": "web", "definition": {"services": services}}
        task = {"name": "Deploy", "gpufleet.swarm.stack": options}
        path = self.folder / "deploy.yml"
        play = {"hosts": "managers[0]", "become": True, "gather_facts": False, "tasks": [task]}
        path.write_text(json.dumps([play]))
        self.run(path)

    def on(self, host, *words):
        """Run a command on a host, past SSH and Ansible, and return what it prints."""
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def listed(self):
        """Return the nodes as the first manager has them."""
        identities = self.on("manager1", "docker", "node", "ls", "-q").split()
        return json.loads(self.on("manager1", "docker", "node", "inspect", *identities))

    def nodes(self):
        """Return {host: (role, availability, state)}."""
        return {
            node["Description"]["Hostname"]: (
                node["Spec"]["Role"],
                node["Spec"]["Availability"],
                node["Status"]["State"],
            )
            for node in self.listed()
        }

    def versions(self):
        return {node["ID"]: node["Version"]["Index"] for node in self.listed()}

    def places(self, name):
        """Return the hosts on which a service's tasks run."""
        told = self.on(
            "manager1", "docker", "service", "ps", "--filter", "desired-state=running", "--format",
            "{{.Node}} {{.CurrentState}}", name,
        )  # fmt: skip
        return [line.split()[0] for line in told.splitlines() if " Running" in line]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    if set(fleet.nodes()) != HOSTS:
        pytest.fail(f"wanted a lab of {sorted(HOSTS)}, found {sorted(fleet.nodes())}")
    return fleet


def refused(fleet, *words, **options):
    before = fleet.versions()
    told, changed = fleet.remove(options.pop("name"), fails=True, **options)
    for word in words:
        assert word in told, told[-3000:]
    assert (changed, fleet.versions()) == (0, before)


def test_what_is_no_node_is_refused(fleet):
    refused(fleet, "found remove_node worker9, wanted one of manager1, manager2", name="worker9")
    refused(fleet, "wanted another one of them to act", name="manager2", remove_node_through="manager2")
    refused(fleet, "The node is not lost (worker1): found state ready", name="worker1", remove_node_lost=True)


def test_a_host_with_a_duty_besides_the_swarm_is_refused(fleet):
    refused(fleet, "found it in fleet_registry_host, wanted", name="worker1", fleet_registry_host="worker1")
    dmi = {"fleet_systems": ["dmi_service_manager"], "dmi_service_manager_nodes": ["worker1"]}
    refused(fleet, "found it in dmi_service_manager_nodes, wanted", name="worker1", **dmi)
    # Where it runs without a choice.
    dmi = {"fleet_systems": ["dmi_service_manager"]}
    refused(fleet, "found it in dmi_service_manager_nodes, wanted", name="manager1", **dmi)


def test_a_node_that_a_service_needs_is_refused(fleet):
    here = quick(placement={"constraints": ["node.labels.gpufleet.host==worker1"]})
    fleet.deploy({"api": service(deploy=quick(replicas=2)), "db": service(deploy=here)})
    refused(fleet, "Services can run on no other node (worker1): found web_db", name="worker1")
    refused(fleet, "(manager1): found ingress_socket-proxy, ingress_traefik", name="manager1")


def test_tasks_without_room_elsewhere_keep_their_node(fleet):
    one_each = quick(replicas=4, placement={"max_replicas_per_node": 1})
    fleet.deploy({"api": service(deploy=one_each)})
    assert sorted(fleet.places("web_api")) == sorted(HOSTS)
    told, _changed = fleet.remove("worker1", fails=True, remove_node_timeout=10)
    assert "worker1 stays in the Swarm and takes tasks again" in told
    assert "found web_api (3 of 4 tasks run" in told
    assert fleet.nodes()["worker1"] == ("worker", "active", "ready")
    deadline = time.monotonic() + 60
    while sorted(fleet.places("web_api")) != sorted(HOSTS):
        assert time.monotonic() < deadline, "the task has not come back"
        time.sleep(1)


def test_a_dry_run_says_what_would_happen_and_changes_nothing(fleet):
    fleet.deploy({"api": service(deploy=quick(replicas=4))})
    before = fleet.versions()
    told, changed = fleet.remove("worker1", "--check", "--diff")
    assert "worker1: drain it, so that tasks of web_api move to other nodes; let it leave the Swarm" in told
    assert (changed, fleet.versions()) == (1, before)


def test_a_worker_goes_when_its_tasks_run_elsewhere(fleet):
    told, changed = fleet.remove("worker1")
    assert changed > 0 and "Take worker1 out of the inventory and run site.yml" in told
    assert set(fleet.nodes()) == HOSTS - {"worker1"}
    assert len(fleet.places("web_api")) == 4 and "worker1" not in fleet.places("web_api")
    state = fleet.on("worker1", "docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
    assert state == "inactive"
    assert fleet.on("worker1", "docker", "ps", "-q") == ""


def test_a_second_run_changes_nothing(fleet):
    before = fleet.versions()
    told, changed = fleet.remove("worker1")
    assert "worker1: the Swarm knows no such node" in told
    assert (changed, fleet.versions()) == (0, before)


def test_a_manager_goes_through_another(fleet):
    fleet.remove("manager2", remove_node_through="manager3")
    assert set(fleet.nodes()) == {"manager1", "manager3"}
    assert fleet.on("manager2", "docker", "info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"


def test_what_stays_in_the_inventory_joins_again(fleet):
    fleet.run(ROOT / "site.yml", "--tags", "swarm")
    assert fleet.nodes() == {
        name: ("worker" if name == "worker1" else "manager", "active", "ready") for name in HOSTS
    }


def test_a_lost_manager_is_forgotten(fleet):
    subprocess.run(["docker", "kill", f"gpufleet-{fleet.lab}-manager3"], check=True, capture_output=True)
    deadline = time.monotonic() + 90
    while fleet.nodes()["manager3"][2] != "down":
        assert time.monotonic() < deadline, "the managers have not missed it"
        time.sleep(1)
    refused(fleet, "cannot be told to leave (manager3): found state down", name="manager3")
    refused(fleet, "no majority (manager2): found 1 of 2 reachable", name="manager2")
    fleet.remove("manager3", remove_node_lost=True)
    assert set(fleet.nodes()) == HOSTS - {"manager3"}
    assert fleet.nodes()["manager1"][0] == "manager"

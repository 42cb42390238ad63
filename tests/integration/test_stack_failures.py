# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More failures of the stack module on live Engines: each told with its cause, in time, mended by a re-run.

Images, crashes, health checks, jobs and failed updates are in test_stack_module.py, lost managers in
test_stack_leader.py. Environment: see test_stack_module.py.
"""

from __future__ import annotations

import time

import pytest

from tests.integration.stack_fleet import INVENTORY, Fleet, quick, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")

ON_MANAGER = {"constraints": ["node.role == manager"]}


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.deploy(state="absent")
    yield fleet
    fleet.deploy(state="absent", name="other")
    fleet.deploy(state="absent")


def mended(fleet, definition):
    """Deploy what was corrected; a run after it has nothing to do."""
    result, found = fleet.deploy(definition)
    assert not result.get("failed"), result["msg"]
    assert {outcome["state"] for outcome in result["services"].values()} <= {"running", "unchanged"}
    result, again = fleet.deploy(definition)
    assert result["plan"] == [] and again["versions"] == found["versions"]


def test_a_routed_port_that_another_stack_has(fleet):
    def definition(port):
        return {"services": {"a": service(ports=[f"{port}:80"]), "b": service(depends_on=["a"])}}

    result, _found = fleet.deploy(definition(18080), name="other")
    assert not result.get("failed"), result["msg"]
    result, found = fleet.deploy(definition(18080))
    assert result["failed"]
    for word in ("it_a", "18080", "already in use"):
        assert word in result["msg"]
    assert found["services"] == {}
    mended(fleet, definition(18081))


def test_a_port_of_the_node_that_is_taken(fleet):
    def definition(port):
        def publishing(port):
            ports = [{"target": 80, "published": port, "mode": "host"}]
            return service(ports=ports, deploy={"placement": ON_MANAGER})

        return {"services": {"a": publishing(18080), "b": {**publishing(port), "depends_on": ["a"]}}}

    result, found = fleet.deploy(definition(18080))
    assert result["failed"]
    (failure,) = result["failures"]
    assert failure["service"] == "it_b" and failure["state"] == "pending"
    assert "host-mode port already in use" in failure["reason"]
    assert failure["done"] == "removed the new service"
    assert sorted(found["services"]) == ["it_a"]
    mended(fleet, definition(18081))


def test_a_constraint_that_no_node_meets(fleet):
    def definition(role):
        placement = {"constraints": [f"node.role == {role}", "node.labels.none != such"]}
        return {"services": {"a": service(deploy={"placement": placement})}}

    broken = definition("manager")
    broken["services"]["a"]["deploy"]["placement"]["constraints"].append("node.labels.none == such")
    result, found = fleet.deploy(broken)
    (failure,) = result["failures"]
    assert failure["state"] == "pending" and failure["node"] == "none"
    assert "scheduling constraints not satisfied" in failure["error"]
    assert found["services"] == {}
    mended(fleet, definition("manager"))


def test_what_never_gets_ready_ends_at_the_time_limit(fleet):
    """A health check that is first made in ten minutes never fails; the time that was given ends it."""

    def definition(interval):
        health = {"test": ["CMD", "true"], "interval": interval}
        return {"services": {"a": service(healthcheck=health, deploy=quick())}}

    started = time.monotonic()
    result, found = fleet.deploy(definition("10m"), wait_timeout=20)
    assert time.monotonic() - started < 20 + 60
    (failure,) = result["failures"]
    assert failure["service"] == "it_a" and failure["state"] == "starting"
    assert "not ready in time (0/1)" in failure["reason"]
    assert failure["node"] not in (None, "none")
    assert found["services"] == {}
    mended(fleet, definition("1s"))


def test_a_second_update_that_fails_brings_back_the_one_before(fleet):
    """Swarm's own rollback is a failure of the task, and its target is the last good version."""

    def definition(command, value):
        config = {"failure_action": "rollback", "monitor": "2s"}
        return {
            "services": {
                "a": service(command=command, environment={"A": value}, deploy={"update_config": config})
            }
        }

    good = ["sleep", "100000"]
    for value in ("1", "2"):
        result, before = fleet.deploy(definition(good, value))
        assert not result.get("failed"), result["msg"]
    result, after = fleet.deploy(definition(["sh", "-c", "echo cannot start >&2; exit 5"], "3"))
    (failure,) = result["failures"]
    assert failure["exit_code"] == 5 and failure["log"][-1:] == ["cannot start"]
    assert failure["done"] == "Swarm rolled it back to its previous version"
    for word in ("it_a", failure["task"], failure["node"], "exit code: 5", "cannot start", "rolled"):
        assert word in result["msg"]
    assert after["services"]["it_a"]["Spec"] == before["services"]["it_a"]["Spec"]
    mended(fleet, definition(good, "3"))

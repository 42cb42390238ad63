# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack module against a real Swarm: what it writes, what it leaves alone, and how it fails.

GPUFLEET_INVENTORY   inventory with a Swarm (for example inventories/lab); without it all of this is skipped
GPUFLEET_MANAGER     the host to deploy on (default: the first of the group managers)
GPUFLEET_TEST_IMAGE  an image with sh and sleep that every node can get (default: redis:7.4, as in the lab)
"""

from __future__ import annotations

import pytest

from tests.integration.stack_fleet import INVENTORY, Fleet, quick, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.deploy(state="absent")
    yield fleet
    result, left = fleet.deploy(state="absent")
    assert not result.get("failed"), result["msg"]
    assert left["services"] == {}
    assert left["objects"] == []


def actions(result):
    return {
        (item["kind"], item["name"].rpartition("-")[0] or item["name"]): item["action"]
        for item in result["plan"]
    }


def test_second_run_writes_nothing(fleet):
    definition = {
        "services": {
            "web": service(
                environment={"B": "2", "A": "${A}"},
                networks=["front"],
                configs=["app"],
                secrets=["key"],
                healthcheck={"test": ["CMD", "test", "-d", "/tmp"], "interval": "1s"},
                ulimits={"nofile": 1024},
                cap_drop=["NET_RAW"],
                dns=["192.0.2.1"],
                labels={"empty": ""},
                deploy=quick(
                    replicas=2, resources={"limits": {"cpus": "0.5", "memory": "64M"}}, labels={"empty": ""}
                ),
            ),
            "every": service(deploy={"mode": "global"}, init=True, tmpfs="/scratch"),
            "once": service(
                command=["true"], deploy={"mode": "replicated-job", "restart_policy": {"condition": "none"}}
            ),
        },
        "networks": {"front": {"attachable": True}},
        "configs": {"app": {"content": "one"}},
        "secrets": {"key": {"environment": "KEY"}},
    }
    variables = {"environment": {"A": 1}, "secret_environment": {"KEY": "not-to-be-seen-1234"}}
    result, _before = fleet.deploy(definition, "--check", **variables)
    assert result["changed"] and _before["services"] == {}
    result, before = fleet.deploy(definition, **variables)
    assert not result.get("failed"), result["msg"]
    assert {name: outcome["state"] for name, outcome in result["services"].items()} == {
        "it_web": "running",
        "it_every": "running",
        "it_once": "completed",
    }
    for flags in ((), ("--check", "--diff", "-vvv")):
        result, after = fleet.deploy(definition, *flags, **variables)
        assert (result["changed"], result["plan"], result["engine"]["writes"]) == (False, [], 0)
        for what in ("versions", "previous", "tasks", "objects"):
            assert after[what] == before[what], what
        assert "not-to-be-seen" not in fleet.output


def test_what_the_file_says_is_in_no_log_of_the_manager(fleet):
    definition = {
        "services": {"web": service(environment={"WORD": "of-the-file-alone"}, configs=["app"])},
        "configs": {"app": {"content": "of-the-file-alone"}},
    }
    assert not fleet.deploy(definition)[0].get("failed")
    # Ansible logs this command, too. The config would be there as base64.
    search = "journalctl --no-pager | grep -ac -e of-the-file-[a]lone -e b2YtdGhlLWZpbGUtYWxvbm[U]"
    found = fleet.play(
        [{"ansible.builtin.shell": search, "register": "found", "failed_when": False, "changed_when": False}]
    )["found"]
    assert (found["rc"], found["stdout"]) == (1, "0")


def test_only_what_differs_is_touched(fleet):
    definition = {"services": {name: service(environment={"A": "1"}, deploy=quick()) for name in ("a", "b")}}
    _result, before = fleet.deploy(definition)
    definition["services"]["b"]["environment"]["A"] = "2"
    result, after = fleet.deploy(definition, "--diff")
    assert not result.get("failed"), result["msg"]
    assert result["plan"][0]["changes"] == [{"path": "services.b.environment.A", "before": "1", "after": "2"}]
    assert len(result["plan"]) == 1
    assert "services.b.environment.A: 1 -> 2" in fleet.output
    assert after["versions"]["it_a"] == before["versions"]["it_a"]
    assert after["tasks"]["it_a"] == before["tasks"]["it_a"]
    assert after["tasks"]["it_b"] != before["tasks"]["it_b"]


def test_labels_and_scale_leave_tasks_alone(fleet):
    definition = {"services": {"a": service(deploy=quick(replicas=1))}}
    _result, before = fleet.deploy(definition)
    definition["services"]["a"]["deploy"].update(replicas=2, labels={"new": "yes"})
    result, after = fleet.deploy(definition)
    assert result["plan"][0]["tasks"] == "scale"
    assert set(before["tasks"]["it_a"]) < set(after["tasks"]["it_a"])
    assert len(after["tasks"]["it_a"]) == 2


def test_rotation_keeps_what_a_rollback_needs(fleet):
    def definition(content):
        return {
            "services": {"a": service(configs=["app"], deploy=quick()), "b": service(deploy=quick())},
            "configs": {"app": {"content": content}},
        }

    configs, states = [], []
    for content in ("one", "two", "three"):
        result, found = fleet.deploy(definition(content))
        assert not result.get("failed"), result["msg"]
        configs.append([line for line in found["objects"] if line.startswith("config")])
        states.append(found)
        result, again = fleet.deploy(definition(content))
        assert result["plan"] == [] and again["versions"] == found["versions"]
    first, second, third = configs
    assert len(first) == 1
    assert len(second) == 2 and set(first) < set(second)
    assert len(third) == 2 and not set(first) & set(third)
    assert states[0]["tasks"]["it_b"] == states[2]["tasks"]["it_b"]


def test_prune(fleet):
    definition = {
        "services": {"a": service(deploy=quick()), "b": service(networks=["extra"], configs=["app"])},
        "networks": {"extra": {}},
        "configs": {"app": {"content": "x"}},
    }
    fleet.deploy(definition)
    smaller = {"services": {"a": definition["services"]["a"]}}
    result, found = fleet.deploy(smaller, prune=False)
    assert result["plan"] == [] and "it_b" in found["services"]
    result, found = fleet.deploy(smaller)
    assert actions(result) == {
        ("service", "it_b"): "remove",
        ("network", "it_extra"): "remove",
        ("config", "it_app"): "remove",
    }
    assert list(found["services"]) == ["it_a"]
    assert found["objects"] == ["network it_default"]


def test_network_options_and_modes_are_recreated(fleet):
    definition = {
        "services": {"a": service(networks=["n"]), "b": service()},
        "networks": {"n": {}},
    }
    _result, before = fleet.deploy(definition)
    definition["networks"]["n"] = {"attachable": True}
    definition["services"]["b"]["deploy"] = {"mode": "global"}
    result, after = fleet.deploy(definition)
    assert not result.get("failed"), result["msg"]
    assert set(actions(result).values()) == {"recreate"}
    assert len(result["plan"]) == 3
    assert before["services"]["it_a"]["ID"] != after["services"]["it_a"]["ID"]
    assert "Global" in after["services"]["it_b"]["Spec"]["Mode"]
    result, again = fleet.deploy(definition)
    assert result["plan"] == [] and again["versions"] == after["versions"]


CRASH = ["sh", "-c", "echo said before the end; exit 3"]
FAILURES = {
    "no such image": ({"image": "127.0.0.1:1/none:1"}, "No such image|not found|refused|127.0.0.1:1", None),
    "crash": ({"command": CRASH, "deploy": {"restart_policy": {"delay": "1s"}}}, "non-zero exit", 3),
    "gives up": ({"command": CRASH, "deploy": {"restart_policy": {"condition": "none"}}}, "non-zero exit", 3),
    "unhealthy": (
        {"healthcheck": {"test": ["CMD", "false"], "interval": "1s", "retries": 1}, "deploy": {}},
        "unhealthy",
        137,
    ),
    "job": (
        {"command": CRASH, "deploy": {"mode": "replicated-job", "restart_policy": {"condition": "none"}}},
        "non-zero exit",
        3,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_new_service_that_fails_is_told_and_removed(fleet, name):
    keys, error, exit_code = FAILURES[name]
    broken = {"services": {"a": service(**keys), "later": service(depends_on=["a"])}}
    result, found = fleet.deploy(broken)
    assert result["failed"]
    (failure,) = result["failures"]
    assert failure["service"] == "it_a"
    assert failure["node"] not in (None, "none")
    assert any(word in failure["error"] for word in error.split("|")), failure
    if exit_code:
        assert failure["exit_code"] in (exit_code, 143)
    if exit_code == 3:
        assert failure["log"] == ["said before the end"]
        assert "said before the end" in result["msg"]
    assert failure["done"].startswith("removed the")
    assert found["services"] == {}
    result, found = fleet.deploy({"services": {"a": service(), "later": service(depends_on=["a"])}})
    assert not result.get("failed"), result["msg"]
    assert sorted(found["services"]) == ["it_a", "it_later"]


@pytest.mark.parametrize("failure_action", ["pause", "rollback"])
def test_failed_update_is_rolled_back(fleet, failure_action):
    config = {"monitor": "2s", "failure_action": failure_action}
    good = {"services": {"a": service(environment={"A": "1"}, deploy={"update_config": config})}}
    _result, before = fleet.deploy(good)
    broken = {"services": {"a": {**good["services"]["a"], "command": CRASH}}}
    result, after = fleet.deploy(broken)
    assert result["failed"]
    (failure,) = result["failures"]
    assert failure["exit_code"] == 3
    assert "rolled" in failure["done"]
    assert after["services"]["it_a"]["Spec"] == before["services"]["it_a"]["Spec"]
    result, found = fleet.deploy(good)
    assert not result.get("failed") and result["plan"] == []
    assert len(found["tasks"]["it_a"]) == 1


def test_leave_goes_on_with_the_others(fleet):
    definition = {
        "services": {
            "bad": service(command=CRASH, deploy={"restart_policy": {"condition": "none"}}),
            "after_bad": service(depends_on=["bad"]),
            "good": service(),
            "after_good": service(depends_on=["good"]),
        }
    }
    result, found = fleet.deploy(definition, on_failure="leave")
    assert result["failed"] and "Not touched because of this: it_after_bad" in result["msg"]
    assert sorted(found["services"]) == ["it_after_good", "it_bad", "it_good"]


def test_job_runs_once_per_change(fleet):
    job = {"mode": "replicated-job", "restart_policy": {"condition": "none"}}

    def definition(value):
        return {"services": {"job": service(command=["true"], environment={"A": value}, deploy=job)}}

    iterations = []
    for value in ("1", "1", "2", "2"):
        result, found = fleet.deploy(definition(value))
        assert not result.get("failed"), result["msg"]
        iterations.append(found["services"]["it_job"]["JobStatus"]["JobIteration"].get("Index", 0))
    assert iterations[0] == iterations[1] < iterations[2] == iterations[3]


def test_no_suitable_node(fleet):
    definition = {
        "services": {"a": service(deploy={"placement": {"constraints": ["node.labels.none == such"]}})}
    }
    result, found = fleet.deploy(definition)
    assert result["failed"]
    assert "no suitable node (scheduling constraints not satisfied on" in result["msg"]
    assert found["services"] == {}


def test_nothing_is_written_before_the_plan_is_sound(fleet):
    definition = {
        "services": {"a": service(networks=["elsewhere"])},
        "networks": {"elsewhere": {"external": True, "name": "it-no-such-network"}},
    }
    result, found = fleet.deploy(definition)
    assert result["msg"].startswith(
        "The Compose file uses an external network that does not exist (it-no-such-network)"
    )
    assert found["services"] == {} and found["objects"] == []

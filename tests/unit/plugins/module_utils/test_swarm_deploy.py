# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys that fail on a Swarm in memory: what is told, and what is done about it."""

from __future__ import annotations

import copy
import re

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import wanted
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.deploy import DeployError, loading_time

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.plugins.module_utils.test_swarm_apply import JOB, deploy, writes
from tests.unit.stacks import stack

S = 1_000_000_000
LOADING = {"StartPeriod": 900 * S, "Interval": 10 * S, "Timeout": 5 * S, "Test": ["CMD", "x"]}


@pytest.mark.parametrize(
    ("health", "update", "tasks", "seconds"),
    [
        ({}, None, 4, 0),
        ({"Interval": 10 * S, "Test": ["CMD", "x"]}, None, 4, 0),
        ({"StartPeriod": 900 * S}, None, 1, 965),
        (LOADING, None, 1, 920),
        (LOADING, None, 0, 920),
        (LOADING, None, 3, 3 * 920),
        (LOADING, {"Parallelism": 2, "Delay": 10 * S, "Monitor": 1 * S}, 3, 2 * 926),
        (LOADING, {"Parallelism": 0}, 3, 920),
    ],
)
def test_the_time_a_service_may_load(health, update, tasks, seconds):
    spec = {"TaskTemplate": {"ContainerSpec": {"Healthcheck": health}}, "UpdateConfig": update}
    assert loading_time(spec, tasks) == seconds


@pytest.mark.parametrize(("start_period", "seconds"), [(0, 60), (300 * S, 300 + 65)])
def test_a_model_may_load_longer_than_the_deploy_waits_for_the_rest(start_period, seconds):
    swarm = FakeSwarm()
    swarm.behave["st_a"] = "starting"
    desired = stack({"a": {}})
    container = desired["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]
    container["Healthcheck"] = {"Test": ["CMD", "x"], "StartPeriod": start_period}
    with pytest.raises(DeployError, match="it is not ready in time"):
        deploy(swarm, desired, wait_timeout=60)
    assert seconds <= swarm.now < seconds + 5


FAILED_NEW = {
    "crash": ("it ended N times in a row", "task: non-zero exit (3)"),
    "rejected": ("it ended N times in a row", "No such image: none:1"),
    "ends": ("it ended and its restart policy starts no new task", "task: non-zero exit (3)"),
    "pending": (
        "no node takes it: no suitable node (scheduling constraints not satisfied on 1 node)",
        "no suitable node (scheduling constraints not satisfied on 1 node)",
    ),
}


def counted(reason):
    return re.sub(r"\d+ times", "N times", reason)


@pytest.mark.parametrize("how", FAILED_NEW)
def test_a_new_service_that_fails_is_removed_again(how):
    swarm = FakeSwarm()
    swarm.behave["st_a"] = how
    later = {"later": {"wave": 1, "depends_on": {"a": "service_started"}}}
    with pytest.raises(DeployError) as caught:
        deploy(swarm, stack({"a": {}, **later}))
    (failure,) = caught.value.failures
    assert (failure.service, counted(failure.reason), failure.error) == ("st_a", *FAILED_NEW[how])
    assert failure.done == "removed the new service"
    assert swarm.objects["services"] == {}
    assert "Not touched because of this: st_later" in str(caught.value)
    assert swarm.deployment.outcomes["st_a"]["state"] == "failed"
    if how == "pending":
        assert failure.node == "none" and swarm.now >= 60
    else:
        assert failure.node == "n1"


def test_the_message_tells_everything():
    swarm = FakeSwarm()
    swarm.behave["st_a"] = "ends"
    swarm.logs = ["one", "two"]
    with pytest.raises(DeployError) as caught:
        deploy(swarm, stack({"a": {}}))
    task = swarm.deployment.outcomes and caught.value.failures[0].task
    assert str(caught.value) == (
        "The stack did not converge (st): 1 service(s) failed.\n"
        "st_a: it ended and its restart policy starts no new task\n"
        f"  task: {task}\n"
        "  node: n1\n"
        "  state: failed\n"
        "  error: task: non-zero exit (3)\n"
        "  exit code: 3\n"
        "  done: removed the new service\n"
        "  last 2 log lines:\n"
        "    one\n"
        "    two"
    )


@pytest.mark.parametrize(
    ("how", "reason", "done"),
    [
        (
            "paused",
            "the update was paused (update paused due to failure of task ",
            "rolled back to the previous version, which runs again",
        ),
        (
            "rolled back",
            "the update was rolled back by Swarm (rollback completed)",
            "Swarm rolled it back to its previous version",
        ),
        ("crash", "it ended N times in a row", "rolled back to the previous version, which runs again"),
    ],
)
def test_a_failed_update_ends_with_the_old_version(how, reason, done):
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    before = copy.deepcopy(swarm.service("st_a")["Spec"])
    swarm.behave["st_a"] = how
    with pytest.raises(DeployError) as caught:
        deploy(swarm, stack({"a": {"env": ["A=1"]}}))
    (failure,) = caught.value.failures
    assert counted(failure.reason).startswith(reason)
    assert failure.done == done
    assert swarm.service("st_a")["Spec"] == before
    assert failure.exit_code == 3


def test_a_failed_recreation_brings_the_old_service_back():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    post = swarm.post

    def crash_if_global(path, *args, data=None, **params):
        swarm.behave["st_a"] = "crash" if "Global" in data.get("Mode", {}) else "running"
        return post(path, *args, data=data, **params)

    swarm.post = crash_if_global
    with pytest.raises(DeployError) as caught:
        deploy(swarm, stack({"a": {"mode": {"Global": {}}}}))
    assert caught.value.failures[0].done == "made the previous version of the service anew"
    assert swarm.service("st_a")["Spec"]["Mode"] == {"Replicated": {"Replicas": 1}}


@pytest.mark.parametrize(
    ("on_failure", "services"), [("pause", ["st_bad"]), ("leave", ["st_bad", "st_other"])]
)
def test_pause_and_leave(on_failure, services):
    swarm = FakeSwarm()
    swarm.behave["st_bad"] = "ends"
    a_stack = stack(
        {
            "bad": {},
            "other": {"wave": 1},
            "after": {"wave": 1, "depends_on": {"bad": "x"}},
            "last": {"wave": 2, "depends_on": {"after": "x"}},
        }
    )
    with pytest.raises(DeployError) as caught:
        deploy(swarm, a_stack, on_failure=on_failure)
    assert caught.value.failures[0].done == "left as it is"
    assert [entry["Spec"]["Name"] for entry in swarm.objects["services"].values()] == services
    held = {"pause": "st_after, st_last, st_other", "leave": "st_after, st_last"}[on_failure]
    assert str(caught.value).endswith(f"Not touched because of this: {held}")


def test_a_job_that_fails_is_removed_and_runs_at_the_next_deploy():
    swarm = FakeSwarm()
    swarm.behave["st_j"] = "exit 3"
    a_stack = stack({"j": JOB})
    with pytest.raises(DeployError) as caught:
        deploy(swarm, a_stack)
    assert caught.value.failures[0].done == "removed the job, it runs at the next deploy"
    swarm.behave["st_j"] = "running"
    deployment = deploy(swarm, a_stack)
    assert deployment.outcomes["st_j"] == {
        "action": "create",
        "state": "completed",
        "replicas": "1/1 completed",
    }
    deploy(swarm, a_stack)
    assert writes(swarm) == []


def test_no_wait():
    swarm = FakeSwarm()
    swarm.behave["st_a"] = "crash"
    deployment = deploy(swarm, stack({"a": {}, "b": {"wave": 1}}), wait=False)
    assert {outcome["state"] for outcome in deployment.outcomes.values()} == {"not waited for"}
    assert swarm.now == 0


def test_an_equal_service_that_does_not_run_is_waited_for():
    swarm = FakeSwarm()
    swarm.behave["st_a"] = "pending"
    a_stack = stack({"a": {}})
    deploy(swarm, a_stack, wait=False)
    with pytest.raises(DeployError, match="no suitable node"):
        deploy(swarm, a_stack)
    assert writes(swarm) == []
    swarm.tasks[-1]["Status"]["State"] = "running"
    deploy(swarm, a_stack)


def test_the_time_is_bounded():
    swarm = FakeSwarm()
    swarm.behave["st_a"] = "pending"
    with pytest.raises(DeployError, match=r"it is not ready in time \(0/1\)"):
        deploy(swarm, stack({"a": {}}), wait_timeout=30)
    assert swarm.now < 35


def test_removed_tasks_that_stay_are_an_error():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    swarm.delete = lambda path, *args: True
    with pytest.raises(
        FleetError, match="Tasks of removed services have not ended in time .st_a.: found some after 30 s"
    ):
        deploy(swarm, wanted.nothing("st"), wait_timeout=30)


def test_tasks_on_a_dead_node_hold_nothing_up():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    swarm.nodes[0]["Status"]["State"] = "down"
    tasks, delete = list(swarm.tasks), swarm.delete

    def delete_but_keep_tasks(path, *args):
        answer = delete(path, *args)
        swarm.tasks = tasks
        return answer

    swarm.delete = delete_but_keep_tasks
    deploy(swarm, wanted.nothing("st"))
    assert swarm.objects["services"] == {}

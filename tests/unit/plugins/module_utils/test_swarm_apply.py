# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys on a Swarm in memory: which calls are made, in which order, and what happens when one fails."""

from __future__ import annotations

import copy
import re

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import observe, plan, wanted
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.deploy import (
    DeployError,
    Deployment,
    Options,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

from tests.unit.fake_swarm import FakeSwarm, content, network, stack

STALE = EngineError(
    "The Docker Engine refused to write", status=500, cause="rpc error: update out of sequence"
)
NO_LEADER = EngineError(
    "The Docker Engine refused to write", status=503, cause="The swarm does not have a leader"
)
REFUSED = EngineError(
    "The Docker Engine refused to write", status=400, cause="port '80' is already in use by service 'x'"
)
JOB = {"mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}, "job": True}


def deploy(swarm, desired, secrets=None, prune=True, **options):
    """Run one deploy; return the Deployment. Its writes are those in swarm.calls from swarm.mark on."""
    want, marked, _warnings = wanted.prepare(desired, secrets or {}, swarm.api_version)
    current = observe.observe(swarm, desired["name"], want)
    swarm.mark = len(swarm.calls)
    a_plan = plan.make(want, marked, current, prune)
    deployment = Deployment(swarm, want, current, a_plan, Options(**options), swarm.clock, swarm.sleep)
    swarm.deployment = deployment
    deployment.run()
    return deployment


def writes(swarm):
    return swarm.written()[swarm.mark :]


FULL = stack(
    {
        "web": {
            "networks": ["st_n"],
            "configs": ["st_c-1"],
            "secrets": ["st_s-1"],
            "wave": 1,
            "depends_on": {"db": "x"},
        },
        "db": {"networks": ["st_n"]},
    },
    networks={"st_n": network("st_n")},
    configs={"st_c-1": content("st_c-1", "c")},
    secrets={"st_s-1": content("st_s-1", "s", data="\x02secret:s\x03")},
)


def test_create_sends_names_and_ids_and_the_second_run_nothing():
    swarm = FakeSwarm()
    deployment = deploy(swarm, FULL, {"secret:s": "c2VjcmV0"})
    assert deployment.actions == [
        "Created the network st_n",
        "Created the secret st_s-1",
        "Created the config st_c-1",
        "Created the service st_db",
        "Created the service st_web",
    ]
    assert deployment.outcomes["st_web"] == {"action": "create", "state": "running", "replicas": "1/1"}
    sent = {data["Name"]: data for _call, data in swarm.calls}
    assert sent["st_s-1"]["Data"] == "c2VjcmV0"
    container = sent["st_web"]["TaskTemplate"]["ContainerSpec"]
    ids = {
        name: next(iter(swarm.objects[kind]))
        for kind, name in (("secrets", "s"), ("configs", "c"), ("networks", "n"))
    }
    assert container["Secrets"][0]["SecretID"] == ids["s"]
    assert container["Configs"][0]["ConfigID"] == ids["c"]
    assert sent["st_web"]["TaskTemplate"]["Networks"][0]["Target"] == ids["n"]
    deployment = deploy(swarm, FULL, {"secret:s": "c2VjcmV0"})
    assert writes(swarm) == [] and deployment.actions == []
    assert {outcome["state"] for outcome in deployment.outcomes.values()} == {"unchanged"}


def test_one_field_is_one_write():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}, "b": {}}))
    before = swarm.service("st_b")["Version"]["Index"]
    deploy(swarm, stack({"a": {"env": ["A=1"]}, "b": {}}))
    assert len(writes(swarm)) == 1
    assert swarm.service("st_b")["Version"]["Index"] == before


def test_update_carries_over_what_others_pinned():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    digest = "tiny:1@sha256:" + "0" * 64
    task = swarm.service("st_a")["Spec"]["TaskTemplate"]
    task["ForceUpdate"], task["ContainerSpec"]["Image"] = 4, digest
    task["Placement"] = {"Platforms": [{"OS": "linux"}]}
    deploy(swarm, stack({"a": {"env": ["A=1"]}}))
    task = swarm.service("st_a")["Spec"]["TaskTemplate"]
    assert (task["ForceUpdate"], task["ContainerSpec"]["Image"]) == (4, digest)
    assert task["Placement"] == {"Platforms": [{"OS": "linux"}]}
    deploy(swarm, stack({"a": {"env": ["A=1"], "image": "tiny:2"}}))
    task = swarm.service("st_a")["Spec"]["TaskTemplate"]
    assert task["ContainerSpec"]["Image"] == "tiny:2" and "Platforms" not in task["Placement"]


def test_a_stale_version_is_read_again():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    swarm.fail_next = [STALE, STALE]
    deploy(swarm, stack({"a": {"env": ["A=1"]}}))
    assert len(writes(swarm)) == 3
    assert swarm.service("st_a")["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=1"]


def test_no_second_write_when_someone_else_did_it():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    new = stack({"a": {"env": ["A=1"]}})
    swarm.fail_next = [STALE]
    moved = swarm.sleep

    def sleep(seconds):
        entry = swarm.service("st_a")
        entry["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] = ["A=1"]
        moved(seconds)

    swarm.sleep = sleep
    deploy(swarm, new)
    assert len(writes(swarm)) == 1


def test_stale_for_ever_is_an_error():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {}}))
    swarm.fail_next = [STALE] * 20
    with pytest.raises(EngineError, match="update out of sequence"):
        deploy(swarm, stack({"a": {"env": ["A=1"]}}))
    assert len(writes(swarm)) == 6


@pytest.mark.parametrize("made", [False, True])
def test_lost_answers_to_creates(made):
    """Every create is answered by silence once, whether it was carried out or not."""
    swarm = FakeSwarm()
    post = swarm.post
    seen = []

    def lose(path, *args, data=None, **params):
        seen.append(data["Name"])
        if seen.count(data["Name"]) == 1:
            if made:
                post(path, *args, data=data, **params)
            raise NO_LEADER
        return post(path, *args, data=data, **params)

    swarm.post = lose
    deployment = deploy(swarm, FULL, {"secret:s": "c2VjcmV0"})
    assert deployment.actions == [
        "Created the network st_n",
        "Created the secret st_s-1",
        "Created the config st_c-1",
        "Created the service st_db",
        "Created the service st_web",
    ]
    assert len(seen) == (5 if made else 10)
    deploy(swarm, FULL, {"secret:s": "c2VjcmV0"})
    assert writes(swarm) == []


def test_no_leader_for_too_long():
    swarm = FakeSwarm()
    swarm.fail_next = [NO_LEADER] * 20
    with pytest.raises(
        EngineError, match="Cannot create the service .st_a. - The swarm does not have a leader"
    ):
        deploy(swarm, stack({"a": {}}))
    assert 10 < swarm.now < 20


def test_a_refusal_names_the_cause_and_stops():
    swarm = FakeSwarm()
    swarm.fail_next = [None, REFUSED]
    with pytest.raises(EngineError, match="port '80' is already in use by service 'x'"):
        deploy(swarm, stack({"a": {}, "b": {}}))
    assert swarm.deployment.actions == ["Created the service st_a"]


def test_removal_comes_first_and_cleaning_last():
    swarm = FakeSwarm()
    deploy(swarm, FULL, {"secret:s": "c2VjcmV0"})
    after = stack({"new": {}})
    deployment = deploy(swarm, after)
    assert deployment.actions == [
        "Removed the service st_db",
        "Removed the service st_web",
        "Created the service st_new",
        "Removed the config st_c-1",
        "Removed the secret st_s-1",
        "Removed the network st_n",
    ]
    assert deployment.outcomes["st_db"] == {"action": "remove", "state": "removed"}


def test_absent_removes_everything_and_then_nothing():
    swarm = FakeSwarm()
    deploy(swarm, FULL, {"secret:s": "c2VjcmV0"})
    deploy(swarm, wanted.nothing("st"))
    assert not any(swarm.objects.values())
    deploy(swarm, wanted.nothing("st"))
    assert writes(swarm) == []


def test_what_is_in_use_stays_with_a_warning():
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {"configs": ["st_c-1"]}}, configs={"st_c-1": content("st_c-1", "c")}))
    original = swarm._used
    swarm._used = lambda _identity: True
    deployment = deploy(swarm, stack({"a": {"mode": {"Global": {}}}}))
    swarm._used = original
    assert deployment.warnings == ["The config st_c-1 is no longer wanted but still in use, it stays"]


def test_a_network_made_anew():
    swarm = FakeSwarm()
    before = stack({"a": {"networks": ["st_n"]}, "b": {}}, networks={"st_n": network("st_n")})
    deploy(swarm, before)
    after = copy.deepcopy(before)
    after["networks"]["st_n"]["spec"]["Attachable"] = True
    assert deploy(swarm, after).actions == [
        "Removed the service st_a",
        "Removed the network st_n",
        "Created the network st_n",
        "Created the service st_a",
    ]
    deploy(swarm, after)
    assert writes(swarm) == []


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
    swarm.objects["services"][next(iter(swarm.objects["services"]))]["ServiceStatus"] = {
        "RunningTasks": 0,
        "DesiredTasks": 1,
    }
    with pytest.raises(DeployError, match="no suitable node"):
        deploy(swarm, a_stack)
    assert writes(swarm) == []
    swarm.service("st_a")["ServiceStatus"] = {"RunningTasks": 1, "DesiredTasks": 1}
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

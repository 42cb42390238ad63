# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of services, from objects in the form of the Engine's API."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _status as status
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import drift

NODES = [
    {"ID": "n1", "Spec": {"Role": "manager"}, "Description": {"Hostname": "one"}},
    {
        "ID": "n2",
        "Spec": {"Role": "worker", "Labels": {"gpufleet.host": "worker1"}, "Availability": "drain"},
        "Description": {
            "Hostname": "two",
            "Resources": {"GenericResources": [{"NamedResourceSpec": {"Kind": "GPU", "Value": "GPU-1"}}]},
        },
    },
]


def service(mode=None, running=0, desired=0, completed=0, update=None, stack="web"):
    made = {
        "ID": "s1",
        "Spec": {
            "Name": "web_api",
            "Labels": {status.STACK_LABEL: stack} if stack else {},
            "Mode": mode or {"Replicated": {"Replicas": desired}},
            "TaskTemplate": {"ContainerSpec": {"Image": "api:1@sha256:abc", "Env": ["PASSWORD=secret"]}},
        },
        "ServiceStatus": {"RunningTasks": running, "DesiredTasks": desired, "CompletedTasks": completed},
    }
    if update:
        made["UpdateStatus"] = {"State": update}
    return made


def task(state, node="n1", error=None, code=None, at="2026-01-01T00:00:00Z"):
    told = {"State": state, "Timestamp": at}
    if error:
        told["Err"] = error
    if code is not None:
        told["ContainerStatus"] = {"ExitCode": code}
    return {"ServiceID": "s1", "NodeID": node, "Status": told}


def only(made, tasks=()):
    (told,) = status.summarise([made], tasks, NODES)
    return told


@pytest.mark.parametrize(
    ("made", "replicas", "reason"),
    [
        (service(running=2, desired=2), "2/2", None),
        (service(running=0, desired=0), "0/0", None),
        (service(running=1, desired=2), "1/2", "1 of 2 tasks run"),
        (service(running=3, desired=2), "3/2", "3 of 2 tasks run"),
        (service({"Global": {}}, 3, 3), "3/3", None),
        (service({"Global": {}}, 0, 0), "0/0", "no task of it runs on any node"),
        (service(running=2, desired=2, update="completed"), "2/2", None),
        (service(running=2, desired=2, update="updating"), "2/2", "it is being updated"),
        (service(running=2, desired=2, update="paused"), "2/2", "its update stopped half way"),
        (
            service(running=2, desired=2, update="rollback_completed"),
            "2/2",
            "its last update failed and was rolled back",
        ),
        (service({"ReplicatedJob": {"TotalCompletions": 1}}, 0, 0, 1), "1/1 completed", None),
        (
            service({"ReplicatedJob": {"TotalCompletions": 2}}, 1, 1, 1),
            "1/2 completed",
            "1 of 2 tasks have completed",
        ),
        (service({"ReplicatedJob": {}}, 0, 1, 0), "0/1 completed", "0 of 1 tasks have completed"),
        (service({"GlobalJob": {}}, 0, 3, 3), "3/3 completed", None),
        (service({"GlobalJob": {}}, 1, 3, 2), "2/3 completed", "2 of 3 tasks have completed"),
    ],
)
def test_verdict(made, replicas, reason):
    told = only(made)
    assert (told["replicas"], told["reason"], told["ok"]) == (replicas, reason, reason is None)


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([], "0 of 1 tasks run"),
        ([task("running")], "0 of 1 tasks run"),
        (
            [task("failed", error="task: non-zero exit (3)", code=3)],
            "0 of 1 tasks run; last error on one: task: non-zero exit (3)",
        ),
        (
            [task("failed", error="unhealthy", code=137)],
            "0 of 1 tasks run; last error on one: unhealthy, exit code 137",
        ),
        (
            [task("pending", node=None, error="no suitable node (insufficient resources on 2 nodes)")],
            "0 of 1 tasks run; last error: no suitable node (insufficient resources on 2 nodes)",
        ),
        (
            [
                task("failed", "n1", "old", at="2026-01-01T00:00:01Z"),
                task("rejected", "n2", "new", at="2026-01-01T00:00:02Z"),
            ],
            "0 of 1 tasks run; last error on two: new",
        ),
    ],
)
def test_reason_has_the_newest_error(tasks, reason):
    assert only(service(running=0, desired=1), tasks)["reason"] == reason


def test_a_service_that_is_well_has_no_reason():
    assert only(service(running=1, desired=1), [task("failed", error="long ago")])["reason"] is None


CHECKED = {"Healthcheck": {"Test": ["CMD", "x"]}}


@pytest.mark.parametrize(
    ("container", "tasks", "health"),
    [
        ({}, ["running"], None),
        ({"Healthcheck": {"Test": ["NONE"]}}, ["running"], None),
        ({"Healthcheck": {"Interval": 1}}, ["running"], None),
        (CHECKED, ["running", "running"], "healthy"),
        (CHECKED, ["running", "starting"], "starting"),
        (CHECKED, [], "starting"),
        (CHECKED, ["starting", "unhealthy"], "unhealthy"),
        (CHECKED, ["running", "unhealthy"], "healthy"),
        (CHECKED, ["complete"], "healthy"),
    ],
)
def test_health(container, tasks, health):
    made = service(running=1, desired=1)
    made["Spec"]["TaskTemplate"]["ContainerSpec"].update(container)
    found = [
        {
            **task("failed", error="task: non-zero exit (137): dockerexec: unhealthy container"),
            "DesiredState": "shutdown",
        }
        if state == "unhealthy"
        else {**task(state), "DesiredState": "running"}
        for state in tasks
    ]
    assert only(made, found)["health"] == health


def test_tasks_are_told_newest_first():
    old = {**task("failed", "n1", "boom", 3, at="2026-01-01T00:00:01Z"), "ID": "t1", "Slot": 1}
    new = {**task("running", "n2", code=0, at="2026-01-01T00:00:02Z"), "ID": "t2", "Slot": 1}
    old["DesiredState"], new["DesiredState"] = "shutdown", "running"
    keys = ("id", "slot", "node", "state", "desired_state", "since", "error", "exit_code")
    assert only(service(running=1, desired=1), [old, new])["tasks"] == [
        dict(
            zip(keys, ("t2", 1, "two", "running", "running", "2026-01-01T00:00:02Z", None, None), strict=True)
        ),
        dict(
            zip(keys, ("t1", 1, "one", "failed", "shutdown", "2026-01-01T00:00:01Z", "boom", 3), strict=True)
        ),
    ]


def test_drift_is_known_of_services_with_the_label_only():
    made = service(running=1, desired=1)
    assert only(made)["drift"] is None
    made["Spec"] = drift.with_sent(made["Spec"])
    assert only(made)["drift"] == []
    made["Spec"]["Mode"] = {"Replicated": {"Replicas": 7}}
    assert only(made)["drift"] == ["deploy.replicas"]
    assert "secret" not in repr(only(made))


def test_facts():
    told = only(
        service(running=2, desired=2), [task("running", "n2"), task("running", "n1"), task("shutdown", "n1")]
    )
    assert told["nodes"] == ["one", "two"]
    assert (told["image"], told["digest"], told["stack"]) == ("api:1", "sha256:abc", "web")
    assert "secret" not in repr(told)


@pytest.mark.parametrize(("stacks", "count"), [(None, 2), (["web"], 1), (["other"], 0), ([], 0)])
def test_only_the_stacks_asked_for(stacks, count):
    both = [service(), {**service(stack=None), "ID": "s2"}]
    assert len(status.summarise(both, [], NODES, stacks)) == count


@pytest.mark.parametrize(
    ("template", "places"),
    [
        ({}, ["one", "worker1"]),
        ({"Placement": {"Constraints": ["node.role==manager"]}}, ["one"]),
        ({"Placement": {"Constraints": ["node.labels.gpufleet.host==worker1"]}}, ["worker1"]),
        ({"Placement": {"Constraints": ["node.labels.gpufleet.host==gone"]}}, []),
        (
            {
                "Resources": {
                    "Reservations": {
                        "GenericResources": [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 1}}]
                    }
                }
            },
            ["worker1"],
        ),
    ],
)
def test_the_nodes_that_a_service_may_run_on(template, places):
    made = service(running=1, desired=1)
    made["Spec"]["TaskTemplate"].update(template)
    assert only(made)["places"] == places

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys on a Swarm in memory: which calls are made, in which order, and what happens when one fails."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import observe, plan, wanted
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.deploy import (
    Deployment,
    Options,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.stacks import content, network, stack

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

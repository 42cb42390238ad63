# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others changed since the last deploy, and what an update leaves to them."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import carry, drift, normalise, observe

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.plugins.module_utils.test_swarm_apply import deploy, writes
from tests.unit.stacks import network, service, stack

SPEC = service("st_a", "st", env=["A=1", "DB_PASSWORD=hunter2"], networks=["st_n"])


def edited(edit):
    spec = copy.deepcopy(drift.with_sent(SPEC))
    edit(spec)
    return spec


def container(spec):
    return spec["TaskTemplate"]["ContainerSpec"]


# What a user may do with docker service update, and the fields told for it.
EDITS = {
    "nothing": (lambda spec: None, []),
    "force": (lambda spec: spec["TaskTemplate"].update(ForceUpdate=3), []),
    "scale": (lambda spec: spec.update(Mode={"Replicated": {"Replicas": 5}}), ["deploy.replicas"]),
    "image": (lambda spec: container(spec).update(Image="tiny:2"), ["image"]),
    "digest": (lambda spec: container(spec).update(Image="tiny:1@sha256:" + "0" * 64), ["image"]),
    "label": (lambda spec: spec["Labels"].update(new="1"), ["deploy.labels.new"]),
    "variable added": (lambda spec: container(spec)["Env"].append("B=2"), ["environment.B"]),
    "variable gone": (lambda spec: container(spec)["Env"].remove("A=1"), ["environment.A"]),
    "secret gone": (lambda spec: container(spec)["Env"].pop(), ["environment.DB_PASSWORD"]),
    "secret changed": (lambda spec: container(spec)["Env"].__setitem__(1, "DB_PASSWORD=other"), []),
    "defaults written out": (
        lambda spec: spec["TaskTemplate"].update(RestartPolicy={"Condition": "any", "MaxAttempts": 0}),
        [],
    ),
    "several": (
        lambda spec: (container(spec).update(User="5"), spec["TaskTemplate"].update(Networks=[])),
        ["networks.st_n", "user"],
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_fields(name):
    edit, fields = EDITS[name]
    assert drift.changed_fields(edited(edit)) == fields


def test_the_label_says_nothing_of_the_service_itself():
    sent = drift.with_sent(SPEC)
    assert normalise.service(sent) == normalise.service(SPEC)
    assert drift.with_sent(sent) == sent
    label = sent["Labels"][normalise.SENT_LABEL]
    assert "hunter2" not in label and json.loads(label)["fields"]["environment.DB_PASSWORD"] == ""


def test_the_label_stays_the_same_in_every_release():
    """Where this fails, fields are told in another way: raise drift.FORM, or all of them seem changed."""
    label = json.loads(drift.with_sent(SPEC)["Labels"][normalise.SENT_LABEL])
    assert label == {
        "form": 1,
        "fields": {
            "deploy.mode": "ef86ee53",
            "deploy.replicas": "f26321c9",
            "environment.A": "f26321c9",
            "environment.DB_PASSWORD": "",
            "image": "15c1768d",
            "networks.st_n": "95c9a845",
        },
    }


@pytest.mark.parametrize(
    ("label", "known"),
    [
        (None, False),
        ("", False),
        ("no json", False),
        ("[]", False),
        ('{"form": 99, "fields": {}}', False),
        ('{"form": 1, "fields": {}}', True),
    ],
)
def test_a_label_that_tells_nothing(label, known):
    spec = copy.deepcopy(SPEC)
    if label is not None:
        spec["Labels"][normalise.SENT_LABEL] = label
    assert (drift.changed_fields(spec) is not None) is known


def test_another_tool_that_wrote_over_the_service_once_is_seen():
    over = service("st_a", "st", image="tiny:9", env=["A=1", "DB_PASSWORD=hunter2"], networks=["st_n"])
    assert drift.changed_fields(over, drift.with_sent(SPEC)) == ["image"]
    assert drift.changed_fields(over, over) is None


def deployed():
    swarm = FakeSwarm()
    desired = stack({"a": {"env": ["A=1"], "networks": ["st_n"]}}, networks={"st_n": network("st_n")})
    deploy(swarm, desired)
    return swarm, desired


def change(swarm, edit):
    """Update the service as another client would."""
    entry = swarm.service("st_a")
    spec = copy.deepcopy(entry["Spec"])
    edit(spec)
    swarm.post("/services/{0}/update", entry["ID"], data=spec, version=entry["Version"]["Index"])


def test_drift_is_told_apart_from_the_plan():
    swarm, desired = deployed()
    change(swarm, EDITS["scale"][0])
    change(swarm, EDITS["image"][0])
    desired["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]["Env"] = ["A=2"]
    desired["services"]["st_a"]["keep_replicas"] = True
    a_plan = deploy(swarm, desired)._plan
    assert [found.as_dict() for found in a_plan.drift] == [
        {
            "service": "st_a",
            "fields": ["services.a.deploy.replicas", "services.a.image"],
            "kept": ["services.a.deploy.replicas"],
            "rolled_back": False,
        }
    ]
    assert a_plan.text().startswith(
        "# st_a was changed by others since the last deploy: services.a.deploy.replicas (left alone), "
        "services.a.image\n~ service st_a (update; tasks restart)\n"
    )
    spec = swarm.service("st_a")["Spec"]
    assert spec["Mode"] == {"Replicated": {"Replicas": 5}} and container(spec)["Env"] == ["A=2"]
    assert deploy(swarm, desired)._plan.drift == [] and writes(swarm) == []


def test_a_rollback_is_told_as_long_as_the_file_wants_something_else():
    swarm, desired = deployed()
    first = copy.deepcopy(desired)
    desired["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]["Env"] = ["A=2"]
    deploy(swarm, desired)
    entry = swarm.service("st_a")
    swarm.post(
        "/services/{0}/update", entry["ID"], data={}, version=entry["Version"]["Index"], rollback="previous"
    )
    assert deploy(swarm, first)._plan.drift == []
    (found,) = deploy(swarm, desired)._plan.drift
    assert found.as_dict() == {"service": "st_a", "fields": [], "kept": [], "rolled_back": True}
    assert found.text() == "st_a was rolled back since the last deploy"


@pytest.mark.parametrize("keep", [False, True])
def test_scaling_by_others(keep):
    swarm, desired = deployed()
    desired["services"]["st_a"]["keep_replicas"] = keep
    change(swarm, EDITS["scale"][0])
    a_plan = deploy(swarm, desired)._plan
    assert bool(a_plan) is not keep and len(a_plan.drift) == 1
    assert swarm.service("st_a")["Spec"]["Mode"]["Replicated"]["Replicas"] == (5 if keep else 1)


def test_a_service_made_anew_keeps_its_scale_and_digest():
    swarm, desired = deployed()
    desired["services"]["st_a"]["keep_replicas"] = True
    change(swarm, lambda spec: (EDITS["scale"][0](spec), EDITS["digest"][0](spec)))
    desired["networks"]["st_n"]["spec"]["Attachable"] = True
    a_plan = deploy(swarm, desired)._plan
    assert a_plan.action("service", "st_a") == "recreate"
    spec = swarm.service("st_a")["Spec"]
    assert spec["Mode"]["Replicated"]["Replicas"] == 5 and "@" in container(spec)["Image"]
    assert not deploy(swarm, desired)._plan


def test_another_mode_has_no_number_to_keep():
    want = {"spec": {**SPEC, "Mode": {"Global": {}}}, "keep_replicas": True}
    assert carry.as_sent(want, SPEC)["Mode"] == {"Global": {}}
    assert carry.as_compared(SPEC, want)["Mode"] == SPEC["Mode"]


# A stored spec in other words than ours, as other clients write it, and a wanted change that touches no task.
STORED = {
    **SPEC,
    "TaskTemplate": {
        **SPEC["TaskTemplate"],
        "Runtime": "container",
        "ForceUpdate": 2,
        "ContainerSpec": {**container(SPEC), "Isolation": "default", "Env": ["DB_PASSWORD=hunter2", "A=1"]},
        "RestartPolicy": {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0},
    },
    "EndpointSpec": {"Mode": "vip", "Ports": None},
}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"Labels": {**SPEC["Labels"], "new": "1"}}, True),
        ({"Mode": {"Replicated": {"Replicas": 4}}}, True),
        ({"TaskTemplate": {**SPEC["TaskTemplate"], "RestartPolicy": {"Condition": "none"}}}, False),
    ],
)
def test_what_touches_no_task_is_sent_in_the_words_of_before(changes, same):
    sent = carry.as_sent({"spec": {**SPEC, **changes}}, STORED)
    assert (sent["TaskTemplate"] == STORED["TaskTemplate"]) is same
    assert sent["EndpointSpec"] == STORED["EndpointSpec"]
    assert sent["TaskTemplate"]["ForceUpdate"] == 2
    if "Labels" in changes:
        assert sent["Labels"]["new"] == "1"


def test_another_placement_alone_changes_nothing_else():
    want = {
        "spec": {**SPEC, "TaskTemplate": {**SPEC["TaskTemplate"], "Placement": {"Constraints": ["a==b"]}}}
    }
    sent = carry.as_sent(want, STORED)["TaskTemplate"]
    assert sent == {**STORED["TaskTemplate"], "Placement": {"Constraints": ["a==b"]}}


def test_observed_specs_have_their_label():
    swarm, desired = deployed()
    current = observe.observe(swarm, "st", desired)["services"]["st_a"]
    assert drift.changed_fields(current["spec"], current["previous"]) == []

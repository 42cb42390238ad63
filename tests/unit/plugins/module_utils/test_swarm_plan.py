# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan names, and what it keeps to itself."""

from __future__ import annotations

import base64
import copy

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import observe, plan, wanted

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.plugins.module_utils.test_swarm_observe import build
from tests.unit.stacks import content, network, service, stack


def planned(before, after, secrets=None, old_secrets=None, prune=True, prepare=None, keep_versions=0):
    """Return the plan that leads from one stack to another."""
    swarm = FakeSwarm(hostnames=("n1", "n2"))
    if before:
        build(swarm, wanted.prepare(before, old_secrets or secrets or {}, (1, 45))[0])
    if prepare:
        prepare(swarm)
    want, marked, _warnings = wanted.prepare(after, secrets or {}, (1, 45))
    return plan.make(want, marked, observe.observe(swarm, after["name"], after), prune, keep_versions)


def told(a_plan):
    return [(item.action, item.kind, item.name) for item in a_plan.items]


def changes(a_plan):
    return [(change.path, change.before, change.after) for item in a_plan.items for change in item.changes]


def test_equal_is_empty():
    there = stack({"a": {"networks": ["st_n"]}}, networks={"st_n": network("st_n")})
    a_plan = planned(there, there)
    assert not a_plan and a_plan.text() == "" and a_plan.same == [("network", "st_n"), ("service", "st_a")]


def test_everything_new():
    new = stack(
        {"a": {"networks": ["st_n"], "wave": 1}, "z": {}},
        networks={"st_n": network("st_n")},
        configs={"st_c-1": content("st_c-1", "c")},
        secrets={"st_s-1": content("st_s-1", "s")},
    )
    a_plan = planned(None, new)
    assert told(a_plan) == [
        ("create", "network", "st_n"),
        ("create", "secret", "st_s-1"),
        ("create", "config", "st_c-1"),
        ("create", "service", "st_z"),
        ("create", "service", "st_a"),
    ]
    assert [item.tasks for item in a_plan.of("service", "create")] == ["start", "start"]
    assert "+ service st_z (create; tasks start)\n    services.z.deploy.mode: replicated\n" in a_plan.text()
    assert "com.docker.stack" not in a_plan.text()


def test_a_field_is_named_in_compose_words():
    a_plan = planned(stack({"a": {}}), stack({"a": {"image": "tiny:2"}}))
    assert changes(a_plan) == [("services.a.image", "tiny:1", "tiny:2")]
    assert a_plan.text() == "~ service st_a (update; tasks restart)\n    services.a.image: tiny:1 -> tiny:2\n"
    assert a_plan.as_list() == [
        {
            "kind": "service",
            "name": "st_a",
            "action": "update",
            "reasons": [],
            "tasks": "restart",
            "changes": [{"path": "services.a.image", "before": "tiny:1", "after": "tiny:2"}],
        }
    ]


SCALED, MOVED = {"mode": {"Replicated": {"Replicas": 3}}}, {"Placement": {"Constraints": ["a==b"]}}
EFFECTS = [
    ("restart", {"env": ["A=1"]}),
    ("restart", {"env": ["A=1"], **SCALED, **MOVED}),
    ("restart", {"RestartPolicy": {"Condition": "none", "MaxAttempts": 0}}),
    ("restart", {"LogDriver": {"Name": "local"}}),
    ("restart", {"Resources": {"Limits": {"NanoCPUs": 1}}}),
    ("restart", {"networks": ["st_n"]}),
    ("place", MOVED),
    ("place", {**MOVED, **SCALED}),
    ("place", {"Placement": {"Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]}}),
    ("place", {"Placement": {"MaxReplicas": 1}}),
    ("scale", SCALED),
    ("scale", {**SCALED, "labels": {"a": "b"}}),
    ("stay", {"labels": {"a": "b"}}),
]


@pytest.mark.parametrize(("effect", "keys"), EFFECTS)
def test_effect_on_tasks(effect, keys):
    networks = {"st_n": network("st_n")}
    (item,) = planned(stack({"a": {}}, networks=networks), stack({"a": keys}, networks=networks)).items
    assert item.tasks == effect


@pytest.mark.parametrize(
    ("effect", "changes"),
    [
        ("stay", {"UpdateConfig": {"Parallelism": 2}}),
        ("stay", {"RollbackConfig": {"Parallelism": 2}}),
        ("restart", {"EndpointSpec": {"Mode": "dnsrr"}}),
        (
            "restart",
            {
                "EndpointSpec": {
                    "Mode": "vip",
                    "Ports": [{"TargetPort": 1, "Protocol": "tcp", "PublishMode": "host"}],
                }
            },
        ),
    ],
)
def test_effect_on_tasks_of_what_is_not_their_template(effect, changes):
    after = stack({"a": {}})
    after["services"]["st_a"]["spec"].update(changes)
    (item,) = planned(stack({"a": {}}), after).items
    assert item.tasks == effect


def test_placement_moves_only_what_no_longer_fits():
    after = stack({"a": {}})
    after["services"]["st_a"]["spec"]["TaskTemplate"]["Placement"] = {"Constraints": ["node.role==worker"]}
    (item,) = planned(stack({"a": {}}), after).items
    assert item.tasks == "place"
    assert changes(planned(stack({"a": {}}), after)) == [
        ("services.a.deploy.placement.constraints", None, ["node.role==worker"])
    ]


@pytest.mark.parametrize(
    ("keys", "tasks"),
    [
        ({"mode": {"Global": {}}}, "restart"),
        ({"mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}, "job": True}, "run"),
    ],
)
def test_mode_is_made_anew(keys, tasks):
    (item,) = planned(stack({"a": {}}), stack({"a": keys})).items
    assert (item.action, item.reasons) == ("recreate", ("deploy.mode cannot be changed in place",))
    assert item.tasks == tasks


def test_a_network_takes_its_services_along():
    before = stack({"a": {"networks": ["st_n"]}, "b": {}}, networks={"st_n": network("st_n")})
    after = copy.deepcopy(before)
    after["networks"]["st_n"]["spec"]["Attachable"] = True
    a_plan = planned(before, after)
    assert told(a_plan) == [("recreate", "network", "st_n"), ("recreate", "service", "st_a")]
    assert "networks.st_n.attachable: (not set) -> true" in a_plan.text()


def test_a_network_of_others_too_is_not_made_anew():
    before = stack({"a": {"networks": ["st_n"]}}, networks={"st_n": network("st_n")})
    after = copy.deepcopy(before)
    after["networks"]["st_n"]["spec"]["Internal"] = True
    other = stack({"x": {"networks": ["st_n"]}}, name="else")

    with pytest.raises(
        FleetError, match="used by services that this deploy leaves alone .st_n.: found else_x"
    ):
        planned(before, after, prepare=lambda swarm: build(swarm, other))


def test_prune_keeps_order_and_others():
    before = stack(
        {"a": {}, "b": {"networks": ["st_n"], "configs": ["st_c-1"]}},
        networks={"st_n": network("st_n")},
        configs={"st_c-1": content("st_c-1", "c")},
    )
    assert told(planned(before, stack({"a": {"env": ["A=1"]}}))) == [
        ("remove", "service", "st_b"),
        ("update", "service", "st_a"),
        ("remove", "network", "st_n"),
        ("remove", "config", "st_c-1"),
    ]
    assert not planned(before, stack({"a": {}}), prune=False)
    other = stack({"x": {"networks": ["st_n"]}}, name="else")
    a_plan = planned(before, stack({"a": {}}), prepare=lambda swarm: build(swarm, other))
    assert ("remove", "network", "st_n") not in told(a_plan)
    assert a_plan.warnings == ["The network st_n stays, services of others use it: else_x"]


def test_rotation_keeps_the_version_a_rollback_needs():
    def version(number):
        name = f"st_c-{number}"
        return stack({"a": {"configs": [name]}}, configs={name: content(name, "c", data=f"{number}AAA")})

    second = planned(version(1), version(2))
    assert told(second) == [("create", "config", "st_c-2"), ("update", "service", "st_a")]
    assert ("services.a.configs.st_c", "st_c-1", "st_c-2") in changes(second)

    def previous(swarm):
        # As after the second deploy: the first version is the service's PreviousSpec.
        old = swarm.service("st_a")
        swarm.add("configs", version(1)["configs"]["st_c-1"]["spec"])
        previous = copy.deepcopy(old["Spec"])
        previous["TaskTemplate"]["ContainerSpec"]["Configs"][0]["ConfigName"] = "st_c-1"
        old["PreviousSpec"] = previous

    assert not planned(version(2), version(2), prepare=previous)
    assert told(planned(version(2), version(3), prepare=previous)) == [
        ("create", "config", "st_c-3"),
        ("update", "service", "st_a"),
        ("remove", "config", "st_c-1"),
    ]


@pytest.mark.parametrize(
    ("kind", "labels", "error"),
    [
        ("configs", {"gpufleet.content": "1"}, "The content of a config cannot be changed .named."),
        ("secrets", {"gpufleet.content": "1"}, "The content of a secret cannot be changed .named."),
        ("secrets", {}, None),
    ],
)
def test_content_under_a_fixed_name(kind, labels, error):
    def named(labels, data):
        entry = content("named", "c", data=data)
        entry["spec"]["Labels"].update(labels)
        return stack({"a": {}}, **{kind: {"named": entry}})

    before, after = named(labels, "eA=="), named({"gpufleet.content": "2"}, "eQ==")
    if error:
        with pytest.raises(FleetError, match=error):
            planned(before, after)
    else:
        assert not planned(before, after)


def test_content_under_a_fixed_name_tells_the_file_and_the_way_out():
    before, after = (
        stack({"a": {}}, configs={"named": content("named", "c", data=data)}) for data in ("eA==", "eQ==")
    )
    after["configs"]["named"]["source"] = "the file app.conf"
    with pytest.raises(FleetError) as caught:
        planned(before, after)
    assert str(caught.value) == (
        "The content of a config cannot be changed (named): found other content under the same name than "
        "that of the file app.conf, wanted a name that changes with the content, set configs.c: leave out "
        "its name, then the content's hash becomes part of it; or give it another name."
    )


def versioned(number, text="x", key="c", kind="configs", users=("a",)):
    """A stack whose services use one version of a config; the number is the hash in its name."""
    name = f"st_{key}-{number:012x}"
    entry = content(name, key, data=base64.b64encode(text.encode()).decode())
    return stack({user: {kind: [name]} for user in users}, **{kind: {name: entry}})


DIFFERENCES = {
    "a line": ("a = 1\nb = 2\n", "a = 1\nb = 3\n", ["@@ -1,2 +1,2 @@", " a = 1", "-b = 2", "+b = 3"]),
    "no text": ("a", "\x00", ["(not compared: not text)"]),
    "a key": ("a", "-----BEGIN RSA PRIVATE KEY-----\nMII", ["(not compared: it holds a private key)"]),
    "too long": ("a", "b" * 70_000, ["(not compared: over 64 KiB)"]),
    "ends of lines": ("a\n", "a\r\n", ["(only the ends of lines differ)"]),
    "a marker": ("a", "\x02NAME\x03", ["(not compared: not text)"]),
    "a url": ("a", "x://me:hunter2@h/", ["@@ -1 +1 @@", "-a", "+x://me:...@h/"]),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_new_version_of_a_config_shows_its_difference(name):
    before, after, lines = DIFFERENCES[name]
    (item, *_rest) = planned(versioned(1, before), versioned(2, after)).items
    assert list(item.diff) == item.as_dict()["diff"] == lines
    assert item.changes[0].before == "st_c-000000000001"


@pytest.mark.parametrize(
    "line", ["password = hunter2", '"api_key": "hunter2",', "export DB_TOKEN=hunter2", "  secret: hunter2"]
)
def test_what_looks_like_a_password_in_a_config_is_a_fingerprint(line):
    a_plan = planned(versioned(1, "a\n"), versioned(2, f"a\n{line}\n"))
    assert "hunter2" not in a_plan.text() and "secret " in a_plan.text()


def test_a_long_difference_is_cut():
    a_plan = planned(versioned(1, "a\n"), versioned(2, "".join(f"{n}\n" for n in range(500))))
    assert a_plan.items[0].diff[-1] == "(402 more lines)" and len(a_plan.items[0].diff) == 101


def test_the_version_in_use_is_the_one_compared_with():
    def older_but_used(swarm):
        swarm.add("configs", versioned(3, "unused\n")["configs"]["st_c-000000000003"]["spec"])

    a_plan = planned(versioned(1, "used\n"), versioned(2, "new\n"), prepare=older_but_used)
    assert "-used" in a_plan.items[0].diff


def test_a_secret_shows_no_difference():
    (item, *_rest) = planned(versioned(1, "a", kind="secrets"), versioned(2, "b", kind="secrets")).items
    assert item.diff == () and "diff" not in item.as_dict()


@pytest.mark.parametrize("kind", ["configs", "secrets"])
@pytest.mark.parametrize(("number", "removed"), [(0, [1, 2, 3]), (1, [1, 2]), (2, [1]), (3, []), (9, [])])
def test_old_versions_are_kept_newest_first(number, removed, kind):
    def add_older(swarm):
        for version in (1, 2, 3):
            for spec in versioned(version, kind=kind)[kind].values():
                swarm.add(kind, spec["spec"])

    def remade(swarm):
        add_older(swarm)
        for spec in versioned(7, key="gone", kind=kind)[kind].values():
            swarm.add(kind, spec["spec"])

    current = versioned(9, kind=kind)
    a_plan = planned(current, current, prepare=remade, keep_versions=number)
    names = [f"st_c-{version:012x}" for version in removed] + ["st_gone-000000000007"]
    assert [item.name for item in a_plan.items] == names
    assert {item.action for item in a_plan.items} == {"remove"}


def test_every_object_is_counted():
    there = stack({"a": {}, "b": {}}, networks={"st_n": network("st_n")})
    after = stack({"a": {"env": ["A=1"]}, "c": {}}, networks={"st_n": network("st_n")})
    a_plan = planned(there, after)
    assert a_plan.counts() == {"create": 1, "update": 1, "recreate": 0, "remove": 1, "none": 1}
    assert a_plan.objects() == [
        {"kind": "network", "name": "st_n", "action": "none"},
        {"kind": "service", "name": "st_a", "action": "update"},
        {"kind": "service", "name": "st_b", "action": "remove"},
        {"kind": "service", "name": "st_c", "action": "create"},
    ]


def test_labels_of_content_change_in_place():
    before = stack({}, secrets={"s": content("s", "s")})
    after = copy.deepcopy(before)
    after["secrets"]["s"]["spec"]["Labels"]["a"] = "b"
    a_plan = planned(before, after)
    assert told(a_plan) == [("update", "secret", "s")]
    assert changes(a_plan) == [("secrets.s.labels.a", None, "b")]


SECRET = stack({"a": {"env": ["MODE=x", "PIN=\x02PIN\x03"]}})


def test_secrets_are_fingerprints_only():
    for a_plan in (
        planned(None, SECRET, {"PIN": "hunter2"}),
        planned(SECRET, SECRET, {"PIN": "hunter2"}, {"PIN": "hunter1"}),
        planned(SECRET, stack({"a": {"env": ["MODE=x"]}}), old_secrets={"PIN": "hunter1"}),
        planned(SECRET, stack({"a": {"env": ["MODE=x", "PIN=public"]}}), old_secrets={"PIN": "hunter1"}),
    ):
        assert a_plan and "hunter" not in a_plan.text() + str(a_plan.as_list())
        assert "services.a.environment.PIN: " in a_plan.text()
    assert not planned(SECRET, SECRET, {"PIN": "hunter2"})


def test_a_digest_pinned_by_others_is_no_difference():
    pinned = stack({"a": {"image": "tiny:1@sha256:" + "0" * 64}})
    after = stack({"a": {}})
    pinned["services"]["st_a"]["spec"]["Labels"]["com.docker.stack.image"] = "tiny:1"
    assert not planned(pinned, after)
    assert changes(planned(pinned, stack({"a": {"image": "tiny:2"}})))[0][0] == "services.a.image"


def test_a_paused_update_is_resumed():
    def pause(swarm):
        swarm.service("st_a")["UpdateStatus"] = {"State": "paused", "Message": "update paused due to x"}

    a_plan = planned(stack({"a": {}}), stack({"a": {}}), prepare=pause)
    assert a_plan.text() == (
        "~ service st_a (update; tasks restart; its last update stopped (paused: update paused due to x))\n"
    )


def test_a_job_that_was_given_up_runs_again():
    job = {"mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}, "job": True}
    assert not planned(stack({"j": job}), stack({"j": job}))

    def fail(swarm):
        swarm.tasks[0]["Status"]["State"] = "failed"

    (item,) = planned(stack({"j": job}), stack({"j": job}), prepare=fail).items
    assert (item.action, item.tasks, item.reasons) == ("update", "run", ("its last run did not complete",))


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("service", "another name for the stack, or remove the other service"),
        ("network", "external: true for the network in the Compose file to use it as it is, or remove it"),
    ],
)
def test_a_taken_name_is_an_error(kind, option):
    def take(swarm):
        labels = {"com.docker.stack.namespace": "other"}
        if kind == "service":
            swarm.add("services", service("st_a", "other"))
        else:
            swarm.add("networks", {"Name": "st_n", "Labels": labels})

    wanted_stack = stack({"a": {"networks": ["st_n"]}}, networks={"st_n": network("st_n")})
    with pytest.raises(FleetError) as caught:
        planned(None, wanted_stack, prepare=take)
    name = {"service": "st_a", "network": "st_n"}[kind]
    assert str(caught.value) == (
        f"Cannot create the {kind}, its name is taken ({name}): found one of the stack other, wanted none, "
        f"or one of the stack st, set {option}."
    )


def test_a_missing_external_object_is_an_error():
    with pytest.raises(
        FleetError, match="uses an external secret that does not exist .gone.: found none in the Swarm"
    ):
        planned(None, stack({"a": {}}, external_secrets=["gone"]))


PLACES = [
    ([], "n1, n2"),
    (["node.role==manager"], "n1, n2"),
    (["node.hostname==n1"], None),
    (["node.hostname!=n1"], None),
    (["node.labels.gpufleet.host == n2"], None),
    (["node.platform.os==linux"], "n1, n2"),
]


@pytest.mark.parametrize(("constraints", "nodes"), PLACES)
def test_data_must_say_where_it_lives(constraints, nodes):
    a_stack = stack({"db": {"stateful": [{"mount": "/data", "reason": "volume db lives on one node"}]}})
    a_stack["services"]["st_db"]["spec"]["TaskTemplate"]["Placement"]["Constraints"] = constraints
    if nodes is None:
        planned(None, a_stack)
        return
    with pytest.raises(FleetError) as caught:
        planned(None, a_stack)
    assert str(caught.value) == (
        "A service keeps data but does not say on which node (st_db): found /data: volume db lives on one "
        f"node; 2 nodes it may run on ({nodes}), wanted a place, set deploy.placement.constraints, for "
        "example node.labels.gpufleet.host==NAME."
    )


def test_order_alone_is_still_told():
    before, after = stack({"a": {}}), stack({"a": {}})
    for a_stack, order in ((before, ["A=1", "A=2"]), (after, ["A=2"])):
        a_stack["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]["Env"] = order
    assert changes(planned(before, after)) == [
        ("services.a", "other order of the same fields", "as in the Compose file")
    ]

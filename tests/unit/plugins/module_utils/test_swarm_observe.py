# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a Swarm: names for ids, few calls, and a clear word where there is no manager."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import engine as engines
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise, observe

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.stacks import content, network, service, stack


def build(swarm, wanted):
    """Put a wanted stack into a Swarm."""
    for name, entry in wanted["networks"].items():
        swarm.add("networks", {**entry["spec"], "Name": name})
    for kind in ("secrets", "configs"):
        for entry in wanted[kind].values():
            swarm.add(kind, entry["spec"])
    for entry in wanted["services"].values():
        swarm.add("services", entry["spec"])


def full():
    return stack(
        {"a": {"networks": ["st_n"], "secrets": ["st_s-1"]}, "b": {"configs": ["st_c-1"]}},
        networks={"st_n": network("st_n")},
        secrets={"st_s-1": content("st_s-1", "s")},
        configs={"st_c-1": content("st_c-1", "c")},
    )


def test_current_has_the_shape_of_what_is_wanted():
    swarm, wanted = FakeSwarm(), full()
    build(swarm, wanted)
    current = observe.observe(swarm, "st", wanted)
    for name, entry in wanted["services"].items():
        assert normalise.service(current["services"][name]["spec"]) == normalise.service(entry["spec"])
    assert set(current["networks"]) == {"st_n"}
    assert set(current["secrets"]) == {"st_s-1"} and set(current["configs"]) == {"st_c-1"}
    assert (current["taken"], current["missing"], current["nodes"]) == ([], [], None)


def test_a_stack_in_order_costs_four_reads():
    swarm, wanted = FakeSwarm(), full()
    build(swarm, wanted)
    swarm.reads = 0
    observe.observe(swarm, "st", wanted)
    assert (swarm.reads, swarm.writes) == (4, 0)


def test_others_under_a_wanted_name():
    swarm, wanted = FakeSwarm(), full()
    swarm.add("networks", {"Name": "st_n", "Driver": "overlay", "Labels": {}})
    swarm.add(
        "configs", {"Name": "st_c-1", "Data": "eA==", "Labels": {"com.docker.stack.namespace": "other"}}
    )
    swarm.add("services", service("st_a", "other"))
    swarm.add("services", service("st_ab", "other"))
    current = observe.observe(swarm, "st", wanted)
    assert current["taken"] == [
        ("network", "st_n", None),
        ("config", "st_c-1", "other"),
        ("service", "st_a", "other"),
    ]


def test_external_objects():
    swarm = FakeSwarm()
    wanted = stack(
        {"a": {}},
        external_networks=["there", "gone", "host"],
        external_secrets=["gone"],
        external_configs=["there"],
    )
    identity = swarm.add("networks", {"Name": "there", "Labels": {}})
    swarm.add("configs", {"Name": "there", "Labels": {}})
    swarm.add("secrets", {"Name": "gone-not", "Labels": {}})
    current = observe.observe(swarm, "st", wanted)
    assert current["external"]["networks"] == {"there": identity}
    assert list(current["external"]["configs"]) == ["there"]
    assert current["missing"] == [("network", "gone"), ("secret", "gone")]


def test_users_of_others_are_looked_for_only_when_something_may_go():
    swarm, wanted = FakeSwarm(), full()
    build(swarm, wanted)
    swarm.add("services", service("else_x", "else", networks=["st_n"]))
    assert observe.observe(swarm, "st", wanted)["foreign"]["networks"] == {}
    smaller = stack({"b": {"configs": ["st_c-1"]}}, configs=wanted["configs"])
    assert observe.observe(swarm, "st", smaller)["foreign"]["networks"] == {"st_n": ["else_x"]}


@pytest.mark.parametrize(
    ("how", "word"), [("running", "completed"), ("crash", "given up"), ("pending", "working")]
)
def test_jobs(how, word):
    swarm = FakeSwarm()
    swarm.behave["st_j"] = how
    wanted = stack(
        {"j": {"mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}, "job": True}}
    )
    build(swarm, wanted)
    assert observe.observe(swarm, "st", wanted)["services"]["st_j"]["job"] == word


def test_nodes_are_read_for_stateful_services():
    swarm = FakeSwarm(hostnames=("n1", "n2"))
    wanted = stack({"a": {"stateful": [{"mount": "/d", "reason": "x"}]}})
    assert [node["hostname"] for node in observe.observe(swarm, "st", wanted)["nodes"]] == ["n1", "n2"]


def test_a_network_that_no_list_shows_is_looked_up():
    swarm, wanted = FakeSwarm(), stack({"a": {"networks": ["host"]}})
    identity = swarm.add("networks", {"Name": "host", "Labels": {}})
    swarm.objects["networks"][identity]["Scope"] = "local"
    build(swarm, wanted)
    listed = swarm.get

    def get(path, *args, **params):
        answer = listed(path, *args, **params)
        return [entry for entry in answer if entry["Name"] != "host"] if path == "/networks" else answer

    swarm.get = get
    spec = observe.observe(swarm, "st", wanted)["services"]["st_a"]["spec"]
    assert spec["TaskTemplate"]["Networks"][0]["Target"] == "host"


@pytest.mark.parametrize(
    ("swarm_info", "found"),
    [
        ({"LocalNodeState": "inactive"}, "found a Docker Engine that is in no Swarm"),
        ({"LocalNodeState": "locked"}, "found a manager that is locked since its restart"),
        ({"LocalNodeState": "pending"}, "found a node that is still joining a Swarm"),
        (
            {"LocalNodeState": "error", "Error": "certificate expired"},
            "found a node in the state error: certificate expired",
        ),
        ({"LocalNodeState": "active", "ControlAvailable": False}, "found a worker"),
        ({"LocalNodeState": "unheard of"}, "found a node in the state unheard of"),
    ],
)
def test_no_manager_is_told_by_its_state(swarm_info, found):
    swarm = FakeSwarm()
    swarm.info = {"Swarm": {"ControlAvailable": False, **swarm_info}}
    with pytest.raises(observe.NoManager) as caught:
        observe.observe(swarm, "st", stack({}))
    assert f"Cannot manage stacks here: {found}, wanted a manager of an active Swarm" in str(caught.value)
    assert caught.value.state == swarm_info["LocalNodeState"]


FRAMES = b"\x01\0\0\0\0\0\0\x04one\n" + b"\x02\0\0\0\0\0\0\x05two\n3"


@pytest.mark.parametrize(
    ("raw", "lines"), [(FRAMES, ["one", "two", "3"]), (b"plain\ntty\n", ["plain", "tty"]), (b"", [])]
)
def test_demultiplex(raw, lines):
    assert engines.demultiplex(raw) == lines


@pytest.mark.parametrize(
    ("status", "cause", "stale", "transient"),
    [
        (500, "rpc error: code = Unknown desc = update out of sequence", True, False),
        (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", False, True),
        (503, "The swarm does not have a leader.", False, True),
        (500, "rpc error: code = Unknown desc = The swarm does not have a leader. It's", False, True),
        (None, "connection refused", False, True),
        (400, "invalid spec", False, False),
        (409, "name conflicts", False, False),
    ],
)
def test_errors_that_may_pass(status, cause, stale, transient):
    error = engines.EngineError("x", status=status, cause=cause)
    assert (error.stale, error.transient) == (stale, transient)

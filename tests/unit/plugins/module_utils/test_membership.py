# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import NO_ENGINE, NO_SWARM
from ansible_collections.gpufleet.swarm.plugins.module_utils._membership import make_plan, node_update

ADDRESSES = {"m1": "192.0.2.1", "m2": "192.0.2.2", "m3": "192.0.2.3", "w1": "192.0.2.11", "w2": "192.0.2.12"}
OWNED = "gpufleet.owned"


def labels_of(name, **more):
    mine = {"gpufleet.host": name, **more}
    return {**mine, OWNED: ",".join(sorted(mine))}


def entry(name, id_=None, role=None, **changes):
    """Return what a manager lists of a sound node."""
    role = role or ("manager" if name.startswith("m") else "worker")
    node = {
        "id": id_ or f"id-{name}", "hostname": name, "role": role, "availability": "active", "state": "ready",
        "address": ADDRESSES.get(name, "192.0.2.99"), "labels": labels_of(name), "engine_version": "26.1.5",
        "leader": False, "manager_reachability": "reachable" if role == "manager" else None,
        "generic_resources": [],
    }
    return {**node, **changes}


def bare(name, installed=True):
    docker = {"installed": installed, "answering": False, "error": None, **NO_ENGINE, "sdk": None}
    state = None if installed else "inactive"
    return {"hostname": name, "docker": docker, "swarm": {**NO_SWARM, "state": state}}


def outside(name, **swarm):
    """Return a host whose Engine runs and is in no Swarm."""
    host = bare(name)
    host["docker"]["answering"] = True
    host["swarm"] = {**NO_SWARM, **swarm}
    return host


def member(name, **swarm):
    own = {"state": "active", "node_id": f"id-{name}", "node_address": ADDRESSES[name]}
    return outside(name, **{**own, **swarm})


def manager(name, nodes, **swarm):
    return member(name, **{"manager": True, "cluster_id": "c1", "nodes": nodes, **swarm})


def fleet(nodes, **replaced):
    """Return the readings of a fleet whose managers list the given entries; some readings may be replaced."""
    names = [node["hostname"] for node in nodes if node["hostname"] in ADDRESSES]
    roles = {node["hostname"]: node["role"] for node in nodes}
    seen = {name: manager(name, nodes) if roles[name] == "manager" else member(name) for name in names}
    return {**seen, **replaced}


def plan(seen, managers="m1", workers="w1 w2", labels=None, availability="keep", limit=None, **options):
    names = (f"{managers} {workers}" if limit is None else limit).split()
    wanted = {
        name: {"address": ADDRESSES[name], "availability": availability,
               "labels": {"gpufleet.host": name, **(labels or {}).get(name, {})}}
        for name in names
    }
    return make_plan(seen, wanted, managers.split(), workers.split(), **options)


def changes(made):
    """Return the parts of a plan that say that something is to be done."""
    assert made["problems"] == []
    parts = ("init", "join", "former", "promote", "demote", "updates")
    return {part: made[part] for part in parts if made[part]}


SOUND = [entry("m1"), entry("w1"), entry("w2")]


def test_nothing_to_do():
    made = plan(fleet(SOUND))
    assert changes(made) == {}
    assert (made["acting"], made["address"], made["actions"]) == ("m1", "192.0.2.1:2377", {})
    assert made["settled"]
    assert made["warnings"] == []


def test_first_manager_makes_the_swarm():
    made = plan({name: outside(name) for name in ("m1", "w1", "w2")})
    assert made["init"] is True
    assert made["acting"] == "m1"
    assert made["join"] == {"w1": "worker", "w2": "worker"}
    assert made["actions"]["m1"] == ["make the Swarm", "set label gpufleet.host=m1"]
    assert made["actions"]["w1"] == ["join the Swarm as worker", "set label gpufleet.host=w1"]


def test_an_ipv6_address_is_joined_in_brackets():
    wanted = {"address": "fd00::1", "labels": {}, "availability": "keep"}
    made = make_plan({"m1": outside("m1")}, {"m1": wanted}, ["m1"], [])
    assert made["address"] == "[fd00::1]:2377"


def test_managers_join_in_the_order_of_the_inventory():
    made = plan({name: outside(name) for name in ("m3", "m2", "m1")}, managers="m1 m2 m3", workers="")
    assert list(made["join"].items()) == [("m2", "manager"), ("m3", "manager")]


def test_a_wiped_first_manager_joins_and_does_not_make_a_second_swarm():
    nodes = [entry("m1", state="down", manager_reachability="unreachable"), entry("m2"), entry("m3")]
    made = plan(fleet(nodes, m1=outside("m1")), managers="m1 m2 m3", workers="")
    assert made["init"] is False
    assert made["acting"] == "m2"
    assert made["join"] == {"m1": "manager"}
    assert made["former"] == [{"id": "id-m1", "host": "m1", "role": "manager"}]
    assert made["settled"]
    assert made["actions"]["m1"][0] == "remove its former entry id-m1 (manager)"


def test_a_wiped_worker_takes_its_labels_and_availability_along():
    old = entry("w1", state="down", availability="drain",
                labels={**labels_of("w1", rack="a"), "foreign": "yes"})
    made = plan(fleet([entry("m1"), old, entry("w2")], w1=outside("w1")), labels={"w1": {"rack": "b"}})
    assert made["join"] == {"w1": "worker"}
    assert made["updates"]["w1"] == {
        "id": None, "availability": "drain", "labels_to_remove": [],
        "labels": {"foreign": "yes", "gpufleet.host": "w1", OWNED: "gpufleet.host,rack", "rack": "b"},
    }


def test_a_rejoin_that_was_cut_short_is_taken_up():
    old = entry("w1", state="down", availability="drain",
                labels={**labels_of("w1"), "foreign": "yes", "x": "old"})
    new = entry("w1", id_="new", labels={"x": "new"})
    made = plan(fleet([entry("m1"), old, new, entry("w2")], w1=member("w1", node_id="new")))
    assert changes(made) == {
        "former": [{"id": "id-w1", "host": "w1", "role": "worker"}],
        "updates": {"w1": {"id": "new", "availability": "drain", "labels_to_remove": [],
                           "labels": {"foreign": "yes", "gpufleet.host": "w1", OWNED: "gpufleet.host"}}},
    }


def test_a_down_entry_with_the_hostname_and_no_label_is_the_hosts():
    old = entry("w1", id_="old", state="down", labels={})
    made = plan(fleet([entry("m1"), old, entry("w2")], w1=outside("w1")))
    assert made["former"] == [{"id": "old", "host": "w1", "role": "worker"}]
    # With the label of another host it is that host's, whatever it is called; alive it is another machine.
    for changed in ({"labels": labels_of("w9")}, {"state": "ready"}):
        nodes = [entry("m1"), {**old, **changed}, entry("w2")]
        assert plan(fleet(nodes, w1=outside("w1")))["former"] == []


def test_a_former_entry_that_is_not_down_is_waited_for_and_then_an_error():
    seen = fleet([entry("m1"), entry("w1"), entry("w2")], w1=outside("w1"))
    made = plan(seen)
    assert made["wait"] == {"ready": [], "reachable": [], "down": ["id-w1"]}
    assert not made["settled"]
    assert [str(problem) for problem in plan(seen, strict=True)["problems"]] == [
        "Another machine is in the Swarm in the name of this host (w1): found node id-w1 in state ready, "
        "wanted one node for each host, set that machine out of the Swarm, or its label gpufleet.host right."
    ]


def test_promote_and_demote():
    made = plan(fleet(SOUND), managers="w1", workers="m1 w2")
    assert made["acting"] == "m1"  # w1 is the inventory's manager and cannot manage yet
    assert (made["promote"], made["demote"]) == (["w1"], ["m1"])
    nodes = [entry("m1"), entry("w1", role="manager"), entry("w2")]
    made = plan(fleet(nodes), managers="w1", workers="m1 w2")
    assert (made["acting"], made["promote"], made["demote"]) == ("w1", [], ["m1"])


UNREACHABLE = {"state": "down", "manager_reachability": "unreachable"}
MAJORITY = {
    # (entries, managers, workers, problem)
    "spare-manager": ([entry("m1"), entry("m2"), entry("m3")], "m1", "m2 m3", None),
    "one-of-the-rest-is-away": (
        [entry("m1"), entry("m2", **UNREACHABLE), entry("m3")], "m1 m2", "m3",
        "The managers that stay would have no majority (m3): found 1 of 2 reachable, wanted at least 2, "
        "set the other managers reachable first.",
    ),
    "a-new-manager-makes-up-for-it": (
        [entry("m1"), entry("m2", **UNREACHABLE), entry("m3"), entry("w1")], "m1 m2 w1", "m3", None,
    ),
}


@pytest.mark.parametrize(("nodes", "managers", "workers", "problem"), MAJORITY.values(), ids=MAJORITY)
def test_no_demotion_ends_the_majority(nodes, managers, workers, problem):
    problems = plan(fleet(nodes), managers=managers, workers=workers)["problems"]
    assert [str(one) for one in problems] == ([problem] if problem else [])


def test_the_majority_counts_before_anyone_joins():
    nodes = [entry("m1", **UNREACHABLE), entry("m2"), entry("m3", **UNREACHABLE)]
    made = plan(fleet(nodes, m1=outside("m1")), managers="m1 m2 m3", workers="")
    assert [problem.found for problem in made["problems"]] == ["1 of 2 reachable"]


def test_nodes_that_are_not_ready_are_waited_for_and_then_an_error():
    nodes = [entry("m1"), entry("m2", manager_reachability="unknown"), entry("m3"),
             entry("w1", state="unknown")]
    seen = fleet(nodes)
    made = plan(seen, managers="m1 m2 m3", workers="w1")
    assert made["wait"] == {"ready": ["id-w1"], "reachable": ["id-m2"], "down": []}
    problems = plan(seen, managers="m1 m2 m3", workers="w1", strict=True)["problems"]
    assert [str(problem) for problem in problems] == [
        "The manager did not become reachable (m2): found reachability unknown, wanted reachable, "
        "set the way between the managers free (2377/tcp), or swarm_wait_timeout.",
        "The node did not become ready (w1): found state unknown, wanted ready, "
        "set the way between the nodes free, or swarm_wait_timeout.",
    ]


# name: (reading of w1, problem)
TROUBLE = {
    "not-installed": (
        bare("w1", installed=False),
        "The Docker Engine does not answer (w1): found not installed, wanted a running Engine, "
        "set the Engine right on this host (systemctl status docker).",
    ),
    "stopped": (
        bare("w1"),
        "The Docker Engine does not answer (w1): found stopped, wanted a running Engine, "
        "set the Engine right on this host (systemctl status docker).",
    ),
    "error": (
        {**bare("w1"), "docker": {**bare("w1")["docker"], "error": "status 500"}},
        "The Docker Engine is in trouble (w1): found an error, wanted an Engine that answers, "
        "set the Engine right on this host (journalctl -u docker) - status 500.",
    ),
    "locked": (
        outside("w1", state="locked", error="needs to be unlocked"),
        "The Swarm of this node is in trouble (w1): found state locked, wanted active or inactive, "
        "set the Swarm free with: docker swarm unlock - needs to be unlocked.",
    ),
    "pending": (
        outside("w1", state="pending"),
        "The Swarm of this node is in trouble (w1): found state pending, wanted active or inactive, "
        "set the way to the managers free (2377/tcp), or leave with: docker swarm leave.",
    ),
    "error-state": (
        outside("w1", state="error", error="certificate has expired"),
        "The Swarm of this node is in trouble (w1): found state error, wanted active or inactive, "
        "set what the Engine names right, or leave with: docker swarm leave - certificate has expired.",
    ),
    "active-with-an-error": (
        member("w1", error="no leader"),
        "The Swarm of this node is in trouble (w1): found an error, wanted none, "
        "set what the Engine names right, or leave with: docker swarm leave - no leader.",
    ),
    "worker-of-another-swarm": (
        member("w1", node_id="elsewhere"),
        "The node is in another Swarm (w1): found node elsewhere, "
        "wanted a node of Swarm c1, which m1 manages, set this node free with: docker swarm leave "
        "--force (what it runs there ends).",
    ),
    "manager-of-another-swarm": (
        manager("w1", [], node_id="elsewhere", cluster_id="c2"),
        "The node is in another Swarm (w1): found Swarm c2, wanted Swarm c1, which m1 manages, "
        "set this node free with: docker swarm leave --force (what it runs there ends).",
    ),
}


@pytest.mark.parametrize(("reading", "problem"), TROUBLE.values(), ids=TROUBLE)
def test_trouble_is_never_taken_for_no_swarm(reading, problem):
    made = plan(fleet(SOUND, w1=reading))
    assert [str(one) for one in made["problems"]] == [problem]
    assert set(made) == {"problems"}


def test_workers_of_an_unknown_swarm_stop_a_second_one():
    made = plan({"m1": outside("m1"), "w1": member("w1"), "w2": outside("w2")})
    assert [str(problem) for problem in made["problems"]] == [
        "The node is in a Swarm that no host of the inventory manages (w1): found node id-w1, "
        "wanted no Swarm, or managers in the inventory, "
        "set this node free with: docker swarm leave --force (what it runs there ends)."
    ]


@pytest.mark.parametrize("installed", [True, False])
def test_check_mode_predicts_on_bare_hosts(installed):
    made = plan({name: bare(name, installed) for name in ("m1", "w1", "w2")}, bare_allowed=True)
    assert made["init"] is True
    assert list(made["join"]) == ["w1", "w2"]


def test_a_limit_leaves_the_others_alone():
    nodes = [entry("m1", labels={}), entry("w1", state="down"), entry("w2", labels={})]
    seen = fleet(nodes, w1=outside("w1"))
    del seen["w2"]
    made = plan(seen, limit="w1")
    assert changes(made)["join"] == {"w1": "worker"}
    assert list(made["updates"]) == ["w1"]
    assert made["acting"] == "m1"


def test_a_limit_without_the_first_manager_makes_no_swarm():
    made = plan({"m1": outside("m1"), "w1": outside("w1")}, limit="w1")
    assert [str(problem) for problem in made["problems"]] == [
        "There is no Swarm yet and its first manager is not part of this run (m1): found a limit without it, "
        "wanted a limit with it, or none, set --limit."
    ]


def test_strangers_and_other_addresses_are_warnings():
    nodes = [*SOUND, entry("x9", labels={}), entry("w3", labels=labels_of("w3"))]
    made = plan(fleet(nodes, w1=member("w1", node_address="10.0.0.1")))
    assert made["warnings"] == [
        "w1 (id-w1) is in the Swarm as 10.0.0.1, the inventory says 192.0.2.11; "
        "a node changes its address only by leaving the Swarm and joining again.",
        "Nodes of the Swarm that are in no inventory: x9 (id-x9, worker, ready), w3 (id-w3, worker, ready).",
    ]
    assert changes(made) == {}


# name: (labels wanted, availability wanted, entry's labels, entry's availability, update)
UPDATES = {
    "equal": ({"a": "1"}, "keep", {"a": "1", OWNED: "a"}, "active", None),
    "first-labels": ({"a": "1"}, "keep", {}, "active", ({"a": "1", OWNED: "a"}, [], None)),
    "foreign-stays": ({}, "keep", {"theirs": "x", OWNED: ""}, "active", None),
    "value-changes": ({"a": "2"}, "keep", {"a": "1", OWNED: "a"}, "active", ({"a": "2"}, [], None)),
    "ours-goes": ({}, "keep", {"a": "1", "b": "2", OWNED: "a"}, "active", ({OWNED: ""}, ["a"], None)),
    "ours-is-gone-already": ({}, "keep", {OWNED: "a"}, "active", ({OWNED: ""}, [], None)),
    "theirs-becomes-ours": ({"a": "1"}, "keep", {"a": "1"}, "active", ({OWNED: "a"}, [], None)),
    "yaml-types": ({"a": True, "b": 3, "c": 1.5}, "keep",
                   {"a": "true", "b": "3", "c": "1.5", OWNED: "a,b,c"}, "active", None),
    "availability-kept": ({}, "keep", {OWNED: ""}, "drain", None),
    "availability-equal": ({}, "drain", {OWNED: ""}, "drain", None),
    "availability-changes": ({}, "pause", {OWNED: ""}, "active", ({}, [], "pause")),
}


@pytest.mark.parametrize(
    ("labels", "availability", "current", "found", "update"), UPDATES.values(), ids=UPDATES
)
def test_the_least_update(labels, availability, current, found, update):
    wanted = {"labels": labels, "availability": availability}
    made = node_update(wanted, {"labels": current, "availability": found})
    expected = update and dict(zip(("labels", "labels_to_remove", "availability"), update, strict=True))
    assert made == expected
    if made:  # applied, nothing is left to do
        after = {key: value for key, value in {**current, **made["labels"]}.items()
                 if key not in made["labels_to_remove"]}
        settled = {"labels": after, "availability": made["availability"] or found}
        assert node_update(wanted, settled) is None

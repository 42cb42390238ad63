# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node may leave the Swarm, and what happens then."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._departure import departure

from tests.unit.plugins.module_utils.test_membership import entry

FLEET = [entry("m1"), entry("m2"), entry("m3"), entry("w1"), entry("w2")]


def service(name, nodes, places, desired=1, mode="replicated"):
    return {"name": name, "nodes": nodes, "places": places, "desired": desired, "mode": mode}


WEB = service("web_api", ["w1", "w2"], ["m1", "m2", "m3", "w1", "w2"], 2)
DATABASE = service("web_db", ["w1"], ["w1"])
PROXY = service("ingress_proxy", ["m1", "w1"], ["m1", "w1"], 2, "global")


def problems(nodes, name, services=(), lost=False):
    return [str(problem) for problem in departure(nodes, name, list(services), lost)["problems"]]


def changed(nodes, **changes):
    return [{**node, **changes.get(node["hostname"], {})} for node in nodes]


DOWN = {"state": "down"}
AWAY = {"state": "down", "manager_reachability": "unreachable"}


def test_a_worker_is_drained_leaves_and_is_forgotten():
    found = departure(FLEET, "w1", [WEB, PROXY])
    assert found["problems"] == []
    assert [node["id"] for node in found["entries"]] == ["id-w1"]
    assert found["actions"] == [
        "drain it, so that tasks of web_api move to other nodes",
        "let it leave the Swarm",
        "remove its entry id-w1",
    ]


def test_a_manager_is_made_a_worker_in_between():
    assert departure(FLEET, "m3", [WEB])["actions"] == [
        "drain it", "make it a worker", "let it leave the Swarm", "remove its entry id-m3",
    ]  # fmt: skip


def test_a_lost_one_is_only_forgotten():
    found = departure(changed(FLEET, m3=AWAY), "m3", [DATABASE], lost=True)
    assert (found["problems"], found["actions"]) == ([], ["make it a worker", "remove its entry id-m3"])
    assert departure(changed(FLEET, w1=DOWN), "w1", [DATABASE], lost=True)["actions"] == [
        "remove its entry id-w1"
    ]


def test_a_node_that_is_not_there_is_no_problem():
    assert departure(FLEET, "w9", [DATABASE]) == {"problems": [], "entries": [], "actions": []}


@pytest.mark.parametrize(
    ("nodes", "name", "services", "lost", "words"),
    [
        (FLEET, "w1", [WEB, DATABASE], False, "(w1): found web_db, wanted another node for each"),
        (FLEET, "w1", [WEB], True, "The node is not lost (w1): found state ready, wanted down"),
        (changed(FLEET, w1=DOWN), "w1", [WEB], False, "cannot be told to leave (w1): found state down"),
        ([entry("m1"), entry("w1")], "m1", [], False, "The node is the only manager of its Swarm (m1)"),
        (changed(FLEET, m2=AWAY), "m3", [], False, "no majority (m3): found 1 of 2 reachable, wanted"),
    ],
)
def test_what_is_refused(nodes, name, services, lost, words):
    (problem,) = problems(nodes, name, services, lost)
    assert words in problem and "set " in problem


def test_what_is_fine():
    # A worker may go while a manager is away, and what is scaled to nothing needs no node.
    assert problems(changed(FLEET, m2=AWAY), "w1", [{**DATABASE, "desired": 0}]) == []
    # The lost one itself does not count among those who stay.
    assert problems(changed(FLEET, m2=AWAY), "m2", [], lost=True) == []
    # Both managers of two: the one that stays is a majority of one.
    assert problems([entry("m1"), entry("m2")], "m2") == []

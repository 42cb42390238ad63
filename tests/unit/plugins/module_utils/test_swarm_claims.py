# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims on cards: read from a Compose file, fitted to a fleet, counted with numbers."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _compose
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import kinds
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import claims, convert

A, B, C = (f"GPU-{letter * 8}-0000-0000-0000-{letter * 12}" for letter in "abc")


def node(name, *uuids, kind="GPU", memory=24564, shared=False, role="worker", **more):
    """Return a node as observe.nodes() does, with cards as the role nvidia labels them."""
    units = [
        {
            "uuid": uuid,
            "kind": kind,
            "memory_mib": memory,
            "compute": "8.6",
            "shared": shared,
            "name": "NVIDIA RTX A5000",
        }
        for uuid in uuids
    ]
    labels = kinds.labels(units, {"version": "580.95.05", "cuda_version": "13.0"})
    return {
        "id": name,
        "hostname": name,
        "role": role,
        "labels": {**labels, "gpufleet.host": name},
        "engine_labels": {},
        "state": "ready",
        "availability": "active",
        "resources": {kind: len(uuids)} if uuids and not shared else {},
        **more,
    }


FLEET = [node("n1", A, B, role="manager"), node("n2", C)]
BARE = [node("n1"), node("n2")]


def desired(**services):
    """Return what a Compose file with services of one image wants; each a mapping of further keys."""
    made = {key: {"image": "tiny:1", **service} for key, service in services.items()}
    model = _compose.load([("x", {"services": made})], {}, [], None, "/p")
    return convert.convert(model, "st")


def x_gpu(**words):
    return {"x-gpu": words}


def exclusive(replicas=1, kind=None, cards=1, **deploy):
    words = {"claim": "exclusive", "cards": cards, **({"kind": kind} if kind else {})}
    return {"x-gpu": words, "deploy": {"replicas": replicas, **deploy}}


def shared(memory=None, cards="all", **deploy):
    words = {"claim": "shared", "cards": cards, **({"memory": memory} if memory else {})}
    return {"x-gpu": words, "deploy": deploy}


def env(found, key):
    return found["services"][f"st_{key}"]["spec"]["TaskTemplate"]["ContainerSpec"].get("Env", [])


def constraints(found, key):
    return found["services"][f"st_{key}"]["spec"]["TaskTemplate"]["Placement"].get("Constraints", [])


def reserving(kind, value):
    entry = {"discrete_resource_spec": {"kind": kind, "value": value}}
    return {"deploy": {"resources": {"reservations": {"generic_resources": [entry]}}}}


# The Compose file


READ = [
    ({"gpus": [{"count": 2}]}, "exclusive 2 GPU"),
    ({"gpus": [{"count": 2}], **x_gpu(claim="exclusive", kind="H100")}, "exclusive 2 H100"),
    ({"gpus": [{"count": 2}], **x_gpu(claim="exclusive", cards=2)}, "exclusive 2 GPU"),
    (x_gpu(claim="exclusive"), "exclusive 1 GPU"),
    ({**reserving("BIG", 2), **x_gpu(claim="exclusive", kind="BIG", cards=2)}, "exclusive 2 BIG"),
    ({**reserving("GPU", 2), **x_gpu(claim="exclusive")}, "exclusive 2 GPU"),
    ({**reserving("SSD", 2), **x_gpu(claim="exclusive")}, "exclusive 1 GPU, 2 SSD"),
    (x_gpu(claim="exclusive", cards="3", kind="BIG"), "exclusive 3 BIG"),
    (x_gpu(claim="shared"), "shared all -"),
    (x_gpu(claim="shared", memory="8gb"), "shared all 8589934592"),
    (x_gpu(claim="shared", cards=[A, B], memory="512mb"), f"shared {A},{B} 536870912"),
    ({"environment": {"NVIDIA_VISIBLE_DEVICES": "all"}, **x_gpu(claim="shared")}, "shared all -"),
    ({}, ""),
]


@pytest.mark.parametrize(("service", "claim"), READ)
def test_a_claim_is_read(service, claim):
    assert claims.of(desired(a=service)["services"]["st_a"]["spec"]) == claim


def test_a_shared_claim_is_placement_and_visibility():
    found = desired(a=shared("8gb"))
    assert env(found, "a") == ["NVIDIA_VISIBLE_DEVICES=all"]
    assert constraints(found, "a") == ["node.labels.gpufleet.gpu==true"]
    assert claims.reservations(found["services"]["st_a"]["spec"]) == {}
    assert [one["path"] for one in found["translations"]] == ["services.a.x-gpu"]


WRONG = [
    (x_gpu(cards=2), "wanted claim: exclusive or shared"),
    (x_gpu(claim="both"), "both"),
    (x_gpu(claim="exclusive", cards="all"), "found all, wanted a number, or claim: shared"),
    (x_gpu(claim="exclusive", cards=[A]), "wanted a number, or claim: shared"),
    (x_gpu(claim="exclusive", memory="1gb"), "A card of one's own needs no budget"),
    (x_gpu(claim="exclusive", card=1), "Unknown key"),
    ({"gpus": [{"count": 2}], **x_gpu(claim="exclusive", cards=1)}, "found 1, and 2 in gpus"),
    ({**reserving("GPU", 2), **x_gpu(claim="exclusive", cards=1)}, "found 1, and 2 in generic_resources"),
    ({"gpus": [{"count": 2}], **x_gpu(claim="shared")}, "shares cards and wants some of its own"),
    (x_gpu(claim="shared", cards=2), "found 2, wanted all, or a list of UUIDs"),
    (x_gpu(claim="shared", cards=["GPU-12"]), "not its whole UUID"),
    (x_gpu(claim="shared", kind="H100"), "node.labels.gpufleet.gpu.kind.H100==1"),
    (
        {"environment": {"NVIDIA_VISIBLE_DEVICES": "0"}, **x_gpu(claim="shared")},
        "found all, and 0 in environment.NVIDIA_VISIBLE_DEVICES",
    ),
]


@pytest.mark.parametrize(("service", "words"), WRONG)
def test_a_claim_that_makes_no_sense_is_told_with_its_place(service, words):
    with pytest.raises(ComposeError) as error:
        desired(a=service)
    assert words in str(error.value) and "services.a" in str(error.value)


# The fleet


HIDDEN = {
    "no claim": ({}, FLEET, True),
    "no cards in the fleet": ({}, BARE, False),
    "nothing known of the nodes": ({}, None, False),
    "on a node without cards only": (
        {"deploy": {"placement": {"constraints": ["node.hostname==n3"]}}},
        [*FLEET, node("n3")],
        False,
    ),
    "says itself": ({"environment": {"NVIDIA_VISIBLE_DEVICES": "all"}}, FLEET, False),
    "unsets it itself": ({"environment": ["NVIDIA_VISIBLE_DEVICES"]}, FLEET, False),
    "an exclusive claim": (exclusive(), FLEET, False),
    "a kind made by hand": (exclusive(kind="NVIDIA-GPU"), FLEET, False),
    "another resource": (exclusive(kind="SSD"), FLEET, True),
}


@pytest.mark.parametrize(("service", "nodes", "hidden"), HIDDEN.values(), ids=HIDDEN)
def test_who_claims_no_card_sees_none(service, nodes, hidden):
    before = desired(a=service)
    untouched = copy.deepcopy(before)
    found, told = claims.fit(before, nodes)
    assert before == untouched
    assert ("NVIDIA_VISIBLE_DEVICES=void" in env(found, "a")) is hidden
    assert [one["to"] for one in told] == ["void"] * hidden
    assert (found == before) is not hidden


def test_named_cards_choose_the_node():
    found, told = claims.fit(desired(a=shared(cards=[B, A])), FLEET)
    assert constraints(found, "a") == ["node.labels.gpufleet.gpu==true", "node.labels.gpufleet.host==n1"]
    assert told[0]["path"] == "services.a.x-gpu.cards"
    with pytest.raises(FleetError, match=f"found {A}, {C}, wanted cards of one node, of: {A} on n1"):
        claims.fit(desired(a=shared(cards=[A, C])), FLEET)


# The numbers


def check(wanted, nodes=FLEET, others=None, current=None):
    found, _told = claims.fit(wanted, nodes)
    return claims.check(found, nodes, others or {}, current or {})


def other(**service):
    found = desired(b=service)["services"]["st_b"]["spec"]
    return {"other_b": {"spec": found, "running": 1}}


FITS = {
    "as many as there are": desired(a=exclusive(3)),
    "two on the node with two": desired(a=exclusive(1, cards=2)),
    "start-first with a spare one": desired(a=exclusive(2, update_config={"order": "start-first"})),
    "budgets that fill a card": desired(a=shared("12gb"), b=shared("11gb")),
    "no budget": desired(a=shared(replicas=9)),
    "budgets of different cards": desired(a=shared("20gb", [A]), b=shared("20gb", [B])),
    "replicas kept apart": desired(a=shared("20gb", replicas=2, placement={"max_replicas_per_node": 1})),
    "one on each node": desired(a=shared("20gb", mode="global")),
    "a job that ends before the next wave": desired(
        a={**exclusive(3), "deploy": {"mode": "replicated-job", "replicas": 3}},
        b={**exclusive(3), "depends_on": {"a": {"condition": "service_completed_successfully"}}},
    ),
    "none at all": desired(a=exclusive(0, kind="NONE")),
}


@pytest.mark.parametrize("wanted", FITS.values(), ids=FITS)
def test_what_fits_is_not_refused(wanted):
    assert [text for text in check(wanted) if "shares cards" not in text] == []


FAILS = {
    "too many": (
        desired(a=exclusive(4)),
        {},
        "found 4 cards asked, 3 there (asked: st_a 4; there: n1 2, n2 1)",
    ),
    "too many with others": (
        desired(a=exclusive(3)),
        other(**exclusive(1)),
        "found 4 cards asked, 3 there (asked: st_a 3, other_b 1;",
    ),
    "an unknown kind": (desired(a=exclusive(kind="H100")), {}, "services.a): found H100, wanted one of GPU"),
    "more on one node than it has": (
        desired(a=exclusive(1, cards=3)),
        {},
        "1 tasks with 3 of kind GPU each, room for 0 (n1 2, n2 1)",
    ),
    "where it may run": (
        desired(a=exclusive(2, placement={"constraints": ["node.role!=manager"]})),
        {},
        "2 tasks with 1 of kind GPU each, room for 1 (n2 1)",
    ),
    "at most one per node": (
        desired(a=exclusive(3, placement={"max_replicas_per_node": 1})),
        {},
        "3 tasks with 1 of kind GPU each, room for 2",
    ),
    "start-first": (
        desired(a=exclusive(3, update_config={"order": "start-first"})),
        {},
        "update_config.order): found start-first, 0 of 3 cards of kind GPU spare, wanted stop-first, "
        "or 1 spare",
    ),
    "start-first of a rollback": (
        desired(a=exclusive(3, rollback_config={"order": "start-first"})),
        {},
        "rollback_config.order): found start-first",
    ),
    "budgets": (
        desired(a=shared("10gb", replicas=2), b=shared("8gb")),
        {},
        "28672 MiB asked by what may run there at once (st_a: 2 x 10240 MiB, st_b: 1 x 8192 MiB), "
        "24564 MiB there",
    ),
    "a budget of others": (desired(a=shared("20gb")), other(**shared("8gb", [C])), f"({C} of n2"),
    "two problems": (
        desired(a=exclusive(4), b=shared("40gb", [A])),
        {},
        "2 claims on cards cannot be met (st)",
    ),
    "nowhere to share": (
        desired(a=shared(placement={"constraints": ["node.hostname==n9"]})),
        {},
        "found 2 nodes labelled gpufleet.gpu=true, and the constraints node.hostname==n9",
    ),
}


@pytest.mark.parametrize(("wanted", "others", "words"), FAILS.values(), ids=FAILS)
def test_what_cannot_be_is_told_with_numbers(wanted, others, words):
    with pytest.raises(FleetError) as error:
        check(wanted, others=others)
    assert words in str(error.value)


def test_nothing_is_checked_where_no_nodes_are_known():
    assert check(desired(a=exclusive(9)), nodes=None) == []


def test_the_number_that_runs_counts_where_scaling_is_left_to_others():
    wanted = desired(a={**exclusive(1), "x-replicas": "keep"})
    scaled = copy.deepcopy(wanted["services"]["st_a"])
    scaled["spec"]["Mode"]["Replicated"]["Replicas"] = 5
    with pytest.raises(FleetError, match="found 5 cards asked"):
        check(wanted, current={"st_a": scaled})


def test_nodes_that_are_away_are_a_warning():
    nodes = [FLEET[0], {**FLEET[1], "state": "down"}]
    (warning,) = check(desired(a=exclusive(3)), nodes)
    assert warning.startswith("3 cards of kind GPU are asked and 2 can be granted now") and "n2 1" in warning


def test_sharing_what_swarm_grants_is_a_warning_and_sharing_what_it_does_not_is_none():
    (warning,) = check(desired(a=shared(cards=[C])))
    begin = "st_a shares cards that Swarm may grant to another service as a whole: "
    assert warning.startswith(f"{begin}{C} of n2")
    assert check(desired(a=shared()), [node("n1", A, shared=True)]) == []


def test_free_cards_are_those_that_nobody_reserves():
    assert claims.free(FLEET, {}) == {"GPU": 3}
    nodes = [*FLEET, node("n3", "GPU-1", kind="H100"), {**node("n4", "GPU-2"), "availability": "drain"}]
    nodes[0] = {**nodes[0], "resources": {"GPU": 2, "SSD": 4}}
    assert claims.free(nodes, other(**exclusive(2))) == {"GPU": 1, "H100": 1}


def test_an_image_that_wants_a_newer_driver_is_told():
    wanted = desired(a=exclusive(), b={})
    asked = []

    def environment(image):
        asked.append(image)
        return {"NVIDIA_REQUIRE_CUDA": "cuda>=14.1"}

    problems = claims.too_old(wanted, FLEET, environment)
    assert asked == ["tiny:1"]
    assert [str(problem) for problem in problems][0].startswith(
        "The driver is too old for the image (tiny:1 on n1): found driver 580.95.05, which offers CUDA 13.0"
    )
    assert claims.too_old(wanted, FLEET, lambda image: {"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}) == []
    assert claims.too_old(wanted, FLEET, lambda image: None) == []

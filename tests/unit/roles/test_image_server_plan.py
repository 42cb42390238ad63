# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services of IMAGE-server are chosen, what is refused, and what upstream's env files become."""

from __future__ import annotations

import random

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _image_server

from tests.unit.roles.image_server_stack import CATALOGUE

LLM = {name for name, one in CATALOGUE.items() if "llm" in one.get("needs", ())}
OCR = {"ocr-clouds-preprocessor", "ocr-handler"}
LLM_OPTIONS = ("image_server_llm_api_key", "image_server_llm_url", "image_server_llm_model")
OCR_OPTIONS = (
    "image_server_azure_api_key", "image_server_freeocr_api_key", "image_server_google_vision_credentials",
)  # fmt: skip
FREE_OCR = {"ocr_service": "FREE_OCR", "ocr": dict.fromkeys(OCR_OPTIONS, True)}


def wishes(**given):
    """Return the role's options as the filter takes them, on three nodes without a card."""
    return {
        "profile": "production", "services": [], "extra_services": [], "excluded_services": [],
        "enforce_dependencies": True, "deprecated_handlers": True, "missing_keys": "refuse",
        "llm": dict.fromkeys(LLM_OPTIONS, True), "ocr_service": "", "ocr": dict.fromkeys(OCR_OPTIONS, False),
        "image_tag": "1.0", "image_tags": {}, "images": {}, "registry": "ghcr.io/shared-reality-lab",
        "environment": {}, "memory_limits": {}, "replicas": {"supercollider": 2}, "path": "",
        "website_dir": "", "website_report": False, "node": "a", "placement": {}, "nodes": ["a", "b", "c"],
        "gpu": False, "gpu_hosts": [], "gpu_claims": {}, "gpu_cards": [], "env_problems": [],
        "lacking": {}, **given,
    }  # fmt: skip


def plan(**given):
    return _image_server.plan(CATALOGUE, wishes(**given))


def chosen(**given):
    found = plan(**given)
    assert found["problems"] == []
    return set(found["services"])


# Choice


def test_the_catalogue_has_the_services_of_the_base_file():
    assert len(CATALOGUE) == 41
    sizes = {
        name: len(_image_server.in_profile(CATALOGUE, name)) for name in ("production", "test", "default")
    }
    assert sizes == {"production": 30, "test": 39, "default": 41}
    kinds = [one.get("kind", "base") for one in CATALOGUE.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "base": 2, "shared": 4, "edge": 2, "preprocessor": 17, "handler": 16,
    }  # fmt: skip
    assert {name for name, one in CATALOGUE.items() if one.get("gpu")} == {
        "espnet-tts", "espnet-tts-fr", "multilang-support", "object-detection",
        "multistage-diagram-segmentation", "semantic-segmentation", "depth-map-generator",
    }  # fmt: skip


def test_names_of_the_catalogue_exist():
    named = {
        name
        for one in CATALOGUE.values()
        for key in ("required", "optional", "uses")
        for name in one.get(key, ())
    }
    assert named <= set(CATALOGUE)


def test_production_is_exactly_the_services_of_the_profile():
    assert chosen(profile="production") == set(_image_server.in_profile(CATALOGUE, "production"))
    assert plan(profile="production")["added"] == {}


def test_the_other_profiles_are_closed_over_what_they_require():
    assert chosen(profile="default") == set(CATALOGUE)
    assert plan(profile="test")["added"] == {
        "object-detection": "photo-audio-handler",
        "object-detection-llm": "hello-haptics-handler",
    }
    assert len(chosen(profile="test", enforce_dependencies=False)) == 39


def test_services_besides_a_profile_and_without_some():
    names = chosen(extra_services=["motd-handler"], excluded_services=["tat", "monarch-link-app"])
    assert len(names) == 29 and "motd-handler" in names and "tat" not in names


def test_deprecated_handlers_may_be_left_out():
    gone = chosen() - chosen(deprecated_handlers=False)
    assert gone == {"photo-audio-haptics-handler"}
    # Whoever names one wants it.
    assert "hello-haptics-handler" in chosen(
        deprecated_handlers=False, extra_services=["hello-haptics-handler"]
    )


def test_any_choice_is_closed():
    source = random.Random(41)
    for _number in range(300):
        services = source.sample(sorted(CATALOGUE), source.randint(1, 12))
        names = chosen(services=services, **FREE_OCR)
        assert {*services, "orchestrator", "memcached"} <= names
        for name in names:
            one = CATALOGUE[name]
            assert {*one.get("required", ()), *one.get("uses", ())} <= names, (services, name)


def test_nothing_superfluous_is_added():
    assert chosen(services=["motd-handler"]) == {"orchestrator", "memcached", "motd-handler"}
    assert chosen(services=["autour-handler"]) == {
        "orchestrator", "memcached", "autour-handler", "autour-preprocessor", "espnet-tts", "espnet-tts-fr",
        "multilang-support", "supercollider",
    }  # fmt: skip


def test_services_without_their_model_can_be_left_out_with_what_requires_them():
    found = plan(llm=dict.fromkeys(LLM_OPTIONS, False), missing_keys="leave_out")
    assert found["problems"] == []
    assert set(found["left_out"]) == {
        "content-categoriser", "graphic-caption", "text-followup", "multistage-diagram-segmentation",
        "photo-audio-handler", "photo-tactile-svg-handler", "multistage-diagram-tactile-svg-handler",
        "text-followup-handler",
    }  # fmt: skip
    assert found["left_out"]["photo-audio-handler"] == "it requires graphic-caption"
    assert not set(found["services"]) & LLM
    # An optional key blocks nobody.
    assert {"autour-preprocessor", "openstreetmap"} <= set(found["services"])


# Refused

REFUSED = {
    "an unknown service": ({"services": ["motd"]}, ["wanted motd-handler", "image_server_services"]),
    "an unknown extra": ({"extra_services": ["nothing-like-it"]}, ["image_server_extra_services"]),
    "an unknown exclusion": (
        {"excluded_services": ["tatt"]}, ["wanted tat", "image_server_excluded_services"],
    ),
    "an unknown profile": ({"profile": "prod"}, ["production, test, default", "image_server_profile"]),
    "an unknown name of a limit": ({"memory_limits": {"x": 1}}, ["image_server_memory_limits"]),
    "an unknown name of a tag": ({"image_tags": {"x": "1"}}, ["image_server_image_tags"]),
    "an unknown name of an image": ({"images": {"x": "y"}}, ["image_server_images"]),
    "an unknown name of variables": ({"environment": {"x": {}}}, ["image_server_environment"]),
    "an unknown name of a place": ({"placement": {"x": "a"}}, ["image_server_placement"]),
    "an unknown name of a number": ({"replicas": {"x": 1}}, ["image_server_replicas"]),
    "an unknown name of a claim": ({"gpu_claims": {"x": {}}}, ["image_server_gpu_claims"]),
    "variables of who takes none": ({"environment": {"goaccess": {}}}, ["image_server_environment"]),
    "a number in words": (
        {"replicas": {"supercollider": "two"}}, ["(supercollider): found two", "image_server_replicas"],
    ),
    "nobody to make sounds": ({"replicas": {"supercollider": 0}}, ["found 0", "image_server_replicas"]),
    "a limit with a unit": ({"memory_limits": {"tat": "1g"}}, ["found 1g", "image_server_memory_limits"]),
    "variables in a list": ({"environment": {"tat": ["A=1"]}}, ["found list", "image_server_environment"]),
    "a claim in a word": (
        {"gpu_claims": {"espnet-tts": "none"}}, ["wanted a dictionary", "image_server_gpu_claims"],
    ),
    "a card by its number": (
        {"gpu": True, "gpu_hosts": ["a"], "gpu_cards": [1]}, ["found 1", "set image_server_gpu_cards"],
    ),
    "a card of a claim by its number": (
        {"gpu": True, "gpu_hosts": ["a"], "gpu_claims": {"espnet-tts": {"cards": ["0"]}}},
        ["nvidia-smi -L", "set image_server_gpu_claims.espnet-tts.cards"],
    ),
    "the heart excluded": ({"excluded_services": ["memcached"]}, ["memcached", "excluded"]),
    "something required excluded": (
        {"excluded_services": ["object-grouping"]},
        ["photo-audio-handler requires (object-grouping)", "image_server_excluded_services",
         "image_server_enforce_dependencies"],
    ),
    "no key of the model": (
        {"llm": {"image_server_llm_api_key": False, "image_server_llm_url": True,
                 "image_server_llm_model": True}},
        ["found no image_server_llm_api_key", "text-followup", "image_server_missing_keys: leave_out"],
    ),
    "no model at all": (
        {"llm": dict.fromkeys(LLM_OPTIONS, False)},
        ["image_server_llm_api_key, image_server_llm_model, image_server_llm_url"],
    ),
    "OCR without its key": (
        {"services": ["ocr-handler"], "ocr_service": "AZURE_READ"}, ["image_server_azure_api_key"],
    ),
    "OCR without its file": (
        {"services": ["ocr-handler"], "ocr_service": "GOOGLE_VISION"},
        ["image_server_google_vision_credentials"],
    ),
    "OCR by nobody": (
        {"extra_services": ["ocr-handler"]}, ["by name", "AZURE_OCR, ", "set image_server_ocr_service"],
    ),
    "a file that is not there": (
        {"lacking": {"image_server_env_files": ["/nowhere/.env"]}},
        ["found /nowhere/.env", "set image_server_env_files"],
    ),
    "another OCR": ({"ocr_service": "READ_AZURE"}, ["AZURE_READ", "image_server_ocr_service"]),
    "no tag": ({"image_tag": ""}, ["latest (production ready)", "image_server_image_tag"]),
    "no tag that it can be": ({"image_tag": "a b"}, ["found a b", "image_server_image_tag"]),
    "no tag of one": ({"image_tags": {"tat": "-1"}}, ["image_server_image_tags.tat"]),
    "two of what is called once": ({"replicas": {"object-detection": 2}}, ["image_server_replicas"]),
    "a node of nobody": ({"node": "z"}, ["found z, wanted one of a, b, c", "image_server_node"]),
    "a handler elsewhere": (
        {"placement": {"svg-od-handler": "b"}}, ["own node only (svg-od-handler)", "image_server_placement"],
    ),
    "sounds elsewhere": ({"placement": {"supercollider": "b"}}, ["share files", "image_server_placement"]),
    "files anywhere": ({"placement": {"monarch-link-app": "any"}}, ["image_server_placement"]),
    "a place of nobody": ({"placement": {"tat": "z"}}, ["any, or one of a, b, c"]),
    "cards without any": ({"gpu": True}, ["no host in group gpu", "set image_server_gpu."]),
    "cards on another node": ({"gpu": True, "gpu_hosts": ["b"]}, ["(espnet-tts): found a, wanted one of b"]),
    "a claim without a card": (
        {"gpu_claims": {"espnet-tts": {"claim": "exclusive"}}},
        ["no host has cards", "image_server_gpu_claims"],
    ),
    "a card for who cannot": (
        {"gpu": True, "gpu_hosts": ["a"], "gpu_claims": {"tat": {"claim": "shared"}}},
        ["cannot use a card (tat)"],
    ),
    "a claim of another kind": (
        {"gpu_claims": {"espnet-tts": {"claim": "all"}}}, ["none, shared, exclusive"],
    ),
    "a claim with another key": ({"gpu_claims": {"espnet-tts": {"card": 1}}}, ["found card: 1"]),
    "named cards unused": ({"gpu_cards": ["GPU-1"]}, ["image_server_gpu_cards"]),
    "a report of nothing": ({"website_report": True}, ["image_server_website_dir"]),
    "no path": ({"path": "image/"}, ["found image/", "image_server_path"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_the_option_to_set(case):
    given, words = REFUSED[case]
    told = " ".join(plan(**given)["problems"])
    assert [word for word in words if word not in told] == [], told


def test_all_problems_are_told_at_once():
    assert len(plan(image_tag="", node="z", ocr_service="x", path="x")["problems"]) == 4


def test_a_profile_may_have_ocr_that_nobody_does():
    assert chosen(profile="default") >= OCR
    assert chosen(services=[*OCR], **FREE_OCR) >= OCR


# Cards


def test_without_cards_nothing_claims_one():
    assert {one["gpu"] for one in plan()["services"].values()} == {None}


def test_with_cards_those_that_can_share_them():
    found = plan(profile="default", gpu=True, gpu_hosts=["a"])["services"]
    assert {name for name, one in found.items() if one["gpu"]} == {
        name for name, one in CATALOGUE.items() if one.get("gpu")
    }
    assert found["object-detection"]["gpu"] == {"claim": "shared", "cards": "all", "memory": "768m"}


def test_the_budgets_fit_the_card_that_the_maintainers_ask_for():
    # A card sold with 8 GB may have some MiB less.
    assert sum(one.get("gpu", 0) for one in CATALOGUE.values()) <= 8 * 1024 - 256


def test_single_services_claim_otherwise():
    claims = {
        "espnet-tts": {"claim": "none"},
        "semantic-segmentation": {"claim": "exclusive", "kind": "BIG"},
        "object-detection": {"memory": "2gb", "cards": ["GPU-2"]},
    }
    found = plan(gpu=True, gpu_hosts=["a"], gpu_cards=["GPU-1"], gpu_claims=claims)["services"]
    assert found["espnet-tts"]["gpu"] is None
    assert found["semantic-segmentation"]["gpu"] == {"claim": "exclusive", "cards": 1, "kind": "BIG"}
    assert found["object-detection"]["gpu"] == {"claim": "shared", "cards": ["GPU-2"], "memory": "2gb"}
    assert found["espnet-tts-fr"]["gpu"]["cards"] == ["GPU-1"]


def test_what_is_looked_for_has_the_same_constraints():
    for given in ({}, {"gpu": True, "gpu_hosts": ["a"]}):
        found = plan(profile="default", **given)["services"]
        bound = {
            tuple(one["constraints"])
            for name, one in found.items()
            if name == "orchestrator" or CATALOGUE[name].get("kind") in ("preprocessor", "handler")
        }
        assert len(bound) == 1


# Upstream's env files


def test_the_env_files_of_upstream_are_read():
    first = "# comment\nCOMPOSE_PROFILES = production\nREGISTRY_TAG=latest\nDOCKER_GID = 999\nLLM_API_KEY=\n"
    second = "export LLM_API_KEY = 'sk-1'\nLLM_URL=\"https://llm.test/v1\"\nSLACK_WEBHOOK_URL=x\n"
    found = _image_server.read_env([".env", "llm.env"], [first, second])
    assert found["problems"] == []
    assert found["values"] == {
        "COMPOSE_PROFILES": "production", "REGISTRY_TAG": "latest", "LLM_API_KEY": "sk-1",
        "LLM_URL": "https://llm.test/v1",
    }  # fmt: skip
    assert set(found["ignored"]) == {"DOCKER_GID", "SLACK_WEBHOOK_URL"}


def test_what_is_wrong_in_an_env_file_is_told_without_its_values():
    text = "LLM_API_KEY=sk-1\nLLM_KEY=sk-secret\nsk-secret\n"
    told = " ".join(_image_server.read_env(["config/llm.env"], [text])["problems"])
    assert "config/llm.env, line 2" in told and "found LLM_KEY" in told and "line 3" in told
    assert "sk-" not in told

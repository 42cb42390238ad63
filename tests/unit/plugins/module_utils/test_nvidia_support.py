# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which branch runs which card, and how the toolkit's configuration is edited."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import (
    branches,
    parse,
    requirement,
    toolkit,
)

CAPTURES = Path(__file__).resolve().parents[2] / "fixtures" / "nvidia"
ROOT = Path(__file__).resolve().parents[4]
GRANTS = ["DOCKER_RESOURCE_GPU"]


@pytest.mark.parametrize(
    ("compute", "device", "expected"),
    [
        ("8.6", "2231", "Ampere"),
        (None, "2231", "Ampere"),  # RTX A5000
        (None, "20b2", "Ampere"),  # A100
        (None, "2330", "Hopper"),  # H100
        (None, "27b8", "Ada"),  # L4
        (None, "1eb8", "Turing"),  # T4
        (None, "1db6", "Volta"),  # V100
        (None, "1b06", "Pascal"),  # GTX 1080 Ti
        (None, "15f8", "Pascal"),  # P100
        (None, "17f0", "Maxwell"),  # M6000
        (None, "2b85", "Blackwell"),  # RTX 5090
        ("12.0", None, "Blackwell"),
        (None, "0640", None),
        (None, None, None),
    ],
)
def test_the_generation_of_a_card(compute, device, expected):
    assert branches.generation(compute, device) == expected


@pytest.mark.parametrize(
    ("branch", "modules", "generation", "because"),
    [
        ("580", "proprietary", "Pascal", None),
        ("580", "open", "Pascal", "open kernel modules begin with Turing"),
        ("595", "proprietary", "Volta", "580 is the last branch"),
        ("595", "open", "Turing", None),
        ("535", "open", "Blackwell", "570 is the first branch"),
        ("580", "proprietary", "Blackwell", "open kernel modules only"),
        ("580", "open", "Kepler", "470 is the last branch"),
        ("580", "open", None, None),
    ],
)
def test_what_a_branch_does_not_run(branch, modules, generation, because):
    found = branches.unsupported(branch, modules, generation)
    assert (found is None) if because is None else (because in found)


@pytest.mark.parametrize(
    ("branch", "today", "expected"),
    [
        ("580", "2026-11", None),
        ("535", "2026-11", "2026-06"),
        ("535", "2026-06", None),
        ("999", "2026-11", None),
    ],
)
def test_branches_end(branch, today, expected):
    assert branches.ended(branch, today) == expected


def test_the_table_of_the_docs_is_the_one_of_the_code():
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    for number, branch in branches.BRANCHES.items():
        assert f"| {number} | {branch.kind} | {branch.ends} | {branch.cuda} |" in page


@pytest.mark.parametrize(
    ("version", "mode", "deaf"),
    [
        ("1.17.8", "auto", False),
        ("1.18.0", "auto", True),
        ("1.18.1", "auto", True),
        ("1.18.2", "auto", True),
        ("1.18.1", "legacy", False),
        ("1.19.0-rc.2", "auto", False),
        ("1.19.1", "auto", False),
        (None, "auto", False),
    ],
)
def test_which_releases_ignore_grants(version, mode, deaf):
    assert toolkit.ignores_grants(version, mode) is deaf
    assert toolkit.right_mode(version, mode) == ("legacy" if deaf else mode)


@pytest.mark.parametrize("name", ["config_1.20.toml", "config_1.13.toml"])
def test_an_edit_changes_what_it_has_to_and_can_be_taken_back(name):
    text = (CAPTURES / name).read_text(encoding="utf-8")
    edited = toolkit.edited(text, GRANTS, "legacy")
    found = parse.parse_toolkit_config(edited)
    assert (found["swarm_resource"], found["mode"]) == (GRANTS, "legacy")
    assert toolkit.NOTE in edited
    changed = set(edited.splitlines()) ^ set(text.splitlines())
    assert changed == {
        '#swarm-resource = "DOCKER_RESOURCE_GPU"',
        'swarm-resource = "DOCKER_RESOURCE_GPU"',
        'mode = "auto"',
        'mode = "legacy"',
        toolkit.NOTE,
    }
    assert toolkit.edited(edited, GRANTS, "legacy") == edited
    assert toolkit.edited(edited, [], "auto") == text


def test_the_workaround_goes_after_an_upgrade():
    text = (CAPTURES / "config_1.20.toml").read_text(encoding="utf-8")
    edited = toolkit.edited(text, GRANTS, toolkit.right_mode("1.18.1"))
    upgraded = toolkit.edited(edited, GRANTS, toolkit.right_mode("1.19.1"))
    assert upgraded == toolkit.edited(text, GRANTS, "auto")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "disable-require = false\n",
        '[nvidia-container-runtime]\nlog-level = "info"\n',
        'swarm-resource = "OTHER"\n[nvidia-container-runtime]\n    mode = "cdi"\n',
        '#swarm-resource = "A"\nswarm-resource = "B"\n',
    ],
    ids=["missing", "empty", "no tables", "no mode", "other values", "comment and key"],
)
def test_an_edit_of_any_file_says_what_is_wanted(text):
    found = parse.parse_toolkit_config(
        toolkit.edited(text, ["DOCKER_RESOURCE_A", "DOCKER_RESOURCE_B"], "auto")
    )
    assert (found["swarm_resource"], found["mode"]) == (["DOCKER_RESOURCE_A", "DOCKER_RESOURCE_B"], "auto")


def test_a_file_that_says_it_keeps_its_bytes():
    text = '  swarm-resource = "DOCKER_RESOURCE_GPU"\r\n[nvidia-container-runtime]\nmode = "auto"'
    assert toolkit.edited(text.replace("\r", ""), GRANTS, "auto") == text.replace("\r", "")


def test_a_file_that_is_no_toml_is_left_alone():
    with pytest.raises(FleetError, match="no TOML"):
        toolkit.edited("disable-require = falsesudo\n", GRANTS, "auto")


FACTS = {"cuda": "12.4", "driver": "550.54.15", "arch": "8.6", "brand": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuda>=12.4", True),
        ("cuda>=12.5", False),
        ("cuda>=12.6 brand=tesla,driver>=535,driver<536", False),
        ("cuda>=12.6 driver>=550,driver<551", True),
        ("cuda>=12.6 brand=tesla,driver>=550,driver<551", None),
        ("cuda>=9.0 arch>=7.0", True),
        ("arch>=9.0", False),
        ("", None),
        ("vulkan>=1", None),
    ],
)
def test_what_an_image_requires(text, expected):
    assert requirement.met(text, FACTS) is expected


def test_a_driver_that_is_too_old_for_an_image():
    environment = {"NVIDIA_REQUIRE_CUDA": "cuda>=13.0 brand=tesla,driver>=535,driver<536"}
    found = requirement.verdict("vllm/vllm-openai:v0.11", environment, "550.54.15", "12.4")
    assert str(found) == (
        "The driver is too old for the image (vllm/vllm-openai:v0.11): found driver 550.54.15, which offers "
        "CUDA 12.4, wanted CUDA 13.0, set nvidia_driver: install with a newer nvidia_driver_branch, or an "
        "older tag of the image."
    )
    assert requirement.verdict("x", environment, "580.95.05", "13.0") is None
    assert (
        requirement.verdict("x", {**environment, "NVIDIA_DISABLE_REQUIRE": "true"}, "550.54.15", "12.4")
        is None
    )
    assert requirement.verdict("x", {}, "550.54.15", "12.4") is None

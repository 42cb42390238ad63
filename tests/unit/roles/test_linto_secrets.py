# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What LinTO's role says of its secrets is what its page says, and leads to options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/vars/secrets.yml"))


def load(role):
    """Return the role's variables about secrets, not evaluated."""
    path = ROOT / "roles" / role / "vars" / "secrets.yml"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name.removeprefix(f"_{role}_"): value for name, value in found.items()}


def declared():
    """Return (service without its stack, variable, secret) of all declarations, with both languages."""
    names = ["stt-french-whisper-v3", "stt-english-whisper-v3"]
    templar = Templar(DataLoader(), {"_linto_transcription": [{"name": name} for name in names]})
    for entry in load("linto")["declared_secrets"]:
        services = entry["services"]
        if isinstance(services, str):
            services = templar.template(trust_as_template(services))
        for service in services:
            yield service.removeprefix("linto_"), entry["variable"], entry["secret"].removeprefix("linto/")


def test_the_declared_variables_are_the_documented_ones():
    page = (ROOT / "docs" / "systems" / "linto.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| `([A-Z_]+)` \| `(\w+)` \|$", page, re.MULTILINE)
    documented = {
        (service, variable, secret)
        for services, variable, secret in rows
        for service in re.findall(r"`([^`]+)`", services)
        if not secret.startswith("linto_")  # what the user brings lies in no file of the fleet
    }
    assert documented and documented <= set(declared())
    # The others belong to features that a sentence below the table names.
    rest = {service for service, _variable, _secret in set(declared()) - documented}
    assert rest == {"stt-diarization-pyannote", "stt-diarization-pyannote-qdrant", "celery_flower_monitor"}


@pytest.mark.parametrize("role", ROLES)
def test_variables_of_other_installations_lead_to_options_that_exist(role):
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    specs = yaml.safe_load(path.read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    targets = load(role)["env_options"].values()
    names = {target if isinstance(target, str) else target["option"] for target in targets}
    assert names - set(options) == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_variable_of_another_installation_has_two_meanings(role):
    found = load(role)
    mappings = [set(found[name]) for name in ("env_secrets", "env_options", "env_unused")]
    assert sum(map(len, mappings)) == len(set().union(*mappings))
    assert set(found.get("env_published", {})) <= set(found["env_secrets"])


@pytest.mark.parametrize("role", ROLES)
def test_a_copy_in_data_is_changed_or_its_reason_is_told(role):
    for name, place in load(role)["stored_secrets"].items():
        if place["kind"] == "kept":
            assert place["reason"].strip().endswith((".", name)), name
        else:
            assert (ROOT / "roles" / "stack" / "tasks" / f"rotate_{place['kind']}.yml").is_file()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the images of IMAGE-server finds services by the rules of the orchestrator."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "lab" / "dockerfiles" / "image-server" / "server.py"
PREFIX = "ca.mcgill.a11y.image."


@pytest.fixture
def server(monkeypatch):
    spec = importlib.util.spec_from_file_location("image_server_stand_in", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("HOSTNAME", "abc")
    return module


def container(identity, networks, state="running", **labels):
    named = {f"{PREFIX}{key}": value for key, value in labels.items() if key != "name"}
    return {
        "Id": identity,
        "State": state,
        "Labels": {"com.docker.compose.service": labels.get("name"), **named},
        "NetworkSettings": {"Networks": {name: {"NetworkID": name} for name in networks}},
    }


LISTED = [
    container("abcdef", ["image", "public"]),
    container("1", ["image"], name="late", preprocessor="5", port="5000"),
    container("2", ["image"], name="early", preprocessor="1"),
    container("3", ["elsewhere"], name="stranger", preprocessor="1"),
    container("4", ["image"], state="exited", name="gone", preprocessor="1"),
    container("5", ["image"], name="chat", preprocessor="1", route="followup"),
    container("6", ["image"], name="text", handler="enable"),
    container("7", ["image"], name="off", handler="disable"),
]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("preprocessor", "default"), [(1, "early", 80), (5, "late", 5000)]),
        (("preprocessor", "default", True), [(1, "early", 80), (1, "stranger", 80), (5, "late", 5000)]),
        (("preprocessor", "followup"), [(1, "chat", 80)]),
        (("handler", "default"), [(0, "text", 80)]),
    ],
)
def test_what_is_found(server, monkeypatch, words, names):
    monkeypatch.setattr(server, "containers", lambda: LISTED)
    assert server.services(*words) == names


def test_nothing_is_found_by_an_orchestrator_with_another_name(server, monkeypatch):
    monkeypatch.setattr(server, "containers", lambda: LISTED)
    monkeypatch.setenv("HOSTNAME", "image-orchestrator")
    assert server.services("handler", "default") == []


@pytest.mark.parametrize(
    ("storing", "uuid", "status"),
    [
        ("OFF", "5f0c1e8a-3d2b-4c1d-9e8f-0123456789ab", 503),
        ("ON", "no-uuid", 400),
        ("ON", "5f0c1e8a-3d2b-4c1d-9e8f-0123456789ab", 401),
    ],
)
def test_who_is_authenticated(server, monkeypatch, tmp_path, storing, uuid, status):
    monkeypatch.setenv("STORE_IMAGE_DATA", storing)
    monkeypatch.setattr(server, "LOG", tmp_path)
    assert server.authenticate(uuid, "0") == status

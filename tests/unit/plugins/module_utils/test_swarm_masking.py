# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is told, and each reaches its place."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import masking, wanted

from tests.unit.stacks import stack


def test_resolve_fills_every_depth():
    value = {"a": ["x\x02ONE\x03y", {"b": "\x02TWO\x03"}], "n": 1}
    assert masking.resolve(value, {"ONE": "1", "TWO": "2"}) == {"a": ["x1y", {"b": "2"}], "n": 1}


def test_content_of_a_secret_is_one_marker():
    assert masking.resolve({"Data": "\x02secret:k\x03"}, {"secret:k": "YQ=="}) == {"Data": "YQ=="}


def test_a_missing_value_is_told_by_name():
    with pytest.raises(
        FleetError, match="A secret has no value .NAME.: wanted a value, set secret_environment."
    ):
        masking.resolve("\x02NAME\x03", {})


@pytest.mark.parametrize(
    ("path", "value", "secret"),
    [
        ("environment.DB_PASSWORD", "x", True),
        ("environment.API_KEY", "x", True),
        ("environment.DB_PASSWORD_FILE", "/run/secrets/x", False),
        ("environment.COLOR", "red", False),
        ("environment.URL", "postgres://me:pw@db/x", True),
        ("environment.URL", "postgres://db:5432/x", False),
        ("command", ["--url", "http://u:p@h"], True),
        ("image", "registry:5000/a:1", False),
    ],
)
def test_looks_secret(path, value, secret):
    assert masking.looks_secret(path, value) is secret


def test_fingerprints_compare_and_differ_between_stacks():
    one, other = masking.Mask("one"), masking.Mask("other")
    assert one.fingerprint("a") == one.fingerprint("a") != one.fingerprint("b")
    assert one.fingerprint("a") != other.fingerprint("a")
    assert len(one.fingerprint("a")) == 8


def test_secret_fields_are_remembered_in_a_label():
    desired = stack({"a": {"env": ["P=\x02PW\x03", "Q=1"]}, "b": {}})
    want, marked, warnings = wanted.prepare(desired, {"PW": "hidden"}, (1, 45))
    assert want["services"]["st_a"]["spec"]["Labels"][masking.FIELDS_LABEL] == "environment.P"
    assert masking.FIELDS_LABEL not in want["services"]["st_b"]["spec"]["Labels"]
    assert want["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["P=hidden", "Q=1"]
    assert masking.has_marker(marked) and not masking.has_marker(want) and warnings == []
    assert (
        masking.has_marker(desired)
        and masking.FIELDS_LABEL not in desired["services"]["st_a"]["spec"]["Labels"]
    )


def test_content_is_hidden_from_ansible_too():
    hidden = set()
    masking.hide(hidden, {"secret:k": base64.b64encode(b"deep\n").decode(), "A": "a", "secret:bin": "//8="})
    assert hidden == {"deep"}


@pytest.mark.parametrize(("api", "kept"), [((1, 41), False), ((1, 44), True)])
def test_start_interval_needs_its_api(api, kept):
    desired = stack({"a": {}})
    desired["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]["Healthcheck"] = {
        "StartInterval": 1,
        "Retries": 1,
    }
    want, _marked, warnings = wanted.prepare(desired, {}, api)
    health = want["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]["Healthcheck"]
    assert ("StartInterval" in health, bool(warnings)) == (kept, not kept)


def test_subpath_is_never_dropped_silently():
    desired = stack({"a": {}})
    container = desired["services"]["st_a"]["spec"]["TaskTemplate"]["ContainerSpec"]
    container["Mounts"] = [{"Type": "volume", "Target": "/t", "VolumeOptions": {"Subpath": "p"}}]
    with pytest.raises(FleetError, match="st_a, /t.: found API 1.41, wanted Engine 26"):
        wanted.prepare(desired, {}, (1, 41))
    wanted.prepare(desired, {}, (1, 45))

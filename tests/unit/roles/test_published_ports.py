# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports the stacks of all roles publish: those of the ingress, and what a user asks for by name."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("ansible", reason="Ansible is not installed")

from tests.unit.roles import crowd_recital_stack, image_server_stack, test_discover_api, test_linto  # noqa: E402
from tests.unit.roles.rendered import ROLES, networks  # noqa: E402

# What the lines of Compose templates publish, by role: the ingress with its defaults, LinTO with its live
# sessions, crowd-recital when asked to.
PUBLISHED = {
    "ingress": ["ingress_http_port", "ingress_https_port"],
    "linto": ["linto_rtmp_port", "linto_srt_port"],
    "crowd_recital": ["crowd_recital_published_port"],
}
SYSTEMS = ("linto", "image_server", "discover_api", "crowd_recital")


def stack_files():
    """Return {role: text of its Compose template}."""
    found = {}
    for path in sorted(ROLES.glob("*/templates/*.yml.j2")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^services:", text, re.MULTILINE):
            found[path.parts[-3]] = found.get(path.parts[-3], "") + text
    return found


def test_no_stack_file_publishes_anything_else():
    published = {
        role: re.findall(r"published: \{\{ (\w+) \}\}", text) for role, text in stack_files().items()
    }
    assert {*SYSTEMS, "ingress"} == set(published)
    assert {role: found for role, found in published.items() if found} == PUBLISHED
    for role, text in stack_files().items():
        assert text.count("published:") == len(published[role])
        # One list in a role that has one, and nobody on the host's own network, where all ports are open.
        assert text.count("ports:") == (role in PUBLISHED), role
        assert not re.search(r"network_mode|networks: *\[?host|name: host\b", text), role


def services(role, tmp_path):
    """Return {service: ServiceSpec} of a system with its defaults, and what it cannot do without."""
    if role == "linto":
        return test_linto.services(test_linto.linto(test_linto.CARDS))
    if role == "image_server":
        return image_server_stack.Rendered().services
    if role == "discover_api":
        return {"api": test_discover_api.Role().spec()}
    return crowd_recital_stack.Rendered(tmp_path).services


# A system with its defaults has these ports, declared by its options linto_rtmp_port and linto_srt_port.
DEFAULTS = {"linto": {"session-transcriber": [(1935, "tcp"), (8889, "udp")]}}


@pytest.mark.parametrize("role", SYSTEMS)
def test_a_system_with_its_defaults_publishes_what_was_declared(role, tmp_path):
    published = {}
    for name, spec in services(role, tmp_path).items():
        assert "host" not in networks(spec)
        for port in spec["EndpointSpec"].get("Ports") or []:
            # By the routing mesh every node would listen.
            assert port["PublishMode"] == "host"
            published.setdefault(name, []).append((port["PublishedPort"], port["Protocol"]))
    assert published == DEFAULTS.get(role, {})


def test_linto_without_live_sessions_publishes_nothing():
    features = [name for name in test_linto.FEATURES if name != "live"]
    found = test_linto.services(test_linto.linto(test_linto.CARDS, linto_features=features))
    assert len(found) > 10 and not any(spec["EndpointSpec"].get("Ports") for spec in found.values())

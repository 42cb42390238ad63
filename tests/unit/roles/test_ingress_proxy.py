# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the proxy before the Engine's socket lets through, by the expression in its own configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).parents[3] / "roles/ingress/files/haproxy.cfg"


def rules():
    text = CONFIGURATION.read_text()
    methods = re.search(r"^\s*acl reads method (.+)$", text, re.MULTILINE).group(1).split()
    paths = re.search(r"^\s*acl about_swarm path -m reg (\S+)$", text, re.MULTILINE).group(1)
    return methods, re.compile(paths)


def test_everything_else_is_denied():
    assert "http-request deny deny_status 403 unless reads about_swarm" in CONFIGURATION.read_text()
    assert rules()[0] == ["GET", "HEAD"]


@pytest.mark.parametrize("version", ["", "/v1.41", "/v1.45"])
@pytest.mark.parametrize(
    ("path", "open_to_traefik"),
    [
        ("/_ping", True),
        ("/version", True),
        ("/info", True),
        ("/events", True),
        ("/services", True),
        ("/services/s2xx8uv54s", True),
        ("/services/ingress_traefik", True),
        ("/tasks", True),
        ("/networks/fleet_public", True),
        ("/nodes", True),
        ("/services/x/logs", False),
        ("/tasks/x/logs", False),
        ("/services/..", False),
        ("/services/../secrets", False),
        ("/services/..%2fsecrets", False),
        ("/services/", False),
        ("/servicesx", False),
        ("/info/x", False),
        ("/containers/json", False),
        ("/images/json", False),
        ("/secrets", False),
        ("/configs", False),
        ("/swarm", False),
        ("/swarm/unlockkey", False),
        ("/volumes", False),
        ("/exec/x/json", False),
        ("/", False),
        ("//containers/json", False),
    ],
)
def test_paths(version, path, open_to_traefik):
    assert bool(rules()[1].search(version + path)) is open_to_traefik

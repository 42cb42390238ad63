# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the stack of the role image_server as Ansible does, and takes it the way the module stack takes."""

from __future__ import annotations

from tests.unit.roles import rendered
from tests.unit.roles.rendered import constraints, environment

__all__ = ["CATALOGUE", "KEYS", "ROLE", "Rendered", "constraints", "environment", "labels"]

KEYS = {"image_server_llm_api_key": "sk-secret", "image_server_llm_url": "https://llm.test/v1",
        "image_server_llm_model": "some-model"}  # fmt: skip
CHOSEN = {"image_server_image_tag": "2026-05-01", **KEYS}
ROLE = rendered.ROLES / "image_server"
CATALOGUE = rendered.variables("image_server", "vars")["_image_server_catalogue"]


class Rendered(rendered.Rendered):
    """The role with some options on some fleet."""

    def __init__(self, options=None, groups=None):
        super().__init__(
            "image_server", {**CHOSEN, **(options or {})}, {"all": ["manager1"], **(groups or {})}
        )
        self.role_defaults = rendered.variables("image_server", "defaults")

    @property
    def plan(self):
        return self.value("__image_server_plan")

    def secrets(self):
        return {name: str(value) for name, value in self.value("_image_server_secret_environment").items()}


def labels(spec):
    """Return the labels of a service's containers."""
    return spec["TaskTemplate"]["ContainerSpec"]["Labels"]

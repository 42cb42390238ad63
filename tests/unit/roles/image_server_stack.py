# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the stack of the role image_server as Ansible does, and takes it the way the module stack takes."""

from __future__ import annotations

from pathlib import Path

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.gpufleet.swarm.plugins.module_utils import _compose
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import convert

ROLE = Path(__file__).resolve().parents[3] / "roles" / "image_server"
KEYS = {"image_server_llm_api_key": "sk-secret", "image_server_llm_url": "https://llm.test/v1",
        "image_server_llm_model": "some-model"}  # fmt: skip
CHOSEN = {"image_server_image_tag": "2026-05-01", **KEYS}
FLEET = {
    "fleet_domain": "lab.test",
    "fleet_credentials_dir": "/nowhere/credentials",
    "inventory_hostname": "manager1",
}
GROUPS = {"managers": ["manager1"], "workers": ["worker1", "worker2"], "gpu": [], "all": ["manager1"]}

_LOADER = DataLoader()


def read(name):
    """Return a file of variables of the role, whose templates are evaluated."""
    return _LOADER.load_from_file(str(ROLE / name / "main.yml"), cache="all", trusted_as_template=True)


CATALOGUE = read("vars")["_image_server_catalogue"]


class Rendered:
    """The role with some options on some fleet."""

    def __init__(self, options=None, groups=None):
        self.role_defaults = read("defaults")
        self.variables = {
            **self.role_defaults,
            **FLEET,
            "groups": {**GROUPS, **(groups or {})},
            "ansible_search_path": [str(ROLE)],
            **CHOSEN,
            **(options or {}),
            **read("vars"),
        }
        self.templar = Templar(loader=_LOADER, variables=self.variables)

    def value(self, name):
        """Return a variable, evaluated."""
        return self.templar.template(trust_as_template("{{ " + name + " }}"))

    @property
    def plan(self):
        return self.value("__image_server_plan")

    def text(self):
        """Return the Compose file."""
        lookup = "{{ lookup('ansible.builtin.template', 'image_server.yml.j2') }}"
        return self.templar.template(trust_as_template(lookup))

    def desired(self):
        """Return what the Swarm is asked for."""
        secrets = {name: str(value) for name, value in self.value("_image_server_secret_environment").items()}
        model = _compose.load(
            [("image_server.yml.j2", str(self.text()))],
            dict.fromkeys(secrets),
            secrets,
            lambda path: Path(path).read_bytes() if Path(path).exists() else b"content of " + path.encode(),
            "/nowhere",
        )
        return convert.convert(model, "image_server", {"endpoint_mode": "vip", "replicas": "file"})

    def services(self):
        """Return {key: ServiceSpec} of what the Swarm is asked for."""
        return {one["key"]: one["spec"] for one in self.desired()["services"].values()}


def environment(spec):
    """Return the variables of a service."""
    return dict(entry.partition("=")[::2] for entry in spec["TaskTemplate"]["ContainerSpec"].get("Env", []))


def labels(spec):
    """Return the labels of a service's containers."""
    return spec["TaskTemplate"]["ContainerSpec"]["Labels"]


def constraints(spec):
    """Return the placement constraints of a service."""
    return spec["TaskTemplate"].get("Placement", {}).get("Constraints", [])

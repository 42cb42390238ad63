# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the stack of a role as Ansible does, and converts it as the module stack does. Needs no host."""

from __future__ import annotations

import functools
from pathlib import Path

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.gpufleet.swarm.plugins.module_utils import _compose
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import convert

ROLES = Path(__file__).resolve().parents[3] / "roles"
GROUPS = {"managers": ["manager1"], "workers": ["worker1", "worker2"], "gpu": [], "fronts": []}

_LOADER = DataLoader()


def variables(role, folder):
    """Return a file of variables of a role, whose templates are evaluated when they are used."""
    return _LOADER.load_from_file(
        str(ROLES / role / folder / "main.yml"), cache="all", trusted_as_template=True
    )


def options(role):
    """Return the options of a role as its argument specification names them."""
    spec = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())
    return spec["argument_specs"]["main"]["options"]


class Rendered:
    """A role with some options on some fleet. template: name of its Compose template."""

    # Where relative paths of the Compose file start.
    project_dir = "/nowhere"

    def __init__(self, role, chosen=None, groups=None, template=None):
        self.role = role
        self.template = template or f"{role}.yml.j2"
        self.variables = {
            "fleet_domain": "lab.test",
            "fleet_credentials_dir": "/nowhere",
            "inventory_hostname": "manager1",
            "groups": {**GROUPS, **(groups or {})},
            # The role stack renders it.
            "role_path": str(ROLES / "stack"),
            "ansible_search_path": [str(ROLES / role)],
            **variables(role, "defaults"),
            **(chosen or {}),
            **variables(role, "vars"),
        }
        self.templar = Templar(loader=_LOADER, variables=self.variables)

    def value(self, expression):
        """Return what an expression of Jinja comes to."""
        return self.templar.template(trust_as_template("{{ " + expression + " }}"))

    def text(self):
        """Return the Compose file."""
        return str(self.value(f"lookup('ansible.builtin.template', '{self.template}')"))

    def secrets(self):
        """Return {variable of the Compose file: its value} of what is secret."""
        return {}

    def desired(self):
        """Return what the Swarm is asked for."""
        secrets = self.secrets()

        def read(path):
            # Secrets' files are made by other tasks.
            return Path(path).read_bytes() if Path(path).exists() else b"content of " + str(path).encode()

        model = _compose.load(
            [(self.template, self.text())], dict.fromkeys(secrets), secrets, read, self.project_dir
        )
        return convert.convert(model, self.role, {"endpoint_mode": "vip", "replicas": "file"})

    @functools.cached_property
    def services(self):
        """{key of the Compose file: ServiceSpec}."""
        return {one["key"]: one["spec"] for one in self.desired()["services"].values()}


def environment(spec):
    """Return the variables of a ServiceSpec."""
    return dict(entry.partition("=")[::2] for entry in spec["TaskTemplate"]["ContainerSpec"].get("Env") or [])


def constraints(spec):
    """Return the placement constraints of a ServiceSpec."""
    return (spec["TaskTemplate"].get("Placement") or {}).get("Constraints") or []


def mounts(spec):
    """Return {target: source} of a ServiceSpec."""
    return {
        mount["Target"]: mount.get("Source")
        for mount in spec["TaskTemplate"]["ContainerSpec"].get("Mounts") or []
    }


def networks(spec):
    """Return the names of the networks of a ServiceSpec."""
    return {network["Target"] for network in spec["TaskTemplate"].get("Networks") or []}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role crowd_recital without a host: its options evaluated, its Compose file taken the whole way."""

from __future__ import annotations

from ansible.template import trust_as_template

from tests.unit.roles import rendered

ROLE = rendered.ROLES / "crowd_recital"
NODES = ("node1", "node2")
# What nobody can do without; everything else has a default that works.
LEAST = {
    "google_client_id": "client.apps.googleusercontent.com",
    "content_storage_s3_bucket": "recordings",
    "aws_access_key_id": "AKIATEST",
    "aws_secret_access_key": "aws-secret",
    "aws_default_region": "eu-central-1",
    "image": "example.org/crowd-recital:1.5.0",
}


class Rendered(rendered.Rendered):
    """The role with some options, in an inventory of two nodes."""

    def __init__(self, folder, least=True, variables=None, **options):
        self.folder = folder
        self.project_dir = str(folder / "credentials" / "crowd_recital")
        given = {**(LEAST if least else {}), **options}
        chosen = {
            "inventory_dir": str(folder),
            "fleet_credentials_dir": str(folder / "credentials"),
            "role_path": str(ROLE),
            **{f"crowd_recital_{name}": trusted(value) for name, value in given.items()},
            **(variables or {}),
        }
        groups = {"all": list(NODES), "managers": [NODES[0]], "workers": [NODES[1]]}
        super().__init__("crowd_recital", chosen, groups)

    def problems(self):
        return self.value(
            "_crowd_recital_options | gpufleet.swarm.crowd_recital_problems("
            "_crowd_recital_nodes, _crowd_recital_missing_files)"
        )

    def dotenv(self):
        return str(self.value("lookup('ansible.builtin.template', 'env.j2')"))

    def secrets(self):
        generated = {name.upper(): "generated" for name in self.value("_crowd_recital_secrets")}
        return {"CROWD_RECITAL_ENV": self.dotenv(), **generated}

    @staticmethod
    def trust(text):
        return trust_as_template(text)

    def container(self, service):
        return self.services[service]["TaskTemplate"]["ContainerSpec"]

    def environment(self, service="app"):
        return rendered.environment(self.services[service])


def trusted(value):
    """Values of an inventory may be templates."""
    return trust_as_template(value) if isinstance(value, str) else value

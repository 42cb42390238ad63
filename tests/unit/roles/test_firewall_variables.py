# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role firewall finds out of the variables of other roles."""

from __future__ import annotations

import pytest
import yaml

pytest.importorskip("ansible", reason="Ansible is not installed")

from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.template import Templar, trust_as_template  # noqa: E402

from tests.unit.roles.rendered import ROLES, variables  # noqa: E402

GROUPS = {"all": ["m1", "w1", "f1"], "managers": ["m1"], "workers": ["w1"], "fronts": ["f1"]}
CHALLENGE = {"name": "ACME challenge", "port": 8402}
DMI = {"name": "DMI Service Manager", "port": 4000}
SYSTEM = {"fleet_systems": ["linto", "dmi_service_manager"]}


def value(name, host, chosen):
    given = {"inventory_hostname": host, "groups": GROUPS, "role_path": str(ROLES / "firewall"), **chosen}
    templar = Templar(loader=DataLoader(), variables={**given, **variables("firewall", "vars")})
    return templar.template(trust_as_template("{{ " + name + " }}"))


@pytest.mark.parametrize(
    ("host", "chosen", "wanted"),
    [
        ("m1", {}, []),
        ("m1", {"certificates_mode": "acme"}, [CHALLENGE]),
        ("w1", {"certificates_mode": "acme"}, []),
        ("m1", {"certificates_mode": "acme", "certificates_acme_challenge": "dns-01"}, []),
        ("m1", {"certificates_mode": "acme", **SYSTEM}, [CHALLENGE, DMI]),
        ("m1", SYSTEM, [DMI]),
        ("w1", SYSTEM, []),
        ("w1", {**SYSTEM, "groups": {**GROUPS, "gpu": ["w1"]}}, [DMI]),
        ("w1", {**SYSTEM, "dmi_service_manager_nodes": ["m1", "w1"]}, [DMI]),
        ("w1", {**SYSTEM, "dmi_service_manager_nodes": ["w1"], "dmi_service_manager_route": False}, []),
        ("w1", {**SYSTEM, "dmi_service_manager_nodes": ["w1"], "dmi_service_manager_state": "absent"}, []),
        (
            "w1",
            {**SYSTEM, "dmi_service_manager_nodes": ["w1"], "dmi_service_manager_port": 4444},
            [{**DMI, "port": 4444}],
        ),
        # A fleet that is not one yet, before preflight refuses it.
        ("f1", {**SYSTEM, "groups": {"all": ["f1"], "managers": []}}, []),
    ],
)
def test_what_the_ingress_leads_to_on_a_host(host, chosen, wanted):
    assert value("__firewall_behind_ingress", host, chosen) == wanted


def test_the_nodes_of_the_dmi_service_manager_are_those_of_its_role():
    own = yaml.safe_load((ROLES / "firewall" / "vars" / "main.yml").read_text())
    other = yaml.safe_load((ROLES / "dmi_service_manager" / "defaults" / "main.yml").read_text())
    assert own["__firewall_dmi_nodes"] == other["dmi_service_manager_nodes"]


@pytest.mark.parametrize(
    ("host", "chosen", "wanted"),
    [
        ("m1", {}, True),
        ("w1", {}, False),
        ("f1", {"swarm_ingress": True}, False),
        ("w1", {"swarm_ingress": "yes"}, True),
        ("m1", {"swarm_ingress": False}, False),
        ("m1", {"ingress_state": "absent"}, False),
    ],
)
def test_who_has_the_ports_of_the_ingress(host, chosen, wanted):
    assert value("__firewall_ingress", host, chosen) is wanted
    ports = value("__firewall_ingress_ports", host, {**chosen, "ingress_http_port": 8080})
    assert [int(port) for port in ports] == [8080, 443]

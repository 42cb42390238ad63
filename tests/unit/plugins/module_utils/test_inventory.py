# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _inventory
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import Unresolved

SPECS = {
    "fleet": {
        "fleet_domain": {"type": "str", "required": True},
        "fleet_name": {"type": "str", "default": "fleet"},
        "fleet_systems": {"type": "list", "default": []},
        "fleet_ignored_variables": {"type": "list", "default": []},
    },
    "docker": {"docker_version": {"type": "str"}, "docker_registry_mirrors": {"type": "list"}},
    "swarm": {
        "swarm_address_pools": {"type": "list", "default": ["10.201.0.0/16"]},
        "swarm_subnet_size": {"type": "int", "default": 24},
        "swarm_advertise_address": {"type": "str"},
        "swarm_data_path_address": {"type": "str"},
        "swarm_labels": {"type": "dict", "default": {}},
        "swarm_ingress": {"type": "bool"},
    },
    "linto": {"linto_state": {"type": "str"}, "linto_features": {"type": "list"}},
    "image_server": {"image_server_key": {"type": "str", "required": True}},
}
GROUPS = {
    "all": ["m1", "w1", "w2"], "ungrouped": [], "managers": ["m1"], "workers": ["w1", "w2"], "gpu": ["w2"],
    "fronts": [], "paris": ["m1", "w1"],
}
VARIABLES = {
    name: {"ansible_host": f"192.0.2.{number}", "fleet_domain": "fleet.example.org"}
    for number, name in enumerate(("m1", "w1", "w2"), 1)
}


def find(groups=None, variables=None, specs=SPECS, reject=lambda name, spec, value: None):
    """Return the problems of a sound inventory after some groups and variables of it were changed."""
    all_groups = {**copy.deepcopy(GROUPS), **(groups or {})}
    all_variables = copy.deepcopy(VARIABLES)
    for host, values in (variables or {}).items():
        all_variables.setdefault(host, {"fleet_domain": "fleet.example.org"}).update(values)
    return [str(problem) for problem in _inventory.find_problems(all_groups, all_variables, specs, reject)]


def everywhere(**values):
    return dict.fromkeys(VARIABLES, values)


def test_a_sound_inventory_has_no_problem():
    assert find() == []
    assert find(variables=everywhere(fleet_systems=["linto"], linto_features=["live"])) == []


def test_a_host_alone_may_use_its_loopback_address():
    groups = {"all": ["m1"], "workers": [], "gpu": [], "paris": []}
    assert find(groups, {"m1": {"ansible_host": "127.0.0.1"}}) == []


WANTED_ADDRESS = "wanted an IP address of this host that the other nodes reach, set"
# name: (groups, variables, problems)
CASES = {
    "no-manager": (
        {"managers": [], "workers": ["m1", "w1", "w2"]}, {},
        ["The fleet has no manager (group managers): found no host, wanted 1, 3 or 5 hosts, "
         "set the hosts of group managers."],
    ),
    "two-managers": (
        {"managers": ["m1", "w1"], "workers": ["w2"]}, {},
        ["The number of managers is even (group managers): found 2 (m1, w1), wanted an odd number, "
         "set the hosts of group managers - an even number survives no more failures than one manager fewer "
         "does."],
    ),
    "misspelt-group": (
        {"workers": [], "Worker": ["w1", "w2"]}, {},
        ["The group is not one of the fleet's (group Worker): found Worker, wanted workers, "
         "set the name of this group in the inventory.",
         "The host has no place in the fleet (w1): found Worker, paris, wanted managers, workers or fronts, "
         "set the group of w1.",
         "The host has no place in the fleet (w2): found Worker, gpu, wanted managers, workers or fronts, "
         "set the group of w2."],
    ),
    "child-group-with-a-like-name": ({"worker": ["w1"]}, {}, []),
    "host-in-no-group": (
        {"all": ["m1", "w1", "w2", "x1"], "ungrouped": ["x1"]}, {},
        ["The host has no place in the fleet (x1): found no group, wanted managers, workers or fronts, "
         "set the group of x1."],
    ),
    "controller-itself-is-no-stray-host": (
        {"all": ["m1", "w1", "w2", "localhost"]}, {"localhost": {"ansible_connection": "local"}}, [],
    ),
    "manager-and-worker": (
        {"workers": ["m1", "w1", "w2"]}, {},
        ["The host is manager and worker at once (m1): found groups managers, workers, "
         "wanted one of them, set the group of m1."],
    ),
    "node-in-fronts": (
        {"fronts": ["w2"]}, {},
        ["The host is in the Swarm and in front of it (w2): found groups fronts, workers, "
         "wanted one of them, set the group of w2."],
    ),
    "ingress-on-a-worker": ({}, {"w1": {"swarm_ingress": True}}, []),
    "name-instead-of-address": (
        {}, {"w1": {"ansible_host": "w1.example.org"}},
        [f"The node has no address for the Swarm (w1): found ansible_host w1.example.org, {WANTED_ADDRESS} "
         "swarm_advertise_address."],
    ),
    "no-address": (
        {}, {"w1": {"ansible_host": None}},
        [f"The node has no address for the Swarm (w1): found no ansible_host, {WANTED_ADDRESS} "
         "swarm_advertise_address."],
    ),
    "own-address-beside-a-name": (
        {}, {"w1": {"ansible_host": "w1.example.org", "swarm_advertise_address": "192.0.2.9"}}, [],
    ),
    "loopback-address": (
        {}, {"w1": {"swarm_advertise_address": "127.0.0.1"}},
        ["The node has no address for the Swarm (w1): found swarm_advertise_address 127.0.0.1, "
         f"{WANTED_ADDRESS} swarm_advertise_address."],
    ),
    "address-from-facts": (
        {}, {"w1": {"swarm_advertise_address": Unresolved("'ansible_facts' is undefined")}},
        ["The node has no address for the Swarm (w1): found swarm_advertise_address, a template without a "
         f"value, {WANTED_ADDRESS} swarm_advertise_address - 'ansible_facts' is undefined (no facts are "
         "gathered)."],
    ),
    "same-address": (
        {}, {"w1": {"ansible_host": "192.0.2.1"}},
        ["Two nodes have the same address (m1, w1): found ansible_host 192.0.2.1, "
         "wanted an address of its own for each, set swarm_advertise_address."],
    ),
    "data-path-address": (
        {}, {"w1": {"swarm_data_path_address": "eth1"}},
        ["The node has no address for the traffic of its containers (w1): found swarm_data_path_address "
         f"eth1, {WANTED_ADDRESS} swarm_data_path_address."],
    ),
    "no-domain": (
        {}, everywhere(fleet_domain=None),
        ["The fleet has no domain (every host): found no fleet_domain, "
         "wanted a DNS name such as fleet.example.org, set fleet_domain."],
    ),
    "domain-of-one-part": (
        {}, everywhere(fleet_domain="localhost"),
        ["The domain of the fleet is not a DNS name (every host): found fleet_domain localhost, "
         "wanted lower-case letters, digits and hyphens in at least two parts, set fleet_domain."],
    ),
    "two-domains": (
        {}, {"w2": {"fleet_domain": "b.example.org"}},
        ["The hosts disagree on a variable of the whole fleet (fleet_domain): found 'fleet.example.org' "
         "on m1, w1, 'b.example.org' on w2, wanted one value, set fleet_domain for the group all."],
    ),
    "unknown-system": (
        {}, everywhere(fleet_systems=["lint"]),
        ["The system is not known (every host): found fleet_systems lint, wanted linto, set fleet_systems."],
    ),
    "platform-role-as-system": (
        {}, everywhere(fleet_systems=["docker"]),
        ["The system is not known (every host): found fleet_systems docker, wanted image_server, linto, "
         "set fleet_systems."],
    ),
    "system-without-its-variable": (
        {}, everywhere(fleet_systems=["image_server"]),
        ["The system image_server lacks a variable (m1, w1, w2): found no image_server_key, "
         "wanted a value of type str, set image_server_key."],
    ),
    "pool-is-no-network": (
        {}, everywhere(swarm_address_pools=["10.1.2.3/16"]),
        ["The address pool is not a network (every host): found swarm_address_pools 10.1.2.3/16, "
         "wanted a network such as 10.201.0.0/16, set swarm_address_pools - 10.1.2.3/16 has host bits set."],
    ),
    "pool-too-small": (
        {}, everywhere(swarm_address_pools=["10.1.2.0/25"]),
        ["The address pool is smaller than one network of it (every host): found swarm_address_pools "
         "10.1.2.0/25, swarm_subnet_size 24, wanted a prefix of at most /24, "
         "set swarm_address_pools or swarm_subnet_size."],
    ),
    "pools-overlap": (
        {}, everywhere(swarm_address_pools=["10.0.0.0/8", "10.1.0.0/16"]),
        ["Two address pools overlap (every host): found swarm_address_pools 10.0.0.0/8, 10.1.0.0/16, "
         "wanted pools that share no address, set swarm_address_pools."],
    ),
    "pool-holds-a-node": (
        {}, everywhere(swarm_address_pools=["192.0.2.2/31"], swarm_subnet_size=31),
        [f"The address pool holds the address of a node (w{n}): found 192.0.2.{n + 1} in swarm_address_pools "
         "192.0.2.2/31, wanted a network that nothing else uses, set swarm_address_pools." for n in (1, 2)],
    ),
    "label-of-ours": (
        {}, {"w1": {"swarm_labels": {"gpufleet.host": "x"}}},
        ["The node label is one of the fleet's own (w1): found swarm_labels gpufleet.host, "
         "wanted a key that does not begin with gpufleet., set swarm_labels."],
    ),
    "label-nobody-can-name": (
        {}, {"w1": {"swarm_labels": {"a b": "x"}}},
        ["No placement constraint can name the node label (w1): found swarm_labels a b, "
         "wanted letters, digits, dots, hyphens and underscores, set swarm_labels."],
    ),
    "label-without-value": (
        {}, {"w1": {"swarm_labels": {"ssd": ""}}},
        ["The node label has no value (w1): found swarm_labels ssd, wanted a text, a number or a boolean, "
         "set swarm_labels."],
    ),
    "labels": ({}, {"w1": {"swarm_labels": {"rack.row-1": 3, "ssd": True}}}, []),
    "misspelt-variable": (
        {}, everywhere(docker_verson="26.1"),
        ["The variable is not known to any role (m1, w1, w2): found docker_verson, wanted docker_version, "
         "set the right name, or fleet_ignored_variables."],
    ),
    "variable-like-no-other": (
        {}, {"w2": {"linto_zzzzzzzzzzzz": 1}},
        ["The variable is not known to any role (w2): found linto_zzzzzzzzzzzz, "
         "wanted a variable that some role has, set the right name, or fleet_ignored_variables."],
    ),
    "variable-of-nobody": ({}, everywhere(dockerfile="x", my_docker_verson=1), []),
    "ignored-variable": ({}, everywhere(docker_verson="26.1", fleet_ignored_variables=["docker_verson"]), []),
}


@pytest.mark.parametrize(("groups", "variables", "problems"), CASES.values(), ids=CASES)
def test_problems(groups, variables, problems):
    assert find(groups, variables) == problems


def test_a_value_its_role_refuses_is_told_once_with_its_hosts():
    def reject(name, spec, value):
        return f"{value} is not one of present, absent" if name == "linto_state" else None

    variables = {"w1": {"linto_state": "gone"}, "w2": {"linto_state": "gone"}}
    assert find(variables=variables, reject=reject) == [
        "The variable has a value its role does not take (w1, w2): set linto_state - "
        "gone is not one of present, absent."
    ]


def test_a_template_that_needs_a_running_play_is_left_to_its_role():
    def reject(name, spec, value):
        raise AssertionError("not to be asked")

    variables = {
        name: {"ansible_host": values["ansible_host"], "linto_state": Unresolved("undefined")}
        for name, values in VARIABLES.items()
    }
    problems = _inventory.find_problems(GROUPS, variables, SPECS, reject)
    assert [problem.what for problem in problems] == ["The fleet has no domain"]


def test_a_variable_that_vault_keeps_closed():
    # As ansible-core 2.19 says it, of a variable and of what is made from one.
    closed = Unresolved("Error rendering template: Attempt to use undecryptable variable: Decryption failed.")
    assert [str(problem) for problem in find(variables=everywhere(linto_state=closed))] == [
        "The variable cannot be read (m1, w1, w2): found linto_state, encrypted by Ansible Vault, wanted the "
        "password it was encrypted with, set --vault-password-file, --vault-id, or vault_password_file of "
        "ansible.cfg."
    ]


def test_many_hosts_are_not_all_named():
    assert _inventory.listing(["a", "b", "c", "d"]) == "a, b, c, d"
    assert _inventory.listing(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"


@pytest.mark.parametrize(
    ("domain", "valid"),
    [("lab.test", True), ("a-b.c0.example", True), ("x", False), ("-a.example", False), ("a..b", False),
     ("Upper.example", False), ("a_b.example", False), ("a.example.", False), ("a." * 130 + "b", False)],
)
def test_domains(domain, valid):
    assert bool(_inventory.DOMAIN.fullmatch(domain)) is valid


def test_message():
    assert _inventory.render("The inventory", ["One.", "Two."], "no host was contacted") == (
        "The inventory has 2 problems; no host was contacted.\n1. One.\n2. Two."
    )
    assert _inventory.render("X", ["One."], "y").startswith("X has 1 problem; y.")

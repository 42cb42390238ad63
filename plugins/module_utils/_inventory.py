# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an inventory, told before any host is contacted. Private: may change in any release.

Pure: plain data in, a list of FleetError out, in a stable order. Every problem names the host, the value
found, the value wanted and the variable to set. Values are shown only where they cannot be secrets.
"""
from __future__ import annotations

import difflib
import ipaddress
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

NODE_GROUPS = ("managers", "workers")
FLEET_GROUPS = ("managers", "workers", "gpu", "fronts")
# Roles that are no systems of their own, so fleet_systems cannot name them.
PLATFORM_ROLES = (
    "fleet", "preflight", "docker", "nvidia", "swarm", "certificates", "registry", "ingress", "tunnels",
    "firewall", "stack", "images",
)
# Variables that describe the fleet and not a host: one value for all.
FLEET_WIDE = (
    "fleet_name", "fleet_domain", "fleet_systems", "fleet_credentials_dir", "swarm_address_pools",
    "swarm_subnet_size", "swarm_data_path_port", "tunnels_links", "fleet_registry_host",
    "fleet_registry_name", "fleet_registry_port", "fleet_images_archive",
)
# RFC 1123 names of at least two labels, for *.<fleet_domain> has to be a name a certificate can hold.
DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# The keys a placement constraint can name (moby/swarmkit, manager/constraint).
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]+")
RESERVED_LABELS = "gpufleet."


class Unresolved:
    """Stands for the value of a variable whose template could not be evaluated."""

    def __init__(self, reason):
        self.reason = reason

    @property
    def sealed(self):
        """Tell whether it is made from what Ansible Vault cannot open, in the words of ansible-core 2.19."""
        return "undecryptable" in self.reason


def find_problems(groups, variables, specs, reject):
    """Return the problems of an inventory.

    groups      {group: [hosts]}, with ``all``
    variables   {host: {name: value}} as the inventory gives them, no role defaults
    specs       {role: {option: its specification}} of every role of the collection
    reject      function of (name, specification, value): why the role would refuse the value, or None
    """
    fleet = Fleet(groups, variables, specs)
    return [
        *group_problems(fleet),
        *address_problems(fleet),
        *fleet_problems(fleet),
        *pool_problems(fleet),
        *label_problems(fleet),
        *variable_problems(fleet, reject),
    ]


class Fleet:
    """An inventory, with the few questions that the checks ask of it."""

    def __init__(self, groups, variables, specs):
        self.groups = groups
        self.variables = variables
        self.specs = specs
        self.options = {name: spec for role in specs.values() for name, spec in role.items()}
        self.hosts = [host for host in groups.get("all", []) if not self._is_controller(host)]
        self.nodes = self.members(*NODE_GROUPS)

    def members(self, *names):
        """Return the hosts of some groups, each once, in the inventory's order."""
        return list(dict.fromkeys(host for name in names for host in self.groups.get(name, [])))

    def groups_of(self, host):
        return sorted(
            name for name, hosts in self.groups.items() if host in hosts and name not in ("all", "ungrouped")
        )

    def value(self, host, name):
        """Return the host's value of a variable, else the default of the role it belongs to."""
        default = self.options.get(name, {}).get("default")
        return self.variables.get(host, {}).get(name, default)

    def _is_controller(self, host):
        """An inventory may list the controller itself for plays of the user's own."""
        local = self.variables.get(host, {}).get("ansible_connection") == "local"
        return host == "localhost" and local and not self.groups_of(host)


def listing(names, most=4):
    """Return names in a sentence, the first few and how many more."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def closest(name, known, least):
    """Return the known name that is most like this one, or None. least: 0 to 1, how like it has to be."""
    return next(iter(difflib.get_close_matches(name, sorted(known), 1, least)), None)


def group_problems(fleet):
    managers = fleet.members("managers")
    if not managers:
        yield FleetError("The fleet has no manager", "group managers", "no host", "1, 3 or 5 hosts",
                         "the hosts of group managers")
    elif len(managers) % 2 == 0:
        yield FleetError(
            "The number of managers is even", "group managers", f"{len(managers)} ({listing(managers)})",
            "an odd number", "the hosts of group managers",
            cause="an even number survives no more failures than one manager fewer does",
        )
    for group, hosts in fleet.groups.items():
        if group in ("all", "ungrouped", *FLEET_GROUPS) or not hosts:
            continue
        meant = closest(group.casefold(), FLEET_GROUPS, 0.8)
        # A group of the user's own is welcome; one whose hosts are in the group it is like, too.
        if meant and not set(hosts) <= set(fleet.members(meant)):
            yield FleetError("The group is not one of the fleet's", f"group {group}", group, meant,
                             "the name of this group in the inventory")
    for host in fleet.hosts:
        mine = [name for name in NODE_GROUPS if host in fleet.groups.get(name, [])]
        if len(mine) == 2:
            yield FleetError("The host is manager and worker at once", host, "groups managers, workers",
                             "one of them", f"the group of {host}")
        if mine and host in fleet.groups.get("fronts", []):
            yield FleetError("The host is in the Swarm and in front of it", host,
                             f"groups fronts, {listing(mine)}", "one of them", f"the group of {host}")
        if not mine and host not in fleet.groups.get("fronts", []):
            found = listing(fleet.groups_of(host)) or "no group"
            yield FleetError("The host has no place in the fleet", host, found, "managers, workers or fronts",
                             f"the group of {host}")


def truth(value):
    """Return whether a value counts as true for Ansible's type bool."""
    return str(value).lower() in ("true", "yes", "on", "1", "y", "t", "1.0")


def parse_ip(text):
    """Return the IP address a text states, or None."""
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        return None


def advertised(fleet, host):
    """Return (address, its text, variable) that a node tells the others; the address is None if it is none.

    This is what the role swarm does with its own default, ansible_host.
    """
    values = fleet.variables.get(host, {})
    name = "swarm_advertise_address" if values.get("swarm_advertise_address") else "ansible_host"
    return parse_ip(values.get(name)), values.get(name), name


def address_problems(fleet):
    seen = {}
    wanted = "an IP address of this host that the other nodes reach"
    for host in fleet.nodes:
        address, text, name = advertised(fleet, host)
        if not usable(address, alone=len(fleet.nodes) == 1):
            yield FleetError("The node has no address for the Swarm", host, told(name, text), wanted,
                             "swarm_advertise_address", cause=hint(text))
        elif address in seen:
            yield FleetError("Two nodes have the same address", f"{seen[address]}, {host}", told(name, text),
                             "an address of its own for each", "swarm_advertise_address")
        else:
            seen[address] = host
        text = fleet.variables.get(host, {}).get("swarm_data_path_address")
        if text and not parse_ip(text):
            yield FleetError("The node has no address for the traffic of its containers", host,
                             told("swarm_data_path_address", text), wanted, "swarm_data_path_address",
                             cause=hint(text))


def usable(address, alone):
    """Return whether other nodes can be told an address. A fleet of one node may use its loopback address."""
    if address is None or address.is_unspecified or address.is_multicast or address.is_link_local:
        return False
    return alone or not address.is_loopback


def told(name, value):
    """Return a variable and its value in the words of a message."""
    if value is None:
        return f"no {name}"
    return f"{name}, a template without a value" if isinstance(value, Unresolved) else f"{name} {value}"


def hint(value):
    """Return why a template has no value. Facts of hosts are the usual reason: none are gathered."""
    return f"{value.reason.rstrip('.')} (no facts are gathered)" if isinstance(value, Unresolved) else None


def fleet_problems(fleet):
    for name in FLEET_WIDE:
        by_value = {}
        for host in fleet.members("managers", "workers", "fronts"):
            value = fleet.variables.get(host, {}).get(name)
            by_value.setdefault(repr(value) if not isinstance(value, Unresolved) else "?", []).append(host)
        if len(by_value) > 1:
            found = ", ".join(f"{value} on {listing(hosts)}" for value, hosts in by_value.items())
            yield FleetError("The hosts disagree on a variable of the whole fleet", name,
                             found.replace("None on", "nothing on"), "one value", f"{name} for the group all")
    first = next(iter(fleet.nodes), None)
    domain = fleet.value(first, "fleet_domain")
    if domain in (None, ""):
        yield FleetError("The fleet has no domain", "every host", "no fleet_domain",
                         "a DNS name such as fleet.example.org", "fleet_domain")
    elif isinstance(domain, Unresolved) or not DOMAIN.fullmatch(str(domain)):
        yield FleetError("The domain of the fleet is not a DNS name", "every host",
                         told("fleet_domain", domain),
                         "lower-case letters, digits and hyphens in at least two parts", "fleet_domain",
                         cause=hint(domain))
    registry = fleet.value(first, "fleet_registry_host")
    if registry and registry not in fleet.nodes:
        yield FleetError("No node can serve the fleet's registry", "every host",
                         told("fleet_registry_host", registry), listing(fleet.nodes, 20),
                         "fleet_registry_host", cause=hint(registry))
    systems = fleet.value(first, "fleet_systems") or []
    known = sorted(set(fleet.specs) - set(PLATFORM_ROLES))
    if isinstance(systems, (list, tuple)):
        for system in systems:
            if system not in known:
                meant = closest(str(system), known, 0.5)
                yield FleetError("The system is not known", "every host", f"fleet_systems {system}",
                                 meant or listing(known, 20) or "nothing, there is none", "fleet_systems")
            else:
                yield from missing_problems(fleet, system)


def missing_problems(fleet, system):
    """Yield what a system's role requires and nobody has set."""
    for name, spec in fleet.specs[system].items():
        without = [host for host in fleet.nodes if name not in fleet.variables.get(host, {})]
        if spec.get("required") and without:
            yield FleetError(f"The system {system} lacks a variable", listing(without), f"no {name}",
                             f"a value of type {spec.get('type', 'str')}", name)


def pool_problems(fleet):
    """The pool cannot be changed after the Swarm is made, so a faulty one is worth an early word."""
    first = next(iter(fleet.nodes), None)
    pools, size = fleet.value(first, "swarm_address_pools"), fleet.value(first, "swarm_subnet_size")
    if not isinstance(pools, (list, tuple)) or not str(size).isdigit():
        return  # of the wrong type, which is told elsewhere, or the role swarm is not there
    networks = []
    for pool in pools:
        try:
            network = ipaddress.ip_network(str(pool))
        except ValueError as error:
            yield FleetError("The address pool is not a network", "every host", f"swarm_address_pools {pool}",
                             "a network such as 10.201.0.0/16", "swarm_address_pools", cause=error)
            continue
        if network.prefixlen > int(size):
            yield FleetError("The address pool is smaller than one network of it", "every host",
                             f"swarm_address_pools {pool}, swarm_subnet_size {size}",
                             f"a prefix of at most /{size}", "swarm_address_pools or swarm_subnet_size")
        for other in networks:
            if network.version == other.version and network.overlaps(other):
                yield FleetError("Two address pools overlap", "every host",
                                 f"swarm_address_pools {other}, {network}", "pools that share no address",
                                 "swarm_address_pools")
        networks.append(network)
    for host in fleet.nodes:
        address = advertised(fleet, host)[0]
        for network in networks:
            if address and address in network:
                yield FleetError("The address pool holds the address of a node", host,
                                 f"{address} in swarm_address_pools {network}",
                                 "a network that nothing else uses", "swarm_address_pools")


def label_problems(fleet):
    for host in fleet.nodes:
        labels = fleet.value(host, "swarm_labels")
        for key, value in labels.items() if isinstance(labels, dict) else ():
            if str(key).startswith(RESERVED_LABELS):
                yield FleetError("The node label is one of the fleet's own", host, f"swarm_labels {key}",
                                 f"a key that does not begin with {RESERVED_LABELS}", "swarm_labels")
            elif not LABEL.fullmatch(str(key)):
                yield FleetError("No placement constraint can name the node label", host,
                                 f"swarm_labels {key}", "letters, digits, dots, hyphens and underscores",
                                 "swarm_labels")
            elif value in (None, "") or isinstance(value, (dict, list)):
                yield FleetError("The node label has no value", host, f"swarm_labels {key}",
                                 "a text, a number or a boolean", "swarm_labels")


def variable_problems(fleet, reject):
    """Yield variables that look like ours and are not, those that Vault keeps closed, then refused values."""
    ignored = set()
    for values in fleet.variables.values():
        names = values.get("fleet_ignored_variables")
        ignored |= set(names) if isinstance(names, (list, tuple)) else set()
    prefixes = tuple(f"{role}_" for role in fleet.specs)
    unknown, sealed, refused = {}, {}, {}
    for host in fleet.hosts:
        for name, value in fleet.variables.get(host, {}).items():
            if isinstance(value, Unresolved) and value.sealed:
                sealed.setdefault(name, []).append(host)
            elif name in fleet.options:
                reason = None if isinstance(value, Unresolved) else reject(name, fleet.options[name], value)
                if reason:
                    refused.setdefault((name, reason), []).append(host)
            elif name.startswith(prefixes) and name not in ignored:
                unknown.setdefault(name, []).append(host)
    for name, hosts in sorted(unknown.items()):
        meant = closest(name, fleet.options, 0.6)
        yield FleetError("The variable is not known to any role", listing(hosts), name,
                         meant or "a variable that some role has",
                         "the right name, or fleet_ignored_variables")
    for name, hosts in sorted(sealed.items()):
        yield FleetError("The variable cannot be read", listing(hosts),
                         f"{name}, encrypted by Ansible Vault", "the password it was encrypted with",
                         "--vault-password-file, --vault-id, or vault_password_file of ansible.cfg")
    for (name, reason), hosts in sorted(refused.items()):
        yield FleetError("The variable has a value its role does not take", listing(hosts), option=name,
                         cause=reason)


def render(subject, problems, outcome):
    """Return all problems as one message: "<subject> has 2 problems; <outcome>." and a numbered line each."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{subject} has {count}; {outcome}."]
    return "\n".join(lines + [f"{number}. {problem}" for number, problem in enumerate(problems, 1)])

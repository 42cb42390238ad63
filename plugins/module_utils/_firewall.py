# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall of the fleet: who may reach which port of a host, and the nftables rules that say so.

Private: may change in any release. Pure: plain data in, plain data or FleetError out.

An Opening lets some sources reach some ports. Everything with ports that arrives from outside and has no
opening is dropped. ICMP, and protocols without ports such as ESP and VRRP, are left to other rules.
"""
from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import (
    NODE_GROUPS,
    Unresolved,
    closest,
    listing,
    parse_ip,
    truth,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._tunnels import addresses, entries, parse_link

TABLE = "gpufleet_firewall"
HIGHEST_PORT = 65535
# Docker's own ports: management of the Swarm (managers alone listen), and what nodes tell one another.
SWARM_MANAGEMENT, SWARM_GOSSIP = 2377, 7946
SWARM, SSH = "Swarm", "SSH"
# TCP, UDP, DCCP, SCTP, UDP-Lite by number: a small host has no /etc/protocols to look names up in.
PROTOCOLS_WITH_PORTS = (6, 17, 33, 132, 136)
# An interface's name has at most 15 bytes (IFNAMSIZ); a star at its end stands for any rest.
INTERFACE = re.compile(r"(?=.{1,15}$)[A-Za-z0-9_.-]+\*?")
# What can stand in a comment of a rule, which nftables limits to 128 bytes.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}")
LEAST_TIMEOUT = 10


@dataclass(frozen=True)
class Opening:
    """Ports that may be reached. what: for whom, in a few words; no sources: from everywhere.

    ports: ((first, last), ...); sources: ip_network objects.
    """

    what: str
    protocol: str
    ports: tuple[tuple[int, int], ...]
    sources: tuple = ()

    def covers(self, protocol, port, address=None):
        """Return whether an address (None: any address at all) may reach a port through this opening."""
        if protocol != self.protocol or not any(first <= port <= last for first, last in self.ports):
            return False
        if not self.sources:
            return True
        return address is not None and any(parse_ip(address) in network for network in self.sources)

    def as_option(self):
        """Return it as the module takes it."""
        return {
            "what": self.what,
            "protocol": self.protocol,
            "ports": [port_text(*one) for one in self.ports],
            "sources": [network_text(one) for one in self.sources],
        }


def opening(what, protocol, ports, sources=()):
    """Return the Opening of ports (numbers or texts) and of sources (texts of addresses and networks).

    Ports that meet are joined, and a network within another is left out: nftables takes nothing twice.
    """
    networks = {ipaddress.ip_network(source, strict=False) for source in sources}
    widest = [one for one in networks if not any(within(one, other) for other in networks - {one})]
    ordered = sorted(widest, key=lambda one: (one.version, one))
    return Opening(what, protocol, merge(map(parse_ports, ports)), tuple(ordered))


def within(network, other):
    return network.version == other.version and network.subnet_of(other)


def parse_ports(value):
    """Return (first, last) of PORT or FIRST-LAST; ValueError if it is neither."""
    first, dash, last = str(value).strip().partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
        raise ValueError("neither PORT nor FIRST-LAST")
    first, last = map(int, numbers)
    if not 1 <= first <= last <= HIGHEST_PORT:
        raise ValueError(f"outside 1 to {HIGHEST_PORT}, or the wrong way round")
    return first, last


def merge(ranges):
    """Return ranges of ports in order, with those that meet joined."""
    merged = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def port_text(first, last):
    return str(first) if first == last else f"{first}-{last}"


def network_text(network):
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


# --- the inventory ----------------------------------------------------------------------------------------


def swarm_addresses(values):
    """Return the addresses a node talks to other nodes from, of its variables; texts that are addresses."""
    advertised = values.get("swarm_advertise_address") or values.get("ansible_host")
    found = (advertised, values.get("swarm_data_path_address") or advertised)
    return list(dict.fromkeys(str(parse_ip(text)) for text in found if parse_ip(text)))


def address_book(groups, variables):
    """Return {host or group: [addresses]}; None for a name of which an address is not known.

    groups: {group: [hosts]}; variables: {host: {name: value}}.
    """
    book = {}
    for host, values in variables.items():
        reached = parse_ip(values.get("ansible_host"))
        book[host] = list(dict.fromkeys([*swarm_addresses(values), *([str(reached)] if reached else [])]))
    for group, hosts in groups.items():
        known = [book.get(host) for host in hosts]
        book.setdefault(group, [one for some in known for one in some or []] if all(known) else None)
    return {name: found or None for name, found in book.items()}


def resolve(sources, book):
    """Return the addresses and networks of sources, which are such or names of book; ValueError names others.

    A group without a host has no address and lets nobody in.
    """
    found = []
    for source in map(str, sources):
        try:
            found.append(str(ipaddress.ip_network(source, strict=False)))
        except ValueError:
            if not book.get(source):
                raise ValueError(source) from None
            found += book[source]
    return found


def host_openings(host, groups, variables, options):
    """Return the Openings of one host, in the order of the rules.

    options: ssh_ports, ssh_sources, ingress_ports, ingress_sources, registry_port, behind_ingress, members,
    data_path_port, links and open, as the module documents them. ValueError for what preflight refuses.
    """
    book = address_book(groups, variables)
    found = [opening(SSH, "tcp", options["ssh_ports"], resolve(options["ssh_sources"], book))]
    others = other_nodes(host, groups, variables)
    if others is not None:
        others += resolve(options["members"], book)
    if others:
        manages = [SWARM_MANAGEMENT] if host in (groups.get("managers") or []) else []
        found.append(opening(SWARM, "tcp", [*manages, SWARM_GOSSIP], others))
        found.append(opening(SWARM, "udp", [SWARM_GOSSIP, options["data_path_port"]], others))
        if options["registry_port"]:
            found.append(opening("registry", "tcp", [options["registry_port"]], others))
        leading = other_nodes(host, groups, variables, ingress=True)
        for entry in options["behind_ingress"] if leading else []:
            sources = [*leading, *resolve(options["members"], book)]
            found.append(opening(entry["name"], "tcp", [entry["port"]], sources))
    reached = {name: values.get("ansible_host") for name, values in variables.items()}
    for link in (parse_link(link, reached) for link in options["links"]):
        if link.end == host:
            found.append(opening(f"tunnel {link.name}", "tcp", [link.wire.port], link.sources))
    if options["ingress_ports"]:
        sources = resolve(options["ingress_sources"], book)
        found.append(opening("ingress", "tcp", options["ingress_ports"], sources))
    for entry in options["open"]:
        sources = resolve(entry.get("sources") or [], book)
        found.append(opening(entry.get("name") or "declared", entry.get("protocol") or "tcp",
                             [entry["port"]], sources))
    return found


def other_nodes(host, groups, variables, ingress=False):
    """Return the addresses from which the other nodes of the Swarm talk to a node; None if host is none.

    ingress: only of those that take requests, as the first manager does where nothing is said.
    """
    nodes = [node for group in NODE_GROUPS for node in groups.get(group) or []]
    if host not in nodes:
        return None
    others = [node for node in nodes if node != host]
    if ingress:
        first = (groups.get("managers") or [None])[0]
        others = [node for node in others if truth(variables[node].get("swarm_ingress", node == first))]
    return [one for node in others for one in swarm_addresses(variables[node])]


def firewall_problems(fleet):
    """Yield what is wrong with the firewall of a Fleet, before any host is contacted; each once."""
    book = address_book({**fleet.groups, "all": fleet.hosts},
                        {host: plain(fleet.variables.get(host, {})) for host in fleet.hosts})
    hosts_of = {}
    for host in fleet.hosts:
        if fleet.value(host, "firewall_state") in (None, "keep"):
            continue
        for problem in host_problems(fleet, host, book):
            hosts_of.setdefault(problem, []).append(host)
    for (what, found, wanted, option), hosts in hosts_of.items():
        yield FleetError(what, listing(hosts), found, wanted, option)


def plain(values):
    return {name: value for name, value in values.items() if not isinstance(value, Unresolved)}


def items(fleet, host, name):
    """Return the value of a list variable; what is no list is told by the specification of the role."""
    value = fleet.value(host, name)
    return value if isinstance(value, (list, tuple)) else []


def host_problems(fleet, host, book):
    """Yield (what, found, wanted, option) for one host."""
    ports = [("firewall_ssh_ports", port, "firewall_ssh_ports") for port in
             items(fleet, host, "firewall_ssh_ports")]
    if not ports:
        yield ("The firewall has no port for SSH", "firewall_ssh_ports []", "the ports the SSH server uses",
               "firewall_ssh_ports")
    sources = [
        (name, source, name)
        for name in ("firewall_ssh_sources", "firewall_ingress_sources", "firewall_members")
        for source in items(fleet, host, name)
    ]
    for entry in items(fleet, host, "firewall_open"):
        if isinstance(entry, dict) and entry.get("port") is not None:
            ports.append(("port", entry["port"], "port in firewall_open"))
            if entry.get("name") and not NAME.fullmatch(str(entry["name"])):
                yield ("The firewall cannot name a rule so", f"name {entry['name']}",
                       "at most 60 letters, digits, spaces, dots, hyphens and underscores",
                       "name in firewall_open")
            some = entry.get("sources")
            sources += [("sources", one, "sources in firewall_open")
                        for one in (some if isinstance(some, (list, tuple)) else [])]
    yield from port_problems(ports)
    yield from source_problems(sources, book)
    for name in items(fleet, host, "firewall_container_interfaces"):
        if not INTERFACE.fullmatch(str(name)):
            yield ("The firewall cannot know an interface by this name",
                   f"firewall_container_interfaces {name}",
                   "a name of an interface, or its beginning and a star", "firewall_container_interfaces")
    timeout = fleet.value(host, "firewall_confirm_timeout")
    if str(timeout).isdigit() and int(timeout) < LEAST_TIMEOUT:
        yield ("The firewall has too little time to be confirmed", f"firewall_confirm_timeout {timeout}",
               f"at least {LEAST_TIMEOUT} seconds", "firewall_confirm_timeout")
    yield from tunnel_problems(fleet, host)


def port_problems(ports):
    for name, value, option in ports:
        try:
            parse_ports(value)
        except ValueError:
            yield ("The firewall cannot open what is no port", f"{name} {value}",
                   f"a port or FIRST-LAST, from 1 to {HIGHEST_PORT}", option)


def source_problems(sources, book):
    for name, value, option in sources:
        try:
            resolve([value], book)
        except ValueError:
            if value in book:
                yield ("The firewall does not know the address of a source", f"{name} {value}",
                       "an ansible_host or swarm_advertise_address that is an IP address", option)
            else:
                meant = closest(str(value), book, 0.7)
                yield ("The firewall does not know a source", f"{name} {value}",
                       meant or "an address, a network, or a host or group of the inventory", option)


def tunnel_problems(fleet, host):
    """The firewall knows addresses only. A tunnel's own firewall says the same, where it is on."""
    for entry in entries(fleet):
        if entry["to"] != host or truth(fleet.value(host, "tunnels_firewall")):
            continue
        try:
            link = parse_link(entry, addresses(fleet))
        except ValueError:
            continue  # told with the tunnels
        for source in link.sources:
            try:
                ipaddress.ip_network(source, strict=False)
            except ValueError:
                yield ("The firewall cannot let a tunnel in by name", f"{link.origin} at {source}",
                       "the addresses or networks it comes from",
                       f"sources of tunnel {link.name} in tunnels_links")


# --- the rules --------------------------------------------------------------------------------------------


def with_live(openings, live):
    """Return openings that also let in the connection that is used right now, and a warning if they have to.

    live: (address, port) of an SSH connection, the other end's address and this end's port, or None.
    """
    if live is None or any(one.covers("tcp", live[1], live[0]) for one in openings):
        return list(openings), None
    address, port = live
    warning = (
        f"Ansible comes from {address} to port {port}, which firewall_ssh_ports and firewall_ssh_sources do "
        "not allow. The port stays open to this address, until a run comes from another one."
    )
    return [opening("SSH of the run that wrote this", "tcp", [port], [address]), *openings], warning


def check_interfaces(ways, interfaces):
    """Raise FleetError if a way in from outside has the name of interfaces that are not judged.

    ways: interfaces of default routes; interfaces: those behind which containers are.
    """
    for name in ways:
        for pattern in interfaces:
            if pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1])):
                raise FleetError(
                    "The firewall would take all that comes from outside for containers", name,
                    f"the default route through an interface that {pattern} stands for",
                    "interfaces behind which containers alone are", "firewall_container_interfaces",
                )


def render(openings, interfaces):
    """Return the rules as a file for nft(8). interfaces: those behind which containers are."""
    lines = [
        "# Written by the role gpufleet.swarm.firewall: who reaches which port of this host.",
        f"add table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        "\t# Before Docker gives packets another destination (priority -100), so that a port that a",
        "\t# container or a service publishes is judged as one of the host.",
        "\tchain arriving {",
        "\t\ttype filter hook prerouting priority -150; policy accept;",
        '\t\tiifname "lo" accept',
        "\t\tct state established,related accept",
        *(f'\t\tiifname "{name}" accept' for name in interfaces),
        "\t\tfib daddr type != local accept",
        f"\t\tmeta l4proto != {{ {', '.join(map(str, PROTOCOLS_WITH_PORTS))} }} accept",
        "\t\tip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment \"DHCPv6\"",
        *(f"\t\t{rule}" for one in openings for rule in rules(one)),
        "\t\tcounter drop",
        "\t}",
        "\t# Containers are reached through published ports, and not under their own addresses.",
        "\tchain forwarded {",
        "\t\ttype filter hook forward priority -10; policy accept;",
        "\t\tct state established,related accept",
        "\t\tct status dnat accept",
        *(f'\t\tiifname "{name}" accept' for name in interfaces),
        *(f'\t\toifname "{name}" counter drop' for name in interfaces),
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def rules(one):
    """Return the rules of one Opening: one for each family its sources are of."""
    ports = f"{one.protocol} dport {{ {', '.join(port_text(*some) for some in one.ports)} }}"
    if not one.sources:
        return [f'{ports} accept comment "{one.what}"']
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        sources = [network_text(network) for network in one.sources if network.version == version]
        if sources:
            found.append(f'{family} saddr {{ {", ".join(sources)} }} {ports} accept comment "{one.what}"')
    return found


def closed(listening, openings):
    """Return what listens to the outside and nobody outside the openings can reach, in words, each once.

    listening: sockets as host_info tells them. Ports from 32768 on are those of clients (Linux' default
    ip_local_port_range), and are left out for UDP, which knows no listening.
    """
    found = {}
    for one in listening:
        address, protocol, port = parse_ip(one["address"]), one["protocol"], one["port"]
        if address.is_loopback or (protocol == "udp" and port >= 32768):
            continue
        if not any(some.covers(protocol, port) for some in openings):
            known = [network_text(network) for some in openings for network in some.sources
                     if some.covers(protocol, port, str(network.network_address))]
            rest = f" but for {listing(list(dict.fromkeys(known)), 3)}" if known else ""
            found[(protocol, port)] = f"{port}/{protocol} of {one['process'] or 'the kernel'}{rest}"
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]

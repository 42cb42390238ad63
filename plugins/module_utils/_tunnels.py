# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tunnels of the inventory: what is wrong with them, and what one host has to do for them.

Private: may change in any release. Pure: plain data in, plain data or FleetError out.

A tunnel has two ends. The encrypting one (``from``) listens in clear and calls the other over the wire; the
decrypting one (``to``) takes the wire's connections and calls the target in clear. Options and their defaults
are those of spiped(1).
"""
from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import (
    Unresolved,
    closest,
    listing,
    parse_ip,
    truth,
)

OPTION = "tunnels_links"
# A tunnel's name becomes a file name and the instance of a unit, in which systemd wants nothing escaped.
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?")
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*")
LOOPBACK, ANY = "127.0.0.1", "0.0.0.0"
# Below, only a privileged process could listen; spiped runs without any privilege here.
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
SWARM_PORTS = (2377, 7946)
# spiped(1), version 1.6.2: -n, -o, -r.
NUMBERS = {"max_connections": 100, "connect_timeout": 5, "resolve_interval": 60}
# The first that serves more than 500 connections at once (upstream's change log).
OLDEST_SPIPED = (1, 6, 0)
WANTED_SPIPED = (1, 6, 4)
# LoadCredential= (systemd.exec(5)).
OLDEST_SYSTEMD = (247,)

FOLDER = "/etc/gpufleet/tunnels"
RUNNING = "/run/gpufleet-tunnels"
UNITS = "/etc/systemd/system"
WANTS = f"{UNITS}/multi-user.target.wants"
UNIT, FIREWALL_UNIT = "gpufleet-tunnel@.service", "gpufleet-tunnels-firewall.service"
RULES, RULES_LOADED = f"{FOLDER}/firewall.nft", "/run/gpufleet-tunnels-firewall/rules"
TABLE = "gpufleet_tunnels"


@dataclass(frozen=True)
class Endpoint:
    """Where something listens or is called: an IP address or a host name, and a TCP port."""

    address: str
    port: int

    @property
    def ip(self):
        return parse_ip(self.address)

    def __str__(self):
        """Return it as spiped takes it: addresses in brackets, names without (spiped(1), -t)."""
        return f"[{self.address}]:{self.port}" if self.ip else f"{self.address}:{self.port}"

    def overlaps(self, other):
        """Return whether two listeners on one host would meet."""
        if self.port != other.port:
            return False
        return self.address == other.address or any(
            one.ip is None or one.ip.is_unspecified for one in (self, other)
        )


def parse_endpoint(value, default):
    """Return the Endpoint of PORT, ADDRESS:PORT, [IPv6]:PORT or NAME:PORT; ValueError says what is wrong.

    default: the address when there is a port alone.
    """
    address, colon, port = str(value).strip().rpartition(":")
    address = address.removeprefix("[").removesuffix("]") if colon else default
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= HIGHEST_PORT):
        raise ValueError(f"no port from 1 to {HIGHEST_PORT} after the last colon")
    if not parse_ip(address) and (re.fullmatch(r"[\d.]+", address) or not HOST_NAME.fullmatch(address)):
        raise ValueError("no address or name before the last colon")
    return Endpoint(address, int(port))


@dataclass(frozen=True)
class Link:
    """One tunnel, parsed. address: where ``to`` is called; sources: where ``from`` comes from."""

    name: str
    origin: str
    listen: Endpoint
    end: str
    wire: Endpoint
    target: Endpoint
    address: str
    sources: tuple[str, ...]
    numbers: dict


def parse_link(link, address_of):
    """Return the Link of an entry of tunnels_links that has no problem. address_of: {host: ansible_host}."""
    origin, end = link["from"], link["to"]
    return Link(
        name=link["name"],
        origin=origin,
        listen=parse_endpoint(link["listen"], LOOPBACK),
        end=end,
        wire=parse_endpoint(link["wire"], ANY),
        target=parse_endpoint(link["target"], LOOPBACK),
        address=str(link.get("address") or address_of.get(end) or end),
        sources=tuple(map(str, link.get("sources") or [address_of.get(origin) or origin])),
        numbers={name: link.get(name) or default for name, default in NUMBERS.items()},
    )


# --- the inventory ----------------------------------------------------------------------------------------


def entries(fleet):
    """Return the tunnels that look like tunnels; what does not is told by the specification of the role."""
    first = next(iter(fleet.hosts), None)
    links = fleet.value(first, OPTION)
    if isinstance(links, Unresolved) or not isinstance(links, (list, tuple)):
        return []
    required = ("name", "from", "listen", "to", "wire", "target")
    return [link for link in links if isinstance(link, dict) and all(link.get(key) for key in required)]


def tunnel_problems(fleet):
    """Yield what is wrong with the tunnels of a Fleet, before any host is contacted."""
    links, seen, sound = entries(fleet), set(), []
    for link in links:
        problems = list(link_problems(fleet, link))
        if link["name"] in seen:
            problems.append(FleetError("Two tunnels have one name", f"tunnel {link['name']}",
                                       wanted="a name of its own for each", option=f"name in {OPTION}"))
        seen.add(link["name"])
        yield from problems
        if not problems:
            sound.append(parse_link(link, addresses(fleet)))
    for link in sound:
        yield from source_problems(fleet, link)
    yield from port_problems(fleet, sound)


def addresses(fleet):
    """Return how the controller reaches each host, by its name in the inventory."""
    return {host: str(fleet.variables.get(host, {}).get("ansible_host") or host) for host in fleet.hosts}


def link_problems(fleet, link):
    tunnel = f"tunnel {link['name']}"
    if not NAME.fullmatch(str(link["name"])):
        yield FleetError("The tunnel has a name that no unit can have", tunnel,
                         wanted="at most 40 lower-case letters, digits, hyphens and underscores",
                         option=f"name in {OPTION}")
    for side in ("from", "to"):
        if link[side] not in fleet.hosts:
            meant = closest(str(link[side]), fleet.hosts, 0.6)
            yield FleetError("The tunnel ends at a host that is not in the inventory", tunnel,
                             f"{side} {link[side]}", meant or f"one of {listing(fleet.hosts)}",
                             f"{side} in {OPTION}")
    if link["from"] == link["to"]:
        yield FleetError("The tunnel has both ends on one host", tunnel, f"from and to {link['to']}",
                         "two hosts", f"from or to in {OPTION}")
    for key, default in (("listen", LOOPBACK), ("wire", ANY), ("target", LOOPBACK)):
        try:
            endpoint = parse_endpoint(link[key], default)
        except ValueError as error:
            yield FleetError("The tunnel has an address that cannot be read", tunnel, f"{key} {link[key]}",
                             "PORT or ADDRESS:PORT", f"{key} in {OPTION}", cause=error)
            continue
        if key != "target" and endpoint.port < LOWEST_PORT:
            yield FleetError("The tunnel listens on a port that takes privileges", tunnel,
                             f"{key} {link[key]}", f"a port from {LOWEST_PORT} to {HIGHEST_PORT}",
                             f"{key} in {OPTION}")
        if key != "target" and not endpoint.ip:
            yield FleetError("The tunnel listens on a name, which is looked up only when it starts", tunnel,
                             f"{key} {link[key]}", "an IP address of the host", f"{key} in {OPTION}")
    for key in NUMBERS:
        value = link.get(key)
        if value is not None and not (str(value).isdigit() and int(value) > 0):
            yield FleetError("The tunnel has a number that spiped does not take", tunnel, f"{key} {value}",
                             "1 or more", f"{key} in {OPTION}")


def source_problems(fleet, link):
    """The firewall knows addresses only."""
    if not truth(fleet.value(link.end, "tunnels_firewall")):
        return
    for source in link.sources:
        try:
            ipaddress.ip_network(source, strict=False)
        except ValueError:
            yield FleetError(
                "The firewall cannot let a tunnel in by name", f"tunnel {link.name}",
                f"{link.origin} at {source}", "the addresses or networks it comes from",
                f"sources in {OPTION}, or tunnels_firewall to false",
            )


def port_problems(fleet, links):
    taken = [
        (host, endpoint, f"{key} {endpoint} of tunnel {link.name}")
        for link in links
        for host, endpoint, key in ((link.origin, link.listen, "listen"), (link.end, link.wire, "wire"))
    ]
    for number, (host, endpoint, what) in enumerate(taken):
        for other_host, other, other_what in taken[:number]:
            if host == other_host and endpoint.overlaps(other):
                yield FleetError("Two ends of tunnels use one port", host, f"{other_what}, {what}",
                                 "a port of its own for each", f"listen or wire in {OPTION}")
        if host in fleet.nodes and endpoint.port in SWARM_PORTS:
            yield FleetError("The tunnel uses a port of the Swarm", host, what, "another port",
                             f"listen or wire in {OPTION}")
    for link in links:
        if link.target.ip and link.target.ip.is_loopback and link.target.port == link.wire.port:
            yield FleetError("The tunnel leads into itself", f"tunnel {link.name}",
                             f"target {link.target}, wire {link.wire}", "two ports",
                             f"target or wire in {OPTION}")


# --- one host ---------------------------------------------------------------------------------------------


def render_options(link, host, mark):
    """Return the file that tells the unit one end of a tunnel.

    mark: what else a running end depends on, so that a change of it shows in this file.
    """
    encrypts = link.origin == host
    source = link.listen if encrypts else link.wire
    target = Endpoint(link.address, link.wire.port) if encrypts else link.target
    lines = [
        f"# Written by the role gpufleet.swarm.tunnels for tunnel {link.name}: {link.origin} to {link.end}.",
        f"# {mark}",
        f"TUNNEL_MODE={'-e' if encrypts else '-d'}",
        f"TUNNEL_SOURCE={source}",
        f"TUNNEL_TARGET={target}",
        *(f"TUNNEL_{name.upper()}={value}" for name, value in link.numbers.items()),
    ]
    return "\n".join(lines) + "\n"


def render_rules(links):
    """Return the nftables rules that let only the peers reach the wire ports of these tunnels, or ''.

    The table is our own, so that it goes as it came. It only narrows what other rules of the host allow, and
    names no port but those of tunnels.
    """
    if not links:
        return ""
    lines = [
        "# Written by the role gpufleet.swarm.tunnels: only the peer of a tunnel reaches its port.",
        f"add table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        "\tchain input {",
        "\t\ttype filter hook input priority -10; policy accept;",
        '\t\tiifname "lo" accept',
    ]
    for link in sorted(links, key=lambda one: one.name):
        networks = [ipaddress.ip_network(source, strict=False) for source in link.sources]
        for version, family in ((4, "ip"), (6, "ip6")):
            allowed = ", ".join(sorted(short(one) for one in networks if one.version == version))
            if allowed:
                lines.append(f"\t\ttcp dport {link.wire.port} {family} saddr {{ {allowed} }} accept")
        lines.append(f"\t\ttcp dport {link.wire.port} drop")
    return "\n".join([*lines, "\t}", "}"]) + "\n"


def short(network):
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def paths_of(names):
    """Return the paths that tell whether the tunnels of these names are as they should be.

    The keys are not among them: host_info tells the SHA-256 of a file, which of a key is as good as the key.
    """
    units = [f"{UNITS}/{UNIT}", f"{UNITS}/{FIREWALL_UNIT}", f"{WANTS}/{FIREWALL_UNIT}"]
    ends = [path for name in names for path in (options_path(name), running_path(name), link_path(name))]
    return [FOLDER, *units, RULES, RULES_LOADED, *ends]


def options_path(name):
    return f"{FOLDER}/{name}.conf"


def key_path(name):
    return f"{FOLDER}/{name}.key"


def running_path(name):
    """Return where a running end keeps the options it started with; systemd removes it when the end stops."""
    return f"{RUNNING}/{name}/options"


def link_path(name):
    return f"{WANTS}/{instance(name)}"


def instance(name):
    return UNIT.replace("@", f"@{name}")


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Host:
    """What one host has to do for its tunnels.

    name          of the host in the inventory
    links         the Links that end here
    gone          names of tunnels that ended here and do so no more
    reading       ``host`` of host_info, with the paths of paths_of()
    fingerprints  {tunnel: fingerprint of its key, None if it is still to be made}
    units         {file name: text} of both units
    firewall      whether the wire ports are for the peers alone
    """

    def __init__(self, name, links, gone, reading, fingerprints, units, firewall):
        self.name, self.links, self.gone = name, sorted(links, key=lambda one: one.name), sorted(gone)
        self.paths, self.packages, self.listening = (
            reading["paths"], reading["packages"], reading["listening"]
        )
        self.fingerprints, self.units = fingerprints, units
        self.rules = render_rules([link for link in links if link.end == name] if firewall else [])

    def plan(self):
        """Return what has to be done, with ``actions`` that say it in sentences."""
        wanted = self.wanted_files()
        files = [
            {"path": path, "content": text, "mode": mode}
            for path, (text, mode) in wanted.items()
            if not self.holds(path, text, mode)
        ]
        written = {file["path"] for file in files}
        plan = {
            "packages": self.missing_packages(),
            "files": files,
            # systemd finds a new unit by itself; one that has changed it has to read again.
            "reload": any(self.exists(path) for path in written if path.startswith(UNITS)),
            "links": self.missing_links(),
            "firewall": self.firewall_step(),
            "restart": [link.name for link in self.links if not self.runs(link)],
            "gone": self.gone,
            "stop": [name for name in self.gone if self.may_run(name)],
            "remove": self.superfluous(),
            "waits": self.waits(),
        }
        plan["actions"] = self.sentences(plan)
        return plan

    def problems(self):
        """Yield why nothing should be started here."""
        yield from self.version_problems()
        for link in self.links:
            mine = link.listen if link.origin == self.name else link.wire
            for socket in self.listening:
                if socket["protocol"] == "tcp" and not self.ours(socket) and mine.overlaps(
                    Endpoint(socket["address"], socket["port"])
                ):
                    key = "listen" if link.origin == self.name else "wire"
                    yield FleetError(
                        "The port of a tunnel is taken", self.name,
                        f"{key} {mine} of tunnel {link.name} held by {socket['process'] or 'the kernel'}",
                        "a free port", f"{key} in {OPTION}, or stop it",
                    )
                    break

    def warnings(self):
        """Return what deserves a look and stops nothing."""
        found = self.version("spiped")
        if found and OLDEST_SPIPED <= found < WANTED_SPIPED:
            # Without the host's name, so that Ansible shows it once for all hosts.
            return [
                f"spiped {dotted(found)} is older than {dotted(WANTED_SPIPED)}, which fixes an abort; after "
                "one, systemd starts the tunnel again. Upgrade when your distribution has it."
            ]
        return []

    # what is wanted

    def wanted_files(self):
        if not self.links:
            return {}
        files = {f"{UNITS}/{UNIT}": (self.units[UNIT], "0644")}
        unit = digest(self.units[UNIT])[:16]
        for link in self.links:
            mark = f"Unit {unit}, key {self.fingerprints.get(link.name) or 'to be made'}."
            files[options_path(link.name)] = (render_options(link, self.name, mark), "0644")
        if self.rules:
            files[f"{UNITS}/{FIREWALL_UNIT}"] = (self.units[FIREWALL_UNIT], "0644")
            files[RULES] = (self.rules, "0644")
        return files

    def missing_packages(self):
        wanted = (["spiped"] if self.links else []) + (["nftables"] if self.rules else [])
        return [name for name in wanted if self.packages.get(name, {}).get("status") != "installed"]

    def missing_links(self):
        """Return the links that start a unit at boot, made by hand: enabling it would make systemd read all
        units again, upon which containers with GPUs can lose them."""
        links = {link_path(link.name): f"{UNITS}/{UNIT}" for link in self.links}
        if self.rules:
            links[f"{WANTS}/{FIREWALL_UNIT}"] = f"{UNITS}/{FIREWALL_UNIT}"
        return [{"path": path, "to": to} for path, to in links.items() if not self.exists(path)]

    def firewall_step(self):
        if self.rules:
            return None if self.holds(RULES_LOADED, self.rules) else "load"
        return "remove" if self.exists(RULES_LOADED) else None

    def superfluous(self):
        paths = [path for name in self.gone for path in (link_path(name), options_path(name))]
        if not self.rules:
            paths += [f"{WANTS}/{FIREWALL_UNIT}", f"{UNITS}/{FIREWALL_UNIT}", RULES]
        if not self.links:
            paths += [f"{UNITS}/{UNIT}", FOLDER]
        # A link to a unit that is gone is not seen by whoever follows it, and does not count as existing.
        return [path for path in paths if self.exists(path)]

    def waits(self):
        """Return what has to answer once the ends run: {name, address, port, what}."""
        waits = []
        for link in self.links:
            if link.origin == self.name:
                # The wire first: without it the other one is of no use.
                waits.append({
                    "name": link.name, "address": link.address, "port": link.wire.port,
                    "what": f"{link.end}, the other end, at {link.address} port {link.wire.port}",
                })
            mine = link.listen if link.origin == self.name else link.wire
            address = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(mine.address, mine.address)
            waits.append(
                {"name": link.name, "address": address, "port": mine.port, "what": f"spiped at {mine}"}
            )
        return waits

    def sentences(self, plan):
        return [
            *(f"install {name}" for name in plan["packages"]),
            *(f"write {file['path']}" for file in plan["files"]),
            *(f"start {path['path'].rpartition('/')[2]} at boot" for path in plan["links"]),
            *([f"{plan['firewall']} the rules of the firewall"] if plan["firewall"] else []),
            *(f"start tunnel {name} anew" for name in plan["restart"]),
            *(f"stop tunnel {name}" for name in plan["stop"]),
            *(f"remove {path}" for path in plan["remove"]),
        ]

    # what is there

    def exists(self, path):
        return self.paths[path]["exists"]

    def holds(self, path, text, mode=None):
        found = self.paths[path]
        return found["sha256"] == digest(text) and mode in (None, found["mode"])

    def runs(self, link):
        """Return whether the end runs with these options: the copy it made at its start equals them."""
        text, _mode = self.wanted_files()[options_path(link.name)]
        return self.holds(running_path(link.name), text)

    def may_run(self, name):
        """Return whether systemd may run an end, or try to: while that fails it has no running_path."""
        tried = self.exists(options_path(name)) and self.exists(f"{UNITS}/{UNIT}")
        return tried or self.exists(running_path(name))

    def ours(self, socket):
        """Return whether a listening socket may be one of our ends."""
        running = [*(link.name for link in self.links), *self.gone]
        return socket["process"] == "spiped" and any(self.exists(running_path(name)) for name in running)

    def version(self, package):
        found = self.packages.get(package, {})
        if found.get("status") != "installed":
            return None
        return tuple(map(int, re.findall(r"\d+", re.match(r"(?:\d+:)?([\d.]*)", found["version"]).group(1))))

    def version_problems(self):
        for package, oldest in (("spiped", OLDEST_SPIPED), ("systemd", OLDEST_SYSTEMD)):
            found = self.version(package)
            if self.links and found and found < oldest:
                yield FleetError(f"The package {package} is too old for tunnels", self.name,
                                 self.packages[package]["version"], f"{dotted(oldest)} or newer",
                                 "a newer release of the distribution")


def dotted(version):
    return ".".join(map(str, version))

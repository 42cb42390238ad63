# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host, as host_info read it, can carry the fleet. Private: may change in any release.

Pure: one reading in, problems (FleetError) and warnings (sentences) out, in a stable order.
"""
from __future__ import annotations

import ipaddress

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._membership import engine_problem

# The network an Engine takes for its bridge when it first starts, unless told otherwise.
BRIDGE = "172.17.0.0/16"
# Ports of a Swarm: its managers' API, and gossip between all nodes (Docker's documentation of swarm mode).
MANAGER_PORTS = (("tcp", 2377),)
NODE_PORTS = (("tcp", 7946), ("udp", 7946))
ENGINE_PROCESSES = ("dockerd", "docker-proxy")


def judge(name, reading, wanted):
    """Return (problems, warnings) of a host.

    name        its name in the inventory
    reading     the registered result of host_info, which may tell that the host was not reached
    wanted      what is asked of it: the options of the module validate_host
    """
    if "host" not in reading:
        return [unread(name, reading)], []
    host = reading["host"]
    problems = [*platform_problems(name, host, wanted), *clock_problems(name, reading["clock"], wanted)]
    warnings = list(clock_warnings(name, reading["clock"], wanted))
    if wanted["node"]:
        problems += [
            *kernel_problems(name, host, wanted),
            *storage_problems(name, host, wanted),
            *engine_problems(name, host),
            *pool_problems(name, host, wanted),
            *port_problems(name, host, wanted),
        ]
        warnings += kernel_warnings(name, host)
    return problems, warnings


def unread(name, reading):
    """Return the problem of a host that gave no answer."""
    # ansible-core 2.19 puts its own words before those of the connection.
    cause = " ".join(str(reading.get("msg", "")).split()).removeprefix("Task failed: ")
    if reading.get("unreachable"):
        return FleetError("The host cannot be reached", name, "no answer", "a login",
                          "ansible_host, ansible_user or the key", cause)
    cause = cause or " ".join(str(reading.get("module_stderr", "")).split())
    return FleetError("The host cannot be read", name, "a failure", "Python 3 and the rights of root",
                      "ansible_become and ansible_python_interpreter", cause)


def platform_problems(name, host, wanted):
    system = host["os"]
    platforms = {one: [str(version) for version in versions] for one, versions in wanted["platforms"].items()}
    if system["version_id"] not in platforms.get(system["id"], []):
        supported = "; ".join(f"{one} {', '.join(versions)}" for one, versions in platforms.items())
        yield FleetError("The operating system is not supported", name,
                         f"{system['id']} {system['version_id'] or system['name']}", supported,
                         "preflight_platforms")
    if host["architecture"] not in wanted["architectures"]:
        yield FleetError("The processor is not supported", name, host["architecture"],
                         ", ".join(wanted["architectures"]), "preflight_architectures")
    found, least = host["memory_bytes"] / 1e6, wanted["min_memory_mb"]
    if found < least:
        yield FleetError("The host has too little memory", name, f"{found:.0f} MB", f"at least {least} MB",
                         "more memory, or preflight_min_memory_mb")


def clock_problems(name, clock, wanted):
    offset, most = clock["offset_s"], wanted["max_clock_offset"]
    if abs(offset) > most:
        side = "ahead of" if offset > 0 else "behind"
        yield FleetError("The clock is wrong", name, f"{abs(offset):.1f} s {side} the controller",
                         f"at most {most:g} s", "time synchronisation there, or preflight_max_clock_offset")


def clock_warnings(name, clock, wanted):
    if clock["uncertainty_s"] > wanted["max_clock_offset"] >= abs(clock["offset_s"]):
        yield (f"{name}: reading the clock took {clock['uncertainty_s']:.1f} s, too long to tell whether it "
               f"is right to {wanted['max_clock_offset']:g} s.")


def kernel_problems(name, host, wanted):
    missing = [one for one in wanted["kernel_features"] if not host["features"].get(one)]
    if missing:
        yield FleetError("The kernel lacks what a Swarm needs", name, f"no {', '.join(missing)}",
                         ", ".join(wanted["kernel_features"]),
                         "a kernel with these modules, or preflight_kernel_features")
    missing = [one for one in wanted["cgroup_controllers"] if one not in host["cgroup_controllers"]]
    if missing:
        yield FleetError("The kernel does not limit what containers use", name,
                         f"no cgroup controller {', '.join(missing)}",
                         ", ".join(wanted["cgroup_controllers"]),
                         "the kernel's boot options (cgroup_enable), or preflight_cgroup_controllers")


def kernel_warnings(name, host):
    if not host["features"]["ipvs"]:
        yield (f"{name}: the kernel has no IPVS, so virtual addresses of services and the routing mesh "
               "carry no traffic there. Services get endpoint_mode dnsrr by default.")


def storage_problems(name, host, wanted):
    storage, least = host["storage"], wanted["min_disk_gb"]
    found = storage["free_bytes"] / 1e9
    if found < least:
        yield FleetError("The host has too little free space", name, f"{found:.1f} GB at {storage['path']}",
                         f"at least {least:g} GB", "more space, or preflight_min_disk_gb")


def engine_problems(name, host):
    # A node that has just started may still look for its managers; the role swarm waits for it.
    if host["swarm"]["state"] != "pending":
        problem = engine_problem(name, host, bare_allowed=True)
        if problem:
            yield problem
    if host["docker"]["config_error"]:
        yield FleetError("The Engine's configuration is no JSON object", name, host["docker"]["config_error"],
                         "a JSON object or no file", "the file right on this host")
    if host["docker"]["firewall_backend"] == "nftables":
        yield FleetError("The Engine's firewall backend does not work in a Swarm", name, "nftables",
                         "iptables", "firewall-backend in the daemon.json of this host")


def pool_problems(name, host, wanted):
    """Yield networks of the host that a pool overlaps. A Swarm that stands has its pool for good."""
    if host["swarm"]["state"] == "active":
        return
    routes = [ipaddress.ip_network(route) for route in host["routes"]]
    routes += [ipaddress.ip_interface(address).network for address in host["addresses"]]
    if not host["docker"]["answering"]:
        routes.append(ipaddress.ip_network(BRIDGE))
    for pool in wanted["address_pools"]:
        network = ipaddress.ip_network(pool)
        overlaps = [one for one in routes if one.version == network.version and one.overlaps(network)]
        if overlaps:
            found = ", ".join(dict.fromkeys(map(str, overlaps)))
            yield FleetError("The address pool overlaps with networks of the host", name,
                             f"{found} in or around {pool}", "a pool that nothing else uses",
                             "swarm_address_pools")


def port_problems(name, host, wanted):
    """Yield ports that another program holds, or another container publishes."""
    for port in wanted["ingress_ports"]:
        holder = port_holder(host, port, wanted["ingress_stack"])
        if holder:
            yield FleetError("A port of the ingress is taken", name, f"tcp port {port} held by {holder}",
                             "a free port", "another ingress_http_port or ingress_https_port, or stop it")
    ports = [*NODE_PORTS, *(MANAGER_PORTS if wanted["manager"] else ()), ("udp", wanted["data_path_port"])]
    # The kernel itself holds the port of VXLAN and shares it, so a socket without a process is no conflict.
    holders = {
        (one["protocol"], one["port"], one["process"]): None
        for one in host["listening"]
        if (one["protocol"], one["port"]) in ports and one["process"] not in (None, "dockerd")
    }
    for protocol, port, process in holders:
        yield FleetError("A port of the Swarm is taken", name, f"{protocol} port {port} held by {process}",
                         "a free port", "the other program to another port")


def port_holder(host, port, stack):
    """Return who holds a tcp port that the ingress will publish, unless the ingress itself does."""
    for one in host["docker"]["published"]:
        if (one["protocol"], one["port"]) == ("tcp", port):
            return None if one["stack"] == stack else f"container {one['container']}"
    for one in host["listening"]:
        if (one["protocol"], one["port"]) == ("tcp", port) and one["process"] not in ENGINE_PROCESSES:
            return one["process"] or "a process that cannot be seen"
    return None

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node can leave the Swarm, and what happens then. Pure. Private: may change in any release."""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._membership import HOST, minority


def departure(nodes, name, services, lost=False):
    """Return what it means to take a host out of the Swarm.

    nodes       what host_info returned as swarm.nodes, read through a manager that stays
    name        the host's name in the inventory
    services    what stack_info returned as services
    lost        whether the host is gone for good: its tasks cannot be moved, and it cannot be told to leave

    problems    [FleetError]; with any, nothing may be done
    entries     the entries of the host, [] where the Swarm knows none
    actions     [sentence], in the order they happen
    """
    entries = [node for node in nodes if node["labels"].get(HOST) == name]
    if not entries:
        return {"problems": [], "entries": [], "actions": []}
    staying = [node for node in nodes if node not in entries]
    problems = [*_wrongly_lost(entries, name, lost), *_leaderless(entries, staying, name)]
    if not lost:
        problems += _homeless(services, name)
    return {"problems": problems, "entries": entries, "actions": list(_actions(entries, services, lost))}


def _wrongly_lost(entries, name, lost):
    """Yield the problem of a host that is up and is called lost, or the other way round."""
    state = next((node["state"] for node in entries if node["state"] == "ready"), entries[0]["state"])
    if lost and state == "ready":
        yield FleetError("The node is not lost", name, f"state {state}", "down",
                         "remove_node_lost: false, so that its tasks move first")
    elif not lost and state != "ready":
        yield FleetError("The node cannot be told to leave", name, f"state {state}", "ready",
                         "the host right first, or remove_node_lost: true if it never comes back")


def _leaderless(entries, staying, name):
    """Yield the problem of a Swarm that would lose its managers' majority."""
    if not any(node["role"] == "manager" for node in staying):
        yield FleetError("The node is the only manager of its Swarm", name, "no other manager",
                         "another one, to go on with", "one more host under managers, and run site.yml")
    elif any(node["role"] == "manager" for node in entries):
        problem = minority(staying, name)
        if problem:
            yield problem


def _homeless(services, name):
    """Yield one problem for all services that no other node may run."""
    names = [service["name"] for service in services if service["desired"] and service["places"] == [name]]
    if names:
        yield FleetError("Services can run on no other node", name, ", ".join(names), "another node for each",
                         "where they are to be (docs/systems.md; of the ingress swarm_ingress), move their "
                         "data, and run site.yml")


def _actions(entries, services, lost):
    """Yield what happens, in sentences."""
    hostnames = {node["hostname"] for node in entries}
    if not lost:
        moving = sorted(
            service["name"] for service in services
            if hostnames & set(service["nodes"]) and not service["mode"].startswith("global")
        )
        yield "drain it" + (f", so that tasks of {', '.join(moving)} move to other nodes" if moving else "")
    if any(node["role"] == "manager" for node in entries):
        yield "make it a worker"
    if not lost:
        yield "let it leave the Swarm"
    for node in entries:
        yield f"remove its entry {node['id']}"

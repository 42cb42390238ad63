# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes have to have which images before a stack is written. Pure. Private: may change in any release.

Swarm may start a task on every node that fits, now or when another node is lost, so all of them count.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.claims import reservations
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.placement import fits

# What a plan may say of the tasks of a service that does not have it start any.
_QUIET = ("stay", "stop", None)


def needed(services, planned, nodes, everything):
    """Return {node: [images]}, by the inventory's name of a node where role swarm has labelled it.

    services    what is wanted, {name: {"spec": ...}}
    planned     the Plan
    nodes       observe.nodes()
    everything  whether services count that the plan has start no task
    """
    starting = {item.name for item in planned.items if item.kind == "service" and item.tasks not in _QUIET}
    found = {}
    for name, service in services.items():
        spec = service["spec"]
        replicas = ((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas", 1)
        if replicas == 0 or not (everything or name in starting):
            continue
        image = spec["TaskTemplate"]["ContainerSpec"]["Image"]
        for node in nodes:
            if _takes_tasks(node) and could_run(node, spec):
                found.setdefault(name_of(node), set()).add(image)
    return {node: sorted(images) for node, images in sorted(found.items())}


def _takes_tasks(node):
    return node["state"] == "ready" and node["availability"] not in ("drain", "pause")


def name_of(node):
    """Return the inventory's name of a node where role swarm has labelled it, else its host name."""
    return node["labels"].get("gpufleet.host") or node["hostname"]


def could_run(node, spec):
    """Tell whether a node meets the constraints of a service and advertises what one task of it reserves."""
    constraints = (spec["TaskTemplate"].get("Placement") or {}).get("Constraints")
    return fits(node, constraints) and all(
        node["resources"].get(kind, 0) >= number for kind, number in reservations(spec).items()
    )

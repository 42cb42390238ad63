# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data must say where it lives. Pure. Private: may change in any release.

A volume or a bind mount is on one node. Where a service with one may run on several nodes, the first
reschedule leaves its data behind, so such a service is refused before anything is written.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError


def check(services, nodes):
    """Raise FleetError for the first stateful service without a place. nodes: None where none are known."""
    if nodes is None or len(nodes) < 2:
        return
    for name, service in sorted(services.items()):
        if not service.get("stateful"):
            continue
        constraints = ((service["spec"]["TaskTemplate"].get("Placement") or {}).get("Constraints")) or []
        if any(_names_a_place(text) for text in constraints):
            continue
        fitting = [node["hostname"] for node in nodes if fits(node, constraints)]
        if len(fitting) > 1:
            raise FleetError(
                "A service keeps data but does not say on which node",
                target=name,
                found=f"{_mounts(service['stateful'])}; {len(fitting)} nodes it may run on "
                f"({', '.join(sorted(fitting))})",
                wanted="a place",
                option="deploy.placement.constraints, for example node.labels.gpufleet.host==NAME",
            )


def fits(node, constraints):
    """Tell whether a node meets placement constraints, as far as observe.nodes() tells of it."""
    return all(_fits(node, text) for text in constraints or ())


def _names_a_place(constraint):
    """A host, an id or a label of a node is a decision of the user; a role or a platform is not."""
    left, found, _right = constraint.partition("==")
    left = left.strip()
    return bool(found) and (
        left in ("node.hostname", "node.id", "node.ip") or left.startswith(("node.labels.", "engine.labels."))
    )


def _fits(node, constraint):
    for operator, wanted in (("==", True), ("!=", False)):
        left, found, right = constraint.partition(operator)
        if found:
            values = {"node.role": node["role"], "node.hostname": node["hostname"], "node.id": node["id"]}
            for prefix, labels in (
                ("node.labels.", node["labels"]),
                ("engine.labels.", node["engine_labels"]),
            ):
                if left.strip().startswith(prefix):
                    values[left.strip()] = labels.get(left.strip()[len(prefix) :], "")
            if left.strip() not in values:
                return True
            return (values[left.strip()].lower() == right.strip().lower()) is wanted
    return True


def _mounts(stateful):
    return ", ".join(f"{entry['mount']}: {entry['reason']}" for entry in stateful)

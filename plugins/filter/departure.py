# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: departure
author: The gpufleet contributors (@gpufleet)
version_added: "0.1.0"
short_description: Say whether a host can leave its Swarm, and what happens then
description:
  - Refuses what would leave the managers without a majority, and services without a node that may run them.
  - Called by the playbook C(remove_node), which carries it out.
positional: _input, name, services
options:
  _input:
    description: What M(gpufleet.swarm.host_info) returned as C(host.swarm.nodes) of a manager that stays.
    type: list
    elements: dict
    required: true
  name:
    description: Name of the host in the inventory.
    type: str
    required: true
  services:
    description: What M(gpufleet.swarm.stack_info) returned as C(services).
    type: list
    elements: dict
    required: true
  lost:
    description: Whether the host is gone for good.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See what it means to take a node out
  ansible.builtin.debug:
    msg: "{{ reading.host.swarm.nodes | gpufleet.swarm.departure('worker2', stacks.services) }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), sentences that say why it cannot leave; C(entries), what the Swarm lists of it, empty where
      it knows no such node; C(actions), what happens, in sentences and in order.
  type: dict
"""

from ansible_collections.gpufleet.swarm.plugins.module_utils import _departure


def departure(nodes, name, services, lost=False):
    """Return problems as texts, entries and actions."""
    found = _departure.departure(nodes, name, services, lost)
    return {**found, "problems": [str(problem) for problem in found["problems"]]}


class FilterModule:
    """Register the filter."""

    def filters(self):
        """Return the filter by name."""
        return {"departure": departure}

#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done on the controller by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: swarm_plan
short_description: Plan who joins the Swarm, changes role or gets labels
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Compares on the controller what M(gpufleet.swarm.host_info) has read with the inventory. It contacts no
    host.
  - A host in another Swarm, a Swarm in trouble, an Engine that does not answer and a demotion that would end
    the majority of the managers are failures, and all of them come in one message.
  - A host whose state was wiped is told by the entry it left behind, whose foreign labels and availability go
    to its new entry.
  - Nodes that are in no inventory are a warning.
  - Called by the role C(swarm), which carries the plan out.
options:
  seen:
    description: What M(gpufleet.swarm.host_info) returned as C(host), by the names of the inventory.
    type: dict
    required: true
  wanted:
    description:
      - For each host that may be changed C(address), C(labels) and C(availability) (V(keep), V(active),
        V(pause) or V(drain)).
    type: dict
    required: true
  managers:
    description: The inventory's managers. The first that manages a Swarm is acted through.
    type: list
    elements: str
    required: true
  workers:
    description: The inventory's workers.
    type: list
    elements: str
    required: true
  strict:
    description: Whether a node that is not ready is a failure, and not something to wait for.
    type: bool
    default: false
attributes:
  check_mode:
    description: Changes nothing. In check mode a host without an Engine counts as one that is in no Swarm.
    support: full
  diff_mode:
    description: Changes nothing, so there is never a difference. RV(plan.actions) tells what will be.
    support: none
  idempotent:
    description: Running it twice is running it once.
    support: full
"""

EXAMPLES = r"""
- name: Plan the Swarm
  gpufleet.swarm.swarm_plan:
    seen: {manager1: "{{ reading.host }}"}
    wanted: {manager1: {address: 192.0.2.1, labels: {rack: a}, availability: keep}}
    managers: [manager1]
    workers: []
  register: result
"""

RETURN = r"""
plan:
  description: What has to be done.
  returned: success
  type: dict
  contains:
    acting:
      description: The host through which the Swarm is managed.
      type: str
      returned: success
    address:
      description: Where its Swarm is joined.
      type: str
      returned: success
      sample: 192.0.2.1:2377
    init:
      description: Whether the acting host has to make the Swarm first.
      type: bool
      returned: success
    join:
      description: V(manager) or V(worker) for each host that has to join.
      type: dict
      returned: success
    former:
      description: Entries with C(id), C(host) and C(role) that wiped hosts left behind, to be removed.
      type: list
      elements: dict
      returned: success
    promote:
      description: Hosts to become managers.
      type: list
      elements: str
      returned: success
    demote:
      description: Hosts to become workers.
      type: list
      elements: str
      returned: success
    updates:
      description: For each host that differs C(id), C(labels), C(labels_to_remove) and C(availability).
      type: dict
      returned: success
    wait:
      description: Ids of nodes that are not C(ready), not C(reachable) or not C(down) yet and have to be.
      type: dict
      returned: success
    settled:
      description: Whether there is nothing to wait for.
      type: bool
      returned: success
    actions:
      description: For each host that something happens to, what happens, in sentences.
      type: dict
      returned: success
      sample: {worker1: [join the Swarm as worker, set label rack=a]}
"""

#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: tunnels_plan
short_description: Read a host and plan what it has to do for its tunnels
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Reads the host once, with M(gpufleet.swarm.host_info), and compares it on the controller with the tunnels
    of the inventory. However many tunnels end there, it is one remote call.
  - A port that another program holds, and a spiped or systemd that is too old, are failures, and all of them
    come in one message. A spiped older than 1.6.4 is a warning.
  - Called by the role C(tunnels), which carries the plan out.
options:
  links:
    description:
      - The value of C(tunnels_links), all of it. Those that end on this host count.
      - A peer is at its C(ansible_host), unless the tunnel says otherwise.
    type: list
    elements: dict
    required: true
  gone:
    description: Names of tunnels that ended on this host and do so no more.
    type: list
    elements: str
    default: []
  keys:
    description: Folder on the controller with the keys, one C(NAME.key) for each tunnel.
    type: path
    required: true
  units:
    description: The text of each unit, by its file name.
    type: dict
    required: true
  firewall:
    description: Whether the wire port of a tunnel is for its peer alone.
    type: bool
    default: true
attributes:
  check_mode:
    description: Changes nothing. In check mode it reports a change when anything would be changed.
    support: full
  diff_mode:
    description: In check mode the difference is the list of RV(plan.actions).
    support: full
  idempotent:
    description: Running it twice is running it once.
    support: full
"""

EXAMPLES = r"""
- name: Plan the tunnels of this host
  gpufleet.swarm.tunnels_plan:
    links: "{{ tunnels_links }}"
    keys: "{{ inventory_dir }}/credentials/tunnels"
    units: {"gpufleet-tunnel@.service": "{{ lookup('ansible.builtin.file', 'gpufleet-tunnel@.service') }}"}
  register: result
  become: true
"""

RETURN = r"""
plan:
  description: What has to be done.
  returned: success
  type: dict
  contains:
    keys:
      description: The O(gpufleet.swarm.spiped_key#module:keys) that deliver and remove the keys of this host.
      type: list
      elements: dict
      returned: success
    packages:
      description: Packages to install.
      type: list
      elements: str
      returned: success
    files:
      description: Files to write, with C(path), C(content) and C(mode).
      type: list
      elements: dict
      returned: success
    reload:
      description: Whether systemd has to read its units again, as one of ours has changed.
      type: bool
      returned: success
    links:
      description: Links that start a unit at boot, with C(path) and C(to).
      type: list
      elements: dict
      returned: success
    firewall:
      description: V(load) or V(remove) the rules; null when they are as they should be.
      type: str
      returned: success
    restart:
      description: Tunnels to start, anew if they run.
      type: list
      elements: str
      returned: success
    gone:
      description: The value of O(gone), sorted.
      type: list
      elements: str
      returned: success
    stop:
      description: Tunnels to stop.
      type: list
      elements: str
      returned: success
    remove:
      description: Paths to remove, in this order.
      type: list
      elements: str
      returned: success
    waits:
      description: What has to answer once the ends run, with C(name), C(address), C(port) and C(what).
      type: list
      elements: dict
      returned: success
    actions:
      description: All of it in sentences; empty when there is nothing to do.
      type: list
      elements: str
      returned: success
"""

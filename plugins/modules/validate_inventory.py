#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done on the controller by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: validate_inventory
short_description: Refuse an inventory that cannot work, before any host is contacted
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Runs on the controller and looks at every host of the inventory, whatever C(--limit) says. Run it once.
  - Checks the groups, an odd number of managers, the addresses, C(fleet_domain), C(fleet_systems), the
    address pools, the node labels, the tunnels with their keys, and the value of every variable that a role
    of this collection specifies.
  - A variable whose name begins like a role of this collection (C(docker_), C(swarm_), ...) and is in no
    role's C(meta/argument_specs.yml) is a mistake. List it in C(fleet_ignored_variables) if it is none.
  - All problems come in one message. Each names the host, the value found, the value wanted, what to set.
options: {}
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: Refuse an inventory that cannot work
  hosts: all
  gather_facts: false
  tasks:
    - name: Check the inventory
      gpufleet.swarm.validate_inventory:
      run_once: true
"""

RETURN = r"""
msg:
  description: All problems, one numbered sentence on a line of its own for each.
  returned: failure
  type: str
  sample: |-
    The inventory has 1 problem; no host was contacted.
    1. The variable is not known to any role (manager1, worker1): found docker_verson, wanted docker_version,
    set the right name, or fleet_ignored_variables.
"""

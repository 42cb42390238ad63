#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done on the controller by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: validate_host
short_description: Refuse a host that cannot carry the fleet
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Judges on the controller what M(gpufleet.swarm.host_info) has read. It contacts no host.
  - All problems of a host come in one message. Each names the host, the value found, the value wanted and
    what to set. What is odd and not in the way is a warning.
  - Called by the role C(preflight), which holds the usual values of its options.
options:
  reading:
    description: The registered result of M(gpufleet.swarm.host_info), also where the host was not reached.
    type: dict
    required: true
  node:
    description: Whether the host is to be a node of the Swarm. Of others less is asked.
    type: bool
    default: true
  manager:
    description: Whether the node is to be a manager, which needs port 2377.
    type: bool
    default: false
  platforms:
    description: Supported versions for each operating system, named as os-release(5) does.
    type: dict
    required: true
  architectures:
    description: Supported machine names of C(uname -m).
    type: list
    elements: str
    required: true
  kernel_features:
    description: Kernel features a node needs, named as in C(host.features) of M(gpufleet.swarm.host_info).
    type: list
    elements: str
    required: true
  cgroup_controllers:
    description: Control group controllers a node needs.
    type: list
    elements: str
    required: true
  min_disk_gb:
    description: Free space a node needs where the Engine keeps its data, in gigabytes of 10^9 bytes.
    type: float
    required: true
  min_memory_mb:
    description: Memory the host needs, in megabytes of 10^6 bytes.
    type: int
    required: true
  max_clock_offset:
    description: Seconds by which the host's clock may differ from the controller's.
    type: float
    required: true
  address_pools:
    description: Networks that the Swarm will take subnets from. None may overlap with one of the host's.
    type: list
    elements: str
    default: []
  data_path_port:
    description: UDP port of the traffic between containers.
    type: int
    default: 4789
  ingress_ports:
    description: TCP ports that the ingress publishes on this host, if it does.
    type: list
    elements: int
    default: []
  ingress_stack:
    description: Name of the stack that may hold O(ingress_ports) already.
    type: str
    default: ingress
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: Read the host
  gpufleet.swarm.host_info:
  register: reading
  ignore_unreachable: true

- name: Refuse it if it cannot work
  gpufleet.swarm.validate_host:
    reading: "{{ reading }}"
    platforms: {debian: ["12", "13"]}
    architectures: [x86_64]
    kernel_features: [overlay, vxlan]
    cgroup_controllers: [cpu, memory]
    min_disk_gb: 10
    min_memory_mb: 900
    max_clock_offset: 5
"""

RETURN = r"""
msg:
  description: All problems of the host, one numbered sentence on a line of its own for each.
  returned: failure
  type: str
  sample: |-
    The host worker1 has 1 problem; nothing was changed on any host.
    1. A port of the ingress is taken (worker1): found tcp port 80 held by nginx, wanted a free port, ...
"""

#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done on the controller by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: gpu_plan
short_description: Plan what makes the cards of a host usable to the Swarm
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Judges and plans on the controller from what M(gpufleet.swarm.gpu_info) has read. It contacts no host.
  - All problems of a host come in one message, before anything is changed. Each names what was found, what is
    wanted and the variable or command that settles it.
  - Called by the role P(gpufleet.swarm.nvidia#role), which carries the plan out and describes each option in
    full under its own names.
options:
  reading:
    description: What M(gpufleet.swarm.gpu_info) returned as C(gpus).
    type: dict
    required: true
  state:
    description: Whether the cards are to be usable, or what the role has set is to be taken back.
    type: str
    choices: [present, absent]
    default: present
  driver:
    description: Whether the driver is only checked, or installed.
    type: str
    choices: [check, install]
    default: check
  driver_branch:
    description: Branch of the driver to install.
    type: str
    default: ""
  driver_modules:
    description: Which of the driver's kernel modules.
    type: str
    choices: [open, proprietary]
    default: open
  driver_hold:
    description: Whether the driver's packages are held.
    type: bool
    default: true
  secure_boot_enrolled:
    description: Whether the firmware trusts the key that DKMS signs modules with.
    type: bool
    default: false
  reboot:
    description: Whether the host may be restarted.
    type: bool
    default: false
  cuda_toolkit:
    description: Version of the CUDA toolkit to install on the host.
    type: str
    default: ""
  toolkit_version:
    description: Version of the container toolkit's packages, with C(*) for any end.
    type: str
    default: ""
  toolkit_hold:
    description: Whether the container toolkit's packages are held.
    type: bool
    default: true
  toolkit_mode:
    description: Mode of the runtime.
    type: str
    choices: [auto, legacy, cdi, csv, jit-cdi]
    default: auto
  default_runtime:
    description: Whether the runtime is the Engine's default.
    type: bool
    default: true
  advertise:
    description: Whether the cards are resources that the Swarm grants.
    type: bool
    default: true
  kinds:
    description:
      - Kinds of cards, C(kind) with C(name), C(memory_min_mib), C(memory_max_mib). The first that fits is it.
    type: list
    elements: dict
    default: []
  default_kind:
    description: Kind of all other cards.
    type: str
    default: GPU
  shared:
    description: UUIDs of cards that services share, or V(all).
    type: list
    elements: str
    default: []
  installed:
    description: Whether the driver was installed by this run, so that what is still amiss is a problem.
    type: bool
    default: false
attributes:
  check_mode:
    description: Changes nothing, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is never a difference. RV(plan.actions) tells what will be done.
    support: none
  idempotent:
    description: Running it twice is running it once.
    support: full
"""

EXAMPLES = r"""
- name: Read the cards
  gpufleet.swarm.gpu_info:
  register: node

- name: Plan
  gpufleet.swarm.gpu_plan:
    reading: "{{ node.gpus }}"
    toolkit_version: 1.19.*
"""

RETURN = r"""
plan:
  description: What has to be done.
  returned: success
  type: dict
  contains:
    skipped:
      description: Why the host is left alone, empty where it is not.
      type: str
    driver:
      description: C(install), C(driver) (whether it is the driver itself), C(folder), C(key).
      type: dict
    reboot:
      description: Why the host has to be restarted, empty where it need not.
      type: str
    toolkit:
      description: C(install), C(library), and C(deaf), whether this release ignores grants in its own mode.
      type: dict
    units:
      description: What can be granted, each with C(uuid), C(kind), C(memory_mib), C(compute), C(shared).
      type: list
      elements: dict
    labels:
      description: The node's labels, by which stacks find cards and plan with them.
      type: dict
    daemon:
      description: The keys of C(daemon.json).
      type: dict
    files:
      description: Files to write, each C(path) with C(content); null removes it.
      type: list
      elements: dict
    links:
      description: Whether the links in C(/dev/char) have to be made now.
      type: bool
    hold:
      description: Packages to hold.
      type: list
      elements: str
    release:
      description: Packages to release.
      type: list
      elements: str
    actions:
      description: In sentences, what no task of the role can predict by itself.
      type: list
      elements: str
msg:
  description: All problems of the host, one numbered sentence on a line of its own for each.
  returned: failure
  type: str
"""

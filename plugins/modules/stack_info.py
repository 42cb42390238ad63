#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: stack_info
short_description: Tell what the services of a Swarm do at this moment
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Tells of each service how many of its tasks run, where, with which image, and if something is wrong, why.
  - Run it on a manager. It needs the Python standard library alone and an Engine of version 20.10 or later.
  - Nothing of a service's environment, arguments or labels is returned, for secrets may stand there.
options:
  names:
    description: Names of the stacks to tell of. By default all services are told of, of a stack or not.
    type: list
    elements: str
attributes:
  check_mode:
    description: Changes nothing, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is never a difference.
    support: none
  idempotent:
    description: Running it twice leaves the Swarm as it was.
    support: full
"""

EXAMPLES = r"""
- name: Look at the services
  gpufleet.swarm.stack_info:
    names: [ingress, linto]
  register: stacks
  become: true

- name: Refuse to go on while one does not run
  ansible.builtin.assert:
    that: stacks.services | rejectattr('ok') | length == 0
"""

RETURN = r"""
services:
  description: One entry per service, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the service, with that of its stack in front.
      type: str
      returned: success
    stack:
      description: Name of its stack, null for a service of none.
      type: str
      returned: success
    mode:
      description: V(replicated), V(global), V(replicated-job) or V(global-job).
      type: str
      returned: success
    image:
      description: Image without its digest.
      type: str
      returned: success
    digest:
      description: Digest of the image, null when the service names none.
      type: str
      returned: success
    running:
      description: Number of tasks that run.
      type: int
      returned: success
    desired:
      description: Number of tasks that should run, or in a job that should complete.
      type: int
      returned: success
    completed:
      description: Number of tasks of a job that have completed.
      type: int
      returned: success
    replicas:
      description: The same as a text, for example V(2/3) or V(1/1 completed).
      type: str
      returned: success
    update:
      description: State of its last update, for example V(completed) or V(paused); null when there was none.
      type: str
      returned: success
    nodes:
      description: Host names of the nodes on which its tasks run.
      type: list
      elements: str
      returned: success
    ok:
      description: Whether it does what it should.
      type: bool
      returned: success
    reason:
      description: Why not, with the newest error of its tasks; null when it does.
      type: str
      returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._status import read


def main():
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str"}},
        supports_check_mode=True,
    )
    try:
        services = read(module.params["names"])
    except FleetError as error:
        module.fail_json(msg=str(error), **error.as_result())
    except OSError as error:
        module.fail_json(msg=f"Cannot read the services: no Docker Engine answers on this host ({error}).")
    module.exit_json(changed=False, services=services)


if __name__ == "__main__":
    main()

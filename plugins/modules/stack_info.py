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
  - Tells of each service how many of its tasks run, where, with which image, and if something is wrong, why;
    and what others changed since M(gpufleet.swarm.stack) deployed it.
  - Run it on a manager. It needs the Python standard library alone and an Engine of version 20.10 or later.
  - Nothing of a service's environment, arguments or labels is returned, for secrets may stand there.
options:
  names:
    description: Names of the stacks to tell of. By default all services are told of, of a stack or not.
    type: list
    elements: str
  docker_host:
    description: Address of the Docker Engine as seen from the host, C(unix:///PATH) or, without TLS,
      C(tcp://HOST:PORT).
    type: str
    default: unix:///var/run/docker.sock
extends_documentation_fragment: gpufleet.swarm.reads_only
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

- name: Refuse to go on where someone changed a service by hand
  ansible.builtin.assert:
    that: stacks.services | selectattr('drift') | length == 0
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
    update_message:
      description: What Swarm says about that update, null when there was none.
      type: str
      returned: success
    nodes:
      description: Host names of the nodes on which its tasks run.
      type: list
      elements: str
      returned: success
    places:
      description: Nodes that meet its constraints and have the cards that one task of it claims, whether they
        take tasks now or not, by their names in the inventory (label C(gpufleet.host)) or, without one, their
        host names.
      type: list
      elements: str
      returned: success
    tasks:
      description: Its tasks, newest first, with the ended ones that Swarm still remembers (5 per slot unless
        the Swarm is set otherwise).
      type: list
      elements: dict
      returned: success
      contains:
        id:
          description: Id of the task.
          type: str
          returned: success
        slot:
          description: Number of the replica, null for a service that runs once per node.
          type: int
          returned: success
        node:
          description: Host name of its node, null while it has none.
          type: str
          returned: success
        state:
          description: Its state, for example V(running), V(starting), V(pending), V(failed), V(rejected).
          type: str
          returned: success
        desired_state:
          description: What Swarm wants of it, V(running), V(ready), V(complete), V(shutdown) or V(remove).
          type: str
          returned: success
        since:
          description: Time of its state, as the Engine writes it (UTC).
          type: str
          returned: success
        error:
          description: Why it failed or waits, null if it does neither.
          type: str
          returned: success
        exit_code:
          description: Exit code of its container, null while it runs and if there was none.
          type: int
          returned: success
    health:
      description: What the health check in its Compose file says, V(healthy), V(starting) or V(unhealthy);
        null without one. A check that only its image has is counted in RV(services[].running), since a task
        runs once its check has passed, but is not seen here.
      type: str
      returned: success
    drift:
      description: Fields that others changed since M(gpufleet.swarm.stack) deployed the service, in Compose
        words; empty when none; null when that cannot be known, as for a service that another tool deployed.
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
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    try:
        services = read(module.params["names"], module.params["docker_host"])
    except FleetError as error:
        module.fail_json(msg=str(error), **error.as_result())
    module.exit_json(changed=False, services=services)


if __name__ == "__main__":
    main()

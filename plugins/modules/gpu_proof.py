#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_proof
short_description: Prove that the tasks of a node see the cards they were granted
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Compares, for each running task of a Swarm service on this host, the cards that Swarm granted it with
    those that it sees. Any difference fails, with the likely cause and what settles it.
  - What was granted is read from the environment of the container as the Engine made it
    (C(DOCKER_RESOURCE_KIND)); without a grant, C(NVIDIA_VISIBLE_DEVICES) says what a task should see.
  - What is seen is what C(nvidia-smi -L) prints when it is started inside the task. Where the image brings no
    such program and the toolkit adds none, the devices in the task's C(/dev) are taken; they prove that a
    card is there and not that it answers. RV(proof.tasks) tells which it was.
  - Fails as well where the next task would not see its cards, although none runs now, and where a card that
    the node advertises is not there any more.
  - Starts C(nvidia-smi) in containers and on the host, and changes nothing. Run it as root on each host with
    cards. It needs the Python standard library alone and an Engine of version 20.10 or later.
options:
  names:
    description: Names of the stacks whose tasks are looked at. By default those of all services, of a stack
      or not.
    type: list
    elements: str
    default: []
  docker_host:
    description: Address of the Docker Engine as seen from the host, C(unix:///PATH) or, without TLS,
      C(tcp://HOST:PORT).
    type: str
    default: unix:///var/run/docker.sock
extends_documentation_fragment: gpufleet.swarm.reads_only
seealso:
  - module: gpufleet.swarm.gpu_info
  - module: gpufleet.swarm.stack
"""

EXAMPLES = r"""
- name: Prove that all tasks see their cards
  hosts: gpu
  become: true
  gather_facts: false
  tasks:
    - name: Compare what was granted with what is seen
      gpufleet.swarm.gpu_proof:
"""

RETURN = r"""
proof:
  description: What was found.
  returned: always
  type: dict
  contains:
    node:
      description: Name of the node.
      type: str
      returned: always
    tasks:
      description: Each running task, by the name of its service.
      type: list
      elements: dict
      returned: always
      contains:
        node:
          description: Name of the node.
          type: str
          returned: always
        service:
          description: Name of the service.
          type: str
          returned: always
        task:
          description: Id of the task.
          type: str
          returned: always
        claim:
          description:
            - V(granted) by Swarm, V(visible) without a grant, or V(none).
          type: str
          returned: always
        granted:
          description: The cards as Swarm named them to the task.
          type: list
          elements: str
          returned: always
        expected:
          description: UUIDs of the cards that it should see.
          type: list
          elements: str
          returned: always
        seen:
          description: UUIDs of the cards that it sees.
          type: list
          elements: str
          returned: always
        how:
          description: How that is known, V(nvidia-smi) or V(devices).
          type: str
          returned: always
        ok:
          description: Whether they are the same.
          type: bool
          returned: always
        reason:
          description: What is wrong, null where nothing is.
          type: str
          returned: always
    problems:
      description: All that is wrong, in sentences.
      type: list
      elements: str
      returned: always
    free:
      description: On a manager, the number of each kind of resource that no service of the Swarm reserves.
        Null on a worker.
      type: dict
      returned: always
      sample: {GPU: 1}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import proof
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.read import Host, collect
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import claims, observe
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import engine as engines

STACK = "com.docker.stack.namespace"
SERVICE = "com.docker.swarm.service.name"
TASK = "com.docker.swarm.task.id"
NO_PROGRAM = (126, 127)  # what a runtime ends with when there is no such program in a container


def seen(engine, container, cards, is_nvidia, devices):
    """Return {uuids, how, error} of what a container sees.

    devices  function from the id of a process to the names in its /dev
    """
    if is_nvidia:
        try:
            code, lines = engine.execute(container["Id"], ["nvidia-smi", "-L"])
        except engines.EngineError as exc:
            if exc.status is None or exc.status >= 500:
                return {"uuids": [], "how": "nvidia-smi", "error": f"no answer of nvidia-smi: {exc}"}
            code, lines = NO_PROGRAM[0], []
        if code not in NO_PROGRAM:
            text = "\n".join(lines)
            error = (lines[0] if lines else f"nvidia-smi ended with {code}") if code else None
            return {"uuids": proof.listed(text) if not code else [], "how": "nvidia-smi", "error": error}
    uuids = proof.of_devices(devices(container["State"]["Pid"]), cards)
    return {"uuids": uuids, "how": "devices", "error": None}


def devices_of(process):
    """Return the names in /dev as a process sees it; none for one that has ended in the meantime."""
    try:
        return set(os.listdir(f"/proc/{process}/root/dev"))
    except FileNotFoundError:
        return set()


def containers_of(engine, names, gpus, told, devices=devices_of):
    """Return the containers of tasks that run, as proof.prove takes them."""
    filters = {"label": [TASK], "status": ["running"]}
    found = []
    for entry in engine.get("/containers/json", filters=filters):
        labels = entry["Labels"]
        if names and labels.get(STACK) not in names:
            continue
        try:
            container = engine.get("/containers/{0}/json", entry["Id"])
        except engines.EngineError as exc:
            if exc.status == 404:
                continue  # it has ended in the meantime
            raise
        runtime = container["HostConfig"].get("Runtime") or "runc"
        is_nvidia = proof.is_nvidia(runtime, told)
        found.append(
            {
                "service": labels.get(SERVICE, ""),
                "task": labels[TASK],
                "runtime": runtime,
                "environment": dict(
                    one.partition("=")[::2] for one in container["Config"].get("Env") or []
                ),
                "seen": seen(engine, container, gpus["cards"], is_nvidia, devices),
            }
        )
    return found


def engine_facts(info):
    """Return what proof.prove wants to know of the Engine."""
    resources = []
    for entry in info.get("GenericResources") or []:
        one = entry.get("NamedResourceSpec") or entry.get("DiscreteResourceSpec")
        resources.append((one["Kind"], one.get("Value", 0)))
    return {
        "default_runtime": info.get("DefaultRuntime") or "runc",
        "runtimes": {name: one.get("path") or "" for name, one in (info.get("Runtimes") or {}).items()},
        "resources": resources,
    }


def run(params):
    """Return the result of the module."""
    engine = engines.connect(params["docker_host"])
    info = engine.get("/info")
    gpus, told = collect(Host(), []), engine_facts(info)
    tasks, problems = proof.prove(
        info["Name"], gpus, told, containers_of(engine, params["names"], gpus, told)
    )
    free = None
    if (info.get("Swarm") or {}).get("ControlAvailable"):
        free = claims.free(observe.nodes(engine), observe.others(engine, None))
    return {"node": info["Name"], "tasks": tasks, "problems": problems, "free": free}


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    try:
        found = run(module.params)
    except FleetError as exc:
        module.fail_json(msg=str(exc), error=exc.as_result())
    if found["problems"]:
        module.fail_json(msg="\n".join(found["problems"]), changed=False, proof=found)
    module.exit_json(changed=False, proof=found)


if __name__ == "__main__":
    main()

#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Keep logins of registries on a node
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Writes logins where C(docker login) does, into the file that the C(docker) command and the modules of
    community.docker read. Logins of others, and all else in the file, stay.
  - A login that is not in the file yet is tried first, by the Engine of the host. If the registry refuses
    one, nothing is written. What is there already is neither tried nor written again.
  - M(gpufleet.swarm.stack) does not read the file; it has O(gpufleet.swarm.stack#module:registry_logins).
  - Passwords lie in the file as C(docker login) leaves them, in base64, with mode 0600.
options:
  logins:
    description: The logins that have to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      registry:
        description: Its name as in the image, for example V(ghcr.io) or V(registry.example.org:5000).
          V(docker.io) is Docker Hub.
        type: str
        required: true
      username:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password or token.
        type: str
        required: true
  forget:
    description: Registries whose login has to go from the file.
    type: list
    elements: str
    default: []
  path:
    description: The file.
    type: path
    default: /root/.docker/config.json
  docker_host:
    description: Address of the Docker Engine that tries the logins, as seen from the host.
    type: str
    default: unix:///var/run/docker.sock
attributes:
  check_mode:
    support: full
    description: Tries no login.
  diff_mode:
    support: full
    description: Names registries, and nothing else of the file.
  idempotent:
    support: full
    description: A file that has the logins, and is for its owner alone, is not written.
"""

EXAMPLES = r"""
- name: Log the node in to a private registry
  gpufleet.swarm.registry_login:
    logins:
      - registry: registry.example.org:5000
        username: fleet
        password: "{{ registry_password }}"
  become: true
  no_log: true
"""

RETURN = r"""
actions:
  description: What was done, V(create), V(update) or V(remove), by registry.
  returned: success
  type: dict
  sample: {"registry.example.org:5000": create}
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files, _logins
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError, connect
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.images import check_logins
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import ARGUMENT_SPEC


def prove(engine, login):
    """Raise FleetError if a registry does not take a login."""
    document = {
        "username": login["username"],
        "password": login["password"],
        "serveraddress": _logins.server(login["registry"]),
    }
    try:
        engine.post("/auth", data=document)
    except EngineError as exc:
        raise FleetError(
            "A registry does not take the login",
            login["registry"],
            found=f"user {login['username']}",
            option="fleet_registry_logins (for the fleet's own registry, its file of the password)",
            cause=exc.cause or exc,
        ) from exc


def run(module):
    """Return the result of the module."""
    params = module.params
    check_logins(params["logins"])
    document = _logins.parse(_files.read(params["path"]), params["path"])
    for registry in _logins.elsewhere(document, params["logins"]):
        module.warn(
            f"The docker command does not use the login of {registry} in {params['path']}: it looks into the "
            "credential helper that the file names. Stacks are not concerned."
        )
    wanted, actions = _logins.apply(document, params["logins"], params["forget"])
    new = [login for login in params["logins"] if login["registry"] in actions]
    open_to_others = bool(params["logins"]) and bool((_files.mode(params["path"]) or 0) & 0o077)
    if (actions or open_to_others) and not module.check_mode:
        engine = connect(params["docker_host"]) if new else None
        for login in new:
            prove(engine, login)
        os.makedirs(os.path.dirname(params["path"]), mode=0o700, exist_ok=True)
        _files.write(params["path"], json.dumps(wanted, indent="\t").encode() + b"\n", mode=0o600)
    lines = "".join(f"{action} {registry}\n" for registry, action in sorted(actions.items()))
    return {
        "changed": bool(actions) or open_to_others,
        "actions": actions,
        "diff": {"before": "", "after": lines},
    }


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "logins": {**ARGUMENT_SPEC["registry_logins"]},
            "forget": {"type": "list", "elements": "str", "default": []},
            "path": {"type": "path", "default": "/root/.docker/config.json"},
            "docker_host": ARGUMENT_SPEC["docker_host"],
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except FleetError as exc:
        module.fail_json(msg=str(exc), error=exc.as_result())


if __name__ == "__main__":
    main()

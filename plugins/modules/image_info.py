#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image_info
short_description: Tell which images a node has, and which it can get
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Asks the Engine of the host for images by name, and on demand lets it ask their registries for those that
    it does not have. Nothing is pulled.
  - The registry is asked by the Engine itself (C(GET /distribution/NAME/json) of its API), with its mirrors,
    its certificates and its network, so the answer is that of this node.
  - It needs the Python standard library alone and an Engine of version 20.10 or later. In check mode a host
    without an Engine has no images.
options:
  images:
    description: Names with tag or digest, as a Compose file has them.
    type: list
    elements: str
    required: true
  ask_registries:
    description:
      - Of which images the registry is asked, V(never) of none, V(missing) of those that the host does not
        have, V(all) of the others too.
      - Docker Hub limits pulls and counts each question as one. V(sparingly) is V(missing), but asks Docker
        Hub only for the first image, which tells whether the host reaches it and is logged in; of the others
        RV(images.obtainable) is null.
    type: str
    choices: [never, sparingly, missing, all]
    default: never
  layers:
    description: Whether to tell the layers of all images of the host too.
    type: bool
    default: false
  registry_logins:
    description: Logins for the registries, see O(gpufleet.swarm.stack#module:registry_logins).
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
  docker_host:
    description: Address of the Docker Engine as seen from the host, C(unix:///PATH) or, without TLS,
      C(tcp://HOST:PORT).
    type: str
    default: unix:///var/run/docker.sock
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: Ask whether every node can run the next version
  gpufleet.swarm.image_info:
    images: [registry.example.org/shop:1.5]
    ask_registries: missing
  register: result
  become: true
  failed_when: result.images.values() | selectattr('cause') | length > 0
"""

RETURN = r"""
images:
  description: One entry for each name.
  returned: success
  type: dict
  contains:
    present:
      description: Whether the host has it.
      type: bool
      returned: success
    id:
      description: Its id, null where it is not present.
      type: str
      returned: success
    layers:
      description: Digests of its unpacked layers, the lowest first.
      type: list
      elements: str
      returned: success
    obtainable:
      description: Whether its registry gives it to this host; null where that was not asked.
      type: bool
      returned: success
    cause:
      description: Why it cannot be had, null otherwise.
      type: str
      returned: success
  sample:
    registry.example.org/shop:1.5:
      present: false
      id: null
      layers: []
      obtainable: false
      cause: "unauthorized: authentication required"
engine:
  description: Whether an Engine answered. Without one the module fails, but for check mode.
  returned: success
  type: bool
layers:
  description: The layers of each image of the host, whatever its name, the lowest first.
  returned: with O(layers=true)
  type: list
  elements: list
partial:
  description: Whether this Engine takes images whose archive lacks layers that it has. One that keeps its
    images in containerd's store does not.
  returned: with O(layers=true)
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils import _image_store
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import NoEngine, connect
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.images import check_logins
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import ARGUMENT_SPEC


def run(module):
    """Return the result of the module."""
    params = module.params
    check_logins(params["registry_logins"])
    try:
        engine = connect(params["docker_host"])
    except NoEngine:
        if not module.check_mode:
            raise
        none = {image: dict(_image_store.NOTHING) for image in params["images"]}
        told = {"layers": [], "partial": False} if params["layers"] else {}
        return {"engine": False, "images": none, **told}
    images = _image_store.look(engine, params["images"], params["ask_registries"], params["registry_logins"])
    result = {"engine": True, "images": images}
    if params["layers"]:
        result["layers"], result["partial"] = _image_store.layers_of_all(engine)
    return result


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "str", "required": True},
            "ask_registries": {
                "type": "str",
                "choices": ["never", "sparingly", "missing", "all"],
                "default": "never",
            },
            "layers": {"type": "bool", "default": False},
            "registry_logins": ARGUMENT_SPEC["registry_logins"],
            "docker_host": ARGUMENT_SPEC["docker_host"],
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **run(module))
    except FleetError as exc:
        module.fail_json(msg=str(exc), error=exc.as_result())


if __name__ == "__main__":
    main()

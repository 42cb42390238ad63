#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image_load
short_description: Bring images of an archive on the controller to a node that lacks them
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Compares an archive of images on the controller with what the Engine of the host has, and sends what is
    missing, image by image. Layers that the host has from other images are left out, if its Engine keeps its
    images in the classic store.
  - A host that has everything costs one remote call, in which no byte of an image is sent.
  - An archive is an uncompressed tar file as C(docker save) writes it. It may be larger than the controller's
    memory. The host needs room for the largest image twice, once in the folder of C(ansible_remote_tmp).
options:
  archive:
    description: The archive on the controller.
    type: path
    required: true
  images:
    description:
      - Names of those images of the archive that the host needs, as a Compose file has them. By default all
        of it.
      - They are names with tags. An Engine with the classic store learns digests from registries alone.
    type: list
    elements: str
  others:
    description: What to do about O(images) that the archive does not have, V(refuse) or V(skip) them.
    type: str
    choices: [refuse, skip]
    default: refuse
  docker_host:
    description: Path of the socket of the Docker Engine, C(unix:///PATH).
    type: str
    default: unix:///var/run/docker.sock
  part:
    description: Filled in by the action plugin with the file on the host. A task cannot set it.
    type: path
attributes:
  check_mode:
    support: full
    description: Compares, and tells what would be sent.
  diff_mode:
    support: none
    description: RV(loaded) tells the images.
  idempotent:
    support: full
    description: What the host has is not sent again.
"""

EXAMPLES = r"""
- name: Give the node what it lacks
  gpufleet.swarm.image_load:
    archive: "{{ inventory_dir }}/images.tar"
  become: true
"""

RETURN = r"""
loaded:
  description: Names of the images that were sent, or in check mode would be.
  returned: success
  type: list
  elements: str
absent:
  description: Names of O(images) that are neither in the archive nor on the host.
  returned: success
  type: list
  elements: str
bytes:
  description: Number of bytes of archives that were sent, or in check mode would be.
  returned: success
  type: int
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils import _image_store
from ansible_collections.gpufleet.swarm.plugins.module_utils._engine_socket import SocketConnection
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import connect


def main():
    """Entry point of the module, for one part that lies on the host."""
    module = AnsibleModule(
        argument_spec={
            "archive": {"type": "path", "required": True},
            "images": {"type": "list", "elements": "str"},
            "others": {"type": "str", "choices": ["refuse", "skip"], "default": "refuse"},
            "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "part": {"type": "path"},
        },
        supports_check_mode=True,
    )
    address = module.params["docker_host"]
    try:
        if not module.params["part"] or not address.startswith("unix://"):
            raise FleetError(
                "The module was called in a way it cannot work",
                found=f"docker_host {address}",
                wanted="a task of gpufleet.swarm.image_load in a playbook, and unix:///PATH",
            )
        version = connect(address).api_version
        connection = SocketConnection(address[len("unix://") :], _image_store.LOAD_TIMEOUT_S)
        try:
            _image_store.load(connection, version, module.params["part"])
        finally:
            os.unlink(module.params["part"])  # room for the next
    except FleetError as exc:
        module.fail_json(msg=str(exc), error=exc.as_result())
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()

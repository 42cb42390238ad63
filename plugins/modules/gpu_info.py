#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Read the NVIDIA cards of a host, their driver and the container toolkit
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Finds the cards on the PCI bus, so also those without a driver, and asks the driver for the rest.
  - Compares the version of the kernel's module with that of the libraries on disk, which an upgrade without a
    reboot sets apart.
  - Reads the container toolkit's version and the two keys of its configuration that decide whether a task
    sees the cards it was granted.
  - Needs the Python standard library alone, starts only C(nvidia-smi) and C(nvidia-ctk), and loads no kernel
    module. Run it as root.
  - What cannot be read is null and never a guess.
options:
  files:
    description: Files whose text is wanted as well, in RV(gpus.files).
    type: list
    elements: path
    default: []
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: Read the cards
  gpufleet.swarm.gpu_info:
  register: node
  become: true

- name: Tell what was found
  ansible.builtin.debug:
    msg: "{{ node.gpus.cards | map(attribute='name') | join(', ') }}, driver {{ node.gpus.driver.version }}"
"""

RETURN = r"""
gpus:
  description: The cards of the host and what they need.
  returned: success
  type: dict
  contains:
    platform:
      description:
        - V(wsl2) where Windows brings the driver, V(docker_desktop) where Docker Desktop runs the Engine,
          else V(native).
      type: str
      returned: success
    os:
      description: C(id), C(version_id), C(codename) and C(name) of the operating system (os-release(5)).
      type: dict
      returned: success
    architecture:
      description: The machine name of C(uname -m).
      type: str
      returned: success
    kernel:
      description: The running kernel, as C(uname -r) names it.
      type: str
      returned: success
    cards:
      description: Each card, by its PCI address. WSL2 lists none on the bus; the driver tells them there.
      type: list
      elements: dict
      returned: success
      contains:
        address:
          description: PCI address, as the kernel writes it.
          type: str
          sample: "0000:81:00.0"
        device_id:
          description: PCI device number, four hexadecimal digits.
          type: str
          sample: "2231"
        pci_driver:
          description: The driver it is bound to, V(nvidia), V(nouveau), V(vfio-pci) or null.
          type: str
        generation:
          description: From V(Kepler) to V(Blackwell), null for one that is not known here.
          type: str
        uuid:
          description: The whole UUID.
          type: str
          sample: GPU-12345678-aaaa-bbbb-cccc-0123456789ab
        name:
          description: Its name in the driver.
          type: str
          sample: NVIDIA RTX A5000
        memory_mib:
          description: Its memory in MiB, as C(nvidia-smi) tells it.
          type: int
          sample: 24564
        compute:
          description: Its compute capability.
          type: str
          sample: "8.6"
        minor:
          description: The N of its device C(/dev/nvidiaN).
          type: int
        linked:
          description:
            - Whether C(/dev/char) links to that device. Without the link systemd, when it reloads, takes the
              card from running containers.
          type: bool
        mig:
          description: Whether it is split into parts (MIG), null where it cannot be.
          type: bool
        mig_devices:
          description: Its parts, each with C(index), C(uuid), C(profile) and C(memory_mib).
          type: list
          elements: dict
    driver:
      description: The driver.
      type: dict
      returned: success
      contains:
        installed:
          description: Whether C(nvidia-smi) is there.
          type: bool
        loaded:
          description: Whether the kernel has its module loaded.
          type: bool
        version:
          description: The version in use.
          type: str
          sample: 580.95.05
        module_version:
          description: The version of the loaded module.
          type: str
        module_open:
          description: Whether the loaded module is the open one.
          type: bool
        library_version:
          description: The version of the libraries on disk.
          type: str
        mismatch:
          description: Whether module and libraries differ. Nothing works then until the host restarts.
          type: bool
        cuda_version:
          description: The highest CUDA version it offers.
          type: str
          sample: "13.0"
        error:
          description: What C(nvidia-smi) says instead of listing cards.
          type: str
        nouveau:
          description: Whether the kernel has nouveau loaded.
          type: bool
        secure_boot:
          description: Whether secure boot is on, null without EFI.
          type: bool
        module_file:
          description: The module for the running kernel on disk, null where DKMS has built none.
          type: str
        module_signed:
          description: Whether that file carries a signature, null where it is compressed.
          type: bool
        headers:
          description: Whether the headers of the running kernel are there, without which DKMS builds nothing.
          type: bool
    toolkit:
      description: The container toolkit.
      type: dict
      returned: success
      contains:
        version:
          description: Its version, null where it is not installed.
          type: str
          sample: 1.19.1
        runtime:
          description: Where its runtime is.
          type: str
          sample: /usr/bin/nvidia-container-runtime
        config_text:
          description: Its C(config.toml).
          type: str
        readable:
          description: Whether that is TOML.
          type: bool
        swarm_resource:
          description: The variables it takes a task's cards from. With none, what Swarm grants has no effect.
          type: list
          elements: str
          sample: [DOCKER_RESOURCE_GPU]
        mode:
          description: The mode of its runtime.
          type: str
          sample: auto
    packages:
      description: The installed packages that concern cards, each with C(version) and C(held).
      type: dict
      returned: success
    files:
      description: The text of each of O(files), null where there is none.
      type: dict
      returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.read import Host, collect


def main():
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "path", "default": []}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, gpus=collect(Host(), module.params["files"]))


if __name__ == "__main__":
    main()

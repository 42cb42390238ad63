#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Read all that the fleet must know of a host in one call
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Reads the operating system, kernel features, addresses, routes, listening sockets, free space, the Docker
    Engine and its Swarm.
  - One remote task instead of a dozen, so that everything can be decided on the controller.
  - Needs the Python standard library alone; it reads the kernel's own files and the Engine's socket itself.
  - Works on a host without Docker. Run it as root, else processes of others and the Engine stay unknown.
options:
  paths:
    description:
      - Paths on the host to look at, reported in RV(host.paths). Links are followed.
      - The result holds the SHA-256 of small files. Do not list a file whose hash is a secret itself, as that
        of a spiped key is.
    type: list
    elements: path
    default: []
  packages:
    description: Names of Debian packages to look up, reported in RV(host.packages).
    type: list
    elements: str
    default: []
  storage_path:
    description:
      - The path whose file system is measured in RV(host.storage). The nearest parent that exists is taken.
      - By default the data root that a running Engine states, else C(/var/lib/docker).
    type: path
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: Read the host
  gpufleet.swarm.host_info:
    paths: [/srv/data]
  register: node
  become: true

- name: Tell what was found
  ansible.builtin.debug:
    msg: >-
      {{ node.host.os.name }}, Engine {{ node.host.docker.version }}, Swarm {{ node.host.swarm.state }},
      clock off by {{ node.clock.offset_s }} s
"""

RETURN = r"""
host:
  description: The host as it is.
  returned: success
  type: dict
  contains:
    hostname:
      description: Its own name, under which the Swarm lists it.
      type: str
      returned: success
    os:
      description: C(id), C(version_id), C(codename) and C(name) as os-release(5) has them.
      type: dict
      returned: success
      sample: {id: debian, version_id: "13", codename: trixie, name: Debian GNU/Linux 13 (trixie)}
    architecture:
      description: The machine name of C(uname -m).
      type: str
      returned: success
      sample: x86_64
    kernel:
      description: The kernel's release.
      type: str
      returned: success
    python:
      description: Version of the Python that ran this module.
      type: str
      returned: success
    time:
      description: The host's clock, seconds since 1970.
      type: float
      returned: success
    uptime_s:
      description: Seconds since the kernel started.
      type: float
      returned: success
    cgroup_version:
      description: V(2) for the unified hierarchy, V(1) for the older layout, also where both are mounted.
      type: int
      returned: success
    cgroup_controllers:
      description: The control group controllers that are enabled.
      type: list
      elements: str
      returned: success
    memory_bytes:
      description: Memory the kernel manages.
      type: int
      returned: success
    features:
      description:
        - Whether C(overlay), C(vxlan), C(ipvs) and C(bridge_netfilter) are there or can be loaded on demand.
        - Without C(ipvs) the virtual addresses of services and the routing mesh carry no traffic.
      type: dict
      returned: success
    storage:
      description: The measured C(path), its C(free_bytes) for ordinary programs, and its C(total_bytes).
      type: dict
      returned: success
    addresses:
      description: Addresses with their prefix length, loopback and link-local ones left out.
      type: list
      elements: str
      returned: success
      sample: ["172.30.0.2/24"]
    routes:
      description: Networks that routes of any table lead to, default routes left out.
      type: list
      elements: str
      returned: success
      sample: ["172.30.0.0/24"]
    listening:
      description:
        - Sockets that accept traffic, with C(protocol), C(address), C(port) and C(process).
        - The process is null for a socket of the kernel, as VXLAN's is.
      type: list
      elements: dict
      returned: success
    paths:
      description:
        - For each of O(paths) C(exists), C(type) (V(file), V(directory), V(link), ...), C(mode), C(uid),
          C(gid) and C(sha256), the hash of the content of a regular file of at most 1 MiB that this user may
          read, else null.
      type: dict
      returned: success
      sample: {/srv/data: {exists: true, type: directory, mode: "0755", uid: 0, gid: 0, sha256: null}}
    packages:
      description:
        - For each of O(packages) that dpkg knows C(want) (V(install), V(hold), ...), C(status) (V(installed),
          V(not-installed), V(config-files), ...) and C(version), in the words of dpkg-query(1).
      type: dict
      returned: success
      sample: {docker.io: {want: hold, status: installed, version: 26.1.5+dfsg1-9+b9}}
    docker:
      description: The Docker Engine. What cannot be known is null or empty.
      type: dict
      returned: success
      contains:
        installed:
          description: Whether there is an Engine program or a socket that answers.
          type: bool
          returned: success
        answering:
          description: Whether the Engine answered every question.
          type: bool
          returned: success
        error:
          description: Why a running Engine could not be read; null when it was, is stopped or is not there.
          type: str
          returned: success
        version:
          description: Version of the Engine.
          type: str
          returned: success
        api_version:
          description: Newest version of its API.
          type: str
          returned: success
        min_api_version:
          description: Oldest version of the API it accepts from clients.
          type: str
          returned: success
        storage_driver:
          description: Name of the storage driver.
          type: str
          returned: success
        data_root:
          description: Folder of its data.
          type: str
          returned: success
        default_runtime:
          description: Runtime of containers that name none.
          type: str
          returned: success
        runtimes:
          description: Names of all runtimes.
          type: list
          elements: str
          returned: success
        live_restore:
          description: Whether containers outlive the Engine, which a Swarm does not allow.
          type: bool
          returned: success
        firewall_backend:
          description: V(iptables) or V(nftables). Engines before 28 do not say and have iptables only.
          type: str
          returned: success
        config_error:
          description: Why C(/etc/docker/daemon.json) is no JSON object; null when it is, or is not there.
          type: str
          returned: success
        published:
          description: Host ports of running containers, with C(protocol), C(port), C(container) and C(stack).
          type: list
          elements: dict
          returned: success
        sdk:
          description: Version of the Docker SDK for the Python that ran this module, null without one.
          type: str
          returned: success
    swarm:
      description: The Swarm as this Engine sees it.
      type: dict
      returned: success
      contains:
        state:
          description:
            - V(inactive), V(pending), V(active), V(error) or V(locked).
            - Null when an installed Engine does not answer, for then the state is not known.
          type: str
          returned: success
        node_id:
          description: Id of this node.
          type: str
          returned: success
        node_address:
          description: Address under which this node is known to the others.
          type: str
          returned: success
        manager:
          description: Whether this node can control the Swarm.
          type: bool
          returned: success
        error:
          description: What the Engine says is wrong with its Swarm, such as a lost quorum; else null.
          type: str
          returned: success
        cluster_id:
          description: Id of the Swarm, on managers.
          type: str
          returned: success
        managers:
          description: Number of managers, on managers.
          type: int
          returned: success
        nodes_count:
          description: Number of nodes, on managers.
          type: int
          returned: success
        nodes:
          description:
            - On managers, each node with C(id), C(hostname), C(role), C(availability), C(state), C(address),
              C(labels), C(engine_version), C(leader), C(manager_reachability) and C(generic_resources), a
              list of C(kind) and C(value).
          type: list
          elements: dict
          returned: success
clock:
  description:
    - The host's clock against the controller's. The controller adds it.
    - C(offset_s) is what is proven, positive when the host is ahead, and V(0.0) when its time lies
      between the moment the call began and the moment it ended. C(uncertainty_s) is the time between the two.
  returned: success
  type: dict
  sample: {offset_s: 0.0, uncertainty_s: 0.31}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import collect


def main():
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "storage_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        host = collect(module.params["paths"], module.params["packages"], module.params["storage_path"])
    except FleetError as error:
        module.fail_json(msg=str(error), error=error.as_result())
    except OSError as error:
        module.fail_json(msg=f"Cannot read this host: {error}.")
    module.exit_json(changed=False, host=host)


if __name__ == "__main__":
    main()

#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Let through to a host and its containers what was declared, and nothing else
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Keeps one nftables table, C(inet gpufleet_firewall), and a service that loads it at boot. Other tables are
    left alone; what they drop stays dropped.
  - Judges packets before Docker gives them another destination, so that a port that a container or a service
    of a Swarm publishes is closed like one of the host.
  - Judges what has ports (TCP, UDP, SCTP, DCCP, UDP-Lite) and comes from outside. Connections that stand,
    loopback, containers, ICMP and protocols without ports pass.
  - The SSH connection that Ansible uses stays open whatever the options say. New rules are on trial first;
    if no new connection confirms them within O(timeout), a timer on the host takes them back.
  - Where ufw is on, it is told to let in the same; those rules have the comment C(gpufleet-firewall).
  - Reads the host once and, when nothing has to change, does no more. Called by the role C(firewall).
options:
  state:
    description: Whether the rules have to be there. V(absent) removes them with all that belongs to them.
    type: str
    choices: [present, absent]
    default: present
  ssh_ports:
    description: Ports of the SSH server.
    type: list
    elements: int
    default: [22]
  ssh_sources:
    description:
      - Who may use SSH; by default everybody.
      - Sources, here as in all options, are addresses, networks, and hosts and groups of the inventory.
    type: list
    elements: str
    default: []
  ingress_ports:
    description: Ports on which this host takes in traffic for the fleet. Empty for a host that takes none.
    type: list
    elements: int
    default: []
  ingress_sources:
    description: Who may use O(ingress_ports); by default everybody.
    type: list
    elements: str
    default: []
  registry_port:
    description: Port of the fleet's registry, if this node serves it to the others; else 0.
    type: int
    default: 0
  behind_ingress:
    description:
      - Ports of programs on this host to which the ingress leads from outside the Swarm's networks. They are
        opened to the other nodes with the ingress.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What for, told in the rules.
        type: str
        required: true
      port:
        description: The TCP port.
        type: int
        required: true
  members:
    description: Sources that nodes of the Swarm come from besides those the inventory knows.
    type: list
    elements: str
    default: []
  data_path_port:
    description: UDP port of the traffic between containers.
    type: int
    default: 4789
  links:
    description:
      - The value of C(tunnels_links). The wire port of a tunnel that ends here is opened to its peer.
    type: list
    elements: dict
    default: []
  open:
    description: Further ports to open, those that containers publish too.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What for, told in the rules.
        type: str
      port:
        description: C(PORT) or C(FIRST-LAST).
        type: str
        required: true
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      sources:
        description: Who may use it; by default everybody.
        type: list
        elements: str
        default: []
  container_interfaces:
    description: Interfaces behind which containers are. A star at the end stands for any rest.
    type: list
    elements: str
    default: [docker0, docker_gwbridge, br-*]
  unit:
    description: Text of the service that loads the rules.
    type: str
    required: true
  timeout:
    description: Seconds after which rules that no new connection confirms are taken back.
    type: int
    default: 60
  openings:
    description:
      - What results from the other options, with C(what), C(protocol), C(ports) and C(sources). Set by the
        controller's half of this module.
    type: list
    elements: dict
    default: []
  confirmed:
    description: Set by the controller's half of this module, once a new connection stands.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode, also on a host without nftables; nothing is changed then.
    support: full
  diff_mode:
    description: The difference shows the rules.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Close what nobody needs
  gpufleet.swarm.firewall:
    ingress_ports: [80, 443]
    open:
      - {name: metrics, port: 9100, sources: [192.0.2.7, managers]}
    unit: "{{ lookup('ansible.builtin.file', 'gpufleet-firewall.service', rstrip=false) }}"
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done; empty when there was nothing to do.
  returned: success
  type: list
  elements: str
  sample: ["load the rules"]
closed:
  description: What listens on the host and is closed to everybody, or to all but a few. When rules change.
  returned: success
  type: list
  elements: str
  sample: ["111/tcp of rpcbind", "2377/tcp of dockerd but for 192.0.2.12"]
install:
  description: Packages that the controller's half of this module has to install first.
  returned: when some are missing
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._firewall import (
    check_interfaces,
    closed,
    opening,
    render,
    with_live,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._firewall_host import (
    RULES,
    Host,
    live_connection,
    ways_in,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import read_listening, read_text

OPEN = {
    "name": {"type": "str"},
    "port": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "sources": {"type": "list", "elements": "str", "default": []},
}
BEHIND = {"name": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "ssh_ports": {"type": "list", "elements": "int", "default": [22]},
    "ssh_sources": {"type": "list", "elements": "str", "default": []},
    "ingress_ports": {"type": "list", "elements": "int", "default": []},
    "ingress_sources": {"type": "list", "elements": "str", "default": []},
    "registry_port": {"type": "int", "default": 0},
    "behind_ingress": {"type": "list", "elements": "dict", "default": [], "options": BEHIND},
    "members": {"type": "list", "elements": "str", "default": []},
    "data_path_port": {"type": "int", "default": 4789},
    "links": {"type": "list", "elements": "dict", "default": []},
    "open": {"type": "list", "elements": "dict", "default": [], "options": OPEN},
    "container_interfaces": {
        "type": "list", "elements": "str", "default": ["docker0", "docker_gwbridge", "br-*"],
    },
    "unit": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 60},
    "openings": {"type": "list", "elements": "dict", "default": []},
    "confirmed": {"type": "bool", "default": False},
}


def difference(rules):
    return {"before_header": RULES, "after_header": RULES, "before": read_text(RULES), "after": rules}


def present(module, openings, rules):
    """Bring the rules on trial, or confirm them; return the result."""
    host = Host(module.run_command, openings, rules, module.params["unit"])
    if host.firewalld:
        raise FleetError(
            "The firewall of the fleet does not work along with firewalld", "firewalld.service", "active",
            "no other firewall than ufw", "firewall_state to keep, or stop and disable firewalld",
            cause="firewalld drops what it was not told to let in, and it is not told here",
        )
    check_interfaces(ways_in(), module.params["container_interfaces"])
    if module.params["confirmed"]:
        host.confirm()
        return {"changed": True}
    actions = host.differences()
    result = {"changed": bool(actions), "actions": actions, "closed": []}
    if actions:
        result["closed"] = closed(read_listening(), openings)
        result["diff"] = difference(rules)
        if not host.nft and not module.check_mode:
            return {"changed": False, "install": ["nftables"]}
        if not module.check_mode:
            host.load(module.params["timeout"])
    return result


def absent(module):
    host = Host(module.run_command, [], "", "")
    actions = host.leftovers()
    result = {"changed": bool(actions), "actions": actions, "closed": []}
    if actions:
        result["diff"] = difference("")
        if not module.check_mode:
            host.remove()
    return result


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        if module.params["state"] == "absent":
            module.exit_json(**absent(module))
        openings = [opening(**one) for one in module.params["openings"]]
        openings, warning = with_live(openings, live_connection())
        if warning:
            module.warn(warning)
        module.exit_json(**present(module, openings, render(openings, module.params["container_interfaces"])))
    except FleetError as error:
        module.fail_json(msg=str(error), **error.as_result())


if __name__ == "__main__":
    main()

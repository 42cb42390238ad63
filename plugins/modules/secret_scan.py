#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: secret_scan
short_description: Find secrets of the controller where others could read them
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Looks for every secret of a folder of the controller on a host, in the journal, the files of C(/var/log),
    the logs and settings of containers, the command lines of processes, files that others than their owner
    may read, and, on a manager, in all that the Swarm stores (services and their previous versions, tasks,
    configs, networks, nodes).
  - The host is not told the secrets. It gets of each a stretch of 12 characters, as it stands and in base64,
    URLs and hexadecimal digits, which is where the whole is, and from which the whole cannot be had. Only a
    secret of less than 24 characters, which people choose and the fleet does not make, is sent whole. One of
    less than 8 cannot be told from other text and is reported as not searched for.
  - What is sent is an argument that no log holds. With pipelining, as the playbook
    C(gpufleet.swarm.scan_secrets) has it, arguments reach the host's Python on its standard input, so they
    are in no file and no command line.
  - Findings name places and secrets, never values. They do not make the module fail; the playbook does.
  - Not looked into are the environments in C(/proc), which their owner and root alone can read, as they can a
    file of mode 0600, and the Engine's own folder but for its volumes.
options:
  folder:
    description:
      - The folder of secrets on the controller, with all folders in it. Files ending in C(.crt), C(.csr),
        C(.pub) and C(.json), and hidden ones, are none. Of a private key in PEM the private number is looked
        for.
      - Files that Ansible Vault has encrypted are decrypted in memory.
    type: path
    required: true
  declared:
    description:
      - Variables of services that hold a secret because their image reads nothing else. They are reported
        apart.
    type: list
    elements: dict
    default: []
    suboptions:
      services:
        description: Full names of the services.
        type: list
        elements: str
        required: true
      variable:
        description: Name of the variable.
        type: str
        required: true
      secret:
        description: Path of the secret's file in O(folder).
        type: str
        required: true
  paths:
    description: Folders to look into. C(/var/log) among them is looked into whatever the modes of its files
      are.
    type: list
    elements: path
    default: [/etc, /home, /opt, /root, /srv, /tmp, /usr/local, /var, /dev/shm]
  skip:
    description: Files and folders to leave out. They are reported as not looked into.
    type: list
    elements: path
    default: []
  max_file_mb:
    description: Files larger than so many MiB are not looked into and reported.
    type: int
    default: 256
  journal_since:
    description: Beginning of the time for which the journal is looked into, as journalctl(1) takes it. All by
      default.
    type: str
    default: ""
  files_only:
    description: Look into files alone.
    type: bool
    default: false
  docker_socket:
    description: Socket of the Engine.
    type: path
    default: /var/run/docker.sock
  patterns:
    description: Set by the controller's half of this module.
    type: str
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: Look for the fleet's secrets
  gpufleet.swarm.secret_scan:
    folder: "{{ inventory_dir }}/credentials"
    declared:
      - services: [notes_web]
        variable: DATABASE_PASSWORD
        secret: notes/database_password
  become: true
  register: scan

- name: Refuse to go on where one stands open
  ansible.builtin.assert:
    that: scan.findings | length == 0
    fail_msg: "{{ scan.findings }}"
"""

RETURN = r"""
findings:
  description: Each C(place) where a C(secret) stands that should not.
  returned: success
  type: list
  elements: dict
  sample: [{place: "log of service notes_web", secret: notes/database_password}]
declared:
  description: The same for those that O(declared) allows.
  returned: success
  type: list
  elements: dict
unread:
  description: What could not be looked into or was left out, and why.
  returned: success
  type: list
  elements: str
loose:
  description: Files of the controller's folder of secrets whose mode is wider than 0600, with the mode.
  returned: success
  type: list
  elements: str
searched:
  description: How many C(secrets) were looked for in how many C(files), C(containers), C(processes),
    C(objects) of the Swarm and C(bytes).
  returned: success
  type: dict
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secret_scan
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import NoEngine, connect

DECLARED = {
    "services": {"type": "list", "elements": "str", "required": True},
    "variable": {"type": "str", "required": True},
    "secret": {"type": "str", "required": True, "no_log": False},
}
ARGUMENT_SPEC = {
    "folder": {"type": "path", "required": True},
    "declared": {"type": "list", "elements": "dict", "default": [], "options": DECLARED},
    "paths": {"type": "list", "elements": "path", "default": _secret_scan.PATHS},
    "skip": {"type": "list", "elements": "path", "default": []},
    "max_file_mb": {"type": "int", "default": 256},
    "journal_since": {"type": "str", "default": ""},
    "files_only": {"type": "bool", "default": False},
    "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
    "patterns": {"type": "str", "no_log": True},
}


def by_service(declared):
    """Return {service: {variable: secret}}."""
    found = {}
    for entry in declared:
        for service in entry["services"]:
            found.setdefault(service, {})[entry["variable"]] = entry["secret"]
    return found


def scan(options, patterns):
    """Look everywhere; return the Scan."""
    found = _secret_scan.Scan(_secret_scan.Finder(patterns), by_service(options["declared"]))
    roots, skip, services = options["paths"], [], {}
    if not options["files_only"]:
        root = _secret_scan.DATA_ROOT
        try:
            engine = connect("unix://" + options["docker_socket"])
        except NoEngine:
            engine = None
        if engine:
            root = _secret_scan.data_root(engine)
            services = found.containers(engine, options["docker_socket"])
            if (engine.get("/info").get("Swarm") or {}).get("ControlAvailable"):
                found.swarm(engine)
        found.journal(options["journal_since"])
        found.processes(services)
        roots, skip = _secret_scan.folders(roots, root)
    found.files(roots, skip + options["skip"], options["max_file_mb"] << 20)
    found.unread += [f"{path}: left out as asked" for path in options["skip"]]
    return found


def main():
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    os.nice(10)  # services come first
    try:
        patterns = _secret_scan.parse_patterns(json.loads(module.params["patterns"] or "null"))
        result = scan(module.params, patterns).result()
    except FleetError as error:
        module.fail_json(msg=str(error), error=error.as_result())
    except ValueError:
        module.fail_json(msg="Cannot read the fragments to look for; use the module by its full name.")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

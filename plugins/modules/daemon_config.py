#!/usr/bin/python
# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: daemon_config
short_description: Own some keys of the Docker daemon's configuration
version_added: "0.1.0"
author:
  - The gpufleet contributors (@gpufleet)
description:
  - Merges the keys it is given into C(daemon.json), remembers per O(owner) which keys they are, and keeps
    every other byte of the file.
  - Keys the owner no longer gives are removed, or get back the value that stood there before the first owner
    came.
  - Says what each change asks of the running daemon (nothing, a reload, a restart), does it where it may, and
    reads the daemon back.
  - When the daemon refuses the file or does not come back, the file the daemon last took is put back before
    the module fails.
notes:
  - Runs on the host of the daemon with the standard library alone. Docker need not be installed; the file is
    then ready for its first start.
  - Which keys a reload takes over was read in the Engine's own code (C(daemon/reload.go) of 23.0, of 24 to 28
    and of 29). A reloadable key that is removed mostly needs a restart, because the daemon keeps the last
    value.
  - The state file and a C(daemon.json) that gets a password have mode C(0600), as proxies may have passwords.
  - A restart stops the tasks of a Swarm node. Drain it first, then call the module again with
    O(state=applied) and O(restart=allowed); the role P(gpufleet.swarm.docker#role) does both.
attributes:
  check_mode:
    support: full
    description:
      - Everything is checked, C(dockerd --validate) included, and nothing is written, reloaded or restarted.
  diff_mode:
    support: full
    description: The text of the file; passwords in URLs are masked.
  idempotent:
    support: full
    description: A file that holds what is asked for is not written.
options:
  owner:
    description:
      - Who owns the keys, for instance the name of the role that calls the module. Each owner has its own set
        of keys.
      - A key that another owner sets to another value is an error.
      - Required unless O(state) is V(applied).
    type: str
  state:
    description:
      - With V(absent) all keys of O(owner) are removed or restored, and O(data) and O(list_items) are not
        looked at.
      - With V(applied) no key changes; only what earlier calls of any owner left RV(outstanding) is done.
    type: str
    choices: [present, absent, applied]
    default: present
  data:
    description:
      - The keys to own, nested as in the file. Objects are merged key by key, so C(runtimes) with only
        C(nvidia) in it owns C(runtimes.nvidia) and leaves other runtimes alone. A list is owned and replaced
        as a whole; see O(list_items).
      - An empty object asks that there be an object, whatever is in it.
    type: dict
    default: {}
  list_items:
    description:
      - Lists of which only members are owned, nested as in the file. Each item is appended unless the list
        has it; the others stay.
      - For lists that more than one owner fills, such as C(insecure-registries).
    type: dict
    default: {}
  changed_outside:
    description:
      - What to do when somebody changed a key the owner set. V(overwrite) sets it back and warns; V(fail)
        changes nothing and fails.
      - A changed key that is to be removed is left alone in both cases, with a warning.
    type: str
    choices: [overwrite, fail]
    default: overwrite
  apply:
    description:
      - V(none) only writes the file.
      - V(reload) also reloads the daemon, for the keys that a reload takes over.
      - V(auto) reloads where that is enough, and restarts where a restart is needed and O(restart) allows it.
    type: str
    choices: [none, reload, auto]
    default: auto
  restart:
    description:
      - Whether O(apply=auto) may restart the daemon. V(idle) allows it only while no container runs and the
        host is in no Swarm.
      - A restart that is needed and not done is RV(outstanding), in later runs too, until the daemon was
        restarted.
    type: str
    choices: [allowed, idle, forbidden]
    default: idle
  swarm:
    description:
      - Whether the host is, or is going to be, a node of a Swarm, so that keys that a Swarm node cannot start
        with are refused.
      - Asks the daemon when not set.
    type: bool
  timeout:
    description: How long the daemon may take to come back after a restart, in seconds.
    type: int
    default: 120
  backup:
    description: Whether to keep a copy of the file (C(daemon.json.STAMP.bak) beside it) before it is changed.
    type: bool
    default: true
  backup_keep:
    description: How many copies stay, at least 1.
    type: int
    default: 5
  path:
    description:
      - The daemon's configuration file. A symbolic link is followed. It is made when it is missing, with mode
        C(0644).
    type: path
    default: /etc/docker/daemon.json
  state_path:
    description: Where the owned keys are remembered.
    type: path
    default: /var/lib/gpufleet/daemon_config.json
  docker_host:
    description: The daemon's socket, C(unix:///PATH).
    type: str
    default: unix:///var/run/docker.sock
  dockerd:
    description:
      - The daemon's program, for C(dockerd --validate) (Engine 23.0 and later). By default the one the
        systemd unit starts, or the one on the path.
    type: path
"""

EXAMPLES = r"""
- name: Rotate the logs of containers and pull through a mirror
  gpufleet.swarm.daemon_config:
    owner: docker
    data:
      log-driver: json-file
      log-opts:
        max-size: 10m
        max-file: "3"
      registry-mirrors: [https://mirror.example.org]

- name: Own one runtime and leave the others alone
  gpufleet.swarm.daemon_config:
    owner: nvidia
    data:
      default-runtime: nvidia
      runtimes:
        nvidia:
          path: nvidia-container-runtime
          args: []

- name: Add one registry to a list that others fill as well
  gpufleet.swarm.daemon_config:
    owner: registry
    list_items:
      insecure-registries: ["registry.example.org:5000"]

- name: Restart a node that was drained, for what an earlier call left to do
  gpufleet.swarm.daemon_config:
    state: applied
    restart: allowed

- name: Take back everything the docker role has set
  gpufleet.swarm.daemon_config:
    owner: docker
    state: absent
"""

RETURN = r"""
action:
  description:
    - What the running daemon needs, or needed, to take the file over. V(none) also where no daemon runs.
  returned: success
  type: str
  sample: reload
applied:
  description: What was done of it (in check mode, what would be).
  returned: success
  type: str
  sample: reload
outstanding:
  description: What is still to be done, V(none), V(reload) or V(restart).
  returned: success
  type: str
  sample: none
outstanding_keys:
  description: The keys it is for, those of earlier calls included.
  returned: success
  type: list
  elements: str
changes:
  description: Each top-level key that differs, what it asks of the daemon and why.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key.
      type: str
    change:
      description: V(added), V(changed) or V(removed).
      type: str
    effect:
      description: V(none), V(reload) or V(restart).
      type: str
    reason:
      description: Why.
      type: str
owned:
  description: The keys the owner owns now, as dotted paths.
  returned: success
  type: list
  elements: str
  sample: [log-driver, log-opts.max-file, log-opts.max-size]
conflicts:
  description: Keys that somebody changed since they were set, one sentence each.
  returned: success
  type: list
  elements: str
checked_by:
  description:
    - Who checked the new file, V(dockerd), V(own checks) (Engines before 23.0 or no Engine), or V(nothing)
      when it did not change.
  returned: success
  type: str
backup_file:
  description: The copy made of the old file, or null.
  returned: success
  type: str
file:
  description: The file that was edited, symbolic links resolved.
  returned: success
  type: str
daemon:
  description:
    - The daemon, C(installed) and C(running) as found, C(version) and C(containers_running) after the run.
  returned: success
  type: dict
swarm:
  description:
    - Its Swarm, C(state) (null without an answer), C(node_id), C(manager), C(nodes) (0 where the node cannot
      know).
  returned: success
  type: dict
restored:
  description: True when the daemon did not take the file and the one it last took was put back.
  returned: when the daemon did not take the file
  type: bool
journal:
  description: The last lines of the daemon's journal.
  returned: when the daemon did not take the file
  type: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.editor import Editor, passwords
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError


def main():
    module = AnsibleModule(
        argument_spec={
            "owner": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent", "applied"], "default": "present"},
            "data": {"type": "dict", "default": {}},
            "list_items": {"type": "dict", "default": {}},
            "changed_outside": {"type": "str", "choices": ["overwrite", "fail"], "default": "overwrite"},
            "apply": {"type": "str", "choices": ["none", "reload", "auto"], "default": "auto"},
            "restart": {"type": "str", "choices": ["allowed", "idle", "forbidden"], "default": "idle"},
            "swarm": {"type": "bool"},
            "timeout": {"type": "int", "default": 120},
            "backup": {"type": "bool", "default": True},
            "backup_keep": {"type": "int", "default": 5},
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "state_path": {"type": "path", "default": "/var/lib/gpufleet/daemon_config.json"},
            "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "dockerd": {"type": "path"},
        },
        required_if=[("state", "present", ("owner",)), ("state", "absent", ("owner",))],
        supports_check_mode=True,
    )
    # What a URL in the options has as password must not come back with the result.
    module.no_log_values.update(passwords(json.dumps(module.params)))
    for option in ("timeout", "backup_keep"):
        if module.params[option] < 1:
            module.fail_json(msg=f"{option} must be at least 1, found {module.params[option]}.")
    try:
        result = Editor(module.params, module.check_mode).run()
    except FleetError as error:
        module.fail_json(msg=str(error), **error.as_result())
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

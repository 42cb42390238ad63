#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: spiped_key
short_description: Make, deliver, replace or remove keys of spiped
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - A key is a file of 32 random bytes that both ends of a tunnel have and nobody else (spiped(1)). Whoever
    has it can pass for either end, so give each tunnel a key of its own.
  - Without O(keys[].source) a key is made where the module runs, once, and kept from then on. With it, the
    key of the controller is delivered.
  - All keys are judged before the first is written. One that is not 32 bytes long is refused, and nothing is
    changed.
  - Files get mode 0600, a folder that is missing 0700. No content is ever returned. Keys are told apart by
    fingerprints, from which neither the key nor the hash of it that spiped works with can be had; the SHA-256
    of a key file is that very hash, so treat it as the key itself.
  - In a check mode run a key that does not exist yet has no fingerprint.
options:
  keys:
    description: The key files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The file on the host.
        type: path
        required: true
      source:
        description:
          - A file on the controller that holds the key. One that Ansible Vault has encrypted is decrypted.
          - In check mode it may be missing, as an earlier task would have made it.
        type: path
      state:
        description: Whether the key has to be there. V(absent) removes the file.
        type: str
        choices: [present, absent]
        default: present
      content:
        description:
          - The key, in base64. Set by the controller's half of this module from O(keys[].source).
        type: str
  regenerate:
    description:
      - Replace the keys that are there by new ones. It concerns the keys without O(keys[].source), and each
        run makes new ones.
    type: bool
    default: false
  owner:
    description:
      - Name or number of the user the files belong to; its primary group gets them, too. By default they
        belong to the user that runs the module, or to whom they belonged.
    type: str
attributes:
  check_mode:
    description: Tells what would be made, delivered, replaced or removed.
    support: full
  diff_mode:
    description: Shows fingerprints, never keys.
    support: full
  idempotent:
    description: A second run changes nothing, unless O(regenerate=true).
    support: full
"""

EXAMPLES = r"""
- name: Make the key of a tunnel on the controller
  gpufleet.swarm.spiped_key:
    keys:
      - path: "{{ inventory_dir }}/credentials/tunnels/api.key"
  delegate_to: localhost
  run_once: true
  no_log: true

- name: Deliver it to both ends
  gpufleet.swarm.spiped_key:
    keys:
      - path: /etc/spiped/api.key
        source: "{{ inventory_dir }}/credentials/tunnels/api.key"
    owner: root
  become: true
  no_log: true
"""

RETURN = r"""
keys:
  description:
    - For each of O(keys) its C(path), its C(fingerprint) (32 hexadecimal digits, null where there is no key)
      and the C(action), one of V(create), V(replace), V(protect) (mode or owner were wrong), V(remove) and
      V(keep).
  returned: success
  type: list
  elements: dict
  sample: [{path: /etc/spiped/api.key, fingerprint: 3f7c0a9be2d14c55a1f0bb62e6fd8c10, action: create}]
"""

import base64
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils import _spiped
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

KEYS = {
    "path": {"type": "path", "required": True},
    "source": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "content": {"type": "str", "no_log": True},
}


def find_user(name):
    """Return (user id, id of the primary group), (None, None) for no name."""
    if name is None:
        return None, None
    try:
        user = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise FleetError("Cannot give a key to a user", found=name, wanted="a user of this host",
                         option="owner") from None
    return user.pw_uid, user.pw_gid


def decide(key, regenerate, owner, check_mode):
    found = _spiped.look(key["path"])
    if key["state"] == "absent":
        return _spiped.decide_absent(key["path"], found)
    content = base64.b64decode(key["content"]) if key["content"] is not None else None
    if key["source"] is not None and content is None:
        # An earlier task would have made it; only check mode gets here.
        action = "replace" if found else "create"
        before = _spiped.fingerprint(found["content"]) if found else None
        return {"path": key["path"], "action": action, "content": None, "before": before, "after": None}
    decision = _spiped.decide(key["path"], found, content, regenerate, owner)
    made_here = content is None and decision["action"] in ("create", "replace")
    return {**decision, "after": None} if check_mode and made_here else decision


def describe(side, decisions):
    rows = [(one["path"], one[side]) for one in decisions if one["action"] != "keep"]
    return "".join(f"{path} {mark or ('none' if side == 'before' else 'unknown')}\n" for path, mark in rows)


def main():
    module = AnsibleModule(
        argument_spec={
            "keys": {"type": "list", "elements": "dict", "required": True, "options": KEYS, "no_log": False},
            "regenerate": {"type": "bool", "default": False},
            "owner": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        uid, gid = find_user(module.params["owner"])
        decisions = [
            decide(key, module.params["regenerate"], uid, module.check_mode) for key in module.params["keys"]
        ]
        if not module.check_mode:
            for decision in decisions:
                _spiped.carry_out(decision, uid, gid)
    except FleetError as error:
        module.fail_json(msg=str(error), error=error.as_result())
    module.exit_json(
        changed=any(one["action"] != "keep" for one in decisions),
        keys=[
            {"path": one["path"], "fingerprint": one["after"], "action": one["action"]} for one in decisions
        ],
        diff={"before": describe("before", decisions), "after": describe("after", decisions)},
    )


if __name__ == "__main__":
    main()

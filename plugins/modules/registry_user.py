#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: registry_user
short_description: Keep the password file of a registry
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Writes the file that a registry of the distribution project checks passwords against (C(auth.htpasswd)),
    with one user. Only hashes of bcrypt work there; they are made by the crypt(3) of the system.
  - A file that knows the password already is left alone, though the same password has another hash each time.
options:
  path:
    description: The file. Its folder has to exist.
    type: path
    required: true
  username:
    description: Name of the user.
    type: str
    required: true
  password:
    description: Password, at most 72 bytes.
    type: str
    required: true
  owner:
    description: Name of the user of the host that owns the file, which has mode 0600.
    type: str
    default: docker-registry
attributes:
  check_mode:
    support: full
    description: Compares, and writes nothing.
  diff_mode:
    support: none
    description: There is nothing to show but a hash.
  idempotent:
    support: full
    description: The hash is kept as long as the password is the same.
"""

EXAMPLES = r"""
- name: Let the fleet use the registry
  gpufleet.swarm.registry_user:
    path: /etc/gpufleet-registry/htpasswd
    username: fleet
    password: "{{ registry_password }}"
  become: true
  no_log: true
"""

RETURN = r"""
reason:
  description: Why the file was written, V(none) if it was not.
  returned: success
  type: str
  sample: another password
"""

import os
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files, _logins
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError


def owner_ids(name, check_mode):
    """Return (user id, group id); in check mode None for a user that does not exist yet."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        if check_mode:
            return None, None
        raise FleetError(
            "Cannot give a file to a user", found=name, wanted="a user of this host", option="owner"
        ) from None
    return user.pw_uid, user.pw_gid


def why(params, uid):
    """Return why the file has to be written, or None."""
    content = _files.read(params["path"])
    if content is None:
        return "there is none"
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) != 1 or not _logins.knows(lines[0], params["username"], params["password"]):
        return "another password"
    found = os.stat(params["path"])
    if found.st_mode & 0o7777 != 0o600 or found.st_uid != uid:
        return "another owner or mode"
    return None


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "owner": {"type": "str", "default": "docker-registry"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        uid, gid = owner_ids(params["owner"], module.check_mode)
        reason = why(params, uid)
        if reason and not module.check_mode:
            line = f"{params['username']}:{_logins.hashed(params['password'])}\n"
            _files.write(params["path"], line.encode(), mode=0o600, owner=uid, group=gid)
    except FleetError as exc:
        module.fail_json(msg=str(exc), error=exc.as_result())
    module.exit_json(changed=bool(reason), reason=reason or "none")


if __name__ == "__main__":
    main()

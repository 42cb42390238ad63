#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done on the controller by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: secret_files
short_description: Keep secrets in files of the controller
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Makes the secrets that do not exist yet (40 random letters and digits), one file each, mode 0600 in a
    folder of mode 0700. A value that is there is never changed by O(step=ensure).
  - When Ansible was given a Vault password, what is written is encrypted with it, and files that are still in
    clear are encrypted. A file that is encrypted already is left alone, whichever identity it was encrypted
    for.
  - An encrypted file that cannot be opened is refused, and nothing is written.
  - It works on the controller, contacts no host, and returns no value.
  - The further steps are those of a rotation, in their order. Between V(accept) and V(finish) the value
    before lies beside the new one as C(NAME.previous), between V(propose) and V(accept) the new one as
    C(NAME.next). Each step that was done already does nothing, so an interrupted rotation is continued by
    beginning anew.
options:
  folder:
    description: The folder of the secrets on the controller.
    type: path
    required: true
  names:
    description: Names of the secrets, which are those of the files.
    type: list
    elements: str
    required: true
  step:
    description:
      - V(ensure) makes, encrypts and protects.
      - V(propose) makes a value to come.
      - V(accept) lets it count, and keeps the one before.
      - V(finish) forgets the one before.
      - V(restore) lets the one before count again.
    type: str
    choices: [ensure, propose, accept, finish, restore]
    default: ensure
attributes:
  check_mode:
    description: Tells what would be made, encrypted, protected, replaced or removed.
    support: full
  diff_mode:
    description: Shows names and what happens to them, never a value.
    support: full
  idempotent:
    description: A second run changes nothing; O(step=propose) makes one value to come and keeps it.
    support: full
"""

EXAMPLES = r"""
- name: Make the passwords of an application
  gpufleet.swarm.secret_files:
    folder: "{{ inventory_dir }}/credentials/notes"
    names: [database_password, session_key]
  run_once: true
"""

RETURN = r"""
secrets:
  description:
    - What was done to which file, its C(name) and the C(action), one of V(create), V(encrypt), V(protect)
      (its mode was wider than 0600), V(replace), V(restore) and V(remove). Files that stayed as they were are
      not told.
  returned: success
  type: list
  elements: dict
  sample: [{name: database_password, action: create}]
"""

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: secrets_due
author: The gpufleet contributors (@gpufleet)
version_added: "0.1.0"
short_description: Name the secrets that M(gpufleet.swarm.secret_files) would have to do something about
description:
  - Looks at files and decrypts none, so that a play in which nothing is due need not start a task.
options:
  _terms:
    description: Paths of the files on the controller.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Tell whether the first run made the password
  ansible.builtin.debug:
    msg: "{{ query('gpufleet.swarm.secrets_due', inventory_dir ~ '/credentials/app/db') | length == 0 }}"
"""

RETURN = r"""
_raw:
  description:
    - Paths of the files that are missing, that others than their owner may read, or that are in clear
      although Ansible was given a Vault password.
  type: list
  elements: path
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [str(path) for path in terms if vault.due(self._loader, str(path)) is not None]
        except FleetError as error:
            raise AnsibleLookupError(str(error)) from None

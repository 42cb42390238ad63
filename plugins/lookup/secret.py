# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: secret
author: The gpufleet contributors (@gpufleet)
version_added: "0.1.0"
short_description: Read secrets of the controller, decrypted if need be
description:
  - Returns the content of files without blanks and line ends behind it, as P(ansible.builtin.file#lookup)
    does.
  - A file that Ansible Vault has encrypted and that cannot be opened is told with the option to set.
  - Use it in tasks with C(no_log) only.
options:
  _terms:
    description: Paths of the files on the controller.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Use a password
  ansible.builtin.set_fact:
    database_password: "{{ lookup('gpufleet.swarm.secret', inventory_dir ~ '/credentials/app/database') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The secrets, in the order of the paths.
  type: list
  elements: str
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        return [self._read(str(path)) for path in terms]

    def _read(self, path):
        try:
            content = vault.read(self._loader, path)
            if content is None:
                raise FleetError("Cannot read a secret", path, "no file", "a file with the secret")
            return content.decode("utf-8").rstrip()
        except FleetError as error:
            raise AnsibleLookupError(str(error)) from None
        except UnicodeDecodeError:
            text = str(FleetError("Cannot read a secret", path, "bytes that are no text", "UTF-8"))
            raise AnsibleLookupError(text) from None

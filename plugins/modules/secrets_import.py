#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

# The work is done on the controller by the action plugin of the same name; this file documents it.

DOCUMENTATION = r"""
module: secrets_import
short_description: Take secrets and options over from a file of variables
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Reads the C(.env) of an installation made by other means, as the Compose Specification reads such files,
    and stores its secrets in the fleet's folder of credentials (mode 0600, encrypted if Ansible was given a
    Vault password).
  - Says which options of the role of a system the other variables stand for, and writes them as YAML.
  - All problems come in one message and nothing is written then. A value that upstream has published, and one
    that the services could not read, is a problem.
  - It works on the controller and contacts no host. No value of a secret is returned, printed or written
    elsewhere.
  - Called by the playbook C(gpufleet.swarm.import_secrets), which takes the mappings from the role of the
    system.
options:
  system:
    description: The role of the system, by whose argument specification options are judged.
    type: str
    required: true
  env_file:
    description: The file of variables on the controller. Ansible Vault may have encrypted it.
    type: path
    required: true
  folder:
    description: The system's folder of secrets on the controller.
    type: path
    required: true
  env_secrets:
    description:
      - For each variable the name of the secret, or a dictionary of C(secret) and C(part) for a value that is
        a URL; parts are C(username), C(password), C(hostname), C(port) and C(database).
    type: dict
    required: true
  env_options:
    description:
      - For each variable the name of the role's option, or a dictionary of C(option) and C(part). The text is
        converted to the option's type, lists are separated by commas.
    type: dict
    default: {}
  env_published:
    description: For each variable the values that upstream has published, which everybody knows.
    type: dict
    default: {}
  env_unused:
    description: For each variable without a counterpart the reason.
    type: dict
    default: {}
  options_file:
    description: File on the controller for the options, for instance in C(group_vars). Without it they are
      returned.
    type: path
  overwrite:
    description: Replace secrets that have another value, and the file for the options.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells what would be stored and written.
    support: full
  diff_mode:
    description: Shows names and what happens to them, never a value.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Take over the secrets of an application
  gpufleet.swarm.secrets_import:
    system: linto
    env_file: /srv/old/.env
    folder: "{{ inventory_dir }}/credentials/linto"
    env_secrets:
      REDIS_PASSWORD: redis_password
      DATABASE_URL: {secret: postgres_password, part: password}
    env_options:
      LINTO_IMAGE_TAG: linto_image_tag
  run_once: true
"""

RETURN = r"""
secrets:
  description:
    - The secrets found, each its C(name), the C(variable) that held it, and the C(action), one of V(create),
      V(replace) and V(keep).
  returned: success
  type: list
  elements: dict
  sample: [{name: redis_password, variable: REDIS_PASSWORD, action: create}]
options:
  description: Options of the role and their values.
  returned: success
  type: dict
left:
  description: Every other variable of the file, with the reason why it became no option. Values are not told.
  returned: success
  type: list
  elements: dict
  sample: [{variable: DOCKER_NETWORK, reason: the network is always fleet_public}]
"""

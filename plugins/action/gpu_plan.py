# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans on the controller what makes cards usable; documented in the module of the same name."""
from __future__ import annotations

import time

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import render
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.plan import make

ARGUMENTS = {
    "reading": {"type": "dict", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "driver": {"type": "str", "choices": ["check", "install"], "default": "check"},
    "driver_branch": {"type": "str", "default": ""},
    "driver_modules": {"type": "str", "choices": ["open", "proprietary"], "default": "open"},
    "driver_hold": {"type": "bool", "default": True},
    "secure_boot_enrolled": {"type": "bool", "default": False},
    "reboot": {"type": "bool", "default": False},
    "cuda_toolkit": {"type": "str", "default": ""},
    "toolkit_version": {"type": "str", "default": ""},
    "toolkit_hold": {"type": "bool", "default": True},
    "toolkit_mode": {
        "type": "str", "choices": ["auto", "legacy", "cdi", "csv", "jit-cdi"], "default": "auto",
    },
    "default_runtime": {"type": "bool", "default": True},
    "advertise": {"type": "bool", "default": True},
    "kinds": {"type": "list", "elements": "dict", "default": []},
    "default_kind": {"type": "str", "default": "GPU"},
    "shared": {"type": "list", "elements": "str", "default": []},
    "installed": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, wanted = self.validate_argument_spec(argument_spec=ARGUMENTS)
        name = task_vars["inventory_hostname"]
        result["changed"] = False
        try:
            plan = make(name, wanted.pop("reading"), wanted, time.strftime("%Y-%m"), wanted.pop("installed"))
            problems = plan.pop("problems")
        except FleetError as error:
            problems = [error]
        if problems:
            subject = f"The cards of {name}"
            text = render(subject, problems, "nothing was changed for them").replace(" has ", " have ", 1)
            result.update(failed=True, msg=text)
        else:
            result.update(warnings=plan.pop("warnings"), plan=plan)
        return result

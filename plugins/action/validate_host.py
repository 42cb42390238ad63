# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a host on the controller; documented in the module of the same name."""
from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import render
from ansible_collections.gpufleet.swarm.plugins.module_utils._preflight import judge

ARGUMENTS = {
    "reading": {"type": "dict", "required": True},
    "node": {"type": "bool", "default": True},
    "manager": {"type": "bool", "default": False},
    "platforms": {"type": "dict", "required": True},
    "architectures": {"type": "list", "elements": "str", "required": True},
    "kernel_features": {"type": "list", "elements": "str", "required": True},
    "cgroup_controllers": {"type": "list", "elements": "str", "required": True},
    "min_disk_gb": {"type": "float", "required": True},
    "min_memory_mb": {"type": "int", "required": True},
    "max_clock_offset": {"type": "float", "required": True},
    "address_pools": {"type": "list", "elements": "str", "default": []},
    "data_path_port": {"type": "int", "default": 4789},
    "ingress_ports": {"type": "list", "elements": "int", "default": []},
    "ingress_stack": {"type": "str", "default": "ingress"},
}


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, wanted = self.validate_argument_spec(argument_spec=ARGUMENTS)
        problems, warnings = judge(task_vars["inventory_hostname"], wanted.pop("reading"), wanted)
        result.update(changed=False, warnings=warnings)
        if problems:
            subject = f"The host {task_vars['inventory_hostname']}"
            result.update(failed=True, msg=render(subject, problems, "nothing was changed on any host"))
        return result

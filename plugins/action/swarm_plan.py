# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans the membership of the Swarm on the controller; documented in the module of the same name."""
from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import render
from ansible_collections.gpufleet.swarm.plugins.module_utils._membership import make_plan

ARGUMENTS = {
    "seen": {"type": "dict", "required": True},
    "wanted": {"type": "dict", "required": True},
    "managers": {"type": "list", "elements": "str", "required": True},
    "workers": {"type": "list", "elements": "str", "required": True},
    "strict": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        plan = make_plan(**arguments, bare_allowed=self._task.check_mode)
        problems = plan.pop("problems")
        result["changed"] = False
        if problems:
            result.update(failed=True, msg=render("The Swarm", problems, "its membership was left as it is"))
        else:
            result.update(warnings=plan.pop("warnings"), plan=plan)
        return result

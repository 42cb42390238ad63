# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the module host_info: it alone can compare the two clocks."""
from __future__ import annotations

import time

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import clock_offset
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import garbage


class ActionModule(ActionBase):
    # The module that plays call most, on every host.
    @garbage.left_for_later()
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        sent = time.time()
        result.update(self._execute_module(module_name="gpufleet.swarm.host_info", task_vars=task_vars))
        received = time.time()
        if "host" in result:
            result["clock"] = clock_offset(sent, received, result["host"]["time"])
        return result

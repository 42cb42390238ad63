# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down every call Ansible makes to a host, for tests/benchmarks/noop.py.

A callback hears of tasks, not of what they cost: a task may be skipped, be carried out on the controller, or
loop. So this one counts at the place every remote call goes through. It is loaded before the worker processes
are forked; each call is one appended line of JSON in the file REMOTE_CALLS names: address, task id, action.
"""

from __future__ import annotations

import json
import os

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: remote_calls
type: aggregate
short_description: Writes down every call to a host
description: For the benchmarks of this repository.
"""


class CallbackModule(CallbackBase):
    """Counts where no callback is called; as a callback it is silent."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "remote_calls"

    def __init__(self):
        super().__init__()
        path, call = os.environ["REMOTE_CALLS"], ActionBase._low_level_execute_command

        def counted(action, *arguments, **options):
            connection = action._connection
            if connection.transport != "local":
                line = json.dumps(
                    [connection._play_context.remote_addr, action._task._uuid, action._task.action]
                )
                with open(path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
            return call(action, *arguments, **options)

        ActionBase._low_level_execute_command = counted

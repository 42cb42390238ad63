# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the module spiped_key: it alone can read the controller's keys."""
from __future__ import annotations

import base64

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils import _spiped
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault


def read_key(loader, path):
    """Return the content of a key on the controller, decrypted if need be, or None; refuse what is no key."""
    content = vault.read(loader, path)
    if content is not None:
        _spiped.check(content, path)
    return content


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            arguments["keys"] = [self._with_content(key) for key in arguments.get("keys") or []]
        except FleetError as error:
            result.update(failed=True, msg=str(error), error=error.as_result())
            return result
        result.update(
            self._execute_module(
                module_name="gpufleet.swarm.spiped_key", module_args=arguments, task_vars=task_vars
            )
        )
        return result

    def _with_content(self, key):
        source = key.get("source")
        if source is None or key.get("state") == "absent":
            return key
        content = read_key(self._loader, source)
        if content is not None:
            return {**key, "content": base64.b64encode(content).decode()}
        if self._task.check_mode:
            return key
        raise FleetError("Cannot read a key on the controller", source, "no file", "a file of 32 bytes",
                         "keys[].source")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the module secret_scan: it alone knows the secrets."""

from __future__ import annotations

import base64
import json
import os

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files, _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault

MODULE = "gpufleet.swarm.secret_scan"


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = {name: value for name, value in self._task.args.items() if name != "patterns"}
        folder = str(arguments.get("folder") or "")
        paths = vault.secret_files(folder)
        try:
            patterns = {os.path.relpath(path, folder): self._patterns(path) for path in paths}
            if folder and not patterns:
                raise FleetError(
                    "There is no secret to look for", folder, "no file", "the fleet's credentials", "folder"
                )
        except FleetError as error:
            result.update(failed=True, msg=str(error), error=error.as_result())
            return result
        told = {name: ones for name, ones in patterns.items() if ones}
        arguments["patterns"] = json.dumps(told)
        result.update(self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars))
        result.pop("invocation", None)
        if "findings" in result:
            result["searched"]["secrets"] = len(told)
            result["unread"] = [
                *(f"{name}: too short to be looked for" for name in sorted(set(patterns) - set(told))),
                *result["unread"],
            ]
            modes = [(path, _files.mode(path)) for path in paths]
            result["loose"] = [f"{path}, mode {mode:04o}" for path, mode in modes if mode & 0o077]
        return result

    def _patterns(self, path):
        content = vault.read(self._loader, path) or b""
        return [base64.b64encode(one).decode() for one in _secrets.patterns(content)]

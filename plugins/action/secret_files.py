# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps secrets in files of the controller; documented in the module of the same name."""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files, _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault

STEPS = ("ensure", "propose", "accept", "finish", "restore")
ARGUMENTS = {
    "folder": {"type": "path", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "step": {"type": "str", "choices": list(STEPS), "default": "ensure"},
}


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, wanted = self.validate_argument_spec(argument_spec=ARGUMENTS)
        keeper = Keeper(self._loader, str(wanted["folder"]), self._task.check_mode)
        try:
            for name in wanted["names"]:
                _secrets.check_name(name)
            actions = [
                action for name in wanted["names"] for action in getattr(keeper, wanted["step"])(str(name))
            ]
            keeper.carry_out(actions)
        except FleetError as error:
            result.update(failed=True, msg=str(error), error=error.as_result())
            return result
        told = [{"name": name, "action": action} for name, action, _work in actions]
        lines = "".join(f"{one['name']}: {one['action']}\n" for one in told)
        result.update(changed=bool(told), secrets=told, diff={"before": "", "after": lines})
        return result


class Keeper:
    """Decides what has to happen to the files of a secret; nothing is written before all is decided.

    Each step returns a list of (name of the file, word for what happens to it, function that does it).
    """

    def __init__(self, loader, folder, check_mode):
        self._loader = loader
        self._folder = folder
        self._check_mode = check_mode

    def carry_out(self, actions):
        if self._check_mode or not actions:
            return
        vault.make_folder(self._folder)
        os.chmod(self._folder, vault.FOLDER_MODE)
        for _name, _action, work in actions:
            work()

    def ensure(self, name):
        """Make what is missing, encrypt and protect what is there, what a rotation left behind included."""
        actions = []
        for file in (name, name + _secrets.NEXT, name + _secrets.PREVIOUS):
            path = self._path(file)
            content = vault.read(self._loader, path)
            action = vault.due(self._loader, path)
            if action == "create" and file == name:
                actions.append((file, action, self._writing(file, _secrets.new_value().encode())))
            elif action == "encrypt":
                actions.append((file, action, self._writing(file, content)))
            elif action == "protect":
                actions.append((file, action, self._protecting(path)))
        return actions

    def propose(self, name):
        """Make the value to come, unless an interrupted rotation left one, or waits to be finished."""
        self._must_be(name)
        if self._has(name + _secrets.NEXT) or self._has(name + _secrets.PREVIOUS):
            return []
        file = name + _secrets.NEXT
        return [(file, "create", self._writing(file, _secrets.new_value().encode()))]

    def accept(self, name):
        """Let the value to come count, and keep the one before."""
        if not self._has(name + _secrets.NEXT):
            return []
        before = self._must_be(name)

        def work():
            vault.write(self._loader, self._path(name + _secrets.PREVIOUS), before)
            os.replace(self._path(name + _secrets.NEXT), self._path(name))

        return [(name, "replace", work)]

    def finish(self, name):
        """Forget the value before."""
        files = [file for file in (name + _secrets.PREVIOUS, name + _secrets.NEXT) if self._has(file)]
        return [(file, "remove", self._removing(file)) for file in files]

    def restore(self, name):
        """Let the value before count again, and forget the one that was to come."""
        actions = []
        if self._has(name + _secrets.PREVIOUS):
            before, now = self._path(name + _secrets.PREVIOUS), self._path(name)
            actions.append((name, "restore", lambda: os.replace(before, now)))
        if self._has(name + _secrets.NEXT):
            actions.append((name + _secrets.NEXT, "remove", self._removing(name + _secrets.NEXT)))
        return actions

    def _must_be(self, name):
        content = vault.read(self._loader, self._path(name))
        if content is None:
            raise FleetError(
                "Cannot replace a secret", self._path(name), "no file", "a secret that is in use",
                "its name, or run site.yml, which makes what is missing",
            )  # fmt: skip
        return content

    def _path(self, file):
        return os.path.join(self._folder, file)

    def _has(self, file):
        return os.path.exists(self._path(file))

    def _writing(self, file, content):
        return lambda: vault.write(self._loader, self._path(file), content)

    def _protecting(self, path):
        return lambda: os.chmod(path, vault.FILE_MODE)

    def _removing(self, file):
        return lambda: _files.remove(self._path(file))

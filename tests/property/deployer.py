# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs both halves of the stack module in this process, as a task would, on a Swarm in memory."""

from __future__ import annotations

import functools
import hashlib
import json
from unittest import mock

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action.stack import ActionModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import deploy as deploys
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import (
    ARGUMENT_SPEC,
    INTERNAL_SPEC,
)
from ansible_collections.gpufleet.swarm.plugins.modules import stack as module_file


class Ended(Exception):
    """exit_json or fail_json was called."""


class Module:
    """The parts of AnsibleModule that the module uses. It hides no secret, so that one told is found."""

    def __init__(self, args, check_mode):
        defaults = {
            name: option.get("default") for name, option in {**ARGUMENT_SPEC, **INTERNAL_SPEC}.items()
        }
        self.params = {**defaults, **args}
        self.check_mode = check_mode
        self._diff = True
        self.no_log_values = set()
        self.warnings = []
        self.result = None

    def warn(self, text):
        self.warnings.append(text)

    def exit_json(self, **result):
        self.result = {**result, "warnings": self.warnings}
        raise Ended

    def fail_json(self, **result):
        self.exit_json(**{"failed": True, **result})


class Deployer:
    """Deploys on one Swarm. calls: how often the host was asked for anything."""

    def __init__(self, swarm, folder):
        self.swarm = swarm
        self.folder = folder
        self.calls = 0

    def deploy(self, check_mode=False, **options):
        """Return the result that a task with these options gets."""
        loader = DataLoader()
        loader.set_basedir(str(self.folder))
        task = mock.Mock(
            spec=Task,
            args=options,
            async_val=0,
            check_mode=check_mode,
            diff=True,
            delegate_to=None,
            action="gpufleet.swarm.stack",
            environment=[],
            _role=None,
            no_log=False,
        )
        task.get_search_path = lambda: [str(self.folder)]
        connection = mock.Mock(become=None)
        action = ActionModule(task, connection, mock.Mock(), loader, Templar(loader=loader), None)
        action._execute_module = lambda **call: self._module(call["module_args"], check_mode)
        with mock.patch.object(hashlib, "scrypt", remembered_scrypt):
            return action.run(task_vars={})

    def _module(self, args, check_mode):
        self.calls += 1
        module = Module(json.loads(json.dumps(args)), check_mode)
        clock = (self.swarm.clock, self.swarm.sleep)
        with (
            mock.patch.object(module_file, "AnsibleModule", lambda **_spec: module),
            mock.patch.object(module_file.engines, "connect", lambda _address: self.swarm),
            mock.patch.object(deploys.time, "monotonic", self.swarm.clock),
            mock.patch.object(deploys.Deployment.__init__, "__defaults__", clock),
        ):
            try:
                module_file.main()
            except Ended:
                return module.result
        raise AssertionError("the module ended without a result")


# A fingerprint of a secret is slow on purpose. The same ones come again in every case.
remembered_scrypt = functools.lru_cache(maxsize=None)(hashlib.scrypt)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes secrets and options over from a file of variables; documented in the module of the same name."""

from __future__ import annotations

import os

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.action.validate_inventory import ROLES, read_specs, reject
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files, _secret_import, _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import render
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault

ARGUMENTS = {
    "system": {"type": "str", "required": True},
    "env_file": {"type": "path", "required": True},
    "folder": {"type": "path", "required": True},
    "env_secrets": {"type": "dict", "required": True, "no_log": False},
    "env_options": {"type": "dict", "default": {}},
    "env_published": {"type": "dict", "default": {}},
    "env_unused": {"type": "dict", "default": {}},
    "options_file": {"type": "path"},
    "overwrite": {"type": "bool", "default": False},
}


class Dumper(yaml.SafeDumper):
    """Writes lists a step to the right of their key."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, wanted = self.validate_argument_spec(argument_spec=ARGUMENTS)
        self._wanted = wanted
        try:
            self._import(result)
        except FleetError as error:
            result.update(failed=True, msg=str(error), error=error.as_result())
        return result

    def _import(self, result):
        wanted, source = self._wanted, str(self._wanted["env_file"])
        content = vault.read(self._loader, source)
        if content is None:
            raise FleetError(
                "Cannot read a file of variables",
                source,
                "no file",
                "the .env of the installation",
                "secrets_env_file",
            )
        variables = _secret_import.read_variables(content, source)
        found, problems = _secret_import.plan_secrets(
            variables,
            wanted["env_secrets"],
            wanted["env_published"],
            self._existing,
            wanted["overwrite"],
            source,
        )
        options, left = _secret_import.plan_options(
            variables, wanted["env_options"], read_specs(ROLES).get(wanted["system"], {}), reject
        )
        mappings = (wanted["env_secrets"], wanted["env_options"])
        left += _secret_import.plan_rest(variables, mappings, wanted["env_unused"])
        document = self._document(options, left)
        problems += self._file_problems(document)
        if problems:
            raise FleetError(render(source, problems, "nothing was taken over"))
        self._tell(result, found, options, left, document)
        if not self._task.check_mode:
            for one in found:
                if one["action"] != "keep":
                    vault.write(self._loader, self._path(one["name"]), one["value"].encode())
            if self._options_file and _files.read(self._options_file) != document:
                _files.write(self._options_file, document, 0o644)

    def _tell(self, result, found, options, left, document):
        writes = bool(self._options_file) and _files.read(self._options_file) != document
        lines = [f"{one['name']}: {one['action']}" for one in found if one["action"] != "keep"]
        lines += [f"{self._options_file}: written"] if writes else []
        result.update(
            changed=bool(lines),
            secrets=[{key: one[key] for key in ("name", "variable", "action")} for one in found],
            options=options,
            left=[{"variable": variable, "reason": reason} for variable, reason in left],
            diff={"before": "", "after": "".join(f"{line}\n" for line in lines)},
        )
        short = [one["variable"] for one in found if len(one["value"]) < _secrets.SHORTEST]
        if short:
            result["warnings"] = [
                f"{', '.join(short)}: shorter than {_secrets.SHORTEST} characters, which is soon guessed and "
                "cannot be looked for. Rotate it once the system runs."
            ]

    @property
    def _options_file(self):
        path = self._wanted.get("options_file")
        return os.path.abspath(path) if path else None

    def _file_problems(self, document):
        path = self._options_file
        there = _files.read(path) if path else None
        if there not in (None, document) and not self._wanted["overwrite"]:
            yield FleetError("The file for the options holds something else", path, wanted="a new file",
                             option="another secrets_options_file, or secrets_overwrite: true")  # fmt: skip

    def _document(self, options, left):
        """Return a file for group_vars: the options, and as comments what has none."""
        source = os.path.basename(self._wanted["env_file"])
        head = f"# {self._wanted['system']}: options taken over from {source}\n"
        notes = "".join(f"# {variable}: {reason}\n" for variable, reason in left)
        told = yaml.dump(options, Dumper=Dumper, allow_unicode=True) if options else "{}\n"
        return f"---\n{head}{told}{notes}".encode()

    def _path(self, name):
        _secrets.check_name(name)
        return os.path.join(self._wanted["folder"], name)

    def _existing(self, name):
        content = vault.read(self._loader, self._path(name))
        return None if content is None else content.decode("utf-8", "replace").rstrip()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of the stack module: Compose files in, wanted objects out, one call on the manager."""

from __future__ import annotations

import json
import os
import tempfile

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils import _compose
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import convert
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import (
    ARGUMENT_SPEC,
    CONTROLLER_ONLY,
)
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import garbage, vault

MODULE = "gpufleet.swarm.stack"

# What of a result goes into the file of the plan, besides the stack's name and how it ended.
_PLAN = ("changed", "counts", "plan", "drift", "objects", "translations", "ignored")

# What a file that does not exist yet holds in check mode: a secret's content as well as an empty env_file.
_FORETOLD = b"# does not exist yet\n"


class ActionModule(ActionBase):
    """Runs the stack module with what the files say."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    @garbage.left_for_later()
    def run(self, tmp=None, task_vars=None):
        """Return the result of the module, with translations and ignored keys added."""
        result = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        options = {name: value for name, value in _plain(options).items() if value is not None}
        # Files of secrets are made by tasks that check mode only predicts, or that come after the validation.
        self._may_miss_files = self._task.check_mode or options["state"] == "valid"
        self._foretold = []
        told = {}
        module_args = {name: value for name, value in options.items() if name not in CONTROLLER_ONLY}
        try:
            plan_file = self._plan_file(options)
            desired, secrets = self._desired(options) if options["state"] != "absent" else (None, None)
        except FleetError as exc:
            return {**result, "failed": True, "msg": str(exc), "error": exc.as_result()}
        if desired is not None:
            told = {"translations": desired.pop("translations"), "ignored": desired.pop("ignored")}
            if options["state"] == "valid":
                return {**result, **told, "image_names": sorted(_images(desired)), "changed": False}
            warnings = desired.pop("warnings") + self._foretold
            module_args.update(desired=desired, secret_values=secrets)
            result["warnings"] = result.get("warnings", []) + warnings
        # A module writes its arguments into the log of its host. These hold all that the files say: contents
        # of configs, and variables whose values nobody declared secret.
        unlogged = {**(task_vars or {}), "ansible_no_target_syslog": True}
        answer = self._execute_module(module_name=MODULE, module_args=module_args, task_vars=unlogged)
        warnings = result.pop("warnings", []) + answer.pop("warnings", [])
        if told:  # what the files say, and what the fleet made of it
            told["translations"] = told["translations"] + answer.pop("translations", [])
        result.update(answer)
        result.update(told)
        if warnings:
            result["warnings"] = warnings
        # The module's own arguments hold every file; what the user wrote is in the task.
        result.pop("invocation", None)
        if plan_file and "plan" in result:
            try:
                _write(plan_file, self._document(options, result))
            except OSError as exc:
                text = str(FleetError("Cannot write the plan", plan_file, cause=exc, option="plan_file"))
                result.update(failed=True, msg=f"{result['msg']}\n{text}" if result.get("failed") else text)
        return result

    def _plan_file(self, options):
        """Return the path of the file for the plan, or None; it can be written if its folder can."""
        if not options.get("plan_file"):
            return None
        path = os.path.join(os.path.abspath(self._loader.get_basedir()), options["plan_file"])
        folder = os.path.dirname(path)
        if os.path.isdir(path) or not os.access(folder, os.W_OK | os.X_OK):
            raise FleetError(
                "Cannot write the plan",
                target=path,
                found="a folder" if os.path.isdir(path) else f"no folder {folder} that can be written to",
                wanted="a file in a folder of this user on the controller",
                option="plan_file",
            )
        return path

    def _document(self, options, result):
        document = {"stack": options["name"], "check_mode": bool(self._task.check_mode)}
        document.update({key: result[key] for key in _PLAN if key in result})
        document["warnings"] = [_warning(each) for each in result.get("warnings", [])]
        if result.get("failed"):
            document["failed"] = result.get("msg", "")
        return document

    def _desired(self, options):
        """Return (what the files want, values of the secrets)."""
        if not options["files"] and "definition" not in options:
            raise FleetError(
                "A stack needs a Compose file",
                target=options["name"],
                found="neither",
                wanted="one of them",
                option="files or definition",
            )
        paths = [self._path(file) for file in options["files"]]
        sources = [(file, self._read(path)) for file, path in zip(options["files"], paths, strict=True)]
        if "definition" in options:
            definition = options["definition"]
            if not isinstance(definition, (str, dict)):
                raise FleetError(
                    "A Compose definition is neither text nor a mapping",
                    target=options["name"],
                    found=type(definition).__name__,
                    option="definition",
                )
            sources.append((options["definition_name"], definition))
        secrets = _texts(options["secret_environment"], "secret_environment")
        environment = {**_texts(options["environment"], "environment"), **dict.fromkeys(secrets)}
        model = _compose.load(
            sources,
            environment,
            secrets,
            self._read_later,
            self._project_dir(options, paths),
            options["profiles"],
        )
        settings = {name: options[name] for name in ("endpoint_mode", "replicas")}
        desired = convert.convert(model, options["name"], settings)
        if options["prove_images"] != "never":
            _refuse_common_words(desired, secrets)
        return desired, {**secrets, **model.secret_values}

    def _project_dir(self, options, paths):
        base = self._loader.get_basedir()
        if options.get("project_dir"):
            return os.path.join(base, os.path.expanduser(options["project_dir"]))
        return os.path.dirname(paths[0]) if paths else os.path.abspath(base)

    def _path(self, file):
        """Find a file as Ansible does: absolute, or in the role's files, or beside the playbook."""
        try:
            return self._find_needle("files", file)
        except AnsibleError as exc:
            raise FleetError(
                "Cannot find a Compose file on the controller", target=file, option="files"
            ) from exc

    def _read(self, path):
        """Return the content of a file of the controller, in memory alone if it is in a vault."""
        content = vault.read(self._loader, self._loader.path_dwim(path))
        if content is None:
            raise FleetError("Cannot find a file on the controller", target=path)
        return content

    def _read_later(self, path):
        """Read what a Compose file names; see above for when it may be missing."""
        if os.path.exists(path):
            return self._read(path)
        if not self._may_miss_files:
            raise FileNotFoundError(path)
        self._foretold.append(f"{path} does not exist yet, so the plan cannot tell its content")
        return _FORETOLD


def _warning(warning):
    """Return the text of a warning; since 2.19 Ansible keeps more than the text of those of modules."""
    return str(getattr(getattr(warning, "event", None), "msg", warning))


def _write(path, document):
    """Write JSON for this user alone, whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".plan-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2, sort_keys=True)
            file.write("\n")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _plain(value):
    """Return a value without Ansible's own kinds of texts and containers."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    if isinstance(value, str):
        return str(value)
    return value


def _images(desired):
    """Return the images of all services, as the files name them."""
    specs = [service["spec"] for service in desired["services"].values()]
    return {spec["TaskTemplate"]["ContainerSpec"]["Image"] for spec in specs}


def _refuse_common_words(desired, secrets):
    """Refuse a secret that is a part of an image's name: hidden there too, it names no image."""
    images = _images(desired)
    for name, value in secrets.items():
        if value and any(value in image for image in images):
            raise FleetError(
                "The value of a secret variable is a part of the name of an image",
                target=name,
                found="what would be hidden in that name, too",
                wanted="a longer value, or none",
                option="secret_environment",
            )


def _texts(variables, option):
    """Return variables as texts; numbers and booleans as YAML writes them."""
    texts = {}
    for name, value in variables.items():
        if value is None or isinstance(value, (dict, list)):
            raise FleetError(
                "A variable for the Compose file has no text",
                target=name,
                found="nothing" if value is None else type(value).__name__,
                wanted="text or a number",
                option=option,
            )
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts

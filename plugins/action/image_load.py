# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends a host the images of an archive that it lacks; documented in the module of the same name."""

from __future__ import annotations

import os
import tempfile

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._image_archive import Archive, prefixes, same
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise

MODULE = "gpufleet.swarm.image_load"
ARGUMENTS = {
    "archive": {"type": "path", "required": True},
    "images": {"type": "list", "elements": "str"},
    "others": {"type": "str", "choices": ["refuse", "skip"], "default": "refuse"},
    "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
}


class Failed(Exception):
    """A module on the host failed. args: (its result,)"""


class ActionModule(ActionBase):
    TRANSFERS_FILES = True
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, self._options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        self._task_vars = task_vars
        path = os.path.join(self._loader.get_basedir(), os.path.expanduser(self._options["archive"]))
        try:
            with Archive(path) as archive:
                result.update(self._bring(archive))
        except FleetError as exc:
            result.update(failed=True, msg=str(exc), error=exc.as_result())
        except Failed as exc:
            result.update(exc.args[0])
        return result

    def _bring(self, archive):
        wanted, others = self._wanted(archive)
        asked = {"images": [*wanted, *others], "layers": True, **self._engine()}
        found = self._call("gpufleet.swarm.image_info", asked)
        missing = {}
        for name, image in wanted.items():
            if not same(image, found["images"][name], found["partial"]):
                missing.setdefault(image, []).append(name)
        known = prefixes(found["layers"])
        result = {
            "changed": bool(missing),
            "loaded": sorted(name for names in missing.values() for name in names),
            "absent": [name for name in others if not found["images"][name]["present"]],
            "bytes": 0,
        }
        for image, names in missing.items():
            result["bytes"] += self._send(archive, image, names, known)
            if found["partial"]:
                known |= prefixes([image.layers])
        return result

    def _wanted(self, archive):
        """Return ({name: image of the archive}, names of others)."""
        named = {normalise.image(name): image for name, image in archive.named().items()}
        if self._options["images"] is None:
            return named, []
        names = list(dict.fromkeys(normalise.image(name) for name in self._options["images"]))
        others = [name for name in names if name not in named]
        if others and self._options["others"] == "refuse":
            raise FleetError(
                "The archive lacks an image",
                archive.path,
                found=f"no {', '.join(others)}",
                option="fleet_images_archive to one that playbooks/save_images.yml made for this fleet",
            )
        return {name: named[name] for name in names if name in named}, others

    def _send(self, archive, image, names, known):
        """Send one image, and return how many bytes that took."""
        with tempfile.NamedTemporaryFile(prefix="gpufleet-image-") as file:
            archive.part(image, names, known, file)
            file.flush()
            size = os.path.getsize(file.name)
            if not self._task.check_mode:
                shell = self._connection._shell
                folder = shell.tmpdir or self._make_tmp_path()  # Ansible removes it when the task ends
                there = shell.join_path(folder, "part.tar")
                self._transfer_file(file.name, there)
                self._fixup_perms2((folder, there))
                self._call(MODULE, {"archive": archive.path, "part": there, **self._engine()})
        return size

    def _engine(self):
        return {"docker_host": self._options["docker_host"]}

    def _call(self, name, arguments):
        answer = self._execute_module(module_name=name, module_args=arguments, task_vars=self._task_vars)
        if answer.get("failed"):
            answer.pop("invocation", None)
            raise Failed(answer)
        return answer

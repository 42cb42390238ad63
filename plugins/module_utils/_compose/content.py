# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a stack reads besides its Compose files. Private: may change in any release.

Files on the controller: env_file of services, content of configs and secrets. Their paths are relative to the
project's directory.
"""

from __future__ import annotations

import base64
import posixpath

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import envfile
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.field import ETX, STX
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

# Largest content in bytes that the manager stores (swarmkit: below 1000 KiB and below 500 KiB).
MAX_CONFIG = 1000 * 1024 - 1
MAX_SECRET = 500 * 1024 - 1


class Reader:
    """Reads for one stack.

    report       the stack's Report
    variables    mapping of variables; secret ones hold their marker
    secrets      mapping of secret variables to their real value
    read_file    function from an absolute path to bytes; may raise OSError or FleetError
    project_dir  directory that relative paths start from
    """

    def __init__(self, report, variables, secrets, read_file, project_dir):
        self.report = report
        self.variables = variables
        self.secrets = secrets
        self.read_file = read_file
        self.project_dir = project_dir

    def path(self, text, place):
        """Make a path absolute; ~ is the variable HOME, since no process environment is looked at."""
        if text == "~" or text.startswith("~/"):
            home = self.variables.get("HOME")
            if not home or STX in home:
                raise self.report.error(
                    place,
                    "The home directory in a path is not known",
                    found=f'"{text}"',
                    wanted="a path without ~",
                    option="environment (HOME)",
                )
            text = home + text[1:]
        return posixpath.normpath(posixpath.join(self.project_dir or "/", text))

    def read(self, text, place):
        """Return the bytes of a file; None if there is none."""
        path = self.path(text, place)
        try:
            return path, self.read_file(path)
        except FileNotFoundError:
            return path, None
        except (OSError, FleetError) as error:
            raise self.report.error(place, "Cannot read a file", found=path, cause=error) from None

    def environment(self, service, place):
        """Return the variables of a service: its files in their order, then its own, which win."""
        result = {}
        for index, entry in enumerate(service.pop("env_file", ())):
            result.update(self._env_file(entry, place + ("env_file", index)))
        for name, value in service.get("environment", {}).items():
            result[name] = self.variables.get(name) if value is None else value
        return result

    def _env_file(self, entry, place):
        path, data = self.read(entry["path"], place)
        if data is None:
            if entry.get("required", True):
                raise self.report.error(
                    place, "A file does not exist", found=path, wanted="the file, or required: false"
                )
            return {}
        try:
            text = envfile.decode(data)
            if entry.get("format") == "raw":
                return envfile.raw(text, self.variables)
            values, differing = envfile.compose(text, self.variables)
        except envfile.EnvFileError as error:
            raise ComposeError(
                error.what, place, path, error.line, wanted=error.wanted, option=error.option
            ) from None
        if differing:
            self.report.translated(
                place,
                "values by the Compose Specification",
                "quotes, comments and variables are interpreted in "
                + ", ".join(differing)
                + "; the CLI, and format: raw, take them to the letter",
            )
        return values

    def config(self, key, entry):
        """Return the content of a config as bytes."""
        place = ("configs", key)
        if "environment" in entry:
            value = self._variable(entry["environment"], place)
            if STX in value:
                raise self.report.error(
                    place,
                    "A config would hold a secret, and configs can be read by anyone",
                    found=entry["environment"],
                    option="secrets",
                )
            data = value.encode()
        elif "content" in entry:
            data = entry["content"].encode()
        else:
            data = self._file(entry, place)
        return self._sized(data, MAX_CONFIG, "config", place)

    def secret(self, key, entry):
        """Return the content of a secret as bytes."""
        place = ("secrets", key)
        if "environment" not in entry:
            return self._sized(self._file(entry, place), MAX_SECRET, "secret", place)
        name = entry["environment"]
        value = self.secrets.get(name)
        if value is None:
            value = self._variable(name, place)
            if STX in value:
                raise self.report.error(
                    place,
                    "The value of a secret variable is not at hand",
                    found=name,
                    option="secret_environment",
                )
        return self._sized(value.encode(), MAX_SECRET, "secret", place)

    def _variable(self, name, place):
        value = self.variables.get(name)
        if value is None:
            raise self.report.error(
                place + ("environment",), f"Variable {name} is not defined", option="environment"
            )
        return value

    def _file(self, entry, place):
        if "file" not in entry:
            raise self.report.error(
                place,
                "An object has no content",
                wanted="file, environment"
                + (", content" if place[0] == "configs" else "")
                + " or external: true",
            )
        path, data = self.read(entry["file"], place + ("file",))
        if data is None:
            raise self.report.error(place + ("file",), "A file does not exist", found=path)
        return data

    def _sized(self, data, maximum, kind, place):
        if not 1 <= len(data) <= maximum:
            raise self.report.error(
                place,
                f"The Engine does not store a {kind} of that size",
                found=f"{len(data)} bytes",
                wanted=f"1 to {maximum} bytes",
            )
        return data


def marker(name):
    """Return what stands for a secret wherever its value would."""
    return f"{STX}{name}{ETX}"


def packed(data):
    """Return bytes as base64 text, the form in which content travels."""
    return base64.b64encode(data).decode()

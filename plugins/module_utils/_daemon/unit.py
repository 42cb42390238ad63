# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options the systemd unit of the daemon passes on its command line. Private: may change in any release.

dockerd refuses to start when an option stands both on its command line and in daemon.json
(findConfigurationConflicts in daemon/config). To name both places, the unit is read as systemd does: the
first fragment on the search path, then its drop-ins by name, the later line winning, an empty assignment
starting over, and variables of Environment= and EnvironmentFile= put in (systemd.unit(5), systemd.exec(5)).
"""

from __future__ import annotations

import os
import re
import shlex
from typing import NamedTuple

# systemd.unit(5), "System Unit Search Path", strongest first.
SEARCH_PATH = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_SHORT = {
    "b": "bridge",
    "D": "debug",
    "G": "group",
    "H": "host",
    "l": "log-level",
    "p": "pidfile",
    "s": "storage-driver",
    "r": "restart",
}
_BOOLEAN_SHORT = ("D", "r")
# Flags that may be repeated have a plural key (NewNamedListOptsRef and friends in the daemon's command).
_PLURAL = {
    "add-runtime": "runtimes",
    "authorization-plugin": "authorization-plugins",
    "cdi-spec-dir": "cdi-spec-dirs",
    "default-address-pool": "default-address-pools",
    "default-network-opt": "default-network-opts",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "feature": "features",
    "host": "hosts",
    "host-gateway-ip": "host-gateway-ips",
    "insecure-registry": "insecure-registries",
    "label": "labels",
    "log-opt": "log-opts",
    "node-generic-resource": "node-generic-resources",
    "registry-mirror": "registry-mirrors",
    "storage-opt": "storage-opts",
}


class Flag(NamedTuple):
    """An option of the command line: its key in daemon.json, its text, its value, and where it is set."""

    key: str
    text: str
    value: str
    place: str


class Unit(NamedTuple):
    """program: the daemon's binary, or None. flags: its options. Both empty when there is no such unit."""

    program: str | None
    flags: list


def read(name="docker.service", root="/"):
    """Read a unit from the search path below root. Files that cannot be read count as absent."""
    directories = [os.path.join(root, path.lstrip("/")) for path in SEARCH_PATH]
    fragments = [
        path for path in (os.path.join(folder, name) for folder in directories) if os.path.isfile(path)
    ]
    drop_ins = {}
    for folder in reversed(directories):
        for path in _listing(os.path.join(folder, f"{name}.d")):
            drop_ins[os.path.basename(path)] = path
    paths = fragments[:1] + [drop_ins[key] for key in sorted(drop_ins)]
    return parse(
        [(path, _text(path)) for path in paths], lambda path: _text(os.path.join(root, path.lstrip("/")))
    )


def parse(sources, read_file):
    """Return the Unit of (path, text) sources in the order systemd applies them.

    read_file(path) returns the text of an EnvironmentFile, "" when there is none
    """
    command, place, environment = "", "", {}
    for path, text in sources:
        for section, key, value in _assignments(text):
            if section != "Service":
                continue
            if key == "ExecStart":
                command, place = value, path
            elif key == "Environment":
                environment.update(_variables(value.replace("\n", " "), path) if value else {})
            elif key == "EnvironmentFile" and value:
                file = value.lstrip("-")
                for line in read_file(file).splitlines():
                    if line.strip() and not line.lstrip().startswith(("#", ";")):
                        environment.update(_variables(line, file))
    words = _expand(command, place, environment)
    if not words:
        return Unit(None, [])
    return Unit(words[0][0].lstrip("@-:+!"), list(_flags(words[1:])))


def _assignments(text):
    section = ""
    for line in map(str.strip, re.sub(r"\\\n", " ", text).splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;" and "=" in line:
            key, _equals, value = line.partition("=")
            yield section, key.strip(), value.strip()


def _words(text):
    try:
        return shlex.split(text)
    except ValueError:  # an unclosed quote: systemd refuses the line, so nothing is set by it
        return []


def _variables(text, place):
    return {word.partition("=")[0]: (word.partition("=")[2], place) for word in _words(text) if "=" in word}


def _expand(command, place, environment):
    """Return (word, place) pairs: $NAME is split into words, ${NAME} is put in as it is."""
    expanded = []
    for word in _words(command):
        name = re.fullmatch(r"\$(\w+)", word)
        if name:
            value, source = environment.get(name.group(1), ("", place))
            expanded += [(part, f"{source} (${name.group(1)})") for part in _words(value)]
        else:
            expanded.append(
                (re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match.group(1), ("",))[0], word), place)
            )
    return expanded


def _flags(words):
    position = 0
    while position < len(words):
        word, place = words[position]
        following = words[position + 1][0] if position + 1 < len(words) else None
        position += 1
        option, equals, value = word.partition("=")
        if option.startswith("--"):
            name = option[2:]
        elif re.fullmatch(r"-\w.*", option) and option[1] in _SHORT:
            name = _SHORT[option[1]]
            if len(option) > 2:  # -Hfd://
                equals, value = "=", word[2:].lstrip("=")
        else:
            continue
        text = word
        takes_next = not equals and following is not None and not following.startswith("-")
        if takes_next and not (option[:2] != "--" and option[1] in _BOOLEAN_SHORT):
            value, text = following, f"{word} {following}"
            position += 1
        yield Flag(_PLURAL.get(name, name), text, value, place)


def _listing(folder):
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".conf")]
    except OSError:
        return []


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""

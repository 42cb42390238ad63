# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes, binds and tmpfs of a service, short and long. Private: may change in any release.

Their one form: {"type", "source", "target", "read_only", "bind": {"propagation"}, "volume": {"nocopy",
"subpath"}, "tmpfs": {"size": bytes, "mode": int}}; all but type and target only where given.
"""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import scalars
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate as v

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_WITHOUT_EFFECT = {
    "z": "Swarm does not relabel for SELinux",
    "Z": "Swarm does not relabel for SELinux",
    "cached": "Docker no longer has consistency modes",
    "delegated": "Docker no longer has consistency modes",
    "consistent": "Docker no longer has consistency modes",
}
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:\\")
_OPTION_BLOCKS = {"bind": ("bind", "npipe"), "volume": ("volume",), "tmpfs": ("tmpfs",)}
# What every Docker tmpfs has anyway.
_TMPFS_DEFAULTS = ("rw", "nosuid", "nodev", "noexec")


def volumes(field):
    """The mounts of a service."""
    return v.list_of(_mount)(field)


def _mount(field):
    mount = _LONG(field) if isinstance(field.value, dict) else _short(field)
    kind = mount.get("type")
    if not kind or not mount.get("target"):
        return mount  # the missing key is reported already
    for block, kinds in _OPTION_BLOCKS.items():
        if block in mount and kind not in kinds:
            raise field.error(f"Options of another kind of mount are given to a {kind} mount", found=block)
    if kind == "tmpfs" and mount.get("source"):
        raise field.error("A tmpfs mount has no source", found=f'"{mount["source"]}"', wanted="only a target")
    if kind in ("bind", "npipe", "cluster") and not mount.get("source"):
        raise field.error("A key is missing", wanted="source")
    return mount


def _short(field):
    text = field.text(wanted='text such as "data:/var/lib/x", "/srv/x:/x:ro", or a mapping')
    parts = _split(text)
    if len(parts) > 3 or not all(parts):
        raise field.error(
            "A mount cannot be read", found=f'"{text}"', wanted='"source:target[:options]" or "target"'
        )
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    mount = {"type": "bind" if is_path(parts[0]) else "volume", "source": parts[0], "target": parts[1]}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option == "ro":
            mount["read_only"] = True
        elif option == "nocopy":
            mount["volume"] = {"nocopy": True}
        elif option in _PROPAGATION:
            mount["bind"] = {"propagation": option}
        elif option in _WITHOUT_EFFECT:
            field.report.ignore(field.path, f'option "{option}": {_WITHOUT_EFFECT[option]}')
        elif option != "rw":
            raise field.error(
                "An option of a mount is not known",
                found=f'"{option}"',
                wanted="ro, rw, nocopy or a propagation such as rslave",
            )
    return mount


def _split(text):
    parts, start = [], 0
    while True:
        skip = 3 if _WINDOWS_DRIVE.match(text, start) else 0
        colon = text.find(":", start + skip)
        if colon < 0:
            return parts + [text[start:]]
        parts.append(text[start:colon])
        start = colon + 1


def is_path(source):
    """Whether the source of a short mount is a path of the node, not the name of a volume."""
    return source[0] in "./~" or source.startswith("\\\\") or bool(_WINDOWS_DRIVE.match(source))


_LONG = v.record(
    {
        "type": v.one_of("volume", "bind", "tmpfs", "npipe", "cluster"),
        "source": v.word,
        "target": v.word,
        "read_only": v.boolean,
        "consistency": v.ignored("Docker no longer has consistency modes"),
        "bind": v.record(
            {
                "propagation": v.one_of(*_PROPAGATION),
                "create_host_path": v.ignored(
                    "Swarm starts no task where the source of a bind is missing; make the folder first"
                ),
                "recursive": v.refused("Swarm keeps no setting for recursive binds", "the file without it"),
                "selinux": v.ignored("Swarm does not relabel for SELinux"),
            },
            tags=False,
        ),
        "volume": v.record(
            {
                "nocopy": v.boolean,
                "subpath": v.word,
                "labels": v.refused(
                    "Swarm takes the labels of a volume from its top-level entry", "volumes.NAME.labels"
                ),
            },
            tags=False,
        ),
        "tmpfs": v.record({"size": v.size, "mode": v.file_mode}, tags=False),
    },
    required=("type", "target"),
    tags=False,
)


def tmpfs(field):
    """The service key tmpfs: "/path" or "/path:size=64m,mode=1777", one or a list; the result are mounts."""
    return v.text_or_list(_tmpfs)(field)


def _tmpfs(field):
    text = field.text()
    target, colon, options = text.partition(":")
    mount = {"type": "tmpfs", "target": target, "tmpfs": {}}
    if not target.startswith("/") or (colon and not options):
        raise field.error(
            "A tmpfs cannot be read", found=f'"{text}"', wanted='"/path" or "/path:size=64m,mode=1777"'
        )
    for option in options.split(",") if options else ():
        name, _equals, value = option.partition("=")
        try:
            if name == "size":
                mount["tmpfs"]["size"] = scalars.size(value)
            elif name == "mode":
                mount["tmpfs"]["mode"] = scalars.file_mode(value)
            elif option == "ro":
                mount["read_only"] = True
            elif option not in _TMPFS_DEFAULTS:
                raise field.error(
                    "Swarm's tmpfs does not know an option",
                    found=f'"{option}"',
                    wanted="size, mode, ro or rw",
                )
        except ValueError as error:
            raise field.error("A value cannot be read", found=f'"{option}"', wanted=str(error)) from None
    if not mount["tmpfs"]:
        del mount["tmpfs"]
    return mount

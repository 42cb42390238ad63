# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way files are written: whole or not at all. Private: may change in any release.

Bytes go to a private file (mode 0600) in the folder of the target, are flushed to disk, get the wanted mode
and owner, and take the target's place in one rename; a reader sees the old file or the new one. Symbolic
links are followed: the file they point to is replaced, the link stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import time

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

_STAMP = "%Y%m%dT%H%M%SZ"


def read(path):
    """Return the bytes of a file, or None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FleetError("Cannot read a file", target=path, cause=error.strerror) from error


def write(path, data, mode=None, owner=None, group=None, validate=None):
    """Replace the file at path by data.

    mode      permission bits (0o600); None keeps those of the file, 0644 for a new one
    owner     numeric user id; None keeps the owner
    group     numeric group id; None keeps the group
    validate  called with the private file's path before it takes the target's place; raising stops it

    Raises FleetError; the target is then as it was. A folder that is missing is made with mode 0755.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    private = None
    try:
        old = _stat(target)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        descriptor, private = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(target)}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if validate is not None:
            validate(private)
        _give(private, old, mode, owner, group)
        os.replace(private, target)
        private = None
        _sync_folder(folder)
    except OSError as error:
        raise FleetError("Cannot write a file", target=target, cause=error.strerror or error) from error
    finally:
        if private is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(private)


def remove(path):
    """Remove a file; nothing happens when there is none."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.realpath(path))
    except OSError as error:
        raise FleetError("Cannot remove a file", target=path, cause=error.strerror) from error


def mode(path):
    """Return the permission bits of a file, or None when there is none."""
    found = _stat(os.path.realpath(path))
    return None if found is None else stat.S_IMODE(found.st_mode)


def back_up(path, keep, now=None):
    """Copy a file to PATH.STAMP.bak beside it, with its mode and owner, and remove all but the newest copies.

    keep  how many copies stay, the new one included; at least 1
    now   seconds since the epoch for the stamp (UTC), default the time

    Returns the path of the copy, or None when there is no file.
    """
    target = os.path.realpath(path)
    data = read(target)
    if data is None:
        return None
    stamp = time.strftime(_STAMP, time.gmtime(now))
    copy = next(name for name in _names(f"{target}.{stamp}") if not os.path.exists(name))
    found = os.stat(target)
    write(copy, data, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
    for old in backups(target)[:-keep]:
        remove(old)
    return copy


def backups(path):
    """Return the paths of the copies back_up() made of a file, oldest first."""
    folder, name = os.path.split(os.path.realpath(path))
    pattern = re.compile(re.escape(name) + r"\.\d{8}T\d{6}Z(?:-(\d+))?\.bak")
    matches = [pattern.fullmatch(entry) for entry in os.listdir(folder)]
    found = [
        (match.group()[: len(name) + 17], int(match.group(1) or 0), match.group())
        for match in matches
        if match
    ]
    return [os.path.join(folder, entry) for _stamp, _number, entry in sorted(found)]


def _names(base):
    yield f"{base}.bak"
    number = 1
    while True:
        yield f"{base}-{number}.bak"
        number += 1


def _stat(path):
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _give(path, old, mode, owner, group):
    """Set the mode and owner: what is asked for, else what the old file had, else 0644 and our own."""
    if mode is None:
        mode = stat.S_IMODE(old.st_mode) if old else 0o644
    if owner is None:
        owner = old.st_uid if old else -1
    if group is None:
        group = old.st_gid if old else -1
    os.chown(path, owner, group)
    os.chmod(path, mode)


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

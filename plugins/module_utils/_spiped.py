# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of spiped: made, judged, compared and told without being shown. Private: may change in any release.

The upper half is pure; ``look`` and ``carry_out`` read and write files.
"""
from __future__ import annotations

import hashlib
import os

from ansible_collections.gpufleet.swarm.plugins.module_utils import _files
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

# spiped takes a file of any length and hashes it; 32 random bytes are what its README makes.
KEY_BYTES = 32
KEY_MODE = 0o600


def new_key():
    """Return the 32 random bytes of a new key."""
    return os.urandom(KEY_BYTES)


def fingerprint(content):
    """Return 32 hexadecimal digits that tell one key from another and give none away; None for None.

    It must not be the SHA-256 of the file: that very hash is what spiped works with (lib/proto/proto_crypt.c,
    proto_crypt_secret), so whoever sees it has the key.
    """
    if content is None:
        return None
    return hashlib.blake2b(content, digest_size=16, person=b"gpufleet.spiped").hexdigest()


def check(content, path):
    """Refuse what cannot be a key. path: the file it was found in."""
    if len(content) != KEY_BYTES:
        raise FleetError(
            "Cannot use a spiped key", path, f"{len(content)} bytes", f"{KEY_BYTES} random bytes",
            "the right file in its place, or remove it to have a new key made",
        )


def decide(path, found, wanted, regenerate=False, owner=None):
    """Return what has to happen to one key file: {path, action, content, before, after}.

    found       {content, mode, uid} of the file, or None when there is none
    wanted      content the file has to have; None for a key that is made once and then kept
    regenerate  replace a key that is there by a new one
    owner       numeric user id, or None for whoever it belongs to

    action is create, replace, protect (mode or owner) or keep; content is for carry_out alone. Raises
    FleetError for what cannot be a key.
    """
    if wanted is not None:
        check(wanted, path)
    elif found is not None and not regenerate:
        check(found["content"], path)
        wanted = found["content"]
    else:
        wanted = new_key()
    if found is None:
        action = "create"
    elif found["content"] != wanted:
        action = "replace"
    elif found["mode"] != KEY_MODE or owner not in (None, found["uid"]):
        action = "protect"
    else:
        action = "keep"
    before = fingerprint(found["content"]) if found else None
    return {
        "path": path, "action": action, "content": wanted, "before": before, "after": fingerprint(wanted),
    }


def decide_absent(path, found):
    """Return what has to happen to a key file that must not be there."""
    before = fingerprint(found["content"]) if found else None
    action = "remove" if found else "keep"
    return {"path": path, "action": action, "content": None, "before": before, "after": None}


def look(path):
    """Return {content, mode, uid} of a key file, or None."""
    content = _files.read(path)
    if content is None:
        return None
    return {"content": content, "mode": _files.mode(path), "uid": os.stat(path).st_uid}


def carry_out(decision, owner=None, group=None):
    """Do what was decided. owner, group: numeric ids, None to leave them."""
    path, action = decision["path"], decision["action"]
    if action == "remove":
        _files.remove(path)
    elif action != "keep":
        make_folder(os.path.dirname(path))
        _files.write(path, decision["content"], KEY_MODE, owner, group)


def make_folder(path):
    """Make a folder that is missing, and those above it, for their owner alone."""
    old = os.umask(0o077)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise FleetError("Cannot make the folder of a key", path, cause=error.strerror) from error
    finally:
        os.umask(old)

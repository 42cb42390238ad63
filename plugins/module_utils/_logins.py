# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins in the file of docker login, and the passwords a registry knows. Private: may change in any release.

The file is a JSON object; its "auths" holds, by server, {"auth": base64 of USER:PASSWORD} (docker/cli,
cli/config/configfile). Everything else in it belongs to others.
"""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import json
import os

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.images import HUB, HUB_SERVER

BCRYPT = b"$2b$"
BCRYPT_COST = 10
# Longer passwords are cut by bcrypt without a word.
BCRYPT_LONGEST = 72


def server(registry):
    """Return the key under which Docker's tools keep the login of a registry."""
    return HUB_SERVER if registry == HUB else registry


def parse(content, path):
    """Return the document in a file of docker login. content: bytes, None for no file."""
    if content is None or not content.strip():
        return {}
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or not isinstance(document.get("auths", {}), dict):
            raise ValueError("no object with auths")
    except ValueError as exc:
        # Not the text itself, which may hold a password.
        raise FleetError(
            "Cannot read the file of docker login",
            path,
            found="no JSON object" if isinstance(exc, json.JSONDecodeError) else str(exc),
            wanted="what docker login writes",
            option="the file right, or remove it",
        ) from None
    return document


def apply(document, logins, forget=()):
    """Return (document with the logins and without those to forget, {registry: create|update|remove})."""
    auths = dict(document.get("auths") or {})
    actions = {}
    for login in logins:
        key = server(login["registry"])
        pair = f"{login['username']}:{login['password']}".encode()
        entry = {"auth": base64.b64encode(pair).decode()}
        if auths.get(key) != entry:
            actions[login["registry"]] = "update" if key in auths else "create"
            auths[key] = entry
    for registry in forget:
        if auths.pop(server(registry), None) is not None:
            actions[registry] = "remove"
    return ({**document, "auths": auths} if actions else document), actions


def elsewhere(document, logins):
    """Return the registries whose login the docker command looks for in a helper, not in the file."""
    helpers = document.get("credHelpers") or {}
    return [
        login["registry"]
        for login in logins
        if document.get("credsStore") or helpers.get(server(login["registry"]))
    ]


def hashed(password, like=None):
    """Return the bcrypt hash of a password by the system's crypt(3); with the salt of another hash ``like``.

    A registry takes no other kind of hash (distribution, registry/auth/htpasswd).
    """
    data = password.encode()
    if len(data) > BCRYPT_LONGEST or b"\0" in data:
        raise FleetError(
            "A registry cannot keep this password",
            found=f"{len(data)} bytes",
            wanted=f"at most {BCRYPT_LONGEST} bytes",
            option="the password in its file shorter",
        )
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt.restype = library.crypt_gensalt.restype = ctypes.c_char_p
    library.crypt_gensalt.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int]
    setting = like.encode() if like else library.crypt_gensalt(BCRYPT, BCRYPT_COST, os.urandom(16), 16)
    result = library.crypt(data, setting) if setting else None
    if not result or not result.startswith(b"$2"):
        raise FleetError("The system's crypt(3) makes no bcrypt hash", wanted="libcrypt of libxcrypt 4")
    return result.decode()


def knows(line, username, password):
    """Tell whether a line of a password file is that of this user with this password."""
    name, _colon, kept = line.partition(":")
    return name == username and kept.startswith("$2") and len(kept) == 60 and hashed(password, kept) == kept

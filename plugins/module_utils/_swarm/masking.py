# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in specs: put in just before use, and never told. Private: may change in any release.

The controller leaves a marker, STX NAME ETX, wherever a secret belongs. ``resolve()`` puts the values in, on
the manager only. Plans show a fingerprint: eight hexadecimal digits of scrypt over the value, which costs a
guesser about 0.1 s a try, with a salt of the stack.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

MARKER = re.compile("\x02([^\x02\x03]*)\x03")

# The compose paths that hold a secret, so that a later plan knows what it must not show of this version.
FIELDS_LABEL = "gpufleet.secret_fields"

# For services that others deployed, the name of a variable is all there is to go by.
_SECRETIVE = re.compile(
    r"passw|passphrase|pwd|secret|token|api_?key|private_?key|access_?key|credential|auth|salt", re.I
)
_USER_AND_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 4}


def has_marker(value):
    """Tell whether a secret belongs somewhere in a value made of dicts, lists and texts."""
    if isinstance(value, dict):
        return any(has_marker(child) for child in value.values())
    if isinstance(value, list):
        return any(has_marker(child) for child in value)
    return isinstance(value, str) and MARKER.search(value) is not None


def resolve(value, secrets):
    """Return ``value`` with every marker replaced. FleetError names a secret that was not handed over."""
    if isinstance(value, dict):
        return {key: resolve(child, secrets) for key, child in value.items()}
    if isinstance(value, list):
        return [resolve(child, secrets) for child in value]
    if isinstance(value, str):
        return MARKER.sub(lambda found: _value(found.group(1), secrets), value)
    return value


def _value(name, secrets):
    if name not in secrets:
        raise FleetError("A secret has no value", target=name, wanted="a value", option="secret_environment")
    return str(secrets[name])


def hide(no_log_values, secrets):
    """Add what Ansible does not see by itself: the content of secrets, which arrive as base64."""
    for name, value in secrets.items():
        if name.startswith("secret:"):
            try:
                no_log_values.add(base64.b64decode(value).decode().strip())
            except ValueError:
                continue
    no_log_values.discard("")


class Mask:
    """Tells values of one stack, or their fingerprints where they are secret."""

    def __init__(self, stack):
        self._salt = f"gpufleet.swarm/{stack}".encode()
        self._known = {}

    def tell(self, path, value, secret):
        """Return a value for the plan. ``secret``: this path is known to hold one."""
        if value is None:
            return None
        if secret or looks_secret(path, value):
            return f"secret {self.fingerprint(value)}"
        return value

    def fingerprint(self, value):
        """Return eight hexadecimal digits; the same for the same value in the same stack."""
        text = value if isinstance(value, str) else json.dumps(value)
        if text not in self._known:
            self._known[text] = hashlib.scrypt(text.encode(), salt=self._salt, **_SCRYPT).hex()
        return self._known[text]


def looks_secret(path, value):
    """Guess from the name of a variable, or a password inside a URL, for what was never declared secret."""
    texts = value if isinstance(value, list) else [value]
    if any(_USER_AND_PASSWORD.search(text) for text in texts):
        return True
    return path.startswith("environment.") and sounds_secret(path.rpartition(".")[2])


def sounds_secret(name):
    """Tell whether a setting of this name is likely to hold a secret, and not the path of a file with one."""
    return not name.upper().endswith("_FILE") and bool(_SECRETIVE.search(name))


def with_secret_fields(spec, told):
    """Return the ServiceSpec with a label that lists its secret fields. told: the same in Compose words."""
    fields = sorted(path for path, value in told.items() if has_marker(value))
    if not fields:
        return spec
    return {**spec, "Labels": {**(spec.get("Labels") or {}), FIELDS_LABEL: ",".join(fields)}}


def secret_fields(told):
    """Return the fields that the label of a deployed service, told in Compose words, calls secret."""
    return set(filter(None, told.get("deploy.labels." + FIELDS_LABEL, "").split(",")))

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of configs and secrets, and how the content of a config differs. Pure. Private: may change."""

from __future__ import annotations

import base64
import difflib
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import masking

# More would hide the plan it stands in; a whole new file is not worth more lines either.
MAX_LINES = 100
MAX_BYTES = 64 * 1024

_HASH = re.compile(r"-[0-9a-f]{12}")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
# name = value, name: value, "name": "value", export NAME=value
_SETTING = re.compile(r"""^([-+ ]\s*(?:export\s+)?["']?([\w.-]+)["']?\s*[:=]\s*)(\S.*)$""")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)")


def of_key(stack, key, names):
    """Return those of ``names`` that are versions of one config or secret of a stack."""
    prefix = f"{stack}_{key}"
    return [name for name in names if name.startswith(prefix) and _HASH.fullmatch(name[len(prefix) :])]


def to_keep(stack, keys, candidates, number):
    """Return the names of old versions that stay: of each key the ``number`` newest.

    keys        keys of the Compose file
    candidates  {name: what observe() found} of what nothing uses
    """
    kept = set()
    for key in keys if number else ():
        versions = of_key(stack, key, candidates)
        versions.sort(key=lambda name: (candidates[name].get("created") or "", name), reverse=True)
        kept |= set(versions[:number])
    return kept


def difference(before, after, mask):
    """Return a unified diff of two contents in base64 as lines, or a line that tells why there is none.

    mask  masking.Mask: what looks like a password is told as its fingerprint
    """
    texts = []
    for data in (before, after):
        raw = base64.b64decode(data or "")
        if len(raw) > MAX_BYTES:
            return [f"(not compared: over {MAX_BYTES // 1024} KiB)"]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return ["(not compared: not text)"]
        if "\0" in text or masking.MARKER.search(text):
            return ["(not compared: not text)"]
        if _PRIVATE_KEY.search(text):
            return ["(not compared: it holds a private key)"]
        texts.append(text.splitlines())
    lines = list(difflib.unified_diff(*texts, lineterm="", n=2))[2:]
    lines = [_masked(line, mask) for line in lines]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"({len(lines) - MAX_LINES} more lines)"]
    return lines or ["(only the ends of lines differ)"]


def _masked(line, mask):
    line = _URL_PASSWORD.sub(r"\1...\2", line)
    found = _SETTING.match(line)
    if found and masking.sounds_secret(found.group(2)):
        return f"{found.group(1)}secret {mask.fingerprint(found.group(3))}"
    return line

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several files into one, by the rules of the Compose Specification. Private: may change in any release.

Works on validated documents, in which every value has its one long form. Mappings merge, lists grow (an entry
that is there already is not added again), anything else is replaced, whatever the later value is. The
exceptions are in _RULES. ``!reset`` removes a value, ``!override`` replaces it.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.ports import unique_key
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.reader import Tagged
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.schema import CONTENT_SOURCES


def merge(base, over):
    """Return base with over laid on it; neither is changed."""
    return _merge(base, over, ())


def without_tags(value):
    """Use up the tags that no later file has used: a reset value goes, an override is its value."""
    if isinstance(value, dict):
        return {key: without_tags(item) for key, item in value.items() if not _is_reset(item)}
    if isinstance(value, list):
        return [without_tags(item) for item in value if not _is_reset(item)]
    if isinstance(value, Tagged):
        return without_tags(value.value)
    return value


def _is_reset(value):
    return isinstance(value, Tagged) and value.kind == "reset"


def _merge(base, over, path):
    if isinstance(over, Tagged):
        return over  # a reset goes on to without_tags, so that the key is gone and not merely empty
    if isinstance(base, Tagged):
        base = None if _is_reset(base) else base.value
    if base is None:
        return over
    rule = _rule(path)
    if rule:
        return rule(base, over, path)
    if isinstance(base, dict) and isinstance(over, dict):
        return _mappings(base, over, path)
    if isinstance(base, list) and isinstance(over, list):
        return base + [item for item in over if item not in base]
    return over


def _mappings(base, over, path):
    result = dict(base)
    for key, value in over.items():
        result[key] = _merge(base[key], value, path + (key,)) if key in base else value
    return result


def _rule(path):
    for pattern, rule in _RULES.items():
        if len(pattern) == len(path) and all(
            want in ("*", have) for want, have in zip(pattern, path, strict=True)
        ):
            return rule
    return None


def _replace(_base, over, _path):
    return over


def _unique(key):
    """A list in which a later entry with the same key takes the place of the earlier one."""

    def rule(base, over, _path):
        merged = {key(entry): entry for entry in base}
        merged.update((key(entry), entry) for entry in over)
        return list(merged.values())

    return rule


def _target(entry):
    return entry["target"]


def _logging(base, over, path):
    """Options belong to their driver: another driver starts anew."""
    if over.get("driver", base.get("driver")) != base.get("driver", over.get("driver")):
        return over
    return _mappings(base, over, path)


def _sourced(base, over, path):
    """An object that gets its content, or its existence, from elsewhere forgets where it came from before."""
    if any(key in over for key in CONTENT_SOURCES):
        base = {key: value for key, value in base.items() if key not in CONTENT_SOURCES}
    return over if over.get("external") else _mappings(base, over, path)


_RULES = {
    ("services", "*", "command"): _replace,
    ("services", "*", "entrypoint"): _replace,
    ("services", "*", "healthcheck", "test"): _replace,
    ("services", "*", "credential_spec"): _replace,
    ("services", "*", "ulimits", "*"): _replace,
    ("services", "*", "logging"): _logging,
    ("services", "*", "ports"): _unique(unique_key),
    ("services", "*", "volumes"): _unique(_target),
    ("services", "*", "tmpfs"): _unique(_target),
    ("services", "*", "secrets"): _unique(_target),
    ("services", "*", "configs"): _unique(_target),
    ("networks", "*"): _sourced,
    ("volumes", "*"): _sourced,
    ("secrets", "*"): _sourced,
    ("configs", "*"): _sourced,
}

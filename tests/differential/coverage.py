# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys, and which words of a fixed choice, the schema knows, and which of them a corpus has used.

A mapping of known keys tells them when it is read. One that is never read hangs from a key that nobody used,
so that what is known is complete once all of it is used.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate


class Coverage:
    """known and used: paths such as services.*.deploy.mode and services.*.deploy.mode=global."""

    def __init__(self):
        self.known = set()
        self.used = set()
        self._general = {(): ()}

    @contextmanager
    def watching(self):
        """Note what is read meanwhile."""
        original = validate._entries

        def entries(field, parse_for, tags):
            if isinstance(field.value, dict):
                self._note(field, inspect.getclosurevars(parse_for).nonlocals.get("keys"))
            return original(field, parse_for, tags)

        validate._entries = entries
        try:
            yield
        finally:
            validate._entries = original

    def _note(self, field, keys):
        """keys: of a mapping with known ones; None for one with keys of the user's choice."""
        path = self._path(field.path)
        for key in field.value:
            self._general[field.path + (key,)] = path + ("*" if keys is None else key,)
        for key, parse in (keys or {}).items():
            name = ".".join((*path, key))
            words = {f"{name}={word}" for word in _choices(parse)}
            self.known |= {name, *words}
            if key in field.value:
                value = field.value[key]
                values = value if isinstance(value, list) else [value]
                self.used |= {name, *(words & {f"{name}={str(each).lower()}" for each in values})}

    def _path(self, path):
        while path and isinstance(path[-1], int) and path not in self._general:
            path = path[:-1]
        if path not in self._general:
            self._general[path] = (*self._path(path[:-1]), path[-1])
        return self._general[path]


def _choices(parse):
    """Return the words of a parser made by one_of(), also inside another parser."""
    if not inspect.isfunction(parse):
        return ()
    inner = inspect.getclosurevars(parse).nonlocals
    return inner.get("choices") or _choices(inner.get("parse"))

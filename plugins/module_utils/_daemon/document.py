# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A JSON document whose text stays as it is where it is not edited. Private: may change in any release.

The tree keeps the text of every scalar and all white space between tokens, so that rendering an unedited
document gives back its bytes, and an edit changes only the member it names: number forms (1e3, 1.0), escapes,
order, indentation and blank lines of everything else stay. Stricter than Python's json where the daemon is
(no NaN, no control characters), and stricter than the daemon for duplicate keys, of which it silently takes
the last one (Go's encoding/json).
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

MISSING = object()

_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
# Beyond what any configuration has; they keep a hostile file from exhausting the stack or Python's int().
_MAX_DEPTH = 100
_MAX_NUMBER = 1000


class DocumentError(FleetError):
    """The text is no JSON object that may be edited; says where, by line and column (both from 1)."""

    def __init__(self, path, text, position, cause):
        line = text.count("\n", 0, position) + 1
        column = position - text.rfind("\n", 0, position)
        super().__init__(
            "Cannot read the daemon's configuration",
            target=f"{path}, line {line}, column {column}",
            cause=cause,
            details={"line": line, "column": column},
        )


class Scalar:
    """A string, number, true, false or null, as it was written."""

    def __init__(self, raw):
        self.raw = raw

    def value(self):
        return json.loads(self.raw)

    def render(self):
        return self.raw


class Entry:
    """One member of an object (with its key) or of an array, and the white space around it."""

    def __init__(self, node, key=None, prefix="", lead="", trail=""):
        self.node = node
        self.key = key
        self.prefix = prefix  # key and colon as written
        self.lead = lead  # white space after the bracket or comma before it
        self.trail = trail  # white space before the comma after it

    def render(self):
        return self.lead + self.prefix + self.node.render() + self.trail


class Container:
    """An object or an array."""

    def __init__(self, kind, entries=None, close=""):
        self.kind = kind
        self.entries = entries or []
        self.close = close  # white space before the closing bracket

    def value(self):
        if self.kind is dict:
            return {entry.key: entry.node.value() for entry in self.entries}
        return [entry.node.value() for entry in self.entries]

    def render(self):
        opening, closing = "{}" if self.kind is dict else "[]"
        return opening + ",".join(entry.render() for entry in self.entries) + self.close + closing

    def find(self, key):
        return next((entry for entry in self.entries if entry.key == key), None)


class Document:
    """An object read from text (empty text is an empty object), or a new one when text is None.

    Values are what Python's json gives; a path is a sequence of keys. Nothing here decides what may be
    changed: that is ownership's part.
    """

    def __init__(self, text=None, path="daemon.json"):
        self.text = text or ""
        blank = not self.text.strip(" \t\n\r")
        self._before, self._after = ("", "\n") if blank else ("", "")
        self.root = Container(dict) if blank else self._parse(path)
        self._blank_text = self.text if blank else None
        self.indent = self._detect_indent()

    # -- reading ---------------------------------------------------------------------------------------------

    def value(self):
        return self.root.value()

    def get(self, path):
        """Return the value at path, or MISSING."""
        node = self._node(path)
        return MISSING if node is None else node.value()

    def raw(self, path):
        """Return the text of the value at path as it is written, or None when nothing is there."""
        node = self._node(path)
        return None if node is None else node.render()

    def obstacle(self, path):
        """Return the shortest part of path (without its end) whose value is no object, or None."""
        for length in range(1, len(path)):
            node = self._node(path[:length])
            if node is None:
                return None
            if not _is_object(node):
                return tuple(path[:length])
        return None

    def render(self):
        """Return the whole text. A document that holds nothing and was never edited keeps its blank text."""
        if self._blank_text is not None and not self.root.entries:
            return self._blank_text
        return self._before + self.root.render() + self._after

    # -- editing ---------------------------------------------------------------------------------------------

    def set(self, path, value):
        """Put a value at path, in place when something is there. Returns the paths of objects it created."""
        return self._put(path, lambda depth, inline: self._build(value, depth, inline))

    def set_raw(self, path, raw):
        """Put back text that raw() returned, with its own number forms and white space."""
        return self._put(path, lambda depth, inline: _Parser(raw, "").document()[1])

    def delete(self, path):
        """Remove the member at path; nothing happens when it is not there."""
        parent = self._node(path[:-1])
        if _is_object(parent):
            self._remove(parent, parent.find(path[-1]))

    def append(self, path, value):
        """Append a value to the array at path."""
        array = self._node(path)
        self._insert(array, Entry(self._build(value, len(path) + 1, self._is_inline(array))), len(path))

    def discard(self, path, value):
        """Remove the first member equal to value from the array at path."""
        array = self._node(path)
        for entry in array.entries:
            if same(entry.node.value(), value):
                self._remove(array, entry)
                return

    # -- the tree --------------------------------------------------------------------------------------------

    def _parse(self, path):
        self._before, root, self._after = _Parser(self.text, path).document()
        if not _is_object(root):
            raise DocumentError(
                path, self.text, len(self._before), f"an object is wanted, found {kind_of(root.value())}"
            )
        return root

    def _node(self, path):
        node = self.root
        for key in path:
            entry = node.find(key) if _is_object(node) else None
            if entry is None:
                return None
            node = entry.node
        return node

    def _put(self, path, build):
        created = []
        parent = self.root
        for depth, key in enumerate(path):
            last = depth == len(path) - 1
            entry = parent.find(key)
            inline = self._is_inline(parent)
            if last:
                node = build(depth + 1, inline)
                if entry:
                    entry.node = node
                else:
                    self._insert(parent, Entry(node, key, json.dumps(key) + ": "), depth)
                return created
            if entry is None:
                entry = Entry(Container(dict), key, json.dumps(key) + ": ")
                self._insert(parent, entry, depth, inline)
                entry.node.inline = inline
                created.append(tuple(path[: depth + 1]))
            parent = entry.node
        return created

    def _insert(self, parent, entry, depth, inline=None):
        """Append an entry to a container at the given depth (root = 0), in the manner of its neighbours."""
        inline = self._is_inline(parent) if inline is None else inline
        neighbour = parent.entries[-1].lead if parent.entries else ""
        if parent.entries:
            on_own_line = "\n" + neighbour.rpartition("\n")[2] if "\n" in neighbour else self._line(depth + 1)
            entry.lead = " " if inline else on_own_line
        else:
            entry.lead = "" if inline else self._line(depth + 1)
            parent.close = "" if inline else self._line(depth)
        parent.entries.append(entry)

    @staticmethod
    def _remove(parent, entry):
        if entry is None:
            return
        position = parent.entries.index(entry)
        del parent.entries[position]
        if not parent.entries:
            parent.close = ""
        elif position == 0:
            parent.entries[0].lead = entry.lead

    def _build(self, value, depth, inline):
        """Return the node of a Python value whose closing bracket stands at the given depth."""
        if not isinstance(value, (dict, list)) or not value:
            return (
                Scalar(json.dumps(value)) if not isinstance(value, (dict, list)) else Container(type(value))
            )
        members = value.items() if isinstance(value, dict) else ((None, item) for item in value)
        node = Container(dict if isinstance(value, dict) else list)
        for number, (key, item) in enumerate(members):
            lead = (" " if number else "") if inline else self._line(depth + 1)
            prefix = "" if key is None else json.dumps(key) + ": "
            node.entries.append(Entry(self._build(item, depth + 1, inline), key, prefix, lead))
        node.close = "" if inline else self._line(depth)
        return node

    def _line(self, depth):
        return "\n" + self.indent * depth

    def _is_inline(self, node):
        """Tell whether a container is written on one line; a new one takes after its parent."""
        if node.entries:
            return "\n" not in node.render()
        return getattr(node, "inline", False)

    def _detect_indent(self):
        """Return the indentation of the first member: two spaces when there is none to imitate."""
        for entry in self.root.entries:
            if "\n" in entry.lead:
                return entry.lead.rpartition("\n")[2] or "  "
        return "  "


class _Parser:
    def __init__(self, text, path):
        self.text = text
        self.path = path
        self.position = 0

    def document(self):
        before = self.space()
        node = self.node(0)
        after = self.space()
        if self.position != len(self.text):
            raise self.error("nothing may follow the closing bracket")
        return before, node, after

    def error(self, cause, position=None):
        return DocumentError(self.path, self.text, self.position if position is None else position, cause)

    def space(self):
        start = self.position
        self.position = _SPACE.match(self.text, start).end()
        return self.text[start : self.position]

    def take(self, character):
        if self.text[self.position : self.position + 1] != character:
            raise self.error(f"{json.dumps(character)} is wanted, found {self.here()}")
        self.position += 1

    def here(self):
        character = self.text[self.position : self.position + 1]
        return json.dumps(character) if character else "the end of the file"

    def string(self):
        start = self.position
        self.take('"')
        try:
            value, self.position = scanstring(self.text, self.position, True)
        except json.JSONDecodeError as error:
            raise self.error(error.msg[0].lower() + error.msg[1:], error.pos) from None
        return value, self.text[start : self.position]

    def node(self, depth):
        if depth > _MAX_DEPTH:
            raise self.error(f"nested deeper than {_MAX_DEPTH} levels")
        character = self.text[self.position : self.position + 1]
        if character in ("{", "["):
            return self.container(dict if character == "{" else list, depth)
        if character == '"':
            return Scalar(self.string()[1])
        match = _SCALAR.match(self.text, self.position)
        if not match:
            raise self.error(f"a value is wanted, found {self.here()}")
        if len(match.group()) > _MAX_NUMBER:
            raise self.error(f"a number of more than {_MAX_NUMBER} digits")
        self.position = match.end()
        return Scalar(match.group())

    def container(self, kind, depth):
        closing = "}" if kind is dict else "]"
        node = Container(kind)
        keys = set()
        self.position += 1
        lead = self.space()
        if self.text[self.position : self.position + 1] == closing:
            self.position += 1
            node.close = lead
            return node
        while True:
            entry = Entry(None, lead=lead)
            if kind is dict:
                start = self.position
                entry.key, raw = self.string()
                if entry.key in keys:
                    raise self.error(
                        f"the key {raw} is there twice; the daemon would take the last one", start
                    )
                keys.add(entry.key)
                self.space()
                self.take(":")
                self.space()
                entry.prefix = self.text[start : self.position]
            entry.node = self.node(depth + 1)
            entry.trail = self.space()
            node.entries.append(entry)
            if self.text[self.position : self.position + 1] == closing:
                self.position += 1
                node.close, entry.trail = entry.trail, ""
                return node
            self.take(",")
            lead = self.space()


def _is_object(node):
    return isinstance(node, Container) and node.kind is dict


def kind_of(value):
    """Return the JSON name of a value's kind."""
    if isinstance(value, bool):
        return "a boolean"
    for kinds, name in ((dict, "an object"), (list, "a list"), (str, "a string"), ((int, float), "a number")):
        if isinstance(value, kinds):
            return name
    return "null"


def same(left, right):
    """Compare two values as JSON does: true is not 1, but 1.0 is 1; the order of keys does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            same(one, other) for one, other in zip(left, right, strict=True)
        )
    return left == right

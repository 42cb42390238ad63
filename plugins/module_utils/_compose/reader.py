# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text to plain data, with the line of every value. Private: may change in any release.

PyYAML only parses (events); what a scalar means is decided here, because PyYAML follows YAML 1.1 while the
docker CLI since 28 follows yaml.v3: only true and false are booleans, 22:22 is text, 1e3 and 08 are floats,
0o444 and 0444 are octal. A date stays the text it was. Keys are the text they were written as.
Duplicate keys, several documents and aliases that contain themselves are errors.
"""

from __future__ import annotations

import datetime
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError

try:
    import yaml
except ImportError:  # only ever the case on a host, which has no use for this file
    yaml = None

_MAX_DEPTH = 60
_MAX_VALUES = 200_000  # aliases included, so that a few lines cannot unfold to gigabytes

_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGERS = (
    (re.compile(r"[-+]?(?:0|[1-9][0-9]*)"), 10),
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
)
_TAGS = {"!reset": "reset", "!override": "override"}


class Tagged:
    """A value under one of the Compose Specification's merge tags.

    kind   "reset" (the key goes) or "override" (replaces instead of merging)
    value  what follows the tag
    """

    def __init__(self, kind, value):
        self.kind = kind
        self.value = value


def read_text(text, label):
    """Parse one YAML document.

    text   str or bytes (UTF-8)
    label  name of the source for messages
    Returns (data, lines): plain dicts, lists and scalars (Tagged where a merge tag stands), and a dict from
    path tuple to line number. Raises ComposeError.
    """
    if yaml is None:
        raise ComposeError(
            "Cannot read YAML", file=label, wanted="the Python package PyYAML on the controller"
        )
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        # Ansible's texts are subclasses of str, which the C parser does not take.
        return _Builder(str.__str__(text), label).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ComposeError(
            "Cannot read the YAML",
            file=label,
            line=mark.line + 1 if mark else None,
            cause=", ".join(part for part in (error.context, error.problem) if part),
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        raise ComposeError("Cannot read the YAML", file=label, line=line, cause=error.reason) from None
    except yaml.YAMLError as error:
        raise ComposeError("Cannot read the YAML", file=label, cause=error) from None
    except UnicodeError as error:
        raise ComposeError(
            "Cannot read the file", file=label, wanted="UTF-8 text", cause=error.reason
        ) from None


def read_data(data, label):
    """Take a definition that is data already (from a playbook); same result as read_text, without lines.

    Keys become text. Dates, which Ansible's YAML makes of unquoted ones, become their ISO text again.
    """
    lines = {}
    return _plain(data, label, (), lines), lines


def resolve(text):
    """Give a plain (unquoted) scalar its meaning: None, bool, int, float or str."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if not text[0].isascii() or text[0] not in "+-.0123456789":
        return text
    special = _SPECIAL_FLOAT.fullmatch(text)
    if special:
        return float("nan") if "n" in text.lower()[1:2] else float(f"{special[1]}inf")
    digits = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(digits) and len(digits) <= 70:
            number = int(digits.replace("o", "").replace("O", "") if base == 8 else digits, base)
            if -(2**63) <= number < 2**64:
                return number
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return text if number in (float("inf"), float("-inf")) else number
    return text


class _Builder:
    """Builds data from parser events, so that depth, size, aliases and duplicates stay under control."""

    def __init__(self, text, label):
        self.events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.label = label
        self.lines = {}
        self.anchors = {}
        self.count = 0

    def fail(self, what, event, wanted=None, found=None):
        return ComposeError(what, file=self.label, line=event.start_mark.line + 1, wanted=wanted, found=found)

    def document(self):
        data = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                node = self.node(next(self.events))
                if documents == 1:
                    data = self.build(node, (), 0)
                elif not (node[0] == "scalar" and node[2] is None):
                    raise self.fail(
                        "A second YAML document starts here",
                        event,
                        wanted="one document per file (give the others as files of their own)",
                    )
        return data, self.lines

    # Nodes are tuples (kind, event, content, tag): content is the value, or a list of nodes or of node pairs.
    def node(self, event, depth=0):
        if depth > _MAX_DEPTH:
            raise self.fail("The YAML is nested too deeply", event, wanted=f"at most {_MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self.fail("An alias has no anchor before it", event, found=f"*{event.anchor}")
            if self.anchors[event.anchor] is None:
                raise self.fail("An alias contains itself", event, found=f"*{event.anchor}")
            return self.anchors[event.anchor]
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = ("scalar", event, self.scalar(event), event.tag)
        else:
            end = (
                yaml.SequenceEndEvent if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingEndEvent
            )
            content = []
            for inner in self.events:
                if isinstance(inner, end):
                    break
                content.append(self.node(inner, depth + 1))
            if end is yaml.MappingEndEvent:
                node = ("mapping", event, list(zip(content[::2], content[1::2], strict=True)), event.tag)
            else:
                node = ("sequence", event, content, event.tag)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def scalar(self, event):
        if event.tag in (None, "!") or event.tag in _TAGS:
            plain = event.style in (None, "") and event.tag != "!"
            return resolve(event.value) if plain else event.value
        if event.tag == "tag:yaml.org,2002:str":
            return event.value
        value = resolve(event.value)
        kinds = {
            "tag:yaml.org,2002:int": int,
            "tag:yaml.org,2002:float": (int, float),
            "tag:yaml.org,2002:bool": bool,
            "tag:yaml.org,2002:null": type(None),
        }
        if event.tag in kinds and isinstance(value, kinds[event.tag]):
            return value
        raise self.fail(
            "A YAML tag cannot be used here",
            event,
            found=event.tag,
            wanted="no tag, or one of !!str !!int !!float !!bool !reset !override",
        )

    def build(self, node, path, depth):
        kind, event, content, tag = node
        self.count += 1
        if self.count > _MAX_VALUES or depth > 2 * _MAX_DEPTH:
            raise self.fail(
                "The YAML unfolds to too much data", event, wanted=f"at most {_MAX_VALUES} values"
            )
        self.lines[path] = event.start_mark.line + 1
        if kind == "scalar":
            value = content
        elif kind == "sequence":
            value = [self.build(item, path + (index,), depth + 1) for index, item in enumerate(content)]
        else:
            value = self.mapping(content, path, depth)
        if tag in _TAGS:
            return Tagged(_TAGS[tag], value)
        if tag not in (None, "!") and kind != "scalar" and not tag.startswith("tag:yaml.org,2002:"):
            raise self.fail("A YAML tag cannot be used here", event, found=tag, wanted="!reset or !override")
        return value

    def mapping(self, pairs, path, depth):
        result, merged = {}, []
        for key_node, value_node in pairs:
            key = self.key(key_node)
            if key == "<<" and key_node[1].style in (None, ""):
                merged.append(value_node)
                continue
            if key in result:
                raise self.fail("A key is given twice", key_node[1], found=key, wanted="each key once")
            result[key] = self.build(value_node, path + (key,), depth + 1)
            self.lines[path + (key,)] = key_node[1].start_mark.line + 1
        for source in merged:
            for key, value_node in self.merged(source):
                if key not in result:
                    result[key] = self.build(value_node, path + (key,), depth + 1)
        return result

    def merged(self, node, depth=0):
        """Yield the pairs that << brings in: first a mapping's own keys, which win, then those it merges."""
        kind, event, content, _tag = node
        if kind not in ("mapping", "sequence") or depth > _MAX_DEPTH:
            raise self.fail(
                "Only mappings can be merged with <<",
                event,
                wanted="an alias of a mapping, or a list of them",
            )
        if kind == "sequence":
            for item in content:
                yield from self.merged(item, depth + 1)
            return
        inner = []
        for key_node, value_node in content:
            self.count += 1
            if self.count > _MAX_VALUES:
                raise self.fail(
                    "The YAML unfolds to too much data", event, wanted=f"at most {_MAX_VALUES} values"
                )
            key = self.key(key_node)
            if key == "<<" and key_node[1].style in (None, ""):
                inner.append(value_node)
            else:
                yield key, value_node
        for item in inner:
            yield from self.merged(item, depth + 1)

    def key(self, node):
        kind, event, value, _tag = node
        if kind != "scalar" or value is None:
            raise self.fail("A key is not text", event, wanted="a name before the colon")
        return event.value


def _plain(value, label, path, lines):
    lines[path] = None
    if len(path) > _MAX_DEPTH:
        raise ComposeError(
            "The definition is nested too deeply", path, label, wanted=f"at most {_MAX_DEPTH} levels"
        )
    if value is None or isinstance(value, bool):
        return value
    # Ansible's values are subclasses of these; what goes on from here is not.
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dict):
        return {str(key): _plain(item, label, path + (str(key),), lines) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, label, path + (index,), lines) for index, item in enumerate(value)]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    raise ComposeError(
        "A value cannot be used in a definition",
        path,
        label,
        found=type(value).__name__,
        wanted="text, numbers, booleans, lists and mappings",
    )

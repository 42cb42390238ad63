# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of environment variables. Private: may change in any release.

Two readings exist. The Compose Specification's (05-services.md, env_file): quotes, escapes, comments behind
values, variables, ``export``. The docker CLI's: everything behind the first = is the value, to the letter.
The first is ours; ``format: raw`` asks for the second. Names whose value would differ are told to the user.
"""

from __future__ import annotations

import re
from collections import ChainMap

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.interpolate import (
    InterpolationError,
    substitute,
)

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.\-]*)[ \t]*([=:]?)[ \t]*")
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|$)")
_QUOTED = {
    "'": re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL),
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


class EnvFileError(ValueError):
    """A line that cannot be read; line counts from 1, wanted and option are clauses for the user."""

    def __init__(self, what, line, wanted=None, option=None):
        super().__init__(what)
        self.what = what
        self.line = line
        self.wanted = wanted
        self.option = option


def decode(data):
    """Turn the file's bytes into text with plain line ends; raises EnvFileError if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise EnvFileError("The file is not UTF-8 text", data.count(b"\n", 0, error.start) + 1) from None


def raw(text, variables):
    """Read a file to the letter, as the docker CLI does.

    A line without = takes the value of that name from variables; without one there it is left out.
    Returns a dict.
    """
    result = {}
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole.lstrip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not name or re.search(r"\s", name):
            raise EnvFileError("A line has no usable name", number, "NAME=value, without blanks in the name")
        _put(result, name, value if separator else None, variables)
    return result


def compose(text, variables):
    """Read a file by the Compose Specification.

    Returns (values, differing): a dict, and the names whose value the docker CLI would read otherwise.
    """
    result, differing = {}, []
    position = 0
    while position < len(text):
        start = position
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        if text[position:end].strip() == "" or text[position:end].lstrip().startswith("#"):
            position = end + 1
            continue
        number = text.count("\n", 0, position) + 1
        match = _NAME.match(text, position, end)
        if not match or not (match[2] or match.end() == end or text[match.end()] == "#"):
            raise EnvFileError("A line cannot be read", number, "NAME=value")
        name, known = match[1], ChainMap(variables, result)
        if not match[2]:
            value, position = None, end + 1
        else:
            value, position = _value(text, match.end(), end, known, number)
        line = text[start:position].rstrip("\n").lstrip()
        if match[2] and line != f"{name}={value}":
            differing.append(name)
        _put(result, name, value, variables)
    return result, differing


def _put(result, name, value, variables):
    if value is None:
        value = variables.get(name)
    if value is not None:
        result[name] = value


def _value(text, position, end, variables, number):
    """Read a value; return it with the position of the line behind it."""
    quote = text[position : position + 1]
    try:
        if quote not in _QUOTED or position >= end:
            plain = re.split(r"(?:^|[ \t])#", text[position:end], maxsplit=1)[0].strip()
            return substitute(plain, variables), end + 1
        match = _QUOTED[quote].match(text, position)
        if not match:
            raise EnvFileError("A quote is not closed", number, f"a closing {quote}")
        rest = _REST.match(text, match.end())
        if not rest:
            raise EnvFileError("Something stands behind a quoted value", number, "a comment or nothing")
        if quote == "'":
            return match[1].replace("\\'", "'"), rest.end()
        escaped = re.sub(r"\\(.)", lambda part: _ESCAPES.get(part[1], part[0]), match[1], flags=re.DOTALL)
        return substitute(escaped, variables), rest.end()
    except InterpolationError as error:
        raise EnvFileError(error.what, number, error.wanted, error.option) from None

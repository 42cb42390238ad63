# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables in values, by the grammar of the Compose Specification. Private: may change in any release.

    $VAR  ${VAR}            the value; an error when it is not defined
    ${VAR:-word} ${VAR-word}  word when unset or empty / when unset
    ${VAR:+word} ${VAR+word}  word when set and not empty / when set, else nothing
    ${VAR:?text} ${VAR?text}  an error with that text when unset or empty / when unset
    $$                      one dollar sign

Words may hold variables of their own; they are looked at only when they are used. Parsed from left to right,
each form on its own, so none of the accidents of the CLI's search for substrings can happen (a default found
inside an error text, an error lost to a later variable, a name that swallows the rest of the line).
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+?]")
_MAX_DEPTH = 20


class InterpolationError(ValueError):
    """A template that cannot be filled in; wanted and option are clauses for the user."""

    def __init__(self, what, wanted=None, option=None):
        super().__init__(what)
        self.what = what
        self.wanted = wanted
        self.option = option


def substitute(text, variables):
    """Fill in the variables of a string.

    text       the template
    variables  mapping of name to string; a name that is missing or None is unset
    Raises InterpolationError for an undefined variable and for a dollar sign that begins none of the forms.
    """
    return _substitute(text, variables, 0) if "$" in text else text


def _substitute(text, variables, depth):
    if depth > _MAX_DEPTH:
        raise InterpolationError("Variables are nested too deeply", wanted=f"at most {_MAX_DEPTH} levels")
    result, position = [], 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            return "".join(result) + text[position:]
        result.append(text[position:dollar])
        position = dollar + 1
        name = _NAME.match(text, position)
        if text.startswith("$", position):
            result.append("$")
            position += 1
        elif name:
            result.append(_required(name[0], variables))
            position = name.end()
        elif text.startswith("{", position):
            end = _closing_brace(text, position + 1)
            result.append(_braced(text[position + 1 : end], variables, depth))
            position = end + 1
        else:
            raise InterpolationError(
                "A dollar sign begins no variable",
                wanted="$NAME or ${NAME}, or $$ for one literal dollar sign",
            )


def _required(name, variables):
    value = variables.get(name)
    if value is None:
        raise InterpolationError(
            f"Variable {name} is not defined",
            option=f"environment (or write ${{{name}:-default}}; $$ stands for one literal dollar sign)",
        )
    return value


def _closing_brace(text, position):
    """Find the brace that closes the one before position; inner ${...} count, other braces do not."""
    depth = 0
    while position < len(text):
        if text.startswith("$$", position):
            position += 2
            continue
        if text.startswith("${", position):
            depth += 1
            position += 2
            continue
        if text[position] == "}":
            if not depth:
                return position
            depth -= 1
        position += 1
    raise InterpolationError("A variable is not closed", wanted="a } after ${NAME")


def _braced(body, variables, depth):
    name = _NAME.match(body)
    if not name:
        raise InterpolationError(
            "A variable in braces has no name",
            wanted="${NAME} with letters, digits and _, or $$ for one literal dollar sign",
        )
    rest = body[name.end() :]
    if not rest:
        return _required(name[0], variables)
    operator = _OPERATOR.match(rest)
    if not operator:
        raise InterpolationError(
            f"Variable {name[0]} is followed by something Compose does not know",
            wanted="one of :- - :+ + :? ? or the closing brace",
        )
    word, kind = rest[operator.end() :], operator[0][-1]
    value = variables.get(name[0])
    present = value is not None and not (operator[0][0] == ":" and value == "")
    if kind == "-":
        return value if present else _substitute(word, variables, depth + 1)
    if kind == "+":
        return _substitute(word, variables, depth + 1) if present else ""
    if not present:
        text = _substitute(word, variables, depth + 1)
        raise InterpolationError(
            f"Variable {name[0]} is required" + (f": {text}" if text else ""), option="environment"
        )
    return value

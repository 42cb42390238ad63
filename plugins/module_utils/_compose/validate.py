# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts schemas are made of: parsers that check a value and bring it into its one long form.

Private: may change in any release. A parser is a function from a Field to the value's final form; it raises
ComposeError. Variables are filled in at the leaves, so a message has the exact place, and what is skipped
(x- keys, ignored keys) is never looked into.
"""

from __future__ import annotations

import difflib

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import scalars
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.field import STX
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.reader import Tagged

DROP = object()  # result of a parser whose key has no effect


def text(field):
    """Text; numbers must be quoted, as both the CLI and the specification demand."""
    return field.text()


def secret_text(field):
    """Text in which a secret variable may stand."""
    return field.text(secret=True)


def word(field):
    """Text that must not be empty."""
    value = field.text()
    if not value.strip():
        raise field.error("A value is empty", wanted="text")
    return value


def number_or_text(field):
    """Text or a number; the number in Go's writing."""
    if isinstance(field.value, (int, float)) and not isinstance(field.value, bool):
        return scalars.number_text(field.value)
    return field.text(wanted="text or a number")


def plain_value(field):
    """Value of a label, a variable or an option: text, number, null (empty), and booleans by their word."""
    if field.value is None:
        return None
    if isinstance(field.value, bool):
        word_ = scalars.number_text(field.value)
        field.report.translated(
            field.path,
            f'"{word_}"',
            "a boolean where text is meant; the CLI refuses it, quote it to be sure of its spelling",
        )
        return word_
    if isinstance(field.value, (int, float)):
        return scalars.number_text(field.value)
    return field.text(secret=True, wanted="text or a number")


def one_of(*choices):
    """One of a few words."""
    wanted = ", ".join(choices[:-1]) + " or " + choices[-1]

    def parse(field):
        value = field.text(wanted=wanted)
        if value not in choices:
            raise field.error("A value is not one of those known", found=f'"{value}"', wanted=wanted)
        return value

    return parse


def parsed(function, numbers=False):
    """Text given to one of the functions in scalars; with numbers, a YAML number is taken as its text."""

    def parse(field):
        is_number = isinstance(field.value, (int, float)) and not isinstance(field.value, bool)
        raw = scalars.number_text(field.value) if numbers and is_number else None
        if numbers and isinstance(field.value, float):
            raw = repr(field.value)
        value = field.value if isinstance(field.value, str) else raw
        if value is None:
            raise field.unlike("text (quote it)")
        value = field.fill(value)
        try:
            return function(value)
        except ValueError as error:
            raise field.error("A value cannot be read", found=f'"{value}"', wanted=str(error)) from None

    return parse


duration = parsed(scalars.duration)
size = parsed(scalars.size, numbers=True)
nano_cpus = parsed(scalars.nano_cpus, numbers=True)


def integer(minimum=None, maximum=None):
    """A whole number, or text that is one."""
    wanted = "a whole number"
    if minimum is not None:
        wanted += f" from {minimum}" + (f" to {maximum}" if maximum is not None else " on")

    def parse(field):
        value = field.value
        if isinstance(value, str):
            try:
                value = scalars.integer(field.fill(value))
            except ValueError:
                raise field.unlike(wanted) from None
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise field.unlike(wanted)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise field.error("A number is out of range", found=value, wanted=wanted)
        return value

    return parse


def ratio(field):
    """A number from 0 to 1."""
    value = field.value
    if isinstance(value, str):
        try:
            value = float(field.fill(value))
        except ValueError:
            value = None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise field.unlike("a number from 0 to 1")
    return float(value)


def boolean(field):
    """true or false, or text that says so (as a variable's value does)."""
    if isinstance(field.value, bool):
        return field.value
    if isinstance(field.value, str):
        try:
            return scalars.boolean(field.fill(field.value))
        except ValueError:
            pass
    raise field.unlike("true or false")


def file_mode(field):
    """A file mode: a number as YAML gives it, or octal text."""
    if isinstance(field.value, int) and not isinstance(field.value, bool):
        if not 0 <= field.value <= 0o7777:
            raise field.unlike('a file mode such as 0444 or "0444"')
        if field.value in scalars.SUSPICIOUS_MODES:
            field.report.warn(
                field.path,
                f"is the decimal number {field.value}, which is mode 0{field.value:o}; "
                f"write 0{field.value} for the octal one",
            )
        return field.value
    return parsed(scalars.file_mode)(field)


def list_of(parse, unique=False):
    """A list; with unique, the same entry twice is an error."""

    def parse_list(field):
        if not isinstance(field.value, list):
            raise field.unlike("a list")
        result = []
        for index, item in enumerate(field.value):
            if isinstance(item, Tagged):
                raise field.child(index, item).error("A merge tag cannot stand on an item of a list")
            value = parse(field.child(index, item))
            if unique and value in result:
                raise field.child(index, item).error("An entry is given twice", found=f'"{value}"')
            result.append(value)
        return result

    return parse_list


def text_or_list(parse):
    """One text, or a list of them; always a list afterwards."""

    def parse_either(field):
        if isinstance(field.value, list):
            return list_of(parse)(field)
        return [parse(field)]

    return parse_either


def _entries(field, parse_for, tags):
    """Parse the values of a mapping, each by parse_for(key, child); carry merge tags; collect errors."""
    if not isinstance(field.value, dict):
        raise field.unlike("a mapping")
    result = {}
    for key, value in field.value.items():
        tagged = value if isinstance(value, Tagged) else None
        child = field.child(key, tagged.value if tagged else value)
        with field.report.collecting():
            parse = parse_for(key, child)
            if parse is None:
                continue
            if tagged and not tags:
                raise child.error(
                    "A merge tag cannot stand here", found=f"!{tagged.kind}", wanted="it further up"
                )
            form = tagged if tagged and tagged.kind == "reset" else parse(child)
            if form is not DROP:
                result[key] = Tagged("override", form) if tagged and form is not tagged else form
    return result


def mapping_of(parse, name=None, tags=True):
    """A mapping with keys of the user's choice; name(key, child) may check a key; tags as in record()."""

    def parse_for(key, child):
        if name:
            name(key, child)
        return parse

    return lambda field: _entries(field, parse_for, tags)


def record(keys, required=(), nullable=False, tags=True):
    """A mapping whose keys are known; x- keys that are not ours are skipped, any other
    is an error that names its place.

    required  keys that must be there
    nullable  no value at all counts as an empty mapping
    tags      whether merge tags may stand on its values
    """

    def parse_for(key, child):
        if key in keys:
            return keys[key]
        if key.startswith("x-"):
            return None
        near = difflib.get_close_matches(key.lower().replace("-", "_"), keys, 1, 0.75)
        raise child.error("Unknown key", found=key, wanted=near[0] if near else None)

    def parse_record(field):
        if field.value is None and nullable:
            return {}
        before = len(field.report.problems)
        result = _entries(field, parse_for, tags)
        for key in required:
            if key not in result and len(field.report.problems) == before:
                raise field.error("A key is missing", wanted=key)
        return result

    return parse_record


def pairs(values=plain_value):
    """A mapping, or a list of "key=value"; always a mapping of key to text or None afterwards."""

    def parse(field):
        if isinstance(field.value, dict):
            return mapping_of(values)(field)
        if not isinstance(field.value, list):
            raise field.unlike("a mapping, or a list of KEY=VALUE")
        result = {}
        for index, item in enumerate(field.value):
            child = field.child(index, item)
            name, separator, value = child.text(secret=True, wanted="text KEY=VALUE").partition("=")
            if not name or STX in name:
                raise child.error("An entry has no name", wanted="KEY=VALUE")
            if name in result:
                raise child.error("An entry is given twice", found=name)
            result[name] = value if separator else None
        return result

    return parse


def ignored(reason, warn=False):
    """A key that Swarm has no use for: accepted, listed, not looked into."""

    def parse(field):
        field.report.ignore(field.path, reason, warn)
        return DROP

    return parse


def refused(why, instead):
    """A key that would change what runs and that Swarm cannot do."""

    def parse(field):
        raise field.error(why, wanted=instead)

    return parse

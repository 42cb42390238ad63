# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lossless JSON document: what it refuses and where, and how an edit looks in the text."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import (
    MISSING,
    Document,
    DocumentError,
    same,
)

REFUSED = {
    "no json": ("hello", 1, 1, 'a value is wanted, found "h"'),
    "a list": ("\n [1]", 2, 2, "an object is wanted, found a list"),
    "a comment": ('{\n  // mirrors\n  "a": 1\n}', 2, 3, '"\\"" is wanted, found "/"'),
    "a trailing comma": ('{\n  "a": 1,\n}', 3, 1, '"\\"" is wanted, found "}"'),
    "a missing comma": ('{\n  "a": 1\n  "b": 2\n}', 3, 3, '"," is wanted, found "\\""'),
    "an open object": ('{"a": 1', 1, 8, '"," is wanted, found the end of the file'),
    "text after the end": ('{"a": 1}\n}', 2, 1, "nothing may follow the closing bracket"),
    "a duplicate key": ('{\n  "a": 1,\n  "a": 2\n}', 3, 3, 'the key "a" is there twice'),
    "a duplicate key by escape": ('{"a": {"b": 1, "\\u0062": 2}}', 1, 16, 'the key "\\u0062" is there twice'),
    "NaN": ('{"a": NaN}', 1, 7, 'a value is wanted, found "N"'),
    "a leading zero": ('{"a": 01}', 1, 8, '"," is wanted, found "1"'),
    "a single quote": ("{'a': 1}", 1, 2, '"\\"" is wanted, found "\'"'),
    "a raw line end in a string": ('{"a": "x\ny"}', 1, 9, "invalid control character at"),
    "nested too deep": ('{"a": ' + "[" * 200 + "]" * 200 + "}", 1, 107, "nested deeper than 100 levels"),
    "a number without end": ('{"a": ' + "1" * 5000 + "}", 1, 7, "a number of more than 1000 digits"),
}


@pytest.mark.parametrize(("text", "line", "column", "cause"), REFUSED.values(), ids=REFUSED)
def test_refuses_with_line_and_column(text, line, column, cause):
    with pytest.raises(DocumentError) as error:
        Document(text, "/etc/docker/daemon.json")
    assert f"(/etc/docker/daemon.json, line {line}, column {column})" in str(error.value)
    assert cause in str(error.value)
    assert error.value.as_result()["line"] == line


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_blank_text_is_an_empty_object_and_stays_blank(text):
    document = Document(text)
    assert document.value() == {}
    assert document.render() == (text or "")


# text, edit, text afterwards
EDITS = {
    "append keeps everything else byte for byte": (
        '{\n\t"a" : 1e3,\n\n\t"b": [1.0,  "\\u00e9"]\n}\n',
        lambda document: document.set(("c",), True),
        '{\n\t"a" : 1e3,\n\n\t"b": [1.0,  "\\u00e9"],\n\t"c": true\n}\n',
    ),
    "append takes the indentation of the file": (
        '{\n    "a": {\n        "b": 1\n    }\n}',
        lambda document: document.set(("a", "c"), {"d": [1]}),
        '{\n    "a": {\n        "b": 1,\n        "c": {\n            "d": [\n                1\n'
        "            ]\n"
        "        }\n    }\n}",
    ),
    "append to one line stays on it": (
        '{"a":1,"b":{"c":2}}',
        lambda document: document.set(("b", "d"), [1, {}]),
        '{"a":1,"b":{"c":2, "d": [1, {}]}}',
    ),
    "an empty object opens up": ("{}", lambda document: document.set(("a",), 1), '{\n  "a": 1\n}'),
    "a new file ends with a line end": ("", lambda document: document.set(("a",), []), '{\n  "a": []\n}\n'),
    "objects on the way are created": (
        '{\n  "a": 1\n}\n',
        lambda document: document.set(("b", "c", "d"), "x"),
        '{\n  "a": 1,\n  "b": {\n    "c": {\n      "d": "x"\n    }\n  }\n}\n',
    ),
    "a value is replaced in place": (
        '{\n  "a": [\n    1\n  ],\n  "b": 2\n}',
        lambda document: document.set(("a",), None),
        '{\n  "a": null,\n  "b": 2\n}',
    ),
    "the first member goes": ('{ "a": 1, "b": 2 }', lambda document: document.delete(("a",)), '{ "b": 2 }'),
    "the last member goes": (
        '{\n  "a": 1,\n  "b": 2\n}\n',
        lambda document: document.delete(("b",)),
        '{\n  "a": 1\n}\n',
    ),
    "the only member goes": ('{\n  "a": 1\n}\n', lambda document: document.delete(("a",)), "{}\n"),
    "nothing goes when nothing is there": (
        '{"a": 1}',
        lambda document: document.delete(("a", "b", "c")),
        '{"a": 1}',
    ),
    "an item is appended": (
        '{\n  "a": [\n    "x"\n  ]\n}',
        lambda document: document.append(("a",), "y"),
        '{\n  "a": [\n    "x",\n    "y"\n  ]\n}',
    ),
    "an item is discarded": (
        '{"a": ["x", "y", "x"]}',
        lambda document: document.discard(("a",), "x"),
        '{"a": ["y", "x"]}',
    ),
    "text is put back as it was": (
        '{"a": 5}',
        lambda document: document.set_raw(("a",), '{ "n": 1.50 }'),
        '{"a": { "n": 1.50 }}',
    ),
}


@pytest.mark.parametrize(("text", "edit", "expected"), EDITS.values(), ids=EDITS)
def test_edit(text, edit, expected):
    document = Document(text)
    edit(document)
    assert document.render() == expected


def test_reads_values_and_obstacles():
    document = Document('{"a": {"b": [1, 2.5, -0, true, null, "\\u00e9"]}, "c": 3}')
    assert document.value() == {"a": {"b": [1, 2.5, 0, True, None, "\u00e9"]}, "c": 3}
    assert document.get(("a", "x")) is MISSING
    assert document.raw(("a", "b")) == '[1, 2.5, -0, true, null, "\\u00e9"]'
    assert document.obstacle(("c", "x", "y")) == ("c",)
    assert document.obstacle(("a", "b")) is None
    assert document.obstacle(("new", "x")) is None


SAME = [
    (1, 1.0, True),
    (1, True, False),
    (0, False, False),
    ("1", 1, False),
    (None, False, False),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ([1, 2], [2, 1], False),
    ([1], [1, 1], False),
    ({"a": [True]}, {"a": [1]}, False),
    ({}, [], False),
]


@pytest.mark.parametrize(("left", "right", "expected"), SAME)
def test_same(left, right, expected):
    assert same(left, right) is expected
    assert same(right, left) is expected

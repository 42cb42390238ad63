# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML: what scalars mean, lines, anchors, and what is refused."""

from __future__ import annotations

import math

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError, dotted
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.reader import (
    Tagged,
    read_data,
    read_text,
    resolve,
)

PLAIN = [
    ("", None),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("nULL", "nULL"),
    ("true", True),
    ("True", True),
    ("FALSE", False),
    ("tRUE", "tRUE"),
    # Words that only YAML 1.1 takes for booleans.
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("N", "N"),
    ("22:22", "22:22"),
    ("1:30:00", "1:30:00"),  # nor base 60
    ("12", 12),
    ("-12", -12),
    ("+12", 12),
    ("0", 0),
    ("1_000", 1000),
    ("0x1F", 31),
    ("0o17", 15),
    ("017", 15),
    ("-017", -15),
    ("0b101", 5),
    ("08", 8.0),
    ("09.5", 9.5),
    ("1e3", 1000.0),
    ("1.", 1.0),
    (".5", 0.5),
    ("-.5e-1", -0.05),
    ("1.10", 1.1),
    ("123456789012345678901234567890", 1.2345678901234568e29),
    ("18446744073709551615", 2**64 - 1),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("1e999", "1e999"),
    ("2020-01-01", "2020-01-01"),
    ("1.2.3", "1.2.3"),
    ("10.0.0.1", "10.0.0.1"),
    ("0x", "0x"),
    ("+", "+"),
    (".", "."),
    ("1__0", 10),
    ("1a", "1a"),
    ("\u0663", "\u0663"),
]


@pytest.mark.parametrize(("text", "expected"), PLAIN)
def test_plain_scalars(text, expected):
    value = resolve(text)
    assert (type(value), value) == (type(expected), expected)


def test_not_a_number():
    assert math.isnan(resolve(".nan"))


DOCUMENTS = [
    ("", None),
    ("# nothing\n", None),
    ("a: '1'", {"a": "1"}),
    ("a: !!str 1", {"a": "1"}),
    ("a: ! 1", {"a": "1"}),
    ("a: !!int 7", {"a": 7}),
    ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ("1: x\nyes: y", {"1": "x", "yes": "y"}),
    ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
    (
        "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}",
        {"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}},
    ),
    (
        "a: &x {p: 1}\nb: &y {<<: *x, q: 2}\nc: {<<: *y}",
        {"a": {"p": 1}, "b": {"p": 1, "q": 2}, "c": {"p": 1, "q": 2}},
    ),
    ("a: {'<<': 1}", {"a": {"<<": 1}}),
    ("a: 1\n---\n", {"a": 1}),
    ("\ufeffa: 1", {"a": 1}),
    (b"a: \xc3\xa9", {"a": "\u00e9"}),
    (b"\xef\xbb\xbfa: 1", {"a": 1}),
]


@pytest.mark.parametrize(("text", "expected"), DOCUMENTS)
def test_documents(text, expected):
    assert read_text(text, "f.yml")[0] == expected


REFUSED = [
    ("a: 1\na: 2", 2, "A key is given twice"),
    ("a:\n  b: 1\n  'b': 2", 3, "A key is given twice"),
    ("a: 1\n---\nb: 2", 2, "A second YAML document starts here"),
    ("a: &x [*x]", 1, "An alias contains itself"),
    ("a: *nope", 1, None),
    ("a: [1", None, "Cannot read the YAML"),
    ("a: b: c", 1, "Cannot read the YAML"),
    ("\ta: 1", 1, "Cannot read the YAML"),
    ("a: \x01", 1, "Cannot read the YAML"),
    ("a: !weird x", 1, "A YAML tag cannot be used here"),
    ("a: !!binary aGk=", 1, "A YAML tag cannot be used here"),
    ("a: !weird {b: 1}", 1, "A YAML tag cannot be used here"),
    ("a: !!int x", 1, "A YAML tag cannot be used here"),
    ("? [a]\n: 1", 1, "A key is not text"),
    ("~: 1", 1, "A key is not text"),
    ("a: {<<: 5}", 1, "Only mappings can be merged with <<"),
    ("[" * 100, 1, "The YAML is nested too deeply"),
    (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "\n".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]" for n in range(8)
        ),
        None,
        "The YAML unfolds to too much data",
    ),
    (b"a: \xff", None, "Cannot read the file"),
]


@pytest.mark.parametrize(("text", "line", "what"), REFUSED)
def test_refused(text, line, what):
    with pytest.raises(ComposeError) as caught:
        read_text(text, "f.yml")
    assert caught.value.file == "f.yml"
    assert line is None or caught.value.line == line
    assert what is None or caught.value.what == what


def test_lines_are_those_of_the_keys():
    _data, lines = read_text("a:\n  b:\n    - 1\n    - x: 2\nc: &m\n  d: 1\ne:\n  <<: *m\n", "f.yml")
    assert lines[("a", "b")] == 2
    assert lines[("a", "b", 1, "x")] == 4
    assert lines[("e", "d")] == 6


def test_merge_tags():
    data, _lines = read_text("a: !reset []\nb: !override {c: 1}\nd: !reset null", "f.yml")
    assert {key: (value.kind, value.value) for key, value in data.items() if isinstance(value, Tagged)} == {
        "a": ("reset", []),
        "b": ("override", {"c": 1}),
        "d": ("reset", None),
    }


def test_definitions_as_data():
    import datetime

    data, _lines = read_data({1: ("a", None), "d": datetime.date(2020, 1, 2), "t": True}, "definition")
    assert data == {"1": ["a", None], "d": "2020-01-02", "t": True}


@pytest.mark.parametrize("value", [object(), b"x", {"a": {1, 2}}])
def test_definitions_that_are_no_data(value):
    with pytest.raises(ComposeError, match="A value cannot be used in a definition"):
        read_data({"k": value}, "definition")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("services", "web", "ports", 0), "services.web.ports[0]"),
        (("services", "a", "labels", "traefik.enable"), 'services.a.labels["traefik.enable"]'),
        ((), ""),
    ],
)
def test_dotted(path, expected):
    assert dotted(path) == expected


class _Text(str):
    """Ansible hands over texts that are more than str."""


def test_texts_of_a_subclass():
    assert read_text(_Text("a: 1"), "f.yml")[0] == {"a": 1}
    data, _lines = read_data({_Text("k"): _Text("v")}, "definition")
    assert [type(text) for text in (*data, *data.values())] == [str, str]

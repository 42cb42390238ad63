# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of environment variables in their two readings."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import envfile

VARIABLES = {"HOST": "h", "S": "\x02S\x03"}

# text, Compose's reading, the CLI's reading (None: the CLI would refuse the file)
BOTH = [
    ("A=1\nB=2", {"A": "1", "B": "2"}, {"A": "1", "B": "2"}),
    ("\n# comment\n  # indented\nA=1\n", {"A": "1"}, {"A": "1"}),
    ("  A=1", {"A": "1"}, {"A": "1"}),
    ("A=", {"A": ""}, {"A": ""}),
    ("A=x=y", {"A": "x=y"}, {"A": "x=y"}),
    ("A=1\nA=2", {"A": "2"}, {"A": "2"}),
    ("HOST\nNOPE", {"HOST": "h"}, {"HOST": "h"}),
    ('A="x y"', {"A": "x y"}, {"A": '"x y"'}),
    ("A='x $y'", {"A": "x $y"}, {"A": "'x $y'"}),
    ("A='it\\'s'", {"A": "it's"}, {"A": "'it\\'s'"}),
    ('A="a\\nb\\"c\\\\"', {"A": 'a\nb"c\\'}, {"A": '"a\\nb\\"c\\\\"'}),
    ("A=x # note", {"A": "x"}, {"A": "x # note"}),
    ("A=x# no note", {"A": "x# no note"}, {"A": "x# no note"}),
    ("A=  x  ", {"A": "x"}, {"A": "  x  "}),
    ("A=$HOST/${HOST}", {"A": "h/h"}, {"A": "$HOST/${HOST}"}),
    ('A="$HOST"', {"A": "h"}, {"A": '"$HOST"'}),
    ("A=$S", {"A": "\x02S\x03"}, {"A": "$S"}),
    ("A=1\nB=${A}2", {"A": "1", "B": "12"}, {"A": "1", "B": "${A}2"}),
    ('A="\\$x"', {"A": "$x"}, {"A": '"\\$x"'}),
    ("export A=1", {"A": "1"}, None),
    ("A: 1", {"A": "1"}, None),
    ('A="x\ny"\nB=1', {"A": "x\ny", "B": "1"}, None),
    ("A='x' # note\nB=1", {"A": "x", "B": "1"}, {"A": "'x' # note", "B": "1"}),
]


@pytest.mark.parametrize(("text", "expected", "raw"), BOTH)
def test_readings(text, expected, raw):
    values, differing = envfile.compose(text, VARIABLES)
    assert values == expected
    if raw is None:
        assert differing
    else:
        assert envfile.raw(text, VARIABLES) == raw
        assert set(differing) == {name for name in raw if raw[name] != expected[name]}


REFUSED = [
    ("A=1\n=x", 2, "A line cannot be read"),
    ("A B=1", 1, "A line cannot be read"),
    ("A='x", 1, "A quote is not closed"),
    ("\n\nA='x' y", 3, "Something stands behind a quoted value"),
    ("A=$NOPE", 1, "Variable NOPE is not defined"),
    ("A=pa$$word$", 1, "A dollar sign begins no variable"),
]


@pytest.mark.parametrize(("text", "line", "what"), REFUSED)
def test_refused(text, line, what):
    with pytest.raises(envfile.EnvFileError) as caught:
        envfile.compose(text, VARIABLES)
    assert (caught.value.line, caught.value.what) == (line, what)


@pytest.mark.parametrize(("text", "line"), [("export A=1", 1), ("A=1\n=2", 2), ("A B", 1)])
def test_refused_to_the_letter(text, line):
    with pytest.raises(envfile.EnvFileError) as caught:
        envfile.raw(text, VARIABLES)
    assert caught.value.line == line


def test_bytes():
    assert envfile.decode(b"\xef\xbb\xbfA=1\r\n") == "A=1\n"
    with pytest.raises(envfile.EnvFileError, match="UTF-8"):
        envfile.decode(b"A=1\nB=\xff")

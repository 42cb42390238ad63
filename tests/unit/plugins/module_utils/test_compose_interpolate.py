# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables in values: the grammar, and the accidents of other implementations that must not happen."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.interpolate import (
    InterpolationError,
    substitute,
)

VARIABLES = {"A": "v", "B": "w", "EMPTY": "", "SECRET": "\x02SECRET\x03", "NONE": None}

FILLED = [
    ("plain", "plain"),
    ("", ""),
    ("$A", "v"),
    ("${A}", "v"),
    ("x$A.y", "xv.y"),
    ("$A$B", "vw"),
    ("$$A", "$A"),
    ("$$$A", "$v"),
    ("$$$$", "$$"),
    ("${EMPTY}", ""),
    ("${U:-d}", "d"),
    ("${U-d}", "d"),
    ("${EMPTY:-d}", "d"),
    ("${EMPTY-d}", ""),
    ("${A:-d}", "v"),
    ("${NONE-d}", "d"),
    ("${U:-}", ""),
    ("${A:?text}", "v"),
    ("${A?text}", "v"),
    ("${EMPTY?text}", ""),
    ("${A:+x}", "x"),
    ("${EMPTY:+x}", ""),
    ("${EMPTY+x}", "x"),
    ("${U+x}", ""),
    ("${U:-${B}}", "w"),
    ("${U:-${V:-${B}!}}", "w!"),
    ("${U:-$B}", "w"),
    ("${A:-${UNDEFINED}}", "v"),  # a word that is not used is not looked at
    ("${U:-a$$b}", "a$b"),
    ('${U:-{"k":1}}', '{"k":1}'),  # ends at the first brace, the second is text
    ("${SECRET}", "\x02SECRET\x03"),
    # What the CLI makes of these is another thing; here each form stands for itself.
    ("${A:?must-be-set}", "v"),
    ("$A-$B", "v-w"),
    ("img/$A-app:1", "img/v-app:1"),
    ("${U-x:-y}", "x:-y"),
    ("${A:-b?c}", "v"),
]

REFUSED = [
    ("$U", "Variable U is not defined"),
    ("${U}", "Variable U is not defined"),
    ("${NONE}", "Variable NONE is not defined"),
    ("${U:?set it}", "Variable U is required: set it"),
    ("${U?}", "Variable U is required"),
    ("${EMPTY:?$B}", "Variable EMPTY is required: w"),
    ("${U?x} ${B:-d}", "Variable U is required: x"),
    ("cost$5 ${B:-d}", "A dollar sign begins no variable"),
    ("$", "A dollar sign begins no variable"),
    ("a $ b", "A dollar sign begins no variable"),
    ("${a.b}", "Variable a is followed by something Compose does not know"),
    ("${A/x/y}", "Variable A is followed by something Compose does not know"),
    ("${A:}", "Variable A is followed by something Compose does not know"),
    ("${}", "A variable in braces has no name"),
    ("${1}", "A variable in braces has no name"),
    ("${ A }", "A variable in braces has no name"),
    ("${A", "A variable is not closed"),
    ("${U:-${B}", "A variable is not closed"),
    ("${U:-" * 30 + "}" * 30, "Variables are nested too deeply"),
]


@pytest.mark.parametrize(("template", "expected"), FILLED)
def test_filled(template, expected):
    assert substitute(template, VARIABLES) == expected


@pytest.mark.parametrize(("template", "what"), REFUSED)
def test_refused(template, what):
    with pytest.raises(InterpolationError) as caught:
        substitute(template, VARIABLES)
    assert caught.value.what == what


def test_a_name_goes_as_far_as_it_can():
    assert substitute("$A_", {"A": "x", "A_": "y"}) == "y"


def test_an_undefined_variable_says_what_to_do():
    with pytest.raises(InterpolationError) as caught:
        substitute("$apr1$x", {})
    assert caught.value.option == (
        "environment (or write ${apr1:-default}; $$ stands for one literal dollar sign)"
    )

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A value of a Compose file with its place. Private: may change in any release."""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import scalars
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.interpolate import (
    InterpolationError,
    substitute,
)

STX, ETX = "\x02", "\x03"
_KINDS = {
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    type(None): "nothing",
}


class Field:
    """One value on its way through the schema.

    value      the raw value
    path       tuple of keys and indexes from the top of the document
    variables  mapping for interpolation
    report     where notes go
    """

    __slots__ = ("path", "report", "value", "variables")

    def __init__(self, value, path, variables, report):
        self.value = value
        self.path = path
        self.variables = variables
        self.report = report

    def child(self, key, value):
        return Field(value, self.path + (key,), self.variables, self.report)

    def replaced(self, value):
        """Return this place with another value."""
        return Field(value, self.path, self.variables, self.report)

    def error(self, what, **words):
        return self.report.error(self.path, what, **words)

    def unlike(self, wanted):
        """Return the error for a value of the wrong kind."""
        found = _KINDS.get(type(self.value), "something else")
        if isinstance(self.value, (bool, int, float)):
            found = f"{found} ({scalars.number_text(self.value)})"
        elif isinstance(self.value, str):
            found = f'"{self.value}"' if STX not in self.value and len(self.value) <= 80 else found
        return self.error("A value does not fit", found=found, wanted=wanted)

    def fill(self, text, secret=False):
        """Fill in variables; without secret a value that would come from a secret variable is refused."""
        if STX in text or ETX in text:
            raise self.error(
                "The text has a control character that stands for secrets", wanted="text without it"
            )
        try:
            filled = substitute(text, self.variables)
        except InterpolationError as error:
            raise self.error(error.what, wanted=error.wanted, option=error.option) from None
        if not secret and STX in filled:
            raise self.error(
                "A secret variable cannot be used here",
                wanted="one from environment; secrets fit in environment, command, entrypoint, "
                "healthcheck, labels and driver options, or in a Compose secret",
            )
        return filled

    def text(self, secret=False, wanted="text (quote it)"):
        if not isinstance(self.value, str):
            raise self.unlike(wanted)
        return self.fill(self.value, secret)

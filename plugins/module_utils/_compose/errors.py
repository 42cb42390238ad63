# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems of Compose files, with their place. Private: may change in any release."""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dotted(path):
    """Write a path of keys and indexes the way people say it: services.web.labels["a.b"], ports[0]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


class ComposeError(FleetError):
    """Something in the stack's files that cannot be accepted.

    path    dotted path of the value ("services.web.ports[0]"), or None when the file as a whole is meant
    file    label of the source as given to load(), or None
    line    line in that source, counted from 1, or None (definitions given as data have no lines)
    problems  every problem found, this one first (a list of ComposeError, at least this one)
    The remaining arguments are those of FleetError.
    """

    def __init__(
        self, what, path=None, file=None, line=None, found=None, wanted=None, option=None, cause=None
    ):
        self.path = dotted(path) if isinstance(path, tuple) else path or None
        self.file = file
        self.line = line
        self.problems = [self]
        place = f"{file} line {line}" if file and line else file
        target = ", ".join(part for part in (self.path, place) if part) or None
        details = {"path": self.path, "file": file, "line": line}
        super().__init__(
            what,
            target,
            found,
            wanted,
            option,
            cause,
            details={key: value for key, value in details.items() if value is not None},
        )

    def __str__(self):
        if len(self.problems) == 1:
            return super().__str__()
        sentences = [
            f"{number}) {FleetError.__str__(problem)}" for number, problem in enumerate(self.problems, 1)
        ]
        return f"{len(sentences)} problems in the stack's files: " + " ".join(sentences)

    @classmethod
    def combined(cls, problems):
        """Return the first of several problems, carrying all, so that a file can be repaired in one go."""
        first = problems[0]
        first.problems = list(problems)
        first.details["problems"] = [
            {
                "message": FleetError.__str__(problem),
                **{key: value for key, value in problem.details.items() if key != "problems"},
            }
            for problem in problems
        ]
        return first

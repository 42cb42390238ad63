# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root exception of the collection. Private: may change in any release.

Pure code raises ``FleetError`` (or a subclass); only a module's ``main()`` or an action's ``run()`` turns it
into a failed result. Its text is one sentence a person can act on: what was tried, on what, the value found,
the value wanted, and the option that changes it.
"""

from __future__ import annotations


class FleetError(Exception):
    """An expected failure, told in the words of the user.

    what    what was tried or what is wrong, a clause without a full stop ("Cannot create the service")
    target  the object it was tried on ("web_api", a path, a host)
    found   the value found
    wanted  the value that would be right
    option  the option, variable or action that settles it
    cause   the underlying exception or its text
    details anything structured a caller may want in the failed result (a dict, default empty)
    """

    def __init__(self, what, target=None, found=None, wanted=None, option=None, cause=None, details=None):
        self.what = what
        self.target = target
        self.found = found
        self.wanted = wanted
        self.option = option
        self.cause = cause
        self.details = dict(details or {})
        super().__init__(what, target, found, wanted, option, cause)

    def __str__(self):
        text = str(self.what).rstrip(".")
        if self.target is not None:
            text += f" ({self.target})"
        facts = [
            f"{word} {value}"
            for word, value in (("found", self.found), ("wanted", self.wanted), ("set", self.option))
            if value is not None
        ]
        if facts:
            text += ": " + ", ".join(facts)
        cause = "" if self.cause is None else str(self.cause).strip().rstrip(".")
        if cause:
            text += f" - {cause}"
        return text + "."

    def as_result(self):
        """Return what a failed result carries besides ``msg``: the parts that were given, for programs."""
        parts = {
            "what": self.what,
            "target": self.target,
            "found": self.found,
            "wanted": self.wanted,
            "option": self.option,
        }
        result = {key: value for key, value in parts.items() if value is not None}
        if self.cause is not None:
            result["cause"] = str(self.cause)
        return {**result, **self.details}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading a stack's files has to tell: problems, translations, ignored keys, warnings, places.

Private: may change in any release.
"""

from __future__ import annotations

from contextlib import contextmanager

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError, dotted


class Report:
    """Collects while the files are read; shared by all sources of one stack.

    sources       list of (label, {path tuple: line}) in the order of the files
    problems      list of ComposeError
    translations  list of {"path", "to", "note"}: written for Compose, done in Swarm's way
    ignored       list of {"path", "reason"}: accepted, without effect
    warnings      list of sentences
    """

    def __init__(self):
        self.sources = []
        self.problems = []
        self.translations = []
        self.ignored = []
        self.warnings = []

    def copy(self):
        """Return a report of its own with the same notes, so that a later step can be repeated."""
        other = Report()
        other.sources = self.sources
        for name in ("problems", "translations", "ignored", "warnings"):
            setattr(other, name, list(getattr(self, name)))
        return other

    def locate(self, path):
        """Return (label, line) of the deepest known ancestor of path; the last file that has it wins."""
        for length in range(len(path), -1, -1):
            for label, lines in reversed(self.sources):
                if path[:length] in lines:
                    return label, lines[path[:length]]
        return (self.sources[-1][0], None) if self.sources else (None, None)

    def error(self, path, what, **words):
        """Return a ComposeError placed at path (a tuple); words are its found, wanted, option, cause."""
        file, line = self.locate(path)
        return ComposeError(what, path, file, line, **words)

    def problem(self, path, what, **words):
        """Record a problem and go on, so that all of them are told at once."""
        self.problems.append(self.error(path, what, **words))

    def translated(self, path, to, note):
        self.translations.append({"path": dotted(path), "to": to, "note": note})

    def ignore(self, path, reason, warn=False):
        """List a key that has no effect; with warn also as a warning, because its loss can be felt."""
        self.ignored.append({"path": dotted(path), "reason": reason})
        if warn:
            self.warn(path, f"is ignored: {reason}")

    def warn(self, path, text):
        self.warnings.append(f"{dotted(path)} {text}")

    @contextmanager
    def collecting(self):
        """Keep the problem of a step and go on behind it, so that those of the next ones are told too."""
        try:
            yield
        except ComposeError as error:
            self.problems.extend(error.problems)

    def finish(self):
        """Raise everything that was wrong, if anything was."""
        if self.problems:
            raise ComposeError.combined(self.problems)

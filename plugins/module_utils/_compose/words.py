# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Splitting a command line the way Docker's tools do. Private: may change in any release.

They use google/shlex, which differs from Python's shlex: inside double quotes a backslash takes any character
(and disappears), and a ``#`` at the start of a word begins a comment up to the end of the line.
"""

from __future__ import annotations

_SPACE = " \t\r\n"


def split(text):
    """Split a command line; return (words, comment), comment being the text that was dropped, or "".

    Raises ValueError when a quote or a backslash at the end has no partner.
    """
    words, comment = [], ""
    word = None  # None between words, else the characters so far
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char in _SPACE:
            if word is not None:
                words.append("".join(word))
                word = None
        elif char == "#" and word is None:
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            comment += text[position - 1 : end]
            position = end
        elif char == "'":
            end = text.find("'", position)
            if end < 0:
                raise ValueError("a closing ' (single quote)")
            word = (word or []) + [text[position:end]]
            position = end + 1
        elif char == '"':
            part, position = _double_quoted(text, position)
            word = (word or []) + [part]
        elif char == "\\":
            if position == len(text):
                raise ValueError("a character after the last backslash")
            word = (word or []) + [text[position]]
            position += 1
        else:
            word = word or []
            word.append(char)
    if word is not None:
        words.append("".join(word))
    return words, comment


def _double_quoted(text, position):
    """Read from behind an opening double quote; return (content, position behind the closing one)."""
    part = []
    while position < len(text):
        char = text[position]
        position += 1
        if char == '"':
            return "".join(part), position
        if char == "\\" and position < len(text):
            char = text[position]
            position += 1
        elif char == "\\":
            break
        part.append(char)
    raise ValueError('a closing " (double quote)')

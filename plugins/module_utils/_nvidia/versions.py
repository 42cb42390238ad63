# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions that can be compared. Private: may change in any release.

Apart from the parsers, since every deploy of a stack needs it and none of them.
"""

from __future__ import annotations

import re


def version_key(text):
    """Return the numbers of a version for comparing: "580.95.05" -> (580, 95, 5)."""
    numbers = []
    for part in re.split(r"[.~+-]", str(text or "")):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)

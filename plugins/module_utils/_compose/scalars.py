# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text to numbers and back, as Docker's tools (written in Go) do it. Private: may change in any release.

Every function raises ValueError with a clause that says what was wanted.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

_INT64_MAX = 2**63 - 1
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?(?:b|([kmgtp])(?:b|ib)?)?", re.IGNORECASE)
_SIZE_POWER = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_RATIONAL = re.compile(r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?|[0-9]+/[0-9]+")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_TRUE = ("true", "yes", "y", "on")
_FALSE = ("false", "no", "n", "off")

# Decimal numbers that are octal modes with the zero forgotten.
SUSPICIOUS_MODES = (400, 440, 444, 600, 640, 644, 660, 664, 666, 700, 750, 755, 770, 775, 777)


def number_text(value):
    """Write a YAML number as Go's %v does: 1.0 is "1", 1000000.0 is "1e+06"; integers keep all digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, digits)).lstrip("0")
    point = len(digits) + exponent  # how many digits stand before the decimal point
    digits = digits.rstrip("0") or "0"
    if value and not -4 <= point - 1 < 6:
        fraction = "." + digits[1:] if digits[1:] else ""
        text = f"{digits[0]}{fraction}e{point - 1:+03d}"
    elif value and point <= 0:
        text = "0." + "0" * -point + digits
    elif value and point < len(digits):
        text = f"{digits[:point]}.{digits[point:]}"
    else:
        text = digits.ljust(point if value else 1, "0")
    return "-" + text if sign else text


def integer(text):
    """Parse a base-10 integer; other bases have no place in a value that was a variable."""
    if not _INTEGER.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def boolean(text):
    """Parse true/yes/y/on and false/no/n/off in any case, the words Compose knows for a switch."""
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError("true or false")
    return word in _TRUE


def duration(text):
    """Parse a Go duration ("1h30m", "1.5s", "100ms") to whole nanoseconds."""
    if text == "0":
        return 0
    position, total = 0, Fraction(0)
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if not part or len(part[1]) > 40:
            raise ValueError('a duration such as "30s", "1m30s" or "500ms"')
        total += Fraction(part[1] if part[1] != "." else "0") * _UNITS_NS[part[2]]
        position = part.end()
    if not text or total > _INT64_MAX:
        raise ValueError('a duration such as "30s", "1m30s" or "500ms"')
    return int(total)


def size(text):
    """Parse a size in bytes with binary units: b, k, m, g, t, p, each also as kb or kib, in any case."""
    match = _SIZE.fullmatch(text)
    if not match or len(match[1]) > 40:
        raise ValueError('a size such as "512m" or "2g"')
    number = float(match[1]) * 1024 ** _SIZE_POWER.get((match[2] or "").lower(), 0)
    if number > _INT64_MAX:
        raise ValueError("a size below 8 EiB")
    return int(number)


def nano_cpus(text):
    """Parse a number of processors ("0.5", "2", "1/2") to billionths, exactly."""
    if not _RATIONAL.fullmatch(text) or len(text) > 40 or text.endswith("/0"):
        raise ValueError('a number of processors such as "0.5" or "2"')
    try:
        number = Fraction(text) * 10**9
    except ZeroDivisionError:
        raise ValueError('a number of processors such as "0.5" or "2"') from None
    if number.denominator != 1:
        raise ValueError("at most 9 decimals")
    if number > _INT64_MAX:
        raise ValueError("fewer processors")
    return int(number)


def file_mode(text):
    """Parse a file mode written as text, always octal ("0444", "444", "0o444"), as compose-go does."""
    digits = text[2:] if text[:2] in ("0o", "0O") else text
    if not re.fullmatch(r"[0-7]{1,5}", digits) or int(digits, 8) > 0o7777:
        raise ValueError('an octal file mode such as "0444"')
    return int(digits, 8)

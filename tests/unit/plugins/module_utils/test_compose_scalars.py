# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, times, sizes, command lines and image names as Docker's tools read them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import images, scalars, words

NUMBERS = [
    (1.0, "1"),
    (1.10, "1.1"),
    (1000000.0, "1e+06"),
    (123456.0, "123456"),
    (1234567.0, "1.234567e+06"),
    (0.0001, "0.0001"),
    (0.00001, "1e-05"),
    (1e3, "1000"),
    (8.0, "8"),
    (-2.5, "-2.5"),
    (0.0, "0"),
    (-0.0, "-0"),
    (1e21, "1e+21"),
    (1.5e-7, "1.5e-07"),
    (99999.5, "99999.5"),
    (float("inf"), "+Inf"),
    (float("-inf"), "-Inf"),
    (float("nan"), "NaN"),
    (12345678901234567890, "12345678901234567890"),
    (-7, "-7"),
    (True, "true"),
    (False, "false"),
]


@pytest.mark.parametrize(("value", "expected"), NUMBERS)
def test_number_text(value, expected):
    assert scalars.number_text(value) == expected


S = 10**9
READ = [
    (scalars.duration, "30s", 30 * S),
    (scalars.duration, "1m30s", 90 * S),
    (scalars.duration, "1.5h", 5400 * S),
    (scalars.duration, "250ms", S // 4),
    (scalars.duration, "1us2ns", 1002),
    (scalars.duration, "3\u00b5s", 3000),
    (scalars.duration, "0", 0),
    (scalars.duration, ".5s", S // 2),
    (scalars.size, "512", 512),
    (scalars.size, "512b", 512),
    (scalars.size, "1k", 1024),
    (scalars.size, "1KB", 1024),
    (scalars.size, "1KiB", 1024),
    (scalars.size, "1.5g", 1610612736),
    (scalars.size, "2 GB", 2 * 1024**3),
    (scalars.size, "1p", 1024**5),
    (scalars.size, "0.3k", 307),
    (scalars.nano_cpus, "0.5", 500_000_000),
    (scalars.nano_cpus, "2", 2 * S),
    (scalars.nano_cpus, "1/2", 500_000_000),
    (scalars.nano_cpus, "0.123456789", 123456789),
    (scalars.nano_cpus, "1e-3", 1_000_000),
    (scalars.file_mode, "0444", 0o444),
    (scalars.file_mode, "444", 0o444),
    (scalars.file_mode, "0o400", 0o400),
    (scalars.file_mode, "1777", 0o1777),
    (scalars.integer, "08", 8),
    (scalars.integer, "-1", -1),
    (scalars.boolean, "Yes", True),
    (scalars.boolean, "OFF", False),
]

UNREADABLE = [
    (scalars.duration, "30"),
    (scalars.duration, ""),
    (scalars.duration, "1d"),
    (scalars.duration, "-1s"),
    (scalars.duration, "s"),
    (scalars.duration, "1s "),
    (scalars.duration, "9" * 30 + "h"),
    (scalars.size, ""),
    (scalars.size, "1x"),
    (scalars.size, "ib"),
    (scalars.size, "-1"),
    (scalars.size, "1kk"),
    (scalars.size, "1ib"),
    (scalars.size, "9" * 30),
    (scalars.nano_cpus, "0.1234567891"),
    (scalars.nano_cpus, "1/0"),
    (scalars.nano_cpus, "1/3"),
    (scalars.nano_cpus, "1/00"),
    (scalars.nano_cpus, "x"),
    (scalars.nano_cpus, "-1"),
    (scalars.nano_cpus, "1e999"),
    (scalars.file_mode, "0888"),
    (scalars.file_mode, "77777"),
    (scalars.file_mode, ""),
    (scalars.file_mode, "r--"),
    (scalars.integer, "0x10"),
    (scalars.integer, "1.5"),
    (scalars.integer, ""),
    (scalars.integer, "\u0663"),
    (scalars.boolean, "1"),
    (scalars.boolean, ""),
]


@pytest.mark.parametrize(("function", "text", "expected"), READ)
def test_read(function, text, expected):
    assert function(text) == expected


@pytest.mark.parametrize(("function", "text"), UNREADABLE)
def test_unreadable(function, text):
    with pytest.raises(ValueError, match="."):
        function(text)


LINES = [
    ("", []),
    ("  ", []),
    ("a b", ["a", "b"]),
    ('nginx -g "daemon off;"', ["nginx", "-g", "daemon off;"]),
    ("a 'b c' d", ["a", "b c", "d"]),
    ("a'b'\"c\"", ["abc"]),
    ("\"\" ''", ["", ""]),
    (r"a\ b", ["a b"]),
    (r'"\n"', ["n"]),  # not a line feed: the backslash takes the character
    (r"'\n'", ["\\n"]),
    ("a\nb\tc", ["a", "b", "c"]),
    ("a#b", ["a#b"]),
    ("a '#b'", ["a", "#b"]),
    ("a\u00a0b", ["a\u00a0b"]),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_words(line, expected):
    assert words.split(line) == (expected, "")


def test_words_tell_of_a_comment():
    assert words.split("redis --requirepass #abc def\nnext") == (
        ["redis", "--requirepass", "next"],
        "#abc def",
    )


@pytest.mark.parametrize("line", ["'a", '"a', 'a"b', "a\\", '"a\\'])
def test_words_without_their_end(line):
    with pytest.raises(ValueError, match="."):
        words.split(line)


DIGEST = "sha256:" + "a" * 64
IMAGES = [
    ("nginx", "nginx:latest"),
    ("nginx:1.27", "nginx:1.27"),
    ("docker.io/library/nginx", "nginx:latest"),
    ("index.docker.io/library/nginx:1", "nginx:1"),
    ("docker.io/user/x", "user/x:latest"),
    ("library/nginx", "nginx:latest"),
    ("localhost/x", "localhost/x:latest"),
    ("localhost:5000/x", "localhost:5000/x:latest"),
    ("ghcr.io/a/b:1@" + DIGEST, "ghcr.io/a/b:1@" + DIGEST),
    ("x@" + DIGEST, "x@" + DIGEST),
    ("[::1]:5000/x", "[::1]:5000/x:latest"),
    ("a/b/c__d.e-f", "a/b/c__d.e-f:latest"),
]


@pytest.mark.parametrize(("name", "expected"), IMAGES)
def test_image(name, expected):
    assert images.familiar(name) == expected


@pytest.mark.parametrize(
    "name", ["Nginx", "a//b", "x:", "x@sha256:1", "x:ta g", "-x", "a/B", "x" * 300, "http://x/y", ":1"]
)
def test_impossible_image(name):
    with pytest.raises(ValueError, match="."):
        images.familiar(name)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes Compose files of two kinds: real ones that were damaged, and ones made up from the reader's tables.

Everything comes from one random.Random, so that a number names an input for ever.
"""

from __future__ import annotations

import json
import string

import yaml

SECTIONS = ("services", "networks", "volumes", "configs", "secrets")
MADE_UP_KEYS = ("x-own", "imagee", "service", "a.b", "", "0", "null", "<<", "\u00e9")

# What stands where something else is expected.
HOSTILE = (
    None, True, False, 0, 1, -1, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), "",
    " ", "0", "-1",
    "1e3", "9" * 400, "true", "null", "~", "\n", "\t", "\u0000", "\u0002PIN\u0003", "\u0002", "\ufeff",
    "\u00fc", "\U0001f980",
    "a" * 5000, "$", "$$", "${", "${}", "${A", "${A:-${B:-${C}}}", "${NONE}", "${NONE?gone}", "${A:?}",
    "${PIN}",
    "${PIN:-x}", "${A:+b}", "${1}", "$A$B", "${A" * 50, "/", "..", "../..", "~/x", "C:\\x:D:\\y", ":", "::",
    ":::",
    "a:b:c:d:e", "=", "=x", "x=", "99999:1", "1-70000:2", "[::1]:80:80", "1/tcp/udp", "5s5", "1h-1m",
    "1e99G", "0x10",
    "sha256:", "a@b@c", "UPPER/Case", "'", "\"unclosed", "'a b", "\\", [], {}, [[]], [{}], [None],
    {"": None}, {"a": {"b": []}},
    ["a", "a"], [1, "1", True], {"a": 1, "A": 2},
)  # fmt: skip

# What usually stands there, by key.
PLAUSIBLE = {
    "image": ("tiny:1", "registry.test:5000/a/b@sha256:" + "0" * 64, "${A}"),
    "command": ("run 'a b'", ["a", "b"], None),
    "entrypoint": ("run", ["a"]),
    "env_file": ("a.env", ["a.env", "none.env"], [{"path": "a.env", "required": False}]),
    "healthcheck": (
        {"test": ["CMD", "true"], "interval": "1s"},
        {"disable": True},
        {"test": "x", "retries": 1},
    ),
    "volumes": (
        ["data:/data", "/a:/b:ro", "/c"],
        [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1M"}}],
    ),
    "tmpfs": ("/t", ["/t:size=1m"]),
    "networks": (["n"], {"n": {"aliases": ["x"]}}, {"n": None}),
    "ports": (
        ["80:80", "53:53/udp", "127.0.0.1:1-2:1-2"],
        [{"target": 80, "published": "80", "mode": "host"}],
    ),
    "secrets": (["s"], [{"source": "s", "target": "t", "mode": 0o400}]),
    "configs": (["c"], [{"source": "c", "uid": "1"}]),
    "depends_on": (["a"], {"a": {"condition": "service_healthy"}}),
    "ulimits": ({"nofile": 1}, {"nofile": {"soft": 1, "hard": 2}}),
    "extra_hosts": (["a:192.0.2.1"], {"a": "192.0.2.1"}),
    "dns": ("192.0.2.1", ["192.0.2.1", "::1"]),
    "restart": ("always", "on-failure:3", "no"),
    "credential_spec": ({"config": "c"}, {"file": "x"}, {"registry": "y"}),
    "gpus": ("all", [{"count": 1}]),
    "external": (True, False, {"name": "x"}),
    "file": ("a.txt", "none.txt"),
    "environment": ("PIN", "A", "NONE"),
    "content": ("text ${A}", ""),
    "mode": ("replicated", "global", "global-job", "replicated-job", 0o444, "0444"),
}
ANYTHING = ("a", "1s", "10M", "0.5", 1, True, {"a": "b"}, ["a=b"], "${A}", "a")


# Whole entries: their keys exclude each other, so that made-up ones are mostly refused.
ENTRIES = {
    "networks": (
        {},
        None,
        {"external": True},
        {"driver_opts": {"a": "b"}, "attachable": True},
        {"name": "real"},
    ),
    "volumes": ({}, None, {"external": True, "name": "real"}, {"driver": "nfs", "driver_opts": {"a": 1}}),
    "configs": (
        {"file": "a.txt"},
        {"content": "x${A}"},
        {"external": True},
        {"environment": "A", "labels": ["a=b"]},
    ),
    "secrets": (
        {"file": "a.txt"},
        {"environment": "PIN"},
        {"external": True},
        {"driver": "vault", "name": "real"},
    ),
}
LEAVES = {
    "boolean": (True, False, "true"),
    "integer": (0, 1, "2", "${A}"),
    "duration": ("1s", "1m30s", "250ms"),
    "size": ("1M", 1024, "1.5g"),
    "nano_cpus": ("0.5", 1, "${A}"),
    "file_mode": ("0444", 0o400),
    "ratio": (0, 0.5, "1"),
    "pairs": ({"a": "b"}, ["a=b"], {"a": 1, "b": None}),
    "word": ("a", "${A}", "a.b"),
    "text": ("a", ""),
    "plain_value": ("a", 1, None),
    "number_or_text": ("a", 1),
}


class Tables:
    """The reader's schema, found by looking into its parsers: keys of mappings, with dots between levels."""

    def __init__(self, document):
        self.document = document
        self.keys = set()
        self._walk(document, "", set())

    def _walk(self, parser, path, seen):
        below, keys = inner(parser)
        self.keys |= {f"{path}.{key}".lstrip(".") for key in keys}
        for child, name in [
            *((child, f".{key}") for key, child in keys.items()),
            *((each, "") for each in below),
        ]:
            if id(child) not in seen:
                self._walk(child, path + name, seen | {id(child)})


def inner(parser):
    """Return (parsers that a parser hands values on to, {key: parser} of the keys it knows)."""
    below, keys = [], {}
    for cell in getattr(parser, "__closure__", None) or ():
        value = cell.cell_contents
        if isinstance(value, dict) and value and all(callable(child) for child in value.values()):
            keys.update(value)
        elif callable(value):
            more, known = inner(value)
            if value.__name__ == "parse_for":
                below += more
                keys.update(known)
            else:
                below.append(value)
    return below, keys


def choices(parser):
    """Return the words that a parser chooses from."""
    for cell in getattr(parser, "__closure__", None) or ():
        value = cell.cell_contents
        if isinstance(value, tuple) and value and all(isinstance(word, str) for word in value):
            return value
    return ()


class Maker:
    """Makes documents from the tables. wrong: how often a value is a hostile one."""

    def __init__(self, random, document, wrong=0.02):
        self.random = random
        self.document = document
        self.wrong = wrong

    def value(self, parser, key="", depth=0):
        """Return something for a parser, mostly what it may take."""
        random = self.random
        if random.random() < self.wrong:
            return random.choice(HOSTILE)
        if key in PLAUSIBLE and depth > 1 and random.random() < 0.8:
            return random.choice(PLAUSIBLE[key])
        below, keys = inner(parser)
        if keys:
            return self._record(keys, depth)
        kind = parser.__qualname__.partition(".")[0]
        if kind == "mapping_of":
            return {self._name(): self.value(each, "", depth + 1) for each in below[:1]}
        if kind in ("list_of", "text_or_list"):
            return [self.value(below[0], "", depth + 1) for _ in range(random.randint(0, 2))]
        if kind in LEAVES:
            return random.choice(LEAVES[kind])
        if kind == "parsed":
            function = next(each.__name__ for each in below if each.__name__ in LEAVES)
            return random.choice(LEAVES[function])
        if below:
            return self.value(random.choice(below), key, depth + 1)
        return random.choice(choices(parser) or ANYTHING)

    def _record(self, keys, depth):
        random = self.random
        # A refused key ends most of what could be seen of the others.
        known = sorted(
            key
            for key, child in keys.items()
            if not child.__qualname__.startswith("refused") or random.random() < self.wrong
        )
        if depth == 0:
            # Services refer to the others.
            chosen = {*SECTIONS, *random.sample(known, 1)}
        else:
            chosen = set(random.sample(known, min(len(known), random.choice((1, 1, 2, 3, 5)))))
        if depth == 2 and "image" in keys:
            chosen.add("image")
        record = {}
        for key in sorted(chosen):
            if depth == 0 and key in SECTIONS:
                record[key] = self._entries(keys[key], key)
            else:
                record[key] = self.value(keys[key], key, depth + 1)
        if random.random() < self.wrong:
            record[random.choice(MADE_UP_KEYS)] = random.choice(HOSTILE)
        return record

    def _entries(self, parser, key):
        """Services, networks and so on: a mapping with names of the user's choice, most often."""
        if self.random.random() < self.wrong:
            return self.value(parser, key, 1)
        names = {"services": ("a", "b"), "networks": ("n", "default"), "configs": ("c",), "secrets": ("s",)}
        chosen = self.random.sample(names.get(key, ("data",)), 1)
        if self.random.random() < self.wrong:
            chosen.append(self._name())
        if key in ENTRIES and self.random.random() < 0.8:
            return {name: self.random.choice(ENTRIES[key]) for name in chosen}
        entry = max(inner(parser)[0], key=lambda each: len(Tables(each).keys))
        return {name: self.value(entry, "", 2) for name in chosen}

    def _name(self):
        return self.random.choice(("a", "b", "n", "c", "s", "data", *MADE_UP_KEYS, "$A", "x" * 70))


STRANGE = (
    b" !reset", b" !override", b" !!int a", b" !!python/object:os.system x", b" &a", b" *a", b" |", b" >-",
    b" []", b" {}", b" 'x", b' "\\x"', b" 2001-01-01", b" 1:30", b" 0o8", b" .inf", b" <<", b" ? a",
)  # fmt: skip


def damaged(random, text):
    """Return a text (as bytes) with a few damages of the kinds that hands and programs do."""
    data = text.encode() if isinstance(text, str) else text
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(DAMAGES)(random, data)
    return data


def _place(random, data):
    return random.randint(0, max(len(data) - 1, 0))


def _cut(random, data):
    start = _place(random, data)
    return data[:start] + data[start + random.randint(1, 8) :]


def _insert(random, data):
    start = _place(random, data)
    word = random.choice(HOSTILE)
    word = word if isinstance(word, str) else json.dumps(word)
    return data[:start] + word.encode("utf-8", "replace")[:200] + data[start:]


def _flip(random, data):
    if not data:
        return data
    start = _place(random, data)
    return data[:start] + bytes([data[start] ^ (1 << random.randint(0, 7))]) + data[start + 1 :]


def _punctuate(random, data):
    start = _place(random, data)
    return data[:start] + random.choice(string.punctuation + "\n\t ").encode() + data[start:]


def _lines(change):
    def damage(random, data):
        lines = data.split(b"\n")
        return b"\n".join(change(random, lines))

    return damage


def _drop_line(random, lines):
    number = random.randrange(len(lines))
    return lines[:number] + lines[number + 1 :]


def _repeat_line(random, lines):
    number = random.randrange(len(lines))
    return lines[: number + 1] + lines[number:]


def _swap_lines(random, lines):
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines = list(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def _indent_line(random, lines):
    lines = list(lines)
    number = random.randrange(len(lines))
    lines[number] = (
        b" " * random.randint(1, 4) + lines[number] if random.random() < 0.5 else lines[number].strip()
    )
    return lines


def _other_value(random, lines):
    lines = list(lines)
    number = random.randrange(len(lines))
    key, colon, _value = lines[number].partition(b":")
    lines[number] = key + colon + random.choice(STRANGE)
    return lines


DAMAGES = (
    _cut,
    _insert,
    _flip,
    _punctuate,
    _lines(_drop_line),
    _lines(_repeat_line),
    _lines(_swap_lines),
    _lines(_indent_line),
    _lines(_other_value),
)


def as_text(random, document):
    """Write a document as YAML in one of the ways people do."""
    style = random.choice((False, None))
    return yaml.safe_dump(document, default_flow_style=style, allow_unicode=True, sort_keys=False)

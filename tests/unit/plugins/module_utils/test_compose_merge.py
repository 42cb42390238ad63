# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several files into one."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError

TOP = "networks: {n: , m: }\nvolumes: {d: , e: }\n"


def merged(*texts):
    """Load service web given as one YAML flow mapping per file."""
    sources = [
        (f"{index}.yml", f"services: {{web: {{{text}}}}}\n{TOP}") for index, text in enumerate(texts, 1)
    ]
    return load(sources, {}, [], None, "/").services["web"]


def port(target, published, protocol="tcp"):
    return {"target": target, "protocol": protocol, "mode": "ingress", "published": published}


RULES = [
    ("the later value", "image: a:1", "image: a:2", "image", "a:2"),
    ("false overrides", "image: a, init: true", "init: false", "init", False),
    ("false overrides read_only", "image: a, read_only: true", "read_only: false", "read_only", False),
    ("zero overrides", "image: a, deploy: {replicas: 3}", "deploy: {replicas: 0}", "deploy", {"replicas": 0}),
    (
        "empty overrides",
        "image: a, environment: {A: x, B: y}",
        "environment: {A: ''}",
        "environment",
        {"A": "", "B": "y"},
    ),
    (
        "list over mapping",
        "image: a, environment: {A: x}",
        "environment: [B=y]",
        "environment",
        {"A": "x", "B": "y"},
    ),
    ("labels by key", "image: a, labels: [x=1, y=2]", "labels: {x: 3}", "labels", {"x": "3", "y": "2"}),
    ("command is replaced", "image: a, command: [a, b]", "command: c", "command", ["c"]),
    ("command to the image's", "image: a, command: [a, b]", "command: ", "command", None),
    ("entrypoint is replaced", "image: a, entrypoint: [a]", "entrypoint: [b]", "entrypoint", ["b"]),
    (
        "test is replaced",
        "image: a, healthcheck: {test: x, retries: 3}",
        "healthcheck: {test: y}",
        "healthcheck",
        {"test": ["CMD-SHELL", "y"], "retries": 3},
    ),
    (
        "disable over a test",
        "image: a, healthcheck: {test: x}",
        "healthcheck: {disable: true}",
        "healthcheck",
        {"test": ["NONE"]},
    ),
    (
        "both protocols stay",
        "image: a, ports: [53:53/tcp, 53:53/udp]",
        "ports: ['80:80']",
        "ports",
        [port(53, 53), port(53, 53, "udp"), port(80, 80)],
    ),
    (
        "unpublished ports stay",
        "image: a, ports: [1, 2]",
        "image: b",
        "ports",
        [{"target": n, "protocol": "tcp", "mode": "ingress"} for n in (1, 2)],
    ),
    (
        "the same port is one",
        "image: a, ports: ['80:80']",
        "ports: [{target: 80, published: 80, mode: host}]",
        "ports",
        [{**port(80, 80), "mode": "host"}],
    ),
    (
        "mounts by target",
        "image: a, volumes: ['d:/x:ro', 'd:/y']",
        "volumes: ['e:/x']",
        "volumes",
        [
            {"type": "volume", "source": "e", "target": "/x"},
            {"type": "volume", "source": "d", "target": "/y"},
        ],
    ),
    ("lists grow once", "image: a, cap_add: [A, B]", "cap_add: [B, C]", "cap_add", ["A", "B", "C"]),
    ("name servers grow", "image: a, dns: 1.1.1.1", "dns: [8.8.8.8]", "dns", ["1.1.1.1", "8.8.8.8"]),
    (
        "networks unite",
        "image: a, networks: {n: {aliases: [p]}}",
        "networks: {n: {aliases: [q]}, m: }",
        "networks",
        {"n": {"aliases": ["p", "q"]}, "m": {}},
    ),
    (
        "options of one log driver",
        "image: a, logging: {driver: x, options: {a: 1}}",
        "logging: {options: {b: 2}}",
        "logging",
        {"driver": "x", "options": {"a": "1", "b": "2"}},
    ),
    (
        "options of another",
        "image: a, logging: {driver: x, options: {a: 1}}",
        "logging: {driver: y, options: {b: 2}}",
        "logging",
        {"driver": "y", "options": {"b": "2"}},
    ),
    (
        "driver for options",
        "image: a, logging: {options: {a: 1}}",
        "logging: {driver: y}",
        "logging",
        {"driver": "y", "options": {"a": "1"}},
    ),
    (
        "limits by name",
        "image: a, ulimits: {nofile: {soft: 1, hard: 2}, core: 0}",
        "ulimits: {nofile: 9}",
        "ulimits",
        {"nofile": {"soft": 9, "hard": 9}, "core": {"soft": 0, "hard": 0}},
    ),
    ("image from the second", "labels: {a: b}", "image: a", "image", "a"),
    ("reset a list", "image: a, ports: [80]", "ports: !reset []", "ports", "absent"),
    (
        "reset a variable",
        "image: a, environment: {A: 1, B: 2}",
        "environment: {A: !reset null}",
        "environment",
        {"B": "2"},
    ),
    ("override a list", "image: a, cap_add: [A]", "cap_add: !override [B]", "cap_add", ["B"]),
    (
        "override a mapping",
        "image: a, environment: {A: 1}",
        "environment: !override {B: 2}",
        "environment",
        {"B": "2"},
    ),
    ("reset in the only file", "image: a, tty: !reset true", "image: b", "tty", "absent"),
]


@pytest.mark.parametrize(
    ("base", "over", "key", "expected"), [row[1:] for row in RULES], ids=[row[0] for row in RULES]
)
def test_rules(base, over, key, expected):
    assert merged(base, over).get(key, "absent") == expected


def test_three_files():
    assert merged("image: a, dns: 1.1.1.1", "dns: !reset []", "dns: 8.8.8.8")["dns"] == ["8.8.8.8"]
    assert merged("image: a, dns: 1.1.1.1", "dns: !override [9.9.9.9]", "dns: 8.8.8.8")["dns"] == [
        "9.9.9.9",
        "8.8.8.8",
    ]


def test_tags_in_an_item_of_a_list_are_used_up():
    text = """
services: {web: {image: a}}
networks: {default: {ipam: {config: [{subnet: !reset , gateway: !override 10.0.0.1}]}}}
"""
    model = load([("f.yml", text)], {}, [], None, "/")
    assert model.networks["default"]["ipam"]["config"] == [{"gateway": "10.0.0.1"}]


def test_a_definition_over_a_file():
    text = "services: {web: {image: a, environment: {A: 1}}}"
    model = load(
        [("f.yml", text), ("definition", {"services": {"web": {"environment": {"B": 2}}}})], {}, [], None, "/"
    )
    assert model.services["web"]["environment"] == {"A": "1", "B": "2"}


def test_own_variables_win_over_files_of_a_later_source():
    sources = [
        ("1", "services: {web: {image: a, environment: {A: own}}}"),
        ("2", "services: {web: {env_file: f}}"),
    ]
    model = load(sources, {}, [], lambda path: b"A=file\nB=file", "/")
    assert model.services["web"]["environment"] == {"A": "own", "B": "file"}


TOPS = [
    (
        "networks: {n: {driver_opts: {a: 1}}}",
        "networks: {n: {internal: true}}",
        "networks",
        {"n": {"driver_opts": {"a": "1"}, "internal": True}},
    ),
    ("networks: {n: {internal: true}}", "networks: {n: }", "networks", {"n": {"internal": True}}),
    (
        "networks: {n: {internal: true}}",
        "networks: {n: {external: true}}",
        "networks",
        {"n": {"external": True}},
    ),
    (
        "volumes: {v: {external: true, name: x}}",
        "volumes: {v: {driver: d}}",
        "volumes",
        {"v": {"name": "x", "driver": "d"}},
    ),
]


@pytest.mark.parametrize(("base", "over", "key", "expected"), TOPS)
def test_top_level(base, over, key, expected):
    sources = [("1", f"services: {{web: {{image: a}}}}\n{base}"), ("2", over)]
    assert getattr(load(sources, {}, [], None, "/"), key) == expected


def test_content_of_a_config_comes_from_the_last_place():
    sources = [
        ("1", "services: {web: {image: a}}\nconfigs: {c: {file: f, labels: {a: b}}}"),
        ("2", "configs: {c: {content: new}}"),
    ]
    assert load(sources, {}, [], None, "/").configs == {
        "c": {"content": "new", "labels": {"a": "b"}, "data": b"new"}
    }


def test_a_problem_is_in_its_own_file():
    sources = [
        ("1.yml", "services:\n  web:\n    image: a\n    user: '1'\n"),
        ("2.yml", "services:\n  web:\n\n    user: 1\n"),
    ]
    with pytest.raises(ComposeError) as caught:
        load(sources, {}, [], None, "/")
    assert (caught.value.file, caught.value.line) == ("2.yml", 4)

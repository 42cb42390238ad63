# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of each key asks of the daemon, and whether a reloaded daemon took it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import keys

# before, after, engine -> (key, change, effect), ...
CHANGES = {
    "nothing": ({"debug": True}, {"debug": True}, (), []),
    "another number form is no change": ({"mtu": 1400}, {"mtu": 1400.0}, (), []),
    "another order is no change": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, (), []),
    "true is not 1": ({"debug": 1}, {"debug": True}, (), [("debug", "changed", "reload")]),
    "a mirror": ({}, {"registry-mirrors": ["x"]}, (), [("registry-mirrors", "added", "reload")]),
    "no mirror any more": ({"registry-mirrors": ["x"]}, {}, (), [("registry-mirrors", "removed", "restart")]),
    "an emptied list of mirrors": (
        {"registry-mirrors": ["x"]},
        {"registry-mirrors": []},
        (),
        [("registry-mirrors", "changed", "reload")],
    ),
    "a reset key": (
        {"max-concurrent-downloads": 7},
        {},
        (),
        [("max-concurrent-downloads", "removed", "reload")],
    ),
    "one runtime of two": (
        {"runtimes": {"a": {}, "b": {}}},
        {"runtimes": {"a": {}}},
        (),
        [("runtimes", "changed", "reload")],
    ),
    "resources": (
        {},
        {"node-generic-resources": ["GPU=x"]},
        (),
        [("node-generic-resources", "added", "restart")],
    ),
    "log options": (
        {"log-opts": {"max-size": "1m"}},
        {"log-opts": {"max-size": "2m"}},
        (),
        [("log-opts", "changed", "restart")],
    ),
    "an unknown key": ({}, {"shiny": 1}, (), [("shiny", "added", "restart")]),
    "a feature": ({}, {"features": {"buildkit": False}}, (), [("features", "added", "reload")]),
    "a feature of the start": ({}, {"features": {"cdi": True}}, (), [("features", "added", "restart")]),
    "the snapshotter goes": (
        {"features": {"containerd-snapshotter": True, "x": True}},
        {"features": {"x": True}},
        (),
        [("features", "changed", "restart")],
    ),
    "an ignored key": (
        {},
        {"allow-nondistributable-artifacts": ["x"]},
        (29, 1),
        [("allow-nondistributable-artifacts", "added", "none")],
    ),
    "the same key before it was ignored": (
        {"allow-nondistributable-artifacts": ["x"]},
        {},
        (28, 5),
        [("allow-nondistributable-artifacts", "removed", "restart")],
    ),
    "a reload of an Engine that breaks DNS": (
        {"dns": ["10.0.0.1"]},
        {"dns": ["10.0.0.1"], "debug": True},
        (29, 2, 1),
        [("debug", "added", "restart")],
    ),
    "a reload of one that does not": (
        {"dns": ["10.0.0.1"]},
        {"dns": ["10.0.0.1"], "debug": True},
        (29, 3),
        [("debug", "added", "reload")],
    ),
    "several in the order of the file": (
        {"debug": True, "mtu": 1},
        {"mtu": 2, "labels": ["a=b"]},
        (),
        [("debug", "removed", "restart"), ("mtu", "changed", "restart"), ("labels", "added", "reload")],
    ),
}


@pytest.mark.parametrize(("before", "after", "engine", "expected"), CHANGES.values(), ids=CHANGES)
def test_changes(before, after, engine, expected):
    found = keys.changes(before, after, engine)
    assert [(change.key, change.change, change.effect) for change in found] == expected
    assert all(change.reason for change in found)


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        ([], "none"),
        (["none"], "none"),
        (["none", "reload"], "reload"),
        (["restart", "reload", "none"], "restart"),
    ],
)
def test_strongest(effects, expected):
    assert keys.strongest(effects) == expected


@pytest.mark.parametrize("name", keys.KEYS)
def test_each_key_has_effects_that_exist(name):
    key = keys.KEYS[name]
    assert {key.set, key.removed} <= {"none", "reload", "restart"}
    # A key cannot be easier to remove than to set: a reload that drops it would also take it.
    assert keys.strongest([key.set, key.removed]) == key.removed


# What the Engine's reload functions take over (daemon/reload.go, daemon/reload_unix.go), and its command for
# the authorization plugins.
RELOADED = {
    "authorization-plugins",
    "debug",
    "default-cgroupns-mode",
    "default-ipc-mode",
    "default-runtime",
    "default-shm-size",
    "features",
    "insecure-registries",
    "labels",
    "live-restore",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "network-diagnostic-port",
    "nri-opts",
    "registry-mirrors",
    "runtimes",
    "shutdown-timeout",
}


def test_exactly_these_keys_are_reloaded():
    assert {name for name, key in keys.KEYS.items() if key.set == "reload"} == RELOADED


def test_the_page_lists_the_keys_as_they_are():
    page = Path(__file__).parents[4].joinpath("docs", "daemon_config.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.count("|") == 3]
    listed = {
        effect.strip(): set(re.findall(r"`([a-z-]+)`", names)) for _, effect, names, _ in map(split_row, rows)
    }

    def having(set_, removed):
        return {name for name, key in keys.KEYS.items() if (key.set, key.removed) == (set_, removed)}

    assert listed["reload, and a reload when removed"] == having("reload", "reload")
    assert listed["reload, but a restart when removed: the daemon keeps the last value"] == having(
        "reload", "restart"
    )
    assert listed["nothing"] == having("none", "none")


def split_row(line):
    return line.split("|")


INFO = {
    "Debug": True,
    "DefaultRuntime": "runc",
    "Labels": ["a=b"],
    "LiveRestoreEnabled": False,
    "Runtimes": {"runc": {}, "nvidia": {}},
    "RegistryConfig": {
        "Mirrors": ["http://one:5000/"],
        "InsecureRegistryCIDRs": ["10.0.0.0/8", "127.0.0.0/8"],
        "IndexConfigs": {"docker.io": {"Secure": True}, "reg:5000": {"Secure": False}},
    },
}
ATTRIBUTES = {"max-concurrent-downloads": "7", "shutdown-timeout": "15", "default-ipc-mode": "private"}
READ_BACK = {
    "all taken": (
        {
            "debug": True,
            "default-runtime": "runc",
            "labels": ["a=b"],
            "live-restore": False,
            "runtimes": {"nvidia": {"path": "x"}},
            "registry-mirrors": ["http://one:5000"],
            "insecure-registries": ["reg:5000", "10.0.0.0/8"],
            "max-concurrent-downloads": 7,
            "shutdown-timeout": 15,
            "default-ipc-mode": "private",
            "default-shm-size": "128M",
            "mtu": 1400,
        },
        [],
    ),
    "null": ({"labels": None}, []),
    "a runtime that is not there": (
        {"runtimes": {"kata": {}, "nvidia": {}}},
        ["runtimes: the daemon reloaded, but holds ['nvidia'] where ['kata', 'nvidia'] is wanted"],
    ),
    "another runtime": (
        {"default-runtime": "nvidia"},
        ["default-runtime: the daemon reloaded, but holds runc where nvidia is wanted"],
    ),
    "a number": (
        {"max-concurrent-downloads": 8},
        ["max-concurrent-downloads: the daemon reloaded, but holds 7 where 8 is wanted"],
    ),
    "a registry": (
        {"insecure-registries": ["other:5000"]},
        ["insecure-registries: the daemon reloaded, but holds [] where ['other:5000'] is wanted"],
    ),
}


@pytest.mark.parametrize(("config", "expected"), READ_BACK.values(), ids=READ_BACK)
def test_not_taken(config, expected):
    assert keys.not_taken(config, list(config), INFO, ATTRIBUTES) == expected


def test_not_taken_without_an_answer():
    assert keys.not_taken({"labels": ["a=b"]}, ["labels"], {}, {}) == [
        "labels: the daemon reloaded, but holds [] where ['a=b'] is wanted"
    ]

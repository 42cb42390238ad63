# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon would refuse, with the exact sentences."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import checks
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.unit import Flag

TWICE = "The daemon cannot advertise generic resources (node-generic-resources): found "
PROBLEMS = {
    "a good configuration": (
        {
            "debug": True,
            "mtu": 1400,
            "log-opts": {"max-size": "10m"},
            "dns": None,
            "shiny": {},
            "features": {},
        },
        True,
        [],
    ),
    "a number as text": (
        {"mtu": "1400"},
        False,
        ['The daemon cannot read a key (mtu): found a string ("1400"), wanted an integer.'],
    ),
    "a fraction": (
        {"mtu": 1.5},
        False,
        ["The daemon cannot read a key (mtu): found a number (1.5), wanted an integer."],
    ),
    "a number as boolean": (
        {"debug": 1},
        False,
        ["The daemon cannot read a key (debug): found a number (1), wanted a boolean."],
    ),
    "numbers in log options": (
        {"log-opts": {"max-file": 3}},
        False,
        [
            'The daemon cannot read a key (log-opts): found an object ({"max-file": 3}), '
            "wanted an object of strings."
        ],
    ),
    "one string for a list": (
        {"registry-mirrors": "http://x"},
        False,
        [
            'The daemon cannot read a key (registry-mirrors): found a string ("http://x"), '
            "wanted a list of strings."
        ],
    ),
    "names for one kind and a number for another": (
        {"node-generic-resources": ["GPU=GPU-1", "GPU=GPU-2", "SSD=3"]},
        False,
        [],
    ),
    "names and a number": (
        {"node-generic-resources": ["GPU=GPU-1", "GPU=2"]},
        False,
        [TWICE + "GPU=GPU-1, GPU=2, wanted either one number for the kind or names only."],
    ),
    "two numbers": (
        {"node-generic-resources": ["GPU=1", "GPU=2"]},
        False,
        [TWICE + "GPU=1, GPU=2, wanted either one number for the kind or names only."],
    ),
    "less than nothing": (
        {"node-generic-resources": ["GPU=-1"]},
        False,
        [TWICE + "GPU=-1, wanted a number of at least 0."],
    ),
    "a name twice": (
        {"node-generic-resources": ["GPU=a", "GPU= a"]},
        False,
        [TWICE + "GPU=a, GPU=a, wanted each name once."],
    ),
    "no equals sign, two, and no value": (
        {"node-generic-resources": ["GPU", "a=b=c", "x="]},
        False,
        [TWICE + f"{term}, wanted KIND=VALUE with one equals sign." for term in ("GPU", "a=b=c", "x=")],
    ),
    "live-restore outside a Swarm": ({"live-restore": True}, False, []),
    "live-restore in a Swarm": (
        {"live-restore": True},
        True,
        [
            "A Swarm node cannot start with this key (live-restore): found true, wanted false or no key, "
            "set live-restore: false in data, or remove it from the file."
        ],
    ),
    "nftables in a Swarm": (
        {"firewall-backend": "nftables"},
        True,
        [
            "A Swarm node cannot start with this key (Engine 29 and later) (firewall-backend): "
            "found nftables, wanted iptables, set firewall-backend: iptables in data."
        ],
    ),
    "nftables in a Swarm that makes no rules": (
        {"firewall-backend": "nftables", "iptables": False},
        True,
        [],
    ),
}


@pytest.mark.parametrize(("config", "swarm", "expected"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems(config, swarm, expected):
    assert [str(problem) for problem in checks.problems(config, swarm)] == expected


def test_an_option_in_the_unit_and_in_the_file_names_both_places():
    flags = [
        Flag("hosts", "-H fd://", "fd://", "/lib/systemd/system/docker.service"),
        Flag("runtimes", "--add-runtime x=y", "x=y", "/etc/systemd/system/docker.service.d/x.conf"),
        Flag("debug", "--debug", "", "/etc/default/docker ($DOCKER_OPTS)"),
    ]
    config = {"hosts": ["unix:///run/docker.sock"], "runtimes": {}}
    assert [str(problem) for problem in checks.problems(config, False, flags, "/etc/docker/daemon.json")] == [
        "The daemon refuses an option that is set twice (hosts): found -H fd:// in "
        '/lib/systemd/system/docker.service and "hosts" in /etc/docker/daemon.json, wanted one of the two, '
        "set the unit's option away (systemctl edit), or the key out of data."
    ]


@pytest.mark.parametrize(
    ("registries", "engine", "warned"),
    [
        (["reg:5000"], (29, 10), True),
        (["reg:5000"], (29, 9), False),
        (["reg:5000", "localhost:5000"], (29, 10), False),
        (["127.0.0.0/8"], (30,), False),
        ([], (29, 10), False),
    ],
)
def test_warns_when_loopback_registries_lose_their_trust(registries, engine, warned):
    assert bool(checks.warnings({"insecure-registries": registries}, engine)) is warned

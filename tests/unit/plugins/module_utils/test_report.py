# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the verification says, from what its modules found."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.filter.table import table
from ansible_collections.gpufleet.swarm.plugins.module_utils import _report as report

NODE = {"hostname": "m1.site", "state": "ready", "labels": {"gpufleet.host": "m1"}}
SERVICE = {
    "name": "web_api",
    "stack": "web",
    "ok": True,
    "reason": None,
    "replicas": "1/1",
    "nodes": ["m1.site"],
}
RESULT = {
    "url": "https://lab.test/",
    "service": "web_api",
    "ok": True,
    "status": 200,
    "refused": False,
    "location": None,
    "problems": [],
}


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, []),
        ({"hosts": ["m1", "w1"]}, ["host w1: found in no Swarm, wanted as a node of this one"]),
        ({"nodes": [{**NODE, "state": "down"}]}, ["node m1.site: found down, wanted ready"]),
        ({"nodes": [{**NODE, "labels": {}}]}, ["host m1: found in no Swarm, wanted as a node of this one"]),
        ({"stacks": ["web", "linto"]}, ["stack linto: found no service of it"]),
        (
            {"services": [{**SERVICE, "ok": False, "reason": "0 of 1 tasks run"}]},
            ["service web_api: 0 of 1 tasks run"],
        ),
        (
            {"results": [{**RESULT, "ok": False, "problems": ["found status 404, wanted 200", "no header"]}]},
            ["https://lab.test/: found status 404, wanted 200; no header"],
        ),
    ],
)
def test_problems(changes, sentences):
    given = {
        "results": [RESULT],
        "services": [SERVICE],
        "nodes": [NODE],
        "hosts": ["m1"],
        "stacks": ["web"],
        **changes,
    }
    assert report.problems(**given) == sentences


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, {"answer": 200, "replicas": "1/1", "on": ["m1.site"]}),
        ({"status": None, "refused": True}, {"answer": "refused"}),
        ({"status": 301, "location": "https://x/"}, {"answer": "301 to https://x/"}),
        ({"status": None, "ok": False}, {"answer": None, "ok": False}),
        ({"service": "gone"}, {"service": "gone", "replicas": None, "on": None}),
        ({"service": None}, {"service": None, "replicas": None, "on": None}),
    ],
)
def test_routes(changes, row):
    (made,) = report.routes([{**RESULT, **changes}], [SERVICE])
    assert {key: made[key] for key in row} == row


def test_table():
    rows = [
        {"name": "a", "is_ok": True, "on": ["x", "y"]},
        {"name": "long name", "is_ok": False, "on": []},
        {},
    ]
    assert table(rows, ["name", "is_ok", "on"]) == [
        "NAME       IS OK  ON",
        "a          yes    x, y",
        "long name  no     -",
        "-          -      -",
    ]
    assert table([{"text": "two\nlines"}], ["text"]) == ["TEXT", "two lines"]
    assert table([], ["name"]) == ["NAME"]

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second run changes nothing, writes nothing to the Engine, replaces no task, leaks nothing."""

from __future__ import annotations

import re

import pytest

from lab.credentials import leaked


def engine_state(fleet) -> dict[str, dict]:
    """Return what a write to the Swarm would move: versions of its objects, and the tasks that should run."""
    state = {
        kind: {entry["ID"]: entry["Version"]["Index"] for entry in fleet.engine(f"/{kind}")}
        for kind in ("services", "configs", "secrets")
    }
    state["specs"] = {entry["Spec"]["Name"]: entry.get("PreviousSpec") for entry in fleet.engine("/services")}
    state["networks"] = {
        entry["Id"]: entry["Name"] for entry in fleet.engine("/networks") if entry["Scope"] == "swarm"
    }
    state["tasks"] = {
        task["ID"]: task["ServiceID"] for task in fleet.engine("/tasks") if task["DesiredState"] == "running"
    }
    state["labels"] = {member["ID"]: member["Spec"] for member in fleet.engine("/nodes")}
    return state


@pytest.fixture(scope="module")
def second_run(fleet):
    """Run site.yml once more, very talkative; return the Engine's state before, the run, the state after."""
    before = engine_state(fleet)
    run = fleet.site("-vvv", "--diff")
    return before, run, engine_state(fleet)


def test_the_second_run_changes_nothing(second_run, fleet):
    _, run, _ = second_run
    recap = dict(re.findall(r"^(\S+)\s+: (ok=.*)$", run.stdout, re.MULTILINE))
    assert run.returncode == 0, run.stdout[-3000:]
    assert set(fleet.nodes) <= set(recap)
    for name, line in recap.items():
        assert re.search(r"changed=0\s+unreachable=0\s+failed=0", line), f"{name}: {line}"


@pytest.mark.parametrize("what", ["services", "configs", "secrets", "specs", "networks", "tasks", "labels"])
def test_the_second_run_writes_nothing_to_the_engine(second_run, what):
    before, _, after = second_run
    assert before[what]
    assert after[what] == before[what]


def test_the_log_at_vvv_shows_no_secret(second_run, fleet):
    _, run, _ = second_run
    log = run.stdout + run.stderr
    assert "EXEC" in log, "the run was not as talkative as this test needs"
    assert leaked(fleet.secrets(), log) == []

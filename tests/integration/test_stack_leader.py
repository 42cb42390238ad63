# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Managers that are lost in the middle of a deploy: the leader alone, and the majority.

Needs a Swarm of three managers whose Engines may be stopped; the deploy runs on one that is not the leader.
On a smaller Swarm all of this is skipped. Environment: see test_stack_module.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration import stack_fleet
from tests.integration.stack_fleet import INVENTORY, Fleet, quick, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")

TIMEOUT_S = 150


def on(pattern, command, check=True):
    """Run a command on hosts as root, past the module; return its output."""
    program = Path(sys.executable).parent / "ansible"
    words = [str(program), "-i", str(Path(INVENTORY).absolute()), pattern, "-b"]
    words += ["-m", "ansible.builtin.shell", "-a", command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout


def nodes(pattern):
    """Return what hosts tell of the managers: lines of a name and Leader or Reachable."""
    form = "{% raw %}'{{.Hostname}} {{.ManagerStatus}}'{% endraw %}"
    told = on(pattern, f"docker node ls --filter role=manager --format {form}", check=False)
    return [line for line in told.splitlines() if line.endswith((" Leader", " Reachable"))]


def start(pattern):
    """Start Engines again and wait until all managers see each other."""
    on(pattern, "systemctl start docker.socket docker")
    end = time.monotonic() + 180
    while len(nodes("managers")) != 9:
        assert time.monotonic() < end, "the managers have not come together again"
        time.sleep(1)


@pytest.fixture
def managers(monkeypatch):
    """Return the names of the leader, of the manager that deploys, and of the third one."""
    told = nodes("managers[0]")
    if len(told) != 3:
        pytest.skip(f"needs three managers, {os.path.basename(INVENTORY)} has {len(told)}")
    leader = next(line.split()[0] for line in told if line.endswith(" Leader"))
    deploying, third = (line.split()[0] for line in told if line.endswith(" Reachable"))
    monkeypatch.setattr(stack_fleet, "MANAGER", deploying)
    return leader, deploying, third


@pytest.fixture
def fleet(tmp_path, managers):
    fleet = Fleet(tmp_path)
    fleet.deploy(state="absent")
    yield fleet
    start("managers")
    fleet.deploy(state="absent")


def definition(node):
    """Three waves on a node that stays, so that the deploy takes a while."""
    deploy = quick(placement={"constraints": [f"node.hostname == {node}"]})
    return {
        "services": {
            "a": service(deploy=deploy),
            "b": service(deploy=deploy, depends_on=["a"]),
            "c": service(deploy=deploy, depends_on=["b"]),
        }
    }


def lose(names, fleet, definition):
    """Stop Engines in the middle of a deploy. Return (result, seconds)."""
    lost = threading.Timer(8, on, [":".join(names), "systemctl stop docker.socket docker"])
    lost.start()
    started = time.monotonic()
    options = {"name": "it", "definition": definition, "wait_timeout": TIMEOUT_S}
    result = fleet.play([{"gpufleet.swarm.stack": options, "register": "result", "ignore_errors": True}])
    lost.join()
    return result["result"], time.monotonic() - started


def test_a_deploy_outlives_its_leader(fleet, managers):
    leader, deploying, _third = managers
    result, seconds = lose([leader], fleet, definition(deploying))
    assert seconds < TIMEOUT_S + 60
    assert not result.get("failed"), result["msg"]
    assert {outcome["state"] for outcome in result["services"].values()} == {"running"}
    start(leader)
    result, _found = fleet.deploy(definition(deploying))
    assert result["plan"] == []


def test_without_a_majority_the_deploy_ends_and_says_so(fleet, managers):
    leader, deploying, third = managers
    result, seconds = lose([leader, third], fleet, definition(deploying))
    assert seconds < TIMEOUT_S + 60
    assert result["failed"]
    assert any(word in result["msg"].lower() for word in ("leader", "deadline exceeded")), result["msg"]
    start(f"{leader}:{third}")
    result, _found = fleet.deploy(definition(deploying))
    assert not result.get("failed"), result["msg"]
    result, _found = fleet.deploy(definition(deploying))
    assert result["plan"] == []

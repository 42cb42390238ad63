# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""New content of a config or secret reaches its users and nobody else, and the old content comes back.

What counts is what a task reads in its own file system, so services run on the manager, where it can be
asked.

Environment: see test_stack_module.py.
"""

from __future__ import annotations

import pytest

from tests.integration.stack_fleet import INVENTORY, STACK, Fleet, quick, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")

READ = """
for name in user other; do
  container=$(docker ps -q -f status=running -f label=com.docker.swarm.service.name=STACK_$name | head -1)
  docker exec $container sh -c 'cat /etc/app /run/secrets/key 2>/dev/null || echo none'
done
""".replace("STACK", STACK)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.deploy(state="absent")
    yield fleet
    fleet.deploy(state="absent")


def deploy(fleet, config, secret):
    """Deploy two services, one with a config and a secret. Return (result, state)."""
    placement = {"constraints": ["node.role == manager"]}
    definition = {
        "services": {
            "user": service(
                configs=[{"source": "app", "target": "/etc/app"}],
                secrets=["key"],
                deploy=quick(placement=placement),
            ),
            "other": service(deploy=quick(placement=placement)),
        },
        "configs": {"app": {"content": config + "\n"}},
        "secrets": {"key": {"environment": "KEY"}},
    }
    result, found = fleet.deploy(definition, secret_environment={"KEY": secret + "\n"})
    assert not result.get("failed"), result["msg"]
    return result, found


def inside(fleet):
    """Return what the tasks read: lines of the one that uses both, then of the other."""
    tasks = [{"ansible.builtin.shell": {"cmd": READ}, "register": "read", "changed_when": False}]
    return fleet.play(tasks)["read"]["stdout"].splitlines()


def test_rotation_and_the_way_back(fleet):
    _result, first = deploy(fleet, "config one", "secret one")
    assert inside(fleet) == ["config one", "secret one", "none"]
    for config, secret in (("config two", "secret one"), ("config two", "secret two")):
        before = fleet_state(fleet)
        result, found = deploy(fleet, config, secret)
        assert [item["tasks"] for item in result["plan"] if item["kind"] == "service"] == ["restart"]
        assert inside(fleet) == [config, secret, "none"]
        assert found["tasks"]["it_other"] == before["tasks"]["it_other"] == first["tasks"]["it_other"]
        assert not set(found["tasks"]["it_user"]) & set(before["tasks"]["it_user"])
    # Docker's own rollback finds the version of before, with its config and secret.
    rollback = {"cmd": f"docker service rollback --detach=false -q {STACK}_user"}
    fleet.play([{"ansible.builtin.command": rollback, "changed_when": True}])
    assert inside(fleet) == ["config two", "secret one", "none"]
    # And so does a deploy of the files of before.
    _result, found = deploy(fleet, "config one", "secret one")
    assert inside(fleet) == ["config one", "secret one", "none"]
    assert found["tasks"]["it_other"] == first["tasks"]["it_other"]
    result, _found = deploy(fleet, "config one", "secret one")
    assert result["plan"] == [] and result["engine"]["writes"] == 0


def fleet_state(fleet):
    """Return the state of the stack without changing it."""
    return fleet.deploy(None, "--check", state="absent")[1]

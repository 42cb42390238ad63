# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the stack module that others take part in: a registry, who scales or edits by hand, a pipeline.

The registry is Debian's docker-registry, installed on the manager; an Engine speaks plain HTTP with
localhost.

Environment: see test_stack_module.py.
"""

from __future__ import annotations

import json
import stat

import pytest

from tests.integration.stack_fleet import IMAGE, INVENTORY, STACK, Fleet, quick, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no inventory with a Swarm")

MOVING = "localhost:5000/moving:1"
CONFIG = {
    "version": "0.1",
    "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
    "http": {"addr": "127.0.0.1:5000"},
}
ON_MANAGER = {"constraints": ["node.role == manager"]}
# A label alone makes another image of it, with another digest.
PUSH = f"""
printf 'FROM {IMAGE}\\nLABEL number=NUMBER\\n' | DOCKER_BUILDKIT=0 docker build -q -t {MOVING} -
docker push -q {MOVING}
"""


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.deploy(state="absent")
    yield fleet
    result, left = fleet.deploy(state="absent")
    assert not result.get("failed"), result["msg"]
    assert left["services"] == {}


@pytest.fixture
def registry(fleet):
    """A registry that can be stopped, with one image whose tag can be moved."""
    tasks = [
        {
            "ansible.builtin.apt": {
                "name": "docker-registry",
                "install_recommends": False,
                "update_cache": True,
            }
        },
        # Debian's own asks for a login.
        {"ansible.builtin.copy": {"dest": "/etc/docker/registry/config.yml", "content": json.dumps(CONFIG)}},
        {"ansible.builtin.systemd_service": {"name": "docker-registry", "state": "restarted"}},
        {"ansible.builtin.wait_for": {"port": 5000, "timeout": 30}},
    ]
    fleet.play(tasks)
    registry = Registry(fleet)
    registry.push(1)
    yield registry
    registry.state("stopped")


class Registry:
    def __init__(self, fleet):
        self.fleet = fleet

    def push(self, number):
        run(self.fleet, PUSH.replace("NUMBER", str(number)))

    def state(self, state):
        self.fleet.play([{"ansible.builtin.systemd_service": {"name": "docker-registry", "state": state}}])


def run(fleet, command):
    fleet.play([{"ansible.builtin.shell": {"cmd": command}, "changed_when": True}])


def image(state, name="it_a"):
    return state["services"][name]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]


def changes(result):
    return {change["path"] for item in result["plan"] for change in item["changes"]}


def moving(**more):
    services = {"a": service(image=MOVING, deploy=quick(placement=ON_MANAGER)), **more}
    return {"services": services}


def test_a_tag_is_pinned_and_moves_only_when_asked(fleet, registry):
    result, first = fleet.deploy(moving(), resolve_image="changed")
    assert not result.get("failed"), result["msg"]
    name, _at, digest = image(first).partition("@")
    assert name == MOVING and digest.startswith("sha256:")
    registry.push(2)
    # Neither asks for what it has, so a tag that moved touches nothing that runs.
    for policy in ("never", "changed"):
        result, found = fleet.deploy(moving(), resolve_image=policy)
        assert (result["plan"], result["engine"]["writes"]) == ([], 0), policy
        assert found["versions"] == first["versions"]
    result, _found = fleet.deploy(moving(), "--check", resolve_image="always")
    assert changes(result) == {"services.a.image"}
    result, second = fleet.deploy(moving(), resolve_image="always")
    assert changes(result) == {"services.a.image"}
    assert image(second) not in (image(first), MOVING) and image(second).startswith(f"{MOVING}@")
    assert second["tasks"]["it_a"] != first["tasks"]["it_a"]
    result, again = fleet.deploy(moving(), resolve_image="always")
    assert (result["plan"], result["engine"]["writes"]) == ([], 0)
    assert again["tasks"] == second["tasks"]


def test_a_registry_that_is_down_restarts_nothing(fleet, registry):
    _result, first = fleet.deploy(moving(), resolve_image="changed")
    registry.state("stopped")
    for policy in ("changed", "always"):
        result, found = fleet.deploy(moving(), resolve_image=policy)
        assert (result["plan"], result["engine"]["writes"]) == ([], 0), policy
        assert found["tasks"] == first["tasks"]
    assert any("it_a keeps the image it has" in str(warning) for warning in result["warnings"])
    new = moving(b=service(image="localhost:5000/other:1"))
    for flags in ((), ("--check",)):
        result, found = fleet.deploy(new, *flags, resolve_image="changed")
        assert result["failed"] and "localhost:5000/other:1" in result["msg"]
        assert "resolve_image" in result["msg"]
        assert found["versions"] == first["versions"]


def test_scaling_can_be_left_to_others(fleet):
    definition = {"services": {"a": service(deploy=quick(replicas=1))}}
    fleet.deploy(definition)
    run(fleet, f"docker service scale --detach=false {STACK}_a=2")
    result, scaled = fleet.deploy(definition, replicas="keep")
    assert (result["plan"], result["engine"]["writes"]) == ([], 0)
    (drift,) = result["drift"]
    assert drift["service"] == "it_a" and drift["kept"] == ["services.a.deploy.replicas"]
    assert len(scaled["tasks"]["it_a"]) == 2
    # Another change of the service leaves the number alone, too.
    definition["services"]["a"]["environment"] = {"A": "1"}
    result, found = fleet.deploy(definition, replicas="keep")
    assert changes(result) == {"services.a.environment.A"} and len(found["tasks"]["it_a"]) == 2
    result, found = fleet.deploy(definition)
    assert changes(result) == {"services.a.deploy.replicas"} and len(found["tasks"]["it_a"]) == 1


def test_what_others_changed_is_told_and_put_right(fleet):
    definition = {"services": {name: service(environment={"A": "1"}, deploy=quick()) for name in ("a", "b")}}
    fleet.deploy(definition)
    run(fleet, f"docker service update --detach=false -q --env-add A=2 --label-add by=hand {STACK}_a")
    result, _found = fleet.deploy(definition, "--check")
    (drift,) = result["drift"]
    assert drift["service"] == "it_a"
    assert set(drift["fields"]) == {"services.a.environment.A", "services.a.deploy.labels.by"}
    result, _found = fleet.deploy(definition)
    assert {"services.a.environment.A", "services.a.deploy.labels.by"} == changes(result)
    result, _found = fleet.deploy(definition)
    assert (result["drift"], result["plan"]) == ([], [])


def test_more_old_versions_are_kept_if_asked(fleet):
    def configs(content, keep):
        definition = {
            "services": {"a": service(configs=["app"], deploy=quick())},
            "configs": {"app": {"content": content}},
        }
        result, found = fleet.deploy(definition, keep_versions=keep)
        assert not result.get("failed"), result["msg"]
        return [line for line in found["objects"] if line.startswith("config")]

    counts = [len(configs(content, 1)) for content in ("one", "two", "three", "four")]
    assert counts == [1, 2, 3, 3]  # in use, the version of before, and one more
    assert len(configs("four", 0)) == 2


def test_a_pipeline_reads_the_plan(fleet, tmp_path):
    definition = {"services": {"a": service(environment={"PASS": "${PASS}"}, deploy=quick())}}
    told = tmp_path / "plan.json"
    options = {"plan_file": str(told), "secret_environment": {"PASS": "not-to-be-seen-5678"}}
    documents = []
    for flags in (("--check",), (), ()):
        fleet.deploy(definition, *flags, **options)
        assert stat.S_IMODE(told.stat().st_mode) == 0o600
        assert "not-to-be-seen" not in told.read_text()
        documents.append(json.loads(told.read_text()))
    foretold, done, again = documents
    assert (foretold["check_mode"], done["check_mode"]) == (True, False)
    assert foretold["plan"] == done["plan"] and foretold["counts"] == done["counts"]
    assert [item["action"] for item in done["plan"] if item["kind"] == "service"] == ["create"]
    assert (again["changed"], again["plan"]) == (False, [])
    assert again["counts"]["none"] == sum(done["counts"].values())


def test_volumes_go_only_if_asked(fleet):
    template = fleet.folder / "vol.yml.j2"
    definition = {
        "services": {
            "a": service(volumes=["data:/data"], deploy=quick(placement=ON_MANAGER)),
        },
        "volumes": {"data": {}},
    }
    template.write_text(json.dumps(definition))

    def role(**variables):
        """Run role stack, and return the names of the volumes of the stack on the manager."""
        names = {"stack_name": STACK, "stack_template": str(template), "stack_project_dir": str(fleet.folder)}
        listing = f"docker volume ls -q --filter label=com.docker.stack.namespace={STACK}"
        results = fleet.play(
            [
                {"ansible.builtin.include_role": {"name": "gpufleet.swarm.stack"}, "vars": names | variables},
                {"ansible.builtin.command": listing, "register": "volumes", "changed_when": False},
            ]
        )
        return results["volumes"]["stdout_lines"]

    assert role() == [f"{STACK}_data"]
    assert role(stack_state="absent") == [f"{STACK}_data"]
    assert role(stack_state="absent", stack_remove_volumes=True) == []

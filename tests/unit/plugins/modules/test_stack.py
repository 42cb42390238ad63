# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack module as Ansible sees it: result, check mode, diff, and clean failures."""

from __future__ import annotations

import copy

import pytest
import yaml
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import deploy as deploys
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import engine as engines
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import (
    ARGUMENT_SPEC,
    INTERNAL_SPEC,
)
from ansible_collections.gpufleet.swarm.plugins.modules import stack as module_file

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.stacks import content, stack

UUID = "GPU-12345678-aaaa-bbbb-cccc-0123456789ab"


class Ended(Exception):
    """exit_json or fail_json was called."""


class Module:
    """The parts of AnsibleModule that the module uses."""

    def __init__(self, check_mode=False, diff=False, **params):
        defaults = {
            name: option.get("default") for name, option in {**ARGUMENT_SPEC, **INTERNAL_SPEC}.items()
        }
        self.params = {**defaults, "name": "st", **params}
        self.check_mode = check_mode
        self._diff = diff
        self.no_log_values = set()
        self.warnings = []
        self.result = None

    def warn(self, text):
        self.warnings.append(text)

    def exit_json(self, **result):
        self.result = result
        raise Ended

    def fail_json(self, **result):
        self.result = {"failed": True, **result}
        raise Ended


@pytest.fixture
def swarm(monkeypatch):
    swarm = FakeSwarm()
    monkeypatch.setattr(module_file.engines, "connect", lambda _address: swarm)
    monkeypatch.setattr(deploys.time, "monotonic", swarm.clock)
    monkeypatch.setattr(deploys.Deployment.__init__, "__defaults__", (swarm.clock, swarm.sleep))
    return swarm


def run(monkeypatch, **keys):
    module = Module(**keys)
    monkeypatch.setattr(module_file, "AnsibleModule", lambda **_spec: module)
    with pytest.raises(Ended):
        module_file.main()
    return module


def test_deploy_then_nothing(swarm, monkeypatch):
    first = run(monkeypatch, desired=stack({"a": {}})).result
    assert (first["changed"], first["actions"]) == (True, ["Created the service st_a"])
    assert first["services"] == {"st_a": {"action": "create", "state": "running", "replicas": "1/1"}}
    assert first["engine"]["writes"] == 1 and first["engine"]["api_version"] == "1.45"
    assert "diff" not in first
    swarm.writes = swarm.reads = 0
    second = run(monkeypatch, desired=stack({"a": {}}), diff=True).result
    assert (second["changed"], second["plan"], second["actions"]) == (False, [], [])
    assert second["services"] == {"st_a": {"action": "none", "state": "unchanged", "replicas": "1/1"}}
    assert second["engine"] == {"api_version": "1.45", "reads": 5, "writes": 0}
    assert "diff" not in second
    assert second["invocation"] == {}, "all that the files say would be sent back"


@pytest.mark.parametrize(
    ("how", "reason"),
    [("starting", "it is not ready in time (0/1)"), ("crash", "it ended"), ("pending", "no suitable node")],
)
def test_with_nothing_to_write_it_still_waits_for_what_does_not_run(swarm, monkeypatch, how, reason):
    swarm.behave["st_a"] = how
    run(monkeypatch, desired=stack({"a": {}}), wait=False)
    swarm.writes = 0
    result = run(monkeypatch, desired=stack({"a": {}})).result
    assert (result["failed"], result["changed"], result["plan"], swarm.writes) == (True, False, [], 0)
    assert reason in result["failures"][0]["reason"]


def test_check_mode_prints_and_writes_nothing(swarm, monkeypatch):
    module = run(monkeypatch, desired=stack({"a": {}}), check_mode=True, diff=True)
    assert module.result["changed"] is True and swarm.writes == 0
    assert module.result["diff"]["prepared"].startswith("+ service st_a (create; tasks start)\n")
    assert module.result["services"] == {"st_a": {"action": "create"}}
    assert module.warnings == []


def test_absent(swarm, monkeypatch):
    run(monkeypatch, desired=stack({"a": {}}))
    result = run(monkeypatch, state="absent", prune=False).result
    assert result["actions"] == ["Removed the service st_a"]
    assert run(monkeypatch, state="absent").result["changed"] is False
    assert swarm.objects["services"] == {}


def with_cards(swarm):
    """Give the node of the Swarm a card that it grants, and labels as the role nvidia sets them."""
    (node,) = swarm.nodes
    label = f"{UUID} GPU 24564 8.6 exclusive NVIDIA RTX A5000"
    node["Spec"]["Labels"] = {"gpufleet.gpu": "true", "gpufleet.gpu.0": label}
    resource = {"NamedResourceSpec": {"Kind": "GPU", "Value": UUID}}
    node["Description"]["Resources"] = {"GenericResources": [resource]}


def claiming(cards):
    spec = {"DiscreteResourceSpec": {"Kind": "GPU", "Value": cards}}
    return {"Resources": {"Reservations": {"GenericResources": [spec]}}}


def test_who_claims_no_card_sees_none_and_a_second_run_changes_nothing(swarm, monkeypatch):
    with_cards(swarm)
    wanted = stack({"a": {"env": ["A=1"]}, "b": claiming(1)})
    result = run(monkeypatch, desired=wanted).result
    assert swarm.service("st_a")["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == [
        "A=1",
        "NVIDIA_VISIBLE_DEVICES=void",
    ]
    assert result["claims"] == {"st_b": "exclusive 1 GPU"}
    assert [one["path"] for one in result["translations"]] == [
        "services.a.environment.NVIDIA_VISIBLE_DEVICES"
    ]
    again = run(monkeypatch, desired=wanted).result
    assert (again["changed"], again["drift"]) == (False, [])


def test_a_claim_that_cannot_be_met_writes_nothing(swarm, monkeypatch):
    with_cards(swarm)
    run(monkeypatch, desired=stack({"b": claiming(1)}, name="other"), name="other")
    swarm.writes = 0
    result = run(monkeypatch, desired=stack({"a": {}, "b": claiming(1)}), check_mode=True).result
    assert result["failed"] and swarm.writes == 0
    assert "found 2 cards asked, 1 there (asked: st_b 1, other_b 1; there: n1 1)" in result["msg"]
    # A service that stays although it is no longer wanted holds its card.
    wanted = stack({"c": claiming(1)}, name="other")
    result = run(monkeypatch, desired=wanted, name="other", prune=False).result
    assert result["failed"] and "other_c 1, other_b 1" in result["msg"]
    assert not run(monkeypatch, desired=wanted, name="other").result.get("failed")


NO_SWARM = "external networks, secrets and configs are taken to exist."


@pytest.mark.parametrize("why", ["no Engine", "no Swarm"])
def test_check_mode_on_a_bare_host(swarm, monkeypatch, why):
    def refuse(_address):
        raise engines.NoEngine("No Docker Engine answers")

    if why == "no Engine":
        monkeypatch.setattr(module_file.engines, "connect", refuse)
        reason = "no Docker Engine answers"
    else:
        swarm.info = {"Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False}}
        reason = "the Engine is in no Swarm"
    desired = stack({"a": {}}, external_networks=["fleet_public"])
    module = run(monkeypatch, desired=desired, check_mode=True)
    assert module.result["changed"] is True and not module.result.get("failed")
    assert module.warnings == [f"Planned against an empty Swarm, because {reason}; {NO_SWARM}"]
    assert run(monkeypatch, state="absent", check_mode=True).result["changed"] is False
    assert run(monkeypatch, desired=desired).result["failed"]


def test_an_engine_that_does_not_answer_is_no_bare_host(swarm, monkeypatch):
    def time_out(_address):
        raise engines.EngineError("No Docker Engine answers", cause="timed out")

    monkeypatch.setattr(module_file.engines, "connect", time_out)
    result = run(monkeypatch, desired=stack({}), check_mode=True).result
    assert result["failed"] and result["msg"] == "No Docker Engine answers - timed out."


def change(swarm, **container):
    """Update the service st_a as another client would."""
    entry = swarm.service("st_a")
    spec = copy.deepcopy(entry["Spec"])
    spec["TaskTemplate"]["ContainerSpec"].update(container)
    swarm.post("/services/{0}/update", entry["ID"], data=spec, version=entry["Version"]["Index"])


def test_drift_is_in_the_result_and_warned_about_where_it_gets_lost(swarm, monkeypatch):
    run(monkeypatch, desired=stack({"a": {}}))
    change(swarm, User="5")
    module = run(monkeypatch, desired=stack({"a": {}}), check_mode=True, diff=True)
    sentence = "st_a was changed by others since the last deploy: services.a.user"
    assert module.warnings == [sentence]
    assert module.result["drift"][0]["fields"] == ["services.a.user"]
    assert module.result["diff"]["prepared"].startswith(f"# {sentence}\n~ service st_a")
    assert run(monkeypatch, desired=stack({"a": {}})).result["changed"] is True
    assert run(monkeypatch, desired=stack({"a": {}})).result["drift"] == []


def test_drift_that_is_left_alone_changes_nothing_and_warns_of_nothing(swarm, monkeypatch):
    run(monkeypatch, desired=stack({"a": {}}))
    change(swarm, Image="tiny:1@sha256:" + "0" * 64)
    module = run(monkeypatch, desired=stack({"a": {}}), diff=True)
    assert (module.result["changed"], module.warnings) == (False, [])
    assert module.result["drift"][0]["kept"] == ["services.a.image"]
    assert "diff" not in module.result


def test_digests(swarm, monkeypatch):
    swarm.registry = {"tiny:1": "sha256:" + "0" * 64}
    logins = [{"registry": "docker.io", "username": "me", "password": "hunter2"}]
    result = run(
        monkeypatch, desired=stack({"a": {}}), resolve_image="changed", registry_logins=logins
    ).result
    assert result["changed"] and "hunter2" not in str(result)
    assert [path for path, _auth in swarm.logins] == ["/distribution/{0}/json", "/services/create"]
    swarm.registry = {}
    module = run(monkeypatch, desired=stack({"a": {}}), resolve_image="always")
    assert module.result["changed"] is False and "manifest unknown" in module.warnings[0]
    writes = swarm.writes
    result = run(monkeypatch, desired=stack({"a": {"image": "tiny:2"}}), resolve_image="changed").result
    assert result["failed"] and swarm.writes == writes
    assert result["error"]["option"].startswith("registry_logins, or resolve_image: never")


def test_two_logins_for_one_registry_reach_no_engine(swarm, monkeypatch):
    logins = [{"registry": "x.test", "username": "me", "password": "p"}] * 2
    result = run(monkeypatch, desired=stack({"a": {}}), registry_logins=logins).result
    assert result["failed"] and swarm.reads == 0


def test_every_object_and_the_counts(swarm, monkeypatch):
    run(monkeypatch, desired=stack({"a": {}}))
    result = run(monkeypatch, desired=stack({"a": {}, "b": {}}), check_mode=True).result
    assert result["counts"] == {"create": 1, "update": 0, "recreate": 0, "remove": 0, "none": 1}
    assert [(entry["name"], entry["action"]) for entry in result["objects"]] == [
        ("st_a", "none"),
        ("st_b", "create"),
    ]


def test_absent_keeps_no_version(swarm, monkeypatch):
    configs = {"st_c-000000000001": content("st_c-000000000001", "c")}
    run(monkeypatch, desired=stack({}, configs=configs))
    result = run(monkeypatch, state="absent", keep_versions=5).result
    assert result["actions"] == ["Removed the config st_c-000000000001"]


@pytest.mark.parametrize(("state", "check_mode"), [("locked", True), ("locked", False), ("inactive", False)])
def test_no_manager(swarm, monkeypatch, state, check_mode):
    swarm.info = {"Swarm": {"LocalNodeState": state, "ControlAvailable": False}}
    result = run(monkeypatch, desired=stack({}), check_mode=check_mode).result
    assert result["msg"].startswith("Cannot manage stacks here: found ")
    assert result["error"]["wanted"].startswith("a manager of an active Swarm")


def test_a_failed_deploy_keeps_what_is_known(swarm, monkeypatch):
    swarm.behave["st_a"] = "ends"
    result = run(monkeypatch, desired=stack({"a": {}, "b": {}})).result
    assert result["failed"] and result["changed"]
    assert result["msg"].startswith(
        "The stack did not converge (st): 1 service(s) failed.\nst_a: it ended and"
    )
    assert result["failures"][0]["exit_code"] == 3
    assert result["services"]["st_b"]["state"] == "running"
    assert result["actions"][-1] == "Removed the service st_a"


def test_nothing_done_is_not_changed(swarm, monkeypatch):
    swarm.fail_next = [
        engines.EngineError("The Docker Engine refused to write", "/services/create", 400, "bad spec")
    ]
    result = run(monkeypatch, desired=stack({"a": {}})).result
    assert (result["changed"], result["msg"]) == (
        False,
        "Cannot create the service (st_a) - bad spec.",
    )


def test_secrets_stay_out_of_everything(swarm, monkeypatch):
    desired = stack({"a": {"env": ["PIN=\x02PIN\x03"]}})
    module = run(
        monkeypatch,
        desired=desired,
        secret_values={"PIN": "hunter2", "secret:x": "aHVudGVyMw=="},
        diff=True,
    )
    assert "hunter" not in str(module.result)
    assert "hunter3" in module.no_log_values
    assert swarm.service("st_a")["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["PIN=hunter2"]


def test_without_its_action_plugin(swarm, monkeypatch):
    assert run(monkeypatch).result["msg"] == (
        "The module was called without its action plugin: wanted a task of gpufleet.swarm.stack in a "
        "playbook."
    )


def test_documentation_and_options_agree():
    documented = yaml.safe_load(module_file.DOCUMENTATION)["options"]
    options = {**ARGUMENT_SPEC, **INTERNAL_SPEC}
    assert set(documented) == set(options)
    for name, option in options.items():
        compare(documented[name], option, name)
        for part, suboption in option.get("options", {}).items():
            compare(documented[name]["suboptions"][part], suboption, f"{name}.{part}")


def compare(documented, option, name):
    for key in ("type", "default", "choices", "required", "elements"):
        assert documented.get(key) == option.get(key), (name, key)
    assert set(documented.get("suboptions", {})) == set(option.get("options", {})), name

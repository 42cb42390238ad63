# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller half: files in, one call out, and every mistake told without a traceback."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action.stack import ActionModule

FILE = """
services:
  web:
    image: tiny:${TAG}
    environment: {PASSWORD: "${PASSWORD}"}
    secrets: [key]
    privileged: true
secrets:
  key: {file: key.txt}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "web.yml").write_text(FILE)
    (tmp_path / "key.txt").write_text("deep secret")
    return tmp_path


class Run:
    """Runs the action with the module call recorded instead of made."""

    def __init__(self, folder, check_mode=False, **options):
        self.calls = []
        loader = DataLoader()
        loader.set_basedir(str(folder))
        task = mock.Mock(
            spec=Task,
            args={"name": "st", **options},
            async_val=0,
            check_mode=check_mode,
            diff=False,
            delegate_to=None,
            action="gpufleet.swarm.stack",
            environment=[],
            _role=None,
            no_log=False,
        )
        task.get_search_path = lambda: [str(folder)]
        connection = mock.Mock(become=None)
        self.action = ActionModule(task, connection, mock.Mock(), loader, Templar(loader=loader), None)
        self.action._execute_module = self.execute
        self.result = self.action.run(task_vars={})

    def execute(self, **keys):
        self.calls.append(keys)
        return {
            "changed": False,
            "plan": [],
            "warnings": ["from the module"],
            "invocation": {"module_args": "all of it"},
        }

    @property
    def args(self):
        (call,) = self.calls
        assert call["module_name"] == "gpufleet.swarm.stack"
        return call["module_args"]


def variables(**more):
    return {"environment": {"TAG": 1}, "secret_environment": {"PASSWORD": "hunter2"}, **more}


def test_what_the_files_say_stays_out_of_the_log_of_the_host(folder):
    variables = {"environment": {"TAG": "1"}, "secret_environment": {"PASSWORD": "x"}}
    (call,) = Run(folder, files=["web.yml"], **variables).calls
    assert "desired" in call["module_args"]
    # As ansible-core 2.19 looks it up (plugins/action/__init__.py, _update_module_args).
    assert constants.config.get_config_value("DEFAULT_NO_TARGET_SYSLOG", variables=call["task_vars"]) is True


def test_one_call_with_what_the_files_want(folder):
    run = Run(folder, files=["web.yml"], **variables())
    spec = run.args["desired"]["services"]["st_web"]["spec"]
    assert spec["TaskTemplate"]["ContainerSpec"]["Image"] == "tiny:1"
    assert spec["TaskTemplate"]["ContainerSpec"]["Env"] == ["PASSWORD=\x02PASSWORD\x03"]
    assert run.args["secret_values"] == {"PASSWORD": "hunter2", "secret:key": "ZGVlcCBzZWNyZXQ="}
    assert set(run.args) == {
        "name",
        "state",
        "prune",
        "wait",
        "wait_timeout",
        "on_failure",
        "docker_host",
        "resolve_image",
        "registry_logins",
        "prove_images",
        "keep_versions",
        "desired",
        "secret_values",
    }
    assert not {"translations", "ignored", "warnings"} & set(run.args["desired"])


def test_secrets_are_nowhere_but_in_their_argument(folder):
    run = Run(folder, files=["web.yml"], **variables())
    assert "hunter2" not in json.dumps(run.args["desired"]) and "deep" not in json.dumps(run.args["desired"])
    assert "hunter2" not in json.dumps(run.result) and "invocation" not in run.result


def test_ignored_keys_are_warned_about_once(folder):
    run = Run(folder, files=["web.yml"], **variables())
    assert [text for text in run.result["warnings"] if "privileged" in text] == [run.result["warnings"][0]]
    assert run.result["warnings"][1:] == ["from the module"]
    assert [entry["path"] for entry in run.result["ignored"]] == ["services.web.privileged"]
    assert run.result["translations"] == []


def test_what_the_fleet_makes_of_claims_is_told_with_what_the_file_says(folder, monkeypatch):
    void = {"path": "services.a.environment.NVIDIA_VISIBLE_DEVICES", "to": "void", "note": "no claim"}
    answer = {"changed": False, "plan": [], "translations": [void]}
    monkeypatch.setattr(Run, "execute", lambda self, **keys: dict(answer))
    found = Run(folder, definition={"services": {"a": {"image": "x", "gpus": [{"count": 1}]}}}).result
    assert [one["path"] for one in found["translations"]] == ["services.a.gpus", void["path"]]


def test_definitions_and_files_merge(folder):
    more = {"services": {"web": {"image": "other:${TAG}"}, "b": {"image": "b:1"}}}
    run = Run(folder, files=["web.yml"], definition=more, **variables())
    services = run.args["desired"]["services"]
    assert services["st_web"]["spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "other:1"
    assert "st_b" in services


def test_endpoint_mode_reaches_the_services(folder):
    run = Run(folder, definition="services: {a: {image: 'a:1'}}", endpoint_mode="dnsrr")
    assert run.args["desired"]["services"]["st_a"]["spec"]["EndpointSpec"]["Mode"] == "dnsrr"


def test_scaling_and_profiles_reach_the_services(folder):
    text = "services: {a: {image: 'a:1'}, b: {image: 'b:1', profiles: [debug]}}"
    services = Run(folder, definition=text, replicas="keep", profiles=["debug"]).args["desired"]["services"]
    assert {name: service["keep_replicas"] for name, service in services.items()} == {
        "st_a": True,
        "st_b": True,
    }
    run = Run(folder, definition=text)
    assert [service["keep_replicas"] for service in run.args["desired"]["services"].values()] == [False]
    assert [entry["path"] for entry in run.result["ignored"]] == ["services.b"]


def test_every_translation_is_in_the_result(folder):
    text = """
services:
  a: {image: "a:1", gpus: [{count: 2}], shm_size: 1g, tmpfs: /x, restart: "no", scale: 2}
  b:
    image: "b:1"
    depends_on: {c: {condition: service_completed_successfully}, a: {condition: service_started}}
  c: {image: "c:1"}
"""
    told = {entry["path"]: entry["to"] for entry in Run(folder, definition=text).result["translations"]}
    assert told == {
        "services.a.gpus": "deploy.resources.reservations.generic_resources: 2 of kind GPU",
        "services.a.restart": "deploy.restart_policy.condition: none",
        "services.a.scale": "deploy.replicas",
        "services.a.shm_size": "volumes: tmpfs on /dev/shm",
        "services.a.tmpfs": "volumes: tmpfs on /x",
        "services.b.depends_on": "wave 2 of the deploy",
        "services.c": "deploy.mode: replicated-job",
    }


def test_the_plan_goes_to_a_file_that_only_its_user_can_read(folder):
    run = Run(folder, check_mode=True, files=["web.yml"], plan_file="out.json", **variables())
    path = folder / "out.json"
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    assert document.pop("ignored")[0]["path"] == "services.web.privileged"
    assert document.pop("warnings")[-1] == "from the module"
    assert document == {
        "stack": "st",
        "check_mode": True,
        "changed": False,
        "plan": [],
        "translations": [],
    }
    assert "plan_file" not in run.args
    assert sorted(entry.name for entry in folder.iterdir()) == ["key.txt", "out.json", "web.yml"]


def test_a_failed_deploy_leaves_its_plan_too(folder, monkeypatch):
    answer = {"failed": True, "msg": "did not converge", "plan": [{"name": "st_web"}], "changed": True}
    monkeypatch.setattr(Run, "execute", lambda self, **keys: dict(answer))
    result = Run(folder, definition="services: {a: {image: 'a:1'}}", plan_file=str(folder / "p.json")).result
    assert result["msg"] == "did not converge"
    document = json.loads((folder / "p.json").read_text())
    assert (document["failed"], document["plan"]) == ("did not converge", [{"name": "st_web"}])


def test_without_a_plan_there_is_no_file(folder, monkeypatch):
    monkeypatch.setattr(Run, "execute", lambda self, **keys: {"failed": True, "msg": "no manager"})
    Run(folder, definition="services: {a: {image: 'a:1'}}", plan_file="p.json")
    assert not (folder / "p.json").exists()


def test_a_warning_of_ansible_itself_is_told_by_its_text(folder, monkeypatch):
    warning = mock.Mock(event=mock.Mock(msg="told"))
    monkeypatch.setattr(Run, "execute", lambda self, **keys: {"plan": [], "warnings": [warning]})
    Run(folder, definition="services: {a: {image: 'a:1'}}", plan_file="p.json")
    assert json.loads((folder / "p.json").read_text())["warnings"] == ["told"]


def test_a_plan_that_cannot_be_written_is_told_before_anything_is_done(folder):
    for path, found in (("none/p.json", "no folder"), (".", "a folder")):
        run = Run(folder, definition="services: {a: {image: 'a:1'}}", plan_file=path)
        assert run.result["failed"] and run.calls == []
        assert run.result["msg"].startswith("Cannot write the plan (") and found in run.result["msg"]


def test_project_dir(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "key.txt").write_text("another")
    run = Run(folder, files=["web.yml"], project_dir="other", **variables())
    assert run.args["secret_values"]["secret:key"] == "YW5vdGhlcg=="


def test_absent_reads_no_file(folder):
    run = Run(folder, state="absent", files=["not-there.yml"])
    assert "desired" not in run.args and run.result["changed"] is False


def test_a_file_that_will_be_made_is_foretold_in_check_mode(folder):
    (folder / "key.txt").unlink()
    run = Run(folder, check_mode=True, files=["web.yml"], **variables())
    assert (
        f"{folder}/key.txt does not exist yet, so the plan cannot tell its content" in run.result["warnings"]
    )
    assert run.calls
    run = Run(folder, files=["web.yml"], **variables())
    assert run.result["failed"] and "key.txt" in run.result["msg"] and not run.calls


BAD = {
    "no file": (
        {},
        "A stack needs a Compose file (st): found neither, wanted one of them, set files or definition.",
    ),
    "no such file": (
        {"files": ["gone.yml"]},
        "Cannot find a Compose file on the controller (gone.yml): set files.",
    ),
    "a number": (
        {"definition": 3},
        "A Compose definition is neither text nor a mapping (st): found int, set definition.",
    ),
    "no value": (
        {"definition": "services: {}", "environment": {"A": None}},
        "A variable for the Compose file has no text (A): found nothing, wanted text or a number, set "
        "environment.",
    ),
    "a list": (
        {"definition": "services: {}", "secret_environment": {"A": ["hunter2"]}},
        "A variable for the Compose file has no text (A): found list, wanted text or a number, set "
        "secret_environment.",
    ),
    # Ansible would hide it in the names that the next task has to ask the nodes for.
    "a part of an image's name": (
        {
            "definition": "services: {a: {image: 'shop/image-text:1'}}",
            "secret_environment": {"A": "x"},
            "prove_images": "changed",
        },
        "The value of a secret variable is a part of the name of an image (A): found what would be hidden in "
        "that name, too, wanted a longer value, or none, set secret_environment.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told_exactly(folder, name):
    options, message = BAD[name]
    run = Run(folder, **options)
    assert (run.result["failed"], run.result["msg"]) == (True, message)
    assert run.calls == []


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("services: {a: {image: 'a:${NONE}'}}", ["NONE"]),
        ("services: {a: {imagee: 'a:1'}}", ["imagee", "file.yml"]),
        ("services: [", ["file.yml"]),
    ],
)
def test_mistakes_in_the_file(folder, definition, words):
    run = Run(folder, definition=definition, definition_name="file.yml")
    assert run.result["failed"] and run.calls == []
    assert all(word in run.result["msg"] for word in words), run.result["msg"]


def test_unknown_options_are_refused(folder):
    with pytest.raises(AnsibleActionFail, match="imagee"):
        Run(folder, imagee="x")
    with pytest.raises(AnsibleActionFail, match="on_failure"):
        Run(folder, on_failure="hope")


def test_it_says_that_it_knows_check_mode():
    assert ActionModule._supports_check_mode and issubclass(ActionModule, ActionBase)

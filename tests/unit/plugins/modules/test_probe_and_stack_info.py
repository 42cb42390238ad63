# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules probe and stack_info answer to Ansible."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import engine as engines
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.options import ARGUMENT_SPEC
from ansible_collections.gpufleet.swarm.plugins.modules import probe, stack_info

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.plugins.module_utils.test_swarm_apply import deploy
from tests.unit.stacks import network, stack

RESULT = {"url": "https://lab.test/", "ok": True, "problems": []}
BAD = {
    "url": "https://lab.test/x",
    "ok": False,
    "problems": ["found status 404, wanted 200", "found no header A"],
}


def called(module, capsys, args):
    """Run main() with these arguments and return what it answered."""
    with patch_module_args(args), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def test_probe_hands_its_arguments_on(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(probe, "run", lambda *given: seen.append(given) or [RESULT])
    answer = called(
        probe,
        capsys,
        {
            "checks": [
                {"url": "https://lab.test/", "headers": {"A": None, "B": 1}},
                {"url": "https://lab.test/", "connect_to": "10.0.0.8", "status": [301], "refused": True},
            ],
            "connect_to": "10.0.0.7",
            "ca_file": "/ca.crt",
            "timeout": 2,
            "deadline": 30,
            "_ansible_check_mode": True,
        },
    )
    answer.pop("invocation", None)  # since ansible-core 2.21 only when asked for
    assert answer == {"changed": False, "results": [RESULT]}
    ((first, second), *rest) = seen[0]
    assert rest == ["/ca.crt", 2.0, 30.0]
    assert (first.connect_to, first.status, first.headers, first.refused) == (
        "10.0.0.7",
        (200,),
        {"A": "", "B": "1"},
        False,
    )
    assert (second.connect_to, second.status, second.refused) == ("10.0.0.8", (301,), True)


def test_probe_tells_each_failing_check(monkeypatch, capsys):
    monkeypatch.setattr(probe, "run", lambda *_given: [RESULT, BAD])
    answer = called(probe, capsys, {"checks": [{"url": "https://lab.test/"}]})
    assert answer["failed"]
    assert answer["msg"] == (
        "1 of 2 checks failed. https://lab.test/x: found status 404, wanted 200, found no header A."
    )
    assert answer["results"] == [RESULT, BAD]


def test_probe_refuses_a_bad_url(capsys):
    answer = called(probe, capsys, {"checks": [{"url": "lab.test"}]})
    assert (
        answer["msg"]
        == "Cannot ask a URL: found 'lab.test', wanted http:// or https:// with a host, set url."
    )


@pytest.mark.parametrize("names", [None, ["web"]])
def test_stack_info(monkeypatch, capsys, names):
    monkeypatch.setattr(stack_info, "read", lambda *given: [{"name": "web_api", "asked": given}])
    answer = called(stack_info, capsys, {"names": names} if names else {})
    socket = ARGUMENT_SPEC["docker_host"]["default"]
    assert answer["services"] == [{"name": "web_api", "asked": [names, socket]}]
    assert not answer["changed"]


def test_stack_info_without_an_engine(tmp_path, capsys):
    answer = called(stack_info, capsys, {"docker_host": f"unix://{tmp_path}/none.sock"})
    assert answer["failed"]
    assert answer["msg"].startswith("No Docker Engine answers (unix://")


def test_stack_info_without_a_manager(monkeypatch, capsys):
    swarm = FakeSwarm()
    swarm.info = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": False}}
    monkeypatch.setattr(engines, "connect", lambda _address: swarm)
    answer = called(stack_info, capsys, {})
    assert answer["failed"]
    assert answer["msg"].startswith(
        "Cannot manage stacks here: found a worker, wanted a manager of an active"
    )


def test_stack_info_is_asked_of_the_engine_and_writes_nothing(monkeypatch, capsys):
    swarm = FakeSwarm()
    deploy(
        swarm, stack({"a": {"env": ["A=hunter2"], "networks": ["st_n"]}}, networks={"st_n": network("st_n")})
    )
    monkeypatch.setattr(engines, "connect", lambda _address: swarm)
    writes = swarm.writes
    (told,) = called(stack_info, capsys, {})["services"]
    assert (told["name"], told["drift"], swarm.writes) == ("st_a", [], writes)
    swarm.service("st_a")["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] = ["A=hunter3"]
    (told,) = called(stack_info, capsys, {})["services"]
    assert told["drift"] == ["environment.A"] and "hunter" not in str(told)


def test_stack_info_tells_a_refusal(monkeypatch, capsys):
    def fail(*_given):
        raise FleetError("Refused", cause="status 500")

    monkeypatch.setattr(stack_info, "read", fail)
    answer = called(stack_info, capsys, {})
    assert (answer["failed"], answer["msg"], answer["cause"]) == (True, "Refused - status 500.", "status 500")

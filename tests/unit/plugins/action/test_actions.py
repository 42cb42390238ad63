# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's halves, run as Ansible runs them, without a host."""
from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleActionFail, AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action import (
    host_info,
    swarm_plan,
    validate_host,
    validate_inventory,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import NO_ENGINE, NO_SWARM

DOCUMENTED = {"validate_host": validate_host, "swarm_plan": swarm_plan}


def make(plugin, check_mode=False, **arguments):
    task = SimpleNamespace(
        args=arguments, check_mode=check_mode, diff=False, async_val=0, action="test", delegate_to=None,
        environment=[], no_log=False, collections=[],
    )
    connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir=None), get_option=lambda name: None, _load_name="local", become=None
    )
    loader = DataLoader()
    context = SimpleNamespace(check_mode=check_mode, diff=False)
    return plugin.ActionModule(task, connection, context, loader, Templar(loader), None)


class HostVars(dict):
    """Variables of one host, of which some cannot be evaluated."""

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if isinstance(value, Exception):
            raise value
        return value


def inventory(**variables):
    host = {"ansible_host": "192.0.2.1", "fleet_domain": "fleet.example.org", **variables}
    groups = {"all": ["m1"], "ungrouped": [], "managers": ["m1"]}
    return {"hostvars": {"m1": HostVars(host)}, "groups": groups, "inventory_hostname": "m1"}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_options_are_documented_as_they_are(name):
    module = import_module(f"ansible_collections.gpufleet.swarm.plugins.modules.{name}")
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    kept = ("type", "elements", "required", "default")
    told = {
        option: {key: value for key, value in spec.items() if key in kept}
        for option, spec in documented.items()
    }
    assert told == DOCUMENTED[name].ARGUMENTS


def test_inventory_is_checked_against_the_roles_that_are_there():
    result = make(validate_inventory).run(task_vars=inventory())
    assert result == {"changed": False}
    variables = inventory(swarm_lables={"a": 1}, swarm_availability="off")
    result = make(validate_inventory).run(task_vars=variables)
    assert result["failed"]
    assert result["msg"] == (
        "The inventory has 2 problems; no host was contacted.\n"
        "1. The variable is not known to any role (m1): found swarm_lables, wanted swarm_labels, "
        "set the right name, or fleet_ignored_variables.\n"
        "2. The variable has a value its role does not take (m1): set swarm_availability - "
        "value of swarm_availability must be one of: keep, active, pause, drain, got: off."
    )


def test_inventory_template_without_a_value():
    facts = AnsibleUndefinedVariable("'ansible_facts' is undefined")
    result = make(validate_inventory).run(task_vars=inventory(swarm_advertise_address=facts))
    assert "a template without a value" in result["msg"]
    assert result["msg"].count("\n") == 1


def test_every_role_is_known_by_its_specification():
    specs = validate_inventory.read_specs(validate_inventory.ROLES)
    roles = {path.name for path in validate_inventory.ROLES.iterdir() if path.is_dir()}
    assert set(specs) == roles
    assert {"fleet", "preflight", "swarm"} <= roles
    assert "fleet_domain" in specs["fleet"]


def test_a_refused_secret_is_not_repeated():
    reject = validate_inventory.reject
    assert reject("x", {"type": "int"}, "3") is None
    assert "abc" in reject("x", {"type": "int"}, "abc")
    assert reject("x", {"type": "int", "no_log": True}, "abc") == "wanted a value of type int"
    assert reject("x", {"type": "str", "required": True, "default": "y"}, "z") is None


HOST = {
    "hostname": "m1", "os": {"id": "debian", "version_id": "13", "codename": "", "name": ""},
    "architecture": "x86_64", "memory_bytes": 4e9, "cgroup_controllers": ["cpu"],
    "features": {"overlay": True, "vxlan": True, "ipvs": False},
    "storage": {"path": "/", "free_bytes": 4e10}, "addresses": [], "routes": [], "listening": [],
    "docker": {"installed": True, "answering": True, "error": None, "config_error": None, **NO_ENGINE},
    "swarm": NO_SWARM,
}
ASKED = {
    "platforms": {"debian": ["13"]}, "architectures": ["x86_64"], "kernel_features": ["overlay"],
    "cgroup_controllers": ["cpu"], "min_disk_gb": "10", "min_memory_mb": 900, "max_clock_offset": 5,
}


def test_host_is_judged():
    reading = {"host": HOST, "clock": {"offset_s": 0.0, "uncertainty_s": 0.1}}
    result = make(validate_host, reading=reading, **ASKED).run(task_vars={"inventory_hostname": "m1"})
    assert "failed" not in result
    assert len(result["warnings"]) == 1
    reading = {"unreachable": True, "msg": "no route"}
    result = make(validate_host, reading=reading, **ASKED).run(task_vars={"inventory_hostname": "m1"})
    assert result["failed"]
    assert result["msg"] == (
        "The host m1 has 1 problem; nothing was changed on any host.\n"
        "1. The host cannot be reached (m1): found no answer, wanted a login, "
        "set ansible_host, ansible_user or the key - no route."
    )


def test_arguments_are_checked():
    with pytest.raises(AnsibleActionFail, match="missing required arguments"):
        make(validate_host, reading={}).run(task_vars={"inventory_hostname": "m1"})


def plan_arguments(host):
    wanted = {"m1": {"address": "192.0.2.1", "labels": {}, "availability": "keep"}}
    return {"seen": {"m1": host}, "wanted": wanted, "managers": ["m1"], "workers": []}


def test_swarm_is_planned():
    result = make(swarm_plan, **plan_arguments(HOST)).run(task_vars={})
    assert result["plan"]["init"] is True
    assert result["warnings"] == []
    assert "warnings" not in result["plan"]


def test_a_missing_engine_is_an_error_except_in_check_mode():
    bare = {**HOST, "docker": {"installed": False, "answering": False, "error": None, **NO_ENGINE}}
    result = make(swarm_plan, **plan_arguments(bare)).run(task_vars={})
    assert result["failed"]
    assert result["msg"].startswith("The Swarm has 1 problem; its membership was left as it is.\n1. The ")
    result = make(swarm_plan, check_mode=True, **plan_arguments(bare)).run(task_vars={})
    assert result["plan"]["init"] is True


def test_the_two_clocks_are_compared(monkeypatch):
    clock = iter((100.0, 100.4))
    monkeypatch.setattr(host_info.time, "time", lambda: next(clock))
    action = make(host_info)
    monkeypatch.setattr(action, "_execute_module", lambda **_options: {"host": {"time": 93.0}})
    result = action.run(task_vars={})
    assert result["clock"] == {"offset_s": -7.0, "uncertainty_s": 0.4}


def test_a_host_that_failed_has_no_clock(monkeypatch):
    action = make(host_info)
    monkeypatch.setattr(action, "_execute_module", lambda **_options: {"failed": True, "msg": "no"})
    assert action.run(task_vars={}) == {"failed": True, "msg": "no"}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_info and the action gpu_plan, run as Ansible runs them, without a host."""

from __future__ import annotations

import ast
import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action import gpu_plan
from ansible_collections.gpufleet.swarm.plugins.modules import gpu_info

from tests.unit.nvidia_host import WANTED, Machine

ROOT = Path(__file__).resolve().parents[4]


def documentation(name):
    module = import_module(f"ansible_collections.gpufleet.swarm.plugins.modules.{name}")
    return yaml.safe_load(module.DOCUMENTATION)["options"], yaml.safe_load(module.RETURN)


def test_gpu_info_returns_what_it_says(tmp_path, monkeypatch, capsys):
    machine = Machine(tmp_path)
    machine.toolkit("1.19.1")
    monkeypatch.setattr(gpu_info, "Host", lambda: SimpleNamespace(machine=machine))
    monkeypatch.setattr(gpu_info, "collect", lambda host, files: host.machine.read(files))
    with (
        patch_module_args({"files": ["/etc/os-release"], "_ansible_check_mode": True}),
        pytest.raises(SystemExit),
    ):
        gpu_info.main()
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] is False
    gpus = result["gpus"]
    assert gpus["files"]["/etc/os-release"].startswith("ID=debian")
    documented = documentation("gpu_info")[1]["gpus"]["contains"]
    assert set(gpus) == set(documented)
    for name in ("driver", "toolkit"):
        assert set(gpus[name]) == set(documented[name]["contains"])
    assert set(gpus["cards"][0]) == set(documented["cards"]["contains"])


def test_gpu_info_needs_nothing_but_the_standard_library():
    folder = ROOT / "plugins" / "module_utils" / "_nvidia"
    known = set(basic.sys.stdlib_module_names) | {"ansible_collections"}
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.partition(".")[0] for name in names} <= known, file


def run(reading, **arguments):
    task = SimpleNamespace(
        args={"reading": reading, **arguments},
        check_mode=False,
        diff=False,
        async_val=0,
        action="test",
        delegate_to=None,
        environment=[],
        no_log=False,
        collections=[],
    )
    connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir=None), get_option=lambda name: None, _load_name="local", become=None
    )
    loader = DataLoader()
    context = SimpleNamespace(check_mode=False, diff=False)
    action = gpu_plan.ActionModule(task, connection, context, loader, Templar(loader), None)
    return action.run(task_vars={"inventory_hostname": "node1"})


def test_gpu_plan_returns_what_it_says(tmp_path):
    result = run(Machine(tmp_path).read(), toolkit_version="1.19.*")
    assert result["changed"] is False
    assert set(result["plan"]) == set(documentation("gpu_plan")[1]["plan"]["contains"])
    assert len(result["warnings"]) == 1


def test_gpu_plan_tells_all_problems_at_once(tmp_path):
    machine = Machine(tmp_path)
    machine.bare()
    result = run(machine.read(), default_kind="NVIDIA-GPU")
    assert result["failed"] is True
    assert result["msg"].startswith(
        "The cards of node1 have 2 problems; nothing was changed for them.\n1. The kind of"
    )
    assert "2. The host has a card and no driver (node1): found no driver (Ampere at" in result["msg"]


def test_gpu_plan_documents_its_arguments():
    options = documentation("gpu_plan")[0]
    assert set(options) == set(gpu_plan.ARGUMENTS) == {*WANTED, "reading", "installed"}
    for name, argument in gpu_plan.ARGUMENTS.items():
        assert options[name]["type"] == argument["type"]
        assert options[name].get("default") == argument.get("default")
        assert options[name].get("choices") == argument.get("choices")


def test_the_role_gives_the_plan_every_option_but_its_reading():
    tasks = yaml.safe_load((ROOT / "roles" / "nvidia" / "tasks" / "plan.yml").read_text(encoding="utf-8"))
    given = next(task["gpufleet.swarm.gpu_plan"] for task in tasks if "gpufleet.swarm.gpu_plan" in task)
    assert set(given) == set(gpu_plan.ARGUMENTS)

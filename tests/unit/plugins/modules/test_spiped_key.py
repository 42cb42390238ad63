# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""spiped_key as a whole, on files in a temporary folder, and the controller's halves that feed it."""

from __future__ import annotations

import base64
import json
import os
from types import SimpleNamespace

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action import spiped_key as spiped_key_action
from ansible_collections.gpufleet.swarm.plugins.action import tunnels_plan, validate_inventory
from ansible_collections.gpufleet.swarm.plugins.module_utils import _spiped, _tunnels
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.modules import spiped_key
from ansible_collections.gpufleet.swarm.plugins.modules import tunnels_plan as tunnels_plan_module

KEY = bytes(range(32))
ENCODED = base64.b64encode(KEY).decode()


@pytest.fixture
def run(capsys):
    def call(*keys, check=False, **arguments):
        arguments = {"keys": [*keys], "_ansible_check_mode": check, "_ansible_diff": True, **arguments}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            spiped_key.main()
        text = capsys.readouterr().out
        result = json.loads(text)
        for secret in (KEY.hex(), ENCODED, repr(KEY)):
            assert secret not in text
        return result

    return call


def test_four_runs_make_one_key(run, tmp_path):
    path = tmp_path / "keys" / "api.key"
    predicted = run({"path": str(path)}, check=True)
    assert predicted["changed"] and not path.parent.exists()
    assert predicted["keys"] == [{"path": str(path), "fingerprint": None, "action": "create"}]
    assert predicted["diff"] == {"before": f"{path} none\n", "after": f"{path} unknown\n"}

    made = run({"path": str(path)})
    mark = _spiped.fingerprint(path.read_bytes())
    assert made["keys"] == [{"path": str(path), "fingerprint": mark, "action": "create"}]
    assert made["diff"] == {"before": f"{path} none\n", "after": f"{path} {mark}\n"}
    content = path.read_bytes()
    for check in (False, True):
        again = run({"path": str(path)}, check=check)
        assert not again["changed"] and again["diff"] == {"before": "", "after": ""}
        assert again["keys"][0]["fingerprint"] == mark
    assert path.read_bytes() == content

    assert run({"path": str(path)}, regenerate=True, check=True)["changed"]
    assert path.read_bytes() == content
    assert run({"path": str(path)}, regenerate=True)["keys"][0]["action"] == "replace"
    assert path.read_bytes() != content


def test_a_key_is_delivered_and_removed(run, tmp_path):
    path = tmp_path / "api.key"
    key = {"path": str(path), "source": "/controller/api.key", "content": ENCODED}
    assert run(key, check=True)["changed"] and not path.exists()
    assert run(key)["changed"] and path.read_bytes() == KEY and path.stat().st_mode & 0o777 == 0o600
    assert not run(key)["changed"]
    path.chmod(0o640)
    assert run(key)["keys"][0]["action"] == "protect"
    assert path.stat().st_mode & 0o777 == 0o600
    absent = {"path": str(path), "state": "absent"}
    assert run(absent, check=True)["changed"] and path.exists()
    assert run(absent)["changed"] and not path.exists()
    assert not run(absent)["changed"]


def test_a_key_that_the_controller_will_make_has_no_fingerprint(run, tmp_path):
    key = {"path": str(tmp_path / "api.key"), "source": "/controller/api.key"}
    assert run(key, check=True)["keys"][0]["fingerprint"] is None
    (tmp_path / "api.key").write_bytes(KEY)
    assert run(key, check=True)["keys"][0]["action"] == "replace"


def test_no_key_is_written_when_one_is_bad(run, tmp_path):
    good, bad = tmp_path / "good.key", tmp_path / "bad.key"
    bad.write_bytes(KEY[:31])
    result = run({"path": str(good)}, {"path": str(bad)})
    assert result["failed"]
    assert result["msg"] == (
        f"Cannot use a spiped key ({bad}): found 31 bytes, wanted 32 random bytes, set the right file in its "
        "place, or remove it to have a new key made."
    )
    assert not good.exists() and bad.read_bytes() == KEY[:31]


def test_an_owner_that_is_nobody(run, tmp_path):
    result = run({"path": str(tmp_path / "k")}, owner="nobody-of-this-name")
    assert result["failed"]
    assert result["msg"] == (
        "Cannot give a key to a user: found nobody-of-this-name, wanted a user of this host, set owner."
    )


def test_an_owner_by_name_and_number(run, tmp_path):
    path = tmp_path / "k"
    assert run({"path": str(path)}, owner=str(os.getuid()))["changed"]
    name = spiped_key.pwd.getpwuid(os.getuid()).pw_name
    assert not run({"path": str(path)}, owner=name)["changed"]


# The controller's halves


def action(plugin, check_mode=False, loader=None, **arguments):
    task = SimpleNamespace(
        args=arguments,
        check_mode=check_mode,
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
    loader = loader or DataLoader()
    context = SimpleNamespace(check_mode=check_mode, diff=False)
    return plugin.ActionModule(task, connection, context, loader, Templar(loader), None)


@pytest.mark.parametrize(
    ("module", "options"),
    [(tunnels_plan_module, tunnels_plan.ARGUMENTS), (spiped_key, None)],
    ids=["tunnels_plan", "spiped_key"],
)
def test_options_are_documented_as_they_are(module, options):
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    if options is None:
        documented, options = documented["keys"]["suboptions"], module.KEYS
    kept = ("type", "elements", "required", "default", "choices")
    assert [plain(one, kept) for one in (documented, options)] == [plain(options, kept)] * 2


def plain(options, kept):
    return {
        name: {key: value for key, value in option.items() if key in kept} for name, option in options.items()
    }


def sent(monkeypatch, made):
    calls = []
    monkeypatch.setattr(made, "_execute_module", lambda **call: calls.append(call) or {"changed": False})
    return made.run(task_vars={}), calls


def test_the_controllers_key_goes_along(monkeypatch, tmp_path):
    source = tmp_path / "api.key"
    source.write_bytes(KEY)
    keys = [
        {"path": "/etc/a", "source": str(source)},
        {"path": "/etc/b"},
        {"path": "/etc/c", "source": "/nowhere", "state": "absent"},
    ]
    _result, calls = sent(monkeypatch, action(spiped_key_action, keys=keys, owner="root"))
    assert calls[0]["module_args"] == {"keys": [{**keys[0], "content": ENCODED}, *keys[1:]], "owner": "root"}


def test_a_key_that_is_missing_on_the_controller(monkeypatch):
    keys = [{"path": "/etc/a", "source": "/nowhere/a.key"}]
    result, calls = sent(monkeypatch, action(spiped_key_action, keys=keys))
    assert calls == [] and result["msg"] == (
        "Cannot read a key on the controller (/nowhere/a.key): found no file, wanted a file of 32 bytes, "
        "set keys[].source."
    )
    _result, calls = sent(monkeypatch, action(spiped_key_action, check_mode=True, keys=keys))
    assert calls[0]["module_args"] == {"keys": keys}


def test_a_key_that_vault_has_encrypted(tmp_path):
    path, secret = tmp_path / "api.key", [("default", VaultSecret(b"secret"))]
    path.write_bytes(VaultLib(secret).encrypt(KEY))
    loader = DataLoader()
    with pytest.raises(FleetError) as told:
        spiped_key_action.read_key(loader, str(path))
    assert str(told.value) == (
        f"Cannot read a secret ({path}): found a file encrypted by Ansible Vault, and no Vault password, "
        "wanted the password it was encrypted with, set --vault-password-file, --vault-id, or "
        "vault_password_file of ansible.cfg."
    )
    loader.set_vault_secrets(secret)
    assert spiped_key_action.read_key(loader, str(path)) == KEY


LINK = {"name": "api", "from": "f1", "listen": 5001, "to": "m1", "wire": 8080, "target": 5001}
UNITS = {_tunnels.UNIT: "unit\n", _tunnels.FIREWALL_UNIT: "firewall\n"}


def variables(folder, **more):
    hosts = {
        "m1": {"ansible_host": "192.0.2.1"},
        "f1": {"ansible_host": "192.0.2.2"},
    }
    for host in hosts.values():
        host.update(fleet_domain="x.example.org", fleet_credentials_dir=str(folder), **more)
    groups = {"all": ["m1", "f1"], "managers": ["m1"], "fronts": ["f1"]}
    return {"hostvars": hosts, "groups": groups, "inventory_hostname": "m1"}


def read(made, monkeypatch, found=(), listening=()):
    """Let an action find these files on the host, {path: text}."""

    def answer(module_args, **_call):
        found_now = dict(found)
        paths = {
            path: {
                "exists": path in found_now,
                "mode": "0644" if path in found_now else None,
                "sha256": _tunnels.digest(found_now[path]) if path in found_now else None,
            }
            for path in module_args["paths"]
        }
        return {"host": {"paths": paths, "packages": {}, "listening": list(listening)}}

    monkeypatch.setattr(made, "_execute_module", answer)
    return made


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_plan_says_what_is_to_be_done(monkeypatch, tmp_path, check_mode):
    (tmp_path / "api.key").write_bytes(KEY)
    made = action(
        tunnels_plan, check_mode, links=[LINK], gone=["old"], keys=str(tmp_path), units=UNITS, firewall=False
    )
    result = read(made, monkeypatch).run(task_vars=variables(tmp_path))
    assert result["changed"] is check_mode and ("diff" in result) is check_mode
    assert result["plan"]["keys"] == [
        {"path": "/etc/gpufleet/tunnels/api.key", "source": f"{tmp_path}/api.key"},
        {"path": "/etc/gpufleet/tunnels/old.key", "state": "absent"},
    ]
    options = next(one for one in result["plan"]["files"] if one["path"].endswith(".conf"))["content"]
    assert f"key {_spiped.fingerprint(KEY)}." in options
    assert "/etc/gpufleet/tunnels/api.key" not in _tunnels.paths_of(["api"])


def test_a_plan_refuses_a_bad_key_and_a_taken_port(monkeypatch, tmp_path):
    (tmp_path / "api.key").write_bytes(KEY[:31])
    made = action(tunnels_plan, links=[LINK], keys=str(tmp_path), units=UNITS)
    result = read(made, monkeypatch).run(task_vars=variables(tmp_path))
    assert result["failed"] and "found 31 bytes" in result["msg"]
    (tmp_path / "api.key").write_bytes(KEY)
    taken = [{"protocol": "tcp", "address": "0.0.0.0", "port": 8080, "process": "nginx"}]
    result = read(made, monkeypatch, listening=taken).run(task_vars=variables(tmp_path))
    assert result["msg"].startswith(
        "The host m1 has 1 problem; its tunnels were left as they are.\n1. The port of a tunnel is taken (m1)"
    )


def test_a_host_that_cannot_be_read_is_told_as_it_is(monkeypatch, tmp_path):
    made = action(tunnels_plan, links=[], keys=str(tmp_path), units=UNITS)
    monkeypatch.setattr(made, "_execute_module", lambda **_call: {"failed": True, "msg": "no"})
    assert made.run(task_vars=variables(tmp_path)) == {"failed": True, "msg": "no"}


def test_the_inventory_is_refused_for_its_tunnels_and_their_keys(tmp_path):
    (tmp_path / "tunnels").mkdir()
    (tmp_path / "tunnels" / "api.key").write_bytes(KEY[:31])
    check = action(validate_inventory)
    good = {**LINK, "to": "m1"}
    result = check.run(task_vars=variables(tmp_path, tunnels_links=[good, {**good, "name": "b", "to": "m9"}]))
    assert result["msg"] == (
        "The inventory has 2 problems; no host was contacted.\n"
        "1. The tunnel ends at a host that is not in the inventory (tunnel b): found to m9, "
        "wanted one of m1, f1, set to in tunnels_links.\n"
        f"2. Cannot use a spiped key ({tmp_path}/tunnels/api.key): found 31 bytes, wanted 32 random bytes, "
        "set the right file in its place, or remove it to have a new key made."
    )
    (tmp_path / "tunnels" / "api.key").write_bytes(KEY)
    assert check.run(task_vars=variables(tmp_path, tunnels_links=[good])) == {"changed": False}

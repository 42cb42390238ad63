# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules on images and registries answer to Ansible, and when a deploy is held back for images."""

from __future__ import annotations

import io
import json
import os
import pwd
import stat
import tarfile

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpufleet.swarm.plugins.action import image_load as image_load_action
from ansible_collections.gpufleet.swarm.plugins.module_utils import _image_store
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError, NoEngine
from ansible_collections.gpufleet.swarm.plugins.modules import (
    image_info,
    image_load,
    registry_login,
    registry_user,
)

from tests.unit.plugins.action.test_actions import make
from tests.unit.plugins.module_utils.test_images import LOGIN, Engine, archive
from tests.unit.plugins.modules.test_stack import run as run_stack
from tests.unit.plugins.modules.test_stack import swarm  # noqa: F401 - a fixture
from tests.unit.stacks import stack


def called(module, capsys, **args):
    """Run main() with these arguments and return what it answered."""
    with patch_module_args(args), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


# image_info


def test_a_host_tells_what_it_has_and_can_get(monkeypatch, capsys):
    engine = Engine(present=["a:1"], refused=["reg.test/c:1"])
    monkeypatch.setattr(image_info, "connect", lambda _address: engine)
    wanted = ["a:1", "reg.test/c:1"]
    answer = called(image_info, capsys, images=wanted, ask_registries="missing", registry_logins=[LOGIN])
    assert answer["engine"] and answer["images"]["a:1"]["present"] and not answer["changed"]
    assert answer["images"]["reg.test/c:1"]["cause"] == "manifest unknown"
    assert "hunter2" not in json.dumps(answer)


def test_a_dry_run_on_a_bare_host_finds_no_image(monkeypatch, capsys):
    def nobody(_address):
        raise NoEngine("No Docker Engine answers", "unix:///x")

    monkeypatch.setattr(image_info, "connect", nobody)
    answer = called(image_info, capsys, images=["a:1"], layers=True, _ansible_check_mode=True)
    assert (answer["engine"], answer["images"]["a:1"]) == (False, _image_store.NOTHING)
    assert called(image_info, capsys, images=["a:1"])["msg"] == "No Docker Engine answers (unix:///x)."


# image_load


class Connection:
    """The socket of an Engine that gives one answer."""

    timeout = None

    def __init__(self, status, *lines):
        self.status, self.lines = status, lines

    def request(self, _method, url, body, headers):
        self.sent = (url, body.read(), headers["Content-Length"])

    def getresponse(self):
        return self

    def read(self):
        return "\n".join(json.dumps(line) for line in self.lines).encode()


def test_an_archive_is_given_to_the_engine(tmp_path):
    path = tmp_path / "part.tar"
    path.write_bytes(b"archive")
    engine = Connection(200, {"stream": "Loaded image: a:1"})
    _image_store.load(engine, (1, 45), path)
    assert engine.sent == ("/v1.45/images/load?quiet=1", b"archive", "7")
    for status, line in ((200, {"error": "no space left"}), (500, {"message": "no space left"})):
        with pytest.raises(FleetError, match=r"The Engine did not take the images \(.*\) - no space left"):
            _image_store.load(Connection(status, line), (1, 45), path)


def test_the_module_is_no_use_without_its_action(capsys):
    answer = called(image_load, capsys, archive="/x.tar")
    assert answer["failed"] and "wanted a task of gpufleet.swarm.image_load in a playbook" in answer["msg"]


class Host:
    """A host that the action sends parts to."""

    def __init__(self, monkeypatch, there, layers=(), partial=True, **arguments):
        self.images, self.layers, self.partial = there, list(layers), partial
        self.sent = []
        self.action = make(image_load_action, **arguments)
        self.action._connection._shell.tmpdir = "/tmp/ansible-tmp-1"
        self.action._connection._shell.join_path = os.path.join
        monkeypatch.setattr(self.action, "_execute_module", self._execute)
        monkeypatch.setattr(self.action, "_transfer_file", self._transfer)
        monkeypatch.setattr(self.action, "_fixup_perms2", lambda _paths: None)
        monkeypatch.setattr(type(self.action).__mro__[1], "run", lambda *_args: {})
        self.result = self.action.run(None, {})

    def _execute(self, module_name, module_args, **_more):
        if module_name == image_load_action.MODULE:
            assert module_args["part"] == "/tmp/ansible-tmp-1/part.tar"
            return {"changed": True}
        look = {
            name: {
                **_image_store.NOTHING,
                **({"present": True, **self.images[name]} if name in self.images else {}),
            }
            for name in module_args["images"]
        }
        return {"engine": True, "images": look, "layers": self.layers, "partial": self.partial}

    def _transfer(self, local, _remote):
        with open(local, "rb") as file, tarfile.open(fileobj=io.BytesIO(file.read())) as tar:
            self.sent.append(sorted(member.name for member in tar if "layer" in member.name))


@pytest.fixture
def path(tmp_path):
    return archive(tmp_path / "a.tar", {"one:1": ["base", "one"], "two:1": ["base", "two"]})


def test_a_host_gets_what_it_lacks_and_each_layer_once(monkeypatch, path):
    host = Host(monkeypatch, {}, archive=str(path))
    assert host.sent == [["base/layer.tar", "one/layer.tar"], ["two/layer.tar"]]
    assert (
        host.result["changed"]
        and host.result["loaded"] == ["one:1", "two:1"]
        and host.result["bytes"] > 20000
    )
    everything = Host(monkeypatch, {}, partial=False, archive=str(path))
    assert everything.sent == [["base/layer.tar", "one/layer.tar"], ["base/layer.tar", "two/layer.tar"]]


def test_a_host_that_has_the_images_gets_no_byte(monkeypatch, path):
    with image_load_action.Archive(path) as found:
        there = {name: {"id": image.id} for name, image in found.named().items()}
    host = Host(monkeypatch, there, archive=str(path))
    assert (host.result, host.sent) == ({"changed": False, "loaded": [], "absent": [], "bytes": 0}, [])


def test_a_dry_run_says_what_would_be_sent(monkeypatch, path):
    host = Host(monkeypatch, {}, archive=str(path), images=["docker.io/library/two:1"], check_mode=True)
    assert host.result["changed"] and host.result["loaded"] == ["two:1"] and host.sent == []
    assert host.result["bytes"] > 10000


def test_images_that_the_archive_lacks(monkeypatch, path):
    arguments = {"archive": str(path), "images": ["one:1", "there:1", "gone:1"]}
    host = Host(monkeypatch, {}, **arguments)
    assert host.result["failed"] and host.result["msg"] == (
        f"The archive lacks an image ({path}): found no there:1, gone:1, set fleet_images_archive to one "
        "that playbooks/save_images.yml made for this fleet."
    )
    host = Host(monkeypatch, {"there:1": {"id": "sha256:x"}}, **arguments, others="skip")
    assert host.result["loaded"] == ["one:1"] and host.result["absent"] == ["gone:1"]


# registry_login


class Registry:
    """An Engine that tries logins."""

    def __init__(self, right="hunter2"):
        self.right, self.tried = right, []

    def post(self, path, data):
        assert path == "/auth"
        self.tried.append(data["serveraddress"])
        if data["password"] != self.right:
            raise EngineError("The Docker Engine refused to write", path, 401, "unauthorized")


@pytest.fixture
def registry(monkeypatch):
    engine = Registry()
    monkeypatch.setattr(registry_login, "connect", lambda _address: engine)
    return engine


def test_a_login_is_tried_and_written_once(registry, tmp_path, capsys):
    file = tmp_path / "new" / "config.json"
    args = {"logins": [LOGIN], "path": str(file)}
    assert called(registry_login, capsys, **args, _ansible_check_mode=True)["changed"] and not file.exists()
    answer = called(registry_login, capsys, **args)
    assert answer["actions"] == {"reg.test:5000": "create"} and registry.tried == ["reg.test:5000"]
    assert "hunter2" not in json.dumps(answer)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not called(registry_login, capsys, **args)["changed"] and len(registry.tried) == 1
    file.chmod(0o644)
    assert called(registry_login, capsys, **args)["changed"] and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert called(registry_login, capsys, path=str(file), forget=["reg.test:5000"])["changed"]
    assert json.loads(file.read_text()) == {"auths": {}} and len(registry.tried) == 1


def test_a_login_that_is_refused_is_not_written(registry, tmp_path, capsys):
    file = tmp_path / "config.json"
    answer = called(registry_login, capsys, logins=[{**LOGIN, "password": "wrong"}], path=str(file))
    assert answer["failed"] and not file.exists()
    assert answer["msg"] == (
        "A registry does not take the login (reg.test:5000): found user fleet, set fleet_registry_logins "
        "(for the fleet's own registry, its file of the password) - unauthorized."
    )


# registry_user


def test_a_password_file_is_written_when_the_password_is_another(tmp_path, capsys):
    file = tmp_path / "htpasswd"
    args = {"path": str(file), "username": "fleet", "owner": pwd.getpwuid(os.getuid()).pw_name}
    reasons = [
        called(registry_user, capsys, **args, password=password)["reason"]
        for password in ("hunter2", "hunter2", "hunter3", "hunter3")
    ]
    assert reasons == ["there is none", "none", "another password", "none"]
    file.chmod(0o640)
    assert called(registry_user, capsys, **args, password="hunter3")["reason"] == "another owner or mode"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "hunter3" not in file.read_text()


# The stack module


def test_a_deploy_is_held_back_until_the_images_are_proven(swarm, monkeypatch):  # noqa: F811
    wanted = stack({"a": {}})
    held = run_stack(monkeypatch, desired=wanted, prove_images="changed", diff=True).result
    assert swarm.writes == 0 and not held["changed"] and "diff" not in held
    (images,) = {tuple(images) for images in held["images"].values()}
    assert images == ("tiny:1",)
    foretold = run_stack(monkeypatch, desired=wanted, prove_images="changed", check_mode=True).result
    assert foretold["changed"] and foretold["images"] == held["images"]
    assert run_stack(monkeypatch, desired=wanted).result["changed"] and swarm.writes == 1
    same = run_stack(monkeypatch, desired=wanted, prove_images="changed").result
    assert (same["changed"], same["images"]) == (False, {})
    assert run_stack(monkeypatch, desired=wanted, prove_images="always").result["images"] == held["images"]


@pytest.mark.parametrize(
    ("module", "arguments"), [(image_load, image_load_action.ARGUMENTS)], ids=["image_load"]
)
def test_options_are_documented_as_they_are(module, arguments):
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert set(documented) - {"part"} == set(arguments)
    for name, option in arguments.items():
        assert {key: documented[name].get(key) for key in option} == option

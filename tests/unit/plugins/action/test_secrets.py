# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets on the controller, with and without Ansible Vault: made, read, rotated, taken over, looked for."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action import (
    secret_files,
    secret_scan,
    secrets_import,
    validate_inventory,
)
from ansible_collections.gpufleet.swarm.plugins.filter.secrets import FilterModule
from ansible_collections.gpufleet.swarm.plugins.lookup import secret as secret_lookup
from ansible_collections.gpufleet.swarm.plugins.lookup import secrets_due
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secrets
from ansible_collections.gpufleet.swarm.plugins.modules import secret_files as secret_files_module
from ansible_collections.gpufleet.swarm.plugins.modules import secret_scan as secret_scan_module
from ansible_collections.gpufleet.swarm.plugins.modules import secrets_import as secrets_import_module
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault

NONE, ONE = (), (("default", "first"),)
TWO = (("default", "first"), ("prod", "second"))


def loader(*identities):
    found = DataLoader()
    found.set_vault_secrets([(name, VaultSecret(word.encode())) for name, word in identities])
    return found


def seal(text, name="default", word="first"):
    return VaultLib([(name, VaultSecret(word.encode()))]).encrypt(text, vault_id=name)


def make(plugin, identities=NONE, check_mode=False, **arguments):
    """Return (the action, what it will have sent to a host)."""
    task = SimpleNamespace(
        args=arguments, check_mode=check_mode, diff=False, async_val=0, action="test", delegate_to=None,
        environment=[], no_log=False, collections=[],
    )  # fmt: skip
    shell = SimpleNamespace(tmpdir=None)
    connection = SimpleNamespace(_shell=shell, get_option=lambda name: None, _load_name="local", become=None)
    context, files = SimpleNamespace(check_mode=check_mode, diff=False), loader(*identities)
    action = plugin.ActionModule(task, connection, context, files, Templar(files), None)
    sent = {}

    def execute(module_name, module_args, task_vars):
        sent.update(module_args)
        return {"changed": False, "findings": [], "unread": [], "searched": {}}

    action._execute_module = execute
    return action, sent


def run(plugin, identities=NONE, check_mode=False, **arguments):
    action, sent = make(plugin, identities, check_mode, **arguments)
    return action.run(task_vars={}), sent


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def done(result):
    assert not result.get("failed"), result["msg"]
    return {one["name"]: one["action"] for one in result["secrets"]}


def test_options_are_documented_as_they_are():
    for plugin, module in ((secret_files, secret_files_module), (secrets_import, secrets_import_module)):
        kept = ("type", "elements", "required", "default", "choices")
        told = yaml.safe_load(module.DOCUMENTATION)["options"]
        assert {name: {key: spec[key] for key in kept if key in spec} for name, spec in told.items()} == {
            name: {key: spec[key] for key in kept if key in spec} for name, spec in plugin.ARGUMENTS.items()
        }
    told = yaml.safe_load(secret_scan_module.DOCUMENTATION)["options"]
    assert set(told) == set(secret_scan_module.ARGUMENT_SPEC)
    for name, spec in secret_scan_module.ARGUMENT_SPEC.items():
        assert told[name].get("default") == spec.get("default"), name


@pytest.mark.parametrize("identities", [NONE, ONE])
def test_secrets_are_made_once_for_their_owner_alone(tmp_path, identities):
    folder = tmp_path / "credentials" / "app"
    wanted = {"folder": str(folder), "names": ["key", "word"]}
    result, _sent = run(secret_files, identities, check_mode=True, **wanted)
    assert done(result) == {"key": "create", "word": "create"} and not folder.exists()
    result, _sent = run(secret_files, identities, **wanted)
    assert done(result) == {"key": "create", "word": "create"} and result["changed"]
    made = tree(folder)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
    values = [vault.read(loader(*identities), str(folder / name)).decode() for name in ("key", "word")]
    assert len(set(values)) == 2 and all(len(value) == 40 for value in values)
    assert all(content.startswith(b"$ANSIBLE_VAULT") == bool(identities) for content in made.values())
    assert not any(value in json.dumps(result) for value in values)
    result, _sent = run(secret_files, identities, **wanted)
    assert (done(result), result["changed"], tree(folder)) == ({}, False, made)


def test_what_is_in_clear_is_encrypted_once_there_is_a_password(tmp_path):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "key").write_text("of-before\n")
    (folder / "key.previous").write_text("of-long-before")
    (folder / "sealed").write_bytes(seal("other", "prod", "second"))
    wanted = {"folder": str(folder), "names": ["key", "sealed"]}
    result, _sent = run(secret_files, TWO, **wanted)
    assert done(result) == {"key": "encrypt", "key.previous": "encrypt", "sealed": "protect"}
    assert vault.read(loader(*ONE), str(folder / "key")) == b"of-before\n"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    before = tree(folder)
    assert done(run(secret_files, TWO, **wanted)[0]) == {} and tree(folder) == before
    # Who has the password may leave it out of other commands only where nothing has to be read.
    (folder / "key").chmod(0o644)
    assert "no Vault password" in run(secret_files, NONE, **wanted)[0]["msg"]


@pytest.mark.parametrize(
    ("identities", "message"),
    [
        (
            NONE,
            "Cannot read a secret ({path}): found a file encrypted by Ansible Vault, and no Vault password, "
            "wanted the password it was encrypted with, set --vault-password-file, --vault-id, or "
            "vault_password_file of ansible.cfg.",
        ),
        (
            (("default", "wrong"),),
            "Cannot read a secret ({path}): found a file encrypted by Ansible Vault for the identity prod "
            "that none of the given passwords opens (default), wanted the password it was encrypted with, "
            "set --vault-password-file, --vault-id, or vault_password_file of ansible.cfg.",
        ),
    ],
)
def test_a_vault_that_cannot_be_opened_is_refused_before_anything_is_written(tmp_path, identities, message):
    folder = tmp_path / "credentials"
    (folder / "app").mkdir(parents=True)
    path = folder / "app" / "zz"
    path.write_bytes(seal("value", "prod", "second"))
    path.chmod(0o600)
    message = message.format(path=path)
    before = tree(folder / "app")
    result, _sent = run(secret_files, identities, folder=str(path.parent), names=["aa", "zz"])
    assert result["failed"] and result["msg"] == message
    assert tree(folder / "app") == before
    with pytest.raises(AnsibleLookupError) as caught:
        secret_lookup.LookupModule(loader=loader(*identities)).run([str(path)])
    assert str(caught.value) == message
    result, sent = run(secret_scan, identities, folder=str(folder))
    assert (result["msg"], sent) == (message, {})
    assert [str(problem) for problem in vault.unreadable(loader(*identities), str(folder))] == [message]
    assert list(vault.unreadable(loader(*TWO), str(folder))) == []
    assert list(vault.unreadable(loader(*identities), str(folder), but=[str(path.parent)])) == []


def test_an_inventory_with_a_vault_that_cannot_be_opened_is_refused(tmp_path):
    path = tmp_path / "credentials" / "app" / "key"
    path.parent.mkdir(parents=True)
    path.write_bytes(seal("value"))
    host = {"ansible_host": "192.0.2.1", "fleet_domain": "a.example.org", "inventory_dir": str(tmp_path)}
    groups = {"all": ["m1"], "ungrouped": [], "managers": ["m1"]}
    variables = {"hostvars": {"m1": host}, "groups": groups, "inventory_hostname": "m1"}
    result = make(validate_inventory)[0].run(task_vars=variables)
    lines = result["msg"].splitlines()
    assert lines[0] == "The inventory has 1 problem; no host was contacted."
    assert lines[1].startswith(f"1. Cannot read a secret ({path}): found a file encrypted by Ansible Vault")


def test_the_identity_to_encrypt_with_can_be_chosen(tmp_path, monkeypatch):
    wanted = {"folder": str(tmp_path), "names": ["key"]}
    monkeypatch.setattr(constants.config, "get_config_value", lambda name: "prod")
    run(secret_files, TWO, **wanted)
    assert (tmp_path / "key").read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;prod\n")
    monkeypatch.setattr(constants.config, "get_config_value", lambda name: "other")
    result, _sent = run(secret_files, TWO, folder=str(tmp_path), names=["key", "word"])
    assert "found the Vault identities default, prod, wanted the identity other" in result["msg"]
    assert not (tmp_path / "word").exists()


def test_a_name_that_leads_elsewhere_is_refused(tmp_path):
    result, _sent = run(secret_files, folder=str(tmp_path), names=["good", "../bad"])
    assert "found ../bad" in result["msg"] and tree(tmp_path) == {}


@pytest.mark.parametrize("identities", [NONE, ONE])
def test_a_rotation_step_by_step_and_each_step_twice(tmp_path, identities):
    def step(name):
        return done(run(secret_files, identities, folder=str(tmp_path), names=["key"], step=name)[0])

    def value(name):
        content = vault.read(loader(*identities), str(tmp_path / name))
        return content and content.decode().strip()

    run(secret_files, identities, folder=str(tmp_path), names=["key"])
    old = value("key")
    assert step("propose") == {"key.next": "create"}
    new = value("key.next")
    assert step("propose") == {} and (value("key"), value("key.next")) == (old, new) and old != new
    assert step("accept") == {"key": "replace"} and step("accept") == {}
    assert (value("key"), value("key.previous"), value("key.next")) == (new, old, None)
    # An interrupted one is not begun anew.
    assert step("propose") == {}
    assert step("finish") == {"key.previous": "remove"} and step("finish") == {}
    assert list(tree(tmp_path)) == ["key"] and value("key") == new
    # And the way back.
    step("propose"), step("accept")
    assert value("key") != new
    assert step("restore") == {"key": "restore"} and step("restore") == {}
    assert list(tree(tmp_path)) == ["key"] and value("key") == new
    step("propose")
    assert step("restore") == {"key.next": "remove"} and value("key") == new


def test_what_does_not_exist_is_not_rotated(tmp_path):
    result, _sent = run(secret_files, folder=str(tmp_path), names=["key"], step="propose")
    assert result["msg"].startswith(f"Cannot replace a secret ({tmp_path}/key): found no file")


def test_lookups(tmp_path):
    clear, sealed, missing = tmp_path / "clear", tmp_path / "sealed", tmp_path / "missing"
    clear.write_text("value \n")
    clear.chmod(0o600)
    sealed.write_bytes(seal("other\n"))
    sealed.chmod(0o600)
    paths = [str(clear), str(sealed)]
    assert secret_lookup.LookupModule(loader=loader(*ONE)).run(paths) == ["value", "other"]
    for path, text in ((missing, "found no file"), (tmp_path / "binary", "bytes that are no text")):
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        with pytest.raises(AnsibleLookupError, match=text):
            secret_lookup.LookupModule(loader=loader()).run([str(path)])
    due = secrets_due.LookupModule(loader=loader()).run
    assert due([*paths, str(missing)]) == [str(missing)]
    assert secrets_due.LookupModule(loader=loader(*ONE)).run(paths) == [str(clear)]
    clear.chmod(0o640)
    assert due(paths) == [str(clear)]


def test_the_filter_takes_what_postgresql_can_compare():
    assert FilterModule().filters()["scram_sha_256"]("word").startswith("SCRAM-SHA-256$4096:")
    for wrong in ("", None, "é"):
        with pytest.raises(Exception, match="a password in ASCII"):
            FilterModule().filters()["scram_sha_256"](wrong)


ENV = "REDIS_PASSWORD=of-the-old-site-2019\nLINTO_IMAGE_TAG=latest\nLINTO_THEME=x\nOTHER=s3cr3t-of-others\n"
MAPPINGS = {
    "system": "linto",
    "env_secrets": {"REDIS_PASSWORD": "redis_password"},
    "env_options": {"LINTO_IMAGE_TAG": "linto_image_tag", "LINTO_THEME": "linto_theme"},
    "env_published": {"REDIS_PASSWORD": ["My_Password"]},
}


@pytest.mark.parametrize("identities", [NONE, ONE])
def test_an_import_stores_secrets_and_writes_options(tmp_path, identities):
    env, options, folder = tmp_path / ".env", tmp_path / "group_vars" / "linto.yml", tmp_path / "linto"
    env.write_text(ENV)
    options.parent.mkdir()
    wanted = {**MAPPINGS, "env_file": str(env), "folder": str(folder), "options_file": str(options)}
    result, _sent = run(secrets_import, identities, check_mode=True, **wanted)
    assert result["changed"] and not folder.exists() and not options.exists()
    result, _sent = run(secrets_import, identities, **wanted)
    assert done(result) == {"redis_password": "create"} and result["changed"]
    assert result["options"] == {"linto_image_tag": "latest", "linto_theme": "x"}
    assert result["left"] == [{"variable": "OTHER", "reason": "nothing here goes by this name"}]
    assert "of-the-old-site" not in str(result) + options.read_text()
    assert "s3cr3t" not in str(result) + options.read_text()
    assert yaml.safe_load(options.read_text()) == result["options"]
    path = folder / "redis_password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"$ANSIBLE_VAULT") == bool(identities)
    assert vault.read(loader(*identities), str(path)) == b"of-the-old-site-2019"
    again, _sent = run(secrets_import, identities, **wanted)
    assert done(again) == {"redis_password": "keep"} and not again["changed"]


def test_all_problems_of_an_import_come_at_once_and_nothing_is_written(tmp_path):
    env, options, folder = tmp_path / ".env", tmp_path / "linto.yml", tmp_path / "linto"
    env.write_text("REDIS_PASSWORD=My_Password\nLINTO_IMAGE_TAG=latest\n")
    options.write_text("of: others\n")
    wanted = {**MAPPINGS, "env_file": str(env), "folder": str(folder), "options_file": str(options)}
    result, _sent = run(secrets_import, **wanted)
    assert result["msg"].splitlines() == [
        f"{env} has 2 problems; nothing was taken over.",
        f"1. A secret is one that upstream has published (REDIS_PASSWORD in {env}): wanted a value that "
        "nobody knows, set another value there, or take the line out, and a new secret is made.",
        f"2. The file for the options holds something else ({options}): wanted a new file, set another "
        "secrets_options_file, or secrets_overwrite: true.",
    ]
    assert not folder.exists() and options.read_text() == "of: others\n"
    env.write_text("REDIS_PASSWORD=another-one\n")
    result, _sent = run(secrets_import, **{**wanted, "overwrite": True})
    assert done(result) == {"redis_password": "create"} and "{}" in options.read_text()


def test_a_weak_secret_is_taken_over_with_a_warning(tmp_path):
    env = tmp_path / ".env"
    env.write_text("REDIS_PASSWORD=abc\n")
    result, _sent = run(secrets_import, **MAPPINGS, env_file=str(env), folder=str(tmp_path / "linto"))
    assert result["warnings"][0].startswith("REDIS_PASSWORD: shorter than 8 characters")
    result, _sent = run(secrets_import, **MAPPINGS, env_file=str(tmp_path / "no"), folder=str(tmp_path))
    assert "found no file, wanted the .env of the installation" in result["msg"]


@pytest.mark.parametrize("identities", [NONE, ONE])
def test_a_scan_sends_fragments_and_no_secret(tmp_path, identities):
    folder = tmp_path / "credentials"
    run(secret_files, identities, folder=str(folder / "app"), names=["key"])
    (folder / "app" / "weak").write_text("abc")
    (folder / "app" / "weak").chmod(0o644)
    (folder / "ca.crt").write_text("public")
    value = vault.read(loader(*identities), str(folder / "app" / "key"))
    result, sent = run(secret_scan, identities, folder=str(folder), patterns="of the user", paths=["/etc"])
    patterns = {
        name: [base64.b64decode(one) for one in ones] for name, ones in json.loads(sent["patterns"]).items()
    }
    assert patterns == {"app/key": _secrets.patterns(value)}
    assert not any(value in one for one in patterns["app/key"])
    assert value.decode() not in json.dumps(sent) and sent["paths"] == ["/etc"]
    assert result["unread"] == ["app/weak: too short to be looked for"]
    assert result["loose"] == [f"{folder}/app/weak, mode 0644"]
    assert result["searched"] == {"secrets": 1}


def test_a_scan_without_secrets_is_a_mistake(tmp_path):
    assert "There is no secret to look for" in run(secret_scan, folder=str(tmp_path))[0]["msg"]

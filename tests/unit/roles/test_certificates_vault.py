# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The authority signs with a key that Ansible Vault keeps closed. Played on this machine, the controller."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "the password of the vault"
KEYS = ("ca/ca.key", "tls/ingress.key")


class Controller:
    """A folder of credentials, and the part of the role that works on it."""

    def __init__(self, folder):
        self.folder = folder
        self.credentials = folder / "credentials"
        self.password = folder / "password"
        self.password.write_text(PASSWORD)
        role = {"name": "gpufleet.swarm.certificates", "tasks_from": "local", "rolespec_validate": False}
        task = {"name": "Issue", "ansible.builtin.include_role": role}
        play = {"hosts": "manager1", "gather_facts": False, "tasks": [task]}
        (folder / "play.yml").write_text(json.dumps([play]))
        hosts = {"manager1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
        variables = {"fleet_domain": "lab.test", "fleet_credentials_dir": str(self.credentials)}
        groups = {"managers": {"hosts": hosts, "vars": variables}}
        (folder / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))

    def play(self, *arguments, vault=False, fails=False, **variables):
        """Run it; return (what was said, how many changes it counted)."""
        words = [Path(sys.executable).parent / "ansible-playbook", "-i", self.folder / "hosts.json", "-vvv"]
        words += ["--vault-password-file", self.password] if vault else []
        words += [*arguments, "-e", json.dumps(variables), self.folder / "play.yml"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        told = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, told[-4000:]
        return told, sum(map(int, re.findall(r"changed=(\d+)", told)))

    def content(self, name):
        return (self.credentials / name).read_bytes()

    def opened(self, name):
        return bytes(VaultLib([("default", VaultSecret(PASSWORD.encode()))]).decrypt(self.content(name)))

    def fits(self, key, certificate):
        """Tell whether a key in clear belongs to a certificate."""
        there = x509.load_pem_x509_certificate(self.content(certificate)).public_key()
        return load_pem_private_key(key, None).public_key() == there


@pytest.fixture
def controller(tmp_path):
    return Controller(tmp_path)


def test_keys_are_encrypted_from_the_start_and_sign(controller):
    told, changed = controller.play(vault=True)
    assert changed
    for key, certificate in zip(KEYS, ("ca/ca.crt", "tls/ingress.crt"), strict=True):
        assert controller.content(key).startswith(b"$ANSIBLE_VAULT")
        clear = controller.opened(key)
        assert controller.fits(clear, certificate)
        assert stat.S_IMODE((controller.credentials / key).stat().st_mode) == 0o600
        # The last lines of an EC key are its public half, which the modules tell.
        assert clear.decode().splitlines()[1] not in told
    assert controller.play(vault=True)[1] == 0
    before = controller.content("tls/ingress.crt")
    # A renewal is signed by the closed key of the authority.
    assert controller.play(vault=True, certificates_names=["lab.test", "more.lab.test"])[1]
    assert controller.content("tls/ingress.crt") != before
    assert controller.fits(controller.opened("tls/ingress.key"), "tls/ingress.crt")


def test_keys_in_clear_are_encrypted_once_there_is_a_password(controller):
    controller.play()
    clear = {name: controller.content(name) for name in KEYS}
    served = controller.content("tls/ingress.crt")
    assert all(content.startswith(b"-----BEGIN") for content in clear.values())
    assert controller.play("--check", vault=True)[1] == 1
    assert {name: controller.content(name) for name in KEYS} == clear
    assert controller.play(vault=True)[1] == 1
    assert {name: controller.opened(name) for name in KEYS} == clear
    assert controller.content("tls/ingress.crt") == served, "nothing was issued anew"
    assert controller.play(vault=True)[1] == 0


def test_without_the_password_nothing_is_issued(controller):
    controller.play(vault=True)
    before = {name: controller.content(name) for name in (*KEYS, "ca/ca.crt", "tls/ingress.crt")}
    told, _changed = controller.play(fails=True, certificates_names=["lab.test", "more.lab.test"])
    assert "Vault" in told or "vault" in told
    assert {name: controller.content(name) for name in before} == before

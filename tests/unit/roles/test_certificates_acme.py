# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that obtains and delivers certificates, with a Swarm and an ACME client that only pretend."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.roles.rendered import Rendered

ROLE = Path(__file__).resolve().parents[3] / "roles" / "certificates"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SETTINGS = {
    "names": ["lab.test", "app.lab.test"], "directory": "https://live/dir", "trial": "https://trial/dir",
    "email": "admin@lab.test", "challenge": "http-01", "listen": "10.0.0.1:8402", "nodes": [],
    "provider": "", "resolvers": [], "check_dns": True, "renew_before_days": 30, "authorities": "",
    "image": "traefik:v3.7", "user": 65532, "folder": "/etc/gpufleet/ingress", "tls": "certFile: "
    "@NAME@.crt\n",
}  # fmt: skip
ISSUED = {
    "directory": "https://live/dir", "names": ["app.lab.test", "lab.test"],
    "ends": (NOW + timedelta(days=80)).isoformat(), "certificate": "the chain", "key": "the key",
}  # fmt: skip


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """Return the program as a module, with folders of its own."""
    path = ROLE / "files" / "gpufleet_acme.py"
    specification = importlib.util.spec_from_file_location("gpufleet_acme", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "SETTINGS", tmp_path / "etc")
    monkeypatch.setattr(module, "STATE", tmp_path / "var")
    module.SETTINGS.mkdir()
    module.STATE.mkdir()
    return module


class Machine:
    """Answers instead of lego, openssl and docker, and writes down what they were asked."""

    def __init__(self, module, ingress=True, refuses=(), loses=0):
        """refuses: directories that do not issue. loses: how often a server does not know the account."""
        self.module, self.ingress, self.refuses, self.loses = module, ingress, refuses, loses
        self.asked, self.services, self.secrets, self.commands = [], {}, set(), []

    def __call__(self, words, text="", env=None, seconds=60):
        self.commands.append(words)
        return getattr(self, words[0])(words[1:], text)

    def lego(self, words, _text):
        directory, path = (words[words.index(option) + 1] for option in ("--server", "--path"))
        self.asked.append(directory)
        if directory in self.refuses:
            at = "2026/11/22 12:00:00"
            return 1, f"{at} [INFO] acme\n{at} Could not obtain certificates:\n\tno\n"
        account = Path(path, "accounts", "server", "admin", "account.json")
        if self.loses and account.exists():
            self.loses -= 1
            return 1, "acme: error: 400 :: urn:ietf:params:acme:error:accountDoesNotExist"
        account.parent.mkdir(parents=True, exist_ok=True)
        account.write_text("{}")
        folder = Path(path, "certificates")
        folder.mkdir(exist_ok=True)
        number = len(self.asked)
        for name, content in (("crt", "chain"), ("key", "key"), ("issuer.crt", "issuer")):
            Path(folder, f"lab.test.{name}").write_text(f"{content} {number}")
        return 0, ""

    def openssl(self, _words, _text):
        return 0, "notAfter=Feb 20 12:00:00 2027 GMT\n"

    def docker(self, words, text):
        kind, verb, *rest = words
        if kind == "service" and verb == "inspect":
            if rest == ["ingress_traefik"]:
                return (0, "") if self.ingress else (1, "no such service")
            tag = self.services.get(rest[-1])
            return (0, f"{tag}\n") if tag else (1, "no such service")
        if kind == "service" and verb == "create":
            self.services[rest[rest.index("--name") + 1]] = rest[rest.index("--label") + 1].split("=")[1]
        if kind == "service" and verb == "rm":
            del self.services[rest[0]]
        if kind == "service" and verb == "ps":
            return 0, "one\tComplete 1 second ago\t\n"
        if kind == "node":
            return 0, "one\tReady\ntwo\tDown\n"
        if kind == "secret" and verb == "ls":
            return 0, "\n".join(self.secrets)
        if kind == "secret" and verb == "create":
            assert text
            self.secrets.add(rest[-2])
        if kind == "secret" and verb == "rm":
            self.secrets.discard(rest[0])
        return 0, ""


@pytest.fixture
def machine(acme, monkeypatch):
    """Return a function that puts a pretended machine under the program."""

    def make(**options):
        made = Machine(acme, **options)
        monkeypatch.setattr(acme, "run", made)
        return made

    return make


@pytest.mark.parametrize(
    ("settings", "issued", "reasons"),
    [
        ({}, {}, []),
        ({}, None, ["there is none"]),
        ({"directory": "https://other/dir"}, {}, ["it comes from https://live/dir"]),
        ({"names": ["lab.test"]}, {}, ["it was asked for app.lab.test, lab.test"]),
        ({"renew_before_days": 80}, {}, []),
        ({"renew_before_days": 81}, {}, ["it ends 2027-02-10, in 80 days, and 81 are wanted"]),
        ({}, {"ends": NOW.isoformat()}, ["it ends 2026-11-22, in 0 days, and 30 are wanted"]),
    ],
)
def test_when_it_is_due(acme, settings, issued, reasons):
    there = None if issued is None else {**ISSUED, **issued}
    assert acme.due({**SETTINGS, **settings}, there, NOW) == reasons


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("2026/11/30 20:17:38 [INFO] acme: Registering account\n"
         "2026/11/30 20:17:39 Could not obtain certificates:\n\terror: one or more had a problem:\n"
         "[lab.test] acme: error: 403\n",
         "Could not obtain certificates: error: one or more had a problem: [lab.test] acme: error: 403"),
        ("2026/11/30 20:17:38 No key found for account a@b.c.\nan end without a known beginning\n",
         "an end without a known beginning"),
        ("2026/11/30 20:17:38 Saved key to a.key\npanic: error creating x509 cert pool\n\n"
         "goroutine 1 [running]:\nmain.main()\n\tgithub.com/go-acme/lego/cmd/lego/main.go:42 +0x1df\n",
         "panic: error creating x509 cert pool"),
        ("", ""),
    ],
    ids=["refused", "unknown", "panic", "silent"],
)  # fmt: skip
def test_why_the_client_failed(acme, said, told):
    assert acme.reason(said) == told


def test_the_trial_comes_first_and_once(acme, machine):
    there = machine()
    first = acme.work(SETTINGS, None, NOW, again=False)
    assert (first["outcome"], first["changed"]) == ("obtained", True)
    assert there.asked == ["https://trial/dir", "https://live/dir"]
    issued = acme.read(acme.STATE / "issued.json")
    acme.work({**SETTINGS, "renew_before_days": 400}, issued, NOW, again=False)
    assert there.asked[2:] == ["https://live/dir"]
    acme.work({**SETTINGS, "names": ["lab.test"]}, issued, NOW, again=False)
    assert there.asked[3:] == ["https://trial/dir", "https://live/dir"]


def test_a_failed_trial_leaves_the_other_server_alone(acme, machine):
    there = machine(refuses=["https://trial/dir"])
    result = acme.work(SETTINGS, None, NOW, again=False)
    assert there.asked == ["https://trial/dir"]
    assert (result["outcome"], result["changed"]) == ("failed", False)
    assert result["message"] == "there is none; https://trial/dir: Could not obtain certificates: no"
    assert there.services == {}


def test_what_is_there_is_delivered_although_no_new_one_can_be_had(acme, machine):
    there = machine(refuses=["https://trial/dir"])
    late = {**SETTINGS, "renew_before_days": 90}
    result = acme.work(late, ISSUED, NOW, again=False)
    assert (result["outcome"], result["changed"], list(there.services)) == ("failed", True, [acme.SERVICE])
    assert acme.work(late, ISSUED, NOW, again=False)["changed"] is False


@pytest.mark.parametrize("issued", [{"names": ["lab.test"]}, {"ends": (NOW - timedelta(1)).isoformat()}])
def test_what_does_not_fit_or_has_ended_is_not_delivered(acme, machine, issued):
    there = machine(refuses=["https://trial/dir"])
    assert acme.work(SETTINGS, {**ISSUED, **issued}, NOW, again=False)["changed"] is False
    assert there.services == {}


def test_without_the_ingress_nobody_is_asked(acme, machine):
    there = machine(ingress=False)
    assert acme.work(SETTINGS, None, NOW, again=False)["outcome"] == "waiting"
    assert there.asked == []
    # A dry run says the same, and predicts nothing.
    found = acme.look(SETTINGS, None, NOW)
    assert (found["outcome"], found["changed"]) == ("waiting", False)
    assert acme.look({**SETTINGS, "challenge": "dns-01"}, None, NOW)["changed"] is True
    assert acme.work({**SETTINGS, "challenge": "dns-01"}, None, NOW, again=False)["outcome"] == "obtained"


def test_an_account_that_is_not_known_any_more_is_registered_again(acme, machine):
    there = machine()
    acme.obtain(SETTINGS, "https://live/dir")
    there.loses = 1
    assert acme.obtain(SETTINGS, "https://live/dir")["certificate"] == "chain 3"


def test_a_delivery_takes_the_place_of_the_one_before(acme, machine):
    there = machine()
    acme.deliver(SETTINGS, ISSUED, again=False)
    first = set(there.secrets)
    acme.deliver(SETTINGS, {**ISSUED, "certificate": "another chain"}, again=False)
    assert len(there.secrets) == 2
    assert not there.secrets & first
    assert acme.deliver(SETTINGS, {**ISSUED, "certificate": "another chain"}, again=False) is False
    assert acme.deliver(SETTINGS, {**ISSUED, "certificate": "another chain"}, again=True) is True
    acme.withdraw()
    assert (there.services, there.secrets) == ({}, set())


def test_no_secret_is_on_a_command_line(acme, machine):
    there = machine()
    (acme.SETTINGS / "dns.json").write_text(json.dumps({"TOKEN": "open sesame"}))
    acme.work({**SETTINGS, "challenge": "dns-01", "provider": "exec"}, None, NOW, again=False)
    spoken = json.dumps(there.commands)
    assert "open sesame" not in spoken
    assert "key 2" not in spoken


def test_the_words_for_lego(acme):
    words = acme.lego(SETTINGS, "https://live/dir", "/f")
    assert words == [
        "lego", "--accept-tos", "--email", "admin@lab.test", "--server", "https://live/dir", "--path", "/f",
        "--key-type", "ec256", "--domains", "lab.test", "--domains", "app.lab.test",
        "--http", "--http.port", "10.0.0.1:8402", "run",
    ]  # fmt: skip
    by_dns = {**SETTINGS, "challenge": "dns-01", "provider": "rfc2136"}
    by_dns.update(resolvers=["10.0.0.2:53"], check_dns=False)
    assert acme.lego(by_dns, "https://live/dir", "/f")[-6:] == [
        "--dns", "rfc2136", "--dns.resolvers", "10.0.0.2:53", "--dns.disable-cp", "run",
    ]  # fmt: skip


def test_a_node_that_redirects_the_challenge_is_waited_for_and_named(acme):
    answers = {"a:80": [308, 502], "b:80": [308] * 99, "c:80": [None] * 99}
    away = acme.closed(
        {**SETTINGS, "nodes": list(answers)}, seconds=0.05, ask=lambda node, _host: answers[node].pop(0),
        pause=lambda _seconds: time.sleep(0.03),
    )
    assert away == [
        "ingress node b:80 does not lead the challenge here: found status 308 by plain HTTP",
        "ingress node c:80 does not lead the challenge here: found no answer by plain HTTP",
    ]


def test_the_courier_writes_what_traefik_reads(acme, tmp_path):
    """Its script is run with folders of the test in the place of those of a container."""
    ingress, given = tmp_path / "ingress", tmp_path / "secrets"
    ingress.mkdir()
    given.mkdir()
    (given / "crt").write_text("chain")
    (given / "key").write_text("key")
    for old in ("ingress-old.crt", "ingress-old.key", "middlewares.yml", "acme.yml"):
        (ingress / old).write_text("old")
    script = acme.COURIER.replace("/run/secrets", str(given)).replace("cd /ingress", f"cd {ingress}")
    env = {"PATH": "/usr/bin:/bin", "NAME": "ingress-new", "TLS": "certFile: ingress-new.crt"}
    subprocess.run(["sh", "-c", script], env=env, check=True)
    assert {path.name: path.read_text() for path in ingress.iterdir()} == {
        "ingress-new.crt": "chain", "ingress-new.key": "key", "tls.yml": "certFile: ingress-new.crt\n",
        "middlewares.yml": "old", "acme.yml": "old",
    }  # fmt: skip
    assert (ingress / "ingress-new.key").stat().st_mode & 0o777 == 0o600


def test_files_are_readable_by_their_owner_alone(acme):
    path = acme.STATE / "some.json"
    acme.write(path, {"key": 1})
    assert (path.stat().st_mode & 0o777, acme.read(path)) == (0o600, {"key": 1})
    path.write_text("{")
    assert acme.read(path) is None


def test_ingress_nodes_are_named_in_the_order_of_the_inventory():
    workers = [f"worker{number}" for number in range(9)]
    hosts = {"manager1": {}, **{name: {"swarm_ingress": name != "worker3"} for name in workers}}
    role = Rendered("certificates", {"hostvars": hosts}, {"workers": workers})
    # Any other order would be a change of the issuer's settings in some runs, and in others not.
    assert role.value("__certificates_ingress") == [name for name in hosts if name != "worker3"]

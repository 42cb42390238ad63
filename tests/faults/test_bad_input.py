# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is refused in words that say what to set, before any host is changed."""
from __future__ import annotations

import json
import textwrap

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

pytestmark = pytest.mark.usefixtures("unchanged")


def refusal(fleet, *words: str, **kwargs) -> str:
    """Run the site play, which has to fail, and return its message on one line."""
    outcome = fleet.play(*words, **kwargs)
    assert outcome.returncode != 0, outcome.stdout
    assert "Traceback" not in outcome.stdout + outcome.stderr
    return " ".join((outcome.stdout + outcome.stderr).split())


def test_two_managers(fleet):
    def promote(groups):
        groups["managers"]["hosts"]["worker1"] = groups["workers"]["hosts"].pop("worker1")

    fleet.vary(promote)
    assert (
        "The inventory has 1 problem; no host was contacted. "
        "1. The number of managers is even (group managers): found 2 (manager1, worker1), "
        "wanted an odd number, set the hosts of group managers - "
        "an even number survives no more failures than one manager fewer does."
    ) in refusal(fleet)


def test_host_in_no_group(fleet):
    def strand(groups):
        groups["others"] = {"hosts": {"worker1": groups["workers"]["hosts"].pop("worker1")}}

    fleet.vary(strand)
    assert (
        "The inventory has 1 problem; no host was contacted. "
        "1. The host has no place in the fleet (worker1): found others, wanted managers, workers or fronts, "
        "set the group of worker1."
    ) in refusal(fleet)


def test_misspelt_variable(fleet):
    assert (
        "The inventory has 1 problem; no host was contacted. "
        "1. The variable is not known to any role (manager1, worker1): found docker_registry_mirror, "
        "wanted docker_registry_mirrors, set the right name, or fleet_ignored_variables."
    ) in refusal(fleet, "site.yml", "--extra-vars", "docker_registry_mirror=registry.example.org")


TUNNEL = {"name": "api", "from": "manager1", "listen": 5001, "to": "worker1", "wire": 8080, "target": 5001}


@pytest.mark.parametrize(
    ("links", "told"),
    [
        (
            [{**TUNNEL, "to": "worker2"}],
            "The tunnel ends at a host that is not in the inventory (tunnel api): found to worker2, "
            "wanted worker1, set to in tunnels_links.",
        ),
        (
            [TUNNEL, {**TUNNEL, "name": "second", "wire": 8081}],
            "Two ends of tunnels use one port (manager1): found listen [127.0.0.1]:5001 of tunnel api, "
            "listen [127.0.0.1]:5001 of tunnel second, wanted a port of its own for each, "
            "set listen or wire in tunnels_links.",
        ),
    ],
    ids=["no such host", "a port twice"],
)
def test_tunnels_that_cannot_be(fleet, links, told):
    assert f"The inventory has 1 problem; no host was contacted. 1. {told}" in refusal(
        fleet, "site.yml", "--extra-vars", json.dumps({"tunnels_links": links})
    )
    assert not (fleet.folder / "credentials").exists()


SEALED = (
    "found a file encrypted by Ansible Vault, and no Vault password, "
    "wanted the password it was encrypted with, set --vault-password-file, --vault-id, or "
    "vault_password_file of ansible.cfg."
)


def seal(content: bytes) -> bytes:
    """Return it as Ansible Vault encrypts it with a password that nobody knows here."""
    return VaultLib([("default", VaultSecret(b"a word that was lost"))]).encrypt(content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            bytes(range(31)),
            "Cannot use a spiped key (KEY): found 31 bytes, wanted 32 random bytes, "
            "set the right file in its place, or remove it to have a new key made.",
        ),
        (seal(bytes(range(32))), f"Cannot read a secret (KEY): {SEALED}"),
    ],
    ids=["31 bytes", "sealed"],
)
def test_keys_of_tunnels_that_cannot_be_used(fleet, content, told):
    path = fleet.folder / "credentials" / "tunnels" / "api.key"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    told = told.replace("KEY", str(path))
    assert f"The inventory has 1 problem; no host was contacted. 1. {told}" in refusal(
        fleet, "site.yml", "--extra-vars", json.dumps({"tunnels_links": [TUNNEL]})
    )
    assert path.read_bytes() == content


def test_a_variable_that_vault_keeps_closed(fleet):
    text = textwrap.indent(seal(b"s3cret").decode(), "    ")
    (fleet.folder / "group_vars" / "managers.yml").write_text(
        f"certificates_acme_dns_settings:\n  TOKEN: !vault |\n{text}", encoding="utf-8"
    )
    assert (
        "The inventory has 1 problem; no host was contacted. "
        "1. The variable cannot be read (manager1): found certificates_acme_dns_settings, "
        "encrypted by Ansible Vault, wanted the password it was encrypted with, "
        "set --vault-password-file, --vault-id, or vault_password_file of ansible.cfg."
    ) in refusal(fleet)


MALFORMED = {
    "yaml": (
        "services:\n  web:\n   image: [nginx:1.27\n",
        "notes.yml.j2",
    ),
    "key": (
        "services:\n  web:\n    image: nginx:1.27\n    imagee: nginx:1.28\n",
        "services.web.imagee",
    ),
    "variable": (
        "services:\n  web:\n    image: nginx:${VERSION}\n",
        "VERSION",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_compose_template(fleet, tmp_path, kind):
    text, named = MALFORMED[kind]
    (tmp_path / "notes.yml.j2").write_text(text, encoding="utf-8")
    play = tmp_path / "play.yml"
    play.write_text(textwrap.dedent(f"""
        - hosts: managers:workers
          gather_facts: false
          become: true
          tasks:
            - ansible.builtin.include_role:
                name: gpufleet.swarm.stack
              vars:
                stack_name: notes
                stack_template: {tmp_path}/notes.yml.j2
                stack_secrets: [password]
                stack_directories: [{{path: /srv/notes, node: "*"}}]
    """), encoding="utf-8")
    told = refusal(fleet, str(play))
    assert named in told and "notes.yml.j2" in told and "line" in told
    assert not (fleet.folder / "credentials").exists()


def test_malformed_compose_file_of_a_system_stops_the_site_play(fleet):
    told = refusal(fleet, "site.yml", "--extra-vars", '{"linto_images": {"session-postgres": "post gres"}}')
    assert "linto.yml.j2" in told and "services.session-postgres.image" in told
    assert "Install the packages" not in told


@pytest.fixture
def broken_daemon_json(fleet):
    """A daemon.json that is no JSON, on one host; gone again before hosts are compared."""
    fleet.on("worker1", "mkdir -p /etc/docker && printf '{\"debug\": true,}' > /etc/docker/daemon.json")
    before = fleet.footprints()
    yield
    assert fleet.footprints() == before, "a host was changed"
    fleet.on("worker1", "rm -r /etc/docker")


@pytest.mark.usefixtures("broken_daemon_json")
def test_daemon_json_that_is_no_json(fleet):
    told = refusal(fleet)
    assert "The Engine's configuration is no JSON object (worker1): found" in told
    assert "/etc/docker/daemon.json, line 1, column 16, wanted a JSON object or no file" in told


def test_unreachable_host(fleet):
    def unplug(groups):
        # Documentation addresses (RFC 5737) are routed nowhere; here, nothing listens on the port either.
        groups["workers"]["hosts"]["worker1"]["ansible_port"] = 9

    fleet.vary(unplug)
    told = refusal(fleet)
    assert (
        "The host cannot be reached (worker1): found no answer, wanted a login, "
        "set ansible_host, ansible_user or the key"
    ) in told


@pytest.fixture
def web_server(fleet):
    """A program of somebody else's on the port of the ingress."""
    fleet.on("manager1", "systemd-run --quiet --unit=other-web python3 -m http.server 443")
    listening = "ss -Hltn 'sport = :443' | grep -q ."
    fleet.on("manager1", f"for i in $(seq 50); do {listening} && exit; sleep 0.1; done; exit 1")
    yield
    fleet.on("manager1", "systemctl stop other-web")


@pytest.mark.usefixtures("web_server")
def test_port_of_the_ingress_is_taken(fleet):
    assert (
        "A port of the ingress is taken (manager1): found tcp port 443 held by python3, wanted a free port, "
        "set another ingress_http_port or ingress_https_port, or stop it."
    ) in refusal(fleet)

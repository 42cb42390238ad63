# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet whose certificates are tested: its playbooks, what its ingress serves, clients that never stop."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml
from cryptography import x509

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
# Seconds between two connections of the client that must never be refused.
PERIOD = 0.05


def run(program, *words):
    """Run a program of Ansible on the fleet; return its exit code and its output."""
    command = [str(Path(sys.executable).parent / program), "-i", INVENTORY, *map(str, words)]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def ansible(program, *words):
    """Run a program of Ansible on the fleet, which has to succeed, and return its output."""
    code, output = run(program, *words)
    assert code == 0, output[-6000:]
    return output


def play(playbook, *words, **variables):
    """Run a playbook with extra variables and return its output."""
    return ansible("ansible-playbook", playbook, *words, "--extra-vars", json.dumps(variables))


def changes(output):
    """Return from a playbook's output how many tasks changed something on each host."""
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)
    return {host: int(count) for host, count in recap}


def site(*words, **variables):
    """Run site.yml without systems; return how many tasks changed something on each host."""
    return changes(play("site.yml", *words, fleet_systems=[], **variables))


def certificates(**variables):
    """Run that part of site.yml which is about certificates."""
    return site("--tags", "certificates", **variables)


def unchanged(*words, **variables):
    """Run site.yml without systems, which has to change nothing on any host."""
    output = play("site.yml", *words, fleet_systems=[], **variables)
    told = [part for part in output.split("\n\n") if re.search("^changed: ", part, re.MULTILINE)]
    assert set(changes(output).values()) == {0}, "\n\n".join(told)


def shell(host, command):
    """Run a shell command as root on a host and return its lines."""
    output = ansible("ansible", host, "--become", "-m", "ansible.builtin.shell", "-a", command)
    return [line for line in output.splitlines()[1:] if line]


def put(host, path, text, mode="0644"):
    """Write a file on a host."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as source:
        source.write(text)
        source.flush()
        words = f"src={source.name} dest={path} mode={mode}"
        ansible("ansible", host, "--become", "-m", "ansible.builtin.copy", "-a", words)


def credentials(*parts):
    return Path(INVENTORY, "credentials", *parts)


def address(host):
    hosts = yaml.safe_load(Path(INVENTORY, "hosts.yml").read_text())
    groups = hosts["all"]["children"].values()
    return next(group["hosts"][host]["ansible_host"] for group in groups if host in group.get("hosts", {}))


def domain():
    return yaml.safe_load(Path(INVENTORY, "group_vars", "all.yml").read_text())["fleet_domain"]


def served(host, authorities=None, timeout=5):
    """Return the certificate that an ingress node serves, verified.

    authorities: a file with those to trust instead of the fleet's own
    """
    context = ssl.create_default_context(cafile=authorities or credentials("ca", "ca.crt"))
    with (
        socket.create_connection((address(host), 443), timeout) as plain,
        context.wrap_socket(plain, server_hostname=domain()) as secure,
    ):
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))


def wait_until_served(host, certificate, seconds=15, authorities=None):
    deadline = time.monotonic() + seconds
    while served(host, authorities) != certificate and time.monotonic() < deadline:
        time.sleep(0.2)
    assert served(host, authorities) == certificate


def on_disk(*parts):
    return x509.load_pem_x509_certificate(credentials(*(parts or ("tls", "ingress.crt"))).read_bytes())


def traefik(host):
    """Return the ids of the containers of Traefik on a host."""
    return shell(host, "docker ps --quiet --no-trunc --filter name=ingress_traefik")


class Client:
    """Opens a verified connection to an ingress node again and again, and counts those that fail."""

    def __init__(self, host, authorities=None):
        self.host, self.authorities, self.tried, self.failed = host, authorities, 0, []
        self.seen = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(PERIOD):
            self.tried += 1
            try:
                self.seen.add(served(self.host, self.authorities).serial_number)
            except OSError as error:
                self.failed.append(str(error))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        self._thread.join()


class Clients:
    """A client for each of some hosts; none of their connections may fail."""

    def __init__(self, hosts, authorities, what):
        self.clients, self.what = [Client(host, authorities) for host in hosts], what

    def __enter__(self):
        for client in self.clients:
            client.__enter__()
        return self

    def __exit__(self, kind, *_error):
        time.sleep(1)
        for client in self.clients:
            client.__exit__()
        if kind is None:
            failed = [error for client in self.clients for error in client.failed]
            assert failed == [], failed
            assert min(client.tried for client in self.clients) > 50
            assert all(len(client.seen) > 1 for client in self.clients), "nothing changed meanwhile"
            tried = " and ".join(str(client.tried) for client in self.clients)
            print(f"connections during {self.what}: {tried}, none failed")

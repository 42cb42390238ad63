# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate that two ingress nodes serve: renewed without a refused connection, and nowhere else."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from cryptography import x509

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
# A certificate that lives so short, and is renewed so late, that a run with the defaults finds it due.
SHORT = ("--extra-vars", '{"certificates_valid_days": 20, "certificates_renew_before_days": 10}')
# Seconds between two connections of the client that must never be refused.
PERIOD = 0.05

pytestmark = pytest.mark.skipif(INVENTORY is None, reason="needs a fleet of two hosts: make integration")


def ansible(program, *words):
    """Run a program of Ansible on the fleet and return its output."""
    command = [str(Path(sys.executable).parent / program), "-i", INVENTORY, *words]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def site(*words):
    """Run site.yml without systems; return how many tasks changed something on each host."""
    output = ansible("ansible-playbook", "site.yml", "--extra-vars", '{"fleet_systems": []}', *words)
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)
    return {host: int(count) for host, count in recap}


def shell(host, command):
    """Run a shell command as root on a host and return its lines."""
    output = ansible("ansible", host, "--become", "-m", "ansible.builtin.shell", "-a", command)
    return [line for line in output.splitlines()[1:] if line]


def credentials(*parts):
    return Path(INVENTORY, "credentials", *parts)


def address(host):
    hosts = yaml.safe_load(Path(INVENTORY, "hosts.yml").read_text())
    groups = hosts["all"]["children"].values()
    return next(group["hosts"][host]["ansible_host"] for group in groups if host in group.get("hosts", {}))


def domain():
    return yaml.safe_load(Path(INVENTORY, "group_vars", "all.yml").read_text())["fleet_domain"]


def served(host, timeout=5):
    """Return the certificate that an ingress node serves, verified with the fleet's own authority."""
    context = ssl.create_default_context(cafile=credentials("ca", "ca.crt"))
    with (
        socket.create_connection((address(host), 443), timeout) as plain,
        context.wrap_socket(plain, server_hostname=domain()) as secure,
    ):
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))


def on_disk():
    return x509.load_pem_x509_certificate(credentials("tls", "ingress.crt").read_bytes())


def wait_until_served(host, certificate, seconds=15):
    deadline = time.monotonic() + seconds
    while served(host) != certificate and time.monotonic() < deadline:
        time.sleep(0.2)
    assert served(host) == certificate


def traefik(host):
    """Return the ids of the containers of Traefik on a host."""
    return shell(host, "docker ps --quiet --no-trunc --filter name=ingress_traefik")


class Client:
    """Opens a verified connection to an ingress node again and again, and counts those that fail."""

    def __init__(self, host):
        self.host, self.tried, self.failed = host, 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(PERIOD):
            self.tried += 1
            try:
                served(self.host)
            except OSError as error:
                self.failed.append(str(error))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def two_ingress_nodes():
    """Make the worker an ingress node as well; return the names of both."""
    variables = Path(INVENTORY, "host_vars", "worker1.yml")
    variables.parent.mkdir(exist_ok=True)
    variables.write_text("swarm_ingress: true\n")
    credentials("tls", "ingress.crt").unlink()
    site(*SHORT)
    wait_until_served("worker1", on_disk(), seconds=60)
    yield ["manager1", "worker1"]
    variables.unlink()


def test_every_ingress_node_serves_it_and_others_cannot_read_the_key(two_ingress_nodes):
    for host in two_ingress_nodes:
        wait_until_served(host, on_disk())
        folder = "/etc/gpufleet/ingress"
        assert shell(host, f"stat -c '%a %u' {folder} {folder}/*.key") == ["700 65532", "600 65532"]


def test_a_fresh_one_is_left_alone(two_ingress_nodes):
    assert set(site(*SHORT).values()) == {0}


def test_a_renewal_refuses_no_connection(two_ingress_nodes):
    before, tasks = on_disk(), {host: traefik(host) for host in two_ingress_nodes}
    with Client("manager1") as first, Client("worker1") as second:
        site("--tags", "certificates")
        renewed = on_disk()
        for host in two_ingress_nodes:
            wait_until_served(host, renewed)
        time.sleep(1)
    print(f"connections during the renewal: {first.tried} and {second.tried}")
    assert renewed.serial_number != before.serial_number
    assert (first.failed, second.failed) == ([], [])
    assert min(first.tried, second.tried) > 50
    assert {host: traefik(host) for host in two_ingress_nodes} == tasks
    for host in two_ingress_nodes:
        assert len(shell(host, "ls /etc/gpufleet/ingress | grep ^ingress-")) == 2


def test_new_middlewares_restart_nothing(two_ingress_nodes):
    tasks = {host: traefik(host) for host in two_ingress_nodes}
    changed = site("--tags", "ingress", "--extra-vars", "ingress_frame_options=DENY")
    assert changed["manager1"] == 2
    assert {host: traefik(host) for host in two_ingress_nodes} == tasks


def test_the_key_of_the_authority_is_on_no_host(two_ingress_nodes):
    secret = credentials("ca", "ca.key").read_text().splitlines()[1]
    for host in two_ingress_nodes:
        places = "/etc /home /root /srv /usr/local /var/lib/docker"
        assert shell(host, f"grep -rlsF {secret} {places} || true") == []


def test_a_node_that_takes_requests_no_longer_keeps_no_key(two_ingress_nodes):
    variables = Path(INVENTORY, "host_vars", "worker1.yml")
    variables.write_text("swarm_ingress: false\n")
    assert site()["worker1"] > 0
    assert shell("worker1", "ls -d /etc/gpufleet/ingress || true") != ["/etc/gpufleet/ingress"]
    assert traefik("worker1") == []
    assert set(site().values()) == {0}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate that two ingress nodes serve, by the fleet's own authority, and what becomes of that."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.integration.certificate_fleet import (
    INVENTORY,
    Client,
    address,
    certificates,
    changes,
    credentials,
    domain,
    on_disk,
    play,
    put,
    run,
    shell,
    site,
    traefik,
    unchanged,
    wait_until_served,
)

# A certificate that lives so short, and is renewed so late, that a run with the defaults finds it due.
SHORT = {"certificates_valid_days": 20, "certificates_renew_before_days": 10}

pytestmark = pytest.mark.skipif(INVENTORY is None, reason="needs a fleet of two hosts: make integration")


@pytest.fixture(scope="module")
def two_ingress_nodes():
    """Make the worker an ingress node as well; return the names of both."""
    variables = Path(INVENTORY, "host_vars", "worker1.yml")
    variables.parent.mkdir(exist_ok=True)
    variables.write_text("swarm_ingress: true\n")
    credentials("tls", "ingress.crt").unlink()
    site(**SHORT)
    wait_until_served("worker1", on_disk(), seconds=60)
    yield ["manager1", "worker1"]
    variables.unlink()


def test_every_ingress_node_serves_it_and_others_cannot_read_the_key(two_ingress_nodes):
    for host in two_ingress_nodes:
        wait_until_served(host, on_disk())
        folder = "/etc/gpufleet/ingress"
        assert shell(host, f"stat -c '%a %u' {folder} {folder}/*.key") == ["700 65532", "600 65532"]


def test_a_fresh_one_is_left_alone(two_ingress_nodes):
    unchanged(**SHORT)


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
    changed = site("--tags", "ingress", ingress_frame_options="DENY")
    assert changed["manager1"] == 2
    assert {host: traefik(host) for host in two_ingress_nodes} == tasks


def test_the_key_of_the_authority_is_on_no_host(two_ingress_nodes):
    secret = credentials("ca", "ca.key").read_text().splitlines()[1]
    for host in two_ingress_nodes:
        places = "/etc /home /root /srv /usr/local /var/lib/docker"
        assert shell(host, f"grep -rlsF {secret} {places} || true") == []


def rotate(step):
    """Take a step of the rotation; return how many tasks changed something on each host."""
    return changes(play("playbooks/rotate_authority.yml", certificates_rotation_step=step))


def asks_with_the_store_of_the_host(host, of):
    """Ask an ingress node by curl on a host, with nothing but what that host trusts."""
    shell(host, f"curl -sS -o /dev/null --connect-to ::{address(of)}: https://{domain()}/")


def test_an_address_in_the_certificate_is_served(two_ingress_nodes):
    own = address("manager1")
    with_it = {
        "certificates_names": [domain(), f"*.{domain()}", own],
        "certificates_ca_permitted": [domain(), f"{own}/32"],
    }
    certificates(**with_it)
    for host in two_ingress_nodes:
        wait_until_served(host, on_disk())
    # Who asks for an address names nobody in the handshake.
    assert shell("worker1", f"curl -sS https://{own}/") == ["404 page not found"]
    play("playbooks/verify.yml", fleet_systems=[], **with_it)
    unchanged("--tags", "certificates", **with_it)


@pytest.fixture
def bundle(tmp_path):
    """Return a file with the present authority, which the clients trust."""
    path = tmp_path / "bundle.pem"
    path.write_text(credentials("ca", "ca.crt").read_text())
    return path


def test_one_authority_follows_another_under_a_client(two_ingress_nodes, bundle):
    site()
    old, before = on_disk("ca", "ca.crt"), on_disk()
    for step, told in (("sign", "introduce first"), ("", "wanted introduce, sign or retire")):
        code, output = run("ansible-playbook", "playbooks/rotate_authority.yml", "--extra-vars",
                           json.dumps({"certificates_rotation_step": step}))
        assert code != 0 and told in " ".join(output.split())
    with Client("manager1", bundle) as first, Client("worker1", bundle) as second:
        rotate("introduce")
        new = on_disk("ca", "next", "ca.crt")
        assert new.public_key() != old.public_key()
        assert on_disk() == before
        # In one step, for the clients read it all the time.
        both = bundle.with_suffix(".both")
        both.write_text(bundle.read_text() + credentials("ca", "next", "ca.crt").read_text())
        both.replace(bundle)
        assert set(rotate("introduce").values()) == {0}
        unchanged()
        for host in two_ingress_nodes:
            assert len(shell(host, "ls /usr/local/share/ca-certificates | grep ^gpufleet")) == 2
            asks_with_the_store_of_the_host(host, "manager1")
        rotate("sign")
        assert on_disk("ca", "ca.crt") == new
        for host in two_ingress_nodes:
            wait_until_served(host, on_disk(), authorities=bundle)
            assert len(shell(host, "ls /usr/local/share/ca-certificates | grep ^gpufleet")) == 2
            asks_with_the_store_of_the_host(host, "worker1")
        assert set(rotate("sign").values()) == {0}
        rotate("retire")
        for host in two_ingress_nodes:
            assert len(shell(host, "ls /usr/local/share/ca-certificates | grep ^gpufleet")) == 1
            asks_with_the_store_of_the_host(host, "worker1")
        assert set(rotate("retire").values()) == {0}
        unchanged()
    print(f"connections while one authority followed another: {first.tried} and {second.tried}")
    assert (first.failed, second.failed) == ([], [])
    assert {before.serial_number, on_disk().serial_number} == first.seen == second.seen
    assert on_disk().issuer == new.subject
    assert not credentials("ca", "previous").exists() and not credentials("ca", "next").exists()


# The browser has a store of its own, which takes the one file by the command that docs/certificates.md names.
BROWSER = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium libnss3-tools >/dev/null
rm -rf /tmp/browser
mkdir -p /tmp/browser/.pki/nssdb
certutil -d sql:/tmp/browser/.pki/nssdb -N --empty-password
"""


def page(host):
    """Return what Chromium on worker1 shows of the fleet's site, served by a host."""
    words = "chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
    rules = f"--host-resolver-rules='MAP * {address(host)}'"
    site_of = f"https://stranger.{domain()}/"
    command = f"HOME=/tmp/browser timeout 120 {words} {rules} --dump-dom {site_of} 2>/dev/null"
    return "\n".join(shell("worker1", command))


def test_a_browser_accepts_the_site_with_the_exported_authority_only(two_ingress_nodes):
    put("worker1", "/tmp/browser.sh", BROWSER)
    shell("worker1", "sh /tmp/browser.sh")
    put("worker1", "/tmp/ca.crt", credentials("ca", "ca.crt").read_text())
    assert "404 page not found" not in page("manager1")
    shell("worker1", "certutil -d sql:/tmp/browser/.pki/nssdb -A -t C,, -n fleet -i /tmp/ca.crt")
    assert "404 page not found" in page("manager1")
    curl = f"curl -sS --cacert /tmp/ca.crt --connect-to ::{address('manager1')}: https://stranger.{domain()}/"
    assert shell("worker1", curl) == ["404 page not found"]


def test_a_node_that_takes_requests_no_longer_keeps_no_key(two_ingress_nodes):
    variables = Path(INVENTORY, "host_vars", "worker1.yml")
    variables.write_text("swarm_ingress: false\n")
    assert site()["worker1"] > 0
    assert shell("worker1", "ls -d /etc/gpufleet/ingress || true") != ["/etc/gpufleet/ingress"]
    assert traefik("worker1") == []
    unchanged()

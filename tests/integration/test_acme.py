# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by ACME on two ingress nodes: issued, renewed, kept when the server is away; the other modes.

GPUFLEET_INVENTORY  inventory of a fleet of two nodes and a front, such as
                    `scripts/with_lab.py NAME 3 --fronts 1 --fleet` makes; all of this is skipped without it

The front runs two ACME servers (Debian's pebble) and the name server of the domain (Debian's bind9, which
takes updates for dns-01). The tests build on one another and run in the order of the file. Figures are
printed: run pytest with -rP to see them.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path

import pytest
from cryptography import x509

from tests.integration.authorities import Signed
from tests.integration.certificate_fleet import (
    INVENTORY,
    Clients,
    address,
    certificates,
    credentials,
    domain,
    on_disk,
    play,
    put,
    run,
    served,
    shell,
    site,
    traefik,
    unchanged,
    wait_until_served,
)

pytestmark = pytest.mark.skipif(INVENTORY is None, reason="GPUFLEET_INVENTORY names no fleet with a front")

FRONT, ISSUER, OTHER = "front1", "manager1", "worker1"
NODES = (ISSUER, OTHER)
PORTS = {"live": (14000, 15000), "trial": (14001, 15001)}
TSIG = base64.b64encode(secrets.token_bytes(32)).decode()
# More days than pebble's certificates live.
ALWAYS = 100000

ZONE = """$TTL 1
@ IN SOA ns.{domain}. admin.{domain}. 1 60 60 60 1
@ IN NS ns.{domain}.
ns IN A {front}
@ IN A {first}
@ IN A {second}
* IN A {first}
* IN A {second}
"""
NAMED = """key "lab-key" {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{domain}" {{
  type master;
  file "/var/lib/bind/{domain}.zone";
  update-policy {{ grant lab-key zonesub TXT; }};
}};
"""
UNIT = """[Service]
Environment=PEBBLE_VA_NOSLEEP=1
ExecStart=/usr/bin/pebble -config /etc/pebble/%i.json -dnsserver 127.0.0.1:53
"""


class Acme:
    """The two servers, as their owner and as their client see them."""

    def __init__(self, folder):
        self.folder = folder
        self.https = folder / "https.pem"  # whom to trust for the servers' own HTTPS
        self.root = folder / "root.pem"  # whom to trust for what the live one issues
        self.bundle = folder / "bundle.pem"  # whom the clients trust
        self.others = []

    def install(self):
        shell(FRONT, "apt-get update -qq && DEBIAN_FRONTEND=noninteractive "
                     "apt-get install -y -qq --no-install-recommends pebble bind9 >/dev/null")
        authority = Signed("ACME HTTPS", authority=True)
        own = Signed("acme", by=authority, names=[address(FRONT), "localhost", "127.0.0.1"])
        self.https.write_text(authority.pem)
        values = {"domain": domain(), "front": address(FRONT), "secret": TSIG,
                  "first": address(ISSUER), "second": address(OTHER)}
        files = {
            "/etc/pebble/https.crt": own.pem,
            "/etc/pebble/https.key": own.key_pem(),
            "/etc/systemd/system/pebble@.service": UNIT,
            "/etc/bind/named.conf.local": NAMED.format(**values),
            f"/var/lib/bind/{domain()}.zone": ZONE.format(**values),
        }
        for name, (listen, manage) in PORTS.items():
            files[f"/etc/pebble/{name}.json"] = json.dumps({"pebble": {
                "listenAddress": f"0.0.0.0:{listen}", "managementListenAddress": f"0.0.0.0:{manage}",
                "certificate": "/etc/pebble/https.crt", "privateKey": "/etc/pebble/https.key",
                "httpPort": 80, "tlsPort": 443,
            }})
        shell(FRONT, "mkdir -p /etc/pebble")
        for path, text in files.items():
            put(FRONT, path, text)
        shell(FRONT, "chown -R bind: /var/lib/bind && systemctl restart named")
        self.before = {name: self.orders(name) for name in PORTS}
        # The issuer looks whether the name servers of the zone have the record, and so has to find them.
        shell(ISSUER, f"echo {address(FRONT)} ns.{domain()} >> /etc/hosts")

    def start(self, name):
        answers = f"curl -sfk https://127.0.0.1:{PORTS[name][0]}/dir >/dev/null"
        shell(FRONT, f"systemctl daemon-reload; systemctl restart pebble@{name}; "
                     f"for i in $(seq 50); do {answers} && exit; sleep 0.2; done; exit 1")
        if name == "live":
            # It makes a new root whenever it starts.
            self.others += [self.root.read_text()] if self.root.exists() else []
            root = shell(FRONT, f"curl -sfk https://127.0.0.1:{PORTS[name][1]}/roots/0")
            self.root.write_text("\n".join(root) + "\n")
            self.trust()

    def stop(self, name):
        shell(FRONT, f"systemctl stop pebble@{name}")

    def trust(self, *texts):
        """Let the clients trust all authorities there have been, and some more."""
        self.others += texts
        parts = [credentials("ca", "ca.crt").read_text(), *self.others]
        self.bundle.write_text("\n".join([*parts, self.root.read_text() if self.root.exists() else ""]))

    def asked(self, name):
        """Return how many orders a server was sent."""
        return self.orders(name) - self.before[name]

    @staticmethod
    def orders(name):
        return int(shell(FRONT, f"journalctl -u pebble@{name} -o cat | grep -c 'POST /order-plz' || true")[0])

    def variables(self, **more):
        return {
            "certificates_mode": "acme",
            "certificates_names": [domain(), f"app.{domain()}"],
            "certificates_acme_directory": f"https://{address(FRONT)}:{PORTS['live'][0]}/dir",
            "certificates_acme_trial_directory": f"https://{address(FRONT)}:{PORTS['trial'][0]}/dir",
            "certificates_acme_email": "admin@lab.test",
            "certificates_acme_ca_file": str(self.https),
            "certificates_ca_file": str(self.root),
            **more,
        }

    def by_dns(self, **more):
        return self.variables(
            certificates_names=[domain(), f"*.{domain()}"],
            certificates_acme_challenge="dns-01",
            certificates_acme_dns_provider="rfc2136",
            certificates_acme_dns_resolvers=[f"{address(FRONT)}:53"],
            certificates_acme_dns_settings={
                "RFC2136_NAMESERVER": f"{address(FRONT)}:53",
                "RFC2136_TSIG_ALGORITHM": "hmac-sha256.",
                "RFC2136_TSIG_KEY": "lab-key.",
                "RFC2136_TSIG_SECRET": TSIG,
                "RFC2136_POLLING_INTERVAL": "1",
                "RFC2136_SEQUENCE_INTERVAL": "1",
            },
            **more,
        )


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    """Make the worker an ingress node, and start the live server."""
    servers = Acme(tmp_path_factory.mktemp("acme"))
    variables = Path(INVENTORY, "host_vars", f"{OTHER}.yml")
    variables.parent.mkdir(exist_ok=True)
    variables.write_text("swarm_ingress: true\n")
    servers.install()
    site()
    for host in NODES:
        wait_until_served(host, on_disk(), seconds=60)
    servers.start("live")
    return servers


def told_by(*words, **variables):
    """Run the part of site.yml that is about certificates and return its output on one line."""
    output = play("site.yml", "--tags", "certificates", *words, fleet_systems=[], **variables)
    return " ".join(output.split())


def settled(**variables):
    """See that the part about certificates changes nothing, and that a dry run says so."""
    unchanged("--tags", "certificates", **variables)
    unchanged("--tags", "certificates", "--check", **variables)


def issuer_of(certificate):
    return certificate.issuer.rfc4514_string()


def wait_for_one(authorities, other_than, seconds=30):
    """Wait until all nodes serve one certificate that is another than the given one, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = {served(host, authorities) for host in NODES}
        if len(found) == 1 and found != {other_than}:
            return found.pop()
        assert time.monotonic() < deadline, [issuer_of(one) for one in found]
        time.sleep(0.3)


def test_a_server_that_is_away_leaves_what_is_served_and_the_run_says_so(acme):
    before = served(ISSUER)
    output = told_by(**acme.variables())
    assert "The certificate could not be obtained or delivered: there is none;" in output
    assert f"https://{address(FRONT)}:14001/dir:" in output and "connection refused" in output
    assert "What the ingress serves stays as it is (not by ACME); manager1 tries again every hour." in output
    assert {served(host) for host in NODES} == {before}
    # The trial had to come first.
    assert acme.asked("live") == 0


def test_http_01_without_a_refused_connection(acme):
    acme.start("trial")
    before, tasks = served(ISSUER), {host: traefik(host) for host in NODES}
    with Clients(NODES, acme.bundle, "the change from local to acme"):
        site(**acme.variables())
        issued = wait_for_one(acme.bundle, before)
    assert "Pebble" in issuer_of(issued)
    assert (acme.asked("trial"), acme.asked("live")) == (1, 1)
    assert {host: traefik(host) for host in NODES} == tasks
    for host in NODES:
        assert shell(host, "ls /etc/gpufleet/ingress | grep -c ^ingress-") == ["2"]
        assert shell(host, "stat -c '%a %u' /etc/gpufleet/ingress/*.key") == ["600 65532"]
        # Hosts trust the private authority behind it.
        shell(host, f"curl -sS -o /dev/null --connect-to ::{address(host)}: https://{domain()}/")
    assert on_disk("tls", "acme.crt") == issued


def test_a_second_run_changes_nothing(acme):
    unchanged(**acme.variables())
    unchanged("--check", **acme.variables())
    settled(**acme.variables())
    assert acme.asked("live") == 1


def test_verify_and_status_tell_of_it(acme):
    told = play("playbooks/verify.yml", fleet_systems=[], **acme.variables())
    assert "by ACME, on manager1" in told
    status = play("playbooks/status.yml", fleet_systems=[], **acme.variables())
    assert f"app.{domain()}" in status and "Pebble" in status


def test_the_timer_renews_without_a_human_and_without_a_refused_connection(acme):
    before, tasks = served(ISSUER, acme.bundle), {host: traefik(host) for host in NODES}
    assert "gpufleet-acme.timer" in " ".join(shell(ISSUER, "systemctl list-timers --no-pager"))
    folder = "/etc/systemd/system/gpufleet-acme.timer.d"
    often = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/5\nRandomizedDelaySec=0\nAccuracySec=1s\n"
    restart = "systemctl daemon-reload && systemctl restart gpufleet-acme.timer"
    shell(ISSUER, f"mkdir {folder}")
    put(ISSUER, f"{folder}/often.conf", often)
    settings = json.loads("\n".join(shell(ISSUER, "cat /etc/gpufleet/acme/settings.json")))
    settings["renew_before_days"] = ALWAYS
    put(ISSUER, "/etc/gpufleet/acme/settings.json", json.dumps(settings), "0600")
    with Clients(NODES, acme.bundle, "a renewal by the timer"):
        shell(ISSUER, restart)
        wait_for_one(acme.bundle, before, seconds=60)
        shell(ISSUER, f"rm -r {folder} && {restart} && flock /var/lib/gpufleet/acme/lock true")
        renewed = wait_for_one(acme.bundle, before)
    assert renewed.not_valid_before_utc >= before.not_valid_before_utc
    assert renewed.public_key() != before.public_key()
    assert {host: traefik(host) for host in NODES} == tasks
    assert acme.asked("trial") == 1, "settings that were tried once are not tried again"
    certificates(**acme.variables())
    settled(**acme.variables())


def test_a_server_that_is_away_leaves_the_old_certificate_and_the_run_says_so(acme):
    before = wait_for_one(acme.bundle, None)
    acme.stop("live")
    acme.stop("trial")
    late = acme.variables(certificates_renew_before_days=ALWAYS)
    output = told_by(**late)
    assert "The certificate could not be obtained or delivered: it ends" in output
    assert "What the ingress serves stays as it is (by ACME, until" in output
    assert {served(host, acme.bundle) for host in NODES} == {before}
    told = " ".join(play("playbooks/status.yml", fleet_systems=[], **late).split())
    assert "The last renewal failed at" in told
    code, told = run("ansible-playbook", "playbooks/verify.yml", "--extra-vars",
                     json.dumps({"fleet_systems": [], **late}))
    assert code != 0 and "The last renewal failed at" in told


@pytest.fixture
def firewall(acme):
    """Close what nobody needs on both nodes, with nothing declared; open it all again afterwards."""
    def keep(state):
        told = f"{{{{ '{state}' if inventory_hostname in {list(NODES)} else 'keep' }}}}"
        return site("--tags", "firewall", **acme.variables(firewall_state=told))

    kept = keep("present")
    assert min(kept[host] for host in NODES) > 0
    yield
    keep("absent")


@pytest.mark.usefixtures("firewall")
def test_behind_the_firewall_a_server_that_was_set_up_anew_gets_the_account_again(acme):
    # Nothing listens until there is a challenge: whom the firewall lets in is refused, others get no answer.
    ask = f"curl -s --connect-timeout 3 http://{address(ISSUER)}:8402; echo $?"
    assert (shell(OTHER, ask), shell(FRONT, ask)) == (["7"], ["28"])
    status = f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: {domain()}'"
    for host in NODES:
        assert shell(FRONT, f"{status} http://{address(host)}/.well-known/acme-challenge/x") == ["502"]
    before = wait_for_one(acme.bundle, None)
    acme.start("live")
    with Clients(NODES, acme.bundle, "a renewal by a server that had lost the account"):
        certificates(**acme.variables(certificates_renew_before_days=ALWAYS))
        wait_for_one(acme.bundle, before)
    certificates(**acme.variables())
    settled(**acme.variables())


def test_dns_01_with_a_wildcard(acme):
    acme.start("trial")
    before = wait_for_one(acme.bundle, None)
    with Clients(NODES, acme.bundle, "the change from http-01 to dns-01"):
        output = told_by("-vvv", **acme.by_dns())
        issued = wait_for_one(acme.bundle, before)
    held = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(held.get_values_for_type(x509.DNSName)) == {domain(), f"*.{domain()}"}
    assert TSIG not in output
    modes = shell(ISSUER, "stat -c '%a %U' /etc/gpufleet/acme/dns.json /etc/gpufleet/acme")
    assert modes == ["600 root", "700 root"]
    for host in NODES:
        assert shell(host, "ls /etc/gpufleet/ingress/acme.yml || true") != ["/etc/gpufleet/ingress/acme.yml"]
    settled(**acme.by_dns())


def test_a_node_that_has_lost_its_certificate_gets_it_again(acme):
    before = wait_for_one(acme.bundle, None)
    # The middlewares, too, which the role ingress brings back.
    shell(OTHER, "rm -r /etc/gpufleet/ingress/*")
    site(**acme.by_dns())
    wait_until_served(OTHER, before, authorities=acme.bundle)
    settled(**acme.by_dns())


def test_files_after_acme_without_a_refused_connection(acme):
    root = Signed("Company root", authority=True)
    between = Signed("Company servers", by=root, authority=True)
    leaf = Signed("site", by=between, names=[domain(), f"*.{domain()}"])
    for name, text in (("chain", leaf.pem + between.pem), ("key", leaf.key_pem()), ("company", root.pem)):
        (acme.folder / name).write_text(text)
    acme.trust(root.pem)
    files = {
        "certificates_mode": "files",
        "certificates_files_chain": str(acme.folder / "chain"),
        "certificates_files_key": str(acme.folder / "key"),
        "certificates_ca_file": str(acme.folder / "company"),
    }
    with Clients(NODES, acme.bundle, "the change from acme to files"):
        certificates(**files)
        for host in NODES:
            wait_until_served(host, leaf.certificate, authorities=acme.bundle)
    settled(**files)
    play("playbooks/verify.yml", fleet_systems=[], **files)
    assert shell(ISSUER, "ls /etc/systemd/system | grep gpufleet-acme; ls -d /etc/gpufleet/acme "
                         "/usr/local/sbin/gpufleet-acme 2>/dev/null; docker secret ls -q; "
                         "docker service ls -q --filter name=gpufleet-certificates; true") == []


def test_local_after_files_without_a_refused_connection(acme):
    with Clients(NODES, acme.bundle, "the change from files to local"):
        certificates()
        for host in NODES:
            wait_until_served(host, on_disk(), authorities=acme.bundle)
    unchanged()
    for host in NODES:
        assert len(shell(host, "ls /usr/local/share/ca-certificates | grep ^gpufleet")) == 1

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform after site.yml: the Swarm, the engines, the certificates, the way in."""

from __future__ import annotations

import json
import ssl

import pytest


def test_the_swarm_has_the_shape_of_the_inventory(fleet):
    members = {
        member["Spec"]["Labels"]["gpufleet.host"]: (
            member["Spec"]["Role"],
            member["Spec"]["Availability"],
            member["Status"]["State"],
        )
        for member in fleet.engine("/nodes")
    }
    wanted = dict.fromkeys(fleet.group("managers"), ("manager", "active", "ready"))
    wanted |= dict.fromkeys(fleet.group("workers"), ("worker", "active", "ready"))
    assert members == wanted


def test_every_manager_is_reachable_and_one_leads(fleet):
    managers = [member["ManagerStatus"] for member in fleet.engine("/nodes") if "ManagerStatus" in member]
    assert [manager["Reachability"] for manager in managers] == ["reachable"] * len(fleet.group("managers"))
    assert sum(manager.get("Leader", False) for manager in managers) == 1


def test_a_node_speaks_from_the_address_of_the_inventory(fleet, node):
    assert fleet.engine("/info", node)["Swarm"]["NodeAddr"] == fleet.variable(node, "ansible_host")


def test_the_labels_of_the_inventory_are_on_the_node(fleet, node):
    labels = {
        member["Spec"]["Labels"]["gpufleet.host"]: member["Spec"]["Labels"]
        for member in fleet.engine("/nodes")
    }
    wanted = fleet.variable(node, "swarm_labels", {}) | {"gpufleet.host": node}
    assert wanted.items() <= labels[node].items()
    ingress = fleet.variable(node, "swarm_ingress", node == fleet.group("managers")[0])
    assert (labels[node].get("gpufleet.ingress") == "true") is bool(ingress)


def test_docker_runs_now_and_after_a_reboot(fleet, node):
    service = fleet.host(node).service("docker")
    assert service.is_running
    assert service.is_enabled


def test_no_unit_failed(fleet, node):
    failed = fleet.host(node).check_output("systemctl list-units --failed --plain --no-legend --no-pager")
    assert failed == ""


def test_the_python_sdk_answers_on_the_node(fleet, node):
    program = "import docker; print(docker.from_env().ping())"
    assert fleet.host(node).check_output("/usr/bin/python3 -c %s", program) == "True"


def test_daemon_json_is_what_the_engine_accepts(fleet, node):
    host = fleet.host(node)
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert isinstance(settings, dict)
    if "--validate" in host.check_output("dockerd --help"):
        assert host.run("dockerd --validate --config-file /etc/docker/daemon.json").rc == 0


def test_logs_of_containers_are_bounded(fleet, node):
    settings = json.loads(fleet.host(node).file("/etc/docker/daemon.json").content_string)
    assert {"max-size", "max-file"} <= settings["log-opts"].keys()


def test_the_nodes_trust_the_authority_of_the_fleet(fleet, node):
    name = f"linto.{fleet.domain}"
    command = "curl -sS -o /dev/null --resolve %s %s"
    result = fleet.host(node).run(command, f"{name}:443:{fleet.ingress}", f"https://{name}/")
    assert result.rc == 0, result.stderr


def test_the_key_of_the_authority_never_left_the_controller(fleet, node):
    key = (fleet.credentials / "ca" / "ca.key").read_text(encoding="utf-8").splitlines()[1]
    found = fleet.host(node).run(
        "grep -rlsF --exclude-dir=proc --exclude-dir=sys -e %s /etc /usr /srv /opt /home "
        "/root /tmp /var/lib/docker/swarm",
        key,
    )
    assert found.stdout == ""


def test_the_controller_needs_the_authority_to_trust_the_fleet(fleet, tmp_path):
    name = f"linto.{fleet.domain}"
    assert fleet.get(name).status < 500
    stranger = tmp_path / "stranger.crt"
    stranger.write_text(next(iter(_public_authorities())), encoding="ascii")
    with pytest.raises(ssl.SSLCertVerificationError):
        fleet.get(name, ca=stranger)


def _public_authorities():
    """Yield, in PEM form, certificates this machine trusts and the fleet has nothing to do with."""
    for certificate in ssl.create_default_context().get_ca_certs(binary_form=True):
        yield ssl.DER_cert_to_PEM_cert(certificate)


def test_plain_http_is_sent_to_https(fleet):
    answer = fleet.get(f"linto.{fleet.domain}", "/some/path?q=1", scheme="http")
    assert answer.status in (301, 308)
    assert answer.headers["location"] == f"https://linto.{fleet.domain}/some/path?q=1"


def test_an_unknown_name_reaches_no_service(fleet):
    answer = fleet.get(f"nobody.{fleet.domain}")
    assert answer.status == 404
    assert "service" not in answer.body


def test_a_name_outside_the_domain_has_no_certificate(fleet):
    # Refused by the edge during the handshake, before there is a certificate to look at.
    with pytest.raises(ssl.SSLError):
        fleet.get("nobody.example")


def test_answers_carry_the_security_headers(fleet):
    headers = fleet.get(f"linto.{fleet.domain}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "max-age" in headers["strict-transport-security"]


def test_the_dashboard_of_the_edge_asks_who_is_there(fleet):
    for path in ("/dashboard/", "/api/rawdata"):
        for name in (f"traefik.{fleet.domain}", f"nobody.{fleet.domain}"):
            assert fleet.get(name, path).status in (401, 404)

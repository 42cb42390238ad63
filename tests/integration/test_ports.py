# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger finds open on a fleet with all five systems: all 65535 TCP ports of each host.

GPUFLEET_INVENTORY  inventory of a fresh lab of manager1, worker1 and front1; skipped without it

Each system has its defaults wherever they say what it publishes. Of IMAGE-server a few services stand for
all, which publish nothing either (tests/unit/roles/test_published_ports.py). The tests run in the order of
the file. Figures are printed: run pytest with -rP to see them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.firewall_fleet import INVENTORY, ROOT, Fleet, docker
from tests.integration.test_dmi_service_manager import PYTHONS, repository

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no lab with a front")

MANAGER, WORKER, FRONT = HOSTS = ("manager1", "worker1", "front1")
SITE = ROOT / "site.yml"
# SSH everywhere, the ingress on the first manager.
PROMISED = {MANAGER: [22, 80, 443], WORKER: [22], FRONT: [22]}
# What else is open without a firewall. Docker opens management of the Swarm on managers and gossip on all
# nodes, LinTO takes streams by RTMP, and the DMI Service Manager listens on its node for the ingress.
FURTHER = {MANAGER: {2377, 7946, 1935}, WORKER: {7946, 4000}, FRONT: set()}
LINK = {"name": "discover_api", "from": FRONT, "listen": 5001, "to": WORKER, "wire": 8080, "target": 5001}
SYSTEMS = {
    "fleet_systems": ["linto", "image_server", "dmi_service_manager", "discover_api", "crowd_recital"],
    "image_server_registry": "shared-reality-lab",
    "image_server_image_tag": "latest",
    "image_server_services": ["text-followup-handler", "motd-handler"],
    "image_server_llm_url": "http://llm.test/v1",
    "image_server_llm_model": "a-model",
    "image_server_llm_api_key": "sk-of-nobody",
    "dmi_service_manager_nodes": [WORKER],
    "dmi_service_manager_source": "/srv/dmi.git",
    "dmi_service_manager_version": "v1",
    "dmi_service_manager_pip_arguments": "--no-index --find-links /srv/wheels",
    "discover_api_data_node": WORKER,
    "discover_api_image": "aikonapi:lab",
    "discover_api_installed_apps": ["watermarks"],
    "discover_api_device_nb": "none",
    "discover_api_download_models": False,
    "tunnels_links": [LINK],
    "crowd_recital_image": "crowd-recital:1.5.0",
    "crowd_recital_data_node": WORKER,
    "crowd_recital_google_client_id": "lab.apps.googleusercontent.com",
    "crowd_recital_content_storage_s3_bucket": "recordings",
    "crowd_recital_aws_access_key_id": "AKIALABLABLABLAB",
    "crowd_recital_aws_secret_access_key": "lab-secret-of-aws-for-nobody",
    "crowd_recital_aws_default_region": "us-east-1",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    assert set(HOSTS) < set(fleet.address), f"wanted a lab of {HOSTS}, found {sorted(fleet.address)}"
    bring_manager(fleet, tmp_path_factory.mktemp("source"))
    began = time.monotonic()
    site(fleet)
    print(f"five systems on {len(HOSTS)} bare hosts: {time.monotonic() - began:.0f} s")
    return fleet


def bring_manager(fleet, folder):
    """Bring the stand-in of the DMI Service Manager and its packages to its node."""
    repository(folder / "dmi.git", ROOT / "tests/unit/roles/dmi_stand_in", "v1")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    download += ["--python-version", PYTHONS[WORKER], "--platform", "manylinux2014_x86_64"]
    requirements = ROOT / "roles/dmi_service_manager/files/requirements.txt"
    subprocess.run([*download, "--dest", str(folder / "wheels"), "-r", str(requirements)], check=True)
    for name in ("dmi.git", "wheels"):
        docker("cp", "-q", str(folder / name), f"gpufleet-{fleet.lab}-{WORKER}:/srv/{name}")
    fleet.on(WORKER, "chown -R root:root /srv/dmi.git /srv/wheels; chmod -R a+rX /srv/wheels")


def site(fleet, *arguments, **variables):
    """Run the site play with all systems, and return the Run."""
    run = fleet.call(SITE, *arguments, **{**SYSTEMS, **variables})
    assert run.rc == 0, run.output[-6000:]
    return run


def found(fleet):
    """Scan all hosts at once, and print what there is."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        ports = dict(zip(HOSTS, pool.map(fleet.scan, HOSTS), strict=True))
    print(f"open of 65535 ports: {ports}, in {time.monotonic() - began:.0f} s")
    return ports


def test_all_five_systems_are_there(fleet):
    names = fleet.on(MANAGER, "docker service ls --format '{{.Name}}'").split()
    for stack in ("ingress_", "linto_", "image_server_", "discover_api_", "crowd_recital_"):
        assert any(name.startswith(stack) for name in names), names
    assert fleet.on(WORKER, "systemctl is-active dmi_service_manager") == "active"


def test_without_a_firewall_a_stranger_finds_what_docker_and_two_systems_open(fleet):
    ports = found(fleet)
    assert {host: set(ports[host]) - set(PROMISED[host]) for host in HOSTS} == FURTHER
    assert {host: set(PROMISED[host]) - set(ports[host]) for host in HOSTS} == {host: set() for host in HOSTS}


def test_with_the_firewall_a_stranger_finds_ssh_and_the_ingress_and_the_systems_work(fleet):
    run = site(fleet, firewall_state="present")
    assert all(run.changed[host] for host in HOSTS)
    assert found(fleet) == PROMISED
    # The way to the DMI Service Manager leads from the ingress to another node, and that to discover-api
    # through a tunnel from the front.
    verify = ROOT / "playbooks" / "verify.yml"
    verified = fleet.call(verify, **SYSTEMS, firewall_state="present")
    assert verified.rc == 0, verified.output[-6000:]


def test_a_second_run_changes_nothing(fleet):
    assert not any(site(fleet, firewall_state="present").changed.values())


def test_declared_ports_are_found_too(fleet):
    """That of a stack, and one of a host on which something listens that belongs to no system."""
    fleet.on(FRONT, "systemd-run --quiet --unit lab-other python3 -m http.server 9123")
    for _attempt in range(600):
        if "9123" in fleet.on(FRONT, "ss -Hltn 'sport = :9123'"):
            break
        time.sleep(0.1)
    assert fleet.scan(FRONT, 22, 9123) == [22]
    ports = [{"name": "other", "port": 9123}, {"name": "streams", "port": 1935}]
    site(fleet, "--tags", "firewall", firewall_state="present", firewall_open=ports)
    assert found(fleet) == {
        MANAGER: [22, 80, 443, 1935], WORKER: [22], FRONT: [22, 9123]
    }  # fmt: skip

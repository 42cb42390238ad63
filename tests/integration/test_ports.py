# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger finds open on the hosts of a fleet as it is deployed: all 65535 TCP ports of each.

GPUFLEET_INVENTORY  inventory of a fresh lab of manager1, worker1 and front1; skipped without it

The tests run in the order of the file. Figures are printed: run pytest with -rP to see them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.firewall_fleet import INVENTORY, ROOT, Fleet

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no lab with a front")

HOSTS = ("manager1", "worker1", "front1")
SITE = ROOT / "site.yml"
# SSH everywhere, the ingress on the first manager.
PROMISED = {"manager1": [22, 80, 443], "worker1": [22], "front1": [22]}
# What Docker opens to everybody: management of the Swarm on managers, gossip on all nodes.
DOCKERS = {"manager1": {2377, 7946}, "worker1": {7946}, "front1": set()}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    assert set(HOSTS) < set(fleet.address), f"wanted a lab of {HOSTS}, found {sorted(fleet.address)}"
    run = fleet.call(SITE)
    assert run.rc == 0, run.output[-4000:]
    return fleet


def found(fleet):
    """Scan all hosts at once, and print what there is."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        ports = dict(zip(HOSTS, pool.map(fleet.scan, HOSTS), strict=True))
    print(f"open of 65535 ports: {ports}, in {time.monotonic() - began:.0f} s")
    return ports


def test_without_a_firewall_dockers_own_ports_are_open_to_everybody(fleet):
    ports = found(fleet)
    assert {host: set(ports[host]) - set(PROMISED[host]) for host in HOSTS} == DOCKERS
    assert {host: set(PROMISED[host]) - set(ports[host]) for host in HOSTS} == {host: set() for host in HOSTS}


def test_with_the_firewall_a_stranger_finds_ssh_and_the_ingress_and_the_fleet_works(fleet):
    run = fleet.call(SITE, firewall_state="present")
    assert run.rc == 0, run.output[-4000:]
    assert all(run.changed[host] for host in HOSTS)
    assert found(fleet) == PROMISED
    verified = fleet.call(ROOT / "playbooks" / "verify.yml", firewall_state="present")
    assert verified.rc == 0, verified.output[-4000:]


def test_a_second_run_changes_nothing(fleet):
    run = fleet.call(SITE, firewall_state="present")
    assert run.rc == 0 and not any(run.changed.values()), run.output[-4000:]


def test_a_declared_port_is_found_too(fleet):
    """Something listens on a port of a host that nobody declared, then somebody does."""
    fleet.on("front1", "systemd-run --quiet --unit lab-other python3 -m http.server 9123")
    for _attempt in range(50):
        if "9123" in fleet.on("front1", "ss -Hltn 'sport = :9123'"):
            break
        time.sleep(0.1)
    assert fleet.scan("front1", 22, 9123) == [22]
    run = fleet.call(
        SITE, "--tags", "firewall", firewall_state="present", firewall_open=[{"name": "other", "port": 9123}]
    )
    assert run.rc == 0, run.output[-4000:]
    assert fleet.scan("front1", 22, 9123) == [22, 9123]

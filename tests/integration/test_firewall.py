# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall on a Swarm and a front: what it closes and opens, what it survives, and how it is undone.

GPUFLEET_INVENTORY  inventory of a lab of manager1, worker1 and front1 whose nodes are a Swarm; all of this is
                    skipped without it

The tests build on one another and run in the order of the file. Figures are printed: run pytest with -rP.
"""

from __future__ import annotations

import json
import subprocess
import time
from functools import partial

import pytest

from lab.footprint import footprint
from tests.integration.firewall_fleet import IMAGE, INVENTORY, ROOT, Fleet

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet with a front")

NODE, WORKER, FRONT = HOSTS = ("manager1", "worker1", "front1")
NOTHING = dict.fromkeys(HOSTS, 0)
# Ports of a container on the worker: one that is declared later, one that never is. And one of a service.
STRAY, SECRET, MESH = 9391, 9392, 9393
OPEN = [{"name": "stray", "port": STRAY}]
TABLE = "nft list table inet gpufleet_firewall"
# A table of the user's own.
OWN = "nft add table inet own; nft add chain inet own input '{ type filter hook input priority 5; }'"
# What Docker writes for a service behind the routing mesh (libnetwork, service_linux.go). On a kernel without
# IPVS it stops before it, so the tests write it: what they look at is which packets come as far as that rule.
MESH_RULE = f"""
iptables -t nat -n -L DOCKER-INGRESS > /dev/null 2>&1 || {{
  iptables -t nat -N DOCKER-INGRESS
  iptables -t nat -A DOCKER-INGRESS -p tcp --dport {MESH} -j DNAT --to-destination 172.18.0.2:{MESH}
  iptables -t nat -I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
}}
"""
VNI = "com.docker.network.driver.overlay.vxlanid_list"

# Writes a datagram into an overlay network from outside: the packet that a node would send for a container.
INJECT = """
import json, socket, struct, sys
target, vni, mac, source, address = sys.argv[1:]
payload = b"from outside"
udp = struct.pack("!HHHH", 4000, 9999, 8 + len(payload), 0) + payload
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                   socket.inet_aton(source), socket.inet_aton(address))
total = sum(struct.unpack("!10H", head))
total = (total & 0xFFFF) + (total >> 16)
head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000001") + b"\\x08\\x00" + head + udp
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
    for _ in range(10):
        wire.sendto(struct.pack("!II", 0x08000000, int(vni) << 8) + frame, (target, 4789))
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    assert set(HOSTS) < set(fleet.address), f"wanted a lab of {HOSTS}, found {sorted(fleet.address)}"
    fleet.on(
        WORKER,
        f"docker run --detach --restart always --name stray -p {STRAY}:6379 -p {SECRET}:6379 {IMAGE}",
    )
    fleet.on(NODE, "docker network create --driver overlay --attachable probe")
    fleet.on(WORKER, f"docker run --detach --name inside --network probe {IMAGE}")
    fleet.on(NODE, f"docker service create --detach --name mesh --publish {MESH}:6379 {IMAGE}")
    fleet.on(NODE, MESH_RULE)
    until(lambda: fleet.scan(WORKER, STRAY, SECRET) == [STRAY, SECRET])
    return fleet


def until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.5)


def footprints(fleet):
    return {(host, path): told for host in HOSTS for path, told in footprint(partial(fleet.on, host)).items()}


def differing(before, after):
    """Return what differs between two footprints, and nothing of the rest."""
    return {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }


def reached_directly(fleet):
    """Return whether a neighbour that routes to it reaches the container under its own address."""
    address = fleet.on(WORKER, "docker inspect -f '{{.NetworkSettings.IPAddress}}' stray")
    fleet.on("outsider", f"ip route replace {address}/32 via {fleet.address[WORKER]}")
    return fleet.scan(WORKER, 6379, address=address) == [6379]


def injected(fleet):
    """Return how many datagrams a container in an overlay network got that a stranger wrote into it."""
    vni = json.loads(fleet.on(NODE, "docker network inspect -f '{{json .Options}}' probe"))[VNI]
    look = "docker inspect -f '{{json .NetworkSettings.Networks.probe}}' inside"
    inside = json.loads(fleet.on(WORKER, look))
    pid = fleet.on(WORKER, "docker inspect -f '{{.State.Pid}}' inside")

    def count():
        """Datagrams to a port where nobody listens."""
        names, values = fleet.on(WORKER, f"grep ^Udp: /proc/{pid}/net/snmp").splitlines()
        return dict(zip(names.split(), values.split(), strict=True))["NoPorts"]

    before = int(count())
    source = inside["IPAddress"].rpartition(".")[0] + ".200"
    words = [fleet.address[WORKER], vni, inside["MacAddress"], source, inside["IPAddress"]]
    command = ["docker", "exec", "-i", fleet.outsider, "python3", "-", *words]
    subprocess.run(command, input=INJECT, text=True, check=True)
    time.sleep(1)
    return int(count()) - before


def published_to_itself(fleet):
    """Return whether a container reaches a published port under the address of the host it is on."""
    call = f"docker exec stray redis-cli -h {fleet.address[WORKER]} -p {SECRET} ping"
    return fleet.on(WORKER, call) == "PONG"


def meshed(fleet):
    """Return how many packets to the port of a service reached Docker's own rules, of one that was sent."""
    fleet.scan(NODE, MESH)
    fleet.on(NODE, "iptables -t nat -Z DOCKER-INGRESS")
    fleet.scan(NODE, MESH)
    rules = fleet.on(NODE, f"iptables -t nat -L DOCKER-INGRESS -vnx | grep 'dpt:{MESH}'")
    return int(rules.split()[0])


def test_off_it_touches_nothing_and_asks_nobody(fleet):
    before = footprints(fleet)
    run = fleet.call(ROOT / "playbooks" / "site.yml", "--tags", "firewall", fleet_systems=[])
    assert run.rc == 0 and "Keep the firewall of this host" not in run.output
    assert differing(before, footprints(fleet)) == {}


def test_without_it_everybody_gets_everywhere(fleet):
    assert fleet.scan(NODE, 22, 2377, 7946) == [22, 2377, 7946]
    assert fleet.scan(WORKER, 22, 2377, 7946, STRAY, SECRET) == [22, 7946, STRAY, SECRET]
    assert reached_directly(fleet)
    count = injected(fleet)
    print(f"a stranger wrote {count} of 10 datagrams into an overlay network")
    assert count == 10
    assert meshed(fleet) > 0


def test_check_mode_on_hosts_without_nftables_predicts_and_changes_nothing(fleet):
    before = footprints(fleet)
    run = fleet.play("--check", "--diff", firewall_open=OPEN)
    assert all(run.changed[host] for host in HOSTS)
    for rule in ('comment "Swarm"', 'tcp dport { 80, 443 } accept comment "ingress"', "counter drop"):
        assert rule in run.output
    assert differing(before, footprints(fleet)) == {}


def test_it_closes_what_nobody_declared(fleet):
    run = fleet.play("--diff")
    assert all(run.changed[host] for host in HOSTS)
    assert "2377/tcp of dockerd but for " in run.text
    for host in HOSTS:
        assert fleet.on(host, "systemctl is-active gpufleet-firewall") == "active"
        assert fleet.on(host, "systemctl list-timers --all --no-legend 'gpufleet*'") == ""
    before = fleet.dropped(NODE), fleet.dropped(WORKER)
    assert fleet.scan(NODE, 22, 80, 443, 2377, 7946, MESH) == [22, 80, 443]
    assert fleet.scan(WORKER, 22, 80, 443, 2377, 7946, STRAY, SECRET) == [22]
    # The front is in the inventory, and no node of the Swarm.
    assert fleet.scan(NODE, 22, 2377, 7946, source=FRONT) == [22]
    assert not reached_directly(fleet)
    assert injected(fleet) == 0
    assert meshed(fleet) == 0
    dropped = fleet.dropped(NODE) - before[0], fleet.dropped(WORKER) - before[1]
    print(f"dropped on {NODE} and {WORKER}: {dropped} packets")
    assert dropped[0] >= 8 and dropped[1] >= 16


def test_the_swarm_works_on(fleet):
    assert fleet.scan(NODE, 2377, 7946, source=WORKER) == [2377, 7946]
    assert fleet.scan(WORKER, 7946, source=NODE) == [7946]
    fleet.on(NODE, f"docker run --detach --name other --network probe {IMAGE}")
    until(lambda: fleet.on(NODE, "docker exec other redis-cli -h inside ping", check=False) == "PONG")
    until(lambda: fleet.on(NODE, "docker node ls --format '{{.Status}}'").split() == ["Ready", "Ready"])
    # Containers and the host itself use published ports as before.
    assert published_to_itself(fleet)
    assert fleet.scan(WORKER, SECRET, source=WORKER) == [SECRET]


def test_a_second_run_changes_nothing_and_asks_once(fleet):
    run = fleet.play("--diff")
    assert run.changed == NOTHING
    run = fleet.play("-vvv")
    for host in HOSTS:
        calls = run.output.count(f"<{fleet.address[host]}> SSH: EXEC")
        print(f"{host}: {calls} remote call in a second run")
        assert calls == 1, run.output


def test_a_declared_port_of_a_container_is_opened_to_whom_it_is_for(fleet):
    run = fleet.play(firewall_open=[{**OPEN[0], "sources": ["fronts"]}])
    assert run.changed[WORKER] == 1
    assert fleet.scan(WORKER, STRAY, SECRET) == []
    assert fleet.scan(WORKER, STRAY, SECRET, source=FRONT) == [STRAY]
    fleet.play(firewall_open=OPEN)
    assert fleet.scan(WORKER, STRAY, SECRET) == [STRAY]
    assert fleet.play(firewall_open=OPEN).changed == NOTHING


def test_the_connection_of_ansible_stays_open_whatever_is_said(fleet):
    run = fleet.play(firewall_open=OPEN, firewall_ssh_sources=["192.0.2.0/24"], firewall_ssh_ports=[2222])
    assert "Ansible comes from " in run.text and "to port 22, which" in run.text
    assert fleet.scan(WORKER, 22) == []
    assert (
        fleet.play(
            firewall_open=OPEN, firewall_ssh_sources=["192.0.2.0/24"], firewall_ssh_ports=[2222]
        ).changed
        == NOTHING
    )
    fleet.play(firewall_open=OPEN)
    assert fleet.scan(WORKER, 22) == [22]


def test_rules_that_lock_ansible_out_are_taken_back(fleet):
    """Connections that stand go on, new ones do not: what rules would do that somebody got wrong."""
    before, file = fleet.on(FRONT, TABLE), fleet.on(FRONT, "cat /etc/gpufleet/firewall/rules.nft")
    fleet.on(FRONT, f"{OWN}; nft add rule inet own input tcp dport 22 ct state new drop")
    began = time.monotonic()
    try:
        run = fleet.play(
            "--limit", FRONT, fails=True, firewall_confirm_timeout=20, firewall_open=[{"port": 9999}]
        )
        assert "The new rules of the firewall lock Ansible out, and are taken back" in run.text, run.output
        until(lambda: "9999" not in fleet.on(FRONT, TABLE), 60)
        print(f"the old rules were back {time.monotonic() - began:.0f} s after the start of the run")
        assert strip(fleet.on(FRONT, TABLE)) == strip(before)
        assert fleet.on(FRONT, "cat /etc/gpufleet/firewall/rules.nft") == file
    finally:
        fleet.on(FRONT, "nft flush chain inet own input")
    assert fleet.play(firewall_open=OPEN).changed == NOTHING


def strip(text):
    """Leave the counters out."""
    return [line.split("counter")[0] for line in text.splitlines()]


DRIFT = {
    "flushed": "nft delete table inet gpufleet_firewall",
    "opened": "nft insert rule inet gpufleet_firewall arriving accept",
    "stopped": "systemctl stop gpufleet-firewall",
    "edited": "sed -i s/drop/accept/ /etc/gpufleet/firewall/rules.nft",
}


@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_put_right(fleet, drift):
    wanted = strip(fleet.on(WORKER, TABLE))
    fleet.on(WORKER, DRIFT[drift])
    run = fleet.play(firewall_open=OPEN)
    assert run.changed == {**NOTHING, WORKER: 1}
    assert strip(fleet.on(WORKER, TABLE)) == wanted
    assert fleet.scan(WORKER, 22, SECRET) == [22]
    assert fleet.play(firewall_open=OPEN).changed == NOTHING


def test_it_survives_a_restart_of_docker(fleet):
    fleet.on(WORKER, "systemctl restart docker")
    until(lambda: fleet.scan(WORKER, STRAY, SECRET) == [STRAY])
    assert published_to_itself(fleet)


def test_it_survives_a_restart_of_the_host(fleet):
    name = f"gpufleet-{fleet.lab}-{WORKER}"
    subprocess.run(["docker", "restart", "-t", "20", name], capture_output=True, check=True)
    until(lambda: fleet.scan(WORKER, STRAY, SECRET) == [STRAY])
    until(lambda: fleet.on(NODE, "docker node ls --format '{{.Status}}'").split() == ["Ready", "Ready"])
    assert fleet.play(firewall_open=OPEN).changed == NOTHING


def test_it_works_beside_the_older_iptables(fleet):
    """Docker's rules are then where nftables does not see them, DOCKER-USER among them."""
    use = "update-alternatives --set iptables /usr/sbin/iptables-{}; systemctl restart docker"
    fleet.on(WORKER, use.format("legacy"))
    try:
        until(lambda: fleet.scan(WORKER, STRAY, SECRET) == [STRAY])
        assert "DOCKER-USER" in fleet.on(WORKER, "iptables-legacy -S FORWARD")
        fleet.on(WORKER, "iptables -I DOCKER-USER -p tcp --dport 6379 -j DROP")
        assert fleet.scan(WORKER, STRAY, SECRET) == []
        fleet.on(WORKER, "iptables -D DOCKER-USER 1")
        assert fleet.scan(WORKER, STRAY, SECRET) == [STRAY]
    finally:
        fleet.on(WORKER, "iptables-legacy -t nat -F; iptables-legacy -F; " + use.format("nft"))
    until(lambda: fleet.scan(WORKER, STRAY, SECRET) == [STRAY])


def test_where_ufw_is_on_it_is_told_and_keeps_the_users_rules(fleet):
    fleet.on(
        FRONT,
        "apt-get update -qq; apt-get install -qq -y --no-install-recommends ufw > /dev/null 2>&1; "
        "ufw allow proto tcp from 192.0.2.9 to any port 9100; ufw allow 22/tcp; ufw --force enable",
    )
    users = "grep -h tuple /etc/ufw/user.rules | grep -v comment"
    before = fleet.on(FRONT, users)
    fleet.on(FRONT, f"systemd-run --quiet --unit lab-other python3 -m http.server {STRAY}")
    run = fleet.play(firewall_open=OPEN)
    assert run.changed == {**NOTHING, FRONT: 1}
    assert f"### tuple ### allow tcp {STRAY} 0.0.0.0/0 any 0.0.0.0/0 in comment=" in fleet.on(
        FRONT, "cat /etc/ufw/user.rules"
    )
    until(lambda: fleet.scan(FRONT, 22, STRAY) == [22, STRAY])
    assert fleet.play(firewall_open=OPEN).changed == NOTHING
    fleet.play()
    assert fleet.scan(FRONT, 22, STRAY) == [22]
    fleet.play(firewall_open=OPEN)
    assert fleet.on(FRONT, users) == before


BAD = {
    "port": (
        {"firewall_open": [{"port": "80-70"}]},
        "The firewall cannot open what is no port (manager1, worker1, front1): found port 80-70, "
        "wanted a port or FIRST-LAST, from 1 to 65535, set port in firewall_open.",
    ),
    "source": (
        {"firewall_ssh_sources": ["manager"]},
        "The firewall does not know a source (manager1, worker1, front1): "
        "found firewall_ssh_sources manager, wanted managers, set firewall_ssh_sources.",
    ),
    "state": (
        {"firewall_state": "on"},
        "The variable has a value its role does not take (manager1, worker1, front1): set firewall_state - "
        "value of firewall_state must be one of: keep, present, absent, got: on.",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_before_anything_is_contacted(fleet, kind):
    values, told = BAD[kind]
    run = fleet.call(ROOT / "site.yml", **{"firewall_state": "present", "fleet_systems": [], **values})
    assert run.rc != 0 and told in run.text, run.output
    assert "no host was contacted" in run.text


def test_it_goes_and_leaves_what_others_have(fleet):
    fleet.on(WORKER, OWN)
    assert fleet.play("--check", state="absent").changed == dict.fromkeys(HOSTS, 1)
    fleet.play(state="absent")
    for host in HOSTS:
        # But for the fleet's authority, which has the name of the lab in its own.
        left = fleet.on(
            host,
            "find /etc /run -xdev -path /etc/ssl -prune -o -name '*gpufleet-firewall*' -print; "
            "ls /etc/gpufleet || true",
        )
        assert "firewall" not in left
        assert "gpufleet" not in fleet.on(host, "nft list tables")
        # systemd knows the name until it reads its units the next time, which the role does not make it do:
        # that can take cards away from containers.
        units = "systemctl list-units --all --no-legend 'gpufleet-firewall*'"
        assert fleet.on(host, units).split()[2:3] in ([], ["inactive"])
        fleet.on(host, "systemctl daemon-reload")
        assert fleet.on(host, units) == ""
    assert "table inet own" in fleet.on(WORKER, "nft list tables")
    assert "comment=" not in fleet.on(FRONT, "grep -h tuple /etc/ufw/user.rules")
    assert fleet.scan(WORKER, 22, 7946, STRAY, SECRET) == [22, 7946, STRAY, SECRET]
    assert fleet.play(state="absent").changed == NOTHING


def test_it_comes_back_when_nftables_itself_is_restarted(fleet):
    """Last, for it empties all tables: those of the lab's engine for names, and Docker's, too."""
    fleet.on(NODE, "systemctl start nftables")
    fleet.play("--limit", NODE)
    for verb in ("restart", "reload"):
        fleet.on(NODE, f"systemctl {verb} nftables")
        assert fleet.scan(NODE, 22, 2377, 7946) == [22], verb

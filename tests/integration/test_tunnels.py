# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tunnels between a node and a front with the distribution's spiped: secrecy, healing, rotation, removal.

GPUFLEET_INVENTORY  inventory of a fresh lab with one front and no Docker on its hosts (such as
                    `python3 -m lab up --name tunnels --hosts 2 --fronts 1` makes); all of this is skipped
                    without it

The tests build on one another and run in the order of the file. They leave the hosts as they were, but for
the packages. Figures are printed: run pytest with -rP to see them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from lab.footprint import footprint

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet with a front")

NODE, FRONT = "manager1", "front1"
HOSTS = (NODE, FRONT)
API = {"name": "api", "from": FRONT, "listen": 5001, "to": NODE, "wire": 8080, "target": 5001}
# Its target is a name, which the tests let lead elsewhere.
NAMED = {
    "name": "named", "from": FRONT, "listen": 5002, "to": NODE, "wire": "0.0.0.0:8081",
    "target": "api.lab.test:5001", "resolve_interval": 1,
}  # fmt: skip
LINKS = [API, NAMED]
MARKER = "for-no-other-eyes"
# What runs on the controller; everything else in a result is a remote task.
LOCAL = {
    "ansible.builtin.include_tasks", "ansible.builtin.set_fact", "ansible.builtin.debug",
    "ansible.builtin.assert", "ansible.builtin.validate_argument_spec",
}  # fmt: skip

# The API of this test: it says on which of its addresses it was asked, and for what.
SERVER = """
import http.server, sys
class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{sys.argv[1]} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], 5001), Api).serve_forever()
"""
SERVICE = """
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/lab-api.py %i
[Install]
WantedBy=multi-user.target
"""
# A request every 100 ms over a connection of its own, and one over a connection that is kept; 60 s at most.
CLIENT = """
import http.client, json, pathlib, threading, time
end = time.monotonic() + 60
def ask(connection):
    try:
        connection.request("GET", "/")
        return connection.getresponse().read() == b"127.0.0.1 /"
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
def loop(kept, outcomes):
    while time.monotonic() < end and not pathlib.Path("/tmp/stop").exists():
        began = time.monotonic()
        connection = kept or http.client.HTTPConnection("127.0.0.1", 5001, timeout=2)
        outcomes.append([began, ask(connection)])
        if not kept:
            connection.close()
        time.sleep(max(0, began + 0.1 - time.monotonic()))
fresh, steady = [], []
kept = http.client.HTTPConnection("127.0.0.1", 5001, timeout=2)
threads = [threading.Thread(target=loop, args=args) for args in ((None, fresh), (kept, steady))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps({"fresh": fresh, "steady": steady}))
"""


class Run:
    """The outcome of a playbook."""

    def __init__(self, process):
        self.output = process.stdout + process.stderr
        self.rc = process.returncode
        start = process.stdout.find("{\n")
        assert start >= 0, self.output
        self.data = json.loads(process.stdout[start:])

    def remote(self, host):
        """Return the names of the tasks that were sent to a host."""
        return [
            task["task"]["name"].rpartition(" : ")[2]
            for play in self.data["plays"]
            for task in play["tasks"]
            for name, result in task["hosts"].items()
            if name == host and not result.get("skipped") and result.get("action") not in LOCAL
            if "localhost" not in str(result.get("_ansible_delegated_vars", ""))
        ]

    def changed(self):
        return {host: stats["changed"] for host, stats in self.data["stats"].items()}

    def message(self):
        """Return what the failed tasks said, on one line."""
        failed = [
            result["msg"]
            for play in self.data["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
            if result.get("failed") or result.get("unreachable")
        ]
        return " ".join(" ".join(failed).split())


class Fleet:
    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        values = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        groups = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        self.lab = values["fleet_name"]
        self.address = {
            name: host["ansible_host"]
            for group in groups.values()
            for name, host in (group.get("hosts") or {}).items()
            if host
        }
        self.keys = self.inventory / "credentials" / "tunnels"

    def call(self, playbook, *arguments, links=LINKS, callback="ansible.posix.json", **variables):
        env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": callback,
            "ANSIBLE_FORCE_COLOR": "false",
        }
        extra = json.dumps({"tunnels_links": links, **variables})
        command = [BIN / "ansible-playbook", "-i", self.inventory, *arguments, "-e", extra, playbook]
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
        )

    def play(self, *arguments, fails=False, **options):
        """Run the role on all hosts and return the Run."""
        path = self.folder / "play.yml"
        play = {"hosts": "all", "become": True, "gather_facts": False, "any_errors_fatal": True}
        path.write_text(json.dumps([{**play, "roles": ["gpufleet.swarm.tunnels"]}]))
        run = Run(self.call(path, *arguments, **options))
        assert (run.rc != 0) is fails, run.output
        return run

    def on(self, host, script, check=True):
        """Run a script on a host, past SSH and Ansible, and return what it prints."""
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def start(self, host, script):
        """Run a script on a host while the test goes on."""
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", "sh", "-c", script]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def put(self, host, path, text):
        command = ["docker", "exec", "-i", f"gpufleet-{self.lab}-{host}", "sh", "-c", f"cat > '{path}'"]
        subprocess.run(command, input=text, text=True, check=True)

    def ask(self, path="/", port=5001):
        """Ask the API through a tunnel, from the front; '' without an answer."""
        return self.on(FRONT, f"curl --silent --max-time 5 http://127.0.0.1:{port}{path}", check=False)

    def until(self, expected, port=5001, seconds=90):
        """Wait until the API answers through a tunnel; return the seconds it took."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            if self.ask(port=port) == expected:
                return time.monotonic() - began
            time.sleep(0.2)
        journals = [self.on(host, "journalctl -n 20 -o cat -u 'gpufleet-tunnel@*'") for host in HOSTS]
        raise AssertionError(f"no answer {expected!r} within {seconds} s: {journals}")

    def footprints(self):
        return {host: footprint(partial(self.on, host)) for host in HOSTS}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    if fleet.keys.exists() or set(fleet.address) != set(HOSTS):
        pytest.skip(f"wanted a fresh lab of {NODE} and {FRONT}, found {sorted(fleet.address)}")
    fleet.put(NODE, "/usr/local/lib/lab-api.py", SERVER)
    fleet.put(NODE, "/etc/systemd/system/lab-api@.service", SERVICE)
    fleet.on(NODE, "systemctl enable --now lab-api@127.0.0.1 lab-api@127.0.0.2")
    lead_to(fleet, "127.0.0.1")
    return fleet


def lead_to(fleet, address):
    """Let the name of the API lead to an address."""
    fleet.on(
        NODE,
        f"(grep -v api.lab.test /etc/hosts; echo {address} api.lab.test) > /tmp/hosts; "
        "cat /tmp/hosts > /etc/hosts",
    )


def connects(address, port, seconds=3):
    """Return whether this machine, which is no host of the fleet, reaches a port."""
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return True
    except OSError:
        return False


def test_check_mode_on_bare_hosts_predicts_and_changes_nothing(fleet):
    before = fleet.footprints()
    run = fleet.play("--check", "--diff")
    assert all(run.changed().values())
    assert "start tunnel api anew" in run.output and "install spiped" in run.output
    assert fleet.footprints() == before
    assert not fleet.keys.exists()


def test_the_tunnels_are_made_and_no_key_is_told(fleet):
    done = fleet.call(
        ROOT / "playbooks" / "site.yml",
        "-vvv",
        "--diff",
        "--tags",
        "tunnels",
        callback="ansible.builtin.default",
        fleet_systems=[],
    )
    assert done.returncode == 0, done.stdout[-4000:]
    fleet.until("127.0.0.1 /")
    fleet.until("127.0.0.1 /", port=5002)
    told = done.stdout + done.stderr
    assert "key " in told, "the options tell the fingerprint"
    for link in LINKS:
        content = (fleet.keys / f"{link['name']}.key").read_bytes()
        assert len(content) == 32
        # spiped works with the SHA-256 of the file, so that is as secret.
        for secret in (content, hashlib.sha256(content).digest()):
            for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
                assert form not in told
                for host in HOSTS:
                    assert form not in fleet.on(
                        host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -o cat"
                    )


def test_a_second_run_changes_nothing_and_asks_twice(fleet):
    before = fleet.on(FRONT, "systemctl show -P MainPID gpufleet-tunnel@api")
    run = fleet.play("--diff")
    assert run.changed() == {NODE: 0, FRONT: 0}
    tasks = {host: run.remote(host) for host in HOSTS}
    print(f"remote tasks of a second run with two tunnels: {tasks}")
    assert all(len(names) <= 2 for names in tasks.values()), tasks
    assert fleet.on(FRONT, "systemctl show -P MainPID gpufleet-tunnel@api") == before


def test_each_tunnel_has_a_key_of_its_own_and_roots(fleet):
    assert (fleet.keys / "api.key").read_bytes() != (fleet.keys / "named.key").read_bytes()
    for path in (fleet.keys / "api.key", fleet.keys / "hosts" / f"{NODE}.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (fleet.keys, fleet.keys.parent)} == {0o700}
    wanted = base64.b64encode((fleet.keys / "api.key").read_bytes()).decode()
    for host in HOSTS:
        assert (
            fleet.on(host, "stat -c '%a %U %G %s' /etc/gpufleet/tunnels/*.key")
            == "600 root root 32\n600 root root 32"
        )
        assert fleet.on(host, "base64 /etc/gpufleet/tunnels/api.key") == wanted


@pytest.mark.parametrize("host", HOSTS)
def test_the_process_is_confined(fleet, host):
    score = fleet.on(host, "systemd-analyze security --no-pager gpufleet-tunnel@api.service | tail -1")
    print(f"{host}, systemd {fleet.on(host, 'systemctl --version | head -1')}: {score}")
    assert float(re.search(r": ([\d.]+) ", score)[1]) <= 1.5
    user, *words = fleet.on(
        host, "ps -o user=,args= -p $(systemctl show -P MainPID gpufleet-tunnel@api)"
    ).split()
    assert user not in ("root", "fleet")
    assert words[0] == "/usr/bin/spiped" and "-g" in words and words[words.index("-n") + 1] == "100"


def test_the_api_answers_on_the_fronts_loopback_and_nowhere_else(fleet):
    assert fleet.ask("/status") == "127.0.0.1 /status"
    listening = fleet.on(FRONT, "ss -Hltn 'sport = :5001'").splitlines()
    assert [line.split()[3] for line in listening] == ["127.0.0.1:5001"]
    for host in HOSTS:
        assert not connects(fleet.address[host], 5001)
    # The wire is for the peer alone; SSH is as it was.
    assert not connects(fleet.address[NODE], 8080)
    assert connects(fleet.address[NODE], 22)
    assert (
        fleet.on(
            FRONT,
            f"python3 -c \"import socket; socket.create_connection(('{fleet.address[NODE]}', 8080), 5)\"",
        )
        == ""
    )


def test_nothing_is_in_clear_on_the_wire(fleet):
    fleet.on(NODE, "apt-get install -qq -y --no-install-recommends tcpdump > /dev/null")
    watch = "tcpdump -Z root -U -i {} -w /tmp/{}.pcap 'tcp port {}'"
    seen = [
        fleet.start(NODE, "timeout 60 " + watch.format(*what))
        for what in (("eth0", "wire", 8080), ("lo", "lo", 5001))
    ]
    try:
        for name in ("wire", "lo"):
            fleet.on(
                NODE, f"for i in $(seq 100); do [ -s /tmp/{name}.pcap ] && exit; sleep 0.1; done; exit 1"
            )
        assert fleet.ask(f"/{MARKER}") == f"127.0.0.1 /{MARKER}"
        fleet.on(
            NODE, f"for i in $(seq 100); do grep -aq {MARKER} /tmp/lo.pcap && exit; sleep 0.1; done; exit 1"
        )
    finally:
        fleet.on(NODE, "for p in $(pgrep -x tcpdump); do kill $p; done")
        [process.wait(30) for process in seen]
    size = int(fleet.on(NODE, "stat -c %s /tmp/wire.pcap"))
    print(f"captured {size} bytes on the wire, none of them in clear")
    assert size > 2000
    for word in (MARKER, "HTTP", "GET"):
        assert fleet.on(NODE, f"grep -ac {word} /tmp/wire.pcap", check=False) == "0"
        assert fleet.on(NODE, f"grep -ac {word} /tmp/lo.pcap") != "0"


def test_a_client_with_another_key_gets_nothing(fleet):
    call = (
        f"printf 'GET /{MARKER} HTTP/1.0\\r\\n\\r\\n' | "
        f"timeout 10 spipe -g -t '[{fleet.address[NODE]}]:8080' -k {{}} 2>&1"
    )
    fleet.on(FRONT, "head -c 32 /dev/urandom > /root/other.key")
    assert MARKER in fleet.on(FRONT, call.format("/etc/gpufleet/tunnels/api.key"), check=False)
    assert "127.0.0.1" not in fleet.on(FRONT, call.format("/root/other.key"), check=False)
    # Nor does the key of another tunnel.
    assert "127.0.0.1" not in fleet.on(FRONT, call.format("/etc/gpufleet/tunnels/named.key"), check=False)


def test_the_target_moves_to_another_address(fleet):
    lead_to(fleet, "127.0.0.2")
    seconds = fleet.until("127.0.0.2 /", port=5002)
    print(f"a target that moved was found after {seconds:.1f} s (looked up every second)")
    lead_to(fleet, "127.0.0.1")
    fleet.until("127.0.0.1 /", port=5002)


@pytest.mark.parametrize("signal", ["KILL", "TERM", "ABRT"])
@pytest.mark.parametrize("host", HOSTS)
def test_an_end_that_is_killed_comes_back(fleet, host, signal):
    before = fleet.on(host, "systemctl show -P MainPID gpufleet-tunnel@api")
    fleet.on(host, f"kill -{signal} {before}")
    seconds = fleet.until("127.0.0.1 /")
    while (now := fleet.on(host, "systemctl show -P MainPID gpufleet-tunnel@api")) in ("0", before):
        assert time.sleep(0.2) is None
    print(f"{host}: after SIG{signal} the API answered again within {seconds:.1f} s")
    fleet.until("127.0.0.1 /")
    assert now not in ("0", before)


def gaps(outcomes):
    """Return the lengths of the rows of failed requests."""
    return [len(list(group)) for failed, group in groupby(outcomes, key=lambda one: not one[1]) if failed]


def test_a_new_key_costs_one_reconnect(fleet):
    old = (fleet.keys / "api.key").read_bytes(), (fleet.keys / "named.key").read_bytes()
    fleet.put(FRONT, "/root/client.py", CLIENT)
    client = fleet.start(FRONT, "rm -f /tmp/stop; python3 /root/client.py")
    time.sleep(1)
    try:
        done = fleet.call(ROOT / "playbooks" / "rotate_tunnels.yml", tunnels_rotate=["api"])
        assert done.returncode == 0, done.stdout + done.stderr
        time.sleep(1)
    finally:
        fleet.on(FRONT, "touch /tmp/stop")
        told, errors = client.communicate(timeout=90)
    outcomes = json.loads(told)
    for kind, said in (("with a connection each", "fresh"), ("over one connection", "steady")):
        lost = gaps(outcomes[said])
        print(
            f"{len(outcomes[said])} requests, one every 100 ms, {kind}: lost {sum(lost)}, in {len(lost)} rows"
        )
        assert len(outcomes[said]) > 20 and outcomes[said][-1][1], errors
        assert len(lost) <= 1, "one reconnect, and no more"
    new = (fleet.keys / "api.key").read_bytes(), (fleet.keys / "named.key").read_bytes()
    assert new[0] != old[0] and new[1] == old[1]
    for host in HOSTS:
        assert fleet.on(host, "base64 /etc/gpufleet/tunnels/api.key") == base64.b64encode(new[0]).decode()
    fleet.put(FRONT, "/root/old.b64", base64.b64encode(old[0]).decode())
    call = (
        "base64 -d /root/old.b64 > /root/old.key; printf 'GET / HTTP/1.0\\r\\n\\r\\n' | "
        f"timeout 10 spipe -t '[{fleet.address[NODE]}]:8080' -k /root/old.key 2>&1; rm /root/old.*"
    )
    assert "127.0.0.1" not in fleet.on(FRONT, call, check=False)
    assert fleet.play().changed() == {NODE: 0, FRONT: 0}


def test_rotating_what_is_no_tunnel_is_refused(fleet):
    before = {path: path.read_bytes() for path in fleet.keys.glob("*.key")}
    run = Run(fleet.call(ROOT / "playbooks" / "rotate_tunnels.yml", tunnels_rotate=["apy"]))
    assert run.rc != 0
    assert run.message() == (
        "Cannot rotate the key of a tunnel: found tunnels_rotate apy, "
        "wanted names of tunnels_links (api, named)."
    )
    assert {path: path.read_bytes() for path in fleet.keys.glob("*.key")} == before


DAMAGE = {
    "files": [
        "head -c 31 /dev/zero > /etc/gpufleet/tunnels/api.key",
        "chmod 0644 /etc/gpufleet/tunnels/named.key",
        "echo TUNNEL_MAX_CONNECTIONS=1 >> /etc/gpufleet/tunnels/api.conf",
        "rm /etc/systemd/system/multi-user.target.wants/gpufleet-tunnel@api.service",
    ],
    "services": ["systemctl stop gpufleet-tunnel@api", "systemctl stop gpufleet-tunnels-firewall"],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_put_right(fleet, damage):
    state = (
        "find /etc/gpufleet /etc/systemd/system -type f -printf '%p %m ' -exec md5sum {} \\; -o -type l"
        " -print | sort"
    )
    before = fleet.on(NODE, state)
    fleet.on(NODE, "; ".join(DAMAGE[damage]))
    assert fleet.play().changed()[NODE] > 0
    assert fleet.on(NODE, state) == before
    assert "dport 8080 drop" in fleet.on(NODE, "nft list table inet gpufleet_tunnels")
    fleet.until("127.0.0.1 /")
    assert fleet.play().changed() == {NODE: 0, FRONT: 0}


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_rebooted_comes_back(fleet, host):
    subprocess.run(
        ["docker", "restart", "-t", "20", f"gpufleet-{fleet.lab}-{host}"], capture_output=True, check=True
    )
    seconds = fleet.until("127.0.0.1 /")
    print(f"{host}: the API answered {seconds:.1f} s after the start of the host")
    if host == NODE:
        lead_to(fleet, "127.0.0.1")
        fleet.until("127.0.0.1 /", port=5002)
        assert "dport 8080 drop" in fleet.on(NODE, "nft list table inet gpufleet_tunnels")
        assert not connects(fleet.address[NODE], 8080)


BAD = {
    "no-such-host": (
        [{**API, "to": "gpu9"}],
        "The tunnel ends at a host that is not in the inventory (tunnel api): found to gpu9, "
        "wanted one of manager1, front1, set to in tunnels_links.",
    ),
    "port-twice": (
        [API, {**NAMED, "listen": "127.0.0.1:5001"}],
        "Two ends of tunnels use one port (front1): found listen [127.0.0.1]:5001 of tunnel api, "
        "listen [127.0.0.1]:5001 of tunnel named, wanted a port of its own for each, "
        "set listen or wire in tunnels_links.",
    ),
    "no-number": (
        [{**API, "max_connections": "many"}],
        "The tunnel has a number that spiped does not take (tunnel api): found max_connections many, "
        "wanted 1 or more, set max_connections in tunnels_links.",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_before_anything_is_contacted(fleet, kind):
    links, told = BAD[kind]
    before = fleet.footprints()
    run = Run(fleet.call(ROOT / "site.yml", links=links))
    assert run.rc != 0
    assert told in run.message()
    assert "no host was contacted" in run.message()
    assert fleet.footprints() == before


def test_a_key_of_31_bytes_is_refused(fleet):
    path = fleet.keys / "api.key"
    good, before = path.read_bytes(), fleet.footprints()
    path.write_bytes(good[:31])
    try:
        told = (
            f"Cannot use a spiped key ({path}): found 31 bytes, wanted 32 random bytes, "
            "set the right file in its place, or remove it to have a new key made."
        )
        run = Run(fleet.call(ROOT / "site.yml"))
        assert run.rc != 0
        assert run.message() == f"The inventory has 1 problem; no host was contacted. 1. {told}"
        # A playbook of the user's own, without that check.
        assert fleet.play(fails=True).message() == f"{told} {told}"
        assert path.read_bytes() == good[:31]
    finally:
        path.write_bytes(good)
    assert fleet.footprints() == before
    fleet.until("127.0.0.1 /")


def test_a_port_that_another_program_holds_is_refused(fleet):
    fleet.on(FRONT, "systemd-run --quiet --unit lab-other python3 -m http.server --bind 0.0.0.0 5003")
    try:
        fleet.on(
            FRONT,
            "for i in $(seq 100); do ss -Hltn 'sport = :5003' | grep -q . && exit; sleep 0.1; done; exit 1",
        )
        before = fleet.footprints()
        run = fleet.play(links=[*LINKS, {**API, "name": "third", "listen": 5003, "wire": 8083}], fails=True)
        assert (
            "The port of a tunnel is taken (front1): found listen [127.0.0.1]:5003 of tunnel third "
            "held by python3, wanted a free port, set listen in tunnels_links, or stop it."
        ) in run.message()
        assert fleet.footprints() == before
    finally:
        fleet.on(FRONT, "systemctl stop lab-other")
    fleet.play()


def test_an_end_that_cannot_be_reached_is_told(fleet):
    nowhere = {**API, "address": "127.0.0.1"}
    told = fleet.play(links=[nowhere, NAMED], tunnels_wait_timeout=3, fails=True).output
    assert (
        "Tunnel api does not work: front1 cannot connect to manager1, the other end, at 127.0.0.1 port 8080"
        in told
    )
    fleet.play()
    fleet.until("127.0.0.1 /")


def test_a_tunnel_that_is_taken_out_goes(fleet):
    # One end fails for now, and systemd tries it again every second.
    fleet.on(
        FRONT,
        "sed -i s/^TUNNEL_MODE=.*/TUNNEL_MODE=-x/ /etc/gpufleet/tunnels/named.conf; "
        "systemctl kill -s KILL gpufleet-tunnel@named",
    )
    fleet.on(
        FRONT,
        "for i in $(seq 100); do systemctl show -P SubState gpufleet-tunnel@named | "
        "grep -q auto-restart && exit; sleep 0.1; done; exit 1",
    )
    run = fleet.play(links=[API])
    assert all(run.changed().values())
    for host in HOSTS:
        assert (
            fleet.on(host, "find / -xdev -name '*named*' -path '*tunnel*'; ls /run/gpufleet-tunnels") == "api"
        )
        assert fleet.on(host, "systemctl is-active gpufleet-tunnel@named", check=False) == "inactive"
    assert "8081" not in fleet.on(NODE, "nft list ruleset")
    assert not (fleet.keys / "named.key").exists()
    assert fleet.ask() == "127.0.0.1 /"
    assert fleet.play(links=[API]).changed() == {NODE: 0, FRONT: 0}


def test_with_the_last_tunnel_everything_goes(fleet):
    fleet.play(links=[])
    for host in HOSTS:
        left = fleet.on(
            host, "find /etc /run /var/lib -xdev -name '*gpufleet*' ! -path '/run/systemd/*' ! -name gpufleet"
        )
        assert left in ("", "/run/gpufleet-tunnels"), left
        assert fleet.on(host, "ps -C spiped -o pid=", check=False) == ""
        assert fleet.on(host, "getent passwd | grep -c -e spiped -e gpufleet", check=False) == "0"
    assert "gpufleet" not in fleet.on(NODE, "nft list ruleset")
    assert list(fleet.keys.rglob("*.*")) == []
    # From now on nobody is asked.
    run = fleet.play(links=[])
    assert {host: run.remote(host) for host in HOSTS} == {NODE: [], FRONT: []}

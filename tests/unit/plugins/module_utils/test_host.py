# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
import socketserver
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _host
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

OS_RELEASES = {
    "debian": (
        'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\n'
        "VERSION_CODENAME=trixie\nID=debian\n",
        {"id": "debian", "version_id": "13", "codename": "trixie", "name": "Debian GNU/Linux 13 (trixie)"},
    ),
    "testing-has-no-version": (
        "# a comment=x\nID=debian\nNAME='Debian GNU/Linux'\n\nbroken line\n",
        {"id": "debian", "version_id": "", "codename": "", "name": "Debian GNU/Linux"},
    ),
    "escapes": (
        'ID=ubuntu\nPRETTY_NAME="The \\"best\\" \\$"\n',
        {"id": "ubuntu", "version_id": "", "codename": "", "name": 'The "best" $'},
    ),
    "empty": ("", {"id": "linux", "version_id": "", "codename": "", "name": ""}),
}


@pytest.mark.parametrize(("text", "wanted"), OS_RELEASES.values(), ids=OS_RELEASES)
def test_os_release(text, wanted):
    assert _host.parse_os_release(text) == wanted


def test_memory_is_in_bytes():
    assert _host.parse_memory("MemTotal:        2048 kB\nMemFree: 1 kB\n") == 2 * 1024 * 1024
    assert _host.parse_memory("") == 0


def test_disabled_cgroup_controllers_do_not_count():
    text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t5\t1\nmemory\t0\t5\t0\npids\t2\t1\t1\n"
    assert _host.parse_cgroups(text) == ["cpu", "pids"]


def test_filesystems():
    assert _host.parse_filesystems("nodev\tsysfs\n\text4\nnodev\toverlay\n\n") == {"sysfs", "ext4", "overlay"}


def test_modules_of_both_files():
    builtin = "kernel/fs/overlayfs/overlay.ko\nkernel/net/bridge/br-netfilter.ko\n"
    listed = "kernel/drivers/net/vxlan.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz\nkernel/a/ip_vs.ko.zst:\n"
    assert _host.parse_modules(builtin) == {"overlay", "br_netfilter"}
    # What a module needs is named after the colon; it has a line of its own, so it is not read there.
    assert _host.parse_modules(listed) == {"vxlan", "ip_vs"}


def hexadecimal(address, port):
    raw = ipaddress.ip_address(address).packed
    words = [raw[at:at + 4] for at in range(0, len(raw), 4)]
    return "".join(format(int.from_bytes(word, sys.byteorder), "08X") for word in words) + f":{port:04X}"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [("172.30.0.2", "172.30.0.2"), ("0.0.0.0", "0.0.0.0"), ("::", "::"), ("fd00::12:3", "fd00::12:3"),
     ("::ffff:10.1.2.3", "10.1.2.3")],
)
def test_socket_address(address, wanted):
    assert _host.parse_socket_address(hexadecimal(address, 443)) == (wanted, 443)


@pytest.mark.skipif(sys.byteorder != "little", reason="a line copied from a little-endian kernel")
def test_socket_line_of_a_kernel():
    assert _host.parse_socket_address("020011AC:0050") == ("172.17.0.2", 80)


def line(address, port, state, inode):
    return f"  0: {hexadecimal(address, port)} 00000000:0000 {state} 0:0 00:0 0 0 0 {inode} 1 0 100 0\n"


SOCKETS = {
    "tcp-listens": ("tcp", line("0.0.0.0", 80, "0A", 71), [("tcp", "0.0.0.0", 80, 71)]),
    "tcp-connected": ("tcp", line("10.0.0.1", 80, "01", 71), []),
    "udp-bound": ("udp", line("0.0.0.0", 4789, "07", 0), [("udp", "0.0.0.0", 4789, 0)]),
    "udp-connected": ("udp", line("10.0.0.1", 53, "01", 9), []),
    "short-line": ("tcp", "  0: rubbish\n", []),
}


@pytest.mark.parametrize(("protocol", "text", "wanted"), SOCKETS.values(), ids=SOCKETS)
def test_sockets(protocol, text, wanted):
    assert _host.parse_sockets("  sl  local_address ...\n" + text, protocol) == wanted


def attribute(number, value):
    return struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)


def address_payload(address, prefix, local=None):
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    own = attribute(2, ipaddress.ip_address(local).packed) if local else b""
    return struct.pack("=BBBBI", family, prefix, 0, 0, 2) + attribute(1, ip.packed) + own


def route_payload(network, kind=_host.RTN_UNICAST):
    net = ipaddress.ip_network(network)
    family = socket.AF_INET if net.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBBBBBI", family, net.prefixlen, 0, 0, 254, 2, 0, kind, 0)
    return head + (attribute(1, net.network_address.packed) if net.prefixlen else b"")


def test_addresses():
    payloads = [
        address_payload("127.0.0.1", 8), address_payload("172.30.0.2", 24), address_payload("fe80::1", 64),
        address_payload("10.9.0.2", 32, local="10.9.0.1"), address_payload("::1", 128),
        address_payload("fd00::2", 64), struct.pack("=BBBBI", 28, 0, 0, 0, 0),
    ]
    assert _host.parse_addresses(payloads) == ["172.30.0.2/24", "10.9.0.1/32", "fd00::2/64"]


def test_routes():
    payloads = [
        route_payload("172.30.0.0/24"), route_payload("0.0.0.0/0"), route_payload("10.0.0.0/8"),
        route_payload("10.0.0.0/8"), route_payload("192.168.0.0/16", kind=6), route_payload("fe80::/64"),
        route_payload("fd00::/64"), route_payload("127.0.0.0/8"), route_payload("9.0.0.0/8"),
    ]
    assert _host.parse_routes(payloads) == ["9.0.0.0/8", "10.0.0.0/8", "172.30.0.0/24", "fd00::/64"]


def test_netlink_messages_are_split():
    def message(kind, payload):
        head = struct.pack("=IHHII", 16 + len(payload), kind, 0, 1, 0)
        return head + payload + b"\0" * (-len(payload) % 4)

    data = message(20, b"abcde") + message(3, b"\0\0\0\0") + b"\x04\0"
    assert list(_host.parse_netlink(data)) == [(20, b"abcde"), (3, b"\0\0\0\0")]
    assert list(_host.parse_netlink(b"\0" * 32)) == []


INFO = {
    "ServerVersion": "26.1.5", "Driver": "overlay2", "DockerRootDir": "/data", "DefaultRuntime": "runc",
    "Runtimes": {"runc": {}, "nvidia": {}}, "LiveRestoreEnabled": False,
    "Swarm": {"NodeID": "n1", "NodeAddr": "172.30.0.2", "LocalNodeState": "active", "ControlAvailable": True,
              "Error": "", "Managers": 1, "Nodes": 2, "Cluster": {"ID": "c1"}},
}
VERSION = {"Version": "26.1.5", "ApiVersion": "1.45", "MinAPIVersion": "1.24"}
CONTAINERS = [
    {"Names": ["/ingress_traefik.1"], "Labels": {"com.docker.stack.namespace": "ingress"},
     "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 80, "Type": "tcp"},
               {"IP": "::", "PrivatePort": 80, "PublicPort": 80, "Type": "tcp"},
               {"PrivatePort": 8080, "Type": "tcp"}]},
    {"Names": ["/old"], "Labels": None, "Ports": [{"PrivatePort": 53, "PublicPort": 53, "Type": "udp"}]},
]
NODES = [
    {"ID": "n1", "Spec": {"Role": "manager", "Availability": "active", "Labels": {"a": "1"}},
     "Description": {"Hostname": "m1", "Engine": {"EngineVersion": "26.1.5"}},
     "Status": {"State": "ready", "Addr": "0.0.0.0"},
     "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "172.30.0.2:2377"}},
    {"ID": "n2", "Spec": {"Role": "worker", "Availability": "drain"},
     "Description": {"Hostname": "w1", "Resources": {"GenericResources": [
         {"NamedResourceSpec": {"Kind": "GPU", "Value": "GPU-1"}},
         {"DiscreteResourceSpec": {"Kind": "SSD", "Value": 2}}]}},
     "Status": {"State": "down", "Addr": "172.30.0.3"}},
]


def test_docker_facts():
    facts = _host.docker_facts(INFO, VERSION, CONTAINERS)
    assert facts == {
        "version": "26.1.5", "api_version": "1.45", "min_api_version": "1.24", "storage_driver": "overlay2",
        "data_root": "/data", "default_runtime": "runc", "runtimes": ["nvidia", "runc"],
        "live_restore": False, "firewall_backend": "iptables",
        "published": [
            {"protocol": "tcp", "port": 80, "container": "ingress_traefik.1", "stack": "ingress"},
            {"protocol": "udp", "port": 53, "container": "old", "stack": None},
        ],
    }
    assert set(facts) == set(_host.NO_ENGINE)
    nftables = _host.docker_facts({**INFO, "FirewallBackend": {"Driver": "nftables"}}, VERSION, [])
    assert nftables["firewall_backend"] == "nftables"


def test_swarm_facts():
    facts = _host.swarm_facts(INFO, NODES, None)
    assert set(facts) == set(_host.NO_SWARM)
    assert {key: value for key, value in facts.items() if key != "nodes"} == {
        "state": "active", "node_id": "n1", "node_address": "172.30.0.2", "manager": True, "error": None,
        "cluster_id": "c1", "managers": 1, "nodes_count": 2,
    }
    first, second = facts["nodes"]
    assert first == {
        "id": "n1", "hostname": "m1", "role": "manager", "availability": "active", "state": "ready",
        "address": "172.30.0.2", "labels": {"a": "1"}, "engine_version": "26.1.5", "leader": True,
        "manager_reachability": "reachable", "generic_resources": [],
    }
    assert (second["labels"], second["leader"], second["manager_reachability"]) == ({}, False, None)
    assert second["generic_resources"] == [{"kind": "GPU", "value": "GPU-1"}, {"kind": "SSD", "value": 2}]


def test_a_worker_knows_no_cluster():
    info = {"Swarm": {"NodeID": "n2", "LocalNodeState": "pending", "Cluster": None, "Error": "no route"}}
    facts = _host.swarm_facts(info, [], None)
    assert (facts["state"], facts["error"]) == ("pending", "no route")
    assert (facts["cluster_id"], facts["manager"]) == (None, False)


@pytest.fixture
def engine(tmp_path):
    """A server on a socket that answers with the (status, body) it is given per path."""
    answers = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self):
            return "test"

        def log_message(self, *_arguments):
            pass

        def do_GET(self):
            status, body = answers[self.path]
            if status is None:  # hang up
                self.close_connection = True
                return
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    path = str(tmp_path / "s")
    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield path, answers
        server.shutdown()


def full_answers():
    bodies = {"/info": INFO, "/version": VERSION, "/containers/json": [], "/nodes": NODES}
    return {path: (200, body) for path, body in bodies.items()}


def test_engine_is_read(engine):
    path, answers = engine
    answers.update(full_answers())
    docker, swarm = _host.read_engine(path)
    assert (docker["installed"], docker["answering"], docker["error"]) == (True, True, None)
    assert docker["version"] == "26.1.5"
    assert [node["id"] for node in swarm["nodes"]] == ["n1", "n2"]


BROKEN = {
    "error": ("/info", (500, {"message": "the daemon is unwell"}),
              "GET /info): found status 500: the daemon is unwell."),
    "no-json": ("/version", (200, b"<html>"),
                "GET /version): found an answer that is no JSON (JSONDecodeError)."),
    "hangs-up": ("/containers/json", (None, None),
                 "GET /containers/json): found an answer that is no JSON (RemoteDisconnected)."),
}


@pytest.mark.parametrize(("at", "answer", "message"), BROKEN.values(), ids=BROKEN)
def test_an_error_is_never_no_swarm(engine, at, answer, message):
    path, answers = engine
    answers.update(full_answers())
    answers[at] = answer
    docker, swarm = _host.read_engine(path)
    assert docker["error"] == "The Docker Engine could not be read (" + message
    assert not docker["answering"]
    assert swarm["state"] is None


def test_lost_quorum_is_told(engine):
    path, answers = engine
    answers.update(full_answers())
    answers["/nodes"] = (503, {"message": "The swarm does not have a leader."})
    docker, swarm = _host.read_engine(path)
    assert docker["answering"]
    assert (swarm["state"], swarm["nodes"]) == ("active", [])
    assert swarm["error"] == (
        "The Docker Engine could not be read (GET /nodes): "
        "found status 503: The swarm does not have a leader."
    )


def test_a_silent_engine_does_not_hold_the_run_up(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(path)
        deaf.listen(1)
        docker, swarm = _host.read_engine(path, timeout=0.05)
    assert docker["error"].endswith("(GET /info): found no answer within 0.05 s.")
    assert swarm["state"] is None


@pytest.mark.parametrize(("installed", "state"), [(False, "inactive"), (True, None)])
@pytest.mark.parametrize("stale", [False, True], ids=["no-socket", "stale-socket"])
def test_without_an_engine(tmp_path, monkeypatch, installed, state, stale):
    path = str(tmp_path / "s")
    if stale:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
    monkeypatch.setattr(_host.shutil, "which", lambda _name, path: "/usr/bin/dockerd" if installed else None)
    docker, swarm = _host.read_engine(path)
    assert (docker["installed"], docker["answering"], docker["error"]) == (installed, False, None)
    assert swarm == {**_host.NO_SWARM, "state": state}


def test_paths(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "to_file").symlink_to("file")
    mine = {
        "exists": True,
        "type": "file",
        "mode": "0640",
        "uid": os.getuid(),
        "gid": (tmp_path / "file").stat().st_gid,
        "sha256": hashlib.sha256(b"x").hexdigest(),
    }
    assert _host.read_path(str(tmp_path / "file")) == mine
    assert _host.read_path(str(tmp_path / "to_file")) == mine
    assert _host.read_path(str(tmp_path / "nowhere"))["type"] == "link"
    folder = _host.read_path(str(tmp_path))
    assert (folder["type"], folder["sha256"]) == ("directory", None)
    nothing = dict.fromkeys(mine, None) | {"exists": False}
    assert _host.read_path(str(tmp_path / "missing")) == nothing
    assert _host.read_path(str(tmp_path / "file" / "below")) == nothing


def test_a_large_file_is_not_hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(_host, "HASHED_BYTES", 3)
    (tmp_path / "small").write_text("abc")
    (tmp_path / "large").write_text("abcd")
    assert _host.read_path(str(tmp_path / "small"))["sha256"]
    assert _host.read_path(str(tmp_path / "large"))["sha256"] is None


def test_packages():
    text = (
        "docker.io\thold\tinstalled\t26.1.5+dfsg1-9+b9\n"
        "iptables\tunknown\tnot-installed\t\n"
        "libc6\tinstall\tinstalled\t2.41-12\n"
        "libc6\tunknown\tnot-installed\t\n"
    )
    assert _host.parse_packages(text) == {
        "docker.io": {"want": "hold", "status": "installed", "version": "26.1.5+dfsg1-9+b9"},
        "iptables": {"want": "unknown", "status": "not-installed", "version": ""},
        "libc6": {"want": "install", "status": "installed", "version": "2.41-12"},
    }


def test_packages_of_this_machine():
    found = _host.read_packages(["dpkg", "no-such-package-anywhere"])
    assert set(found) == {"dpkg"}
    assert (found["dpkg"]["status"], bool(found["dpkg"]["version"])) == ("installed", True)
    assert _host.read_packages([]) == {}


def test_a_package_database_that_cannot_be_read(monkeypatch, tmp_path):
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho 'dpkg-query: error: parsing file' >&2\nexit 2\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(FleetError, match="state of the packages could not be read .*parsing file"):
        _host.read_packages(["dpkg"])


def test_storage_of_a_folder_yet_to_come(tmp_path):
    storage = _host.read_storage(str(tmp_path / "not" / "yet"))
    assert storage["path"] == str(tmp_path)
    assert 0 < storage["free_bytes"] <= storage["total_bytes"]


def test_owner_of_a_listening_socket():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        inode = os.fstat(server.fileno()).st_ino
        with open("/proc/self/comm") as file:
            assert _host.read_owners({inode}) == {inode: file.read().strip()}
        mine = [one for one in _host.read_listening() if one["port"] == server.getsockname()[1]]
        assert [(one["protocol"], one["address"]) for one in mine] == [("tcp", "127.0.0.1")]
        assert mine[0]["process"]


def test_collect_reads_this_machine():
    host = _host.collect(["/"], ["dpkg"], storage_path="/", engine_socket="/nonexistent/socket")
    assert set(host) == {
        "hostname", "os", "architecture", "kernel", "python", "time", "uptime_s", "cgroup_version",
        "cgroup_controllers", "memory_bytes", "features", "storage", "addresses", "routes", "listening",
        "paths", "packages", "docker", "swarm",
    }
    assert host["hostname"] == socket.gethostname()
    assert host["memory_bytes"] > 1 << 20
    assert host["paths"]["/"]["type"] == "directory"
    assert all(isinstance(value, bool) for value in host["features"].values())
    for network in host["addresses"] + host["routes"]:
        ipaddress.ip_interface(network)


@pytest.mark.parametrize(
    ("told", "offset"), [(100.0, 0.0), (100.3, 0.0), (100.5, 0.0), (94.0, -6.0), (107.5, 7.0), (99.9, -0.1)]
)
def test_only_a_proven_clock_offset_counts(told, offset):
    assert _host.clock_offset(100.0, 100.5, told) == {"offset_s": offset, "uncertainty_s": 0.5}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("", None),
        ('{"debug": true}\n', None),
        ("[]", "line 1, column 1"),
        ('{"debug": true,}', "line 1, column 16"),
    ],
    ids=["missing", "empty", "object", "list", "comma"],
)
def test_config_error_says_where(tmp_path, text, found):
    path = tmp_path / "daemon.json"
    if text is not None:
        path.write_text(text)
    error = _host.config_error(str(path))
    assert error is None if found is None else error.endswith(f"{path}, {found}")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is, read with the standard library alone. Private: may change in any release.

The upper half parses text and bytes and knows no file; the lower half (``read_*``, ``collect``) reads the
kernel's files, its netlink socket and the Engine's socket, and asks dpkg-query about packages. Nothing here
writes or loads a kernel module. It runs on hosts that have no Docker and on any Python that ansible-core 2.19
supports.
"""
from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import os
import platform
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
from importlib import metadata

from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import (
    Document,
    DocumentError,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._engine_socket import SocketConnection
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

DAEMON_CONFIG = "/etc/docker/daemon.json"
ENGINE_SOCKET = "/var/run/docker.sock"
DATA_ROOT = "/var/lib/docker"
# Seconds for one answer of the Engine. It answers in milliseconds; one that needs longer is in trouble.
ENGINE_TIMEOUT = 15

# --- text -------------------------------------------------------------------------------------------------


def parse_os_release(text):
    """Return ``{id, version_id, codename, name}`` of an os-release file (format: os-release(5)).

    A key that is missing is an empty string; Debian testing, for one, states no VERSION_ID.
    """
    values = {}
    for line in text.splitlines():
        key, found, value = line.strip().partition("=")
        if not found or key.startswith("#"):
            continue
        quote = value[:1]
        if quote in ("'", '"') and value.endswith(quote) and len(value) > 1:
            value = value[1:-1]
        values[key] = re.sub(r"\\(.)", r"\1", value)
    return {
        "id": values.get("ID", "linux"),
        "version_id": values.get("VERSION_ID", ""),
        "codename": values.get("VERSION_CODENAME", ""),
        "name": values.get("PRETTY_NAME") or values.get("NAME", ""),
    }


def parse_memory(text):
    """Return the bytes of memory that /proc/meminfo states as MemTotal (its unit kB means KiB), or 0."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def parse_cgroups(text):
    """Return the names of the enabled version 1 controllers in /proc/cgroups."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return sorted(row[0] for row in rows if len(row) == 4 and row[3] == "1")


def parse_filesystems(text):
    """Return the names of the file systems in /proc/filesystems."""
    return {line.split()[-1] for line in text.splitlines() if line.strip()}


def parse_modules(text):
    """Return the module names in a modules.builtin or modules.dep file, with ``-`` written as ``_``."""
    return {
        match.replace("-", "_")
        for match in re.findall(r"^(?:[^:\s]*/)?([^/:\s]+)\.ko(?:\.\w+)?(?=:|\s|$)", text, re.MULTILINE)
    }


def parse_socket_address(text):
    """Return (address, port) of the kernel's hexadecimal notation, which keeps 32-bit words in host order."""
    words, port = text.split(":")
    raw = b"".join(
        int(words[at:at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)
    )
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)


def parse_sockets(text, protocol):
    """Return ``[(protocol, address, port, inode)]`` of the sockets that accept traffic.

    text is /proc/net/{tcp,tcp6,udp,udp6}. State 0A is TCP_LISTEN; an unconnected datagram socket is 07.
    """
    state = "0A" if protocol == "tcp" else "07"
    rows = [line.split() for line in text.splitlines()[1:]]
    return [
        (protocol, *parse_socket_address(row[1]), int(row[9]))
        for row in rows
        if len(row) > 9 and row[3] == state
    ]


# dpkg-query(1): the wanted and the actual state are words of their own, so that "hold" is no installed state.
PACKAGE_FORMAT = "${Package}\t${db:Status-Want}\t${db:Status-Status}\t${Version}\n"


def parse_packages(text):
    """Return ``{name: {want, status, version}}`` of dpkg-query's output in PACKAGE_FORMAT.

    A package that is known but not installed has the version "". One of several architectures is listed once
    for each; an installed one then counts.
    """
    packages = {}
    for line in text.splitlines():
        name, want, status, version = line.split("\t")
        if packages.get(name, {}).get("status") != "installed":
            packages[name] = {"want": want, "status": status, "version": version}
    return packages


# --- netlink (rtnetlink(7)) -------------------------------------------------------------------------------

RTM_GETADDR, RTM_GETROUTE = 22, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTN_UNICAST = 1


def parse_netlink(data):
    """Yield (type, payload) of each message in the bytes of one datagram."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if length < 16:
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3:]


def parse_attributes(data):
    """Return ``{number: bytes}`` of a netlink attribute list."""
    attributes = {}
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        if length < 4:
            break
        attributes[number] = data[4:length]
        data = data[(length + 3) & ~3:]
    return attributes


def parse_addresses(payloads):
    """Return the host's addresses (``172.30.0.2/24``) from RTM_NEWADDR payloads.

    Loopback and link-local addresses are left out: no peer can be told one.
    """
    found = []
    for payload in payloads:
        family, prefix = struct.unpack_from("=BB", payload)
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        attributes = parse_attributes(payload[8:])
        # IFA_LOCAL, else IFA_ADDRESS: the latter is the peer's on a point-to-point link.
        raw = attributes.get(2) or attributes.get(1)
        if raw:
            interface = ipaddress.ip_interface((raw, prefix))
            if not (interface.ip.is_loopback or interface.ip.is_link_local):
                found.append(interface.with_prefixlen)
    return found


def parse_routes(payloads):
    """Return the networks (``172.30.0.0/24``) that unicast routes lead to, from RTM_NEWROUTE payloads.

    All routing tables count. Default routes and link-local ones are left out: one overlaps with everything,
    the other with nothing.
    """
    found = set()
    for payload in payloads:
        family, prefix = struct.unpack_from("=BB", payload)
        kind = payload[7]
        raw = parse_attributes(payload[12:]).get(1)  # RTA_DST
        if family not in (socket.AF_INET, socket.AF_INET6) or kind != RTN_UNICAST or not prefix or not raw:
            continue
        network = ipaddress.ip_network((raw, prefix), strict=False)
        if not (network.is_loopback or network.is_link_local or network.is_multicast):
            found.add(network)
    return [str(network) for network in sorted(found, key=lambda one: (one.version, one))]


# --- answers of the Engine --------------------------------------------------------------------------------


def docker_facts(info, version, containers):
    """Return what the Engine says of itself, from the answers of /info, /version and /containers/json."""
    return {
        "version": version.get("Version") or info.get("ServerVersion"),
        "api_version": version.get("ApiVersion"),
        "min_api_version": version.get("MinAPIVersion"),
        "storage_driver": info.get("Driver"),
        "data_root": info.get("DockerRootDir"),
        "default_runtime": info.get("DefaultRuntime"),
        "runtimes": sorted(info.get("Runtimes") or {}),
        "live_restore": bool(info.get("LiveRestoreEnabled")),
        # Reported from API 1.49 (Engine 28) on; older engines know iptables only.
        "firewall_backend": (info.get("FirewallBackend") or {}).get("Driver") or "iptables",
        "published": published_ports(containers),
    }


def published_ports(containers):
    """Return each host port that a running container publishes, and whose container it is."""
    ports = {
        (port["Type"], port["PublicPort"]): {
            "protocol": port["Type"],
            "port": port["PublicPort"],
            "container": (container.get("Names") or [container.get("Id", "")])[0].lstrip("/"),
            "stack": (container.get("Labels") or {}).get("com.docker.stack.namespace"),
        }
        for container in containers
        for port in container.get("Ports") or []
        if port.get("PublicPort")
    }
    return [ports[key] for key in sorted(ports)]


def swarm_facts(info, nodes, error):
    """Return the Swarm's state as the Engine tells it in /info, with the nodes a manager lists in /nodes.

    error   why /nodes could not be read, or None
    """
    swarm = info.get("Swarm") or {}
    return {
        "state": swarm.get("LocalNodeState") or "inactive",
        "node_id": swarm.get("NodeID") or None,
        "node_address": swarm.get("NodeAddr") or None,
        "manager": bool(swarm.get("ControlAvailable")),
        "error": swarm.get("Error") or error,
        "cluster_id": (swarm.get("Cluster") or {}).get("ID") or None,
        "managers": swarm.get("Managers") or 0,
        "nodes_count": swarm.get("Nodes") or 0,
        "nodes": [node_facts(node) for node in nodes],
    }


def node_facts(node):
    """Return one entry of /nodes in short."""
    spec, description, status, manager = (
        node.get(key) or {} for key in ("Spec", "Description", "Status", "ManagerStatus")
    )
    address = status.get("Addr") or ""
    # The leader may report itself as 0.0.0.0; its manager address is right then (moby/moby#35437).
    if manager.get("Addr") and address in ("", "0.0.0.0"):
        address = manager["Addr"].rpartition(":")[0].strip("[]")
    return {
        "id": node["ID"],
        "hostname": description.get("Hostname", ""),
        "role": spec.get("Role"),
        "availability": spec.get("Availability"),
        "state": status.get("State"),
        "address": address,
        "labels": spec.get("Labels") or {},
        "engine_version": (description.get("Engine") or {}).get("EngineVersion"),
        "leader": bool(manager.get("Leader")),
        "manager_reachability": manager.get("Reachability"),
        "generic_resources": [
            {"kind": one["Kind"], "value": one["Value"]}
            for resource in (description.get("Resources") or {}).get("GenericResources") or []
            for one in resource.values()
        ],
    }


NO_ENGINE = {
    "version": None, "api_version": None, "min_api_version": None, "storage_driver": None, "data_root": None,
    "default_runtime": None, "runtimes": [], "live_restore": False, "firewall_backend": None, "published": [],
}
NO_SWARM = {
    "state": "inactive", "node_id": None, "node_address": None, "manager": False, "error": None,
    "cluster_id": None, "managers": 0, "nodes_count": 0, "nodes": [],
}

# --- reading ----------------------------------------------------------------------------------------------


def read_text(path):
    """Return the text of a file, or an empty string where the kernel does not offer it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_netlink(request, header):
    """Return the payloads of a netlink dump."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.bind((0, 0))
        link.settimeout(10)
        flags = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
        link.send(struct.pack("=IHHII", 16 + len(header), request, flags, 1, 0) + header)
        payloads = []
        while True:
            for kind, payload in parse_netlink(link.recv(1 << 18)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return payloads
                payloads.append(payload)


def read_features(kernel):
    """Return which kernel features are there or can be loaded on demand.

    Built-in code shows in /proc/filesystems, /sys/module or under /proc/sys; code not loaded yet is listed by
    depmod for the running kernel. ip_vs has its sysctl folder as soon as it is there.
    """
    listed = set()
    for name in ("modules.builtin", "modules.dep"):
        listed |= parse_modules(read_text(f"/lib/modules/{kernel}/{name}"))
    return {
        "overlay": "overlay" in parse_filesystems(read_text("/proc/filesystems")) or "overlay" in listed,
        "vxlan": os.path.isdir("/sys/module/vxlan") or "vxlan" in listed,
        "ipvs": os.path.isdir("/proc/sys/net/ipv4/vs") or "ip_vs" in listed,
        "bridge_netfilter": os.path.isdir("/proc/sys/net/bridge") or "br_netfilter" in listed,
    }


def read_cgroups():
    """Return (version, controllers) of the control groups in use. A hybrid layout counts as version 1."""
    unified = "/sys/fs/cgroup/cgroup.controllers"
    if os.path.exists(unified):
        return 2, sorted(read_text(unified).split())
    return 1, parse_cgroups(read_text("/proc/cgroups"))


def read_listening():
    """Return the listening sockets of the host's network with the short name of the process that holds each.

    A socket of the kernel (VXLAN's for one) belongs to no process: None. So does every socket of another user
    when this runs without root rights.
    """
    sockets = []
    for protocol in ("tcp", "udp"):
        for name in (protocol, protocol + "6"):
            sockets += parse_sockets(read_text(f"/proc/net/{name}"), protocol)
    owners = read_owners({inode for _protocol, _address, _port, inode in sockets if inode})
    return [
        {"protocol": protocol, "address": address, "port": port, "process": owners.get(inode)}
        for protocol, address, port, inode in sorted(set(sockets))
    ]


def read_owners(inodes):
    """Return ``{inode: process name}`` of sockets; the process with the lowest number names a shared one."""
    owners = {}
    for pid in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
        if len(owners) == len(inodes):
            break
        folder = f"/proc/{pid}/fd"
        try:
            descriptors = os.listdir(folder)
        except OSError:
            continue  # it has ended, or is another user's
        for descriptor in descriptors:
            try:
                link = os.readlink(f"{folder}/{descriptor}")
            except OSError:
                continue
            if link.startswith("socket:[") and int(link[8:-1]) in inodes:
                owners.setdefault(int(link[8:-1]), read_text(f"/proc/{pid}/comm").strip())
    return owners


def read_storage(path):
    """Return the free and total bytes of the file system that holds path, or would hold it."""
    measured = os.path.abspath(path)
    while not os.path.exists(measured):
        measured = os.path.dirname(measured)
    usage = os.statvfs(measured)
    return {
        "path": measured,
        "free_bytes": usage.f_bavail * usage.f_frsize,
        "total_bytes": usage.f_blocks * usage.f_frsize,
    }


# The largest file whose content is hashed: what roles compare are small files that they have written.
HASHED_BYTES = 1 << 20

KINDS = (
    ("file", stat.S_ISREG), ("directory", stat.S_ISDIR), ("link", stat.S_ISLNK), ("socket", stat.S_ISSOCK),
    ("block", stat.S_ISBLK), ("character", stat.S_ISCHR), ("fifo", stat.S_ISFIFO),
)


def read_path(path):
    """Return what lies at a path. Links are followed; one that leads nowhere is itself what is found."""
    try:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False, "type": None, "mode": None, "uid": None, "gid": None, "sha256": None}
    return {
        "exists": True,
        "type": next((name for name, matches in KINDS if matches(found.st_mode)), "other"),
        "mode": format(stat.S_IMODE(found.st_mode), "04o"),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "sha256": read_hash(path) if stat.S_ISREG(found.st_mode) and found.st_size <= HASHED_BYTES else None,
    }


def read_hash(path):
    """Return the SHA-256 of a file's content in hexadecimal, or None if this user may not read it."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def read_packages(names):
    """Return what dpkg knows of these packages, as parse_packages() does. It is silent about others."""
    if not names:
        return {}
    query = ["dpkg-query", "--show", "--showformat", PACKAGE_FORMAT, *names]
    # Its exit code is 1 if it does not know every one, which is no failure here.
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        found = done.stderr.strip()
        raise FleetError("The state of the packages could not be read", " ".join(query[:2]), found)
    return parse_packages(done.stdout)


class EngineError(FleetError):
    """The Engine's answer to one request was not what was asked for."""

    def __init__(self, path, found, option=None):
        super().__init__("The Docker Engine could not be read", f"GET {path}", found, option=option)


class Engine(SocketConnection):
    """Reads the Docker Engine API over its socket. One connection serves all requests."""

    def __init__(self, path=ENGINE_SOCKET, timeout=ENGINE_TIMEOUT):
        super().__init__(path, timeout)

    def get(self, path):
        """Return the JSON of a GET. OSError: nothing listens there. EngineError: any other failure."""
        try:
            self.request("GET", path)
            answer = self.getresponse()
            body = answer.read()
            data = json.loads(body)
        except TimeoutError:
            raise EngineError(path, f"no answer within {self.timeout} s") from None
        except PermissionError:
            raise EngineError(path, f"no permission to use {self.path}", "become: true") from None
        except (http.client.HTTPException, ConnectionResetError, BrokenPipeError, ValueError) as error:
            raise EngineError(path, f"an answer that is no JSON ({type(error).__name__})") from None
        if answer.status != 200:
            reason = data.get("message") if isinstance(data, dict) else data
            raise EngineError(path, f"status {answer.status}: {str(reason).strip().rstrip('.')}")
        return data


def read_engine(path=ENGINE_SOCKET, timeout=ENGINE_TIMEOUT):
    """Return (docker, swarm): what the Engine and its Swarm are, never a guess where it cannot be asked.

    The state of the Swarm is None while an installed Engine does not answer: it may well be part of one.
    """
    installed = any(
        shutil.which("dockerd", path=folder)
        for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/snap/bin")
    )
    try:
        sdk = metadata.version("docker")
    except metadata.PackageNotFoundError:
        sdk = None
    docker = {"installed": installed, "answering": False, "error": None, **NO_ENGINE, "sdk": sdk}
    engine = Engine(path, timeout)
    try:
        info, version = engine.get("/info"), engine.get("/version")
        containers = engine.get("/containers/json")
    except OSError:
        # No socket, or a socket nobody listens on: not installed, or stopped.
        return docker, {**NO_SWARM, "state": None if installed else "inactive"}
    except EngineError as error:
        return {**docker, "installed": True, "error": str(error)}, {**NO_SWARM, "state": None}
    nodes, refused = [], None
    if (info.get("Swarm") or {}).get("ControlAvailable"):
        try:
            nodes = engine.get("/nodes")
        except (EngineError, OSError) as error:
            refused = str(error)
    engine.close()
    docker.update(installed=True, answering=True, **docker_facts(info, version, containers))
    return docker, swarm_facts(info, nodes, refused)


def config_error(path=DAEMON_CONFIG):
    """Return why and where the Engine's configuration is no JSON object, or None. It may be missing."""
    try:
        Document(read_text(path), path)
    except DocumentError as error:
        return f"{error.cause} at {error.target}"
    return None


def collect(paths, packages=(), storage_path=None, engine_socket=ENGINE_SOCKET):
    """Return everything about this host, as documented in the module host_info."""
    kernel = os.uname().release
    cgroup_version, controllers = read_cgroups()
    docker, swarm = read_engine(engine_socket)
    docker["config_error"] = config_error()
    return {
        "hostname": socket.gethostname(),
        "os": parse_os_release(read_text("/etc/os-release") or read_text("/usr/lib/os-release")),
        "architecture": os.uname().machine,
        "kernel": kernel,
        "python": platform.python_version(),
        "time": time.time(),
        "uptime_s": float((read_text("/proc/uptime").split() or ["0"])[0]),
        "cgroup_version": cgroup_version,
        "cgroup_controllers": controllers,
        "memory_bytes": parse_memory(read_text("/proc/meminfo")),
        "features": read_features(kernel),
        "storage": read_storage(storage_path or docker["data_root"] or DATA_ROOT),
        "addresses": parse_addresses(read_netlink(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0))),
        "routes": parse_routes(read_netlink(RTM_GETROUTE, struct.pack("=BBBBBBBBI", *[0] * 9))),
        "listening": read_listening(),
        "paths": {path: read_path(path) for path in paths},
        "packages": read_packages(packages),
        "docker": docker,
        "swarm": swarm,
    }


def clock_offset(sent, received, told):
    """Return how far a host's clock is off, as far as one question and its answer can prove it.

    sent, received  the asker's clock before and after, epoch seconds
    told            the host's clock at some moment between them

    offset_s is 0.0 when the host's time fits between the two; otherwise the distance to the nearer of them,
    positive when the host is ahead. The true offset may be larger by up to uncertainty_s, the call's length.
    """
    offset = min(told - sent, 0.0) or max(told - received, 0.0)
    return {"offset_s": round(offset, 3), "uncertainty_s": round(received - sent, 3)}

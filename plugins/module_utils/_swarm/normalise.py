# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One canonical form for what is wanted and what an Engine stores. Private: may change in any release.

Two objects are equal if and only if their canonical forms are. The form leaves out whatever an Engine adds by
itself and every value that says the same as its absence, sorts lists whose order means nothing, and keeps the
rest word for word. It is for comparing only: what is sent is the wanted spec itself.

Facts about stored specs: moby (Engine 20.10, 26.1, 28, 29), daemon/cluster/convert and api/types/swarm.
"""

from __future__ import annotations

import ipaddress
import json
import struct

# Maps whose keys and values are the user's own text: an empty value there is a value.
_MAPS = {"Labels", "Options", "DriverOpts", "Sysctls"}

# Written by drift with every service, to tell later what others changed. Says nothing about the service
# itself.
SENT_LABEL = "gpufleet.sent"

# Pointers in the Engine's types: here zero (or false) and absent are not the same.
_POINTERS = {
    "Replicas",
    "MaxConcurrent",
    "TotalCompletions",
    "Init",
    "Delay",
    "StopGracePeriod",
    "Parallelism",
    "MemorySwappiness",
}

_UNORDERED = {
    "Env",
    "Secrets",
    "Configs",
    "Networks",
    "Aliases",
    "Constraints",
    "CapabilityAdd",
    "CapabilityDrop",
    "Ulimits",
    "Ports",
    "Mounts",
    "Hosts",
    "GenericResources",
}

# Fields that only an Engine or another client fills in, and values that equal the default.
_SECOND = 1_000_000_000
_UPDATE_DEFAULTS = {
    "FailureAction": "pause",
    "Monitor": 5 * _SECOND,
    "Order": "stop-first",
    "Delay": 0,
}
_DEFAULTS = {
    "TaskTemplate": {"Runtime": "container", "ForceUpdate": ...},
    "TaskTemplate.ContainerSpec": {"Isolation": "default", "StopGracePeriod": 10 * _SECOND},
    "TaskTemplate.RestartPolicy": {"Condition": "any", "Delay": 5 * _SECOND},
    "TaskTemplate.Placement": {"Platforms": ...},
    "EndpointSpec": {"Mode": "vip"},
    "UpdateConfig": _UPDATE_DEFAULTS,
    "RollbackConfig": _UPDATE_DEFAULTS,
}

# An Engine writes these into a network by itself (the second from default-network-opts of daemon.json).
_NETWORK_INJECTED = {"com.docker.network.driver.overlay.vxlanid_list", "com.docker.network.driver.mtu"}


def service(spec):
    """Return the canonical form of a ServiceSpec whose ids were replaced by names."""
    spec = _prepared(spec)
    mode = _mode(spec.pop("Mode", None))
    out = _tidy(spec)
    for path, defaults in _DEFAULTS.items():
        _drop_defaults(out, path.split("."), defaults)
    for key in ("UpdateConfig", "RollbackConfig"):
        # What an Engine does without one. The number alone cannot be left out, its absence would mean 0.
        if out.get(key) == {"Parallelism": 1}:
            del out[key]
    out["Mode"] = mode
    return out


def mode_kind(spec):
    """Return Replicated, ReplicatedJob, Global or GlobalJob."""
    return next(iter(_mode(spec.get("Mode"))))


def network(declared, stored=None):
    """Return the canonical form of the network ``declared``, or of ``stored`` seen through what is declared.

    Subnets count only where they are declared; else an Engine allocates them.
    """
    source = declared if stored is None else stored
    options = {
        k: v
        for k, v in (source.get("Options") or {}).items()
        if k not in _NETWORK_INJECTED or k in (declared.get("Options") or {})
    }
    out = {
        "Driver": source.get("Driver") or "overlay",
        "Options": options,
        "Internal": bool(source.get("Internal")),
        "Attachable": bool(source.get("Attachable")),
        "Labels": dict(source.get("Labels") or {}),
    }
    if source.get("EnableIPv6"):
        out["EnableIPv6"] = True
    ranges = (declared.get("IPAM") or {}).get("Config") or []
    if ranges:
        keys = {key for entry in ranges for key in entry}
        stored_ranges = (source.get("IPAM") or {}).get("Config") or []
        out["Ranges"] = sorted(
            ({k: v for k, v in entry.items() if k in keys} for entry in stored_ranges), key=_sort_key
        )
    if (declared.get("IPAM") or {}).get("Driver"):
        out["IPAM"] = (source.get("IPAM") or {}).get("Driver") or "default"
    return out


def network_differs(declared, stored):
    """Tell whether a network would have to be made anew to be as declared."""
    return network(declared) != network(declared, stored)


def references(spec):
    """Return the (kind, name) of every network, secret and config that a ServiceSpec with names uses."""
    task = (spec or {}).get("TaskTemplate") or {}
    used = {("networks", entry["Target"]) for entry in task.get("Networks") or []}
    container = task.get("ContainerSpec") or {}
    for kind, key, field in (("secrets", "Secrets", "SecretName"), ("configs", "Configs", "ConfigName")):
        used |= {(kind, entry[field]) for entry in container.get(key) or [] if entry.get(field)}
    return used


def image(reference):
    """Return an image in its familiar form with a tag: docker.io/library/nginx becomes nginx:latest."""
    for prefix in ("docker.io/library/", "index.docker.io/library/", "docker.io/"):
        if reference.startswith(prefix):
            reference = reference[len(prefix) :]
            break
    name, at, digest = reference.partition("@")
    if not at and ":" not in name.rpartition("/")[2]:
        name += ":latest"
    return name + at + digest


def _prepared(spec):
    """Copy a spec (it is JSON) with the shapes of old Engines and clients made like today's."""
    spec = json.loads(json.dumps(spec))
    (spec.get("Labels") or {}).pop(SENT_LABEL, None)
    task = spec.setdefault("TaskTemplate", {})
    old_networks = spec.pop("Networks", None)
    if old_networks and not task.get("Networks"):
        task["Networks"] = old_networks
    container = task.get("ContainerSpec") or {}
    if container.get("Image"):
        container["Image"] = image(container["Image"])
    dns = container.get("DNSConfig") or {}
    if dns.get("Nameservers"):
        dns["Nameservers"] = [_address(server) for server in dns["Nameservers"]]
    credential = (container.get("Privileges") or {}).get("CredentialSpec") or {}
    if credential.get("Config"):
        ids = {entry.get("ConfigID"): entry["ConfigName"] for entry in container.get("Configs") or []}
        credential["Config"] = ids.get(credential["Config"], credential["Config"])
    for reference in (container.get("Secrets") or []) + (container.get("Configs") or []):
        reference.pop("SecretID", None)
        reference.pop("ConfigID", None)
    for mount in container.get("Mounts") or []:
        mount["Type"] = mount.get("Type") or "bind"
        mount.pop("Consistency", None)
    placement = task.get("Placement") or {}
    if placement.get("Constraints"):
        placement["Constraints"] = [_constraint(text) for text in placement["Constraints"]]
    for port in (spec.get("EndpointSpec") or {}).get("Ports") or []:
        port["Protocol"] = port.get("Protocol") or "tcp"
        port["PublishMode"] = port.get("PublishMode") or "ingress"
    for key in ("UpdateConfig", "RollbackConfig"):
        config = spec.get(key)
        if config is not None:
            # A number without "omitempty": an absent one is read as 0, which means unlimited.
            config["Parallelism"] = config.get("Parallelism") or 0
            config["MaxFailureRatio"] = _float32(config.get("MaxFailureRatio") or 0)
    return spec


def _mode(mode):
    mode = mode or {}
    if mode.get("Global") is not None:
        return {"Global": {}}
    if mode.get("GlobalJob") is not None:
        return {"GlobalJob": {}}
    if mode.get("ReplicatedJob") is not None:
        job = mode["ReplicatedJob"]
        concurrent = 1 if job.get("MaxConcurrent") is None else job["MaxConcurrent"]
        total = concurrent if job.get("TotalCompletions") is None else job["TotalCompletions"]
        return {"ReplicatedJob": {"MaxConcurrent": concurrent, "TotalCompletions": total}}
    replicas = (mode.get("Replicated") or {}).get("Replicas")
    return {"Replicated": {"Replicas": 1 if replicas is None else replicas}}


def _tidy(value, key=None):
    if isinstance(value, dict):
        if key in _MAPS:
            return dict(value)
        tidied = {k: _tidy(v, k) for k, v in value.items()}
        return {k: v for k, v in tidied.items() if not _says_nothing(k, v)}
    if isinstance(value, list):
        items = [_tidy(item) for item in value]
        return sorted(items, key=_sort_key) if key in _UNORDERED else items
    return value


def _says_nothing(key, value):
    if value is None or value in ("", [], {}):
        return True
    return value in (0, False) and key not in _POINTERS


def _sort_key(item):
    return json.dumps(item, sort_keys=True)


def _drop_defaults(out, path, defaults):
    """Remove defaults from the struct at ``path``, and the struct itself once nothing is left in it."""
    parents = []
    node = out
    for part in path:
        parents.append((node, part))
        node = node.get(part)
        if node is None:
            return
    for key, default in defaults.items():
        if key in node and (default is ... or node[key] == default):
            del node[key]
    for parent, part in reversed(parents):
        if not parent[part]:
            del parent[part]


def _address(text):
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _constraint(text):
    for operator in ("==", "!="):
        left, found, right = text.partition(operator)
        if found:
            return f"{left.strip()}{operator}{right.strip()}"
    return text


def _float32(number):
    """The Engine keeps ratios in 32 bits: 0.1234567891 comes back as 0.12345679."""
    return struct.unpack("f", struct.pack("f", float(number)))[0]

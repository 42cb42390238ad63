# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CLI posts and what convert() returns, brought to one form and compared.

The form is that in which an Engine stores objects (moby, daemon/cluster/convert), with names in the place of
ids. It is written here a second time, apart from the collection's own normalise.py, and is stricter: lists
keep their order, but for the ports and for references to secrets and configs, which Docker's tools sort.
"""

from __future__ import annotations

import json
import re
import struct

# Maps with texts of the user: an empty one there is a value.
_MAPS = {"Labels", "Options", "DriverOpts", "Sysctls", "AuxiliaryAddresses"}
# Pointers in the Engine's types, and numbers that are always there: zero is not the same as absent.
_KEPT = {
    *("Replicas", "MaxConcurrent", "TotalCompletions", "Init", "StopGracePeriod", "Delay", "Window"),
    *("Parallelism", "MaxAttempts", "MaxFailureRatio"),
}
_HASHED = re.compile(r"-[0-9a-f]{12}$")
RENAMED = ("configs", "secrets")


def theirs(posted):
    """Return the form of what the recorder wrote down: {kind: {name: spec}}."""
    result = {kind: {name: _tidy(spec) for name, spec in posted[kind].items()} for kind in posted}
    result["services"] = {name: _tidy(_stored(spec)) for name, spec in posted["services"].items()}
    return result


def ours(desired, secret_values):
    """Return the form of what convert() made, with the names the CLI gives to configs and secrets."""
    names = _plain_names(desired)
    result = {kind: {} for kind in ("networks", *RENAMED, "services")}
    for name, entry in desired["networks"].items():
        result["networks"][name] = _tidy(entry["spec"])
    for kind in RENAMED:
        for name, entry in desired[kind].items():
            spec = dict(entry["spec"], Name=names.get(name, name))
            if kind == "secrets" and "Data" in spec:
                spec["Data"] = secret_values[spec["Data"].strip("\x02\x03")]
            result[kind][spec["Name"]] = _tidy(spec)
    for name, entry in desired["services"].items():
        spec = json.loads(json.dumps(entry["spec"]))
        _rename(spec["TaskTemplate"]["ContainerSpec"], names)
        result["services"][name] = _tidy(spec)
    return result


def renamed(desired):
    """Return {path: (the CLI's name, ours)} of the configs and secrets that are named by content."""
    names = _plain_names(desired)
    return {
        f"{kind}/{names[name]}/Name": (names[name], name)
        for kind in RENAMED
        for name in desired[kind]
        if name in names
    }


def differences(left, right):
    """Return {path: (left, right)}; a path is KIND/NAME/Field/Field, lists are compared as one value."""
    left, right = _flat(left), _flat(right)
    return {
        path: (left.get(path), right.get(path))
        for path in sorted({*left, *right})
        if left.get(path) != right.get(path)
    }


def _plain_names(desired):
    """Map names with the content's hash behind them to those without."""
    plain = {}
    for kind in RENAMED:
        for name, entry in desired[kind].items():
            bare = f"{desired['name']}_{entry['key']}"
            if _HASHED.sub("", name) == bare:
                plain[name] = bare
    return plain


def _rename(container, names):
    for kind, field in (("Secrets", "SecretName"), ("Configs", "ConfigName")):
        for reference in container.get(kind, ()):
            reference[field] = names.get(reference[field], reference[field])
    spec = container.get("Privileges", {}).get("CredentialSpec", {})
    if "Config" in spec:
        spec["Config"] = names.get(spec["Config"], spec["Config"])


def _stored(spec):
    """Do with a posted ServiceSpec what an Engine does when it stores it."""
    spec = json.loads(json.dumps(spec))
    task = spec["TaskTemplate"]
    container = task["ContainerSpec"]
    for kind, field in (("Secrets", "SecretID"), ("Configs", "ConfigID")):
        for reference in container.get(kind) or ():
            del reference[field]
    privileges = container.get("Privileges") or {}
    if (privileges.get("CredentialSpec") or {}).get("Config"):
        privileges["CredentialSpec"]["Config"] = privileges["CredentialSpec"]["Config"].removeprefix("id-")
    for mount in container.get("Mounts") or ():
        mount.pop("Consistency", None)
    if container.get("Isolation") == "default":
        del container["Isolation"]  # stored for a service that states none, too
    mode = spec["Mode"]
    if "Replicated" in mode:
        mode["Replicated"] = {"Replicas": _number(mode["Replicated"].get("Replicas"), 1)}
    if "ReplicatedJob" in mode:
        concurrent = _number(mode["ReplicatedJob"].get("MaxConcurrent"), 1)
        total = _number(mode["ReplicatedJob"].get("TotalCompletions"), concurrent)
        mode["ReplicatedJob"] = {"MaxConcurrent": concurrent, "TotalCompletions": total}
    policy = task.get("RestartPolicy")
    if policy is not None:
        policy["Condition"] = policy.get("Condition") or "any"
        policy["MaxAttempts"] = _number(policy.get("MaxAttempts"), 0)
    for config in filter(None, (spec.get("UpdateConfig"), spec.get("RollbackConfig"))):
        config["FailureAction"] = config.get("FailureAction") or "pause"
        config["Order"] = config.get("Order") or "stop-first"
        config["MaxFailureRatio"] = _number(config.get("MaxFailureRatio"), 0)
        config["Parallelism"] = _number(config.get("Parallelism"), 0)
    endpoint = spec.setdefault("EndpointSpec", {})
    endpoint["Mode"] = endpoint.get("Mode") or "vip"
    for port in endpoint.get("Ports") or ():
        port["Protocol"] = port.get("Protocol") or "tcp"
        port["PublishMode"] = port.get("PublishMode") or "ingress"
    return spec


def _number(value, default):
    return default if value is None else value


def _tidy(value, key=None):
    """Leave out what is empty, and sort where Docker's tools sort."""
    if isinstance(value, dict):
        if key in _MAPS:
            return dict(value)
        if key in ("Global", "GlobalJob"):
            return {"present": True}
        tidied = {name: _tidy(each, name) for name, each in value.items()}
        return {name: each for name, each in tidied.items() if _says_something(name, each)}
    if isinstance(value, list):
        return sorted(map(_tidy, value), key=_order.get(key, lambda _item: 0))
    if key == "MaxFailureRatio":
        return struct.unpack("f", struct.pack("f", value))[0]  # an Engine has 32 bits for it
    return value


_order = {
    "Ports": lambda port: json.dumps(port, sort_keys=True),
    "Secrets": lambda reference: (reference["SecretName"], reference["File"]["Name"]),
    "Configs": lambda reference: (reference["ConfigName"], reference.get("File", {}).get("Name", "")),
}


def _says_something(name, value):
    if name == "Runtime" and value == {}:
        return True  # of a config: for the container's runtime, not a file
    return value not in (None, "", [], {}) and (name in _KEPT or value not in (0, False))


def _flat(value, path=""):
    if isinstance(value, dict) and value:
        below = [_flat(each, f"{path}/{name}") for name, each in value.items()]
        return {key: leaf for leaves in below for key, leaf in leaves.items()}
    return {path.lstrip("/"): value}


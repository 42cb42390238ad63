# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Swarm in memory that keeps, fills in, drops and refuses as an Engine of API 1.45 (26.1) does.

FakeSwarm keeps what it is sent. This one has an Engine's own types: a field it does not know is lost, a
partial section comes back whole, and a reference to nothing is refused. Sources: moby 26.1,
daemon/cluster/convert and api/types/swarm; swarmkit, manager/controlapi.
"""

from __future__ import annotations

import copy
import json
import struct

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

from tests.unit.fake_swarm import FakeSwarm

MODES = ("Replicated", "Global", "ReplicatedJob", "GlobalJob")

# What an Engine keeps of a spec: a mapping is a struct of its own, ... is anything.
_CONTAINER_KEYS = """
    Image Labels Command Args Hostname Env Dir User Groups TTY OpenStdin ReadOnly Hosts DNSConfig Init Sysctls
    CapabilityAdd CapabilityDrop Ulimits StopSignal StopGracePeriod Healthcheck Isolation Privileges Secrets
    Configs Mounts
"""
_CONTAINER = dict.fromkeys(_CONTAINER_KEYS.split(), ...)
_TASK = {
    **dict.fromkeys(("Resources", "RestartPolicy", "Placement", "Networks", "LogDriver", "ForceUpdate"), ...),
    "Runtime": ...,
    "ContainerSpec": _CONTAINER,
}
_SERVICE = {
    **dict.fromkeys(("Name", "Labels", "Mode", "UpdateConfig", "RollbackConfig", "EndpointSpec"), ...),
    "TaskTemplate": _TASK,
}


class StoringSwarm(FakeSwarm):
    """A FakeSwarm with the types and the checks of an Engine."""

    def __init__(self, **keys):
        super().__init__(**keys)
        self.secret_data = {}  # what no Engine tells: name of a secret to its content, base64

    def get(self, path, *args, **params):
        found = super().get(path, *args, **params)
        if path == "/services" and params.get("status"):
            for service in found:
                service["ServiceStatus"] = self._status(service)
        return found

    def post(self, path, *args, data=None, **params):
        kind, verb = path.split("/")[1], path.rpartition("/")[2]
        if verb == "update":
            self._check_update(kind, args[0], data, params)
        if kind == "services":
            self._check_service(data, args[0] if args else None)
        if kind == "secrets" and verb == "create":
            self.secret_data[data["Name"]] = data.get("Data", "")
        return super().post(path, *args, data=data, **params)

    # For tests

    def snapshot(self):
        """Return every object by (kind, name), as it is kept, versions and previous specs included."""
        return {
            (kind[:-1], entry["Name"] if kind == "networks" else entry["Spec"]["Name"]): copy.deepcopy(entry)
            for kind, entries in self.objects.items()
            for entry in entries.values()
        }

    def change(self, name, edit):
        """Update a service as another client would; not counted. edit: changes its spec in place."""
        writes, calls = self.writes, list(self.calls)
        entry = self.service(name)
        spec = copy.deepcopy(entry["Spec"])
        edit(spec)
        self.post("/services/{0}/update", entry["ID"], data=spec, version=entry["Version"]["Index"])
        self.writes, self.calls = writes, calls

    def relabel(self, kind, name, labels):
        """Change the labels of a secret or a config as another client would; not counted."""
        entry = next(each for each in self.objects[kind].values() if each["Spec"]["Name"] == name)
        entry["Spec"]["Labels"] = labels
        self._stamp(entry)

    def remove(self, name):
        """Remove a service as another client would; not counted."""
        identity = self.service(name)["ID"]
        del self.objects["services"][identity]
        self.tasks = [task for task in self.tasks if task["ServiceID"] != identity]

    # The inside

    def _status(self, service):
        tasks = [task for task in self.tasks if task["ServiceID"] == service["ID"] and not task["stale"]]
        running = sum(task["Status"]["State"] == "running" for task in tasks)
        return {"RunningTasks": running, "DesiredTasks": len(tasks), "CompletedTasks": 0}

    def _check_update(self, kind, identity, data, params):
        entry = self.objects[kind][identity]
        if params.get("rollback"):
            return
        if kind == "services":
            if _mode(data) != _mode(entry["Spec"]):
                raise _refused(501, "service mode change is not allowed")
            if data["Name"] != entry["Spec"]["Name"]:
                raise _refused(501, "renaming services is not supported")
        else:
            for key, value in entry["Spec"].items():
                if key != "Labels" and data.get(key) != value:
                    raise _refused(400, "only updates to Labels are allowed")

    def _check_service(self, spec, identity):
        task = spec["TaskTemplate"]
        known = set(self.objects["networks"]) | {each["Name"] for each in self.objects["networks"].values()}
        for attachment in task.get("Networks") or []:
            if attachment["Target"] not in known:
                raise _refused(404, f"network {attachment['Target']} not found")
        for kind, key, word in (("secrets", "Secrets", "Secret"), ("configs", "Configs", "Config")):
            for reference in task["ContainerSpec"].get(key) or []:
                entry = self.objects[kind].get(reference.get(word + "ID"))
                if entry is None or entry["Spec"]["Name"] != reference[word + "Name"]:
                    raise _refused(400, f"{kind[:-1]} {reference[word + 'Name']} not found")
        taken = {
            (port["PublishedPort"], port["Protocol"])
            for other in self.objects["services"].values()
            if other["ID"] != identity
            for port in other["Spec"]["EndpointSpec"].get("Ports", ())
            if port.get("PublishedPort") and port["PublishMode"] == "ingress"
        }
        for port in (spec.get("EndpointSpec") or {}).get("Ports") or []:
            if (port.get("PublishedPort"), port.get("Protocol") or "tcp") in taken:
                raise _refused(400, f"port '{port['PublishedPort']}' is already in use")

    def _stored(self, spec):
        spec = _kept(super()._stored(json.loads(json.dumps(spec))), _SERVICE)
        spec.setdefault("Labels", {})
        spec["Mode"] = _whole_mode(spec.get("Mode") or {})
        endpoint = spec.setdefault("EndpointSpec", {}) or {}
        endpoint.setdefault("Mode", "vip")
        for port in endpoint.get("Ports") or []:
            port.setdefault("Protocol", "tcp")
            port.setdefault("PublishMode", "ingress")
            if not port.get("PublishedPort"):
                port.pop("PublishedPort", None)
        for key in ("UpdateConfig", "RollbackConfig"):
            if spec.get(key) is not None:
                spec[key] = _whole_rollout(spec[key])
        task = spec["TaskTemplate"]
        if task.get("RestartPolicy") is not None:
            policy = task["RestartPolicy"]
            policy["Condition"] = policy.get("Condition") or "any"
            policy.setdefault("MaxAttempts", 0)
        container = task["ContainerSpec"]
        for key in ("Secrets", "Configs"):
            if not container.get(key):
                container.pop(key, None)
        for mount in container.get("Mounts") or []:
            mount.setdefault("Type", "bind")
            mount.pop("Consistency", None)
            if not mount.get("BindOptions"):
                mount.pop("BindOptions", None)
        return spec


def _mode(spec):
    return next((mode for mode in MODES if (spec.get("Mode") or {}).get(mode) is not None), "Replicated")


def _kept(value, keys):
    if keys is ...:
        return value
    return {key: _kept(child, keys[key]) for key, child in value.items() if key in keys}


def _whole_mode(mode):
    kind = next((each for each in MODES if mode.get(each) is not None), "Replicated")
    options = dict(mode.get(kind) or {})
    if kind == "Replicated":
        options.setdefault("Replicas", 1)
    if kind == "ReplicatedJob":
        options.setdefault("MaxConcurrent", 1)
        options.setdefault("TotalCompletions", options["MaxConcurrent"])
    return {kind: options}


def _whole_rollout(config):
    ratio = struct.unpack("f", struct.pack("f", config.get("MaxFailureRatio") or 0))[0]
    whole = {
        "Parallelism": config.get("Parallelism") or 0,
        "FailureAction": config.get("FailureAction") or "pause",
        "MaxFailureRatio": float(f"{ratio:.8g}"),
        "Order": config.get("Order") or "stop-first",
    }
    times = {key: config[key] for key in ("Delay", "Monitor") if config.get(key)}
    return {**whole, **times}


def _refused(status, cause):
    return EngineError("The Docker Engine refused to write", None, status, f"rpc error: {cause}")

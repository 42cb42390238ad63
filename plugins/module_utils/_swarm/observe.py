# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a Swarm has of one stack. Private: may change in any release.

``observe()`` returns the same shape as what is wanted, with names where the Engine keeps ids:

    {"networks": {name: {"id", "spec"}},
     "configs":  {name: {"id", "version", "spec", "created"}},   "secrets": the same
     "services": {name: {"id", "version", "spec", "previous": spec or None, "update": UpdateStatus,
                         "running": tasks that run, "desired": tasks there should be, "iteration",
                         "job": None, or "completed", "working", "given up"}},
     "foreign":  {"networks": {name: [service]}, "configs": ..., "secrets": ...},   users outside the stack
     "taken":    [(kind, name, stack or None)],      objects of others under a name this stack wants
     "missing":  [(kind, name)],                     external objects that do not exist
     "external": {"networks": {name: id}, "secrets": ..., "configs": ...},
     "nodes":    None, or [{"id", "hostname", "role", "labels", "engine_labels", "state",
                          "availability", "resources": {kind: number}}]}

A stack in its wanted state costs four list calls. Further ones are made only for what a plan needs then;
the module itself looks at the nodes, for claims on cards.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.normalise import (
    network_differs,
    references,
)

STACK_LABEL = "com.docker.stack.namespace"

# Networks that exist on every node; a service names them, nobody creates them.
PREDEFINED_NETWORKS = {"host", "bridge", "none", "default"}

_JOBS = ("ReplicatedJob", "GlobalJob")
_LIVE_STATES = {
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
}


class NoManager(FleetError):
    """This Engine manages no Swarm. state: its LocalNodeState, for example inactive."""

    def __init__(self, state, found, wanted, cause):
        super().__init__("Cannot manage stacks here", found=found, wanted=wanted, cause=cause)
        self.state = state


def empty():
    """Return what a Swarm without this stack looks like, for a prediction on a host without a Swarm."""
    kinds = ("networks", "secrets", "configs")
    return {
        **{kind: {} for kind in kinds},
        "services": {},
        "foreign": {kind: {} for kind in kinds},
        "external": {kind: {} for kind in kinds},
        "taken": [],
        "missing": [],
        "nodes": None,
    }


def observe(engine, name, desired):
    """Return the state of the stack ``name``. FleetError if this Engine is no manager of a working Swarm."""
    own = {"label": [f"{STACK_LABEL}={name}"]}
    try:
        services = engine.get("/services", filters=own, status="true")
    except EngineError as exc:
        raise no_manager(engine, exc) from exc
    networks = engine.get("/networks", filters={"scope": ["swarm"]})
    names = network_names(engine, networks, services)
    current = empty()
    current["services"] = {entry["Spec"]["Name"]: _service(entry, names) for entry in services}
    _look_at_jobs(engine, current["services"].values())
    current["networks"] = {
        entry["Name"]: {"id": entry["Id"], "spec": entry}
        for entry in networks
        if (entry.get("Labels") or {}).get(STACK_LABEL) == name
    }
    for kind in ("secrets", "configs"):
        current[kind] = {
            entry["Spec"]["Name"]: _stored(entry) for entry in engine.get(f"/{kind}", filters=own)
        }
    _look_for_others(engine, desired, current, networks)
    _look_for_foreign_users(engine, name, desired, current, names)
    if any(service.get("stateful") for service in desired["services"].values()):
        current["nodes"] = nodes(engine)
    return current


def no_manager(engine, cause):
    """Return the NoManager that says in what state this Engine is."""
    swarm = engine.get("/info").get("Swarm") or {}
    state = swarm.get("LocalNodeState") or "inactive"
    manager = "a manager of an active Swarm"
    found, wanted = {
        "inactive": ("a Docker Engine that is in no Swarm", f"{manager} (the swarm role makes one)"),
        "pending": ("a node that is still joining a Swarm", manager),
        "locked": (
            "a manager that is locked since its restart",
            f"{manager} (docker swarm unlock, with its key)",
        ),
        "error": (f"a node in the state error: {swarm.get('Error') or 'no reason given'}", manager),
        "active": ("a worker", f"{manager} as the host of this task"),
    }.get(state, (f"a node in the state {state}", manager))
    if state == "active" and swarm.get("ControlAvailable"):
        found, wanted = "a manager without a leader", "a majority of the managers"
    return NoManager(state, found, wanted, getattr(cause, "cause", cause))


def nodes(engine):
    """Return the nodes of the Swarm."""
    return [node(entry) for entry in engine.get("/nodes")]


def node(entry):
    """Return what counts of one node, as GET /nodes lists it."""
    spec, description = entry["Spec"], entry.get("Description") or {}
    return {
        "id": entry["ID"],
        "hostname": description.get("Hostname", ""),
        "role": spec.get("Role", ""),
        "labels": spec.get("Labels") or {},
        "engine_labels": (description.get("Engine") or {}).get("Labels") or {},
        "state": (entry.get("Status") or {}).get("State", ""),
        "availability": spec.get("Availability", ""),
        "resources": _resources(description.get("Resources") or {}),
    }


def _resources(description):
    """Return {kind: number} of the generic resources that a node advertises."""
    found = {}
    for entry in description.get("GenericResources") or []:
        named, counted = entry.get("NamedResourceSpec"), entry.get("DiscreteResourceSpec")
        one = named or counted
        found[one["Kind"]] = found.get(one["Kind"], 0) + (1 if named else counted.get("Value", 0))
    return found


def others(engine, stack):
    """Return the services that are not of a stack, None for all: {name: {"spec", "running"}}."""
    return {
        entry["Spec"]["Name"]: {
            "spec": entry["Spec"],
            "running": (entry.get("ServiceStatus") or {}).get("RunningTasks", 0),
        }
        for entry in engine.get("/services", status="true")
        if stack is None or (entry["Spec"].get("Labels") or {}).get(STACK_LABEL) != stack
    }


def read_service(engine, identity):
    """Return one service as observe() does, or None if it is gone."""
    try:
        entry = engine.get("/services/{0}", identity)
    except EngineError as exc:
        if exc.status == 404:
            return None
        raise
    networks = engine.get("/networks", filters={"scope": ["swarm"]})
    return _service(entry, network_names(engine, networks, [entry]))


def named(spec, networks):
    """Return a stored ServiceSpec with the names of its networks instead of their ids."""
    if not spec:
        return None
    task = dict(spec.get("TaskTemplate") or {})
    attachments = task.get("Networks") or spec.get("Networks") or []
    if attachments:
        task["Networks"] = [
            {**entry, "Target": networks.get(entry["Target"], entry["Target"])} for entry in attachments
        ]
    return {**{key: value for key, value in spec.items() if key != "Networks"}, "TaskTemplate": task}


def network_names(engine, networks, services):
    """Map ids to names. The Swarm's own "host" and its kin are in no list, but can be looked up."""
    names = {network["Id"]: network["Name"] for network in networks}
    for entry in services:
        for spec in (entry["Spec"], entry.get("PreviousSpec") or {}):
            for attachment in (spec.get("TaskTemplate") or {}).get("Networks") or []:
                target = attachment["Target"]
                if target not in names:
                    try:
                        names[target] = engine.get("/networks/{0}", target)["Name"]
                    except EngineError as exc:
                        if exc.status != 404:
                            raise
                        names[target] = target
    return names


def _service(entry, networks):
    spec = named(entry["Spec"], networks)
    status = entry.get("ServiceStatus") or {}
    return {
        "id": entry["ID"],
        "version": entry["Version"]["Index"],
        "spec": spec,
        "previous": named(entry.get("PreviousSpec"), networks),
        "update": entry.get("UpdateStatus") or {},
        "running": status.get("RunningTasks", 0),
        "desired": status.get("DesiredTasks", 0),
        "iteration": ((entry.get("JobStatus") or {}).get("JobIteration") or {}).get("Index", 0),
        "job": None if normalise.mode_kind(spec) not in _JOBS else "unknown",
    }


def updating(service):
    """Tell whether Swarm is about to update a service of the stack, or to roll it back."""
    return service["update"].get("State") in ("updating", "rollback_started")


def settling(service):
    """Tell whether Swarm still works on a service of the stack: an update, tasks to come, a job."""
    waiting = service["job"] is None and service["running"] < service["desired"]
    return updating(service) or waiting or service["job"] == "working"


def progress(service):
    """Return how far a service of the stack is, for example 2/3, or completed."""
    return service["job"] or f"{service['running']}/{service['desired']}"


def _look_at_jobs(engine, services):
    """Tell of each job whether its last run has completed, is still at work, or was given up."""
    jobs = {service["id"]: service for service in services if service["job"]}
    if not jobs:
        return
    tasks = {identity: [] for identity in jobs}
    for task in engine.get("/tasks", filters={"service": sorted(jobs)}):
        job = jobs.get(task["ServiceID"])
        if job and (task.get("JobIteration") or {}).get("Index", 0) == job["iteration"]:
            tasks[task["ServiceID"]].append(task["Status"]["State"])
    for identity, job in jobs.items():
        ((kind, options),) = normalise.service(job["spec"])["Mode"].items()
        done = tasks[identity].count("complete")
        wanted = options["TotalCompletions"] if kind == "ReplicatedJob" else len(tasks[identity])
        if done >= wanted:
            job["job"] = "completed"
        else:
            job["job"] = "working" if _LIVE_STATES.intersection(tasks[identity]) else "given up"


def _stored(entry):
    return {
        "id": entry["ID"],
        "version": entry["Version"]["Index"],
        "spec": entry["Spec"],
        "created": entry.get("CreatedAt") or "",
    }


def _look_for_others(engine, desired, current, networks):
    """Find the external objects, and objects of others under a name that is wanted here."""
    ids = {entry["Name"]: entry["Id"] for entry in networks}
    for name in desired["external_networks"]:
        if name in ids:
            current["external"]["networks"][name] = ids[name]
        elif name not in PREDEFINED_NETWORKS:
            current["missing"].append(("network", name))
    for entry in networks:
        if entry["Name"] in desired["networks"] and entry["Name"] not in current["networks"]:
            current["taken"].append(("network", entry["Name"], (entry.get("Labels") or {}).get(STACK_LABEL)))
    for kind in ("secrets", "configs"):
        external = desired[f"external_{kind}"]
        entries = _by_name(engine, kind, {*external, *(set(desired[kind]) - set(current[kind]))})
        for name in external:
            if name in entries:
                current["external"][kind][name] = entries[name]["ID"]
            else:
                current["missing"].append((kind[:-1], name))
        current["taken"] += _taken(kind[:-1], entries, set(desired[kind]) - set(current[kind]))
    wanted = set(desired["services"]) - set(current["services"])
    current["taken"] += _taken("service", _by_name(engine, "services", wanted), wanted)


def _by_name(engine, kind, wanted):
    if not wanted:
        return {}
    # The Engine's filter compares prefixes, so what comes back is more than what was asked for.
    entries = engine.get(f"/{kind}", filters={"name": sorted(wanted)})
    return {entry["Spec"]["Name"]: entry for entry in entries if entry["Spec"]["Name"] in wanted}


def _taken(kind, entries, wanted):
    return [
        (kind, name, (entries[name]["Spec"].get("Labels") or {}).get(STACK_LABEL))
        for name in sorted(wanted & set(entries))
    ]


def _look_for_foreign_users(engine, stack, desired, current, networks):
    """Find services of others that use what this stack may have to remove or make anew."""
    used = set()
    for service in current["services"].values():
        used |= references(service["spec"]) | references(service["previous"])
    endangered = {
        (kind, name)
        for kind in ("networks", "secrets", "configs")
        for name in set(current[kind]) - set(desired[kind])
        if (kind, name) not in used
    } | {
        ("networks", name)
        for name, want in desired["networks"].items()
        if name in current["networks"] and network_differs(want["spec"], current["networks"][name]["spec"])
    }
    if not endangered and not set(current["services"]) - set(desired["services"]):
        return
    for entry in engine.get("/services"):
        if (entry["Spec"].get("Labels") or {}).get(STACK_LABEL) == stack:
            continue
        for kind, name in references(named(entry["Spec"], networks)):
            current["foreign"][kind].setdefault(name, []).append(entry["Spec"]["Name"])

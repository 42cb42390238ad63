# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a plan with what became different, object by object and field by field."""

from __future__ import annotations

import json

from tests.property.fields import BY_PATH, FIELDS, IMAGE_LABEL, NAMESPACE, NOTES
from tests.property.stacks import (
    MODES,
    NETWORKS,
    OUTSIDE,
    STACK,
    decoded,
    read_network,
    read_service,
)

# Where else in a ServiceSpec a field of the file shows.
_FURTHER_PLACES = {
    "image": ("Labels." + IMAGE_LABEL, "TaskTemplate.Placement.Platforms"),
    "environment": ("TaskTemplate.ContainerSpec.Env",),
    "networks": ("TaskTemplate.Networks",),
    "configs": ("TaskTemplate.ContainerSpec.Configs",),
    "secrets": ("TaskTemplate.ContainerSpec.Secrets",),
}
PLACES = {
    **{row.path: (row.engine, *_FURTHER_PLACES.get(row.path, ())) for row in FIELDS},
    **{path: places for path, places in _FURTHER_PLACES.items() if path not in BY_PATH},
}
# Whose keys are fields of their own.
BY_KEY = {row.path for row in FIELDS if row.by_key} | {"environment", "configs", "secrets"}
FORCED = "TaskTemplate.ForceUpdate"
NOTE = "deploy.labels." + NOTES


def object_changes(before, after):
    """Return {(kind, name): action} between two snapshots of a Swarm, by identity and version."""
    changes = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            changes[key] = "remove" if new is None else "create"
        elif identity(old) != identity(new):
            changes[key] = "recreate"
        elif old != new:
            changes[key] = "update"
    return changes


def service_changes(before, after):
    """Return the paths of fields in which two readings of one service differ, in the words of a plan."""
    paths = set()
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if path in BY_KEY:
            old, new = old or {}, new or {}
            paths |= {f"{path}.{key}" for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        else:
            paths.add(path)
    return paths


def named(changes, key):
    """Return the paths that a plan names for a service, as service_changes() has them."""
    paths = set()
    for change in changes:
        path = change["path"].removeprefix(f"services.{key}.")
        assert path != change["path"], f"{change['path']} is no field of services.{key}"
        assert change["before"] != change["after"], f"{path} is named and stays the same: {change}"
        if path.startswith(NOTE):
            continue
        owner = owner_of(path)
        paths.add(path if owner in BY_KEY else owner)
    return paths


def owner_of(path):
    """Return the field of the file that a path in a plan belongs to."""
    for owner in (*PLACES, "deploy.mode"):
        if path == owner or path.startswith(owner + "."):
            return owner
    raise AssertionError(f"the plan names {path}, which is no field of the stack's file")


def owner_in_spec(leaf):
    """Return the field of the file that decides a place in a ServiceSpec."""
    found = [
        (len(place), owner)
        for owner, places in PLACES.items()
        for place in places
        if leaf == place or leaf.startswith(place + ".")
    ]
    assert found, f"{leaf} changed, which no field of the stack's file decides"
    return max(found)[1]


def leaves(value, path=""):
    """Return {path: value} of everything in a spec that is not a mapping."""
    if not isinstance(value, dict):
        return {path: value}
    out = {}
    for key, child in value.items():
        out.update(leaves(child, f"{path}.{key}" if path else key))
    return out


def check_deploy(stack, result, before, after, secrets):
    """Check one deploy: the plan it told, what became different, and what is there now.

    before, after  snapshots of the Swarm: {(kind, name): object as the Engine has it}
    secrets        {name: text} of every secret there was, which no Engine tells
    """
    plan = {(item["kind"], item["name"]): item for item in result["plan"]}
    assert len(plan) == len(result["plan"])
    told, found = {key: item["action"] for key, item in plan.items()}, object_changes(before, after)
    assert told == found, f"the plan has {told}, what became different is {found}"
    old, new = readings(before, secrets), readings(after, secrets)
    assert new.keys() == stack.services.keys()
    for key in new:
        check_service(plan.get(("service", own_name(key))), stack, key, old.get(key), new[key])
    for key, number in stack.networks.items():
        entry = after.get(("network", own_name(key)))
        assert not entry or read_network(entry) == NETWORKS[number][1]
    check_rest(stack, after, secrets)
    rewritten = sum(item["action"] == "recreate" for item in plan.values())
    assert len(result["actions"]) == len(plan) + rewritten


def check_rest(stack, after, secrets):
    """What nothing can need any more is gone; what a rollback needs is there."""
    services = [entry for (kind, _name), entry in after.items() if kind == "service"]
    kept = json.dumps([[entry["Spec"], entry.get("PreviousSpec")] for entry in services])
    for (kind, name), entry in after.items():
        labels = (entry if kind == "network" else entry["Spec"]).get("Labels") or {}
        if kind == "service" or labels.get(NAMESPACE) != STACK:
            continue
        text = secrets[name] if kind == "secret" else decoded(entry.get("Spec", {}).get("Data", ""))
        declared = kind != "network" and stack.declares(kind, name, text)
        assert declared or identity(entry) in kept, f"the {kind} {name} is of no use"


def readings(snapshot, secrets):
    """Return {key: (spec, what it says)} of the stack's services in a snapshot."""
    networks = {entry["Id"]: entry["Name"] for (kind, _), entry in snapshot.items() if kind == "network"}
    contents = {(kind, OUTSIDE[kind]): "of others" for kind in ("configs", "secrets")}
    for (kind, name), entry in snapshot.items():
        if kind == "config":
            contents.setdefault(("configs", name), decoded(entry["Spec"]["Data"]))
    for name, text in secrets.items():
        contents.setdefault(("secrets", name), text)
    return {
        name.removeprefix(f"{STACK}_"): (entry["Spec"], read_service(entry["Spec"], networks, contents))
        for (kind, name), entry in snapshot.items()
        if kind == "service" and entry["Spec"]["Labels"].get(NAMESPACE) == STACK
    }


def check_service(item, stack, key, before, after):
    """Check one service: what differs is named, what is named differs, and all is as the file says.

    item           its entry in the plan, or None
    before, after  (spec, reading) of the service, before is None for a new one
    """
    wanted = stack.wanted(key)
    spec, reading = after
    wrong = {path: (reading[path], wanted[path]) for path in wanted if reading[path] != wanted[path]}
    assert reading == wanted, f"{key} has other fields (found, wanted) than its file says: {wrong}"
    assert MODES[stack.services[key].mode] in spec["Mode"]
    if before is None:
        assert item["action"] == "create"
        return
    old_spec, old_reading = before
    differing = service_changes(old_reading, reading)
    told = named(item["changes"], key) if item else set()
    mode_changes = old_spec["Mode"].keys() != spec["Mode"].keys()
    if mode_changes:
        # Another mode brings fields of its own.
        assert item["action"] == "recreate" and "deploy.mode" in told
        return
    assert told == differing, f"named {sorted(told)}, different {sorted(differing)}"
    old_leaves, new_leaves = leaves(old_spec), leaves(spec)
    if item and item["action"] == "recreate":
        # A new service counts its forced restarts from 0.
        del old_leaves[FORCED], new_leaves[FORCED]
    for leaf in old_leaves.keys() | new_leaves.keys():
        if leaf.startswith("Labels." + NOTES):
            # The module's notes on what it wrote go with a write, and make none.
            assert item or old_leaves.get(leaf) == new_leaves.get(leaf)
        elif old_leaves.get(leaf) != new_leaves.get(leaf):
            owner = owner_in_spec(leaf)
            same_meaning = old_reading.get(owner) == reading.get(owner)
            assert same_meaning or any(owner_of(path) == owner for path in told), f"{leaf} changed unnamed"
    for change in item["changes"] if item else ():
        check_values(change, key, old_reading, reading, stack.services[key].pin)


def check_values(change, key, before, after, pin):
    """Check what a plan says of a text: it is what is read before and after, or hidden if it is secret."""
    path = change["path"].removeprefix(f"services.{key}.")
    owner = None if path.startswith(NOTE) else owner_of(path)
    if owner not in ("environment", "labels", "deploy.labels", "hostname", "user", "image"):
        return
    for value, reading in ((change["before"], before), (change["after"], after)):
        found = reading.get(owner)
        if isinstance(found, dict) or owner in BY_KEY:
            found = (found or {}).get(path.removeprefix(owner + "."))
        told = value.partition("@")[0] if owner == "image" and value else value
        hidden = value is not None and value.startswith("secret ")
        assert hidden or told == found, f"{path} is told as {value}, found {found}"
        assert not hidden or owner == "environment"


def identity(entry):
    """Return the id of an object."""
    return entry.get("ID") or entry.get("Id")


def own_name(key):
    """Return the name in the Swarm of what a stack file calls ``key``."""
    return f"{STACK}_{key}"

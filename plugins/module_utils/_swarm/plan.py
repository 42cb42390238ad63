# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would change: wanted x current -> plan. Pure. Private: may change in any release.

A plan lists only what differs, so ``changed`` is "the plan is not empty", check mode is "do not apply", and
the diff is a print of the plan. Its parts are in items.
"""

from __future__ import annotations

import base64

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import (
    carry,
    drift,
    masking,
    normalise,
    placement,
    versions,
    words,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.items import Change, Drift, Item, Plan
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.normalise import (
    network_differs,
    references,
)

# Told only where nothing else tells it: every service has the first, the second repeats the image.
_STACK_LABELS = (
    "deploy.labels.com.docker.stack.namespace",
    "labels.com.docker.stack.namespace",
    "deploy.labels.com.docker.stack.image",
)

# On objects with a name of the user's choice: tells whether the content is still the same.
CONTENT_LABEL = "gpufleet.content"

_KINDS = ("networks", "secrets", "configs")


def make(wanted, marked, current, prune=True, keep_versions=0):
    """Return the Plan.

    wanted   what there should be, secrets filled in and fields unknown to this Engine left out
    marked   the same with markers in the place of secrets, which tells what must not be shown
    current  what observe() found
    prune    whether objects of the stack that are no longer wanted are removed
    keep_versions  how many old versions of each config and secret stay besides those a rollback needs

    FleetError: an object of others has a wanted name, an external object is missing, stored content cannot
    be changed, or data would have no place.
    """
    _check_names(wanted, current)
    placement.check(wanted["services"], current["nodes"])
    mask = masking.Mask(wanted["name"])
    plan = Plan()
    networks = [_network(name, want, current) for name, want in sorted(wanted["networks"].items())]
    remade = {item.name for item in networks if item and item.action == "recreate"}
    items = list(networks)
    named = [("network", name) for name in sorted(wanted["networks"])]
    for kind in ("secrets", "configs"):
        items += [_content(kind, name, wanted, current, mask) for name in sorted(wanted[kind])]
        named += [(kind[:-1], name) for name in sorted(wanted[kind])]
    # Services that are no longer wanted go first: they may hold a port or a card that a new one needs.
    if prune:
        gone = sorted(set(current["services"]) - set(wanted["services"]))
        items += [Item("service", name, name, "remove", tasks="stop") for name in gone]
        named += [("service", name) for name in gone]
    by_wave = sorted(wanted["services"].items(), key=lambda entry: (entry[1]["wave"], entry[0]))
    for name, want in by_wave:
        items.append(_service(name, want, marked["services"][name], current, remade, mask))
        named.append(("service", name))
    plan.items = [item for item in items if item]
    plan.same = [name for name, item in zip(named, items, strict=True) if not item]
    plan.drift = [found for name, want in by_wave for found in _drift(name, want, current, plan)]
    _check_remade(remade, current, plan)
    if prune:
        _remove_unused(wanted, current, plan, keep_versions)
    return plan


def _check_names(wanted, current):
    for kind, name, stack in current["taken"]:
        raise FleetError(
            f"Cannot create the {kind}, its name is taken",
            target=name,
            found=f"one of the stack {stack}" if stack else "one that belongs to no stack",
            wanted=f"none, or one of the stack {wanted['name']}",
            option="another name for the stack, or remove the other service"
            if kind == "service"
            else f"external: true for the {kind} in the Compose file to use it as it is, or remove it",
        )
    for kind, name in current["missing"]:
        raise FleetError(
            f"The Compose file uses an external {kind} that does not exist",
            target=name,
            found="none in the Swarm",
            wanted=f"a {kind} of this name" + (" with the scope swarm" if kind == "network" else ""),
            option=f"external: false, or create the {kind} first",
        )


def _check_remade(remade, current, plan):
    for name in sorted(remade):
        users = current["foreign"]["networks"].get(name)
        staying = [
            service
            for service, have in current["services"].items()
            if ("networks", name) in references(have["spec"])
            and plan.action("service", service) not in ("recreate", "remove")
        ]
        if users or staying:
            raise FleetError(
                "A network has to be made anew, but is used by services that this deploy leaves alone",
                target=name,
                found=", ".join(sorted([*(users or []), *staying])),
                wanted="no other user",
                option="detach these services, or keep the options of the network",
            )


def _network(name, want, current):
    spec = normalise.network(want["spec"])
    have = current["networks"].get(name)
    if have is None:
        return Item("network", name, name, "create", _changes("network", name, {}, words.network(spec)))
    if not network_differs(want["spec"], have["spec"]):
        return None
    before = words.network(normalise.network(want["spec"], have["spec"]))
    return Item(
        "network",
        name,
        name,
        "recreate",
        _changes("network", name, before, words.network(spec)),
        ("a network cannot be changed in place",),
    )


def _content(kind, name, wanted, current, mask):
    want = wanted[kind][name]
    key, spec = want["key"], want["spec"]
    have = current[kind].get(name)
    word = kind[:-1]
    if have is None:
        before = _version_in_use(kind, name, key, wanted["name"], current)
        diff = ()
        if before and kind == "configs":
            diff = versions.difference(current[kind][before]["spec"].get("Data"), spec.get("Data"), mask)
        return Item(word, name, key, "create", (Change(f"{kind}.{key}", before, name),), diff=tuple(diff))
    stored = have["spec"]
    if kind == "configs" and base64.b64decode(stored.get("Data") or "") != base64.b64decode(
        spec.get("Data") or ""
    ):
        raise _fixed(word, name, key, want)
    if (stored.get("Templating") or None) != (spec.get("Templating") or None):
        raise FleetError(
            f"The template driver of a {word} cannot be changed", target=name, option="another name"
        )
    before, after = stored.get("Labels") or {}, dict(spec.get("Labels") or {})
    if CONTENT_LABEL in after and before.get(CONTENT_LABEL) != after[CONTENT_LABEL]:
        if CONTENT_LABEL in before:
            raise _fixed(word, name, key, want)
        # Made by others. A config's content was compared above; that of a secret is told by no Engine.
        del after[CONTENT_LABEL]
    if before == after:
        return None
    return Item(word, name, key, "update", _changes(kind, key, _labels(before, mask), _labels(after, mask)))


def _fixed(word, name, key, want):
    return FleetError(
        f"The content of a {word} cannot be changed",
        target=name,
        found=f"other content under the same name than that of {want.get('source', 'the Compose file')}",
        wanted="a name that changes with the content",
        option=f"{word}s.{key}: leave out its name, then the content's hash becomes part of it; or give it "
        "another name",
    )


def _version_in_use(kind, name, key, stack, current):
    """Return the name of the version that a new one takes the place of, or None."""
    names = versions.of_key(stack, key, set(current[kind]) - {name})
    used = set()
    for service in current["services"].values():
        used |= references(service["spec"])
    return max(
        names,
        key=lambda each: ((kind, each) in used, current[kind][each].get("created") or "", each),
        default=None,
    )


def _labels(labels, mask):
    return {f"labels.{key}": mask.tell(f"labels.{key}", value, False) for key, value in labels.items()}


def _service(name, want, marked, current, remade, mask):
    key = want["key"]
    have = current["services"].get(name)
    after = normalise.service(want["spec"])
    hidden = (
        {
            path
            for path, value in words.service(normalise.service(marked["spec"])).items()
            if masking.has_marker(value)
        }
        if masking.has_marker(marked["spec"])
        else set()
    )
    if have is None:
        changes = _service_changes(key, {}, after, hidden, mask)
        return Item("service", name, key, "create", changes, tasks="run" if want["job"] else "start")
    before = normalise.service(carry.as_compared(have["spec"], want))
    changes = _service_changes(key, before, after, hidden, mask) if before != after else ()
    reasons = []
    if normalise.mode_kind(have["spec"]) != normalise.mode_kind(want["spec"]):
        reasons.append("deploy.mode cannot be changed in place")
    reasons += [
        f"the network {network} is made anew"
        for network in sorted(remade)
        if ("networks", network) in references(have["spec"])
    ]
    if reasons:
        tasks = "run" if want["job"] else "restart"
        return Item("service", name, key, "recreate", changes, tuple(reasons), tasks)
    if changes:
        tasks = "run" if want["job"] else _tasks(before, after)
        return Item("service", name, key, "update", changes, _pinning(have["spec"], want["spec"]), tasks)
    if have["job"] == "given up":
        return Item("service", name, key, "update", (), ("its last run did not complete",), "run")
    state = have["update"].get("State") or ""
    if state in ("paused", "rollback_paused"):
        why = f"its last update stopped ({state}: {have['update'].get('Message') or 'no reason given'})"
        return Item("service", name, key, "update", (), (why,), "restart")
    return None


def _pinning(stored, want):
    """Say so where nothing but a digest is new: the tasks are replaced, maybe by the very same image."""
    before, after = (spec["TaskTemplate"]["ContainerSpec"].get("Image") or "" for spec in (stored, want))
    if "@" not in before and "@" in after and carry.keeps_digest(after, before):
        return ("its image is pinned to a digest for the first time",)
    return ()


def _drift(name, want, current, plan):
    """Return what others changed of one service, as a list of one Drift or none."""
    have = current["services"].get(name)
    if have is None:
        return []
    prefix = f"services.{want['key']}."
    fields = tuple(prefix + path for path in drift.changed_fields(have["spec"], have["previous"]) or ())
    touched = {change.path for change in plan.changes("service", name)}
    # A rollback that the file has followed since is nobody's concern any more.
    rolled_back = drift.was_rolled_back(have["update"]) and plan.action("service", name) != "none"
    if not fields and not rolled_back:
        return []
    return [Drift(name, fields, tuple(field for field in fields if field not in touched), rolled_back)]


def _service_changes(key, before, after, hidden, mask):
    told_before, told_after = words.service(before) if before else {}, words.service(after)
    hidden = hidden | masking.secret_fields(told_before)
    changes = []
    for path in sorted(told_before.keys() | told_after.keys()):
        old, new = told_before.get(path), told_after.get(path)
        if old != new and not (
            path in _STACK_LABELS and not (before and told_before.get("image") == told_after.get("image"))
        ):
            changes.append(
                Change(
                    f"services.{key}.{path}",
                    mask.tell(path, old, path in hidden),
                    mask.tell(path, new, path in hidden),
                )
            )
    # Two specs that read the same and are not: say so rather than keep quiet about a write.
    return tuple(changes) or (
        Change(f"services.{key}", "other order of the same fields", "as in the Compose file"),
    )


def _tasks(before, after):
    """Tell what an update does to running tasks; of several effects the one that is felt most.

    Swarm replaces tasks whose template or end point differs, but one that differs in placement alone stays on
    a node that still fits (swarmkit, orchestrator/task, IsTaskDirty).
    """
    if carry.template(before) != carry.template(after):
        return "restart"
    if before.get("EndpointSpec") != after.get("EndpointSpec"):
        return "restart"
    if carry.placement_of(before) != carry.placement_of(after):
        return "place"
    return "scale" if before["Mode"] != after["Mode"] else "stay"


def _remove_unused(wanted, current, plan, keep_versions):
    """Add the removals of what nothing refers to once the plan is applied.

    The spec that a service had before its last update counts as a user: a rollback needs it.
    """
    used = set()
    for name, want in wanted["services"].items():
        used |= references(want["spec"])
        have = current["services"].get(name)
        action = plan.action("service", name)
        if have and action in ("update", "none"):
            used |= references(have["spec"] if action == "update" else have["previous"])
    for kind in _KINDS:
        unused = [name for name in sorted(set(current[kind]) - set(wanted[kind])) if (kind, name) not in used]
        if kind != "networks":
            keys = {want["key"] for want in wanted[kind].values()}
            candidates = {name: current[kind][name] for name in unused}
            kept = versions.to_keep(wanted["name"], keys, candidates, keep_versions)
            unused = [name for name in unused if name not in kept]
        for name in unused:
            users = current["foreign"][kind].get(name)
            if users:
                plan.warnings.append(
                    f"The {kind[:-1]} {name} stays, services of others use it: {', '.join(sorted(users))}"
                )
            else:
                plan.items.append(Item(kind[:-1], name, name, "remove"))


def _changes(kind, key, before, after):
    kind = kind if kind.endswith("s") else kind + "s"
    return tuple(
        Change(f"{kind}.{key}.{path}", before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path) and not path.endswith("com.docker.stack.namespace")
    )

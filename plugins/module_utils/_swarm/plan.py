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
    masking,
    normalise,
    placement,
    words,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.items import Change, Item, Plan
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


def make(wanted, marked, current, prune=True):
    """Return the Plan.

    wanted   what there should be, secrets filled in and fields unknown to this Engine left out
    marked   the same with markers in the place of secrets, which tells what must not be shown
    current  what observe() found
    prune    whether objects of the stack that are no longer wanted are removed

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
    for kind in ("secrets", "configs"):
        items += [_content(kind, name, want, current, mask) for name, want in sorted(wanted[kind].items())]
    # Services that are no longer wanted go first: they may hold a port or a card that a new one needs.
    if prune:
        gone = sorted(set(current["services"]) - set(wanted["services"]))
        items += [Item("service", name, name, "remove", tasks="stop") for name in gone]
    by_wave = sorted(wanted["services"].items(), key=lambda entry: (entry[1]["wave"], entry[0]))
    for name, want in by_wave:
        items.append(_service(name, want, marked["services"][name], current, remade, mask))
    plan.items = [item for item in items if item]
    plan.unchanged = len(items) - len(plan.items)
    _check_remade(remade, current, plan)
    if prune:
        _remove_unused(wanted, current, plan)
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


def _content(kind, name, want, current, mask):
    key, spec = want["key"], want["spec"]
    have = current[kind].get(name)
    word = kind[:-1]
    if have is None:
        return Item(word, name, key, "create", (Change(f"{kind}.{key}", None, name),))
    stored = have["spec"]
    if kind == "configs" and base64.b64decode(stored.get("Data") or "") != base64.b64decode(
        spec.get("Data") or ""
    ):
        raise _fixed(word, name, key)
    if (stored.get("Templating") or None) != (spec.get("Templating") or None):
        raise FleetError(
            f"The template driver of a {word} cannot be changed", target=name, option="another name"
        )
    before, after = stored.get("Labels") or {}, dict(spec.get("Labels") or {})
    if CONTENT_LABEL in after and before.get(CONTENT_LABEL) != after[CONTENT_LABEL]:
        if CONTENT_LABEL in before:
            raise _fixed(word, name, key)
        # Made by others. A config's content was compared above; that of a secret is told by no Engine.
        del after[CONTENT_LABEL]
    if before == after:
        return None
    return Item(word, name, key, "update", _changes(kind, key, _labels(before, mask), _labels(after, mask)))


def _fixed(word, name, key):
    return FleetError(
        f"The content of a {word} cannot be changed",
        target=name,
        found="other content under the same name",
        wanted="a name that changes with the content",
        option=f"{word}s.{key}: leave out its name, then the content's hash becomes part of it",
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
    before = normalise.service(carried(have["spec"], want["spec"]))
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
        return Item("service", name, key, "recreate", changes, tuple(reasons), "restart")
    if changes:
        return Item(
            "service", name, key, "update", changes, tasks="run" if want["job"] else _tasks(before, after)
        )
    if have["job"] == "given up":
        return Item("service", name, key, "update", (), ("its last run did not complete",), "run")
    state = have["update"].get("State") or ""
    if state in ("paused", "rollback_paused"):
        why = f"its last update stopped ({state}: {have['update'].get('Message') or 'no reason given'})"
        return Item("service", name, key, "update", (), (why,), "restart")
    return None


def carried(stored, want):
    """Return a stored spec as it is to be compared: a digest pinned by another client counts as the tag."""
    have_image, want_image = (
        ((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Image") or ""
        for spec in (stored, want)
    )
    tag, pinned, _digest = have_image.partition("@")
    if not pinned or "@" in want_image or normalise.image(tag) != normalise.image(want_image):
        return stored
    task = stored["TaskTemplate"]
    container = {**task["ContainerSpec"], "Image": tag}
    return {**stored, "TaskTemplate": {**task, "ContainerSpec": container}}


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
    """Tell what an update does to running tasks. Swarm replaces those whose template or end point differs."""

    def template(spec):
        task = {k: v for k, v in spec.get("TaskTemplate", {}).items() if k != "Placement"}
        return task, spec.get("EndpointSpec")

    if template(before) != template(after):
        return "restart"
    if before["Mode"] != after["Mode"]:
        return "scale"
    if before.get("TaskTemplate", {}).get("Placement") != after.get("TaskTemplate", {}).get("Placement"):
        return "place"
    return "stay"


def _remove_unused(wanted, current, plan):
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
        for name in sorted(set(current[kind]) - set(wanted[kind])):
            if (kind, name) in used:
                continue
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

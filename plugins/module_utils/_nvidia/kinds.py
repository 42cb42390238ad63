# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cards, sorted into kinds of resources that the Swarm can grant. Private: may change in any release.

Sources: SwarmKit, api/genericresource (a node's resource is KIND=VALUE, several values that are no number
make a named set; a task gets the variable DOCKER_RESOURCE_ and the kind in capitals, its values joined by
commas). A kind with a hyphen gives a variable that the toolkit cannot be told to read, which is how
nvidia-container-toolkit issue 57 came about, so it is refused here.
"""

from __future__ import annotations

import fnmatch
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

PREFIX = "DOCKER_RESOURCE_"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def variable(kind):
    """Return the variable in which a task finds the cards of a kind that it was granted."""
    return f"{PREFIX}{kind.upper()}"


def problems(rules, default):
    """Yield a FleetError for each kind that would not work. rules: see kind_of; default: all other cards."""
    seen = {}
    for kind in [*[rule["kind"] for rule in rules], default]:
        if not NAME.fullmatch(str(kind)):
            yield FleetError(
                "The kind of card has a name that no task can be told",
                option="nvidia_gpu_kinds",
                found=kind,
                wanted="letters, digits and underscores, a letter first",
                cause=f"the toolkit reads the grant from the variable {PREFIX}KIND",
            )
        elif seen.setdefault(kind.upper(), kind) != kind:
            yield FleetError(
                "Two kinds of card differ in capitals only",
                option="nvidia_gpu_kinds",
                found=f"{seen[kind.upper()]}, {kind}",
                wanted="one spelling",
                cause=f"both grant through the variable {variable(kind)}",
            )
    for rule in rules:
        if not any(rule.get(key) for key in ("name", "memory_min_mib", "memory_max_mib")):
            yield FleetError(
                "The kind of card fits every card",
                rule["kind"],
                option="nvidia_gpu_kinds",
                found="no condition",
                wanted="name, memory_min_mib or memory_max_mib",
            )


def kind_of(unit, rules, default):
    """Return the kind of a card or part of one: that of the first rule it fits.

    rules   [{kind, name, memory_min_mib, memory_max_mib}]: name is a pattern with * for any text, capitals
            do not matter; the memory is that which nvidia-smi tells, bounds included
    """
    for rule in rules:
        pattern, memory = rule.get("name"), unit["memory_mib"]
        if pattern and not fnmatch.fnmatchcase((unit["name"] or "").casefold(), pattern.casefold()):
            continue
        if rule.get("memory_min_mib") and (memory is None or memory < rule["memory_min_mib"]):
            continue
        if rule.get("memory_max_mib") and (memory is None or memory > rule["memory_max_mib"]):
            continue
        return rule["kind"]
    return default


def units(cards):
    """Return what can be granted: each card, or its parts where it is split (MIG), in the order of addresses.

    Each unit: uuid, name, memory_mib, compute, card (the UUID of the whole card).
    """
    found = []
    for card in cards:
        whole = {key: card[key] for key in ("uuid", "name", "memory_mib", "compute")}
        parts = [part for part in card["mig_devices"] if part.get("uuid")]
        if card["mig"]:
            found += [
                {
                    **whole,
                    "uuid": part["uuid"],
                    "name": f"{card['name']} MIG {part.get('profile', '')}".strip(),
                    "memory_mib": part.get("memory_mib"),
                    "card": card["uuid"],
                }
                for part in parts
            ]
        elif card["uuid"]:
            found.append({**whole, "card": card["uuid"]})
    return found


def sort(cards, rules, default, shared):
    """Return the units of some cards with their kind, and whether they are shared.

    shared   UUIDs of cards or parts that services share: they are placed by labels and never granted
    """
    return [
        {
            **unit,
            "kind": kind_of(unit, rules, default),
            "shared": bool({unit["uuid"], unit["card"], "all"} & set(shared)),
        }
        for unit in units(cards)
    ]


def resources(sorted_units):
    """Return the daemon's node-generic-resources, full UUIDs, those that are not shared."""
    return [f"{unit['kind']}={unit['uuid']}" for unit in sorted_units if not unit["shared"]]


def variables(rules, default):
    """Return the variables for swarm-resource: one for each kind, the same on every node of the fleet."""
    return list(dict.fromkeys(variable(kind) for kind in [default, *[rule["kind"] for rule in rules]]))


LABEL = "gpufleet.gpu"
CLAIM_LABEL = "gpufleet.claim"  # of a service that shares cards: read back by the plans of all stacks
VISIBLE = "NVIDIA_VISIBLE_DEVICES"  # what the toolkit shows a task that was granted no card


def labels(sorted_units, driver):
    """Return the node's labels: what is needed to place services and to plan without asking the node.

    gpufleet.gpu.N of each unit is "UUID KIND MEMORY_MIB COMPUTE exclusive|shared NAME", "-" for what is not
    known; read it back with unit_of.
    """
    if not sorted_units:
        return {}
    found = {LABEL: "true", f"{LABEL}.count": str(len(sorted_units))}
    found |= {f"{LABEL}.driver": driver["version"]} if driver["version"] else {}
    found |= {f"{LABEL}.cuda": driver["cuda_version"]} if driver["cuda_version"] else {}
    for kind in sorted({unit["kind"] for unit in sorted_units}):
        found[f"{LABEL}.kind.{kind}"] = str(sum(unit["kind"] == kind for unit in sorted_units))
    for number, unit in enumerate(sorted_units):
        words = [unit["uuid"], unit["kind"], unit["memory_mib"], unit["compute"]]
        words += ["shared" if unit["shared"] else "exclusive", unit["name"]]
        found[f"{LABEL}.{number}"] = " ".join("-" if word is None else str(word) for word in words)
    return found


def unit_of(label):
    """Return the unit that the text of a label gpufleet.gpu.N tells, or None if it tells none."""
    words = str(label).split(" ", 5)
    if len(words) < 6 or words[4] not in ("shared", "exclusive"):
        return None
    uuid, kind, memory, compute, use, name = (None if word == "-" else word for word in words)
    return {
        "uuid": uuid,
        "kind": kind,
        "memory_mib": int(memory) if memory and memory.isdigit() else None,
        "compute": compute,
        "shared": use == "shared",
        "name": name,
    }


def units_of(node_labels):
    """Return the units that a node's labels tell, in their order."""
    found = []
    for number in range(len(node_labels)):
        unit = unit_of(node_labels.get(f"{LABEL}.{number}", ""))
        if unit is None:
            break
        found.append(unit)
    return found

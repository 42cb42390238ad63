# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims of services on cards: told apart, fitted to the fleet, and counted before anything is written.

Pure. Private: may change in any release. A claim is one of

exclusive  the service reserves generic resources, so that Swarm grants each task that many cards
shared     the service has the label gpufleet.claim, "shared CARDS BYTES" with CARDS "all" or UUIDs, and
           sees cards without a grant; BYTES is its budget per task and card, "-" for none

Nodes are those of observe.nodes(), services of others those of observe.others(). Whether Swarm fits a task
on a node is known for constraints and generic resources; what a shared service may do is the worst that
Swarm could make of it, because Swarm knows nothing of budgets.
"""

from __future__ import annotations

import copy

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import kinds, requirement
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.kinds import CLAIM_LABEL, VISIBLE
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.placement import fits

MIB = 2**20
_HOST_LABEL = "gpufleet.host"


def of(spec):
    """Return the claim of a ServiceSpec in words, "" for none: "exclusive 2 GPU", "shared all 8589934592"."""
    reserved = reservations(spec)
    if reserved:
        return "exclusive " + ", ".join(f"{number} {kind}" for kind, number in sorted(reserved.items()))
    return (spec.get("Labels") or {}).get(CLAIM_LABEL, "")


def reservations(spec):
    """Return {kind: number} of the generic resources that each task of a service is granted."""
    resources = (spec.get("TaskTemplate") or {}).get("Resources") or {}
    found = {}
    for entry in (resources.get("Reservations") or {}).get("GenericResources") or []:
        one = entry.get("DiscreteResourceSpec") or entry.get("NamedResourceSpec") or {}
        number = one.get("Value", 0) if "DiscreteResourceSpec" in entry else 1
        found[one["Kind"]] = found.get(one["Kind"], 0) + number
    return found


def shared(spec):
    """Return (cards, bytes) of a service that shares cards, or None: "all" or a list, 0 without a budget."""
    words = (spec.get("Labels") or {}).get(CLAIM_LABEL, "").split(" ")
    if len(words) != 3 or words[0] != "shared":
        return None
    return words[1] if words[1] == "all" else words[1].split(","), int(words[2]) if words[2].isdigit() else 0


def claimed(desired):
    """Return {service: claim in words} of what is wanted."""
    found = {name: of(service["spec"]) for name, service in sorted(desired["services"].items())}
    return {name: claim for name, claim in found.items() if claim}


def card_nodes(nodes):
    """Return the nodes that the role nvidia labelled as having cards."""
    found = [node for node in nodes if node["labels"].get(kinds.LABEL) == "true"]
    return sorted(found, key=lambda node: node["hostname"])


def _units(node):
    return kinds.units_of(node["labels"])


# What is wanted, made to fit the fleet


def fit(desired, nodes):
    """Return (desired, translations) for a fleet: shared cards found, and none for who claims none.

    nodes  None where none are known; without a node that has cards nothing changes
    """
    with_cards = card_nodes(nodes or [])
    if not with_cards:
        return desired, []
    desired, told = copy.deepcopy(desired), []
    for _name, service in sorted(desired["services"].items()):
        spec, path = service["spec"], f"services.{service['key']}"
        wish = shared(spec)
        if wish and wish[0] != "all":
            told += _pin(spec, path, wish[0], with_cards)
        elif not wish:
            told += _blind(spec, path, with_cards)
    return desired, told


def _pin(spec, path, uuids, nodes):
    """Place a service that shares named cards on the node that has them."""
    having = [node for node in nodes if set(uuids) <= {unit["uuid"] for unit in _units(node)}]
    if not having:
        places = [
            f"{unit['uuid']} on {node['hostname']}"
            for node in nodes
            for unit in _units(node)
        ]
        raise FleetError(
            "No node has the cards that a service shares",
            target=path,
            found=", ".join(uuids),
            wanted=f"cards of one node, of: {'; '.join(places)}",
            option="x-gpu.cards",
        )
    node = having[0]
    host = node["labels"].get(_HOST_LABEL)
    constraint = f"node.labels.{_HOST_LABEL}=={host}" if host else f"node.hostname=={node['hostname']}"
    placement = spec["TaskTemplate"].setdefault("Placement", {})
    constraints = placement.setdefault("Constraints", [])
    if constraint in constraints:
        return []
    constraints.append(constraint)
    why = "that node has the cards it shares"
    return [{"path": f"{path}.x-gpu.cards", "to": f"the placement constraint {constraint}", "note": why}]


def _blind(spec, path, nodes):
    """Show no card to a service without a claim that may run where there are some."""
    container = spec["TaskTemplate"]["ContainerSpec"]
    names = {entry.partition("=")[0] for entry in container.get("Env") or []}
    if VISIBLE in names or any(_is_card(kind, nodes) for kind in reservations(spec)):
        return []
    reached = sorted(node["hostname"] for node in nodes if fits(node, _constraints(spec)))
    if not reached:
        return []
    container["Env"] = sorted([*(container.get("Env") or []), f"{VISIBLE}=void"])
    why = (
        f"it claims no card and may run on {', '.join(reached)}, whose default runtime shows all cards to an "
        f"image that asks for them; set {VISIBLE} to decide otherwise"
    )
    return [{"path": f"{path}.environment.{VISIBLE}", "to": "void", "note": why}]


def _is_card(kind, nodes):
    known = {unit["kind"] for node in nodes for unit in _units(node)}
    return kind in known or "GPU" in kind.upper()


def _constraints(spec):
    return ((spec.get("TaskTemplate") or {}).get("Placement") or {}).get("Constraints")


# Counted


def check(desired, nodes, others, current):
    """Return warnings about the claims of a stack; FleetError with all that cannot be met, with numbers.

    desired  what is wanted, as fit() returned it
    others   services of other stacks, and those of this one that stay though they are not wanted
    current  the stack's services as they are, for scaling that is left to others
    """
    if nodes is None:
        return []
    asked = _asked(desired, nodes, others, current)
    problems = list(_kinds(desired, nodes)) or [
        *_totals(asked, nodes),
        *_rooms(desired, nodes, current, asked),
        *_orders(desired, nodes, asked),
    ]
    problems += _budgets(desired, nodes, others, current)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise FleetError(
            f"{len(problems)} claims on cards cannot be met",
            target=desired["name"],
            cause=" ".join(f"{number}) {problem}" for number, problem in enumerate(problems, 1)),
        )
    return [*_missing(asked, nodes), *_overlaps(desired, nodes)]


def tasks(spec, nodes, have=None, keep=False):
    """Return how many tasks of a service run at the same time.

    have  the service as it is, for a number of replicas that is left to others
    """
    mode = (have["spec"] if keep and have else spec).get("Mode") or {}
    if mode.get("Replicated") is not None:
        replicas = mode["Replicated"].get("Replicas")
        return 1 if replicas is None else replicas
    if mode.get("ReplicatedJob") is not None:
        return mode["ReplicatedJob"].get("MaxConcurrent", 1)
    return sum(fits(node, _constraints(spec)) for node in nodes)


def _wanted_tasks(name, service, nodes, current):
    return tasks(service["spec"], nodes, current.get(name), service.get("keep_replicas"))


def _asked(desired, nodes, others, current):
    """Return {kind: [(service, number)]}: what is held when most is held, as jobs end before later waves."""
    waves = sorted({service["wave"] for service in desired["services"].values()} or {0})
    most = {}
    for wave in waves:
        held = {}
        for name, service in sorted(desired["services"].items()):
            if service["wave"] == wave or (service["wave"] < wave and not service["job"]):
                _add(held, name, service["spec"], _wanted_tasks(name, service, nodes, current))
        for kind, entries in held.items():
            if _sum(entries) > _sum(most.get(kind, ())):
                most[kind] = entries
    for name, other in sorted(others.items()):
        job = {"ReplicatedJob", "GlobalJob"} & set(other["spec"].get("Mode") or {})
        _add(most, name, other["spec"], other["running"] if job else tasks(other["spec"], nodes))
    return most


def _add(held, name, spec, number):
    for kind, cards in reservations(spec).items():
        if cards * number:
            held.setdefault(kind, []).append((name, cards * number))


def _sum(entries):
    return sum(number for _name, number in entries)


def _own(desired, nodes=(), current=None):
    """Yield (name, service, kind, cards per task) of each reservation with tasks."""
    for name, service in sorted(desired["services"].items()):
        for kind, cards in sorted(reservations(service["spec"]).items()):
            if _wanted_tasks(name, service, nodes, current or {}):
                yield name, service, kind, cards


def _kinds(desired, nodes):
    for _name, service in sorted(desired["services"].items()):
        constraints = _constraints(service["spec"])
        if shared(service["spec"]) and not any(fits(node, constraints) for node in card_nodes(nodes)):
            yield FleetError(
                "No node that a service may run on has cards to share",
                target=f"services.{service['key']}",
                found=f"{len(card_nodes(nodes))} nodes labelled {kinds.LABEL}=true, and the constraints "
                + ", ".join(constraints or ()),
                wanted="such a node",
                option="x-gpu.cards or deploy.placement.constraints; the role nvidia labels the hosts of the "
                "group gpu",
            )
    known = sorted({kind for node in nodes for kind in node["resources"]})
    for _name, service, kind, _cards in _own(desired, nodes):
        if kind not in known:
            yield FleetError(
                "No node has resources of the kind that a service reserves",
                target=f"services.{service['key']}",
                found=kind,
                wanted=f"one of {', '.join(known)}" if known else "a node that advertises some",
                option="gpus, x-gpu.kind or generic_resources; the role nvidia makes resources of the cards "
                "of hosts in the group gpu",
            )


def _totals(asked, nodes):
    for kind, entries in sorted(asked.items()):
        there = sum(node["resources"].get(kind, 0) for node in nodes)
        if _sum(entries) > there:
            yield FleetError(
                "More cards are claimed than the nodes have",
                target=f"kind {kind}",
                found=f"{_sum(entries)} cards asked, {there} there (asked: {_listed(entries)}; "
                f"there: {_places(nodes, kind)})",
                wanted=f"at most {there}",
                option="replicas or cards of these services, or a further host in the group gpu",
            )


def _rooms(desired, nodes, current, asked):
    """Yield a problem for each service whose own tasks do not fit on the nodes it may run on."""
    for name, service, kind, cards in _own(desired, nodes, current):
        reached = [node for node in nodes if fits(node, _constraints(service["spec"]))]
        if _sum(asked.get(kind, ())) > sum(node["resources"].get(kind, 0) for node in nodes):
            continue  # told already
        most = (service["spec"]["TaskTemplate"].get("Placement") or {}).get("MaxReplicas") or 10**6
        if "Global" in service["spec"]["Mode"] or "GlobalJob" in service["spec"]["Mode"]:
            most = 1
        room = sum(min(node["resources"].get(kind, 0) // cards, most) for node in reached)
        number = _wanted_tasks(name, service, nodes, current)
        if number > room:
            yield FleetError(
                "The nodes that a service may run on have too few cards",
                target=f"services.{service['key']}",
                found=f"{number} tasks with {cards} of kind {kind} each, room for {room} "
                f"({_places(reached, kind) or 'no node fits its placement constraints'})",
                wanted=f"at most {room}",
                option="deploy.replicas, the number of cards, or deploy.placement",
            )


def _orders(desired, nodes, asked):
    for _name, service, kind, cards in _own(desired, nodes):
        there = sum(node["resources"].get(kind, 0) for node in nodes)
        spare = there - _sum(asked.get(kind, ()))
        for key, word in (("UpdateConfig", "update_config"), ("RollbackConfig", "rollback_config")):
            first = (service["spec"].get(key) or {}).get("Order") == "start-first"
            if first and 0 <= spare < cards:
                yield FleetError(
                    "A new task could never start before the old one has given its cards back",
                    target=f"services.{service['key']}.deploy.{word}.order",
                    found=f"start-first, {spare} of {there} cards of kind {kind} spare",
                    wanted=f"stop-first, or {cards} spare",
                )


def _budgets(desired, nodes, others, current):
    """Yield a problem for each card that is too small for the budgets of all that may come to share it."""
    own = desired["services"]
    users = {
        name: (service["spec"], _wanted_tasks(name, service, nodes, current)) for name, service in own.items()
    }
    users |= {name: (other["spec"], tasks(other["spec"], nodes)) for name, other in others.items()}
    for node in card_nodes(nodes):
        for unit in _units(node):
            entries = []
            for name, (spec, number) in sorted(users.items()):
                wish = shared(spec)
                if not wish or not wish[1] or not fits(node, _constraints(spec)):
                    continue
                if wish[0] == "all" or unit["uuid"] in wish[0]:
                    entries.append((name, min(number, _most_on_a_node(spec)), wish[1]))
            total = sum(number * memory for _name, number, memory in entries)
            mine = any(name in own for name, *_rest in entries)
            if unit["memory_mib"] and mine and total > unit["memory_mib"] * MIB:
                yield FleetError(
                    "The memory budgets of services exceed a card",
                    target=f"{unit['uuid']} of {node['hostname']}, {unit['name']}",
                    found=f"{_mib(total)} asked by what may run there at once ("
                    + ", ".join(f"{name}: {number} x {_mib(memory)}" for name, number, memory in entries)
                    + f"), {unit['memory_mib']} MiB there",
                    wanted="at most the card's memory",
                    option="x-gpu.memory or x-gpu.cards, deploy.replicas, or "
                    "deploy.placement.max_replicas_per_node",
                )


def _most_on_a_node(spec):
    mode = spec.get("Mode") or {}
    if "Global" in mode or "GlobalJob" in mode:
        return 1
    return ((spec.get("TaskTemplate") or {}).get("Placement") or {}).get("MaxReplicas") or 10**6


def _mib(number):
    return f"{-(-number // MIB)} MiB"


def _missing(asked, nodes):
    """Return a warning for each kind of which there is enough only once all nodes are back."""
    away = [node for node in nodes if node["state"] == "down" or node["availability"] in ("drain", "pause")]
    found = []
    for kind, entries in sorted(asked.items()):
        there = sum(node["resources"].get(kind, 0) for node in nodes if node not in away)
        if _sum(entries) > there and any(node["resources"].get(kind) for node in away):
            found.append(
                f"{_sum(entries)} cards of kind {kind} are asked and {there} can be granted now, as these "
                f"nodes are down or take no tasks: {_places(away, kind)}"
            )
    return found


def _overlaps(desired, nodes):
    """Return a warning for each service that shares cards which Swarm grants to others as well."""
    found = []
    for name, service in sorted(desired["services"].items()):
        wish = shared(service["spec"])
        if not wish:
            continue
        granted = [
            f"{unit['uuid']} of {node['hostname']}"
            for node in card_nodes(nodes)
            if fits(node, _constraints(service["spec"]))
            for unit in _units(node)
            if not unit["shared"] and (wish[0] == "all" or unit["uuid"] in wish[0])
        ]
        if granted:
            found.append(
                f"{name} shares cards that Swarm may grant to another service as a whole: "
                f"{', '.join(granted)}. nvidia_shared_cards takes a card out of what is granted"
            )
    return found


def _listed(entries):
    return ", ".join(f"{name} {number}" for name, number in entries)


def _places(nodes, kind):
    return ", ".join(
        f"{node['hostname']} {node['resources'][kind]}"
        for node in sorted(nodes, key=lambda node: node["hostname"])
        if node["resources"].get(kind)
    )


def free(nodes, others):
    """Return {kind: number} of the cards that no service reserves. others: all services of the Swarm."""
    asked = _asked({"services": {}}, nodes, others, {})
    there = {}
    for node in nodes:
        if node["state"] != "down" and node["availability"] == "active":
            for kind, number in node["resources"].items():
                there[kind] = there.get(kind, 0) + number
    return {
        kind: max(0, number - _sum(asked.get(kind, ())))
        for kind, number in sorted(there.items())
        if _is_card(kind, nodes)
    }


def too_old(desired, nodes, image_environment):
    """Return a FleetError for each service whose image wants a newer driver than a node it may run on has.

    image_environment  function from an image to its {name: value}, or None where it is not at hand
    """
    problems = []
    for name in claimed(desired):
        service = desired["services"][name]
        image = service["spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
        environment = image_environment(image)
        for node in card_nodes(nodes or []):
            if not environment or not fits(node, _constraints(service["spec"])):
                continue
            labels = node["labels"]
            problem = requirement.verdict(
                f"{image} on {node['hostname']}",
                environment,
                labels.get(f"{kinds.LABEL}.driver"),
                labels.get(f"{kinds.LABEL}.cuda"),
                next((unit["compute"] for unit in _units(node)), None),
            )
            if problem:
                problems.append(problem)
    return problems

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose users write, in Swarm's terms. Private: may change in any release.

Works on one merged service, changes it in place, and reports each translation.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.kinds import CLAIM_LABEL, LABEL, VISIBLE

_GPU_NODE = f"node.labels.{LABEL}==true"

# Compose's own keys and what the specification (deploy.md, 05-services.md) calls their equivalent in deploy.
_MOVED = (
    ("scale", ("replicas",)),
    ("cpus", ("resources", "limits", "cpus")),
    ("mem_limit", ("resources", "limits", "memory")),
    ("pids_limit", ("resources", "limits", "pids")),
    ("mem_reservation", ("resources", "reservations", "memory")),
)


def translate(service, place, report):
    """Bring a service into Swarm's terms.

    service  the merged service, changed in place
    place    its path tuple
    report   Report for translations and problems
    """
    deploy = service.setdefault("deploy", {})
    for key, path in _MOVED:
        if key in service:
            _move(service.pop(key), deploy, path, place + (key,), report)
    _restart(service, deploy, place, report)
    _tmpfs(service, place, report)
    _gpus(service, deploy, place, report)
    if "x-gpu" in service:
        _claim(service, service.pop("x-gpu"), deploy, place + ("x-gpu",), report)


def _move(value, deploy, path, place, report):
    if value in (-1, 0) and place[-1] != "scale":
        report.ignore(place, "it asks for no limit")
        return
    for step in path[:-1]:
        deploy = deploy.setdefault(step, {})
    if deploy.setdefault(path[-1], value) != value:
        report.problem(place, "A key and its equivalent differ", option="deploy." + ".".join(path))
        return
    report.translated(place, "deploy." + ".".join(path), "its equivalent by the Compose Specification")


def _restart(service, deploy, place, report):
    restart = service.pop("restart", None)
    if restart is None:
        return
    if "restart_policy" in deploy:
        report.ignore(place + ("restart",), "deploy.restart_policy is given and wins")
        return
    word, _colon, attempts = restart.partition(":")
    policy = {"condition": {"no": "none", "on-failure": "on-failure"}.get(word, "any")}
    if attempts:
        policy["max_attempts"] = int(attempts)
    deploy["restart_policy"] = policy
    report.translated(
        place + ("restart",),
        f"deploy.restart_policy.condition: {policy['condition']}",
        "Swarm restarts tasks by its own policy",
    )


def _tmpfs(service, place, report):
    mounts = service.setdefault("volumes", [])
    for mount in service.pop("tmpfs", ()):
        _add_mount(mounts, mount, place + ("tmpfs",), report)
    if "shm_size" in service:
        size = service.pop("shm_size")
        mount = {"type": "tmpfs", "target": "/dev/shm", **({"tmpfs": {"size": size}} if size else {})}
        _add_mount(mounts, mount, place + ("shm_size",), report)


def _add_mount(mounts, mount, place, report):
    if any(other["target"] == mount["target"] for other in mounts):
        report.problem(place, "Something else is mounted there", found=mount["target"], wanted="one of them")
        return
    mounts.append(mount)
    report.translated(place, f"volumes: tmpfs on {mount['target']}", "Swarm knows it only as a mount")


def _gpus(service, deploy, place, report):
    """Add up device requests to a number of cards; Swarm grants whole cards and no particular ones."""
    reservations = deploy.get("resources", {}).get("reservations", {})
    requests = [(place + ("gpus", index), request) for index, request in enumerate(service.pop("gpus", ()))]
    where = place + ("deploy", "resources", "reservations", "devices")
    devices = [(where + (index,), request) for index, request in enumerate(reservations.pop("devices", ()))]
    if requests and devices:
        report.problem(
            requests[0][0][:-1],
            "GPUs are asked for twice",
            found="gpus and reservations.devices",
            wanted="one of them",
        )
        return
    total = 0
    for path, request in requests + devices:
        driver = request.get("driver", "nvidia")
        if driver != "nvidia":
            report.problem(
                path, "Swarm grants no devices of that driver", found=f'"{driver}"', wanted="nvidia"
            )
        elif devices and not {"gpu", "nvidia"} & set(request.get("capabilities", ())):
            report.problem(
                path, "A device request does not say that it means a GPU", wanted="capabilities: [gpu]"
            )
        elif request.get("device_ids"):
            report.problem(
                path,
                "Swarm chooses the cards itself and takes no device_ids",
                option="count; or NVIDIA_VISIBLE_DEVICES in environment with a placement constraint",
            )
        elif not isinstance(request.get("count"), int):
            report.problem(
                path,
                "Swarm grants a number of whole cards, not all of a node",
                found="count: all",
                option="count",
            )
        else:
            total += request["count"]
    if total:
        deploy.setdefault("resources", {}).setdefault("reservations", {})["gpus"] = total
        service["gpus_from"] = (requests or devices)[0][0][:-1]


def _claim(service, claim, deploy, place, report):
    """Do what x-gpu says: cards of a service's own, or cards that it shares with others."""
    kind = claim.get("claim")
    if kind is None:
        report.problem(place, "A claim on cards does not say which", wanted="claim: exclusive or shared")
    elif kind == "exclusive":
        _exclusive(service, claim, deploy, place, report)
    else:
        _shared(service, claim, deploy, place, report)


def _exclusive(service, claim, deploy, place, report):
    reservations = deploy.setdefault("resources", {}).setdefault("reservations", {})
    cards, kind = claim.get("cards"), claim.get("kind", "GPU")
    written = [one["value"] for one in reservations.get("generic_resources", ()) if one["kind"] == kind]
    given = reservations.get("gpus") or (written[0] if written else None)
    if cards is not None and not isinstance(cards, int):
        report.problem(
            place + ("cards",),
            "Swarm grants a number of whole cards, and no particular ones",
            found="all" if cards == "all" else ", ".join(cards),
            wanted="a number, or claim: shared",
        )
    elif given and cards not in (None, given):
        where = "generic_resources" if written else service["gpus_from"][-1]
        report.problem(
            place + ("cards",),
            "A key and its equivalent differ",
            found=f"{cards}, and {given} in {where}",
            wanted="one number",
        )
    elif not written:
        service.setdefault("gpus_from", place)
        reservations["gpus"] = given or cards or 1
    if "memory" in claim:
        report.problem(
            place + ("memory",),
            "A card of one's own needs no budget",
            found="claim: exclusive",
            wanted="claim: shared, or no memory",
        )
    if "kind" in claim:
        service["gpu_kind"] = claim["kind"]


def _shared(service, claim, deploy, place, report):
    cards = claim.get("cards", "all")
    if deploy.get("resources", {}).get("reservations", {}).get("gpus"):
        report.problem(
            place,
            "A service shares cards and wants some of its own",
            found=f"claim: shared, and {service['gpus_from'][-1]}",
            wanted="one of them",
        )
    if "kind" in claim:
        report.problem(
            place + ("kind",),
            "Shared cards have no kind, as the whole node is chosen",
            found=claim["kind"],
            wanted="cards with UUIDs",
            option="or deploy.placement.constraints, for example "
            f"node.labels.gpufleet.gpu.kind.{claim['kind']}==1 (the number of such cards on the node)",
        )
    if isinstance(cards, int):
        report.problem(
            place + ("cards",),
            "Nobody chooses cards that are shared, so they have to be named",
            found=str(cards),
            wanted="all, or a list of UUIDs",
        )
        return
    value = cards if cards == "all" else ",".join(cards)
    found = service["environment"].setdefault(VISIBLE, value)
    if found != value:
        report.problem(
            place + ("cards",),
            "A key and its equivalent differ",
            found=f"{value}, and {found} in environment.{VISIBLE}",
            wanted="one of them",
        )
    constraints = deploy.setdefault("placement", {}).setdefault("constraints", [])
    if _GPU_NODE not in constraints:
        constraints.append(_GPU_NODE)
    deploy.setdefault("labels", {})[CLAIM_LABEL] = f"shared {value} {claim.get('memory', '-')}"
    report.translated(
        place,
        f"environment.{VISIBLE}: {value}, and the placement constraint {_GPU_NODE}",
        "Swarm grants a card to one task only; a shared one is seen without a grant",
    )

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose users write, in Swarm's terms. Private: may change in any release.

Works on one merged service, changes it in place, and reports each translation.
"""

from __future__ import annotations

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

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the tasks on a node see the cards they should, and if not, the likely cause.

Private: may change in any release.

Pure. A container is {service, task, container, runtime, environment: {name: value}, seen: {uuids, how,
error}}. What it should see is what the toolkit takes from the same variables: the grant of the Swarm
(DOCKER_RESOURCE_KIND, in the environment of the container as the Engine made it), else
NVIDIA_VISIBLE_DEVICES. How it was seen: "nvidia-smi" inside the task, which asks the driver, or "devices",
the files in its /dev, which says that they are there and not that they answer.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import kinds, parse, toolkit

RUNTIME = "nvidia-container-runtime"
LOST = "Failed to initialize NVML: Unknown Error"


def granted(environment):
    """Return {kind: [names of cards]} that the Swarm granted, by the variables of a task."""
    found = {}
    for name, value in sorted(environment.items()):
        kind = name.removeprefix(kinds.PREFIX)
        names = [word for word in value.split(",") if word]
        # Other resources than cards have a number or a name of their own.
        if kind != name and ("GPU" in kind or any(word.startswith(("GPU-", "MIG-")) for word in names)):
            found[kind] = names
    return found


def uuid_of(word, units):
    """Return the UUID of the card that a word names: a UUID, its beginning, or a number; else the word."""
    if word.isdigit():
        return units[int(word)]["uuid"] if int(word) < len(units) else word
    found = [unit["uuid"] for unit in units if unit["uuid"].startswith(word)]
    return found[0] if len(found) == 1 else word


def expected(environment, units):
    """Return (claim, UUIDs) of what a container should see: granted, visible (asked for) or none."""
    grants = granted(environment)
    if grants:
        return "granted", [uuid_of(word, units) for words in grants.values() for word in words]
    value = environment.get(kinds.VISIBLE, "")
    if value in ("", "void", "none"):
        return "none", []
    if value == "all":
        return "visible", [unit["uuid"] for unit in units]
    return "visible", [uuid_of(word, units) for word in value.split(",")]


def listed(text):
    """Return the UUIDs that `nvidia-smi -L` prints; of a split card (MIG) those of its parts."""
    return [
        unit["uuid"]
        for card in parse.parse_list(text)
        for unit in (card["mig_devices"] or [{"uuid": card["uuid"]}])
    ]


def of_devices(names, cards):
    """Return the UUIDs of the cards whose devices (nvidia0, ...) are among the files of a folder."""
    return [card["uuid"] for card in cards if f"nvidia{card['minor']}" in names and card["uuid"]]


def prove(node, gpus, engine, containers):
    """Return (tasks, problems) of a node.

    gpus        what gpu_info returns
    engine      {default_runtime, runtimes: {name: path}, resources: [(kind, value)]}
    containers  see above
    """
    units = kinds.units(gpus["cards"])
    rows, problems, told = [], [], set()
    for container in sorted(containers, key=lambda one: (one["service"], one["task"])):
        claim, wanted = expected(container["environment"], units)
        seen = container["seen"]
        row = {
            "node": node,
            "service": container["service"],
            "task": container["task"],
            "claim": claim,
            "granted": [word for words in granted(container["environment"]).values() for word in words],
            "expected": sorted(wanted),
            "seen": sorted(seen["uuids"]),
            "how": seen["how"],
            "ok": sorted(wanted) == sorted(seen["uuids"]) and not seen["error"],
            "reason": None,
        }
        if not row["ok"]:
            key, cause, remedy = _cause(container, claim, wanted, gpus, engine, units)
            told.add(key)
            problem = FleetError(
                "A task does not see the cards it should",
                target=f"{container['service']} on {node}, task {container['task']}",
                found=seen["error"] or _names(row["seen"]),
                wanted=_names(row["expected"]) + (", as granted by Swarm" if claim == "granted" else ""),
                option=remedy,
                cause=f"likely because {cause}",
            )
            row["reason"] = str(problem)
            problems.append(row["reason"])
        rows.append(row)
    problems += _twice(rows)
    for key, problem in node_problems(node, gpus, engine, units):
        if key not in told:
            problems.append(str(problem))
    return rows, problems


def _names(uuids):
    return ", ".join(uuids) or "no card"


def _twice(rows):
    """Return a problem for each card that was granted to two tasks at once."""
    owners = {}
    for row in rows:
        for uuid in row["expected"] if row["claim"] == "granted" else ():
            owners.setdefault(uuid, []).append(row)
    return [
        str(
            FleetError(
                "A card is granted twice",
                target=f"{uuid} of {several[0]['node']}",
                found=", ".join(f"{row['service']}, task {row['task']}" for row in several),
                wanted="one task",
                option=f"`docker service update --force {several[-1]['service']}`",
            )
        )
        for uuid, several in sorted(owners.items())
        if len(several) > 1
    ]


def is_nvidia(name, engine):
    """Return whether a runtime gives containers their cards, by its name or its program."""
    return name == "nvidia" or RUNTIME in (engine["runtimes"].get(name) or "")


def _cause(container, claim, wanted, gpus, engine, units):
    """Return (key, cause, remedy): the first that explains a difference."""
    anew = f"`docker service update --force {container['service']}` makes the task anew"
    there = {unit["uuid"] for unit in units}
    if (container["seen"]["error"] or "").startswith(LOST):
        why = "systemd has reloaded since it started (daemon-reload) and has taken the devices away"
        if any(card["linked"] is False for card in gpus["cards"]):
            why += ", as /dev/char lacks the links that prevent it"
        return "lost", why, f"{anew}; the role nvidia makes the links in /dev/char"
    causes = dict(_node_causes(gpus, engine, units))
    if "mismatch" in causes:
        return "mismatch", *causes["mismatch"]
    gone = sorted(set(wanted) - there)
    if gone:
        return _gone(gone, there)
    if not is_nvidia(container["runtime"], engine):
        if "runtime" in causes:
            why, remedy = causes["runtime"]
            return "runtime", why, f"{remedy}; then {anew}"
        return "made", f"its container was made with the runtime {container['runtime']}", anew
    if claim == "granted":
        for kind in granted(container["environment"]):
            if kinds.variable(kind) not in gpus["toolkit"]["swarm_resource"]:
                why, remedy = _unread(kind, gpus["toolkit"])
                return "resource", why, f"{remedy}; then {anew}"
    if "deaf" in causes:
        why, remedy = causes["deaf"]
        return "deaf", why, f"{remedy}; then {anew}"
    return "made", "its container was made before the settings of the node were what they are now", anew


def _gone(uuids, there):
    return (
        "gone",
        f"{_names(uuids)} has vanished from the node, which has {_names(sorted(there))}",
        "the card (`sudo dmesg | grep -i xid`); where it is out for good, the role nvidia takes it out of "
        "the resources",
    )


def _unread(kind, config):
    name = kinds.variable(kind)
    if not config["swarm_resource"]:
        return (
            f"swarm-resource is commented out in {toolkit.PATH}, so the toolkit reads no grant",
            "the role nvidia, which sets it",
        )
    why = f"the grant is in {name}, and swarm-resource lists {', '.join(config['swarm_resource'])}"
    if not kinds.NAME.fullmatch(kind):
        return (
            f"{why}; a variable with such a name is never read",
            f"a kind of letters, digits and underscores instead of {kind} in node-generic-resources and in "
            "the service; the role nvidia uses GPU",
        )
    return why, f"nvidia_gpu_kinds or nvidia_default_kind with {kind}, and the role nvidia"


def _node_causes(gpus, engine, units):
    """Yield (key, (cause, remedy)) of what is wrong with a node that grants cards."""
    config, driver = gpus["toolkit"], gpus["driver"]
    if driver["mismatch"]:
        loaded, library = driver["module_version"], driver["library_version"]
        why = f"the kernel has driver {loaded}, the libraries are {library}"
        yield "mismatch", (why, "nvidia_reboot: true and the role nvidia, or `sudo reboot`")
    cards = [(kind, value) for kind, value in engine["resources"] if "GPU" in kind.upper() or _like(value)]
    gone = sorted(value for _kind, value in cards if _like(value) and not _known(value, units))
    if gone:
        yield "gone", _gone(gone, {unit["uuid"] for unit in units})[1:]
    if cards and not is_nvidia(engine["default_runtime"], engine):
        found = engine["default_runtime"]
        why = f"the default runtime of the node is {found}, and a service cannot name another"
        yield "runtime", (why, "nvidia_default_runtime: true and the role nvidia")
    for kind in sorted({kind for kind, _value in cards}):
        if kinds.variable(kind) not in config["swarm_resource"]:
            yield "resource", _unread(kind, config)
            break
    version, mode = config["version"], config["mode"]
    if cards and version and toolkit.ignores_grants(version, mode):
        why = f"toolkit {version} in mode {mode} ignores what Swarm grants (its issue 1599)"
        yield "deaf", (why, "the role nvidia, which works round it")


def _like(value):
    return str(value).startswith(("GPU-", "MIG-"))


def _known(value, units):
    return any(unit["uuid"].startswith(value) for unit in units)


def node_problems(node, gpus, engine, units):
    """Yield (key, FleetError) of what would keep the next task on a node from its cards."""
    what = "The node grants cards that a task would not see"
    for key, (why, remedy) in _node_causes(gpus, engine, units):
        yield key, FleetError(what, node, cause=why, option=remedy)

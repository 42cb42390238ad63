# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an update leaves as it is. Pure. Private: may change in any release.

Not the file's business: the counter of forced updates, a digest and platforms that a client pinned for the
same tag, and the number of replicas where scaling is left to others.
"""

from __future__ import annotations

import copy

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise


def as_compared(stored, want):
    """Return a stored ServiceSpec in which all that stays as it is reads as wanted.

    want  the entry of the service in what is wanted
    """
    task = stored.get("TaskTemplate") or {}
    container = task.get("ContainerSpec") or {}
    spec = want["spec"]
    if keeps_digest(container.get("Image") or "", _image(spec)):
        tag = container["Image"].partition("@")[0]
        stored = {**stored, "TaskTemplate": {**task, "ContainerSpec": {**container, "Image": tag}}}
    if _keeps_replicas(stored, want):
        stored = {**stored, "Mode": spec["Mode"]}
    return stored


def as_sent(want, stored):
    """Return the wanted ServiceSpec as an update sends it.

    Swarm compares what it stores word for word and replaces the tasks for any difference, a default written
    out included (swarmkit, orchestrator/task, IsTaskDirty). So what says the same as before is sent in the
    words of before: then a change of labels or scale touches no task, whoever deployed the service.
    """
    spec = copy.deepcopy(want["spec"])
    task, stored_task = spec["TaskTemplate"], stored.get("TaskTemplate") or {}
    stored_image = (stored_task.get("ContainerSpec") or {}).get("Image") or ""
    if keeps_digest(stored_image, _image(spec)) or stored_image == _image(spec):
        task["ContainerSpec"]["Image"] = stored_image
        platforms = (stored_task.get("Placement") or {}).get("Platforms")
        if platforms:
            task["Placement"] = {**(task.get("Placement") or {}), "Platforms": platforms}
    if _keeps_replicas(stored, want):
        spec["Mode"] = copy.deepcopy(stored["Mode"])
    before, after = normalise.service(stored), normalise.service(spec)
    if template(before) == template(after):
        placement = task.get("Placement")
        spec["TaskTemplate"] = task = copy.deepcopy(stored_task)
        if placement_of(before) != placement_of(after):
            task["Placement"] = placement
    if before.get("EndpointSpec") == after.get("EndpointSpec"):
        spec["EndpointSpec"] = copy.deepcopy(stored.get("EndpointSpec"))
    task["ForceUpdate"] = stored_task.get("ForceUpdate") or 0
    return spec


def template(spec):
    """Return what makes the tasks of a canonical spec, but for where they may run."""
    return {key: value for key, value in spec.get("TaskTemplate", {}).items() if key != "Placement"}


def placement_of(spec):
    """Return where the tasks of a canonical spec may run."""
    return spec.get("TaskTemplate", {}).get("Placement")


def keeps_digest(stored, wanted):
    """Tell whether a stored image is the wanted tag, pinned to a digest that is not wanted itself."""
    tag, pinned, _digest = stored.partition("@")
    return bool(pinned) and "@" not in wanted and normalise.image(tag) == normalise.image(wanted)


def _keeps_replicas(stored, want):
    return bool(
        want.get("keep_replicas")
        and normalise.mode_kind(stored) == normalise.mode_kind(want["spec"]) == "Replicated"
    )


def _image(spec):
    return ((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Image") or ""

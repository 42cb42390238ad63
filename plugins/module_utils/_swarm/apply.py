# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out a plan, call by call. Private: may change in any release.

Each method makes one object as wanted. A service whose version went stale (someone else wrote it, or an answer
was lost) is read again and compared again before another try, and a try without a difference is no write.
"""

from __future__ import annotations

import copy
import time

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise, observe
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.plan import CONTENT_LABEL, carried

ATTEMPTS = 6
PAUSE_S = 0.5

# What an Engine answers while something still uses the object.
_IN_USE = ("in use", "has active endpoints", "is used by", "has endpoints")


class Applier:
    """The writes of one deploy. ``actions`` tells in sentences what was done so far."""

    def __init__(self, engine, current, sleep=time.sleep):
        self._engine = engine
        self._current = current
        self._sleep = sleep
        self.actions = []
        self._ids = {
            kind: {name: entry["id"] for name, entry in current[kind].items()}
            for kind in ("networks", "secrets", "configs")
        }
        for kind, ids in current["external"].items():
            self._ids[kind].update(ids)

    def create_network(self, name, spec):
        """Create an overlay network. Names are unique in a Swarm, so a lost answer shows as "already exists"."""
        answer = self._engine.post("/networks/create", data={"CheckDuplicate": True, **spec})
        self._ids["networks"][name] = answer["Id"]
        self._did(f"Created the network {name}")

    def create_content(self, kind, name, spec):
        """Create a secret or a config (kind: secrets, configs)."""
        answer = self._engine.post(f"/{kind}/create", data=spec)
        self._ids[kind][name] = answer["ID"]
        self._did(f"Created the {kind[:-1]} {name}")

    def update_content(self, kind, name, spec):
        """Change the labels of a secret or a config; nothing else of it can change."""
        entry = self._current[kind][name]
        labels = dict(spec.get("Labels") or {})
        if CONTENT_LABEL not in (entry["spec"].get("Labels") or {}):
            labels.pop(CONTENT_LABEL, None)
        body = {**entry["spec"], "Labels": labels}
        self._engine.post(f"/{kind}/{{0}}/update", entry["id"], data=body, version=entry["version"])
        self._did(f"Changed the labels of the {kind[:-1]} {name}")

    def create_service(self, name, spec):
        """Create a service and return its id."""
        for attempt in range(ATTEMPTS):
            try:
                answer = self._engine.post("/services/create", data=self._encoded(spec))
                self._did(f"Created the service {name}")
                return answer["ID"]
            except EngineError as exc:
                if not exc.transient or attempt == ATTEMPTS - 1:
                    raise
                self._sleep(PAUSE_S)
                # The answer was lost, not necessarily the call.
                made = observe.read_service(self._engine, name)
                if made and normalise.service(made["spec"]) == normalise.service(spec):
                    self._did(f"Created the service {name}")
                    return made["id"]
        return None

    def update_service(self, name, spec, again=False):
        """Make a service as wanted. again: write without a difference, to resume an update or run a job once more."""
        have = self._current["services"][name]
        for attempt in range(ATTEMPTS):
            body = self._encoded(with_carried(spec, have["spec"]))
            try:
                self._engine.post("/services/{0}/update", have["id"], data=body, version=have["version"])
                self._did(f"Updated the service {name}")
                return have["id"]
            except EngineError as exc:
                if not (exc.stale or exc.transient) or attempt == ATTEMPTS - 1:
                    raise
                self._sleep(PAUSE_S)
                before = have["version"]
                have = self._read_again(name, have["id"])
                equal = normalise.service(carried(have["spec"], spec)) == normalise.service(spec)
                if equal and (not again or have["version"] != before):
                    self._did(f"Updated the service {name}")
                    return have["id"]
        return None

    def roll_back(self, name):
        """Tell Swarm to go back to the spec that a service had before its last update."""
        identity = self._current["services"][name]["id"]
        for attempt in range(ATTEMPTS):
            entry = self._engine.get("/services/{0}", identity)
            try:
                self._engine.post(
                    "/services/{0}/update",
                    identity,
                    data=entry["Spec"],
                    version=entry["Version"]["Index"],
                    rollback="previous",
                )
                self._did(f"Rolled the service {name} back")
                return
            except EngineError as exc:
                if not (exc.stale or exc.transient) or attempt == ATTEMPTS - 1:
                    raise
                self._sleep(PAUSE_S)

    def remove_service(self, name, identity=None):
        """Remove a service."""
        self._engine.delete("/services/{0}", identity or self._current["services"][name]["id"])
        self._did(f"Removed the service {name}")

    def remove_object(self, kind, name):
        """Remove a network, secret or config. Return False if something still uses it."""
        try:
            self._engine.delete(f"/{kind}/{{0}}", self._ids[kind][name])
        except EngineError as exc:
            if exc.status in (400, 403, 409) and any(words in str(exc.cause) for words in _IN_USE):
                return False
            raise
        self._did(f"Removed the {kind[:-1]} {name}")
        return True

    def _did(self, sentence):
        self.actions.append(sentence)

    def _read_again(self, name, identity):
        have = observe.read_service(self._engine, identity)
        if have is None:
            raise FleetError(
                "A service was removed by someone else during the deploy",
                target=name,
                option="run the deploy again",
            )
        return have

    def _encoded(self, spec):
        """Return the spec with the ids that the Engine wants next to names."""
        spec = copy.deepcopy(spec)
        task = spec["TaskTemplate"]
        for attachment in task.get("Networks") or []:
            attachment["Target"] = self._ids["networks"].get(attachment["Target"], attachment["Target"])
        container = task["ContainerSpec"]
        for kind, key, word in (("secrets", "Secrets", "Secret"), ("configs", "Configs", "Config")):
            for reference in container.get(key) or []:
                reference[word + "ID"] = self._ids[kind][reference[word + "Name"]]
        credential = (container.get("Privileges") or {}).get("CredentialSpec") or {}
        if credential.get("Config"):
            credential["Config"] = self._ids["configs"].get(credential["Config"], credential["Config"])
        return spec


def with_carried(spec, stored):
    """Return the wanted spec with what is not ours to reset: ForceUpdate, and a digest or platforms pinned by others."""
    spec = copy.deepcopy(spec)
    task, stored_task = spec["TaskTemplate"], stored.get("TaskTemplate") or {}
    task["ForceUpdate"] = stored_task.get("ForceUpdate") or 0
    if (
        carried(stored, spec) is not stored
        or stored_task.get("ContainerSpec", {}).get("Image") == task["ContainerSpec"]["Image"]
    ):
        task["ContainerSpec"]["Image"] = stored_task["ContainerSpec"]["Image"]
        platforms = (stored_task.get("Placement") or {}).get("Platforms")
        if platforms:
            task["Placement"] = {**(task.get("Placement") or {}), "Platforms": platforms}
    return spec

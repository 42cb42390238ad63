# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out a plan, call by call. Private: may change in any release.

Each method makes one object as wanted. A service whose version went stale (someone else wrote it, or an
answer was lost) is read again and compared again before another try, and a try without a difference is no
write.
"""

from __future__ import annotations

import copy
import time

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import (
    carry,
    drift,
    images,
    normalise,
    observe,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.plan import CONTENT_LABEL

# Pauses between tries. An election of managers takes a few seconds.
PAUSES_S = (0.5, 1, 2, 4, 8)

# What an Engine answers while something still uses the object.
_IN_USE = ("in use", "has active endpoints", "is used by", "has endpoints")


class Applier:
    """The writes of one deploy. ``actions`` tells in sentences what was done so far.

    logins  [{registry, username, password}]: Swarm hands them to the nodes that pull the images
    """

    def __init__(self, engine, current, sleep=time.sleep, logins=()):
        self._engine = engine
        self._current = current
        self._sleep = sleep
        self._logins = logins
        self.actions = []
        self._ids = {
            kind: {name: entry["id"] for name, entry in current[kind].items()}
            for kind in ("networks", "secrets", "configs")
        }
        for kind, ids in current["external"].items():
            self._ids[kind].update(ids)

    def create_network(self, name, spec):
        """Create a network."""
        self._create("networks", name, {"CheckDuplicate": True, **spec}, "Id")

    def create_content(self, kind, name, spec):
        """Create a secret or a config (kind: secrets, configs)."""
        self._create(kind, name, spec, "ID")

    def update_content(self, kind, name, spec):
        """Change the labels of a secret or a config; nothing else of it can change."""
        entry = self._current[kind][name]
        labels = dict(spec.get("Labels") or {})
        if CONTENT_LABEL not in (entry["spec"].get("Labels") or {}):
            labels.pop(CONTENT_LABEL, None)
        body = {**entry["spec"], "Labels": labels}
        path = f"/{kind}/{{0}}/update"
        what = f"change the labels of the {kind[:-1]}"
        self._write(
            what, name, lambda: self._engine.post(path, entry["id"], data=body, version=entry["version"])
        )
        self._did(f"Changed the labels of the {kind[:-1]} {name}")

    def create_service(self, name, spec):
        """Create a service and return its id."""

        def create():
            body = self._encoded(drift.with_sent(spec))
            return self._engine.post("/services/create", data=body, **self._login(spec))["ID"]

        def made():
            have = observe.read_service(self._engine, name)
            same = have and normalise.service(have["spec"]) == normalise.service(spec)
            return have["id"] if same else None

        identity = self._write("create the service", name, create, made)
        self._did(f"Created the service {name}")
        return identity

    def update_service(self, name, want, again=False):
        """Make a service as wanted.

        want   its entry in what is wanted
        again  write without a difference, to resume an update or rerun a job
        """
        have = self._current["services"][name]

        def update():
            spec = carry.as_sent(want, have["spec"])
            path, body = "/services/{0}/update", self._encoded(drift.with_sent(spec))
            self._engine.post(path, have["id"], data=body, version=have["version"], **self._login(spec))
            return have["id"]

        def updated():
            nonlocal have
            version, have = have["version"], self._read_again(name, have["id"])
            compared = carry.as_compared(have["spec"], want)
            equal = normalise.service(compared) == normalise.service(want["spec"])
            return have["id"] if equal and (not again or have["version"] != version) else None

        identity = self._write("update the service", name, update, updated)
        self._did(f"Updated the service {name}")
        return identity

    def roll_back(self, name):
        """Tell Swarm to go back to the spec that a service had before its last update."""
        identity = self._current["services"][name]["id"]

        def back():
            entry = self._engine.get("/services/{0}", identity)
            version = entry["Version"]["Index"]
            path = "/services/{0}/update"
            self._engine.post(path, identity, data=entry["Spec"], version=version, rollback="previous")

        self._write("roll back the service", name, back)
        self._did(f"Rolled the service {name} back")

    def remove_service(self, name, identity=None):
        """Remove a service."""
        identity = identity or self._current["services"][name]["id"]
        self._write("remove the service", name, lambda: self._engine.delete("/services/{0}", identity))
        self._did(f"Removed the service {name}")

    def remove_object(self, kind, name):
        """Remove a network, secret or config. Return False if something still uses it."""
        what = f"remove the {kind[:-1]}"
        try:
            self._write(what, name, lambda: self._engine.delete(f"/{kind}/{{0}}", self._ids[kind][name]))
        except EngineError as exc:
            if exc.status in (400, 403, 409) and any(words in str(exc.cause) for words in _IN_USE):
                return False
            raise
        self._did(f"Removed the {kind[:-1]} {name}")
        return True

    def _create(self, kind, name, body, id_key):
        def create():
            return self._engine.post(f"/{kind}/create", data=body)[id_key]

        def made():
            try:
                return self._engine.get(f"/{kind}/{{0}}", name)[id_key]
            except EngineError as exc:
                if exc.status == 404:
                    return None
                raise

        self._ids[kind][name] = self._write(f"create the {kind[:-1]}", name, create, made)
        self._did(f"Created the {kind[:-1]} {name}")

    def _write(self, what, name, write, done=lambda: None):
        """Make a write, several times if need be, and return what it or ``done`` returns.

        done  tells after a failed try whether the object is as wanted all the same (a lost answer, or someone
              else was faster), by returning anything but None
        """
        for pause in (*PAUSES_S, None):
            try:
                return write()
            except EngineError as exc:
                if pause is None or not (exc.stale or exc.transient):
                    raise EngineError(f"Cannot {what}", name, exc.status, exc.cause or exc) from exc
            self._sleep(pause)
            try:
                found = done()
            except EngineError as exc:
                if not exc.transient:
                    raise
                found = None
            if found is not None:
                return found
        return None

    def _login(self, spec):
        return images.with_login(self._logins, spec["TaskTemplate"]["ContainerSpec"]["Image"])

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

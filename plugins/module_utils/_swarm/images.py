# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pin images to digests, and log in to the registries that have them. Private: may change in any release.

The manager's Engine asks the registry (GET /distribution/IMAGE/json), as docker stack deploy does. What
differs from it: a digest that cannot be found out never changes a running service.
"""

from __future__ import annotations

import base64
import json

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

HUB = "docker.io"
# What Docker's own tools call Docker Hub when they log in.
HUB_SERVER = "https://index.docker.io/v1/"


def resolve(engine, wanted, marked, current, policy, logins=()):
    """Put digests and platforms into the services of ``wanted`` and ``marked``, in place. Return warnings.

    policy  never; changed: for new services and other tags; always: for all
    logins  [{registry, username, password}]

    FleetError names each image that would be started for the first time and whose digest cannot be found out.
    """
    if policy == "never":
        return []
    registry = _Registry(engine, logins)
    warnings, problems = [], []
    for name, service in sorted(wanted["services"].items()):
        image = service["spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
        running = _running(current["services"].get(name))
        same = normalise.image(running.partition("@")[0]) == normalise.image(image)
        if "@" in image or (same and policy == "changed"):
            continue
        try:
            pinned, platforms = registry.look_up(image)
        except EngineError as exc:
            reason = str(exc.cause or exc).strip().rstrip(".")
            if same:
                warnings.append(f"{name} keeps the image it has, {running}: no digest for {image} - {reason}")
            else:
                problems.append(f"{name}: {image} - {reason}")
            continue
        for specs in (wanted, marked):
            task = specs["services"][name]["spec"]["TaskTemplate"]
            task["ContainerSpec"]["Image"] = pinned
            if platforms:
                task["Placement"] = {**(task.get("Placement") or {}), "Platforms": platforms}
    if problems:
        raise FleetError(
            "Cannot find out the digest of an image before it is started",
            target=wanted["name"],
            found="; ".join(problems),
            wanted="an answer of its registry to the manager",
            option="registry_logins, or resolve_image: never to let each node get the tag by itself",
        )
    return warnings


class _Registry:
    """Asks for each image once, and no more for one of a registry that does not answer."""

    def __init__(self, engine, logins):
        self._engine = engine
        self._logins = logins
        self._found = {}
        self._silent = {}

    def look_up(self, image):
        """Return (image with digest, platforms)."""
        host = registry_of(image)
        if host in self._silent:
            raise self._silent[host]
        if image not in self._found:
            try:
                answer = self._engine.get("/distribution/{0}/json", image, **with_login(self._logins, image))
                digest = answer["Descriptor"]["digest"]
            except EngineError as exc:
                if exc.status is None or exc.status >= 500:
                    self._silent[host] = exc
                raise
            except (KeyError, TypeError) as exc:
                raise EngineError("No digest", image, cause="the answer names no digest") from exc
            self._found[image] = f"{image}@{digest}", platforms(answer.get("Platforms"))
        return self._found[image]


def platforms(found):
    """Return the platforms for a placement as docker stack deploy 29 has them.

    The architecture "arm" is left open, since nodes tell their variant (armv7l) and would fit none
    (swarmkit issue 2294). "unknown" is the platform of attestations, which no node runs.
    """
    result = []
    for entry in found or []:
        architecture, system = entry.get("architecture") or "", entry.get("os") or ""
        if "unknown" in (architecture, system):
            continue
        platform = {
            key: value
            for key, value in (
                ("Architecture", "" if architecture.lower() == "arm" else architecture),
                ("OS", system),
            )
            if value
        }
        if platform and platform not in result:
            result.append(platform)
    return result


def variables(engine, image):
    """Return the variables {name: value} of an image that the manager has, else None."""
    try:
        found = engine.get("/images/{0}/json", image)
    except EngineError as exc:
        if exc.status == 404:
            return None
        raise
    entries = (found.get("Config") or {}).get("Env") or []
    return {entry.partition("=")[0]: entry.partition("=")[2] for entry in entries}


def registry_of(image):
    """Return the host of an image's registry; docker.io where the name has none."""
    host, slash, _path = image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return HUB if host == "index.docker.io" else host
    return HUB


def check_logins(logins):
    """Raise FleetError for a registry that is given twice."""
    hosts = [login["registry"] for login in logins]
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        raise FleetError(
            "A registry has two logins", target=", ".join(twice), wanted="one each", option="registry_logins"
        )


def with_login(logins, image):
    """Return the keyword of a call that concerns an image: its login, if there is one for its registry."""
    host = registry_of(image)
    for login in logins:
        if login["registry"] == host:
            document = {
                "username": login["username"],
                "password": login["password"],
                "serveraddress": HUB_SERVER if host == HUB else host,
            }
            return {"registry_auth": base64.urlsafe_b64encode(json.dumps(document).encode()).decode()}
    return {}


def _running(service):
    if service is None:
        return ""
    return ((service["spec"].get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Image") or ""

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images the Engine of a node has, and which it can get. Private: may change in any release."""

from __future__ import annotations

import http.client
import json
import os

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.images import (
    HUB,
    registry_of,
    with_login,
)

# How an Engine says that its images are kept by containerd (moby, daemon/info.go).
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]
# Between two signs of life of an Engine that unpacks a layer.
LOAD_TIMEOUT_S = 1800
NOTHING = {"present": False, "id": None, "layers": [], "obtainable": None, "cause": None}


def look(engine, images, ask="never", logins=()):
    """Return {image: {"present", "id", "layers", "obtainable", "cause"}}.

    ask         never, sparingly, missing or all; see the module image_info

    present     the Engine has it
    id          its id, None without it
    layers      digests of its unpacked layers, lowest first
    obtainable  its registry has it for this node; None where that was not asked: present, or no matter
    cause       why it cannot be had
    """
    silent, hub_asked, answers = {}, False, {}
    for image in dict.fromkeys(images):
        answer = answers[image] = _local(engine, image)
        of_hub = registry_of(image) == HUB
        if ask == "never" or (answer["present"] and ask != "all"):
            continue
        if ask == "sparingly" and of_hub and hub_asked:
            continue
        hub_asked = hub_asked or of_hub
        cause = _refusal(engine, image, logins, silent)
        answer.update(obtainable=cause is None, cause=cause)
    return answers


def _local(engine, image):
    try:
        found = engine.get("/images/{0}/json", image)
    except EngineError as exc:
        if exc.status != 404:
            raise
        return dict(NOTHING)
    return {**NOTHING, "present": True, "id": found["Id"], "layers": _layers(found)}


def _layers(found):
    return (found.get("RootFS") or {}).get("Layers") or []


def _refusal(engine, image, logins, silent):
    """Return why the registry does not give an image to this Engine, None if it does."""
    host = registry_of(image)
    if host in silent:
        return silent[host]
    try:
        engine.get("/distribution/{0}/json", image, **with_login(logins, image))
        return None
    except EngineError as exc:
        cause = str(exc.cause or exc).strip().rstrip(".")
        # A registry that does not answer for one image is not waited for again.
        if exc.status is None or exc.status >= 500:
            silent[host] = cause
        return cause


def layers_of_all(engine):
    """Return (layer lists of all images, whether layers can be left out of what is loaded).

    The classic store takes a layer that it has from itself, whatever the archive holds (moby,
    image/tarexport/load.go); containerd wants all of them.
    """
    if _CONTAINERD in (engine.get("/info").get("DriverStatus") or []):
        return [], False
    lists = []
    for image in engine.get("/images/json"):
        try:
            found = engine.get("/images/{0}/json", image["Id"])
        except EngineError as exc:
            if exc.status == 404:  # removed a moment ago
                continue
            raise
        lists.append(_layers(found))
    return lists, True


def load(connection, api_version, path):
    """Give an archive to the Engine. connection: to its socket, of its own, as this takes long.

    FleetError: the Engine refuses the archive.
    """
    connection.timeout = LOAD_TIMEOUT_S
    headers = {"Content-Type": "application/x-tar", "Content-Length": str(os.path.getsize(path))}
    url = "/v{}.{}/images/load?quiet=1".format(*api_version)
    try:
        with open(path, "rb") as archive:
            connection.request("POST", url, archive, headers)
            answer = connection.getresponse()
            content = answer.read()
    except (http.client.HTTPException, OSError) as exc:
        raise FleetError("The Engine did not take the images", path, cause=exc) from exc
    for line in content.decode("utf-8", "replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and (said.get("error") or answer.status >= 400):
            raise FleetError(
                "The Engine did not take the images", path, cause=said.get("error") or said.get("message")
            )
    if answer.status >= 400:
        raise FleetError("The Engine did not take the images", path, cause=f"HTTP status {answer.status}")

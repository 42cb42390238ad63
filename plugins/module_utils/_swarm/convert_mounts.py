# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts of a service, and which of them tie it to a node. Pure. Private: may change in any release."""

from __future__ import annotations

import posixpath

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert_objects import texts

# Things every node has of its own: a task loses nothing when it moves.
_SYSTEM_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
_SYSTEM_PATHS = (
    "/etc/localtime",
    "/etc/timezone",
    "/etc/hostname",
    "/etc/os-release",
    "/etc/machine-id",
    "/etc/ssl/certs",
    "/usr/share/zoneinfo",
    "/proc",
    "/sys",
    "/dev",
    "/lib/modules",
    "/",
)
# File systems of local volumes that are the same on every node.
_SHARED_TYPES = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "lustre", "beegfs")


def mount(entry, objects, place):
    """Return a Mount of the ContainerSpec."""
    kind = entry["type"]
    result = {"Type": kind, "Target": entry["target"]}
    if kind == "volume" and "source" in entry:
        result["Source"] = objects.name("volumes", entry["source"], place)
        result["VolumeOptions"] = _volume(entry, objects)
    elif kind == "volume" and "volume" in entry:
        result["VolumeOptions"] = _copying(entry)
    elif kind == "cluster" and not entry["source"].startswith("group:"):
        result["Source"] = objects.name("volumes", entry["source"], place)
    elif "source" in entry:
        result["Source"] = entry["source"]
    if entry.get("read_only"):
        result["ReadOnly"] = True
    if "propagation" in entry.get("bind", {}):
        result["BindOptions"] = {"Propagation": entry["bind"]["propagation"]}
    if kind == "tmpfs":
        options = entry.get("tmpfs", {})
        sized = {"SizeBytes": options.get("size"), "Mode": options.get("mode")}
        if any(sized.values()):
            result["TmpfsOptions"] = {key: value for key, value in sized.items() if value}
    return result


def _copying(entry):
    options = entry.get("volume", {})
    result = {"NoCopy": options.get("nocopy"), "Subpath": options.get("subpath")}
    return {key: value for key, value in result.items() if value}


def _volume(entry, objects):
    """A node makes the volume when a task starts, so each mount carries all that is needed for it."""
    declared = objects.model.volumes[entry["source"]] or {}
    result = _copying(entry)
    if declared.get("external"):
        return result
    result["Labels"] = objects.labels(declared)
    if "driver" in declared or "driver_opts" in declared:
        driver = {"Name": declared.get("driver"), "Options": texts(declared.get("driver_opts"))}
        result["DriverConfig"] = {key: value for key, value in driver.items() if value}
    return result


def stateful(mounts, objects):
    """Return [{mount, reason}] for each mount whose content stays behind when a task changes its node."""
    result = []
    for entry in mounts:
        reason = _reason(entry, objects)
        if reason:
            result.append({"mount": entry["target"], "reason": reason})
    return result


def _reason(entry, objects):
    if entry["type"] == "volume":
        if "source" not in entry:
            return "an anonymous volume lives on one node"
        declared = objects.model.volumes.get(entry["source"]) or {}
        if _shared(declared):
            return None
        return f"volume {entry['source']} lives on one node"
    if entry["type"] in ("bind", "npipe"):
        path = posixpath.normpath(entry["source"])
        system = path in _SYSTEM_SOCKETS or (entry.get("read_only") and _is_system(path))
        return None if system else f"{path} is a path of one node"
    return None


def _shared(declared):
    """A volume driver of its own, or a network file system, has the same content on every node."""
    options = texts(declared.get("driver_opts"))
    kind = options.get("type", "").lower()
    return declared.get("driver", "local") != "local" or kind in _SHARED_TYPES


def _is_system(path):
    return any(path == known or (known != "/" and path.startswith(known + "/")) for known in _SYSTEM_PATHS)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on a host secrets stand that others read. Private: may change in any release.

Reads only, by the standard library. What is found is told by place and name of the secret, never by value.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import http.client
import lzma
import os
import re
import stat
import subprocess
import zlib

from ansible_collections.gpufleet.swarm.plugins.module_utils import _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._engine_socket import SocketConnection
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

CHUNK = 1 << 20
# So much of what came before is kept, so that nothing is cut in two and an entry of a journal is seen whole.
KEPT = 1 << 15
PATHS = ["/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/usr/local", "/var", "/dev/shm"]
LOGS = "/var/log"
# Read by journalctl: its files are compressed.
JOURNAL = "/var/log/journal"
DATA_ROOT = "/var/lib/docker"
# File systems that hold no files of anybody's.
_PSEUDO = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "fuse.lxcfs",
    "fusectl", "mqueue", "nsfs", "overlay", "proc", "pstore", "securityfs", "sysfs", "tracefs",
}  # fmt: skip
_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)
_ENTRY = re.compile(rb"^(SYSLOG_IDENTIFIER|_SYSTEMD_UNIT|_COMM)=([ -~]{1,80})$", re.MULTILINE)
_CONTAINER = re.compile(r"(?:docker[-/])([0-9a-f]{64})")
_TOLD = ("Args", "Path", "Config", "HostConfig", "Mounts", "Name")
SERVICE_LABEL = "com.docker.swarm.service.name"


class Finder:
    """Looks for the patterns of secrets. patterns: {name of the secret: [bytes]}"""

    def __init__(self, patterns):
        self._patterns = [(name, one) for name, several in sorted(patterns.items()) for one in several]
        self.bytes = 0

    def within(self, data):
        """Return {name: place of the first hit} of the secrets that stand in some bytes."""
        self.bytes += len(data)
        found = {}
        for name, pattern in self._patterns:
            place = data.find(pattern)
            if place >= 0:
                found.setdefault(name, place)
        return found

    def stream(self, read):
        """Yield (name, the bytes around it, its place in them), each name once. read: function of a size."""
        seen, rest = set(), b""
        while True:
            data = read(CHUNK)
            if not data:
                return
            window = rest + data
            for name, place in self.within(window).items():
                if name not in seen:
                    seen.add(name)
                    yield name, window, place
            rest = window[-KEPT:]

    def text(self, *values):
        """Return the names of the secrets that stand in any text, inside of lists and dictionaries too."""
        return sorted(self.within("\n".join(texts(values)).encode("utf-8", "surrogateescape")))


def texts(value):
    """Yield every text in nested values, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield str(key)
            yield from texts(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from texts(child)


class Scan:
    """The findings of one host.

    declared  {service: {variable: name of the secret}}: images that read their variables only
    """

    def __init__(self, finder, declared):
        self._finder = finder
        self._declared = declared
        self._found = {}
        self.unread = []
        self.counts = {"files": 0, "containers": 0, "processes": 0, "objects": 0}

    def result(self):
        """Return what was found, what is declared, what could not be read, and how much was looked at."""
        rows = [{"place": place, "secret": name} for place, name in sorted(self._found)]
        return {
            "findings": [row for row in rows if not self._found[row["place"], row["secret"]]],
            "declared": [row for row in rows if self._found[row["place"], row["secret"]]],
            "unread": sorted(set(self.unread)),
            "searched": {**self.counts, "bytes": self._finder.bytes},
        }

    def _add(self, place, names, declared=False):
        for name in names:
            self._found[place, name] = declared

    # Files

    def files(self, roots, skip, max_bytes, logs=LOGS):
        """Look into files that others than their owner may read, and into all logs. skip: paths left out."""
        left_out = {os.path.realpath(path) for path in skip} | pseudo_mounts()
        queue, seen = [os.path.realpath(path) for path in roots], set()
        while queue:
            folder = queue.pop()
            if folder in left_out or folder in seen:
                continue
            seen.add(folder)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    self.unread.append(f"{folder}: {error.strerror}")
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    queue.append(entry.path)
                elif entry.path not in left_out:
                    self._file(entry.path, max_bytes, (folder + "/").startswith(logs + "/"))

    def _file(self, path, max_bytes, log):
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or not (log or found.st_mode & 0o077):
                return
            if found.st_size > max_bytes:
                self.unread.append(f"{path}: larger than {max_bytes >> 20} MiB")
                return
            opener = _COMPRESSED.get(os.path.splitext(path)[1], open) if log else open
            with opener(path, "rb") as file:
                names = [name for name, _window, _place in self._finder.stream(file.read)]
            self.counts["files"] += 1
        except FileNotFoundError:
            return
        except _UNREADABLE as error:
            self.unread.append(f"{path}: {getattr(error, 'strerror', None) or 'cannot be decompressed'}")
            return
        kind = "log" if log else "file"
        self._add(f"{kind} {path}, mode {stat.S_IMODE(found.st_mode):04o}", names)

    # Journal

    def journal(self, since):
        """Look into the journal by journalctl(1), which alone reads its files. since: as it takes it."""
        command = ["journalctl", "--no-pager", "--quiet", "--output=export"]
        command += [f"--since={since}"] if since else []
        try:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
                for name, window, place in self._finder.stream(reader.stdout.read):
                    self._add(f"journal{_entry(window, place)}", [name])
                words = reader.stderr.read(CHUNK)
            if reader.returncode:
                self.unread.append("journal: " + (words.decode(errors="replace").strip()[:200] or "failed"))
        except OSError as error:
            self.unread.append(f"journal: journalctl, {error.strerror}")

    # Processes

    def processes(self, services, folder="/proc"):
        """Look into the command lines of all processes. services: {id of a container: its service}"""
        for pid in sorted(filter(str.isdigit, os.listdir(folder)), key=int):
            try:
                line = _read(f"{folder}/{pid}/cmdline")
                names = self._finder.within(line) if line else ()
                self.counts["processes"] += 1
                if not names:
                    continue
                command = os.path.basename(line.split(b"\0")[0]).decode(errors="replace")[:40]
                container = _CONTAINER.search(_read(f"{folder}/{pid}/cgroup").decode(errors="replace"))
            except OSError:
                continue  # it has ended
            inside = services.get(container[1]) if container else None
            # The program's own name may be where the secret stands.
            command = "" if self._finder.text(command) else f" {command}"
            self._add(f"command line of a process{command}" + (f" of {inside}" if inside else ""), names)

    # Docker

    def containers(self, engine, socket):
        """Look into the containers of this node and their logs. Return {id: what it is called in places}."""
        called = {}
        for entry in engine.get("/containers/json", all=1):
            container = engine.get("/containers/{0}/json", entry["Id"])
            settings = container.get("Config") or {}
            service = (settings.get("Labels") or {}).get(SERVICE_LABEL)
            place = f"service {service}" if service else f"container {container['Name'].lstrip('/')}"
            called[entry["Id"]] = place
            self.counts["containers"] += 1
            inside = f"container of {place}" if service else place
            self._environment(inside, service, settings.pop("Env", None))
            self._add(inside, self._finder.text({key: container.get(key) for key in _TOLD}))
            self._log(engine, socket, entry["Id"], place)
        return called

    def _log(self, engine, socket, container, place):
        """Look into the log of a container as it comes: it may be larger than memory."""
        connection = SocketConnection(socket, timeout=60)
        try:
            url = "/v{}.{}/containers/{}/logs?stdout=1&stderr=1".format(*engine.api_version, container)
            connection.request("GET", url)
            answer = connection.getresponse()
            if answer.status != 200:
                self.unread.append(f"log of {place}: {answer.read(500).decode(errors='replace').strip()}")
                return
            names = [name for name, _window, _place in self._finder.stream(answer.read)]
            self._add(f"log of {place}", names)
        except (OSError, http.client.HTTPException) as error:
            self.unread.append(f"log of {place}: {error or type(error).__name__}")
        finally:
            connection.close()

    def swarm(self, engine):
        """Look into all that the Swarm stores and a manager tells."""
        services = {}
        for service in engine.get("/services"):
            name = services[service["ID"]] = service["Spec"]["Name"]
            self._specification(f"service {name}", name, service["Spec"])
            self._specification(f"previous version of service {name}", name, service.get("PreviousSpec"))
        for task in engine.get("/tasks"):
            name = services.get(task.get("ServiceID"))
            spec = {**task, "TaskTemplate": task.pop("Spec", None)}
            self._specification(f"task of service {name}", name, spec)
        for config in engine.get("/configs"):
            data = base64.b64decode(config["Spec"].pop("Data", None) or "")
            place = f"config {config['Spec']['Name']}"
            self._object(place, config["Spec"])
            self._add(place, self._finder.within(data))
        for kind, name in (("secrets", "secret"), ("networks", "network"), ("nodes", "node")):
            for found in engine.get(f"/{kind}"):
                spec = found.get("Spec") or found
                hostname = (found.get("Description") or {}).get("Hostname")
                called = spec.get("Name") or hostname or found.get("ID")
                self._object(f"{name} {called}", found)
        self._object("the Swarm's own specification", (engine.get("/swarm").get("Spec")))

    def _specification(self, place, service, spec):
        if not spec:
            return
        container = ((spec.get("TaskTemplate") or {}).get("ContainerSpec")) or {}
        self._environment(place, service, container.pop("Env", None))
        self._object(place, spec)

    def _object(self, place, value):
        self.counts["objects"] += 1
        self._add(place, self._finder.text(value))

    def _environment(self, place, service, entries):
        declared = self._declared.get(service) or {}
        for entry in entries or []:
            variable = entry.partition("=")[0]
            for name in self._finder.text(entry):
                # The name of the variable may be where the secret stands.
                told = "" if self._finder.text(variable) else f", variable {variable}"
                # In the midst of a rotation some have the value before.
                current = name.removesuffix(_secrets.NEXT).removesuffix(_secrets.PREVIOUS)
                self._add(place + told, [name], declared.get(variable) == current)


def pseudo_mounts(path="/proc/self/mounts"):
    """Return the places at which file systems are mounted that hold no files of anybody's."""
    lines = [line.split() for line in _read(path).decode(errors="replace").splitlines()]
    return {line[1].replace("\\040", " ") for line in lines if line[2] in _PSEUDO and line[1] != "/"}


def data_root(engine):
    """Return the folder in which the Engine keeps images and containers."""
    return engine.get("/info").get("DockerRootDir") or DATA_ROOT


def folders(roots, root):
    """Return (folders to look into, folders to leave out) where an Engine keeps its own under root.

    Its volumes hold files of services. The rest is images, what runs, and the secrets it hands out.
    """
    return [*roots, f"{root}/volumes"], [root, "/var/lib/containerd", JOURNAL]


def parse_patterns(several):
    """Return {name: [bytes]} of what the controller sent, {name: [base64]}."""
    try:
        return {
            name: [base64.b64decode(one, validate=True) for one in ones] for name, ones in several.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise FleetError("Cannot read the fragments to look for", cause=type(error).__name__) from None


def _entry(window, place):
    """Return of which program an entry of a journal in the export format is, as " of X", or nothing."""
    begin, end = window.rfind(b"\n\n", 0, place) + 2, window.find(b"\n\n", place)
    entry = window[max(begin - 1, 0) : end if end >= 0 else len(window)]
    fields = {key: value.decode() for key, value in _ENTRY.findall(entry)}
    for key in (b"SYSLOG_IDENTIFIER", b"_SYSTEMD_UNIT", b"_COMM"):
        if key in fields:
            return f", an entry of {fields[key]}"
    return ""


def _read(path):
    with open(path, "rb") as file:
        return file.read()

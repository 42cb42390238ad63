# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks, volumes, configs and secrets of a stack: their names and specs. Pure. Private: may change."""

from __future__ import annotations

import base64
import hashlib
import json

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.content import marker

NAMESPACE = "com.docker.stack.namespace"
# On configs and secrets with a name of the user's choice, which cannot carry the content's hash.
CONTENT = "gpufleet.content"
PREDEFINED_NETWORKS = ("host", "bridge", "none", "default")
_MAX_NAME = 64
# About 10 ms each: a stack of ten secrets is read in 0.1 s, and a guesser who can list secrets has to pay it
# too.
_SCRYPT = {"n": 2**12, "r": 8, "p": 1, "dklen": 6}


class Objects:
    """Names every object of one stack, remembers which are used, and makes the specs of those to be created.

    model   the stack's Model; stack: its name
    report  Report for problems and translations
    """

    def __init__(self, model, stack, report):
        self.model = model
        self.report = report
        self.stack = stack
        self.used = {"networks": {}, "configs": {}, "secrets": {}}
        self._stored = {"configs": {}, "secrets": {}}
        for key, entry in model.configs.items():
            self._add("configs", key, entry, config_digest)
        for key, entry in model.secrets.items():
            self._add("secrets", key, entry, self._secret_digest)

    def labels(self, entry):
        """Own labels and the one that makes an object part of the stack, which nothing can overwrite."""
        return {**texts(entry.get("labels")), NAMESPACE: self.stack}

    def name(self, kind, key, place):
        """Return the real name of what a service refers to by key, and note that it is used."""
        entries = getattr(self.model, kind)
        if key not in entries and not (kind == "networks" and key == "default"):
            raise self.report.error(
                place,
                f"A service uses something that is not declared under {kind}",
                found=key,
                wanted=f"{kind}.{key}",
            )
        if kind in self._stored and key in self._stored[kind]:
            return self._stored[kind][key][0]
        entry = entries.get(key) or {}
        name = entry.get("name") or (key if entry.get("external") else f"{self.stack}_{key}")
        if kind in self.used:
            self.used[kind][key] = name
        return name

    def result(self):
        """Return the parts of the wanted state that are not services."""
        result = {}
        for kind in ("networks", "configs", "secrets"):
            entries = getattr(self.model, kind)
            external = {
                name for key, name in self.used[kind].items() if (entries.get(key) or {}).get("external")
            }
            result[f"external_{kind}"] = sorted(external.difference(PREDEFINED_NETWORKS))
        result["networks"] = {
            name: {"spec": self._network(name, self.model.networks.get(key) or {})}
            for key, name in self.used["networks"].items()
            if not (self.model.networks.get(key) or {}).get("external")
        }
        for kind, stored in self._stored.items():
            result[kind] = {
                name: {"key": key, "spec": spec, "source": _source(getattr(self.model, kind)[key])}
                for key, (name, spec) in stored.items()
            }
        return result

    def _network(self, name, entry):
        spec = {
            "Name": name,
            "Driver": entry.get("driver", "overlay"),
            "Options": texts(entry.get("driver_opts")),
            "Internal": entry.get("internal", False),
            "Attachable": entry.get("attachable", False),
            "Labels": self.labels(entry),
        }
        ipam = entry.get("ipam", {})
        ranges = [
            _without_empty(
                Subnet=part.get("subnet"),
                IPRange=part.get("ip_range"),
                Gateway=part.get("gateway"),
                AuxiliaryAddresses=part.get("aux_addresses"),
            )
            for part in ipam.get("config", ())
        ]
        settings = _without_empty(
            Driver=ipam.get("driver"), Options=texts(ipam.get("options")), Config=ranges
        )
        if settings:
            spec["IPAM"] = settings
        if entry.get("enable_ipv6"):
            spec["EnableIPv6"] = True
        return spec

    def _add(self, kind, key, entry, digest):
        """Name a config or secret by its content and make its spec."""
        if entry.get("external"):
            return
        fingerprint = digest(key, entry)
        labels = self.labels(entry)
        if "name" in entry:
            name = entry["name"]
            labels[CONTENT] = fingerprint
        else:
            name = f"{self.stack}_{key}-{fingerprint}"
        if len(name) > _MAX_NAME:
            self.report.problem(
                (kind, key),
                f"The name of an object is too long: {name}",
                found=f"{len(name)} characters",
                wanted=f"at most {_MAX_NAME}",
                option=f"{kind}.{key}.name, or a shorter key or name of the stack",
            )
        spec = {"Name": name, "Labels": labels}
        if "driver" in entry:
            spec["Driver"] = _without_empty(Name=entry["driver"], Options=texts(entry.get("driver_opts")))
        elif kind == "configs":
            spec["Data"] = base64.b64encode(entry["data"]).decode()
        else:
            spec["Data"] = marker(f"secret:{key}")
        if "template_driver" in entry:
            spec["Templating"] = {"Name": entry["template_driver"]}
        self._stored[kind][key] = (name, spec)

    def _secret_digest(self, key, entry):
        """Fingerprint of a secret: slow, salted with where it belongs, so that a name gives nothing away."""
        if "driver" in entry:
            settings = [entry["driver"], texts(entry.get("driver_opts"))]
            content = json.dumps(settings, sort_keys=True).encode()
        else:
            content = base64.b64decode(self.model.secret_values[f"secret:{key}"])
        content += _driver_suffix(entry)
        return hashlib.scrypt(content, salt=f"{self.stack}/{key}".encode(), **_SCRYPT).hex()


def config_digest(_key, entry):
    """Fingerprint of a config's content."""
    return hashlib.sha256(entry["data"] + _driver_suffix(entry)).hexdigest()[:12]


def texts(values):
    """Return a mapping with an empty text for every None, as Docker's tools send it."""
    return {key: "" if value is None else value for key, value in (values or {}).items()}


def _source(entry):
    """Tell where the content of a config or secret comes from."""
    if "content" in entry:
        return "content in the Compose file"
    return next(
        f"{word} {entry[key]}"
        for key, word in (("file", "the file"), ("environment", "the variable"), ("driver", "the driver"))
        if key in entry
    )


def _driver_suffix(entry):
    return b"\0" + entry["template_driver"].encode() if "template_driver" in entry else b""


def _without_empty(**values):
    return {key: value for key, value in values.items() if value}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the model of a stack to the objects a Swarm should have. Pure. Private: may change in any release.

The canonical form of what comes out
------------------------------------
Specs are in the form in which an Engine stores them (moby, daemon/cluster/convert), with names in the place
of ids, and without what says nothing:

* Always there: Name, Labels, TaskTemplate.ContainerSpec.{Image, Labels}, TaskTemplate.{Resources, Placement,
  Networks}, Mode, EndpointSpec.Mode.
* Left out although an Engine adds it: TaskTemplate.{Runtime, ForceUpdate}, Placement.Platforms,
  ContainerSpec.Isolation "default", ContainerSpec.Privileges without a credential spec, null, empty values.
* Filled in as an Engine does: Mode.Replicated.Replicas 1, Mode.ReplicatedJob.{MaxConcurrent,
  TotalCompletions}, RestartPolicy.{Condition "any", MaxAttempts 0}, {Update,Rollback}Config.{Parallelism 1,
  FailureAction "pause", Order "stop-first", MaxFailureRatio 0}, Ports.{Protocol "tcp", PublishMode
  "ingress"}, references' File.{UID "0", GID "0", Mode 0444}.
* Order: Env, Ports, Networks, Secrets, Configs, Ulimits, capabilities sorted; Mounts, Hosts, Constraints,
  Preferences and all words of commands as in the file.
* Image has a tag or digest and the short form of Docker Hub's names.
* A secret value is a marker, STX NAME ETX, wherever it stands; Data of a secret is the marker "secret:KEY".
"""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import convert_objects, convert_service

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
MAX_SERVICE_NAME = 63  # a service's name is a DNS label


def convert(model, name, options=None):
    """Return the wanted state of a stack as plain data (JSON can hold it).

    model    Model of load()
    name     name of the stack
    options  endpoint_mode: "vip" or "dnsrr", for services that state none and publish no port in ingress
             mode (default "vip"); gpu_kind: kind of the generic resource that a GPU is (default "GPU");
             replicas: "file", or "keep" to leave the scaling of services that do not say themselves to others

    Keys of the result: name, networks, external_networks, configs, external_configs, secrets,
    external_secrets, services, translations, ignored, warnings. A service has key, wave (0 first), job,
    depends_on, spec, keep_replicas, and stateful: [{mount, reason}] for what it keeps on its node. A config
    or secret has key, spec, and source, in words, for messages. Raises ComposeError with all problems found.
    """
    options = {"endpoint_mode": "vip", "gpu_kind": "GPU", "replicas": "file", **(options or {})}
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ComposeError(
            "A stack has a name that Swarm cannot use",
            found=f'"{name}"',
            option="name",
            wanted="letters, digits, _ and -, the first and last a letter or digit",
        )
    report = model.report.copy()
    objects = convert_objects.Objects(model, name, report)
    waves = _waves(model.services, report)
    services = {}
    for key, service in model.services.items():
        full = f"{name}_{key}"
        if len(full) > MAX_SERVICE_NAME:
            report.problem(
                ("services", key),
                "The name of a service is too long with the stack's before it",
                found=f"{full} ({len(full)} characters)",
                wanted=f"at most {MAX_SERVICE_NAME}",
                option="name",
            )
            continue
        with report.collecting():
            converter = convert_service.Converter(key, service, objects, options)
            services[full] = {
                "key": key,
                "wave": waves.get(key, 0),
                "job": service["deploy"].get("mode", "").endswith("-job"),
                "depends_on": {
                    other: entry["condition"] for other, entry in service.get("depends_on", {}).items()
                },
                "spec": converter.spec(full),
                "stateful": converter.stateful(),
                "keep_replicas": converter.keeps_replicas(),
            }
            if service.get("depends_on"):
                report.translated(
                    ("services", key, "depends_on"),
                    f"wave {waves.get(key, 0) + 1} of the deploy",
                    "Swarm knows no order; the deploy waits for each wave before it starts the next",
                )
    _ports(services, report)
    report.finish()
    return {
        "name": name,
        **objects.result(),
        "services": services,
        "translations": report.translations,
        "ignored": report.ignored,
        "warnings": report.warnings,
    }


def _waves(services, report):
    """Give each service the first wave in which all it depends on is there; report a circle."""
    waves, left = {}, {key: set(service.get("depends_on", ())) for key, service in services.items()}
    level = 0
    while left:
        ready = [key for key, others in left.items() if not others]
        if not ready:
            circle = _circle(left)
            report.problem(
                ("services", circle[0], "depends_on"),
                "Services depend on each other in a circle",
                found=" -> ".join([*circle, circle[0]]),
            )
            return {}
        waves.update(dict.fromkeys(ready, level))
        left = {key: others.difference(ready) for key, others in left.items() if key not in ready}
        level += 1
    return waves


def _circle(left):
    """Walk along dependencies until a service comes again; every service in left has one."""
    walk = [next(iter(left))]
    while True:
        following = min(left[walk[-1]])
        if following in walk:
            return walk[walk.index(following) :]
        walk.append(following)


def _ports(services, report):
    """Two services cannot publish one port in ingress mode: the Engine refuses the second one."""
    taken = {}
    for service in services.values():
        for port in service["spec"]["EndpointSpec"].get("Ports", ()):
            if port["PublishMode"] != "ingress" or not port.get("PublishedPort"):
                continue
            number = f"{port['PublishedPort']}/{port['Protocol']}"
            other = taken.setdefault(number, service["key"])
            if other != service["key"]:
                report.problem(
                    ("services", service["key"], "ports"),
                    "Two services publish the same port",
                    found=f"{number}, also published by {other}",
                    wanted="a port for each",
                )

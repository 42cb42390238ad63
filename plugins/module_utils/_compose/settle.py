# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the merged document to the model: files read, dialect translated, services checked against each other.

Private: may change in any release.
"""

from __future__ import annotations

import posixpath

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.content import packed
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.dialect import translate
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.model import Model

_COMPLETED = "service_completed_successfully"
_HEALTHY = "service_healthy"


def settle(document, reader, profiles):
    """Return the Model of a merged document.

    document  the merged document
    reader    content.Reader
    profiles  names of the active profiles
    Problems go to the reader's report.
    """
    report = reader.report
    model = Model(
        report=report,
        networks=document.get("networks", {}),
        volumes=document.get("volumes", {}),
        configs=document.get("configs", {}),
        secrets=document.get("secrets", {}),
    )
    if not document.get("services"):
        report.problem(
            ("services",),
            "A stack has no services",
            wanted="at least one service",
            option="state: absent to remove a stack",
        )
    model.services = _active(document.get("services", {}), set(profiles), report)
    for key, service in model.services.items():
        with report.collecting():
            _service(service, ("services", key), reader)
    _dependencies(model.services, report)
    for key, entry in model.configs.items():
        if not entry.get("external"):
            with report.collecting():
                entry["data"] = reader.config(key, entry)
    for key, entry in model.secrets.items():
        if not entry.get("external") and "driver" not in entry:
            with report.collecting():
                model.secret_values[f"secret:{key}"] = packed(reader.secret(key, entry))
    return model


def _active(services, profiles, report):
    """Leave out the services of which no profile is active."""
    result = {}
    for key, service in services.items():
        wanted = service.pop("profiles", [])
        if not wanted or "*" in profiles or profiles & set(wanted):
            result[key] = service
        else:
            report.ignore(("services", key), "none of its profiles is active: " + ", ".join(wanted))
    return result


def _service(service, place, reader):
    report = reader.report
    if not service.get("image"):
        report.problem(place, "A service has no image", wanted="image")
    service["environment"] = reader.environment(service, place)
    translate(service, place, report)
    _mounts(service, place, reader)
    _mode(service, place, report)
    _ports(service, place, report)
    disable = service.get("healthcheck", {}).pop("disable", False)
    if disable:
        service["healthcheck"] = {"test": ["NONE"]}


def _mounts(service, place, reader):
    targets = set()
    for mount in service["volumes"]:
        target = posixpath.normpath(mount["target"])
        if target in targets:
            reader.report.problem(
                place + ("volumes",),
                "Two mounts have the same target",
                found=target,
                wanted="one mount per target",
            )
        targets.add(target)
        source = mount.get("source", "")
        if mount["type"] == "bind" and not source.startswith("/") and "\\" not in source:
            mount["source"] = reader.path(source, place + ("volumes",))
            reader.report.translated(
                place + ("volumes",),
                f"{source} is {mount['source']}",
                "relative to the project's directory; the path must exist on the nodes",
            )


def _mode(service, place, report):
    deploy = service["deploy"]
    mode = deploy.get("mode", "replicated")
    if service.get("x-replicas") == "keep" and mode != "replicated":
        report.ignore(place + ("x-replicas",), f"with the mode {mode} nobody scales the service")
    place += ("deploy",)
    if "replicas" in deploy and mode.startswith("global"):
        report.problem(
            place + ("replicas",),
            "A service that runs on every node has no number of replicas",
            found=f"mode: {mode}",
            wanted="replicas only with replicated or replicated-job",
        )
    if mode.endswith("-job"):
        for key in ("update_config", "rollback_config"):
            if key in deploy:
                report.problem(
                    place + (key,),
                    "A job cannot be updated step by step",
                    found=f"mode: {mode}",
                    wanted="no update_config and no rollback_config",
                )


def _ports(service, place, report):
    seen = set()
    for port in service.get("ports", ()):
        number = (port.get("published"), port["protocol"])
        if number in seen:
            report.problem(
                place + ("ports",),
                "A port is published twice",
                found=f"{number[0]}/{number[1]}",
                wanted="each published port once per protocol",
            )
        if port.get("published"):
            seen.add(number)
        if port["mode"] == "ingress" and service["deploy"].get("endpoint_mode") == "dnsrr":
            report.problem(
                place + ("deploy", "endpoint_mode"),
                "Swarm cannot publish a port in ingress mode with dnsrr",
                found=f"port {port['target']}",
                wanted="mode: host for the port, or vip",
            )


def _dependencies(services, report):
    """Check who depends on whom, and make jobs of services that others wait to complete."""
    for key, service in services.items():
        for other, dependency in list(service.get("depends_on", {}).items()):
            place = ("services", key, "depends_on", other)
            required = dependency.pop("required", True)
            if other not in services:
                if required:
                    report.problem(
                        place,
                        "A service depends on one that is not there",
                        found=other,
                        wanted="a service of this stack, with an active profile if it has any",
                    )
                del service["depends_on"][other]
            elif dependency["condition"] == _COMPLETED:
                _job(other, services[other], place, report)
            elif dependency["condition"] == _HEALTHY:
                _checked(other, services[other], place, report)


def _job(key, service, place, report):
    mode = service.get("deploy", {}).get("mode")
    if mode is None:
        service.setdefault("deploy", {})["mode"] = "replicated-job"
        report.translated(
            ("services", key),
            "deploy.mode: replicated-job",
            "another service waits for it to complete; Swarm would restart it as a service",
        )
    elif not mode.endswith("-job"):
        report.problem(
            place,
            "A service that never ends cannot be waited for",
            found=f"{key} is {mode}",
            wanted="deploy.mode: replicated-job or global-job",
            option=f"services.{key}.deploy.mode",
        )


def _checked(key, service, place, report):
    # Without a healthcheck of its own the image's counts, which only the Engine knows.
    if service.get("healthcheck", {}).get("test") == ["NONE"]:
        report.problem(
            place,
            "The health of a service without a check cannot be waited for",
            found=f"{key} disables it",
            wanted="service_started",
            option=f"services.{key}.healthcheck",
        )

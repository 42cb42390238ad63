# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One service of the model to a ServiceSpec. Pure. Private: may change in any release."""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import images
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert_mounts import mount, stateful
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert_objects import (
    NAMESPACE,
    PREDEFINED_NETWORKS,
    texts,
)

IMAGE = "com.docker.stack.image"


class Converter:
    """Converts one service.

    key      its key in the Compose file; service: its settled form
    objects  convert_objects.Objects of the stack
    options  endpoint_mode, gpu_kind and replicas; see convert()
    """

    def __init__(self, key, service, objects, options):
        self.key = key
        self.service = service
        self.deploy = service["deploy"]
        self.objects = objects
        self.options = options
        self.place = ("services", key)

    def spec(self, name):
        """Return the ServiceSpec."""
        task = {
            "ContainerSpec": self._container(),
            "Resources": self._resources(),
            "Placement": self._placement(),
            "Networks": self._networks(),
            "RestartPolicy": self._restart_policy(),
            "LogDriver": self._log_driver(),
        }
        return _given(
            {
                "Name": name,
                "Labels": {
                    **texts(self.deploy.get("labels")),
                    NAMESPACE: self.objects.stack,
                    IMAGE: self.service["image"],
                },
                "TaskTemplate": _given(task, "Resources", "Placement", "Networks"),
                "Mode": self._mode(),
                "UpdateConfig": _update(self.deploy.get("update_config")),
                "RollbackConfig": _update(self.deploy.get("rollback_config")),
                "EndpointSpec": self._endpoint(),
            },
            "Labels",
        )

    def stateful(self):
        """Return what the service keeps on the node it runs on: [{mount, reason}]."""
        if self.deploy.get("mode", "").startswith("global"):
            return []  # one task per node, each stays where it is
        return stateful(self.service["volumes"], self.objects)

    def keeps_replicas(self):
        """Tell whether the number of replicas that runs is left alone."""
        return (
            self.service.get("x-replicas", self.options["replicas"]) == "keep"
            and self.deploy.get("mode", "replicated") == "replicated"
        )

    def _container(self):
        get = self.service.get
        added, dropped = capabilities(get("cap_add", ()), get("cap_drop", ()))
        container = {
            "Image": images.familiar(get("image")),
            "Labels": self.objects.labels(self.service),
            "Command": get("entrypoint"),
            "Args": get("command"),
            "Hostname": get("hostname"),
            "Env": environment(get("environment")),
            "Dir": get("working_dir"),
            "User": get("user"),
            "Groups": get("group_add"),
            "Privileges": self._privileges(),
            "StopSignal": get("stop_signal"),
            "StopGracePeriod": get("stop_grace_period"),
            "TTY": get("tty"),
            "OpenStdin": get("stdin_open"),
            "ReadOnly": get("read_only"),
            "Init": get("init"),
            "Mounts": [mount(entry, self.objects, self.place + ("volumes",)) for entry in get("volumes")],
            "Healthcheck": _healthcheck(get("healthcheck", {})),
            "Hosts": get("extra_hosts"),
            "DNSConfig": _given(
                {"Nameservers": get("dns"), "Search": get("dns_search"), "Options": get("dns_opt")}
            ),
            "Secrets": self._references("secrets", "SecretName"),
            "Configs": self._references("configs", "ConfigName") + self._credential_config(),
            "Isolation": get("isolation") if get("isolation") != "default" else None,
            "Sysctls": texts(get("sysctls")),
            "CapabilityAdd": added,
            "CapabilityDrop": dropped,
            "Ulimits": [
                {"Name": name, "Soft": limit["soft"], "Hard": limit["hard"]}
                for name, limit in sorted(get("ulimits", {}).items())
            ],
            "OomScoreAdj": get("oom_score_adj") or None,
        }
        # Three states each: given as false or 0 is not the same as not given.
        pointers = {key: container.pop(key) for key in ("Init", "StopGracePeriod")}
        return {
            **_given(container, "Labels"),
            **{key: value for key, value in pointers.items() if value is not None},
        }

    def _privileges(self):
        spec = self.service.get("credential_spec")
        if not spec:
            return None
        if "config" in spec:
            spec = {
                "config": self.objects.name(
                    "configs", spec["config"], self.place + ("credential_spec", "config")
                )
            }
        return {"CredentialSpec": {key.capitalize(): value for key, value in spec.items()}}

    def _credential_config(self):
        """A credential spec from a config has that config attached too, for the runtime, not as a file."""
        key = self.service.get("credential_spec", {}).get("config")
        if key is None:
            return []
        return [
            {
                "ConfigName": self.objects.name("configs", key, self.place + ("credential_spec", "config")),
                "Runtime": {},
            }
        ]

    def _references(self, kind, name_field):
        references = []
        for index, entry in enumerate(self.service.get(kind, ())):
            name = self.objects.name(kind, entry["source"], self.place + (kind, index))
            file = {"Name": entry["target"], "UID": entry["uid"], "GID": entry["gid"], "Mode": entry["mode"]}
            references.append({"File": file, name_field: name})
        return sorted(references, key=lambda reference: (reference[name_field], reference["File"]["Name"]))

    def _networks(self):
        attachments = []
        for key, entry in (self.service.get("networks") or {"default": {}}).items():
            target = self.objects.name("networks", key, self.place + ("networks", key))
            aliases = list(entry.get("aliases", ()))
            if target not in PREDEFINED_NETWORKS:
                aliases.append(self.key)
            attachments.append(
                _given({"Target": target, "Aliases": aliases, "DriverOpts": texts(entry.get("driver_opts"))})
            )
        return sorted(attachments, key=lambda attachment: attachment["Target"])

    def _resources(self):
        resources = self.deploy.get("resources", {})
        limits, reserved = resources.get("limits", {}), resources.get("reservations", {})
        return _given(
            {
                "Limits": _given(
                    {
                        "NanoCPUs": limits.get("cpus"),
                        "MemoryBytes": limits.get("memory"),
                        "Pids": limits.get("pids"),
                    }
                ),
                "Reservations": _given(
                    {
                        "NanoCPUs": reserved.get("cpus"),
                        "MemoryBytes": reserved.get("memory"),
                        "GenericResources": self._generic_resources(reserved),
                    }
                ),
            }
        )

    def _generic_resources(self, reserved):
        wanted = list(reserved.get("generic_resources", ()))
        cards = reserved.get("gpus")
        kind = self.service.get("gpu_kind") or self.options["gpu_kind"]
        if cards:
            path = self.service["gpus_from"]
            if any(entry["kind"] == kind for entry in wanted):
                raise self.objects.report.error(
                    path,
                    "GPUs are asked for twice",
                    wanted="one of them",
                    found=f"and generic_resources of kind {kind}",
                )
            wanted.append({"kind": kind, "value": cards})
            self.objects.report.translated(
                path,
                f"deploy.resources.reservations.generic_resources: {cards} of kind {kind}",
                "Swarm grants that many whole cards to each task",
            )
        return [
            {"DiscreteResourceSpec": {"Kind": entry["kind"], "Value": entry["value"]}} for entry in wanted
        ]

    def _placement(self):
        placement = self.deploy.get("placement", {})
        return _given(
            {
                "Constraints": placement.get("constraints"),
                "Preferences": [
                    {"Spread": {"SpreadDescriptor": entry["spread"]}}
                    for entry in placement.get("preferences", ())
                ],
                "MaxReplicas": placement.get("max_replicas_per_node"),
            }
        )

    def _restart_policy(self):
        policy = self.deploy.get("restart_policy")
        if policy is None:
            return None
        result = {"Condition": policy.get("condition", "any"), "MaxAttempts": policy.get("max_attempts", 0)}
        times = {"Delay": policy.get("delay"), "Window": policy.get("window")}
        return {**result, **{key: value for key, value in times.items() if value is not None}}

    def _log_driver(self):
        logging = self.service.get("logging")
        return logging and _given({"Name": logging.get("driver"), "Options": texts(logging.get("options"))})

    def _mode(self):
        mode, replicas = self.deploy.get("mode", "replicated"), self.deploy.get("replicas", 1)
        return {
            "replicated": {"Replicated": {"Replicas": replicas}},
            "global": {"Global": {}},
            "replicated-job": {"ReplicatedJob": {"MaxConcurrent": replicas, "TotalCompletions": replicas}},
            "global-job": {"GlobalJob": {}},
        }[mode]

    def _endpoint(self):
        ports = [
            _given(
                {
                    "Protocol": port["protocol"],
                    "TargetPort": port["target"],
                    "PublishedPort": port.get("published"),
                    "PublishMode": port["mode"],
                }
            )
            for port in self.service.get("ports", ())
        ]
        ports.sort(
            key=lambda port: (
                port.get("PublishedPort", 0),
                port["TargetPort"],
                port["Protocol"],
                port["PublishMode"],
            )
        )
        ingress = any(port["PublishMode"] == "ingress" for port in ports)
        mode = self.deploy.get("endpoint_mode") or ("vip" if ingress else self.options["endpoint_mode"])
        return _given({"Mode": mode, "Ports": ports})


def environment(variables):
    """Return variables the way an Engine takes them: sorted, and a bare name for one that is to be unset."""
    return sorted(name if value is None else f"{name}={value}" for name, value in (variables or {}).items())


def capabilities(add, drop):
    """Return (added, dropped) as the CLI sends them: adding wins over dropping, ALL stands for its list."""
    added, dropped = _capability_set(add), _capability_set(drop)
    return sorted(added - {"RESET"}), sorted(dropped - added - {"RESET"})


def _capability_set(names):
    names = {name.strip().upper() for name in names}
    if "ALL" in names:
        return {"ALL"}
    return {name if name == "RESET" or name.startswith("CAP_") else f"CAP_{name}" for name in names}


def _healthcheck(check):
    return _given(
        {
            "Test": check.get("test"),
            "Interval": check.get("interval"),
            "Timeout": check.get("timeout"),
            "StartPeriod": check.get("start_period"),
            "StartInterval": check.get("start_interval"),
            "Retries": check.get("retries"),
        }
    )


def _update(config):
    if config is None:
        return None
    result = {
        "Parallelism": config.get("parallelism", 1),
        "FailureAction": config.get("failure_action", "pause"),
        "MaxFailureRatio": config.get("max_failure_ratio", 0),
        "Order": config.get("order", "stop-first"),
    }
    times = _given({"Delay": config.get("delay"), "Monitor": config.get("monitor")})
    return {**result, **times}


def _given(values, *always):
    """Leave out what is empty, false or zero, except the keys in always."""
    return {key: value for key, value in values.items() if value or key in always}

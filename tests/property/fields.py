# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can stand in a service, and what an Engine must then have: two columns written by hand.

Each row is a Compose path, the place in a ServiceSpec that it decides, and pairs of a Compose value and the
value an Engine stores for it (moby, daemon/cluster/convert). The first pair is that of the absent key.
Nothing here is taken from the collection, so that the module is not its own witness.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

C = "TaskTemplate.ContainerSpec."
R = "TaskTemplate.Resources."
P = "TaskTemplate.Placement."
SECOND = 1_000_000_000

# Labels that the module itself sets on a service: two as the CLI does, and its own notes.
NAMESPACE = "com.docker.stack.namespace"
IMAGE_LABEL = "com.docker.stack.image"
NOTES = "gpufleet."


def own(label):
    """Tell whether a label of a service is the module's, not the file's."""
    return label in (NAMESPACE, IMAGE_LABEL) or label.startswith(NOTES)


@dataclass(frozen=True)
class Field:
    """One row.

    path    Compose path below the service
    engine  path in the ServiceSpec
    values  pairs of Compose value and stored value
    same    stored value that says the same as none
    by_key  a mapping of texts, each key of which is a field of its own
    jobs    whether a job can have it
    """

    path: str
    engine: str
    values: tuple
    same: object = None
    by_key: bool = False
    jobs: bool = True

    def stored(self, number):
        """Return what an Engine has for the value of this number."""
        return self.means(self.values[number][1])

    def means(self, value):
        """Return a stored value, None for one that says nothing."""
        if value in (None, [], {}, "", False) and not (value is False and self.path == "init"):
            return None
        return None if value == self.same else value

    def read(self, spec):
        """Return what a stored ServiceSpec has here."""
        for part in self.engine.split("."):
            spec = (spec or {}).get(part)
        if self.path == "deploy.labels":
            spec = {key: value for key, value in (spec or {}).items() if not own(key)}
        if self.path == "labels":
            spec = {key: value for key, value in (spec or {}).items() if key != NAMESPACE}
        if self.path == "image":
            spec = spec.partition("@")[0]
        return self.means(spec)

    def write(self, spec, number):
        """Put the value of this number into a stored ServiceSpec, as another client would."""
        *parts, last = self.engine.split(".")
        for part in parts:
            if spec.get(part) is None:
                spec[part] = {}
            spec = spec[part]
        value = copy.deepcopy(self.values[number][1])
        if self.path in ("labels", "deploy.labels"):
            kept = {key: text for key, text in (spec.get(last) or {}).items() if own(key)}
            spec[last] = {**(value or {}), **kept}
        elif value is None:
            spec.pop(last, None)
        else:
            spec[last] = value


def field(path, engine, *values, absent=None, **rest):
    """Return a Field whose absent key is stored as ``absent``."""
    return Field(path, engine, ((None, absent), *values), **rest)


def plain(*values):
    """Return pairs of values that an Engine stores as they are written."""
    return tuple((value, value) for value in values)


ROLLOUT = {"Parallelism": 1, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"}

FIELDS = (
    field(
        "image",
        C + "Image",
        *plain("tiny:2", "registry.test:5000/a/tiny:3"),
        ("docker.io/library/tiny:4", "tiny:4"),
        ("other", "other:latest"),
        absent="tiny:1",
    ),
    field("command", C + "Args", ("run --fast 'a b'", ["run", "--fast", "a b"]), *plain(["a", ""], ["a"])),
    field("entrypoint", C + "Command", ("sh -c", ["sh", "-c"]), *plain(["/bin/x", "y"])),
    field("labels", C + "Labels", *plain({"a": "1"}, {"a": "2", "b.c": ""}, {"d": "x"}), by_key=True),
    field("hostname", C + "Hostname", *plain("h1", "{{.Node.Hostname}}-{{.Task.Slot}}")),
    field("user", C + "User", *plain("1000", "1000:1000")),
    field("working_dir", C + "Dir", *plain("/srv", "/srv/x")),
    field("group_add", C + "Groups", *plain(["docker"], ["10", "20"])),
    field("stop_signal", C + "StopSignal", *plain("SIGINT", "SIGQUIT")),
    field(
        "stop_grace_period",
        C + "StopGracePeriod",
        ("10s", 10 * SECOND),
        ("1s", SECOND),
        ("1m30s", 90 * SECOND),
        ("250ms", SECOND // 4),
        same=10 * SECOND,
    ),
    field("tty", C + "TTY", *plain(True, False)),
    field("stdin_open", C + "OpenStdin", *plain(True)),
    field("read_only", C + "ReadOnly", *plain(True)),
    field("init", C + "Init", *plain(True, False)),
    field(
        "extra_hosts", C + "Hosts", (["db:192.0.2.1"], ["192.0.2.1 db"]), (["db:192.0.2.2"], ["192.0.2.2 db"])
    ),
    field(
        "dns", C + "DNSConfig.Nameservers", ("192.0.2.53", ["192.0.2.53"]), *plain(["192.0.2.1", "192.0.2.2"])
    ),
    field("dns_search", C + "DNSConfig.Search", ("lab.test", ["lab.test"]), *plain(["b.test", "a.test"])),
    field(
        "sysctls",
        C + "Sysctls",
        ({"net.core.somaxconn": 1024}, {"net.core.somaxconn": "1024"}),
        (["net.core.somaxconn=2"], {"net.core.somaxconn": "2"}),
        by_key=True,
    ),
    field(
        "cap_add",
        C + "CapabilityAdd",
        (["NET_ADMIN"], ["CAP_NET_ADMIN"]),
        (["all"], ["ALL"]),
        (["CAP_NET_RAW", "sys_time"], ["CAP_NET_RAW", "CAP_SYS_TIME"]),
    ),
    field("cap_drop", C + "CapabilityDrop", (["MKNOD"], ["CAP_MKNOD"]), (["SETUID"], ["CAP_SETUID"])),
    field(
        "ulimits",
        C + "Ulimits",
        ({"nofile": 1024}, [{"Name": "nofile", "Soft": 1024, "Hard": 1024}]),
        ({"nofile": {"soft": 1, "hard": 2}}, [{"Name": "nofile", "Soft": 1, "Hard": 2}]),
    ),
    field(
        "healthcheck",
        C + "Healthcheck",
        ({"test": ["CMD", "true"], "interval": "1s"}, {"Test": ["CMD", "true"], "Interval": SECOND}),
        ({"test": "true", "retries": 2}, {"Test": ["CMD-SHELL", "true"], "Retries": 2}),
        ({"disable": True}, {"Test": ["NONE"]}),
        (
            {"test": ["CMD", "true"], "start_period": "2m"},
            {"Test": ["CMD", "true"], "StartPeriod": 120 * SECOND},
        ),
    ),
    field(
        "volumes",
        C + "Mounts",
        (["/srv/x:/x:ro"], [{"Type": "bind", "Source": "/srv/x", "Target": "/x", "ReadOnly": True}]),
        (["/srv/y:/x"], [{"Type": "bind", "Source": "/srv/y", "Target": "/x"}]),
        ([{"type": "tmpfs", "target": "/t"}], [{"Type": "tmpfs", "Target": "/t"}]),
        (
            [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1M"}}],
            [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20}}],
        ),
    ),
    field(
        "logging",
        "TaskTemplate.LogDriver",
        ({"driver": "json-file"}, {"Name": "json-file"}),
        (
            {"driver": "json-file", "options": {"max-size": "1m"}},
            {"Name": "json-file", "Options": {"max-size": "1m"}},
        ),
    ),
    field(
        "ports",
        "EndpointSpec.Ports",
        (
            [{"target": 80, "published": 8080, "mode": "host"}],
            [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"}],
        ),
        (
            [{"target": 80, "published": 8081, "mode": "host", "protocol": "udp"}],
            [{"Protocol": "udp", "TargetPort": 80, "PublishedPort": 8081, "PublishMode": "host"}],
        ),
        jobs=False,
    ),
    field("deploy.replicas", "Mode.Replicated.Replicas", *plain(1, 2, 0, 3), absent=1, jobs=False),
    field("deploy.endpoint_mode", "EndpointSpec.Mode", *plain("vip", "dnsrr"), absent="vip", jobs=False),
    field(
        "deploy.labels", "Labels", *plain({"a": "1"}, {"a": "2", "b": ""}, {"traefik.x": "y"}), by_key=True
    ),
    field(
        "deploy.update_config",
        "UpdateConfig",
        ({"order": "start-first"}, {**ROLLOUT, "Order": "start-first"}),
        ({"parallelism": 0, "delay": "2s"}, {**ROLLOUT, "Parallelism": 0, "Delay": 2 * SECOND}),
        ({"max_failure_ratio": 0.5, "monitor": "1s"}, {**ROLLOUT, "MaxFailureRatio": 0.5, "Monitor": SECOND}),
        ({"parallelism": 1}, ROLLOUT),
        same=ROLLOUT,
        jobs=False,
    ),
    field(
        "deploy.rollback_config",
        "RollbackConfig",
        ({"parallelism": 2}, {**ROLLOUT, "Parallelism": 2}),
        ({"failure_action": "continue"}, {**ROLLOUT, "FailureAction": "continue"}),
        same=ROLLOUT,
        jobs=False,
    ),
    field(
        "deploy.restart_policy",
        "TaskTemplate.RestartPolicy",
        ({"condition": "on-failure"}, {"Condition": "on-failure", "MaxAttempts": 0}),
        ({"delay": "0s", "max_attempts": 3}, {"Condition": "any", "Delay": 0, "MaxAttempts": 3}),
        ({"window": "2m"}, {"Condition": "any", "MaxAttempts": 0, "Window": 120 * SECOND}),
        jobs=False,
    ),
    field(
        "deploy.placement.constraints",
        P + "Constraints",
        *plain(["node.role==manager"], ["node.role==manager", "node.labels.a!=b"]),
    ),
    field(
        "deploy.placement.preferences",
        P + "Preferences",
        ([{"spread": "node.labels.zone"}], [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]),
    ),
    field("deploy.placement.max_replicas_per_node", P + "MaxReplicas", *plain(4, 5), jobs=False),
    field(
        "deploy.resources.limits",
        R + "Limits",
        ({"cpus": "0.5", "memory": "64M"}, {"NanoCPUs": SECOND // 2, "MemoryBytes": 64 << 20}),
        ({"pids": 100}, {"Pids": 100}),
        ({"memory": "1g"}, {"MemoryBytes": 1 << 30}),
    ),
    field(
        "deploy.resources.reservations",
        R + "Reservations",
        ({"cpus": 1}, {"NanoCPUs": SECOND}),
        ({"memory": "512k"}, {"MemoryBytes": 512 << 10}),
    ),
)
BY_PATH = {row.path: row for row in FIELDS}


def put(service, path, value):
    """Set what is at a dotted Compose path of a service."""
    *parts, last = path.split(".")
    for part in parts:
        service = service.setdefault(part, {})
    service[last] = copy.deepcopy(value)

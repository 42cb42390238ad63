# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the model to what a Swarm should have."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert import convert
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert_service import capabilities

NAMESPACE = {"com.docker.stack.namespace": "s"}
TOP = """
networks: {n: , out: {external: true}, real: {name: named}, host: {external: true}}
volumes:
  d:
  e: {external: true, name: real}
  o: {driver: local, driver_opts: {type: nfs, n: 1}, labels: {l: 1}}
  p: {driver_opts: {}}
configs: {c: {content: hi}, x: {external: true}}
"""
# Apart, because their slow hash takes its time.
SECRETS = "secrets: {p: {file: pw}, q: {file: pw, name: fixed}}"
S = 10**9


def files(path):
    return b"hunter2"


def converted(text, options=None, secret_names=()):
    extra = SECRETS if "secrets: [" in text else "secrets: {}"
    model = load([("stack.yml", text + TOP + extra)], {}, secret_names, files, "/")
    return convert(model, "s", options)


def spec(keys, options=None, **more):
    """Convert one service given as YAML flow pairs; return its ServiceSpec."""
    return converted(f"services: {{web: {{image: x, {keys}}}}}", options, **more)["services"]["s_web"]["spec"]


def test_the_smallest_service():
    assert converted("services: {web: {image: docker.io/library/nginx}}")["services"] == {
        "s_web": {
            "key": "web",
            "wave": 0,
            "job": False,
            "depends_on": {},
            "stateful": [],
            "keep_replicas": False,
            "spec": {
                "Name": "s_web",
                "Labels": {**NAMESPACE, "com.docker.stack.image": "docker.io/library/nginx"},
                "TaskTemplate": {
                    "ContainerSpec": {"Image": "nginx:latest", "Labels": NAMESPACE},
                    "Resources": {},
                    "Placement": {},
                    "Networks": [{"Target": "s_default", "Aliases": ["web"]}],
                },
                "Mode": {"Replicated": {"Replicas": 1}},
                "EndpointSpec": {"Mode": "vip"},
            },
        }
    }


@pytest.mark.parametrize(
    ("keys", "option", "kept"),
    [
        ("tty: true", "file", False),
        ("tty: true", "keep", True),
        ("x-replicas: keep", "file", True),
        ("x-replicas: file", "keep", False),
        ("x-replicas: keep, deploy: {mode: global}", "file", False),
        ("deploy: {mode: global}", "keep", False),
        ("deploy: {mode: replicated-job}", "keep", False),
    ],
)
def test_whose_business_scaling_is(keys, option, kept):
    text = f"services: {{web: {{image: x, {keys}}}}}"
    assert converted(text, {"replicas": option})["services"]["s_web"]["keep_replicas"] is kept


CONTAINER = [
    ("entrypoint: [a], command: b c", {"Command": ["a"], "Args": ["b", "c"]}),
    ("environment: {B: 1, A: x=y, C: , A1: ''}", {"Env": ["A1=", "A=x=y", "B=1", "C"]}),
    ("labels: {a: 1, com.docker.stack.namespace: mine}", {"Labels": {"a": "1", **NAMESPACE}}),
    ("labels: [a]", {"Labels": {"a": "", **NAMESPACE}}),
    (
        "hostname: 'h-{{.Task.Slot}}', user: '5', working_dir: /w, group_add: [7]",
        {"Hostname": "h-{{.Task.Slot}}", "User": "5", "Dir": "/w", "Groups": ["7"]},
    ),
    ("stop_signal: SIGINT, stop_grace_period: 0s", {"StopSignal": "SIGINT", "StopGracePeriod": 0}),
    ("tty: true, stdin_open: true, read_only: true", {"TTY": True, "OpenStdin": True, "ReadOnly": True}),
    ("tty: false, stdin_open: false, read_only: false", {}),
    ("init: true", {"Init": True}),
    ("init: false", {"Init": False}),
    ("isolation: default", {}),
    ("isolation: hyperv", {"Isolation": "hyperv"}),
    ("sysctls: [a.b=1]", {"Sysctls": {"a.b": "1"}}),
    (
        "dns: [8.8.8.8], dns_search: a.b, dns_opt: ['ndots:2']",
        {"DNSConfig": {"Nameservers": ["8.8.8.8"], "Search": ["a.b"], "Options": ["ndots:2"]}},
    ),
    ("extra_hosts: ['h:1.2.3.4']", {"Hosts": ["1.2.3.4 h"]}),
    (
        "ulimits: {nofile: 9, core: {soft: 0, hard: -1}}",
        {"Ulimits": [{"Name": "core", "Soft": 0, "Hard": -1}, {"Name": "nofile", "Soft": 9, "Hard": 9}]},
    ),
    (
        "cap_add: [net_admin], cap_drop: [ALL]",
        {"CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["ALL"]},
    ),
    ("oom_score_adj: -5", {"OomScoreAdj": -5}),
    ("oom_score_adj: 0", {}),
    (
        "healthcheck: {test: x, interval: 1s, timeout: 2s, retries: 3, start_period: 1m, start_interval: 5s}",
        {
            "Healthcheck": {
                "Test": ["CMD-SHELL", "x"],
                "Interval": S,
                "Timeout": 2 * S,
                "Retries": 3,
                "StartPeriod": 60 * S,
                "StartInterval": 5 * S,
            }
        },
    ),
    ("healthcheck: {disable: true}", {"Healthcheck": {"Test": ["NONE"]}}),
    ("healthcheck: {interval: 0s}", {}),
    ("credential_spec: {file: a}", {"Privileges": {"CredentialSpec": {"File": "a"}}}),
    (
        "credential_spec: {config: x}",
        {"Privileges": {"CredentialSpec": {"Config": "x"}}, "Configs": [{"ConfigName": "x", "Runtime": {}}]},
    ),
    (
        "configs: [x]",
        {"Configs": [{"ConfigName": "x", "File": {"Name": "x", "UID": "0", "GID": "0", "Mode": 0o444}}]},
    ),
    (
        "secrets: [{source: q, target: b}, {source: q, target: a, uid: '5', mode: 0400}]",
        {
            "Secrets": [
                {"SecretName": "fixed", "File": {"Name": "a", "UID": "5", "GID": "0", "Mode": 0o400}},
                {"SecretName": "fixed", "File": {"Name": "b", "UID": "0", "GID": "0", "Mode": 0o444}},
            ]
        },
    ),
    ("environment: {A: $T}, command: [run, x$T]", {"Env": ["A=\x02T\x03"], "Args": ["run", "x\x02T\x03"]}),
]


@pytest.mark.parametrize(("keys", "expected"), CONTAINER, ids=[row[0] for row in CONTAINER])
def test_container(keys, expected):
    container = spec(keys, secret_names=["T"])["TaskTemplate"]["ContainerSpec"]
    assert container == {"Image": "x:latest", "Labels": NAMESPACE, **expected}


VOLUME = {"Type": "volume", "Target": "/x"}
MOUNTS = [
    ("d:/x", {**VOLUME, "Source": "s_d", "VolumeOptions": {"Labels": NAMESPACE}}),
    ("e:/x", {**VOLUME, "Source": "real", "VolumeOptions": {}}),
    ("e:/x:nocopy", {**VOLUME, "Source": "real", "VolumeOptions": {"NoCopy": True}}),
    (
        "o:/x:ro",
        {
            **VOLUME,
            "Source": "s_o",
            "ReadOnly": True,
            "VolumeOptions": {
                "Labels": {"l": "1", **NAMESPACE},
                "DriverConfig": {"Name": "local", "Options": {"type": "nfs", "n": "1"}},
            },
        },
    ),
    ("p:/x", {**VOLUME, "Source": "s_p", "VolumeOptions": {"Labels": NAMESPACE, "DriverConfig": {}}}),
    ("/x", VOLUME),
    ("{type: volume, target: /x, volume: {nocopy: true}}", {**VOLUME, "VolumeOptions": {"NoCopy": True}}),
    (
        "{type: volume, source: d, target: /x, volume: {subpath: a}}",
        {**VOLUME, "Source": "s_d", "VolumeOptions": {"Subpath": "a", "Labels": NAMESPACE}},
    ),
    (
        "/a:/x:rshared",
        {"Type": "bind", "Target": "/x", "Source": "/a", "BindOptions": {"Propagation": "rshared"}},
    ),
    ("{type: bind, source: /a, target: /x, bind: {}}", {"Type": "bind", "Target": "/x", "Source": "/a"}),
    ("{type: tmpfs, target: /x}", {"Type": "tmpfs", "Target": "/x"}),
    (
        "{type: tmpfs, target: /x, tmpfs: {size: 1k, mode: '1777'}}",
        {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o1777}},
    ),
    (
        "{type: npipe, source: '\\\\.\\pipe\\x', target: /x}",
        {"Type": "npipe", "Target": "/x", "Source": "\\\\.\\pipe\\x"},
    ),
    (
        "{type: cluster, source: 'group:g', target: /x}",
        {"Type": "cluster", "Target": "/x", "Source": "group:g"},
    ),
    ("{type: cluster, source: d, target: /x}", {"Type": "cluster", "Target": "/x", "Source": "s_d"}),
]


@pytest.mark.parametrize(("mount", "expected"), MOUNTS, ids=[row[0] for row in MOUNTS])
def test_mounts(mount, expected):
    assert spec(f"volumes: [{mount}]")["TaskTemplate"]["ContainerSpec"]["Mounts"] == [expected]


def test_mounts_keep_the_order_of_the_file():
    mounts = spec("volumes: ['/z:/z', '/a:/a'], shm_size: 1g")["TaskTemplate"]["ContainerSpec"]["Mounts"]
    assert [mount["Target"] for mount in mounts] == ["/z", "/a", "/dev/shm"]


TASK = [
    (
        "deploy: {resources: {limits: {cpus: '0.5', memory: 1k, pids: 5}}}",
        "Resources",
        {"Limits": {"NanoCPUs": S // 2, "MemoryBytes": 1024, "Pids": 5}},
    ),
    (
        "deploy: {resources: {reservations: {cpus: '1', generic_resources: "
        "[{discrete_resource_spec: {kind: F, value: 2}}]}}}",
        "Resources",
        {
            "Reservations": {
                "NanoCPUs": S,
                "GenericResources": [{"DiscreteResourceSpec": {"Kind": "F", "Value": 2}}],
            }
        },
    ),
    (
        "gpus: [{count: 2}]",
        "Resources",
        {"Reservations": {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 2}}]}},
    ),
    (
        "mem_limit: 1k, mem_reservation: 512, cpus: 1",
        "Resources",
        {"Limits": {"NanoCPUs": S, "MemoryBytes": 1024}, "Reservations": {"MemoryBytes": 512}},
    ),
    ("deploy: {resources: {limits: {}}}", "Resources", {}),
    ("deploy: {restart_policy: {}}", "RestartPolicy", {"Condition": "any", "MaxAttempts": 0}),
    (
        "deploy: {restart_policy: {condition: none, delay: 0s, window: 1s}}",
        "RestartPolicy",
        {"Condition": "none", "MaxAttempts": 0, "Delay": 0, "Window": S},
    ),
    ("restart: on-failure:4", "RestartPolicy", {"Condition": "on-failure", "MaxAttempts": 4}),
    ("restart: 'no'", "RestartPolicy", {"Condition": "none", "MaxAttempts": 0}),
    (
        "deploy: {placement: {constraints: ['b == 1', a!=2], "
        "preferences: [{spread: node.labels.x}], max_replicas_per_node: 2}}",
        "Placement",
        {
            "Constraints": ["b == 1", "a!=2"],
            "MaxReplicas": 2,
            "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.x"}}],
        },
    ),
    ("deploy: {placement: {max_replicas_per_node: 0}}", "Placement", {}),
    (
        "logging: {driver: x, options: {a: 1, b: }}",
        "LogDriver",
        {"Name": "x", "Options": {"a": "1", "b": ""}},
    ),
    ("logging: {options: {a: 1}}", "LogDriver", {"Options": {"a": "1"}}),
    (
        "networks: [real, n]",
        "Networks",
        [{"Target": "named", "Aliases": ["web"]}, {"Target": "s_n", "Aliases": ["web"]}],
    ),
    (
        "networks: {n: {aliases: [z, a], driver_opts: {k: 1}}}",
        "Networks",
        [{"Target": "s_n", "Aliases": ["z", "a", "web"], "DriverOpts": {"k": "1"}}],
    ),
    (
        "networks: [out, default]",
        "Networks",
        [{"Target": "out", "Aliases": ["web"]}, {"Target": "s_default", "Aliases": ["web"]}],
    ),
    ("networks: []", "Networks", [{"Target": "s_default", "Aliases": ["web"]}]),
    ("networks: [host]", "Networks", [{"Target": "host"}]),
]


@pytest.mark.parametrize(("keys", "field", "expected"), TASK, ids=[row[0] for row in TASK])
def test_task(keys, field, expected):
    assert spec(keys)["TaskTemplate"].get(field) == expected


UPDATE = {"Parallelism": 1, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"}
SERVICE = [
    ("deploy: {replicas: 0}", "Mode", {"Replicated": {"Replicas": 0}}),
    ("scale: 3", "Mode", {"Replicated": {"Replicas": 3}}),
    ("deploy: {mode: global}", "Mode", {"Global": {}}),
    (
        "deploy: {mode: replicated-job, replicas: 2}",
        "Mode",
        {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 2}},
    ),
    (
        "deploy: {mode: replicated-job}",
        "Mode",
        {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}},
    ),
    ("deploy: {mode: global-job}", "Mode", {"GlobalJob": {}}),
    ("deploy: {update_config: {}}", "UpdateConfig", UPDATE),
    (
        "deploy: {rollback_config: {parallelism: 0, order: start-first, delay: 1s, "
        "monitor: 2s, max_failure_ratio: 0.1}}",
        "RollbackConfig",
        {
            "Parallelism": 0,
            "FailureAction": "pause",
            "MaxFailureRatio": 0.1,
            "Order": "start-first",
            "Delay": S,
            "Monitor": 2 * S,
        },
    ),
    ("tty: true", "UpdateConfig", None),
    (
        "deploy: {labels: {a: , com.docker.stack.image: mine}}",
        "Labels",
        {"a": "", **NAMESPACE, "com.docker.stack.image": "x"},
    ),
    (
        "ports: ['53:53/udp', '53:53', 9, '40:80']",
        "EndpointSpec",
        {
            "Mode": "vip",
            "Ports": [
                {"Protocol": "tcp", "TargetPort": 9, "PublishMode": "ingress"},
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 40, "PublishMode": "ingress"},
                {"Protocol": "tcp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "ingress"},
                {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "ingress"},
            ],
        },
    ),
]


@pytest.mark.parametrize(("keys", "field", "expected"), SERVICE, ids=[row[0] for row in SERVICE])
def test_service(keys, field, expected):
    assert spec(keys).get(field) == expected


HOST_PORT = "ports: [{target: 80, published: 80, mode: host}]"


@pytest.mark.parametrize(
    ("keys", "default", "mode"),
    [
        ("tty: true", "vip", "vip"),
        ("tty: true", "dnsrr", "dnsrr"),
        (HOST_PORT, "dnsrr", "dnsrr"),
        ("ports: ['80:80']", "dnsrr", "vip"),
        ("deploy: {endpoint_mode: vip}", "dnsrr", "vip"),
        ("deploy: {endpoint_mode: dnsrr}", "vip", "dnsrr"),
    ],
)
def test_endpoint_mode(keys, default, mode):
    assert spec(keys, {"endpoint_mode": default})["EndpointSpec"]["Mode"] == mode


CAPABILITIES = [
    (["sys_admin", " CAP_SYS_ADMIN "], [], ["CAP_SYS_ADMIN"], []),
    (["ALL", "SYS_ADMIN"], ["SYS_TIME"], ["ALL"], ["CAP_SYS_TIME"]),
    (["NET_ADMIN"], ["NET_ADMIN", "CHOWN"], ["CAP_NET_ADMIN"], ["CAP_CHOWN"]),
    (["b", "a"], ["RESET"], ["CAP_A", "CAP_B"], []),
    (["ALL"], ["ALL"], ["ALL"], []),
]


@pytest.mark.parametrize(("add", "drop", "added", "dropped"), CAPABILITIES)
def test_capabilities(add, drop, added, dropped):
    assert capabilities(add, drop) == (added, dropped)

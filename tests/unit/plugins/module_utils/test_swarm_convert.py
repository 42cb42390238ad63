# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the model to what a Swarm should have."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
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


def converted(text, options=None, name="s", secret_names=()):
    extra = SECRETS if "secrets: [" in text else "secrets: {}"
    model = load([("stack.yml", text + TOP + extra)], {}, secret_names, files, "/")
    return convert(model, name, options)


def spec(keys, options=None, **more):
    """Convert one service given as YAML flow pairs; return its ServiceSpec."""
    return converted(f"services: {{web: {{image: x, {keys}}}}}", options, **more)["services"]["s_web"]["spec"]


def failure(text, **more):
    with pytest.raises(ComposeError) as caught:
        converted(text, **more)
    return caught.value


def test_the_smallest_service():
    assert converted("services: {web: {image: docker.io/library/nginx}}")["services"] == {
        "s_web": {
            "key": "web",
            "wave": 0,
            "job": False,
            "depends_on": {},
            "stateful": [],
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


def test_only_networks_in_use_are_made():
    result = converted("services: {a: {image: x, networks: [n, out, host]}, b: {image: x}}")
    assert sorted(result["networks"]) == ["s_default", "s_n"]
    assert result["external_networks"] == ["out"]
    assert result["networks"]["s_n"] == {
        "spec": {
            "Name": "s_n",
            "Driver": "overlay",
            "Options": {},
            "Internal": False,
            "Attachable": False,
            "Labels": NAMESPACE,
        }
    }


def test_a_network_in_full():
    text = (
        "services: {a: {image: x}}\nx-y: 1\n",
        "default: {name: d, driver: weave, driver_opts: {encrypted: , m: 1}, "
        "internal: true, attachable: true, labels: [l], enable_ipv6: true, "
        "ipam: {driver: i, options: {o: 1}, "
        "config: [{subnet: 10.0.0.0/24, gateway: 10.0.0.1, ip_range: 10.0.0.0/25, "
        "aux_addresses: {h: 10.0.0.9}}]}}",
    )
    model = load([("f", f"{text[0]}networks: {{{text[1]}}}")], {}, [], None, "/")
    assert convert(model, "s")["networks"] == {
        "d": {
            "spec": {
                "Name": "d",
                "Driver": "weave",
                "Options": {"encrypted": "", "m": "1"},
                "Internal": True,
                "Attachable": True,
                "Labels": {"l": "", **NAMESPACE},
                "EnableIPv6": True,
                "IPAM": {
                    "Driver": "i",
                    "Options": {"o": "1"},
                    "Config": [
                        {
                            "Subnet": "10.0.0.0/24",
                            "Gateway": "10.0.0.1",
                            "IPRange": "10.0.0.0/25",
                            "AuxiliaryAddresses": {"h": "10.0.0.9"},
                        }
                    ],
                },
            }
        }
    }


WEB = "services: {web: {image: x, configs: [c], secrets: [p]}}"


def test_configs_and_secrets_are_named_by_their_content():
    result = converted(WEB)
    config = "s_c-" + hashlib.sha256(b"hi").hexdigest()[:12]
    secret = "s_p-" + hashlib.scrypt(b"hunter2", salt=b"s/p", n=2**14, r=8, p=1, dklen=6).hex()
    assert result["configs"] == {
        config: {"key": "c", "spec": {"Name": config, "Labels": NAMESPACE, "Data": "aGk="}}
    }
    assert result["secrets"][secret] == {
        "key": "p",
        "spec": {"Name": secret, "Labels": NAMESPACE, "Data": "\x02secret:p\x03"},
    }
    container = result["services"]["s_web"]["spec"]["TaskTemplate"]["ContainerSpec"]
    assert container["Configs"][0]["ConfigName"] == config
    assert container["Secrets"][0]["SecretName"] == secret
    assert "hunter2" not in json.dumps(result)


def test_one_secret_has_another_name_elsewhere():
    names = {next(iter(converted(WEB, name=name)["secrets"])).rpartition("-")[2] for name in ("s", "t")}
    assert len(names) == 2


def test_an_object_with_a_name_keeps_it_and_carries_its_fingerprint():
    fixed = converted(WEB)["secrets"]["fixed"]
    fingerprint = hashlib.scrypt(b"hunter2", salt=b"s/q", n=2**14, r=8, p=1, dklen=6).hex()
    assert fixed["spec"]["Labels"] == {**NAMESPACE, "gpufleet.content": fingerprint}


def test_a_template_driver_is_part_of_the_content():
    def name(extra):
        model = load(
            [("f", f"services: {{w: {{image: x}}}}\nconfigs: {{c: {{content: hi{extra}}}}}")],
            {},
            [],
            None,
            "/",
        )
        return next(iter(convert(model, "s")["configs"].values()))["spec"]

    plain, templated = name(""), name(", template_driver: golang")
    assert templated["Templating"] == {"Name": "golang"}
    assert plain["Name"] != templated["Name"]


def test_a_secret_from_a_driver():
    text = "services: {w: {image: x}}\nsecrets: {k: {driver: vault, driver_opts: {a: 1}}}"
    entry = next(iter(convert(load([("f", text)], {}, [], None, "/"), "s")["secrets"].values()))
    assert entry["spec"]["Driver"] == {"Name": "vault", "Options": {"a": "1"}}
    assert "Data" not in entry["spec"]


def test_waves():
    text = """services:
      a: {image: x, depends_on: [b, c]}
      b: {image: x, depends_on: {d: {condition: service_healthy}}}
      c: {image: x}
      d: {image: x, depends_on: {e: {condition: service_completed_successfully}}}
      e: {image: x}
    """
    services = converted(text.replace("\n    ", "\n"))["services"].values()
    assert {entry["key"]: entry["wave"] for entry in services} == {"a": 3, "b": 2, "c": 0, "d": 1, "e": 0}
    assert {entry["key"] for entry in services if entry["job"]} == {"e"}
    assert next(entry for entry in services if entry["key"] == "b")["depends_on"] == {"d": "service_healthy"}


STATEFUL = [
    ("d:/x", "volume d lives on one node"),
    ("e:/x", "volume e lives on one node"),
    ("/x", "an anonymous volume lives on one node"),
    ("/srv/data:/x", "/srv/data is a path of one node"),
    ("/srv/certs:/x:ro", "/srv/certs is a path of one node"),
    ("o:/x", None),  # NFS
    ("/var/run/docker.sock:/x", None),
    ("/run/docker.sock:/x:ro", None),
    ("/etc/localtime:/x:ro", None),
    ("/sys/class:/x:ro", None),
    ("/sys:/x", "/sys is a path of one node"),  # writable
    ("/systematic:/x:ro", "/systematic is a path of one node"),
    ("{type: tmpfs, target: /x}", None),
]


@pytest.mark.parametrize(("mount", "reason"), STATEFUL, ids=[row[0] for row in STATEFUL])
def test_what_lives_on_one_node(mount, reason):
    service = converted(f"services: {{web: {{image: x, volumes: [{mount}]}}}}")["services"]["s_web"]
    assert service["stateful"] == ([{"mount": "/x", "reason": reason}] if reason else [])


def test_a_global_service_keeps_its_data_where_it_is():
    text = "services: {web: {image: x, volumes: [d:/x], deploy: {mode: global}}}"
    assert converted(text)["services"]["s_web"]["stateful"] == []


REFUSED = [
    ("services: {web: {image: x, volumes: [no:/x]}}", "services.web.volumes", "declared under volumes"),
    ("services: {web: {image: x, networks: [no]}}", "services.web.networks.no", "declared under networks"),
    ("services: {web: {image: x, secrets: [no]}}", "services.web.secrets[0]", "declared under secrets"),
    ("services: {web: {image: x, configs: [no]}}", "services.web.configs[0]", "declared under configs"),
    (
        "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
        "services.a.depends_on",
        "in a circle",
    ),
    ("services: {a: {image: x, depends_on: [a]}}", "services.a.depends_on", "in a circle"),
    (
        "services: {a: {image: x, ports: ['80:80']}, b: {image: x, ports: ['80:8080']}}",
        "services.b.ports",
        "publish the same",
    ),
    (f"services: {{{'a' * 62}: {{image: x}}}}", "services." + "a" * 62, "The name of a service is too long"),
    (
        "services: {web: {image: x, gpus: [{count: 1}], "
        "deploy: {resources: {reservations: {generic_resources: "
        "[{discrete_resource_spec: {kind: GPU, value: 1}}]}}}}}",
        "services.web.gpus",
        "GPUs are asked for twice",
    ),
]


@pytest.mark.parametrize(("text", "path", "what"), REFUSED, ids=[row[0][:60] for row in REFUSED])
def test_refused(text, path, what):
    found = failure(text)
    assert found.path == path
    assert what in found.what


def test_a_circle_is_told_in_its_order():
    text = (
        "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [c]}, "
        "c: {image: x, depends_on: [b]}}"
    )
    assert failure(text).found == "b -> c -> b"


def test_ports_of_one_number_that_do_not_clash():
    text = (
        f"services: {{a: {{image: x, {HOST_PORT}}}, b: {{image: x, {HOST_PORT}}}, "
        f"c: {{image: x, ports: ['53:53/udp']}}}}"
    )
    assert len(converted(text)["services"]) == 3


@pytest.mark.parametrize("name", ["", "a b", "-a", "a.b", None])
def test_impossible_stack_names(name):
    assert failure(WEB, name=name).what == "A stack has a name that Swarm cannot use"


def test_a_name_too_long_for_an_object():
    found = failure("services: {web: {image: x}}", name="s" * 50)
    assert {entry.path for entry in found.problems} == {"configs.c", "secrets.p"} or found.path == "configs.c"


def test_all_problems_of_a_stack_at_once():
    found = failure("services: {a: {image: x, volumes: [no:/x]}, b: {image: x, configs: [no]}}")
    assert [entry.path for entry in found.problems] == ["services.a.volumes", "services.b.configs[0]"]


def test_gpus_in_words():
    text = "services: {web: {image: x, gpus: [{count: 2}]}}"
    assert converted(text, {"gpu_kind": "A100"})["translations"] == [
        {
            "path": "services.web.gpus",
            "to": "deploy.resources.reservations.generic_resources: 2 of kind A100",
            "note": "Swarm grants that many whole cards to each task",
        }
    ]


def test_converting_twice_gives_the_same():
    model = load([("f", "services: {web: {image: x, gpus: [{count: 2}], tmpfs: /x}}")], {}, [], None, "/")
    first = json.dumps(convert(model, "s"), sort_keys=True)
    assert json.dumps(convert(model, "s"), sort_keys=True) == first

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a Compose file: their forms, variables in every place, what is ignored."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError

FILES = {}


def service(text, environment=None, secret_names=()):
    """Load one service given as YAML lines; return its settled form and the model."""
    body = "".join(f"    {line}\n" for line in text.split("\n"))
    content = f"services:\n  web:\n    image: x:1\n{body}volumes: {{data: }}\nnetworks: {{n: }}\n"
    model = load([("stack.yml", content)], environment or {}, secret_names, FILES.__getitem__, "/p")
    return model.services["web"], model


def port(target, published=None, protocol="tcp", mode="ingress"):
    entry = {"target": target, "protocol": protocol, "mode": mode}
    return {**entry, "published": published} if published else entry


S = 10**9
FORMS = [
    ("command: a 'b c'", "command", ["a", "b c"]),
    ("command: [a, b c]", "command", ["a", "b c"]),
    ("command: []", "command", []),
    ("command:", "command", None),
    ("entrypoint: /x -y", "entrypoint", ["/x", "-y"]),
    (
        "environment: {A: 1, B: , C: '', D: 1.0, E: x=y}",
        "environment",
        {"A": "1", "B": None, "C": "", "D": "1", "E": "x=y"},
    ),
    ("environment: [A=1, B, 'C=', D=x=y]", "environment", {"A": "1", "B": None, "C": "", "D": "x=y"}),
    (
        "environment: {A: yes, B: 22:22, C: 08, D: 1e6}",
        "environment",
        {"A": "yes", "B": "22:22", "C": "8", "D": "1e+06"},
    ),
    ("environment: {A: true}", "environment", {"A": "true"}),
    ("labels: [a.b=1, c]", "labels", {"a.b": "1", "c": None}),
    ("sysctls: {net.core.somaxconn: 1024}", "sysctls", {"net.core.somaxconn": "1024"}),
    ("ports: ['80']", "ports", [port(80)]),
    ("ports: [80]", "ports", [port(80)]),
    ("ports: ['8080:80/UDP']", "ports", [port(80, 8080, "udp")]),
    ("ports: [53:53/tcp, 53:53/udp]", "ports", [port(53, 53), port(53, 53, "udp")]),
    ("ports: ['90-91:80-81']", "ports", [port(80, 90), port(81, 91)]),
    ("ports: ['8080-8082:80']", "ports", [port(80, 8080), port(80, 8081), port(80, 8082)]),
    ("ports: ['80-81']", "ports", [port(80), port(81)]),
    ("ports: ['0.0.0.0:8080:80', '[::]:81:81']", "ports", [port(80, 8080), port(81, 81)]),
    ("ports: ['0:80']", "ports", [port(80)]),
    ("ports: [{target: 80}]", "ports", [port(80)]),
    (
        "ports: [{target: '80', published: '8080', protocol: udp, mode: host}]",
        "ports",
        [port(80, 8080, "udp", "host")],
    ),
    ("volumes: [data:/x]", "volumes", [{"type": "volume", "source": "data", "target": "/x"}]),
    ("volumes: [/x]", "volumes", [{"type": "volume", "target": "/x"}]),
    (
        "volumes: ['/a:/b:ro,rslave']",
        "volumes",
        [
            {
                "type": "bind",
                "source": "/a",
                "target": "/b",
                "read_only": True,
                "bind": {"propagation": "rslave"},
            }
        ],
    ),
    (
        "volumes: ['data:/x:nocopy']",
        "volumes",
        [{"type": "volume", "source": "data", "target": "/x", "volume": {"nocopy": True}}],
    ),
    ("volumes: ['./a:/b']", "volumes", [{"type": "bind", "source": "/p/a", "target": "/b"}]),
    ("volumes: ['../a:/b']", "volumes", [{"type": "bind", "source": "/a", "target": "/b"}]),
    (
        "volumes: ['C:\\\\a:/b']".replace("\\\\", "\\"),
        "volumes",
        [{"type": "bind", "source": "C:\\a", "target": "/b"}],
    ),
    (
        "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 01777}}]",
        "volumes",
        [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": 64 * 2**20, "mode": 0o1777}}],
    ),
    (
        "volumes: [{type: bind, source: /a, target: /b, bind: {create_host_path: true, selinux: z}}]",
        "volumes",
        [{"type": "bind", "source": "/a", "target": "/b", "bind": {}}],
    ),
    ("networks: [n]", "networks", {"n": {}}),
    ("networks: {n: }", "networks", {"n": {}}),
    (
        "networks: {n: {aliases: [a], driver_opts: {x: 1}}}",
        "networks",
        {"n": {"aliases": ["a"], "driver_opts": {"x": "1"}}},
    ),
    ("secrets: [pw]", "secrets", [{"source": "pw", "target": "pw", "uid": "0", "gid": "0", "mode": 0o444}]),
    (
        "configs: [{source: c, target: /c, uid: 5, gid: '6', mode: '0440'}]",
        "configs",
        [{"source": "c", "target": "/c", "uid": "5", "gid": "6", "mode": 0o440}],
    ),
    (
        "configs: [{source: c, mode: 0400}]",
        "configs",
        [{"source": "c", "target": "c", "uid": "0", "gid": "0", "mode": 0o400}],
    ),
    (
        "healthcheck: {test: curl x, interval: 5s, retries: '3'}",
        "healthcheck",
        {"test": ["CMD-SHELL", "curl x"], "interval": 5 * S, "retries": 3},
    ),
    ("healthcheck: {test: [CMD, a b]}", "healthcheck", {"test": ["CMD", "a b"]}),
    ("healthcheck: {disable: true}", "healthcheck", {"test": ["NONE"]}),
    ("healthcheck: {test: [NONE], disable: true}", "healthcheck", {"test": ["NONE"]}),
    (
        "extra_hosts: ['a:1.2.3.4', 'b=::1', 'c:[::2]', 'd:::3', 'h:host-gateway']",
        "extra_hosts",
        ["1.2.3.4 a", "::1 b", "::2 c", "::3 d", "host-gateway h"],
    ),
    (
        "extra_hosts: {z: 1.1.1.1, a: [2.2.2.2, '::2'], n: }",
        "extra_hosts",
        ["2.2.2.2 a", "::2 a", "1.1.1.1 z"],
    ),
    ("dns: 8.8.8.8", "dns", ["8.8.8.8"]),
    ("dns: ['0:0::1']", "dns", ["::1"]),
    ("dns_search: [a.b, c]", "dns_search", ["a.b", "c"]),
    (
        "ulimits: {nofile: 5, core: {soft: 0, hard: -1}}",
        "ulimits",
        {"nofile": {"soft": 5, "hard": 5}, "core": {"soft": 0, "hard": -1}},
    ),
    ("group_add: [1000, video]", "group_add", ["1000", "video"]),
    ("stop_grace_period: 1m30s", "stop_grace_period", 90 * S),
    ("init: false", "init", False),
    ("tty: 'on'", "tty", True),
    ("env_file: a.env", "environment", {"A": "1"}),
    ("env_file: [a.env, {path: none.env, required: false}]", "environment", {"A": "1"}),
    ("env_file: [a.env]\nenvironment: {A: 2}", "environment", {"A": "2"}),
    ("env_file: {path: q.env, format: raw}", "environment", {"Q": '"x"'}),
    ("env_file: q.env", "environment", {"Q": "x"}),
    (
        "logging: {driver: json-file, options: {max-file: 3}}",
        "logging",
        {"driver": "json-file", "options": {"max-file": "3"}},
    ),
    ("x-mine: {$: '${nope}'}", "image", "x:1"),
    ("deploy: {x-mine: 1}", "deploy", {}),
    ("deploy:", "deploy", {}),
    ("deploy: {endpoint_mode: DNSRR}", "deploy", {"endpoint_mode": "dnsrr"}),
    (
        "deploy: {resources: {limits: {cpus: '0.5', memory: 1g, pids: '9'}}}",
        "deploy",
        {"resources": {"limits": {"cpus": S // 2, "memory": 2**30, "pids": 9}}},
    ),
    ("deploy: {resources: {limits: {cpus: 0.1}}}", "deploy", {"resources": {"limits": {"cpus": S // 10}}}),
    (
        "deploy: {restart_policy: {condition: on-failure, delay: 0s, max_attempts: 0}}",
        "deploy",
        {"restart_policy": {"condition": "on-failure", "delay": 0, "max_attempts": 0}},
    ),
    (
        "deploy: {update_config: {max_failure_ratio: '0.3', parallelism: 0}}",
        "deploy",
        {"update_config": {"max_failure_ratio": 0.3, "parallelism": 0}},
    ),
    (
        "deploy: {resources: {reservations: {generic_resources: "
        "[{discrete_resource_spec: {kind: GPU, value: 2}}]}}}",
        "deploy",
        {"resources": {"reservations": {"generic_resources": [{"kind": "GPU", "value": 2}]}}},
    ),
]
FILES.update({"/p/a.env": b"A=1", "/p/q.env": b'Q="x"'})


class _Files(dict):
    def __missing__(self, path):
        raise FileNotFoundError(path)


FILES = _Files(FILES)


@pytest.mark.parametrize(("text", "key", "expected"), FORMS, ids=[row[0] for row in FORMS])
def test_forms(text, key, expected):
    assert service(text)[0][key] == expected


VARIABLES = {"N": "3", "M": "0444", "T": "true", "D": "5s", "P": "8080", "G": "2g", "E": "", "I": "x:2"}
FILLED = [
    ("deploy: {replicas: $N}", ("deploy", "replicas"), 3),
    ("deploy: {resources: {limits: {memory: $G, pids: $N}}}", ("deploy", "resources", "limits", "pids"), 3),
    ("read_only: $T", ("read_only",), True),
    ("init: $T", ("init",), True),
    ("stop_grace_period: $D", ("stop_grace_period",), 5 * S),
    ("ports: ['$P:80']", ("ports", 0, "published"), 8080),
    ("ports: [{target: 80, published: $P}]", ("ports", 0, "published"), 8080),
    ("secrets: [{source: s, mode: $M}]", ("secrets", 0, "mode"), 0o444),  # not the decimal number
    ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: $G}}]", ("volumes", 0, "tmpfs", "size"), 2 * 2**30),
    ("environment: ['K_$N=$N']", ("environment", "K_3"), "3"),
    ("environment: {$N: a}", ("environment", "$N"), "a"),  # keys are not filled in
    ("command: run $I --x", ("command",), ["run", "x:2", "--x"]),
    ("environment: {A: '$$N'}", ("environment", "A"), "$N"),
]


@pytest.mark.parametrize(("text", "path", "expected"), FILLED, ids=[row[0] for row in FILLED])
def test_variables_in_every_place(text, path, expected):
    value = service(text, VARIABLES)[0]
    for step in path:
        value = value[step]
    assert value == expected


IGNORED = [
    ("container_name: x", "services.web.container_name", False),
    ("privileged: true", "services.web.privileged", True),
    ("network_mode: host", "services.web.network_mode", True),
    ("devices: [/dev/x]", "services.web.devices", True),
    ("security_opt: [a]", "services.web.security_opt", True),
    ("links: [a]", "services.web.links", True),
    ("expose: [80]", "services.web.expose", False),
    ("pull_policy: always", "services.web.pull_policy", False),
    ("networks: {n: {ipv4_address: 1.2.3.4}}", "services.web.networks.n.ipv4_address", True),
    ("volumes: ['data:/x:z']", "services.web.volumes[0]", False),
    ("ports: ['0.0.0.0:80:80']", "services.web.ports[0]", False),
    ("pids_limit: -1", "services.web.pids_limit", False),
    ("restart: always\ndeploy: {restart_policy: {condition: none}}", "services.web.restart", False),
]


@pytest.mark.parametrize(("text", "path", "warned"), IGNORED, ids=[row[0] for row in IGNORED])
def test_ignored_and_told(text, path, warned):
    report = service(text)[1].report
    assert [entry["path"] for entry in report.ignored] == [path]
    assert bool(report.warnings) is warned


def test_a_decimal_mode_is_told():
    assert service("secrets: [{source: s, mode: 440}]")[1].report.warnings == [
        "services.web.secrets[0].mode is the decimal number 440, which is mode 0670; "
        "write 0440 for the octal one"
    ]


def test_a_comment_in_a_command_is_told():
    loaded, model = service("command: 'run #fast'")
    assert loaded["command"] == ["run"]
    assert len(model.report.warnings) == 1


SECRET_PLACES = [
    "environment: {A: $S}",
    "environment: ['A=$S']",
    "command: run --key $S",
    "entrypoint: [run, $S]",
    "healthcheck: {test: curl -u $S x}",
    "labels: {a: $S}",
    "deploy: {labels: {a: $S}}",
    "logging: {options: {token: $S}}",
]


@pytest.mark.parametrize("text", SECRET_PLACES)
def test_where_secret_variables_may_stand(text):
    assert "\\x02S\\x03" in repr(service(text, {}, ["S"])[0])


@pytest.mark.parametrize(
    "text",
    [
        "hostname: $S",
        "ports: ['$S']",
        "volumes: ['/$S:/x']",
        "deploy: {replicas: $S}",
        "user: $S",
        "environment: ['$S=1']",
        "stop_grace_period: $S",
    ],
)
def test_where_they_may_not(text):
    with pytest.raises(ComposeError) as caught:
        service(text, {}, {"S": "hunter2"})
    assert "hunter2" not in str(caught.value)

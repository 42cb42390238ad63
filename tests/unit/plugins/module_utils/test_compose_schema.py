# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a Compose file: their forms, what is ignored and what is refused, with its place."""

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


def problem(text, **variables):
    with pytest.raises(ComposeError) as caught:
        service(text, **variables)
    return caught.value


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


REFUSED = [
    ("bulid: .", "services.web.bulid", "Unknown key", "build"),
    ("deploy: {replica: 1}", "services.web.deploy.replica", "Unknown key", "replicas"),
    ("healthcheck: {tset: x}", "services.web.healthcheck.tset", "Unknown key", "test"),
    ("ports: [{target: 80, host: 1}]", "services.web.ports[0].host", "Unknown key", None),
    (
        "volumes: [{type: bind, source: /a, target: /b, bind: {foo: 1}}]",
        "services.web.volumes[0].bind.foo",
        "Unknown key",
        None,
    ),
    ("secrets: [{source: a, foo: b}]", "services.web.secrets[0].foo", "Unknown key", None),
    (
        "build: .",
        "services.web.build",
        "Images are not built while a stack is deployed",
        "image, of one that was built before and that the nodes can get",
    ),
    (
        "runtime: nvidia",
        "services.web.runtime",
        "Swarm chooses no runtime per service, it is the node's default",
        "gpus, if it is for GPUs",
    ),
    (
        "extends: {service: a}",
        "services.web.extends",
        "Services are not taken from other services",
        "the keys written out, with YAML anchors or in a further file",
    ),
    ("cpuset: 0-1", "services.web.cpuset", "Swarm binds to no processors", "deploy.resources.limits.cpus"),
    (
        "memswap_limit: 1g",
        "services.web.memswap_limit",
        "Swarm has no such limit",
        "deploy.resources.limits.memory",
    ),
    ("user: 1000", "services.web.user", "A value does not fit", "text (quote it)"),
    ("tty: 1", "services.web.tty", "A value does not fit", "true or false"),
    ("init: maybe", "services.web.init", "A value does not fit", "true or false"),
    ("ports: 80", "services.web.ports", "A value does not fit", "a list"),
    ("ports:", "services.web.ports", "A value does not fit", "a list"),
    ("environment:", "services.web.environment", "A value does not fit", "a mapping, or a list of KEY=VALUE"),
    ("environment: [A=1, A=2]", "services.web.environment[1]", "An entry is given twice", None),
    ("environment: ['=x']", "services.web.environment[0]", "An entry has no name", "KEY=VALUE"),
    ("environment: {A: [1]}", "services.web.environment.A", "A value does not fit", "text or a number"),
    ("environment: {A: $NOPE}", "services.web.environment.A", "Variable NOPE is not defined", None),
    (
        "labels: {a: 'x $ y'}",
        "services.web.labels.a",
        "A dollar sign begins no variable",
        "$NAME or ${NAME}, or $$ for one literal dollar sign",
    ),
    (
        'command: "a \'b"',
        "services.web.command",
        "A command line cannot be split",
        "a closing ' (single quote)",
    ),
    ("ports: ['80:80:80:80']", "services.web.ports[0]", "An address cannot be read", None),
    (
        "ports: ['127.0.0.1:80:80']",
        "services.web.ports[0]",
        "Swarm cannot publish on one address, it would listen on all",
        "no address, or no published port if only other services use it",
    ),
    (
        "ports: [{target: 80, host_ip: '::1'}]",
        "services.web.ports[0].host_ip",
        "Swarm cannot publish on one address, it would listen on all",
        None,
    ),
    ("ports: ['70000']", "services.web.ports[0]", "A port is out of range", None),
    ("ports: ['81-80']", "services.web.ports[0]", "A port is out of range", None),
    ("ports: ['80-81:80-82']", "services.web.ports[0]", "The ranges of a port differ in length", None),
    (
        "ports: ['80/icmp']",
        "services.web.ports[0]",
        "A protocol is not one of those known",
        "tcp, udp or sctp",
    ),
    ("ports: [':80']", "services.web.ports[0]", "A port cannot be read", None),
    ("ports: ['']", "services.web.ports[0]", "A port cannot be read", None),
    ("ports: [80, '80/tcp']", "services.web.ports[1]", "A port is given twice", None),
    ("ports: [{published: 80}]", "services.web.ports[0]", "A key is missing", "target"),
    (
        "ports: [{target: 80, published: 80-90}]",
        "services.web.ports[0].published",
        "Swarm cannot choose a port from a range",
        "one port",
    ),
    ("ports: ['80:80', '80:81']", "services.web.ports", "A port is published twice", None),
    (
        "ports: ['80:80']\ndeploy: {endpoint_mode: dnsrr}",
        "services.web.deploy.endpoint_mode",
        "Swarm cannot publish a port in ingress mode with dnsrr",
        "mode: host for the port, or vip",
    ),
    ("volumes: ['a:b:c:d']", "services.web.volumes[0]", "A mount cannot be read", None),
    ("volumes: ['data:/x:foo']", "services.web.volumes[0]", "An option of a mount is not known", None),
    ("volumes: [':/x']", "services.web.volumes[0]", "A mount cannot be read", None),
    (
        "volumes: ['~/x:/x']",
        "services.web.volumes",
        "The home directory in a path is not known",
        "a path without ~",
    ),
    ("volumes: [{source: data, target: /x}]", "services.web.volumes[0]", "A key is missing", "type"),
    ("volumes: [{type: bind, target: /x}]", "services.web.volumes[0]", "A key is missing", "source"),
    (
        "volumes: [{type: tmpfs, source: a, target: /x}]",
        "services.web.volumes[0]",
        "A tmpfs mount has no source",
        None,
    ),
    (
        "volumes: [{type: volume, target: /x, tmpfs: {size: 1}}]",
        "services.web.volumes[0]",
        "Options of another kind of mount are given to a volume mount",
        None,
    ),
    (
        "volumes: ['/a:/x:nocopy']",
        "services.web.volumes[0]",
        "Options of another kind of mount are given to a bind mount",
        None,
    ),
    (
        "volumes: [{type: image, source: a, target: /x}]",
        "services.web.volumes[0].type",
        "A value is not one of those known",
        "volume, bind, tmpfs, npipe or cluster",
    ),
    (
        "volumes: [data:/x, data:/x/]",
        "services.web.volumes",
        "Two mounts have the same target",
        "one mount per target",
    ),
    ("tmpfs: /x\nvolumes: [data:/x]", "services.web.tmpfs", "Something else is mounted there", "one of them"),
    ("tmpfs: run", "services.web.tmpfs", "A tmpfs cannot be read", None),
    (
        "tmpfs: /run:uid=5",
        "services.web.tmpfs",
        "Swarm's tmpfs does not know an option",
        "size, mode, ro or rw",
    ),
    ("shm_size: 1x", "services.web.shm_size", "A value cannot be read", None),
    ("networks: {n: {foo: 1}}", "services.web.networks.n.foo", "Unknown key", None),
    ("networks: [n, n]", "services.web.networks[1]", "An entry is given twice", None),
    (
        "configs: [a, {source: b, target: a}]",
        "services.web.configs[1]",
        "Two entries have the same target",
        None,
    ),
    ("secrets: [{source: a, mode: 99999}]", "services.web.secrets[0].mode", "A value does not fit", None),
    ("secrets: [{source: a, mode: '0999'}]", "services.web.secrets[0].mode", "A value cannot be read", None),
    ("secrets: [{target: a}]", "services.web.secrets[0]", "A key is missing", "source"),
    (
        "healthcheck: {test: curl, disable: true}",
        "services.web.healthcheck",
        "A health check is given and disabled at once",
        None,
    ),
    (
        "healthcheck: {test: [curl]}",
        "services.web.healthcheck.test",
        "A health check does not say how it runs",
        None,
    ),
    (
        "healthcheck: {test: []}",
        "services.web.healthcheck.test",
        "A health check does not say how it runs",
        None,
    ),
    (
        "healthcheck: {interval: 10us}",
        "services.web.healthcheck.interval",
        "A time of a health check is too short",
        "1ms or more",
    ),
    ("healthcheck: {interval: 30}", "services.web.healthcheck.interval", "A value does not fit", None),
    ("extra_hosts: [justname]", "services.web.extra_hosts[0]", "A host entry cannot be read", None),
    ("dns: one.one", "services.web.dns", "A name server is not an IP address", None),
    ("ulimits: {NOFILE: 1}", "services.web.ulimits.NOFILE", "A limit has an impossible name", None),
    ("ulimits: {nofile: {soft: 1}}", "services.web.ulimits.nofile", "A key is missing", "hard"),
    ("cap_add: [A, A]", "services.web.cap_add[1]", "An entry is given twice", None),
    (
        "credential_spec: {file: a, registry: b}",
        "services.web.credential_spec",
        "A credential spec has one source",
        None,
    ),
    ("restart: sometimes", "services.web.restart", "A restart policy is not known", None),
    (
        "restart: no\ndeploy: {mode: weird}",
        "services.web.deploy.mode",
        "A value is not one of those known",
        None,
    ),
    (
        "deploy: {mode: global, replicas: 2}",
        "services.web.deploy.replicas",
        "A service that runs on every node has no number of replicas",
        None,
    ),
    (
        "deploy: {mode: replicated-job, update_config: {}}",
        "services.web.deploy.update_config",
        "A job cannot be updated step by step",
        None,
    ),
    (
        "deploy: {replicas: -1}",
        "services.web.deploy.replicas",
        "A number is out of range",
        "a whole number from 0 on",
    ),
    (
        "deploy: {update_config: {order: both}}",
        "services.web.deploy.update_config.order",
        "A value is not one of those known",
        "start-first or stop-first",
    ),
    (
        "deploy: {rollback_config: {failure_action: rollback}}",
        "services.web.deploy.rollback_config.failure_action",
        "A value is not one of those known",
        "pause or continue",
    ),
    (
        "deploy: {resources: {limits: {cpus: '0.1234567891'}}}",
        "services.web.deploy.resources.limits.cpus",
        "A value cannot be read",
        "at most 9 decimals",
    ),
    (
        "mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g}}}",
        "services.web.mem_limit",
        "A key and its equivalent differ",
        None,
    ),
    ("gpus: all", "services.web.gpus[0]", "Swarm grants a number of whole cards, not all of a node", None),
    (
        "gpus: [{device_ids: ['0']}]",
        "services.web.gpus[0]",
        "Swarm chooses the cards itself and takes no device_ids",
        None,
    ),
    (
        "gpus: [{count: 1, driver: amd}]",
        "services.web.gpus[0]",
        "Swarm grants no devices of that driver",
        "nvidia",
    ),
    (
        "gpus: [{count: 1}]\n"
        "deploy: {resources: {reservations: {devices: [{count: 1, capabilities: [gpu]}]}}}",
        "services.web.gpus",
        "GPUs are asked for twice",
        "one of them",
    ),
    (
        "deploy: {resources: {reservations: {devices: [{count: 1, capabilities: [utility]}]}}}",
        "services.web.deploy.resources.reservations.devices[0]",
        "A device request does not say that it means a GPU",
        None,
    ),
    (
        "deploy: {resources: {reservations: {devices: [{count: 1}]}}}",
        "services.web.deploy.resources.reservations.devices[0]",
        "A key is missing",
        "capabilities",
    ),
    (
        "depends_on: [nope]",
        "services.web.depends_on.nope",
        "A service depends on one that is not there",
        None,
    ),
    ("depends_on: {db: {}}", "services.web.depends_on.db", "A key is missing", "condition"),
    (
        "env_file: none.env",
        "services.web.env_file[0]",
        "A file does not exist",
        "the file, or required: false",
    ),
    ("ports: [!reset 80]", "services.web.ports[0]", "A merge tag cannot stand on an item of a list", None),
    (
        'environment: {A: "\\x02S\\x03"}',
        "services.web.environment.A",
        "The text has a control character that stands for secrets",
        None,
    ),
]


@pytest.mark.parametrize(("text", "path", "what", "wanted"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(text, path, what, wanted):
    found = problem(text)
    assert (found.path, found.what) == (path, what)
    assert wanted is None or found.wanted == wanted
    assert found.file in ("stack.yml", None)
    assert len(found.problems) == 1


def test_the_line_of_a_problem():
    assert problem("tty: true\ndeploy:\n  labels:\n    a: $X").line == 7


def test_the_sentence_of_a_problem():
    assert (
        str(problem("bulid: ."))
        == "Unknown key (services.web.bulid, stack.yml line 4): found bulid, wanted build."
    )


def test_all_problems_at_once():
    found = problem("bulid: .\nports: [a]\nenvironment: {A: $B, C: $D}\nx-ok: 1")
    assert [entry.path for entry in found.problems] == [
        "services.web.bulid",
        "services.web.ports[0]",
        "services.web.environment.A",
        "services.web.environment.C",
    ]
    assert str(found).startswith(
        "4 problems in the stack's files: 1) Unknown key (services.web.bulid, stack.yml line 4)"
    )
    assert len(found.as_result()["problems"]) == 4


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

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Compose file may not say: each with its path, its reason and what is wanted instead."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError


def no_file(path):
    raise FileNotFoundError(path)


def problem(text):
    """Load one service given as YAML lines that cannot be; return the error."""
    body = "".join(f"    {line}\n" for line in text.split("\n"))
    content = f"services:\n  web:\n    image: x:1\n{body}volumes: {{data: }}\nnetworks: {{n: }}\n"
    with pytest.raises(ComposeError) as caught:
        load([("stack.yml", content)], {}, [], no_file, "/p")
    return caught.value


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

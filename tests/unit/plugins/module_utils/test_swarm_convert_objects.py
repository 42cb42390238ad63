# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks, configs, secrets, waves, data with a place, and what cannot be converted."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert import convert

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


def files(path):
    return b"hunter2"


def converted(text, options=None, name="s"):
    extra = SECRETS if "secrets: [" in text else "secrets: {}"
    model = load([("stack.yml", text + TOP + extra)], {}, [], files, "/")
    return convert(model, name, options)


def failure(text, **more):
    with pytest.raises(ComposeError) as caught:
        converted(text, **more)
    return caught.value


HOST_PORT = "ports: [{target: 80, published: 80, mode: host}]"


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
    secret = "s_p-" + hashlib.scrypt(b"hunter2", salt=b"s/p", n=2**12, r=8, p=1, dklen=6).hex()
    assert result["configs"] == {
        config: {
            "key": "c",
            "spec": {"Name": config, "Labels": NAMESPACE, "Data": "aGk="},
            "source": "content in the Compose file",
        }
    }
    assert result["secrets"][secret] == {
        "key": "p",
        "spec": {"Name": secret, "Labels": NAMESPACE, "Data": "\x02secret:p\x03"},
        "source": "the file pw",
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
    fingerprint = hashlib.scrypt(b"hunter2", salt=b"s/q", n=2**12, r=8, p=1, dklen=6).hex()
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

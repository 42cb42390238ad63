# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random stacks and random edits of them, with what a Swarm must have afterwards in plain words."""

from __future__ import annotations

import base64
import copy
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.property import fields
from tests.property.fields import BY_PATH, FIELDS, NAMESPACE

STACK = "st"
# Every secret value begins with this, so that one search finds them all, as text or in base64.
TELLTALE = "s3cr3t"
TELLTALES = (TELLTALE, base64.b64encode(TELLTALE.encode()).decode()[:8])
SECRETS = tuple(f"{TELLTALE}-{word}" for word in ("one", "two", "three"))
CONTENTS = ("zero\n", "one\n", "two\n", "${KEPT} three")
LABELS = ({}, {"a": "1"}, {"a": "2", "b": ""})
# Options of a network in Compose words, and what can be read of it.
NETWORKS = (
    ({}, {}),
    ({"attachable": True}, {"Attachable": True}),
    ({"internal": True}, {"Internal": True}),
    ({"driver_opts": {"com.docker.network.x": 1}}, {"Options": {"com.docker.network.x": "1"}}),
    ({"labels": {"a": "1"}}, {"Labels": {"a": "1"}}),
    ({"ipam": {"config": [{"subnet": "10.9.0.0/24"}]}}, {"Subnets": ["10.9.0.0/24"]}),
)
# Objects of others: a stack names them and never touches them.
OUTSIDE = {"networks": "outside", "configs": "shared", "secrets": "vault"}
MODES = {
    "replicated": "Replicated",
    "global": "Global",
    "replicated-job": "ReplicatedJob",
    "global-job": "GlobalJob",
}
KEYS = ("a", "b", "c", "d")
STORED_KEYS = ("x", "y")


@dataclass
class Service:
    """One service: numbers say which pair of which field it has."""

    mode: str = "replicated"
    numbers: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    pin: str | None = None
    networks: list = field(default_factory=list)
    configs: list = field(default_factory=list)
    secrets: list = field(default_factory=list)
    depends_on: list = field(default_factory=list)

    def fields(self):
        """Return the numbers of the fields that this mode of service can have."""
        return {path: number for path, number in self.numbers.items() if self.allows(BY_PATH[path])}

    def allows(self, row):
        """Tell whether the mode lets a field stand."""
        if row.path in ("deploy.replicas", "deploy.placement.max_replicas_per_node"):
            return self.mode == "replicated"
        return row.jobs or not self.mode.endswith("-job")


@dataclass
class Stack:
    """A stack file as data: networks by number of NETWORKS, configs by (content, labels), secrets by content.

    image, command  of services that state none
    """

    services: dict = field(default_factory=dict)
    networks: dict = field(default_factory=dict)
    configs: dict = field(default_factory=dict)
    secrets: dict = field(default_factory=dict)
    image: str = "tiny:1"
    command: list | None = None

    def definition(self):
        """Return the Compose file."""
        services = {}
        for key, service in self.services.items():
            out = services[key] = {"image": self.image}
            if self.command:
                out["command"] = self.command
            for path, number in service.fields().items():
                if number:
                    fields.put(out, path, BY_PATH[path].values[number][0])
            if service.mode != "replicated":
                fields.put(out, "deploy.mode", service.mode)
            if service.mode.endswith("-job"):
                fields.put(out, "deploy.restart_policy.condition", "none")
            environment = dict(service.environment)
            if service.pin:
                environment["PIN"] = f"${{PIN_{SECRETS.index(service.pin)}}}"
            out["environment"] = environment
            for kind in ("networks", "configs", "secrets", "depends_on"):
                if getattr(service, kind):
                    out[kind] = list(getattr(service, kind))
        return {
            "services": services,
            "networks": {
                **{key: NETWORKS[number][0] for key, number in self.networks.items()},
                "out": {"external": True, "name": OUTSIDE["networks"]},
            },
            "configs": {
                **{
                    key: {"content": CONTENTS[content].replace("$", "$$"), "labels": LABELS[labels]}
                    for key, (content, labels) in self.configs.items()
                },
                "out": {"external": True, "name": OUTSIDE["configs"]},
            },
            "secrets": {
                **{
                    key: {"environment": f"PIN_{SECRETS.index(value)}"} for key, value in self.secrets.items()
                },
                "out": {"external": True, "name": OUTSIDE["secrets"]},
            },
        }

    def options(self):
        """Return the options of a task that deploys this stack."""
        secrets = {f"PIN_{number}": value for number, value in enumerate(SECRETS)}
        return {
            "name": STACK,
            "definition": self.definition(),
            "secret_environment": secrets,
        }

    def declares(self, kind, name, text):
        """Tell whether the file has a config or secret of this name with this content."""
        key = name.removeprefix(f"{STACK}_").rpartition("-")[0]
        if kind == "config":
            return key in self.configs and CONTENTS[self.configs[key][0]] == text
        return key in self.secrets and self.secrets[key] == text

    def wanted(self, key):
        """Return what must be read of a service once this is deployed."""
        service = self.services[key]
        told = {
            row.path: row.stored(service.fields().get(row.path, 0)) for row in FIELDS if service.allows(row)
        }
        for path, stated in (("image", self.image), ("command", self.command)):
            if not service.fields().get(path):
                told[path] = stated
        if service.mode.endswith("-job"):
            told["deploy.restart_policy"] = {"Condition": "none", "MaxAttempts": 0}
        told["environment"] = {**service.environment, **({"PIN": service.pin} if service.pin else {})}
        names = [OUTSIDE["networks"] if each == "out" else f"{STACK}_{each}" for each in service.networks]
        told["networks"] = sorted(names) or [f"{STACK}_default"]
        told["configs"] = {
            each: "of others" if each == "out" else CONTENTS[self.configs[each][0]]
            for each in service.configs
        }
        told["secrets"] = {
            each: "of others" if each == "out" else self.secrets[each] for each in service.secrets
        }
        return told


def decoded(data):
    """Return the text that an Engine keeps as base64."""
    return base64.b64decode(data).decode()


def read_service(spec, network_names, contents):
    """Return what a stored ServiceSpec says, in the words of Stack.wanted().

    network_names  {id: name}
    contents       {(kind, name): text} of configs and secrets
    """
    mode = next(mode for mode, word in MODES.items() if spec["Mode"].get(word) is not None)
    service = Service(mode=mode)
    told = {row.path: row.read(spec) for row in FIELDS if service.allows(row)}
    if mode.endswith("-job"):
        told["deploy.restart_policy"] = spec["TaskTemplate"].get("RestartPolicy")
    container = spec["TaskTemplate"]["ContainerSpec"]
    told["environment"] = dict(entry.split("=", 1) for entry in container.get("Env") or [])
    attached = spec["TaskTemplate"].get("Networks") or []
    told["networks"] = sorted(network_names[entry["Target"]] for entry in attached)
    for kind, word in (("configs", "Config"), ("secrets", "Secret")):
        told[kind] = {
            entry["File"]["Name"]: contents[(kind, entry[word + "Name"])]
            for entry in container.get(word + "s") or []
        }
    return told


def read_network(entry):
    """Return what a stored network says, in the words of the second half of NETWORKS."""
    options = {key: value for key, value in (entry.get("Options") or {}).items() if "vxlanid" not in key}
    labels = {key: value for key, value in entry["Labels"].items() if key != NAMESPACE}
    subnets = [part["Subnet"] for part in (entry.get("IPAM") or {}).get("Config") or [] if "Subnet" in part]
    told = {
        "Attachable": entry.get("Attachable"),
        "Internal": entry.get("Internal"),
        "Options": options,
        "Labels": labels,
        "Subnets": subnets,
    }
    return {key: value for key, value in told.items() if value}


# Strategies

NUMBERS = st.one_of(*(st.tuples(st.just(row.path), st.integers(0, len(row.values) - 1)) for row in FIELDS))
TEXTS = st.sampled_from(("", "1", "2", "a=b c"))
SECRET = st.sampled_from(SECRETS)
CONFIG = st.tuples(st.integers(0, len(CONTENTS) - 1), st.integers(0, len(LABELS) - 1))
NETWORK = st.integers(0, len(NETWORKS) - 1)
ENVIRONMENT = st.dictionaries(st.sampled_from(("A", "B", "API_TOKEN")), TEXTS, max_size=2)


def _some(keys):
    return st.lists(st.sampled_from((*keys, "out")), unique=True, max_size=2)


@st.composite
def services(draw, earlier):
    """Draw a service that may depend on earlier ones."""
    return Service(
        mode=draw(st.sampled_from(("replicated",) * 6 + tuple(MODES))),
        numbers=dict(draw(st.lists(NUMBERS, max_size=4))),
        environment=draw(ENVIRONMENT),
        pin=draw(st.none() | SECRET),
        networks=draw(_some(STORED_KEYS)),
        configs=draw(_some(STORED_KEYS)),
        secrets=draw(_some(STORED_KEYS)),
        depends_on=draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else [],
    )


@st.composite
def stacks(draw):
    """Draw a stack of one to three services."""
    keys = KEYS[: draw(st.integers(1, 3))]
    return Stack(
        services={key: draw(services(keys[:number])) for number, key in enumerate(keys)},
        networks={key: draw(NETWORK) for key in STORED_KEYS},
        configs={key: draw(CONFIG) for key in STORED_KEYS},
        secrets={key: draw(SECRET) for key in STORED_KEYS},
    )


@st.composite
def edited(draw, stack):
    """Draw a copy of a stack with up to four edits."""
    stack = copy.deepcopy(stack)
    for _ in range(draw(st.integers(0, 4))):
        draw(st.sampled_from(EDITS))(draw, stack)
    return stack


def _edit_field(draw, stack):
    service = stack.services[draw(st.sampled_from(sorted(stack.services)))]
    path, number = draw(NUMBERS)
    service.numbers[path] = number


def _edit_list(draw, stack):
    service = stack.services[draw(st.sampled_from(sorted(stack.services)))]
    kind = draw(st.sampled_from(("networks", "configs", "secrets")))
    setattr(service, kind, draw(_some(STORED_KEYS)))


def _edit_environment(draw, stack):
    service = stack.services[draw(st.sampled_from(sorted(stack.services)))]
    service.environment = draw(ENVIRONMENT)


def _edit_pin(draw, stack):
    stack.services[draw(st.sampled_from(sorted(stack.services)))].pin = draw(st.none() | SECRET)


def _edit_mode(draw, stack):
    stack.services[draw(st.sampled_from(sorted(stack.services)))].mode = draw(st.sampled_from(tuple(MODES)))


def _edit_config(draw, stack):
    stack.configs[draw(st.sampled_from(STORED_KEYS))] = draw(CONFIG)


def _edit_secret(draw, stack):
    stack.secrets[draw(st.sampled_from(STORED_KEYS))] = draw(SECRET)


def _edit_network(draw, stack):
    stack.networks[draw(st.sampled_from(STORED_KEYS))] = draw(NETWORK)


def _add_or_remove(draw, stack):
    key = draw(st.sampled_from(KEYS))
    if key not in stack.services:
        stack.services[key] = draw(services([each for each in KEYS if each < key and each in stack.services]))
    elif len(stack.services) > 1:
        del stack.services[key]
        for service in stack.services.values():
            service.depends_on = [each for each in service.depends_on if each != key]


EDITS = (
    _edit_field,
    _edit_field,
    _edit_field,
    _edit_environment,
    _edit_list,
    _edit_pin,
    _edit_mode,
    _edit_config,
    _edit_secret,
    _edit_network,
    _add_or_remove,
)

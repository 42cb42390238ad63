# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two specs that mean the same must be equal, two that do not must not."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import normalise, words

S = 1_000_000_000


def spec(container=None, task=None, **top):
    return {
        "Name": "st_a",
        "Labels": {},
        "TaskTemplate": {"ContainerSpec": {"Image": "tiny:1", **(container or {})}, **(task or {})},
        **top,
    }


SAME = {
    "what an Engine adds": (
        spec(),
        spec(
            {
                "Isolation": "default",
                "DNSConfig": {},
                "StopGracePeriod": None,
                "Init": None,
                "Privileges": {"CredentialSpec": None, "SELinuxContext": None, "NoNewPrivileges": False},
            },
            {
                "Runtime": "container",
                "ForceUpdate": 7,
                "Resources": {},
                "Placement": {},
                "RestartPolicy": None,
            },
            Mode={"Replicated": {"Replicas": 1}},
            EndpointSpec={"Mode": "vip"},
            UpdateConfig=None,
        ),
    ),
    "platforms pinned by others": (
        spec(),
        spec(task={"Placement": {"Platforms": [{"Architecture": "amd64", "OS": "linux"}]}}),
    ),
    "resources of nothing": (
        spec(),
        spec(task={"Resources": {"Limits": {"NanoCPUs": 0}, "Reservations": {}}}),
    ),
    "restart policy": (
        spec(task={"RestartPolicy": {"Condition": "any"}}),
        spec(task={"RestartPolicy": {"Condition": "any", "MaxAttempts": 0}}),
    ),
    "update_config in part": (
        spec(UpdateConfig={"Parallelism": 2}),
        spec(
            UpdateConfig={
                "Parallelism": 2,
                "FailureAction": "pause",
                "Order": "stop-first",
                "MaxFailureRatio": 0,
            }
        ),
    ),
    "update_config of defaults": (spec(), spec(UpdateConfig={"Parallelism": 1, "MaxFailureRatio": 0})),
    "ratio in 32 bits": (
        spec(UpdateConfig={"Parallelism": 1, "MaxFailureRatio": 0.1234567891}),
        spec(UpdateConfig={"Parallelism": 1, "MaxFailureRatio": 0.12345679}),
    ),
    "order of environment": (spec({"Env": ["A=1", "B=2"]}), spec({"Env": ["B=2", "A=1"]})),
    "ids next to names": (
        spec({"Secrets": [{"SecretName": "s", "File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 292}}]}),
        spec(
            {
                "Secrets": [
                    {
                        "SecretID": "x1",
                        "SecretName": "s",
                        "File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 292},
                    }
                ]
            }
        ),
    ),
    "networks of old services": (
        spec(task={"Networks": [{"Target": "n"}]}),
        spec(Networks=[{"Target": "n"}]),
    ),
    "mount details": (
        spec({"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b"}]}),
        spec(
            {
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": "/a",
                        "Target": "/b",
                        "Consistency": "cached",
                        "BindOptions": {},
                    }
                ]
            }
        ),
    ),
    "ports without their defaults": (
        spec(EndpointSpec={"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}),
        spec(
            EndpointSpec={
                "Mode": "vip",
                "Ports": [
                    {"TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp", "PublishMode": "ingress"}
                ],
            }
        ),
    ),
    "address as text": (
        spec({"DNSConfig": {"Nameservers": ["2001:db8:0::1"]}}),
        spec({"DNSConfig": {"Nameservers": ["2001:db8::1"]}}),
    ),
    "image names": (spec({"Image": "nginx"}), spec({"Image": "docker.io/library/nginx:latest"})),
    "spaces in constraints": (
        spec(task={"Placement": {"Constraints": ["node.role==manager"]}}),
        spec(task={"Placement": {"Constraints": ["node.role == manager"]}}),
    ),
    "job without numbers": (
        spec(Mode={"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}}),
        spec(Mode={"ReplicatedJob": {}}),
    ),
}

DIFFERENT = {
    "replicas 0": (spec(), spec(Mode={"Replicated": {"Replicas": 0}})),
    "parallelism 0 is unlimited": (spec(), spec(UpdateConfig={"Parallelism": 0})),
    "init false": (spec(), spec({"Init": False})),
    "no grace": (spec(), spec({"StopGracePeriod": 0})),
    "no delay": (spec(), spec(task={"RestartPolicy": {"Condition": "any", "Delay": 0}})),
    "an empty label": (spec(), spec(Labels={"a": ""})),
    "an empty word": (spec({"Args": ["a"]}), spec({"Args": ["a", ""]})),
    "order of words": (spec({"Args": ["a", "b"]}), spec({"Args": ["b", "a"]})),
    "mode": (spec(), spec(Mode={"Global": {}})),
    "end point": (spec(), spec(EndpointSpec={"Mode": "dnsrr"})),
    "driver option without value": (
        spec(task={"Networks": [{"Target": "n"}]}),
        spec(task={"Networks": [{"Target": "n", "DriverOpts": {"a": ""}}]}),
    ),
    "a field nobody here knows": (spec(), spec({"SomethingNew": 1})),
}


@pytest.mark.parametrize("name", SAME)
def test_same(name):
    left, right = SAME[name]
    kept = copy.deepcopy((left, right))
    assert normalise.service(left) == normalise.service(right)
    assert (left, right) == kept


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_and_told(name):
    left, right = (normalise.service(each) for each in DIFFERENT[name])
    assert left != right
    assert words.service(left) != words.service(right)


@pytest.mark.parametrize("name", [*SAME, *DIFFERENT])
def test_canonical_form_is_its_own(name):
    for each in (SAME | DIFFERENT)[name]:
        once = normalise.service(each)
        assert normalise.service(once) == once


NETWORK = {"Name": "st_n", "Driver": "overlay", "Options": {}, "Labels": {"a": "b"}}
STORED = {
    **NETWORK,
    "Id": "x",
    "Scope": "swarm",
    "EnableIPv6": False,
    "Ingress": False,
    "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097"},
    "IPAM": {
        "Driver": "default",
        "Options": None,
        "Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}],
    },
}


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, False),
        ({"IPAM": {"Config": [{"Subnet": "10.0.1.0/24"}]}}, False),
        ({"IPAM": {"Driver": "default"}}, False),
        ({"IPAM": {"Config": [{"Subnet": "10.0.2.0/24"}]}}, True),
        ({"IPAM": {"Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.9"}]}}, True),
        ({"Attachable": True}, True),
        ({"Internal": True}, True),
        ({"Options": {"encrypted": ""}}, True),
        ({"Labels": {}}, True),
        ({"EnableIPv6": True}, True),
    ],
)
def test_network(changes, differs):
    assert normalise.network_differs({**NETWORK, **changes}, STORED) is differs


def test_network_option_taken_away():
    assert normalise.network_differs(NETWORK, {**STORED, "Options": {"encrypted": ""}})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (0, "0s"),
        (S, "1s"),
        (90 * S, "1m30s"),
        (3600 * S, "1h"),
        (S // 2, "500ms"),
        (1500, "1500ns"),
        (2000, "2us"),
    ],
)
def test_duration(text, told):
    assert words.duration(text) == told


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0"), (1, "1"), (512 << 20, "512M"), (3 << 30, "3G"), (1536, "1536")]
)
def test_size(number, told):
    assert words.size(number) == told


def test_words_leave_nothing_out():
    """Every field of a spec that uses them all changes what is told."""
    full = spec(
        {
            "Command": ["c"],
            "Args": ["a"],
            "Hostname": "h",
            "Env": ["A=1", "B"],
            "Dir": "/d",
            "User": "u",
            "StopSignal": "INT",
            "StopGracePeriod": S,
            "TTY": True,
            "OpenStdin": True,
            "ReadOnly": True,
            "Init": True,
            "Hosts": ["1.2.3.4 a"],
            "DNSConfig": {"Nameservers": ["1.1.1.1"], "Search": ["x"]},
            "Sysctls": {"a": "1"},
            "CapabilityAdd": ["CAP_A"],
            "CapabilityDrop": ["CAP_B"],
            "Ulimits": [{"Name": "n", "Soft": 1, "Hard": 2}],
            "Secrets": [{"SecretName": "s", "File": {"Name": "f", "UID": "1", "GID": "2", "Mode": 256}}],
            "Configs": [{"ConfigName": "c", "File": {"Name": "f", "UID": "0", "GID": "0", "Mode": 292}}],
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/v",
                    "ReadOnly": True,
                    "VolumeOptions": {"NoCopy": True},
                },
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1777}},
            ],
            "Healthcheck": {
                "Test": ["CMD", "t"],
                "Interval": S,
                "Timeout": S,
                "StartPeriod": S,
                "Retries": 2,
                "StartInterval": S,
            },
            "Labels": {"l": "1"},
        },
        {
            "Networks": [{"Target": "n", "Aliases": ["a"], "DriverOpts": {"d": "1"}}],
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
            "Placement": {
                "Constraints": ["a==b"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "p"}}],
                "MaxReplicas": 2,
            },
            "Resources": {
                "Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 1 << 20, "Pids": 3},
                "Reservations": {
                    "NanoCPUs": 1,
                    "MemoryBytes": 2,
                    "GenericResources": [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 1}}],
                },
            },
            "RestartPolicy": {"Condition": "on-failure", "Delay": S, "MaxAttempts": 2, "Window": S},
        },
        Mode={"Replicated": {"Replicas": 3}},
        UpdateConfig={
            "Parallelism": 2,
            "Delay": S,
            "FailureAction": "rollback",
            "Monitor": S,
            "MaxFailureRatio": 0.3,
            "Order": "start-first",
        },
        EndpointSpec={
            "Mode": "dnsrr",
            "Ports": [{"TargetPort": 1, "PublishedPort": 2, "PublishMode": "host"}],
        },
    )
    told = words.service(normalise.service(full))
    assert not [path for path in told if path.startswith("engine")]

    def changed(node):
        """Yield the spec with one leaf after the other made different."""
        for key in node if isinstance(node, dict) else range(len(node)):
            value = node[key]
            if isinstance(value, (dict, list)):
                yield from changed(value)
                continue
            node[key] = (
                (not value) if isinstance(value, bool) else value + ("x" if isinstance(value, str) else 1)
            )
            yield key
            node[key] = value

    del full["Name"]  # it stands before each line, not in one
    count = 0
    for key in changed(full):
        count += 1
        assert words.service(normalise.service(full)) != told, key
    assert count > 75

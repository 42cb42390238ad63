# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task should see, what it sees, and why the two differ."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import proof
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.modules import gpu_proof

A, B, GONE = (f"GPU-12345678-aaaa-bbbb-cccc-0123456789a{letter}" for letter in "bcd")
UNITS = [{"uuid": A}, {"uuid": B}]
GRANT = {"DOCKER_RESOURCE_GPU": A}


DEFAULT = ("DOCKER_RESOURCE_GPU",)


def reading(version="1.19.1", mode="auto", swarm_resource=DEFAULT, linked=True, mismatch=False):
    """Return the parts of a gpu_info reading that matter here."""
    cards = [
        {
            "uuid": uuid,
            "name": "NVIDIA RTX A5000",
            "memory_mib": 24564,
            "compute": "8.6",
            "minor": minor,
            "linked": linked,
            "mig": None,
            "mig_devices": [],
        }
        for minor, uuid in enumerate((A, B))
    ]
    return {
        "cards": cards,
        "driver": {"mismatch": mismatch, "module_version": "570.1", "library_version": "580.2"},
        "toolkit": {"version": version, "mode": mode, "swarm_resource": list(swarm_resource)},
    }


def engine(default="nvidia", resources=(("GPU", A), ("GPU", B))):
    return {
        "default_runtime": default,
        "runtimes": {"nvidia": "/usr/bin/nvidia-container-runtime", "runc": "runc", "own": "/opt/own"},
        "resources": list(resources),
    }


def container(environment, seen=(), error=None, runtime="nvidia", service="st_a", how="nvidia-smi"):
    return {
        "service": service,
        "task": "t1",
        "runtime": runtime,
        "environment": environment,
        "seen": {"uuids": list(seen), "how": how, "error": error},
    }


EXPECTED = [
    (GRANT, ("granted", [A])),
    ({"DOCKER_RESOURCE_GPU": f"{A},{B}", "NVIDIA_VISIBLE_DEVICES": "void"}, ("granted", [A, B])),
    ({"DOCKER_RESOURCE_H100": "GPU-12345678-aaaa-bbbb-cccc-0123456789ac"}, ("granted", [B])),
    ({"DOCKER_RESOURCE_GPU": "1"}, ("granted", [B])),
    ({"DOCKER_RESOURCE_NVIDIA-GPU": GONE}, ("granted", [GONE])),
    ({"DOCKER_RESOURCE_SSD": "2", "NVIDIA_VISIBLE_DEVICES": "all"}, ("visible", [A, B])),
    ({"NVIDIA_VISIBLE_DEVICES": B}, ("visible", [B])),
    ({"NVIDIA_VISIBLE_DEVICES": "0,GPU-12345678-aaaa-bbbb-cccc-0123456789ac"}, ("visible", [A, B])),
    ({"NVIDIA_VISIBLE_DEVICES": "7"}, ("visible", ["7"])),
    ({"NVIDIA_VISIBLE_DEVICES": "void"}, ("none", [])),
    ({"NVIDIA_VISIBLE_DEVICES": "none"}, ("none", [])),
    ({"NVIDIA_VISIBLE_DEVICES": ""}, ("none", [])),
    ({}, ("none", [])),
]


@pytest.mark.parametrize(("environment", "wanted"), EXPECTED)
def test_what_a_task_should_see(environment, wanted):
    assert proof.expected(environment, UNITS) == wanted


RIGHT = [
    container(GRANT, [A]),
    container({"DOCKER_RESOURCE_GPU": f"{A},{B}"}, [B, A]),
    container({"NVIDIA_VISIBLE_DEVICES": "all"}, [A, B]),
    container({}, [], runtime="runc", how="devices"),
]


@pytest.mark.parametrize("one", RIGHT)
def test_what_is_right_is_no_problem(one):
    rows, problems = proof.prove("n1", reading(), engine(), [one])
    assert problems == [] and rows[0]["ok"] and rows[0]["reason"] is None
    assert rows[0]["node"] == "n1" and rows[0]["seen"] == rows[0]["expected"]


LOST = "Failed to initialize NVML: Unknown Error"
NVIDIA_GPU = container({"DOCKER_RESOURCE_NVIDIA-GPU": A})
CAUSES = {
    "lost": (
        container(GRANT, error=LOST),
        {},
        {},
        f"found {LOST}, wanted {A}, as granted by Swarm, set `docker service update --force st_a`",
        "systemd has reloaded since it started",
    ),
    "lost without links": (
        container(GRANT, error=LOST),
        {"linked": False},
        {},
        LOST,
        "/dev/char lacks the links",
    ),
    "two versions of the driver": (
        container(GRANT, error="Driver/library version mismatch"),
        {"mismatch": True},
        {},
        "nvidia_reboot: true",
        "the kernel has driver 570.1, the libraries are 580.2",
    ),
    "vanished": (
        container({"DOCKER_RESOURCE_GPU": GONE}),
        {},
        {},
        f"found no card, wanted {GONE}",
        f"{GONE} has vanished from the node, which has {A}, {B}",
    ),
    "not the default": (
        container(GRANT, runtime="runc"),
        {},
        {"default": "runc"},
        "nvidia_default_runtime: true",
        "the default runtime of the node is runc",
    ),
    "made by another runtime": (
        container(GRANT, runtime="runc"),
        {},
        {},
        "update --force st_a",
        "its container was made with the runtime runc",
    ),
    "commented out": (
        container(GRANT, [A, B]),
        {"swarm_resource": ()},
        {},
        f"found {A}, {B}, wanted {A}",
        "swarm-resource is commented out",
    ),
    "a kind that is not listed": (
        container({"DOCKER_RESOURCE_H100": A}),
        {},
        {},
        "nvidia_gpu_kinds or nvidia_default_kind with H100",
        "the grant is in DOCKER_RESOURCE_H100, and swarm-resource lists DOCKER_RESOURCE_GPU",
    ),
    "a kind that cannot be listed": (
        NVIDIA_GPU,
        {},
        {"resources": [("NVIDIA-GPU", A)]},
        "underscores instead of NVIDIA-GPU",
        "a variable with such a name is never read",
    ),
    "1.18": (
        container(GRANT, [A, B]),
        {"version": "1.18.1"},
        {},
        f"found {A}, {B}, wanted {A}",
        "toolkit 1.18.1 in mode auto ignores what Swarm grants",
    ),
    "1.18 put right since": (
        container(GRANT, [A, B]),
        {"version": "1.18.1", "mode": "legacy"},
        {},
        "update --force st_a",
        "before the settings of the node were what they are now",
    ),
    "a task without a claim": (
        container({"NVIDIA_VISIBLE_DEVICES": "none"}, [A, B]),
        {"version": "1.18.1"},
        {},
        f"found {A}, {B}, wanted no card",
        "toolkit 1.18.1 in mode auto",
    ),
}


@pytest.mark.parametrize(("one", "host", "daemon", "words", "cause"), CAUSES.values(), ids=CAUSES)
def test_a_difference_is_told_once_with_its_cause(one, host, daemon, words, cause):
    rows, problems = proof.prove("n1", reading(**host), engine(**daemon), [one])
    assert len(problems) == 1 and problems[0] == rows[0]["reason"] and not rows[0]["ok"]
    assert problems[0].startswith("A task does not see the cards it should (st_a on n1, task t1): found ")
    assert words in problems[0] and "likely because " in problems[0] and cause in problems[0]


NODES = {
    "in order": ({}, {}, None),
    "no resources": ({"swarm_resource": ()}, {"resources": [], "default": "runc"}, None),
    "other resources": ({"swarm_resource": ()}, {"resources": [("SSD", 2)], "default": "runc"}, None),
    "own name of the runtime": ({}, {"default": "own"}, "default runtime of the node is own"),
    "vanished": ({}, {"resources": [("GPU", GONE)]}, f"{GONE} has vanished from the node"),
    "commented out": ({"swarm_resource": ()}, {}, "swarm-resource is commented out"),
    "1.18": ({"version": "1.18.0"}, {}, "toolkit 1.18.0 in mode auto"),
}


@pytest.mark.parametrize(("host", "daemon", "words"), NODES.values(), ids=NODES)
def test_a_node_is_judged_before_the_next_task_starts(host, daemon, words):
    _rows, problems = proof.prove("n1", reading(**host), engine(**daemon), [])
    assert len(problems) == (words is not None)
    assert not words or (words in problems[0] and "would not see (n1)" in problems[0])


def test_a_card_granted_twice_is_told():
    several = [container(GRANT, [A]), container(GRANT, [A], service="st_b")]
    _rows, problems = proof.prove("n1", reading(), engine(), several)
    (problem,) = problems
    assert problem.startswith(f"A card is granted twice ({A} of n1): found st_a, task t1, st_b, task t1")


def test_parts_of_a_split_card_are_what_is_listed():
    text = (
        f"GPU 0: NVIDIA H100 (UUID: {A})\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-1111)\n"
        "  MIG 3g.40gb     Device  1: (UUID: MIG-2222)\n"
        f"GPU 1: NVIDIA H100 (UUID: {B})\n"
    )
    assert proof.listed(text) == ["MIG-1111", "MIG-2222", B]


# The module, on an Engine that is told what to answer


class Engine:
    """Answers for one container; `answer` is what nvidia-smi does in it."""

    def __init__(self, answer, runtime="nvidia", environment=("DOCKER_RESOURCE_GPU=" + A,)):
        self.answer, self.runtime, self.environment = answer, runtime, environment

    def get(self, path, *args, **params):
        labels = {
            "com.docker.swarm.task.id": "t1",
            "com.docker.swarm.service.name": "st_a",
            "com.docker.stack.namespace": "st",
        }
        if not args:
            return [{"Id": "c1", "Labels": labels}, {"Id": "c2", "Labels": labels}]
        if args[0] == "c2":
            raise EngineError("The Docker Engine refused to read", path, 404, "gone")
        return {
            "Id": "c1",
            "HostConfig": {"Runtime": self.runtime},
            "Config": {"Env": list(self.environment)},
            "State": {"Pid": 7},
        }

    def execute(self, identity, command):
        assert (identity, command) == ("c1", ["nvidia-smi", "-L"])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


LIST = (0, [f"GPU 0: NVIDIA RTX A5000 (UUID: {A})"])
SEEN = {
    "listed": (LIST, "nvidia", {"uuids": [A], "how": "nvidia-smi", "error": None}),
    "failed": ((255, [LOST]), "nvidia", {"uuids": [], "how": "nvidia-smi", "error": LOST}),
    "no program": ((127, ["no such file"]), "nvidia", {"uuids": [B], "how": "devices", "error": None}),
    "refused": (EngineError("x", status=400), "nvidia", {"uuids": [B], "how": "devices", "error": None}),
    "another runtime": (AssertionError(), "runc", {"uuids": [B], "how": "devices", "error": None}),
}


@pytest.mark.parametrize(("answer", "runtime", "wanted"), SEEN.values(), ids=SEEN)
def test_what_is_seen_says_how(answer, runtime, wanted):
    fake = Engine(answer, runtime)
    files = {"null", "nvidia1", "nvidiactl"}
    found = gpu_proof.containers_of(fake, [], reading(), engine(), lambda pid: files)
    assert [one["seen"] for one in found] == [wanted]
    assert found[0]["environment"] == GRANT and found[0]["service"] == "st_a"
    assert gpu_proof.containers_of(fake, ["other"], reading(), engine()) == []


def test_a_card_that_does_not_answer_is_a_problem_and_no_error():
    found = gpu_proof.containers_of(Engine(EngineError("No answer")), [], reading(), engine())
    assert "no answer of nvidia-smi" in found[0]["seen"]["error"]


def test_what_the_engine_tells_is_brought_into_form():
    info = {
        "DefaultRuntime": "nvidia",
        "Runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}, "io.containerd.runc.v2": {}},
        "GenericResources": [
            {"NamedResourceSpec": {"Kind": "GPU", "Value": A}},
            {"DiscreteResourceSpec": {"Kind": "SSD", "Value": 2}},
        ],
    }
    assert gpu_proof.engine_facts(info) == {
        "default_runtime": "nvidia",
        "runtimes": {"nvidia": "/usr/bin/nvidia-container-runtime", "io.containerd.runc.v2": ""},
        "resources": [("GPU", A), ("SSD", 2)],
    }
    assert gpu_proof.engine_facts({})["default_runtime"] == "runc"


def test_the_module_returns_what_it_documents():
    documented = yaml.safe_load(gpu_proof.RETURN)["proof"]["contains"]
    rows, _problems = proof.prove("n1", reading(), engine(), [container(GRANT, [A])])
    assert set(rows[0]) == set(documented["tasks"]["contains"])
    assert set(documented) == {"node", "tasks", "problems", "free"}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinning images to digests: when the registry is asked, and what its silence does."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import images, observe, plan, wanted
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.plugins.module_utils.test_swarm_apply import deploy, writes
from tests.unit.stacks import stack

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64
OUTAGE = EngineError("The Docker Engine refused to read", "/distribution", 500, "dial tcp: i/o timeout")
LOGIN = {"registry": "reg.test:5000", "username": "me", "password": "hunter2"}


def resolved(swarm, desired, policy, logins=()):
    """Return (image and platforms of each service as planned, the plan, warnings)."""
    want, marked, _left_out = wanted.prepare(desired, {}, swarm.api_version)
    current = observe.observe(swarm, desired["name"], want)
    warnings = images.resolve(swarm, want, marked, current, policy, logins)
    assert {name: service["spec"] for name, service in want["services"].items()} == {
        name: service["spec"] for name, service in marked["services"].items()
    }
    tasks = [service["spec"]["TaskTemplate"] for service in want["services"].values()]
    found = [(task["ContainerSpec"]["Image"], task["Placement"].get("Platforms")) for task in tasks]
    return found, plan.make(want, marked, current), warnings


def running(image):
    """Return a Swarm in which the service a runs an image."""
    swarm = FakeSwarm()
    deploy(swarm, stack({"a": {"image": image.partition("@")[0]}}))
    swarm.service("st_a")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = image
    return swarm


AMD = [{"Architecture": "amd64", "OS": "linux"}]
PINNED = "its image is pinned to a digest for the first time"

# name: (policy, image that runs, image in the file, what the registry says, image as wanted, tasks, warning)
CASES = {
    "never asks nobody": ("never", None, "tiny:1", OUTAGE, "tiny:1", "start", None),
    "never, another tag": ("never", f"tiny:1@{OLD}", "tiny:2", NEW, "tiny:2", "restart", None),
    "changed, new": ("changed", None, "tiny:1", NEW, f"tiny:1@{NEW}", "start", None),
    "changed, another tag": ("changed", f"tiny:1@{OLD}", "tiny:2", NEW, f"tiny:2@{NEW}", "restart", None),
    "changed, same tag": ("changed", f"tiny:1@{OLD}", "tiny:1", NEW, "tiny:1", None, None),
    "changed, same tag without digest": ("changed", "tiny:1", "tiny:1", NEW, "tiny:1", None, None),
    "always, same": ("always", f"tiny:1@{OLD}", "tiny:1", OLD, f"tiny:1@{OLD}", None, None),
    "always, moved": ("always", f"tiny:1@{OLD}", "tiny:1", NEW, f"tiny:1@{NEW}", "restart", None),
    "always, first time": ("always", "tiny:1", "tiny:1", NEW, f"tiny:1@{NEW}", "restart", None),
    "always, no registry": ("always", f"tiny:1@{OLD}", "tiny:1", OUTAGE, "tiny:1", None, "i/o timeout"),
    "always, tag is gone": ("always", f"tiny:1@{OLD}", "tiny:1", None, "tiny:1", None, "manifest unknown"),
    "always, never pinned, no registry": (
        "always",
        "tiny:1",
        "tiny:1",
        OUTAGE,
        "tiny:1",
        None,
        "i/o timeout",
    ),
    "digest in the file": ("always", None, f"tiny:1@{OLD}", OUTAGE, f"tiny:1@{OLD}", "start", None),
}


@pytest.mark.parametrize("name", CASES)
def test_policies(name):
    policy, before, image, answer, expected, tasks, warning = CASES[name]
    swarm = running(before) if before else FakeSwarm()
    swarm.registry = {image: answer} if answer else {}
    ((found, platforms),), a_plan, warnings = resolved(swarm, stack({"a": {"image": image}}), policy)
    assert found == expected
    assert platforms == (AMD if expected == f"{image}@{answer}" else None)
    assert [item.tasks for item in a_plan.items] == ([tasks] if tasks else [])
    if warning:
        assert len(warnings) == 1 and warning in warnings[0] and f"it has, {before}:" in warnings[0]
    else:
        assert warnings == []
    if name == "always, first time":
        assert a_plan.items[0].reasons == (PINNED,)


@pytest.mark.parametrize("answer", [OUTAGE, None])
@pytest.mark.parametrize(("before", "policy"), [(None, "changed"), (None, "always"), ("tiny:0", "changed")])
def test_an_image_to_be_started_without_a_digest_fails_before_any_write(before, policy, answer):
    swarm = running(before) if before else FakeSwarm()
    swarm.registry = {"tiny:1": answer} if answer else {}
    writes_before = swarm.writes
    services = {"a": {"image": "tiny:1"}, "b": {"image": "tiny:1"}}
    with pytest.raises(FleetError) as caught:
        resolved(swarm, stack(services), policy)
    assert swarm.writes == writes_before
    assert caught.value.found.count("tiny:1 - ") == 2
    assert "set registry_logins, or resolve_image: never" in str(caught.value)


def test_each_image_is_asked_for_once_and_a_silent_registry_only_once():
    swarm = FakeSwarm()
    deploy(swarm, stack({key: {"image": f"tiny:{key}"} for key in "abc"}))
    swarm.registry = dict.fromkeys(("tiny:a", "tiny:b", "tiny:c"), OUTAGE)
    before = swarm.reads
    _found, _plan, warnings = resolved(
        swarm, stack({key: {"image": f"tiny:{key}"} for key in "abc"}), "always"
    )
    assert len(warnings) == 3 and swarm.reads - before == 4 + 1
    swarm.registry = {"x:1": NEW}
    before = swarm.reads
    resolved(swarm, stack({"x": {"image": "x:1"}, "y": {"image": "x:1"}}), "changed")
    assert swarm.registry and swarm.reads - before == 6 + 1


def test_a_pinned_deploy_is_stable_and_keeps_its_digest_when_asked_no_more():
    swarm = FakeSwarm()
    swarm.registry = {"tiny:1": OLD}
    want, marked, _left_out = wanted.prepare(stack({"a": {}}), {}, swarm.api_version)
    images.resolve(swarm, want, marked, observe.empty(), "changed")
    deploy(swarm, want)
    spec = copy.deepcopy(swarm.service("st_a")["Spec"])
    assert spec["TaskTemplate"]["ContainerSpec"]["Image"] == f"tiny:1@{OLD}"
    for policy in ("never", "changed", "always"):
        _found, a_plan, _warnings = resolved(swarm, stack({"a": {}}), policy)
        assert not a_plan, policy
    deploy(swarm, stack({"a": {"env": ["A=1"]}}))
    task = swarm.service("st_a")["Spec"]["TaskTemplate"]
    assert task["ContainerSpec"]["Image"] == f"tiny:1@{OLD}" and task["Placement"]["Platforms"] == AMD
    assert len(writes(swarm)) == 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, []),
        ([], []),
        ([{"architecture": "arm", "variant": "v7", "os": "linux"}], [{"OS": "linux"}]),
        (
            [
                {"architecture": "amd64", "os": "linux"},
                {"architecture": "unknown", "os": "unknown"},
                {"architecture": "amd64", "os": "linux"},
                {"architecture": "arm64", "os": "linux"},
            ],
            [{"Architecture": "amd64", "OS": "linux"}, {"Architecture": "arm64", "OS": "linux"}],
        ),
    ],
)
def test_platforms(found, expected):
    assert images.platforms(found) == expected


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("redis:7", "docker.io"),
        ("me/tool:1", "docker.io"),
        ("index.docker.io/me/tool", "docker.io"),
        ("ghcr.io/a/b@sha256:0", "ghcr.io"),
        ("localhost/a:1", "localhost"),
        ("reg:5000/a:1", "reg:5000"),
    ],
)
def test_registries(image, host):
    assert images.registry_of(image) == host


def test_a_login_goes_to_its_registry_only_and_with_every_write():
    swarm = FakeSwarm()
    mine, other = "reg.test:5000/a:1", "ghcr.io/b:1"
    swarm.registry = {mine: OLD, other: OLD}
    desired = stack({"a": {"image": mine}, "b": {"image": other}})
    resolved(swarm, desired, "changed", [LOGIN])
    deploy(swarm, desired, registry_logins=(LOGIN,))
    desired["services"]["st_a"]["spec"]["Labels"]["new"] = "1"
    deploy(swarm, desired, registry_logins=(LOGIN,))
    paths = [path for path, _auth in swarm.logins]
    assert paths == ["/distribution/{0}/json", "/services/create", "/services/{0}/update"]
    (auth,) = {auth for _path, auth in swarm.logins}
    assert json.loads(base64.urlsafe_b64decode(auth)) == {
        "username": "me",
        "password": "hunter2",
        "serveraddress": "reg.test:5000",
    }


def test_docker_hub_has_a_name_of_its_own():
    keyword = images.with_login([{**LOGIN, "registry": "docker.io"}], "redis:7")
    document = json.loads(base64.urlsafe_b64decode(keyword["registry_auth"]))
    assert document["serveraddress"] == "https://index.docker.io/v1/"
    assert images.with_login([LOGIN], "redis:7") == {}


def test_two_logins_for_one_registry():
    images.check_logins([LOGIN, {**LOGIN, "registry": "x"}])
    with pytest.raises(FleetError, match="A registry has two logins .reg.test:5000.: .*registry_logins"):
        images.check_logins([LOGIN, LOGIN])

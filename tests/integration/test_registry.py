# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of the fleet's own with Debian's docker-registry, and logins at it with Engines 26.1 and 20.10.

GPUFLEET_INVENTORY  inventory of a lab with a Swarm of two nodes, without a system (such as
                    scripts/with_lab.py --fleet makes); all of this is skipped without it

The tests build on one another and run in the order of the file. Figures are printed: run pytest with -rP to
see them.
"""

from __future__ import annotations

import json

import pytest

from tests.integration.image_fleet import INVENTORY, Fleet, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet")

NAME = "registry.lab.test:5000"
CA = f"/etc/docker/certs.d/{NAME}/ca.crt"
CONFIG = "/root/.docker/config.json"
BASE = "redis:7.4"
IMAGE = f"{NAME}/tools/redis:1"
NODES = "managers:workers"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def own(fleet):
    """Variables of a fleet with a registry."""
    return {"fleet_registry_host": fleet.manager}


def password(fleet):
    return (fleet.credentials / "registry" / "password").read_text(encoding="utf-8")


def status(fleet, node, path, *options):
    """Return the HTTP status that the registry answers with, 000 without an answer."""
    words = f"curl --silent --max-time 10 --output /dev/null --write-out '%{{http_code}}' {' '.join(options)}"
    return fleet.on(node, f"{words} https://{NAME}{path}", check=False)[:3]


def engines(fleet):
    return [fleet.on(node, "systemctl show -p MainPID --value docker") for node in fleet.nodes]


def stored(fleet):
    """Return the kilobytes of the registry's storage."""
    return int(fleet.on(fleet.manager, "du -sk /var/lib/docker-registry").split()[0])


def test_a_fleet_that_asks_for_nothing_has_no_task(fleet):
    run = fleet.play("registry", hosts=NODES)
    assert run.changed() == 0 and run.remote() == 0


def test_a_dry_run_changes_nothing(fleet, own):
    run = fleet.play("registry", "--check", hosts=NODES, **own)
    assert run.changed() > 0
    assert fleet.on(fleet.manager, "dpkg -l docker-registry 2>/dev/null | grep -c ^ii || true") == "0"
    assert "registry.lab.test" not in fleet.on(fleet.worker, f"cat /etc/hosts; ls {CONFIG} 2>&1 || true")
    assert not (fleet.credentials / "registry").exists()


def test_the_registry_serves_with_tls_and_a_password_and_no_engine_restarts(fleet, own):
    before = engines(fleet)
    fleet.play("registry", hosts=NODES, **own)
    assert engines(fleet) == before
    secret = password(fleet)
    for node in fleet.nodes:
        trusting = f"--cacert {CA}"
        assert status(fleet, node, "/v2/", trusting) == "401"
        assert status(fleet, node, "/v2/", trusting, "-u fleet:wrong") == "401"
        assert status(fleet, node, "/v2/", trusting, f"-u fleet:{secret}") == "200"
        assert fleet.on(node, f"stat -c '%a %U' {CONFIG}") == "600 root"
    assert fleet.on(fleet.manager, f"curl -s http://{NAME}/v2/_catalog").startswith(
        "Client sent an HTTP request"
    )
    # Nothing else serves: the package's own unit would, to anybody.
    assert fleet.on(fleet.manager, "systemctl is-enabled docker-registry || true") == "masked"
    modes = fleet.on(fleet.manager, "cd /etc/gpufleet-registry; stat -c '%a %U %n' . tls.key htpasswd")
    assert modes.split("\n") == [
        "700 docker-registry .",
        "600 docker-registry tls.key",
        "600 docker-registry htpasswd",
    ]
    assert secret not in fleet.on(
        fleet.manager, "cat /etc/gpufleet-registry/* /etc/systemd/system/gpufleet-*"
    )


def test_a_second_run_changes_nothing(fleet, own):
    run = fleet.play("registry", hosts=NODES, **own)
    print(f"second run: {run.remote()} remote calls on 2 nodes")
    assert run.changed() == 0, run.output


def test_images_are_pushed_by_one_node_and_pulled_by_the_other(fleet, own):
    fleet.on(fleet.worker, f"docker pull -q {BASE}; docker tag {BASE} {IMAGE}; docker push -q {IMAGE}")
    fleet.on(fleet.manager, f"docker pull -q {IMAGE}; docker rmi {IMAGE}")
    refused = fleet.on(fleet.manager, f"docker --config /tmp/nobody pull -q {IMAGE}", check=False)
    assert "no basic auth credentials" in refused


def test_a_stack_runs_an_image_of_the_registry_on_nodes_that_have_no_login_of_their_own(fleet, own):
    for node in fleet.nodes:
        fleet.on(node, f"mv {CONFIG} {CONFIG}.away; docker rmi -f {IMAGE} {BASE}", check=False)
    try:
        fleet.deploy({"a": service(IMAGE, mode="global")}, **own)
        assert all(IMAGE in fleet.images(node) for node in fleet.nodes)
        message = fleet.deploy(
            {"a": service(f"{NAME}/tools/redis:2", mode="global")}, fails=True, **own
        ).message()
        for node in fleet.nodes:
            assert f"{node} cannot get {NAME}/tools/redis:2 - " in message
        print(message)
        assert IMAGE in fleet.on(fleet.manager, "docker service inspect it_a --format '{{.Spec.Labels}}'")
    finally:
        for node in fleet.nodes:
            fleet.on(node, f"mv {CONFIG}.away {CONFIG}")


def test_what_is_built_is_pushed_and_no_archive_goes_round(fleet, own):
    fleet.put(fleet.manager, "/root/Dockerfile", f"FROM {BASE}\nRUN echo built > /built\n")
    made = fleet.on(
        fleet.manager,
        "apt-get update -qq; apt-get install -qq -y --no-install-recommends git >/dev/null; "
        "mkdir /srv/it; cd /srv/it; git init -q; cp /root/Dockerfile .; git add .; "
        "git -c user.name=it -c user.email=it@lab.test commit -qm it; git rev-parse HEAD",
    )
    task = {"images_builds": [{"name": "it", "source": "/srv/it", "version": made.splitlines()[-1]}]}
    run = fleet.play("images", task=task, **own)
    assert "Push the image" in " ".join(run.names()) and "Save the image" not in run.names()
    facts = [result.get("ansible_facts", {}).get("images_references") for _n, _h, result in run.results()]
    image = next(fact for fact in facts if fact)["it"]
    assert image.startswith(f"{NAME}/it:")
    assert fleet.on(fleet.worker, f"docker run --rm {image} cat /built 2>/dev/null") == "built"
    run = fleet.play("images", task=task, **own)
    print(f"second run of a build with a registry: {run.remote()} remote calls")
    assert run.changed() == 0 and run.remote() == 1


# Logins elsewhere


def logins(fleet, secret, registry=NAME):
    return {"fleet_registry_logins": [{"registry": registry, "username": "fleet", "password": secret}]}


def test_a_wrong_password_is_refused_and_nothing_is_written(fleet, own):
    before = [fleet.on(node, f"cat {CONFIG}") for node in fleet.nodes]
    run = fleet.play("registry", hosts=NODES, fails=True, **logins(fleet, "wrong-word"))
    message = run.message()
    print(message)
    assert (
        f"A registry does not take the login ({NAME}): found user fleet, set fleet_registry_logins" in message
    )
    assert "wrong-word" not in run.output
    assert [fleet.on(node, f"cat {CONFIG}") for node in fleet.nodes] == before


def test_a_right_password_is_written_once_beside_those_of_others(fleet, own):
    fleet.put(
        fleet.worker, CONFIG, json.dumps({"auths": {"ghcr.io": {"auth": "eDp5"}}, "detachKeys": "ctrl-q"})
    )
    given = logins(fleet, password(fleet))
    run = fleet.play("registry", hosts=NODES, **given)
    assert password(fleet) not in run.output
    held = json.loads(fleet.on(fleet.worker, f"cat {CONFIG}"))
    assert set(held["auths"]) == {"ghcr.io", NAME} and held["detachKeys"] == "ctrl-q"
    changed = fleet.on(fleet.worker, f"stat -c %Y.%i {CONFIG}")
    run = fleet.play("registry", hosts=NODES, **given)
    assert run.changed() == 0 and fleet.on(fleet.worker, f"stat -c %Y.%i {CONFIG}") == changed
    print(f"second run with a login alone: {run.remote()} remote calls on 2 nodes")
    # Taken out of the list, it goes, and what others put there stays.
    fleet.play("registry", hosts=NODES)
    assert set(json.loads(fleet.on(fleet.worker, f"cat {CONFIG}"))["auths"]) == {"ghcr.io"}
    assert fleet.play("registry", hosts=NODES).remote() == 0


def test_two_logins_of_one_registry_are_refused(fleet):
    twice = logins(fleet, "x")["fleet_registry_logins"] * 2
    message = fleet.play("registry", hosts=NODES, fails=True, fleet_registry_logins=twice).message()
    assert f"A registry has two logins ({NAME}): wanted one each" in message


# Storage


def test_storage_that_no_image_needs_is_freed_and_the_registry_serves_on(fleet, own):
    fleet.play("registry", hosts=NODES, **own)
    waste = f"{NAME}/waste:1"
    fleet.on(
        fleet.manager,
        "cd /root; head -c 20000000 /dev/urandom > waste; "
        "printf 'FROM scratch\\nCOPY waste /' > Dockerfile; "
        f"docker build -q -t {waste} . && docker push -q {waste}",
    )
    access = f"--cacert {CA} -u fleet:{password(fleet)}"
    full = stored(fleet)
    head = f"curl -s -I {access} -H 'Accept: application/vnd.docker.distribution.manifest.v2+json'"
    digest = fleet.on(
        fleet.manager, f"{head} https://{NAME}/v2/waste/manifests/1 | grep -i docker-content-digest"
    )
    digest = digest.split()[-1].strip()
    assert status(fleet, fleet.manager, f"/v2/waste/manifests/{digest}", access, "-X DELETE") == "202"
    fleet.on(fleet.manager, "systemctl start gpufleet-registry-collection.service")
    freed = full - stored(fleet)
    print(f"freed {freed} of {full} kB")
    assert freed > 15000
    fleet.on(
        fleet.manager,
        f"for i in 1 2 3 4 5 6 7 8 9; do docker pull -q {IMAGE} && exit 0; sleep 1; done; exit 1",
    )
    fleet.on(fleet.manager, f"docker tag {IMAGE} {NAME}/again:1; docker push -q {NAME}/again:1")
    assert "gpufleet-registry-collection.timer" in fleet.on(fleet.manager, "systemctl list-timers --no-pager")


def test_while_storage_is_freed_images_can_be_pulled_and_not_pushed(fleet, own):
    read_only = "/run/gpufleet-registry.settings"
    ask = f"curl -s -o /dev/null --cacert {CA} https://{NAME}/v2/"
    restart = f"systemctl restart gpufleet-registry; until {ask}; do sleep 1; done"
    fleet.on(fleet.manager, f"echo SETTINGS=read-only.yml > {read_only}; {restart}")
    try:
        fleet.on(fleet.manager, f"docker rmi -f {IMAGE}; docker pull -q {IMAGE}")
        access = f"--cacert {CA} -u fleet:{password(fleet)}"
        assert status(fleet, fleet.manager, "/v2/refused/blobs/uploads/", access, "-X POST") == "405"
    finally:
        fleet.on(fleet.manager, f"rm {read_only}; {restart}")


def test_another_password_is_taken_over_without_a_restart(fleet, own):
    serving = fleet.on(fleet.manager, "systemctl show -p MainPID --value gpufleet-registry")
    (fleet.credentials / "registry" / "password").write_text("another-password", encoding="utf-8")
    fleet.play("registry", hosts=NODES, **own)
    fleet.on(fleet.worker, f"docker pull -q {IMAGE}")
    assert fleet.on(fleet.manager, "systemctl show -p MainPID --value gpufleet-registry") == serving
    assert fleet.play("registry", hosts=NODES, **own).changed() == 0


def test_a_registry_that_is_removed_leaves_nothing_but_its_images(fleet, own):
    fleet.play("registry", hosts=NODES, **own, registry_state="absent")
    for node in fleet.nodes:
        left = fleet.on(
            node, f"ls -d /etc/docker/certs.d/{NAME} 2>/dev/null; grep registry.lab.test /etc/hosts; true"
        )
        assert left == "" and NAME not in fleet.on(node, f"cat {CONFIG}")
    left = fleet.on(
        fleet.manager, "ls -d /etc/gpufleet-registry /etc/systemd/system/gpufleet-reg* 2>/dev/null; true"
    )
    assert left == "" and stored(fleet) > 1000
    assert fleet.on(fleet.manager, "ss -Hltn 'sport = :5000'") == ""
    assert fleet.play("registry", hosts=NODES, **own, registry_state="absent").changed() == 0

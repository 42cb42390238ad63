# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on real Engines 26.1 and 20.10: built from git, proven before a deploy, brought from an archive.

GPUFLEET_INVENTORY  inventory of a lab with a Swarm of two nodes, without a system (such as
                    scripts/with_lab.py --fleet makes); all of this is skipped without it

The tests build on one another and run in the order of the file. Figures are printed: run pytest with -rP to
see them.
"""

from __future__ import annotations

import pytest

from tests.integration.image_fleet import INVENTORY, ROOT, Fleet, service

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet")

SOURCE = "/srv/notes.git"
BASE = "redis:7.4"  # an image with a shell that the lab's registry has
ANOTHER = "memcached:1.6"
# Two stages, a build argument, a file that the build puts in, a Dockerfile in a folder, and a submodule.
DOCKERFILE = f"""FROM {BASE} AS first
ARG WHO
COPY extra/settings.txt part/part.txt /
RUN echo "hello $WHO" > /who.txt
FROM first AS last
RUN echo last > /last.txt
"""
BUILD = {
    "name": "notes", "source": SOURCE, "version": "v1", "dockerfile": "docker/Dockerfile", "target": "first",
    "args": {"WHO": "fleet"}, "files": {"extra/settings.txt": "put in"}, "submodules": True,
}  # fmt: skip
REPOSITORY = f"""
set -e
command -v git >/dev/null || apt-get update -qq
command -v git >/dev/null || apt-get install -qq -y --no-install-recommends git >/dev/null
rm -rf /srv/notes* /srv/part*
export GIT_AUTHOR_NAME=it GIT_AUTHOR_EMAIL=it@lab.test GIT_COMMITTER_NAME=it GIT_COMMITTER_EMAIL=it@lab.test
git config --global protocol.file.allow always
git init -q -b main /srv/part; cd /srv/part; echo part > part.txt; git add .; git commit -qm part
git init -q -b main /srv/notes; cd /srv/notes; mkdir docker; cp /root/Dockerfile docker/Dockerfile
git submodule --quiet add /srv/part part; git add .; git commit -qm one; git tag -a -m one v1
git clone -q --bare /srv/notes {SOURCE}
git rev-parse HEAD
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("images"))


def build(fleet, *arguments, fails=False, options=None, **more):
    task = {"images_builds": [{**BUILD, **more}]}
    return fleet.play("images", *arguments, fails=fails, task=task, **(options or {}))


def reference(run):
    """Return what the role calls the image."""
    facts = [result.get("ansible_facts", {}).get("images_references") for _n, _h, result in run.results()]
    return next(fact for fact in facts if fact)["notes"]


def there(fleet, image):
    return [node for node in fleet.nodes if image in fleet.images(node)]


def read(fleet, node, image, path):
    return fleet.on(node, f"docker run --rm {image} cat {path}", check=False)


# Built from git


def test_a_dry_run_without_git_foretells_a_build(fleet):
    assert fleet.on(fleet.manager, "command -v git || true") == ""
    before = fleet.images(fleet.manager)
    run = build(fleet, "--check")
    assert run.changed() == 1 and reference(run) == "localhost/not-known-before-the-first-run:latest"
    assert fleet.images(fleet.manager) == before
    assert fleet.on(fleet.manager, "command -v git || true") == ""


@pytest.fixture(scope="module")
def commit(fleet):
    """Make the source on the build host, where root's files are for root alone, and return its commit."""
    fleet.put(fleet.manager, "/etc/sudoers.d/lab-umask", "Defaults umask=0077, umask_override\n")
    fleet.on(fleet.manager, "chmod 440 /etc/sudoers.d/lab-umask && visudo --check --quiet")
    fleet.put(fleet.manager, "/root/Dockerfile", DOCKERFILE)
    return fleet.on(fleet.manager, f"({REPOSITORY}) < /dev/null").splitlines()[-1]


def test_an_image_is_built_and_brought_to_the_nodes(fleet, commit):
    foretold = reference(build(fleet, "--check"))
    assert not there(fleet, foretold)
    run = build(fleet)
    image = reference(run)
    assert image == foretold and image.startswith("localhost/notes:")
    assert there(fleet, image) == list(fleet.nodes)
    for node in fleet.nodes:
        assert read(fleet, node, image, "/who.txt /settings.txt /part.txt") == "hello fleet\nput inpart"
        assert "No such file" in read(fleet, node, image, "/last.txt")  # the stage after the one asked for
    modes = fleet.on(fleet.worker, f"docker run --rm {image} stat -c %a /settings.txt /part.txt")
    assert modes.split() == ["644", "644"]
    label = fleet.on(fleet.worker, f"docker inspect {image} | grep image.revision")
    assert commit in label
    left = fleet.on(
        fleet.manager, "ls /var/lib/gpufleet/builds; ls -d /var/tmp/gpufleet-* 2>/dev/null || true"
    )
    assert left == ""


def test_a_second_run_builds_nothing_and_clones_nothing(fleet, commit):
    run = build(fleet)
    print(f"second run with a tag: {run.remote()} remote tasks")
    assert run.changed() == 0 and "Fetch the source" not in run.names()
    tagged = reference(run)
    # The commit behind the tag is the same image, and nobody is asked for it: the source is away.
    fleet.on(fleet.manager, f"mv {SOURCE} {SOURCE}.away")
    try:
        run = build(fleet, version=commit)
        print(f"second run with a commit: {run.remote()} remote tasks")
        assert run.changed() == 0 and reference(run) == tagged
        message = build(fleet, fails=True).message()
        assert (
            "Cannot find out what a version of images_builds stands for: manager1 asked the source" in message
        )
        assert "or set version to the full commit, for which nobody is asked." in message
    finally:
        fleet.on(fleet.manager, f"mv {SOURCE}.away {SOURCE}")


def test_a_stack_runs_what_was_built_though_no_registry_has_it(fleet, commit):
    image = reference(build(fleet))
    fleet.deploy({"a": service(image, mode="global")}, name="built")
    assert f"built_a {image} 2/2" in services(fleet)
    fleet.play("stack", task={"stack_name": "built", "stack_state": "absent"})


def test_a_node_that_lost_the_image_gets_it_without_a_build(fleet, commit):
    image = reference(build(fleet))
    fleet.on(fleet.manager, f"docker rmi -f {image}")
    run = build(fleet)
    assert there(fleet, image) == list(fleet.nodes)
    assert "Fetch the source" not in run.names()


# With BuildKit, which the client of Debian 12 has in itself, and that of Debian 13 in a plugin.
CACHED = f"""FROM --platform=$BUILDPLATFORM {BASE} AS first
ARG WHO
RUN --mount=type=cache,target=/cache echo "hello $WHO" > /cache/who && cp /cache/who /who.txt
FROM first AS last
RUN echo last > /last.txt
"""


@pytest.mark.parametrize(("role", "has"), [("manager", "docker-buildx"), ("worker", "")])
def test_an_image_is_built_with_buildkit_whichever_way_the_host_has_it(fleet, commit, role, has):
    host = getattr(fleet, role)
    if host != fleet.manager:
        fleet.carry(fleet.manager, host, SOURCE)
        fleet.on(host, f"docker pull -q {BASE}")
    given = {**BUILD, "version": commit, "submodules": False, "buildkit": True, "args": {"WHO": host}}
    given |= {"dockerfile": "docker/Cached", "files": {"docker/Cached": CACHED}}
    task = {"images_builds": [given], "images_build_host": host, "images_nodes": [host]}
    image = reference(fleet.play("images", task=task))
    assert there(fleet, image) == [host]
    assert read(fleet, host, image, "/who.txt") == f"hello {host}"
    assert "No such file" in read(fleet, host, image, "/last.txt")
    assert commit in fleet.on(host, f"docker inspect {image} | grep image.revision")
    installed = "dpkg-query -W -f '${db:Status-Status} ${Package}' 'docker-buildx*' 2>/dev/null || true"
    assert fleet.on(host, installed).removeprefix("installed ") == has
    assert fleet.play("images", task=task).changed() == 0


def test_a_version_that_is_not_there_is_refused(fleet, commit):
    message = build(fleet, fails=True, version="v9").message()
    assert (
        f"The source has no such version ({SOURCE}): found v9, wanted a tag, a branch, or a commit of 40 "
        "digits, set version of notes in images_builds." in message
    )


# Proven before a deploy


def cut_off(fleet, node):
    """Let a node reach no registry: neither the lab's, nor any beyond the lab."""
    address = fleet.on(node, "getent ahostsv4 registry.lab | head -1 | cut -d' ' -f1")
    fleet.on(
        node,
        f"ip route show default > /run/default; ip route del default; ip route add unreachable {address}",
    )


def join_again(fleet, node):
    address = fleet.on(node, "getent ahostsv4 registry.lab | head -1 | cut -d' ' -f1")
    fleet.on(node, f"ip route del unreachable {address}; ip route add $(cat /run/default)")


def services(fleet):
    return fleet.on(fleet.manager, "docker service ls --format '{{.Name}} {{.Image}} {{.Replicas}}'")


def test_an_image_that_one_node_cannot_get_stops_the_deploy_before_anything_is_written(fleet):
    image = "eclipse-mosquitto:2.0"
    assert not there(fleet, image)
    before = services(fleet)
    cut_off(fleet, fleet.worker)
    try:
        run = fleet.deploy({"a": service(image, mode="global")}, fails=True)
        message = run.message()
        print(message)
        assert f"Cannot deploy the stack it: {fleet.worker} cannot get {image} - " in message
        assert f"{fleet.manager} cannot get" not in message
        assert (
            "Nothing of it was changed. Wanted: each node that may run a service has its image, or gets it "
            "from its registry. Set the image, fleet_registry_logins, docker_registry_mirrors or "
            "fleet_images_archive."
        ) in message
        assert services(fleet) == before and run.changed() == 0
        # In a dry run as well; and where only the node that can get it may run it, it is deployed.
        assert (
            "cannot get"
            in fleet.deploy({"a": service(image, mode="global")}, "--check", fails=True).message()
        )
        place = {"constraints": [f"node.labels.gpufleet.host=={fleet.manager}"]}
        fleet.deploy({"a": service(image, placement=place)})
        assert "it_a eclipse-mosquitto:2.0 1/1" in services(fleet)
    finally:
        join_again(fleet, fleet.worker)


def test_a_run_without_a_change_asks_nobody(fleet):
    place = {"constraints": [f"node.labels.gpufleet.host=={fleet.manager}"]}
    run = fleet.deploy({"a": service("eclipse-mosquitto:2.0", placement=place)})
    assert run.changed() == 0 and "Ask each node for the images" not in run.names()
    print(f"deploy without a change: {run.remote()} remote calls")


def test_an_image_that_nobody_has_is_named_for_each_node(fleet):
    message = fleet.deploy(
        {"b": service("localhost/nothing:1", mode="global")}, fails=True, name="two"
    ).message()
    for node in fleet.nodes:
        assert f"{node} cannot get localhost/nothing:1 - " in message


# Brought from an archive


def forget_all(fleet):
    """Leave no service and no image on the nodes."""
    fleet.play("stack", task={"stack_name": "it", "stack_state": "absent"})
    fleet.play("ingress", hosts="managers[0]", ingress_state="absent")
    for node in fleet.nodes:
        fleet.on(node, "docker container prune -f; docker image prune -af", check=False)
        assert fleet.images(node) == set()


def test_an_air_gapped_fleet_lives_on_one_archive(fleet, commit):
    archive = fleet.folder / "images.tar"
    options = {"images_save_host": fleet.manager, "images_save_path": str(archive), "fleet_systems": []}
    also = [BASE, "eclipse-mosquitto:2.0", ANOTHER]
    run = fleet.call(ROOT / "playbooks" / "save_images.yml", **options, images_save_also=also)
    assert run.rc == 0, run.output
    print(f"archive of 5 images: {archive.stat().st_size / 1e6:.0f} MB")
    forget_all(fleet)
    for node in fleet.nodes:
        cut_off(fleet, node)
    try:
        given = {"fleet_images_archive": str(archive)}
        message = fleet.deploy({"a": service("mongo:6.0", mode="global")}, fails=True, **given).message()
        assert f"{fleet.manager} cannot get mongo:6.0 - " in message
        assert fleet.images(fleet.worker) == set()

        run = fleet.call("site.yml", **given, fleet_systems=[])
        assert run.rc == 0, run.output
        print("first run of the site:", run.loads())
        place = {"constraints": [f"node.labels.gpufleet.host=={fleet.worker}"]}
        wanted = {"a": service(BASE, mode="global"), "b": service("eclipse-mosquitto:2.0", placement=place)}
        before = {node: fleet.received(node) for node in fleet.nodes}
        run = fleet.deploy(wanted, **given)
        sent = {node: fleet.received(node) - before[node] for node in fleet.nodes}
        print("first deploy:", run.loads(), "received on the wire:", sent)
        # Each node has what may run there, and no more.
        assert BASE in fleet.images(fleet.manager)
        assert "eclipse-mosquitto:2.0" not in fleet.images(fleet.manager)
        assert {BASE, "eclipse-mosquitto:2.0"} <= fleet.images(fleet.worker)

        before = {node: fleet.received(node) for node in fleet.nodes}
        run = fleet.deploy(wanted, **given)
        again = {node: fleet.received(node) - before[node] for node in fleet.nodes}
        print(f"second deploy: {run.loads()}, {run.remote()} remote calls, received on the wire: {again}")
        assert run.changed() == 0 and [size for _node, _names, size in run.loads()] == [0, 0]
        # What Ansible's modules weigh, and the talk of the Swarm; an image has tens of megabytes.
        assert all(size < 5_000_000 for size in again.values())
        site = fleet.call("site.yml", **given, fleet_systems=[])
        assert site.rc == 0 and site.changed() == 0, site.output
        assert [size for _node, _names, size in site.loads()] == [0]

        # What is built there is built upon an image of the archive.
        assert not there(fleet, ANOTHER)
        files = {"docker/Another": f"FROM {ANOTHER}\nRUN echo built > /tmp/b\n"}
        upon = {"version": commit, "dockerfile": "docker/Another", "files": files, "target": None, "args": {}}
        run = build(fleet, options={**given, "images_save_also": also}, **upon)
        assert there(fleet, reference(run)) == list(fleet.nodes) and there(fleet, ANOTHER) == [fleet.manager]
        assert read(fleet, fleet.worker, reference(run), "/tmp/b") == "built"
    finally:
        for node in fleet.nodes:
            join_again(fleet, node)


def test_layers_that_a_node_has_are_not_sent_again(fleet):
    archive = fleet.folder / "images.tar"
    fleet.on(fleet.worker, f"docker tag {BASE} keep:1; docker rmi -f {BASE}")
    # The same layers under another name: what is sent is a description.
    run = fleet.deploy({"c": service(BASE, mode="global")}, name="three", fleet_images_archive=str(archive))
    ((node, names, size),) = [load for load in run.loads() if load[1]]
    print(f"{names} sent again to {node}: {size} bytes")
    assert (node, names) == (fleet.worker, [BASE]) and size < 100_000


def test_what_is_no_archive_is_refused(fleet):
    for name, wanted in (
        ("none.tar", "There is no archive of images ("),
        ("play.yml", "This is no archive of images ("),
    ):
        given = {"fleet_images_archive": str(fleet.folder / name)}
        message = fleet.deploy({"d": service(BASE)}, name="four", fails=True, **given).message()
        assert wanted in message and "set fleet_images_archive" in message
    assert "four_d" not in services(fleet)

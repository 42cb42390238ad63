# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: their names, who needs them, who cannot get them, and archives sent in part."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _image_store, _images, _logins
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._image_archive import Archive, prefixes, same
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import supply
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

from tests.unit.plugins.module_utils.test_inventory import SPECS, everywhere, find

COMMIT, OTHER = "a" * 40, "b" * 40
BUILD = {"name": "notes", "source": "https://git.test/notes.git", "version": COMMIT}


def reference(commits=None, registry="", **more):
    (build,) = _images.complete([{**BUILD, **more}], commits, registry)
    return build["reference"]


def test_a_reference_is_the_image_of_its_inputs():
    name, _colon, tag = reference().partition(":")
    assert name == "localhost/notes" and len(tag) == 12 and int(tag, 16) >= 0
    assert reference(registry="reg.test:5000") == f"reg.test:5000/notes:{tag}"
    # Where it was fetched from, defaults that are spelt out and the builder make no other image.
    for same_image in (
        {"source": "/srv/notes.git"},
        {"context": ".", "args": {}, "target": None},
        {"buildkit": True},
    ):
        assert reference(**same_image) == f"localhost/notes:{tag}"
    assert reference(args={"A": 1}) == reference(args={"A": "1"})


@pytest.mark.parametrize(
    "more",
    [
        {"version": OTHER},
        {"context": "app"},
        {"dockerfile": "other/Dockerfile"},
        {"target": "web"},
        {"args": {"A": "1"}},
        {"submodules": True},
        {"files": {".env": "A=1"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_another_input_is_another_reference(more):
    assert reference(**more) != reference()


def test_a_tag_is_known_once_its_commit_is():
    assert reference(version="v1") is None
    assert reference({BUILD["source"]: {"v1": COMMIT}}, version="v1") == reference()


# id: (what is wrong with a build, what the message says)
BAD = {
    "no version": ({"version": None}, "A build says too little (notes): wanted version, set images_builds."),
    "name": (
        {"name": "Notes"},
        "An image cannot have this name (Notes): wanted lower-case letters and digits, with single hyphens, "
        "underscores or full stops between, set name in images_builds.",
    ),
    "above": (
        {"files": {"../x": ""}},
        "A path leaves the source (notes): found ../x, wanted a path within it, set context, dockerfile or "
        "files in images_builds.",
    ),
    "absolute": (
        {"context": "/etc"},
        "A path leaves the source (notes): found /etc, wanted a path within it, set context, dockerfile or "
        "files in images_builds.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_build_that_cannot_work_is_refused(name):
    more, message = BAD[name]
    with pytest.raises(FleetError) as caught:
        reference(**more)
    assert str(caught.value) == message


def test_a_version_that_the_source_does_not_have_is_refused():
    # git ls-remote finds no such ref, and Ansible's git module then hands back what it was asked for.
    with pytest.raises(FleetError, match="found v9, wanted a tag, a branch, or a commit of 40 digits"):
        reference({BUILD["source"]: {"v9": "v9"}}, version="v9")


def test_two_builds_of_one_name_are_refused():
    with pytest.raises(FleetError, match=r"Two builds have one name \(notes\)"):
        _images.complete([BUILD, BUILD])


# Who needs which images


def node(name, **more):
    return {
        "id": name, "hostname": f"{name}.lan", "role": "worker", "labels": {"gpufleet.host": name},
        "engine_labels": {}, "state": "ready", "availability": "active", "resources": {}, **more,
    }  # fmt: skip


def service(image, constraints=(), mode=None, gpus=0):
    resources = {
        "GenericResources": [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": gpus}}] if gpus else []
    }
    return {
        "spec": {
            "Mode": mode or {"Global": {}},
            "TaskTemplate": {
                "ContainerSpec": {"Image": image},
                "Placement": {"Constraints": list(constraints)},
                "Resources": {"Reservations": resources},
            },
        }
    }


def planned(**tasks):
    return SimpleNamespace(items=[SimpleNamespace(kind="service", name=n, tasks=t) for n, t in tasks.items()])


NODES = [node("n1", resources={"GPU": 2}), node("n2")]
# id: (service, what the plan says of its tasks, nodes, whether all services count, nodes that need the image)
NEEDS = {
    "everywhere": (service("a"), "start", NODES, False, {"n1", "n2"}),
    "a change that starts no task": (service("a"), "stay", NODES, False, set()),
    "no change": (service("a"), None, NODES, False, set()),
    "no change, but all count": (service("a"), None, NODES, True, {"n1", "n2"}),
    "placed": (service("a", ["node.labels.gpufleet.host==n2"]), "start", NODES, False, {"n2"}),
    "kept off": (service("a", ["node.hostname!=n2.lan"]), "restart", NODES, False, {"n1"}),
    "drained": (service("a"), "start", [NODES[0], node("n2", availability="drain")], False, {"n1"}),
    "down": (service("a"), "start", [NODES[0], node("n2", state="down")], False, {"n1"}),
    "claims a card": (service("a", gpus=1), "start", NODES, False, {"n1"}),
    "claims more than there are": (service("a", gpus=3), "start", NODES, False, set()),
    "scaled to none": (
        service("a", mode={"Replicated": {"Replicas": 0}}), "start", NODES, True, set(),
    ),
    "a job": (service("a", mode={"ReplicatedJob": {}}), "run", NODES, False, {"n1", "n2"}),
    "a node without our label": (service("a"), "start", [node("n1", labels={})], False, {"n1.lan"}),
}  # fmt: skip


@pytest.mark.parametrize("name", NEEDS)
def test_the_nodes_that_need_an_image(name):
    wanted, tasks, nodes, everything, expected = NEEDS[name]
    plan = planned(**({"s": tasks} if tasks else {}))
    assert set(supply.needed({"s": wanted}, plan, nodes, everything)) == expected


def test_a_node_needs_each_image_once():
    services = {"a": service("x:1"), "b": service("x:1"), "c": service("y:1")}
    assert supply.needed(services, planned(a="start", b="start"), [NODES[0]], False) == {"n1": ["x:1"]}


# Who cannot get them


class Engine:
    """An Engine with some images, and registries that refuse or do not answer."""

    def __init__(self, present=(), refused=(), broken=()):
        self.present, self.refused, self.broken = present, refused, broken
        self.asked = []

    def get(self, path, image="", **_more):
        if path.startswith("/images/"):
            if image in self.present:
                return {"Id": f"sha256:{image}", "RootFS": {"Layers": [image]}}
            raise EngineError("The Docker Engine refused to read", path, 404, "No such image")
        self.asked.append(image)
        if image in self.broken:
            raise EngineError("The Docker Engine refused to read", path, 500, "dial tcp: i/o timeout")
        if image in self.refused:
            raise EngineError("The Docker Engine refused to read", path, 403, "manifest unknown.")
        return {}


IMAGES = ["a:1", "b:1", "reg.test/c:1", "reg.test/d:1"]
# id: (what is asked for, whom the Engine asks)
ASKED = {
    "never": [],
    "sparingly": ["b:1", "reg.test/c:1", "reg.test/d:1"],
    "missing": ["b:1", "reg.test/c:1", "reg.test/d:1"],
    "all": IMAGES,
}


@pytest.mark.parametrize("ask", ASKED)
def test_registries_are_asked_no_more_than_needed(ask):
    engine = Engine(present=["a:1"])
    found = _image_store.look(engine, IMAGES, ask)
    assert engine.asked == ASKED[ask]
    assert found["a:1"]["present"] and not found["b:1"]["present"]


def test_docker_hub_is_asked_for_one_image_and_others_for_all():
    engine = Engine(refused=["reg.test/d:1"])
    found = _image_store.look(engine, IMAGES, "sparingly")
    assert engine.asked == ["a:1", "reg.test/c:1", "reg.test/d:1"]
    assert [found[image]["obtainable"] for image in IMAGES] == [True, None, True, False]
    assert found["reg.test/d:1"]["cause"] == "manifest unknown"


def test_a_registry_that_does_not_answer_is_asked_once():
    engine = Engine(broken=["reg.test/c:1"])
    found = _image_store.look(engine, IMAGES, "missing")
    assert engine.asked == ["a:1", "b:1", "reg.test/c:1"]
    assert found["reg.test/d:1"]["cause"] == found["reg.test/c:1"]["cause"] == "dial tcp: i/o timeout"


def answers(*engines):
    looks = [_image_store.look(engine, IMAGES, "sparingly") for engine in engines]
    return [
        {"__images_node": f"n{number}", "engine": True, "images": look}
        for number, look in enumerate(looks, 1)
    ]


def test_what_none_asked_docker_hub_for_one_asks_for_all():
    assert _images.left(answers(Engine(), Engine())) == {"node": "n1", "images": ["b:1"]}
    # The second asks for b:1 by itself, as it has a:1.
    assert _images.left(answers(Engine(), Engine(present=["a:1"])))["images"] == []
    refusal = {"b:1": {"present": False, "obtainable": False, "cause": "manifest unknown"}}
    assert _images.refused(answers(Engine(), Engine()), refusal) == [
        "n1 cannot get b:1 - manifest unknown", "n2 cannot get b:1 - manifest unknown",
    ]  # fmt: skip


def test_a_node_that_has_an_image_need_not_get_it():
    for_all = {"b:1": {"present": False, "obtainable": True, "cause": None}}
    found = answers(
        Engine(refused=["reg.test/c:1"]), Engine(present=["reg.test/c:1"], refused=["reg.test/c:1"])
    )
    assert _images.refused(found, for_all) == ["n1 cannot get reg.test/c:1 - manifest unknown"]
    for answer in found:
        answer["engine"] = False  # a dry run on a bare host
    assert _images.refused(found, {}) == []


def test_who_found_it_out_is_no_matter():
    asks_a, asks_b = Engine(), Engine(present=["a:1"])
    for found in (answers(asks_a, asks_b), answers(asks_b, asks_a)):
        assert _images.refused(found, {}) == []


# Archives


def layer(text):
    return text.encode() * 100


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def archive(path, images, links=()):
    """Write an archive of {name: [texts of layers]}; links: of layers to others, as Engine 20.10 has them."""
    with tarfile.open(path, "w") as tar:
        entries, done = [], set()

        def add(name, data):
            if name not in done:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                done.add(name)

        for name, layers in images.items():
            config = json.dumps({"os": "linux", "rootfs": {"diff_ids": [digest(layer(t)) for t in layers]}})
            add(f"{digest(config.encode())[7:]}.json", config.encode())
            entries.append(
                {
                    "Config": f"{digest(config.encode())[7:]}.json",
                    "RepoTags": [name],
                    "Layers": [f"{text}/layer.tar" for text in layers],
                }
            )
            for text in layers:
                if text in dict(links):
                    info = tarfile.TarInfo(f"{text}/layer.tar")
                    info.type, info.linkname = tarfile.SYMTYPE, f"../{dict(links)[text]}/layer.tar"
                    tar.addfile(info)
                else:
                    add(f"{text}/layer.tar", layer(text))
        add("manifest.json", json.dumps(entries).encode())
    return path


def parts(archive, image, known):
    """Return {name: size} of the files in a part."""
    file = io.BytesIO()
    archive.part(image, ["x"], known, file)
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        return {member.name: member.size for member in tar}


def test_an_archive_is_sent_without_what_the_node_has(tmp_path):
    path = archive(
        tmp_path / "a.tar", {"one:1": ["base", "one"], "two:1": ["base", "two"], "three:1": ["two"]}
    )
    with Archive(path) as found:
        one, two, three = (found.named()[f"{name}:1"] for name in ("one", "two", "three"))
        assert set(parts(found, one, set())) == {
            "base/layer.tar",
            "one/layer.tar",
            one.config,
            "manifest.json",
        }
        known = prefixes([one.layers])
        assert set(parts(found, two, known)) == {"two/layer.tar", two.config, "manifest.json"}
        # The same layer upon others is another one to the Engine.
        assert "two/layer.tar" in parts(found, three, prefixes([two.layers]))
        assert set(parts(found, one, known)) == {one.config, "manifest.json"}


def test_links_of_old_archives_are_followed(tmp_path):
    path = archive(tmp_path / "a.tar", {"one:1": ["base"], "two:1": ["same"]}, links=[("same", "base")])
    with Archive(path) as found:
        assert parts(found, found.named()["two:1"], set())["same/layer.tar"] == len(layer("base"))


def test_an_image_is_the_same_by_its_id_or_where_that_is_another_digest_by_its_layers(tmp_path):
    with Archive(archive(tmp_path / "a.tar", {"one:1": ["base"]})) as found:
        image = found.named()["one:1"]
    there = {"present": True, "id": image.id, "layers": image.layers}
    assert same(image, there, True) and same(image, {**there, "id": "sha256:other"}, False)
    assert not same(image, {**there, "id": "sha256:other"}, True)
    assert not same(image, {**there, "present": False}, True)


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(FleetError, match=r"There is no archive of images \(.*set fleet_images_archive"):
        Archive(tmp_path / "none.tar").__enter__()
    for number, content in enumerate((b"", b"x" * 2000)):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        with pytest.raises(FleetError, match="wanted an uncompressed tar file as playbooks/save_images.yml"):
            Archive(path).__enter__()


# Logins

LOGIN = {"registry": "reg.test:5000", "username": "fleet", "password": "hunter2"}
HELD = {"auths": {"reg.test:5000": {"auth": "ZmxlZXQ6aHVudGVyMg=="}}}


def test_a_login_is_written_once_and_leaves_others_alone():
    others = {"auths": {"ghcr.io": {"auth": "eA=="}}, "detachKeys": "ctrl-q"}
    document, actions = _logins.apply(others, [LOGIN])
    assert actions == {"reg.test:5000": "create"}
    assert document == {"auths": {**others["auths"], **HELD["auths"]}, "detachKeys": "ctrl-q"}
    assert _logins.apply(document, [LOGIN]) == (document, {})
    _changed, actions = _logins.apply(document, [{**LOGIN, "password": "other"}])
    assert actions == {"reg.test:5000": "update"}
    forgotten = _logins.apply(document, [], ["reg.test:5000", "gone.test"])
    assert forgotten == (others, {"reg.test:5000": "remove"})


def test_docker_hub_has_the_name_that_the_docker_command_gives_it():
    document, actions = _logins.apply({}, [{**LOGIN, "registry": "docker.io"}])
    assert list(document["auths"]) == ["https://index.docker.io/v1/"] and actions == {"docker.io": "create"}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"auths": 1}'])
def test_a_file_that_is_none_of_docker_login_is_not_overwritten(content):
    with pytest.raises(FleetError, match=r"Cannot read the file of docker login \(/x\)"):
        _logins.parse(content, "/x")


def test_logins_that_the_docker_command_would_not_find_are_told():
    assert _logins.elsewhere({"credsStore": "pass"}, [LOGIN]) == ["reg.test:5000"]
    assert _logins.elsewhere({"credHelpers": {"ghcr.io": "x"}}, [LOGIN]) == []


def test_a_password_is_known_by_its_hash_though_that_is_another_each_time():
    first, second = _logins.hashed("hunter2"), _logins.hashed("hunter2")
    assert first != second and first.startswith("$2") and len(first) == 60
    assert _logins.knows(f"fleet:{first}", "fleet", "hunter2")
    for line in (f"fleet:{first}", f"other:{second}", "fleet:plain", ""):
        assert not _logins.knows(line, "fleet", "hunter3")
    with pytest.raises(FleetError, match="found 73 bytes, wanted at most 72 bytes"):
        _logins.hashed("x" * 73)


# What is refused before any host is contacted


@pytest.mark.parametrize(
    ("host", "problems"),
    [
        ("w2", []),
        (
            "nobody",
            [
                "No node can serve the fleet's registry (every host): found fleet_registry_host nobody, "
                "wanted m1, w1, w2, set fleet_registry_host."
            ],
        ),
    ],
    ids=["a node", "a stranger"],
)
def test_the_registry_is_on_a_node_of_the_fleet(host, problems):
    option = {"fleet_registry_host": {"type": "str", "default": ""}}
    specs = {**SPECS, "fleet": {**SPECS["fleet"], **option}}
    assert find(variables=everywhere(fleet_registry_host=host), specs=specs) == problems

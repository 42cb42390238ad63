# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From files to the model: content, dialect, profiles, dependencies, and what a file as a whole may be."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

WEB = "services: {web: {image: a}}\n"


def read(files):
    def read_file(path):
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return read_file


def loaded(text, environment=None, secret_names=(), files=None, project_dir="/p", **more):
    return load(
        [("stack.yml", text)], environment or {}, secret_names, read(files or {}), project_dir, **more
    )


def failure(*args, **kwargs):
    with pytest.raises(ComposeError) as caught:
        loaded(*args, **kwargs)
    return caught.value


WHOLE = [
    ("", "A Compose file is not a mapping", None),
    ("- a", "A Compose file is not a mapping", None),
    ("just text", "A Compose file is not a mapping", None),
    ("services: {}", "A stack has no services", "services"),
    ("networks: {n: }", "A stack has no services", "services"),
    ("services: [a]", "A value does not fit", "services"),
    ("services: {web: }", "A value does not fit", "services.web"),
    ("services: {web: {tty: true}}", "A service has no image", "services.web"),
    ("services: {web: {image: ''}}", "A value is empty", "services.web.image"),
    ("services: {a.b: {image: a}}", "A service has a name that Swarm cannot use", 'services["a.b"]'),
    (WEB + "foo: 1", "Unknown key", "foo"),
    (WEB + "include: [a]", "Files are not included from files", "include"),
    (WEB + "networks: {'a b': }", "A name has characters that cannot be used", 'networks["a b"]'),
    (
        WEB + "networks: {n: {driver: bridge}}",
        "Services cannot use a network that lives on one node",
        "networks.n.driver",
    ),
    (
        WEB + "networks: {n: {enable_ipv4: false}}",
        "Swarm's networks always have IPv4",
        "networks.n.enable_ipv4",
    ),
    (WEB + "volumes: {v: {external: true, driver: d}}", "An external object is described here", "volumes.v"),
    (WEB + "volumes: {v: {external: {name: a}, name: b}}", "An external object is named twice", "volumes.v"),
    (WEB + "configs: {c: {}}", "An object has no content", "configs.c"),
    (WEB + "configs: {c: }", "A value does not fit", "configs.c"),
    (WEB + "configs: {c: {file: a, content: b}}", "The content comes from several places", "configs.c"),
    (WEB + "configs: {c: {file: nope}}", "A file does not exist", "configs.c.file"),
    (WEB + "configs: {c: {content: ''}}", "The Engine does not store a config of that size", "configs.c"),
    (WEB + "configs: {c: {content: $S}}", "A secret variable cannot be used here", "configs.c.content"),
    (
        WEB + "configs: {c: {environment: S}}",
        "A config would hold a secret, and configs can be read by anyone",
        "configs.c",
    ),
    (WEB + "configs: {c: {environment: NOPE}}", "Variable NOPE is not defined", "configs.c.environment"),
    (WEB + "secrets: {s: {content: a}}", "Unknown key", "secrets.s.content"),
    (WEB + "secrets: {s: {file: big}}", "The Engine does not store a secret of that size", "secrets.s"),
    (WEB + "secrets: {s: {file: a, driver: d}}", "The content comes from several places", "secrets.s"),
    (WEB + "secrets: {s: {environment: S}}", "The value of a secret variable is not at hand", "secrets.s"),
]


@pytest.mark.parametrize(("text", "what", "path"), WHOLE, ids=[row[0] for row in WHOLE])
def test_refused(text, what, path):
    found = failure(text, secret_names=["S"], files={"/p/big": b"x" * 512000})
    assert (found.what, found.path) == (what, path)


def test_nothing_at_all():
    with pytest.raises(ComposeError, match="A stack has no definition"):
        load([], {}, [], None, "/")


def test_top_level_extras():
    model = loaded(WEB + "version: '3.8'\nname: other\nx-notes: {a: '$ not looked at'}\n")
    assert [entry["path"] for entry in model.report.ignored] == ["version", "name"]


def test_content_of_configs():
    files = {"/p/c.conf": b"\xff\x00", "/abs": b"abs", "/h/c": b"home"}
    text = WEB + (
        "configs: {a: {file: ./c.conf}, b: {file: /abs}, c: {content: 'hi ${N}'}, d: {environment: N}, "
        "e: {file: ~/c}, f: {external: true, name: real}}"
    )
    configs = loaded(text, {"N": 5, "HOME": "/h"}, files=files).configs
    assert {key: entry.get("data") for key, entry in configs.items()} == {
        "a": b"\xff\x00",
        "b": b"abs",
        "c": b"hi 5",
        "d": b"5",
        "e": b"home",
        "f": None,
    }


def test_content_of_secrets_stays_apart():
    text = (
        WEB
        + "secrets: {a: {file: pw}, b: {environment: S}, c: {environment: N}, d: {external: true}, "
        + "e: {driver: v}}"
    )
    model = loaded(text, {"N": "n", "S": "\x02S\x03"}, {"S": "geheim"}, {"/p/pw": b"hunter2"})
    assert {key: base64.b64decode(value) for key, value in model.secret_values.items()} == {
        "secret:a": b"hunter2",
        "secret:b": b"geheim",
        "secret:c": b"n",
    }
    assert "hunter2" not in repr(model.secrets)
    assert "geheim" not in repr(model.secrets)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        IsADirectoryError(21, "Is a directory"),
        FleetError("Cannot decrypt"),
    ],
)
def test_files_that_cannot_be_read(error):
    def read_file(path):
        raise error

    with pytest.raises(ComposeError) as caught:
        load([("f", WEB + "secrets: {s: {file: pw}}")], {}, [], read_file, "/p")
    assert (caught.value.what, caught.value.found) == ("Cannot read a file", "/p/pw")


def test_a_problem_in_an_environment_file_has_its_line():
    found = failure("services: {web: {image: a, env_file: e}}", files={"/p/e": b"A=1\nB='x"})
    assert (found.file, found.line, found.what) == ("/p/e", 2, "A quote is not closed")


def test_environment_files_in_order_and_told():
    text = "services: {web: {image: a, env_file: [e, f], environment: {C: own, H: , U: }}}"
    model = loaded(text, {"H": "host"}, files={"/p/e": b"A=1\nB='1'", "/p/f": b"B=2\nC=2\nH=f"})
    assert model.services["web"]["environment"] == {"A": "1", "B": "2", "C": "own", "H": "host", "U": None}
    assert [entry["path"] for entry in model.report.translations] == ["services.web.env_file[0]"]


def test_an_empty_variable_stays_empty():
    text = "services: {web: {image: a, environment: {H: ''}}}"
    assert loaded(text, {"H": "host"}).services["web"]["environment"] == {"H": ""}


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"A": ["x"]}, "A variable is not text"),
        ({"A": "\x02B\x03"}, "A variable has a control character that stands for secrets"),
    ],
)
def test_variables_that_are_none(environment, what):
    assert failure(WEB, environment).what == what


TRANSLATED = [
    ("restart: always", {"restart_policy": {"condition": "any"}}),
    ("restart: unless-stopped", {"restart_policy": {"condition": "any"}}),
    ("restart: 'no'", {"restart_policy": {"condition": "none"}}),
    ("restart: no", {"restart_policy": {"condition": "none"}}),
    ("restart: on-failure", {"restart_policy": {"condition": "on-failure"}}),
    ("restart: on-failure:3", {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}),
    ("scale: 3", {"replicas": 3}),
    ("scale: 0", {"replicas": 0}),
    ("cpus: 0.5", {"resources": {"limits": {"cpus": 500_000_000}}}),
    ("mem_limit: 1g", {"resources": {"limits": {"memory": 2**30}}}),
    ("mem_reservation: 1k", {"resources": {"reservations": {"memory": 1024}}}),
    ("pids_limit: 100", {"resources": {"limits": {"pids": 100}}}),
    (
        "mem_limit: 1g, deploy: {resources: {limits: {memory: 1024m}}}",
        {"resources": {"limits": {"memory": 2**30}}},
    ),
    ("gpus: [{count: 2}, {count: 1, capabilities: [gpu]}]", {"resources": {"reservations": {"gpus": 3}}}),
    (
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}}",
        {"resources": {"reservations": {"gpus": 1}}},
    ),
]


@pytest.mark.parametrize(("text", "deploy"), TRANSLATED, ids=[row[0] for row in TRANSLATED])
def test_translated_to_deploy(text, deploy):
    model = loaded(f"services: {{web: {{image: a, {text}}}}}")
    assert model.services["web"]["deploy"] == deploy


@pytest.mark.parametrize(
    ("text", "mounts"),
    [
        ("shm_size: 1g", [{"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 2**30}}]),
        ("shm_size: 1024", [{"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 1024}}]),
        ("tmpfs: /run", [{"type": "tmpfs", "target": "/run"}]),
        (
            "tmpfs: ['/run:size=64m,mode=1777,noexec', '/t:ro']",
            [
                {"type": "tmpfs", "target": "/run", "tmpfs": {"size": 64 * 2**20, "mode": 0o1777}},
                {"type": "tmpfs", "target": "/t", "read_only": True},
            ],
        ),
    ],
)
def test_translated_to_mounts(text, mounts):
    model = loaded(f"services: {{web: {{image: a, {text}}}}}")
    assert model.services["web"]["volumes"] == mounts
    assert len(model.report.translations) == len(mounts)


PROFILED = "services: {web: {image: a}, dbg: {image: b, profiles: [debug, x]}}"


@pytest.mark.parametrize(
    ("profiles", "keys"),
    [((), ["web"]), (("debug",), ["web", "dbg"]), (("*",), ["web", "dbg"]), (("other",), ["web"])],
)
def test_profiles(profiles, keys):
    model = loaded(PROFILED, profiles=profiles)
    assert list(model.services) == keys
    assert [entry["path"] for entry in model.report.ignored] == ([] if "dbg" in keys else ["services.dbg"])


DEPENDENT = "services: {web: {image: a, depends_on: {db: {condition: %s%s}}}, db: {image: b%s}}"


@pytest.mark.parametrize(
    ("keys", "ignored"),
    [
        ("x-replicas: keep", []),
        ("x-replicas: keep, deploy: {mode: global}", ["services.web.x-replicas"]),
        ("x-replicas: file, deploy: {mode: replicated-job}", []),
    ],
)
def test_whose_business_scaling_is(keys, ignored):
    model = loaded(f"services: {{web: {{image: a, {keys}}}}}")
    assert [entry["path"] for entry in model.report.ignored] == ignored
    assert model.services["web"]["x-replicas"] in ("keep", "file")


def test_scaling_is_of_the_file_or_kept():
    error = failure("services: {web: {image: a, x-replicas: 3}}")
    assert "services.web.x-replicas" in str(error)
    error = failure("services: {web: {image: a, x-replicas: maybe}}")
    assert "wanted file or keep" in str(error)


def test_a_service_that_is_waited_for_to_complete_becomes_a_job():
    model = loaded(DEPENDENT % ("service_completed_successfully", "", ", restart: on-failure"))
    assert model.services["db"]["deploy"]["mode"] == "replicated-job"
    assert "services.db" in [entry["path"] for entry in model.report.translations]


@pytest.mark.parametrize(
    ("condition", "extra", "db", "what"),
    [
        (
            "service_completed_successfully",
            "",
            ", deploy: {mode: replicated}",
            "A service that never ends cannot be waited for",
        ),
        (
            "service_healthy",
            "",
            ", healthcheck: {disable: true}",
            "The health of a service without a check cannot be waited for",
        ),
        ("service_started", "", ", profiles: [p]", "A service depends on one that is not there"),
    ],
)
def test_dependencies_that_cannot_be(condition, extra, db, what):
    assert failure(DEPENDENT % (condition, extra, db)).what == what


def test_a_dependency_that_may_be_missing():
    model = loaded(DEPENDENT % ("service_started", ", required: false", ", profiles: [p]"))
    assert model.services["web"]["depends_on"] == {}


def test_problems_of_all_services_and_objects_are_told_together():
    found = failure(
        "services: {a: {tty: true}, b: {image: x, env_file: nope}}\nconfigs: {c: {file: nope}}\n"
        "secrets: {s: {file: nope}}"
    )
    assert [entry.path for entry in found.problems] == [
        "services.a",
        "services.b.env_file[0]",
        "configs.c.file",
        "secrets.s.file",
    ]

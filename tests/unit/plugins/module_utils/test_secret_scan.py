# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search of a host, on files, a journal, processes and an Engine that are made up."""

from __future__ import annotations

import base64
import gzip
import io
import os

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secret_scan, _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

SECRET = "kZ3nQ8sT1vB6mW0xR5yL2cD7fG4hJ9pA0uE8iO3q"
PATTERNS = {"app/key": _secrets.patterns(SECRET.encode())}
DATA = base64.b64encode(f"a {SECRET}".encode()).decode()
SERVICE, CONTAINER = "app_web", "c" * 64


@pytest.fixture
def scan():
    return _secret_scan.Scan(_secret_scan.Finder(PATTERNS), {SERVICE: {"KEY": "app/key"}})


def found(scan):
    result = scan.result()
    assert all(row["secret"] == "app/key" for row in result["findings"] + result["declared"])
    assert SECRET not in str(result)
    return [row["place"] for row in result["findings"]]


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_stream_is_searched_across_its_pieces(monkeypatch, cut):
    monkeypatch.setattr(_secret_scan, "CHUNK", 50)
    stream = io.BytesIO(b"-" * cut + SECRET.encode() + b"-" * 90)
    hits = list(_secret_scan.Finder(PATTERNS).stream(stream.read))
    assert [name for name, _window, _place in hits] == ["app/key"]


def test_files_that_others_may_read(scan, tmp_path):
    loose = write(tmp_path / "a" / "loose", f"password={SECRET}\n")
    write(tmp_path / "a" / "tight", f"password={SECRET}\n", 0o600)
    write(tmp_path / "a" / "innocent", "password=none\n")
    group = write(tmp_path / "b" / "group", base64.b64encode(SECRET.encode()), 0o640)
    write(tmp_path / "skipped" / "loose", SECRET)
    large = write(tmp_path / "large", SECRET + "x" * 200)
    (tmp_path / "link").symlink_to(loose)
    os.mkfifo(tmp_path / "pipe", 0o644)
    scan.files([str(tmp_path), str(tmp_path / "gone")], [str(tmp_path / "skipped")], 200, logs="/none")
    assert found(scan) == [f"file {loose}, mode 0644", f"file {group}, mode 0640"]
    assert scan.result()["unread"] == [f"{large}: larger than 0 MiB"]
    assert scan.result()["searched"]["files"] == 3


def test_logs_are_searched_whatever_their_mode(scan, tmp_path):
    plain = write(tmp_path / "log" / "app.log", f"key {SECRET}\n", 0o600)
    old = write(tmp_path / "log" / "app.log.1.gz", gzip.compress(f"key {SECRET}\n".encode()), 0o600)
    broken = write(tmp_path / "log" / "bad.gz", "no gzip", 0o600)
    scan.files([str(tmp_path)], [], 1 << 20, logs=str(tmp_path / "log"))
    assert found(scan) == [f"log {plain}, mode 0600", f"log {old}, mode 0600"]
    assert [text.partition(":")[0] for text in scan.unread] == [str(broken)]


def program(tmp_path, monkeypatch, text):
    path = write(tmp_path / "journalctl", f"#!/bin/sh\n{text}\n", 0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_the_journal_tells_whose_entry_it_is(scan, tmp_path, monkeypatch):
    first = "__CURSOR=a\nSYSLOG_IDENTIFIER=sshd\nMESSAGE=fine\n\n"
    second = f"__CURSOR=b\nMESSAGE=token {SECRET}\n_COMM=python3\nSYSLOG_IDENTIFIER=app\n\n"
    write(tmp_path / "entries", first + second + first)
    program(tmp_path, monkeypatch, f'[ "$4" = --since=yesterday ] && cat {tmp_path}/entries')
    scan.journal("yesterday")
    assert found(scan) == ["journal, an entry of app"]
    assert scan.unread == []


def test_a_journal_that_cannot_be_read_is_told(scan, tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "echo no journal >&2; exit 1")
    scan.journal("")
    assert scan.unread == ["journal: no journal"]
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    scan.journal("")
    assert scan.unread[1] == "journal: journalctl, No such file or directory"


def test_processes_are_told_by_program_and_service(scan, tmp_path):
    write(tmp_path / "1" / "cmdline", "/sbin/init\0")
    write(tmp_path / "20" / "cmdline", f"/usr/bin/redis-server\0--requirepass\0{SECRET}\0")
    write(tmp_path / "20" / "cgroup", f"0::/system.slice/docker-{CONTAINER}.scope\n")
    write(tmp_path / "30" / "cmdline", f"{SECRET}\0")
    write(tmp_path / "30" / "cgroup", "0::/init.scope\n")
    (tmp_path / "40").mkdir()
    scan.processes({CONTAINER: f"service {SERVICE}"}, str(tmp_path))
    assert found(scan) == [
        "command line of a process", f"command line of a process redis-server of service {SERVICE}",
    ]  # fmt: skip
    assert scan.result()["searched"]["processes"] == 3


class Engine:
    """Answers from a table of paths."""

    api_version = (1, 41)

    def __init__(self, **answers):
        self._answers = {path.replace("_", "/"): answer for path, answer in answers.items()}

    def get(self, path, *args, **_params):
        return self._answers[path.format(*args)]


def spec(name, *env, args=()):
    return {"Name": name, "TaskTemplate": {"ContainerSpec": {"Env": list(env), "Args": list(args)}}}


def swarm(**changes):
    empty = {"/services": [], "/tasks": [], "/configs": [], "/secrets": [], "/networks": [], "/nodes": [],
             "/swarm": {"Spec": {"Name": "default"}}}  # fmt: skip
    engine = Engine()
    engine._answers = {**empty, **changes}
    return engine


@pytest.mark.parametrize(
    ("answers", "places"),
    [
        ({"/services": [{"ID": "s", "Spec": spec(SERVICE, f"KEY={SECRET}")}]}, []),
        (
            {"/services": [{"ID": "s", "Spec": spec(SERVICE, f"OTHER={SECRET}")}]},
            ["service app_web, variable OTHER"],
        ),
        (
            {"/services": [{"ID": "s", "Spec": spec("app_db", f"KEY={SECRET}")}]},
            ["service app_db, variable KEY"],
        ),
        (
            {"/services": [{"ID": "s", "Spec": spec(SERVICE, args=["--key", SECRET])}]},
            ["service app_web"],
        ),
        (
            {"/services": [{"ID": "s", "Spec": spec(SERVICE), "PreviousSpec": spec(SERVICE, args=[SECRET])}]},
            ["previous version of service app_web"],
        ),
        (
            {
                "/services": [{"ID": "s", "Spec": spec(SERVICE)}],
                "/tasks": [{"ServiceID": "s", "Spec": {}, "Status": {"Err": f"bad {SECRET}"}}],
            },
            ["task of service app_web"],
        ),
        (
            {"/configs": [{"Spec": {"Name": "c", "Data": DATA}}]},
            ["config c"],
        ),
        ({"/networks": [{"Name": "n", "Labels": {"a": SECRET}}]}, ["network n"]),
        (
            {"/nodes": [{"ID": "i", "Spec": {"Labels": {"a": SECRET}}, "Description": {"Hostname": "m1"}}]},
            ["node m1"],
        ),
        ({"/secrets": [{"Spec": {"Name": "s", "Labels": {SECRET: "a"}}}]}, ["secret s"]),
    ],
)
def test_what_the_swarm_tells(scan, answers, places):
    scan.swarm(swarm(**answers))
    assert found(scan) == places
    expected = [] if places else [{"place": "service app_web, variable KEY", "secret": "app/key"}]
    assert scan.result()["declared"] == expected


class Answer(io.BytesIO):
    status = 200


def test_a_declared_variable_may_have_the_value_before_a_rotation():
    patterns = {"app/key.previous": PATTERNS["app/key"]}
    scan = _secret_scan.Scan(_secret_scan.Finder(patterns), {SERVICE: {"KEY": "app/key"}})
    scan.swarm(swarm(**{"/services": [{"ID": "s", "Spec": spec(SERVICE, f"KEY={SECRET}")}]}))
    assert scan.result()["findings"] == []
    assert len(scan.result()["declared"]) == 1


def test_containers_and_their_logs(scan, monkeypatch):
    logs = {CONTAINER: Answer(f"starting\npassword {SECRET}\n".encode()), "d" * 64: Answer(b"no reader")}
    logs["d" * 64].status = 501

    class Connection:
        def __init__(self, path, timeout):
            assert path == "/the/socket"

        def request(self, method, url):
            self.answer = logs[url.split("/")[3]]

        def getresponse(self):
            return self.answer

        def close(self):
            pass

    monkeypatch.setattr(_secret_scan, "SocketConnection", Connection)
    labels = {"com.docker.swarm.service.name": SERVICE}
    containers = {
        CONTAINER: {"Name": "/app_web.1", "Config": {"Labels": labels, "Env": [f"KEY={SECRET}", "A=1"]}},
        "d" * 64: {"Name": "/alone", "Config": {"Cmd": ["sh", "-c", f"login {SECRET}"]}},
    }
    engine = swarm(**{"/containers/json": [{"Id": identity} for identity in containers]})
    engine._answers.update({f"/containers/{one}/json": value for one, value in containers.items()})
    assert scan.containers(engine, "/the/socket") == {
        CONTAINER: f"service {SERVICE}", "d" * 64: "container alone",
    }  # fmt: skip
    assert found(scan) == ["container alone", f"log of service {SERVICE}"]
    assert scan.result()["declared"] == [
        {"place": f"container of service {SERVICE}, variable KEY", "secret": "app/key"}
    ]
    assert scan.unread == ["log of container alone: no reader"]


def test_a_log_whose_engine_goes_away_is_told(scan, tmp_path):
    containers = [{"Id": CONTAINER}]
    engine = swarm(**{"/containers/json": containers})
    engine._answers[f"/containers/{CONTAINER}/json"] = {"Name": "/x", "Config": {}}
    scan.containers(engine, str(tmp_path / "none"))
    assert scan.unread == ["log of container x: [Errno 2] No such file or directory"]


def test_pseudo_file_systems_are_left_out(tmp_path):
    mounts = write(tmp_path / "mounts", "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n"
                   "/dev/sda1 /srv ext4 rw 0 0\noverlay /var/lib/x\\040y overlay rw 0 0\n")  # fmt: skip
    assert _secret_scan.pseudo_mounts(str(mounts)) == {"/proc", "/var/lib/x y"}


@pytest.mark.parametrize("sent", [None, {"a": ["no base64!"]}, {"a": 1}])
def test_fragments_that_make_no_sense_are_refused(sent):
    with pytest.raises(FleetError):
        _secret_scan.parse_patterns(sent)


def test_the_engines_own_folder_is_left_out_but_for_volumes():
    roots, skip = _secret_scan.folders(["/etc"], "/data/docker")
    assert roots == ["/etc", "/data/docker/volumes"]
    assert "/data/docker" in skip

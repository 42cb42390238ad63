# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of an Engine, over real sockets to a server that answers as told."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import engine as engines


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "a unix socket"  # which has no address

    def log_message(self, *_words):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        server = self.server
        server.seen.append((self.command, self.path, body, dict(self.headers)))
        reply = server.replies.get(self.path.partition("?")[0], (404, b'{"message": "page not found"}'))
        if reply == "hang up":
            self.close_connection = True
            return
        status, content = reply
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        # As an Engine that restarts: what comes next on this connection finds nobody.
        self.close_connection = server.hangs_up_after_answers

    do_GET = do_POST = do_DELETE = answer


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


def started(server):
    server.seen, server.hangs_up_after_answers = [], False
    server.replies = {"/version": (200, b'{"ApiVersion": "1.45"}')}
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def server(tmp_path):
    with started(UnixServer(str(tmp_path / "engine.sock"), Handler)) as made:
        made.url = f"unix://{tmp_path}/engine.sock"
        yield made
        made.shutdown()


def test_calls_go_out_at_the_engines_own_version(server):
    engine = engines.connect(server.url)
    server.replies.update(
        {
            "/v1.45/services": (200, b'[{"ID": "a"}]'),
            "/v1.45/distribution/reg.test:5000/a/b:1/json": (200, b"{}"),
            "/v1.45/services/create": (201, b'{"ID": "b"}'),
            "/v1.45/services/b/update": (200, b""),
            "/v1.45/services/b": (200, b""),
        }
    )
    assert engine.api_version == (1, 45)
    assert engine.get("/services", filters={"label": ["a=b c"]}, status="true") == [{"ID": "a"}]
    assert engine.get("/distribution/{0}/json", "reg.test:5000/a/b:1", registry_auth="QQ==") == {}
    assert engine.post("/services/create", data={"Name": "é"}) == {"ID": "b"}
    assert engine.post("/services/{0}/update", "b", data={}, version=7, registry_auth="Qg==") is None
    assert engine.delete("/services/{0}", "b") is True
    assert (engine.reads, engine.writes) == (2, 3)
    listed, distribution, created, updated, _deleted = server.seen[1:]
    assert listed[1] == ("/v1.45/services?filters=%7B%22label%22%3A+%5B%22a%3Db+c%22%5D%7D&status=true")
    assert distribution[3]["X-Registry-Auth"] == "QQ==" and "registry_auth" not in distribution[1]
    assert json.loads(created[2]) == {"Name": "é"} and created[3]["Content-Type"] == "application/json"
    assert "X-Registry-Auth" not in created[3]
    assert updated[1].endswith("/update?version=7") and updated[3]["X-Registry-Auth"] == "Qg=="


def test_a_refusal_has_its_status_and_reason(server):
    engine = engines.connect(server.url)
    server.replies["/v1.45/services/create"] = (400, b'{"message": "port 80 is taken"}')
    with pytest.raises(engines.EngineError) as caught:
        engine.post("/services/create", data={})
    assert (caught.value.status, caught.value.cause) == (400, "port 80 is taken")
    assert str(caught.value) == "The Docker Engine refused to write (/services/create) - port 80 is taken."
    assert engine.delete("/services/{0}", "gone") is False
    server.replies["/v1.45/services/x"] = (503, b"<html>no leader</html>")
    with pytest.raises(engines.EngineError, match="no leader") as caught:
        engine.delete("/services/{0}", "x")
    assert caught.value.transient


def test_an_idle_connection_that_was_closed_is_no_failure_of_a_read(server):
    engine = engines.connect(server.url)
    server.replies["/v1.45/nodes"] = (200, b"[]")
    server.hangs_up_after_answers = True
    assert [engine.get("/nodes") for _ in range(3)] == [[], [], []]


def test_a_write_without_an_answer_is_not_repeated(server):
    engine = engines.connect(server.url)
    server.replies["/v1.45/services/create"] = "hang up"
    with pytest.raises(engines.EngineError) as caught:
        engine.post("/services/create", data={})
    assert caught.value.status is None and caught.value.transient
    assert [call[0] for call in server.seen] == ["GET", "POST"]
    server.replies["/v1.45/nodes"] = (200, b"[]")
    assert engine.get("/nodes") == []


def test_an_answer_that_is_no_json(server):
    engine = engines.connect(server.url)
    server.replies["/v1.45/nodes"] = (200, b"<html>")
    with pytest.raises(engines.EngineError, match="gave an answer that is no JSON"):
        engine.get("/nodes")


def test_logs_are_a_kindness(server):
    engine = engines.connect(server.url)
    server.replies["/v1.45/tasks/t/logs"] = (200, b"\x01\0\0\0\0\0\0\x08one\ntwo\n")
    assert engine.task_logs("t", 1) == ["two"]
    assert engine.task_logs("gone", 1) == []


def test_tcp_without_tls():
    with started(TcpServer(("127.0.0.1", 0), Handler)) as made:
        assert engines.connect(f"tcp://127.0.0.1:{made.server_address[1]}").api_version == (1, 45)
        made.shutdown()


@pytest.mark.parametrize(
    "address",
    [
        "ssh://me@host",
        "https://host:2376",
        "unix://",
        "/var/run/docker.sock",
        "tcp://",
        "tcp://host:x",
        "npipe:////x",
    ],
)
def test_addresses_that_cannot_be_used(address):
    with pytest.raises(FleetError) as caught:
        engines.connect(address)
    assert str(caught.value) == (
        f"Cannot reach a Docker Engine this way ({address}): wanted unix:///PATH, or tcp://HOST:PORT without "
        "TLS, set docker_host; an Engine behind ssh:// or TLS is reached by making its host that of the task."
    )
    assert not isinstance(caught.value, engines.EngineError)


def test_nobody_there(tmp_path):
    with pytest.raises(engines.NoEngine, match="No Docker Engine answers .unix://.*No such file"):
        engines.connect(f"unix://{tmp_path}/none.sock")


def test_no_permission_is_not_taken_for_a_host_without_docker(monkeypatch):
    def refuse(*_args, **_keys):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(engines, "exchange", refuse)
    with pytest.raises(FleetError, match="set become: true") as caught:
        engines.connect("unix:///run/docker.sock")
    assert not isinstance(caught.value, engines.EngineError)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            (200, b'{"ApiVersion": "1.40"}'),
            "The Docker Engine is too old .*: found API 1.40, wanted API 1.41",
        ),
        ((200, b"<html>"), "No Docker Engine answers"),
        ((200, b"[]"), "No Docker Engine answers"),
        ("hang up", "No Docker Engine answers"),
        ((500, b'{"message": "broken"}'), "refused to read ./version. - broken"),
    ],
)
def test_what_answers_is_no_usable_engine(server, reply, message):
    server.replies["/version"] = reply
    with pytest.raises(FleetError, match=message) as caught:
        engines.connect(server.url)
    assert not isinstance(caught.value, engines.NoEngine)


def test_a_program_in_a_container_tells_its_output_and_exit_code(server):
    engine = engines.connect(server.url)
    frame = b"\x01\0\0\0\0\0\0\x06GPU 0\n" + b"\x02\0\0\0\0\0\0\x04oops"
    server.replies.update(
        {
            "/v1.45/containers/c1/exec": (201, b'{"Id": "e1"}'),
            "/v1.45/exec/e1/start": (200, frame),
            "/v1.45/exec/e1/json": (200, b'{"ExitCode": 3}'),
        }
    )
    assert engine.execute("c1", ["nvidia-smi", "-L"]) == (3, ["GPU 0", "oops"])
    assert json.loads(server.seen[1][2])["Cmd"] == ["nvidia-smi", "-L"] and engine.writes == 0

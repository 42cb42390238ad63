# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running daemon: a process of its name, an HTTP server on a socket, and programs that answer as told."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socketserver
import subprocess
import threading
import time
import urllib.parse

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import engine
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

INFO = {"ServerVersion": "26.1.5+dfsg1", "ContainersRunning": 2, "Swarm": {"LocalNodeState": "inactive"}}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        self.info = INFO
        self.events = []
        super().__init__(path, Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 - the name http.server calls
        url = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/events":
            assert json.loads(query["filters"]) == {"type": ["daemon"], "event": ["reload"]}
            lines = [event for event in self.server.events if event["time"] >= float(query["since"])]
            body = "".join(json.dumps(event) + "\n" for event in lines)
        else:
            body = json.dumps(self.server.info)
        self.send_response(200 if self.server.info else 500)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass

    def address_string(self):
        return "socket"


@pytest.fixture
def server(tmp_path):
    server = Server(str(tmp_path / "docker.sock"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def wait_for(true):
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def process(tmp_path):
    """A process whose name is the daemon's, and its pid file."""
    program = tmp_path / "dockerd"
    shutil.copy(shutil.which("sleep"), program)
    process = subprocess.Popen([str(program), "60"])
    (tmp_path / "docker.pid").write_text(str(process.pid))
    wait_for(lambda: read(f"/proc/{process.pid}/comm") == "dockerd\n")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def daemon(tmp_path):
    return engine.Daemon(f"unix://{tmp_path}/docker.sock", str(tmp_path / "docker.pid"))


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put programs on the path that append their arguments to a log and do what they are told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name, script):
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n{script}\n')
        path.chmod(0o755)
        return str(path)

    make.log = lambda: (tmp_path / "log").read_text().splitlines()
    return make


def test_only_a_unix_socket_will_do():
    with pytest.raises(FleetError) as error:
        engine.Daemon("tcp://127.0.0.1:2375")
    assert str(error.value) == (
        "Cannot talk to the daemon: found tcp://127.0.0.1:2375, wanted a unix socket (unix:///path), "
        "set docker_host."
    )


def test_identity_names_one_run_of_the_daemon(daemon, process, tmp_path):
    found = daemon.identity()
    assert f":{process.pid}:" in found
    assert daemon.identity() == found
    # A stale pid file that some other process has inherited.
    (tmp_path / "docker.pid").write_text(str(os.getpid()))
    assert daemon.identity() is None
    (tmp_path / "docker.pid").write_text("nonsense")
    assert daemon.identity() is None


def test_a_stopped_daemon_is_not_asked(daemon, server):
    # Asking would start it where its socket is activated by systemd.
    assert daemon.identity() is None
    assert daemon.info() is None


def test_info(daemon, server, process):
    assert daemon.info() == INFO
    server.info = None
    assert daemon.info() is None


def test_info_where_nobody_listens(daemon, process):
    assert daemon.info() is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--config-file=/a"], "/a"), (["--config-file", "/b"], "/b"), (["-D"], None)],
)
def test_config_file_of_the_command_line(daemon, tmp_path, arguments, expected):
    # A shell that waits by itself: one that starts a last command may become it, and lose its arguments.
    process = subprocess.Popen(["/bin/sh", "-c", "read line", "x", *arguments], stdin=subprocess.PIPE)
    try:
        # The kernel lets us go on a moment before the new program's command line is in place.
        wait_for(lambda: read(f"/proc/{process.pid}/cmdline"))
        (tmp_path / "docker.pid").write_text(str(process.pid))
        assert daemon.config_file() == expected
    finally:
        process.kill()
        process.wait()


RELOADED = {"debug": "true"}


def test_reload_waits_for_the_event(daemon, server, process, programs, monkeypatch):
    monkeypatch.setattr(engine.Daemon, "can_restart", staticmethod(lambda: True))
    programs("systemctl", "exit 0")
    threading.Timer(
        0.3, lambda: server.events.append({"time": time.time(), "Actor": {"Attributes": RELOADED}})
    ).start()
    assert daemon.reload(10) == RELOADED
    assert programs.log() == ["systemctl reload docker.service"]


def test_reload_that_is_refused(daemon, server, process, programs, monkeypatch):
    monkeypatch.setattr(engine.Daemon, "can_restart", staticmethod(lambda: True))
    programs("systemctl", "exit 0")
    # An event of an earlier reload does not count.
    server.events.append({"time": time.time() - 5, "Actor": {"Attributes": RELOADED}})
    assert daemon.reload(0.5) is None


def test_reload_without_systemd_sends_the_signal(daemon, server, process, monkeypatch):
    monkeypatch.setattr(engine.Daemon, "can_restart", staticmethod(lambda: False))
    sent = []
    monkeypatch.setattr(engine.os, "kill", lambda pid, number: sent.append((pid, number)))
    assert daemon.reload(0.1) is None
    assert sent == [(process.pid, engine.signal.SIGHUP)]


def test_reload_of_a_daemon_that_is_gone(daemon, monkeypatch):
    monkeypatch.setattr(engine.Daemon, "can_restart", staticmethod(lambda: False))
    with pytest.raises(FleetError, match="Cannot reload the daemon"):
        daemon.reload(1)


def test_restart_waits_until_it_is_ready(daemon, server, process, programs):
    programs("systemctl", "exit 0")
    answers = iter([False, False, True])
    assert daemon.restart(10, lambda info: info == INFO and next(answers)) is True
    assert programs.log() == [
        "systemctl reset-failed docker.service docker.socket",
        "systemctl restart docker.service",
    ]


def test_restart_that_never_gets_ready(daemon, server, process, programs):
    programs("systemctl", "exit 0")
    assert daemon.restart(0.5, lambda info: False) is False


def test_restart_that_systemd_reports_as_failed(daemon, server, process, programs):
    programs("systemctl", 'test "$1" = reset-failed')
    assert daemon.restart(60, lambda info: True) is False


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo configuration OK", True),
        ("echo warning; echo 'unable to configure: bad' >&2; exit 1", "unable to configure: bad"),
        ("echo 'Status: unknown flag: --validate' >&2; exit 125", None),
        ("exit 3", "exit status 3"),
    ],
)
def test_validate(programs, script, expected):
    daemon = engine.Daemon(program=programs("dockerd", script))
    assert daemon.validate("/x.json") == expected
    assert programs.log() == ["dockerd --validate --config-file /x.json"]


def test_validate_without_an_engine():
    assert engine.Daemon(program="/nonexistent/dockerd").validate("/x.json") is None


def test_journal(daemon, programs):
    programs("journalctl", "echo one; echo two")
    assert daemon.journal(1800000000.7, 5) == "one\ntwo"
    assert programs.log() == [
        "journalctl --unit docker.service --since @1800000000 --lines 5 --no-pager --output cat"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("20.10.24", (20, 10, 24)),
        ("v29.0.0-rc.2", (29, 0, 0)),
        ("dev", ()),
        (None, ()),
    ],
)
def test_version(text, expected):
    assert engine.version({"ServerVersion": text}) == expected


def test_swarm_facts():
    assert engine.swarm_facts(None) == {"state": None, "node_id": "", "manager": False, "nodes": 0}
    assert engine.swarm_facts(
        {"Swarm": {"LocalNodeState": "active", "NodeID": "x", "ControlAvailable": True, "Nodes": 3}}
    ) == {"state": "active", "node_id": "x", "manager": True, "nodes": 3}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pretended Engine on the loopback interface that writes down what `docker stack deploy` sends to it.

It is a Swarm manager without services. Configs and secrets that are created appear in its lists; any other
one that is asked for by name exists already, as an external object would.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

API = "1.52"  # newer than what any of the clients asks for, so that each speaks its own
KINDS = ("networks", "secrets", "configs", "services")
STACK = "shop"


@dataclass
class Answer:
    """What a client did: whether it was content, what it printed, what it posted by kind and name."""

    accepted: bool
    output: str
    posted: dict[str, dict[str, dict]] = field(default_factory=lambda: {kind: {} for kind in KINDS})


class _Engine(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted = {kind: {} for kind in KINDS}
        self.unexpected = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urlsplit(self.path)
        kind, _slash, name = re.sub(r"^/v[\d.]+", "", url.path).strip("/").partition("/")
        name, posted = unquote(name), self.server.posted
        if kind == "_ping":
            self.answer(200, "OK")
        elif kind == "info":
            self.answer(200, {"Swarm": {"ControlAvailable": True, "LocalNodeState": "active"}})
        elif kind in ("services", "networks") and not name:
            # The stack as it was before.
            self.answer(200, [])
        elif kind == "networks":
            self.answer(200, {"Name": name, "Id": f"id-{name}", "Scope": "swarm", "Driver": "overlay"})
        elif kind in ("secrets", "configs") and name:
            self.answer(404, {"message": f"{name} not found"})
        elif kind in ("secrets", "configs"):
            filters = json.loads(parse_qs(url.query).get("filters", ["{}"])[0])
            names = {*posted[kind], *filters.get("name", ())}
            self.answer(200, [{"ID": f"id-{each}", "Spec": {"Name": each}} for each in sorted(names)])
        else:
            self.refuse()

    def do_POST(self):
        kind, _slash, action = re.sub(r"^/v[\d.]+", "", urlsplit(self.path).path).strip("/").partition("/")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        if kind not in KINDS or action != "create" or body["Name"] in self.server.posted[kind]:
            self.refuse()
            return
        self.server.posted[kind][body["Name"]] = body
        self.answer(201, {"ID": f"id-{body['Name']}", "Id": f"id-{body['Name']}"})

    def refuse(self):
        self.server.unexpected.append(f"{self.command} {self.path}")
        self.answer(500, {"message": "unexpected"})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", API)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def record(program: Path, folder: Path, files=(), text=None, environment=None) -> Answer:
    """Run `docker stack deploy` in a folder and return what it did.

    program      the client
    files, text  names of Compose files in the folder, or the text of one
    environment  its process environment
    """
    engine = _Engine()
    # Looks for the end often, so that closing it does not cost half a second.
    thread = threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    words = [word for file in files or ["-"] for word in ("--compose-file", file)]
    try:
        with tempfile.TemporaryDirectory(prefix="gpufleet-config-") as config:
            run = subprocess.run(
                [program, "--config", config, "stack", "deploy", "--resolve-image", "never", *words, STACK],
                cwd=folder,
                env={"DOCKER_HOST": f"tcp://127.0.0.1:{engine.server_port}", **(environment or {})},
                input=text or "",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
    finally:
        engine.shutdown()
        thread.join()
        engine.server_close()
    if engine.unexpected:
        raise AssertionError(f"The client asked what the recorder does not know: {engine.unexpected}")
    return Answer(run.returncode == 0, run.stdout + run.stderr, engine.posted)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for every image of IMAGE-server: finds and calls services as its orchestrator does.

What it is follows from what it is given:

  DOCKER_HOST      an orchestrator: GET /health, POST /render, POST /render/preprocess, GET
                   /authenticate/ID/SUM. It asks that host which containers run, takes those that share a
                   network with its own (found by HOSTNAME), and goes by their labels; it signs in at the
                   first of MEMCACHE_SERVERS
  ./data.json      a link app: POST /create keeps the body, GET /display/CODE returns it
  otherwise        a service: GET /health, GET /warmup, POST /preprocessor, POST /handler. The name it gives
                   itself is the one it is called by. With /tmp/sc-store, a handler writes there first
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PORTS = (80, 5000, 8080, 57110)
PREFIX = "ca.mcgill.a11y.image."
NAME = "com.docker.compose.service"
TEXT = "ca.mcgill.a11y.image.renderer.Text"
STORE, LOG, CHANNELS = Path("/tmp/sc-store"), Path("/var/log/IMAGE"), Path("data.json")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def on(name: str) -> bool:
    return os.environ.get(name, "").lower() == "on"


# The orchestrator


def containers() -> list[dict]:
    """Return what the Engine behind DOCKER_HOST lists."""
    place = urlsplit(os.environ["DOCKER_HOST"])
    with urllib.request.urlopen(f"http://{place.netloc}/containers/json", timeout=10) as answer:
        return json.load(answer)


def networks(container: dict) -> set[str]:
    return {network["NetworkID"] for network in container["NetworkSettings"]["Networks"].values()}


def services(kind: str, route: str, everywhere: bool = False) -> list[tuple[int, str, int]]:
    """Return (group, name, port) of the running preprocessors or handlers."""
    listed = containers()
    own = [one for one in listed if one["Id"].startswith(os.environ["HOSTNAME"])]
    mine = networks(own[0]) if own else set()
    found = []
    for one in listed:
        labels = one["Labels"]
        value = labels.get(f"{PREFIX}{kind}")
        wanted = value == "enable" if kind == "handler" else value
        routes = (labels.get(f"{PREFIX}route") or "default").split(",")
        if wanted and one["State"] == "running" and route in routes and (everywhere or mine & networks(one)):
            group = int(value) if kind == "preprocessor" else 0
            found.append((group, labels.get(NAME, "undefined"), int(labels.get(f"{PREFIX}port") or 80)))
    return sorted(found)


def call(name: str, port: int, path: str, body: dict) -> dict | None:
    """Return what a service answers, None when it does not."""
    request = urllib.request.Request(
        f"http://{name}:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        print(f"{name}:{port}{path}: {error}")
        return None


def preprocess(data: dict, everywhere: bool) -> dict:
    data.setdefault("preprocessors", {})
    for _group, name, port in services("preprocessor", data.get("route", "default"), everywhere):
        answer = call(name, port, "/preprocessor", data)
        if answer:
            data["preprocessors"][answer["name"]] = answer["data"]
    return data


def render(body: dict) -> dict:
    data = preprocess(dict(body), False)
    renderings = []
    for _group, name, port in services("handler", data.get("route", "default")):
        answer = call(name, port, "/handler", data) or {"renderings": []}
        renderings += [one for one in answer["renderings"] if one["type_id"] in body["renderers"]]
    answer = {"request_uuid": body["request_uuid"], "timestamp": int(time.time()), "renderings": renderings}
    if on("STORE_IMAGE_DATA"):
        folder = LOG / body["request_uuid"]
        folder.mkdir(exist_ok=True)
        (folder / "request.json").write_text(json.dumps(body))
        (folder / "response.json").write_text(json.dumps(answer))
    return answer


def authenticate(uuid: str, check: str) -> int:
    """Return the status for a request that is said to be stored, and a checksum of it."""
    if not on("STORE_IMAGE_DATA"):
        return 503
    if not UUID4.fullmatch(uuid):
        return 400
    stored = LOG / uuid / "request.json"
    same = stored.is_file() and hashlib.sha1(stored.read_bytes()).hexdigest() == check
    return 200 if same else 401


def sign_in_cache() -> None:
    """Say which version the cache has; end when there is none."""
    host, _, port = os.environ["MEMCACHE_SERVERS"].split(",")[0].partition(":")
    with socket.create_connection((host, int(port or 11211)), timeout=10) as connection:
        connection.sendall(b"version\r\nquit\r\n")
        print(f"cache: {connection.recv(100).decode().strip()}")


# The others


def preprocessor(name: str, body: dict) -> dict:
    result = {"name": f"{PREFIX}preprocessor.{name}", "data": {"of": name}}
    return {"request_uuid": body.get("request_uuid"), **result}


def handler(name: str, body: dict) -> dict:
    if STORE.is_dir():
        (STORE / f"{name}-{body['request_uuid']}").write_text(name)
    text = os.environ.get("MOTD", f"{name} saw {len(body.get('preprocessors', {}))} preprocessors")
    return {"renderings": [{"type_id": TEXT, "description": name, "data": {"text": text}}]}


def create(body: dict) -> dict:
    kept = json.loads(CHANNELS.read_text() or "{}")
    code = "".join(random.choices("12345678", k=6))
    CHANNELS.write_text(json.dumps({**kept, code: body}))
    return {"id": code}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"

    def do_GET(self) -> None:
        if self.path in ("/health", "/healthcheck.html"):
            self.answer(200, {"status": "healthy", "timestamp": time.time()})
        elif self.path == "/warmup":
            print("warm")
            self.answer(200, {"status": "ok"})
        elif match := re.fullmatch(r"/authenticate/([^/]+)/([^/]+)", self.path):
            self.answer(authenticate(*match.groups()), {})
        elif match := re.fullmatch(r"/display/([1-8]{6})", self.path):
            kept = json.loads(CHANNELS.read_text() or "{}")
            self.answer(200 if match[1] in kept else 404, kept.get(match[1], {}))
        else:
            self.answer(200, {"stand_in": True, "path": self.path})

    def do_POST(self) -> None:
        name = (self.headers.get("Host") or "").partition(":")[0]
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        except ValueError:
            body = {}
        asked = {"/preprocessor": preprocessor, "/handler": handler}.get(self.path)
        if asked:
            self.answer(200, asked(name, body))
        elif self.path == "/create":
            self.answer(200, create(body))
        elif not isinstance(body, dict) or not {"request_uuid", "renderers"} <= set(body):
            self.answer(400, [{"message": "must have required property 'request_uuid'"}])
        elif self.path == "/render":
            self.answer(200, render(body))
        elif self.path == "/render/preprocess":
            self.answer(200, preprocess(body, True))
        else:
            self.answer(404, {})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        if self.path != "/health":
            print(format % values)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Without the look-up of its own name that http.server makes here: it may take seconds.
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "stand-in", self.server_address[1]


def main() -> None:
    # The first process of a container has no default handlers: without these it would outlive every stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    if "DOCKER_HOST" in os.environ:
        sign_in_cache()
    for port in PORTS:
        threading.Thread(target=Server(("", port), Handler).serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the application discover-api: its routes on a socket, and its workers, over the real Redis.

    serve --bind unix:PATH ...      the routes of the apps in api/.env
    work ... -Q QUEUE               takes tasks of one queue, writes a result, tells of it

Apps have the prefixes and the queues that discover-api's code fixes. A task takes as many seconds as
"parameters": {"seconds": N} says, and its result is a file in /data, which nginx sends (X-Accel-Redirect).
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler
from pathlib import Path

DATA = Path("/data")
# Folder of the app -> prefix of its routes, queue, folder of its results, where nginx finds them.
APPS = {
    "regions": ("regions", "queue0", "shared/regions", "/media/shared/regions"),
    "similarity": ("similarity", "queue1", "similarity/results", "/media/similarity"),
    "dticlustering": ("clustering", "queue2", "dticlustering/results", "/media/dticlustering"),
    "watermarks": ("watermarks", "queue3", "watermarks/sources", "/media/watermarks"),
    "vectorization": ("vectorization", "queue4", "vectorization/results", "/media/vectorization"),
}


def settings() -> dict[str, str]:
    """What api/.env says, read as this user, who has to be able to."""
    lines = Path("/home/aikonapi/api/.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip("'\"") for name, value in pairs}


class Redis:
    """As much of a client of Redis as this needs (RESP), at the place that discover-api's code fixes."""

    def __init__(self) -> None:
        self.file = socket.create_connection(("localhost", 6379), timeout=None).makefile("rwb")
        self.call("SELECT", settings()["REDIS_DB_INDEX"])

    def call(self, *words: str) -> object:
        parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
        self.file.write(b"*%d\r\n" % len(parts) + b"".join(parts))
        self.file.flush()
        return self.answer()

    def answer(self) -> object:
        line = self.file.readline().rstrip().decode()
        kind, rest = line[:1], line[1:]
        if kind == "$":
            return None if rest == "-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return None if rest == "-1" else [self.answer() for _ in range(int(rest))]
        if kind in ("+", ":"):
            return rest
        raise OSError(line or "the connection was closed")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = re.fullmatch(r"/([a-z]+)/(.+)", self.path)
        app = next((one for one in installed() if found and APPS[one][0] == found[1]), None)
        if not app:
            return self.say(404, {"error": "no such route"})
        _prefix, queue, _folder, media = APPS[app]
        what, redis = found[2], Redis()
        sizes = {"queues": {queue: int(redis.call("LLEN", f"dramatiq:{queue}"))}}
        if what == "qsizes" and app != "watermarks":
            return self.say(200, sizes)
        if what == "monitor" and app != "watermarks":
            total = sum(path.stat().st_size for path in (DATA / app).rglob("*") if path.is_file())
            return self.say(200, {"total_size": total, **sizes})
        if what == "models" and app in ("regions", "similarity", "vectorization"):
            return self.say(200, sorted(path.name for path in (DATA / app / "models").iterdir()))
        if what == "sources" and app == "watermarks":
            return self.say(200, sorted(path.name for path in (DATA / "watermarks/sources").iterdir()))
        number, _, last = what.partition("/")
        if last == "status":
            return self.say(200, {"tracking_id": number, "status": redis.call("GET", f"status:{number}")})
        if last == "result":
            self.send_response(200)
            self.send_header("X-Accel-Redirect", f"{media}/{number}.txt")
            self.end_headers()
            return None
        return self.say(404, {"error": "no such route"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        app = next((one for one in installed() if self.path == f"/{APPS[one][0]}/start"), None)
        if not app:
            return self.say(404, {"error": "no such route"})
        number, redis = str(uuid.uuid4()), Redis()
        redis.call("SET", f"status:{number}", "PENDING")
        redis.call("RPUSH", f"dramatiq:{APPS[app][1]}", json.dumps([number, app, json.loads(body or b"{}")]))
        return self.say(200, {"tracking_id": number, "experiment_id": number})

    def say(self, status: int, value: object) -> None:
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "nginx"

    def log_message(self, format: str, *values: object) -> None:
        if "qsizes" not in self.path:
            print(f"stand-in: {format % values}", flush=True)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def installed() -> list[str]:
    return settings()["INSTALLED_APPS"].split(",")


def serve(path: str) -> None:
    Path(path).unlink(missing_ok=True)
    os.umask(0)  # as gunicorn: nginx is another user
    Server(path, Handler).serve_forever()


def work(queue: str) -> None:
    os.umask(0o022)
    redis = Redis()
    print(f"stand-in: a worker waits for {queue}, HOME {os.environ.get('HOME')}", flush=True)
    while True:
        _key, text = redis.call("BLPOP", f"dramatiq:{queue}", "0")
        number, app, request = json.loads(text)
        redis.call("SET", f"status:{number}", "STARTED")
        time.sleep(float(request.get("parameters", {}).get("seconds", 0)))
        folder = DATA / APPS[app][2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f"result of {app} {number}\n", encoding="utf-8")
        redis.call("SET", f"status:{number}", "SUCCESS")


def main() -> None:
    job, words = sys.argv[1], sys.argv[2:]
    if job == "serve":
        serve(words[words.index("--bind") + 1].removeprefix("unix:"))
    else:
        work(words[words.index("-Q") + 1])


if __name__ == "__main__":
    main()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of tests/benchmarks/stack.py that runs on the manager. Standard library only; needs root.

on_manager.py times         run each command once, its seconds as JSON
on_manager.py listen        start counting requests that pass a socket of its own on their way to the Engine
on_manager.py counted       what was counted since the last call, as JSON
on_manager.py versions      {kind/name: Version.Index} of the benchmark's objects, as JSON
on_manager.py stop          end the counting
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINE = "/var/run/docker.sock"
COUNTING = HERE / "counting.sock"
LOG = HERE / "requests.log"
PID = HERE / "counting.pid"
LABEL = "com.docker.stack.namespace"
LISTS = ("services", "networks", "secrets", "configs")
REQUEST = re.compile(rb"(?:^|\r\n\r\n|[}\]\n])(GET|HEAD|POST|PUT|DELETE) (/\S*) HTTP/1\.1\r\n")

SDK = f"""
import docker
api = docker.APIClient(version="auto")
for kind in {LISTS}:
    getattr(api, kind)(filters={{"label": "{LABEL}=bench-cli"}})
"""


class Connection(http.client.HTTPConnection):
    """HTTP to the Engine's socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(ENGINE)


def listed(stack: str | None = None) -> dict[str, list]:
    """Return the objects of each kind, of one stack or of all."""
    connection, found = Connection("localhost"), {}
    query = f"?filters=%7B%22label%22%3A%5B%22{LABEL}%3D{stack}%22%5D%7D" if stack else ""
    for kind in LISTS:
        connection.request("GET", f"/v1.41/{kind}{query}")
        found[kind] = json.loads(connection.getresponse().read())
    return found


def deploy(name: str, file: Path, host: str = f"unix://{ENGINE}") -> None:
    """Run docker stack deploy once."""
    command = ["docker", "-H", host, "stack", "deploy", "--resolve-image", "never", "-c", str(file), name]
    subprocess.run(command, check=True, capture_output=True)


def one_file_each(host: str = f"unix://{ENGINE}") -> None:
    """Run docker stack deploy for each service's own file, one after the other."""
    for file in sorted(HERE.glob("each/*.yml")):
        deploy("bench-loop", file, host)


def run_python(*words: str) -> None:
    """Run a Python process of its own."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


COMMANDS = {
    "cli": lambda: deploy("bench-cli", HERE / "stack.yml"),
    "loop": one_file_each,
    "sdk": lambda: run_python("-c", SDK),
    "http": lambda: run_python(__file__, "list"),
}


def times() -> dict[str, float]:
    """Run each command once; return its seconds."""
    taken = {}
    for name, command in COMMANDS.items():
        started = time.perf_counter()
        command()
        taken[name] = time.perf_counter() - started
    return taken


def versions() -> dict[str, int]:
    """Return the version of every object of the benchmark."""
    return {
        f"{kind}/{entry['Spec']['Name']}": entry["Version"]["Index"]
        for kind, entries in listed().items()
        for entry in entries
        if kind != "networks" and entry["Spec"]["Labels"].get(LABEL, "").startswith("bench")
    }


def counted() -> dict[str, int]:
    """Return how many requests read and wrote since the last call."""
    methods = [line.split()[0] for line in LOG.read_text().splitlines()]
    LOG.write_text("")
    reads = sum(method in ("GET", "HEAD") for method in methods)
    return {"reads": reads, "writes": len(methods) - reads}


def listen() -> None:
    """Pass connections on and note every request, in a process of its own."""
    LOG.write_text("")
    COUNTING.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(COUNTING))
    server.listen(64)
    child = os.fork()
    if child:
        PID.write_text(str(child))
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    while True:
        client, _ = server.accept()
        engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        engine.connect(ENGINE)
        threading.Thread(target=_pass, args=(client, engine, True), daemon=True).start()
        threading.Thread(target=_pass, args=(engine, client, False), daemon=True).start()


def _pass(source: socket.socket, sink: socket.socket, note: bool) -> None:
    seen = b""
    while True:
        try:
            data = source.recv(65536)
            sink.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            return
        if note:
            # A request may come in parts; what was matched is not looked at again.
            seen += data
            found = list(REQUEST.finditer(seen))
            with LOG.open("ab") as log:
                log.writelines(each[1] + b" " + each[2] + b"\n" for each in found)
            seen = seen[found[-1].end() :] if found else seen[-4096:]


def stop() -> None:
    """End the counting."""
    if PID.exists():
        os.kill(int(PID.read_text()), signal.SIGTERM)
        PID.unlink()


if __name__ == "__main__":
    told = {
        "times": times,
        "listen": listen,
        "counted": counted,
        "versions": versions,
        "stop": stop,
        "list": lambda: listed("bench-cli") and None,
        "deploy-counted": lambda: deploy("bench-cli", HERE / "stack.yml", f"unix://{COUNTING}"),
        "loop-counted": lambda: one_file_each(f"unix://{COUNTING}"),
    }[sys.argv[1]]()
    if told is not None:
        print(json.dumps(told))

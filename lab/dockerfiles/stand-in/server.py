# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for an image that cannot be had: answers on its ports and tells, in JSON, where it runs and how.

Names of variables, secrets and files are told, their values never. What the image is comes from its build:
STAND_IN_IMAGE, STAND_IN_PORTS (words such as 80/tcp), STAND_IN_ROLE (empty, client or migration).
Further variables it reads, all of them optional:

  STAND_IN_SERVICE, STAND_IN_NODE   what to call itself; Swarm fills in {{.Service.Name}}, {{.Node.Hostname}}
  *_WEBSERVER_HTTP_PORT, HTTP_PORT  one more port to answer on, as the real images do
  SERVICES_BROKER, BROKER_PASS      redis://HOST:PORT and password
  DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD  PostgreSQL; without DB_USER only the port is tried

A client signs in at those of the two that it is given, and stays up only as long as that works, so that a
wrong password is seen. A migration waits for its database and ends: 0 when it could sign in, else 1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PATIENCE_SECONDS = 60  # for what it signs in at to start
AGAIN_SECONDS = 15  # between two looks at what it signed in at
# Set by the image, or by Python itself: nothing that whoever deploys it has given.
OWN = ("STAND_IN_IMAGE", "STAND_IN_PORTS", "STAND_IN_ROLE", "PYTHONUNBUFFERED", "LC_CTYPE")
SYSTEM_MOUNTS = ("/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
NOTED_HEADERS = ("X-Forwarded-", "X-Real-Ip", "Upgrade", "Authorization")


class Refused(Exception):
    """The other side is there and says no: waiting does not help."""


def log(text: str) -> None:
    print(f"stand-in {os.environ.get('STAND_IN_IMAGE', '')}: {text}", flush=True)


def mounts() -> dict[str, str]:
    """What is mounted into the container: path -> file or folder."""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            path = line.split()[4].replace("\\040", " ")
            if path != "/" and not any(path == one or path.startswith(one + "/") for one in SYSTEM_MOUNTS):
                found[path] = "folder" if os.path.isdir(path) else "file"
    return dict(sorted(found.items()))


def own_addresses() -> list[str]:
    """The container's IPv4 addresses: in the kernel's routing table "|-- ADDRESS", then "/32 host LOCAL"."""
    with open("/proc/net/fib_trie", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    pairs = itertools.pairwise(lines)
    found = {above[1] for above, line in pairs if line[:3] == ["/32", "host", "LOCAL"] and above[0] == "|--"}
    return sorted(address for address in found if not address.startswith("127."))


def name_of(address: str) -> str | None:
    """The name that the engine's name server, unlike /etc/hosts, gives an address: a PTR query, RFC 1035."""
    question = "".join(f"{part}." for part in reversed(address.split("."))) + "in-addr.arpa"
    encoded = b"".join(bytes([len(part)]) + part.encode() for part in question.split("."))
    query = b"\x47\x46\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + encoded + b"\x00\x00\x0c\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(query, ("127.0.0.11", 53))
        answer = client.recv(512)
    if answer[6:8] == b"\x00\x00":
        return None
    _question, place = read_name(answer, len(query))
    return read_name(answer, place + 10)[0]  # behind type, class, life time and length


def read_name(message: bytes, place: int) -> tuple[str, int]:
    """A name in a DNS message, and the place behind it. A length of 192 or more points to the rest."""
    labels = []
    while message[place]:
        length = message[place]
        if length >= 192:
            rest = struct.unpack("!H", message[place : place + 2])[0] & 0x3FFF
            return ".".join([*labels, read_name(message, rest)[0]]), place + 2
        labels.append(message[place + 1 : place + 1 + length].decode(errors="replace"))
        place += 1 + length
    return ".".join(labels), place + 1


# The Swarm's names of this task; the engine knows them a moment after the container has started.
known: dict[str, str | None] = {"service": os.environ.get("STAND_IN_SERVICE"), "task": None}


def learn_names() -> None:
    for _attempt in range(20):
        for address in own_addresses():
            try:
                parts = (name_of(address) or "").split(".")
            except (OSError, IndexError, struct.error):
                continue
            if len(parts) >= 4:  # SERVICE.SLOT.TASK.NETWORK
                known.update(service=known["service"] or parts[0], task=".".join(parts[:3]))
                return
        time.sleep(1)


def description() -> dict:
    """All that does not depend on the request."""
    found = mounts()
    return {
        "stand_in": True,
        "image": os.environ.get("STAND_IN_IMAGE"),
        **known,
        "node": os.environ.get("STAND_IN_NODE"),
        "hostname": socket.gethostname(),
        "arguments": [argument.partition("=")[0] for argument in sys.argv[1:]],
        "environment": sorted(name for name in os.environ if name not in OWN),
        "mounts": [path for path in found if not path.startswith("/run/secrets/")],
        "configs": [
            path for path, kind in found.items() if kind == "file" and not path.startswith("/run/secrets/")
        ],
        "secrets": sorted(os.listdir("/run/secrets")) if os.path.isdir("/run/secrets") else [],
        "gpu": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("NVIDIA_VISIBLE_DEVICES", "DOCKER_RESOURCE_"))
        },
    }


class Handler(BaseHTTPRequestHandler):
    """Answers any request with 200 and the description."""

    protocol_version = "HTTP/1.1"
    server_version = "stand-in"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        while length > 0:
            length -= len(self.rfile.read(min(length, 65536)) or b" " * length)
        noted = {name.title(): value for name, value in self.headers.items()}
        noted = {name: value for name, value in noted.items() if name.startswith(NOTED_HEADERS)}
        if "Authorization" in noted:
            noted["Authorization"] = "(given)"
        request = {
            "method": self.command,
            "path": self.path,
            "host": self.headers.get("Host"),
            "port": self.server.server_address[1],
            "client": self.client_address[0],
            "headers": noted,
        }
        body = json.dumps({**description(), "request": request}, indent=1).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def log_message(self, format: str, *values: object) -> None:
        if self.path != "/healthcheck":
            log(format % values)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # Without the look-up of its own name that http.server makes here: it may take seconds.
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "stand-in", self.server_address[1]


def serve_tcp(port: int) -> None:
    server = Server(("", port), Handler, bind_and_activate=False)
    server.allow_reuse_address = True
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.server_bind()
    server.server_activate()
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_udp(port: int) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("", port))

    def loop() -> None:
        while True:
            data, client = listener.recvfrom(65536)
            answer = {**description(), "request": {"port": port, "bytes": len(data), "client": client[0]}}
            listener.sendto(json.dumps(answer).encode(), client)

    threading.Thread(target=loop, daemon=True).start()


def ports() -> set[tuple[int, str]]:
    wanted = set()
    for word in os.environ.get("STAND_IN_PORTS", "").split():
        number, _, protocol = word.partition("/")
        wanted.add((int(number), protocol or "tcp"))
    for name, value in os.environ.items():
        if (name == "HTTP_PORT" or name.endswith("WEBSERVER_HTTP_PORT")) and value.isdigit():
            wanted.add((int(value), "tcp"))
    return wanted


def redis_call(connection: socket.socket, *words: str) -> str:
    """One command in Redis' protocol (RESP arrays of bulk strings); the first line of the answer."""
    parts = [word.encode() for word in words]
    connection.sendall(
        b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    )
    answer = b""
    while not answer.endswith(b"\r\n"):
        data = connection.recv(1024)
        if not data:
            raise OSError("the connection was closed")
        answer += data
    return answer.decode(errors="replace").splitlines()[0]


def sign_in_broker(broker: str, password: str) -> None:
    """AUTH and PING at the broker. Refused: it answers, and says no. OSError: it does not answer."""
    place = urlsplit(broker)
    with socket.create_connection(
        (place.hostname or "localhost", place.port or 6379), timeout=5
    ) as connection:
        if password:
            answer = redis_call(connection, "AUTH", password)
            if answer != "+OK":
                raise Refused(answer)
        answer = redis_call(connection, "PING")
        if answer.startswith("-LOADING"):
            raise OSError(answer)
        if answer != "+PONG":
            raise Refused(answer)


def postgres_call(connection: socket.socket, kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """One message of PostgreSQL's protocol 3.0; kind and body of the answer."""
    connection.sendall(kind + struct.pack("!I", len(body) + 4) + body)
    header = exactly(connection, 5)
    answer = exactly(connection, struct.unpack("!I", header[1:])[0] - 4)
    if header[:1] == b"E":
        fields = {field[:1]: field[1:].decode(errors="replace") for field in answer.split(b"\0") if field}
        if fields.get(b"C") == "57P03":  # still starting
            raise OSError(fields.get(b"M"))
        raise Refused(fields.get(b"M", "no reason given"))
    return header[:1], answer


def exactly(connection: socket.socket, number: int) -> bytes:
    data = b""
    while len(data) < number:
        more = connection.recv(number - len(data))
        if not more:
            raise OSError("the connection was closed")
        data += more
    return data


def sign_in_database(host: str, port: int, user: str, database: str, password: str) -> None:
    """Sign in at PostgreSQL with SCRAM-SHA-256 (RFC 5802, 7677). Without a user only the port is tried."""
    with socket.create_connection((host, port), timeout=5) as connection:
        if not user:
            return
        start = struct.pack("!I", 196608) + f"user\0{user}\0database\0{database or user}\0\0".encode()
        _kind, answer = postgres_call(connection, b"", start)
        method = struct.unpack("!I", answer[:4])[0]
        if method == 0:
            return  # trusted
        if method != 10 or b"SCRAM-SHA-256\0" not in answer:
            raise Refused(f"authentication method {method} is not known here")
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        initial = f"n,,{first}".encode()
        body = b"SCRAM-SHA-256\0" + struct.pack("!I", len(initial)) + initial
        challenge = postgres_call(connection, b"p", body)[1][4:].decode()
        values = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(values["s"]), int(values["i"])
        )
        key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={values['r']}"
        signed = hmac.digest(hashlib.sha256(key).digest(), f"{first},{challenge},{final}".encode(), "sha256")
        proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signed, strict=True))).decode()
        postgres_call(connection, b"p", f"{final},p={proof}".encode())
        connection.sendall(b"X\0\0\0\4")


def sign_ins() -> dict[str, object]:
    """What this stand-in has to sign in at: a word for the log -> a function that does it."""
    given, found = os.environ.get, {}
    if given("SERVICES_BROKER"):
        found["SERVICES_BROKER"] = lambda: sign_in_broker(given("SERVICES_BROKER"), given("BROKER_PASS", ""))
    if given("DB_HOST") and (given("DB_USER") or given("STAND_IN_ROLE") == "migration"):
        found["DB_HOST"] = lambda: sign_in_database(
            given("DB_HOST"),
            int(given("DB_PORT") or 5432),
            given("DB_USER", ""),
            given("DB_NAME", ""),
            given("DB_PASSWORD", ""),
        )
    return found


def wait_for(name: str, sign_in) -> bool:
    """Sign in, trying for PATIENCE_SECONDS as long as nothing answers; whether it worked."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            sign_in()
            return True
        except Refused as error:
            log(f"{name} ({os.environ[name]}) refused: {error}")
            return False
        except OSError as error:
            if time.monotonic() > deadline:
                log(f"{name} ({os.environ[name]}) does not answer: {error}")
                return False
        time.sleep(1)


def main() -> int:
    # The first process of a container has no default handlers: without these it would outlive every stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    role, wanted = os.environ.get("STAND_IN_ROLE", ""), sign_ins()
    if role != "migration":
        for port, protocol in sorted(ports()):
            (serve_udp if protocol == "udp" else serve_tcp)(port)
            log(f"answers on {port}/{protocol}")
        threading.Thread(target=learn_names, daemon=True).start()
    elif not wanted:
        log("DB_HOST names no database")
        return 1
    if role in ("client", "migration"):
        for name, sign_in in wanted.items():
            if not wait_for(name, sign_in):
                return 1
            log(f"signed in at {name} ({os.environ[name]})")
    if role == "migration":
        return 0  # there is nothing to migrate in a stand-in
    while True:
        time.sleep(AGAIN_SECONDS)
        if role == "client" and not all(wait_for(name, sign_in) for name, sign_in in wanted.items()):
            return 1


if __name__ == "__main__":
    sys.exit(main())

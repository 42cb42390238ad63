# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few calls of the Docker Engine API, by the standard library. Private: may change in any release.

Why not the docker SDK for Python: docs/decisions/0006. Specs are posted as they are, at the Engine's own API
version, since an older one loses fields of newer Engines on each write (moby trims by the version in the
URL).
"""

from __future__ import annotations

import http.client
import json
import struct
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.gpufleet.swarm.plugins.module_utils._engine_socket import SocketConnection
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

TIMEOUT_S = 60
LOG_TIMEOUT_S = 5
OLDEST_API = (1, 41)


class EngineError(FleetError):
    """The Engine refused a call or could not be asked.

    status  the HTTP status, None when there was no answer
    """

    def __init__(self, what, target=None, status=None, cause=None, **rest):
        super().__init__(what, target=target, cause=cause, **rest)
        self.status = status

    @property
    def stale(self):
        """Someone else wrote the object after it was read: read it again and decide anew."""
        return "update out of sequence" in str(self.cause)

    @property
    def transient(self):
        """The manager may well answer in a moment: no answer, no leader, or a time limit of its own."""
        text = str(self.cause).lower()
        passing = ("deadline exceeded", "no leader", "not have a leader", "unavailable")
        return (
            self.status is None
            or self.status == 503
            or (self.status == 500 and any(word in text for word in passing))
        )


class NoEngine(EngineError):
    """Nothing listens there: not installed, or stopped."""


class Engine:
    """The calls this collection needs, over one connection; counts what it reads and writes.

    connection   a http.client.HTTPConnection
    api_version  the API version to use, for example (1, 45)
    """

    def __init__(self, connection, api_version):
        self._connection = connection
        self.api_version = api_version
        self.reads = 0
        self.writes = 0

    def get(self, path, *args, **params):
        """Return the decoded answer of a GET. ``filters`` may be a dict of lists."""
        if "filters" in params:
            params["filters"] = json.dumps(params["filters"])
        self.reads += 1
        return self._decoded(path, self._call("read", "GET", path, args, params))

    def post(self, path, *args, data=None, **params):
        """POST a JSON body and return the decoded answer, or None where there is none.

        registry_auth  value of X-Registry-Auth, which Swarm hands to the nodes that pull the image
        """
        self.writes += 1
        content = self._call("write", "POST", path, args, params, json.dumps(data or {}).encode())
        return self._decoded(path, content) if content else None

    def delete(self, path, *args):
        """DELETE an object. Return False if it was gone already."""
        self.writes += 1
        try:
            self._call("remove", "DELETE", path, args, {})
        except EngineError as exc:
            if exc.status != 404:
                raise
            return False
        return True

    def task_logs(self, task_id, lines):
        """Return the last lines a task wrote, stdout and stderr as they came; none if they cannot be had."""
        params = {"stdout": 1, "stderr": 1, "tail": lines}
        try:
            content = self._call(
                "read the logs of", "GET", "/tasks/{0}/logs", (task_id,), params, timeout=LOG_TIMEOUT_S
            )
        except EngineError:
            return []
        return demultiplex(content)[-lines:]

    def execute(self, container, command):
        """Run a program in a container and return (exit code, lines of its output). It changes nothing there
        by itself, so it is no write; the program must end within a minute."""
        data = {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
        path = "/containers/{0}/exec"
        made = self._decoded(
            path, self._call("run a program in", "POST", path, (container,), {}, json.dumps(data).encode())
        )["Id"]
        start = json.dumps({"Detach": False, "Tty": False}).encode()
        content = self._call("run a program in", "POST", "/exec/{0}/start", (made,), {}, start)
        return self.get("/exec/{0}/json", made)["ExitCode"], demultiplex(content)

    def _call(self, verb, method, path, args, params, body=None, timeout=TIMEOUT_S):
        auth = params.pop("registry_auth", None)
        headers = {"X-Registry-Auth": auth} if auth else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        target = path.format(*(quote(str(arg), safe="/:@") for arg in args))
        url = "/v{}.{}{}".format(*self.api_version, target) + (f"?{urlencode(params)}" if params else "")
        try:
            status, content = self._send(method, url, body, headers, timeout)
        except (http.client.HTTPException, OSError) as exc:
            cause = str(exc) or type(exc).__name__
            raise EngineError("The Docker Engine did not answer", target, cause=cause) from exc
        if status >= 400:
            raise EngineError(f"The Docker Engine refused to {verb}", target, status, _message(content))
        return content

    def _send(self, method, url, body, headers, timeout):
        reused = self._connection.sock is not None
        try:
            return exchange(self._connection, method, url, body, headers, timeout)
        except TimeoutError:
            raise
        except (http.client.HTTPException, OSError):
            # The other end may have closed a connection that stood idle. Only what reads is asked again: a
            # write may have been carried out, which its caller finds out.
            if not reused or method != "GET":
                raise
            return exchange(self._connection, method, url, body, headers, timeout)

    def _decoded(self, path, content):
        try:
            return json.loads(content)
        except ValueError as exc:
            raise EngineError("The Docker Engine gave an answer that is no JSON", path, cause=exc) from exc


def exchange(connection, method, url, body=None, headers=None, timeout=TIMEOUT_S):
    """Return (status, content) of one request. After any error the connection is closed and starts anew."""
    connection.timeout = timeout
    if connection.sock is not None:
        connection.sock.settimeout(timeout)
    try:
        connection.request(method, url, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (http.client.HTTPException, OSError):
        connection.close()
        raise


def connect(docker_host):
    """Return an Engine for an address such as unix:///var/run/docker.sock.

    NoEngine: nothing listens there. EngineError: it does not answer as an Engine. FleetError: the address
    cannot be used, or the Engine is too old.
    """
    connection = _connection(docker_host)
    try:
        status, content = exchange(connection, "GET", "/version")
        version = _version(json.loads(content)["ApiVersion"]) if status == 200 else None
    except PermissionError as exc:
        raise FleetError(
            "No permission to ask the Docker Engine", target=docker_host, cause=exc, option="become: true"
        ) from exc
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise NoEngine(
            "No Docker Engine answers",
            target=docker_host,
            cause=exc,
            wanted="a running Engine",
            option="docker_host, or start the Engine there",
        ) from exc
    except (http.client.HTTPException, OSError, ValueError, KeyError, TypeError) as exc:
        raise EngineError(
            "No Docker Engine answers",
            target=docker_host,
            cause=str(exc) or type(exc).__name__,
            wanted="a running Engine",
            option="docker_host, or start the Engine there",
        ) from exc
    if version is None:
        raise EngineError("The Docker Engine refused to read", "/version", status, _message(content))
    if version < OLDEST_API:
        raise FleetError(
            "The Docker Engine is too old",
            target=docker_host,
            found="API {}.{}".format(*version),
            wanted="API {}.{} (Engine 20.10) or newer".format(*OLDEST_API),
        )
    return Engine(connection, version)


def _connection(docker_host):
    scheme, _separator, rest = docker_host.partition("://")
    try:
        if scheme == "unix" and rest:
            return SocketConnection(rest, TIMEOUT_S)
        if scheme in ("tcp", "http"):
            address = urlsplit(docker_host)
            if address.hostname and address.path in ("", "/"):
                return http.client.HTTPConnection(address.hostname, address.port or 2375, timeout=TIMEOUT_S)
    except ValueError:  # a port that is no number
        pass
    raise FleetError(
        "Cannot reach a Docker Engine this way",
        target=docker_host,
        wanted="unix:///PATH, or tcp://HOST:PORT without TLS",
        option="docker_host; an Engine behind ssh:// or TLS is reached by making its host that of the task",
    )


def _version(text):
    major, minor = str(text).split(".")[:2]
    return int(major), int(minor)


def _message(content):
    """Return the reason an Engine gives for a refusal."""
    try:
        return str(json.loads(content)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace").strip()[:500] or "no reason given"


def demultiplex(raw):
    """Return the lines of a log stream: frames with a head of 8 bytes (stream, 000, length), or a TTY's."""
    text = b""
    rest = raw
    while len(rest) >= 8 and rest[0] in (0, 1, 2) and rest[1:4] == b"\0\0\0":
        (length,) = struct.unpack(">I", rest[4:8])
        text += rest[8 : 8 + length]
        rest = rest[8 + length :]
    return (text + rest).decode("utf-8", "replace").splitlines()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few calls of the Docker Engine API over the docker SDK for Python. Private: may change in any release.

Bodies are posted raw: the SDK's own create_service() and update_service() attach whatever registry login
they find on the host, and its types know neither jobs (5.0.3) nor several fields of a service. What is
used of the SDK (``_url``, ``_get``, ``_post_json``, ``_delete``, ``_raise_for_status``) is the same in 5.0.3
(Debian 12), 7.1.0 (Debian 13) and 7.2.0.
"""

from __future__ import annotations

import json
import struct
import traceback

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

try:
    from docker import APIClient
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    SDK_IMPORT_ERROR = None
except ImportError:
    SDK_IMPORT_ERROR = traceback.format_exc()

TIMEOUT_S = 60
LOG_TIMEOUT_S = 5


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
        return (
            self.status is None
            or self.status == 503
            or (
                self.status == 500
                and any(word in text for word in ("deadline exceeded", "no leader", "unavailable"))
            )
        )


class Engine:
    """The calls this collection needs; counts what it reads and writes."""

    def __init__(self, api):
        self._api = api
        self.reads = 0
        self.writes = 0

    @property
    def api_version(self):
        """The API version in use, for example (1, 45)."""
        major, minor = str(self._api._version).split(".")[:2]
        return int(major), int(minor)

    def get(self, path, *args, **params):
        """Return the decoded answer of a GET. ``filters`` may be a dict of lists."""
        if "filters" in params:
            params["filters"] = json.dumps(params["filters"])
        self.reads += 1
        return self._call("read", path, args, lambda url: self._api._get(url, params=params)).json()

    def post(self, path, *args, data=None, **params):
        """POST a JSON body and return the decoded answer, or None where there is none."""
        self.writes += 1
        answer = self._call(
            "write", path, args, lambda url: self._api._post_json(url, data=data or {}, params=params)
        )
        return answer.json() if answer.content else None

    def delete(self, path, *args):
        """DELETE an object. Return False if it was gone already."""
        self.writes += 1
        try:
            self._call("remove", path, args, self._api._delete)
        except EngineError as exc:
            if exc.status != 404:
                raise
            return False
        return True

    def task_logs(self, task_id, lines):
        """Return the last lines a task wrote, stdout and stderr as they came; none if they cannot be had."""
        params = {"stdout": 1, "stderr": 1, "tail": lines}
        try:
            answer = self._call(
                "read the logs of",
                "/tasks/{0}/logs",
                (task_id,),
                lambda url: self._api._get(url, params=params, timeout=LOG_TIMEOUT_S),
            )
            return demultiplex(answer.content)[-lines:]
        except (EngineError, RequestException):
            return []

    def _call(self, verb, path, args, send):
        target = path.format(*args)
        try:
            answer = send(self._api._url(path, *args))
            self._api._raise_for_status(answer)
        except APIError as exc:
            text = exc.explanation if isinstance(exc.explanation, str) else str(exc)
            raise EngineError(
                f"The Docker Engine refused to {verb}", target, exc.response.status_code, text
            ) from exc
        except (RequestException, DockerException) as exc:
            raise EngineError("The Docker Engine did not answer", target, cause=exc) from exc
        return answer


def connect(docker_host):
    """Return an Engine for an address such as unix:///var/run/docker.sock; EngineError if nothing answers."""
    try:
        # "auto" takes the server's own version. A fixed one would lose fields of newer Engines on each write
        # and is refused by Engine 29.0, whose minimum is 1.44.
        return Engine(APIClient(base_url=docker_host, version="auto", timeout=TIMEOUT_S))
    except (DockerException, RequestException) as exc:
        raise EngineError(
            "No Docker Engine answers",
            target=docker_host,
            cause=exc,
            wanted="a running Engine",
            option="docker_host, or start the Engine there",
        ) from exc


def demultiplex(raw):
    """Return the lines of a log stream: frames with a head of 8 bytes (stream, 000, length), or a TTY's."""
    text = b""
    rest = raw
    while len(rest) >= 8 and rest[0] in (0, 1, 2) and rest[1:4] == b"\0\0\0":
        (length,) = struct.unpack(">I", rest[4:8])
        text += rest[8 : 8 + length]
        rest = rest[8 + length :]
    return (text + rest).decode("utf-8", "replace").splitlines()

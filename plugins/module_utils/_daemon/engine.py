# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running daemon: read it back, reload it, restart it. Private: may change in any release.

Standard library only: the Engine API over its unix socket by http.client; systemctl, dockerd and journalctl
as programs. Times are seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse

from ansible_collections.gpufleet.swarm.plugins.module_utils._engine_socket import SocketConnection
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

_PAUSE = 0.2
# A unit that failed too often is refused by systemd until it is reset; the socket fails with it.
_UNITS = ("docker.service", "docker.socket")


class Daemon:
    """The daemon of this host.

    docker_host  unix:///path of its socket
    pidfile      where it keeps its process id
    program      its binary; None looks it up on the PATH and in the sbin folders
    """

    def __init__(
        self, docker_host="unix:///var/run/docker.sock", pidfile="/var/run/docker.pid", program=None
    ):
        if not docker_host.startswith("unix://"):
            raise FleetError(
                "Cannot talk to the daemon",
                found=docker_host,
                wanted="a unix socket (unix:///path)",
                option="docker_host",
            )
        self.socket = docker_host[len("unix://") :]
        self.pidfile = pidfile
        folders = os.pathsep.join(
            (os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin")
        )
        self.program = shutil.which(program or "dockerd", path=folders)

    # -- reading ---------------------------------------------------------------------------------------------

    def identity(self):
        """Return a text that names this run of the daemon's process, or None when it does not run.

        Read from /proc and not asked over the socket: with socket activation, asking would start a stopped
        daemon.
        """
        try:
            with open(self.pidfile, encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                name, _bracket, fields = file.read().partition("(")[2].rpartition(")")
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = file.read().strip()
        except (OSError, ValueError):
            return None
        # Field 22 of proc_pid_stat(5), counted after the name: the process's start in ticks after boot.
        return f"{boot}:{pid}:{fields.split()[19]}" if name.startswith("dockerd") else None

    def config_file(self):
        """Return the --config-file of the running daemon's command line, or None where it has none."""
        try:
            with open(self.pidfile, encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().split("\0")
        except (OSError, ValueError):
            return None
        for word, following in zip(words, [*words[1:], ""], strict=True):
            option, equals, value = word.partition("=")
            if option == "--config-file":
                return value if equals else following
        return None

    def info(self):
        """Return /info of a running daemon, or None."""
        found = self._get("/info") if self.identity() else []
        return found[0] if found else None

    def validate(self, path):
        """Ask dockerd whether it would take the file. Returns True, its objection, or None: cannot tell.

        Engines before 23.0 do not know --validate, and without an Engine there is nobody to ask.
        """
        if self.program is None:
            return None
        done = _run([self.program, "--validate", "--config-file", path], 30)
        if done.returncode == 0:
            return True
        if "unknown flag: --validate" in done.stdout:
            return None
        lines = done.stdout.strip().splitlines()
        return lines[-1] if lines else f"exit status {done.returncode}"

    def journal(self, since, lines=15):
        """Return the daemon's last journal lines since a time, as one text; "" where there is no journal."""
        if not shutil.which("journalctl"):
            return ""
        done = _run(
            [
                "journalctl",
                "--unit",
                _UNITS[0],
                "--since",
                f"@{int(since)}",
                "--lines",
                str(lines),
                "--no-pager",
                "--output",
                "cat",
            ],
            10,
        )
        return done.stdout.strip()

    # -- acting ----------------------------------------------------------------------------------------------

    def reload(self, timeout):
        """Make the daemon read its file again. Returns the attributes of its reload event, or None.

        None means that no such event came in time: the daemon refused the file and goes on as before.
        """
        # A little early, as the event carries the daemon's clock in finer steps than ours may have.
        since = time.time() - 0.001
        known = {json.dumps(event, sort_keys=True) for event in self._reload_events(since)}
        self._hang_up()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for event in self._reload_events(since):
                if json.dumps(event, sort_keys=True) not in known:
                    return (event.get("Actor") or {}).get("Attributes") or {}
            time.sleep(_PAUSE)
        return None

    def restart(self, timeout, ready):
        """Restart the daemon. Returns whether within timeout it answers and ready(its /info) holds."""
        deadline = time.monotonic() + timeout
        _run(["systemctl", "reset-failed", *_UNITS], timeout)
        done = _run(["systemctl", "restart", _UNITS[0]], timeout)
        while done.returncode == 0:
            info = self.info()
            if info and ready(info):
                return True
            if time.monotonic() >= deadline:
                break
            time.sleep(_PAUSE)
        return False

    @staticmethod
    def can_restart():
        """Tell whether systemd runs this host; the daemon is restarted through it only."""
        return os.path.isdir("/run/systemd/system")

    def _hang_up(self):
        if self.can_restart() and _run(["systemctl", "reload", _UNITS[0]], 30).returncode == 0:
            return
        try:
            with open(self.pidfile, encoding="ascii") as file:
                os.kill(int(file.read()), signal.SIGHUP)
        except (OSError, ValueError) as error:
            raise FleetError("Cannot reload the daemon", target=self.pidfile, cause=error) from error

    def _reload_events(self, since):
        """Return the reload events of the daemon since a time; asking until now makes it answer at once."""
        filters = json.dumps({"type": ["daemon"], "event": ["reload"]})
        query = urllib.parse.urlencode(
            {"since": f"{since:.9f}", "until": f"{time.time():.9f}", "filters": filters}
        )
        return self._get(f"/events?{query}")

    def _get(self, path):
        """Return the JSON values of an answer (one, or one a line), none without an answer."""
        connection = SocketConnection(self.socket, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            lines = answer.read().decode().splitlines()
            return [json.loads(line) for line in lines if line.strip()] if answer.status == 200 else []
        except (OSError, ValueError, http.client.HTTPException):
            return []
        finally:
            connection.close()


def version(info):
    """Return the Engine's version of an /info answer as a tuple of numbers, () when there is none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", str((info or {}).get("ServerVersion") or ""))
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def swarm_facts(info):
    """Return what a caller needs to know of the Swarm, from /info.

    state         inactive, pending, active, error or locked; null when the daemon gives no answer
    node_id       this node's id, "" outside a Swarm
    manager       whether this node controls the Swarm
    nodes         number of nodes; 0 where this node is no manager and cannot know
    """
    swarm = (info or {}).get("Swarm") or {}
    return {
        "state": swarm.get("LocalNodeState") or None,
        "node_id": swarm.get("NodeID") or "",
        "manager": bool(swarm.get("ControlAvailable")),
        "nodes": swarm.get("Nodes") or 0,
    }


def _run(command, timeout):
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"no end within {timeout} s")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's Docker Engine: found, or installed and started. One that is there is never reconfigured."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import requests

from .report import LabError, say, step

PACKAGES = ("docker.io", "iptables", "mmdebstrap", "debian-archive-keyring", "openssh-client")
TOOLS = {"mmdebstrap": "mmdebstrap", "ssh-keygen": "openssh-client"}  # needed even where an engine answers
LOG = Path("/var/log/gpufleet-lab-dockerd.log")
RECORD = Path(
    "/run/gpufleet-lab-engine.json"
)  # which daemon the lab started; gone after a reboot, as the daemon is
PID_FILES = (Path("/run/docker.pid"), Path("/run/docker/containerd/containerd.pid"))
START_SECONDS = 60
CALL_SECONDS = 900  # importing or building an image is one call


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One lab command at a time decides about engine, images and networks; another one waits here."""
    path = Path(tempfile.gettempdir()) / f"gpufleet-lab-{os.getuid()}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("Waited for another lab command on this machine"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find() -> docker.DockerClient | None:
    """The engine that answers, or None. DOCKER_HOST is honoured as everywhere."""
    try:
        client = docker.from_env(timeout=CALL_SECONDS)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        if "Permission denied" in str(error):
            raise LabError(
                "A Docker Engine is here, but this user may not use it.",
                "Join the group 'docker' (then log in again), or run the command as root.",
            ) from None
        return None
    return client


def ensure() -> docker.DockerClient:
    """An engine that answers: the one that is there, else Debian's, installed and started."""
    with lock():
        missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
        client = find()
        if client and not missing:
            return client
        if os.environ.get("DOCKER_HOST") and not client:
            raise LabError(
                f"No Docker Engine answers at {os.environ['DOCKER_HOST']}.",
                "Correct DOCKER_HOST, or unset it to let the lab install and start an engine here.",
            )
        if not client and not shutil.which("dockerd"):
            missing = list(PACKAGES)
        if missing:
            _install(missing)
        return client or start()


def start() -> docker.DockerClient:
    """Start the installed engine, through systemd where it runs, else detached in a session of its own."""
    _need_root("start a Docker Engine", "systemctl start docker")
    with step("Start the Docker Engine") as now:
        if Path("/run/systemd/system").is_dir():
            _run(["systemctl", "start", "docker"], "start the Docker Engine")
            process = None
            RECORD.write_text(json.dumps({"unit": "docker"}), encoding="utf-8")
        else:
            _forget_dead_daemons()
            with LOG.open("ab") as log:
                process = subprocess.Popen(
                    ["dockerd"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd="/",
                )
            RECORD.write_text(json.dumps({"pid": process.pid}), encoding="utf-8")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            client = find()
            if client:
                now.note = client.version()["Version"]
                return client
            if process and process.poll() is not None:
                break
            time.sleep(0.2)
    tail = "\n       ".join(LOG.read_text(errors="replace").splitlines()[-8:]) if LOG.exists() else "(no log)"
    raise LabError(f"The Docker Engine was started but does not answer. Last lines of {LOG}:\n       {tail}")


def stop_own() -> None:
    """Stop the engine if it is one that the lab started itself, and forget it."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if "unit" in record or _is_daemon(record.get("pid", 0)):
        with step("Stop the Docker Engine that the lab had started"):
            if "unit" in record:
                _run(["systemctl", "stop", "docker.socket", "docker.service"], "stop the Docker Engine")
            else:
                os.kill(record["pid"], signal.SIGTERM)
                deadline = time.monotonic() + START_SECONDS
                while _is_daemon(record["pid"]) and time.monotonic() < deadline:
                    time.sleep(0.1)
    RECORD.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)


def started_before() -> bool:
    """Whether the lab has started an engine here since the last `down --all`; it may be gone by now."""
    return RECORD.exists() or LOG.exists()


def installed() -> bool:
    return shutil.which("dockerd") is not None and os.geteuid() == 0


def _install(packages: list[str]) -> None:
    if not shutil.which("apt-get"):
        raise LabError(
            f"Missing on this machine: {', '.join(packages)}, and there is no apt-get to install them.",
            "Elsewhere than on Debian and Ubuntu, install a Docker Engine, mmdebstrap and OpenSSH first.",
        )
    _need_root(f"install {', '.join(packages)}", f"apt-get install {' '.join(packages)}")
    with step(f"Install {', '.join(packages)}") as now:
        now.state = "package lists"
        _apt("update")
        now.state = "packages"
        _apt("install", "--yes", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    _run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments],
        f"run apt-get {arguments[0]}",
        environment,
    )


def _run(command: list[str], what: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        tail = "\n       ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        raise LabError(f"Could not {what} (exit {done.returncode}):\n       {tail}")


def _need_root(what: str, by_hand: str) -> None:
    if os.geteuid() != 0:
        raise LabError(
            f"The lab has to {what}, which needs root.", f"Run it as root, or do it by hand: sudo {by_hand}"
        )


def _forget_dead_daemons() -> None:
    """Remove pid files that name no daemon any more: dockerd takes any process of that number for itself."""
    for file in PID_FILES:
        try:
            pid = int(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not _is_daemon(pid):
            say(f"          Removed the stale {file}")
            file.unlink(missing_ok=True)


def _is_daemon(pid: int) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return name in ("dockerd", "containerd") and state != "Z"

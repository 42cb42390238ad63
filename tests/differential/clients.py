# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's command line in several versions, found on this machine or fetched from a distribution's archive.

    python -m tests.differential.clients     find or fetch all of them and say where they are

Nothing is installed: apt downloads a package with folders and sources of its own, and its one program is kept
in .cache/docker-cli/VERSION. The suites named are those of releases, so that their versions stay.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab import apt

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "docker-cli"
KEYRINGS = Path("/usr/share/keyrings")
PROGRAM = "usr/bin/docker"  # in the packages


class Missing(Exception):
    """A client cannot be had; says what was tried."""


@dataclass(frozen=True)
class Archive:
    """Where packages come from. mirror: if the machine's own apt names none of this distribution."""

    mirror: str
    component: str
    keyring: str


DEBIAN = Archive("http://deb.debian.org/debian", "main", "debian-archive-keyring.gpg")
UBUNTU = Archive("http://archive.ubuntu.com/ubuntu", "universe", "ubuntu-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    """The package of an archive's suite that has the client."""

    archive: Archive
    suite: str
    package: str


# Each speaks its own version of the Engine's API and has its own newest schema; see docs/compose.md.
CLIENTS = {
    "20.10": Source(DEBIAN, "bookworm", "docker.io"),
    "26.1": Source(DEBIAN, "trixie", "docker-cli"),
    "28.2": Source(UBUNTU, "questing", "docker.io"),
    "29.1": Source(UBUNTU, "resolute", "docker.io"),
}


@cache
def find(version: str) -> Path:
    """Return the program of a version such as "28.2"; raise Missing."""
    kept = CACHE / version / "docker"
    if _is(kept, version):
        return kept
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(folder, "docker")
        if folder and _is(program, version):
            return program
    source = CLIENTS[version]
    try:
        _fetch(source, kept)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(
            f"docker {version} is not on this machine, and the package {source.package} of {source.suite} "
            f"cannot be fetched: {_reason(error)}"
        ) from error
    if not _is(kept, version):
        found = _version(kept)
        kept.unlink()
        raise Missing(f"the package {source.package} of {source.suite} has docker {found}, wanted {version}")
    return kept


def _is(program: Path, version: str) -> bool:
    return program.is_file() and _version(program).startswith(version + ".")


@cache
def _version(program: Path) -> str:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    match = re.search(r"version ([0-9.]+)", answer.stdout)
    return match[1] if match else "none"


def _fetch(source: Source, kept: Path) -> None:
    """Download the package and keep its program."""
    with tempfile.TemporaryDirectory(prefix="gpufleet-client-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt fetches as a user of its own
        content = _download(folder, source)
        kept.parent.mkdir(parents=True, exist_ok=True)
        # In one step, for whoever runs the tests at the same time.
        partial = kept.with_name(f"docker.{os.getpid()}")
        shutil.copy2(content / PROGRAM, partial)
        partial.replace(kept)


def _download(folder: Path, source: Source) -> Path:
    """Return the folder with a package's content."""
    keyring = KEYRINGS / source.archive.keyring
    if not keyring.exists() and source.archive is UBUNTU:
        # Debian vouches for Ubuntu's keys.
        keys = _download(folder, Source(DEBIAN, "trixie", "ubuntu-keyring"))
        keyring = keys / "usr/share/keyrings" / UBUNTU.keyring
    place = folder / source.suite
    for part in ("lists/partial", "cache/archives/partial", "content"):
        (place / part).mkdir(parents=True)
    mirror = (apt.machine_mirror().main if source.archive is DEBIAN else None) or source.archive.mirror
    options = f"signed-by={keyring} arch={_architecture()}"
    line = f"deb [{options}] {mirror} {source.suite} {source.archive.component}\n"
    (place / "sources.list").write_text(line, encoding="utf-8")
    settings = {
        "Dir::Etc::SourceList": place / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": place / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": place / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "APT::Sandbox::User": "",
    }
    words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _run(place, "apt-get", *words, "-qq", "-o", "APT::Update::Error-Mode=any", "update")
    _run(place, "apt-get", *words, "-qq", "download", source.package)
    (package,) = place.glob("*.deb")
    _run(place, "dpkg-deb", "-x", str(package), str(place / "content"))
    return place / "content"


def _architecture() -> str:
    return subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=300)


def _reason(error: Exception) -> str:
    """The last line of what a command had to say, else the error itself."""
    lines = (getattr(error, "stderr", None) or "").strip().splitlines()
    return lines[-1] if lines else str(error)


if __name__ == "__main__":
    for known in CLIENTS:
        try:
            print(known, find(known))
        except Missing as missing:
            print(known, "MISSING:", missing)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The smallest Debian that can install packages, made with mmdebstrap from the machine's own mirror.

Every image of the lab is built on it, so no image registry is needed anywhere.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import docker

from . import apt, build
from .report import LabError, step

DEBIAN = {"trixie": "Debian 13", "bookworm": "Debian 12"}
PACKAGES = "ca-certificates,passwd"
DPKG_OPTIONS = (
    "force-unsafe-io",  # a lab that loses power is made anew
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/locale/*",
)
AUTHORITIES = "/usr/local/share/ca-certificates"
POLICY = "/usr/sbin/policy-rc.d"  # exit code 101: no service starts when its package is installed


@dataclass(frozen=True)
class Recipe:
    """suite: Debian code name. sources: one-line apt sources, empty for mmdebstrap's own choice.

    settings: lines of apt.conf, kept in the image. authorities: (file name, PEM) to trust in addition.
    """

    suite: str
    sources: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    authorities: tuple[tuple[str, str], ...] = ()

    @property
    def tag(self) -> str:
        return f"gpufleet-lab/base:{self.suite}"

    @property
    def hash(self) -> str:
        """Changes when the image would: the recipe itself, or the way it is carried out."""
        text = json.dumps([asdict(self), self.command(Path("/"))], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def command(self, folder: Path) -> list[str]:
        """mmdebstrap's arguments; the tar archive goes to standard output. folder: holds the authorities."""
        call = ["mmdebstrap", "--variant=apt", f"--include={PACKAGES}", "--format=tar"]
        call += ["--skip=chroot/policy-rc.d"]  # its own would go in the end, and take the image's with it
        call += [f"--aptopt={setting}" for setting in (*self.settings, 'Acquire::Languages "none"')]
        call += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
        if self.authorities:
            files = " ".join(shlex.quote(str(folder / name)) for name, _text in self.authorities)
            call.append(f'--customize-hook=install -D -m 0644 -t "$1"{AUTHORITIES} {files}')
            call.append('--customize-hook=chroot "$1" update-ca-certificates')
        policy = f'"$1"{POLICY}'
        call.append(rf'--customize-hook=printf "#!/bin/sh\nexit 101\n" > {policy}; chmod 0755 {policy}')
        return [*call, self.suite, "-", *self.sources]


def recipe(suite: str) -> Recipe:
    """The recipe on this machine, as its apt is set up now."""
    authorities = apt.machine_authorities()
    return Recipe(
        suite=suite,
        sources=tuple(apt.machine_mirror().sources(suite)),
        settings=tuple(apt.machine_settings()),
        authorities=tuple(sorted(authorities.items())),
    )


def ensure(client: docker.DockerClient, recipes: list[Recipe]) -> None:
    """Build the bases that are missing or whose recipe has changed, side by side."""
    todo = [one for one in recipes if build.built(client, one.tag) != one.hash]
    with ThreadPoolExecutor(max(1, len(todo))) as pool:
        for job in [pool.submit(_bootstrap, client, one) for one in todo]:
            job.result()


def _bootstrap(client: docker.DockerClient, one: Recipe) -> None:
    title = f"Bootstrap {DEBIAN[one.suite]}"
    with step(title) as now, tempfile.TemporaryDirectory(prefix="gpufleet-lab-") as folder:
        for name, text in one.authorities:
            Path(folder, name).write_text(text, encoding="utf-8")
        messages = Path(folder, "messages")
        now.watch = messages
        with messages.open("wb") as log:
            process = subprocess.Popen(one.command(Path(folder)), stdout=subprocess.PIPE, stderr=log)
        name, _, version = one.tag.partition(":")
        client.api.import_image_from_stream(
            process.stdout, repository=name, tag=version, changes=[f"LABEL {build.OURS}={one.hash}"]
        )
        if process.wait():
            client.images.remove(one.tag)
            lines = messages.read_text(errors="replace").strip().splitlines()
            raise LabError(
                f"mmdebstrap could not make {DEBIAN[one.suite]}:\n       " + "\n       ".join(lines[-8:])
            )

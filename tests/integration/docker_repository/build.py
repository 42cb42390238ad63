# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a stand-in for Docker's apt repository: its layout, names and signature, over the distribution's Engine.

    python3 build.py FOLDER DISTRIBUTION CODENAME VERSION...

Runs on a host of the lab, which has dpkg and gnupg. The packages docker-ce, docker-ce-cli and containerd.io
hold nothing and depend on the distribution's packages, so that installing them gives a real Engine. A key is
made on the spot; running it again makes another one, as when Docker would renew its own.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# docker-cli is a package of its own from Debian 13 on; before, docker.io has the client in it.
PACKAGES = {
    "docker-ce": "docker.io, docker-ce-cli, containerd.io",
    "docker-ce-cli": "docker-cli | docker.io",
    "containerd.io": "containerd",
}


def build_package(pool: Path, name: str, version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder, "DEBIAN")
        control.mkdir(mode=0o755)
        (control / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nDepends: {PACKAGES[name]}\n"
            "Maintainer: The gpufleet lab <lab@lab.test>\nDescription: stand-in of the lab\n"
        )
        file = pool / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", folder, file], check=True)


def index(root: Path, pool: Path) -> str:
    """Return the text of Packages: each package's control file, where it lies, and what it is."""
    entries = []
    for file in sorted(pool.glob("*.deb")):
        control = subprocess.run(
            ["dpkg-deb", "--field", file], check=True, capture_output=True, text=True
        ).stdout
        data = file.read_bytes()
        entries.append(
            f"{control}Filename: {file.relative_to(root)}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    return "\n".join(entries)


def sign(root: Path, release: Path) -> None:
    """Make a key, sign the release with it, and publish its public half as Docker does."""
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o700)
        gpg = [
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        subprocess.run(
            [*gpg, "--quick-generate-key", "Lab <lab@lab.test>", "ed25519", "sign", "1d"], check=True
        )
        subprocess.run(
            [*gpg, "--yes", "--clearsign", "--output", release.with_name("InRelease"), release], check=True
        )
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    (root / "gpg").write_bytes(key)


def main(folder: str, distribution: str, codename: str, *versions: str) -> None:
    root = Path(folder, distribution)
    shutil.rmtree(root, ignore_errors=True)
    pool = root / "pool"
    suite = root / "dists" / codename
    binary = suite / "stable" / "binary-amd64"
    for path in (pool, binary):
        path.mkdir(parents=True)
    for version in versions:
        for name in PACKAGES:
            build_package(pool, name, version)
    packages = index(root, pool).encode()
    lines = [
        f"Origin: Lab\nSuite: {codename}\nCodename: {codename}\nArchitectures: amd64\nComponents: stable\nSHA256:"
    ]
    for name, data in (("Packages", packages), ("Packages.gz", gzip.compress(packages))):
        (binary / name).write_bytes(data)
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} stable/binary-amd64/{name}")
    (suite / "Release").write_text("\n".join(lines) + "\n")
    sign(root, suite / "Release")


if __name__ == "__main__":
    main(*sys.argv[1:])

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a stand-in for Docker's apt repository: its layout, names and signature, over Debian's Engine.

    python3 build.py FOLDER DISTRIBUTION CODENAME VERSION...

Runs as root on a host of the lab, which has apt, dpkg and gnupg. The first version of docker-ce and
docker-ce-cli, and containerd.io, hold the files of the distribution's packages, as docker.io conflicts with
docker-ce and could not lie beneath it; the other versions are empty. Run again on a folder that is there, it
only signs with a new key, as when Docker renews its own.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# What each package is made of. docker-cli is a package of its own from Debian 13 on.
PACKAGES = {"docker-ce": "docker.io", "docker-ce-cli": "docker-cli"}
CONTAINERD = ("containerd.io", "1.7.0-1~lab", "containerd")


def unpack(package: str, folder: Path) -> bool:
    """Unpack a package of the distribution with its control files into a folder, where there is one."""
    with tempfile.TemporaryDirectory() as download:
        os.chmod(download, 0o777)  # apt downloads as a user of its own
        done = subprocess.run(["apt-get", "download", package], cwd=download, check=False)
        files = list(Path(download).glob("*.deb"))
        if done.returncode == 0 and files:
            subprocess.run(["dpkg-deb", "--raw-extract", files[0], folder], check=True)
        return bool(files)


def rename(control: str, name: str, version: str) -> str:
    """Return a control file under another name and version, at odds with no other package."""
    control = re.sub(
        r"^(Package|Version|Source|Conflicts|Breaks|Replaces|Recommends|Suggests):.*\n( .*\n)*",
        "",
        control,
        flags=re.MULTILINE,
    )
    control = re.sub(r"(?<= )containerd( \([^)]*\))?(?=,|$)", "containerd.io", control, flags=re.MULTILINE)
    return f"Package: {name}\nVersion: {version}\n{control}"


def build_package(pool: Path, name: str, version: str, source: str | None) -> None:
    control = (
        "Architecture: amd64\nMaintainer: The gpufleet lab <lab@lab.test>\nDescription: stand-in of the lab\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "package")
        file = folder / "DEBIAN" / "control"
        if source and unpack(source, folder):
            control = file.read_text()
        else:
            file.parent.mkdir(parents=True)
        file.write_text(rename(control, name, version))
        target = pool / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Znone", folder, target], check=True)


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
    pool = root / "pool"
    suite = root / "dists" / codename
    binary = suite / "stable" / "binary-amd64"
    if not pool.exists():
        pool.mkdir(parents=True)
        binary.mkdir(parents=True)
        subprocess.run(["apt-get", "update"], check=True)
        build_package(pool, *CONTAINERD)
        for version in versions:
            for name, source in PACKAGES.items():
                build_package(pool, name, version, source if version == versions[0] else None)
    packages = index(root, pool).encode()
    lines = ["Origin: Lab", f"Suite: {codename}", f"Codename: {codename}", "Architectures: amd64"]
    lines += ["Components: stable", "SHA256:"]
    for name, data in (("Packages", packages), ("Packages.gz", gzip.compress(packages))):
        (binary / name).write_bytes(data)
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} stable/binary-amd64/{name}")
    (suite / "Release").write_text("\n".join(lines) + "\n")
    sign(root, suite / "Release")


if __name__ == "__main__":
    main(*sys.argv[1:])

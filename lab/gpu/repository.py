# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the stand-in of NVIDIA's apt repository for the container toolkit: its layout, names and signature.

    python3 repository.py FOLDER VERSION...

Runs as root on a host of the lab, which has dpkg and gnupg. FOLDER has the files the packages are made of. It
gets ARCHITECTURE/ with packages, Packages, Release and InRelease, and gpgkey, the public half of a key that
is made for it and forgotten.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = "etc/nvidia-container-runtime/config.toml"
PACKAGES = {  # name -> (what it depends on, its programs)
    "libnvidia-container1": ("libc6", []),
    "libnvidia-container-tools": ("libnvidia-container1 (>= {version})", []),
    "nvidia-container-toolkit-base": ("python3", ["nvidia-container-runtime", "nvidia-ctk"]),
    "nvidia-container-toolkit": (
        "nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (>= {version})",
        [],
    ),
}
# As the real package: a configuration that is there stays.
AFTER = f"""\
#!/bin/sh
set -e
[ -e /{CONFIG} ] || install -D -m 0644 /usr/share/gpufleet-lab/config.toml /{CONFIG}
"""


def build(folder: Path, target: Path, name: str, release: str, architecture: str) -> None:
    """Build one package of one release ("1.19.1") into a folder."""
    depends, programs = PACKAGES[name]
    version = f"{release}-1"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "package")
        control = root / "DEBIAN"
        control.mkdir(parents=True)
        control.joinpath("control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
            "Maintainer: The lab <lab@lab.test>\n"
            f"Depends: {depends.format(version=version)}\nDescription: stand-in of the lab\n"
        )
        for program in programs:
            file = root / "usr" / "bin" / program
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(folder.joinpath(program).read_text().replace("@VERSION@", release))
            file.chmod(0o755)
        if programs:
            share = root / "usr" / "share" / "gpufleet-lab"
            share.mkdir(parents=True)
            shutil.copy(folder / "config.toml", share)
            control.joinpath("postinst").write_text(AFTER)
            control.joinpath("postinst").chmod(0o755)
        file = target / f"{name}_{version}_{architecture}.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Znone", root, file], check=True)


def index(target: Path) -> None:
    """Write Packages and Release of a flat repository."""
    entries = []
    for file in sorted(target.glob("*.deb")):
        control = subprocess.run(
            ["dpkg-deb", "--field", file], check=True, capture_output=True, text=True
        ).stdout
        data = file.read_bytes()
        entries.append(
            f"{control}Filename: ./{file.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    data = "\n".join(entries).encode()
    target.joinpath("Packages").write_bytes(data)
    target.joinpath("Release").write_text(
        f"Origin: Lab\nLabel: stand-in\nSHA256:\n {hashlib.sha256(data).hexdigest()} {len(data)} Packages\n"
    )


def sign(folder: Path, target: Path) -> None:
    """Sign the release with a key made for it, and publish the key's public half as NVIDIA does."""
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
            [*gpg, "--quick-generate-key", "Lab <lab@lab.test>", "ed25519", "sign", "1y"], check=True
        )
        release = target / "Release"
        subprocess.run([*gpg, "--yes", "--clearsign", "--output", target / "InRelease", release], check=True)
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    folder.joinpath("gpgkey").write_bytes(key)


def main(folder: Path, *releases: str) -> None:
    """Build all packages of some releases, unless they are there already."""
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    target = folder / architecture
    if target.joinpath("InRelease").exists():
        return
    target.mkdir(exist_ok=True)
    for release in releases:
        for name in PACKAGES:
            build(folder, target, name, release, architecture)
    index(target)
    sign(folder, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

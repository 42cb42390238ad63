#!/usr/bin/env python3
# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the controller's virtual environment in .venv, with this checkout linked in as gpufleet.swarm.

Standard library only: it runs on a machine that has python3, make and apt and nothing else. A second run with
the same requirements, interpreter and place returns at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".made-from"
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
OLDEST_PYTHON = (3, 11)
# Programs the controller calls, and the Debian package each comes in.
PROGRAMS = {"ssh": "openssh-client", "git": "git"}


def missing_packages() -> list[str]:
    """Return the Debian packages this machine still lacks."""
    packages = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    # Debian's python3 is built without ensurepip; python3-venv brings it.
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return packages if probe.returncode == 0 else [*packages, "python3-venv"]


def install_packages(packages: list[str]) -> None:
    """Install Debian packages, or say what to type where that is not possible."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"make venv needs {', '.join(packages)}. As root: apt-get install {' '.join(packages)}")
    print(f"==> installing {', '.join(packages)} with apt", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], env=env, stdout=subprocess.DEVNULL, check=True)


def fingerprint() -> str:
    """Return what the environment depends on: interpreter, place and requirements, as one hash."""
    parts = [sys.version, str(VENV), *((ROOT / name).read_text(encoding="utf-8") for name in REQUIREMENTS)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def site_packages() -> Path:
    """Return the folder that the packages are in."""
    return VENV / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def link_checkout() -> None:
    """Link the checkout where Ansible and Python look for the collection gpufleet.swarm."""
    link = site_packages() / "ansible_collections" / "gpufleet" / "swarm"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.resolve() != ROOT:
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)


def build() -> None:
    """Make the environment anew and install the requirements into it."""
    started = time.monotonic()
    print(
        f"==> making {VENV.relative_to(ROOT)} (a minute or two, once per change of requirements)", flush=True
    )
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    arguments = [part for name in REQUIREMENTS for part in ("-r", str(ROOT / name))]
    python = [str(VENV / "bin" / "python"), "-m"]
    pip = [*python, "pip", "--disable-pip-version-check", "install", "--no-compile", "-qq"]
    subprocess.run([*pip, *arguments], check=True)
    # pip would compile the 15,000 files of Ansible's collections, too, and Ansible never reads that. All
    # else is compiled here, for Python may be told to write none (PYTHONDONTWRITEBYTECODE): without it every
    # start of ansible-playbook takes 0.4 s more. Files that are no Python 3 fail alone; nothing needs them.
    compile_all = [*python, "compileall", "-q", "-j", "0", "-x", "/site-packages/ansible_collections/"]
    subprocess.run([*compile_all, str(site_packages())], stdout=subprocess.DEVNULL, check=False)
    print(f"==> .venv is ready after {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """Bring .venv up to date."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        sys.exit(
            f"make venv found Python {sys.version.split()[0]} at {sys.executable}, wanted {wanted} or newer; "
            "name another one: make venv PYTHON=/path/to/python3"
        )
    wanted = fingerprint()
    if not (STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted):
        if packages := missing_packages():
            install_packages(packages)
        build()
        STAMP.write_text(wanted, encoding="utf-8")
    link_checkout()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"make venv failed: `{' '.join(map(str, error.cmd))}` ended with code {error.returncode}")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all of `ansible-test sanity` on the built collection, with nothing but a Python package index.

Some of its tests (import, pep8, pylint, runtime-metadata, validate-modules, yamllint) make virtual
environments of their own and fetch pip's bootstrap script from a web site. `ansible-test` looks for a
saved copy first; we leave one there that takes pip from Python's own `ensurepip` instead.
Everything is kept in .cache/sanity; the user's home is not touched.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".cache" / "sanity"
HOME = WORK / "home"
COLLECTION = WORK / "tree" / "ansible_collections" / "gpufleet" / "swarm"
BIN = Path(sys.executable).parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# What `ansible-test` runs as "get-pip.py"; its arguments are packages and two options only get-pip knows.
GET_PIP = """\
import subprocess
import sys

packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *packages], check=False).returncode)
"""
# Tests that look at one kind of file only, and run on nothing where the collection has none.
BY_SUFFIX = {"pslint": (".ps1", "PowerShell"), "shellcheck": (".sh", "shell")}


def install_collection() -> None:
    """Build the collection and install the tarball, as a user would get it."""
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", ROOT, "--output-path", WORK, "--force"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    tarball = max(WORK.glob("gpufleet-swarm-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    shutil.rmtree(COLLECTION, ignore_errors=True)
    COLLECTION.mkdir(parents=True)
    with tarfile.open(tarball) as archive:
        archive.extractall(COLLECTION, filter="data")
    # `ansible-test` asks git which files to look at; the checkout around us ignores this folder.
    subprocess.run(["git", "init", "--quiet", COLLECTION], check=True)
    for exceptions in (ROOT / "tests" / "sanity").glob("ignore-*.txt"):
        target = COLLECTION / "tests" / "sanity" / exceptions.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(exceptions, target)


def pip_settings() -> str:
    """Return the pip settings in force here (index, certificates, proxy) as the text of a pip.conf.

    `ansible-test` hands neither the user's configuration nor PIP_* variables to the pips it starts.
    """
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    command = [sys.executable, "-m", "pip", "cache", "dir"]
    cache = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    settings = {"quiet": "2", **({"cache-dir": cache} if cache else {})}
    for line in listing.splitlines():
        if match := re.fullmatch(r"(?::env:|[\w-]+)\.([\w-]+)=(.*)", line):
            settings[match[1]] = ast.literal_eval(match[2])
    if proxy := os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"):
        settings.setdefault("proxy", proxy)
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def seed_home() -> None:
    """Prepare the home folder in which `ansible-test` keeps its environments."""
    source = (
        "from types import SimpleNamespace as Python\n"
        "from ansible_test._internal.python_requirements import get_venv_packages\n"
        f"print(get_venv_packages(Python(version='{PYTHON}'))['pip'])"
    )
    version = subprocess.run(
        [sys.executable, "-c", source], check=True, capture_output=True, text=True
    ).stdout.strip()
    seeds = {
        HOME / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py": GET_PIP,
        HOME / ".config" / "pip" / "pip.conf": pip_settings(),
    }
    for path, text in seeds.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def ansible_test(*arguments: str) -> tuple[int, str]:
    """Run `ansible-test sanity` in the installed collection, show its output, return code and output."""
    env = {**os.environ, "HOME": str(HOME), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [BIN / "ansible-test", "sanity", "--local", "--color", "no", "--python", PYTHON, *arguments]
    process = subprocess.Popen(
        command, cwd=COLLECTION, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return process.wait(), "".join(lines)


def not_run(output: str) -> list[str]:
    """Return one sentence for everything that was not run, with its reason."""
    found = [line.split("WARNING: ")[-1] for line in output.splitlines() if "kipping" in line]
    suffixes = {path.suffix for path in COLLECTION.rglob("*") if path.is_file()}
    found += [
        f'"{name}" had nothing to look at: the collection has no {language} file.'
        for name, (suffix, language) in BY_SUFFIX.items()
        if suffix not in suffixes
    ]
    found.append(f'"compile" and "import" ran on Python {PYTHON} only, the one of the virtual environment.')
    return list(dict.fromkeys(found))


def main() -> int:
    """Build, seed, test; return the exit code of `ansible-test`."""
    WORK.mkdir(parents=True, exist_ok=True)
    install_collection()
    seed_home()
    code, output = ansible_test(*sys.argv[1:])
    ran = set(re.findall(r'Running sanity test "([\w-]+)"', output))
    if not ran:
        sys.exit("ansible-test sanity ran no test at all, see above")
    print(f"\nansible-test sanity ran {len(ran)} tests; not run:")
    for sentence in not_run(output):
        print(f"  - {sentence}")
    return code


if __name__ == "__main__":
    sys.exit(main())

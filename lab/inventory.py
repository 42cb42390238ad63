# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory folder that the lab writes, so that Ansible reaches its hosts as it reaches real ones.

    DIR/hosts.yml  DIR/group_vars/all.yml  DIR/.ssh/{id_ed25519,id_ed25519.pub,known_hosts}  DIR/.gitignore

The keys lie in a hidden folder because Ansible takes every other one for more inventory. All paths are
relative to the folder, so that it may be moved or reached through another path.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container
from pathlib import Path

from .plan import USER, Host

GROUPS = ("managers", "workers", "gpu", "fronts")
MARKER = ".made-by-the-lab"
HEADER = (
    "# Written by `python3 -m lab up`, and written again by the next one: set your own variables elsewhere.\n"
)


def render_hosts(plan: list[Host], subnet: str, with_cards: Container[str] = ()) -> str:
    """hosts.yml: every group of a fleet, also those that are empty here. with_cards: names for group gpu."""
    lines = ["---", HEADER.rstrip(), "all:", "  children:"]
    for group in GROUPS:
        members = [host for host in plan if host.group == group]
        lines += [f"    {group}:"]
        lines += ["      hosts:"] if members else ["      hosts: {}"]
        for host in members:
            lines += [f"        {host.name}:", f"          ansible_host: {host.address(subnet)}"]
        if group == "gpu" and (named := [host.name for host in plan if host.name in with_cards]):
            lines[-1] = "      hosts:"
            lines += [f"        {name}:" for name in named]
    return "\n".join(lines) + "\n"


def render_variables(values: dict[str, object]) -> str:
    """group_vars/all.yml: how to connect, then `values`, each as JSON, which YAML reads as well."""
    options = " ".join(
        [
            """-o 'UserKnownHostsFile="{{ inventory_dir }}/.ssh/known_hosts"'""",
            "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        ]
    )
    connection = {
        "ansible_user": USER,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": "{{ inventory_dir }}/.ssh/id_ed25519",
        "ansible_ssh_common_args": options,
    }
    lines = ["---", HEADER.rstrip()]
    lines += [f"{name}: {json.dumps(value)}" for name, value in {**connection, **values}.items()]
    return "\n".join(lines) + "\n"


def render_known_hosts(plan: list[Host], subnet: str, keys: dict[str, str]) -> str:
    return "".join(f"{host.address(subnet)} {keys[host.name]}\n" for host in plan)


def prepare(folder: Path, lab: str) -> None:
    """Make the folder, and mark it as the lab's if it was not there before."""
    if not folder.exists():
        folder.mkdir(parents=True)
        write(folder / MARKER, f"{lab}\n")
        write(folder / ".gitignore", "*\n")
    (folder / ".ssh").mkdir(mode=0o700, exist_ok=True)
    (folder / "group_vars").mkdir(exist_ok=True)


def write(path: Path, text: str) -> bool:
    """Write a file unless it says just that already; whether it was written."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def made_for(folder: Path, lab: str) -> bool:
    marker = folder / MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8").strip() == lab


def remove(folder: Path, lab: str) -> bool:
    """Remove what the lab wrote, the folder too if the lab made it. Whether anything was there."""
    if (folder / MARKER).is_file():
        if not made_for(folder, lab):
            return False
        shutil.rmtree(folder)
        return True
    written = [folder / "hosts.yml", folder / "group_vars" / "all.yml"]
    written = [file for file in written if file.is_file() and HEADER in file.read_text(encoding="utf-8")]
    for file in written:
        file.unlink()
    if written:
        shutil.rmtree(folder / ".ssh", ignore_errors=True)
    return bool(written)

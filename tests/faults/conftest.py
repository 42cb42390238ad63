# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two bare hosts, and a way to run a playbook against variations of their inventory."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from lab.footprint import footprint

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = "faults"
HOSTS = ("manager1", "worker1")


class Fleet:
    """The inventory of the two hosts in a folder of one test's own, to be made faulty there."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on(self, host: str, command: str) -> str:
        """Run a command on a host, past SSH and Ansible."""
        words = ["docker", "exec", f"gpufleet-{LAB}-{host}", "sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def footprints(self) -> dict[str, dict[str, str]]:
        """Return what tells a change, of every host."""
        return {host: footprint(partial(self.on, host)) for host in HOSTS}

    def vary(self, change) -> None:
        """Let a function change the content of hosts.yml."""
        path = self.folder / "hosts.yml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(content["all"]["children"])
        path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def play(self, playbook: str = "site.yml", *arguments: str) -> subprocess.CompletedProcess:
        """Run a playbook on the inventory."""
        program = Path(sys.executable).parent / "ansible-playbook"
        command = [str(program), "-i", str(self.folder), playbook, *arguments]
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def inventory(tmp_path_factory):
    """Make the hosts, and remove them after the last test."""
    folder = tmp_path_factory.mktemp("faults") / "fleet"
    lab, place = [sys.executable, "-m", "lab"], ["--name", LAB, "--inventory", folder]
    # An earlier run that was killed may have left its hosts.
    subprocess.run([*lab, "down", *place], cwd=ROOT, check=True)
    subprocess.run([*lab, "up", *place, "--hosts", "2"], cwd=ROOT, check=True)
    yield folder
    subprocess.run([*lab, "down", *place], cwd=ROOT, check=True)


@pytest.fixture
def fleet(inventory, tmp_path) -> Fleet:
    """Return the two hosts under an inventory that this test alone may spoil."""
    return Fleet(Path(shutil.copytree(inventory, tmp_path / "fleet")))


@pytest.fixture
def unchanged(fleet):
    """Fail the test if any file of any host is another one after it."""
    before = fleet.footprints()
    yield
    after = fleet.footprints()
    for host in HOSTS:
        assert after[host] == before[host], f"{host} was changed"

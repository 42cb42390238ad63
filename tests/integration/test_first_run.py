# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first run on three bare managers: it makes a quorum, serves LinTO, and shows no secret at -vvv."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.credentials import leaked, secret_texts

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = os.environ.get("GPUFLEET_INVENTORY")

pytestmark = pytest.mark.skipif(INVENTORY is None, reason="needs three bare hosts: make integration")


def play(playbook, *flags):
    """Run a playbook of the collection on the hosts; the result carries its output."""
    program = str(Path(sys.executable).parent / "ansible-playbook")
    command = [program, "-i", INVENTORY, playbook, *flags]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first_run():
    """Run site.yml on the bare hosts, very talkative."""
    return play("site.yml", "-vvv", "--diff")


def test_it_ends_well(first_run):
    assert first_run.returncode == 0, first_run.stdout[-3000:]


def test_its_log_shows_no_secret(first_run):
    log = first_run.stdout + first_run.stderr
    assert "EXEC" in log, "the run was not as talkative as this test needs"
    secrets = secret_texts(Path(INVENTORY) / "credentials")
    assert {"ca/ca.key", "tls/ingress.key"} < set(secrets)
    assert any(name.startswith("linto/") for name in secrets)
    assert leaked(secrets, log) == []


def test_everything_answers_and_all_three_are_managers(first_run):
    verified = play("playbooks/verify.yml")
    assert verified.returncode == 0, verified.stdout[-3000:]
    rows = re.findall(r"^\s+manager\d+ +manager +ready +active ", verified.stdout, re.MULTILINE)
    assert len(rows) == 3, verified.stdout


def test_a_second_run_changes_nothing(first_run):
    second = play("site.yml")
    recap = re.findall(r"^\S+\s+: ok=\d+\s+changed=(\d+)", second.stdout, re.MULTILINE)
    assert (second.returncode, recap) == (0, ["0", "0", "0"]), second.stdout[-3000:]

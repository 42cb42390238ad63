# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as a user gets it: built, installed without any server, documented, ready to play."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))

pytestmark = pytest.mark.skipif(
    not (BIN / "ansible-galaxy").exists(), reason="Ansible's commands are not installed beside this Python"
)


def run(folder: Path, program: str, *words: str | Path) -> str:
    """Run one of Ansible's commands as if the collections below ``folder`` were the only ones there are."""
    settings = folder / "ansible.cfg"
    settings.touch()
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_COLLECTIONS_PATH": str(folder),
        # Or the link to the checkout would be found as well.
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
    }
    done = subprocess.run(
        [BIN / program, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the collection, install the tarball with no server, return the folder of collections."""
    folder = tmp_path_factory.mktemp("package")
    run(folder, "ansible-galaxy", "collection", "build", ROOT, "--output-path", folder)
    (tarball,) = folder.glob("gpufleet-swarm-*.tar.gz")
    run(folder, "ansible-galaxy", "collection", "install", tarball, "--no-deps", "--offline", "-p", folder)
    # The collections it depends on, which a Galaxy server would bring.
    for namespace in ("ansible", "community"):
        carried = Path(sysconfig.get_path("purelib")) / "ansible_collections" / namespace
        (folder / "ansible_collections" / namespace).symlink_to(carried, target_is_directory=True)
    return folder


def test_the_tarball_holds_the_collection_and_nothing_else(installed):
    (tarball,) = installed.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        tops = {name.split("/")[0] for name in archive.getnames()}
        scripts = [name for name in archive.getnames() if name.startswith("docs/") and name.endswith(".py")]
    assert tops == {
        *("MANIFEST.json", "FILES.json", "README.md", "CHANGELOG.rst", "CONTRIBUTING.md", "LICENSE"),
        *("changelogs", "docs", "meta", "playbooks", "plugins", "roles"),
    }
    assert scripts == []


def test_ansible_doc_shows_every_module(installed):
    pages = json.loads(
        run(installed, "ansible-doc", "--json", *(f"gpufleet.swarm.{name}" for name in MODULES))
    )
    assert sorted(pages) == [f"gpufleet.swarm.{name}" for name in MODULES]
    for page in pages.values():
        assert Path(page["doc"]["filename"]).is_relative_to(installed)


def test_ansible_doc_shows_every_role(installed):
    words = ("--json", "-t", "role", *(f"gpufleet.swarm.{name}" for name in ROLES))
    pages = json.loads(run(installed, "ansible-doc", *words))
    assert sorted(pages) == [f"gpufleet.swarm.{name}" for name in ROLES]
    assert all(page["entry_points"] for page in pages.values())


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_can_be_called_by_its_name(installed, tmp_path, playbook):
    inventory = shutil.copytree(ROOT / "inventories" / "example", tmp_path / "inventory")
    words = ("-i", str(inventory), f"gpufleet.swarm.{playbook}", "--syntax-check")
    assert "playbook:" in run(installed, "ansible-playbook", *words)

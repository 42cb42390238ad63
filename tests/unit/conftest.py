# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make this checkout importable as ansible_collections.gpufleet.swarm, whatever else is installed.

A temporary `ansible_collections/gpufleet/swarm` that links to the checkout comes first on every search path.
With Ansible installed its own collection loader gets that path; without it Python's namespace packages do,
which is enough for everything that does not import Ansible.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Kept for the life of the process; removed when it ends.
TREE = tempfile.TemporaryDirectory(prefix="gpufleet-tests-")


def link_checkout(tree: Path) -> None:
    """Lay out the folders Ansible expects above a collection."""
    namespace = tree / "ansible_collections" / "gpufleet"
    namespace.mkdir(parents=True)
    (namespace / "swarm").symlink_to(ROOT, target_is_directory=True)


def make_importable(tree: Path) -> None:
    """Put the linked collection first on the path of whichever loader there is."""
    try:
        from ansible.plugins.loader import init_plugin_loader
    except ImportError:
        sys.path.insert(0, str(tree))
    else:
        init_plugin_loader([str(tree)])


link_checkout(Path(TREE.name))
make_importable(Path(TREE.name))

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After the dry run (`--check --diff` of the whole site.yml): nothing on the hosts is different."""

from __future__ import annotations

import json


def test_the_dry_run_changed_no_file(fleet, node, footprints, footprints_file):
    before = json.loads(footprints_file.read_text(encoding="utf-8"))[node]
    after = footprints[node]
    different = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    assert different == []

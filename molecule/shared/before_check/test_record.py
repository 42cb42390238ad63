# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before the dry run: the hosts are bare, and what is on them is written down."""

from __future__ import annotations

import json


def test_a_host_of_the_lab_starts_without_docker(fleet, node):
    assert not fleet.host(node).exists("dockerd")
    assert not fleet.host(node).file("/etc/docker").exists


def test_what_is_on_the_hosts_is_recorded(footprints, footprints_file):
    assert all(footprints.values())
    footprints_file.write_text(json.dumps(footprints), encoding="utf-8")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the suites on two hosts share. Each has a fixture `fleet` of its own, made as it needs its hosts."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def manager(fleet):
    return fleet.manager


@pytest.fixture(scope="module")
def worker(fleet):
    return fleet.worker

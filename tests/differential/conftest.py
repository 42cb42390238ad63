# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable as a collection."""

from __future__ import annotations

from tests.unit import conftest as importable  # noqa: F401  (its import makes the collection importable)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable as a collection, and print what the property tests did."""

from __future__ import annotations

import pytest

from tests.unit import conftest as importable  # noqa: F401  (its import makes the collection importable)

COUNTED: list[str] = []


@pytest.fixture(scope="session")
def count():
    """Return a function that keeps a sentence for the end of the output."""
    return COUNTED.append


def pytest_terminal_summary(terminalreporter):
    for sentence in COUNTED:
        terminalreporter.write_line(sentence)

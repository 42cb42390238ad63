# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: fleets of containers with systemd that behave like hosts, each with room for an engine of its own.

Standard library and the Docker SDK for Python only. Start with `python3 -m lab --help`.
"""

from __future__ import annotations

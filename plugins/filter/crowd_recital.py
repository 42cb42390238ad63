# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of the role crowd_recital; documented in the YAML file beside."""
from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils import _crowd_recital


class FilterModule:
    """Register the filters."""

    def filters(self):
        """Return the filters by name."""
        return {"crowd_recital_problems": _crowd_recital.problems}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role image_server; documented in the YAML files beside."""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils import _image_server


class FilterModule:
    """Register the filters."""

    def filters(self):
        """Return the filters by name."""
        return {"image_server_plan": _image_server.plan, "image_server_env": _image_server.read_env}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role images; each is documented in the file of its name."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.swarm.plugins.module_utils import _images
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError


def image_builds(builds, commits=None, registry=""):
    """Return the builds with defaults, ``commit`` and ``reference``."""
    try:
        return _images.complete(builds, commits, registry)
    except FleetError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """Register the filters."""

    def filters(self):
        """Return the filters by name."""
        return {
            "image_builds": image_builds,
            "images_left": _images.left,
            "images_refused": _images.refused,
        }

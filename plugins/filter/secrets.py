# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for secrets; documented in the YAML files beside."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secrets


def scram_sha_256(password):
    """Return what PostgreSQL stores for a password."""
    if not isinstance(password, str) or not password or not password.isascii():
        raise AnsibleFilterError("scram_sha_256 takes a password in ASCII that is not empty")
    return _secrets.scram_sha_256(password)


class FilterModule:
    """Register the filter."""

    def filters(self):
        """Return the filter by name."""
        return {"scram_sha_256": scram_sha_256}

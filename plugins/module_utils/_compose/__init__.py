# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose files to one validated model. Private: may change in any release.

Runs on the controller only and needs PyYAML. Pure but for the read_file function it is given:

    reader       YAML text -> plain data with lines      schema*      the keys, by what is done with them
    interpolate  variables in values                     validate     the parts schemas are made of
    merge        several files -> one                    ports, mounts, images, words, scalars, envfile
    dialect      Compose's words -> Swarm's              settle       merged document -> Model
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.loading import load
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.model import Model

__all__ = ["ComposeError", "Model", "load"]

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make what the controller converted ready for one Engine. Pure. Private: may change in any release."""

from __future__ import annotations

import copy

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import masking, normalise, words

# An older API drops these on each write without a word: the service would differ on every run.
_START_INTERVAL_SINCE = (1, 44)
_SUBPATH_SINCE = (1, 45)
_OOM_SCORE_SINCE = (1, 46)


def nothing(name):
    """Return what is wanted of a stack that shall be absent."""
    return {
        "name": name,
        "networks": {},
        "configs": {},
        "secrets": {},
        "services": {},
        "external_networks": [],
        "external_configs": [],
        "external_secrets": [],
    }


def prepare(desired, secrets, api):
    """Return (wanted, marked, warnings): with secrets filled in, with markers in their place, and what was
    left out.

    api  the API version of the Engine, for example (1, 45)
    """
    marked = copy.deepcopy(desired)
    warnings = []
    for name, service in marked["services"].items():
        _fit(name, service["spec"], api, warnings)
        if masking.has_marker(service["spec"]):
            told = words.service(normalise.service(service["spec"]))
            service["spec"] = masking.with_secret_fields(service["spec"], told)
    return masking.resolve(marked, secrets), marked, warnings


def _fit(name, spec, api, warnings):
    container = spec["TaskTemplate"]["ContainerSpec"]
    health = container.get("Healthcheck") or {}
    if health.get("StartInterval") and api < _START_INTERVAL_SINCE:
        del health["StartInterval"]
        warnings.append(
            f"{name}: healthcheck.start_interval is left out, it needs Engine 25 (API 1.44) and this manager "
            f"has API {_version(api)}"
        )
    if container.get("OomScoreAdj") and api < _OOM_SCORE_SINCE:
        del container["OomScoreAdj"]
        warnings.append(
            f"{name}: oom_score_adj is left out, it needs Engine 27 (API 1.46) and this manager "
            f"has API {_version(api)}"
        )
    for mount in container.get("Mounts") or []:
        if (mount.get("VolumeOptions") or {}).get("Subpath") and api < _SUBPATH_SINCE:
            # Left out, the whole volume would be mounted: not the same thing at all.
            raise FleetError(
                "A volume is mounted by a subpath",
                target=f"{name}, {mount.get('Target')}",
                found=f"API {_version(api)}",
                wanted="Engine 26 (API 1.45) or newer",
                option="volumes[].volume.subpath: leave it out, or upgrade the manager",
            )


def _version(api):
    return ".".join(str(part) for part in api)

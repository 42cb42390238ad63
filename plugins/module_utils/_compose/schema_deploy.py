# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy section of a service. Private: may change in any release.

Durations become nanoseconds, sizes bytes, processors billionths.
"""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate as v

# Which capabilities in a device request mean a GPU (compose-spec, "devices": capabilities).
_GPU_CAPABILITIES = ("gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display", "ngx")

_UUID = re.compile(r"(GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _device_count(field):
    if field.value == "all":
        return "all"
    value = field.fill(field.value) if isinstance(field.value, str) else field.value
    return "all" if value == "all" else v.integer(1)(field.replaced(value))


_DEVICE = {
    "capabilities": v.list_of(v.one_of(*_GPU_CAPABILITIES)),
    "count": _device_count,
    "device_ids": v.list_of(v.text),
    "driver": v.text,
    "options": v.refused("Swarm's resources take no driver options", "the file without it"),
}


def gpus(field):
    """The service key gpus: "all" or a list of device requests."""
    if field.value == "all":
        return [{"count": "all"}]
    return v.list_of(v.record(_DEVICE, tags=False))(field)


def _cards(field):
    """The cards of a claim: a number, "all" those of a node, or a list of UUIDs."""
    if field.value == "all":
        return "all"
    if isinstance(field.value, list):
        return v.list_of(_uuid, unique=True)(field)
    value = field.fill(field.value) if isinstance(field.value, str) else field.value
    return "all" if value == "all" else v.integer(1)(field.replaced(value))


def _uuid(field):
    text = v.word(field)
    if not _UUID.fullmatch(text):
        raise field.error(
            "A card is named by something that is not its whole UUID",
            found=text,
            wanted="GPU-12345678-aaaa-bbbb-cccc-0123456789ab, as nvidia-smi -L tells it",
        )
    return text


# Our own service key x-gpu; what fits together is decided when all files are merged (dialect).
gpu_claim = v.record(
    {"claim": v.one_of("exclusive", "shared"), "kind": v.word, "cards": _cards, "memory": v.size}
)


def _lower(parse):
    """Let a word be written in any case, as the CLI does for endpoint_mode."""
    return lambda field: parse(field.replaced(field.text().lower()))


def _generic_resources(field):
    entries = v.list_of(
        v.record(
            {
                "discrete_resource_spec": v.record(
                    {"kind": v.word, "value": v.integer(1)}, required=("kind", "value"), tags=False
                ),
            },
            required=("discrete_resource_spec",),
            tags=False,
        )
    )(field)
    return [entry["discrete_resource_spec"] for entry in entries if "discrete_resource_spec" in entry]


def _update(*actions):
    return v.record(
        {
            "parallelism": v.integer(0),
            "delay": v.duration,
            "failure_action": v.one_of(*actions),
            "monitor": v.duration,
            "max_failure_ratio": v.ratio,
            "order": v.one_of("start-first", "stop-first"),
        }
    )


DEPLOY = v.record(
    {
        "mode": v.one_of("replicated", "global", "replicated-job", "global-job"),
        "replicas": v.integer(0),
        "endpoint_mode": _lower(v.one_of("vip", "dnsrr")),
        "labels": v.pairs(),
        "update_config": _update("pause", "continue", "rollback"),
        "rollback_config": _update("pause", "continue"),
        "restart_policy": v.record(
            {
                "condition": v.one_of("none", "on-failure", "any"),
                "delay": v.duration,
                "max_attempts": v.integer(0),
                "window": v.duration,
            }
        ),
        "placement": v.record(
            {
                "constraints": v.list_of(v.word),
                "preferences": v.list_of(v.record({"spread": v.word}, required=("spread",), tags=False)),
                "max_replicas_per_node": v.integer(0),
            }
        ),
        "resources": v.record(
            {
                "limits": v.record({"cpus": v.nano_cpus, "memory": v.size, "pids": v.integer(-1)}),
                "reservations": v.record(
                    {
                        "cpus": v.nano_cpus,
                        "memory": v.size,
                        "generic_resources": _generic_resources,
                        "devices": v.list_of(v.record(_DEVICE, required=("capabilities",), tags=False)),
                    }
                ),
            }
        ),
    },
    nullable=True,
)

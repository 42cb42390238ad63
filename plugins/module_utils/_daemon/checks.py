# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon would refuse, found without asking it. Private: may change in any release.

Engines before 23.0 have no `dockerd --validate`, and no Engine's validation looks at the Swarm or at the
flags of the systemd unit, so these checks are made always.
"""

from __future__ import annotations

import json
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import keys
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import kind_of
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

_IS = {
    keys.BOOL: lambda value: isinstance(value, bool),
    keys.INT: lambda value: isinstance(value, int) and not isinstance(value, bool),
    keys.STRING: lambda value: isinstance(value, str),
    keys.STRINGS: lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    keys.MAP: lambda value: isinstance(value, dict),
    keys.STRING_MAP: lambda value: (
        isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    ),
    keys.ANY: lambda value: True,
}


def problems(config, swarm=False, flags=(), path="daemon.json"):
    """Return a FleetError for each thing that keeps a daemon from starting with this configuration.

    config  the whole document as a mapping
    swarm   whether the host is, or is to be, a node of a Swarm
    flags   Flag tuples of the unit (see unit.flags), whose keys must not be in the document as well
    """
    found = list(_kinds(config))
    if isinstance(config.get("node-generic-resources"), list):
        found += _generic_resources(config["node-generic-resources"])
    if swarm:
        found += _swarm(config)
    return found + _flags(config, flags, path)


def warnings(config, engine=()):
    """Return sentences on what the daemon accepts but a user hardly means."""
    found = []
    registries = config.get("insecure-registries")
    loopback = re.compile(r"(localhost|127\.|\[?::1)")
    if engine >= (29, 10) and registries and not any(loopback.match(str(name)) for name in registries):
        found.append(
            "insecure-registries names no loopback registry: from Engine 29.10 on, setting the key ends the "
            "implicit trust in localhost; add localhost:PORT if this host pulls from a registry of its own"
        )
    return found


def _kinds(config):
    for name, value in config.items():
        known = keys.KEYS.get(name)
        # null is the same as no key to the daemon.
        if known is None or value is None or _IS[known.kind](value):
            continue
        yield FleetError(
            "The daemon cannot read a key",
            target=name,
            found=f"{kind_of(value)} ({_short(value)})",
            wanted=known.kind,
        )


def _generic_resources(values):
    """The rules of SwarmKit's genericresource.Parse: one number, or any names, per kind."""
    kinds = {}
    for term in values:
        parts = [part.strip() for part in str(term).split("=")]
        if len(parts) != 2 or not all(parts):
            yield _resource(term, "KIND=VALUE with one equals sign")
            continue
        kinds.setdefault(parts[0], []).append(parts[1])
    for kind, found in kinds.items():
        numbers = [value for value in found if re.fullmatch(r"[-+]?[0-9]+", value)]
        told = ", ".join(f"{kind}={value}" for value in found)
        if numbers and len(found) > 1:
            yield _resource(told, "either one number for the kind or names only")
        elif numbers and int(numbers[0]) < 0:
            yield _resource(told, "a number of at least 0")
        elif len(set(found)) != len(found):
            yield _resource(told, "each name once")


def _resource(found, wanted):
    return FleetError(
        "The daemon cannot advertise generic resources",
        target="node-generic-resources",
        found=found,
        wanted=wanted,
    )


def _swarm(config):
    """IsSwarmCompatible() of the Engine's configuration, which it asks only when it starts."""
    if config.get("live-restore") is True:
        yield FleetError(
            "A Swarm node cannot start with this key",
            target="live-restore",
            found="true",
            wanted="false or no key",
            option="live-restore: false in data, or remove it from the file",
        )
    if config.get("firewall-backend") == "nftables" and config.get("iptables") is not False:
        yield FleetError(
            "A Swarm node cannot start with this key (Engine 29 and later)",
            target="firewall-backend",
            found="nftables",
            wanted="iptables",
            option="firewall-backend: iptables in data",
        )


def _flags(config, flags, path):
    return [
        FleetError(
            "The daemon refuses an option that is set twice",
            target=flag.key,
            found=f"{flag.text} in {flag.place} and {json.dumps(flag.key)} in {path}",
            wanted="one of the two",
            option="the unit's option away (systemctl edit), or the key out of data",
        )
        for flag in flags
        # The daemon merges runtimes of both places (skipDuplicates in daemon/config).
        if flag.key in config and flag.key != "runtimes"
    ]


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."

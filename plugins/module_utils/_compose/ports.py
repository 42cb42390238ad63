# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports, short and long. Private: may change in any release.

Their one form: {"target": int, "published": int or absent, "protocol": "tcp|udp|sctp",
"mode": "ingress|host"}.
"""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate as v

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_WANTED = '"80", "8080:80", "8080:80/udp" or a range such as "8080-8081:80-81"'


def ports(field):
    """The ports of a service; an entry with a range becomes one entry per port."""
    result = []
    for child, entries in v.list_of(_entries)(field):
        for entry in entries:
            if entry in result:
                raise child.error("A port is given twice", found=_words(entry))
            result.append(entry)
    return result


def _entries(field):
    return field, [_long(field)] if isinstance(field.value, dict) else _short(field)


def unique_key(entry):
    """What makes two entries the same port when files are merged."""
    return entry["target"], entry.get("published", 0), entry["protocol"]


def _words(entry):
    published = f"{entry['published']}:" if entry.get("published") else ""
    return f"{published}{entry['target']}/{entry['protocol']}"


def _short(field):
    text = v.number_or_text(field) if isinstance(field.value, int) else field.text(wanted=_WANTED)
    body, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise field.error(
            "A protocol is not one of those known", found=f'"{protocol}"', wanted="tcp, udp or sctp"
        )
    address, published, target = _split(body)
    if address is not None:
        _check_address(field, address)
    targets = _range(field, target)
    if not published:
        if published is not None and address is None:
            raise field.error("A port cannot be read", found=f'"{text}"', wanted=_WANTED)
        return [_entry(number, 0, protocol) for number in targets]
    hosts = _range(field, published, lowest=0)
    if len(targets) == 1:
        targets = targets * len(hosts)
    if len(hosts) != len(targets):
        raise field.error(
            "The ranges of a port differ in length",
            found=f"{len(hosts)} published, {len(targets)} targets",
            wanted="as many published ports as targets, or one target",
        )
    return [_entry(target, host, protocol) for host, target in zip(hosts, targets, strict=True)]


def _entry(target, published, protocol, mode="ingress"):
    entry = {"target": target, "protocol": protocol, "mode": mode}
    return {**entry, "published": published} if published else entry


def _split(text):
    """Split address:published:target from the right; a missing part is None."""
    rest, colon, target = text.rpartition(":")
    if not colon:
        return None, None, target
    address, colon, published = rest.rpartition(":")
    return (address if colon else None), published, target


def _range(field, text, lowest=1):
    match = _RANGE.fullmatch(text)
    if not match:
        raise field.error("A port cannot be read", found=f'"{text}"', wanted=_WANTED)
    first, last = int(match[1]), int(match[2] or match[1])
    if not lowest <= first <= last <= 65535:
        raise field.error(
            "A port is out of range", found=f'"{text}"', wanted=f"{lowest} to 65535, the lower one first"
        )
    return list(range(first, last + 1))


def _check_address(field, text):
    """Refuse an address to listen on: Swarm listens on all, which would expose what was to be hidden."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise field.error("An address cannot be read", found=f'"{text}"', wanted=_WANTED) from None
    if address.is_unspecified:
        field.report.ignore(field.path, f"the address {text}; Swarm listens on every address anyway")
        return
    raise field.error(
        "Swarm cannot publish on one address, it would listen on all",
        found=text,
        wanted="no address, or no published port if only other services use it",
    )


def _published(field):
    value = v.number_or_text(field) if isinstance(field.value, int) else field.text(wanted="a port")
    numbers = _range(field, value, lowest=0)
    if len(numbers) > 1:
        raise field.error("Swarm cannot choose a port from a range", found=f'"{value}"', wanted="one port")
    return numbers[0]


def _host_ip(field):
    _check_address(field, field.text())
    return v.DROP


_LONG = v.record(
    {
        "target": v.integer(1, 65535),
        "published": _published,
        "protocol": v.one_of(*_PROTOCOLS),
        "mode": v.one_of("ingress", "host"),
        "host_ip": _host_ip,
        "name": v.ignored("a name for people; Swarm has none for ports"),
        "app_protocol": v.ignored("Swarm does not look into connections"),
    },
    required=("target",),
    tags=False,
)


def _long(field):
    entry = _LONG(field)
    return _entry(
        entry.get("target", 0),
        entry.get("published", 0),
        entry.get("protocol", "tcp"),
        entry.get("mode", "ingress"),
    )

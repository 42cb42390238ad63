# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole document: services, networks, volumes, configs, secrets. Private: may change in any release."""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate as v
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.schema_service import SERVICE

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def _key(key, child):
    if not _NAME.fullmatch(key):
        raise child.error(
            "A name has characters that cannot be used", found=key, wanted="letters, digits, . _ and -"
        )


def _service_key(key, child):
    # A service's name is a DNS label for the Engine; the length is checked with the stack's name before it.
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?", key):
        raise child.error(
            "A service has a name that Swarm cannot use",
            found=key,
            wanted="letters, digits, _ and -, the first and last a letter or digit",
        )


def _external(field):
    """external: a boolean, or the older mapping with the name."""
    if isinstance(field.value, dict):
        return v.record({"name": v.word}, tags=False)(field) or True
    return v.boolean(field)


def _object(keys, describes, nullable=False):
    """A top-level entry; an external one has nothing but a name, since it is described elsewhere."""
    parse_record = v.record({"name": v.word, "external": _external, **keys}, nullable=nullable, tags=False)

    def parse(field):
        entry = parse_record(field)
        external = entry.pop("external", False)
        if isinstance(external, dict):
            if "name" in entry:
                raise field.error("An external object is named twice", wanted="name, without external.name")
            entry["name"], external = external["name"], True
        if external is not True:
            return entry
        described = [key for key in entry if key in describes]
        if described:
            raise field.error(
                "An external object is described here",
                found=", ".join(described),
                wanted="only name beside external: true",
            )
        return {"external": True, **entry}

    return parse


def _driver(field):
    driver = v.word(field)
    if driver in ("bridge", "host", "none", "null"):
        raise field.error(
            "Services cannot use a network that lives on one node",
            found=f"driver: {driver}",
            wanted="no driver (overlay)",
            option="networks.NAME.driver",
        )
    return driver


_NETWORK = {
    "driver": _driver,
    "driver_opts": v.mapping_of(v.plain_value),
    "internal": v.boolean,
    "attachable": v.boolean,
    "labels": v.pairs(),
    "enable_ipv6": v.boolean,
    "enable_ipv4": v.refused("Swarm's networks always have IPv4", "the file without it"),
    "ipam": v.record(
        {
            "driver": v.word,
            "options": v.mapping_of(v.plain_value),
            "config": v.list_of(
                v.record(
                    {
                        "subnet": v.word,
                        "ip_range": v.word,
                        "gateway": v.word,
                        "aux_addresses": v.mapping_of(v.word),
                    }
                )
            ),
        }
    ),
}
_VOLUME = {"driver": v.word, "driver_opts": v.mapping_of(v.plain_value), "labels": v.pairs()}
_CONFIG = {
    "file": v.word,
    "content": v.text,
    "environment": v.word,
    "template_driver": v.word,
    "labels": v.pairs(),
}
_SECRET = {
    "file": v.word,
    "environment": v.word,
    "driver": v.word,
    "driver_opts": v.mapping_of(v.plain_value),
    "template_driver": v.word,
    "labels": v.pairs(),
}
# The keys of which a config or secret has exactly one.
CONTENT_SOURCES = ("file", "content", "environment", "external", "driver")


def _stored(keys):
    parse_object = _object(keys, tuple(keys))

    def parse(field):
        entry = parse_object(field)
        sources = [key for key in CONTENT_SOURCES if key in entry]
        if len(sources) > 1:
            raise field.error(
                "The content comes from several places", found=" and ".join(sources), wanted="one of them"
            )
        return entry

    return parse


DOCUMENT = v.record(
    {
        "version": v.ignored("has had no meaning since the Compose Specification"),
        "name": v.ignored("the stack's name is the option name"),
        "services": v.mapping_of(SERVICE, _service_key),
        "networks": v.mapping_of(_object(_NETWORK, tuple(_NETWORK), nullable=True), _key),
        "volumes": v.mapping_of(_object(_VOLUME, tuple(_VOLUME), nullable=True), _key),
        "configs": v.mapping_of(_stored(_CONFIG), _key),
        "secrets": v.mapping_of(_stored(_SECRET), _key),
        "include": v.refused("Files are not included from files", "all of them in the option files"),
        "models": v.refused("Swarm runs no models of its own", "a service that serves the model"),
    }
)

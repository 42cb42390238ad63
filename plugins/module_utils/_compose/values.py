# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of a service that have forms of their own. Private: may change in any release."""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import images, words
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate as v

_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::([0-9]{1,9}))?")
_MINIMUM_CHECK_NS = 10**6  # the Engine refuses health-check times below 1 ms


def command(field):
    """command and entrypoint: a command line, a list of words, or null for the image's own."""
    if field.value is None:
        return None
    if isinstance(field.value, list):
        return v.list_of(v.secret_text)(field)
    text = field.text(secret=True, wanted="text, or a list of texts")
    try:
        result, comment = words.split(text)
    except ValueError as error:
        raise field.error("A command line cannot be split", wanted=str(error)) from None
    if comment:
        field.report.warn(
            field.path,
            "has a # that begins a comment, as in a shell; what follows is not part of the "
            "command (quote it if it should be)",
        )
    return result


def env_file(field):
    entry = v.record(
        {"path": v.word, "required": v.boolean, "format": v.one_of("raw")}, required=("path",), tags=False
    )

    def parse(child):
        if isinstance(child.value, dict):
            return entry(child)
        return {"path": v.word(child)}

    return v.list_of(parse)(field) if isinstance(field.value, list) else [parse(field)]


def depends_on(field):
    if isinstance(field.value, list):
        names = v.list_of(v.word, unique=True)(field)
        return {name: {"condition": "service_started"} for name in names}
    return v.mapping_of(
        v.record(
            {
                "condition": v.one_of(*_CONDITIONS),
                "restart": v.ignored("Swarm does not restart a service because another one was restarted"),
                "required": v.boolean,
            },
            required=("condition",),
        )
    )(field)


def _test(field):
    if isinstance(field.value, str):
        return ["CMD-SHELL", v.secret_text(field)]
    test = v.list_of(v.secret_text)(field)
    if not test or test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise field.error(
            "A health check does not say how it runs",
            found=f'"{test[0]}"' if test else "an empty list",
            wanted="NONE, CMD or CMD-SHELL as the first word, or one text",
        )
    return test


def _check_time(field):
    value = v.duration(field)
    if 0 < value < _MINIMUM_CHECK_NS:
        raise field.error("A time of a health check is too short", found=f"{value} ns", wanted="1ms or more")
    return value


_HEALTHCHECK = v.record(
    {
        "test": _test,
        "disable": v.boolean,
        "retries": v.integer(0),
        "interval": _check_time,
        "timeout": _check_time,
        "start_period": _check_time,
        "start_interval": _check_time,
    },
    tags=False,
)


def healthcheck(field):
    check = _HEALTHCHECK(field)
    if check.get("disable") is True and check.get("test", ["NONE"]) != ["NONE"]:
        raise field.error("A health check is given and disabled at once", wanted="test or disable: true")
    return check


def networks(field):
    if isinstance(field.value, list):
        return {name: {} for name in v.list_of(v.word, unique=True)(field)}
    no_address = v.ignored("Swarm gives tasks their addresses itself", warn=True)
    return v.mapping_of(
        v.record(
            {
                "aliases": v.list_of(v.word),
                "driver_opts": v.mapping_of(v.plain_value),
                "ipv4_address": no_address,
                "ipv6_address": no_address,
                "link_local_ips": no_address,
                "mac_address": no_address,
                "interface_name": v.ignored("Swarm names the interfaces itself", warn=True),
                "priority": v.ignored("Swarm has no order of networks"),
                "gw_priority": v.ignored("Swarm has no order of networks"),
            },
            nullable=True,
        )
    )(field)


def _reference(field):
    """A config or secret of a service: its key, or a mapping; target is the key unless given."""
    if isinstance(field.value, dict):
        reference = v.record(
            {
                "source": v.word,
                "target": v.word,
                "uid": v.number_or_text,
                "gid": v.number_or_text,
                "mode": v.file_mode,
            },
            required=("source",),
            tags=False,
        )(field)
    else:
        reference = {"source": v.word(field)}
    return {"target": reference.get("source"), "uid": "0", "gid": "0", "mode": 0o444, **reference}


def references(field):
    result = v.list_of(_reference)(field)
    targets = [reference["target"] for reference in result]
    for index, target in enumerate(targets):
        if target is not None and target in targets[:index]:
            raise field.child(index, None).error(
                "Two entries have the same target", found=f'"{target}"', wanted="a target for each"
            )
    return result


def _limit(field):
    return v.integer(-1)(field)


def ulimits(field):
    pair = v.record({"soft": _limit, "hard": _limit}, required=("soft", "hard"), tags=False)

    def parse(child):
        if isinstance(child.value, dict):
            return pair(child)
        value = _limit(child)
        return {"soft": value, "hard": value}

    def name(key, child):
        if not re.fullmatch("[a-z]+", key):
            raise child.error(
                "A limit has an impossible name", found=key, wanted="small letters, such as nofile"
            )

    return v.mapping_of(parse, name)(field)


def extra_hosts(field):
    """name=address or name:address, one or more; the result are lines of a hosts file, "address name"."""
    if isinstance(field.value, dict):
        parse = v.text_or_list(v.word)
        addresses = v.mapping_of(lambda child: [] if child.value is None else parse(child), tags=False)(field)
        entries = sorted(
            (f"{name}:{address}", name, address) for name, several in addresses.items() for address in several
        )
        return [f"{address.strip('[]')} {name}" for _order, name, address in entries]
    result = []
    for index, entry in enumerate(v.list_of(v.word)(field)):
        name, separator, address = entry.partition("=" if "=" in entry else ":")
        if not (name and separator and address):
            raise field.child(index, entry).error(
                "A host entry cannot be read", found=f'"{entry}"', wanted='"name=address" or "name:address"'
            )
        result.append(f"{address.strip('[]')} {name}")
    return result


def name_server(field):
    text = v.word(field)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise field.error("A name server is not an IP address", found=f'"{text}"') from None


def restart(field):
    text = field.text(wanted='"no", always, on-failure[:N] or unless-stopped')
    match = _RESTART.fullmatch(text)
    if not match:
        raise field.error(
            "A restart policy is not known",
            found=f'"{text}"',
            wanted='"no", always, on-failure[:N] or unless-stopped',
        )
    return text


def image(field):
    text = v.word(field)
    try:
        images.familiar(text)
    except ValueError as error:
        raise field.error("An image has an impossible name", found=f'"{text}"', wanted=str(error)) from None
    return text


_CREDENTIAL_SPEC = v.record({"config": v.word, "file": v.word, "registry": v.word}, tags=False)


def credential_spec(field):
    spec = _CREDENTIAL_SPEC(field)
    if len(spec) != 1:
        raise field.error(
            "A credential spec has one source",
            found=" and ".join(spec) or "none",
            wanted="config, file or registry",
        )
    return spec

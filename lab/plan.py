# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a lab has, and where they live. Pure: nothing here asks the engine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .report import LabError

LABS = ipaddress.ip_network("172.30.0.0/16")  # every lab takes one /24 of it
# Last part of the addresses: front1 is .3, manager1 is .11, worker1 is .101.
FRONTS_FROM, MANAGERS_FROM, WORKERS_FROM = 2, 10, 100
REGISTRY_AT = 2
MOST_FRONTS, MOST_MANAGERS, MOST_WORKERS = 8, 80, 150

USER = "fleet"  # whom Ansible signs in as; made in the image of a host
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Host:
    """One host of a lab. group: managers, workers or fronts. suite: the Debian release, by code name."""

    name: str
    group: str
    suite: str
    last_byte: int

    def address(self, subnet: str) -> str:
        return str(ipaddress.ip_network(subnet)[self.last_byte])


def registry_address(subnet: str) -> str:
    return str(ipaddress.ip_network(subnet)[REGISTRY_AT])


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise LabError(
            f"A lab cannot be called '{name}'.",
            "Use --name with a lower-case letter, then at most 30 lower-case letters, digits and hyphens.",
        )
    return name


def plan_hosts(hosts: int, managers: int, fronts: int = 0) -> list[Host]:
    """manager1.., worker1.., front1..; the last worker and fronts run Debian 12, all others Debian 13.

    Managers stay on the newer release: an older engine cannot schedule for a newer one in every respect.
    """
    workers = hosts - managers - fronts
    if not 0 <= fronts <= MOST_FRONTS:
        raise LabError(
            f"A lab with {fronts} fronts cannot be made.", f"Use --fronts with 0 to {MOST_FRONTS}."
        )
    if not 1 <= managers <= MOST_MANAGERS or not 0 <= workers <= MOST_WORKERS:
        raise LabError(
            f"A lab of {hosts} hosts with {managers} managers cannot be made.",
            f"Use --managers 1 to {MOST_MANAGERS} and --hosts with at most {MOST_WORKERS} more than that.",
        )
    plan = [Host(f"manager{i}", "managers", "trixie", MANAGERS_FROM + i) for i in range(1, managers + 1)]
    for i in range(1, workers + 1):
        suite = "bookworm" if i == workers else "trixie"
        plan.append(Host(f"worker{i}", "workers", suite, WORKERS_FROM + i))
    return plan + [Host(f"front{i}", "fronts", "bookworm", FRONTS_FROM + i) for i in range(1, fronts + 1)]


def choose_subnet(taken: Iterable[str]) -> str:
    """The first /24 of LABS that overlaps none of the networks in `taken` (CIDR notation)."""
    busy = [ipaddress.ip_network(one, strict=False) for one in taken]
    for subnet in LABS.subnets(new_prefix=24):
        if not any(subnet.version == other.version and subnet.overlaps(other) for other in busy):
            return str(subnet)
    raise LabError(f"No /24 in {LABS} is free for another lab.", "Take a lab down: python3 -m lab status")

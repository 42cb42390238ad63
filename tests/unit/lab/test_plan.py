# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a lab gets, and which addresses."""

from __future__ import annotations

import pytest

from lab.plan import check_name, choose_subnet, plan_hosts, registry_address
from lab.report import LabError


@pytest.mark.parametrize(
    ("hosts", "managers", "expected"),
    [
        (1, 1, ["manager1 managers trixie"]),
        (2, 1, ["manager1 managers trixie", "worker1 workers bookworm"]),
        (3, 1, ["manager1 managers trixie", "worker1 workers trixie", "worker2 workers bookworm"]),
        (3, 3, ["manager1 managers trixie", "manager2 managers trixie", "manager3 managers trixie"]),
    ],
)
def test_hosts(hosts, managers, expected):
    assert [f"{host.name} {host.group} {host.suite}" for host in plan_hosts(hosts, managers)] == expected


def test_fronts_are_some_of_the_hosts():
    plan = plan_hosts(4, 1, 2)
    assert [f"{host.name} {host.group}" for host in plan] == [
        "manager1 managers", "worker1 workers", "front1 fronts", "front2 fronts"
    ]
    assert plan[2].address("172.30.7.0/24") == "172.30.7.3"


@pytest.mark.parametrize("fronts", [-1, 9])
def test_an_impossible_number_of_fronts(fronts):
    with pytest.raises(LabError, match=f"A lab with {fronts} fronts cannot be made"):
        plan_hosts(20, 1, fronts)


def test_addresses_do_not_depend_on_the_number_of_hosts():
    def addresses(*size):
        return {host.name: host.address("172.30.7.0/24") for host in plan_hosts(*size)}

    assert addresses(3, 1) == {
        "manager1": "172.30.7.11",
        "worker1": "172.30.7.101",
        "worker2": "172.30.7.102",
    }
    assert addresses(12, 5).items() >= addresses(3, 1).items()


def test_addresses_are_distinct_in_the_largest_lab():
    used = [host.address("172.30.0.0/24") for host in plan_hosts(238, 80, 8)]
    assert len({*used, registry_address("172.30.0.0/24"), "172.30.0.0", "172.30.0.1", "172.30.0.255"}) == 242


@pytest.mark.parametrize(("hosts", "managers"), [(0, 1), (1, 0), (2, 3), (3, -1), (152, 1), (81, 81)])
def test_impossible_sizes(hosts, managers):
    with pytest.raises(LabError, match=f"A lab of {hosts} hosts with {managers} managers cannot be made"):
        plan_hosts(hosts, managers)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "172.30.0.0/24"),
        (["172.30.0.0/24", "172.30.2.0/24"], "172.30.1.0/24"),
        (["172.30.0.77/23"], "172.30.2.0/24"),  # a host's address instead of its network's
        (["10.0.0.0/8", "fd00::/8", "192.168.1.1"], "172.30.0.0/24"),
    ],
)
def test_subnet(taken, expected):
    assert choose_subnet(taken) == expected


def test_no_subnet_left():
    with pytest.raises(LabError, match=r"No /24 in 172\.30\.0\.0/16 is free"):
        choose_subnet(["172.16.0.0/12"])


@pytest.mark.parametrize("name", ["lab", "h1", "a-b"])
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "Lab", "1a", "a b", "../x", "a" * 32])
def test_bad_names(name):
    with pytest.raises(LabError):
        check_name(name)

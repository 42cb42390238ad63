# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall: who may reach what by an inventory, the rules that say so, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _firewall, _firewall_host
from ansible_collections.gpufleet.swarm.plugins.module_utils._firewall import opening
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import Fleet, Unresolved

GROUPS = {
    "all": ["m1", "m2", "w1", "f1"], "managers": ["m1", "m2"], "workers": ["w1"], "gpu": ["w1"],
    "fronts": ["f1"],
}  # fmt: skip
VARIABLES = {
    "m1": {"ansible_host": "192.0.2.1"},
    "m2": {"ansible_host": "gate.example.org", "swarm_advertise_address": "192.0.2.2"},
    "w1": {"ansible_host": "192.0.2.3", "swarm_data_path_address": "10.0.0.3"},
    "f1": {"ansible_host": "2001:db8::4"},
}
LINK = {"name": "api", "from": "f1", "listen": 5001, "to": "w1", "wire": 8080, "target": 5001}
OPTIONS = {
    "ssh_ports": [22], "ssh_sources": [], "ingress_ports": [], "ingress_sources": [], "registry_port": 0,
    "behind_ingress": [], "members": [], "data_path_port": 4789, "links": [], "open": [],
}  # fmt: skip
SSH = 'tcp dport { 22 } accept comment "SSH"'


def rules_of(host, **changes):
    openings = _firewall.host_openings(host, GROUPS, VARIABLES, {**OPTIONS, **changes})
    # What goes to the module comes back as it was.
    assert [opening(**one.as_option()) for one in openings] == openings
    return [rule for one in openings for rule in _firewall.rules(one)]


@pytest.mark.parametrize(
    ("value", "ports"),
    [(22, (22, 22)), ("65535", (65535, 65535)), (" 9000-9010 ", (9000, 9010)), ("1-1", (1, 1))],
)
def test_ports_are_read(value, ports):
    assert _firewall.parse_ports(value) == ports


NO_PORTS = ["", "ssh", 0, 65536, "2-1", "1-", "-1", "1:2", "٣", "1-2-3", "22,23", "000022"]


@pytest.mark.parametrize("value", NO_PORTS)
def test_what_is_no_port_is_refused(value):
    with pytest.raises(ValueError, match="PORT|outside"):
        _firewall.parse_ports(value)


# Each rule of a host, in order.
RULES = {
    "a-manager": ("m1", {}, [
        SSH,
        'ip saddr { 10.0.0.3, 192.0.2.2, 192.0.2.3 } tcp dport { 2377, 7946 } accept comment "Swarm"',
        'ip saddr { 10.0.0.3, 192.0.2.2, 192.0.2.3 } udp dport { 4789, 7946 } accept comment "Swarm"',
    ]),
    "a-worker-manages-nothing": ("w1", {"data_path_port": 4800}, [
        SSH,
        'ip saddr { 192.0.2.1, 192.0.2.2 } tcp dport { 7946 } accept comment "Swarm"',
        'ip saddr { 192.0.2.1, 192.0.2.2 } udp dport { 4800, 7946 } accept comment "Swarm"',
    ]),
    "a-front-is-no-node": ("f1", {}, [SSH]),
    "ssh-of-some": ("f1", {"ssh_ports": [22, 2222], "ssh_sources": ["198.51.100.0/24", "managers"]}, [
        'ip saddr { 192.0.2.1, 192.0.2.2, 198.51.100.0/24 } tcp dport { 22, 2222 } accept comment "SSH"',
    ]),
    "ingress": ("f1", {"ingress_ports": [443, 80]}, [SSH, 'tcp dport { 80, 443 } accept comment "ingress"']),
    "ingress-of-both-families": ("f1", {"ingress_ports": [80], "ingress_sources": ["fronts", "w1"]}, [
        SSH,
        'ip saddr { 10.0.0.3, 192.0.2.3 } tcp dport { 80 } accept comment "ingress"',
        'ip6 saddr { 2001:db8::4 } tcp dport { 80 } accept comment "ingress"',
    ]),
    "a-tunnel-at-its-other-end": ("f1", {"links": [LINK]}, [SSH]),
    "declared": ("f1", {"open": [
        {"port": "9000-9010", "protocol": "udp"},
        {"name": "metrics", "port": 9100, "sources": ["w1", "10.0.0.0/24"]},
    ]}, [
        SSH,
        'udp dport { 9000-9010 } accept comment "declared"',
        'ip saddr { 10.0.0.0/24, 192.0.2.3 } tcp dport { 9100 } accept comment "metrics"',
    ]),
    "further-members": ("m2", {"members": ["192.0.2.0/24", "198.51.100.9"]}, [
        SSH,
        'ip saddr { 10.0.0.3, 192.0.2.0/24, 198.51.100.9 } tcp dport { 2377, 7946 } accept comment "Swarm"',
        'ip saddr { 10.0.0.3, 192.0.2.0/24, 198.51.100.9 } udp dport { 4789, 7946 } accept comment "Swarm"',
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", RULES)
def test_a_host_lets_in(kind):
    host, changes, rules = RULES[kind]
    assert rules_of(host, **changes) == rules


def test_a_tunnel_is_open_to_its_peer():
    assert rules_of("w1", links=[LINK])[-1] == (
        'ip6 saddr { 2001:db8::4 } tcp dport { 8080 } accept comment "tunnel api"'
    )


def test_a_registry_is_open_to_nodes():
    assert rules_of("m1", registry_port=5000)[-1] == (
        'ip saddr { 10.0.0.3, 192.0.2.2, 192.0.2.3 } tcp dport { 5000 } accept comment "registry"'
    )


@pytest.mark.parametrize(
    ("ingress", "sources"),
    [
        ({}, None),
        ({"m1": True}, None),
        ({"m1": True, "m2": False, "w1": "yes"}, "10.0.0.3, 192.0.2.3, 198.51.100.9"),
        ({"m2": True, "w1": "no"}, "192.0.2.2, 198.51.100.9"),
    ],
)
def test_what_the_ingress_leads_to_on_a_host_is_open_to_the_other_ingress_nodes(ingress, sources):
    variables = {
        host: {**values, **({"swarm_ingress": ingress[host]} if host in ingress else {})}
        for host, values in VARIABLES.items()
    }
    led = [{"name": "ACME challenge", "port": 8402}]
    options = {**OPTIONS, "behind_ingress": led, "members": ["198.51.100.9"]}
    found = _firewall.host_openings("m1", GROUPS, variables, options)
    rules = [rule for one in found if one.what == "ACME challenge" for rule in _firewall.rules(one)]
    wanted = f'ip saddr {{ {sources} }} tcp dport {{ 8402 }} accept comment "ACME challenge"'
    assert rules == ([wanted] if sources else [])


@pytest.mark.parametrize(
    ("host", "said", "sources"),
    [
        ("w1", {}, "192.0.2.1"),
        ("w1", {"m1": False}, None),
        ("w1", {"m1": False, "m2": "yes"}, "192.0.2.2"),
        ("m1", {}, None),
        ("f1", {}, None),
    ],
)
def test_the_first_manager_has_the_ingress_unless_it_says_otherwise(host, said, sources):
    variables = {
        name: {**values, **({"swarm_ingress": said[name]} if name in said else {})}
        for name, values in VARIABLES.items()
    }
    options = {**OPTIONS, "behind_ingress": [{"name": "DMI", "port": 4000}]}
    found = _firewall.host_openings(host, GROUPS, variables, options)
    rules = [rule for one in found if one.what == "DMI" for rule in _firewall.rules(one)]
    wanted = f'ip saddr {{ {sources} }} tcp dport {{ 4000 }} accept comment "DMI"'
    assert rules == ([wanted] if sources else [])


def test_a_fleet_of_one_node_opens_nothing_for_the_swarm():
    groups = {"all": ["m1"], "managers": ["m1"]}
    found = _firewall.host_openings("m1", groups, {"m1": VARIABLES["m1"]}, {**OPTIONS, "registry_port": 5000})
    assert [one.what for one in found] == ["SSH"]


def test_an_unknown_source_is_an_error():
    with pytest.raises(ValueError, match="^nobody$"):
        rules_of("m1", ssh_sources=["nobody"])


# The connection in use


@pytest.mark.parametrize(
    ("sources", "live", "rule"),
    [
        ([], ("198.51.100.1", 22), None),
        ([], None, None),
        (["192.0.2.0/24"], ("192.0.2.9", 22), None),
        (["192.0.2.0/24"], ("198.51.100.1", 22), "ip saddr { 198.51.100.1 } tcp dport { 22 }"),
        ([], ("198.51.100.1", 2222), "ip saddr { 198.51.100.1 } tcp dport { 2222 }"),
        (["192.0.2.0/24"], ("2001:db8::1", 22), "ip6 saddr { 2001:db8::1 } tcp dport { 22 }"),
    ],
)
def test_the_connection_in_use_stays_open(sources, live, rule):
    openings, warning = _firewall.with_live([opening("SSH", "tcp", [22], sources)], live)
    assert (warning is None) == (rule is None)
    assert [*(_firewall.rules(openings[0]) if rule else []), ""][0].startswith(rule or "")
    assert len(openings) == (2 if rule else 1)


STAT = "71 (sshd: a) b) (c) S 70 71 71 0 -1 4194560"
ESTABLISHED = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0B021EAC:08AE 01021EAC:C350 01 00000000:00000000 02:00000000 00000000     0        0 2 1 0 100 0 0 10 0
"""


def test_the_connection_in_use_is_found_among_the_sockets():
    assert _firewall_host.parse_stat(STAT) == (70, "sshd: a) b) (c")
    assert _firewall_host.parse_established(ESTABLISHED) == {2: ("172.30.2.1", 2222)}


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
br-lan 00000000 010200C0 0003 0 0 0 00000000 0 0 0
eth1 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
tun0 00000000 00000000 0001 0 0 0 00000080 0 0 0
"""
ROUTES6 = f"""{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000001 00000000 00000003     eth2
{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo
fe80{'0' * 28} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001     eth3
"""


def test_the_ways_in_are_the_interfaces_of_default_routes():
    assert _firewall_host.parse_default_routes(ROUTES, ROUTES6) == ["br-lan", "eth2"]
    assert _firewall_host.parse_default_routes("", "") == []


# The whole


def test_packets_are_judged_before_docker_gives_them_another_destination():
    text = _firewall.render([opening("SSH", "tcp", [22])], ["docker0", "br-*"])
    arriving, forwarded = text.split("chain forwarded")
    assert "type filter hook prerouting priority -150; policy accept;" in arriving
    lines = [line.strip() for line in arriving.splitlines()]
    order = ['iifname "lo" accept', 'iifname "br-*" accept', "fib daddr type != local accept", SSH]
    assert sorted([*order, "counter drop"], key=lines.index) == [*order, "counter drop"]
    assert "ct status dnat accept" in forwarded
    assert 'oifname "br-*" counter drop' in forwarded
    # Loading it again replaces what is there, and nothing of others.
    assert text.index("add table inet gpufleet_firewall") < text.index("delete table inet gpufleet_firewall")
    assert "flush" not in text


LISTENING = [
    {"protocol": "tcp", "address": "0.0.0.0", "port": 22, "process": "sshd"},
    {"protocol": "tcp", "address": "::", "port": 7946, "process": "dockerd"},
    {"protocol": "tcp", "address": "0.0.0.0", "port": 8080, "process": "docker-proxy"},
    {"protocol": "tcp", "address": "::", "port": 8080, "process": "docker-proxy"},
    {"protocol": "tcp", "address": "127.0.0.1", "port": 25, "process": "master"},
    {"protocol": "udp", "address": "0.0.0.0", "port": 51820, "process": None},
    {"protocol": "udp", "address": "0.0.0.0", "port": 323, "process": None},
]


def test_what_is_closed_is_told():
    openings = [opening("SSH", "tcp", [22]), opening("Swarm", "tcp", [7946], ["192.0.2.1", "192.0.2.2"])]
    assert _firewall.closed(LISTENING, openings) == [
        "323/udp of the kernel",
        "7946/tcp of dockerd but for 192.0.2.1, 192.0.2.2",
        "8080/tcp of docker-proxy",
    ]


# ufw


UFW = """
### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow tcp 2377,7946 0.0.0.0/0 any 192.0.2.2 in comment=67707566 6c6565742d
### tuple ### allow udp 4789 0.0.0.0/0 any 192.0.2.0/24 in comment=OURS
### tuple ### allow any 22 ::/0 any ::/0 in_eth0
### tuple ### allow tcp 80 192.0.2.9 any 0.0.0.0/0 in
### tuple ### deny tcp 25 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow esp any 0.0.0.0/0 any 192.0.2.2 in comment=OURS
### RULES ###
""".replace("OURS", b"gpufleet-firewall".hex())


def test_the_rules_of_ufw_are_read():
    assert _firewall_host.ufw_tuples(UFW) == {
        ("tcp", "22", "0.0.0.0/0"): False,
        ("tcp", "2377,7946", "192.0.2.2"): False,
        ("udp", "4789", "192.0.2.0/24"): True,
        ("esp", "any", "192.0.2.2"): True,
    }


def test_ufw_is_told_to_let_in_the_same():
    wanted = _firewall_host.ufw_wanted([
        opening("SSH", "tcp", [22]),
        opening("Swarm", "udp", [4789, 7946], ["192.0.2.2", "2001:db8::/64"]),
        opening("many", "tcp", ["9000-9010", *range(1, 16, 2)]),
    ])
    assert wanted == [
        ("tcp", "22", "0.0.0.0/0"),
        ("udp", "4789,7946", "192.0.2.2"),
        ("esp", "any", "192.0.2.2"),
        ("udp", "4789,7946", "2001:db8::/64"),
        ("esp", "any", "2001:db8::/64"),
        ("tcp", "1,3,5,7,9,11,13", "0.0.0.0/0"),
        ("tcp", "15,9000:9010", "0.0.0.0/0"),
    ]
    assert [" ".join(_firewall_host.ufw_words(rule)) for rule in wanted[:3]] == [
        "proto tcp from any to any port 22",
        "proto udp from 192.0.2.2 to any port 4789,7946",
        "proto esp from 192.0.2.2 to any",
    ]


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("ENABLED=yes\n", True),
        ("# ENABLED=yes\nENABLED=no\n", False),
        ("", False),
        ("LOGLEVEL=low\nenabled = YES", True),
    ],
)
def test_whether_ufw_is_on(text, on):
    assert _firewall_host.ufw_enabled(text) is on


# What is wrong in an inventory

SPECS = {
    "firewall": {
        "firewall_state": {"default": "keep"},
        "firewall_ssh_ports": {"default": [22]},
        "firewall_confirm_timeout": {"default": 60},
        "firewall_container_interfaces": {"default": ["docker0", "br-*"]},
    },
    "tunnels": {"tunnels_links": {"default": []}, "tunnels_firewall": {"default": True}},
}


def problems(**values):
    variables = {
        host: {**known, "firewall_state": "present", **(values if host in ("m1", "w1") else {})}
        for host, known in VARIABLES.items()
    }
    variables["f1"]["ansible_host"] = values.pop("front", "2001:db8::4")
    return [str(one) for one in _firewall.firewall_problems(Fleet(GROUPS, variables, SPECS))]


BAD = {
    "port": (
        {"firewall_open": [{"port": "443-80"}]},
        "The firewall cannot open what is no port (m1, w1): found port 443-80, "
        "wanted a port or FIRST-LAST, from 1 to 65535, set port in firewall_open.",
    ),
    "ssh-port": (
        {"firewall_ssh_ports": [0]},
        "The firewall cannot open what is no port (m1, w1): found firewall_ssh_ports 0, "
        "wanted a port or FIRST-LAST, from 1 to 65535, set firewall_ssh_ports.",
    ),
    "no-ssh": (
        {"firewall_ssh_ports": []},
        "The firewall has no port for SSH (m1, w1): found firewall_ssh_ports [], "
        "wanted the ports the SSH server uses, set firewall_ssh_ports.",
    ),
    "source": (
        {"firewall_ssh_sources": ["192.0.2.300"]},
        "The firewall does not know a source (m1, w1): found firewall_ssh_sources 192.0.2.300, "
        "wanted an address, a network, or a host or group of the inventory, set firewall_ssh_sources.",
    ),
    "misspelt-group": (
        {"firewall_open": [{"port": 1, "sources": ["manager"]}]},
        "The firewall does not know a source (m1, w1): found sources manager, "
        "wanted managers, set sources in firewall_open.",
    ),
    "address-unknown": (
        {"firewall_members": ["fronts"], "front": "front.example.org"},
        "The firewall does not know the address of a source (m1, w1): found firewall_members fronts, "
        "wanted an ansible_host or swarm_advertise_address that is an IP address, set firewall_members.",
    ),
    "name": (
        {"firewall_open": [{"name": 'a" drop', "port": 1}]},
        'The firewall cannot name a rule so (m1, w1): found name a" drop, wanted at most 60 letters, digits, '
        "spaces, dots, hyphens and underscores, set name in firewall_open.",
    ),
    "interface": (
        {"firewall_container_interfaces": ["br-*x"]},
        "The firewall cannot know an interface by this name (m1, w1): "
        "found firewall_container_interfaces br-*x, wanted a name of an interface, or its beginning and a "
        "star, set firewall_container_interfaces.",
    ),
    "timeout": (
        {"firewall_confirm_timeout": 9},
        "The firewall has too little time to be confirmed (m1, w1): found firewall_confirm_timeout 9, "
        "wanted at least 10 seconds, set firewall_confirm_timeout.",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused(kind):
    values, told = BAD[kind]
    assert problems(**values) == [told]


def test_a_tunnel_from_a_name_is_refused():
    values = {"tunnels_links": [LINK], "tunnels_firewall": False, "front": "front.example.org"}
    variables = {host: {**known, "firewall_state": "present", **values} for host, known in VARIABLES.items()}
    variables["f1"]["ansible_host"] = values["front"]
    assert list(map(str, _firewall.firewall_problems(Fleet(GROUPS, variables, SPECS)))) == [
        "The firewall cannot let a tunnel in by name (w1): found f1 at front.example.org, wanted the "
        "addresses or networks it comes from, set sources of tunnel api in tunnels_links."
    ]


def test_a_host_that_is_left_as_it_is_is_not_judged():
    assert problems(firewall_state="keep", firewall_ssh_ports=[]) == []


def test_what_has_no_value_or_is_no_list_is_left_to_others():
    found = problems(firewall_open=Unresolved("no such variable"), firewall_ssh_sources="managers")
    assert found == []

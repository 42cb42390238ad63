# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tunnels: what is wrong with them in an inventory, and what a host does for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.swarm.plugins.module_utils import _tunnels
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import Fleet, Unresolved
from ansible_collections.gpufleet.swarm.plugins.module_utils._tunnels import (
    Endpoint,
    parse_endpoint,
    parse_link,
)

API = {"name": "api", "from": "f1", "listen": 5001, "to": "m1", "wire": "8080", "target": "5001"}
ADDRESSES = {"m1": "192.0.2.1", "w1": "192.0.2.2", "f1": "198.51.100.1"}
SPECS = {"tunnels": {"tunnels_links": {"default": []}, "tunnels_firewall": {"type": "bool", "default": True}}}


def api(**changes):
    return {**API, **changes}


# Addresses


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (5001, Endpoint("127.0.0.1", 5001)),
        ("5001", Endpoint("127.0.0.1", 5001)),
        ("0.0.0.0:80", Endpoint("0.0.0.0", 80)),
        ("[::1]:80", Endpoint("::1", 80)),
        ("::1:80", Endpoint("::1", 80)),
        ("api.lab.test:80", Endpoint("api.lab.test", 80)),
        ("localhost:65535", Endpoint("localhost", 65535)),
    ],
)
def test_an_address_is_read(text, parsed):
    assert parse_endpoint(text, "127.0.0.1") == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api",
        "api:",
        ":80",
        "api:0",
        "api:65536",
        "1.2.3:80",
        "1.2.3.4.5:80",
        "a b:80",
        "/run/x.sock",
        "api:8O",
        "-x:80",
        "api:٣",
        "a_b:80",
    ],
)
def test_an_address_is_refused(text):
    with pytest.raises(ValueError, match="last colon"):
        parse_endpoint(text, "127.0.0.1")


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [(("10.0.0.1", 1), "[10.0.0.1]:1"), (("::1", 1), "[::1]:1"), (("api.test", 1), "api.test:1")],
)
def test_an_address_is_written_as_spiped_takes_it(endpoint, text):
    assert str(Endpoint(*endpoint)) == text


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 1), True),
        (("127.0.0.1", 1), ("127.0.0.1", 2), False),
        (("127.0.0.1", 1), ("127.0.0.2", 1), False),
        (("0.0.0.0", 1), ("127.0.0.2", 1), True),
        (("127.0.0.2", 1), ("::", 1), True),
        (("host", 1), ("127.0.0.2", 1), True),
    ],
)
def test_listeners_that_meet(one, other, meet):
    assert Endpoint(*one).overlaps(Endpoint(*other)) is Endpoint(*other).overlaps(Endpoint(*one)) is meet


# The inventory


def find(*links, groups=None, **variables):
    groups = groups or {"all": ["m1", "w1", "f1"], "managers": ["m1"], "workers": ["w1"], "fronts": ["f1"]}
    known = {
        host: {"ansible_host": address, "tunnels_links": list(links), **variables}
        for host, address in ADDRESSES.items()
    }
    return [str(problem) for problem in _tunnels.tunnel_problems(Fleet(groups, known, SPECS))]


PROBLEMS = {
    "none": ([], []),
    "one": ([API], []),
    "many": (
        [
            API,
            api(name="b", listen="127.0.0.2:5001", wire=8081),
            api(name="c", listen=5001, **{"from": "w1"}, wire=8082),
        ],
        [],
    ),
    "to-nobody": (
        [api(to="m2")],
        [
            "The tunnel ends at a host that is not in the inventory (tunnel api): found to m2, "
            "wanted one of m1, w1, f1, set to in tunnels_links."
        ],
    ),
    "from-nobody-but-almost": (
        [api(**{"from": "f11"})],
        [
            "The tunnel ends at a host that is not in the inventory (tunnel api): found from f11, "
            "wanted f1, set from in tunnels_links."
        ],
    ),
    "to-itself": (
        [api(to="f1")],
        [
            "The tunnel has both ends on one host (tunnel api): found from and to f1, wanted two hosts, "
            "set from or to in tunnels_links."
        ],
    ),
    "name": (
        [api(name="Api 1")],
        [
            "The tunnel has a name that no unit can have (tunnel Api 1): "
            "wanted at most 40 lower-case letters, digits, hyphens and underscores, "
            "set name in tunnels_links."
        ],
    ),
    "name-twice": (
        [API, api(listen=5002, wire=8081)],
        [
            "Two tunnels have one name (tunnel api): wanted a name of its own for each, "
            "set name in tunnels_links."
        ],
    ),
    "listen-twice": (
        [API, api(name="b", wire=8081)],
        [
            "Two ends of tunnels use one port (f1): found listen [127.0.0.1]:5001 of tunnel api, "
            "listen [127.0.0.1]:5001 of tunnel b, wanted a port of its own for each, "
            "set listen or wire in tunnels_links."
        ],
    ),
    "wire-twice": (
        [API, api(name="b", listen=5002, wire="192.0.2.1:8080")],
        [
            "Two ends of tunnels use one port (m1): found wire [0.0.0.0]:8080 of tunnel api, "
            "wire [192.0.2.1]:8080 of tunnel b, wanted a port of its own for each, "
            "set listen or wire in tunnels_links."
        ],
    ),
    "listen-is-a-wire": (
        [API, {"name": "b", "from": "m1", "listen": 8080, "to": "w1", "wire": 9000, "target": 1}],
        [
            "Two ends of tunnels use one port (m1): found wire [0.0.0.0]:8080 of tunnel api, "
            "listen [127.0.0.1]:8080 of tunnel b, wanted a port of its own for each, "
            "set listen or wire in tunnels_links."
        ],
    ),
    "no-address": (
        [api(target="the api")],
        [
            "The tunnel has an address that cannot be read (tunnel api): found target the api, "
            "wanted PORT or ADDRESS:PORT, set target in tunnels_links - "
            "no port from 1 to 65535 after the last colon."
        ],
    ),
    "privileged": (
        [api(wire=443)],
        [
            "The tunnel listens on a port that takes privileges (tunnel api): found wire 443, "
            "wanted a port from 1024 to 65535, set wire in tunnels_links."
        ],
    ),
    "privileged-target": ([api(target=80)], []),
    "listens-on-a-name": (
        [api(listen="front.test:5001")],
        [
            "The tunnel listens on a name, which is looked up only when it starts (tunnel api): "
            "found listen front.test:5001, wanted an IP address of the host, set listen in tunnels_links."
        ],
    ),
    "unlimited": (
        [api(max_connections=0)],
        [
            "The tunnel has a number that spiped does not take (tunnel api): found max_connections 0, "
            "wanted 1 or more, set max_connections in tunnels_links."
        ],
    ),
    "port-of-the-swarm": (
        [api(wire=7946)],
        [
            "The tunnel uses a port of the Swarm (m1): found wire [0.0.0.0]:7946 of tunnel api, "
            "wanted another port, set listen or wire in tunnels_links."
        ],
    ),
    "port-of-the-swarm-on-a-front": ([api(listen=7946)], []),
    "into-itself": (
        [api(target=8080)],
        [
            "The tunnel leads into itself (tunnel api): found target [127.0.0.1]:8080, wire [0.0.0.0]:8080, "
            "wanted two ports, set target or wire in tunnels_links."
        ],
    ),
    "source-by-name": (
        [api(sources=["front.test"])],
        [
            "The firewall cannot let a tunnel in by name (tunnel api): found f1 at front.test, "
            "wanted the addresses or networks it comes from, "
            "set sources in tunnels_links, or tunnels_firewall to false."
        ],
    ),
    "sources": ([api(sources=["198.51.100.0/24", "2001:db8::1"])], []),
    # Told by the specification of the role, whose types these are not.
    "no-links": (["api", {"name": "x"}, api(to=None)], []),
}


@pytest.mark.parametrize(("links", "problems"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems(links, problems):
    assert find(*links) == problems


def test_a_source_by_name_does_for_no_firewall():
    assert find(api(sources=["front.test"]), tunnels_firewall=False) == []


def test_a_template_without_a_value_is_left_to_its_role():
    known = {"m1": {"tunnels_links": Unresolved("undefined")}}
    assert list(_tunnels.tunnel_problems(Fleet({"all": ["m1"], "managers": ["m1"]}, known, SPECS))) == []


# One host

UNITS = {_tunnels.UNIT: "unit\n", _tunnels.FIREWALL_UNIT: "firewall\n"}
MARK = {"api": "aa", "db": "bb"}
NOTHING = {"exists": False, "type": None, "mode": None, "uid": None, "gid": None, "sha256": None}
INSTALLED = {
    "spiped": {"status": "installed", "version": "1.6.4-1"},
    "nftables": {"status": "installed", "version": "1.1.3-1"},
    "systemd": {"status": "installed", "version": "257.13-1~deb13u1"},
}


def reading(names, files=(), packages=None, listening=()):
    """Return what host_info says of a host with some files, {path: text}; a text of None is a link."""
    paths = {path: dict(NOTHING) for path in _tunnels.paths_of(names)}
    for path, text in dict(files).items():
        paths[path] = {**NOTHING, "exists": True, "mode": "0644", "sha256": _tunnels.digest(text or "")}
    return {"paths": paths, "packages": packages or {}, "listening": list(listening)}


def host(name, links=(API,), gone=(), firewall=True, fingerprints=MARK, **read):
    parsed = [parse_link(link, ADDRESSES) for link in links]
    parsed = [link for link in parsed if name in (link.origin, link.end)]
    names = [link.name for link in parsed] + list(gone)
    return _tunnels.Host(name, parsed, gone, reading(names, **read), fingerprints, UNITS, firewall)


def settled(name, **options):
    """Return a host on which the plan for it was carried out, as {path: text}."""
    plan = host(name, **options).plan()
    files = {file["path"]: file["content"] for file in plan["files"]}
    files |= {link["path"]: None for link in plan["links"]}
    files |= {_tunnels.running_path(one): files[_tunnels.options_path(one)] for one in plan["restart"]}
    if plan["firewall"] == "load":
        files[_tunnels.RULES_LOADED] = files[_tunnels.RULES]
    return files | {_tunnels.FOLDER: None}


def test_options_of_both_ends():
    link = parse_link(api(resolve_interval=5), ADDRESSES)
    encrypts, decrypts = (_tunnels.render_options(link, name, "Mark.").splitlines() for name in ("f1", "m1"))
    numbers = ["TUNNEL_MAX_CONNECTIONS=100", "TUNNEL_CONNECT_TIMEOUT=5", "TUNNEL_RESOLVE_INTERVAL=5"]
    assert encrypts[1:] == [
        "# Mark.",
        "TUNNEL_MODE=-e",
        "TUNNEL_SOURCE=[127.0.0.1]:5001",
        "TUNNEL_TARGET=[192.0.2.1]:8080",
        *numbers,
    ]
    assert decrypts[1:] == [
        "# Mark.",
        "TUNNEL_MODE=-d",
        "TUNNEL_SOURCE=[0.0.0.0]:8080",
        "TUNNEL_TARGET=[127.0.0.1]:5001",
        *numbers,
    ]


def test_the_other_end_under_another_address():
    link = parse_link(api(address="gpu.example.org"), ADDRESSES)
    assert "TUNNEL_TARGET=gpu.example.org:8080" in _tunnels.render_options(link, "f1", "").splitlines()


def test_a_bare_host_gets_everything():
    plan = host("m1").plan()
    assert plan["packages"] == ["spiped", "nftables"]
    assert [file["path"] for file in plan["files"]] == [
        "/etc/systemd/system/gpufleet-tunnel@.service",
        "/etc/gpufleet/tunnels/api.conf",
        "/etc/systemd/system/gpufleet-tunnels-firewall.service",
        "/etc/gpufleet/tunnels/firewall.nft",
    ]
    assert plan["restart"] == ["api"] and plan["firewall"] == "load" and not plan["reload"]
    assert (plan["stop"], plan["remove"]) == ([], [])
    assert plan["waits"] == [
        {"name": "api", "address": "127.0.0.1", "port": 8080, "what": "spiped at [0.0.0.0]:8080"}
    ]


def test_the_encrypting_end_has_no_firewall_and_waits_for_the_other():
    plan = host("f1").plan()
    assert plan["packages"] == ["spiped"] and plan["firewall"] is None
    assert [(wait["address"], wait["port"]) for wait in plan["waits"]] == [
        ("192.0.2.1", 8080),
        ("127.0.0.1", 5001),
    ]


@pytest.mark.parametrize("name", ["m1", "f1"])
def test_a_host_that_is_as_it_should_be_has_nothing_to_do(name):
    plan = host(name, files=settled(name), packages=INSTALLED).plan()
    assert plan["actions"] == []
    assert not any(
        plan[key] for key in ("packages", "files", "links", "firewall", "restart", "stop", "remove")
    )


OPTIONS, RUNNING = _tunnels.options_path("api"), _tunnels.running_path("api")
# What differs on the host -> the actions for it.
DIFFERENCES = {
    "not-running": ({RUNNING: ...}, ["start tunnel api anew"]),
    "running-with-other-options": ({RUNNING: "x"}, ["start tunnel api anew"]),
    "options": ({OPTIONS: "x"}, [f"write {OPTIONS}"]),
    "not-at-boot": (
        {_tunnels.link_path("api"): ...},
        ["start gpufleet-tunnel@api.service at boot"],
    ),
    "unit": (
        {f"{_tunnels.UNITS}/{_tunnels.UNIT}": "x"},
        ["write /etc/systemd/system/gpufleet-tunnel@.service"],
    ),
    "rules-not-loaded": ({_tunnels.RULES_LOADED: ...}, ["load the rules of the firewall"]),
}


@pytest.mark.parametrize(("change", "actions"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_what_differs_is_put_right(change, actions):
    files = {**settled("m1"), **change}
    files = {path: text for path, text in files.items() if text is not ...}
    plan = host("m1", files=files, packages=INSTALLED).plan()
    assert plan["actions"] == actions
    assert plan["reload"] == (actions[0].startswith("write /etc/systemd"))


def test_a_new_key_starts_the_tunnel_anew():
    plan = host("m1", files=settled("m1"), packages=INSTALLED, fingerprints={"api": "cc"}).plan()
    assert plan["actions"] == [f"write {OPTIONS}", "start tunnel api anew"]


def test_a_new_unit_starts_the_tunnel_anew(monkeypatch):
    files = settled("m1")
    monkeypatch.setitem(UNITS, _tunnels.UNIT, "another\n")
    plan = host("m1", files=files, packages=INSTALLED).plan()
    assert plan["reload"] and plan["restart"] == ["api"]


def test_one_of_two_tunnels_goes():
    db = api(name="db", listen=5432, wire=8081, target=5432)
    files = settled("m1", links=(API, db))
    plan = host("m1", gone=["db"], files=files, packages=INSTALLED).plan()
    assert plan["stop"] == ["db"] and plan["restart"] == []
    assert plan["remove"] == [_tunnels.link_path("db"), _tunnels.options_path("db")]
    assert plan["firewall"] == "load"
    assert "8081" not in next(file["content"] for file in plan["files"] if file["path"] == _tunnels.RULES)


def test_a_tunnel_that_fails_again_and_again_is_stopped_before_it_goes():
    files = settled("m1")
    del files[RUNNING]
    assert host("m1", links=(), gone=["api"], files=files).plan()["stop"] == ["api"]
    # Without its unit, systemd knows of none to stop.
    del files[f"{_tunnels.UNITS}/{_tunnels.UNIT}"]
    assert host("m1", links=(), gone=["api"], files=files).plan()["stop"] == []


def test_with_the_last_tunnel_everything_goes():
    files = settled("m1")
    plan = host("m1", links=(), gone=["api"], files=files).plan()
    assert (plan["packages"], plan["files"], plan["links"], plan["restart"]) == ([], [], [], [])
    assert plan["stop"] == ["api"] and plan["firewall"] == "remove"
    left = set(files) - set(plan["remove"]) - {RUNNING, _tunnels.RULES_LOADED}
    assert left == set()
    assert host("m1", links=(), gone=["api"]).plan()["actions"] == []


def test_the_firewall_goes_when_it_is_switched_off():
    plan = host("m1", files=settled("m1"), packages=INSTALLED, firewall=False).plan()
    assert plan["firewall"] == "remove"
    assert plan["remove"] == [
        f"{_tunnels.WANTS}/{_tunnels.FIREWALL_UNIT}",
        f"{_tunnels.UNITS}/{_tunnels.FIREWALL_UNIT}",
        _tunnels.RULES,
    ]


def test_rules_name_wire_ports_alone():
    links = [
        parse_link(API, ADDRESSES),
        parse_link(api(name="b", wire=8081, sources=["10.0.0.0/8", "2001:db8::7"]), ADDRESSES),
    ]
    rules = _tunnels.render_rules(links).splitlines()
    assert [rule.strip() for rule in rules if "dport" in rule] == [
        "tcp dport 8080 ip saddr { 198.51.100.1 } accept",
        "tcp dport 8080 drop",
        "tcp dport 8081 ip saddr { 10.0.0.0/8 } accept",
        "tcp dport 8081 ip6 saddr { 2001:db8::7 } accept",
        "tcp dport 8081 drop",
    ]
    assert _tunnels.render_rules([]) == ""


def socket(address, port, process, protocol="tcp"):
    return {"address": address, "port": port, "process": process, "protocol": protocol}


@pytest.mark.parametrize(
    ("listening", "held"),
    [
        ([], None),
        ([socket("0.0.0.0", 8080, "nginx")], "nginx"),
        ([socket("127.0.0.1", 8080, None)], "the kernel"),
        ([socket("0.0.0.0", 8080, "spiped")], "spiped"),
        ([socket("0.0.0.0", 8080, "nginx", "udp"), socket("0.0.0.0", 8081, "nginx")], None),
    ],
)
def test_a_port_that_is_taken(listening, held):
    problems = [str(problem) for problem in host("m1", listening=listening).problems()]
    assert problems == (
        []
        if held is None
        else [
            f"The port of a tunnel is taken (m1): found wire [0.0.0.0]:8080 of tunnel api held by {held}, "
            "wanted a free port, set wire in tunnels_links, or stop it."
        ]
    )


def test_a_port_that_we_hold_ourselves():
    mine = [socket("0.0.0.0", 8080, "spiped")]
    assert list(host("m1", files=settled("m1"), listening=mine).problems()) == []


@pytest.mark.parametrize(
    ("spiped", "problems", "warnings"),
    [
        ("1.6.4-1", 0, 0),
        ("1.10.0-1", 0, 0),
        ("1.6.2-3", 0, 1),
        ("1.6.3-1", 0, 1),
        ("1:1.6.2-3", 0, 1),
        ("1.5.0-1", 1, 0),
        (None, 0, 0),
    ],
)
def test_versions_of_spiped(spiped, problems, warnings):
    packages = {
        **INSTALLED,
        "spiped": {"status": "installed" if spiped else "not-installed", "version": spiped or ""},
    }
    found = host("m1", packages=packages)
    assert (len(list(found.problems())), len(found.warnings())) == (problems, warnings)


def test_a_systemd_that_is_too_old():
    packages = {**INSTALLED, "systemd": {"status": "installed", "version": "245.4-4ubuntu3"}}
    assert [str(problem) for problem in host("m1", packages=packages).problems()] == [
        "The package systemd is too old for tunnels (m1): found 245.4-4ubuntu3, wanted 247 or newer, "
        "set a newer release of the distribution."
    ]


# What the role and this code have to agree on

ROLE = Path(__file__).resolve().parents[4] / "roles" / "tunnels"


def test_the_numbers_are_those_of_the_specification():
    text = (ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options = yaml.safe_load(text)["argument_specs"]["main"]["options"]["tunnels_links"]["options"]
    assert {name: options[name]["default"] for name in _tunnels.NUMBERS} == _tunnels.NUMBERS
    assert {name for name, option in options.items() if option.get("required")} == set(API)


def test_the_units_know_the_same_places():
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROLE / "files").iterdir()}
    assert set(files) == set(UNITS)
    unit, firewall = files[_tunnels.UNIT], files[_tunnels.FIREWALL_UNIT]
    for path in (_tunnels.options_path("%i"), _tunnels.key_path("%i")):
        assert path in unit
    assert _tunnels.running_path("%i") == "/run/gpufleet-tunnels/%i/options"
    assert "%t/gpufleet-tunnels/%i/options" in unit and "RuntimeDirectory=gpufleet-tunnels/%i" in unit
    for name in ("MODE", "SOURCE", "TARGET", *map(str.upper, _tunnels.NUMBERS)):
        assert f"$TUNNEL_{name}" in unit or f"${{TUNNEL_{name}}}" in unit
    assert f"-f {_tunnels.RULES}" in firewall and f"delete table inet {_tunnels.TABLE}" in firewall
    assert _tunnels.RULES_LOADED == "/run/gpufleet-tunnels-firewall/rules"
    assert "%t/gpufleet-tunnels-firewall/rules" in firewall

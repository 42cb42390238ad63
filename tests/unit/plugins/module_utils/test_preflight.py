# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import NO_ENGINE, NO_SWARM
from ansible_collections.gpufleet.swarm.plugins.module_utils._preflight import judge

WANTED = {
    "node": True, "manager": True, "platforms": {"debian": ["12", "13"], "ubuntu": ["22.04", 24.04]},
    "architectures": ["x86_64", "aarch64"], "kernel_features": ["overlay", "vxlan"],
    "cgroup_controllers": ["cpu", "memory"],
    "min_disk_gb": 10.0, "min_memory_mb": 900, "max_clock_offset": 5.0,
    "address_pools": ["10.201.0.0/16"], "data_path_port": 4789, "ingress_ports": [80, 443],
    "ingress_stack": "ingress",
}
HOST = {
    "os": {"id": "debian", "version_id": "13", "codename": "trixie", "name": "Debian 13"},
    "architecture": "x86_64", "memory_bytes": 2_000_000_000,
    "features": {"overlay": True, "vxlan": True, "ipvs": True, "bridge_netfilter": True},
    "cgroup_controllers": ["cpu", "memory", "pids"],
    "storage": {"path": "/var/lib/docker", "free_bytes": 20_000_000_000, "total_bytes": 40_000_000_000},
    "addresses": ["192.0.2.1/24"], "routes": ["192.0.2.0/24"],
    "listening": [
        {"protocol": "tcp", "address": "0.0.0.0", "port": 22, "process": "sshd"},
        {"protocol": "tcp", "address": "::", "port": 2377, "process": "dockerd"},
        {"protocol": "udp", "address": "0.0.0.0", "port": 4789, "process": None},
    ],
    "docker": {
        "installed": True, "answering": True, "error": None, **NO_ENGINE, "firewall_backend": "iptables",
        "config_error": None,
    },
    "swarm": {**NO_SWARM},
}


def changed(base, path, value):
    """Return a copy in which the value at a dotted path is another."""
    made = copy.deepcopy(base)
    inner = made
    *folders, last = path.split(".")
    for key in folders:
        inner = inner[key]
    inner[last] = value
    return made


def verdict(host=HOST, wanted=WANTED, offset=0.0, uncertainty=0.3):
    clock = {"offset_s": offset, "uncertainty_s": uncertainty}
    problems, warnings = judge("h1", {"host": host, "clock": clock}, wanted)
    return [str(problem) for problem in problems], warnings


def holding(port, process, protocol="tcp"):
    return [{"protocol": protocol, "address": address, "port": port, "process": process}
            for address in ("0.0.0.0", "::")]


def published(port, stack):
    return [{"protocol": "tcp", "port": port, "container": "web", "stack": stack}]


def test_a_sound_host():
    assert verdict() == ([], [])


# name: (path in the reading, value, problem)
HOSTS = {
    "old-system": ("os.version_id", "11",
                   "The operating system is not supported (h1): found debian 11, "
                   "wanted debian 12, 13; ubuntu 22.04, 24.04, set preflight_platforms."),
    "unknown-system": ("os", {"id": "arch", "version_id": "", "codename": "", "name": "Arch Linux"},
                       "The operating system is not supported (h1): found arch Arch Linux, "
                       "wanted debian 12, 13; ubuntu 22.04, 24.04, set preflight_platforms."),
    "processor": ("architecture", "riscv64",
                  "The processor is not supported (h1): found riscv64, wanted x86_64, aarch64, "
                  "set preflight_architectures."),
    "memory": ("memory_bytes", 512_000_000,
               "The host has too little memory (h1): found 512 MB, wanted at least 900 MB, "
               "set more memory, or preflight_min_memory_mb."),
    "kernel": ("features.vxlan", False,
               "The kernel lacks what a Swarm needs (h1): found no vxlan, wanted overlay, vxlan, "
               "set a kernel with these modules, or preflight_kernel_features."),
    "cgroups": ("cgroup_controllers", ["cpu"],
                "The kernel does not limit what containers use (h1): found no cgroup controller memory, "
                "wanted cpu, memory, "
                "set the kernel's boot options (cgroup_enable), or preflight_cgroup_controllers."),
    "disk": ("storage.free_bytes", 9_900_000_000,
             "The host has too little free space (h1): found 9.9 GB at /var/lib/docker, wanted at "
             "least 10 GB, "
             "set more space, or preflight_min_disk_gb."),
    "engine": ("docker.error", "status 500",
               "The Docker Engine is in trouble (h1): found an error, wanted an Engine that answers, "
               "set the Engine right on this host (journalctl -u docker) - status 500."),
    "swarm": ("swarm.state", "locked",
              "The Swarm of this node is in trouble (h1): found state locked, wanted active or inactive, "
              "set the Swarm free with: docker swarm unlock."),
    "daemon-json": ("docker.config_error", "a comma too many at /etc/docker/daemon.json, line 2, column 1",
                    "The Engine's configuration is no JSON object (h1): found a comma too many at "
                    "/etc/docker/daemon.json, line 2, column 1, wanted a JSON object or no file, "
                    "set the file right on this host."),
    "nftables": ("docker.firewall_backend", "nftables",
                 "The Engine's firewall backend does not work in a Swarm (h1): found nftables, "
                 "wanted iptables, "
                 "set firewall-backend in the daemon.json of this host."),
    "pool-in-a-route": ("routes", ["10.0.0.0/8", "192.0.2.0/24"],
                        "The address pool overlaps with networks of the host (h1): found 10.0.0.0/8 in or "
                        "around 10.201.0.0/16, wanted a pool that nothing else uses, set "
                        "swarm_address_pools."),
    "pool-around-an-address": ("addresses", ["10.201.3.4/24", "fd00::1/64"],
                               "The address pool overlaps with networks of the host (h1): found "
                               "10.201.3.0/24 "
                               "in or around 10.201.0.0/16, wanted a pool that nothing else uses, "
                               "set swarm_address_pools."),
    "web-server": ("listening", holding(80, "nginx"),
                   "A port of the ingress is taken (h1): found tcp port 80 held by nginx, wanted a "
                   "free port, "
                   "set another ingress_http_port or ingress_https_port, or stop it."),
    "unseen-process": ("listening", holding(443, None),
                       "A port of the ingress is taken (h1): found tcp port 443 held by a process "
                       "that cannot "
                       "be seen, wanted a free port, "
                       "set another ingress_http_port or ingress_https_port, or stop it."),
    "container": ("docker.published", published(443, "shop"),
                  "A port of the ingress is taken (h1): found tcp port 443 held by container web, "
                  "wanted a free port, set another ingress_http_port or ingress_https_port, or stop it."),
    "gossip-port": ("listening", holding(7946, "consul", "udp"),
                    "A port of the Swarm is taken (h1): found udp port 7946 held by consul, wanted a "
                    "free port, "
                    "set the other program to another port."),
    "manager-port": ("listening", holding(2377, "java"),
                     "A port of the Swarm is taken (h1): found tcp port 2377 held by java, wanted a "
                     "free port, "
                     "set the other program to another port."),
    "data-path-port": ("listening", holding(4789, "tunneld", "udp"),
                       "A port of the Swarm is taken (h1): found udp port 4789 held by tunneld, "
                       "wanted a free port, set the other program to another port."),
    "own-ingress": ("docker.published", published(80, "ingress"), None),
    "routing-mesh": ("listening", holding(80, "dockerd"), None),
    "udp-on-an-ingress-port": ("listening", holding(443, "vpn", "udp"), None),
    "node-that-still-looks-for-its-managers": ("swarm.state", "pending", None),
    "ipv6-pool-beside-ipv4": ("routes", ["fd00::/8"], None),
}


@pytest.mark.parametrize(("path", "value", "problem"), HOSTS.values(), ids=HOSTS)
def test_hosts(path, value, problem):
    assert verdict(changed(HOST, path, value))[0] == ([problem] if problem else [])


# name: (path in what is wanted, value, path in the reading, value), each without a problem
ASKED_LESS = {
    "worker-needs-no-2377": ("manager", False, "listening", holding(2377, "java")),
    "no-ingress-here": ("ingress_ports", [], "listening", holding(80, "nginx")),
    "front-needs-no-vxlan": ("node", False, "features.vxlan", False),
    "front-needs-no-space": ("node", False, "storage.free_bytes", 0),
    "front-warns-of-no-ipvs": ("node", False, "features.ipvs", False),
    "more-space-than-asked": ("min_disk_gb", 1.5, "storage.free_bytes", 1_500_000_000),
}


@pytest.mark.parametrize(("option", "asked", "path", "value"), ASKED_LESS.values(), ids=ASKED_LESS)
def test_less_is_asked(option, asked, path, value):
    assert verdict(changed(HOST, path, value), {**WANTED, option: asked}) == ([], [])


def test_a_pool_is_no_matter_once_the_swarm_stands():
    host = changed(HOST, "routes", ["10.0.0.0/8"])
    assert verdict(changed(host, "swarm.state", "active"))[0] == []


def test_an_engine_yet_to_start_will_take_its_bridge():
    bare = changed(HOST, "docker.answering", False)
    assert verdict(bare)[0] == []
    problems = verdict(bare, {**WANTED, "address_pools": ["172.16.0.0/12"]})[0]
    assert len(problems) == 1
    assert "found 172.17.0.0/16 in or around 172.16.0.0/12" in problems[0]


@pytest.mark.parametrize(
    ("offset", "found"), [(5.0, None), (-5.0, None), (5.1, "5.1 s ahead of"), (-3600.04, "3600.0 s behind")]
)
def test_clock(offset, found):
    problems, warnings = verdict(offset=offset)
    assert warnings == []
    assert problems == ([
        f"The clock is wrong (h1): found {found} the controller, wanted at most 5 s, "
        "set time synchronisation there, or preflight_max_clock_offset."
    ] if found else [])


def test_a_slow_answer_proves_no_clock():
    assert verdict(uncertainty=12.0) == (
        [], ["h1: reading the clock took 12.0 s, too long to tell whether it is right to 5 s."]
    )
    assert len(verdict(offset=9.0, uncertainty=12.0)[0]) == 1


def test_no_ipvs_is_a_warning_with_the_name_of_the_node():
    problems, warnings = verdict(changed(HOST, "features.ipvs", False))
    assert problems == []
    assert warnings == [
        "h1: the kernel has no IPVS, so virtual addresses of services and the routing mesh carry no traffic "
        "there. Services get endpoint_mode dnsrr by default."
    ]


# name: (registered result, problem)
UNREAD = {
    "unreachable": (
        {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh:\nNo route to host"},
        "The host cannot be reached (h1): found no answer, wanted a login, "
        "set ansible_host, ansible_user or the key - Failed to connect to the host via ssh: No route "
        "to host.",
    ),
    "no-sudo": (
        {"failed": True, "msg": "Missing sudo password"},
        "The host cannot be read (h1): found a failure, wanted Python 3 and the rights of root, "
        "set ansible_become and ansible_python_interpreter - Missing sudo password.",
    ),
    "no-python": (
        {"failed": False, "module_stderr": "/bin/sh: python3: not found\n"},
        "The host cannot be read (h1): found a failure, wanted Python 3 and the rights of root, "
        "set ansible_become and ansible_python_interpreter - /bin/sh: python3: not found.",
    ),
}


@pytest.mark.parametrize(("reading", "problem"), UNREAD.values(), ids=UNREAD)
def test_a_host_that_gave_no_answer(reading, problem):
    problems, warnings = judge("h1", reading, WANTED)
    assert [str(one) for one in problems] == [problem]
    assert warnings == []


def test_all_problems_are_told_at_once():
    host = changed(changed(changed(HOST, "os.id", "arch"), "features.vxlan", False), "routes", ["10.0.0.0/8"])
    assert len(verdict(host, offset=60.0)[0]) == 4

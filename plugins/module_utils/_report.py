# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verification found, as rows to show and as sentences to fail with. Pure. Private: may change.

results   what the module probe returned per check
services  what the module stack_info returned
nodes     what the module host_info returned as host.swarm.nodes
"""
from __future__ import annotations

HOST_LABEL = "gpufleet.host"


def routes(results, services):
    """Return one row per URL: what it answered, which service it is and how many tasks of that run where."""
    known = {service["name"]: service for service in services}
    rows = []
    for result in results:
        service = known.get(result["service"], {})
        rows.append({
            "url": result["url"],
            "answer": _answer(result),
            "ok": result["ok"],
            "service": result["service"],
            "replicas": service.get("replicas"),
            "on": service.get("nodes"),
        })
    return rows


def problems(results, services, nodes, hosts, stacks):
    """Return a sentence per thing that is amiss, none when the fleet is as it should be.

    hosts   inventory names of all hosts that have to be nodes
    stacks  names of all stacks that have to stand
    """
    by_host = {node["labels"].get(HOST_LABEL): node for node in nodes}
    absent = [host for host in hosts if host not in by_host]
    unready = [node for node in nodes if node["state"] != "ready"]
    found = [f"host {host}: found in no Swarm, wanted as a node of this one" for host in absent]
    found += [f"node {node['hostname']}: found {node['state']}, wanted ready" for node in unready]
    there = {service["stack"] for service in services}
    found += [f"stack {stack}: found no service of it" for stack in stacks if stack not in there]
    found += [f"service {one['name']}: {one['reason']}" for one in services if not one["ok"]]
    found += [f"{one['url']}: {'; '.join(one['problems'])}" for one in results if not one["ok"]]
    return found


def _answer(result):
    if result["refused"]:
        return "refused"
    if result["location"]:
        return f"{result['status']} to {result['location']}"
    return result["status"]

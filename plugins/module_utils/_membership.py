# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has to join the Swarm, change role or get labels: inventory x hosts as read -> plan. Private.

Pure: it sees what the module host_info returned and decides. The role swarm carries the plan out and asks
again after each stage, so a run that was cut short is simply taken up where it stopped.

Words: the *entry* of a host is what a manager lists under its node id. A *former* entry is one that a host
left behind when its state was wiped; its labels and availability belong to the host. The *acting* manager is
the host through which everything is done.
"""
from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

OWNED = "gpufleet.owned"
HOST = "gpufleet.host"

ADVICE = {
    "locked": "the Swarm free with: docker swarm unlock",
    "pending": "the way to the managers free (2377/tcp), or leave with: docker swarm leave",
    "error": "what the Engine names right, or leave with: docker swarm leave",
}


def engine_problem(name, host, bare_allowed=False):
    """Return what makes the state of a host's Swarm unknown or unsafe, or None.

    name            the host's name in the inventory
    host            what host_info returned for it
    bare_allowed    whether a host without a running Engine will do: preflight, and check mode
    """
    docker, swarm = host["docker"], host["swarm"]
    if docker["error"]:
        return FleetError("The Docker Engine is in trouble", name, "an error", "an Engine that answers",
                          "the Engine right on this host (journalctl -u docker)", docker["error"])
    if not docker["answering"]:
        return None if bare_allowed else FleetError(
            "The Docker Engine does not answer", name, "stopped" if docker["installed"] else "not installed",
            "a running Engine", "the Engine right on this host (systemctl status docker)")
    if swarm["state"] not in ("active", "inactive"):
        return FleetError("The Swarm of this node is in trouble", name, f"state {swarm['state']}",
                          "active or inactive", ADVICE.get(swarm["state"]), swarm["error"])
    if swarm["error"]:
        return FleetError("The Swarm of this node is in trouble", name, "an error", "none",
                          ADVICE["error"], swarm["error"])
    return None


def make_plan(seen, wanted, managers, workers, strict=False, bare_allowed=False):
    """Return what has to be done, as plain data.

    seen        {name: what host_info returned}, for every host that could be asked
    wanted      {name: {"address", "labels", "availability"}}, for every host this run may change
    managers    the inventory's managers, all of them
    workers     the inventory's workers
    strict      a node that is not ready is a problem; else it is one to wait for
    bare_allowed    hosts without a running Engine count as outside of any Swarm (check mode)

    The keys of the plan:
    problems    [FleetError]; with any, nothing else is there
    warnings    [sentence]
    acting      the host that does it, and address, where its Swarm is joined
    init        whether it has to make the Swarm first
    join        {name: role}
    former      [{id, host, role}], entries to demote and remove
    promote, demote     names
    updates     {name: {id, labels, labels_to_remove, availability}}, only of nodes that differ
    wait        {ready, reachable, down}: node ids that are not there yet; settled: there are none
    actions     {name: [sentence]}, all of the above in words
    """
    read = [name for name in (*managers, *workers) if name in seen]
    problems = [engine_problem(name, seen[name], bare_allowed) for name in read]
    problems = [problem for problem in problems if problem]
    if not problems:
        look = Look(seen, wanted, managers, workers)
        problems = list(look.problems(strict))
    return {"problems": problems} if problems else {"problems": [], **look.as_dict()}


class Look:
    """One look at the fleet, and what follows from it."""

    def __init__(self, seen, wanted, managers, workers):
        self.seen, self.wanted, self.managers = seen, wanted, managers
        self.inventory = [*managers, *workers]
        self.swarms = {name: host["swarm"] for name, host in seen.items()}
        self.active = [name for name in self.inventory if self.swarms.get(name, {}).get("state") == "active"]
        # The first of the inventory's managers that manages a Swarm, else any node that does (the inventory
        # may have swapped roles). If nobody does, the first manager makes the Swarm.
        managing = [name for name in self.active if self.swarms[name]["manager"]]
        self.init = not managing
        self.acting = next(iter(managing), managers[0])
        self.listed = {} if self.init else {node["id"]: node for node in self.swarms[self.acting]["nodes"]}
        self.entries = {
            name: self.listed[self.swarms[name]["node_id"]]
            for name in self.active if self.swarms[name]["node_id"] in self.listed
        }
        self.former = self._find_former()
        self.join, self.promote, self.demote, self.updates, self.actions = {}, [], [], {}, {}
        for name in self.inventory:
            if name in self.wanted:
                self._compare(name)

    def _find_former(self):
        """Return {name: [entries]} of wiped hosts: entries with their label, else with their hostname."""
        current = {entry["id"] for entry in self.entries.values()}
        hosts = {host["hostname"]: name for name, host in self.seen.items() if name in self.wanted}
        former = {}
        for node in self.listed.values():
            name = node["labels"].get(HOST)
            if name is None and node["state"] == "down":
                name = hosts.get(node["hostname"])
            if name in self.wanted and name in self.seen and node["id"] not in current:
                former.setdefault(name, []).append(node)
        return former

    def _compare(self, name):
        """Compare a host with its entry."""
        entry, former = self.entries.get(name), self.former.get(name, [])
        role = "manager" if name in self.managers else "worker"
        actions = [f"remove its former entry {node['id']} ({node['role']})" for node in former]
        if entry is None and self.init and name == self.acting:
            actions.append("make the Swarm")
        elif entry is None:
            self.join[name] = role
            actions.append(f"join the Swarm as {role}")
        elif entry["role"] != role:
            (self.promote if role == "manager" else self.demote).append(name)
            actions.append(f"become a {role}")
        update = node_update(self.wanted[name], entry, former)
        if update:
            self.updates[name] = {"id": entry["id"] if entry else None, **update}
            actions += told_update(update, entry["labels"] if entry else {})
        if actions:
            self.actions[name] = actions

    def problems(self, strict):
        """Yield why the plan must not be carried out."""
        yield from self._strayed()
        yield from self._without_majority()
        if strict:
            yield from self._unsettled()

    def _strayed(self):
        """Yield hosts that are in another Swarm: it is left by hand or not at all."""
        if self.init and self.acting not in self.wanted:
            yield FleetError("There is no Swarm yet and its first manager is not part of this run",
                             self.acting, "a limit without it", "a limit with it, or none", "--limit")
        free = "this node free with: docker swarm leave --force (what it runs there ends)"
        cluster = self.swarms[self.acting]["cluster_id"] if self.acting in self.swarms else None
        for name in self.active:
            swarm = self.swarms[name]
            if self.init:
                yield FleetError("The node is in a Swarm that no host of the inventory manages", name,
                                 f"node {swarm['node_id']}", "no Swarm, or managers in the inventory", free)
            elif swarm["manager"] and swarm["cluster_id"] != cluster:
                yield FleetError("The node is in another Swarm", name, f"Swarm {swarm['cluster_id']}",
                                 f"Swarm {cluster}, which {self.acting} manages", free)
            elif name not in self.entries:
                yield FleetError("The node is in another Swarm", name, f"node {swarm['node_id']}",
                                 f"a node of Swarm {cluster}, which {self.acting} manages", free)

    def _without_majority(self):
        """Yield demotions after which the managers left would have no majority."""
        former = [node["id"] for nodes in self.former.values() for node in nodes]
        joining = [*self.promote, *(name for name, role in self.join.items() if role == "manager")]
        # Former entries go before anyone joins, demotions come last.
        stages = (
            (former, list(self.former), 0),
            (former + [self.entries[name]["id"] for name in self.demote], self.demote, len(joining)),
        )
        for leaving, names, more in stages:
            staying = [node for node in self.listed.values() if node["id"] not in leaving]
            problem = minority(staying, ", ".join(names), more) if names else None
            if problem:
                yield problem
                return

    def waits(self):
        """Return the ids of nodes that are not ready, managers not reachable, former entries not down."""
        entries = [entry for name, entry in self.entries.items() if name in self.wanted]
        return {
            "ready": [entry["id"] for entry in entries if entry["state"] != "ready"],
            "reachable": [
                entry["id"] for entry in entries
                if entry["role"] == "manager" and entry["manager_reachability"] != "reachable"
            ],
            "down": [
                node["id"] for nodes in self.former.values() for node in nodes if node["state"] != "down"
            ],
        }

    def _unsettled(self):
        waits = self.waits()
        for name, entry in self.entries.items():
            if entry["id"] in waits["ready"]:
                yield FleetError("The node did not become ready", name, f"state {entry['state']}", "ready",
                                 "the way between the nodes free, or swarm_wait_timeout")
            elif entry["id"] in waits["reachable"]:
                yield FleetError("The manager did not become reachable", name,
                                 f"reachability {entry['manager_reachability']}", "reachable",
                                 "the way between the managers free (2377/tcp), or swarm_wait_timeout")
        for name, nodes in self.former.items():
            for node in nodes:
                if node["state"] != "down":
                    yield FleetError("Another machine is in the Swarm in the name of this host", name,
                                     f"node {node['id']} in state {node['state']}", "one node for each host",
                                     f"that machine out of the Swarm, or its label {HOST} right")

    def warnings(self):
        """Yield what is odd and not in the way."""
        for name, entry in self.entries.items():
            found, meant = self.swarms[name]["node_address"], self.wanted.get(name, {}).get("address")
            if meant and found != meant:
                yield (f"{name} ({entry['id']}) is in the Swarm as {found}, the inventory says {meant}; "
                       "a node changes its address only by leaving the Swarm and joining again.")
        known = {node["id"] for nodes in (self.entries.values(), *self.former.values()) for node in nodes}
        strangers = [
            f"{node['hostname']} ({node['id']}, {node['role']}, {node['state']})"
            for node in self.listed.values()
            if node["id"] not in known and node["labels"].get(HOST) not in self.inventory
        ]
        if strangers:
            yield "Nodes of the Swarm that are in no inventory: " + ", ".join(strangers) + "."

    def as_dict(self):
        address = self.swarms.get(self.acting, {}).get("node_address") or self.wanted[self.acting]["address"]
        waits = self.waits()
        return {
            "warnings": list(self.warnings()),
            "acting": self.acting,
            "address": f"[{address}]:2377" if ":" in address else f"{address}:2377",
            "init": self.init,
            "join": self.join,
            "former": [
                {"id": node["id"], "host": name, "role": node["role"]}
                for name, nodes in self.former.items() for node in nodes
            ],
            "promote": self.promote,
            "demote": self.demote,
            "updates": self.updates,
            "wait": waits,
            "settled": not any(waits.values()),
            "actions": self.actions,
        }


def minority(staying, leaving, more=0):
    """Return the FleetError of managers that would have no majority, or None.

    staying     entries of the nodes that stay, workers too
    leaving     whom the error names
    more        how many managers join besides
    """
    managers = [node for node in staying if node["role"] == "manager"]
    total = len(managers) + more
    alive = sum(node["manager_reachability"] == "reachable" for node in managers) + more
    if alive > total // 2:
        return None
    return FleetError("The managers that stay would have no majority", leaving,
                      f"{alive} of {total} reachable", f"at least {total // 2 + 1}",
                      "the other managers reachable first")


def label_text(value):
    """Return a label's value as the Engine stores it; YAML's booleans are written in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def node_update(wanted, entry, former=()):
    """Return the least change that gives a node its labels and availability, or None.

    wanted      {"labels": dict, "availability": "keep"|"active"|"pause"|"drain"}
    entry       the node's entry, None before it has one
    former      entries the same host left behind; what others had set there is carried over

    Which labels are ours is remembered in the label gpufleet.owned, so that one taken out of the inventory is
    removed and those of others stay.
    """
    labels = {key: label_text(value) for key, value in wanted["labels"].items()}
    labels[OWNED] = ",".join(sorted(labels))
    availability = None if wanted["availability"] == "keep" else wanted["availability"]
    current = entry["labels"] if entry else {}
    removed = sorted(key for key in owned_labels(current) if key in current and key not in labels)
    for node in former:
        ours = owned_labels(node["labels"]) | {OWNED, HOST} | set(current)
        labels = {**{key: value for key, value in node["labels"].items() if key not in ours}, **labels}
        if wanted["availability"] == "keep" and node["availability"] != "active":
            availability = node["availability"]
    changed = {key: value for key, value in sorted(labels.items()) if current.get(key) != value}
    if entry and entry["availability"] == availability:
        availability = None
    if not (changed or removed or availability):
        return None
    return {"labels": changed, "labels_to_remove": removed, "availability": availability}


def owned_labels(labels):
    """Return the keys that gpufleet.owned remembers as ours."""
    return set(labels.get(OWNED, "").split(",")) - {""}


def told_update(update, before):
    """Yield an update in words."""
    for key, value in update["labels"].items():
        if key != OWNED:
            yield f"set label {key}={value}" + (f" (was {before[key]})" if key in before else "")
    for key in update["labels_to_remove"]:
        yield f"remove label {key}"
    if update["availability"]:
        yield f"set availability {update['availability']}"

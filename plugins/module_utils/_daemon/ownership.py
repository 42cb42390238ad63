# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns which key of daemon.json. Private: may change in any release.

The unit of ownership is a leaf: a value that is no object, or an empty object, at a path of keys; and, for
lists that several owners fill, one item of the list at a path. For each leaf the state remembers its owners,
the value they gave and the text that stood there before the first of them came, so that the last one to leave
puts it back. Two owners may give the same value to one leaf; different values are an error.

State of one file (plain JSON):
  {"entries": [{"path": [...], "owners": [...], "value": ..., "before": text or null}
               {"path": [...], "owners": [...], "item": ..., "before": true when it was in the list already}],
   "containers": [[...], ...]}        objects and lists that were created for entries; [] is the file itself
"""

from __future__ import annotations

import copy
import json

from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import (
    MISSING,
    Document,
    kind_of,
    same,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

EMPTY_STATE = {"entries": [], "containers": []}


def dotted(path):
    """Return a path for people: keys joined by dots, quoted where a key has a dot of its own."""
    return ".".join(json.dumps(key) if "." in key or not key else key for key in path)


def leaves(data, path=()):
    """Yield (path, value) for each leaf of a mapping."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


class Plan:
    """What a request makes of a document.

    text       the text of the file afterwards; None when the file is to be removed again (we had created it)
    state      the state afterwards
    conflicts  sentences on keys that somebody changed by hand since we set them
    owned      dotted paths the owner owns afterwards
    """

    def __init__(self, text, state, conflicts, owned):
        self.text = text
        self.state = state
        self.conflicts = conflicts
        self.owned = owned


def plan(text, state, owner, data, list_items, path="daemon.json"):
    """Return the Plan that makes owner's keys those of data and list_items, and releases its others.

    text        text of the file, None when there is none
    state       state of this file as described above
    data        mapping; its leaves are set
    list_items  mapping whose leaves are lists; each item is made a member of the list at that path
    """
    return _Planner(text, state, owner, path).run(data, list_items)


class _Planner:
    def __init__(self, text, state, owner, path):
        self.document = Document(text, path)
        self.existed = text is not None
        self.path = path
        self.owner = owner
        self.entries = copy.deepcopy(state["entries"])
        self.containers = [tuple(item) for item in state["containers"]]
        self.file_was_ours = () in self.containers
        self.conflicts = []

    def run(self, data, list_items):
        wanted = list(leaves(data))
        items = self._items(list_items, wanted)
        keep = {_key(path, MISSING): value for path, value in wanted}
        keep |= {_key(path, item): item for path, item in items}
        for path, value in wanted:
            self._refuse_foreign(path, value)
        for path, item in items:
            self._refuse_foreign(path, [item], item)
        for entry in [item for item in self.entries if self.owner in item["owners"]]:
            key = _key(tuple(entry["path"]), entry.get("item", MISSING))
            if key not in keep or ("value" in entry and _is_other_kind(entry["value"], keep[key])):
                self._release(entry)
        for path, value in wanted:
            self._claim_leaf(path, value)
        for path, item in items:
            self._claim_item(path, item)
        self._prune()
        return Plan(self._text(), self._state(), self.conflicts, self._owned())

    # -- what is asked for -----------------------------------------------------------------------------------

    def _items(self, list_items, wanted):
        items = []
        for path, value in leaves(list_items):
            if not isinstance(value, list):
                raise FleetError(
                    "Cannot own members of a list",
                    target=dotted(path),
                    found=kind_of(value),
                    wanted="a list of members",
                    option="list_items",
                )
            if any(path == other for other, _value in wanted):
                raise FleetError(
                    "Cannot own a list and members of it at once",
                    target=dotted(path),
                    wanted="the path in one of them",
                    option="data or list_items",
                )
            for item in value:
                if not any(path == other and same(item, known) for other, known in items):
                    items.append((path, item))
        return items

    def _refuse_foreign(self, path, value, item=MISSING):
        """Raise where another owner owns this leaf with another value, or a leaf above or below it."""
        for entry in self.entries:
            others = [name for name in entry["owners"] if name != self.owner]
            theirs = tuple(entry["path"])
            shorter = min(len(path), len(theirs))
            if not others or path[:shorter] != theirs[:shorter]:
                continue
            if _agree(entry, path, value, item):
                continue
            raise FleetError(
                f"Another owner ({', '.join(others)}) already sets this key of {self.path}",
                target=dotted(theirs),
                found=json.dumps([entry["item"]] if "item" in entry else entry["value"]),
                wanted=json.dumps(value),
                option="one value, or leave the key to one of the owners; use list_items to share a list",
            )

    # -- claiming --------------------------------------------------------------------------------------------

    def _claim_leaf(self, path, value):
        self._forget_empty_containers(path, value)
        current = self._current(path)
        if current is not MISSING and _is_other_kind(current, value):
            self._refuse_kind(path, current, value)
        entry = self._entry(path)
        if entry is None:
            entry = {"path": list(path), "owners": [], "before": self.document.raw(path)}
            self.entries.append(entry)
        elif not _still_ours(current, entry["value"]) and not _still_ours(current, value):
            self._conflict(path, entry["value"], current, "set back")
        if current is MISSING or (value != {} and not same(current, value)):
            created = self.document.set(path, value)
            self._created([*created, path] if value == {} else created)
        entry["value"] = value
        self._join(entry)

    def _claim_item(self, path, item):
        self._forget_empty_containers(path, [])
        current = self._current(path)
        entry = self._entry(path, item)
        if current is MISSING:
            self._created([*self.document.set(path, []), path])
            current = []
        if not isinstance(current, list):
            self._refuse_kind(path, current, [item])
        there = any(same(item, member) for member in current)
        if entry is None:
            entry = {"path": list(path), "owners": [], "item": item, "before": there}
            self.entries.append(entry)
        elif not there:
            self._conflict(path, [item], MISSING, "set back")
        if not there:
            self.document.append(path, item)
        self._join(entry)

    def _current(self, path):
        obstacle = self.document.obstacle(path)
        if obstacle:
            self._refuse_kind(obstacle, self.document.get(obstacle), {})
        return self.document.get(path)

    def _forget_empty_containers(self, path, value):
        """Remove an empty container of ours where now a value of another kind is to stand."""
        for length in range(1, len(path) + 1):
            part = path[:length]
            current = self.document.get(part)
            wanted = {} if length < len(path) else value
            if self._is_hollow(part, current) and not isinstance(current, type(wanted)):
                self.document.delete(part)
                self.containers = [path for path in self.containers if path[:length] != part]

    def _is_hollow(self, path, value):
        """Tell whether a container is of our making and holds nothing but such containers."""
        members = value.items() if isinstance(value, dict) else [] if value == [] else [(None, value)]
        return path in self.containers and all(self._is_hollow((*path, key), item) for key, item in members)

    def _refuse_kind(self, path, found, wanted):
        raise FleetError(
            f"Cannot merge into {self.path}",
            target=dotted(path),
            found=kind_of(found),
            wanted=kind_of(wanted),
            option="a value of that kind, or correct the file",
        )

    def _created(self, paths):
        self.containers += [tuple(path) for path in paths]
        if not self.existed and () not in self.containers:
            self.containers.append(())

    def _join(self, entry):
        if self.owner not in entry["owners"]:
            entry["owners"] = sorted([*entry["owners"], self.owner])

    # -- releasing -------------------------------------------------------------------------------------------

    def _release(self, entry):
        entry["owners"].remove(self.owner)
        if entry["owners"]:
            return
        self.entries.remove(entry)
        path = tuple(entry["path"])
        current = MISSING if self.document.obstacle(path) else self.document.get(path)
        if "item" in entry:
            if not entry["before"] and isinstance(current, list):
                self.document.discard(path, entry["item"])
        elif not _still_ours(current, entry["value"]):
            if current is not MISSING or entry["before"] is not None:
                self._conflict(path, entry["value"], current, "left alone")
        elif entry["value"] == {}:
            pass  # one that we created goes with the containers
        elif entry["before"] is None:
            self.document.delete(path)
        else:
            self.document.set_raw(path, entry["before"])

    def _prune(self):
        """Remove containers we created that are empty now; forget those no entry lies in any more."""
        used = {
            tuple(entry["path"])[:length] for entry in self.entries for length in range(len(entry["path"]))
        }
        used |= {tuple(entry["path"]) for entry in self.entries}
        for path in sorted(self.containers, key=len, reverse=True):
            if path in used:
                continue
            self.containers.remove(path)
            if path and self.document.get(path) in ({}, []):
                self.document.delete(path)

    # -- the outcome -----------------------------------------------------------------------------------------

    def _conflict(self, path, ours, found, outcome):
        there = "now it is gone" if found is MISSING else f"{json.dumps(found)} is there"
        told = f"{json.dumps(ours)} was set, {there}; {outcome}"
        self.conflicts.append(f"{dotted(path)} was changed outside of {self.owner}: {told}.")

    def _text(self):
        """Return the text, or None when an empty file would be one we made ourselves."""
        gone = not self.existed or (self.file_was_ours and () not in self.containers)
        return None if gone and not self.document.root.entries else self.document.render()

    def _state(self):
        return {
            "entries": sorted(self.entries, key=lambda entry: (entry["path"], json.dumps(entry.get("item")))),
            "containers": [list(path) for path in sorted(set(self.containers))],
        }

    def _owned(self):
        return sorted({dotted(entry["path"]) for entry in self.entries if self.owner in entry["owners"]})

    def _entry(self, path, item=MISSING):
        wanted = _key(path, item)
        return next(
            (
                entry
                for entry in self.entries
                if _key(tuple(entry["path"]), entry.get("item", MISSING)) == wanted
            ),
            None,
        )


def _key(path, item):
    return path, None if item is MISSING else json.dumps(item, sort_keys=True)


def _is_other_kind(left, right):
    return isinstance(left, dict) != isinstance(right, dict)


def _agree(entry, path, value, item):
    """Tell whether an entry of another owner and a claim on an overlapping path can stand together."""
    theirs = tuple(entry["path"])
    if path != theirs:
        # A claim for an object, whatever is in it, agrees with all claims below it.
        return entry.get("value") == {} if len(theirs) < len(path) else item is MISSING and value == {}
    if "item" in entry:
        return item is not MISSING
    return item is MISSING and same(entry["value"], value)


def _still_ours(current, value):
    if value == {}:
        return isinstance(current, dict)
    return current is not MISSING and same(current, value)

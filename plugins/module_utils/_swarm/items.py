# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is made of, and how it reads. Pure. Private: may change in any release."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One field in Compose words. before/after: text, list of texts, or None where the field is not set."""

    path: str
    before: object
    after: object


@dataclass(frozen=True)
class Item:
    """One object that differs.

    kind    network, secret, config or service
    action  create, update, recreate or remove
    tasks   services only: start, restart, place (moved only off nodes that no longer fit), scale, stay, run,
            stop
    diff    of a config that takes the place of another version: their content, line by line
    """

    kind: str
    name: str
    key: str
    action: str
    changes: tuple = ()
    reasons: tuple = ()
    tasks: str | None = None
    diff: tuple = ()

    def as_dict(self):
        """Return the item as the result of the module holds it."""
        out = {
            "kind": self.kind,
            "name": self.name,
            "action": self.action,
            "changes": [{"path": c.path, "before": c.before, "after": c.after} for c in self.changes],
            "reasons": list(self.reasons),
        }
        if self.tasks is not None:
            out["tasks"] = self.tasks
        if self.diff:
            out["diff"] = list(self.diff)
        return out


@dataclass(frozen=True)
class Drift:
    """What others changed of one service since the last deploy.

    fields  in Compose words; kept: those of them that this deploy leaves as they are
    rolled_back  somebody, Swarm itself included, brought back its version of before
    """

    service: str
    fields: tuple = ()
    kept: tuple = ()
    rolled_back: bool = False

    def as_dict(self):
        """Return the drift as the result of the module holds it."""
        return {
            "service": self.service,
            "fields": list(self.fields),
            "kept": list(self.kept),
            "rolled_back": self.rolled_back,
        }

    def text(self):
        """Return the drift for people, in one line."""
        fields = [f"{path} (left alone)" if path in self.kept else path for path in self.fields]
        told = ["was rolled back"] if self.rolled_back else []
        told += ["was changed by others"] if fields else []
        end = ": " + ", ".join(fields) if fields else ""
        return f"{self.service} {' and '.join(told)} since the last deploy{end}"


@dataclass
class Plan:
    """The items in the order they are applied; empty when the Swarm is as wanted.

    same   (kind, name) of the wanted objects that need nothing
    drift  list of Drift
    """

    items: list = field(default_factory=list)
    same: list = field(default_factory=list)
    drift: list = field(default_factory=list)
    warnings: list = field(default_factory=list)

    def __bool__(self):
        return bool(self.items)

    def of(self, kind, *actions):
        """Return the items of one kind with one of the actions."""
        return [item for item in self.items if item.kind == kind and item.action in actions]

    def action(self, kind, name):
        """Return the action planned for one object, or none."""
        return next((item.action for item in self.items if (item.kind, item.name) == (kind, name)), "none")

    def changes(self, kind, name):
        """Return the changes planned for one object."""
        return next((item.changes for item in self.items if (item.kind, item.name) == (kind, name)), ())

    def as_list(self):
        """Return the plan as the result of the module holds it."""
        return [item.as_dict() for item in self.items]

    def objects(self):
        """Return every object of the stack with its action, also those that need none."""
        planned = [(item.kind, item.name, item.action) for item in self.items]
        planned += [(kind, name, "none") for kind, name in self.same]
        return [{"kind": kind, "name": name, "action": action} for kind, name, action in sorted(planned)]

    def counts(self):
        """Return the number of objects by action."""
        actions = [item.action for item in self.items]
        counted = {action: actions.count(action) for action in ("create", "update", "recreate", "remove")}
        return {**counted, "none": len(self.same)}

    def text(self):
        """Return the plan for people, one field a line, after what others changed."""
        return "".join(f"# {drift.text()}\n" for drift in self.drift) + "".join(map(_told, self.items))


def _told(item):
    sign = {"create": "+", "update": "~", "recreate": "!", "remove": "-"}[item.action]
    notes = [item.action] + ([f"tasks {item.tasks}"] if item.tasks else []) + list(item.reasons)
    lines = [f"{sign} {item.kind} {item.name} ({'; '.join(notes)})"]
    for change in item.changes:
        before, after = _value(change.before), _value(change.after)
        lines.append(
            f"    {change.path}: {after}"
            if item.action == "create"
            else f"    {change.path}: {before} -> {after}"
        )
    lines += [f"        {line}" for line in item.diff]
    return "\n".join(lines) + "\n"


def _value(value):
    if value is None:
        return "(not set)"
    if isinstance(value, list):
        return "[" + ", ".join(value) + "]"
    return value if value else '""'

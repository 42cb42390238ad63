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
    """

    kind: str
    name: str
    key: str
    action: str
    changes: tuple = ()
    reasons: tuple = ()
    tasks: str | None = None

    def as_dict(self):
        """Return the item as the result of the module holds it."""
        out = {
            "kind": self.kind,
            "name": self.name,
            "action": self.action,
            "changes": [{"path": c.path, "before": c.before, "after": c.after} for c in self.changes],
            "reasons": list(self.reasons),
        }
        return out if self.tasks is None else {**out, "tasks": self.tasks}


@dataclass
class Plan:
    """The items in the order they are applied; empty when the Swarm is as wanted."""

    items: list = field(default_factory=list)
    unchanged: int = 0
    warnings: list = field(default_factory=list)

    def __bool__(self):
        return bool(self.items)

    def of(self, kind, *actions):
        """Return the items of one kind with one of the actions."""
        return [item for item in self.items if item.kind == kind and item.action in actions]

    def action(self, kind, name):
        """Return the action planned for one object, or none."""
        return next((item.action for item in self.items if (item.kind, item.name) == (kind, name)), "none")

    def as_list(self):
        """Return the plan as the result of the module holds it."""
        return [item.as_dict() for item in self.items]

    def text(self):
        """Return the plan for people, one field a line."""
        return "".join(_told(item) for item in self.items)


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
    return "\n".join(lines) + "\n"


def _value(value):
    if value is None:
        return "(not set)"
    if isinstance(value, list):
        return "[" + ", ".join(value) + "]"
    return value if value else '""'

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: table
author: The gpufleet contributors (@gpufleet)
version_added: "0.1.0"
short_description: Write a list of dictionaries as the lines of a table
description:
  - Returns a line of titles and a line per dictionary, with columns as wide as their widest cell.
positional: _input, columns
options:
  _input:
    description: The rows. A value that is missing or null is written as a hyphen, a list with commas.
    type: list
    elements: dict
    required: true
  columns:
    description: Keys to show, in order. Their titles are the keys in capitals, with spaces for underscores.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the nodes
  ansible.builtin.debug:
    msg: "{{ node.host.swarm.nodes | gpufleet.swarm.table(['hostname', 'role', 'state']) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""


def _cell(value):
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value)
    return " ".join(str(value).split())


def table(rows, columns):
    """Return `rows` as lines, the titles first."""
    cells = [[column.replace("_", " ").upper() for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


class FilterModule:
    """Register the filter."""

    def filters(self):
        """Return the filter by name."""
        return {"table": table}

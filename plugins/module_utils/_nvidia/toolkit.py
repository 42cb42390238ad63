# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container toolkit's config.toml, and which releases ignore what Swarm grants.

Private: may change in any release.

Sources: the toolkit's own code. The key swarm-resource, of the top table, lists the variables in which
Swarm says which cards a task was granted; while it is commented out, a grant has no effect. In releases
1.18.0 to 1.18.2 the automatic mode is jit-cdi, whose code does not read the key (issues 1599 and 1600 of
its repository); 1.17 and before are in mode legacy, 1.19.0 reads it again. The hook of mode legacy reads a
list of variables from 1.12 on.
"""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.parse import parse_toolkit_config
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.versions import version_key

PATH = "/etc/nvidia-container-runtime/config.toml"
RUNTIME = "nvidia-container-runtime"
DEAF_FROM, DEAF_BEFORE = (1, 18, 0), (1, 19, 0)
OLDEST = (1, 12, 0)  # lists in swarm-resource, links in /dev/char
# The workaround stands between these two in the file, so that whoever reads it knows why.
NOTE = "# gpufleet.swarm: mode auto of 1.18 ignores what Swarm grants (nvidia-container-toolkit issue 1599)."
# What the packages of a release write, in the parts that matter here, for a file that is not there yet.
EMPTY = """\
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-runtime]
mode = "auto"
"""


def ignores_grants(version, mode):
    """Return whether a release of the toolkit, in a mode, gives a task other cards than it was granted."""
    return mode == "auto" and DEAF_FROM <= version_key(version)[:3] < DEAF_BEFORE


def right_mode(version, mode="auto"):
    """Return the mode that makes a release honour grants: legacy instead of auto where auto does not."""
    return "legacy" if ignores_grants(version, mode) else mode


def edited(text, variables, mode):
    """Return config.toml with swarm-resource and the runtime's mode set, everything else as it was.

    text        the file, None where there is none
    variables   names of variables for swarm-resource; none comments the key out
    mode        auto, legacy, cdi, csv or jit-cdi

    Edited as text: tomllib cannot write, and what the file says in comments is its only documentation.
    """
    before = EMPTY if text is None else text
    if not parse_toolkit_config(before)["readable"]:
        raise FleetError(
            "The container toolkit's configuration is no TOML",
            PATH,
            "a text that cannot be read",
            "a file as its packages write it",
            f"nvidia-ctk config --config-file={PATH} --in-place after moving it away",
        )
    lines = [line for line in before.splitlines() if line.strip() != NOTE]
    value = ",".join(variables) or "DOCKER_RESOURCE_GPU"
    lines = _set(lines, None, "swarm-resource", value, commented=not variables)
    lines = _set(lines, RUNTIME, "mode", mode, note=NOTE if mode == "legacy" else None)
    after = "\n".join(lines) + "\n"
    found = parse_toolkit_config(after)
    if found["swarm_resource"] != list(variables) or found["mode"] != mode:
        raise FleetError(
            "The container toolkit's configuration cannot be edited",
            PATH,
            f"swarm-resource {found['swarm_resource']}, mode {found['mode']} after the edit",
            f"{list(variables)} and {mode}",
            f"swarm-resource and mode in {PATH} by hand",
        )
    # A file that says it already keeps its bytes, whatever its last line ends with.
    return before if after.rstrip("\n") == before.rstrip("\n") and text is not None else after


def _set(lines, table, key, value, commented=False, note=None):
    """Return the lines with one key of one table (None: the top) set once, in the place where it stands."""
    new = f'{"#" if commented else ""}{key} = "{value}"'
    wanted = [*([note] if note else []), new]
    start, end = _span(lines, table)
    if start is None:
        return [*lines, "", f"[{table}]", *wanted]
    places = [at for at in range(start, end) if re.match(rf"\s*#?\s*{re.escape(key)}\s*=", lines[at])]
    live = [at for at in places if not lines[at].lstrip().startswith("#")]
    if not places:
        return [*lines[:start], *wanted, *lines[start:]]
    keep = (live or places)[0]
    if lines[keep].split("=", 1)[0].strip() == new.split("=", 1)[0].strip() and lines[keep].endswith(
        f'"{value}"'
    ):
        wanted[-1] = lines[keep]  # however it is indented
    return [*lines[:keep], *wanted, *lines[keep + 1 :]]


def _span(lines, table):
    """Return (first line, line behind the last) of a table's own keys, (None, None) where it is not there."""
    heads = [(at, re.match(r"\s*\[([^\[\]]+)\]", line)) for at, line in enumerate(lines)]
    heads = [(at, found.group(1).strip()) for at, found in heads if found]
    if table is None:
        return 0, heads[0][0] if heads else len(lines)
    for number, (at, name) in enumerate(heads):
        if name == table:
            return at + 1, heads[number + 1][0] if number + 1 < len(heads) else len(lines)
    return None, None

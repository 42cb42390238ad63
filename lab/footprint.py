# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells that a host was changed: every file of its root file system, save what changes by itself."""

from __future__ import annotations

from collections.abc import Callable

# Logs, state of systemd, what containerd tidies up in its own time, Ansible's own folder, compiled Python.
RESTLESS = (
    "/var/log/*",
    "/var/lib/systemd/*",
    "/var/lib/containerd/*",
    "/home/*/.ansible/*",
    "/root/.ansible/*",
    "*/__pycache__/*",
)


def footprint(run: Callable[[str], str]) -> dict[str, str]:
    """Return size, owner, mode, time and link target of each file. `run` runs a command there, as root."""
    skipped = " ".join(f"! -path '{pattern}'" for pattern in RESTLESS)
    listing = run(f"find / -xdev ! -type d {skipped} -printf '%p\\t%s %U:%G %m %T@ %l\\n'")
    return dict(line.split("\t", 1) for line in listing.splitlines())

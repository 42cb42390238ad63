# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon_config module is made of. Private: may change in any release.

document    text <-> tree of daemon.json, lossless: what is not edited keeps its bytes
ownership   which key belongs to whom, what stood there before: document x request -> plan
keys        what each key of daemon.json asks of a running daemon, with its source
checks      what the daemon would refuse, found before it is asked
unit        options that the systemd unit of the daemon already sets
engine      the running daemon: read it back, reload, restart, journal (the only part with I/O)

All but engine is pure; none imports ansible or docker.
"""

from __future__ import annotations

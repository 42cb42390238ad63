# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpu_info, gpu_plan, gpu_proof and the role nvidia are made of. Private: may change in any release.

parse        text of NVIDIA's tools and of the kernel -> plain data
read         the host: files under /sys, /proc and /etc, and three programs (the only part with I/O)
branches     what each driver branch and each generation of cards supports, with its source
toolkit      config.toml of the container toolkit, and which of its releases ignore Swarm's grants
kinds        cards -> kinds of resources -> what the daemon advertises
verdict      a reading x what is wanted -> problems and warnings, before anything is changed
plan         a reading x what is wanted -> files, packages, keys of daemon.json, labels
requirement  whether a driver and a card are enough for an image
proof        what a task was granted x what it sees -> problems with their likely cause

All but read is pure; none imports ansible or docker.
"""

from __future__ import annotations

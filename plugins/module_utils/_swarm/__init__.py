# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack on a Swarm: what is wanted, what is there, what to do, doing it, waiting for it. Private.

convert (controller) -> wanted, then observe -> plan -> apply -> converge (manager). Only observe, apply and
converge talk to an Engine.
"""

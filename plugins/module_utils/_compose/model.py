# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The validated model of a stack, as load() returns it. Private: may change in any release."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.report import Report


@dataclass
class Model:
    """One stack: merged, checked, every value in its one form.

    services  {key: service}: Compose's keys with these forms
              command, entrypoint, healthcheck.test: lists of words, or None for the image's own
              environment, labels, deploy.labels, sysctls: {name: text or None}
              times in nanoseconds, sizes in bytes, cpus in billionths
              ports [{target, published, protocol, mode}], networks {key: {aliases, driver_opts}},
              volumes [{type, source, target, ...}], with tmpfs and shm_size among them,
              secrets and configs [{source, target, uid, gid, mode}], depends_on {key: {condition}},
              extra_hosts ["address name"], deploy.resources.reservations.gpus: number of cards,
              gpus_from: path of the key that asked for them, gpu_kind: their kind where the file says one,
              x-replicas "file" or "keep"
    networks, volumes  {key: entry}, an external one with external: True
    configs   {key: entry} with data (bytes) unless external
    secrets   {key: entry}; content only in secret_values
    secret_values  {"secret:KEY": base64 text} for every secret with content of its own
    report    translations, ignored keys, warnings, and the places for later errors
    """

    services: dict = field(default_factory=dict)
    networks: dict = field(default_factory=dict)
    volumes: dict = field(default_factory=dict)
    configs: dict = field(default_factory=dict)
    secrets: dict = field(default_factory=dict)
    secret_values: dict = field(default_factory=dict)
    report: Report = field(default_factory=Report)

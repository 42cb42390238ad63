# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the inventory on the controller; documented in the module of the same name."""
from __future__ import annotations

import os
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.action.spiped_key import read_key
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._firewall import firewall_problems
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import (
    Fleet,
    Unresolved,
    find_problems,
    render,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._tunnels import entries, tunnel_problems
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import vault

ROLES = Path(__file__).parents[2] / "roles"
CONNECTION = ("ansible_host", "ansible_connection")


def read_specs(roles):
    """Return {role: {option: specification}} of all entry points of all roles below a folder."""
    specs = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("argument_specs") or {}
        options = specs.setdefault(path.parents[1].name, {})
        for entry in entries.values():
            options.update(entry.get("options") or {})
    return specs


def read_variables(hostvars, host, prefixes):
    """Return those variables of a host that the checks look at, evaluated."""
    known = hostvars[host]
    values = {}
    for name in known:
        if name in CONNECTION or name.startswith(prefixes):
            try:
                values[name] = known[name]
            except AnsibleError as error:
                values[name] = Unresolved(str(error))
    return values


def reject(name, spec, value):
    """Return why Ansible would refuse a value when the role starts, or None. Secrets are not repeated."""
    rules = {key: rule for key, rule in spec.items() if key not in ("default", "required")}
    reasons = ArgumentSpecValidator({name: rules}).validate({name: value}).error_messages
    if reasons and spec.get("no_log"):
        return f"wanted a value of type {spec.get('type', 'str')}"
    return "; ".join(reasons) or None


def credentials(values):
    """Return the fleet's folder of credentials. values: the variables of any host."""
    beside = os.path.join(values.get("inventory_dir") or "", "credentials")
    return str(values.get("fleet_credentials_dir") or beside)


def key_problems(loader, fleet, folder):
    """Yield what is wrong with the controller's keys of tunnels."""
    for link in entries(fleet):
        try:
            read_key(loader, os.path.join(folder, "tunnels", f"{link['name']}.key"))
        except FleetError as error:
            yield error


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        specs = read_specs(ROLES)
        prefixes = tuple(f"{role}_" for role in specs)
        hostvars, groups = task_vars["hostvars"], task_vars["groups"]
        variables = {host: read_variables(hostvars, host, prefixes) for host in groups["all"]}
        fleet = Fleet(groups, variables, specs)
        folder = credentials(hostvars[groups["all"][0]] if groups["all"] else {})
        problems = [
            *find_problems(groups, variables, specs, reject),
            *tunnel_problems(fleet),
            *firewall_problems(fleet),
            *key_problems(self._loader, fleet, folder),
            # Keys of tunnels were just read.
            *vault.unreadable(self._loader, folder, but=[os.path.join(folder, "tunnels", "")]),
        ]
        result["changed"] = False
        if problems:
            result.update(failed=True, msg=render("The inventory", problems, "no host was contacted"))
        return result

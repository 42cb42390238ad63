# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the module firewall: it knows the fleet, and connects anew to confirm."""
from __future__ import annotations

import time

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._firewall import host_openings
from ansible_collections.gpufleet.swarm.plugins.modules.firewall import ARGUMENTS

MODULE = "gpufleet.swarm.firewall"
# What the module needs on the host; the other options are in the openings.
ON_THE_HOST = ("state", "container_interfaces", "unit", "timeout")
# The variables of other hosts that say where they are, and whether they take requests.
OTHERS = ("ansible_host", "swarm_advertise_address", "swarm_data_path_address", "swarm_ingress")


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            result.update(self._keep(options, task_vars))
        except FleetError as error:
            result.update(failed=True, msg=str(error), error=error.as_result())
        return result

    def _keep(self, options, task_vars):
        arguments = {name: options[name] for name in ON_THE_HOST}
        if options["state"] == "present":
            arguments["openings"] = self._openings(options, task_vars)

        def call(**more):
            return self._execute_module(MODULE, {**arguments, **more}, task_vars=task_vars)

        result = call()
        if result.get("install"):
            wanted = {"name": result["install"], "install_recommends": False, "update_cache": True,
                      "lock_timeout": 300}
            installed = self._execute_module("ansible.builtin.apt", wanted, task_vars=task_vars)
            result = installed if installed.get("failed") else call()
        if options["state"] == "present" and result.get("changed") and not self._task.check_mode:
            confirmed = self._confirm(lambda: call(confirmed=True), options["timeout"])
            if confirmed.get("failed"):
                return confirmed
        return result

    def _openings(self, options, task_vars):
        hosts, groups = task_vars["hostvars"], task_vars["groups"]
        variables = {
            host: {name: hosts[host].get(name) for name in OTHERS if hosts[host].get(name) not in (None, "")}
            for host in groups["all"]
        }
        try:
            openings = host_openings(task_vars["inventory_hostname"], groups, variables, options)
        except ValueError as error:
            raise FleetError("The firewall does not know a source or a port", task_vars["inventory_hostname"],
                             str(error), "an address, a network, or a host or group of the inventory",
                             "the variables of the role firewall") from error
        return [one.as_option() for one in openings]

    def _confirm(self, call, seconds):
        """Confirm through a new connection, and try for half of the time: the other half is for the work."""
        deadline = time.monotonic() + seconds / 2
        while True:
            try:
                # Else the connection that stands would be used, which any rules let through.
                if self._connection.transport != "local":
                    self._connection.reset()
                return call()
            except AnsibleConnectionFailure as error:
                if time.monotonic() > deadline:
                    raise FleetError(
                        "The new rules of the firewall lock Ansible out, and are taken back",
                        self._connection.host if hasattr(self._connection, "host") else None,
                        "no new SSH connection", f"one within {seconds / 2:.0f} s",
                        "firewall_ssh_ports and firewall_ssh_sources, or firewall_confirm_timeout to more",
                        cause=error,
                    ) from error
                time.sleep(1)

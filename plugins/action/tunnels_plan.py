# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans the tunnels of a host on the controller; documented in the module of the same name."""
from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.swarm.plugins.action.spiped_key import read_key
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import render
from ansible_collections.gpufleet.swarm.plugins.module_utils._spiped import fingerprint
from ansible_collections.gpufleet.swarm.plugins.module_utils._tunnels import (
    Host,
    key_path,
    parse_link,
    paths_of,
)

ARGUMENTS = {
    "links": {"type": "list", "elements": "dict", "required": True},
    "gone": {"type": "list", "elements": "str", "default": []},
    "keys": {"type": "path", "required": True},
    "units": {"type": "dict", "required": True},
    "firewall": {"type": "bool", "default": True},
}
PACKAGES = ["spiped", "nftables", "systemd"]


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, wanted = self.validate_argument_spec(argument_spec=ARGUMENTS)
        name = task_vars["inventory_hostname"]
        hosts = task_vars["hostvars"]
        addresses = {host: hosts[host].get("ansible_host") for host in task_vars["groups"]["all"]}
        links = [parse_link(link, addresses) for link in wanted["links"]]
        links = [link for link in links if name in (link.origin, link.end)]
        try:
            sources = {link.name: os.path.join(wanted["keys"], f"{link.name}.key") for link in links}
            prints = {name: fingerprint(read_key(self._loader, path)) for name, path in sources.items()}
        except FleetError as error:
            result.update(failed=True, msg=str(error), error=error.as_result())
            return result
        reading = self._execute_module(
            module_name="gpufleet.swarm.host_info",
            module_args={"paths": paths_of([*prints, *wanted["gone"]]), "packages": PACKAGES},
            task_vars=task_vars,
        )
        if "host" not in reading:
            result.update(reading)
            return result
        host = Host(
            name, links, wanted["gone"], reading["host"], prints, wanted["units"], wanted["firewall"]
        )
        self._judge(host, sources, result)
        return result

    def _judge(self, host, sources, result):
        problems = list(host.problems())
        result["changed"] = False
        if problems:
            subject = f"The host {host.name}"
            result.update(failed=True, msg=render(subject, problems, "its tunnels were left as they are"))
            return
        keys = [{"path": key_path(name), "source": source} for name, source in sorted(sources.items())]
        keys += [{"path": key_path(name), "state": "absent"} for name in host.gone]
        plan = {**host.plan(), "keys": keys}
        result.update(plan=plan, warnings=host.warnings())
        if self._task.check_mode and plan["actions"]:
            after = "".join(f"{action}\n" for action in plan["actions"])
            result.update(changed=True, diff={"before": "", "after": after})

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab, and a host in its network that belongs to no fleet and looks at it from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
IMAGE = "redis:7.4"  # one that every node can get, and that listens

# Connects to ports of an address and prints those that answer, if only to the SYN sent again after a second.
SCAN = """
import errno, json, selectors, socket, sys, time
address, at_once, patience = sys.argv[1], 4000, 3
def scan(ports):
    ports, waiting, found = list(ports), {}, set()
    selector = selectors.EpollSelector()
    def settle(one):
        selector.unregister(one)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and one in ready:
            found.add(waiting[one][0])
        del waiting[one]
        one.close()
    while ports or waiting:
        while ports and len(waiting) < at_once:
            port = ports.pop()
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.setblocking(False)
            code = one.connect_ex((address, port))
            if code not in (0, errno.EINPROGRESS):
                one.close()
                if code != errno.ECONNREFUSED:
                    sys.exit(f"port {port}: {errno.errorcode[code]}")
                continue
            selector.register(one, selectors.EVENT_WRITE)
            waiting[one] = (port, time.monotonic() + patience)
        ready = {key.fileobj for key, _events in selector.select(0.1)}
        for one in ready:
            settle(one)
        now = time.monotonic()
        for one in [one for one, (_port, until) in waiting.items() if until < now]:
            settle(one)
    return found
ports = range(1, 65536) if len(sys.argv) == 2 else [int(port) for port in sys.argv[2:]]
print(json.dumps(sorted(scan(ports))))
"""


class Run:
    """The outcome of a playbook."""

    def __init__(self, process):
        self.output = process.stdout + process.stderr
        self.rc = process.returncode
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", process.stdout, re.MULTILINE)
        self.changed = {host: int(count) for host, count in recap}
        # Long messages are folded, and each line of one is indented.
        self.text = " ".join(self.output.split())


class Fleet:
    """The hosts of a lab, and the outsider."""

    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        self.lab = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text())["fleet_name"]
        groups = yaml.safe_load((self.inventory / "hosts.yml").read_text())["all"]["children"]
        self.address = {
            name: host["ansible_host"]
            for group in groups.values()
            for name, host in (group.get("hosts") or {}).items()
            if host
        }
        self.outsider = self._add_outsider()

    def _add_outsider(self):
        """Start a host in the lab's network; it has the lab's labels, so that it goes with the lab."""
        network = f"gpufleet-{self.lab}"
        image = docker("inspect", "--format", "{{.Config.Image}}", f"{network}-manager1")
        name = f"{network}-outsider"
        labels = ["--label", f"gpufleet.lab={self.lab}", "--label", "gpufleet.lab.host=outsider"]
        docker("run", "--detach", "--name", name, "--network", network, *labels, "--cap-add", "NET_ADMIN",
               "--init", "--ulimit", "nofile=8192", image, "sleep", "7200")
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self.address["outsider"] = docker("inspect", "--format", template, name)
        return name

    def call(self, playbook, *arguments, **variables):
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        command = [
            Path(sys.executable).parent / "ansible-playbook", "-i", self.inventory, *arguments,
            "-e", json.dumps(variables), playbook,
        ]  # fmt: skip
        return Run(subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=3000, check=False
        ))

    def play(self, *arguments, fails=False, state="present", **variables):
        """Run the role on all hosts and return the Run."""
        path = self.folder / "play.yml"
        play = {"hosts": "all", "become": True, "gather_facts": False}
        path.write_text(json.dumps([{**play, "roles": ["gpufleet.swarm.firewall"]}]))
        run = self.call(path, *arguments, firewall_state=state, **variables)
        assert (run.rc != 0) is fails, run.output
        return run

    def on(self, host, script, check=True):
        """Run a script on a host, past SSH and Ansible, and return what it prints."""
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def scan(self, host, *ports, source="outsider", address=None):
        """Return the TCP ports of a host that answer, of all 65535 or of these."""
        words = [address or self.address[host], *map(str, ports)]
        command = ["docker", "exec", "-i", f"gpufleet-{self.lab}-{source}", "python3", "-", *words]
        done = subprocess.run(command, input=SCAN, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def dropped(self, host):
        """Return how many packets the firewall of a host has dropped on arrival."""
        text = self.on(host, "nft list chain inet gpufleet_firewall arriving")
        return int(re.search(r"counter packets (\d+) bytes \d+ drop", text)[1])


def docker(*words):
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

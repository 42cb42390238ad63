# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall on a host: read, loaded for a trial, confirmed, removed. Private: may change in any release.

New rules are loaded and written nowhere; a timer of systemd takes them back. Only a second call, which has to
arrive through a new connection, stops the timer and writes what survives a restart.
"""
from __future__ import annotations

import os

from ansible_collections.gpufleet.swarm.plugins.module_utils import _files
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._firewall import (
    SWARM,
    TABLE,
    network_text,
    port_text,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._host import parse_socket_address, read_text

FOLDER = "/etc/gpufleet/firewall"
RULES = f"{FOLDER}/rules.nft"
UNITS = "/etc/systemd/system"
SERVICE = "gpufleet-firewall.service"
UNIT = f"{UNITS}/{SERVICE}"
LINK = f"{UNITS}/multi-user.target.wants/{SERVICE}"
# What the kernel said after it had loaded the rules, by which a run sees that nobody has changed them since.
RUNNING = "/run/gpufleet-firewall"
LOADED, TRIAL, TRIAL_LOADED = f"{RUNNING}/loaded", f"{RUNNING}/trial.nft", f"{RUNNING}/trial.loaded"
UNDO = "gpufleet-firewall-undo"
# Taken back is: what the service has, where it runs, and no rules at all where it does not.
UNDO_COMMAND = (
    f"systemctl is-active --quiet {SERVICE} && systemctl reload {SERVICE} || nft delete table inet {TABLE}"
)
UFW = "/etc/ufw"
UFW_COMMENT = "gpufleet-firewall"
ANYWHERE = ("0.0.0.0/0", "::/0")
SSH_SERVERS = ("sshd", "dropbear")


def nft_path():
    return next((path for path in ("/usr/sbin/nft", "/sbin/nft") if os.path.exists(path)), None)


class Host:
    """The firewall of this host.

    run       AnsibleModule.run_command
    openings  what may be reached
    rules     the same as rules of nftables
    unit      the text of the service
    """

    def __init__(self, run, openings, rules, unit):
        self.run, self.rules, self.unit = run, rules, unit
        self.nft = nft_path()
        states = self.run(["systemctl", "is-active", SERVICE, "firewalld.service"])[1].split()
        self.active, self.firewalld = (state == "active" for state in states[:2])
        self.ufw_on = ufw_enabled(read_text(f"{UFW}/ufw.conf"))
        texts = [read_text(f"{UFW}/{name}") for name in ("user.rules", "user6.rules")] if self.ufw_on else []
        self.ufw = ufw_tuples("\n".join(texts))
        self.ufw_rules = ufw_wanted(openings) if self.ufw_on else []

    # what is there

    def table(self):
        """Return the table as the kernel has it, without counters, or None."""
        if not self.nft:
            return None
        code, text, _error = self.run([self.nft, "-s", "list", "table", "inet", TABLE])
        return text if code == 0 else None

    def differences(self):
        """Return what is not as it should be, in sentences."""
        table = self.table()
        loaded = self.active and table is not None and table == read_text(LOADED)
        return [
            *([] if self.nft else ["install nftables"]),
            *([] if read_text(RULES) == self.rules and loaded else ["load the rules"]),
            *(f"write {path}" for path, text in self.files().items() if read_text(path) != text),
            *([] if os.path.exists(LINK) else [f"start {SERVICE} at boot"]),
            *(f"let ufw allow {said(rule)}" for rule in self.ufw_missing()),
            *(f"let ufw allow {said(rule)} no more" for rule in self.ufw_superfluous()),
        ]

    def leftovers(self):
        """Return what there is to remove, in sentences."""
        return [
            *(["remove the rules"] if self.active or self.table() is not None else []),
            *(f"remove {path}" for path in (LINK, UNIT, RULES) if os.path.lexists(path)),
            *(f"let ufw allow {said(rule)} no more" for rule in self.ufw_superfluous()),
        ]

    def ufw_missing(self):
        return [rule for rule in self.ufw_rules if rule not in self.ufw]

    def ufw_superfluous(self):
        return [rule for rule, ours in self.ufw.items() if ours and rule not in self.ufw_rules]

    def files(self):
        return {RULES: self.rules, UNIT: self.unit}

    # what is done

    def call(self, what, *command):
        code, out, error = self.run(list(command))
        if code:
            raise FleetError(what, " ".join(command), cause=error or out)
        return out

    def load(self, seconds):
        """Load the rules, and let a timer take them back after some seconds unless confirm() is called."""
        os.makedirs(RUNNING, mode=0o755, exist_ok=True)
        _files.write(TRIAL, self.rules.encode(), mode=0o644)
        self.call("Cannot use the rules of the firewall; the kernel may be without nf_tables",
                  self.nft, "--check", "--file", TRIAL)
        for rule in self.ufw_missing():
            self.call("Cannot add a rule to ufw", "ufw", "allow", *ufw_words(rule), "comment", UFW_COMMENT)
        self.stop_timer()
        self.call("Cannot start the timer that would take the rules back",
                  "systemd-run", "--quiet", "--collect", f"--unit={UNDO}", f"--on-active={seconds}",
                  "--timer-property=AccuracySec=1s", "/bin/sh", "-c", UNDO_COMMAND)
        self.call("Cannot load the rules of the firewall", self.nft, "--file", TRIAL)
        _files.write(TRIAL_LOADED, (self.table() or "").encode(), mode=0o644)

    def timer_waits(self):
        return self.run(["systemctl", "is-active", f"{UNDO}.timer"])[1].strip() == "active"

    def stop_timer(self):
        # It fails where there is none.
        self.run(["systemctl", "stop", f"{UNDO}.timer"])

    def confirm(self):
        """Keep the rules that are on trial.

        The timer is stopped last. Should it end before, it lets the service load what it has, which is the
        same by then. Should the service fail, it takes the rules back.
        """
        if not self.timer_waits() or self.table() != read_text(TRIAL_LOADED):
            raise FleetError("The rules of the firewall were taken back before they were confirmed",
                             wanted="a new connection in time", option="firewall_confirm_timeout")
        replaced = os.path.exists(UNIT) and read_text(UNIT) != self.unit
        for path, text in self.files().items():
            if read_text(path) != text:
                _files.write(path, text.encode(), mode=0o644)
        if not os.path.exists(LINK):
            # Made by hand: enabling it would make systemd read all units again, upon which containers with
            # GPUs can lose them (NVIDIA/nvidia-container-toolkit#48).
            os.makedirs(os.path.dirname(LINK), mode=0o755, exist_ok=True)
            os.symlink(UNIT, LINK)
        if replaced:
            self.call("Cannot let systemd read the firewall's service again", "systemctl", "daemon-reload")
        try:
            self.call("Cannot start the service of the firewall", "systemctl", "reload-or-restart", SERVICE)
        except FleetError as error:
            journal = self.run(["journalctl", "--unit", SERVICE, "--lines", "5", "--output", "cat"])[1]
            raise FleetError(error.what, SERVICE, cause=" | ".join(journal.splitlines())) from error
        self.stop_timer()
        self.clear_ufw()
        for path in (TRIAL, TRIAL_LOADED):
            _files.remove(path)

    def clear_ufw(self):
        for rule in self.ufw_superfluous():
            self.call("Cannot remove a rule from ufw", "ufw", "--force", "delete", "allow", *ufw_words(rule))

    def remove(self):
        self.stop_timer()
        self.run(["systemctl", "stop", SERVICE])
        if self.table() is not None:
            self.call("Cannot remove the rules of the firewall", self.nft, "delete", "table", "inet", TABLE)
        self.clear_ufw()
        for path in (RULES, LOADED, TRIAL, TRIAL_LOADED):
            _files.remove(path)
        for path in (LINK, UNIT):  # not what a link leads to
            if os.path.lexists(path):
                os.unlink(path)
        # One that has failed is remembered otherwise. It fails where there is nothing to forget.
        self.run(["systemctl", "reset-failed", SERVICE])
        for folder in (FOLDER, RUNNING):
            if os.path.isdir(folder) and not os.listdir(folder):
                os.rmdir(folder)


# --- the connection that this runs through ---------------------------------------------------------------


def live_connection():
    """Return (other end's address, port here) of the SSH connection that this process came through.

    None where there is none. The environment does not say it, as sudo drops SSH_CONNECTION; the ancestors of
    this process do.
    """
    sockets = {}
    for name in ("tcp", "tcp6"):
        sockets.update(parse_established(read_text(f"/proc/net/{name}")))
    pid = os.getpid()
    while pid > 1:
        text = read_text(f"/proc/{pid}/stat")
        if not text:
            return None
        parent, command = parse_stat(text)
        if command.startswith(SSH_SERVERS):
            for inode in held_sockets(pid):
                if inode in sockets:
                    return sockets[inode]
        pid = parent
    return None


def parse_established(text):
    """Return {inode: (remote address, local port)} of the established connections in /proc/net/tcp{,6}."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return {
        int(row[9]): (parse_socket_address(row[2])[0], parse_socket_address(row[1])[1])
        for row in rows
        if len(row) > 9 and row[3] == "01"
    }


def parse_stat(text):
    """Return (parent, name) of /proc/PID/stat. The name stands in parentheses and may hold any character."""
    name, _end, rest = text.partition("(")[2].rpartition(")")
    return int(rest.split()[1]), name


def held_sockets(pid):
    """Return the inodes of the sockets a process has open."""
    folder = f"/proc/{pid}/fd"
    try:
        links = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    except OSError:
        return []
    return [int(link[8:-1]) for link in links if link.startswith("socket:[")]


# --- the ways in ------------------------------------------------------------------------------------------


def ways_in():
    """Return the interfaces that default routes of this host lead through."""
    return parse_default_routes(read_text("/proc/net/route"), read_text("/proc/net/ipv6_route"))


def parse_default_routes(text, text6):
    """Return the interfaces of the default routes in /proc/net/route and /proc/net/ipv6_route, each once.

    A kernel without any default route over IPv6 lists one that leads nowhere, of the loopback interface.
    """
    rows = [line.split() for line in text.splitlines()[1:]]
    found = [row[0] for row in rows if len(row) > 7 and int(row[1], 16) == int(row[7], 16) == 0]
    rows = [line.split() for line in text6.splitlines()]
    found += [row[9] for row in rows if len(row) > 9 and int(row[0], 16) == int(row[1], 16) == 0]
    return sorted({name for name in found if name != "lo"})


# --- ufw --------------------------------------------------------------------------------------------------


def ufw_enabled(text):
    """Return whether /etc/ufw/ufw.conf, its text, says that ufw is on."""
    return any(line.split("#")[0].replace(" ", "").strip().lower() == "enabled=yes"
               for line in text.splitlines())


def ufw_tuples(text):
    """Return {(protocol, ports, source): whether it is ours} of the rules in /etc/ufw/user.rules that let in.

    ufw keeps each rule as a comment, `### tuple ### allow tcp 22 0.0.0.0/0 any 192.0.2.1 in comment=HEX`
    (ufw 0.36, backend_iptables.py). Rules for one interface or one address of the host do not count.
    """
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words[:3] != ["###", "tuple", "###"] or len(words) < 10:
            continue
        action, protocol, ports, to, from_port, source, direction, *rest = words[3:]
        if action == "allow" and direction == "in" and to in ANYWHERE and from_port == "any":
            source = ANYWHERE[0] if source in ANYWHERE else source
            found[protocol, ports, source] = f"comment={UFW_COMMENT.encode().hex()}" in rest
    return found


def ufw_wanted(openings):
    """Return the rules ufw needs for the openings, [(protocol, ports, source)] in the words of ufw's files.

    A rule of ufw has at most 15 ports, of which a range counts as two. Encrypted overlay networks of a Swarm
    come as ESP, which our own rules do not judge and ufw does.
    """
    found = []
    for one in openings:
        for source in [network_text(network) for network in one.sources] or ANYWHERE[:1]:
            for at in range(0, len(one.ports), 7):
                ports = ",".join(port_text(*some).replace("-", ":") for some in one.ports[at:at + 7])
                found.append((one.protocol, ports, source))
            if one.what == SWARM:
                found.append(("esp", "any", source))
    return list(dict.fromkeys(found))


def ufw_words(rule):
    """Return a rule as the command ufw takes it."""
    protocol, ports, source = rule
    words = ["proto", protocol, "from", "any" if source == ANYWHERE[0] else source, "to", "any"]
    return words if ports == "any" else [*words, "port", ports]


def said(rule):
    return " ".join(ufw_words(rule))

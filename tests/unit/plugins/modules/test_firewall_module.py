# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module firewall on a host of paper: folders for files, and a list of the programs it calls."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.gpufleet.swarm.plugins.action import firewall as firewall_action
from ansible_collections.gpufleet.swarm.plugins.module_utils import _firewall_host
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.modules import firewall

PLACES = ("FOLDER", "RULES", "UNIT", "LINK", "RUNNING", "LOADED", "TRIAL", "TRIAL_LOADED", "UFW")
OPENINGS = [{"what": "SSH", "protocol": "tcp", "ports": ["22"], "sources": []}]
UNIT = "[Service]\n"


class Machine:
    """Answers for systemctl, nft, systemd-run and ufw."""

    def __init__(self, root):
        self.root, self.calls = root, []
        self.table, self.active, self.firewalld, self.timer = None, False, False, False
        self.broken = False

    def run(self, words, **_options):
        call = " ".join(words)
        self.calls.append(call)
        program, *rest = words
        answer = getattr(self, program.rpartition("/")[2].replace("-", "_"))(rest)
        return answer if isinstance(answer, tuple) else (0, answer or "", "")

    def changes(self):
        """Return the calls that change something."""
        looks = ("systemctl is-active", "/usr/sbin/nft -s list")
        return [call for call in self.calls if not call.startswith(looks)]

    def systemctl(self, words):
        if words[0] == "is-active":
            known = {"gpufleet-firewall.service": self.active, "firewalld.service": self.firewalld,
                     "gpufleet-firewall-undo.timer": self.timer}  # fmt: skip
            return 0, "".join("active\n" if known[word] else "inactive\n" for word in words[1:]), ""
        if words[-1].endswith(".timer"):
            self.timer = False
        elif words[0] == "reload-or-restart":
            if self.broken:
                return 1, "", "Job failed."
            self.active, self.table = True, (self.root / "rules.nft").read_text()
            (self.root / "loaded").write_text(self.table)
        elif words[0] == "stop":
            self.active = False
        return None

    def nft(self, words):
        if words[:2] == ["-s", "list"]:
            return (1, "", "No such file or directory") if self.table is None else self.table
        if words[0] == "--file":
            self.table = (self.root / "trial.nft").read_text()
        elif words[0] == "delete":
            self.table = None
        return None

    def systemd_run(self, _words):
        self.timer = True

    def ufw(self, _words):
        return None

    def journalctl(self, _words):
        return "nft: no\nfailed\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    for name in PLACES:
        place = getattr(_firewall_host, name)
        folders = {"FOLDER": "", "RUNNING": "", "UFW": "ufw"}
        monkeypatch.setattr(
            _firewall_host, name, str(tmp_path / folders.get(name, place.rpartition("/")[2]))
        )
    monkeypatch.setattr(_firewall_host, "LINK", str(tmp_path / "wants" / "gpufleet-firewall.service"))
    monkeypatch.setattr(firewall, "RULES", str(tmp_path / "rules.nft"))
    monkeypatch.setattr(firewall, "live_connection", lambda: ("198.51.100.1", 22))
    monkeypatch.setattr(firewall, "read_listening", list)
    monkeypatch.setattr(firewall, "ways_in", lambda: ["eth0"])
    monkeypatch.setattr(_firewall_host, "nft_path", lambda: "/usr/sbin/nft")
    monkeypatch.setattr(AnsibleModule, "run_command", machine.run)
    return machine


@pytest.fixture
def run(capsys, machine):
    def call(check=False, **arguments):
        given = {"unit": UNIT, "openings": OPENINGS, "_ansible_check_mode": check, "_ansible_diff": True}
        machine.calls = []
        with patch_module_args({**given, **arguments}), pytest.raises(SystemExit):
            firewall.main()
        return json.loads(capsys.readouterr().out)

    return call


def test_four_runs_load_confirm_and_keep_the_rules(run, machine):
    predicted = run(check=True)
    assert predicted["changed"] and 'comment "SSH"' in predicted["diff"]["after"]
    assert machine.changes() == [] and list(machine.root.iterdir()) == []

    # On trial: loaded with a timer that was started before, and nothing that a restart would bring back.
    tried = run()
    assert tried["changed"] and tried["diff"] == predicted["diff"]
    order = [call.split()[0] for call in machine.changes()]
    assert order == ["/usr/sbin/nft", "systemctl", "systemd-run", "/usr/sbin/nft"]
    assert "--on-active=60" in machine.changes()[2]
    assert machine.timer and not (machine.root / "rules.nft").exists()

    assert run(confirmed=True)["changed"]
    assert not machine.timer and machine.active
    assert (machine.root / "rules.nft").read_text() == machine.table
    assert (machine.root / "wants" / "gpufleet-firewall.service").is_symlink()

    for check in (False, True):
        again = run(check)
        assert (again["changed"], again["actions"]) == (False, []) and machine.changes() == []


@pytest.fixture
def settled(run, machine):
    run()
    run(confirmed=True)
    return machine


DRIFT = {
    "rules-gone": lambda machine: setattr(machine, "table", None),
    "rules-changed": lambda machine: setattr(machine, "table", machine.table.replace("{ 22 }", "{ 23 }")),
    "service-stopped": lambda machine: setattr(machine, "active", False),
    "file-changed": lambda machine: (machine.root / "rules.nft").write_text("#"),
    "unit-changed": lambda machine: (machine.root / "gpufleet-firewall.service").write_text("#"),
    "not-at-boot": lambda machine: (machine.root / "wants" / "gpufleet-firewall.service").unlink(),
}


@pytest.mark.parametrize("drift", DRIFT)
def test_what_others_have_changed_is_put_right(run, settled, drift):
    DRIFT[drift](settled)
    assert run()["changed"]
    assert run(confirmed=True)["changed"]
    assert not run()["changed"]
    # Reading all units again can cost containers their GPUs; only a unit that has changed is worth it.
    assert not any("daemon-reload" in call for call in settled.calls)


def test_a_unit_that_has_changed_is_read_again(run, settled):
    run(unit="[Service]\nType=oneshot\n")
    run(unit="[Service]\nType=oneshot\n", confirmed=True)
    assert "systemctl daemon-reload" in settled.calls


@pytest.mark.parametrize("damage", [{"timer": False}, {"table": None}])
def test_rules_that_were_taken_back_are_not_confirmed(run, machine, damage):
    run()
    for name, value in damage.items():
        setattr(machine, name, value)
    result = run(confirmed=True)
    assert result["failed"] and result["msg"] == (
        "The rules of the firewall were taken back before they were confirmed: wanted a new connection in "
        "time, set firewall_confirm_timeout."
    )
    assert not (machine.root / "rules.nft").exists()


def test_a_service_that_fails_leaves_the_timer_to_take_the_rules_back(run, machine):
    run()
    machine.broken = True
    result = run(confirmed=True)
    assert result["msg"] == (
        "Cannot start the service of the firewall (gpufleet-firewall.service) - nft: no | failed."
    )
    assert machine.timer


def test_removal_leaves_nothing(run, settled):
    assert run(check=True, state="absent")["changed"] and settled.table is not None
    assert run(state="absent")["changed"]
    assert settled.table is None and not settled.active
    assert [path for path in settled.root.rglob("*") if not path.is_dir()] == []
    assert not run(state="absent")["changed"] and settled.changes() == []


def test_a_host_without_nftables_asks_for_it(run, machine, monkeypatch):
    monkeypatch.setattr(_firewall_host, "nft_path", lambda: None)
    assert run(check=True)["actions"][0] == "install nftables"
    assert run() | {"invocation": None} == {"changed": False, "install": ["nftables"], "invocation": None}
    assert machine.changes() == []


def test_firewalld_is_refused(run, machine):
    machine.firewalld = True
    assert run()["msg"].startswith(
        "The firewall of the fleet does not work along with firewalld (firewalld.service): found active, "
        "wanted no other firewall than ufw, set firewall_state to keep, or stop and disable firewalld"
    )
    assert machine.changes() == []


def test_a_way_in_that_is_named_like_those_of_containers_is_refused(run, machine, monkeypatch):
    monkeypatch.setattr(firewall, "ways_in", lambda: ["br-lan"])
    assert run()["msg"] == (
        "The firewall would take all that comes from outside for containers (br-lan): found the default "
        "route through an interface that br-* stands for, wanted interfaces behind which containers alone "
        "are, set firewall_container_interfaces."
    )
    assert machine.changes() == []
    assert run(container_interfaces=["docker0", "br-lan0"])["changed"]


def test_the_connection_in_use_is_let_in(run, machine, monkeypatch):
    warnings = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, text: warnings.append(text))
    run(openings=[{**OPENINGS[0], "sources": ["192.0.2.0/24"]}])
    assert "ip saddr { 198.51.100.1 } tcp dport { 22 } accept" in machine.table
    assert warnings == [
        "Ansible comes from 198.51.100.1 to port 22, which firewall_ssh_ports and firewall_ssh_sources do "
        "not allow. The port stays open to this address, until a run comes from another one."
    ]


def test_ufw_is_told_and_later_told_otherwise(run, machine):
    (machine.root / "ufw").mkdir()
    (machine.root / "ufw" / "ufw.conf").write_text("ENABLED=yes\n")
    ours = b"gpufleet-firewall".hex()
    (machine.root / "ufw" / "user.rules").write_text(
        f"### tuple ### allow tcp 8080 0.0.0.0/0 any 0.0.0.0/0 in comment={ours}\n"
        "### tuple ### allow tcp 9090 0.0.0.0/0 any 0.0.0.0/0 in\n"
    )
    result = run()
    assert "let ufw allow proto tcp from any to any port 22" in result["actions"]
    assert [call for call in machine.calls if call.startswith("ufw")] == [
        "ufw allow proto tcp from any to any port 22 comment gpufleet-firewall"
    ]
    run(confirmed=True)
    # What is no longer wanted goes once the rest is known to work; the rules of others stay.
    assert "ufw --force delete allow proto tcp from any to any port 8080" in machine.calls
    assert not any("9090" in call for call in machine.calls)


# The controller's half


class Connection:
    """A connection that can be made anew after some attempts."""

    host, transport = "192.0.2.1", "ssh"

    def __init__(self, failures):
        self.failures, self.resets = failures, 0

    def reset(self):
        self.resets += 1


def confirm(failures, monkeypatch):
    connection = Connection(failures)
    clock = iter(range(1000))
    monkeypatch.setattr(firewall_action.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(firewall_action.time, "sleep", lambda seconds: None)
    action = firewall_action.ActionModule.__new__(firewall_action.ActionModule)
    action._connection = connection

    def call():
        if connection.resets <= failures:
            raise AnsibleConnectionFailure("timed out")
        return {"changed": True}

    return action._confirm(call, 10), connection


def test_rules_are_confirmed_through_a_new_connection(monkeypatch):
    result, connection = confirm(2, monkeypatch)
    assert result == {"changed": True} and connection.resets == 3


def test_no_new_connection_is_told(monkeypatch):
    with pytest.raises(FleetError) as raised:
        confirm(100, monkeypatch)
    assert str(raised.value) == (
        "The new rules of the firewall lock Ansible out, and are taken back (192.0.2.1): found no new SSH "
        "connection, wanted one within 5 s, set firewall_ssh_ports and firewall_ssh_sources, or "
        "firewall_confirm_timeout to more - timed out."
    )


HOSTVARS = {"m1": {"ansible_host": "192.0.2.1"}, "w1": {"ansible_host": "192.0.2.2"}}
FLEET = {
    "inventory_hostname": "m1", "hostvars": HOSTVARS,
    "groups": {"all": ["m1", "w1"], "managers": ["m1"], "workers": ["w1"]},
}  # fmt: skip


def keep(answers, check_mode=False, **arguments):
    """Run the controller's half; return its result and the modules it called, with what confirmed them."""
    task = SimpleNamespace(
        args={"unit": UNIT, **arguments}, check_mode=check_mode, diff=False, async_val=0, action="test",
        delegate_to=None, environment=[], no_log=False, collections=[],
    )  # fmt: skip
    connection = Connection(0)
    connection._shell = SimpleNamespace(tmpdir=None)
    loader = DataLoader()
    action = firewall_action.ActionModule(
        task, connection, SimpleNamespace(check_mode=check_mode, diff=False), loader, Templar(loader), None
    )
    calls = []

    def execute(name, given, task_vars):
        calls.append((name.rpartition(".")[2], given))
        return answers.pop(0)

    action._execute_module = execute
    return action.run(task_vars=FLEET), calls, connection


def test_the_controller_tells_what_to_open_and_confirms(monkeypatch):
    result, calls, connection = keep([{"changed": True, "actions": ["load the rules"]}, {"changed": True}])
    assert result["changed"] and result["actions"] == ["load the rules"]
    assert [(name, given.get("confirmed", False)) for name, given in calls] == [
        ("firewall", False), ("firewall", True)
    ]  # fmt: skip
    assert connection.resets == 1
    assert calls[0][1]["openings"][1] == {
        "what": "Swarm", "protocol": "tcp", "ports": ["2377", "7946"], "sources": ["192.0.2.2"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "arguments", "called"),
    [
        ([{"changed": False}], {}, ["firewall"]),
        ([{"changed": True}], {"check_mode": True}, ["firewall"]),
        ([{"changed": True}], {"state": "absent"}, ["firewall"]),
        ([{"failed": True, "msg": "no"}], {}, ["firewall"]),
        ([{"install": ["nft"]}, {"changed": True}, {"changed": False}], {}, ["firewall", "apt", "firewall"]),
        ([{"install": ["nft"]}, {"failed": True}], {}, ["firewall", "apt"]),
    ],
)
def test_the_controller_calls_what_is_needed(answers, arguments, called):
    _result, calls, connection = keep(answers, **arguments)
    assert [name for name, _given in calls] == called and connection.resets == 0


def test_a_failed_confirmation_is_a_failure():
    result = keep([{"changed": True}, {"failed": True, "msg": "taken back"}])[0]
    assert result["failed"] and result["msg"] == "taken back"


def test_an_unknown_source_is_told():
    result, calls, _connection = keep([], ssh_sources=["nobody"])
    assert result["msg"] == (
        "The firewall does not know a source or a port (m1): found nobody, wanted an address, a network, or "
        "a host or group of the inventory, set the variables of the role firewall."
    )
    assert calls == []


def test_the_options_are_documented_as_they_are():
    documented = yaml.safe_load(firewall.DOCUMENTATION)["options"]
    kept = ("type", "elements", "required", "default", "choices")
    told = {
        name: {key: value for key, value in option.items() if key in kept}
        for name, option in documented.items()
    }
    taken = {
        name: {key: value for key, value in option.items() if key in kept}
        for name, option in firewall.ARGUMENTS.items()
    }
    assert told == taken

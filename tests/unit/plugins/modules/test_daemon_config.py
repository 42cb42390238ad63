# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""daemon_config as a whole, on files in a temporary folder and a daemon that is told how to behave."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import editor
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.unit import Flag, Unit
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.modules import daemon_config

IDLE = {"ServerVersion": "26.1.5", "ContainersRunning": 0, "Swarm": {"LocalNodeState": "inactive"}}
BUSY = {**IDLE, "ContainersRunning": 2}
NODE = {**IDLE, "Swarm": {"LocalNodeState": "active", "NodeID": "n1", "ControlAvailable": True, "Nodes": 3}}


class FakeDaemon:
    """Takes over what its file says when it is reloaded or restarted, unless it is told to refuse."""

    program = "/usr/sbin/dockerd"

    def __init__(self, path):
        self.path = path
        self.running = True
        self.state = IDLE
        self.verdict = True
        self.refuses = None  # a text in the file that makes a reload or a start fail
        self.keeps = ()  # keys of which a reload keeps the old value
        self.systemd = True
        self.calls = []
        self.starts = 1
        self.pidfile = None
        self.held = {}

    def identity(self):
        return f"run-{self.starts}" if self.running else None

    def config_file(self):
        return None

    def info(self):
        if not self.running:
            return None
        return {
            **self.state,
            "Debug": self.held.get("debug", False),
            "RegistryConfig": {"Mirrors": self.held.get("registry-mirrors", [])},
        }

    def validate(self, path):
        self.calls.append("validate")
        return self.verdict if not isinstance(self.verdict, str) else self.verdict.format(path=path)

    def journal(self, since):
        return 'level=info msg="x"\nlevel=error msg="bad http://u:secret@proxy/ value"\nlast words'

    def can_restart(self):
        return self.systemd

    def _read(self):
        text = Path(self.path).read_text() if os.path.exists(self.path) else "{}"
        return None if self.refuses and self.refuses in text else json.loads(text or "{}")

    def reload(self, timeout):
        self.calls.append("reload")
        config = self._read()
        if config is None:
            return None
        kept = {key: self.held[key] for key in self.keeps if key in self.held}
        self.held = {**{key: value for key, value in config.items() if key not in self.keeps}, **kept}
        return {}

    def restart(self, timeout, ready):
        self.calls.append("restart")
        config = self._read()
        self.running = config is not None
        self.starts += 1
        self.held = config or {}
        return self.running and ready(self.info())


class Host:
    """A host: its files, its daemon, and the module run on it."""

    def __init__(self, folder, daemon):
        self.file = folder / "docker" / "daemon.json"
        self.state = folder / "state" / "owned.json"
        self.daemon = daemon
        self.settings = {
            "owner": "docker",
            "state": "present",
            "data": {},
            "list_items": {},
            "changed_outside": "overwrite",
            "apply": "auto",
            "restart": "idle",
            "swarm": None,
            "timeout": 5,
            "backup": True,
            "backup_keep": 2,
            "path": str(self.file),
            "state_path": str(self.state),
            "docker_host": "unix:///run/docker.sock",
            "dockerd": None,
        }

    def run(self, data=None, check=False, **settings):
        self.daemon.calls.clear()
        return editor.Editor({**self.settings, "data": data or {}, **settings}, check).run()

    def write(self, text):
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text)

    def snapshot(self):
        """All that is on the host, with times of change: a file that is written again shows."""
        found = {}
        for folder, _folders, names in os.walk(self.file.parent.parent):
            for name in names:
                path = os.path.join(folder, name)
                found[path] = (os.stat(path).st_mtime_ns, os.stat(path).st_ino, Path(path).read_bytes())
        return found


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path, FakeDaemon(str(tmp_path / "docker" / "daemon.json")))
    host.unit = Unit("/usr/sbin/dockerd", [])
    monkeypatch.setattr(editor, "Daemon", lambda *arguments: host.daemon)
    monkeypatch.setattr(editor, "_CONFIG", str(host.file))
    monkeypatch.setattr(editor, "_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setattr(editor.unit, "read", lambda: host.unit)
    return host


MIRROR = {"registry-mirrors": ["http://one:5000/"]}
# /info, options, data: -> action, applied, outstanding, calls
DECISIONS = {
    "no daemon: it reads the file when it starts": (
        None,
        {},
        {"mtu": 1400},
        "none",
        "none",
        "none",
        ["validate"],
    ),
    "a reloadable key": (BUSY, {}, MIRROR, "reload", "reload", "none", ["validate", "reload"]),
    "a reloadable key, only written": (
        BUSY,
        {"apply": "none"},
        MIRROR,
        "reload",
        "none",
        "reload",
        ["validate"],
    ),
    "a restart of an idle daemon": (
        IDLE,
        {},
        {"mtu": 1},
        "restart",
        "restart",
        "none",
        ["validate", "restart"],
    ),
    "a restart under containers": (BUSY, {}, {"mtu": 1}, "restart", "none", "restart", ["validate"]),
    "a restart of a Swarm node": (NODE, {}, {"mtu": 1}, "restart", "none", "restart", ["validate"]),
    "a restart that is allowed": (
        NODE,
        {"restart": "allowed"},
        {"mtu": 1},
        "restart",
        "restart",
        "none",
        ["validate", "restart"],
    ),
    "a restart that is forbidden": (
        IDLE,
        {"restart": "forbidden"},
        {"mtu": 1},
        "restart",
        "none",
        "restart",
        ["validate"],
    ),
    "a restart with apply reload": (
        IDLE,
        {"apply": "reload"},
        {"mtu": 1},
        "restart",
        "none",
        "restart",
        ["validate"],
    ),
    "both kinds under containers": (
        BUSY,
        {},
        {"mtu": 1, **MIRROR},
        "restart",
        "reload",
        "restart",
        ["validate", "reload"],
    ),
    "both kinds on an idle daemon": (
        IDLE,
        {},
        {"mtu": 1, **MIRROR},
        "restart",
        "restart",
        "none",
        ["validate", "restart"],
    ),
    "nothing to do": (BUSY, {}, {}, "none", "none", "none", []),
}


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize(
    ("info", "options", "data", "action", "applied", "outstanding", "calls"),
    DECISIONS.values(),
    ids=DECISIONS,
)
def test_decisions(host, info, options, data, action, applied, outstanding, calls, check):
    host.daemon.state, host.daemon.running = info or {}, info is not None
    before = host.snapshot()
    result = host.run(data, check, **options)
    assert (result["action"], result["applied"], result["outstanding"]) == (action, applied, outstanding)
    assert result["changed"] is bool(data)
    assert result["outstanding_keys"] == (sorted(data) if outstanding != "none" else [])
    if check:
        # The prediction is the same, and nothing but the validation has happened.
        assert host.snapshot() == before
        assert host.daemon.calls == [call for call in calls if call == "validate"]
        return
    assert host.daemon.calls == calls
    again = host.snapshot()
    second = host.run(data, restart="forbidden", apply="none")
    assert second["changed"] is False
    assert second["outstanding"] == outstanding
    assert host.snapshot() == again


def test_a_restart_that_is_outstanding_is_done_by_a_later_call(host):
    host.daemon.state = NODE
    host.run({"mtu": 1400})
    host.run({"runtimes": {"x": {"path": "x"}}, "data-root": "/d"}, owner="nvidia", apply="none")
    waiting = host.run(state="applied", owner=None, apply="none")
    assert (waiting["changed"], waiting["outstanding_keys"]) == (False, ["data-root", "mtu", "runtimes"])
    done = host.run(state="applied", owner=None, restart="allowed")
    assert (done["changed"], done["applied"], done["outstanding"]) == (True, "restart", "none")
    assert host.run(state="applied", owner=None, restart="allowed")["changed"] is False


def test_a_restart_by_somebody_else_settles_it(host):
    host.daemon.state = BUSY
    assert host.run({"mtu": 1400})["outstanding"] == "restart"
    host.daemon.starts += 1
    assert host.run({"mtu": 1400})["outstanding"] == "none"


def test_a_reload_that_does_not_take_needs_a_restart(host):
    host.daemon.state, host.daemon.keeps = BUSY, ("debug",)
    host.daemon.held = {"debug": False}
    result = host.run({"debug": True})
    assert (result["applied"], result["outstanding"]) == ("reload", "restart")
    assert result["changes"][0]["reason"] == "the daemon reloaded, but holds False where True is wanted"
    host.daemon.state = IDLE
    assert host.run({"debug": True})["applied"] == "restart"


def test_a_reload_that_is_refused_puts_the_old_file_back(host):
    host.daemon.state, host.daemon.refuses = BUSY, "two"
    host.run(MIRROR)
    before = host.file.read_text(), host.state.read_text()
    with pytest.raises(FleetError) as error:
        host.run({"registry-mirrors": ["http://two/"]})
    assert (host.file.read_text(), host.state.read_text()) == before
    assert host.daemon.calls == ["validate", "reload", "reload"]
    assert host.daemon.held == MIRROR
    assert str(error.value) == (
        f"The daemon refused to reload ({host.file}): found the previous file is back, "
        "and the daemon runs with it, set data or list_items - "
        'level=error msg="bad http://u:********@proxy/ value".'
    )
    assert error.value.as_result()["restored"] is True


def test_a_daemon_that_does_not_come_back_gets_its_old_file(host):
    host.write('{"debug": true}\n')
    host.daemon.refuses = "nonsense"
    with pytest.raises(FleetError, match="The daemon did not come back after its restart") as error:
        host.run({"storage-driver": "nonsense"})
    assert host.file.read_text() == '{"debug": true}\n'
    assert not host.state.exists()
    assert host.daemon.calls == ["validate", "restart", "restart"]
    assert host.daemon.running
    assert error.value.as_result()["running"] is True
    assert "secret" not in json.dumps(error.value.as_result())


def test_a_daemon_that_never_comes_back_says_so(host, monkeypatch):
    monkeypatch.setattr(host.daemon, "restart", lambda timeout, ready: False)
    with pytest.raises(FleetError, match="the previous file is back, and the daemon does not answer"):
        host.run({"mtu": 1})
    assert not host.file.exists()


def test_recovery_goes_back_to_what_the_daemon_last_took(host):
    """Two calls write, the third restarts: the file from before the first comes back, with its state."""
    host.daemon.state = NODE
    host.run(MIRROR)
    good = host.file.read_text(), host.state.read_text()
    host.run({**MIRROR, "mtu": 1400})
    host.run({"bridge": "nonsense"}, owner="other")
    host.daemon.refuses = "nonsense"
    with pytest.raises(FleetError):
        host.run(state="applied", owner=None, restart="allowed")
    assert (host.file.read_text(), host.state.read_text()) == good


def test_waits_until_a_manager_is_one_again(host):
    host.daemon.state = NODE
    seen = []

    def restart(timeout, ready):
        seen.extend(
            ready({"Swarm": swarm})
            for swarm in (
                {"LocalNodeState": "pending"},
                {"LocalNodeState": "active", "ControlAvailable": False},
                {"LocalNodeState": "active", "ControlAvailable": True},
            )
        )
        return True

    host.daemon.restart = restart
    host.run({"mtu": 1}, restart="allowed")
    assert seen == [False, False, True]


def test_without_systemd_a_restart_is_left_with_a_warning(host):
    host.daemon.systemd = False
    result = host.run({"mtu": 1})
    assert (result["applied"], result["outstanding"]) == ("none", "restart")
    assert result["warnings"] == [
        "The daemon needs a restart, but systemd does not run this host: restart it yourself."
    ]


# -- what is refused, with nothing changed -------------------------------------------------------------------

REFUSED = {
    "no json": ("{oops}", {"mtu": 1}, {}, "line 1, column 2"),
    "a list": ("[]", {"mtu": 1}, {}, "an object is wanted, found a list"),
    "a key twice": ('{"a": 1,\n "a": 2}', {"mtu": 1}, {}, "line 2, column 2"),
    "a byte order mark": ("\ufeff{}", {"mtu": 1}, {}, "found a byte order mark"),
    "a wrong kind": ("{}", {"mtu": "big"}, {}, 'The daemon cannot read a key (mtu): found a string ("big")'),
    "live-restore in a Swarm to come": (
        "{}",
        {"live-restore": True},
        {"swarm": True},
        "(live-restore): found true",
    ),
    "the user's live-restore": (
        '{"live-restore": true}',
        {"mtu": 1},
        {"swarm": True},
        "(live-restore): found true",
    ),
    "an option of the unit": (
        '{"debug": true}',
        {"ipv6": True},
        {},
        "found --ipv6 in /lib/docker.service and",
    ),
    "what dockerd refuses": ("{}", {"bip": "refused"}, {}, "bad bip in"),
}


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize(("text", "data", "options", "told"), REFUSED.values(), ids=REFUSED)
def test_refused_with_nothing_changed(host, text, data, options, told, check):
    host.write(text)
    host.unit = Unit("/usr/sbin/dockerd", [Flag("ipv6", "--ipv6", "", "/lib/docker.service")])
    host.daemon.verdict = "bad bip in {path}" if "bip" in data else True
    before = host.snapshot()
    with pytest.raises(FleetError) as error:
        host.run(data, check, **options)
    assert told in str(error.value)
    assert str(host.file) in str(error.value)
    assert host.snapshot() == before
    assert set(host.daemon.calls) <= {"validate"}


def test_bytes_that_are_no_text(host):
    host.write("")
    host.file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FleetError, match="byte 7.*found bytes that are no UTF-8"):
        host.run({"mtu": 1})


def test_a_removal_is_never_refused(host):
    host.run({"ipv6": True})
    host.unit = Unit("/usr/sbin/dockerd", [Flag("ipv6", "--ipv6", "", "/lib/docker.service")])
    assert host.run(state="absent")["changed"] is True
    assert not host.file.exists()


@pytest.mark.parametrize(
    ("state", "file", "refused"),
    [
        ("inactive", False, False),
        ("active", False, True),
        ("pending", False, True),
        (None, True, True),
        (None, False, False),
    ],
)
def test_asks_the_daemon_or_its_data_whether_the_host_is_in_a_swarm(host, tmp_path, state, file, refused):
    host.daemon.running = state is not None
    host.daemon.state = {**BUSY, "Swarm": {"LocalNodeState": state}}
    if file:
        (tmp_path / "data" / "swarm").mkdir(parents=True)
        (tmp_path / "data" / "swarm" / "docker-state.json").write_text("{}")
    if refused:
        with pytest.raises(FleetError, match="live-restore"):
            host.run({"live-restore": True})
    else:
        host.run({"live-restore": True})


def test_a_file_the_daemon_does_not_read(host, tmp_path):
    other = str(tmp_path / "other.json")
    with pytest.raises(FleetError) as error:
        host.run({"mtu": 1}, path=other)
    assert str(error.value) == (
        f"The daemon does not read this file ({other}): found a daemon that reads {host.file}, "
        f"wanted the file the daemon reads, set path: {host.file}."
    )
    host.unit = Unit("/usr/sbin/dockerd", [Flag("config-file", "--config-file=/x", "/x", "/etc/d.conf")])
    with pytest.raises(FleetError, match="found --config-file=/x in /etc/d.conf"):
        host.run({"mtu": 1})
    # Nothing is installed, so nothing reads anything yet.
    host.unit, host.daemon.running = Unit(None, []), False
    assert host.run({"mtu": 1}, path=other)["changed"] is True


def test_an_unreadable_state_is_refused(host):
    host.state.parent.mkdir()
    host.state.write_text("[]")
    with pytest.raises(FleetError, match="Cannot read which keys are owned"):
        host.run({"mtu": 1})


# -- files ---------------------------------------------------------------------------------------------------


def test_a_link_is_followed_and_backups_lie_beside_the_file(host, tmp_path):
    real = tmp_path / "real.json"
    real.write_text("{}")
    host.file.parent.mkdir()
    host.file.symlink_to(real)
    for number in range(4):
        result = host.run({"mtu": number})
    assert host.file.is_symlink()
    assert json.loads(real.read_text()) == {"mtu": 3}
    assert result["file"] == str(real)
    assert result["backup_file"].startswith(f"{real}.")
    assert len(_files.backups(str(real))) == 2


def test_no_backup_when_none_is_wanted_or_there_is_no_file(host):
    assert host.run({"mtu": 1})["backup_file"] is None
    assert host.run({"mtu": 2}, backup=False)["backup_file"] is None
    assert host.run({"mtu": 3})["backup_file"] is not None


def test_modes(host):
    host.run({"mtu": 1})
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o644
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o600
    host.run({"mtu": 1, "proxies": {"http-proxy": "http://user:pass@proxy:3128"}})
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_state(host, monkeypatch):
    host.run({"mtu": 1})
    before = host.state.read_text()
    write = _files.write

    def fail(path, *arguments, **named):
        if path.endswith("daemon.json"):
            raise FleetError("Cannot write a file", cause="No space left on device")
        write(path, *arguments, **named)

    monkeypatch.setattr(editor._files, "write", fail)
    with pytest.raises(FleetError, match="No space left"):
        host.run({"mtu": 2})
    assert host.state.read_text() == before


def test_all_owners_gone_leaves_nothing(host):
    host.write('{"debug": true}')
    host.run({"mtu": 1}, owner="a")
    host.run({"mtu": 1, "ipv6": False}, owner="b")
    host.run(state="absent", owner="a")
    assert json.loads(host.file.read_text()) == {"debug": True, "mtu": 1, "ipv6": False}
    host.run(state="absent", owner="b")
    assert host.file.read_text() == '{"debug": true}'
    assert not host.state.exists()


def test_adopting_a_value_that_stands_there_is_a_change_of_the_state_only(host):
    host.write('{"mtu": 1400}')
    result = host.run({"mtu": 1400})
    assert (result["changed"], result["action"], result["backup_file"]) == (True, "none", None)
    assert host.run({"mtu": 1400})["changed"] is False
    host.run(state="absent")
    assert host.file.read_text() == '{"mtu": 1400}'


def test_keys_changed_by_hand(host):
    host.run({"mtu": 1400})
    host.write('{"mtu": 9000}')
    with pytest.raises(FleetError) as error:
        host.run({"mtu": 1400}, changed_outside="fail")
    assert "mtu was changed outside of docker: 1400 was set, 9000 is there; set back" in str(error.value)
    assert host.file.read_text() == '{"mtu": 9000}'
    result = host.run({"mtu": 1400})
    assert result["conflicts"] == result["warnings"]
    assert json.loads(host.file.read_text()) == {"mtu": 1400}


def test_passwords_do_not_leave(host):
    old, new = "http://user:0ldSecret@proxy:3128", "http://user:n3wSecret@proxy:3128"
    host.run({"proxies": {"http-proxy": old}})
    host.write(host.file.read_text().replace("0ldSecret", "handSecret"))
    result = host.run({"proxies": {"http-proxy": new, "no-proxy": "x"}})
    text = json.dumps(result)
    assert not any(secret in text for secret in ("0ldSecret", "n3wSecret", "handSecret"))
    assert '"http-proxy": "http://user:********@proxy:3128"' in result["diff"]["before"]
    assert '"http-proxy": "http://user:********(new)@proxy:3128"' in result["diff"]["after"]


# -- the module itself ---------------------------------------------------------------------------------------


class Exit(Exception):
    pass


def run_module(monkeypatch, options):
    """Run main() with options; returns what Ansible would get."""
    seen = {}

    def leave(module, failed, **result):
        seen.update(result, failed=failed)
        raise Exit

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", lambda self, **result: leave(self, False, **result))
    monkeypatch.setattr(
        basic.AnsibleModule, "fail_json", lambda self, msg, **result: leave(self, True, msg=msg, **result)
    )
    with patch_module_args(options), pytest.raises(Exit):
        daemon_config.main()
    return seen


def test_module(host, monkeypatch):
    options = {"owner": "docker", "path": str(host.file), "state_path": str(host.state)}
    result = run_module(monkeypatch, {**options, "data": {"mtu": 1400}})
    assert (result["failed"], result["changed"], result["owned"]) == (False, True, ["mtu"])
    assert json.loads(host.file.read_text()) == {"mtu": 1400}
    predicted = run_module(monkeypatch, {**options, "data": {"mtu": 9000}, "_ansible_check_mode": True})
    assert predicted["changed"] is True
    assert json.loads(host.file.read_text()) == {"mtu": 1400}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "state is present but all of the following are missing: owner"),
        ({"state": "absent"}, "state is absent but all of the following are missing: owner"),
        ({"owner": "x", "timeout": 0}, "timeout must be at least 1, found 0."),
        ({"owner": "x", "backup_keep": 0}, "backup_keep must be at least 1, found 0."),
        ({"owner": "x", "data": {"mtu": "x"}}, "The daemon would not start with this configuration"),
    ],
)
def test_module_failures_are_sentences(host, monkeypatch, options, told):
    result = run_module(monkeypatch, {"path": str(host.file), "state_path": str(host.state), **options})
    assert result["failed"] is True
    assert told in result["msg"]
    assert not host.file.exists()

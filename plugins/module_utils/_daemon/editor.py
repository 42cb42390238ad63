# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of daemon_config: read, plan, write, apply, undo. Private: may change in any release."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from typing import NamedTuple

from ansible_collections.gpufleet.swarm.plugins.module_utils import _files
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import checks, keys, ownership, unit
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import Document
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.engine import (
    Daemon,
    swarm_facts,
    version,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

# A reload takes milliseconds; the rest is for a busy host.
_RELOAD_TIMEOUT = 10
_CONFIG = "/etc/docker/daemon.json"
_PIDFILE = "/var/run/docker.pid"
_DATA_ROOT = "/var/lib/docker"
_COMPLAINT = re.compile(r"level=(error|fatal)|^failed to |\berror\b", re.IGNORECASE)
_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@\"]*:)([^/\s@\"]+)(?=@)")


def passwords(text):
    """Return the passwords that stand in URLs of a text (the daemon's proxies may have them)."""
    return {match.group(2) for match in _PASSWORD.finditer(text or "")}


def mask(text, known=None):
    """Return text without the passwords of its URLs; given known ones, any other is marked as new."""
    return _PASSWORD.sub(
        lambda match: (
            match.group(1) + ("********" if known is None or match.group(2) in known else "********(new)")
        ),
        text or "",
    )


def _verdict(journal):
    """Return the lines of a journal that tell why, for the message; the last line where none does."""
    lines = journal.splitlines()
    return "; ".join([line for line in lines if _COMPLAINT.search(line)][-2:] or lines[-1:])


class State:
    """What is remembered of one file: ownership's state, and what the daemon has not taken over yet.

    pending  None, or {"effect", "keys", "daemon", "previous"}: what the daemon's process of that identity has
             not taken over yet, and the file and the ownership as it last took them
    """

    def __init__(self, path, config_path):
        self.path = path
        self.config_path = config_path
        self.files = self._load()
        mine = self.files.get(config_path, {})
        self.ownership = {key: mine.get(key, []) for key in ownership.EMPTY_STATE}
        self.pending = mine.get("pending")

    def _load(self):
        data = _files.read(self.path)
        if data is None:
            return {}
        try:
            files = json.loads(data)["files"]
            for entry in files.values():
                entry["entries"], entry["containers"]
            return files
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FleetError(
                "Cannot read which keys are owned",
                target=self.path,
                cause=error,
                option="state_path to another file, or put the file back from a backup",
            ) from error

    def save(self, ownership_state, pending):
        """Write the file when it differs from what was read; one that holds nothing any more is removed."""
        entry = {**ownership_state, **({"pending": pending} if pending else {})}
        files = {**self.files, self.config_path: entry}
        if not entry["entries"] and not pending:
            del files[self.config_path]
        self.ownership, self.pending = ownership_state, pending
        if files == self.files:
            return
        self.files = files
        if files:
            text = json.dumps({"version": 1, "files": files}, indent=1, sort_keys=True)
            # It may hold passwords of proxies that the user's file had before.
            _files.write(self.path, text.encode() + b"\n", mode=0o600)
        else:
            _files.remove(self.path)


class Seen(NamedTuple):
    """The host as found: text of the file or None, the unit, the daemon's run or None, its /info or None."""

    text: str | None
    unit: unit.Unit
    identity: str | None
    info: dict | None


class Editor:
    """Settings are the options of daemon_config under their names; the constructor only reads."""

    def __init__(self, settings, check_mode=False):
        self.settings = settings
        self.check_mode = check_mode
        self.path = os.path.realpath(settings["path"])
        self.state = State(settings["state_path"], self.path)
        text = self._decode(_files.read(self.path))
        self.config = Document(text, self.path).value()
        found = unit.read()
        self.daemon = Daemon(
            settings["docker_host"], self._pidfile(self.config, found), settings["dockerd"] or found.program
        )
        self.seen = Seen(text, found, self.daemon.identity(), self.daemon.info())
        self.started = time.time()

    def run(self):
        """Do it all. Returns the module's result."""
        settings = self.settings
        self._check_path()
        plan = self._plan()
        if plan.conflicts and settings["changed_outside"] == "fail":
            raise FleetError(
                "Somebody changed keys that are owned",
                target=self.path,
                cause=mask("; ".join(plan.conflicts)),
                option="changed_outside: overwrite, or the values in data",
            )
        config = Document(plan.text, self.path).value()
        checked_by = self._check(plan, config)
        changes = keys.changes(self.config, config, version(self.seen.info))
        effect = self._effect(changes)
        act = self._choose(changes, effect)
        backup, remembered = None, self.state.ownership
        if not self.check_mode:
            backup = self._write(plan, changes, effect)
            act, effect = self._apply(act, effect, changes, config)
        elif act != keys.NOTHING:
            effect = self._left(effect) if act == keys.RELOAD else keys.NOTHING
        changed = act != keys.NOTHING or plan.text != self.seen.text or plan.state != remembered
        return self._result(
            plan,
            config,
            changes,
            effect,
            act,
            {
                "changed": changed,
                "checked_by": checked_by,
                "backup_file": backup,
            },
        )

    # -- before ----------------------------------------------------------------------------------------------

    def _decode(self, data):
        if data is None:
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FleetError(
                "Cannot read the daemon's configuration",
                target=f"{self.path}, byte {error.start}",
                found="bytes that are no UTF-8",
                wanted="UTF-8 text",
            ) from error
        if text.startswith("\ufeff"):
            raise FleetError(
                "Cannot read the daemon's configuration",
                target=f"{self.path}, line 1, column 1",
                found="a byte order mark",
                wanted="UTF-8 without one (Engine 20.10 refuses it)",
            )
        return text

    @staticmethod
    def _pidfile(config, found):
        flags = [flag.value for flag in found.flags if flag.key == "pidfile"]
        return [*flags, config.get("pidfile") or _PIDFILE][0]

    def _check_path(self):
        """A daemon that reads another file would never see what is written here, silently."""
        flags = [flag for flag in self.seen.unit.flags if flag.key == "config-file"]
        reads = self.daemon.config_file() or (flags[0].value if flags else _CONFIG)
        known = self.seen.identity is not None or self.seen.unit.program is not None
        if known and os.path.realpath(reads) != self.path:
            raise FleetError(
                "The daemon does not read this file",
                target=self.path,
                found=f"{flags[0].text} in {flags[0].place}" if flags else f"a daemon that reads {reads}",
                wanted="the file the daemon reads",
                option=f"path: {reads}",
            )

    def _check(self, plan, config):
        """Refuse what the daemon would refuse; removing keys never is, as it cannot make things worse."""
        if self.settings["state"] == "absent":
            return "nothing"
        found = checks.problems(config, self._swarm(config), self.seen.unit.flags, self.path)
        if found:
            raise FleetError(
                "The daemon would not start with this configuration",
                target=self.path,
                cause=mask(" ".join(str(problem) for problem in found)),
            )
        if plan.text is None or plan.text == self.seen.text:
            return "nothing"
        answer = self._validate(plan.text)
        if answer not in (True, None):
            raise FleetError(
                "The daemon refuses this configuration",
                target=self.path,
                cause=mask(answer),
                option="data or list_items",
            )
        return "dockerd" if answer else "own checks"

    def _validate(self, text):
        with tempfile.NamedTemporaryFile("w", prefix="daemon.", suffix=".json", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            answer = self.daemon.validate(file.name)
            return answer.replace(file.name, self.path) if isinstance(answer, str) else answer

    def _swarm(self, config):
        """Tell whether the host is, or is to be, in a Swarm; without an answer, its data folder tells."""
        if self.settings["swarm"] is not None:
            return self.settings["swarm"]
        state = swarm_facts(self.seen.info)["state"]
        if state is not None:
            return state != "inactive"
        return os.path.exists(
            os.path.join(config.get("data-root") or _DATA_ROOT, "swarm", "docker-state.json")
        )

    def _plan(self):
        """Return what becomes of the file; state=applied leaves it and the ownership as they are."""
        state = self.settings["state"]
        if state == "applied":
            return ownership.Plan(self.seen.text, self.state.ownership, [], [])
        present = state == "present"
        return ownership.plan(
            self.seen.text,
            self.state.ownership,
            self.settings["owner"],
            self.settings["data"] if present else {},
            self.settings["list_items"] if present else {},
            self.path,
        )

    # -- deciding --------------------------------------------------------------------------------------------

    def _pending(self):
        """Return what an earlier run left to do, unless the daemon was restarted since."""
        pending = self.state.pending
        return pending if pending and self.seen.identity and pending["daemon"] == self.seen.identity else None

    def _effect(self, changes):
        """Return what is needed; a daemon that does not run reads everything when it starts."""
        if self.seen.identity is None:
            return keys.NOTHING
        pending = self._pending()
        return keys.strongest(
            [change.effect for change in changes] + ([pending["effect"]] if pending else [])
        )

    def _choose(self, changes, effect):
        """Return what may be done now of what is needed."""
        apply, restart = self.settings["apply"], self.settings["restart"]
        if apply == "none" or effect == keys.NOTHING:
            return keys.NOTHING
        if effect == keys.RESTART:
            if (
                apply == "auto"
                and self.daemon.can_restart()
                and (restart == "allowed" or (restart == "idle" and self._idle()))
            ):
                return keys.RESTART
            # What a reload can take over need not wait for the restart.
            return keys.RELOAD if any(change.effect == keys.RELOAD for change in changes) else keys.NOTHING
        return keys.RELOAD

    def _idle(self):
        info = self.seen.info
        return bool(info) and info.get("ContainersRunning") == 0 and swarm_facts(info)["state"] == "inactive"

    @staticmethod
    def _left(effect):
        """Return what stays to be done of effect after a reload."""
        return effect if effect == keys.RESTART else keys.NOTHING

    # -- acting ----------------------------------------------------------------------------------------------

    def _write(self, plan, changes, effect):
        """Write state and file, in this order: an interrupted run must not take our value for the user's."""
        old_ownership, old_pending = self.state.ownership, self.state.pending
        backup = None
        changed = plan.text != self.seen.text
        if changed and self.settings["backup"]:
            backup = _files.back_up(self.path, self.settings["backup_keep"])
        self.state.save(plan.state, self._new_pending(changes, effect))
        if changed:
            try:
                self._put(plan.text, self._mode(plan.text))
            except FleetError:
                self.state.save(old_ownership, old_pending)
                raise
        return backup

    def _mode(self, text):
        """A file that gets a password must not stay readable for everybody; else the mode stays as it is."""
        return 0o600 if passwords(text) - passwords(self.seen.text) else None

    def _put(self, text, mode=None):
        if text is None:
            _files.remove(self.path)
        else:
            _files.write(self.path, text.encode(), mode=mode)

    def _new_pending(self, changes, effect):
        if effect == keys.NOTHING:
            return None
        pending = self._pending()
        previous = {"text": self.seen.text, "ownership": self.state.ownership}
        return {
            "effect": effect,
            "keys": self._waiting(changes),
            "daemon": self.seen.identity,
            "previous": pending["previous"] if pending else previous,
        }

    def _waiting(self, changes):
        """Return the keys, of this run and of earlier ones, that the daemon has not taken over."""
        pending = self._pending()
        names = {change.key for change in changes if change.effect != keys.NOTHING}
        return sorted(names | set(pending["keys"] if pending else []))

    def _apply(self, act, effect, changes, config):
        """Make the daemon take the file over. Returns what was done and what stays to be done."""
        if act == keys.RELOAD:
            act, effect = self._reload(effect, changes, config)
        if act == keys.RESTART:
            self._restart(config)
            effect = keys.NOTHING
        pending = self.state.pending
        if effect == keys.NOTHING:
            self.state.save(self.state.ownership, None)
        elif pending and pending["effect"] != effect:
            self.state.save(self.state.ownership, {**pending, "effect": effect})
        return act, effect

    def _reload(self, effect, changes, config):
        attributes = self.daemon.reload(min(_RELOAD_TIMEOUT, self.settings["timeout"]))
        if attributes is None:
            self._undo("The daemon refused to reload", self._reload_back)
        names = [name for name in self.state.pending["keys"] if name in config]
        lost = keys.not_taken(config, names, self.daemon.info() or {}, attributes)
        for sentence in lost:
            name, _colon, reason = sentence.partition(": ")
            changes[:] = [
                change._replace(effect=keys.RESTART, reason=reason) if change.key == name else change
                for change in changes
            ]
        effect = keys.RESTART if lost else self._left(effect)
        chosen = self._choose([], effect)
        return (chosen if chosen == keys.RESTART else keys.RELOAD), effect

    def _reload_back(self):
        return self.daemon.reload(_RELOAD_TIMEOUT) is not None

    def _restart(self, config):
        swarm = swarm_facts(self.seen.info)
        before = self.daemon.pidfile
        self.daemon.pidfile = self._pidfile(config, self.seen.unit)

        def ready(info):
            """Tell whether the node is in its Swarm as it was, and no longer catching up."""
            now = swarm_facts(info)
            return swarm["state"] != "active" or (
                now["state"] == "active" and now["manager"] == swarm["manager"]
            )

        if not self.daemon.restart(self.settings["timeout"], ready):
            self.daemon.pidfile = before
            self._undo(
                "The daemon did not come back after its restart",
                lambda: self.daemon.restart(self.settings["timeout"], ready),
            )

    def _undo(self, what, revive):
        """Put back file and state as the daemon last took them, revive it, and fail with its own words."""
        journal = self.daemon.journal(self.started)
        previous = self.state.pending["previous"]
        self._put(previous["text"])
        self.state.save(previous["ownership"], None)
        revived = revive()
        raise FleetError(
            what,
            target=self.path,
            option="data or list_items",
            cause=mask(_verdict(journal)) or "its journal says nothing",
            found="the previous file is back, and the daemon "
            + ("runs with it" if revived else "does not answer"),
            details={"restored": True, "running": revived, "journal": mask(journal)},
        )

    # -- after -----------------------------------------------------------------------------------------------

    def _result(self, plan, config, changes, effect, act, facts):
        info = self.daemon.info() if act != keys.NOTHING and not self.check_mode else self.seen.info
        conflicts = [mask(sentence) for sentence in plan.conflicts]
        warnings = conflicts + checks.warnings(config, version(info))
        if effect == keys.RESTART and not self.daemon.can_restart():
            warnings.append(
                "The daemon needs a restart, but systemd does not run this host: restart it yourself."
            )
        before, after = self.seen.text or "", plan.text or ""
        return {
            **facts,
            "file": self.path,
            "action": keys.strongest([effect, act]),
            "applied": act,
            "outstanding": effect,
            "outstanding_keys": self._waiting(changes) if effect != keys.NOTHING else [],
            "changes": [change._asdict() for change in changes],
            "owned": plan.owned,
            "conflicts": conflicts,
            "daemon": {
                "installed": self.daemon.program is not None,
                "running": self.seen.identity is not None,
                "version": (info or {}).get("ServerVersion"),
                "containers_running": (info or {}).get("ContainersRunning"),
            },
            "swarm": swarm_facts(info),
            "warnings": warnings,
            "diff": {
                "before": mask(before),
                "after": mask(after, passwords(before)),
                "before_header": self.path,
                "after_header": self.path,
            },
        }

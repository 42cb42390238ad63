# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge from what an Engine says whether a service is what was asked. Pure. Private: may change.

The states and their meaning are those of Engine 20.10 to 29 (docker/cli, service/progress; swarmkit,
updater). Swarm itself gives up on none of these: a first creation that crashes for ever, a task no node can
take, an update that stays pending. So all of them are judged here, each with its own time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# A task that reached running is watched this long before it counts; one with a health check was proven by it.
STABLE_S = 5
STABLE_HEALTHY_S = 1
# Three ends of one slot are a crash loop once they stretch over this time: a program that is restarted until
# its database answers gets a chance. A rejected task (no image, no mount source) gains nothing by waiting.
CRASHES = 3
CRASH_LOOP_S = 20
# "no suitable node" may pass when a node comes back or an old task ends.
UNPLACED_S = 60
# A slot that has ended and gets no new task this long has been given up by its restart policy.
GIVEN_UP_S = 5

# For what shall stay up an end with exit code 0 is as bad as any other.
FAILED = ("failed", "rejected")
ENDED = (*FAILED, "complete")
LIVE = ("new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running")

_FAILED_UPDATES = {
    "paused": "the update was paused",
    "rollback_paused": "the rollback was paused",
    "rollback_completed": "the update was rolled back by Swarm",
}


@dataclass
class Verdict:
    """state: waiting, converged or failed. progress: for people. reason, task: of a failure."""

    state: str
    progress: str = ""
    reason: str = ""
    task: dict | None = None


@dataclass
class Watch:
    """What is remembered of one service between two looks.

    name      name of the service
    written   this deploy has written it, so its UpdateStatus is about this deploy
    baseline  ids of the tasks it had before; their end is no failure of this deploy
    seen      {id: task} of this deploy as last seen; Swarm itself trims its history
    now       {id: task} of the last look
    spec      the stored spec of the first look
    since     {what: time} since when something has been so
    blamed, message  id of the task that Swarm itself blames for a failed update, and what it says
    """

    name: str
    identity: str
    written: bool = True
    baseline: frozenset = frozenset()
    seen: dict = field(default_factory=dict)
    now: dict = field(default_factory=dict)
    spec: dict | None = None
    since: dict = field(default_factory=dict)
    blamed: str | None = None
    message: str | None = None
    rolled_back_by_swarm: bool = False

    def look(self, service, tasks, nodes, now):
        """Return a Verdict.

        service  the service as the Engine tells it
        tasks    its tasks that run the current spec
        nodes    {id: node as the Engine tells it}
        now      seconds of a clock that only goes forward
        """
        self.now = {task["ID"]: task for task in tasks}
        self.seen.update({task["ID"]: task for task in tasks if task["ID"] not in self.baseline})
        failed = self._update_failure(service)
        if failed:
            return failed
        if self._rolling_back(service):
            return Verdict("waiting", "rolling back")
        if self.spec is None:
            self.spec = service["Spec"]
        elif self.spec != service["Spec"]:
            return Verdict("failed", reason="someone else changed the service during the deploy")
        mode = service["Spec"].get("Mode") or {}
        if mode.get("ReplicatedJob") is not None or mode.get("GlobalJob") is not None:
            return self._job(service, mode, tasks, now)
        good, progress = self._running(mode, tasks, nodes)
        return (
            self._settled(service, good, progress, now)
            or self._trouble(tasks, mode, now)
            or Verdict("waiting", progress)
        )

    def last_failure(self):
        """Return the newest task of this deploy that failed, else one that is held up, else None."""
        failed = [task for task in self.seen.values() if state(task) in FAILED]
        held = [task for task in self.now.values() if state(task) in LIVE and state(task) != "running"]
        return next((newest(found) for found in (failed, held) if found), None)

    def _update_failure(self, service):
        update = service.get("UpdateStatus") or {}
        found = update.get("State") or ""
        if not self.written:
            return None
        words = (update.get("Message") or "").split()
        if words[-2:-1] == ["task"]:
            # The message of the moment names the task at its end; that of a finished rollback does not.
            self.blamed, self.message = words[-1], update["Message"]
        if found not in _FAILED_UPDATES:
            return None
        self.rolled_back_by_swarm = found == "rollback_completed"
        said = self.message or update.get("Message")
        reason = _FAILED_UPDATES[found] + (f" ({said})" if said else "")
        return Verdict("failed", reason=reason, task=self.seen.get(self.blamed) or self.last_failure())

    def _rolling_back(self, service):
        return self.written and (service.get("UpdateStatus") or {}).get("State") == "rollback_started"

    def _running(self, mode, tasks, nodes):
        """Return (all there, progress) of a service that stays up."""
        present = [
            task
            for task in tasks
            if task.get("DesiredState") in ("running", "ready") and not down(nodes.get(task.get("NodeID")))
        ]
        up = {
            _slot(task) for task in present if state(task) == "running" and task["DesiredState"] == "running"
        }
        if mode.get("Global") is not None:
            slots = {_slot(task) for task in present}
            return bool(slots) and slots == up, f"{len(up)}/{len(slots)}"
        replicas = (mode.get("Replicated") or {}).get("Replicas")
        replicas = 1 if replicas is None else replicas
        return len(up) == replicas, f"{len(up)}/{replicas}"

    def _settled(self, service, good, progress, now):
        update = (service.get("UpdateStatus") or {}).get("State")
        if not good or (self.written and update == "updating"):
            self.since.pop("good", None)
            return None
        since = self.since.setdefault("good", now)
        if now - since >= self._window(service, update):
            return Verdict("converged", progress)
        return Verdict("waiting", progress)

    def _window(self, service, update):
        if not self.seen or update == "completed":
            return 0
        container = (service["Spec"].get("TaskTemplate") or {}).get("ContainerSpec") or {}
        test = (container.get("Healthcheck") or {}).get("Test") or ["NONE"]
        return STABLE_S if test[0] == "NONE" else STABLE_HEALTHY_S

    def _trouble(self, tasks, mode, now, states=ENDED, done=()):
        """Return the Verdict on a service that cannot become what it should, or None while it still may.

        states  those that count as an end, done: slots that need nothing more
        """
        for slot, ended in _by_slot(self.seen.values(), states).items():
            if slot in done:
                continue
            since = self.since.setdefault(("crash", slot), now)
            rejected = sum(state(task) == "rejected" for task in ended)
            if rejected >= CRASHES or (len(ended) >= CRASHES and now - since >= CRASH_LOOP_S):
                return Verdict("failed", reason=f"it ended {len(ended)} times in a row", task=newest(ended))
            alive = any(_slot(task) == slot and state(task) in LIVE for task in tasks)
            if self._lasts(("idle", slot), not alive, now, GIVEN_UP_S):
                return Verdict(
                    "failed", reason="it ended and its restart policy starts no new task", task=newest(ended)
                )
        unplaced = [
            task
            for task in tasks
            if state(task) == "pending" and "no suitable node" in (task["Status"].get("Err") or "")
        ]
        if self._lasts("unplaced", bool(unplaced), now, UNPLACED_S):
            return Verdict(
                "failed", reason=f"no node takes it: {unplaced[0]['Status']['Err']}", task=unplaced[0]
            )
        nowhere = mode.get("Global") is not None and not tasks
        if self._lasts("nowhere", nowhere, now, UNPLACED_S):
            return Verdict("failed", reason="no node fits its placement constraints, so Swarm made no task")
        return None

    def _job(self, service, mode, tasks, now):
        iteration = ((service.get("JobStatus") or {}).get("JobIteration") or {}).get("Index", 0)
        tasks = [task for task in tasks if (task.get("JobIteration") or {}).get("Index", 0) == iteration]
        completed = [task for task in tasks if state(task) == "complete"]
        done = {_slot(task) for task in completed}
        if mode.get("ReplicatedJob") is not None:
            job = mode["ReplicatedJob"]
            total = next(
                (n for n in (job.get("TotalCompletions"), job.get("MaxConcurrent")) if n is not None), 1
            )
            finished = len(completed) >= total
        else:
            total = len({_slot(task) for task in tasks})
            # Swarm makes the tasks of all nodes at once, but this look may have come in between.
            finished = self._lasts("good", 0 < total == len(done), now, STABLE_HEALTHY_S)
        progress = f"{len(completed)}/{total} completed"
        if finished:
            return Verdict("converged", progress)
        return self._trouble(tasks, mode, now, FAILED, done) or Verdict("waiting", progress)

    def _lasts(self, what, is_so, now, seconds):
        """Tell whether something has been so for a time."""
        if not is_so:
            self.since.pop(what, None)
            return False
        return now - self.since.setdefault(what, now) >= seconds


def state(task):
    """Return the observed state of a task."""
    return (task.get("Status") or {}).get("State") or "unknown"


def _slot(task):
    return task.get("Slot") or task.get("NodeID") or task["ID"]


def _by_slot(tasks, states):
    slots = {}
    for task in tasks:
        if state(task) in states:
            slots.setdefault(_slot(task), []).append(task)
    return slots


def newest(tasks):
    """Return the task whose state changed last."""
    return max(tasks, key=lambda task: task["Status"].get("Timestamp") or task.get("CreatedAt") or "")


def down(node):
    """Tell whether a node is known to be down."""
    return bool(node) and (node.get("Status") or {}).get("State") == "down"

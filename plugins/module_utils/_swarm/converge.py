# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until services are what was asked, and tell why one is not. Private: may change in any release."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import assess
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.observe import STACK_LABEL

LOG_LINES = 20
POLL_S = (0.25, 1.0)
# After a first failure the others of the same wave get this long to settle, so that all are told at once.
SETTLE_S = 30
# An election of managers takes seconds; a manager that stays away longer is a failure of its own.
AWAY_S = 30

# Whatever can still run or be running.
_ALIVE = (*assess.LIVE, "unknown")


@dataclass
class Failure:
    """Why one service is not what was asked, and what was done about it."""

    service: str
    reason: str
    task: str | None = None
    node: str | None = None
    state: str | None = None
    error: str | None = None
    exit_code: int | None = None
    log: list = field(default_factory=list)
    done: str = ""

    def as_dict(self):
        """Return the failure as the result of the module holds it."""
        return dict(vars(self))

    def text(self):
        """Return the failure for people: one line a fact."""
        facts = [
            ("task", self.task),
            ("node", self.node),
            ("state", self.state),
            ("error", self.error),
            ("exit code", self.exit_code),
            ("done", self.done or None),
        ]
        lines = [f"{self.service}: {self.reason}"]
        lines += [f"  {word}: {value}" for word, value in facts if value is not None]
        if self.log:
            lines += [f"  last {len(self.log)} log lines:"] + [f"    {line}" for line in self.log]
        return "\n".join(lines)


class Converger:
    """Polls the Engine for all services of a wave at once."""

    def __init__(self, engine, deadline, clock=time.monotonic, sleep=time.sleep):
        self._engine = engine
        self._deadline = deadline
        self._clock = clock
        self._sleep = sleep

    def wait(self, watches, at_least=0.0):
        """Return (progress of those that converged by name, Failures of the others).

        at_least  seconds that are waited even where the deploy's own deadline is nearer
        """
        progress, failed, waiting = {}, {}, {watch.identity: watch for watch in watches}
        pause, last, told = POLL_S[0], self._clock(), {}
        deadline = max(self._deadline, last + at_least)
        nodes = {}
        while waiting:
            try:
                nodes, looks = self._poll(waiting)
                last = self._clock()
            except EngineError as exc:
                if not exc.transient or self._clock() - last > AWAY_S:
                    raise
                looks = {}
            for identity, (service, tasks) in looks.items():
                watch = waiting[identity]
                verdict = assess.Verdict(
                    "failed", reason="someone else removed the service during the deploy"
                )
                if service:
                    verdict = watch.look(service, tasks, nodes, self._clock())
                told[watch.name] = verdict.progress
                if verdict.state == "converged":
                    progress[watch.name] = verdict.progress
                    del waiting[identity]
                elif verdict.state == "failed":
                    failed[identity] = (watch, verdict)
                    del waiting[identity]
                    deadline = min(deadline, self._clock() + SETTLE_S)
            if waiting and self._clock() >= deadline:
                break
            if waiting:
                self._sleep(pause)
                pause = min(pause * 1.5, POLL_S[1])
        for identity, watch in waiting.items():
            reason = f"it is not ready in time ({told.get(watch.name) or 'nothing known'})"
            failed[identity] = (watch, assess.Verdict("failed", reason=reason, task=watch.last_failure()))
        return progress, [self._explained(watch, verdict, nodes) for watch, verdict in failed.values()]

    def tasks_of(self, identities):
        """Return the ids of all tasks that services have."""
        if not identities:
            return frozenset()
        return frozenset(
            task["ID"] for task in self._engine.get("/tasks", filters={"service": sorted(identities)})
        )

    def until_tasks_are_gone(self, stack, services):
        """Wait until no task of removed services lives, except on nodes that are down. Return whether so."""
        return self._until(lambda: not self._living(stack, services))

    def until_networks_are_gone(self, stack, names):
        """Wait until the Engine has no network of these names, not even this node's own part of one."""
        filters = {"label": [f"{STACK_LABEL}={stack}"]}
        return self._until(
            lambda: not names & {entry["Name"] for entry in self._engine.get("/networks", filters=filters)}
        )

    def until_rolled_back(self, identity, seconds):
        """Wait for the end of a rollback. Return whether it completed within ``seconds``."""
        end = self._clock() + seconds

        def ended():
            status = self._engine.get("/services/{0}", identity).get("UpdateStatus") or {}
            return status.get("State") in ("rollback_completed", "rollback_paused")

        self._until(ended, end)
        status = self._engine.get("/services/{0}", identity).get("UpdateStatus") or {}
        return status.get("State") == "rollback_completed"

    def _until(self, done, end=None):
        end = self._deadline if end is None else end
        pause = POLL_S[0]
        while not done():
            if self._clock() >= end:
                return False
            self._sleep(pause)
            pause = min(pause * 1.5, POLL_S[1])
        return True

    def _living(self, stack, services):
        # By label: a filter by service is an error once the service is gone.
        tasks = self._engine.get("/tasks", filters={"label": [f"{STACK_LABEL}={stack}"]})
        living = [task for task in tasks if task["ServiceID"] in services and assess.state(task) in _ALIVE]
        if not living:
            return False
        nodes = {node["ID"]: node for node in self._engine.get("/nodes")}
        return any(task.get("NodeID") in nodes and not assess.down(nodes[task["NodeID"]]) for task in living)

    def _poll(self, waiting):
        identities = sorted(waiting)
        services = {entry["ID"]: entry for entry in self._engine.get("/services", filters={"id": identities})}
        there = sorted(set(identities) & set(services))
        tasks = {identity: [] for identity in identities}
        if there:
            # The filter keeps the tasks that run the current spec (docker/cli uses it for its own waiting).
            for task in self._engine.get("/tasks", filters={"service": there, "_up-to-date": ["true"]}):
                tasks.setdefault(task["ServiceID"], []).append(task)
        nodes = {node["ID"]: node for node in self._engine.get("/nodes")}
        return nodes, {identity: (services.get(identity), tasks[identity]) for identity in identities}

    def _explained(self, watch, verdict, nodes):
        failure = Failure(watch.name, verdict.reason)
        task = self._culprit(watch, verdict.task)
        if not task:
            return failure
        status = task.get("Status") or {}
        node = nodes.get(task.get("NodeID")) or {}
        failure.task = task["ID"]
        failure.node = (node.get("Description") or {}).get("Hostname") or task.get("NodeID") or "none"
        failure.state = status.get("State")
        failure.error = status.get("Err") or status.get("Message")
        container = status.get("ContainerStatus") or {}
        failure.exit_code = container.get("ExitCode") if container else None
        if container.get("ContainerID"):
            failure.log = self._engine.task_logs(task["ID"], LOG_LINES)
        return failure

    def _culprit(self, watch, task):
        """Return the task that tells most: the one Swarm blames, the verdict's, or the last that failed."""
        try:
            tasks = self._engine.get("/tasks", filters={"service": [watch.identity]})
        except EngineError:
            return task
        tasks = {entry["ID"]: entry for entry in tasks}
        failed = [entry for entry in tasks.values() if assess.state(entry) in assess.FAILED]
        fresh = [entry for entry in failed if entry["ID"] not in watch.baseline]
        blamed = tasks.get(watch.blamed)
        named = tasks.get(task["ID"], task) if task else None
        if blamed in failed:
            return blamed
        if fresh and not (named and named["Status"].get("Err")):
            return assess.newest(fresh)
        return named or blamed

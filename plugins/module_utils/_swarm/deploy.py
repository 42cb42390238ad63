# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deploy from its plan to its end: apply wave by wave, converge, undo what failed, clean up.

Private: may change in any release. Order of the writes:

1. services that are no longer wanted go (they may hold a port or a card), networks are made anew
2. new networks, secrets and configs
3. wave by wave: services, then the wait for them
4. what nothing uses any more goes; only after everything has converged
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import carry, observe
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.apply import Applier
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.assess import Watch
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.converge import Converger
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.normalise import references

# An object stays "in use" until the last task of a removed service is gone.
RELEASE_S = 30
SECOND = 1_000_000_000
ROLLBACK_S = 120


@dataclass(frozen=True)
class Options:
    """The options of the module that steer a deploy; see its documentation."""

    wait: bool = True
    wait_timeout: int = 600
    on_failure: str = "rollback"
    registry_logins: tuple = ()


def loading_time(spec, tasks):
    """Return the seconds that ``tasks`` may take to become healthy, those of one batch at a time.

    0 without a start_period: nothing says then that the service loads anything. An image's own check is not
    known. The check's defaults are Docker's (30 s each).
    """
    health = (spec["TaskTemplate"].get("ContainerSpec") or {}).get("Healthcheck") or {}
    if not health.get("StartPeriod"):
        return 0.0
    once = health["StartPeriod"] + health.get("Interval", 30 * SECOND) + health.get("Timeout", 30 * SECOND)
    update = spec.get("UpdateConfig") or {}
    at_once = update.get("Parallelism", 1) or tasks
    batches = max(1, -(-tasks // max(at_once, 1)))
    return batches * (once + update.get("Delay", 0) + update.get("Monitor", 5 * SECOND)) / SECOND


class DeployError(FleetError):
    """Services did not become what was asked. failures: a list of converge.Failure."""

    def __init__(self, stack, failures, not_started):
        self.failures = failures
        super().__init__(
            "The stack did not converge", target=stack, details={"failures": [f.as_dict() for f in failures]}
        )
        self._not_started = not_started

    def __str__(self):
        lines = [f"{self.what} ({self.target}): {len(self.failures)} service(s) failed."]
        lines += [failure.text() for failure in self.failures]
        if self._not_started:
            lines.append("Not touched because of this: " + ", ".join(self._not_started))
        return "\n".join(lines)


class Deployment:
    """Carries out one plan. actions: what was done, in sentences; outcomes, warnings: see run()."""

    def __init__(self, engine, wanted, current, plan, options, clock=time.monotonic, sleep=time.sleep):
        self._wanted = wanted
        self._current = current
        self._plan = plan
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._applier = Applier(engine, current, sleep, options.registry_logins)
        self._converger = Converger(engine, clock() + options.wait_timeout, clock, sleep)
        self._removed = set()
        self.outcomes = {}
        self.warnings = []

    @property
    def actions(self):
        """Return what was done so far, in sentences."""
        return self._applier.actions

    def run(self):
        """Carry the plan out. Leaves {service: {state, replicas}} in outcomes, also when it raises.

        DeployError: services did not converge. EngineError: the Engine refused a call.
        """
        self._remove_services()
        self._remake_networks()
        for item in self._plan.of("network", "create", "recreate"):
            self._applier.create_network(item.name, self._wanted["networks"][item.name]["spec"])
        for kind in ("secrets", "configs"):
            for item in self._plan.of(kind[:-1], "create"):
                self._applier.create_content(kind, item.name, self._wanted[kind][item.name]["spec"])
            for item in self._plan.of(kind[:-1], "update"):
                self._applier.update_content(kind, item.name, self._wanted[kind][item.name]["spec"])
        self._run_waves()
        self._clean()

    def _run_waves(self):
        waves = {}
        for name, service in self._wanted["services"].items():
            waves.setdefault(service["wave"], []).append(name)
        failures, held = [], set()
        for _wave, names in sorted(waves.items()):
            ready = [name for name in sorted(names) if name not in held]
            if failures and self._options.on_failure != "leave":
                held |= {name for name in ready if self._plan.action("service", name) != "none"}
                continue
            failed = self._wave(ready)
            failures += failed
            held |= self._dependents({failure.service for failure in failed})
        if failures:
            raise DeployError(self._wanted["name"], failures, sorted(held))

    def _dependents(self, failed):
        """Return every service that directly or not depends on one of these."""
        services = self._wanted["services"]
        names = {service["key"]: name for name, service in services.items()}
        found, grown = set(), set(failed)
        while grown:
            grown = {
                name
                for name, service in services.items()
                if name not in found | failed
                and grown & {names.get(key) for key in service.get("depends_on") or {}}
            }
            found |= grown
        return found

    def _wave(self, names):
        """Write the services of one wave and wait for them. Return the Failures."""
        have = self._current["services"]
        baseline = frozenset()
        if self._options.wait and any(self._plan.action("service", name) == "update" for name in names):
            baseline = self._converger.tasks_of({have[name]["id"] for name in names if name in have})
        watches = []
        for name in names:
            action = self._plan.action("service", name)
            self.outcomes[name] = {"action": action, "state": "unchanged"}
            if action == "none":
                watch = self._unsettled(name, have[name])
            else:
                watch = Watch(
                    name, self._write(name, action), baseline=baseline if action == "update" else frozenset()
                )
                self.outcomes[name]["state"] = "not waited for"
            if watch:
                watches.append(watch)
        if not self._options.wait:
            return []
        progress, failures = self._converger.wait(watches, self._loading_time(watches))
        for name, text in progress.items():
            self.outcomes[name].update(
                state="completed" if self._wanted["services"][name]["job"] else "running", replicas=text
            )
        identities = {watch.name: watch for watch in watches}
        for failure in failures:
            failure.done = self._react(identities[failure.service])
            self.outcomes[failure.service].update(state="failed", reason=failure.reason)
        return failures

    def _loading_time(self, watches):
        """Return the seconds that the slowest of these services may take by its own health check."""
        times = [0.0]
        for watch in watches:
            have, action = self._current["services"].get(watch.name), self.outcomes[watch.name]["action"]
            tasks = have["desired"] if have and action == "update" else 1
            times.append(loading_time(self._wanted["services"][watch.name]["spec"], tasks))
        return max(times)

    def _write(self, name, action):
        want = self._wanted["services"][name]
        if action == "update":
            item = next(item for item in self._plan.of("service", "update") if item.name == name)
            return self._applier.update_service(name, want, again=not item.changes)
        if action == "recreate":
            if name not in self._removed:
                self._remove_and_wait([name])
            have = self._current["services"][name]
            # Made anew, it keeps what an update would have kept.
            return self._applier.create_service(name, carry.as_sent(want, have["spec"]))
        return self._applier.create_service(name, want["spec"])

    def _unsettled(self, name, service):
        """Return a Watch for a service that is as wanted but not (yet) there, else None."""
        self.outcomes[name]["replicas"] = observe.progress(service)
        if not observe.settling(service):
            return None
        return Watch(
            name,
            service["id"],
            written=observe.updating(service),
            baseline=self._converger.tasks_of({service["id"]}),
        )

    def _react(self, watch):
        """Do what on_failure asks for one failed service; return what was done, in words."""
        name = watch.name
        action = self.outcomes[name]["action"]
        if watch.rolled_back_by_swarm:
            return "Swarm rolled it back to its previous version"
        if self._options.on_failure != "rollback" or action == "none":
            return "left as it is"
        job = self._wanted["services"][name]["job"]
        try:
            if action == "create" or job:
                self._applier.remove_service(name, watch.identity)
                return "removed the job, it runs at the next deploy" if job else "removed the new service"
            if action == "recreate":
                self._applier.remove_service(name, watch.identity)
                self._converger.until_tasks_are_gone(self._wanted["name"], {watch.identity})
                self._applier.create_service(name, self._current["services"][name]["spec"])
                return "made the previous version of the service anew"
            item = next(item for item in self._plan.of("service", "update") if item.name == name)
            if not item.changes:
                return "left as it is, there is no other version to go back to"
            self._applier.roll_back(name)
            if self._converger.until_rolled_back(watch.identity, ROLLBACK_S):
                return "rolled back to the previous version, which runs again"
            return f"rolled back to the previous version, which does not run after {ROLLBACK_S} s"
        except EngineError as exc:
            return f"could not undo it: {exc}"

    def _remove_services(self):
        names = [item.name for item in self._plan.of("service", "remove")]
        for name in names:
            self._applier.remove_service(name)
            self.outcomes[name] = {"action": "remove", "state": "removed"}
        if names and not self._wanted["services"] and self._options.wait:
            self._wait_for_end(names)

    def _remake_networks(self):
        names = [item.name for item in self._plan.of("network", "recreate")]
        if not names:
            return
        networks = {("networks", name) for name in names}
        attached = [
            item.name
            for item in self._plan.of("service", "recreate")
            if networks & references(self._current["services"][item.name]["spec"])
        ]
        self._remove_and_wait(attached)
        for name in names:
            if not self._remove_patiently("networks", name):
                raise FleetError(
                    "Cannot make the network anew, something still uses it",
                    target=name,
                    option="find its user with: docker network inspect --verbose",
                )
        self._converger.until_networks_are_gone(self._wanted["name"], set(names))

    def _remove_and_wait(self, names):
        for name in names:
            self._applier.remove_service(name)
        self._removed |= set(names)
        self._wait_for_end(names)

    def _wait_for_end(self, names):
        identities = {self._current["services"][name]["id"] for name in names}
        if not self._converger.until_tasks_are_gone(self._wanted["name"], identities):
            raise FleetError(
                "Tasks of removed services have not ended in time",
                target=", ".join(names),
                found=f"some after {self._options.wait_timeout} s",
                wanted="none",
                option="wait_timeout",
            )

    def _clean(self):
        networks = set()
        for kind in ("configs", "secrets", "networks"):
            for item in self._plan.of(kind[:-1], "remove"):
                if self._remove_patiently(kind, item.name):
                    networks |= {item.name} if kind == "networks" else set()
                else:
                    self.warnings.append(
                        f"The {item.kind} {item.name} is no longer wanted but still in use, it stays"
                    )
        if (
            networks
            and self._options.wait
            and not self._converger.until_networks_are_gone(self._wanted["name"], networks)
        ):
            raise FleetError(
                "Networks have not gone in time", target=", ".join(sorted(networks)), option="wait_timeout"
            )

    def _remove_patiently(self, kind, name):
        end = self._clock() + (RELEASE_S if self._options.wait else 0)
        while not self._applier.remove_object(kind, name):
            if self._clock() >= end:
                return False
            self._sleep(1)
        return True

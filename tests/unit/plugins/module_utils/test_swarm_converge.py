# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judging services from what an Engine says, look by look."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.assess import Watch
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.converge import Converger
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError

from tests.unit.fake_swarm import FakeSwarm
from tests.unit.stacks import service

UP, DOWN = {"Status": {"State": "ready"}}, {"Status": {"State": "down"}}
NODES = {"n1": UP, "n2": UP, "dead": DOWN}


def task(identity, state="running", slot=1, node="n1", desired=None, err="", iteration=None):
    return {
        "ID": identity,
        "Slot": slot,
        "NodeID": node,
        "Status": {"State": state, "Err": err, "Timestamp": identity},
        "DesiredState": desired or ("shutdown" if state in ("failed", "rejected", "complete") else "running"),
        **({} if iteration is None else {"JobIteration": {"Index": iteration}}),
    }


def entry(mode=None, update=None, healthcheck=None, iteration=None):
    spec = {"Mode": mode or {"Replicated": {"Replicas": 2}}, "TaskTemplate": {"ContainerSpec": {}}}
    if healthcheck:
        spec["TaskTemplate"]["ContainerSpec"]["Healthcheck"] = {"Test": healthcheck}
    found = {"Spec": spec}
    if update:
        found["UpdateStatus"] = {"State": update, "Message": f"update {update} due to failure of task t9"}
    if iteration is not None:
        found["JobStatus"] = {"JobIteration": {"Index": iteration}}
    return found


GLOBAL, JOB, GLOBAL_JOB = (
    {"Global": {}},
    {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 2}},
    {"GlobalJob": {}},
)
TWO = [task("a"), task("b", slot=2)]
NOWHERE = "no suitable node (insufficient resources on 1 node)"

# name: (service, tasks that exist before, [(time, tasks)], state at the last look, words in the reason or
# progress)
LOOKS = {
    "nothing yet": (entry(), [], [(0, [])], "waiting", "0/2"),
    "new tasks are watched for a while": (entry(), [], [(0, TWO), (4, TWO)], "waiting", "2/2"),
    "new tasks that stay": (entry(), [], [(0, TWO), (5, TWO)], "converged", "2/2"),
    "healthy is proven sooner": (
        entry(healthcheck=["CMD", "x"]),
        [],
        [(0, TWO), (1, TWO)],
        "converged",
        "2/2",
    ),
    "no health check by NONE": (entry(healthcheck=["NONE"]), [], [(0, TWO), (1, TWO)], "waiting", "2/2"),
    "one went away meanwhile": (entry(), [], [(0, TWO), (3, TWO[:1]), (5, TWO)], "waiting", "2/2"),
    "the old tasks stay": (entry(), ["a", "b"], [(0, TWO)], "converged", "2/2"),
    "starting is not running": (entry(), [], [(0, [task("a", "starting"), TWO[1]])], "waiting", "1/2"),
    "a dead node's task does not count": (
        entry(),
        [],
        [(9, [task("a", node="dead"), TWO[1]])],
        "waiting",
        "1/2",
    ),
    "a task told to stop does not count": (
        entry(),
        [],
        [(9, [task("a", desired="shutdown"), TWO[1]])],
        "waiting",
        "1/2",
    ),
    "no replicas": (entry({"Replicated": {"Replicas": 0}}), [], [(0, [])], "converged", "0/0"),
    "replicas without a number": (entry({"Replicated": {}}), ["a"], [(0, [task("a")])], "converged", "1/1"),
    "updating": (entry(update="updating"), [], [(0, TWO), (99, TWO)], "waiting", "2/2"),
    "updated": (entry(update="completed"), [], [(0, TWO)], "converged", "2/2"),
    "paused": (
        entry(update="paused"),
        [],
        [(0, [task("t9", "failed"), *TWO])],
        "failed",
        "the update was paused",
    ),
    "rolled back": (entry(update="rollback_completed"), [], [(0, TWO)], "failed", "rolled back by Swarm"),
    "rollback paused": (entry(update="rollback_paused"), [], [(0, TWO)], "failed", "the rollback was paused"),
    "rolling back": (entry(update="rollback_started"), [], [(0, TWO)], "waiting", "rolling back"),
    "global": (
        entry(GLOBAL),
        [],
        [(0, [task("a", slot=0), task("b", slot=0, node="n2")])] * 1,
        "waiting",
        "2/2",
    ),
    "global that stays": (
        entry(GLOBAL),
        [],
        [(t, [task("a", slot=0), task("b", slot=0, node="n2")]) for t in (0, 5)],
        "converged",
        "2/2",
    ),
    "global, one node still pulls": (
        entry(GLOBAL),
        [],
        [(9, [task("a", slot=0), task("b", "preparing", slot=0, node="n2")])],
        "waiting",
        "1/2",
    ),
    "global that fits nowhere": (entry(GLOBAL), [], [(0, []), (61, [])], "failed", "Swarm made no task"),
    "global that fits nowhere yet": (entry(GLOBAL), [], [(0, []), (59, [])], "waiting", "0/0"),
    "crash loop": (
        entry(),
        [],
        [(0, [task("1", "failed")]), (20, [task(n, "failed") for n in "123"])],
        "failed",
        "3 times in a row",
    ),
    "crashes that may pass": (
        entry(),
        [],
        [(0, [task("1", "failed")]), (15, [task(n, "failed") for n in "123"] + [task("4", "ready")])],
        "waiting",
        "0/2",
    ),
    "crashed twice, then runs": (
        entry({"Replicated": {"Replicas": 1}}),
        [],
        [(t, [task("1", "failed"), task("2", "failed"), task("3")]) for t in (0, 30)],
        "converged",
        "1/1",
    ),
    "ends with success again and again": (
        entry(),
        [],
        [(0, [task("1", "complete")]), (20, [task(n, "complete") for n in "123"])],
        "failed",
        "3 times in a row",
    ),
    "rejected three times": (
        entry(),
        [],
        [(0, [task(n, "rejected") for n in "123"])],
        "failed",
        "3 times in a row",
    ),
    "two slots failed once each": (
        entry(),
        [],
        [
            (
                t,
                [
                    task("1", "failed"),
                    task("2", "failed", slot=2),
                    task("3", "ready"),
                    task("4", "ready", slot=2),
                ],
            )
            for t in (0, 60)
        ],
        "waiting",
        "0/2",
    ),
    "failures of before do not count": (
        entry(),
        ["1", "2", "3"],
        [(30, [task(n, "failed") for n in "123"] + [task("4", "starting")])],
        "waiting",
        "0/2",
    ),
    "given up": (
        entry(),
        [],
        [(0, [task("1", "failed")]), (5, [task("1", "failed")])],
        "failed",
        "starts no new task",
    ),
    "a new task is on its way": (
        entry(),
        [],
        [(t, [task("1", "failed"), task("2", "ready")]) for t in (0, 9)],
        "waiting",
        "0/2",
    ),
    "no suitable node": (
        entry(),
        [],
        [(t, [task("1", "pending", err=NOWHERE)]) for t in (0, 60)],
        "failed",
        "no node takes it: " + NOWHERE,
    ),
    "no suitable node for a moment": (
        entry(),
        [],
        [(0, [task("1", "pending", err=NOWHERE)]), (40, []), (61, [task("1", "pending", err=NOWHERE)])],
        "waiting",
        "0/2",
    ),
    "job at work": (entry(JOB, iteration=3), [], [(9, [task("1", iteration=3)])], "waiting", "0/2 completed"),
    "job done": (
        entry(JOB, iteration=3),
        [],
        [(0, [task("1", "complete", iteration=3), task("2", "complete", slot=2, iteration=3)])],
        "converged",
        "2/2 completed",
    ),
    "job of the time before": (
        entry(JOB, iteration=3),
        [],
        [(9, [task("1", "complete", iteration=2), task("2", "complete", iteration=2)])],
        "waiting",
        "0/2 completed",
    ),
    "job failed once, then done": (
        entry({"ReplicatedJob": {}}, iteration=1),
        [],
        [
            (0, [task("1", "failed", iteration=1)]),
            (9, [task("1", "failed", iteration=1), task("2", "complete", iteration=1)]),
        ],
        "converged",
        "1/1 completed",
    ),
    "job given up": (
        entry(JOB, iteration=1),
        [],
        [(t, [task("1", "failed", iteration=1)]) for t in (0, 5)],
        "failed",
        "no new task",
    ),
    "job on all nodes": (
        entry(GLOBAL_JOB, iteration=1),
        [],
        [
            (t, [task("1", "complete", 0, "n1", iteration=1), task("2", "complete", 0, "n2", iteration=1)])
            for t in (0, 1)
        ],
        "converged",
        "2/2 completed",
    ),
    "job on one of two nodes": (
        entry(GLOBAL_JOB, iteration=1),
        [],
        [
            (t, [task("1", "complete", 0, "n1", iteration=1), task("2", "running", 0, "n2", iteration=1)])
            for t in (0, 9)
        ],
        "waiting",
        "1/2 completed",
    ),
}


@pytest.mark.parametrize("name", LOOKS)
def test_look(name):
    found, before, looks, state, words = LOOKS[name]
    watch = Watch("st_a", "id", baseline=frozenset(before))
    for now, tasks in looks:
        verdict = watch.look(found, tasks, NODES, now)
    assert verdict.state == state
    assert words in verdict.reason + verdict.progress


def test_an_update_of_before_is_not_ours():
    watch = Watch("st_a", "id", written=False, baseline=frozenset("ab"))
    assert watch.look(entry(update="rollback_completed"), TWO, NODES, 0).state == "converged"


def test_the_task_that_paused_the_update_is_found():
    watch = Watch("st_a", "id")
    watch.look(entry(update="updating"), [task("t9", "failed"), task("zz", "failed")], NODES, 0)
    assert watch.look(entry(update="paused"), [], NODES, 1).task["ID"] == "t9"
    assert watch.blamed == "t9"


def test_the_blame_of_a_rollback_is_kept():
    watch = Watch("st_a", "id")
    watch.look(entry(update="rollback_started"), [], NODES, 0)
    done = entry(update="rollback_completed")
    done["UpdateStatus"]["Message"] = "rollback completed"
    verdict = watch.look(done, [], NODES, 1)
    assert verdict.reason == (
        "the update was rolled back by Swarm (update rollback_started due to failure of task t9)"
    )
    assert watch.blamed == "t9"


def test_someone_else_writes_meanwhile():
    watch = Watch("st_a", "id")
    watch.look(entry(), [], NODES, 0)
    changed = entry({"Replicated": {"Replicas": 5}})
    assert watch.look(changed, [], NODES, 1).reason == "someone else changed the service during the deploy"


def start(swarm, name="st_a", **keys):
    identity = swarm.add("services", service(name, "st", **keys))
    return Watch(name, identity)


def test_one_failure_gives_the_others_time_to_settle():
    swarm = FakeSwarm()
    swarm.behave.update(st_a="rejected", st_c="pending")
    watches = [start(swarm, name) for name in ("st_a", "st_b", "st_c")]
    progress, failures = Converger(swarm, 600, swarm.clock, swarm.sleep).wait(watches)
    assert progress == {"st_b": "1/1"}
    assert [failure.service for failure in failures] == ["st_a", "st_c"]
    assert failures[1].reason == "it is not ready in time (0/1)"
    assert failures[1].error == "no suitable node (scheduling constraints not satisfied on 1 node)"
    assert swarm.now < 40


def test_a_removed_service_is_told():
    swarm = FakeSwarm()
    watch = start(swarm)
    swarm.objects["services"].clear()
    _progress, (failure,) = Converger(swarm, 600, swarm.clock, swarm.sleep).wait([watch])
    assert failure.reason == "someone else removed the service during the deploy"


@pytest.mark.parametrize(("away", "passes"), [(10, True), (45, False)])
def test_a_manager_may_be_away_for_an_election(away, passes):
    swarm = FakeSwarm()
    watch = start(swarm)
    get = swarm.get

    def fail(path, *args, **params):
        if 2 < swarm.now < 2 + away:
            raise EngineError(
                "The Docker Engine refused to read", path, 503, "The swarm does not have a leader"
            )
        return get(path, *args, **params)

    swarm.get = fail
    converger = Converger(swarm, 600, swarm.clock, swarm.sleep)
    if passes:
        assert converger.wait([watch]) == ({"st_a": "1/1"}, [])
    else:
        with pytest.raises(EngineError, match="does not have a leader"):
            converger.wait([watch])

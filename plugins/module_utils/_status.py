# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the services of a Swarm do at this moment, in the Engine's words. Private: may change in any release.

``summarise`` is pure; ``read`` asks the Engine (API 1.41, Engine 20.10, or later). Nothing of a service's
environment, arguments or labels is passed on, for secrets may stand there.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import drift, engine, observe, supply

STACK_LABEL = observe.STACK_LABEL
MODES = {
    "Replicated": "replicated",
    "Global": "global",
    "ReplicatedJob": "replicated-job",
    "GlobalJob": "global-job",
}
# States of a rollout in which the service is not what was deployed (SwarmKit, api/types.proto, UpdateStatus).
ROLLOUTS = {
    "updating": "it is being updated",
    "paused": "its update stopped half way",
    "rollback_started": "it is being rolled back",
    "rollback_paused": "its rollback stopped half way",
    "rollback_completed": "its last update failed and was rolled back",
}

ENDED = ("complete", "shutdown", "failed", "rejected", "orphaned", "remove")


def summarise(services, tasks, nodes, stacks=None, networks=None):
    """Return one dict per service, sorted by name.

    services, tasks, nodes  answers of GET /services?status=true, /tasks and /nodes
    stacks                  names of the stacks to tell of; None for all services, of stacks or not
    networks                {id: name} of the networks that services name by their ids
    """
    nodes = [observe.node(entry) for entry in nodes]
    hosts = {node["id"]: node["hostname"] for node in nodes}
    found = []
    for service in services:
        stack = (service["Spec"].get("Labels") or {}).get(STACK_LABEL)
        if stacks is None or stack in stacks:
            own = [task for task in tasks if task.get("ServiceID") == service["ID"]]
            places = [supply.name_of(node) for node in nodes if supply.could_run(node, service["Spec"])]
            told = _service(service, stack, own, hosts, networks or {})
            found.append({**told, "places": sorted(places)})
    return sorted(found, key=lambda one: one["name"])


def read(stacks=None, docker_host="unix:///var/run/docker.sock"):
    """Ask an Engine and return what summarise() does. FleetError if it does not manage a working Swarm."""
    manager = engine.connect(docker_host)
    try:
        services = manager.get("/services", status="true")
    except engine.EngineError as error:
        raise observe.no_manager(manager, error) from error
    networks = manager.get("/networks", filters={"scope": ["swarm"]})
    networks = observe.network_names(manager, networks, services)
    return summarise(services, manager.get("/tasks"), manager.get("/nodes"), stacks, networks)


def _service(service, stack, tasks, hosts, networks):
    spec = service["Spec"]
    status = service.get("ServiceStatus") or {}
    image, _at, digest = spec["TaskTemplate"].get("ContainerSpec", {}).get("Image", "").partition("@")
    mode = next(name for key, name in MODES.items() if key in spec["Mode"])
    told = {
        "name": spec["Name"],
        "stack": stack,
        "mode": mode,
        "image": image,
        "digest": digest or None,
        "running": status.get("RunningTasks", 0),
        "desired": status.get("DesiredTasks", 0),
        "completed": status.get("CompletedTasks", 0),
        "update": (service.get("UpdateStatus") or {}).get("State") or None,
        "update_message": (service.get("UpdateStatus") or {}).get("Message") or None,
        "nodes": sorted(
            {hosts.get(task.get("NodeID"), "?") for task in tasks if task["Status"]["State"] == "running"}
        ),
        "tasks": [_task(task, hosts) for task in sorted(tasks, key=_time, reverse=True)],
        "health": _health(spec, tasks),
        "drift": drift.changed_fields(
            observe.named(spec, networks), observe.named(service.get("PreviousSpec"), networks)
        ),
    }
    if mode == "replicated-job":
        told["desired"] = spec["Mode"]["ReplicatedJob"].get("TotalCompletions", 1)
    problem = _problem(told)
    told["ok"] = problem is None
    told["reason"] = None if problem is None else "; ".join([problem, *_last_error(tasks, hosts)])
    told["replicas"] = _replicas(told)
    return told


def _task(task, hosts):
    status = task["Status"]
    return {
        "id": task.get("ID"),
        "slot": task.get("Slot") or None,
        "node": hosts.get(task.get("NodeID")),
        "state": status["State"],
        "desired_state": task.get("DesiredState"),
        "since": status.get("Timestamp"),
        "error": status.get("Err") or None,
        # While a container runs the Engine says 0.
        "exit_code": (status.get("ContainerStatus") or {}).get("ExitCode")
        if status["State"] in ENDED
        else None,
    }


def _time(task):
    return task["Status"].get("Timestamp") or ""


def _health(spec, tasks):
    """Tell what the health check of a service says, None without one in its spec.

    A task is "starting" until its check has passed once, and one whose check fails is ended by its node
    (moby, daemon/cluster/executor), so the states of the tasks are all there is to know.
    """
    check = (spec["TaskTemplate"].get("ContainerSpec") or {}).get("Healthcheck") or {}
    if (check.get("Test") or ["NONE"])[0] == "NONE":
        return None
    wanted = [task for task in tasks if task.get("DesiredState") in ("running", "ready", "complete")]
    states = {task["Status"]["State"] for task in wanted}
    if states and states <= {"running", "complete"}:
        return "healthy"
    ended = [task for task in tasks if "unhealthy" in (task["Status"].get("Err") or "")]
    return "unhealthy" if ended else "starting"


def _problem(told):
    if told["mode"].endswith("job"):
        if told["completed"] < told["desired"]:
            return f"{told['completed']} of {told['desired']} tasks have completed"
    elif told["running"] != told["desired"]:
        return f"{told['running']} of {told['desired']} tasks run"
    elif told["mode"] == "global" and not told["desired"]:
        return "no task of it runs on any node"
    return ROLLOUTS.get(told["update"])


def _replicas(told):
    if told["mode"].endswith("job"):
        return f"{told['completed']}/{told['desired']} completed"
    return f"{told['running']}/{told['desired']}"


def _last_error(tasks, hosts):
    """The word of the newest task that has one to say, as a list of one or none."""
    spoken = [task for task in tasks if task["Status"].get("Err")]
    if not spoken:
        return []
    task = max(spoken, key=_time)
    code = (task["Status"].get("ContainerStatus") or {}).get("ExitCode")
    where = hosts.get(task.get("NodeID"))
    text = f"last error{f' on {where}' if where else ''}: {task['Status']['Err']}"
    return [text if code in (None, 0) or str(code) in text else f"{text}, exit code {code}"]

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Swarm in memory with the calls of _swarm.engine.Engine, for unit tests.

It stores specs as Engines do (ids for names, defaults filled in), counts writes, and runs tasks as told:
`behave[service name]` is one of running, starting, crash, rejected, pending, ends, paused, rolled back,
complete, exit 3. Time is its own: sleep() moves the clock.
"""

from __future__ import annotations

import copy
import json

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.engine import EngineError


class FakeSwarm:
    def __init__(self, api_version=(1, 45), hostnames=("n1",)):
        self.api_version = api_version
        self.reads = self.writes = 0
        self.calls = []
        self.behave = {}
        self.now = 0.0
        self.info = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}
        self.fail_next = []  # errors for the next writes, None lets one through
        self.registry = {}  # image: digest, or an error
        self.logins = []  # (path, X-Registry-Auth) of every call that had one
        self.logs = ["a line of its log"]
        self._index = 10
        self._number = 0
        self.objects = {kind: {} for kind in ("services", "networks", "secrets", "configs")}
        self.tasks = []
        self.nodes = [
            {
                "ID": f"node-{name}",
                "Spec": {"Role": "manager", "Labels": {}},
                "Status": {"State": "ready"},
                "Description": {"Hostname": name, "Engine": {}},
            }
            for name in hostnames
        ]

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self._age()

    # The calls of an Engine

    def get(self, path, *args, **params):
        self.reads += 1
        self._logged_in(path, params)
        if path == "/info":
            return self.info
        if path.startswith("/distribution/"):
            return self._distribution(args[0])
        if self.info["Swarm"]["LocalNodeState"] != "active" or not self.info["Swarm"]["ControlAvailable"]:
            raise EngineError(
                "The Docker Engine refused to read", path, 503, "This node is not a swarm manager."
            )
        if path == "/nodes":
            return copy.deepcopy(self.nodes)
        kind = path.split("/")[1]
        if args:
            # The manager has no image at hand.
            entries = self.tasks if kind == "tasks" else self.objects.get(kind, {}).values()
            for entry in entries:
                if args[0] in (_id(entry), _name(entry)):
                    return copy.deepcopy(entry)
            raise EngineError("The Docker Engine refused to read", path.format(*args), 404, "not found")
        entries = self.tasks if kind == "tasks" else list(self.objects[kind].values())
        found = [
            copy.deepcopy(entry)
            for entry in entries
            if self._matches(kind, entry, params.get("filters") or {})
        ]
        if "status" in params:
            for service in found:
                service["ServiceStatus"] = self._status(service)
        return found

    def post(self, path, *args, data=None, **params):
        self._write("POST", path.format(*args), data)
        self._logged_in(path, params)
        data = json.loads(json.dumps(data))
        kind, verb = path.split("/")[1], path.rpartition("/")[2]
        if verb == "create":
            return self._create(kind, data)
        entry = self.objects[kind][args[0]]
        if params["version"] != entry["Version"]["Index"]:
            raise EngineError(
                "The Docker Engine refused to write", path, 500, "rpc error: update out of sequence"
            )
        self._stamp(entry)
        if kind != "services":
            entry["Spec"]["Labels"] = data["Labels"]
            return None
        if params.get("rollback"):
            entry["Spec"], entry["PreviousSpec"] = entry["PreviousSpec"], None
            entry["UpdateStatus"] = {"State": "rollback_completed", "Message": "rollback completed"}
        else:
            entry["PreviousSpec"], entry["Spec"] = entry["Spec"], self._stored(data)
            entry.pop("UpdateStatus", None)
        self._run(entry, params.get("rollback"))
        return {"Warnings": None}

    def delete(self, path, *args):
        self._write("DELETE", path.format(*args), None)
        kind = path.split("/")[1]
        if args[0] not in self.objects[kind]:
            return False
        if kind != "services" and self._used(args[0]):
            raise EngineError(
                "The Docker Engine refused to remove", path, 400, f"{args[0]} is in use by a service"
            )
        del self.objects[kind][args[0]]
        self.tasks = [task for task in self.tasks if task["ServiceID"] != args[0]]
        return True

    def task_logs(self, task_id, lines):
        return self.logs[-lines:]

    # For tests

    def written(self):
        """Return "METHOD path" of every write so far."""
        return [call for call, _data in self.calls]

    def service(self, name):
        return next(entry for entry in self.objects["services"].values() if entry["Spec"]["Name"] == name)

    def add(self, kind, spec):
        """Create an object as someone else would; not counted."""
        entry = self._create(kind, json.loads(json.dumps(spec)))
        return entry.get("ID") or entry.get("Id")

    # The inside

    def _logged_in(self, path, params):
        if "registry_auth" in params:
            self.logins.append((path, params["registry_auth"]))

    def _distribution(self, image):
        found = self.registry.get(image) or EngineError(
            "The Docker Engine refused to read", image, 404, "manifest unknown"
        )
        if isinstance(found, Exception):
            raise found
        platforms = [{"architecture": "amd64", "os": "linux"}]
        return {"Descriptor": {"digest": found}, "Platforms": platforms}

    def _write(self, method, path, data):
        self.writes += 1
        self.calls.append((f"{method} {path}", data))
        if self.fail_next:
            error = self.fail_next.pop(0)
            if error:
                raise error

    def _new_id(self, kind):
        self._number += 1
        return f"{kind[0]}{self._number:04d}"

    def _stamp(self, entry):
        self._index += 1
        entry["Version"] = {"Index": self._index}

    def _create(self, kind, data):
        if any(_name(entry) == data["Name"] for entry in self.objects[kind].values()):
            raise EngineError(
                "The Docker Engine refused to write", kind, 409, "name conflicts with an existing object"
            )
        identity = self._new_id(kind)
        if kind == "networks":
            data.pop("CheckDuplicate", None)
            options = {
                **(data.get("Options") or {}),
                "com.docker.network.driver.overlay.vxlanid_list": "4097",
            }
            self.objects[kind][identity] = {**data, "Id": identity, "Scope": "swarm", "Options": options}
            return {"Id": identity}
        entry = {"ID": identity, "Spec": self._stored(data) if kind == "services" else data}
        self._stamp(entry)
        entry["CreatedAt"] = f"{self._index:06d}"
        if kind == "secrets":
            entry["Spec"].pop("Data", None)
        self.objects[kind][identity] = entry
        if kind == "services":
            self._run(entry)
        return {"ID": identity}

    def _stored(self, spec):
        task = spec["TaskTemplate"]
        task.setdefault("Runtime", "container")
        task.setdefault("ForceUpdate", 0)
        container = task["ContainerSpec"]
        container.setdefault("Isolation", "default")
        container["Privileges"] = {"CredentialSpec": None, "SELinuxContext": None, "NoNewPrivileges": False}
        names = {entry["Name"]: identity for identity, entry in self.objects["networks"].items()}
        for attachment in task.get("Networks") or []:
            attachment["Target"] = names.get(attachment["Target"], attachment["Target"])
        return spec

    def _used(self, identity):
        return any(identity in json.dumps(entry["Spec"]) for entry in self.objects["services"].values())

    def _matches(self, kind, entry, filters):
        labels = (
            _labels(self.objects["services"].get(entry["ServiceID"], {}))
            if kind == "tasks"
            else _labels(entry)
        )
        for wanted in filters.get("label", []):
            key, _, value = wanted.partition("=")
            if labels.get(key) != value:
                return False
        if "name" in filters and not any(_name(entry).startswith(name) for name in filters["name"]):
            return False
        if "id" in filters and _id(entry) not in filters["id"]:
            return False
        if "service" in filters and entry["ServiceID"] not in filters["service"]:
            return False
        return not ("_up-to-date" in filters and entry["stale"])

    def _status(self, service):
        """As a list of services has it: how many tasks run, and how many should."""
        mode = service["Spec"]["Mode"]
        running = [
            task
            for task in self.tasks
            if (task["ServiceID"], task["Status"]["State"]) == (service["ID"], "running")
            and not task["stale"]
        ]
        wanted = len(self.nodes) if "Global" in mode else (mode.get("Replicated") or {}).get("Replicas", 1)
        return {"RunningTasks": len(running), "DesiredTasks": wanted}

    def _run(self, service, rolled_back=False):
        name, mode = service["Spec"]["Name"], service["Spec"]["Mode"]
        how = "running" if rolled_back else self.behave.get(name, "running")
        for task in self.tasks:
            if task["ServiceID"] == service["ID"]:
                task.update(stale=True, DesiredState="shutdown")
        job = "ReplicatedJob" in mode or "GlobalJob" in mode
        if job:
            index = service.get("JobStatus", {}).get("JobIteration", {}).get("Index", 0) + 1
            service["JobStatus"] = {"JobIteration": {"Index": index}}
            how = {"running": "complete", "exit 3": "ends"}.get(how, how)
        if how == "paused" and "PreviousSpec" in service:
            task = self._task(service, 1, "crash")
            service["UpdateStatus"] = {
                "State": "paused",
                "Message": f"update paused due to failure of task {task['ID']}",
            }
            return
        if how == "rolled back" and "PreviousSpec" in service:
            task = self._task(service, 1, "crash")
            task["stale"] = True
            service["Spec"], service["PreviousSpec"] = service["PreviousSpec"], None
            service["UpdateStatus"] = {"State": "rollback_completed", "Message": "rollback completed"}
            self._task(service, 1, "running")
            return
        slots = (
            len(self.nodes)
            if "Global" in mode or "GlobalJob" in mode
            else (mode.get("Replicated") or {}).get("Replicas", 1)
        )
        for slot in range(1, slots + 1):
            self._task(service, slot, how)

    def _task(self, service, slot, how):
        states = {
            "crash": "failed",
            "ends": "failed",
            "rejected": "rejected",
            "pending": "pending",
            "complete": "complete",
            "starting": "starting",
        }
        found = states.get(how, "running")
        errors = {
            "failed": "task: non-zero exit (3)",
            "rejected": "No such image: none:1",
            "pending": "no suitable node (scheduling constraints not satisfied on 1 node)",
        }
        is_global = "Global" in service["Spec"]["Mode"] or "GlobalJob" in service["Spec"]["Mode"]
        task = {
            "ID": self._new_id("tasks"),
            "ServiceID": service["ID"],
            "stale": False,
            "DesiredState": "complete"
            if found == "complete"
            else "shutdown"
            if found in ("failed", "rejected")
            else "running",
            "NodeID": "" if found == "pending" else self.nodes[(slot - 1) % len(self.nodes)]["ID"],
            "Slot": 0 if is_global else slot,
            "how": how,
            "JobIteration": service.get("JobStatus", {}).get("JobIteration", {}),
            "Status": {
                "State": found,
                "Timestamp": f"{self._number:06d}",
                "Err": errors.get(found, ""),
                "Message": "started",
                "ContainerStatus": {"ContainerID": "c1", "ExitCode": 3 if found == "failed" else 0},
            },
        }
        self.tasks.append(task)
        return task

    def _age(self):
        """Every moment, what crashes has crashed once more, and its next task is ready."""
        for service in list(self.objects["services"].values()):
            tasks = [task for task in self.tasks if task["ServiceID"] == service["ID"] and not task["stale"]]
            if tasks and tasks[-1]["how"] in ("crash", "rejected") and "UpdateStatus" not in service:
                if tasks[-1]["Status"]["State"] == "ready":
                    self.tasks.remove(tasks[-1])
                self._task(service, tasks[-1]["Slot"], tasks[-1]["how"])
                following = self._task(service, tasks[-1]["Slot"], tasks[-1]["how"])
                following.update(
                    DesiredState="ready", Status={"State": "ready", "Timestamp": f"{self._number:06d}"}
                )


def _id(entry):
    return entry.get("ID") or entry.get("Id")


def _name(entry):
    return entry["Name"] if "Name" in entry else entry.get("Spec", {}).get("Name", "")


def _labels(entry):
    return (entry.get("Labels") if "Id" in entry else entry.get("Spec", {}).get("Labels")) or {}

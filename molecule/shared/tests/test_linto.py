# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LinTO answers on its routes, each from the right service, and keeps what it must keep."""
from __future__ import annotations

import json
import time

import pytest

NAME = "linto.lab.test"
# Route -> the service behind it and the path that reaches that service.
ROUTES = {
    "/": ("linto_studio-frontend", "/"),
    "/cm-api/": ("linto_studio-api", "/"),
    "/ws/": ("linto_studio-websocket", "/"),
    "/session-api/": ("linto_session-api", "/"),
    "/transcriber-ws": ("linto_session-transcriber", "/"),
    "/stt-french-whisper-v3/": ("linto_stt-french-whisper-v3", "/"),
    "/stt-english-whisper-v3/": ("linto_stt-english-whisper-v3", "/"),
    "/gateway/": ("linto_api-gateway", "/"),
}


def service(fleet, name: str) -> dict:
    """Return one service of LinTO, by its short name."""
    return fleet.engine(f"/services/linto_{name}")


def running(fleet, name: str) -> dict:
    """Return the running task of a service with one replica."""
    wanted = {"service": [f"linto_{name}"], "desired-state": ["running"]}
    tasks = [task for task in fleet.engine("/tasks", **wanted) if task["Status"]["State"] == "running"]
    assert len(tasks) == 1, f"linto_{name} has {len(tasks)} running tasks, wanted 1"
    return tasks[0]


def execute(fleet, name: str, *words: str) -> str:
    """Run a command in the container of a service, on whichever node it runs."""
    task = running(fleet, name)
    hostname = fleet.engine(f"/nodes/{task['NodeID']}")["Spec"]["Labels"]["gpufleet.host"]
    container = task["Status"]["ContainerStatus"]["ContainerID"]
    command = "docker exec %s " + " ".join(["%s"] * len(words))
    return fleet.host(hostname).check_output(command, container, *words)


@pytest.mark.parametrize("path", ROUTES)
def test_route_reaches_its_service(fleet, path):
    answer = fleet.get(NAME, path)
    assert answer.status == 200
    told = json.loads(answer.body)
    assert (told["service"], told["request"]["path"]) == ROUTES[path]
    assert told["request"]["headers"]["X-Forwarded-Proto"] == "https"


def test_every_service_runs_all_its_replicas(fleet):
    services = fleet.engine("/services?status=true", label=["com.docker.stack.namespace=linto"])
    assert len(services) == 18
    short = {one["Spec"]["Name"]: one["ServiceStatus"] for one in services
             if "ReplicatedJob" not in one["Spec"]["Mode"]
             and one["ServiceStatus"]["RunningTasks"] != one["ServiceStatus"]["DesiredTasks"]}
    assert short == {}


def test_migration_ended_well_and_once(fleet):
    job = service(fleet, "session-postgres_migration")
    tasks = fleet.engine("/tasks", service=[job["ID"]])
    states = [(task["Status"]["State"], task["Status"]["ContainerStatus"]["ExitCode"]) for task in tasks
              if task["JobIteration"] == job["JobStatus"]["JobIteration"]]
    assert states == [("complete", 0)]


def test_images_are_named_with_a_tag_that_is_not_latest(fleet):
    for one in fleet.engine("/services"):
        image = one["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].partition("@")[0]
        assert ":" in image.rpartition("/")[2] and not image.endswith(":latest"), image


def test_broker_is_published_nowhere(fleet):
    assert "Ports" not in service(fleet, "session-broker")["Spec"]["EndpointSpec"]


def test_the_gateway_reads_the_swarm_through_a_proxy(fleet):
    def ask(path: str, *words: str) -> str:
        socket = ("--unix-socket", "/var/run/docker.sock")
        return execute(fleet, "api-gateway", "curl", "-s", *socket, *words, f"http://engine{path}")

    assert "linto_studio-api" in ask("/services")
    for path, method in (("/secrets", "GET"), ("/services/create", "POST"), ("/containers/x/logs", "GET")):
        assert ask(path, "-o", "/dev/null", "-w", "%{http_code}", "-X", method) == "403", path


def test_redis_wants_its_password(fleet):
    assert "NOAUTH" in execute(fleet, "task-broker-redis", "redis-cli", "ping")
    answer = execute(fleet, "task-broker-redis", "sh", "-c",
                     "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli ping")
    assert answer == "PONG"


def test_postgres_has_one_mount_at_the_path_it_writes(fleet):
    mounts = service(fleet, "session-postgres")["Spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
    assert [mount["Target"] for mount in mounts] == ["/var/lib/postgresql/data"]


def test_studio_reads_its_secrets_from_files(fleet):
    told = json.loads(fleet.get(NAME, "/cm-api/").body)
    assert {"SUPER_ADMIN_PWD", "CM_JWT_SECRET", "CM_REFRESH_SECRET"} <= set(told["environment"])
    assert {"superadmin_password", "jwt_secret", "jwt_refresh_secret"} <= set(told["secrets"])


def test_studio_may_write_its_media(fleet):
    node = fleet.variable(fleet.group("managers")[0], "linto_data_node", fleet.group("managers")[0])
    for folder in ("audios", "pictures", "audiowaveform"):
        found = fleet.host(node).file(f"/srv/linto/shared/conversation-manager/{folder}")
        assert (found.uid, found.gid) == (1000, 1000), folder


def test_postgres_keeps_its_rows_over_a_forced_recreation(fleet):
    def psql(statement: str) -> str:
        words = ["psql", "--username=linto", "--dbname=session_DB", "-Atc", statement]
        return execute(fleet, "session-postgres", *words)

    psql("CREATE TABLE IF NOT EXISTS proof (word text)")
    psql("DELETE FROM proof")
    psql("INSERT INTO proof VALUES ('kept')")
    before = running(fleet, "session-postgres")["ID"]
    fleet.manager.check_output("docker service update --force --detach=false --quiet linto_session-postgres")
    deadline = time.monotonic() + 60
    while running(fleet, "session-postgres")["ID"] == before and time.monotonic() < deadline:
        time.sleep(1)
    assert running(fleet, "session-postgres")["ID"] != before
    assert psql("SELECT word FROM proof") == "kept"
    psql("DROP TABLE proof")

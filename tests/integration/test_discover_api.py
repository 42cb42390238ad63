# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""discover-api on two nodes with a front: from bare hosts over updates and a reboot to its removal.

GPUFLEET_INVENTORY  inventory of a fresh lab with a front and cards on its worker (such as `python3 -m lab
                    up --name api --hosts 3 --fronts 1 --gpus worker1=2` makes); all of this is skipped
                    without it

The application and its workers are stand-ins (lab/dockerfiles/discover-api), and the cards are pretended.
Redis, nginx, supervisor, spiped, the Engines and the Swarm are real. The tests build on one another and run
in the order of the file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.test_tunnels import ROOT, Fleet, Run, connects

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet with a front")

MANAGER, NODE, FRONT = "manager1", "worker1", "front1"
LINK = {"name": "discover_api", "from": FRONT, "listen": 5001, "to": NODE, "wire": 8080, "target": 5001}
DATA = "/media/aikonapi"
TOKEN = "hf_not-for-everybody"
SOURCE = "/srv/git/discover-api"
# Two apps whose queues are neither the first nor next to each other.
OPTIONS = {
    "fleet_systems": ["discover_api"],
    "discover_api_installed_apps": ["dticlustering", "vectorization"],
    "discover_api_image": "aikonapi:lab",
    "discover_api_device_nb": "1",
    "discover_api_device_memory": "4gb",
    "discover_api_shm_size": "64mb",
    "discover_api_torch_cuda_arch_list": "7.5+PTX",
    "discover_api_redis_db_index": 3,
    "discover_api_extra_hosts": {"front.example.org": "192.0.2.7"},
    "discover_api_hugging_face_hub_token": TOKEN,
    "discover_api_download_models": False,
}
CONTAINER = "docker exec $(docker ps -q --filter name=discover_api_api)"
# A place for models that wants a token.
HUB = f"""
import http.server
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Bearer {TOKEN}"
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b"a model")
http.server.HTTPServer(("127.0.0.1", 8099), Hub).serve_forever()
"""


class Discover(Fleet):
    """The fleet, and what a front and an administrator of the node do."""

    def __init__(self, folder):
        super().__init__(folder)
        self.options = {**OPTIONS, "tunnels_links": [LINK]}

    def site(self, *arguments, fails=False, **more):
        run = Run(self.call(ROOT / "site.yml", *arguments, **{**self.options, **more}))
        assert (run.rc != 0) is fails, run.output[-6000:]
        return run

    def get(self, path, host=FRONT):
        """Return what the API says, asked on the loopback of a host."""
        return json.loads(self.on(host, f"curl --silent --fail --max-time 10 http://127.0.0.1:5001{path}"))

    def start(self, prefix, seconds=0):
        """Start a task as the front does; return its tracking id."""
        body = json.dumps({"documents": [], "parameters": {"seconds": seconds}})
        ask = f"curl --silent --fail --data '{body}' http://127.0.0.1:5001/{prefix}/start"
        return json.loads(self.on(FRONT, ask))["tracking_id"]

    def until_done(self, prefix, number, seconds=60):
        deadline = time.monotonic() + seconds
        while (status := self.get(f"/{prefix}/{number}/status")["status"]) != "SUCCESS":
            assert time.monotonic() < deadline, status
            time.sleep(0.5)

    def result(self, prefix, number):
        return self.on(FRONT, f"curl --silent --fail http://127.0.0.1:5001/{prefix}/{number}/result")

    def until_up(self, seconds=120):
        deadline = time.monotonic() + seconds
        ask = "curl --silent --fail --max-time 5 http://127.0.0.1:5001/clustering/qsizes"
        while not self.on(FRONT, ask, check=False):
            state = "docker ps -a; systemctl list-units 'gpufleet*'"
            assert time.monotonic() < deadline, self.on(NODE, state)
            time.sleep(0.5)

    def inside(self, script):
        """Run a script in the container of the API."""
        return self.on(NODE, f"{CONTAINER} sh -c '{script}'")

    def container(self):
        return self.on(NODE, "docker ps -q --no-trunc --filter name=discover_api_api")

    def service(self):
        (found,) = json.loads(self.on(MANAGER, "docker service inspect discover_api_api"))
        return found["Spec"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("play")
    fleet = Discover(folder)
    if set(fleet.address) != {MANAGER, NODE, FRONT} or fleet.on(NODE, "command -v dockerd", check=False):
        pytest.skip(f"wanted a fresh lab of {MANAGER}, {NODE} and {FRONT}, found {sorted(fleet.address)}")
    fleet.put(NODE, "/root/hub.py", HUB)
    fleet.on(NODE, "systemd-run --quiet --unit lab-hub python3 /root/hub.py")
    (folder / "config_cfg.py").write_text("width = 1\n", encoding="utf-8")
    models = "vectorization/models"
    fleet.options["discover_api_models"] = [
        {
            "path": f"{models}/checkpoint0045.pth",
            "url": "http://127.0.0.1:8099/checkpoint0045.pth",
            "checksum": f"sha256:{hashlib.sha256(b'a model').hexdigest()}",
            "private": True,
        },
        {"path": f"{models}/config_cfg.py", "src": str(folder / "config_cfg.py")},
        {"path": f"{models}/second.pth", "link": "checkpoint0045.pth"},
    ]
    return fleet


@pytest.fixture(scope="module")
def results(fleet):
    """Numbers of tasks that have ended, by the prefix of their app."""
    return {}


# Before anything is changed


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"discover_api_installed_apps": ["regions", "watermark"]},
            ["discover_api_installed_apps", "regions, similarity, dticlustering, watermarks, vectorization"],
        ),
        (
            {"tunnels_links": [{**LINK, "from": "front9"}]},
            ["The tunnel ends at a host that is not in the inventory", "found from front9, wanted front1"],
        ),
        (
            {
                "discover_api_data_node": MANAGER,
                "tunnels_links": [],
                "discover_api_hugging_face_hub_token": "",
                "discover_api_env_files": ["/nowhere/.env.prod"],
            },
            [
                "discover_api_env_files: found /nowhere/.env.prod",
                "discover_api_device_nb: found 1 and no card, as manager1 is not in the group gpu",
                "discover_api_models: found vectorization/models/checkpoint0045.pth as private and no token",
            ],
        ),
    ],
    ids=["an unknown app", "a front that is not there", "no card, no token, no file"],
)
def test_what_cannot_work_is_refused_before_anything_is_changed(fleet, wrong, words):
    run = fleet.site(fails=True, **wrong)
    said = " ".join(run.message().split())
    assert [word for word in words if word not in said] == [], said
    assert run.changed() == dict.fromkeys(run.changed(), 0)


def test_a_dry_run_on_bare_hosts_predicts_and_changes_nothing(fleet):
    run = fleet.site("--check", "--diff")
    assert run.changed()[MANAGER] > 0
    assert "+ service discover_api_api (create" in run.output
    assert fleet.on(NODE, f"ls -d {DATA} /etc/systemd/system/gpufleet* 2> /dev/null || true") == ""
    assert not (fleet.inventory / "credentials").exists()


# The first run, and what it made


def test_one_run_makes_it_all(fleet):
    began = time.monotonic()
    run = fleet.site()
    print(f"from bare hosts to the API on the front: {time.monotonic() - began:.0f} s")
    assert TOKEN not in run.output
    fleet.until_up()


def test_a_second_run_changes_nothing(fleet):
    before = fleet.container()
    run = fleet.site()
    assert run.changed() == dict.fromkeys(run.changed(), 0), run.output[-3000:]
    print(f"remote tasks of a second run: {run.remote(MANAGER)}, on {NODE} {len(run.remote(NODE))}")
    assert fleet.container() == before


def test_each_app_answers_on_the_loopback_of_front_and_node(fleet):
    for host in (FRONT, NODE):
        for prefix, queue in (("clustering", "queue2"), ("vectorization", "queue4")):
            assert fleet.get(f"/{prefix}/monitor", host).keys() == {"total_size", "queues"}
            assert fleet.get(f"/{prefix}/qsizes", host)["queues"] == {queue: 0}


def test_nobody_else_reaches_it(fleet):
    for host in (FRONT, NODE):
        listening = fleet.on(host, "ss -Hltn 'sport = :5001'").splitlines()
        assert [line.split()[3] for line in listening] == ["127.0.0.1:5001"], host
    for host in (MANAGER, NODE, FRONT):
        assert not connects(fleet.address[host], 5001), host
        port = f'import socket; socket.create_connection(("{fleet.address[host]}", 5001), 3)'
        for asking in (MANAGER, NODE, FRONT):
            said = fleet.on(asking, f"python3 -c '{port}' 2>&1 | tail -1", check=False)
            assert "refused" in said, (host, asking)
    assert not connects(fleet.address[NODE], 8080), "the wire is for the front alone"
    assert not fleet.service()["EndpointSpec"].get("Ports")
    # In its network, too, nothing but the container itself is answered.
    where = fleet.inside("hostname -i").split()
    assert where and not any(address.startswith("127.") for address in where)
    for address in where:
        found = fleet.inside(f"curl --silent --max-time 3 http://{address}:5001/; echo $?")
        assert found.splitlines()[-1] == "7", "connection refused"


def test_the_wire_carries_nothing_readable(fleet):
    url = f"http://{fleet.address[NODE]}:8080/clustering/monitor"
    said = fleet.on(FRONT, f"curl --silent --http0.9 --max-time 3 {url} | base64", check=False)
    assert b"queues" not in base64.b64decode(said)


def test_both_ends_have_the_key_and_a_unit_that_always_restarts(fleet):
    key = (fleet.keys / "discover_api.key").read_bytes()
    assert len(key) == 32
    for host in (NODE, FRONT):
        file = "/etc/gpufleet/tunnels/discover_api.key"
        assert fleet.on(host, f"stat -c '%a %U %s' {file}") == "600 root 32"
        assert fleet.on(host, f"base64 {file}") == fleet.on(NODE, f"base64 {file}")
        unit = "gpufleet-tunnel@discover_api.service"
        assert fleet.on(host, f"systemctl show -P Restart {unit}") == "always"
        assert fleet.on(host, f"systemctl is-active {unit}; systemctl is-enabled {unit}") == "active\nenabled"


def test_each_queue_has_its_worker_and_no_other_has(fleet, results):
    log = fleet.on(NODE, "docker logs $(docker ps -q --filter name=discover_api_api) 2>&1")
    for name in ("worker2", "worker4", "flask", "redis-server", "nginx"):
        assert f"{name} entered RUNNING state" in log, log[-3000:]
    for name in ("worker0", "worker1", "worker3"):
        assert name not in log
    assert "a worker waits for queue4, HOME /home/aikonapi" in log
    for prefix in ("clustering", "vectorization"):
        number = fleet.start(prefix)
        fleet.until_done(prefix, number)
        results[prefix] = number
        assert number in fleet.result(prefix, number)


def test_the_service_is_one_on_its_node_with_its_data(fleet):
    spec = fleet.service()
    assert spec["Mode"] == {"Replicated": {"Replicas": 1}}
    assert spec["TaskTemplate"]["Placement"]["Constraints"][0] == f"node.labels.gpufleet.host == {NODE}"
    assert spec["UpdateConfig"]["Order"] == "stop-first"
    mounts = {mount["Target"]: mount for mount in spec["TaskTemplate"]["ContainerSpec"]["Mounts"]}
    assert mounts["/data"]["Source"] == DATA
    assert "64M" in fleet.inside("df -h /dev/shm")
    assert "TORCH_CUDA_ARCH_LIST=7.5+PTX" in spec["TaskTemplate"]["ContainerSpec"]["Env"]
    assert "192.0.2.7" in fleet.inside("getent hosts front.example.org")


def test_the_settings_are_those_of_production_and_readable_by_the_workers(fleet):
    env = fleet.inside("setpriv --reuid=1000 --clear-groups cat /home/aikonapi/api/.env").splitlines()
    assert {"TARGET=prod", "API_DATA_FOLDER=/data/", "REDIS_DB_INDEX=3"} <= set(env)
    assert "PROD_URL='http://localhost:5001'" in env
    assert fleet.inside("stat -c %a:%u /home/aikonapi/api/.env") == "440:1000"


def test_redis_listens_to_its_container_alone_and_keeps_its_files(fleet):
    listening = fleet.on(NODE, "nsenter -t $(pgrep -o redis-server) -n ss -Hltn 'sport = :6379'").splitlines()
    assert [line.split()[3] for line in listening] == ["127.0.0.1:6379"]
    assert "appendonlydir" in fleet.on(NODE, f"ls {DATA}/redis")


def test_the_data_are_the_users_and_not_everybodys(fleet):
    assert fleet.on(NODE, f"stat -c '%u %a' {DATA}") == "1000 755"
    assert fleet.on(NODE, f"find {DATA} ! -user 1000") == ""
    assert fleet.on(NODE, f"find {DATA} -perm -o=w ! -type l") == ""
    assert fleet.on(NODE, f"stat -c '%u %a' {DATA}/redis") == "1000 700"


def test_it_sees_the_chosen_card_and_no_other(fleet):
    cards = fleet.on(NODE, "nvidia-smi -L").splitlines()
    assert len(cards) == 2
    seen = fleet.inside("nvidia-smi -L").splitlines()
    assert [line.partition("UUID: ")[2] for line in seen] == [cards[1].partition("UUID: ")[2]]


def test_the_models_are_in_place(fleet):
    names = ["checkpoint0045.pth", "config_cfg.py", "second.pth"]
    assert fleet.get("/vectorization/models") == names
    assert fleet.inside("cat /data/vectorization/models/second.pth") == "a model"


def test_the_token_is_nowhere(fleet):
    assert TOKEN not in fleet.on(MANAGER, "docker service inspect discover_api_api")
    assert TOKEN not in fleet.on(MANAGER, "docker config ls -q | xargs docker config inspect")
    assert TOKEN not in fleet.inside("env; cat /home/aikonapi/api/.env")
    assert TOKEN not in fleet.on(NODE, "docker history --no-trunc aikonapi:lab; docker inspect aikonapi:lab")


def test_the_verification_passes(fleet):
    done = fleet.call(ROOT / "playbooks" / "verify.yml", **fleet.options)
    assert done.returncode == 0, done.stdout[-6000:]


# What it outlives


def test_tasks_that_wait_and_results_outlive_a_new_container(fleet, results):
    before = fleet.container()
    slow = fleet.start("vectorization", seconds=600)
    waiting = [fleet.start("vectorization") for _ in range(2)]
    began = time.monotonic()
    fleet.on(MANAGER, "docker service update --quiet --force --detach=false discover_api_api")
    print(f"a new container after {time.monotonic() - began:.0f} s, of 330 s that its end may take")
    assert time.monotonic() - began < 120, "it was not killed after the grace period: it ended"
    fleet.until_up()
    assert fleet.container() != before
    for number in waiting:
        fleet.until_done("vectorization", number)
    assert fleet.get(f"/vectorization/{slow}/status")["status"] == "STARTED"
    assert results["clustering"] in fleet.result("clustering", results["clustering"])


# A repository with a submodule, of which only its own folder has the address.
REPOSITORY = f"""
set -e
command -v git > /dev/null || apt-get install -qq -y --no-install-recommends git > /dev/null
git config --global user.email lab@lab.test; git config --global user.name lab
git config --global protocol.file.allow always; git config --global init.defaultBranch main
rm -rf {SOURCE} {SOURCE}-sub; mkdir -p {SOURCE}/docker {SOURCE}-sub
cd {SOURCE}-sub; git init -q; echo sprites > sprites.txt; git add .; git commit -q -m one
cd {SOURCE}; git init -q; mkdir -p app docker
cat > docker/Dockerfile <<'END'
FROM aikonapi:lab
ARG HTTP_PROXY
ENV http_proxy=${{HTTP_PROXY}}
ARG HUGGING_FACE_HUB_TOKEN
ENV HUGGING_FACE_HUB_TOKEN=${{HUGGING_FACE_HUB_TOKEN}}
ARG USERID
ARG API_PORT
RUN test "$USERID" = 1000
COPY ./ ./api/
COPY ./.env.prod ./api/.env
COPY docker/nginx.conf /etc/nginx/conf.d/aikonapi.conf
COPY docker/supervisord.conf ./supervisord.conf
EXPOSE ${{API_PORT}}
END
echo KEY=old > .env.local; mkdir venv; touch venv/large
git submodule --quiet add {SOURCE}-sub app/dticlustering/lib
git add -f .; git commit -q -m one; git rev-parse HEAD
"""


def test_an_update_builds_from_git_with_submodules_and_keeps_results_and_queues(fleet, results):
    commit = fleet.on(NODE, REPOSITORY).splitlines()[-1]
    slow = fleet.start("clustering", seconds=600)
    waiting = fleet.start("clustering")
    fleet.options.update(
        discover_api_image="", discover_api_git_url=f"file://{SOURCE}", discover_api_git_version=commit,
        discover_api_installed_apps=["dticlustering", "vectorization", "watermarks"],
    )  # fmt: skip
    run = fleet.site()
    assert run.changed()[MANAGER] > 0
    image = fleet.service()["TaskTemplate"]["ContainerSpec"]["Image"]
    assert image.startswith("localhost/discover-api:")
    fleet.until_up()
    assert fleet.inside("cat api/app/dticlustering/lib/sprites.txt") == "sprites"
    assert fleet.inside("ls -d api/venv api/.git api/.env.local 2> /dev/null || echo none") == "none"
    assert TOKEN not in fleet.on(NODE, f"docker history --no-trunc {image}; docker inspect {image}")
    assert "HUGGING_FACE_HUB_TOKEN=\n" in fleet.inside("env") + "\n"
    fleet.until_done("clustering", waiting)
    assert fleet.get("/watermarks/sources") == []
    assert fleet.get(f"/clustering/{slow}/status")["status"] == "STARTED"
    for prefix, number in results.items():
        assert number in fleet.result(prefix, number)
    again = fleet.site()
    assert again.changed() == dict.fromkeys(again.changed(), 0), again.output[-3000:]


def test_another_port_is_taken_over(fleet):
    fleet.options.update(tunnels_links=[{**LINK, "target": 5011}], discover_api_port=5011)
    fleet.site()
    fleet.until_up()
    listening = fleet.on(NODE, "ss -Hltn 'sport = :5001 or sport = :5011'").splitlines()
    assert [line.split()[3] for line in listening] == ["127.0.0.1:5011"]


def test_it_comes_back_after_the_node_was_restarted(fleet, results):
    fleet.start("clustering", seconds=600)
    waiting = fleet.start("clustering")
    subprocess.run(["docker", "restart", "--time", "5", f"gpufleet-{fleet.lab}-{NODE}"], check=True)
    began = time.monotonic()
    fleet.until_up(300)
    print(f"the API answered on the front {time.monotonic() - began:.0f} s after its node was restarted")
    fleet.until_done("clustering", waiting)
    for prefix, number in results.items():
        assert number in fleet.result(prefix, number)
    run = fleet.site()
    assert run.changed() == dict.fromkeys(run.changed(), 0), run.output[-3000:]


# Removal


def test_it_is_removed_alone_and_its_data_stay(fleet, results):
    ingress = fleet.on(MANAGER, "docker service ls --quiet --filter name=ingress")
    fleet.site(discover_api_state="absent", tunnels_links=[])
    names = fleet.on(MANAGER, "docker service ls --format '{{.Name}}'; docker config ls; docker network ls")
    assert "discover_api" not in names
    assert ingress and fleet.on(MANAGER, "docker service ls --quiet --filter name=ingress") == ingress
    for host in (NODE, FRONT):
        assert fleet.on(host, "ss -Hltn 'sport = :5001 or sport = :5011 or sport = :8080'") == ""
        assert fleet.on(host, "ls /etc/systemd/system | grep gpufleet || true") == ""
    assert fleet.on(NODE, "ls -d /var/lib/gpufleet/discover_api 2> /dev/null || true") == ""
    file = f"{DATA}/dticlustering/results/{results['clustering']}.txt"
    assert results["clustering"] in fleet.on(NODE, f"cat {file}")
    again = fleet.site(discover_api_state="absent", tunnels_links=[])
    assert again.changed() == dict.fromkeys(again.changed(), 0)
    # And back again, with all its results.
    fleet.site()
    fleet.until_up()
    assert results["clustering"] in fleet.result("clustering", results["clustering"])


def test_the_files_of_an_earlier_deployment_give_the_options(fleet):
    folder = Path(fleet.folder)
    text = 'TARGET="prod"\nINSTALLED_APPS=vectorization\nCONTAINER_HOST=0.0.0.0\n'
    (folder / ".env.prod").write_text(text, encoding="utf-8")
    (folder / "docker.env").write_text(f"DATA_FOLDER={DATA}/\nDEVICE_NB=0 # the first\n", encoding="utf-8")
    for name in ("discover_api_installed_apps", "discover_api_device_nb"):
        del fleet.options[name]
    files = [str(folder / name) for name in (".env.prod", "docker.env")]
    run = fleet.site("--tags", "systems", discover_api_env_files=files)
    assert "Not taken over from discover_api_env_files: CONTAINER_HOST, TARGET." in run.output
    assert fleet.get("/vectorization/qsizes")["queues"] == {"queue4": 0}
    assert "INSTALLED_APPS=vectorization" in fleet.inside("cat /home/aikonapi/api/.env")
    cards = fleet.on(NODE, "nvidia-smi -L").splitlines()
    assert cards[0].partition("UUID: ")[2] in fleet.inside("nvidia-smi -L")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All seven features of LinTO on two hosts, with pretend cards: what it does, keeps and leaves.

GPUFLEET_INVENTORY  inventory of a lab (`scripts/with_lab.py linto 2 --gpus manager1=2 -- ...`)

LinTO's own images, Swarmpit, CouchDB, Qdrant and vLLM are stand-ins under their names; Traefik, HAProxy,
Redis, PostgreSQL, Mosquitto and InfluxDB are real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
FEATURES = ["transcription_fr", "transcription_en", "diarization", "summary", "live", "studio", "monitoring"]
OPTIONS = {
    "fleet_systems": ["linto"],
    "linto_features": FEATURES,
    "linto_speaker_identification": True,
    "linto_gpu": {"transcription_fr": {"claim": "exclusive"}},
    "linto_streaming_passphrase": "a passphrase of the lab",
}
HOST = "linto.lab.test"
# What must stay is in these, all of them on the manager: image, how something is put there, how it is read.
# The word is none that could be in the id of a container.
KEPT = "kept42"
REDIS = "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli --no-auth-warning"
SQL = "psql -U linto -d session_DB -xAtc"
STORES = {
    "session-postgres": (
        "postgres:17",
        f"{SQL} 'CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS {KEPT}'",
        f"{SQL} 'SELECT * FROM kept'",
    ),
    "task-broker-redis": ("redis:7.4", f"sh -c '{REDIS} SET kept {KEPT}'", f"sh -c '{REDIS} GET kept'"),
    "swarmpit_influxdb": (
        "influxdb:1.8",
        f"influx -execute 'CREATE DATABASE {KEPT}'",
        "influx -execute 'SHOW DATABASES'",
    ),
}
# Stand-ins, whose folders are all that there is.
FOLDERS = {
    "stt-mongo": ("mongo:6.0", "/data/db"),
    "studio_mongodb": ("mongo:6.0", "/data/db"),
    "swarmpit_db": ("couchdb:2.3.1", "/opt/couchdb/data"),
    "stt-qdrant-vector-db": ("qdrant/qdrant:v1.12.4", "/qdrant/storage"),
    "studio-api": ("lintoai/studio-api:latest-unstable", "/usr/src/app/conversation-manager/storages"),
}
for service, (image, folder) in FOLDERS.items():
    STORES[service] = (image, f"sh -c 'echo {KEPT} > {folder}/kept'", f"cat {folder}/kept")

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no lab")


def site(playbook="site.yml", **options):
    command = [str(PLAYBOOK), "-i", INVENTORY, playbook, "--extra-vars", json.dumps({**OPTIONS, **options})]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False, env=environment
    )


def unchanged():
    """Run the play again, which has nothing to do on any host."""
    run = site()
    assert run.returncode == 0, run.stdout[-3000:]
    recap = [line for line in run.stdout.splitlines() if "changed=" in line]
    assert recap and all("changed=0" in line for line in recap), recap


def shell(command, host="managers[0]", check=True):
    """Run a command on a host of the fleet and return what it prints."""
    ansible = str(PLAYBOOK.parent / "ansible")
    words = [ansible, "-i", INVENTORY, host, "--become", "-m", "ansible.builtin.shell", "-a"]
    run = subprocess.run(
        [*words, json.dumps({"cmd": f"{{% raw %}}{command}{{% endraw %}}"})],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0 or not check, run.stdout + run.stderr
    return run.stdout.partition(">>\n")[2]


def container(service):
    """Return the shell's words for the container of a service on the manager."""
    found = f"docker ps -q -f status=running -f label=com.docker.swarm.service.name=linto_{service}"
    return f"$({found} | head -1)"


def inside(service, command, check=True):
    """Run a command in the container of a service that is on the manager."""
    return shell(f"docker exec {container(service)} {command}", check=check)


def lost():
    """Return the stores that do not give back what was put there."""
    return [name for name, (*_, read) in STORES.items() if KEPT not in inside(name, read, check=False)]


def until_kept():
    """Wait until every store gives back what was put there; return the seconds it took."""
    began = time.monotonic()
    while missing := lost():
        assert time.monotonic() - began < 600, f"ten minutes later these do not have it: {missing}"
        time.sleep(5)
    return time.monotonic() - began


def ask(path, *options):
    """Return the status that the ingress answers with."""
    words = ["curl", "--silent", "--insecure", "--output /dev/null", "--write-out '%{http_code}'"]
    words += [f"--resolve {HOST}:443:127.0.0.1", *options, f"https://{HOST}{path}"]
    return shell(" ".join(words)).strip()


def engine(path, *options):
    """Return what LinTO's gateway gets from the socket that it has."""
    return inside(
        "api-gateway", f"curl -s {' '.join(options)} --unix-socket /var/run/docker.sock http://x{path}"
    )


@pytest.fixture(scope="module")
def fleet():
    run = site()
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    return run


def test_every_service_runs(fleet):
    replicas = shell("docker service ls --format '{{.Name}} {{.Replicas}}' --filter name=linto_").split("\n")
    found = dict(line.split()[:2] for line in replicas if line.strip())
    assert len(found) == 27
    job = found.pop("linto_session-postgres_migration")
    assert job.startswith("0/1") and "(1/1" in shell(
        "docker service ls --filter name=linto_session-postgres_mig"
    )
    assert {name: number for name, number in found.items() if len(set(number.split("/"))) != 1} == {}


def test_the_second_run_changes_nothing(fleet):
    unchanged()


def test_verify_is_content(fleet):
    run = site("playbooks/verify.yml")
    assert run.returncode == 0, run.stdout[-4000:]


def test_monitoring_wants_its_login(fleet):
    password = (Path(INVENTORY) / "credentials" / "linto" / "monitoring_password").read_text().strip()
    for path in ("/monitoring-celery/", "/monitoring-swarmpit/"):
        assert ask(path) == "401"
        assert ask(path, f"--user linto:{password}") == "200"
        assert ask(path, "--user linto:LINAGORA") == "401"


def test_the_gateway_reads_the_swarm_and_nothing_else(fleet):
    assert "linto_studio-api" in engine("/services")
    code = "-o /dev/null -w '%{http_code}'"
    refused = ["/secrets", "/configs", "/containers/x/archive?path=/", "/containers/x/logs", "/images/json"]
    assert {path: engine(path, code).strip() for path in refused} == dict.fromkeys(refused, "403")
    assert engine("/containers/create", code, "-X POST").strip() == "403"
    assert engine("/services/create", code, "-X POST").strip() == "403"


def test_the_summary_service_finds_its_files(fleet):
    service = json.loads(inside("llm-gateway", "cat /usr/src/services/summary.json"))
    assert service["flavor"][0]["modelName"] == "casperhansen/llama-3-8b-instruct-awq"
    assert inside("llm-gateway", "cat /usr/src/services/summary.txt").count("{}") == 2


def test_cards_are_seen_by_those_who_claim_them(fleet):
    cards = {
        name: inside(name, "printenv DOCKER_RESOURCE_GPU").strip()
        for name in ("vllm-service", "stt-french-whisper-v3_workers")
    }
    assert len(set(cards.values())) == 2 and all(card.startswith("GPU-") for card in cards.values())
    assert inside("stt-english-whisper-v3_workers", "printenv NVIDIA_VISIBLE_DEVICES").strip() == "void"


def test_voices_have_their_directories(fleet):
    shell("test -d /srv/linto/shared/qdrant_storage && test -d /srv/linto/shared/audios/speaker_samples")


def test_the_studio_has_a_picture_for_everybody(fleet):
    path = "/usr/src/app/conversation-manager/storages/pictures/default.jpg"
    assert int(inside("studio-api", f"wc -c {path}").split()[0]) > 1000


def test_monitoring_keeps_its_series(fleet):
    inside("swarmpit_influxdb", "influx -execute 'CREATE DATABASE proof'")
    shell("docker service update --force --detach=false --quiet linto_swarmpit_influxdb")
    assert "proof" in inside("swarmpit_influxdb", "influx -execute 'SHOW DATABASES'")
    inside("swarmpit_influxdb", "influx -execute 'DROP DATABASE proof'")


@pytest.fixture(scope="module")
def kept(fleet):
    """Something in every store."""
    for name, (_, write, _) in STORES.items():
        inside(name, write)
    assert lost() == []


def test_data_survive_an_update(kept):
    before = {name: shell(f"echo {container(name)}").strip() for name in STORES}
    # The same images by their digests, as the lab has one of each: to the Swarm another image.
    images = {
        name: shell(f"docker image inspect --format '{{{{index .RepoDigests 0}}}}' {image}").strip()
        for name, (image, *_) in STORES.items()
    }
    run = site(linto_images=images)
    assert run.returncode == 0, run.stdout[-4000:]
    after = {name: shell(f"echo {container(name)}").strip() for name in STORES}
    assert [name for name in STORES if after[name] in ("", before[name])] == []
    assert lost() == []
    run = site()
    assert run.returncode == 0, run.stdout[-4000:]
    assert lost() == []


def test_data_survive_a_restart_of_their_node(kept):
    lab = yaml.safe_load((Path(INVENTORY) / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    host = f"gpufleet-{lab['fleet_name']}-manager1"
    subprocess.run(["docker", "restart", "--time", "5", host], check=True)
    print(f"every store had it again {until_kept():.0f} s after their node was restarted")
    # All services come back by themselves, and the role finds nothing to do.
    unchanged()


def test_features_go_with_their_services(fleet):
    run = site(linto_features=["studio"], linto_speaker_identification=False, linto_gpu={})
    assert run.returncode == 0, run.stdout[-4000:]
    left = shell("docker service ls --format '{{.Name}}' --filter name=linto_").split()
    studio = ["studio-api", "studio-frontend", "studio-websocket", "studio_mongodb"]
    assert sorted(left) == sorted(f"linto_{name}" for name in [*studio, "api-gateway", "docker-socket"])


def test_what_does_not_fit_is_refused_before_anything_changes(fleet):
    before = shell("docker service ls -q | sort")
    run = site(linto_features=["studio", "diarization"])
    assert run.returncode != 0 and "linto_features has none" in run.stdout
    assert shell("docker service ls -q | sort") == before


def test_it_goes_alone_and_finds_its_data_again(kept):
    fewer = {"linto_speaker_identification": False, "linto_gpu": {}, "linto_features": ["live", "studio"]}
    run = site(linto_state="absent", **fewer)
    assert run.returncode == 0, run.stdout[-4000:]
    assert {name.partition("_")[0] for name in shell("docker service ls --format '{{.Name}}'").split()} == {
        "ingress"
    }
    run = site(**fewer)
    assert run.returncode == 0, run.stdout[-4000:]
    for name in ("session-postgres", "studio_mongodb", "studio-api"):
        assert KEPT in inside(name, STORES[name][2]), name

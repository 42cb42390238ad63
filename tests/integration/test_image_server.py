# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IMAGE-server in its production profile on a Swarm: found, routed, with cards, updated, restarted, removed.

GPUFLEET_INVENTORY  inventory of a lab of two hosts that are a Swarm with its ingress, of which worker1 has a
                    pretend card; all of this is skipped without it

Memcached and the proxies are real; the images of IMAGE-server are a stand-in that finds and calls services by
the rules of the real orchestrator (lab/dockerfiles/image-server). The tests build on one another and run in
the order of the file. Figures are printed: run pytest with -rP to see them.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

import pytest
import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet")

MANAGER, CORE = "manager1", "worker1"
STACK, PREFIX = "image_server", "ca.mcgill.a11y.image."
KEY = "sk-for-no-other-eyes"
# What a deployment with Compose has, from which the options come.
ENV_FILES = {
    ".env": "COMPOSE_PROFILES = production\nREGISTRY_TAG = latest\nDOCKER_GID = 999\n",
    "llm.env": f"LLM_API_KEY={KEY}\nLLM_URL=http://llm.test/v1\nLLM_MODEL=a-model\n",
}
OPTIONS = {
    "fleet_systems": ["image_server"],
    "image_server_registry": "shared-reality-lab",
    "image_server_resolve_image": "never",
    "image_server_extra_services": ["motd-handler"],
    "image_server_placement": {"memcached": MANAGER, "tat": "any"},
    "image_server_memcached_memory_mb": 64,
}
CATALOGUE = yaml.safe_load((ROOT / "roles/image_server/vars/main.yml").read_text())["_image_server_catalogue"]
PRODUCTION = {name for name, one in CATALOGUE.items() if "production" in one.get("profiles", ["production"])}
CHOSEN = PRODUCTION | {"motd-handler"}
HANDLERS = {name for name in CHOSEN if CATALOGUE[name].get("kind") == "handler"}
FOUND = {name for name in CHOSEN if CATALOGUE[name].get("kind") in ("preprocessor", "handler")}
CARDS = {name for name in CHOSEN if "gpu" in CATALOGUE[name]}
FOLLOWUP = {"text-followup", "text-followup-handler"}
REQUEST = {
    "request_uuid": "5f0c1e8a-3d2b-4c1d-9e8f-0123456789ab",
    "timestamp": 1,
    "renderers": [f"{PREFIX}renderer.Text"],
    "capabilities": [],
}


class Fleet:
    def __init__(self, folder):
        # The role by itself, as the site play costs more.
        for name, text in ENV_FILES.items():
            (folder / name).write_text(text)
        self.options = {**OPTIONS, "image_server_env_files": [str(folder / name) for name in ENV_FILES]}
        self.role = folder / "play.yml"
        play = {"hosts": "managers[0]", "become": True, "gather_facts": False}
        self.role.write_text(json.dumps([{**play, "roles": ["gpufleet.swarm.image_server"]}]))
        self.inventory = Path(INVENTORY).absolute()
        values = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        groups = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        self.lab = values["fleet_name"]
        self.address = groups["managers"]["hosts"][MANAGER]["ansible_host"]

    def play(self, playbook=None, *arguments, fails=False, **options):
        """Run a playbook on the fleet, the role by default; return how many changes it counted."""
        began = time.monotonic()
        env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_FORCE_COLOR": "false",
        }
        extra = json.dumps({**self.options, **options})
        command = [BIN / "ansible-playbook", "-i", self.inventory, "-e", extra, *arguments]
        command.append(playbook or self.role)
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        self.output = done.stdout + done.stderr
        data = json.loads(done.stdout[done.stdout.find("{\n") :])
        failed = [
            str(result.get("msg"))
            for play in data["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
            if result.get("failed") or result.get("unreachable")
        ]
        assert (done.returncode != 0) is fails, failed or self.output
        assert KEY not in self.output, "the key was told"
        print(f"{playbook or 'the role'}: {time.monotonic() - began:.0f} s")
        self.told = " ".join(" ".join(failed).split())
        return sum(stats["changed"] for stats in data["stats"].values())

    def on(self, host, *command, check=True):
        """Run a command on a host, past SSH and Ansible, and return what it prints."""
        words = ["docker", "exec", f"gpufleet-{self.lab}-{host}", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def shell(self, host, script, check=True):
        return self.on(host, "sh", "-c", script, check=check)

    def ask(self, path, body=None):
        """Ask through the ingress as a client does; return (status, answer)."""
        words = ["curl", "--silent", "--max-time", "60", "--write-out", "\n%{http_code}"]
        words += ["--resolve", f"image.lab.test:443:{self.address}"]
        if body is not None:
            words += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
        told = self.on(MANAGER, *words, f"https://image.lab.test{path}", check=False)
        text, _, status = told.rpartition("\n")
        return int(status), json.loads(text) if text[:1] in ("{", "[") else text

    def texts(self):
        """Return what the handlers make of the request, {handler: its text}."""
        answer = self.ask("/render", REQUEST)[1]
        made = answer.get("renderings", []) if isinstance(answer, dict) else []
        return {one["description"]: one["data"]["text"] for one in made}

    def until(self, true, what, seconds=600):
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(2)

    def until_there(self, kept):
        """Wait until all that was kept is answered with."""
        self.until(lambda: {self.ask(path)[0] for path in kept.values()} == {200}, " and ".join(kept))

    def services(self):
        """Return {name in the stack: inspection}."""
        listing = f"docker service ls -q --filter label=com.docker.stack.namespace={STACK}"
        listed = json.loads(self.shell(MANAGER, f"docker service inspect $({listing})"))
        return {one["Spec"]["Name"].removeprefix(f"{STACK}_"): one for one in listed}

    def versions(self):
        return {name: one["Version"]["Index"] for name, one in self.services().items()}

    def containers(self, host):
        """Return {service: inspections} of what runs of the stack on a host."""
        script = f"docker ps -q --filter label=com.docker.stack.namespace={STACK} | xargs -r docker inspect"
        found = {}
        for one in json.loads(self.shell(host, script) or "[]"):
            name = one["Config"]["Labels"]["com.docker.swarm.service.name"].removeprefix(f"{STACK}_")
            found.setdefault(name, []).append(one)
        return found

    def inside(self, service, script, check=True):
        """Run a script in the container of a service on the core node."""
        identity = self.containers(CORE)[service][0]["Id"]
        return self.shell(CORE, f"docker exec {identity} sh -c {shlex.quote(script)}", check=check)

    @cached_property
    def deployed(self):
        return self.services()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("play"))


def environment(service):
    return dict(
        entry.partition("=")[::2] for entry in service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Env", [])
    )


# Bad input, with nothing there yet


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_server_services": ["photo-audio-handlr"]}, ["photo-audio-handler", "image_server_services"]),
        ({"image_server_llm_api_key": ""}, ["image_server_llm_api_key", "graphic-caption"]),
        ({"image_server_image_tag": ""}, ["image_server_image_tag"]),
        ({"image_server_env_files": ["/nowhere/.env"]}, ["found /nowhere/.env", "image_server_env_files"]),
        ({"image_server_extra_services": ["ocr-handler"]}, ["by name", "set image_server_ocr_service"]),
        ({"image_server_gpu_claims": {"memcached": {"claim": "shared"}}}, ["image_server_gpu_claims"]),
        (
            {"image_server_node": MANAGER, "image_server_gpu": True},
            ["not in group gpu", "image_server_gpu", MANAGER],
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(fleet, options, words):
    changed = fleet.play(fails=True, **options)
    assert changed == 0
    assert [word for word in words if word not in fleet.told] == []
    assert fleet.on(MANAGER, "docker", "service", "ls", "-q", "--filter", f"name={STACK}") == ""


def test_the_site_play_refuses_it_before_it_changes_a_host(fleet):
    assert fleet.play("site.yml", fails=True, image_server_extra_services=["motd"]) == 0
    assert "wanted motd-handler" in fleet.told


def test_a_dry_run_says_what_would_be_and_changes_nothing(fleet):
    assert fleet.play("site.yml", "--check", "--diff") > 0
    assert [name for name in CHOSEN if f"+ service image_server_{name} (create" not in fleet.output] == []
    assert fleet.on(MANAGER, "docker", "service", "ls", "-q", "--filter", f"name={STACK}") == ""
    assert fleet.shell(CORE, "ls /srv/image_server/monarch 2> /dev/null || true") == ""


# What a card has is known to the Swarm alone, so by then the folders of the data are there.
def test_budgets_over_the_card_are_refused_with_the_numbers(fleet):
    fleet.play(fails=True, image_server_gpu_claims={"object-detection": {"memory": "30gb"}})
    assert "24564 MiB there" in fleet.told and "image_server_object-detection" in fleet.told
    assert fleet.on(MANAGER, "docker", "service", "ls", "-q", "--filter", f"name={STACK}") == ""


def test_a_website_without_pages_is_refused_before_anything_is_deployed(fleet):
    pages = {"image_server_website_dir": "/srv/pages", "image_server_website_resources_dir": "/etc"}
    fleet.play(fails=True, **pages)
    assert "found no folder /srv/pages, wanted the pages there first" in fleet.told
    assert fleet.on(MANAGER, "docker", "service", "ls", "-q", "--filter", f"name={STACK}") == ""
    fleet.on(CORE, "mkdir", "/srv/pages")
    fleet.play(None, "--check", image_server_website_image="redis:7.4", **pages)


# Deployed


def test_one_run_deploys_it(fleet):
    assert fleet.play("site.yml") > 0
    assert set(fleet.deployed) == CHOSEN | {"socket-proxy", "warmup"}


def test_the_second_run_changes_nothing(fleet):
    before = fleet.versions()
    assert fleet.play("site.yml") == 0
    assert fleet.versions() == before


def test_the_verification_passes(fleet):
    fleet.play(playbook="playbooks/verify.yml")


def test_health_through_the_ingress(fleet):
    status, answer = fleet.ask("/health")
    assert (status, answer["status"]) == (200, "healthy")


def test_an_invalid_request_is_told(fleet):
    assert fleet.ask("/render", {})[0] == 400


def test_a_request_reaches_every_handler(fleet):
    status, answer = fleet.ask("/render", REQUEST)
    assert status == 200 and answer["request_uuid"] == REQUEST["request_uuid"]
    assert {one["description"] for one in answer["renderings"]} == HANDLERS - FOLLOWUP
    texts = {one["description"]: one["data"]["text"] for one in answer["renderings"]}
    assert texts["motd-handler"] == "Hello, world!"
    # Every preprocessor was called before, and its result handed on.
    preprocessors = len(FOUND - HANDLERS - FOLLOWUP)
    assert texts["svg-od-handler"] == f"svg-od-handler saw {preprocessors} preprocessors"


def test_a_route_of_a_request_reaches_its_handler_alone(fleet):
    _status, answer = fleet.ask("/render", {**REQUEST, "route": "followup"})
    assert {one["description"] for one in answer["renderings"]} == {"text-followup-handler"}


def test_containers_of_others_are_not_called(fleet):
    labels = {f"{PREFIX}preprocessor": "1", f"{PREFIX}port": "80", "com.docker.compose.service": "intruder"}
    words = " ".join(f"--label {name}={value}" for name, value in labels.items())
    image = "shared-reality-lab/image-handler-motd:latest"
    fleet.shell(CORE, f"docker run -d --rm --name intruder --network image_server_image {words} {image}")
    try:
        # The path for which the orchestrator itself does not look at networks.
        words = f"-H 'Content-Type: application/json' -d '{json.dumps(REQUEST)}'"
        answer = fleet.inside("orchestrator", f"curl -s {words} localhost:8080/render/preprocess")
        found = json.loads(answer)["preprocessors"]
        names = {name.rpartition(".")[2] for name in found}
        assert names == FOUND - HANDLERS - FOLLOWUP
    finally:
        fleet.shell(CORE, "docker rm -f intruder")


def test_the_proxy_lists_containers_and_nothing_else(fleet):
    def status(path, *words):
        return fleet.inside(
            "orchestrator",
            f"curl -s -o /dev/null -w '%{{http_code}}' {' '.join(words)} http://socket-proxy:2375{path}",
        )

    assert status("/containers/json?all=1") == "200"
    for path in (
        "/services",
        "/info",
        "/containers/x/json",
        "/containers/x/logs",
        "/secrets",
        "/images/json",
    ):
        assert status(path) == "403", path
    assert status("/containers/json", "-X", "POST") == "403"
    assert status("/containers/create", "-X", "POST") == "403"
    asked = "curl -s 'http://socket-proxy:2375/containers/json?filters=%7B%7D'"
    listed = json.loads(fleet.inside("orchestrator", asked))
    assert {one["Labels"]["com.docker.stack.namespace"] for one in listed} == {STACK}
    mounts = fleet.deployed["orchestrator"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
    assert not [one for one in mounts if "docker.sock" in one["Source"]]


def test_what_is_looked_for_is_labelled_and_on_one_node(fleet):
    constraints = set()
    for name in FOUND | {"orchestrator"}:
        task = fleet.deployed[name]["Spec"]["TaskTemplate"]
        constraints.add(tuple(task["Placement"]["Constraints"]))
        if name in FOUND:
            assert task["ContainerSpec"]["Labels"]["com.docker.compose.service"] == name
    assert len(constraints) == 1
    assert set(fleet.containers(CORE)) >= FOUND | {"orchestrator", "socket-proxy"}
    assert "memcached" in fleet.containers(MANAGER)


def test_everything_that_has_a_health_check_is_healthy(fleet):
    seen = {}
    for host in (MANAGER, CORE):
        for name, containers in fleet.containers(host).items():
            seen.setdefault(name, []).extend(one["State"]["Health"]["Status"] for one in containers)
    assert set(seen) == CHOSEN | {"socket-proxy"}
    assert {status for found in seen.values() for status in found} == {"healthy"}
    assert len(seen["supercollider"]) == 2


def test_no_service_publishes_a_port(fleet):
    ports = {name: one["Spec"].get("EndpointSpec", {}).get("Ports") for name, one in fleet.deployed.items()}
    assert {name: found for name, found in ports.items() if found} == {}


def test_the_key_is_in_five_services_at_most(fleet):
    having = {name for name, one in fleet.deployed.items() if KEY in json.dumps(one)}
    assert having == {name for name in CHOSEN if "llm" in CATALOGUE[name].get("needs", [])}
    grep = f"grep -rlF {KEY} /etc /srv /home /root /tmp 2>/dev/null || true"
    assert {host: fleet.shell(host, grep) for host in (MANAGER, CORE)} == {MANAGER: "", CORE: ""}


def test_services_see_the_card_they_claim_and_others_none(fleet):
    card = fleet.shell(CORE, "nvidia-smi -L")
    running = fleet.containers(CORE)
    for name in CHOSEN & set(running):
        seen = fleet.inside(name, "nvidia-smi -L 2>/dev/null || true")
        assert seen == (card if name in CARDS else ""), name
        visible = environment(fleet.deployed[name]).get("NVIDIA_VISIBLE_DEVICES")
        assert visible == ("all" if name in CARDS else "void"), name


def test_the_applications_beside_it(fleet):
    assert fleet.ask("/tat/") == (200, {"stand_in": True, "path": "/"})
    assert fleet.ask("/monarch/health")[0] == 200
    assert fleet.ask("/render/preprocess", REQUEST)[0] == 404
    assert fleet.ask("/metrics")[0] == 404


def test_nothing_is_stored_unless_asked_for(fleet):
    assert fleet.ask(f"/authenticate/{REQUEST['request_uuid']}/0")[0] == 503
    assert fleet.shell(CORE, "ls /srv/image_server/user-logs") == ""


def test_data_directories_have_the_owners_of_the_images(fleet):
    found = fleet.shell(
        CORE, "cd /srv/image_server && stat -c '%n %u:%g %a' sc-store user-logs monarch/data.json"
    )
    assert found.splitlines() == [
        "sc-store 1000:4322 2775",
        "user-logs 1000:1000 750",
        "monarch/data.json 1000:1000 640",
    ]
    # Handlers wrote there, and what they wrote has the group of supercollider.
    written = fleet.shell(CORE, "stat -c %g /srv/image_server/sc-store/photo-audio-handler-*")
    assert set(written.split()) == {"4322"}


def test_the_models_were_warmed_once(fleet):
    logs = fleet.on(MANAGER, "docker", "service", "logs", "--raw", f"{STACK}_warmup")
    wanted = {name for name in CHOSEN if "warmup" in CATALOGUE[name]}
    warm = [line.split("//")[1] for line in logs.splitlines() if line.startswith("warm:")]
    assert {one.partition(":")[0] for one in warm} == wanted


# Changed


@pytest.fixture(scope="module")
def kept():
    """Paths whose answers are data, by what they are."""
    return {}


def test_another_tag_replaces_one_service_and_keeps_the_data(fleet, kept):
    code = fleet.ask("/monarch/create", {"data": "<svg/>", "title": "a map", "layer": "0"})[1]["id"]
    before = fleet.versions()
    tags = {"image_server_image_tags": {"motd-handler": "unstable"}, "image_server_motd": "It costs 5 $ now"}
    fleet.play(**tags)
    after = fleet.versions()
    assert {name for name in after if after[name] != before[name]} == {"motd-handler"}
    assert fleet.texts()["motd-handler"] == "It costs 5 $ now"
    fleet.on(MANAGER, "docker", "service", "update", "--force", "--quiet", f"{STACK}_monarch-link-app")
    kept["channel"] = f"/monarch/display/{code}"
    status, channel = fleet.ask(kept["channel"])
    assert (status, channel["title"]) == (200, "a map")


def test_what_is_to_be_stored_is_stored(fleet, kept):
    fleet.play(image_server_store_data=True)
    assert fleet.ask("/render", REQUEST)[0] == 200
    checksum = fleet.shell(
        CORE, f"sha1sum < /srv/image_server/user-logs/{REQUEST['request_uuid']}/request.json"
    ).split()[0]
    assert fleet.ask(f"/authenticate/{REQUEST['request_uuid']}/{checksum}")[0] == 200
    assert fleet.ask(f"/authenticate/{REQUEST['request_uuid']}/0")[0] == 401
    kept["stored"] = f"/authenticate/{REQUEST['request_uuid']}/{checksum}"


def test_data_survive_a_restart_of_their_node(fleet, kept):
    subprocess.run(["docker", "restart", "--time", "5", f"gpufleet-{fleet.lab}-{CORE}"], check=True)
    began = time.monotonic()
    fleet.until_there(kept)
    print(f"what was kept is there {time.monotonic() - began:.0f} s after the node was restarted")
    fleet.until(lambda: set(fleet.texts()) == HANDLERS - FOLLOWUP, "every handler answers")
    assert fleet.play(image_server_store_data=True) == 0


def test_a_chosen_subset_replaces_the_profile(fleet):
    fleet.play(
        image_server_services=["motd-handler", "map-tactile-svg-handler"], image_server_extra_services=[]
    )
    wanted = {"orchestrator", "memcached", "motd-handler", "map-tactile-svg-handler", "openstreetmap"}
    assert set(fleet.services()) == wanted | {"nominatim-preprocessor", "socket-proxy"}


# Removed


def test_removal_takes_the_stack_alone(fleet, kept):
    fleet.play(image_server_state="absent")
    left = fleet.on(MANAGER, "docker", "stack", "ls", "--format", "{{.Name}}").split()
    assert left == ["ingress"]
    assert fleet.shell(CORE, "test -s /srv/image_server/monarch/data.json && echo kept") == "kept"
    assert fleet.play(image_server_state="absent") == 0
    # And back again, with all that was kept.
    fleet.play(image_server_services=["monarch-link-app"], image_server_store_data=True)
    fleet.until_there(kept)

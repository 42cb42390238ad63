# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All five systems side by side on three hosts with cards and a front: one run, a second one, one taken out.

GPUFLEET_INVENTORY  inventory of a fresh lab (`scripts/with_lab.py NAME 4 --fronts 1 --gpus
                    worker1=2,worker2=1 -- ...`); all of this is skipped without it

What is real and what is a stand-in, and what each system is asked in detail, is in the suite of its own. The
tests build on one another and run in the order of the file. Figures are printed: run pytest with -rP.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.integration import test_crowd_recital as recital
from tests.integration import test_discover_api as discover
from tests.integration import test_dmi_service_manager as dmi
from tests.integration import test_image_server as image
from tests.integration.test_tunnels import ROOT, Fleet, Run

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no lab with a front")

MANAGER, CARDS, CARD, FRONT = "manager1", "worker1", "worker2", "front1"
SYSTEMS = ["linto", "image_server", "dmi_service_manager", "discover_api", "crowd_recital"]
GONE = "image_server"
# Without its bucket, crowd-recital keeps recordings on its data node.
RECITAL = {
    name: value for name, value in recital.VALUES.items() if "_s3_" not in name and "_aws_" not in name
}
OPTIONS = {
    **discover.OPTIONS,
    **image.OPTIONS,
    **RECITAL,
    "discover_api_data_node": CARDS,
    "image_server_node": CARD,
    "image_server_image_tag": "latest",
    "image_server_llm_url": "http://llm.test/v1",
    "image_server_llm_model": "a-model",
    "image_server_llm_api_key": image.KEY,
    "image_server_wait_timeout": 900,
    "crowd_recital_data_node": CARDS,
    "crowd_recital_content_disable_s3_upload": True,
    **{f"dmi_service_manager_{name}": value for name, value in dmi.OPTIONS.items()},
    "dmi_service_manager_nodes": [CARD],
    "dmi_service_manager_gpu_enabled": True,
    "fleet_systems": SYSTEMS,
}
# What every system answers to whom it is for: name below the fleet's domain, path, status, a word of it.
ROUTES = {
    "linto": ("linto", "/", 200, "linto"),
    "image_server": ("image", "/health", 200, ""),
    "dmi_service_manager": ("dmi", "/api/", 200, "endpoints"),
    "crowd_recital": ("recital", "/", 200, ""),
}
SPECIFICATIONS = "docker service ls -q | xargs docker service inspect"


class Five(Fleet):
    def site(self, *arguments, fails=False, **more):
        return self.run(ROOT / "site.yml", *arguments, fails=fails, **more)

    def run(self, playbook, *arguments, fails=False, **more):
        began = time.monotonic()
        options = {**OPTIONS, **more}
        run = Run(self.call(playbook, *arguments, links=[discover.LINK], **options))
        print(f"{playbook.name} {' '.join(arguments)}: {time.monotonic() - began:.0f} s")
        assert (run.rc != 0) is fails, run.message() or run.output[-6000:]
        return run

    def services(self):
        """Return {name of a service: its version}."""
        listed = json.loads(self.on(MANAGER, SPECIFICATIONS))
        return {one["Spec"]["Name"]: one["Version"]["Index"] for one in listed}

    def tasks(self):
        """Return the ids of all tasks that are to run."""
        words = "docker node ps --filter desired-state=running -q $(docker node ls -q)"
        return set(self.on(MANAGER, words).split())

    def started(self):
        """Return when the manager of DMI's jobs was started."""
        return self.on(CARD, "systemctl show -P ActiveEnterTimestampMonotonic dmi_service_manager")

    def answer(self, system):
        """Return (status, text) of a system, asked from the node of the whitelisted client."""
        if system == "discover_api":
            url = "http://127.0.0.1:5001/clustering/monitor"
            told = self.on(FRONT, f"curl -s -m 20 -w '\\n%{{http_code}}' {url}", check=False)
        else:
            name, path, _status, _word = ROUTES[system]
            host = f"{name}.lab.test"
            to = f"--resolve {host}:443:{self.address[MANAGER]}"
            ask = f"curl -s -L -m 20 -w '\\n%{{http_code}}' {to} https://{host}{path}"
            told = self.on(CARD, ask, check=False)
        text, _, status = told.rpartition("\n")
        return int(status or 0), text


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Five(tmp_path_factory.mktemp("play"))
    if set(fleet.address) != {MANAGER, CARDS, CARD, FRONT}:
        pytest.fail(f"wanted a lab of {MANAGER}, {CARDS}, {CARD}, {FRONT}, found {sorted(fleet.address)}")
    source, wheels = tmp_path_factory.mktemp("source") / "dmi.git", tmp_path_factory.mktemp("wheels")
    dmi.repository(source, ROOT / "tests/unit/roles/dmi_stand_in", "v1")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    download += ["--python-version", "3.11", "--platform", "manylinux2014_x86_64"]
    requirements = dmi.ROLE / "files/requirements.txt"
    subprocess.run([*download, "--dest", str(wheels), "-r", str(requirements)], check=True)
    for path, name in ((source, "dmi.git"), (wheels, "wheels")):
        place = f"gpufleet-{fleet.lab}-{CARD}:/srv/{name}"
        subprocess.run(["docker", "cp", "-q", str(path), place], check=True)
    fleet.on(CARD, "chown -R root:root /srv/dmi.git /srv/wheels && chmod -R a+rX /srv/wheels")
    fleet.on(CARD, f"mkdir -p {dmi.CATS}")
    return fleet


def answers(fleet, systems, seconds=120):
    """Wait until each system answers as it should."""
    deadline = time.monotonic() + seconds
    for system in systems:
        _name, _path, status, word = ROUTES.get(system, ("", "", 200, "queues"))
        while not (fleet.answer(system)[0] == status and word in fleet.answer(system)[1].lower()):
            assert time.monotonic() < deadline, (system, fleet.answer(system))
            time.sleep(1)


def unchanged(run):
    assert run.changed() == dict.fromkeys(run.changed(), 0), run.output[-4000:]


def test_one_run_brings_all_five_up(fleet):
    fleet.site()
    stacks = {name.partition("_")[0] for name in fleet.services()}
    assert stacks >= {"linto", "image", "discover", "crowd", "ingress"}
    answers(fleet, SYSTEMS)


def test_the_second_run_changes_nothing(fleet):
    before = fleet.services(), fleet.tasks(), fleet.started()
    unchanged(fleet.site())
    assert (fleet.services(), fleet.tasks(), fleet.started()) == before


def test_verify_is_content(fleet):
    fleet.run(ROOT / "playbooks" / "verify.yml")


def test_nothing_is_published_but_what_is_declared(fleet):
    published = {
        (one["Spec"]["Name"], port["PublishedPort"])
        for one in json.loads(fleet.on(MANAGER, SPECIFICATIONS))
        for port in one["Spec"]["EndpointSpec"].get("Ports") or []
    }
    # RTMP and SRT of the live sessions, as LinTO's page declares.
    streams = {("linto_session-transcriber", 1935), ("linto_session-transcriber", 8889)}
    assert published == {("ingress_traefik", 80), ("ingress_traefik", 443), *streams}


def test_a_system_of_the_list_is_not_removed(fleet):
    before = fleet.services(), fleet.tasks()
    run = fleet.run(ROOT / "playbooks" / "remove_system.yml", fails=True, remove_system=GONE)
    assert f"Cannot remove {GONE}: found it in fleet_systems" in run.message()
    run = fleet.run(ROOT / "playbooks" / "remove_system.yml", fails=True, remove_system="imageserver")
    assert "found remove_system imageserver, wanted the name of one" in run.message()
    assert (fleet.services(), fleet.tasks()) == before


def test_one_goes_alone(fleet):
    others = [system for system in SYSTEMS if system != GONE]
    before, started = fleet.services(), fleet.started()
    # Out of the list it is left alone, until its removal is asked for.
    unchanged(fleet.site(fleet_systems=others))
    assert fleet.services() == before
    options = {"fleet_systems": others, "remove_system": GONE}
    foretold = fleet.run(ROOT / "playbooks" / "remove_system.yml", "--check", "--diff", **options)
    assert sum(foretold.changed().values()) > 0 and fleet.services() == before
    fleet.run(ROOT / "playbooks" / "remove_system.yml", **options)
    assert fleet.services() == {
        name: version for name, version in before.items() if not name.startswith(f"{GONE}_")
    }
    assert fleet.started() == started
    assert GONE not in fleet.on(MANAGER, "docker network ls; docker config ls; docker secret ls")
    answers(fleet, others)
    unchanged(fleet.run(ROOT / "playbooks" / "remove_system.yml", **options))
    unchanged(fleet.site(fleet_systems=others))
    assert fleet.answer(GONE)[0] == 404

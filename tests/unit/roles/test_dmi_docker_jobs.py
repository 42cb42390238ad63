# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `docker` of the DMI Service Manager: which jobs it runs, and that none outlives who waits for it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

TOOL = Path(__file__).resolve().parents[3] / "roles/dmi_service_manager/files/docker_jobs.py"
CONFIG = {
    "DOCKER_ENDPOINTS": {
        "ocr": {"image_name": "registry.example.org/ocr:3"},
        "whisper": {"image_name": "whisper"},
    }
}
CARDS = ["GPU-1", "GPU-2"]
JOB = ["run", "--rm", "--network", "host", "-v", "/srv/up:/app/data/", "--gpus", "all"]
OURS = ["run", "--name", "n", "--label", "gpufleet.dmi_service_manager", "--pull", "never"]
# What stands in for Docker's own tool: notes how it is called; a job lasts until it is removed.
DOCKER = """#!/bin/sh
echo "$@" >> calls
case "$1 $*" in
    run*sleep*) while [ ! -e removed ]; do sleep 0.05; done; exit 137 ;;
    run*fail*) echo trouble >&2; exit 3 ;;
    run*) echo out; echo a warning >&2 ;;
    ps*) echo one; echo two ;;
    rm*) touch removed ;;
esac
"""


def load():
    specification = importlib.util.spec_from_file_location("docker_jobs", TOOL)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


docker_jobs = load()


@pytest.mark.parametrize(
    ("asked", "cards", "run"),
    [
        ([*JOB, "whisper", "whisper", "-v", "x"], [], [*JOB[1:], "whisper", "whisper", "-v", "x"]),
        # The name of an endpoint stands for its image.
        (["run", "--rm", "ocr", "python3"], [], ["--rm", "registry.example.org/ocr:3", "python3"]),
        (
            [*JOB, "whisper", "--gpus", "all"],
            CARDS,
            [*JOB[1:-1], '"device=GPU-1,GPU-2"', "whisper", "--gpus", "all"],
        ),
        # Without cards the manager does not ask for any.
        (["run", "--rm", "-v", "a:b", "whisper"], CARDS, ["--rm", "-v", "a:b", "whisper"]),
        (["run", "--rm", "--user=1000", "whisper"], [], ["--rm", "--user=1000", "whisper"]),
    ],
)
def test_a_job_gets_a_name_a_label_and_its_image(asked, cards, run):
    assert docker_jobs.rewrite(asked, {**CONFIG, "GPUFLEET": {"GPUS": cards}}, "n") == [*OURS, *run]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([*JOB, "alpine", "sh"], "found image alpine, wanted one of DOCKER_ENDPOINTS (registry.example"),
        (["exec", "x", "sh"], "found docker exec, wanted docker run"),
        (["rm", "-f", "x"], "found docker rm"),
        ([], "found docker , wanted"),
        (["run", "--rm"], "found no image"),
    ],
)
def test_nothing_else_is_run(asked, told):
    with pytest.raises(docker_jobs.RefusedError) as error:
        docker_jobs.rewrite(asked, CONFIG, "n")
    assert told in str(error.value)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "config.yml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def start(place, *words):
    env = {**os.environ, "DMI_DOCKER": str(place / "docker")}
    return subprocess.Popen(
        [sys.executable, str(TOOL), *words],
        cwd=place,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "rc", "out", "err"),
    [
        ([*JOB, "whisper", "go"], 0, "out\n", "a warning\n"),
        ([*JOB, "whisper", "fail"], 3, "", "trouble\n"),
        # The check of the cards' memory takes a warning for a failure.
        (["run", "--rm", "--gpus", "all", "ocr", "go"], 0, "out\n", ""),
        (["run", "--rm", "--gpus", "all", "ocr", "fail"], 3, "", "trouble\n"),
        (["run", "--rm", "alpine"], 125, "", "The job was not run: found image alpine"),
    ],
)
def test_output_and_status_are_those_of_the_job(place, words, rc, out, err):
    done = start(place, *words)
    stdout, stderr = done.communicate(timeout=20)
    assert (done.returncode, stdout) == (rc, out)
    assert stderr == err or stderr.startswith(err) and rc == 125
    calls = (place / "calls").read_text() if (place / "calls").exists() else ""
    assert "rm --force" not in calls, "a job that has ended is not removed"


def test_a_job_whose_caller_is_killed_is_removed(place):
    job = start(place, *JOB, "whisper", "sleep")
    for _ in range(200):
        if (place / "calls").exists():
            break
        time.sleep(0.05)
    # As the manager does when the time of the job is over, and then it reads what is left to read.
    job.kill()
    job.communicate(timeout=20)
    calls = (place / "calls").read_text().splitlines()
    name = calls[0].split()[2]
    assert name.startswith("dmi-") and calls[1] == f"rm --force {name}"


def test_all_jobs_are_stopped(place):
    assert start(place, "stop-jobs").wait(20) == 0
    assert (place / "calls").read_text().splitlines() == [
        "ps --all --quiet --filter label=gpufleet.dmi_service_manager",
        "rm --force one two",
    ]

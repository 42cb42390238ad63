# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `docker` that the DMI Service Manager finds on its path: runs its jobs, and nothing else.

    docker run [options] IMAGE [command...]   as the manager calls it
    docker stop-jobs                          ends all jobs that are left

Jobs get a label and a name. One whose caller is killed, as the manager does when its time is over, is
removed; the command line tool alone would leave it to run on. Only images of config.yml are run, and an
endpoint's name stands for its image (the manager's check of the cards' memory names it so). `--gpus all`
becomes the cards of config.yml.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import yaml

DOCKER = os.environ.get("DMI_DOCKER", "/usr/bin/docker")
LABEL = "gpufleet.dmi_service_manager"
REFUSED = 125  # docker's own status for what it did not run
TRIES, PAUSE_S = 10, 1.0  # the container may not have been made yet when its caller is killed


class RefusedError(Exception):
    """What the manager asked for is none of its jobs."""


def rewrite(words, config, name):
    """Return the words of `docker run` for a job that the manager asked for with others.

    words   what it asked for, without `docker`
    config  the content of config.yml
    name    name of the container
    """
    if words[:1] != ["run"]:
        raise RefusedError(f"found docker {' '.join(words[:1])}, wanted docker run")
    options, rest = split(words[1:])
    if not rest:
        raise RefusedError("found no image, wanted one of DOCKER_ENDPOINTS")
    endpoints = config.get("DOCKER_ENDPOINTS") or {}
    image = endpoints.get(rest[0], {}).get("image_name", rest[0])
    images = sorted({endpoint["image_name"] for endpoint in endpoints.values()})
    if image not in images:
        raise RefusedError(f"found image {image}, wanted one of DOCKER_ENDPOINTS ({', '.join(images)})")
    cards = (config.get("GPUFLEET") or {}).get("GPUS") or []
    if cards:
        # Docker reads this word as a line of comma separated values, in which quotes keep a list together.
        chosen = f'"device={",".join(cards)}"'
        options = [["--gpus", chosen] if option[0] == "--gpus" else option for option in options]
    flat = [word for option in options for word in option]
    # Never pulled: an image that is not there is a matter for the role, which knows where it comes from.
    return ["run", "--name", name, "--label", LABEL, "--pull", "never", *flat, image, *rest[1:]]


def split(words):
    """Return the options, each with its value, and what follows them."""
    options, rest = [], list(words)
    while rest and rest[0].startswith("-"):
        alone = rest[0] == "--rm" or "=" in rest[0]
        options.append(rest[: 1 if alone else 2])
        rest = rest[1 if alone else 2 :]
    return options, rest


def guard(name, lifeline):
    """Wait for the caller's word that the job has ended; remove the job if it dies without. Never returns."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    if not os.read(lifeline, 1):
        for _try in range(TRIES):
            subprocess.run([DOCKER, "rm", "--force", name], check=False)
            time.sleep(PAUSE_S)
    os._exit(0)


def run(words):
    """Run a job, and see that it does not outlive its caller; return its exit status."""
    config = yaml.safe_load(Path("config.yml").read_text(encoding="utf-8"))
    name = f"dmi-{uuid.uuid4().hex[:12]}"
    try:
        command = rewrite(words, config, name)
    except RefusedError as error:
        print(f"The job was not run: {error}.", file=sys.stderr)
        return REFUSED
    lifeline, ours = os.pipe()  # neither is inherited by a program that is started
    child = os.fork()
    if not child:
        os.close(ours)
        guard(name, lifeline)
    os.close(lifeline)
    # Jobs mount a folder. What mounts none is the check of the cards' memory, which takes any word on this
    # stream, a warning too, for a failure.
    quiet = "-v" not in command
    done = subprocess.run([DOCKER, *command], stderr=subprocess.PIPE if quiet else None, check=False)
    if quiet and done.returncode:
        os.write(2, done.stderr)
    os.write(ours, b".")
    os.waitpid(child, 0)
    return done.returncode


def stop_jobs():
    """Remove all jobs that are left."""
    left = subprocess.run(
        [DOCKER, "ps", "--all", "--quiet", "--filter", f"label={LABEL}"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return subprocess.run([DOCKER, "rm", "--force", *left], check=False).returncode if left else 0


if __name__ == "__main__":
    sys.exit(stop_jobs() if sys.argv[1:] == ["stop-jobs"] else run(sys.argv[1:]))

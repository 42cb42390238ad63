# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's registry: one for all labs of the machine, under the name registry.lab in each of their networks.

It is itself an image: filled once with everything in images.toml, then committed, content and all. So it is
there in half a second whenever a lab needs it, and goes without a trace when none does.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
from docker.models.containers import Container
from docker.models.networks import Network

from . import base, build, catalog
from .report import LabError, step

CONTAINER = "gpufleet-registry"
FILLING = "gpufleet-registry-filling"
ROLE = "gpufleet.lab.registry"  # label of the container
ALIAS, PORT = "registry.lab", 5000
EMPTY, FILLED, SHARED = (
    "gpufleet-lab/registry:empty",
    "gpufleet-lab/registry:filled",
    "gpufleet-lab/stand-in:shared",
)
CACHE = Path(__file__).parent.parent / ".cache" / "lab"
ANSWER_SECONDS = 30


def mirror_url() -> str:
    return f"http://{ALIAS}:{PORT}"


def ensure_image(client: docker.DockerClient) -> None:
    """Build and fill the registry's image unless it is there and up to date."""
    wanted = catalog.load()
    recipe = base.recipe("trixie")
    folders = sorted(
        {build.FOLDERS / folder for folder in ("registry", catalog.STAND_IN, *(one.build for one in wanted))}
    )
    target = build.content_hash(folders, recipe.hash, wanted)
    if build.built(client, FILLED) == target:
        return
    with ThreadPoolExecutor(2) as pool:  # the base is bound by the processor, a download by the network
        wheels = [pool.submit(_fetch, image) for image in wanted if image.wheel]
        base.ensure(client, [recipe])
        for wheel in wheels:
            wheel.result()
    with step(f"Build {len(wanted)} images for the registry") as now, ThreadPoolExecutor(3) as pool:
        first = [
            pool.submit(build.build, client, tag, recipe.tag, target, build.FOLDERS / folder)
            for tag, folder in ((EMPTY, "registry"), (SHARED, catalog.STAND_IN))
        ]
        jobs = [
            pool.submit(_build_folder, client, image, recipe.tag, target)
            for image in wanted
            if not image.shared
        ]
        for job in first:
            job.result()
        jobs += [pool.submit(_build_stand_in, client, image, target) for image in wanted if image.shared]
        for number, job in enumerate(jobs, 1):
            now.state = f"{number} of {len(jobs)}"
            job.result()
    _fill(client, wanted, target)
    build.forget_old(client)


def local_tag(image: catalog.Image) -> str:
    return f"gpufleet-lab/{image.repository}:{image.tag}"


def _build_folder(client: docker.DockerClient, image: catalog.Image, on: str, target: str) -> None:
    extra = {image.member: _member(image)} if image.wheel else {}
    build.build(
        client, local_tag(image), on, target, build.FOLDERS / image.build, extra=extra, labels=image.labels()
    )


def _build_stand_in(client: docker.DockerClient, image: catalog.Image, target: str) -> None:
    build.build(
        client, local_tag(image), SHARED, target, dockerfile=image.dockerfile(), labels=image.labels()
    )


def _fetch(image: catalog.Image) -> None:
    """Download a wheel into the cache, once, with pip: it knows the machine's own package index."""
    folder = CACHE / image.wheel
    if _wheel(image):
        return
    with step(f"Fetch {image.wheel} from PyPI"):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run(
            [*command, "--dest", str(folder), image.wheel], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"pip could not download {image.wheel}: {done.stderr.strip()[-500:]}")


def _wheel(image: catalog.Image) -> Path | None:
    return next(iter((CACHE / image.wheel).glob("*.whl")), None)


def _member(image: catalog.Image) -> bytes:
    with zipfile.ZipFile(_wheel(image)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(f"/scripts/{image.member}"))
        return archive.read(name)


def _fill(client: docker.DockerClient, wanted: list[catalog.Image], target: str) -> None:
    """Push every image into an empty registry, and commit it."""
    with step(f"Push {len(wanted)} images into the registry") as now:
        # Beside the one that serves the labs that stand; `ensure` exchanges the two.
        container = _run(client, EMPTY, FILLING)
        try:
            place = push_address(container)
            first, *others = sorted(
                wanted, key=lambda image: not image.shared
            )  # brings the layers that others share
            _push(client, first, place)
            with ThreadPoolExecutor(3) as pool:
                jobs = [pool.submit(_push, client, image, place) for image in others]
                for number, job in enumerate(jobs, 1):
                    job.result()
                    now.state = f"{number} of {len(wanted)}"
            now.state = "commit"
            repository, _, tag = FILLED.partition(":")
            container.commit(repository, tag, conf={"Labels": {build.OURS: target}})
        finally:
            container.remove(force=True, v=True)


def _push(client: docker.DockerClient, image: catalog.Image, place: str) -> None:
    name = f"{place}/{image.repository}"
    client.images.get(local_tag(image)).tag(name, image.tag)
    try:
        for line in client.images.push(name, tag=image.tag, stream=True, decode=True):
            if "error" in line:
                raise LabError(f"Could not push {image.name} into the registry: {line['error']}")
    finally:
        client.images.remove(f"{name}:{image.tag}")


def find(client: docker.DockerClient) -> Container | None:
    try:
        return client.containers.get(CONTAINER)
    except docker.errors.NotFound:
        return None


def push_address(container: Container) -> str:
    """Where this machine, and nobody else, may push: HOST:PORT on the loopback, which needs no TLS."""
    container.reload()
    bound = container.attrs["NetworkSettings"]["Ports"][f"{PORT}/tcp"][0]
    return f"{bound['HostIp']}:{bound['HostPort']}"


def _run(client: docker.DockerClient, image: str, name: str) -> Container:
    for left_over in client.containers.list(all=True, filters={"name": f"^/{name}$"}):
        left_over.remove(force=True, v=True)
    container = client.containers.run(
        image,
        name=name,
        hostname=ALIAS,
        detach=True,
        ports={f"{PORT}/tcp": ("127.0.0.1", None)},
        labels={ROLE: "1"},
    )
    _wait(container)
    return container


def _wait(container: Container) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{push_address(container)}/v2/", timeout=5
            ).close()
            return
        except (OSError, KeyError, IndexError, urllib.error.URLError):
            if time.monotonic() > deadline:
                log = container.logs(tail=5).decode(errors="replace")
                raise LabError(
                    f"The lab's registry does not answer after {ANSWER_SECONDS} s:\n{log}"
                ) from None
            time.sleep(0.1)


def ensure(client: docker.DockerClient, network: Network, address: str) -> None:
    """The registry runs, from the newest image, in every lab's network and in this one."""
    container = find(client)
    others: list[tuple[Network, str]] = []
    if container and container.attrs["Image"] != client.images.get(FILLED).id:
        for name, port in container.attrs["NetworkSettings"]["Networks"].items():
            configured = (port.get("IPAMConfig") or {}).get("IPv4Address")
            if configured:
                others.append((client.networks.get(name), configured))
        _remove_container(client)
        container = None
    if not container:
        with step("Start the registry"):
            container = _run(client, FILLED, CONTAINER)
            for other, there in others:
                other.connect(container, aliases=[ALIAS], ipv4_address=there)
    elif container.status != "running":
        with step("Start the registry again"):
            container.start()
            _wait(container)
    container.reload()
    if network.name not in container.attrs["NetworkSettings"]["Networks"]:
        network.connect(container, aliases=[ALIAS], ipv4_address=address)


def leave(client: docker.DockerClient, network: Network) -> None:
    container = find(client)
    if container and network.name in container.attrs["NetworkSettings"]["Networks"]:
        network.disconnect(container, force=True)


def remove(client: docker.DockerClient) -> None:
    if find(client):
        with step("Remove the registry: this was the last lab"):
            _remove_container(client)


def _remove_container(client: docker.DockerClient) -> None:
    container = find(client)
    if container:
        container.remove(force=True, v=True)

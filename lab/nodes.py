# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a lab: containers with systemd, made from the node images, and the network between them."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
from docker.models.containers import Container
from docker.models.networks import Network

from . import base, build, gpus
from .plan import USER, Host, choose_subnet
from .report import LabError, say, step

LAB, HOST, SUITE = "gpufleet.lab", "gpufleet.lab.host", "gpufleet.lab.suite"  # labels
CARDS = "gpufleet.lab.cards"  # label: the pretend cards of a host, NUMBER:MODEL
INVENTORY = "gpufleet.lab.inventory"  # label of the network: folder of the inventory written first
INIT = "/usr/local/sbin/lab-init"  # first process of the images
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
AUTHORIZED = f"/home/{USER}/.ssh/authorized_keys"
BOOT_SECONDS = 90
AT_ONCE = 8


def image_tag(suite: str) -> str:
    return f"gpufleet-lab/node:{suite}"


def ensure_images(client: docker.DockerClient, suites: set[str]) -> None:
    """Build the images of hosts that are missing or have changed, side by side."""
    recipes = [base.recipe(suite) for suite in sorted(suites)]
    folder = build.FOLDERS / "node"
    todo = []
    for recipe in recipes:
        target = build.content_hash([folder], recipe.hash)
        if build.built(client, image_tag(recipe.suite)) != target:
            todo.append((recipe, target))
    if not todo:
        return
    base.ensure(client, [recipe for recipe, _target in todo])

    def one(recipe: base.Recipe, target: str) -> None:
        with step(f"Build a host of {base.DEBIAN[recipe.suite]}"):
            build.build(client, image_tag(recipe.suite), recipe.tag, target, folder)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for job in [pool.submit(one, *item) for item in todo]:
            job.result()
    build.forget_old(client)


def network_name(lab: str) -> str:
    return f"gpufleet-{lab}"


def find_network(client: docker.DockerClient, lab: str) -> Network | None:
    for network in client.networks.list(names=[network_name(lab)]):
        if network.name == network_name(lab):
            if network.attrs["Labels"].get(LAB) != lab:
                raise LabError(
                    f"A network called {network.name} exists that the lab did not make.",
                    f"Choose another --name, or remove it: docker network rm {network.name}",
                )
            return network
    return None


def subnet_of(network: Network) -> str:
    return network.attrs["IPAM"]["Config"][0]["Subnet"]


def ensure_network(client: docker.DockerClient, lab: str, inventory: Path) -> Network:
    network = find_network(client, lab)
    if network:
        made_for = network.attrs["Labels"].get(INVENTORY)
        if made_for != str(inventory):
            raise LabError(
                f"The lab {lab} belongs to another inventory: found {made_for}, wanted {inventory}. "
                f"Remove it with `python3 -m lab down --name {lab}`, or choose another --name."
            )
        return network
    subnet = choose_subnet([*_engine_subnets(client), *_machine_routes()])
    with step(f"Create the network {network_name(lab)}") as now:
        now.note = subnet
        pool = docker.types.IPAMPool(subnet=subnet)
        network = client.networks.create(
            network_name(lab),
            driver="bridge",
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
            labels={LAB: lab, INVENTORY: str(inventory)},
        )
        network.reload()
    return network


def _engine_subnets(client: docker.DockerClient) -> list[str]:
    configs = [
        config for network in client.networks.list() for config in network.attrs["IPAM"]["Config"] or []
    ]
    return [config["Subnet"] for config in configs if config.get("Subnet")]


def _machine_routes() -> list[str]:
    shown = subprocess.run(["ip", "-4", "route", "show"], capture_output=True, text=True, check=False).stdout
    first_words = [line.split()[0] for line in shown.splitlines() if line.strip()]
    return [word for word in first_words if word[0].isdigit()]


def containers(client: docker.DockerClient, lab: str | None = None) -> list[Container]:
    """The hosts that exist, of one lab or of all."""
    wanted = [HOST] if lab is None else [HOST, f"{LAB}={lab}"]
    return client.containers.list(all=True, filters={"label": wanted})


def ensure_hosts(
    client: docker.DockerClient, lab: str, plan: list[Host], network: Network, with_cards: dict[str, str]
) -> None:
    """Bring the lab's containers in line with the plan: make, start, remove; one that runs is left alone.

    with_cards: host -> its pretend cards, NUMBER:MODEL
    """
    existing = {container.labels[HOST]: container for container in containers(client, lab)}
    wanted = {host.name: host for host in plan}
    surplus = [container for name, container in existing.items() if name not in wanted]
    # One whose making was cut short has no SSH keys: make it again.
    surplus += [c for name, c in existing.items() if name in wanted and c.status == "created"]
    if surplus:
        with step(f"Remove {', '.join(sorted(c.labels[HOST] for c in surplus))}"):
            remove(surplus)
    kept = {name: container for name, container in existing.items() if container not in surplus}
    new = [host for host in plan if host.name not in kept]
    stopped = [container for container in kept.values() if container.status != "running"]
    if new:
        with step(f"Create {', '.join(host.name for host in new)}"):
            _each(lambda host: _create(client, lab, host, network, with_cards.get(host.name, "")), new)
    if stopped:
        with step(f"Start {', '.join(sorted(c.labels[HOST] for c in stopped))} again"):
            _each(lambda container: container.start(), stopped)
    if new or stopped:
        names = sorted({host.name for host in new} | {container.labels[HOST] for container in stopped})
        subnet = subnet_of(network)
        with step(f"Wait for systemd and SSH on {', '.join(names)}"):
            _each(lambda name: _wait(client, lab, name, wanted[name].address(subnet)), names)
    if with_cards:
        with step("Build the stand-in of NVIDIA's repository"):
            _each(lambda name: _build_repository(client, lab, name), sorted(with_cards))
    for name, container in kept.items():
        if container.labels.get(SUITE) != wanted[name].suite:
            release = base.DEBIAN.get(container.labels.get(SUITE), "another release")
            say(f"          Kept {name} as it is, on {release}: a host that exists is not made anew.")
        if container.labels.get(CARDS, "") != with_cards.get(name, ""):
            has = container.labels.get(CARDS) or "none"
            say(f"          Kept {name} with pretend cards {has}: a host that exists is not made anew.")


def remove(several: list[Container]) -> None:
    """Remove containers with their anonymous volumes."""

    def one(container: Container) -> None:
        with contextlib.suppress(docker.errors.NotFound):  # somebody else was faster
            container.remove(v=True, force=True)

    _each(one, several)


def _each(action, items) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for job in [pool.submit(action, item) for item in items]:
            job.result()


def container_name(lab: str, host: str) -> str:
    return f"gpufleet-{lab}-{host}"


def _build_repository(client: docker.DockerClient, lab: str, name: str) -> None:
    container = client.containers.get(container_name(lab, name))
    if container.labels.get(CARDS):
        code, output = container.exec_run(gpus.build_command())
        if code:
            text = output.decode(errors="replace").strip()
            raise LabError(f"Could not build the stand-in of NVIDIA's repository on {name}:\n       {text}")


def _create(client: docker.DockerClient, lab: str, host: Host, network: Network, cards: str) -> None:
    api = client.api
    # Not privileged: that fails where the machine itself lacks CAP_SYS_RESOURCE. This is what systemd and a
    # nested engine need, and it works on such machines as well.
    host_config = api.create_host_config(
        cap_add=["ALL"],
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        tmpfs={"/run": "", "/run/lock": "", "/tmp": "exec"},
    )
    host_config["CgroupnsMode"] = "private"
    host_config["MaskedPaths"], host_config["ReadonlyPaths"] = (
        [],
        [],
    )  # the command line's systempaths=unconfined
    endpoint = api.create_endpoint_config(ipv4_address=host.address(subnet_of(network)), aliases=[host.name])
    made = api.create_container(
        image_tag(host.suite),
        name=container_name(lab, host.name),
        hostname=host.name,
        labels={LAB: lab, HOST: host.name, SUITE: host.suite, CARDS: cards},
        command=[gpus.ENTRY, INIT] if cards else None,
        volumes=["/var/lib/docker"],  # anonymous: an overlay file system cannot hold another one
        host_config=host_config,
        networking_config=api.create_networking_config({network.name: endpoint}),
    )
    container = client.containers.get(made["Id"])
    if cards:
        container.put_archive("/", gpus.archive(gpus.cards(lab, host.name, cards)))
    with tempfile.TemporaryDirectory(prefix="gpufleet-lab-") as folder:
        key = Path(folder, "key")
        make_key(key, f"root@{host.name}")
        _put(
            container,
            {
                HOST_KEY: (key.read_bytes(), 0o600),
                HOST_KEY + ".pub": (Path(f"{key}.pub").read_bytes(), 0o644),
            },
        )
    container.start()


def make_key(path: Path, comment: str) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"ssh-keygen could not make {path}: {done.stderr.strip()}")


def authorize(client: docker.DockerClient, lab: str, hosts: list[str], public_key: str) -> dict[str, str]:
    """Let the key in as `fleet` on each host where it is not yet; the hosts' own public keys."""

    def one(name: str) -> tuple[str, str]:
        container = client.containers.get(container_name(lab, name))
        known = _get(container, AUTHORIZED) or ""
        if public_key.strip() not in known.splitlines():
            text = known + public_key.strip() + "\n"
            _put(container, {AUTHORIZED: (text.encode(), 0o600)}, owner=1000)
        return name, " ".join((_get(container, HOST_KEY + ".pub") or "").split()[:2])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(pool.map(one, hosts))


def _put(container: Container, files: dict[str, tuple[bytes, int]], owner: int = 0) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, (content, mode) in files.items():
            if owner:  # the folder is the user's own, and SSH insists on its mode
                folder = tarfile.TarInfo(str(Path(path).parent).lstrip("/"))
                folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, owner, owner
                archive.addfile(folder)
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = (
                len(content),
                mode,
                owner,
                owner,
                int(time.time()),
            )
            archive.addfile(entry, io.BytesIO(content))
    container.put_archive("/", stream.getvalue())


def _get(container: Container, path: str) -> str | None:
    try:
        chunks, _stat = container.get_archive(path)
    except docker.errors.NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        return file.read().decode() if file else None


def _wait(client: docker.DockerClient, lab: str, name: str, address: str) -> None:
    container = client.containers.get(container_name(lab, name))
    deadline = time.monotonic() + BOOT_SECONDS
    state = ""
    while time.monotonic() < deadline:
        container.reload()
        if container.status != "running":
            raise LabError(
                f"{name} stopped while starting:\n{container.logs(tail=8).decode(errors='replace')}"
            )
        result = container.exec_run(["systemctl", "is-system-running", "--wait"])
        state = result.output.decode(errors="replace").strip().splitlines()[-1:][0] if result.output else ""
        if state in ("running", "degraded"):
            break
        time.sleep(0.2)
    if state == "degraded":
        failed = container.exec_run(["systemctl", "--failed", "--plain", "--no-legend"]).output.decode()
        units = ", ".join(line.split()[0] for line in failed.splitlines())
        say(f"          {name} runs, but units failed: {units}")
    elif state != "running":
        raise LabError(
            f"systemd on {name} was '{state or 'silent'}' after {BOOT_SECONDS} s.",
            f"docker logs {container.name}",
        )
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.1)
    raise LabError(
        f"SSH on {name} ({address}) cannot be reached from this machine.",
        "The lab needs an engine on this very machine, whose bridge networks it can reach.",
    )

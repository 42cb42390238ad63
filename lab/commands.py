# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands do, in order."""

from __future__ import annotations

from pathlib import Path

import docker

from . import base, build, catalog, engine, gpus, inventory, nodes, registry
from .plan import check_name, plan_hosts, registry_address
from .report import say, step


def up(lab: str, hosts: int, managers: int, folder: Path, cards: str = "", fronts: int = 0) -> None:
    """cards: which hosts have pretend GPUs (gpus.parse)."""
    check_name(lab)
    plan = plan_hosts(hosts, managers, fronts)
    with_cards = gpus.parse(cards, [host.name for host in plan])
    client = engine.ensure()
    with engine.lock():
        nodes.ensure_images(client, {host.suite for host in plan})
        registry.ensure_image(client)
        network = nodes.ensure_network(client, lab, folder)
        registry.ensure(client, network, registry_address(nodes.subnet_of(network)))
    nodes.ensure_hosts(client, lab, plan, network, with_cards)
    _write_inventory(client, lab, plan, nodes.subnet_of(network), folder, with_cards)


def show_images() -> None:
    """Build whatever is missing, then list what the registry serves."""
    client = engine.ensure()
    with engine.lock():
        nodes.ensure_images(client, set(base.DEBIAN))
        registry.ensure_image(client)
    rows = [("IMAGE", "KIND", "ORIGIN OR PORTS")]
    for image in catalog.load():
        detail = image.origin if image.real else " ".join(image.ports) or "-"
        rows.append((image.name, "real" if image.real else "stand-in", detail))
    _table(rows)


def _write_inventory(
    client: docker.DockerClient, lab: str, plan: list, subnet: str, folder: Path, with_cards: dict[str, str]
) -> None:
    inventory.prepare(folder, lab)
    key = folder / ".ssh" / "id_ed25519"
    if not key.is_file():
        nodes.make_key(key, f"gpufleet lab {lab}")
    public = Path(f"{key}.pub").read_text(encoding="utf-8")
    host_keys = nodes.authorize(client, lab, [host.name for host in plan], public)
    variables = {
        "fleet_name": lab,
        "fleet_domain": "lab.test",
        "fleet_systems": ["linto"],
        "docker_registry_mirrors": [registry.mirror_url()],
        **(gpus.variables() if with_cards else {}),
    }
    files = {
        folder / "hosts.yml": inventory.render_hosts(plan, subnet, with_cards),
        folder / "group_vars" / "all.yml": inventory.render_variables(variables),
        folder / ".ssh" / "known_hosts": inventory.render_known_hosts(plan, subnet, host_keys),
    }
    written = [inventory.write(path, text) for path, text in files.items()]
    say(f"          The inventory {folder} {'is written' if any(written) else 'is as it should be'}")


def down(lab: str, folder: Path, everything: bool) -> None:
    # An engine that does not run is started only where a lab may be left in it.
    left = inventory.made_for(folder, lab) or engine.started_before()
    client = engine.find() or (engine.start() if left and engine.installed() else None)
    if client:
        with engine.lock():
            labs = sorted(_labs(client)) if everything else [check_name(lab)]
            for name in labs:
                _remove(client, name)
            if not _labs(client):
                registry.remove(client)
            if everything:
                with step("Remove the images") as now:
                    now.note = str(build.remove_all(client))
    if inventory.remove(folder, lab):
        say(f"          Removed the inventory {folder}")
    if everything:
        engine.stop_own()


def _labs(client: docker.DockerClient) -> set[str]:
    named = [container.labels[nodes.LAB] for container in nodes.containers(client)]
    named += [
        network.attrs["Labels"][nodes.LAB] for network in client.networks.list(filters={"label": nodes.LAB})
    ]
    return set(named)


def _remove(client: docker.DockerClient, lab: str) -> None:
    several, network = nodes.containers(client, lab), nodes.find_network(client, lab)
    if not several and not network:
        say(f"          There is no lab {lab}")
        return
    with step(f"Remove the lab {lab}") as now:
        now.note = f"{len(several)} hosts"
        nodes.remove(several)
        if network:
            folder = network.attrs["Labels"].get(nodes.INVENTORY)
            registry.leave(client, network)
            network.remove()
            if folder and inventory.remove(Path(folder), lab):
                now.note += f", inventory {folder}"


def status() -> None:
    client = engine.find()
    if not client:
        say("No Docker Engine answers on this machine, so there is no lab.")
        return
    rows = [("LAB", "HOST", "ADDRESS", "SYSTEM", "STATE")]
    for container in nodes.containers(client):
        lab, host = container.labels[nodes.LAB], container.labels[nodes.HOST]
        ports = container.attrs["NetworkSettings"]["Networks"].get(nodes.network_name(lab), {})
        address = (ports.get("IPAMConfig") or {}).get("IPv4Address") or ports.get("IPAddress") or "-"
        rows.append((lab, host, address, container.labels.get(nodes.SUITE, "-"), container.status))
    rows[1:] = sorted(rows[1:])
    _table(rows)
    if len(rows) == 1:
        say("(none; make one with: python3 -m lab up)")
    container = registry.find(client)
    if container and container.status == "running":
        local = registry.push_address(container)
        say(f"Registry: {registry.mirror_url()}, and {local} to push from this machine")


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

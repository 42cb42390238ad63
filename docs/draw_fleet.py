# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw docs/fleet.svg: what stands after `make demo`.

Nothing is drawn by hand: the hosts come from the lab's plan; the services, their routes and their placement
come from the Compose templates of the roles ingress and linto, rendered with the roles' defaults.
`make picture` writes the file again, and a test fails when it is out of date.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lab.plan import Host, plan_hosts  # noqa: E402

PICTURE = ROOT / "docs" / "fleet.svg"
DOMAIN = "lab.test"
SUITES = {"trixie": "Debian 13", "bookworm": "Debian 12"}

# Sizes in pixels.
WIDTH, MARGIN, GAP, PADDING = 980, 24, 12, 14
CHIP_HEIGHT, LEFT_WIDTH = 46, 490

KINDS = {
    "edge": "the way in",
    "routed": "reached over HTTPS",
    "background": "works in the background",
    "data": "keeps data",
    "job": "runs once",
}


@dataclass(frozen=True)
class Service:
    """One service of a stack: its name, a line under it, its kind, and the host it is bound to, if any."""

    name: str
    detail: str
    kind: str
    host: str | None


def variables_of(role: str) -> dict:
    """Return the defaults and constants of a role, as Ansible would load them."""
    loader, values = DataLoader(), {}
    for part in ("defaults", "vars"):
        path = ROOT / "roles" / role / part / "main.yml"
        if path.is_file():
            values |= loader.load_from_file(str(path), trusted_as_template=True) or {}
    return values


def render(role: str, hosts: list[Host]) -> dict:
    """Return a role's Compose template as rendered for the lab."""
    groups = {
        "managers": [host.name for host in hosts if host.group == "managers"],
        "workers": [host.name for host in hosts if host.group == "workers"],
    }
    folder = ROOT / "roles" / role
    known = {**variables_of("fleet"), **variables_of("ingress"), **variables_of(role)}
    known |= {
        "fleet_domain": DOMAIN,
        "inventory_dir": ".",
        "groups": groups,
        "hostvars": {host.name: {} for host in hosts},
        "inventory_hostname": groups["managers"][0],
        # Where Ansible looks for the files of the role.
        "ansible_search_path": [str(folder)],
        "role_path": str(folder),
    }
    template = (folder / "templates" / f"{role}.yml.j2").read_text(encoding="utf-8")
    text = Templar(loader=DataLoader(), variables=known).template(trust_as_template(template))
    return yaml.safe_load(text)


def placement(service: dict, manager: str) -> str | None:
    """Return the host a service is bound to by its constraints, None where any will do.

    With one manager, which is also the only ingress node, these three all name it.
    """
    constraints = service.get("deploy", {}).get("placement", {}).get("constraints", [])
    for constraint in constraints:
        left, right = (part.strip() for part in constraint.split("=="))
        if left == "node.labels.gpufleet.host":
            return right
        if (left, right) in (("node.role", "manager"), ("node.labels.gpufleet.ingress", "true")):
            return manager
    return None


def service_of(stack: str, name: str, definition: dict, manager: str) -> Service:
    """Return what the picture says about one service."""
    deploy = definition.get("deploy", {})
    labels = deploy.get("labels", {})
    rules = " ".join(str(value) for key, value in labels.items() if key.endswith(".rule"))
    paths = re.findall(r"PathPrefix\(`([^`]+)`\)", rules)
    image, _, tag = definition["image"].rpartition("/")[2].partition("@")[0].partition(":")
    image += f":{tag}" if tag[:1].isdigit() else ""
    if stack == "ingress":
        ports = "  ".join(f":{port['published']}" for port in definition.get("ports", []))
        return Service(name, ports or "read-only view of the Swarm", "edge", placement(definition, manager))
    if paths:
        kind, detail = "routed", paths[0]
    elif deploy.get("mode", "").endswith("-job"):
        kind, detail = "job", image
    elif deploy.get("update_config", {}).get("order") == "stop-first":
        kind, detail = "data", image
    else:
        kind, detail = "background", image
    return Service(name, detail, kind, placement(definition, manager))


def services(hosts: list[Host]) -> list[Service]:
    """Return every service of the demo, in the order they are drawn."""
    manager = next(host.name for host in hosts if host.group == "managers")
    found = [
        service_of(stack, name, definition, manager)
        for stack in ("ingress", "linto")
        for name, definition in render(stack, hosts)["services"].items()
    ]
    kinds = list(KINDS)
    return sorted(
        found, key=lambda service: (kinds.index(service.kind), service.detail[:1] != ":", service.name)
    )


STYLE = """
  .paper { fill: #fbfcfe; stroke: #d5dbe5 }
  .box { fill: #ffffff; stroke: #b8c2d1 }
  .band { fill: #f1f4f9; stroke: #b8c2d1; stroke-dasharray: 5 4 }
  .title { font-weight: 600; font-size: 15px; fill: #1b2330 }
  .note { font-size: 12.5px; fill: #526075 }
  .name { font-weight: 600; font-size: 12.5px; fill: #1b2330 }
  .detail { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 11px; fill: #43506a }
  .wire { stroke: #5b6b84; stroke-width: 1.6; fill: none }
  .head { fill: #5b6b84 }
  .edge { fill: #e6e1fb; stroke: #7c66d6 } .routed { fill: #d9ecfb; stroke: #3c8fce }
  .background { fill: #e8ecf2; stroke: #8695ab } .data { fill: #fdeccb; stroke: #d09a2c }
  .job { fill: #dff3e2; stroke: #4ba35c }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #12161d; stroke: #2c3543 } .box { fill: #191f29; stroke: #465368 }
    .band { fill: #151a22; stroke: #465368 } .title, .name { fill: #e7ecf4 } .note { fill: #a5b1c4 }
    .detail { fill: #bac6d8 } .wire { stroke: #93a2ba } .head { fill: #93a2ba }
    .edge { fill: #33295f; stroke: #9a86ee } .routed { fill: #15384f; stroke: #58aee9 }
    .background { fill: #2a3341; stroke: #8695ab } .data { fill: #4a3812; stroke: #dcaa45 }
    .job { fill: #1c3d24; stroke: #63bd75 }
  }
"""


def box(x: float, y: float, width: float, height: float, style: str) -> str:
    """Return a rounded rectangle."""
    return f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>'


def text(x: float, y: float, style: str, words: str, room: float = 0) -> str:
    """Return a line of text; with ``room``, in letters small enough for that many pixels in a wide font."""
    largest = {"name": 12.5, "detail": 11}.get(style, 0)
    size = (
        f' style="font-size:{room / 0.68 / len(words):.1f}px"'
        if room and room < 0.68 * largest * len(words)
        else ""
    )
    return f'<text class="{style}" x="{x:g}" y="{y:g}"{size}>{escape(words)}</text>'


def arrow(x: float, y: float, to_y: float) -> str:
    """Return a vertical arrow."""
    return (
        f'<path class="wire" d="M{x:g} {y:g}V{to_y - 7:g}"/>'
        f'<path class="head" d="M{x - 5:g} {to_y - 8:g}h10l-5 8z"/>'
    )


def chip(service: Service, x: float, y: float, width: float) -> list[str]:
    """Return the drawing of one service."""
    return [
        box(x, y, width, CHIP_HEIGHT, service.kind),
        text(x + 10, y + 19, "name", service.name, width - 20),
        text(x + 10, y + 36, "detail", service.detail, width - 20),
    ]


def panel(
    title: str, note: str, found: list[Service], x: float, y: float, width: float, style: str = "box"
) -> tuple[list[str], float]:
    """Return a framed group of services in two columns, and the y below it."""
    step = (width - 2 * PADDING + GAP) / 2
    body = y + (58 if title else 36)
    drawn = []
    for index, service in enumerate(found):
        row, column = divmod(index, 2)
        drawn += chip(service, x + PADDING + column * step, body + row * (CHIP_HEIGHT + GAP), step - GAP)
    bottom = body + -(-len(found) // 2) * (CHIP_HEIGHT + GAP) + (2 if found else 6)
    words = [text(x + PADDING, y + 25, "title", title)] if title else []
    words.append(text(x + PADDING, y + (44 if title else 23), "note", note))
    return [box(x, y, width, bottom - y, style), *words, *drawn], bottom


def host_title(host: Host) -> str:
    """Return the line under a host's name."""
    role = "manager" if host.group == "managers" else "worker"
    return f"{role}, {SUITES[host.suite]}"


def draw() -> str:
    """Return the picture as SVG text."""
    hosts = plan_hosts(3, 1)
    found = services(hosts)
    first, others = hosts[0], hosts[1:]
    bound = [service for service in found if service.host == first.name]
    free = [service for service in found if service.host is None]
    assert len(bound) + len(free) == len(found), (
        "a service of the demo is bound to another host than the first"
    )

    top = 92
    left, left_bottom = panel(first.name, host_title(first), bound, MARGIN, top, LEFT_WIDTH)
    parts = [
        text(MARGIN, 38, "title", f"https://linto.{DOMAIN}"),
        text(MARGIN, 57, "note", "a browser or curl, with the certificate of the fleet's own authority"),
        *left,
        arrow(MARGIN + LEFT_WIDTH / 2 - 50, 66, top + 56),
    ]
    right, right_width = MARGIN + LEFT_WIDTH + GAP, WIDTH - 2 * MARGIN - LEFT_WIDTH - GAP
    width = (right_width - GAP * (len(others) - 1)) / len(others)
    for index, host in enumerate(others):
        drawn, below = panel(host.name, host_title(host), [], right + index * (width + GAP), top, width)
        parts += drawn
    note = "on whichever node has room, moved when a node fails"
    drawn, below = panel("", note, free, right, below + GAP, right_width, "band")
    parts += drawn
    key = below + 34
    for kind, words in KINDS.items():
        parts += [
            box(right + PADDING, key - 12, 16, 16, kind),
            text(right + PADDING + 26, key + 1, "note", words),
        ]
        key += 25
    height = max(left_bottom, key) + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'height="{height:g}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
        'role="img">'
    )
    title = f"<title>{len(hosts)} hosts and {len(found)} services after make demo</title>"
    paper = f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="12"/>'
    note = "<!-- Drawn by docs/draw_fleet.py from the project's own data: make picture -->"
    return "\n".join([head, note, title, f"<style>{STYLE}</style>", paper, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    init_plugin_loader()
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"Wrote {PICTURE.relative_to(ROOT)}")

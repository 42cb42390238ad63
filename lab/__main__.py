# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the lab: python3 -m lab up|down|status"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .plan import check_name
from .report import LabError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 -m lab", description="Make and remove fleets of containers on this machine."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="make a lab, or bring one in line with what is asked")
    up.add_argument("--name", default="lab", help="name of the lab (default: %(default)s)")
    up.add_argument(
        "--hosts", type=int, default=3, metavar="N", help="number of hosts (default: %(default)s)"
    )
    up.add_argument(
        "--managers",
        type=int,
        default=1,
        metavar="M",
        help="how many of them are managers (default: %(default)s)",
    )
    up.add_argument(
        "--fronts",
        type=int,
        default=0,
        metavar="F",
        help="how many of them stay outside the Swarm, as other ends of tunnels (default: %(default)s)",
    )
    up.add_argument(
        "--gpus",
        default="",
        metavar="HOST=NUMBER[:MODEL],...",
        help="pretend cards of some hosts, as in manager1=2,worker1=1:t4 (default: none)",
    )
    down = commands.add_parser(
        "down", help="remove a lab with all that belongs to it; images stay for the next one"
    )
    down.add_argument("--name", default="lab", help="name of the lab (default: %(default)s)")
    down.add_argument(
        "--all", action="store_true", help="every lab, the images, and the engine if the lab started it"
    )
    for command in (up, down):
        command.add_argument(
            "--inventory",
            type=Path,
            metavar="DIR",
            help="folder of its inventory (default: inventories/NAME)",
        )
    commands.add_parser("images", help="build whatever image is missing, and list what the registry serves")
    commands.add_parser("status", help="show labs, hosts, addresses and states")
    return top


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    start = time.monotonic()
    try:
        import docker  # after the arguments: --help works without the Docker SDK
        import requests

        from . import commands
    except ModuleNotFoundError as error:
        print(f"error: The Python package '{error.name}' is missing.", file=sys.stderr)
        print("       Run the lab with the Python of the virtual environment: make lab", file=sys.stderr)
        return 1
    try:
        if asked.command == "status":
            commands.status()
            return 0
        if asked.command == "images":
            commands.show_images()
            return 0
        folder = (asked.inventory or Path("inventories", check_name(asked.name))).absolute()
        if asked.command == "up":
            commands.up(asked.name, asked.hosts, asked.managers, folder, asked.gpus, asked.fronts)
        else:
            commands.down(asked.name, folder, everything=asked.all)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (docker.errors.DockerException, requests.RequestException) as error:
        print(
            f"error: The Docker Engine refused: {getattr(error, 'explanation', None) or error}",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'The machine'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: Interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    print(f"{time.monotonic() - start:6.1f} s  in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())

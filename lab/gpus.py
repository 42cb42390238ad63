# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pretend cards for hosts of a lab, so that every path to a GPU runs where there is none.

A host with pretend cards has them on its PCI bus and in /proc/driver/nvidia (files laid over what the kernel
tells), a stand-in of nvidia-smi, and a stand-in of NVIDIA's apt repository with a container toolkit whose
runtime decides as the real one which cards a container gets. All of it is told by files in /etc/gpufleet-lab,
which tests may change on a host that runs. Files: gpu/. What is granted is real: Swarm does it.
"""

from __future__ import annotations

import io
import re
import tarfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .report import LabError

FILES = Path(__file__).parent / "gpu"
HOME = "/etc/gpufleet-lab"
REPOSITORY = f"{HOME}/repository"
RELEASES = ("1.17.8", "1.18.1", "1.19.1")  # of the container toolkit; 1.18.1 ignores what Swarm grants
DRIVER, CUDA = "580.95.05", "13.0"
ENTRY = "/usr/local/sbin/lab-gpus"  # first process of a host with cards; goes on with the usual one
LIBRARY = "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so."
MOST = 16


@dataclass(frozen=True)
class Model:
    """name, memory_mib, compute: as the driver tells them. device: PCI device number."""

    name: str
    memory_mib: int
    compute: str
    device: str


MODELS = {
    "a5000": Model("NVIDIA RTX A5000", 24564, "8.6", "2231"),
    "t4": Model("Tesla T4", 15360, "7.5", "1eb8"),
    "h100": Model("NVIDIA H100 80GB HBM3", 81559, "9.0", "2330"),
}


@dataclass(frozen=True)
class Card:
    """One pretend card; index counts from 0 on its host."""

    index: int
    uuid: str
    model: Model

    @property
    def address(self) -> str:
        return f"0000:{0x81 + self.index:02x}:00.0"

    def line(self) -> str:
        """The card in /etc/gpufleet-lab/cards."""
        words = [self.index, self.uuid, self.model.name, self.model.memory_mib, self.model.compute]
        return "|".join(map(str, [*words, self.address.upper()]))


def parse(text: str, hosts: Iterable[str]) -> dict[str, str]:
    """{host: what it has} of "manager1=2,worker1=1:t4"; what it has is "NUMBER:MODEL"."""
    wanted: dict[str, str] = {}
    known = list(hosts)
    for part in filter(None, text.split(",")):
        found = re.fullmatch(rf"([a-z0-9]+)=(\d+)(?::({'|'.join(MODELS)}))?", part.strip())
        if not found or found[1] not in known or not 1 <= int(found[2]) <= MOST:
            raise LabError(
                f"'{part}' gives no host cards.",
                f"Use --gpus HOST=NUMBER[:MODEL],... with a host of {', '.join(known)}, 1 to {MOST} cards, "
                f"and a model of {', '.join(MODELS)}.",
            )
        wanted[found[1]] = f"{found[2]}:{found[3] or 'a5000'}"
    return wanted


def cards(lab: str, host: str, has: str) -> list[Card]:
    """The cards of a host, whose UUIDs are the same whenever the lab is made."""
    number, model = has.split(":")
    return [
        Card(index, f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{index}.{host}.{lab}.lab.test')}", MODELS[model])
        for index in range(int(number))
    ]


def files(several: list[Card]) -> dict[str, tuple[str, int]]:
    """Path -> (content, mode) of everything that makes a host have cards; mode 0: a link to `content`."""
    information = (
        "Model: \t\t {name}\nIRQ:   \t\t 170\nGPU UUID: \t {uuid}\nVideo BIOS: \t 94.02.6d.00.0d\n"
        "Bus Type: \t PCIe\nDMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\nBus Location: \t {address}\n"
        "Device Minor: \t {index}\nGPU Firmware: \t {driver}\nGPU Excluded:\t No\n"
    )
    version = (
        f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release Build  (the lab)\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
    )
    found = {
        f"{HOME}/cards": ("".join(f"{card.line()}\n" for card in several), 0o644),
        f"{HOME}/driver": (f"LIBRARY={DRIVER}\nCUDA={CUDA}\n", 0o644),
        f"{HOME}/proc/nvidia/version": (version, 0o644),
        f"{LIBRARY}{DRIVER}": ("stand-in of the lab\n", 0o644),
        "/usr/bin/nvidia-smi": (FILES.joinpath("nvidia-smi").read_text(encoding="utf-8"), 0o755),
        ENTRY: (FILES.joinpath("lab-gpus").read_text(encoding="utf-8"), 0o755),
    }
    for card in several:
        text = information.format(
            name=card.model.name, uuid=card.uuid, address=card.address, index=card.index, driver=DRIVER
        )
        found[f"{HOME}/proc/nvidia/gpus/{card.address}/information"] = (text, 0o644)
        bus = f"{HOME}/pci/{card.address}"
        found[f"{bus}/vendor"] = ("0x10de\n", 0o644)
        found[f"{bus}/device"] = (f"0x{card.model.device}\n", 0o644)
        found[f"{bus}/class"] = ("0x030200\n", 0o644)
        found[f"{bus}/driver"] = ("../../../../bus/pci/drivers/nvidia", 0)
    for name in ("repository.py", "config.toml", "nvidia-container-runtime", "nvidia-ctk"):
        found[f"{REPOSITORY}/{name}"] = (FILES.joinpath(name).read_text(encoding="utf-8"), 0o644)
    return found


def archive(several: list[Card]) -> bytes:
    """The files as a tar archive for the root of a host."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        made = {"/", "/usr", "/usr/bin", "/usr/local", "/usr/local/sbin", "/usr/lib", "/etc"}
        for path, (content, mode) in sorted(files(several).items()):
            for folder in reversed(Path(path).parents):
                if str(folder) not in made:
                    made.add(str(folder))
                    entry = tarfile.TarInfo(str(folder).lstrip("/"))
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            entry = tarfile.TarInfo(path.lstrip("/"))
            if mode:
                entry.size, entry.mode = len(content.encode()), mode
                tar.addfile(entry, io.BytesIO(content.encode()))
            else:
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
    return stream.getvalue()


def variables() -> dict[str, str]:
    """What a fleet with pretend cards sets: where the stand-in of NVIDIA's repository is."""
    return {
        "nvidia_toolkit_repository_url": f"file://{REPOSITORY}",
        "nvidia_toolkit_repository_key": f"file://{REPOSITORY}/gpgkey",
    }


def build_command() -> list[str]:
    """Builds the stand-in of NVIDIA's repository on a host, once."""
    return ["python3", f"{REPOSITORY}/repository.py", REPOSITORY, *RELEASES]

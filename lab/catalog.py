# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's registry serves: images.toml, read and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .report import LabError

FILE = Path(__file__).parent / "images.toml"
STAND_IN = "stand-in"
ROLES = ("", "client", "migration")


@dataclass(frozen=True)
class Image:
    """One image of the registry. Real: build, origin, wheel, member. Stand-in: ports, role, build."""

    name: str
    build: str = STAND_IN
    origin: str = "stand-in"
    wheel: str = ""
    member: str = ""
    ports: tuple[str, ...] = ()
    role: str = ""

    @property
    def real(self) -> bool:
        return self.origin != STAND_IN

    @property
    def shared(self) -> bool:
        """Whether it is the one small server that most stand-ins are. Others have a folder of their own."""
        return self.build == STAND_IN

    @property
    def repository(self) -> str:
        """Path in the registry, where Docker Hub's own images live under library/."""
        path = self.name.partition(":")[0]
        return path if "/" in path else f"library/{path}"

    @property
    def tag(self) -> str:
        return self.name.partition(":")[2]

    def labels(self) -> dict[str, str]:
        return {"gpufleet.stand-in": str(not self.real).lower(), "gpufleet.origin": self.origin}

    def dockerfile(self) -> str:
        """A stand-in adds nothing to the shared one but what it is: no layer of its own."""
        lines = ["ARG BASE", "FROM ${BASE}"]
        lines += [f'ENV STAND_IN_IMAGE="{self.name}" STAND_IN_ROLE="{self.role}"']
        lines += [f'ENV STAND_IN_PORTS="{" ".join(self.ports)}"']
        lines += [f"EXPOSE {' '.join(self.ports)}"] if self.ports else []
        return "\n".join(lines) + "\n"


def load(text: str | None = None) -> list[Image]:
    """Every image, real ones first. text: content instead of images.toml's."""
    data = tomllib.loads(FILE.read_text(encoding="utf-8") if text is None else text)
    try:
        images = [Image(**entry) for entry in data.get("real", [])]
        images += [
            Image(**{**entry, "ports": tuple(entry.get("ports", []))}) for entry in data.get("stand_in", [])
        ]
    except TypeError as error:
        raise LabError(f"{FILE.name}: {error}") from None
    for image in images:
        if not image.tag or image.role not in ROLES:
            raise LabError(f"{FILE.name}: '{image.name}' lacks a tag, or its role '{image.role}' is unknown.")
    return images

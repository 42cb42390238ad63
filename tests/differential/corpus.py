# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack files of corpus/, and what each says about itself under its key x-corpus.

    live         "yes", or why it cannot run on a Swarm without anything else
    not_live     {Engine: why it cannot run on a Swarm of this one, deployed by the client of its version}
    since        oldest client that knows its keys; older ones refuse it (default: the oldest)
    also         further files that are laid on it
    environment  variables: the client's process environment, and the module's environment
    twin         file that says the same in words of the CLI; ours is compared with what that makes of it
    alone        "yes": each service is a case of its own, together with everything that is not a service
    refused      "yes": nothing in it can be deployed by anyone (what only one refuses is in deviations.py)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "corpus"
KEYS = {"live", "not_live", "since", "also", "environment", "twin", "alone", "refused"}
PART = ".part"  # in the name of a file that is only laid on another


@dataclass(frozen=True)
class Case:
    """One stack. texts: (name of the file, its content), in their order; service: the only one, if alone."""

    name: str
    texts: tuple[tuple[str, str], ...]
    environment: dict = field(default_factory=dict)
    live: str = ""
    not_live: dict = field(default_factory=dict)
    since: str = ""
    twin: str | None = None
    service: str | None = None
    refused: bool = False

    @property
    def id(self):
        return f"{self.name}:{self.service}" if self.service else self.name

    @property
    def written(self):
        """Whether its files lie in the folder as they are."""
        return self.service is None


def cases():
    """Return every case by its id."""
    found = [
        case for path in sorted(FOLDER.glob("*.yml")) if PART not in path.name for case in _cases(path.stem)
    ]
    return {case.id: case for case in found}


def _cases(name):
    text = _read(f"{name}.yml")
    notes = next(yaml.load_all(text, yaml.BaseLoader)).get("x-corpus", {})
    unknown = set(notes) - KEYS
    if unknown or "live" not in notes:
        raise ValueError(
            f"corpus/{name}.yml: x-corpus has {sorted(notes)}, wanted live and of {sorted(KEYS)}"
        )
    common = {key: notes[key] for key in ("live", "not_live", "since", "twin", "environment") if key in notes}
    common["refused"] = notes.get("refused") == "yes"
    files = [f"{name}.yml", *notes.get("also", ())]
    if notes.get("alone") != "yes":
        return [Case(name, tuple((file, _read(file)) for file in files), **common)]
    document = yaml.safe_load(text)
    return [
        Case(name, ((f"{name}.yml", _only(document, service)),), service=service, **common)
        for service in document["services"]
    ]


def _only(document, service):
    """Return a file with one service, as JSON, which is YAML."""
    return json.dumps({**document, "services": {service: document["services"][service]}})


def _read(name):
    return (FOLDER / name).read_text(encoding="utf-8")

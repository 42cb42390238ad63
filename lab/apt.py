# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's own apt settings, from which the images get theirs.

Nothing here knows the name of a mirror: it is read from the machine at run time. A machine whose sources name
no Debian archive (Ubuntu, for instance) leaves the choice to mmdebstrap, which has a default.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "trixie", "forky", "sid", "bullseye")  # what makes an entry one of Debian's own archive
# Settings without which the machine itself could not install, so that neither could a host of the lab.
KEPT = re.compile(
    r"Acquire::(Check-Valid-Until|Check-Date|Retries|https?::(Proxy|Verify-Peer|Verify-Host|Timeout)(::\S+)?)"
    r' ".*";'
)


@dataclass(frozen=True)
class Mirror:
    """Where Debian packages come from. None: not named by the machine."""

    main: str | None = None
    security: str | None = None

    def sources(self, suite: str) -> list[str]:
        """One-line apt sources of a release; empty when the machine names no mirror."""
        if not self.main:
            return []
        signed = f"deb [signed-by={KEYRING}]"
        lines = [f"{signed} {self.main} {suite} main", f"{signed} {self.main} {suite}-updates main"]
        if self.security:
            lines.append(f"{signed} {self.security} {suite}-security main")
        return lines


def parse_entries(text: str, deb822: bool) -> list[tuple[str, str]]:
    """(URI, suite) of each enabled binary source in one file, in the order of the file."""
    return list(_deb822(text) if deb822 else _one_line(text))


def _one_line(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        words = re.sub(r"\[[^\]]*\]", " ", line.partition("#")[0]).split()
        if len(words) >= 3 and words[0] == "deb":
            yield words[1], words[2]


def _deb822(text: str) -> Iterable[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if (
            fields.get("enabled", "yes").lower() in ("no", "false", "0")
            or "deb" not in fields.get("types", "").split()
        ):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield uri, suite


def pick_mirror(entries: Iterable[tuple[str, str]]) -> Mirror:
    """The first archive that serves a Debian release, and the first that serves its security updates."""
    main = security = None
    for uri, suite in entries:
        release, _, pocket = suite.replace("/", "-").partition("-")
        if release not in SUITES:
            continue
        if pocket.startswith("security"):
            security = security or uri.rstrip("/")
        elif pocket in ("", "updates"):
            main = main or uri.rstrip("/")
    return Mirror(main, security)


def machine_mirror(root: Path = Path("/etc/apt")) -> Mirror:
    files = [root / "sources.list", *sorted(root.glob("sources.list.d/*"))]
    entries: list[tuple[str, str]] = []
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            entries += parse_entries(file.read_text(encoding="utf-8"), deb822=file.suffix == ".sources")
    return pick_mirror(entries)


def pick_settings(dump: str) -> list[str]:
    """The lines of `apt-config dump` that the images need as well."""
    return [line for line in dump.splitlines() if KEPT.fullmatch(line)]


def machine_settings() -> list[str]:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return pick_settings(dump.stdout)


def machine_authorities(root: Path = Path("/usr/local/share/ca-certificates")) -> dict[str, str]:
    """Certificates that this machine's owner has added, name -> PEM: its network may need them in a lab."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(root.glob("*.crt"))}

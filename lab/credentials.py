# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of a fleet as a test looks for them where they must not be."""

from __future__ import annotations

import base64
from pathlib import Path


def secret_texts(folder: Path) -> dict[str, set[str]]:
    """Return, by file under a credentials folder, the texts that must appear nowhere else.

    A key in PEM form is told by any of its lines. Each text is also looked for in base64, the form in which
    the Engine's API carries the content of secrets.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in (".crt", ".csr", ".pub"):
            continue
        text = path.read_text(encoding="utf-8").strip()
        lines = [line for line in text.splitlines() if "-----" not in line and len(line) >= 8]
        encoded = base64.b64encode(text.encode()).decode()
        found[str(path.relative_to(folder))] = {*lines, encoded}
    return found


def leaked(folder: Path, text: str) -> list[str]:
    """Return the files under a credentials folder whose content stands in a text."""
    return [file for file, texts in secret_texts(folder).items() if any(secret in text for secret in texts)]

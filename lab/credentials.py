# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of a fleet as a test looks for them where they must not be."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization

PUBLIC = (".crt", ".csr", ".pub", ".json")


def secret_texts(folder: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> dict[str, set[str]]:
    """Return, by file under a credentials folder, the texts that must appear nowhere else.

    A key in PEM form is told by any of its lines, but for those of its public half, with which an elliptic
    key ends (RFC 5915) and which certificates and logs may show. Each content is also looked for in base64,
    the form in which the Engine's API carries the content of secrets, and one that is no text, as the key of
    a tunnel is not, in hexadecimal digits.

    read  returns the content of a file; give one that decrypts where Ansible Vault has encrypted them
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in PUBLIC:
            continue
        content = read(path).strip()
        found[str(path.relative_to(folder))] = {*forms(content), base64.b64encode(content).decode()}
    return found


def forms(content: bytes) -> list[str]:
    """Return the texts that tell a secret's content."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return [content.hex()]
    public = public_half(text)
    lines = [line for line in text.splitlines() if "-----" not in line and len(line) >= 8]
    return [line for line in lines if line not in public]


def public_half(text: str) -> str:
    """Return the public half of a private key in PEM form, in base64; nothing for any other text."""
    if "PRIVATE KEY-----" not in text:
        return ""
    public = serialization.load_pem_private_key(text.encode(), password=None).public_key()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public.public_bytes(*form)).decode()


def leaked(secrets: dict[str, set[str]], text: str) -> list[str]:
    """Return those files of secret_texts() whose content stands in a text."""
    return [file for file, texts in secrets.items() if any(secret in text for secret in texts)]

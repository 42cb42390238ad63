# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images, by the grammar of distribution/reference. Private: may change in any release."""

from __future__ import annotations

import re

_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_HUB = ("docker.io", "index.docker.io")


def familiar(text):
    """Bring an image's name into the form the Engine is sent: Docker Hub's short names, always a tag.

    nginx -> nginx:latest, docker.io/library/nginx:1 -> nginx:1, ghcr.io/a/b@sha256:... stays.
    Raises ValueError with what was wanted.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("a digest such as sha256:... after the @")
    # A colon behind the last slash begins the tag; one before it belongs to a registry's port.
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon, tag = rest, "", ""
    if colon and not _TAG.fullmatch(tag):
        raise ValueError("a tag of letters, digits, _ . and - after the last colon")
    domain, slash, path = name.partition("/")
    if not slash or not (re.search("[.:]", domain) or domain == "localhost" or domain != domain.lower()):
        domain, path = _HUB[0], name
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("a registry's host name before the first slash")
    if not _PATH.fullmatch(path) or len(name) > 255:
        raise ValueError("a repository of small letters, digits and . _ - / between them")
    if domain in _HUB:
        path = path.removeprefix("library/") if path.count("/") == 1 else path
        name = path
    if not colon and not at:
        tag, colon = "latest", ":"
    return name + colon + tag + at + digest

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images built from the folders of dockerfiles/, and built again only when their content changes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import docker

from .report import LabError

FOLDERS = Path(__file__).parent / "dockerfiles"
OURS = "gpufleet.lab.image"  # label of every image of the lab; its value says what it was made from


def built(client: docker.DockerClient, tag: str) -> str | None:
    """What an image was made from (a hash), None if there is no such image."""
    try:
        return client.images.get(tag).labels.get(OURS)
    except docker.errors.ImageNotFound:
        return None


def content_hash(folders: Iterable[Path], *more: object) -> str:
    """Changes when a file of a folder does (name, content, executable), or one of the values in `more`."""
    digest = hashlib.sha256(repr(more).encode())
    for folder in folders:
        for file in sorted(
            path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ):
            digest.update(
                f"\0{folder.name}/{file.relative_to(folder)}\0{file.stat().st_mode & 0o100:o}\0".encode()
            )
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def build(
    client: docker.DockerClient,
    tag: str,
    base: str,
    made_from: str,
    folder: Path | None = None,
    dockerfile: str | None = None,
    extra: dict[str, bytes] | None = None,
    labels: dict[str, str] | None = None,
) -> None:
    """docker build of a folder, or of a Dockerfile alone, on top of the image `base`.

    made_from: hash to remember. extra: executable files laid into the folder. labels: of the image.
    """
    files = dict(extra or {})
    if dockerfile:
        files["Dockerfile"] = dockerfile.encode()
    try:
        client.images.build(
            fileobj=_context(folder, files),
            custom_context=True,
            tag=tag,
            buildargs={"BASE": base},
            labels={OURS: made_from, **(labels or {})},
            rm=True,
            forcerm=True,
        )
    except docker.errors.BuildError as error:
        lines = [line.get("stream", line.get("error", "")).strip() for line in error.build_log]
        tail = "\n       ".join([line for line in lines if line][-8:])
        raise LabError(f"Could not build {tag}:\n       {tail}") from None


def _context(folder: Path | None, files: dict[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        if folder:
            archive.add(folder, arcname=".", filter=_plain)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    stream.seek(0)
    return stream


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without what differs from checkout to checkout, so that the engine's build cache holds."""
    if "__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o100 or entry.isdir() else 0o644
    return entry


def forget_old(client: docker.DockerClient) -> None:
    """Remove images of the lab that a newer one has replaced, unless a container still uses them."""
    client.images.prune(filters={"dangling": True, "label": OURS})


def remove_all(client: docker.DockerClient) -> int:
    """Remove every image of the lab; the number of those removed."""
    images = client.images.list(filters={"label": OURS})
    for image in images:
        for tag in image.tags or [image.id]:
            with contextlib.suppress(docker.errors.ImageNotFound):  # went with the one built on it
                client.images.remove(tag, force=True)
    return len(images)

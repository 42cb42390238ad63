# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives as docker save writes them, read in part. Private: may change in any release.

An archive is a tar file with a manifest.json: for each image its names, its configuration and its layers,
which are files of the archive too, each there once for all images (moby, image/tarexport/save.go). Since
Engine 25 the files lie in blobs/sha256, and the archive is an OCI layout as well; before, equal layers were
links.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError


class Image:
    """One image of an archive. id: digest of its configuration; layers: those of its unpacked layers."""

    def __init__(self, entry, config):
        document = json.loads(config)
        self.names = entry.get("RepoTags") or []
        self.config = entry["Config"]
        self.files = entry["Layers"]
        self.id = f"sha256:{hashlib.sha256(config).hexdigest()}"
        self.layers = document["rootfs"]["diff_ids"]
        self.platform = f"{document.get('os', '')}/{document.get('architecture', '')}"
        if len(self.layers) != len(self.files):
            raise KeyError("layers")


class Archive:
    """An archive on the controller. Use it as a context manager."""

    def __init__(self, path):
        self.path = path
        self._tar = None
        self.images = []

    def __enter__(self):
        try:
            # Without compression, so that each file is found by its place.
            self._tar = tarfile.open(self.path, "r:")
            self._members = {posixpath.normpath(member.name): member for member in self._tar}
            entries = json.loads(self._read("manifest.json"))
            self.images = [Image(entry, self._read(entry["Config"])) for entry in entries]
        except FileNotFoundError as exc:
            raise FleetError(
                "There is no archive of images", self.path, option="fleet_images_archive"
            ) from exc
        except (OSError, tarfile.TarError, KeyError, TypeError, AttributeError, ValueError) as exc:
            self.__exit__()
            raise FleetError(
                "This is no archive of images",
                self.path,
                wanted="an uncompressed tar file as playbooks/save_images.yml or docker save writes it",
                option="fleet_images_archive",
                cause=f"{type(exc).__name__}: {exc}",
            ) from exc
        return self

    def __exit__(self, *_error):
        if self._tar:
            self._tar.close()

    def named(self):
        """Return {name: Image}."""
        return {name: image for image in self.images for name in image.names}

    def part(self, image, names, known, file):
        """Write an archive of one image into a binary file, without the layers that the reader has.

        known: set of layer tuples, see ``prefixes``
        """
        with tarfile.open(fileobj=file, mode="w") as out:
            for number, path in enumerate(image.files):
                if tuple(image.layers[: number + 1]) not in known and path not in image.files[:number]:
                    member = self._real(path)
                    self._add(out, path, member.size, self._tar.extractfile(member))
            config = self._read(image.config)
            self._add(out, image.config, len(config), io.BytesIO(config))
            entry = {"Config": image.config, "RepoTags": names, "Layers": image.files}
            manifest = json.dumps([entry]).encode()
            self._add(out, "manifest.json", len(manifest), io.BytesIO(manifest))

    def _read(self, path):
        return self._tar.extractfile(self._real(path)).read()

    def _real(self, path):
        """Return the member at a path, or what it links to."""
        member = self._members[posixpath.normpath(path)]
        for _step in range(10):
            if member.isreg():
                return member
            target = (
                member.linkname
                if member.islnk()
                else posixpath.join(posixpath.dirname(member.name), member.linkname)
            )
            member = self._members[posixpath.normpath(target)]
        raise KeyError(path)

    @staticmethod
    def _add(out, path, size, content):
        info = tarfile.TarInfo(path)
        info.size = size
        info.mode = 0o644
        out.addfile(info, content)


def prefixes(lists):
    """Return every beginning of layer lists, as tuples: a layer is the same only upon the same ones."""
    return {tuple(layers[: end + 1]) for layers in lists for end in range(len(layers))}


def same(image, found, partial):
    """Tell whether a node has this image under a name. found: see _image_store.look().

    Where containerd keeps the images their ids are other digests, so the layers are compared.
    """
    if not found["present"]:
        return False
    return found["id"] == image.id or (not partial and found["layers"] == image.layers)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role images builds with BuildKit: by a plugin, or by a client that has it in itself."""

from __future__ import annotations

import pytest

from tests.unit.roles.rendered import Rendered

DEBIAN_12, DEBIAN_13 = "20.10.24+dfsg1-1+deb12u1+b6", "26.1.5+dfsg1-9+deb13u1+b1"
BUILD = {
    "reference": "localhost/notes:0123456789ab", "context": "app", "dockerfile": "docker/Dockerfile",
    "target": None, "args": {}, "commit": "0" * 40,
}  # fmt: skip


def on_host(packages, build=None):
    """The role on a build host with these packages, by their versions."""
    known = {
        name: {"want": "hold", "status": "installed" if version else "config-files", "version": version}
        for name, version in packages.items()
    }
    chosen = {
        "__images_builder": {"host": {"packages": known}},
        "__images_build": {**BUILD, **(build or {})},
        "__images_context": "/var/lib/gpufleet/builds/notes/app",
    }
    return Rendered("images", chosen)


@pytest.mark.parametrize(
    ("packages", "built_in", "plugin"),
    [
        ({"docker.io": DEBIAN_12}, True, "docker-buildx"),
        ({"docker.io": DEBIAN_13}, False, "docker-buildx"),
        ({"docker.io": "20.10.12-0ubuntu4"}, True, "docker-buildx"),
        ({"docker.io": "27.5.1-0ubuntu3~22.04.2", "docker-buildx": "0.20.1"}, False, "docker-buildx"),
        ({"docker-ce-cli": "5:28.5.1-1~debian.12~bookworm"}, False, "docker-buildx-plugin"),
        # The distribution's, which was removed for Docker's.
        ({"docker.io": "", "docker-ce-cli": "5:28.5.1-1~debian.12~bookworm"}, False, "docker-buildx-plugin"),
    ],
)
def test_the_plugin_is_the_one_of_the_engines_source_where_the_client_needs_one(packages, built_in, plugin):
    role = on_host(packages)
    assert role.value("__images_built_in") is built_in
    assert role.value("__images_plugin") == plugin


def test_an_older_client_is_told_all_that_the_module_would_be():
    role = on_host({"docker.io": DEBIAN_12}, {"target": "last", "args": {"WHO": "the fleet", "NUMBER": 3}})
    assert role.value("__images_old_words") == [
        "docker", "build", "--progress=plain", "--tag", "localhost/notes:0123456789ab",
        "--file", "/var/lib/gpufleet/builds/notes/app/docker/Dockerfile",
        "--label", f"org.opencontainers.image.revision={'0' * 40}",
        "--build-arg", "WHO=the fleet", "--build-arg", "NUMBER=3", "--target", "last",
        "/var/lib/gpufleet/builds/notes/app",
    ]  # fmt: skip
    plain = on_host({"docker.io": DEBIAN_12}).value("__images_old_words")
    assert "--target" not in plain and "--build-arg" not in plain

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which installed packages of the Engine have another version than docker_version names."""

from __future__ import annotations

import pytest

from tests.unit.roles.rendered import Rendered

INSTALLED = "5:28.0.1-1~debian.13~trixie"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("", False),
        (INSTALLED, False),
        # As apt_preferences(5) has them, and an apt pin is what the role makes of it.
        ("5:28.*", False),
        ("*28.0*trixie", False),
        ("5:28.1*", True),
        ("5:29.*", True),
        # Dots and plus signs stand for themselves.
        ("5:28x0.1*", True),
        ("5:28.0.1", True),
    ],
)
def test_an_engine_of_another_version_is_told(wanted, told):
    package = {"want": "hold", "status": "installed", "version": INSTALLED}
    role = Rendered(
        "docker",
        {
            "docker_version": wanted,
            "docker_source": "docker",
            "__docker_host": {"host": {"packages": {"docker-ce": package, "containerd.io": package}}},
        },
    )
    assert role.value("__docker_other_versions") == (["docker-ce"] if told else [])

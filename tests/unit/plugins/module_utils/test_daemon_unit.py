# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the daemon's systemd unit, from the unit files as Debian, Docker and people write them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import unit

DEBIAN = """
[Unit]
Description=Docker Application Container Engine
[Service]
Type=notify
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
ExecReload=/bin/kill -s HUP $MAINPID
[Install]
WantedBy=multi-user.target
"""
DROP_IN = """
[Service]
ExecStart=
ExecStart=/usr/bin/dockerd \\
    --log-driver local --log-opt max-size=1m \\
    -D --label "a=b c" --config-file /srv/daemon.json
"""
# sources, environment file -> program, [(key, text, value, place)]
UNITS = {
    "no unit": ([], "", None, []),
    "Debian's": (
        [("/lib/docker.service", DEBIAN)],
        "",
        "/usr/sbin/dockerd",
        [
            ("hosts", "-H fd://", "fd://", "/lib/docker.service"),
            (
                "containerd",
                "--containerd=/run/containerd/containerd.sock",
                "/run/containerd/containerd.sock",
                "/lib/docker.service",
            ),
        ],
    ),
    "Debian's with options": (
        [("/lib/docker.service", DEBIAN)],
        '# old style\nDOCKER_OPTS="--dns 10.0.0.1 --mtu=1400"\n',
        "/usr/sbin/dockerd",
        [
            ("hosts", "-H fd://", "fd://", "/lib/docker.service"),
            (
                "containerd",
                "--containerd=/run/containerd/containerd.sock",
                "/run/containerd/containerd.sock",
                "/lib/docker.service",
            ),
            ("dns", "--dns 10.0.0.1", "10.0.0.1", "/etc/default/docker ($DOCKER_OPTS)"),
            ("mtu", "--mtu=1400", "1400", "/etc/default/docker ($DOCKER_OPTS)"),
        ],
    ),
    "a drop-in that starts over": (
        [("/lib/docker.service", DEBIAN), ("/etc/x.conf", DROP_IN)],
        "DOCKER_OPTS=--debug",
        "/usr/bin/dockerd",
        [
            ("log-driver", "--log-driver local", "local", "/etc/x.conf"),
            ("log-opts", "--log-opt max-size=1m", "max-size=1m", "/etc/x.conf"),
            ("debug", "-D", "", "/etc/x.conf"),
            ("labels", "--label a=b c", "a=b c", "/etc/x.conf"),
            ("config-file", "--config-file /srv/daemon.json", "/srv/daemon.json", "/etc/x.conf"),
        ],
    ),
    "variables of the unit": (
        [
            ("/lib/docker.service", DEBIAN),
            ("/etc/e.conf", '[Service]\nEnvironment="DOCKER_OPTS=--bridge none" POOL=10.9.0.0/16\n'),
            ("/etc/f.conf", "[Service]\nExecStart=\nExecStart=dockerd $DOCKER_OPTS -Hfd:// --bip=${POOL}\n"),
        ],
        "",
        "dockerd",
        [
            ("bridge", "--bridge none", "none", "/etc/e.conf ($DOCKER_OPTS)"),
            ("hosts", "-Hfd://", "fd://", "/etc/f.conf"),
            ("bip", "--bip=10.9.0.0/16", "10.9.0.0/16", "/etc/f.conf"),
        ],
    ),
    "an open quote": ([("/lib/docker.service", "[Service]\nExecStart=dockerd 'x\n")], "", None, []),
    "no command": ([("/lib/docker.service", "[Service]\nExecStart=\n")], "", None, []),
    "another section": ([("/lib/docker.service", "[X]\nExecStart=dockerd -D\n")], "", None, []),
}


@pytest.mark.parametrize(("sources", "file", "program", "flags"), UNITS.values(), ids=UNITS)
def test_parse(sources, file, program, flags):
    found = unit.parse(sources, lambda path: file if path == "/etc/default/docker" else "")
    assert found.program == program
    assert [tuple(flag) for flag in found.flags] == flags


def test_read_follows_the_search_path(tmp_path):
    files = {
        "lib/systemd/system/docker.service": DEBIAN,
        "etc/systemd/system/docker.service.d/20.conf": "[Service]\nEnvironment=DOCKER_OPTS=--debug\n",
        "lib/systemd/system/docker.service.d/20.conf": "[Service]\nEnvironment=DOCKER_OPTS=--ipv6\n",
        "run/systemd/system/docker.service.d/10.conf": "[Service]\nEnvironment=DOCKER_OPTS=--icc\n",
        "etc/systemd/system/docker.service.d/notes.txt": "[Service]\nExecStart=\n",
        "etc/default/docker": "UNUSED=1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = unit.read(root=str(tmp_path))
    assert [flag.key for flag in found.flags] == ["hosts", "containerd", "debug"]
    # The fragment of /etc replaces the whole unit, as systemctl edit --full makes it.
    (tmp_path / "etc/systemd/system/docker.service").write_text("[Service]\nExecStart=/opt/dockerd --tls\n")
    assert unit.read(root=str(tmp_path)) == unit.Unit(
        "/opt/dockerd", [unit.Flag("tls", "--tls", "", f"{tmp_path}/etc/systemd/system/docker.service")]
    )


def test_read_where_there_is_no_unit(tmp_path):
    assert unit.read(root=str(tmp_path)) == unit.Unit(None, [])

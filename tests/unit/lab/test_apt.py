# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's apt settings, read from what its files say."""

from __future__ import annotations

import pytest

from lab import apt

DEB822 = """\
# a comment with URIs: http://no.example/debian
Types: deb deb-src
URIs: http://main.example/debian/
Suites: bookworm bookworm-updates
Components: main
# Suites: sid
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://first.example/debian-security
 http://second.example/debian-security
Suites: bookworm-security

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
"""


def test_deb822():
    assert apt.parse_entries(DEB822, deb822=True) == [
        ("http://main.example/debian/", "bookworm"),
        ("http://main.example/debian/", "bookworm-updates"),
        ("http://first.example/debian-security", "bookworm-security"),
        ("http://second.example/debian-security", "bookworm-security"),
    ]


def test_one_line():
    text = """\
# deb http://comment.example/debian trixie main
deb [arch=amd64 signed-by=/a/b.gpg] http://main.example/debian trixie main contrib # why
deb-src http://source.example/debian trixie main
deb http://security.example trixie-security main
"""
    assert apt.parse_entries(text, deb822=False) == [
        ("http://main.example/debian", "trixie"),
        ("http://security.example", "trixie-security"),
    ]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], apt.Mirror(None, None)),
        ([("http://u.example/ubuntu", "noble"), ("http://u.example/ubuntu", "noble-security")], apt.Mirror()),
        ([("http://d.example/debian/", "bookworm")], apt.Mirror("http://d.example/debian", None)),
        (
            [
                ("http://o.example", "bookworm-backports"),
                ("http://a", "trixie-updates"),
                ("http://b", "trixie"),
            ],
            apt.Mirror("http://a", None),
        ),
        ([("http://s", "bookworm-security"), ("http://m", "bookworm")], apt.Mirror("http://m", "http://s")),
        ([("http://old", "bullseye/updates")], apt.Mirror("http://old", None)),
    ],
)
def test_mirror(entries, expected):
    assert apt.pick_mirror(entries) == expected


def test_sources_of_another_release_come_from_the_same_mirror():
    lines = apt.Mirror("http://m/debian", "http://s/debian-security").sources("trixie")
    assert [line.split("] ")[1] for line in lines] == [
        "http://m/debian trixie main",
        "http://m/debian trixie-updates main",
        "http://s/debian-security trixie-security main",
    ]
    assert apt.Mirror().sources("trixie") == []


def test_machine_files(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://m/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "s.sources").write_text(
        "Types: deb\nURIs: http://s/sec\nSuites: bookworm-security\n"
    )
    (tmp_path / "sources.list.d" / "x.list.disabled").write_text("deb http://x/debian bookworm main\n")
    assert apt.machine_mirror(tmp_path) == apt.Mirror("http://m/debian", "http://s/sec")


def test_settings():
    dump = """\
APT::Architecture "amd64";
Acquire::Check-Valid-Until "false";
Acquire::http::Proxy "http://proxy.example:3142";
Acquire::http::Proxy::local.example "DIRECT";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::https::Timeout "30";
"""
    assert apt.pick_settings(dump) == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://proxy.example:3142";',
        'Acquire::http::Proxy::local.example "DIRECT";',
        'Acquire::https::Timeout "30";',
    ]

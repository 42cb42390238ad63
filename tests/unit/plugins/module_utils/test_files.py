# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing files whole or not at all."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# mode of the old file (None: there is none), mode asked for, mode afterwards
@pytest.mark.parametrize(
    ("old", "asked", "expected"),
    [(None, None, 0o644), (None, 0o600, 0o600), (0o640, None, 0o640), (0o644, 0o600, 0o600)],
)
def test_write_gives_the_mode(tmp_path, old, asked, expected):
    path = tmp_path / "folder" / "file"
    if old is not None:
        path.parent.mkdir()
        path.write_text("old")
        path.chmod(old)
    before = os.umask(0o077)
    try:
        _files.write(str(path), b"new", mode=asked)
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert mode(path) == expected
    assert _files.mode(str(path)) == expected
    assert os.listdir(path.parent) == ["file"]


def test_write_is_private_until_it_is_in_place(tmp_path):
    path = tmp_path / "key"
    seen = []
    _files.write(
        str(path), b"secret", mode=0o644, validate=lambda private: seen.append((private, mode(private)))
    )
    assert seen[0][1] == 0o600
    assert os.path.dirname(seen[0][0]) == str(tmp_path)


def test_write_that_is_refused_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    before = path.stat()

    def refuse(private):
        raise FleetError("Refused")

    with pytest.raises(FleetError, match="Refused"):
        _files.write(str(path), b"new", validate=refuse)
    assert path.read_text() == "old"
    assert path.stat() == before
    assert os.listdir(tmp_path) == ["file"]


def test_write_follows_a_link(tmp_path):
    target = tmp_path / "real" / "file"
    target.parent.mkdir()
    target.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(target)
    _files.write(str(link), b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_write_keeps_the_owner(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    _files.write(str(path), b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
    _files.write(str(path), b"new", owner=0)
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 2345)


def test_write_where_it_cannot(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match="Cannot write a file"):
        _files.write(str(tmp_path / "file" / "below"), b"")


def test_read_and_remove(tmp_path):
    path = str(tmp_path / "file")
    assert _files.read(path) is None
    assert _files.mode(path) is None
    _files.write(path, b"x")
    assert _files.read(path) == b"x"
    _files.remove(path)
    _files.remove(path)
    assert _files.read(path) is None
    with pytest.raises(FleetError, match="Cannot read a file"):
        _files.read(str(tmp_path))


def test_backups_keep_the_newest(tmp_path):
    path = tmp_path / "daemon.json"
    assert _files.back_up(str(path), 3) is None
    path.write_text("0")
    path.chmod(0o640)
    other = tmp_path / "daemon.json.mine.bak"
    other.write_text("untouched")
    made = []
    for number in range(5):
        path.write_text(str(number))
        # Two of them within the same second.
        made.append(_files.back_up(str(path), 3, now=1_800_000_000 + number // 2))
    assert made[0].endswith("/daemon.json.20270115T080000Z.bak")
    assert made[1].endswith("/daemon.json.20270115T080000Z-1.bak")
    kept = _files.backups(str(path))
    assert kept == made[2:]
    assert [_files.read(name).decode() for name in kept] == ["2", "3", "4"]
    assert mode(kept[0]) == 0o640
    assert other.exists()

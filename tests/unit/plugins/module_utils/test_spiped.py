# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of spiped: what is done with them, and that nothing gives them away."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _spiped
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

OLD, NEW = b"o" * 32, b"n" * 32
MADE = "a key of its own"


def found(content=OLD, mode=0o600, uid=0):
    return {"content": content, "mode": mode, "uid": uid}


# found, wanted, regenerate, owner -> action, content afterwards
DECISIONS = {
    "made": (None, None, False, None, "create", MADE),
    "made-with-regenerate": (None, None, True, None, "create", MADE),
    "kept": (found(), None, False, None, "keep", OLD),
    "kept-for-its-owner": (found(uid=7), None, False, 7, "keep", OLD),
    "kept-whoever-owns-it": (found(uid=7), None, False, None, "keep", OLD),
    "regenerated": (found(), None, True, None, "replace", MADE),
    "regenerated-though-it-was-no-key": (found(b"x"), None, True, None, "replace", MADE),
    "delivered": (None, NEW, False, None, "create", NEW),
    "delivered-again": (found(NEW), NEW, False, 0, "keep", NEW),
    "replaced": (found(), NEW, False, None, "replace", NEW),
    "replaced-where-no-key-was": (found(b"x" * 31), NEW, False, None, "replace", NEW),
    "mode": (found(mode=0o644), None, False, None, "protect", OLD),
    "owner": (found(uid=1000), None, False, 0, "protect", OLD),
    "mode-of-a-delivered-one": (found(NEW, 0o640), NEW, False, None, "protect", NEW),
}


@pytest.mark.parametrize(
    ("found", "wanted", "regenerate", "owner", "action", "content"), DECISIONS.values(), ids=DECISIONS
)
def test_decision(found, wanted, regenerate, owner, action, content):
    decision = _spiped.decide("/k", found, wanted, regenerate, owner)
    assert decision["action"] == action
    if content is MADE:
        assert len(decision["content"]) == 32 and decision["content"] not in (OLD, NEW)
    else:
        assert decision["content"] == content
    assert decision["before"] == (_spiped.fingerprint(found["content"]) if found else None)
    assert decision["after"] == _spiped.fingerprint(decision["content"])


def test_two_keys_differ():
    made = [_spiped.decide("/k", None, None)["content"] for _number in range(20)]
    assert len(set(made)) == 20


@pytest.mark.parametrize("size", [0, 31, 33, 64])
@pytest.mark.parametrize("wanted", [True, False])
def test_what_cannot_be_a_key_is_refused(size, wanted):
    content = b"x" * size
    with pytest.raises(FleetError) as caught:
        _spiped.decide("/etc/k", None if wanted else found(content), content if wanted else None)
    assert str(caught.value) == (
        f"Cannot use a spiped key (/etc/k): found {size} bytes, wanted 32 random bytes, "
        "set the right file in its place, or remove it to have a new key made."
    )


def test_removal():
    assert _spiped.decide_absent("/k", None)["action"] == "keep"
    removal = _spiped.decide_absent("/k", found(b"x" * 31))
    assert (removal["action"], removal["after"]) == ("remove", None)


def test_a_fingerprint_is_not_what_spiped_works_with():
    # spiped's secret is the SHA-256 of the file.
    mark = _spiped.fingerprint(OLD)
    assert len(mark) == 32 and mark == _spiped.fingerprint(bytes(OLD)) != _spiped.fingerprint(NEW)
    hashes = [
        hashlib.new(name, OLD).hexdigest() for name in ("sha256", "sha512", "blake2b", "blake2s", "md5")
    ]
    assert not any(mark in one for one in hashes)
    assert _spiped.fingerprint(None) is None


def test_files(tmp_path):
    path = str(tmp_path / "a" / "b" / "x.key")
    assert _spiped.look(path) is None
    _spiped.carry_out(_spiped.decide(path, None, None))
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert {os.stat(tmp_path / folder).st_mode & 0o777 for folder in ("a", "a/b")} == {0o700}
    seen = _spiped.look(path)
    assert len(seen["content"]) == 32 and seen["mode"] == 0o600

    os.chmod(path, 0o644)
    _spiped.carry_out(_spiped.decide(path, _spiped.look(path), None))
    assert _spiped.look(path) == seen
    _spiped.carry_out(_spiped.decide_absent(path, seen))
    assert _spiped.look(path) is None


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "x.key")
    with pytest.raises(FleetError, match="Cannot make the folder of a key"):
        _spiped.carry_out(_spiped.decide(path, None, NEW))

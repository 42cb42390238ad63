# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that cannot be served are refused before any host is changed; every sentence: "
"test_chain.py."""
from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.integration.authorities import Signed

pytestmark = pytest.mark.usefixtures("unchanged")

NAMES = ["lab.test", "*.lab.test"]
ROOT = Signed("Root", authority=True)
BETWEEN = Signed("Between", by=ROOT, authority=True)
LEAF = Signed("leaf", by=BETWEEN, names=NAMES)
OTHER = Signed("other", by=BETWEEN, names=NAMES)
EXPIRED = Signed("expired", by=BETWEEN, names=NAMES, begins=-30, ends=-2)
FEW = Signed("few", by=BETWEEN, names=["lab.test"])
ENDED = (datetime.now(UTC) - timedelta(days=2)).date()


def refusal(fleet, **variables) -> str:
    """Run the site play, which has to fail, and return its message on one line."""
    outcome = fleet.play("site.yml", "--extra-vars", json.dumps({"fleet_systems": [], **variables}))
    assert outcome.returncode != 0, outcome.stdout
    assert "Traceback" not in outcome.stdout + outcome.stderr
    return " ".join((outcome.stdout + outcome.stderr).split())


@pytest.mark.parametrize(
    ("chain", "key", "told"),
    [
        (
            [OTHER, BETWEEN], LEAF,
            "The certificate does not belong to its key (CHAIN): found one of other, wanted the one of the "
            "key KEY, "
            "set certificates_files_chain or certificates_files_key.",
        ),
        (
            [EXPIRED, BETWEEN], EXPIRED,
            f"The certificate has expired (CHAIN): found expired, ended {ENDED}, wanted one that is valid "
            f"today, "
            "set certificates_files_chain.",
        ),
        (
            [BETWEEN, LEAF], LEAF,
            "The chain is in the wrong order (CHAIN): found Between first, wanted leaf first, which the key "
            "belongs "
            "to, set certificates_files_chain.",
        ),
        (
            [FEW, BETWEEN], FEW,
            "The certificate does not hold every name that is served (CHAIN): found lab.test, wanted "
            "*.lab.test as "
            "well, set certificates_files_chain, or fewer certificates_names.",
        ),
    ],
    ids=["other key", "expired", "wrong order", "wrong names"],
)  # fmt: skip
def test_files_that_cannot_be_served(fleet, tmp_path, chain, key, told):
    files = {"CHAIN": tmp_path / "chain.pem", "KEY": tmp_path / "key.pem"}
    files["CHAIN"].write_text("".join(one.pem for one in chain))
    files["KEY"].write_text(key.key_pem())
    for word, path in files.items():
        told = told.replace(word, str(path))
    variables = {f"certificates_files_{word.lower()}": str(path) for word, path in files.items()}
    assert told in refusal(fleet, certificates_mode="files", **variables)
    assert not (fleet.folder / "credentials").exists()


def test_a_key_that_vault_keeps_closed(fleet, tmp_path):
    files = {"chain": tmp_path / "chain.pem", "key": tmp_path / "key.pem"}
    files["chain"].write_text(LEAF.pem + BETWEEN.pem)
    lost = VaultLib([("default", VaultSecret(b"a word that was lost"))])
    files["key"].write_bytes(lost.encrypt(LEAF.key_pem()))
    variables = {f"certificates_files_{word}": str(path) for word, path in files.items()}
    assert (
        f"Cannot read a secret ({files['key']}): found a file encrypted by Ansible Vault, and no Vault "
        "password, wanted the password it was encrypted with, set --vault-password-file, --vault-id, or "
        "vault_password_file of ansible.cfg."
    ) in refusal(fleet, certificates_mode="files", **variables)
    assert not (fleet.folder / "credentials").exists()


def test_settings_with_which_no_acme_server_can_be_asked(fleet):
    told = refusal(fleet, certificates_mode="acme", certificates_acme_ca_file="/nowhere/ca.pem")
    assert (
        "The challenge http-01 cannot prove a wildcard: found *.lab.test, wanted each name by itself, or "
        "dns-01, "
        "set certificates_names or certificates_acme_challenge."
    ) in told
    assert "An ACME account needs an address: found '', wanted an e-mail address" in told
    assert "Cannot read authorities to trust (/nowhere/ca.pem): found no such file" in told

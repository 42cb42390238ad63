# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a chain and a key that somebody brings, word by word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _chain
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.integration.authorities import Signed

NAMES = ["lab.test", "*.lab.test"]
ROOT = Signed("Root", authority=True)
OTHER_ROOT = Signed("Other root", authority=True)
BETWEEN = Signed("Between", by=ROOT, authority=True)
LEAF = Signed("leaf", by=BETWEEN, names=[*NAMES, "10.0.0.7"])
OTHER = Signed("other", by=BETWEEN, names=NAMES)
EXPIRED = Signed("expired", by=BETWEEN, names=NAMES, begins=-30, ends=-2)
LATER = Signed("later", by=BETWEEN, names=NAMES, begins=2)
LONE = Signed("lone", names=NAMES)
NAMELESS = Signed("nameless", by=BETWEEN)


def day(days):
    return (datetime.now(UTC) + timedelta(days=days)).date()


def told(chain, key, names=(), authority=None):
    """Return the problems of a chain, given by its certificates, as sentences."""
    texts = chain if isinstance(chain, str) or chain is None else "".join(one.pem for one in chain)
    root = ("root.pem", authority) if authority else None
    return [str(one) for one in _chain.chain_problems(("c.pem", texts), ("k.pem", key), names or NAMES, root)]


@pytest.mark.parametrize(
    ("chain", "key", "names", "authority"),
    [
        ([LEAF, BETWEEN], LEAF, NAMES, None),
        ([LEAF, BETWEEN], LEAF, ["LAB.test.", "api.lab.test", "10.0.0.7"], ROOT),
        ([LEAF, BETWEEN, ROOT], LEAF, NAMES, ROOT),
        ([LEAF], LEAF, NAMES, BETWEEN),
        ([LONE], LONE, NAMES, LONE),
    ],
    ids=["chain", "leads to the root", "holds the root", "no one between", "signs itself"],
)
def test_what_can_be_served(chain, key, names, authority):
    assert told(chain, key.key_pem(), names, authority and authority.pem) == []


@pytest.mark.parametrize(
    ("chain", "key", "options", "sentence"),
    [
        (
            [OTHER, BETWEEN], LEAF, {},
            "The certificate does not belong to its key (c.pem): found one of other, wanted the one of the "
            "key k.pem, "
            "set certificates_files_chain or certificates_files_key.",
        ),
        (
            [BETWEEN, LEAF], LEAF, {},
            "The chain is in the wrong order (c.pem): found Between first, wanted leaf first, which the key "
            "belongs "
            "to, set certificates_files_chain.",
        ),
        (
            [LEAF, ROOT, BETWEEN], LEAF, {},
            "The chain is in the wrong order (c.pem): found leaf followed by Root, wanted each followed by "
            "the one "
            "that signed it (Between), set certificates_files_chain.",
        ),
        (
            [EXPIRED, BETWEEN], EXPIRED, {},
            f"The certificate has expired (c.pem): found expired, ended {day(-2)}, wanted one that is valid "
            f"today, "
            "set certificates_files_chain.",
        ),
        (
            [LATER, BETWEEN], LATER, {},
            f"The certificate is not valid yet (c.pem): found later, from {day(2)} on, wanted one that is "
            f"valid "
            "today, set certificates_files_chain.",
        ),
        (
            [LEAF, BETWEEN], LEAF, {"names": ["lab.test", "a.b.lab.test", "lab.example", "10.0.0.8"]},
            "The certificate does not hold every name that is served (c.pem): found *.lab.test, 10.0.0.7, "
            "lab.test, "
            "wanted 10.0.0.8, a.b.lab.test, lab.example as well, set certificates_files_chain, or fewer "
            "certificates_names.",
        ),
        (
            [NAMELESS, BETWEEN], NAMELESS, {"names": ["lab.test"]},
            "The certificate does not hold every name that is served (c.pem): found no name, wanted "
            "lab.test as "
            "well, set certificates_files_chain, or fewer certificates_names.",
        ),
        (
            [LEAF, BETWEEN], LEAF, {"authority": OTHER_ROOT.pem},
            "The chain does not lead to the authority that is trusted (c.pem): found Root as the last "
            "signer, "
            "wanted Other root of root.pem, set certificates_files_chain or certificates_ca_file.",
        ),
        (
            [LEAF, BETWEEN], LEAF, {"authority": ROOT.pem + OTHER_ROOT.pem},
            "Cannot trust several authorities by one file (root.pem): found 2 certificates, wanted one, set "
            "certificates_ca_file.",
        ),
        (
            None, LEAF, {},
            "Cannot read a file of the certificate (c.pem): found no such file, wanted certificates in PEM, "
            "the "
            "server's own first, set certificates_files_chain.",
        ),
        (
            "rubbish", LEAF, {},
            "Cannot read a file of the certificate (c.pem): found something else, wanted certificates in "
            "PEM, the "
            "server's own first, set certificates_files_chain.",
        ),
    ],
    ids=["other key", "leaf last", "wrong order", "expired", "too early", "names", "no names", "other root",
         "two roots", "no file", "no certificate"],
)  # fmt: skip
def test_what_is_refused(chain, key, options, sentence):
    assert told(chain, key.key_pem(), **options) == [sentence]


@pytest.mark.parametrize(
    ("key", "found"),
    [(None, "no such file"), ("rubbish", "something else"),
     (LEAF.key_pem(b"open sesame"), "a key that a passphrase protects")],
    ids=["no file", "no key", "protected"],
)  # fmt: skip
def test_a_key_that_cannot_be_read(key, found):
    wanted = "its private key in PEM, without a passphrase"
    assert told([LEAF, BETWEEN], key) == [
        f"Cannot read a file of the certificate (k.pem): found {found}, wanted {wanted}, set "
        f"certificates_files_key."
    ]


def test_one_for_clients_only():
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(LEAF.key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("lab.test")]), critical=False)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    made = builder.add_extension(purposes, critical=False).sign(LEAF.key, hashes.SHA256())
    text = made.public_bytes(serialization.Encoding.PEM).decode()
    assert told(text, LEAF.key_pem(), ["lab.test"]) == [
        "The certificate is not one for servers (c.pem): found client for other purposes, wanted serverAuth "
        "among its "
        "purposes, set certificates_files_chain."
    ]


def test_several_problems_are_told_at_once():
    assert len(told([EXPIRED, BETWEEN], LEAF.key_pem(), ["lab.example"])) == 3


def test_days_left_are_those_of_the_first_to_end():
    now = datetime.now(UTC)
    soon = Signed("soon", ends=9, authority=True)
    assert _chain.days_left(LEAF.pem + soon.pem, now) == 8
    assert _chain.days_left(LEAF.pem, now + timedelta(days=101)) == -2

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets: what is made, what can be one, what PostgreSQL stores, and the fragments by which one is found."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
FORMATS = {
    "of OpenSSL": serialization.PrivateFormat.TraditionalOpenSSL,
    "PKCS8": serialization.PrivateFormat.PKCS8,
}
PLAIN = serialization.NoEncryption()


def test_a_new_value_is_random_and_fits_everywhere():
    values = {_secrets.new_value() for _number in range(50)}
    assert len(values) == 50
    assert all(len(value) == 40 and value.isalnum() and _secrets.objection(value) is None for value in values)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "it is empty"),
        ("p4ss word", "a blank at place 5 of 9"),
        ("p4ss\n", "a blank at place 5 of 5"),
        ('p4"ss', "a quote or backslash at place 3 of 5"),
        ("p4\\ss", "a quote or backslash at place 3 of 5"),
        ("p4é", "a character other than printable ASCII at place 3 of 3"),
        ("p4$s!#%&@:/?=+~-_.,;", None),
    ],
)
def test_what_services_cannot_read_is_told_without_the_value(value, reason):
    assert _secrets.objection(value) == reason


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "a b", "a.next", "a.previous"])
def test_a_name_is_one_of_a_file(name):
    with pytest.raises(FleetError):
        _secrets.check_name(name)
    _secrets.check_name("jwt_secret")


def test_what_postgresql_stores_is_that_of_its_own():
    # The user "user" with the password "pencil" of RFC 7677, section 3, whose exchange gives these keys.
    verifier = _secrets.scram_sha_256("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert verifier == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert _secrets.scram_sha_256("pencil") != _secrets.scram_sha_256("pencil")


def places(secret):
    """Return the forms in which others store a secret."""
    text = secret.decode("latin-1")
    yield f"requirepass {text}\n".encode("latin-1")
    for padding in range(4):
        yield base64.b64encode(b"x" * padding + secret + b"\n")
    if secret.isascii():
        yield json.dumps({"password": text}).encode()
        yield urllib.parse.quote(text, safe="").encode()
    else:
        yield secret.hex().encode()
        yield secret.hex().upper().encode()


@pytest.mark.parametrize(
    "secret",
    [
        b"kZ3nQ8sT1vB6mW0xR5yL2cD7fG4hJ9pA0uE8iO3q",
        b"my-old/password+of:2019&co=",
        b"Short1234",
        bytes(range(100, 132)),
        bytes([0, 255] * 16),
    ],
    ids=["generated", "of a person", "short", "binary", "alike"],
)
def test_a_secret_is_found_in_every_form(secret):
    patterns = _secrets.patterns(secret + b"\n")
    for place in places(secret):
        assert any(pattern in place for pattern in patterns), place
    innocent = b"requirepass none\n" + base64.b64encode(b"another secret that nobody looks for")
    assert not any(pattern in innocent for pattern in patterns)


def test_a_host_is_told_too_little_to_guess_the_rest():
    secret = _secrets.new_value().encode()
    told = _secrets.patterns(secret)
    assert all(len(pattern) == _secrets.FRAGMENT for pattern in told)
    known = set()
    for pattern in told:
        known |= {place for place in range(len(secret)) if secret[place : place + 12] == pattern}
    assert len(known) == 1  # the others are those 12 characters' base64, or that of some beside
    assert not any(secret in pattern for pattern in told)


def test_what_is_too_short_is_not_looked_for():
    assert _secrets.patterns(b"1234567\n") == []
    assert _secrets.patterns(b"") == []


def keys():
    yield "ec256", ec.generate_private_key(ec.SECP256R1()), FORMATS
    yield "ec384", ec.generate_private_key(ec.SECP384R1()), FORMATS
    yield "ed25519", ed25519.Ed25519PrivateKey.generate(), ["PKCS8"]
    yield "rsa", rsa.generate_private_key(65537, 2048), FORMATS


@pytest.mark.parametrize(
    ("key", "form"),
    [
        pytest.param(key, FORMATS[form], id=f"{name} {form}")
        for name, key, forms in keys()
        for form in forms
    ],
)
def test_of_a_key_the_private_number_is_looked_for_and_nothing_public(key, form):
    content = key.private_bytes(PEM, form, PLAIN)
    patterns = _secrets.patterns(content)
    assert any(pattern in content for pattern in patterns)
    for padding in range(3):
        assert any(pattern in base64.b64encode(b"x" * padding + content) for pattern in patterns)
    public = key.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    encoded = [base64.b64encode(b"x" * padding + public) for padding in range(3)]
    assert not any(pattern in text for pattern in patterns for text in [public, *encoded])
    # Another key of the kind has the same head.
    other = type(key)
    again = next(
        fresh.private_bytes(PEM, form, PLAIN) for _name, fresh, _forms in keys() if isinstance(fresh, other)
    )
    assert not any(pattern in again for pattern in patterns)


def test_a_key_with_a_passphrase_is_looked_for_as_it_stands():
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(b"let me in")
    content = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked)
    assert any(pattern in content for pattern in _secrets.patterns(content))


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("ca.key", True),
        ("redis_password", True),
        ("ca.crt", False),
        ("hosts/m1.json", False),
        (".gitignore", False),
        ("a.pub", False),
    ],
)
def test_what_is_taken_for_secret(name, secret):
    assert _secrets.is_secret_file(name) is secret

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate is due, compared with certificates that are really made."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.community.crypto.plugins.filter.openssl_privatekey_info import (
    openssl_privatekey_info_filter,
)
from ansible_collections.community.crypto.plugins.filter.x509_certificate_info import (
    x509_certificate_info_filter,
)
from ansible_collections.gpufleet.swarm.plugins.module_utils import _certificates as certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def key_pair():
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key, openssl_privatekey_info_filter(pem)


def certificate(key, subject, signer=None, days=100, names=(), constraints=None):
    """Make a certificate. signer: (key, certificate) of the authority, None for one that signs itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signing_key = signer[0] if signer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer[1].subject if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=500))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if signer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if names:
        general = [
            x509.DNSName(one)
            if certificates.as_network(one) is None
            else x509.IPAddress(ipaddress.ip_address(one))
            for one in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if constraints:
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(signing_key, hashes.SHA256())


def told(made):
    return x509_certificate_info_filter(made.public_bytes(serialization.Encoding.PEM))


CA_KEY, CA_KEY_TOLD = key_pair()
OTHER_KEY, OTHER_KEY_TOLD = key_pair()
LEAF_KEY, LEAF_KEY_TOLD = key_pair()
CA = certificate(CA_KEY, "fleet CA", days=3000)
OTHER_CA = certificate(OTHER_KEY, "fleet CA", days=3000)
RENAMED_CA = certificate(CA_KEY, "another name", days=3000)
LEAF = certificate(LEAF_KEY, "leaf", (CA_KEY, CA), 100, ["lab.test", "*.lab.test", "10.0.0.7", "fd00::7"])
NAMES = ["lab.test", "*.lab.test", "10.0.0.7", "fd00::7"]


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"certificate": {}}, ["there is none"]),
        ({"key": {}}, ["its key is not there"]),
        ({"key": {}, "key_may_be_away": True}, []),
        ({"key": OTHER_KEY_TOLD}, ["it does not belong to the key beside it"]),
        ({"days": 100}, []),
        ({"days": 101}, ["it ends 2027-03-02, in 100 days, and 101 are wanted"]),
        ({"now": NOW + timedelta(days=99)}, ["it ends 2027-03-02, in 1 days, and 30 are wanted"]),
        ({"now": NOW + timedelta(days=101)}, ["it ended 2027-03-02"]),
        ({"names": list(reversed(NAMES))}, []),
        ({"names": ["LAB.test", "*.lab.test.", "10.0.0.7", "fd00:0:0::7"]}, []),
        ({"names": [*NAMES, "api.lab.test"]}, ["it lacks api.lab.test"]),
        ({"names": NAMES[:1]}, ["it still holds *.lab.test, 10.0.0.7, fd00::7"]),
        (
            {"names": ["lab.example", *NAMES[1:]]},
            ["it lacks lab.example", "it still holds lab.test"],
        ),
        ({"names": None}, []),
        ({"issuer": {}}, ["it was not signed by the present authority"]),
        ({"issuer": told(OTHER_CA)}, ["it was not signed by the present authority"]),
        ({"issuer": told(RENAMED_CA)}, ["it was not signed by the present authority"]),
        ({"issuer": None}, []),
        ({"subject": "leaf"}, []),
        ({"subject": "other"}, ["it is called leaf, and other is wanted"]),
        ({"permitted": ["lab.test"]}, ["it is not limited to lab.test"]),
        (
            {"key": {}, "days": 101},
            ["its key is not there", "it ends 2027-03-02, in 100 days, and 101 are wanted"],
        ),
    ],
)
def test_reasons(changes, reasons):
    given = {
        "certificate": told(LEAF),
        "key": LEAF_KEY_TOLD,
        "days": 30,
        "now": NOW,
        "names": NAMES,
        "issuer": told(CA),
        **changes,
    }
    assert certificates.reasons(given.pop("certificate"), **given) == reasons


def constraints_of(permitted, excluded):
    general = [
        [
            x509.DNSName(one)
            if certificates.as_network(one) is None
            else x509.IPAddress(ipaddress.ip_network(one))
            for one in some
        ]
        or None
        for some in (permitted, excluded)
    ]
    return x509.NameConstraints(*general)


@pytest.mark.parametrize(
    ("permitted", "excluded"),
    [
        (["lab.test"], ["0.0.0.0/0", "::/0"]),
        (["lab.test", "lab.example"], ["0.0.0.0/0", "::/0"]),
        (["lab.test", "10.0.0.0/8"], []),
        (["10.0.0.0/8", "fd00::/8"], []),
        (
            ["a-rather-long-label-" + "x" * 40 + ".test", "b" * 60 + ".test", "c" * 60 + ".test"],
            ["0.0.0.0/0", "::/0"],
        ),
    ],
)
def test_constraints_are_recognised(permitted, excluded):
    """Our DER has to be that of the library which community.crypto writes certificates with."""
    made = told(certificate(CA_KEY, "CA", days=3000, constraints=constraints_of(permitted, excluded)))
    wanted = {"key": CA_KEY_TOLD, "days": 1, "now": NOW}
    assert certificates.reasons(made, permitted=permitted, **wanted) == []
    assert certificates.reasons(made, permitted=[*permitted, "more.test"], **wanted) != []


@pytest.mark.parametrize(
    ("name", "permitted", "allowed"),
    [
        ("lab.test", ["lab.test"], True),
        ("*.lab.test", ["lab.test"], True),
        ("deep.down.lab.test", ["lab.test"], True),
        ("LAB.TEST.", ["lab.test"], True),
        ("evillab.test", ["lab.test"], False),
        ("test", ["lab.test"], False),
        ("lab.example", ["lab.test", "lab.example"], True),
        ("not a name.lab.test", ["lab.test"], False),
        ("-x.lab.test", ["lab.test"], False),
        ("", ["lab.test"], False),
        ("bücher.lab.test", ["lab.test"], True),
        ("10.0.0.7", ["lab.test"], False),
        ("10.0.0.7", ["10.0.0.0/8"], True),
        ("11.0.0.7", ["10.0.0.0/8"], False),
        ("fd00::7", ["10.0.0.0/8"], False),
        ("fd00::7", ["fd00::/8", "lab.test"], True),
        ("lab.test", ["10.0.0.0/8"], False),
        ("lab.test", [], False),
    ],
)
def test_within(name, permitted, allowed):
    assert certificates.within(name, permitted) is allowed


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("lab.test", "DNS:lab.test"),
        ("*.Lab.Test", "DNS:*.lab.test"),
        ("bücher.test", "DNS:xn--bcher-kva.test"),
        ("10.0.0.7", "IP:10.0.0.7"),
        ("fd00:0::7", "IP:fd00::7"),
        ("10.0.0.0/8", "IP:10.0.0.0/8"),
    ],
)
def test_general_name(name, written):
    assert certificates.general_name(name) == written


def test_days_left():
    assert certificates.days_left(told(LEAF), NOW) == 100
    assert certificates.days_left(told(LEAF), NOW + timedelta(days=99, hours=1)) == 0
    assert certificates.days_left(told(LEAF), NOW + timedelta(days=100, hours=1)) == -1


def acme(names=("lab.test", "app.lab.test"), **changes):
    settings = {
        "email": "admin@lab.test", "server": "letsencrypt", "trial": "letsencrypt-staging",
        "challenge": "http-01", "provider": "", "texts": {},
    }  # fmt: skip
    return [str(one) for one in certificates.acme_problems(list(names), **{**settings, **changes})]


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, []),
        ({"trial": ""}, []),
        ({"server": "https://ca.lab.test/acme/acme/directory", "trial": ""}, []),
        ({"names": ["*.lab.test"], "challenge": "dns-01", "provider": "rfc2136"}, []),
        ({"texts": {"certificates_ca_file": ("/ca.pem", "-----BEGIN CERTIFICATE-----")}}, []),
        (
            {"names": []},
            ["There is no name to ask a certificate for: found an empty list, wanted DNS names, set "
             "certificates_names."],
        ),
        (
            {"names": ["lab.test", "10.0.0.7"]},
            ["An ACME server is asked for names, not for addresses: found 10.0.0.7, wanted DNS names, set "
             "certificates_names."],
        ),
        (
            {"names": ["lab.test", "*.lab.test"]},
            ["The challenge http-01 cannot prove a wildcard: found *.lab.test, wanted each name by itself, "
             "or "
             "dns-01, set certificates_names or certificates_acme_challenge."],
        ),
        (
            {"email": "admin"},
            ["An ACME account needs an address: found 'admin', wanted an e-mail address, set "
             "certificates_acme_email."],
        ),
        (
            {"challenge": "dns-01"},
            ["The challenge dns-01 needs somebody who writes records: found no provider, wanted the name of "
             "one of "
             "lego's DNS providers, set certificates_acme_dns_provider."],
        ),
        (
            {"server": "http://ca.lab.test/directory"},
            ["There is no such ACME directory: found 'http://ca.lab.test/directory', wanted letsencrypt, "
             "letsencrypt-staging or a URL with https, set certificates_acme_directory."],
        ),
        (
            {"server": ""},
            ["There is no such ACME directory: found '', wanted letsencrypt, letsencrypt-staging or a URL "
             "with "
             "https, set certificates_acme_directory."],
        ),
        (
            {"trial": "staging"},
            ["There is no such ACME directory: found 'staging', wanted letsencrypt, letsencrypt-staging or "
             "a URL "
             "with https, set certificates_acme_trial_directory."],
        ),
        (
            {"texts": {"certificates_acme_ca_file": ("/ca.pem", None)}},
            ["Cannot read authorities to trust (/ca.pem): found no such file, wanted certificates in PEM, "
             "set "
             "certificates_acme_ca_file."],
        ),
        (
            {"texts": {"certificates_acme_ca_file": ("/ca.pem", "rubbish")}},
            ["Cannot read authorities to trust (/ca.pem): found something else, wanted certificates in PEM, "
             "set "
             "certificates_acme_ca_file."],
        ),
    ],
)  # fmt: skip
def test_what_no_acme_server_is_asked(changes, sentences):
    assert acme(**changes) == sentences


def test_directories_of_lets_encrypt_have_names():
    assert certificates.directory("letsencrypt") == "https://acme-v02.api.letsencrypt.org/directory"
    assert certificates.directory("https://other/dir") == "https://other/dir"

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a chain and a key that somebody brings can be served. Pure. Private: may change in any release.

Runs on the controller, where community.crypto needs the package cryptography as well, version 42 or
later, imported when it is used. The order of a chain is that of TLS (RFC 8446, section 4.4.2): the
server's own certificate first, each one signed by the next. Wildcards hold one label (RFC 6125, section
6.4.3).
"""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ansible_collections.gpufleet.swarm.plugins.module_utils._certificates import general_name
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

CHAIN, KEY, AUTHORITY = "certificates_files_chain", "certificates_files_key", "certificates_ca_file"


def chain_problems(chain, key, names, authority=None, now=None):
    """Return what is wrong with a chain, FleetErrors; none when it can be served.

    chain, key  (path, text in PEM, or None when there is no such file)
    names       DNS names and addresses the first certificate has to hold
    authority   the same for the authority that clients trust; None when any of theirs will do
    """
    found = []
    certificates = _read(_certificates, chain, CHAIN, "certificates in PEM, the server's own first", found)
    private = _read(_private_key, key, KEY, "its private key in PEM, without a passphrase", found)
    roots = _read(_certificates, authority, AUTHORITY, "one certificate in PEM", found) if authority else []
    if roots and len(roots) > 1:
        found.append(FleetError("Cannot trust several authorities by one file", authority[0],
                                f"{len(roots)} certificates", "one", AUTHORITY))
    if found:
        return found
    paths = {"chain": chain[0], "key": key[0], "authority": authority[0] if authority else None}
    key = _public(private.public_key())
    fitting = [one for one in certificates if _public(one.public_key()) == key]
    first = list(_key_problems(certificates[0], fitting, paths))
    return [
        # A chain that does not begin with the certificate of the key is out of order from there on.
        *(first or _signature_problems([*certificates, *roots], len(certificates), paths)),
        *_date_problems(certificates, chain[0], now or datetime.now(UTC)),
        *_name_problems(fitting[0] if fitting else certificates[0], names, chain[0]),
    ]


def days_left(chain, now=None):
    """Return the whole days until one of a chain's certificates ends. chain: its text in PEM."""
    end = min(one.not_valid_after_utc for one in _certificates(chain))
    return (end - (now or datetime.now(UTC))) // timedelta(days=1)


def _read(reader, file, option, wanted, found):
    path, text = file
    try:
        if text is not None:
            return reader(text)
        what = "no such file"
    except TypeError:  # how cryptography says that a key is protected
        what = "a key that a passphrase protects"
    except ValueError:
        what = "something else"
    found.append(FleetError("Cannot read a file of the certificate", path, what, wanted, option))
    return None


def _certificates(text):
    from cryptography import x509

    return x509.load_pem_x509_certificates(text.encode())


def _private_key(text):
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(text.encode(), password=None)


def _public(key):
    from cryptography.hazmat.primitives import serialization

    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_bytes(*form)


def _key_problems(first, fitting, paths):
    if not fitting:
        yield FleetError(
            "The certificate does not belong to its key", paths["chain"], f"one of {_name(first)}",
            f"the one of the key {paths['key']}", f"{CHAIN} or {KEY}",
        )
    elif fitting[0] != first:
        yield _out_of_order(paths["chain"], f"{_name(first)} first",
                            f"{_name(fitting[0])} first, which the key belongs to")


def _out_of_order(path, found, wanted):
    return FleetError("The chain is in the wrong order", path, found, wanted, CHAIN)


def _signature_problems(certificates, own, paths):
    """certificates: the chain, and the authority behind it if there is one. own: how many are the chain's."""
    for at in range(len(certificates) - 1):
        one, signer = certificates[at:at + 2]
        if _signed(one, signer) or (at + 1 == own and one == signer):
            continue
        if at + 1 < own:
            yield _out_of_order(paths["chain"], f"{_name(one)} followed by {_name(signer)}",
                                f"each followed by the one that signed it ({_name(one, issuer=True)})")
            return  # What comes after it is out of order for the same reason.
        yield FleetError(
            "The chain does not lead to the authority that is trusted", paths["chain"],
            f"{_name(one, issuer=True)} as the last signer", f"{_name(signer)} of {paths['authority']}",
            f"{CHAIN} or {AUTHORITY}",
        )


def _signed(one, signer):
    from cryptography.exceptions import InvalidSignature

    try:
        one.verify_directly_issued_by(signer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _date_problems(certificates, path, now):
    for one in certificates:
        begins, ends = one.not_valid_before_utc, one.not_valid_after_utc
        if ends < now:
            yield FleetError("The certificate has expired", path, f"{_name(one)}, ended {ends.date()}",
                             "one that is valid today", CHAIN)
        elif begins > now:
            yield FleetError("The certificate is not valid yet", path,
                             f"{_name(one)}, from {begins.date()} on", "one that is valid today", CHAIN)


def _name_problems(leaf, names, path):
    from cryptography import x509

    try:
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        held = []
    present = {general_name(str(one.value)) for one in held if isinstance(one, x509.DNSName | x509.IPAddress)}
    missing = [name for name in map(general_name, names) if not _held(name, present)]
    if missing:
        yield FleetError(
            "The certificate does not hold every name that is served", path, _list(present) or "no name",
            f"{_list(missing)} as well", f"{CHAIN}, or fewer certificates_names",
        )
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if x509.ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        yield FleetError("The certificate is not one for servers", path, f"{_name(leaf)} for other purposes",
                         "serverAuth among its purposes", CHAIN)


def _held(name, present):
    _label, _dot, above = name.partition(".")
    return name in present or (name.startswith("DNS:") and "*" not in name and f"DNS:*.{above}" in present)


def _list(names):
    return ", ".join(sorted(name.partition(":")[2] for name in names))


def _name(certificate, issuer=False):
    """The common name of a certificate or its issuer; all of the distinguished name if there is none."""
    from cryptography.x509.oid import NameOID

    whole = certificate.issuer if issuer else certificate.subject
    common = whole.get_attributes_for_oid(NameOID.COMMON_NAME)
    if common:
        return common[0].value
    # Many a server's certificate of today has its names in subjectAltName alone.
    return whole.rfc4514_string() or "a certificate without a name"

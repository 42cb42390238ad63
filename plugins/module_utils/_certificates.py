# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate has to be issued, and for which names. Pure. Private: may change in any release.

Certificates and keys are described the way community.crypto's filters x509_certificate_info and
openssl_privatekey_info return them. Name constraints are RFC 5280, section 4.2.1.10, in DER (X.690).
"""
from __future__ import annotations

import base64
import ipaddress
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

OID_NAME_CONSTRAINTS = "2.5.29.30"
DNS_NAME, IP_ADDRESS = 0x82, 0x87  # context tags [2] and [7] of GeneralName
SEQUENCE, PERMITTED, EXCLUDED = 0x30, 0xA0, 0xA1
ALL_ADDRESSES = ("0.0.0.0/0", "::/0")
LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"({LABEL}\.)*{LABEL}")
# As Let's Encrypt publishes them on https://letsencrypt.org/getting-started/ and /docs/staging-environment/.
DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def as_network(name):
    """Return `name` as an IP network (an address is a network of one), or None when it is a DNS name."""
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None


def general_name(name):
    """Return `name` as community.crypto wants it: "DNS:lab.test", "IP:10.0.0.1", "IP:10.0.0.0/8"."""
    if as_network(name) is None:
        return f"DNS:{_dns(name)}"
    return f"IP:{as_network(name) if '/' in name else ipaddress.ip_address(name)}"


def within(name, permitted):
    """Say whether one of `permitted` (domains, networks) allows `name` (host name, wildcard or address)."""
    network = as_network(name)
    if network is None:
        bare = _dns(name).removeprefix("*.")
        return HOST_NAME.fullmatch(bare) is not None and any(
            bare == domain or bare.endswith("." + domain)
            for domain in (_dns(one) for one in permitted if as_network(one) is None)
        )
    return any(one.version == network.version and network.subnet_of(one) for one in _networks(permitted))


def reasons(certificate, *, key, days, now=None, names=None, issuer=None, subject=None, permitted=None,
            key_may_be_away=False):
    """Return why a certificate has to be issued, as sentences; none when it can stay.

    certificate, key  what there is; an empty dict is "not there"
    days              at least so many days of validity have to be left
    names             names and addresses it has to hold, no more and no less (not checked when None)
    issuer            certificate of the authority that has to have signed it (not checked when None)
    subject           common name it has to carry (not checked when None)
    permitted         name constraints it has to carry, as domains and networks (not checked when None)
    key_may_be_away   an authority kept offline: a certificate without its key beside it is fine
    """
    if not certificate:
        return ["there is none"]
    found = []
    if not key:
        if not key_may_be_away:
            found.append("its key is not there")
    elif key["public_key_fingerprints"].get("sha256") != certificate["public_key_fingerprints"].get("sha256"):
        found.append("it does not belong to the key beside it")
    left = days_left(certificate, now)
    if left < 0:
        found.append(f"it ended {_day(certificate)}")
    elif left < days:
        found.append(f"it ends {_day(certificate)}, in {left} days, and {days} are wanted")
    if subject is not None and certificate["subject"].get("commonName") != subject:
        found.append(f"it is called {certificate['subject'].get('commonName')}, and {subject} is wanted")
    if names is not None:
        found.extend(_names_differ(certificate, names))
    if issuer is not None and not _signed_by(certificate, issuer):
        found.append("it was not signed by the present authority")
    if permitted is not None and _constraints(certificate) != name_constraints(permitted):
        found.append(f"it is not limited to {', '.join(permitted)}")
    return found


def days_left(certificate, now=None):
    """Return the whole days until the certificate ends, negative when it has ended."""
    return (_end(certificate) - (now or datetime.now(UTC))) // timedelta(days=1)


def directory(name):
    """Return the URL of an ACME directory, which is given by a name of DIRECTORIES or as it is."""
    return DIRECTORIES.get(name, name)


def acme_problems(names, *, email, server, trial, challenge, provider, texts):
    """Yield, as FleetErrors, why no ACME server could be asked like this.

    names     what the certificate has to hold
    server    the directory, by name or URL; trial: the one to be asked first, empty for none
    texts     {variable: (path, text in PEM or None)} of files with authorities
    """
    addresses = [name for name in names if as_network(name) is not None]
    wildcards = [name for name in names if name.startswith("*.")]
    if not names:
        yield FleetError("There is no name to ask a certificate for", found="an empty list",
                         wanted="DNS names", option="certificates_names")
    if addresses:
        yield FleetError("An ACME server is asked for names, not for addresses", found=", ".join(addresses),
                         wanted="DNS names", option="certificates_names")
    if challenge == "http-01" and wildcards:
        yield FleetError(
            "The challenge http-01 cannot prove a wildcard", found=", ".join(wildcards),
            wanted="each name by itself, or dns-01",
            option="certificates_names or certificates_acme_challenge",
        )
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        yield FleetError("An ACME account needs an address", found=repr(email), wanted="an e-mail address",
                         option="certificates_acme_email")
    if challenge == "dns-01" and not provider:
        yield FleetError("The challenge dns-01 needs somebody who writes records", found="no provider",
                         wanted="the name of one of lego's DNS providers",
                         option="certificates_acme_dns_provider")
    asked = [("certificates_acme_directory", server)]
    asked += [("certificates_acme_trial_directory", trial)] if trial else []
    for option, url in asked:
        parts = urlsplit(directory(url))
        if parts.scheme != "https" or not parts.hostname:
            yield FleetError("There is no such ACME directory", found=repr(url), option=option,
                             wanted=f"{', '.join(DIRECTORIES)} or a URL with https")
    for option, (path, text) in texts.items():
        if text is None or not text.startswith("-----BEGIN CERTIFICATE-----"):
            found = "no such file" if text is None else "something else"
            yield FleetError("Cannot read authorities to trust", path, found, "certificates in PEM", option)


def name_constraints(permitted):
    """Return in DER the NameConstraints that allow `permitted` and, if no network is in it, no address."""
    networks = _networks(permitted)
    subtrees = [_tlv(DNS_NAME, _dns(one).encode("ascii")) for one in permitted if as_network(one) is None]
    subtrees += [_address(one) for one in networks]
    body = _subtrees(PERMITTED, subtrees)
    if not networks:
        body += _subtrees(EXCLUDED, [_address(ipaddress.ip_network(one)) for one in ALL_ADDRESSES])
    return _tlv(SEQUENCE, body)


def _networks(permitted):
    return [one for one in map(as_network, permitted) if one is not None]


def _names_differ(certificate, names):
    wanted = {_key(general_name(name)) for name in names}
    present = {_key(name) for name in certificate["subject_alt_name"] or []}
    if wanted == present:
        return []
    return [
        text + ", ".join(sorted(one.split(":", 1)[1] for one in some))
        for text, some in (("it lacks ", wanted - present), ("it still holds ", present - wanted)) if some
    ]


def _key(name):
    """One spelling per general name, so that two ways to write an IPv6 address are equal."""
    kind, value = name.split(":", 1)
    return f"IP:{ipaddress.ip_address(value)}" if kind == "IP" else f"{kind}:{value.lower()}"


def _signed_by(certificate, issuer):
    if not issuer:
        return False
    signer, authority = ([list(part) for part in one] for one in
                         (certificate["issuer_ordered"], issuer["subject_ordered"]))
    return (signer == authority
            and certificate["authority_key_identifier"] == issuer["subject_key_identifier"])


def _constraints(certificate):
    value = certificate["extensions_by_oid"].get(OID_NAME_CONSTRAINTS, {}).get("value")
    return None if value is None else base64.b64decode(value)


def _end(certificate):
    return datetime.strptime(certificate["not_after"], "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _day(certificate):
    return _end(certificate).date().isoformat()


def _dns(name):
    """The form in which a DNS name stands in a certificate: lower case, ASCII."""
    name = name.rstrip(".").lower()
    return name if name.isascii() else name.encode("idna").decode("ascii")


def _address(network):
    return _tlv(IP_ADDRESS, network.network_address.packed + network.netmask.packed)


def _subtrees(tag, names):
    return _tlv(tag, b"".join(_tlv(SEQUENCE, name) for name in names))


def _tlv(tag, body):
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + body

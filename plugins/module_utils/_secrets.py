# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of the controller: made, judged, and told by fragments. Private: may change in any release.

Pure. A *fragment* is what a host is given to look for a secret that it must not know: wherever the whole
secret stands the fragment stands too, and what is left to guess is as hard as before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import string
from urllib.parse import quote

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

LENGTH = 40
_ALPHABET = string.ascii_letters + string.digits
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# A rotation keeps the value to come and the value before beside the one that counts.
NEXT, PREVIOUS = ".next", ".previous"
# What lies in a folder of credentials and is made to be seen. The rest is taken for secret.
_PUBLIC_SUFFIXES = (".crt", ".csr", ".pub", ".json")

# Characters with a meaning in configuration files and shells that read the value.
_UNFIT = re.compile(r"[^!-~]|[\"'\\`]")

FRAGMENT = 12
# Below this a fragment would leave too little to guess, so the whole is looked for.
_DIVISIBLE = 24
# Shorter ones stand in any text by chance.
SHORTEST = 8


def new_value():
    """Return 40 random letters and digits, 238 bits."""
    return "".join(secrets.choice(_ALPHABET) for _number in range(LENGTH))


def objection(value):
    """Return why a value cannot be a secret that services read from files and variables, or None."""
    if not value:
        return "it is empty"
    found = _UNFIT.search(value)
    if found is None:
        return None
    kind = "a blank" if found[0].isspace() else "a character other than printable ASCII"
    kind = "a quote or backslash" if found[0] in "\"'\\`" else kind
    return f"{kind} at place {found.start() + 1} of {len(value)}"


def check_name(name):
    """Refuse what cannot be the name of a secret's file."""
    if not NAME.fullmatch(name) or name.endswith((NEXT, PREVIOUS)):
        raise FleetError(
            "A secret has a name that no file can have",
            found=name,
            wanted=f"letters, digits, dots, hyphens and underscores, not ending in {NEXT} or {PREVIOUS}",
            option="names",
        )


def is_secret_file(name):
    """Tell whether a file of the credentials folder is taken for secret."""
    return not name.endswith(_PUBLIC_SUFFIXES) and not os.path.basename(name).startswith(".")


def scram_sha_256(password, salt=None, iterations=4096):
    """Return what PostgreSQL stores for a password (RFC 5803 in the form of its pg_authid catalogue).

    With it ALTER ROLE sets a password that neither the server nor its log ever sees. ASCII only: others would
    have to be normalised first (SASLprep).
    """
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{told[0]}${told[1]}:{told[2]}"


def private_region(content):
    """Return (begin, end) of the secret part of a file's content: all of it, or the private half in a PEM.

    What of a PEM is not its private number stands in its certificate, or is the same in all keys of its kind.
    Needs the package cryptography, as the roles that make keys do.
    """
    found = re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", content, re.DOTALL)
    if not found:
        return 0, len(content.rstrip())
    number = _private_number(content)
    body = found[1].replace(b"\n", b"")
    der = base64.b64decode(body)
    offset = der.find(number) if number else -1
    if offset < 0:
        return found.start(1), found.end(1)
    # Characters that hold nothing but bits of the number, as counted without line ends.
    begin, end = -(-offset * 4 // 3), (offset + len(number)) * 4 // 3
    begin, end = _longest_in_a_line(begin, end, found[1].index(b"\n"))
    width = found[1].index(b"\n")
    return found.start(1) + begin + begin // width, found.start(1) + end + (end - 1) // width


def _longest_in_a_line(begin, end, width):
    """Return the longest stretch between two places that no end of a line of this width cuts."""
    cuts = [begin, *(place for place in range(0, end, width) if begin < place < end), end]
    return max(zip(cuts, cuts[1:], strict=False), key=lambda pair: pair[1] - pair[0])


def _private_number(content):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (TypeError, ValueError):  # with a passphrase of its own
        return None
    if isinstance(key, rsa.RSAPrivateKey):
        number = key.private_numbers().p
        return number.to_bytes((number.bit_length() + 7) // 8, "big")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
    raw = getattr(key, "private_bytes_raw", None)
    return raw() if raw else None


def patterns(content):
    """Return the byte strings by which the content of a secret's file is found, a short list.

    As it stands, as part of a URL, in hexadecimal digits where it is binary, and in base64 with each of the
    three offsets that it can have inside of something longer. Empty for what is too short to be told from
    other text.
    """
    begin, end = private_region(content)
    secret = content[begin:end].strip()
    if len(secret) < SHORTEST:
        return []
    if secret.isascii() and secret.decode().isprintable():
        found = [fragment(secret), fragment(quote(secret, safe="").encode())]
    else:
        digits = fragment(secret.hex().encode())
        found = [fragment(secret), digits, digits.upper()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret)
        # Characters at either end hold bits of what stands beside.
        first, last = -(-shift * 4 // 3), (shift + len(secret)) * 4 // 3
        found.append(fragment(encoded[first:last]))
    return sorted(set(found))


def fragment(secret):
    """Return the stretch of a secret that is looked for: the one with the most different characters."""
    if len(secret) < _DIVISIBLE:
        return secret
    places = range(len(secret) - FRAGMENT + 1)
    place = max(places, key=lambda place: (len(set(secret[place : place + FRAGMENT])), -place))
    return secret[place : place + FRAGMENT]

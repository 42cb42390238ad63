# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask URLs and compare the answers with what is wanted. Private: may change in any release.

Standard library only, for it runs on the controller or on a host. ``judge`` is pure; ``fetch`` does one
request; ``run`` repeats the failing ones until they pass or time is up.
"""
from __future__ import annotations

import concurrent.futures
import http.client
import socket
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

MOST_BODY = 1 << 20  # bytes of an answer that are searched
MOST_AT_ONCE = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 2.0
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Check:
    """One URL and what is wanted of it. The fields are the suboptions of the module of the same name."""

    url: str
    connect_to: str = ""
    status: tuple[int, ...] = (200,)
    contains: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    issuer: str = ""
    service: str | None = None
    refused: bool = False

    def __post_init__(self):
        parts = _split(self.url)
        if self.refused and parts.scheme != "https":
            raise FleetError("Only a TLS connection can be refused by name", target=self.url,
                             found="refused: true on http", wanted="an https URL", option="refused")

    @property
    def place(self):
        """Host and port of the connection."""
        parts = _split(self.url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
        if self.connect_to:
            given = urlsplit(f"//{_bracketed(self.connect_to)}")
            host, port = given.hostname, given.port or port
        return host, port


@dataclass
class Answer:
    """What came back, or in `error` why nothing did, in words.

    refused  the server itself ended the TLS handshake, for instance because it holds no such name
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    issuer: str | None = None
    days_left: int | None = None
    error: str | None = None
    refused: bool = False


def judge(check, answer):
    """Return what is wrong with `answer`, one sentence each; nothing when it is as wanted."""
    if check.refused:
        if answer.refused:
            return []
        if answer.error:
            return [f"{answer.error}; wanted the TLS handshake refused"]
        served = f"status {answer.status} with a certificate of {answer.issuer}"
        return [f"found {served}, wanted the TLS handshake refused"]
    if answer.error:
        return [answer.error]
    wrong = []
    if check.status and answer.status not in check.status:
        wanted = " or ".join(str(status) for status in check.status)
        wrong.append(f"found status {answer.status}, wanted {wanted}")
    if check.contains and check.contains not in answer.body:
        wrong.append(f"found no {check.contains!r} in the answer ({_start(answer.body)}), wanted it there")
    for name, text in check.headers.items():
        value = answer.headers.get(name.lower())
        if value is None:
            wrong.append(f"found no header {name}, wanted {f'it with {text!r}' if text else 'one'}")
        elif text not in value:
            wrong.append(f"found header {name}: {value}, wanted {text!r} in it")
    if check.issuer and check.issuer not in (answer.issuer or ""):
        wrong.append(f"found a certificate issued by {answer.issuer or 'nobody, for there is no TLS'}, "
                     f"wanted {check.issuer!r} in that name")
    return wrong


def fetch(check, ca_file, timeout, now=None):
    """Ask once; every failure of the network comes back as words. No redirect is followed.

    ca_file  authorities in PEM to trust instead of the machine's; None for those
    timeout  seconds for each of connecting, the handshake and the answer
    """
    host, port = check.place
    where = f"{host} port {port}"
    try:
        with socket.create_connection((host, port), timeout=timeout) as plain:
            if _split(check.url).scheme == "http":
                return _ask(check, plain)
            with _context(ca_file).wrap_socket(plain, server_hostname=_split(check.url).hostname) as secure:
                certificate = secure.getpeercert()  # gone once the answer is read
                return _described(_ask(check, secure), certificate, now)
    except socket.gaierror:
        return Answer(error=f"the name {host} cannot be resolved")
    except ConnectionRefusedError:
        return Answer(error=f"nothing listens on {where}")
    except TimeoutError:
        return Answer(error=f"no answer from {where} within {timeout:g} s")
    except ssl.SSLCertVerificationError as error:
        return Answer(error=f"the certificate of {where} is not trusted: {error.verify_message}")
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        # An alert is the server's word; anything else is ours or the line's. Names: OpenSSL, sslerr.h.
        return Answer(error=f"the TLS handshake with {where} failed: {reason.replace('_', ' ').lower()}",
                      refused="ALERT" in reason or "UNRECOGNIZED_NAME" in reason)
    except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected):
        return Answer(error=f"{where} closed the connection without an answer")
    except http.client.HTTPException as error:
        return Answer(error=f"{where} answered with something that is not HTTP ({type(error).__name__})")
    except OSError as error:
        return Answer(error=f"cannot reach {where}: {error.strerror or error}")


def run(checks, ca_file=None, timeout=5.0, deadline=0.0, ask=fetch, clock=time.monotonic, pause=time.sleep):
    """Ask all checks until each passes or `deadline` seconds are over; return one result per check, in order.

    Only failing checks are asked again. Every check is asked once, however short the deadline.
    """
    start = clock()
    results = [None] * len(checks)
    left = list(range(len(checks)))
    wait = FIRST_PAUSE_S
    with concurrent.futures.ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        while True:
            asked = pool.map(lambda at: _measure(checks[at], ca_file, timeout, ask, clock), left)
            for at, (answer, seconds) in zip(left, list(asked), strict=True):
                attempts = results[at]["attempts"] + 1 if results[at] else 1
                results[at] = _result(checks[at], answer, seconds, attempts)
            left = [at for at in left if not results[at]["ok"]]
            remaining = deadline - (clock() - start)
            if not left or remaining <= 0:
                return results
            pause(min(wait, remaining))
            wait = min(wait * 2, LONGEST_PAUSE_S)


def _measure(check, ca_file, timeout, ask, clock):
    start = clock()
    answer = ask(check, ca_file, timeout)
    return answer, clock() - start


def _result(check, answer, seconds, attempts):
    problems = judge(check, answer)
    return {
        "url": check.url,
        "service": check.service,
        "ok": not problems,
        "status": answer.status,
        "seconds": round(seconds, 3),
        "attempts": attempts,
        "refused": answer.refused,
        "issuer": answer.issuer,
        "days_left": answer.days_left,
        "location": answer.headers.get("location"),
        "problems": problems,
    }


def _ask(check, connected):
    parts = _split(check.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.sock = connected
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "User-Agent": "gpufleet-probe", "Connection": "close"}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return Answer(
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=response.read(MOST_BODY).decode("utf-8", "replace"),
    )


def _context(ca_file):
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise FleetError("Cannot read the authorities to trust", target=ca_file, wanted="certificates in PEM",
                         option="ca_file", cause=getattr(error, "strerror", None) or error) from None


def _described(answer, certificate, now):
    answer.issuer = _name(certificate["issuer"])
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    answer.days_left = (ends - (now or datetime.now(UTC))).days
    return answer


def _name(parts):
    """The common name, or what stands in its place, of a distinguished name as the ssl module gives it."""
    flat = [(key, value) for group in parts for key, value in group]
    return dict(flat).get("commonName") or ", ".join(value for _key, value in flat)


def _split(url):
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_fine = None, False
    if not port_is_fine or parts.scheme not in PORTS or not parts.hostname:
        raise FleetError("Cannot ask a URL", found=repr(url), wanted="http:// or https:// with a host",
                         option="url")
    return parts


def _bracketed(address):
    """An IPv6 address alone, as inventories have it, in the form that can carry a port."""
    return f"[{address}]" if address.count(":") > 1 and not address.startswith("[") else address


def _start(body):
    text = " ".join(body.split())
    return repr(text[:60] + "..." if len(text) > 60 else text)

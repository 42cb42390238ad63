# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe: its judgement as tables, its requests against servers on loopback."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import socket
import ssl
import threading

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _probe as probe
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = probe.Answer(
    status=200, headers={"location": "https://x/"}, body="hello world", issuer="fleet CA", days_left=9
)


@pytest.mark.parametrize(
    ("wanted", "answer", "problems"),
    [
        ({}, OK, []),
        ({"status": (301, 308)}, OK, ["found status 200, wanted 301 or 308"]),
        ({"status": ()}, OK, []),
        ({"contains": "lo wo"}, OK, []),
        ({"contains": "bye"}, OK, ["found no 'bye' in the answer ('hello world'), wanted it there"]),
        (
            {"contains": "bye"},
            probe.Answer(status=200, body="x" * 99),
            [f"found no 'bye' in the answer ('{'x' * 60}...'), wanted it there"],
        ),
        ({"headers": {"Location": "https://"}}, OK, []),
        ({"headers": {"LOCATION": ""}}, OK, []),
        (
            {"headers": {"Location": "http://"}},
            OK,
            ["found header Location: https://x/, wanted 'http://' in it"],
        ),
        ({"headers": {"Server": ""}}, OK, ["found no header Server, wanted one"]),
        ({"headers": {"Server": "x"}}, OK, ["found no header Server, wanted it with 'x'"]),
        ({"issuer": "fleet"}, OK, []),
        ({"issuer": "Let"}, OK, ["found a certificate issued by fleet CA, wanted 'Let' in that name"]),
        (
            {"issuer": "Let"},
            probe.Answer(status=200),
            ["found a certificate issued by nobody, for there is no TLS, wanted 'Let' in that name"],
        ),
        (
            {"status": (404,), "contains": "x"},
            OK,
            ["found status 200, wanted 404", "found no 'x' in the answer ('hello world'), wanted it there"],
        ),
        ({"contains": "x"}, probe.Answer(error="nothing listens"), ["nothing listens"]),
        ({"refused": True}, probe.Answer(error="an alert", refused=True), []),
        (
            {"refused": True},
            probe.Answer(error="nothing listens"),
            ["nothing listens; wanted the TLS handshake refused"],
        ),
        (
            {"refused": True},
            OK,
            ["found status 200 with a certificate of fleet CA, wanted the TLS handshake refused"],
        ),
        ({}, probe.Answer(error="an alert", refused=True), ["an alert"]),
    ],
)
def test_judge(wanted, answer, problems):
    assert probe.judge(probe.Check(url="https://lab.test/", **wanted), answer) == problems


@pytest.mark.parametrize(
    ("url", "connect_to", "place"),
    [
        ("http://lab.test/", "", ("lab.test", 80)),
        ("https://lab.test/", "", ("lab.test", 443)),
        ("https://lab.test:8443/", "", ("lab.test", 8443)),
        ("https://lab.test/", "10.0.0.7", ("10.0.0.7", 443)),
        ("https://lab.test:8443/", "10.0.0.7", ("10.0.0.7", 8443)),
        ("https://lab.test:8443/", "10.0.0.7:9443", ("10.0.0.7", 9443)),
        ("https://lab.test/", "fd00::7", ("fd00::7", 443)),
        ("https://lab.test/", "[fd00::7]:9443", ("fd00::7", 9443)),
        ("https://[fd00::8]:1/", "", ("fd00::8", 1)),
    ],
)
def test_place(url, connect_to, place):
    assert probe.Check(url=url, connect_to=connect_to).place == place


@pytest.mark.parametrize(
    "url", ["", "lab.test", "ftp://lab.test/", "https://", "https://lab.test:99999/", "https://x:y/"]
)
def test_bad_url(url):
    with pytest.raises(FleetError, match="wanted http:// or https:// with a host, set url"):
        probe.Check(url=url)


def test_plain_http_cannot_be_refused_by_name():
    with pytest.raises(FleetError, match="Only a TLS connection can be refused by name"):
        probe.Check(url="http://lab.test/", refused=True)


class Clock:
    """Time that passes only while something pauses."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("fine_from", "deadline", "ok", "attempts"),
    [(0, 0, True, 1), (1, 0, False, 1), (1, 30, True, 4), (29, 30, True, 18), (99, 30, False, 19)],
)
def test_run_waits_no_longer_than_needed(fine_from, deadline, ok, attempts):
    clock = Clock()

    def ask(check, ca_file, timeout):
        return OK if check.url.endswith("always") or clock.now >= fine_from else probe.Answer(error="not yet")

    checks = [probe.Check(url="http://lab.test/always"), probe.Check(url="http://lab.test/")]
    first, second = probe.run(checks, deadline=deadline, ask=ask, clock=clock, pause=clock.pause)
    assert (first["ok"], first["attempts"]) == (True, 1)
    assert (second["ok"], second["attempts"]) == (ok, attempts)
    assert clock.now <= deadline


def test_run_keeps_the_order():
    checks = [probe.Check(url=f"http://lab.test/{number}") for number in range(20)]
    results = probe.run(checks, ask=lambda check, *_rest: OK)
    assert [one["url"] for one in results] == [one.url for one in checks]


# --- against servers on loopback ---------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; /moved redirects; /rude closes the connection; /noise is not HTTP."""

    def do_GET(self):
        if self.path == "/rude":
            return
        if self.path == "/noise":
            self.wfile.write(b"ICY 200 OK\r\n\r\n")
            return
        body = f"{self.path} on {self.headers['Host']}".encode()
        self.send_response(301 if self.path == "/moved" else 200)
        if self.path == "/moved":
            self.send_header("Location", "https://elsewhere.test/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        """Keep the output of the tests to themselves."""


@contextlib.contextmanager
def serving(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Return the context of a server for lab.test that refuses unknown.test by name, and its CA file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=10, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("lab.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    context.sni_callback = lambda _socket, asked, _context: (
        ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if asked == "unknown.test" else None
    )
    return context, str(folder / "ca.crt")


def asked(port, url, ca_file=None, timeout=5.0):
    return probe.fetch(probe.Check(url=url, connect_to=f"127.0.0.1:{port}"), ca_file, timeout)


def test_http():
    with serving() as port:
        answer = asked(port, "http://lab.test/x?a=b")
        assert (answer.status, answer.body, answer.issuer) == (200, "/x?a=b on lab.test", None)
        moved = asked(port, "http://lab.test:81/moved")
        assert (moved.status, moved.headers["location"]) == (301, "https://elsewhere.test/")
        assert moved.body == "/moved on lab.test:81"


def test_https(tls):
    context, ca_file = tls
    with serving(context) as port:
        answer = asked(port, "https://lab.test/x", ca_file)
        assert (answer.status, answer.body) == (200, "/x on lab.test")
        assert (answer.issuer, answer.days_left) == ("test CA", 10)

        refused = asked(port, "https://unknown.test/", ca_file)
        assert refused.refused
        assert (
            refused.error == f"the TLS handshake with 127.0.0.1 port {port} failed: tlsv1 unrecognized name"
        )

        stranger = asked(port, "https://other.test/", ca_file)
        assert not stranger.refused
        assert "Hostname mismatch" in stranger.error

        untrusted = asked(port, "https://lab.test/")
        assert not untrusted.refused
        assert untrusted.error.startswith(f"the certificate of 127.0.0.1 port {port} is not trusted: ")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://lab.test/rude", "127.0.0.1 port {port} closed the connection without an answer"),
        (
            "http://lab.test/noise",
            "127.0.0.1 port {port} answered with something that is not HTTP (BadStatusLine)",
        ),
        ("https://lab.test/", "the TLS handshake with 127.0.0.1 port {port} failed: "),
    ],
)
def test_bad_answers(url, error):
    with serving() as port:
        answer = asked(port, url)
        assert answer.error.startswith(error.format(port=port))
        assert not answer.refused


def test_nothing_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert asked(port, "https://lab.test/").error == f"nothing listens on 127.0.0.1 port {port}"


def test_silence():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        answer = asked(port, "http://lab.test/", timeout=0.2)
        assert answer.error == f"no answer from 127.0.0.1 port {port} within 0.2 s"


def test_unknown_host():
    answer = probe.fetch(probe.Check(url="http://unknown.invalid/"), None, 5.0)
    assert answer.error == "the name unknown.invalid cannot be resolved"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_bad_ca_file(tmp_path, content):
    path = tmp_path / "ca.crt"
    if content:
        path.write_text(content)
    with (
        serving() as port,
        pytest.raises(FleetError, match="Cannot read the authorities to trust .* set ca_file"),
    ):
        asked(port, "https://lab.test/", str(path))

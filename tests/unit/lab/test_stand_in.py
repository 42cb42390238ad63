# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's server: what it tells, what it never tells, and how it signs in."""

from __future__ import annotations

import importlib.util
import json
import socket
import struct
import threading
import urllib.request
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "lab" / "dockerfiles" / "stand-in" / "server.py"


@pytest.fixture(scope="module")
def server():
    spec = importlib.util.spec_from_file_location("stand_in_server", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_answer_has_names_but_no_values(server, monkeypatch):
    monkeypatch.setenv("BROKER_PASS", "very-secret-value")
    monkeypatch.setenv("DOCKER_RESOURCE_GPU", "GPU-1")
    monkeypatch.setenv("STAND_IN_IMAGE", "a/b:1")
    port = free_port()
    server.serve_tcp(port)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/x?y=1",
        data=b"body",
        headers={"X-Forwarded-Proto": "https", "authorization": "Basic c2VjcmV0", "Host": "linto.lab.test"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as response:
        text = response.read().decode()
    read = json.loads(text)
    assert read["stand_in"] is True
    assert read["image"] == "a/b:1"
    assert "BROKER_PASS" in read["environment"]
    assert read["gpu"]["DOCKER_RESOURCE_GPU"] == "GPU-1"
    assert read["request"]["path"] == "/x?y=1"
    assert read["request"]["host"] == "linto.lab.test"
    assert read["request"]["headers"]["X-Forwarded-Proto"] == "https"
    assert "very-secret-value" not in text
    assert "c2VjcmV0" not in text


def listen(answers):
    """A server that reads once before each answer; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _client = listener.accept()
        with connection, listener:
            for answer in answers:
                connection.recv(4096)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def test_broker_accepts(server):
    server.sign_in_broker(
        f"redis://127.0.0.1:{listen([b'+OK' + bytes([13, 10]), b'+PONG' + bytes([13, 10])])}", "right"
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"-WRONGPASS no\r\n", "Refused"),
        (b"-NOAUTH no\r\n", "Refused"),
        (b"", "OSError"),
    ],
)
def test_broker_does_not(server, answer, error):
    expected = server.Refused if error == "Refused" else OSError
    with pytest.raises(expected):
        server.sign_in_broker(f"redis://127.0.0.1:{listen([answer])}", "wrong")


def postgres_error(code, text):
    body = b"SFATAL\0C" + code + b"\0M" + text + b"\0\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


@pytest.mark.parametrize(("code", "error"), [(b"28P01", "Refused"), (b"57P03", "OSError")])
def test_database_refuses_or_still_starts(server, code, error):
    expected = server.Refused if error == "Refused" else OSError
    with pytest.raises(expected, match="the reason"):
        server.sign_in_database("127.0.0.1", listen([postgres_error(code, b"the reason")]), "u", "d", "p")


def test_name_server_answer(server):
    asked = b"\x0210\x012\x010\x0210\x07in-addr\x04arpa\x00"
    name = b"\x04s_tr\x011\x03abc\x05s_net\x00"
    head = b"GF\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + asked + b"\x00\x0c\x00\x01"
    for owner in (asked, b"\xc0\x0c"):  # written out, as Docker does, or as a pointer
        answer = head + owner + b"\x00\x0c\x00\x01\x00\x00\x02X" + struct.pack("!H", len(name)) + name
        question, place = server.read_name(answer, len(head))
        assert question == "10.2.0.10.in-addr.arpa"
        assert server.read_name(answer, place + 10)[0] == "s_tr.1.abc.s_net"


def test_ports(server, monkeypatch):
    monkeypatch.setenv("STAND_IN_PORTS", "80/tcp 8889/udp")
    monkeypatch.setenv("SESSION_API_WEBSERVER_HTTP_PORT", "8081")
    assert server.ports() == {(80, "tcp"), (8889, "udp"), (8081, "tcp")}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application of the stand-in: the routes of crowd-recital that its deployment is judged by.

/api/stand-in tells what of a request and of its own surroundings reached it, never a value of a variable.
A credential of the sign-in is the e-mail address itself, for there is no Google here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import mimetypes
import os
import secrets
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs

from store import Store, folder, given, switch

SITE = Path(given("WEB_CLIENT_DIST_FOLDER", "web_client_dist"))
JOBS = not switch("JOB_SESSION_FINALIZATION_DISABLED", "False")
INTERVAL = int(given("JOB_SESSION_FINALIZATION_INTERVAL_SEC", "120"))
store = Store()
due = threading.Event()


def finalize():
    """The background jobs: at each interval, and two seconds after a session ended."""
    while True:
        if due.wait(INTERVAL):
            time.sleep(2)
        due.clear()
        try:
            store.aggregate()
            store.upload()
        except Exception as error:
            print(f"stand-in: finalization failed: {error}", flush=True)


if JOBS:
    print("Starting job scheduler", flush=True)
    threading.Thread(target=finalize, daemon=True).start()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(text):
    return encoded(hmac.digest(given("ACCESS_TOKEN_SECRET_KEY").encode(), text.encode(), hashlib.sha256))


def token(email):
    text = f"{encoded(b'{}')}.{encoded(json.dumps({'sub': email}).encode())}"
    return f"{text}.{signature(text)}"


def signed_in(headers):
    """The user of a request: by the headers of delegation, else by the cookie; None when nobody is."""
    key, email = headers.get("x-delegation-secret-key"), headers.get("x-delegated-user-email")
    if key is not None:
        return store.user(email) if key == given("DELEGATED_IDENTITY_SECRET_KEY") else None
    cookies = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
    text, _, sign = cookies.get("access_token", "").rpartition(".")
    if not text or not hmac.compare_digest(sign, signature(text)):
        return None
    payload = text.partition(".")[2]
    return store.user(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])


def answer(status, value, headers=(), kind="application/json"):
    body = json.dumps(value, separators=(",", ":")).encode() if kind == "application/json" else value
    return status, [("content-type", kind), *headers], body


def refused():
    detail = {"google_client_id": given("GOOGLE_CLIENT_ID"), "g_csrf_token": secrets.token_hex(8)}
    return answer(401, {"detail": detail}, [("x-g-csrf-token", detail["g_csrf_token"])])


def page(path):
    file = (SITE / path.lstrip("/")).resolve()
    file = file / "index.html" if file.is_dir() else file
    if SITE.resolve() not in file.parents or not file.is_file():
        return answer(404, {"detail": "Not Found"})
    return answer(200, file.read_bytes(), kind=mimetypes.guess_type(file.name)[0] or "text/plain")


def told(scope, headers):
    return {
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "host": headers.get("host"),
        "headers": sorted(headers),
        "environment": sorted(os.environ),
        "folder": os.getcwd(),
        "recordings": sorted(path.name for path in folder().iterdir()),
    }


def open_routes(method, path, body, scope, headers):
    """What anybody may ask; None for other paths."""
    if path == "/env/config.js":
        config = {"version": "1.5.0", "google_client_id": given("GOOGLE_CLIENT_ID")}
        return answer(200, f"window.__env__ = {json.dumps(config)};".encode(), kind="text/javascript")
    if not path.startswith("/api/"):
        return page(path)
    if path == "/api/status":
        return answer(200, {"status": "OK"})
    if path == "/api/stand-in":
        return answer(200, told(scope, headers))
    if path in ("/api/docs", "/api/openapi.json"):
        return answer(200, {"openapi": "3.1.0"})
    if path == "/api/stats/totals":
        rows = store.rows("SELECT count(*) AS sessions FROM recital_sessions")
        return answer(200, rows[0])
    if path == "/api/login" and method == "POST":
        email = parse_qs(body.decode())["credential"][0]
        if not store.user(email):
            store.add_user(email, "speaker" if store.auto_approval else None)
        cookie = f"access_token={token(email)}; HttpOnly; Max-Age=86400; Path=/; SameSite=strict; Secure"
        return answer(200, {}, [("set-cookie", cookie)])
    return None


def known_routes(method, path, body, user, query):
    """What only users may ask."""
    words = path.split("/")[2:]
    if path == "/api/me":
        return answer(200, user)
    if path == "/api/admin/users":
        if user["group"] != "admin":
            return answer(403, {"detail": "User is not an admin"})
        return answer(200, store.rows('SELECT email, "group" FROM users ORDER BY email'))
    if user["group"] not in ("speaker", "admin"):
        return answer(403, {"detail": "User is not an authorized speaker"})
    if path == "/api/sessions" and method == "PUT":
        session = secrets.token_hex(8)
        store.rows(
            "INSERT INTO recital_sessions (id, user_id, status) VALUES (:i, CAST(:u AS uuid), 'active')",
            i=session,
            u=user["id"],
        )
        return answer(200, {"session_id": session})
    if words[0] == "upload-audio-segment":
        (folder() / f"{query['session_id'][0]}.webm.seg.{words[1]}").write_bytes(body)
        return answer(200, {})
    if words[0] == "sessions" and words[-1] == "end":
        store.set_status(words[1], "ended")
        due.set()
        return answer(200, {})
    if words[0] == "sessions" and len(words) == 2:
        rows = store.rows("SELECT id, status FROM recital_sessions WHERE id = :i", i=words[1])
        return answer(200, rows[0]) if rows else answer(404, {"detail": "Not Found"})
    return answer(404, {"detail": "Not Found"})


USERS_ONLY = ("me", "admin", "sessions", "upload-audio-segment")


def respond(scope, headers, body):
    method, path = scope["method"], scope["path"]
    found = open_routes(method, path, body, scope, headers)
    if found:
        return found
    if path.split("/")[2] not in USERS_ONLY:
        return answer(404, {"detail": "Not Found"})
    user = signed_in(headers)
    if not user:
        return refused()
    return known_routes(method, path, body, user, parse_qs(scope["query_string"].decode()))


async def app(scope, receive, send):
    """The ASGI application."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    status, fields, content = await asyncio.to_thread(respond, scope, headers, body)
    fields = [(name.encode(), value.encode()) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": content})

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gunicorn serves: the DMI Service Manager, behind what keeps requests from where they must not lead.

The application itself (module `api`) is as upstream has it; each function below says which of its faults
it keeps away. Settings are those of config.yml in the working directory; what is ours stands there under
GPUFLEET.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import yaml
from api import app
from flask import jsonify, request
from werkzeug.datastructures import ImmutableMultiDict

OURS = "GPUFLEET"
JOB_ROUTE = re.compile(r"/api/[^/]+_(local|remote)")
# Routes of files, and what of their path names a file below the upload folder.
FILE_ROUTE = re.compile(r"/api/(send_files|list_filenames|download|uploads|linecount)(?:/(.*))?", re.DOTALL)
LOST = "The manager was started anew while this job ran, which ended it."
ENDED = ("complete", "error")


def read_config():
    """Return the content of config.yml. Upstream reads it at each request too, for the addresses."""
    return yaml.safe_load(Path("config.yml").read_text(encoding="utf-8"))


def client_of(peer, forwarded, proxies, vouched):
    """Return the address that a request comes from.

    peer       address of the other end of the connection
    forwarded  addresses of X-Forwarded-For, the last one written by who is nearest to us
    proxies    addresses of trusted proxies
    vouched    whether the peer is the fleet's own ingress, whatever address it has
    """
    if peer not in proxies and not vouched:
        return peer
    return next((address for address in reversed(forwarded) if address not in proxies), peer)


class ClientAddress:
    """Tells the application the client's address as REMOTE_ADDR, and no other way.

    A header is believed from trusted proxies, and from whoever knows the sender key: the ingress, which
    reaches this host under an address that no list can name beforehand.
    """

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        config = read_config()
        key = (config.get(OURS) or {}).get("SENDER_KEY") or ""
        proxies = config.get("TRUSTED_PROXIES") or []
        given = environ.pop("HTTP_X_GPUFLEET_SENDER", "")
        vouched = bool(key) and hmac.compare_digest(given.encode("latin-1"), key.encode())
        forwarded = [one.strip() for one in environ.pop("HTTP_X_FORWARDED_FOR", "").split(",") if one.strip()]
        scheme = environ.pop("HTTP_X_FORWARDED_PROTO", "")
        peer = environ.get("REMOTE_ADDR", "")
        environ["REMOTE_ADDR"] = client_of(peer, forwarded, proxies, vouched)
        # Without it the addresses in answers would begin with http behind TLS.
        if scheme in ("http", "https") and (vouched or peer in proxies):
            environ["wsgi.url_scheme"] = scheme
        return self.application(environ, start_response)


def stays_below(folder, *parts):
    """Return whether the path that parts make stays below a folder, wherever links lead."""
    if any(part.startswith("/") or "\0" in part or ".." in part.split("/") for part in parts):
        return False
    real = os.path.realpath(os.path.join(folder, *parts))
    return Path(real).is_relative_to(os.path.realpath(folder))


def refuse(status, reason):
    return jsonify({"reason": reason}), status


def guard_path():
    """No path climbs: upstream joins what it is sent to the upload folder unchecked."""
    if "\0" in request.path or ".." in request.path.split("/"):
        return refuse(400, "The path leads outside.")
    return None


def guard_files():
    """What names a file stays in the upload folder; a missing folder_name is an empty one, as documented."""
    route = FILE_ROUTE.fullmatch(request.path)
    if not route:
        return None
    folder = app_config().get("UPLOAD_FOLDER_PATH")
    if not folder:
        return refuse(405, "This manager has no folder for uploads (UPLOAD_FOLDER_PATH).")
    names = [(route[2] or "",)]
    if route[1] == "linecount":
        names = [(request.args.get("folder") or "", request.args.get("file") or "")]
        if not all(names[0]):
            return refuse(400, "Say which file: ?folder=...&file=...")
    if route[1] == "send_files" and request.method == "POST":
        if "folder_name" not in request.form:
            request.form = ImmutableMultiDict([*request.form.items(multi=True), ("folder_name", "")])
        above = request.form["folder_name"]
        names = [(above,), *((above, field) for field in request.files)]
    if not all(stays_below(folder, *parts) for parts in names):
        return refuse(400, "The path leads outside the folder of uploads.")
    return None


def guard_jobs():
    """A job is asked for by POST with a JSON object; the same one may be asked for again.

    Upstream answers GET and DELETE with an error about JSON. It keeps a job it has run under a key made
    of its command, and then refuses the next one with the same command. Arguments that are no text leave
    a job running for ever.
    """
    if not JOB_ROUTE.fullmatch(request.path):
        return None
    if request.method not in ("POST", "OPTIONS"):
        return refuse(405, "A job is started by POST here, and looked at by GET /api/jobs/<key>.")
    if request.method == "POST":
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            return refuse(400, 'Send a JSON object such as {"args": ["--help"]}.')
        arguments = body.get("args", [])
        if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
            return refuse(400, '"args" is a list of texts.')
        if not isinstance(body.get("timeout", 1), int) or body.get("timeout", 1) < 1:
            return refuse(400, '"timeout" is a number of seconds.')
        body.setdefault("force_unique_key", True)
    return None


def unknown_job(_error):
    """Upstream takes the first row of an answer that may have none."""
    return refuse(404, "There is no such job.")


def close_lost_jobs(database, now):
    """Write down that the jobs of a manager that is gone have ended; return how many.

    Their outcome was known to its process alone, so they would be running for ever.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
        with connection:  # a transaction
            done = connection.execute(
                "UPDATE jobs SET status = 'error', completed_at = ?, message = ?, results = ?"
                f" WHERE status IS NULL OR status NOT IN {ENDED}",
                (int(now), LOST, json.dumps({"returncode": -1, "report": "", "error": LOST})),
            )
        return done.rowcount


def quieten(level):
    """Log as much as config.yml says, to the journal alone: upstream's own file grows without end."""
    for logger in (app.logger, logging.getLogger("flask_shell2http")):
        logger.setLevel(level)
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
                handler.close()


def app_config():
    """Return what the application was started with; only the addresses may change meanwhile."""
    return STARTED_WITH


STARTED_WITH = read_config()


def stand_in_front():
    """Put all of it in front of the application."""
    ours = STARTED_WITH.get(OURS) or {}
    quieten(ours.get("LOG_LEVEL", "info").upper())
    # Left by a worker that died: nobody waits for them any more.
    subprocess.run(["docker", "stop-jobs"], check=False)
    closing = ours.get("CLOSE_LOST_JOBS", True)
    if closing and (lost := close_lost_jobs(STARTED_WITH["DATABASE_FILE"], time.time())):
        app.logger.info("%d jobs had not ended when the manager did; they are marked as failed", lost)
    # /api/linecount/ uses a module that it does not import.
    files = sys.modules.get("api.file_management")
    if files and not hasattr(files, "re"):
        files.re = re
    # After upstream's own, which lets only the listed addresses through.
    for guard in (guard_path, guard_files, guard_jobs):
        app.before_request(guard)
    app.register_error_handler(StopIteration, unknown_job)
    app.wsgi_app = ClientAddress(app.wsgi_app)


stand_in_front()

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the DMI Service Manager, which cannot be had here: its routes, its config.yml, its faults.

Written from the description of its interface, on the library that it uses (Flask-Shell2HTTP). The faults
that the role keeps away are here on purpose, so that a test sees them when nothing stands in front.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sqlite3
import subprocess
import time
from contextlib import closing

import yaml
from flask import Flask, abort, jsonify, request
from flask_executor import Executor
from flask_shell2http import Shell2HTTP


def settings():
    with open("config.yml", encoding="utf-8") as file:
        return yaml.safe_load(file)


config_data = settings()
app = Flask(__name__)
app.secret_key = config_data["SECRET_KEY"]
app.config["endpoints"] = set()
for logger in (app.logger, logging.getLogger("flask_shell2http")):
    logger.setLevel(logging.DEBUG)
    logger.addHandler(logging.FileHandler("dmi_service_manager.log"))
    logger.addHandler(logging.StreamHandler())

COLUMNS = (
    "created_at INTEGER, jobtype TEXT, completed_at INTEGER, status TEXT, message TEXT, "
    "processed_records INTEGER, details JSON, results JSON"
)


def query(statement, *values):
    """Run a statement in a connection of its own; return its rows and the last key."""
    with closing(sqlite3.connect(config_data["DATABASE_FILE"], timeout=10)) as connection, connection:
        connection.row_factory = sqlite3.Row
        done = connection.execute(statement, values)
        return [dict(row) for row in done.fetchall()], done.lastrowid


if not os.path.isfile(config_data["DATABASE_FILE"]):
    query(f"CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, {COLUMNS})")


@app.before_request
def only_listed():
    now = settings()
    if now.get("IP_WHITELIST"):
        proxies = now.get("TRUSTED_PROXIES")
        route = [*request.access_route, request.remote_addr]
        # A blank list of proxies is None, in which nothing can be.
        address = next((one for one in reversed(route) if one not in proxies), request.remote_addr)
        if address not in now["IP_WHITELIST"]:
            abort(403)


def recorded(view):
    """Keep a row per job. Reads a JSON body whatever the method."""

    @functools.wraps(view)
    def wrapped(*values, **words):
        details = {"request_json": request.json}
        _, key = query(
            "INSERT INTO jobs (created_at, jobtype, status, details) VALUES (?, ?, 'created', ?)",
            int(time.time()), request.path, json.dumps(details),
        )  # fmt: skip
        request.json.setdefault("callback_context", {})["db_key"] = key
        if request.json.get("pass_key"):
            words_for_it = ["--database_key", str(key), "--dmi_sm_server", config_data["DMI_SM_SERVER"]]
            request.json.setdefault("args", []).extend(words_for_it)
        response = view(*values, **words)
        answer = response.get_json()
        status = answer.get("status", "unknown")
        query("UPDATE jobs SET status = ? WHERE id = ? AND results IS NULL", status, key)
        answer.update(key=key, result_url=f"{request.url_root}/api/jobs/{key}")
        response.data = json.dumps(answer)
        return response

    return wrapped


def ended(context, future):
    result = future.result()
    status = "complete" if result["returncode"] == 0 else "error"
    query(
        "UPDATE jobs SET status = ?, completed_at = ?, results = ? WHERE id = ?",
        status, int(time.time()), json.dumps(result), context["db_key"],
    )  # fmt: skip


shell2http = Shell2HTTP(app=app, executor=Executor(app), base_url_prefix="/api/")
FOLDERS = {"local": config_data.get("4CAT_DATASETS_PATH"), "remote": config_data.get("UPLOAD_FOLDER_PATH")}
for name, data in (config_data.get("DOCKER_ENDPOINTS") or {}).items():
    for mode, folder in FOLDERS.items():
        if folder and data[mode]:
            cards = "--gpus all " if config_data["GPU_ENABLED"] else ""
            shell2http.register_command(
                endpoint=f"{name}_{mode}",
                command_name=f"docker run --rm --network host -v {folder}:{data['data_path']} "
                f"{cards}{data['image_name']} {data['command']}",
                decorators=[recorded],
                callback_fn=ended,
            )
            app.config["endpoints"].add(f"/api/{name}_{mode}")


@app.get("/api/")
def endpoints():
    return jsonify({"endpoints": sorted(app.config["endpoints"])})


@app.get("/api/check_gpu_mem/<name>")
def check_gpu_mem(name):
    if not config_data["GPU_ENABLED"]:
        return jsonify({"reason": "no GPU"}), 400
    if name not in config_data["DOCKER_ENDPOINTS"]:
        return jsonify({"reason": "unknown"}), 404
    # The name of the endpoint, not of its image; and any word on stderr is a failure.
    done = subprocess.run(
        ["docker", "run", "--rm", "--gpus", "all", name, "python3", "-c", "print"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (jsonify({"reason": done.stderr}), 500) if done.stderr else (jsonify({"memory": done.stdout}), 200)


@app.post("/status_update/")
def status_update():
    key, status = request.args.get("key"), request.args.get("status")
    if not key or not status:
        return jsonify({"status": "error"}), 400
    query("UPDATE jobs SET status = ?, message = ? WHERE id = ?", status, request.args.get("message"), key)
    return jsonify({"status": "success"})


@app.get("/jobs/")
def jobs():
    current = " WHERE status != 'complete'" if request.args.get("current") else ""
    return jsonify({"status": "success", "jobs": query(f"SELECT * FROM jobs{current}")[0]})


@app.get("/api/jobs/<key>")
def job(key):
    # An unknown one ends in StopIteration.
    return jsonify({"status": "success", "job": next(iter(query("SELECT * FROM jobs WHERE id = ?", key)[0]))})


from api import file_management  # noqa: E402, F401

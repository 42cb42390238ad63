# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the stand-in for the DMI Service Manager. It joins what it is sent to its folder unchecked."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from flask import jsonify, request, send_from_directory
from werkzeug.utils import secure_filename

from api import app, config_data

UPLOADS = config_data.get("UPLOAD_FOLDER_PATH")


@app.post("/api/send_files")
def send_files():
    if not request.files:
        return jsonify({"reason": "No files"}), 400
    folder = request.form["folder_name"] or uuid.uuid4().hex
    received = {}
    for field in request.files:
        place = os.path.join(UPLOADS, folder, field)
        os.makedirs(place, exist_ok=True)
        for file in request.files.getlist(field):
            if file.filename.rpartition(".")[2].lower() in config_data["ALLOWED_EXTENSIONS"]:
                file.save(os.path.join(place, secure_filename(file.filename)))
                received.setdefault(field, []).append(file.filename)
    return jsonify({"folder_name": folder, **received})


@app.get("/api/list_filenames/<path:folder>")
def list_filenames(folder):
    if not UPLOADS:
        return jsonify({"reason": "no uploads"}), 405
    top = os.path.join(UPLOADS, folder)
    if not os.path.exists(top):
        return jsonify({"reason": "not there"}), 404
    return jsonify({os.path.relpath(path, top): files for path, _, files in os.walk(top) if files})


@app.get("/api/download/<path:path>")
def download(path):
    found = Path(UPLOADS).joinpath(path)
    return send_from_directory(found.parent, found.name)


@app.get("/api/linecount/")
def linecount():
    # `re` is imported nowhere.
    folder = re.sub("^/", "", request.args.get("folder"))  # noqa: F821
    path = Path(UPLOADS, folder, request.args.get("file"))
    return jsonify({"lines": len(path.read_text(encoding="utf-8").splitlines())})

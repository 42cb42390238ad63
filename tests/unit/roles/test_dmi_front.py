# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in front of the DMI Service Manager, before a stand-in application with upstream's faults.

GPUFLEET_DMI_SOURCE  folder of a checkout of the application itself, to take it instead of the stand-in
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

pytest.importorskip("flask_shell2http", reason="Flask-Shell2HTTP is not installed")

ROOT = Path(__file__).resolve().parents[3]
FRONT = ROOT / "roles/dmi_service_manager/files"
# The application itself, where somebody has it.
STAND_IN = Path(os.environ.get("GPUFLEET_DMI_SOURCE", Path(__file__).parent / "dmi_stand_in"))
KEY = "the-sender-key"
LISTED, STRANGER, PROXY, GATEWAY = "192.0.2.10", "198.51.100.7", "192.0.2.80", "172.18.0.5"
DOCKER = """#!/bin/sh
echo "$@" >> docker.log
case "$1" in run) for word; do [ "$word" = sleep ] && exec sleep 3; done; echo done;; esac
"""


class Manager:
    """The application with what stands in front of it, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.uploads = folder / "uploads"
        self.config = {
            "DATABASE_FILE": "jobs.sqlite",
            "DMI_SM_SERVER": "http://127.0.0.1:4000",
            "SECRET_KEY": "not told",
            "4CAT_DATASETS_PATH": "/srv/4cat",
            "UPLOAD_FOLDER_PATH": str(self.uploads),
            "ALLOWED_EXTENSIONS": ["txt"],
            "GPU_ENABLED": True,
            "DOCKER_ENDPOINTS": {
                "ocr": {
                    "image_name": "x/ocr:1",
                    "command": "ocr",
                    "data_path": "/d",
                    "local": True,
                    "remote": True,
                }
            },
            "IP_WHITELIST": ["127.0.0.1", LISTED],
            "TRUSTED_PROXIES": [PROXY],
            "GPUFLEET": {"SENDER_KEY": KEY, "LOG_LEVEL": "warning", "CLOSE_LOST_JOBS": True},
        }
        self.app = None

    def write(self, **changes):
        (self.folder / "config.yml").write_text(yaml.safe_dump({**self.config, **changes}))

    def ask(self, method, path, address=LISTED, **words):
        return self.app.test_client().open(
            path, method=method, environ_overrides={"REMOTE_ADDR": address}, **words
        )

    def rows(self):
        with closing(sqlite3.connect(self.folder / "jobs.sqlite")) as connection:
            return connection.execute("SELECT id, status, message, results FROM jobs ORDER BY id").fetchall()

    def job(self, key, seconds=10):
        """Wait until a job has ended and return it."""
        for _ in range(seconds * 20):
            job = self.ask("GET", f"/api/jobs/{key}").json["job"]
            if job["status"] in ("complete", "error"):
                return job
            time.sleep(0.05)
        raise AssertionError(job)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    manager = Manager(tmp_path_factory.mktemp("dmi"))
    manager.uploads.mkdir()
    (manager.folder / "secret.txt").write_text("not for clients\n")
    (manager.uploads / "seen").mkdir()
    (manager.uploads / "seen" / "a.txt").write_text("one\ntwo\n")
    (manager.uploads / "link").symlink_to(manager.folder)
    tools = manager.folder / "bin"
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    manager.write()
    with closing(sqlite3.connect(manager.folder / "jobs.sqlite")) as connection, connection:
        connection.execute(
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY, created_at INTEGER, jobtype TEXT,"
            " completed_at INTEGER, status TEXT, message TEXT, processed_records INTEGER, details JSON,"
            " results JSON)"
        )
        connection.executemany(
            "INSERT INTO jobs (status) VALUES (?)",
            [["complete"], ["running"], ["error"], [None], ["step 2 of 3"]],
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(manager.folder)
        patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(sys, "path", [str(STAND_IN), str(FRONT), *sys.path])
        patch.setattr(sys, "dont_write_bytecode", True)
        try:
            front = importlib.import_module("dmi_front")
            manager.app, manager.front = front.app, front
            yield manager
        finally:
            for name in [name for name in sys.modules if name.split(".")[0] in ("api", "dmi_front")]:
                del sys.modules[name]


@pytest.fixture
def manager(started):
    started.write()
    return started


# Whom it is asked by


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        (LISTED, {}, 200),
        ("127.0.0.1", {}, 200),
        (STRANGER, {}, 403),
        # Whoever is not known as a proxy says nothing about others.
        (STRANGER, {"X-Forwarded-For": LISTED}, 403),
        (STRANGER, {"X-Forwarded-For": LISTED, "X-Gpufleet-Sender": "guessed"}, 403),
        (STRANGER, {"X-Forwarded-For": LISTED, "X-Gpufleet-Sender": ""}, 403),
        (PROXY, {"X-Forwarded-For": LISTED}, 200),
        (PROXY, {"X-Forwarded-For": STRANGER}, 403),
        (PROXY, {"X-Forwarded-For": f"{LISTED}, {STRANGER}"}, 403),
        (PROXY, {"X-Forwarded-For": f"{STRANGER}, {LISTED}, {PROXY}"}, 200),
        (PROXY, {}, 403),
        (GATEWAY, {"X-Forwarded-For": LISTED, "X-Gpufleet-Sender": KEY}, 200),
        (GATEWAY, {"X-Forwarded-For": STRANGER, "X-Gpufleet-Sender": KEY}, 403),
        (GATEWAY, {"X-Forwarded-For": "127.0.0.1"}, 403),
        (LISTED, {"X-Forwarded-For": STRANGER}, 200),
    ],
)
def test_the_address_of_the_client_decides(manager, peer, headers, status):
    assert manager.ask("GET", "/api/", peer, headers=headers).status_code == status


@pytest.mark.parametrize(("proxies", "statuses"), [([], (200, 403)), (None, (500, 500))])
def test_an_empty_list_of_proxies_is_none_but_a_blank_one_is_an_error(manager, proxies, statuses):
    # So the role always writes a list.
    manager.write(TRUSTED_PROXIES=proxies)
    assert tuple(manager.ask("GET", "/api/", one).status_code for one in (LISTED, STRANGER)) == statuses


def test_without_a_key_nobody_is_vouched_for(manager):
    manager.write(GPUFLEET={"SENDER_KEY": ""})
    headers = {"X-Forwarded-For": LISTED, "X-Gpufleet-Sender": ""}
    assert manager.ask("GET", "/api/", STRANGER, headers=headers).status_code == 403


def test_the_addresses_are_read_at_every_request(manager):
    manager.write(IP_WHITELIST=[STRANGER])
    assert manager.ask("GET", "/api/", STRANGER).status_code == 200
    assert manager.ask("GET", "/api/", LISTED).status_code == 403


@pytest.mark.parametrize(("key", "scheme"), [(KEY, "https"), ("guessed", "http")])
def test_addresses_in_answers_have_the_scheme_of_the_client(manager, key, scheme):
    headers = {"X-Forwarded-For": LISTED, "X-Forwarded-Proto": "https", "X-Gpufleet-Sender": key}
    answer = manager.ask("POST", "/api/ocr_local", headers=headers, json={"args": []})
    assert answer.json["result_url"].startswith(f"{scheme}://")
    manager.job(answer.json["key"])


# Where it must not lead


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/download/seen/a.txt", 200),
        ("/api/download/../secret.txt", 400),
        ("/api/download/seen/../../secret.txt", 400),
        ("/api/download/%2e%2e/secret.txt", 400),
        ("/api/download/..%2fsecret.txt", 400),
        ("/api/download/link/secret.txt", 400),
        ("/api/download/%2fetc/hostname", 400),
        ("/api/download/seen%00/a.txt", 400),
        ("/api/list_filenames/seen", 200),
        ("/api/list_filenames/link", 400),
        ("/api/list_filenames/..", 400),
        ("/api/list_filenames/seen/../..", 400),
        ("/api/linecount/?folder=seen&file=a.txt", 200),
        ("/api/linecount/?folder=seen", 400),
        ("/api/linecount/", 400),
        ("/api/linecount/?folder=..&file=secret.txt", 400),
        ("/api/linecount/?folder=link&file=secret.txt", 400),
        ("/api/linecount/?folder=/etc&file=hostname", 400),
        ("/api/../jobs/", 400),
        ("/jobs/", 200),
    ],
)
def test_reading_stays_in_the_uploads(manager, path, status):
    answer = manager.ask("GET", path)
    assert answer.status_code == status
    assert b"not for clients" not in answer.data


def test_linecount_counts(manager):
    assert manager.ask("GET", "/api/linecount/?folder=seen&file=a.txt").json == {"lines": 2}


@pytest.mark.parametrize(
    ("folder", "field", "lands"),
    [
        ("new", "text", "new/text/f.txt"),
        ("new/deeper", "text", "new/deeper/text/f.txt"),
        ("..", "text", None),
        ("../..", "text", None),
        ("/tmp", "text", None),
        ("new", "../../text", None),
        ("new", "/tmp", None),
        ("link", "text", None),
        ("new", "../../link", None),
    ],
)
def test_writing_stays_in_the_uploads(manager, folder, field, lands):
    before = set(manager.folder.rglob("f.txt"))
    data = {"folder_name": folder, field: (io.BytesIO(b"x"), "f.txt")}
    answer = manager.ask("POST", "/api/send_files", data=data)
    assert answer.status_code == (200 if lands else 400)
    added = set(manager.folder.rglob("f.txt")) - before
    assert added == ({manager.uploads / lands} if lands else set())
    assert not Path("/tmp/text/f.txt").exists()


def test_a_folder_need_not_be_named(manager):
    answer = manager.ask("POST", "/api/send_files", data={"text": (io.BytesIO(b"x"), "f.txt")})
    assert answer.status_code == 200
    assert (manager.uploads / answer.json["folder_name"] / "text" / "f.txt").read_text() == "x"


def test_a_stranger_uploads_nothing(manager):
    before = set(manager.uploads.iterdir())
    data = {"folder_name": "foreign", "text": (io.BytesIO(b"x"), "f.txt")}
    assert manager.ask("POST", "/api/send_files", STRANGER, data=data).status_code == 403
    assert set(manager.uploads.iterdir()) == before


@pytest.mark.parametrize("path", ["download/a.txt", "list_filenames/a", "linecount/?folder=a&file=b"])
def test_without_a_folder_there_are_no_files(manager, monkeypatch, path):
    monkeypatch.setattr(manager.front, "STARTED_WITH", {**manager.config, "UPLOAD_FOLDER_PATH": ""})
    answer = manager.ask("GET", f"/api/{path}")
    assert answer.status_code == 405 and "UPLOAD_FOLDER_PATH" in answer.json["reason"]


# Jobs


def test_exactly_the_endpoints_that_are_on(manager):
    assert manager.ask("GET", "/api/").json == {"endpoints": ["/api/ocr_local", "/api/ocr_remote"]}


def test_a_job_runs_and_is_kept(manager):
    answer = manager.ask("POST", "/api/ocr_local", json={"args": ["--help"]})
    assert answer.status_code == 202
    job = manager.job(answer.json["key"])
    assert job["status"] == "complete" and json.loads(job["results"])["returncode"] == 0
    ran = (manager.folder / "docker.log").read_text()
    assert "run --rm --network host -v /srv/4cat:/d --gpus all x/ocr:1 ocr --help" in ran


def test_the_same_job_may_be_asked_for_again(manager):
    # The application alone keeps the first under a key made of its command, and refuses the second.
    statuses = [manager.ask("POST", "/api/ocr_local", json={"args": ["again"]}).status_code for _ in range(2)]
    assert statuses == [202, 202]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "JSON object"),
        (["--help"], "JSON object"),
        ({"args": "--help"}, "args"),
        ({"args": [1]}, "args"),
        ({"args": [], "timeout": "long"}, "timeout"),
        ({"args": [], "timeout": 0}, "timeout"),
    ],
)
def test_a_job_that_is_no_job_is_told(manager, body, words):
    before = len(manager.rows())
    answer = manager.ask("POST", "/api/ocr_local", **({} if body is None else {"json": body}))
    assert answer.status_code == 400 and words in answer.json["reason"]
    assert len(manager.rows()) == before


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_job_is_looked_at_elsewhere(manager, method):
    answer = manager.ask(method, "/api/ocr_local?key=1")
    assert answer.status_code == 405 and "/api/jobs/" in answer.json["reason"]


def test_an_unknown_job_is_not_found(manager):
    assert manager.ask("GET", "/api/jobs/987654").status_code == 404


def test_jobs_of_a_manager_that_is_gone_have_ended(manager):
    rows = manager.rows()[:5]
    assert [status for _key, status, *_rest in rows] == ["complete", "error", "error", "error", "error"]
    assert [bool(results) for *_rest, results in rows] == [False, True, False, True, True]
    assert json.loads(rows[1][3])["returncode"] != 0 and "started anew" in rows[1][2]
    # Their containers are removed first.
    assert (manager.folder / "docker.log").read_text().startswith("stop-jobs\n")


def test_nothing_goes_to_a_file_that_grows(manager):
    before = (manager.folder / "dmi_service_manager.log").read_text()
    manager.app.logger.error("something to be told")
    assert (manager.folder / "dmi_service_manager.log").read_text() == before

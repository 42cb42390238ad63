# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""crowd-recital on two hosts: its routes, secrets, jobs and admin commands, and data that stays.

GPUFLEET_INVENTORY  inventory of a lab with a Swarm and its ingress, and no system (scripts/with_lab.py NAME 2
                    --fleet); all of this is skipped without it

Real are Traefik, PostgreSQL, Alembic, uvicorn and boto3; the application is a stand-in, and its bucket is one
of moto's. The tests build on one another and run in the order of the file.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet")

MANAGER, DATA = "manager1", "worker1"
DOMAIN = "recital.lab.test"
CLIENT_ID = "lab.apps.googleusercontent.com"
HEAD = "70c680311d9b"
AWS_KEY, AWS_SECRET = "AKIALABLABLABLAB", "lab-secret-of-aws-for-nobody"
VALUES = {
    "fleet_systems": ["crowd_recital"],
    "crowd_recital_image": "crowd-recital:1.5.0",
    "crowd_recital_data_node": DATA,
    "crowd_recital_google_client_id": CLIENT_ID,
    "crowd_recital_content_storage_s3_bucket": "recordings",
    "crowd_recital_aws_endpoint_url": "http://store:5000",
    "crowd_recital_aws_access_key_id": AWS_KEY,
    "crowd_recital_aws_secret_access_key": AWS_SECRET,
    "crowd_recital_aws_default_region": "us-east-1",
}
S3 = {
    "services": {
        "moto": {
            "image": "motoserver/moto:5",
            # botocore takes no name with an underscore, as Swarm's own names have.
            "networks": {"public": {"aliases": ["store"]}},
            "stop_grace_period": "1s",
            # Its buckets are in memory, so it stays where no node is started anew.
            "deploy": {"placement": {"constraints": [f"node.labels.gpufleet.host=={MANAGER}"]}},
        }
    },
    "networks": {"public": {"external": True, "name": "fleet_public"}},
}
MAKE_BUCKET = "import boto3; boto3.client('s3').create_bucket(Bucket='recordings')"
# Sources as upstream's: they need BuildKit, copy the folder server, and somebody left a .env in it.
SOURCE = "/srv/recital.git"
DOCKERFILE = """FROM --platform=$BUILDPLATFORM crowd-recital:1.5.0 AS site
RUN --mount=type=cache,target=/cache echo built > /cache/word && cp /cache/word /built
FROM crowd-recital:1.5.0
COPY --from=site /built /built
COPY server /sources
"""
REPOSITORY = f"""
set -e
command -v git >/dev/null || apt-get update -qq
command -v git >/dev/null || apt-get install -qq -y --no-install-recommends git >/dev/null
export GIT_AUTHOR_NAME=it GIT_AUTHOR_EMAIL=it@lab.test GIT_COMMITTER_NAME=it GIT_COMMITTER_EMAIL=it@lab.test
git init -q -b main /srv/recital; cd /srv/recital; mkdir server; cp /root/Dockerfile Dockerfile
echo SECRET=of-somebody > server/.env; echo code > server/code.py
git add .; git commit -qm one; git tag v1.6.0
git clone -q --bare /srv/recital {SOURCE}
"""
LIST_BUCKET = (
    "import boto3; found = boto3.client('s3').list_objects_v2(Bucket='recordings').get('Contents', []); "
    "print(' '.join(one['Key'] for one in found))"
)
# As the application: boto3 takes its keys from the environment, into which the .env is read.
AS_APPLICATION = "import dotenv; dotenv.load_dotenv('/server/.env'); "


class Fleet:
    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        values = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        groups = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        self.lab = values["fleet_name"]
        self.address = {
            name: host["ansible_host"]
            for group in groups.values()
            for name, host in (group.get("hosts") or {}).items()
            if host
        }
        self.credentials = self.inventory / "credentials" / "crowd_recital"
        self.values = dict(VALUES)

    def run(self, playbook, *arguments, fails=False, **variables):
        """Run a playbook; return (what it said, how many changes it made)."""
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"}
        # In a file, so that no process list shows them.
        given = self.folder / "values.json"
        given.write_text(json.dumps({**self.values, **variables}))
        command = [BIN / "ansible-playbook", "-i", self.inventory, *arguments, "-e", f"@{given}", playbook]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        told = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, told[-6000:]
        return told, sum(map(int, re.findall(r"changed=(\d+)", told)))

    def site(self, *arguments, fails=False, **variables):
        return self.run(
            ROOT / "playbooks" / "site.yml", "--tags", "systems", *arguments, fails=fails, **variables
        )

    def playbook(self, name, *arguments, fails=False, **variables):
        return self.run(ROOT / "playbooks" / f"{name}.yml", *arguments, fails=fails, **variables)

    def stack(self, **options):
        path = self.folder / "stack.yml"
        task = {"name": "Deploy", "gpufleet.swarm.stack": options}
        path.write_text(
            json.dumps([{"hosts": MANAGER, "become": True, "gather_facts": False, "tasks": [task]}])
        )
        return self.run(path)

    def on(self, host, *words, script=None, check=True):
        """Run a command on a host, past SSH and Ansible, and return what it prints."""
        words = words or ("sh", "-c", script)
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def container(self, service):
        """Return (host, id) of the running container of a service."""
        for host in self.address:
            found = self.on(
                host, "docker", "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}"
            )
            if found:
                return host, found.split()[0]
        raise AssertionError(f"no container of {service}")

    def inside(self, service, *words):
        host, container = self.container(service)
        return self.on(host, "docker", "exec", container, *words)

    def python(self, code):
        """Run Python in the container of the application."""
        return self.inside("crowd_recital_app", "python", "-c", AS_APPLICATION + code)

    def sql(self, query):
        return self.inside(
            "crowd_recital_db", "psql", "-U", "crowd_recital", "-At", "-c", query, "crowd_recital"
        )

    def specification(self, service):
        return json.loads(self.on(MANAGER, "docker", "service", "inspect", service))[0]["Spec"]

    def tasks(self, service):
        """Return the tasks of a service, the last first."""
        names = self.on(MANAGER, "docker", "service", "ps", "-q", "--no-trunc", service).split()
        return json.loads(self.on(MANAGER, "docker", "inspect", *names)) if names else []

    def secret(self, name):
        return (self.credentials / name).read_text().strip()

    def ask(self, path, method="GET", body=None, plain=False, **headers):
        """Ask the ingress as a browser would; return (status, headers, body)."""
        context = ssl.create_default_context(cafile=self.inventory / "credentials" / "ca" / "ca.crt")
        port = 80 if plain else 443
        wire = socket.create_connection((self.address[MANAGER], port), timeout=15)
        connection = http.client.HTTPConnection(DOMAIN, timeout=15)
        connection.sock = wire if plain else context.wrap_socket(wire, server_hostname=DOMAIN)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=fields)
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, got, answer.read().decode()
        finally:
            connection.close()

    def until(self, path, status=200, seconds=90):
        """Wait for an answer; return its body."""
        deadline, found = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                found = self.ask(path)
                if found[0] == status:
                    return found[2]
            except OSError as error:
                found = error
            time.sleep(0.5)
        raise AssertionError(f"no {status} from {path} within {seconds} s: {found}")

    def sign_in(self, email):
        """Return the cookie that the stand-in gives to whoever names an address."""
        status, headers, _body = self.ask("/api/login", "POST", f"credential={email}")
        assert status == 200
        return headers["set-cookie"]

    def record(self, cookie, content="voice", end=True):
        """Record a session; return its id."""
        cookie = cookie.partition(";")[0]
        session = json.loads(self.ask("/api/sessions", "PUT", Cookie=cookie)[2])["session_id"]
        status, _headers, _body = self.ask(
            f"/api/upload-audio-segment/0?session_id={session}", "POST", content, Cookie=cookie
        )
        assert status == 200
        if end:
            assert self.ask(f"/api/sessions/{session}/end", "POST", "", Cookie=cookie)[0] == 200
        return session

    def finished(self, session, seconds=60):
        """Wait until a session is uploaded; return the names of its objects in the bucket."""
        deadline = time.monotonic() + seconds
        query = f"SELECT status FROM recital_sessions WHERE id = '{session}'"
        while (status := self.sql(query)) != "uploaded":
            assert time.monotonic() < deadline, f"{session} is {status} after {seconds} s"
            time.sleep(1)
        return {name for name in self.python(LIST_BUCKET).split() if name.startswith(session)}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    if set(fleet.address) != {MANAGER, DATA}:
        pytest.fail(f"wanted a lab of {MANAGER} and {DATA}, found {sorted(fleet.address)}")
    # The lab's kernel may have no IPVS, which virtual addresses need.
    fleet.stack(name="s3", definition=S3, endpoint_mode="dnsrr")
    return fleet


@pytest.fixture(scope="module")
def speaker(fleet):
    """The cookie of a speaker."""
    fleet.playbook("approve_speaker", speaker_email="speaker@lab.test")
    return fleet.sign_in("speaker@lab.test")


def services(fleet):
    names = fleet.on(MANAGER, "docker", "service", "ls", "--format", "{{.Name}}").split()
    return {name for name in names if name.startswith("crowd_recital_")}


def test_bad_input_is_refused_with_nothing_changed(fleet):
    told, _changed = fleet.site(
        crowd_recital_dev_auto_login_user_email="a@b.org",
        crowd_recital_db_connection_str="postgres://u:word-of-secrecy@h/d",
        crowd_recital_aws_secret_access_key="",
        fails=True,
    )
    for option in ("dev_auto_login_user_email", "db_connection_str", "aws_secret_access_key"):
        assert f"set crowd_recital_{option}" in " ".join(told.split())
    assert "word-of-secrecy" not in told
    assert services(fleet) == set()
    assert not fleet.credentials.exists()
    assert fleet.on(DATA, script="ls -d /srv/crowd_recital 2>/dev/null", check=False) == ""


def test_the_system_comes_up(fleet):
    started = time.monotonic()
    told, _changed = fleet.site("-v", "--diff")
    print(f"first deployment: {time.monotonic() - started:.0f} s")
    assert services(fleet) == {"crowd_recital_db", "crowd_recital_migrate", "crowd_recital_app"}
    for secret in [AWS_SECRET, *(path.read_text().strip() for path in fleet.credentials.iterdir())]:
        assert len(secret) > 16 and secret not in told
    fleet.python(MAKE_BUCKET)
    assert "Starting job scheduler" in fleet.on(MANAGER, "docker", "service", "logs", "crowd_recital_app")


def test_a_second_run_changes_nothing(fleet):
    started = time.monotonic()
    _told, changed = fleet.site()
    print(f"second run: {time.monotonic() - started:.0f} s")
    assert changed == 0


def test_the_playbook_verify_is_content(fleet):
    told, _changed = fleet.playbook("verify")
    for path in ("/api/status", "/env/config.js", "/recite", "/api/me", "/api/stats/totals", "/api/nope"):
        assert f"https://{DOMAIN}{path}" in told


def test_it_answers_by_https(fleet):
    status, _headers, body = fleet.ask("/api/status")
    assert (status, body) == (200, '{"status":"OK"}')
    status, headers, _body = fleet.ask("/recite", plain=True)
    assert status in (301, 308) and headers["location"] == f"https://{DOMAIN}/recite"


def test_nobody_is_signed_in_who_has_not(fleet):
    status, headers, body = fleet.ask("/api/me")
    assert status == 401 and headers["x-g-csrf-token"]
    assert json.loads(body)["detail"]["google_client_id"] == CLIENT_ID
    assert fleet.ask("/api/admin/users")[0] == 401
    assert "DEV_AUTO_LOGIN_USER_EMAIL" not in json.loads(fleet.ask("/api/stand-in")[2])["environment"]


def test_the_configuration_of_browsers_has_no_secret(fleet):
    status, _headers, body = fleet.ask("/env/config.js")
    assert status == 200 and body.startswith("window.__env__ =")
    assert CLIENT_ID in body and "1.5.0" in body
    for name in ("database_password", "access_token_secret_key", "delegated_identity_secret_key"):
        assert fleet.secret(name) not in body
    assert AWS_SECRET not in body


@pytest.mark.parametrize("path", ["/", "/some/client/route", "/recite?document=1", "/apiary"])
def test_a_route_of_the_client_is_its_page(fleet, path):
    status, headers, body = fleet.ask(path)
    assert status == 200 and "text/html" in headers["content-type"] and "/assets/app.js" in body


def test_what_is_no_route_of_the_client_is_no_page(fleet):
    status, headers, _body = fleet.ask("/api/nope")
    assert status == 404 and "application/json" in headers["content-type"]
    assert "Terms of use" in fleet.ask("/eula.html")[2]
    assert "console.log" in fleet.ask("/assets/app.js")[2]
    assert fleet.ask("/assets/none.js")[0] == 404


def test_the_api_documentation_is_for_nobody(fleet):
    assert [fleet.ask(path)[0] for path in ("/api/docs", "/api/openapi.json")] == [403, 403]


def test_the_application_knows_who_asked(fleet):
    told = json.loads(fleet.ask("/api/stand-in", X_Forwarded_For="203.0.113.9")[2])
    # The gateway of the lab's network, which is this machine; and not who it claims to be.
    own = fleet.address[MANAGER].rpartition(".")[0] + ".1"
    assert (told["client"], told["scheme"], told["host"], told["folder"]) == (own, "https", DOMAIN, "/")


def test_the_database_is_at_the_head_of_its_revisions(fleet):
    assert fleet.sql("SELECT version_num FROM alembic_version") == HEAD


def test_the_migration_ended_well_before_the_application_began(fleet):
    migration, application = fleet.tasks("crowd_recital_migrate")[0], fleet.tasks("crowd_recital_app")[0]
    assert migration["Status"]["State"] == "complete"
    assert migration["Status"]["ContainerStatus"]["ExitCode"] == 0
    assert migration["CreatedAt"] < application["CreatedAt"]


def test_the_service_is_one_replica_with_named_data_and_no_secret(fleet):
    spec = fleet.specification("crowd_recital_app")
    container = spec["TaskTemplate"]["ContainerSpec"]
    assert spec["Mode"] == {"Replicated": {"Replicas": 1}}
    assert [(mount["Type"], mount["Source"], mount["Target"]) for mount in container["Mounts"]] == [
        ("bind", "/srv/crowd_recital/data", "/data")
    ]
    assert spec["TaskTemplate"]["Placement"]["Constraints"] == [f"node.labels.gpufleet.host == {DATA}"]
    names = {entry.partition("=")[0] for entry in container["Env"]}
    assert not names & {
        "DB_CONNECTION_STR", "ACCESS_TOKEN_SECRET_KEY", "DELEGATED_IDENTITY_SECRET_KEY", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "DEV_AUTO_LOGIN_USER_EMAIL",
    }  # fmt: skip
    (file,) = [entry["File"] for entry in container["Secrets"]]
    assert (file["Name"], file["Mode"]) == ("/server/.env", 0o400)
    assert not container["Image"].endswith(":latest")
    everything = fleet.on(MANAGER, script="docker service inspect $(docker service ls -q)")
    for secret in [AWS_SECRET, *(path.read_text().strip() for path in fleet.credentials.iterdir())]:
        assert secret not in everything
    assert fleet.inside("crowd_recital_app", "stat", "-c", "%a %u", "/server/.env") == "400 0"


def test_the_database_is_published_nowhere(fleet):
    assert "Ports" not in fleet.specification("crowd_recital_db")["EndpointSpec"]
    for host, address in fleet.address.items():
        assert ":5432" not in fleet.on(host, "ss", "-Hltn")
        with pytest.raises(OSError):
            socket.create_connection((address, 5432), timeout=3).close()


def test_directories_have_their_owners_where_the_data_is(fleet):
    found = fleet.on(DATA, script="stat -c '%n %a %u %g' /srv/crowd_recital/*").splitlines()
    assert [line.removeprefix("/srv/crowd_recital/") for line in found] == [
        "backup 700 999 999", "data 750 0 0", "postgres 700 999 999",
    ]  # fmt: skip
    assert fleet.on(MANAGER, script="ls -d /srv/crowd_recital 2>/dev/null", check=False) == ""


def test_speakers_are_approved_once(fleet, speaker):
    told, changed = fleet.playbook("approve_speaker", speaker_email="speaker@lab.test")
    assert changed == 0 and "is speaker already" in told
    assert fleet.sql("SELECT \"group\" FROM users WHERE email = 'speaker@lab.test'") == "speaker"
    assert fleet.ask("/api/admin/users", Cookie=speaker.partition(";")[0])[0] == 403
    told, _changed = fleet.playbook("approve_speaker", speaker_email="nobody", fails=True)
    assert "Set speaker_email" in told


def test_a_dry_run_of_an_admin_command_says_what_it_would_do(fleet, speaker):
    text = fleet.folder / "dry.txt"
    text.write_text("Never read.\n")
    before = fleet.sql("SELECT email, \"group\" FROM users ORDER BY email")
    for name, given, changes in (
        ("approve_speaker", {"speaker_email": "dry@lab.test"}, 1),
        ("approve_speaker", {"speaker_email": "speaker@lab.test"}, 0),
        ("make_admin", {"admin_email": "dry@lab.test"}, 1),
        ("upload_document", {"document_path": str(text), "document_language": "yi"}, 2),
        ("finalize_sessions", {}, 2),
        ("dump_crowd_recital", {}, 1),
    ):
        assert fleet.playbook(name, "--check", **given)[1] == changes, name
    assert fleet.sql("SELECT email, \"group\" FROM users ORDER BY email") == before
    assert fleet.sql("SELECT count(*) FROM text_documents") == "0"
    assert fleet.on(DATA, "ls", "/srv/crowd_recital/backup") == ""


def test_an_account_of_google_alone_makes_no_speaker(fleet):
    # crowd_recital_disable_auto_speaker_approval is true unless it is set.
    cookie = fleet.sign_in("stranger@lab.test").partition(";")[0]
    assert fleet.ask("/api/sessions", "PUT", Cookie=cookie)[0] == 403


def test_an_admin_is_made_and_stays_one(fleet):
    fleet.sign_in("admin@lab.test")
    _told, changed = fleet.playbook("make_admin", admin_email="admin@lab.test")
    assert changed == 1
    assert fleet.playbook("make_admin", admin_email="admin@lab.test")[1] == 0
    # The admin client alone would put the admin back among the speakers.
    assert fleet.playbook("approve_speaker", speaker_email="admin@lab.test")[1] == 0
    cookie = fleet.sign_in("admin@lab.test").partition(";")[0]
    status, _headers, body = fleet.ask("/api/admin/users", Cookie=cookie)
    assert status == 200 and {"email": "admin@lab.test", "group": "admin"} in json.loads(body)


def test_a_session_cookie_keeps_its_attributes(fleet, speaker):
    attributes = {part.strip() for part in speaker.split(";")[1:]}
    assert {"Secure", "HttpOnly", "SameSite=strict"} <= attributes
    assert fleet.ask("/api/me", Cookie=speaker.partition(";")[0])[0] == 200


def test_nobody_acts_for_others_from_outside(fleet, speaker):
    right, email = fleet.secret("delegated_identity_secret_key"), "speaker@lab.test"
    for key in ("wrong", right):
        headers = {"x-delegation-secret-key": key, "x-delegated-user-email": email}
        assert fleet.ask("/api/me", **headers)[0] == 401
        # Past the ingress the application decides by itself.
        asked = (
            "import urllib.request as u, urllib.error as e\n"
            f"r = u.Request('http://127.0.0.1/api/me', headers={headers!r})\n"
            "try: print(u.urlopen(r).status)\nexcept e.HTTPError as x: print(x.code)"
        )
        assert fleet.inside("crowd_recital_app", "python", "-c", asked) == ("200" if key == right else "401")


def test_a_recorded_session_goes_to_the_bucket(fleet, speaker):
    started = time.monotonic()
    session = fleet.record(speaker)
    assert fleet.finished(session) == {
        f"{session}/{name}"
        for name in ("transcript.vtt", "source.audio.webm", "main.audio.mka", "light.audio.mp3")
    }
    print(f"a session was uploaded {time.monotonic() - started:.0f} s after it began")
    assert fleet.on(DATA, "ls", "/srv/crowd_recital/data") == ""


def test_a_text_is_uploaded(fleet):
    file = fleet.folder / "text.txt"
    file.write_text("Once upon a time.\n")
    given = {"document_path": str(file), "document_language": "he", "document_title": "A tale"}
    fleet.playbook("upload_document", **given)
    assert fleet.sql("SELECT source FROM text_documents WHERE title = 'A tale'") == "Once upon a time."
    # The admin client ends with 0 here, too.
    told, _changed = fleet.playbook("upload_document", **given, document_owner="no@lab.test", fails=True)
    assert "no@lab.test not found" in " ".join(told.split())


def test_the_database_is_dumped_whole(fleet):
    told, _changed = fleet.playbook("dump_crowd_recital")
    (file,) = fleet.on(DATA, "ls", "/srv/crowd_recital/backup").split()
    assert f"{DATA}: /srv/crowd_recital/backup/{file}" in " ".join(told.split())
    listed = fleet.inside("crowd_recital_db", "pg_restore", "--list", f"/backup/{file}")
    assert "TABLE DATA public users" in listed and "TABLE DATA public alembic_version" in listed


def test_a_dump_is_restored_as_the_page_says(fleet):
    """With the words of docs/systems/crowd_recital.md, one after the other."""
    (file,) = fleet.on(DATA, "ls", "/srv/crowd_recital/backup").split()
    before = fleet.sql("SELECT title FROM text_documents"), fleet.sql("SELECT count(*) FROM recital_sessions")
    assert before[0] == "A tale"
    fleet.sql("DELETE FROM text_documents")
    fleet.on(MANAGER, "docker", "service", "scale", "crowd_recital_app=0")
    words = ["--clean", "--if-exists", "--no-owner", "-U", "crowd_recital", "-d", "crowd_recital"]
    fleet.inside("crowd_recital_db", "pg_restore", *words, f"/backup/{file}")
    fleet.on(MANAGER, "docker", "service", "update", "--force", "crowd_recital_migrate")
    assert fleet.site()[1] > 0
    fleet.until("/api/stats/totals")
    assert before == (
        fleet.sql("SELECT title FROM text_documents"),
        fleet.sql("SELECT count(*) FROM recital_sessions"),
    )
    assert fleet.sql("SELECT version_num FROM alembic_version") == HEAD
    assert fleet.site()[1] == 0


def test_tables_without_a_version_are_told_and_marked(fleet):
    """The trap: the application made the tables itself, and an update's migration would make them again."""
    fleet.on(DATA, "docker", "tag", "crowd-recital:1.5.0", "crowd-recital:1.5.1")
    fleet.sql("DROP TABLE alembic_version")
    fleet.values["crowd_recital_image"] = "crowd-recital:1.5.1"
    told, _changed = fleet.site(fails=True)
    assert "Set crowd_recital_stamp_revision to the Alembic revision" in " ".join(told.split())
    image = fleet.specification("crowd_recital_app")["TaskTemplate"]["ContainerSpec"]["Image"]
    assert image == "crowd-recital:1.5.0" and fleet.ask("/api/stats/totals")[0] == 200
    fleet.values.update(
        crowd_recital_stamp_revision=HEAD,
        crowd_recital_job_session_finalization_disabled=True,
        crowd_recital_job_session_finalization_interval_sec=5,
        crowd_recital_delegation_addresses=["172.16.0.0/12"],
    )
    fleet.site()
    assert fleet.sql("SELECT version_num FROM alembic_version") == HEAD
    assert services(fleet) == {f"crowd_recital_{name}" for name in ("db", "migrate", "app", "jobs")}


def test_scheduled_jobs_finish_sessions(fleet, speaker):
    fleet.until("/api/status")
    assert len(fleet.finished(fleet.record(speaker))) == 4
    logs = fleet.on(MANAGER, "docker", "service", "logs", "--raw", "crowd_recital_jobs")
    assert "Uploading aggregated sessions." in logs and "jobs: failed" not in logs
    host, container = fleet.container("crowd_recital_app")
    assert "Starting job scheduler" not in fleet.on(host, "docker", "logs", container)


def test_known_addresses_act_for_others(fleet):
    headers = {
        "x-delegation-secret-key": fleet.secret("delegated_identity_secret_key"),
        "x-delegated-user-email": "speaker@lab.test",
    }
    status, _headers, body = fleet.ask("/api/me", **headers)
    assert status == 200 and json.loads(body)["email"] == "speaker@lab.test"
    assert fleet.ask("/api/me", **{**headers, "x-delegation-secret-key": "wrong"})[0] == 401


def test_the_scan_finds_none_of_its_secrets(fleet):
    assert "No secret stands open." in fleet.playbook("scan_secrets")[0]


def test_the_password_of_the_database_is_rotated(fleet, speaker):
    before = fleet.secret("database_password")
    fleet.playbook("rotate_secret", secrets_system="crowd_recital", secrets_name="database_password")
    assert fleet.secret("database_password") != before
    assert json.loads(fleet.until("/api/stats/totals"))["sessions"] >= 2


def test_data_survives_update_new_tasks_and_a_reboot(fleet, speaker):
    # Jobs at rest, so that the file of a session that has not ended stays a file.
    session = fleet.record(speaker, content="not uploaded yet", end=False)
    file = f"/srv/crowd_recital/data/{session}.webm.seg.0"

    def all_there():
        assert json.loads(fleet.until("/api/stats/totals"))["sessions"] >= 3
        assert fleet.sql(f"SELECT status FROM recital_sessions WHERE id = '{session}'") == "active"
        assert fleet.on(DATA, "cat", file) == "not uploaded yet"
        assert fleet.python(f"print(open('/data/{session}.webm.seg.0').read())") == "not uploaded yet"
        cookie = speaker.partition(";")[0]
        assert fleet.ask("/api/me", Cookie=cookie)[0] == 200, "the key of the sessions is the same"

    all_there()
    # Another image: the migration runs again, then the application.
    before = fleet.tasks("crowd_recital_migrate")[0]["ID"]
    fleet.values["crowd_recital_image"] = "crowd-recital:1.5.0"
    fleet.site()
    migration, application = fleet.tasks("crowd_recital_migrate")[0], fleet.tasks("crowd_recital_app")[0]
    assert migration["ID"] != before and migration["Status"]["State"] == "complete"
    assert migration["CreatedAt"] < application["CreatedAt"]
    all_there()
    fleet.on(MANAGER, "docker", "service", "update", "--quiet", "--force", "crowd_recital_app")
    all_there()
    name = f"gpufleet-{fleet.lab}-{DATA}"
    subprocess.run(["docker", "restart", "-t", "20", name], capture_output=True, check=True)
    started = time.monotonic()
    fleet.until("/api/stats/totals", seconds=180)
    print(f"answered {time.monotonic() - started:.0f} s after the start of the node with the data")
    all_there()
    assert fleet.site()[1] == 0


def test_the_image_is_built_beside_the_data_without_what_is_secret(fleet):
    """On Debian 12, whose client has BuildKit in itself, and no package of the plugin."""
    subprocess.run(
        ["docker", "exec", "-i", f"gpufleet-{fleet.lab}-{DATA}", "sh", "-c", "cat > /root/Dockerfile"],
        input=DOCKERFILE, text=True, check=True,
    )  # fmt: skip
    fleet.on(DATA, script=f"({REPOSITORY}) < /dev/null")
    fleet.values.update(crowd_recital_image="", crowd_recital_source=SOURCE, crowd_recital_version="v1.6.0")
    fleet.site()
    image = fleet.specification("crowd_recital_app")["TaskTemplate"]["ContainerSpec"]["Image"]
    assert image.startswith("localhost/crowd-recital:")
    assert fleet.inside("crowd_recital_app", "cat", "/built") == "built"
    assert fleet.inside("crowd_recital_app", "ls", "-A", "/sources") == "code.py"
    assert json.loads(fleet.until("/api/stats/totals"))["sessions"] >= 3
    assert image not in fleet.on(MANAGER, "docker", "images", "--format", "{{.Repository}}:{{.Tag}}")
    assert fleet.site()[1] == 0


def test_it_is_removed_alone_and_comes_back_with_its_data(fleet, speaker):
    fleet.site(crowd_recital_state="absent")
    assert services(fleet) == set()
    left = fleet.on(MANAGER, "docker", "service", "ls", "--format", "{{.Name}}").split()
    assert "s3_moto" in left and "ingress_traefik" in left
    objects = fleet.on(MANAGER, script="docker config ls -q --filter name=crowd_recital_; "
                       "docker secret ls -q --filter name=crowd_recital_; "
                       "docker network ls -q --filter name=crowd_recital_")
    assert objects == ""
    # Back with two servers: the jobs have one of their own.
    fleet.values.update(
        crowd_recital_job_session_finalization_disabled=False,
        crowd_recital_replicas=2,
        crowd_recital_api_docs_addresses=["172.16.0.0/12"],
    )
    fleet.site()
    assert json.loads(fleet.until("/api/stats/totals"))["sessions"] >= 3
    assert fleet.ask("/api/me", Cookie=speaker.partition(";")[0])[0] == 200
    assert fleet.ask("/api/docs")[0] == 200
    assert fleet.specification("crowd_recital_app")["Mode"] == {"Replicated": {"Replicas": 2}}
    assert len(fleet.finished(fleet.record(speaker))) == 4

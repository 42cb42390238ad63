# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack of crowd-recital for many sets of options, and what is refused before anything is changed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secret_import

from tests.unit.roles.crowd_recital_stack import LEAST, NODES, ROLE, Rendered

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "systems" / "crowd_recital.md"
INTEGRATION = ROOT / "tests" / "integration" / "test_crowd_recital.py"
DATABASE = "postgresql://reciter:pa%24s@db.example.org:5432/recital"
ACCESS, DELEGATION = "a-key-for-sessions-of-32-characters", "it's $a \\ key ${for delegation"


@pytest.fixture
def render(tmp_path):
    def with_options(**options):
        return Rendered(tmp_path, **options)

    return with_options


def labels(rendered):
    return rendered.services["app"]["Labels"]


def mounts(rendered, service):
    found = rendered.container(service)["Mounts"]
    return {mount["Target"]: (mount["Type"], mount["Source"]) for mount in found}


def networks(rendered, service):
    return {entry["Target"] for entry in rendered.services[service]["TaskTemplate"]["Networks"]}


def constraints(rendered, service):
    return rendered.services[service]["TaskTemplate"]["Placement"].get("Constraints", [])


# Variables

VARIABLES = [
    ("google_client_id", "x.apps", "GOOGLE_CLIENT_ID", "x.apps"),
    ("disable_auto_speaker_approval", False, "DISABLE_AUTO_SPEAKER_APPROVAL", "False"),
    ("email_sender_address", "a@b.org", "EMAIL_SENDER_ADDRESS", "a@b.org"),
    ("email_reply_to_address", "c@b.org", "EMAIL_REPLY_TO_ADDRESS", "c@b.org"),
    ("aws_default_region", "il-central-1", "AWS_DEFAULT_REGION", "il-central-1"),
    ("aws_endpoint_url", "https://s3.lab.test", "AWS_ENDPOINT_URL", "https://s3.lab.test"),
    ("content_storage_s3_bucket", "voices", "CONTENT_STORAGE_S3_BUCKET", "voices"),
    ("content_disable_s3_upload", True, "CONTENT_DISABLE_S3_UPLOAD", "True"),
    ("content_disable_s3_upload", "no", "CONTENT_DISABLE_S3_UPLOAD", "False"),
    ("job_session_finalization_disabled", True, "JOB_SESSION_FINALIZATION_DISABLED", "True"),
    ("job_session_finalization_interval_sec", 30, "JOB_SESSION_FINALIZATION_INTERVAL_SEC", "30"),
    ("public_posthog_key", "phc_a$b", "PUBLIC_POSTHOG_KEY", "phc_a$b"),
    ("public_posthog_host", "https://eu.i.posthog.com", "PUBLIC_POSTHOG_HOST", "https://eu.i.posthog.com"),
    ("cors_allow_origins", ["https://a", "https://b"], "CORS_ALLOW_ORIGINS", "https://a,https://b"),
    ("leaderboard_depth", 5, "LEADERBOARD_DEPTH", "5"),
    ("help_basic_guide_yt_video_id", "dQw", "HELP_BASIC_GUIDE_YT_VIDEO_ID", "dQw"),
    ("help_faq_wp_api_url", "https://faq", "HELP_FAQ_WP_API_URL", "https://faq"),
    ("disable_soup", True, "DISABLE_SOUP", "True"),
    ("debug", True, "DEBUG", "True"),
    ("root_data_folder", "/recordings", "ROOT_DATA_FOLDER", "/recordings"),
    ("web_client_dist_folder", "/site", "WEB_CLIENT_DIST_FOLDER", "/site"),
    ("stanza_resources_dir", "/models", "STANZA_RESOURCES_DIR", "/models"),
]


@pytest.mark.parametrize(("option", "value", "variable", "expected"), VARIABLES)
def test_an_option_becomes_its_variable(render, option, value, variable, expected):
    assert render(**{option: value}).environment()[variable] == expected


def test_every_variable_that_the_application_needs_is_there(render):
    # Without a default in server/configuration.py, and the switch that its readme gets wrong.
    environment = render().environment()
    assert {
        "GOOGLE_CLIENT_ID", "DISABLE_AUTO_SPEAKER_APPROVAL", "EMAIL_SENDER_ADDRESS", "PUBLIC_POSTHOG_KEY",
        "CONTENT_STORAGE_S3_BUCKET", "PUBLIC_POSTHOG_HOST", "JOB_SESSION_FINALIZATION_DISABLED",
    } <= set(environment)  # fmt: skip
    assert environment["DISABLE_AUTO_SPEAKER_APPROVAL"] == "True"
    assert environment["JOB_SESSION_FINALIZATION_DISABLED"] == "False"
    for name, value in environment.items():
        # environs takes an empty text, and an empty switch for an error.
        assert value or name in {
            "EMAIL_SENDER_ADDRESS", "PUBLIC_POSTHOG_KEY", "PUBLIC_POSTHOG_HOST", "CORS_ALLOW_ORIGINS",
        }  # fmt: skip


def test_nobody_is_logged_in_by_default(render):
    rendered = render()
    assert "DEV_AUTO_LOGIN_USER_EMAIL" not in rendered.environment()
    assert "DEV_AUTO_LOGIN" not in rendered.dotenv()


# Secrets

SECRETS = [
    ("db_connection_str", DATABASE, "DB_CONNECTION_STR"),
    ("access_token_secret_key", ACCESS, "ACCESS_TOKEN_SECRET_KEY"),
    ("delegated_identity_secret_key", DELEGATION, "DELEGATED_IDENTITY_SECRET_KEY"),
    ("aws_access_key_id", "AKIAOTHER", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "other/aws+secret", "AWS_SECRET_ACCESS_KEY"),
]


def unquoted(text):
    """Read a .env as python-dotenv does: in single quotes a backslash and a quote have one before them."""
    lines = [re.fullmatch(r"(\w+)='((?:\\'|[^'])*)'", line) for line in text.splitlines()]
    return {line[1]: re.sub(r"\\([\\'])", r"\1", line[2]) for line in lines}


@pytest.mark.parametrize(("option", "value", "variable"), SECRETS)
def test_a_secret_is_in_the_env_file_and_nowhere_else(render, option, value, variable):
    rendered = render(**{option: value})
    assert unquoted(rendered.dotenv())[variable] == value
    sent = json.dumps(rendered.desired())
    assert value not in sent and json.dumps(value)[1:-1] not in sent
    for service in rendered.services:
        assert variable not in rendered.environment(service)


def test_the_env_file_is_beside_the_code_for_root_alone(render):
    rendered = render(job_session_finalization_disabled=True)
    for service in ("app", "migrate", "jobs"):
        files = {entry["File"]["Name"]: entry["File"] for entry in rendered.container(service)["Secrets"]}
        assert files["/server/.env"]["Mode"] == 0o400
        assert files["/server/.env"]["UID"] == "0"


def test_secrets_are_generated_unless_they_are_given(render, tmp_path):
    assert render().value("_crowd_recital_secrets") == [
        "database_password", "access_token_secret_key", "delegated_identity_secret_key",
    ]  # fmt: skip
    given = {"db_connection_str": DATABASE, "access_token_secret_key": ACCESS}
    assert render(**given).value("_crowd_recital_secrets") == ["delegated_identity_secret_key"]
    # Those that were taken over from a .env, as files.
    folder = tmp_path / "credentials" / "crowd_recital"
    folder.mkdir(parents=True)
    files = {
        "db_connection_str": DATABASE, "access_token_secret_key": ACCESS, "aws_access_key_id": "AKIAFILE",
        "aws_secret_access_key": "file-secret",
    }  # fmt: skip
    for name, value in files.items():
        (folder / name).write_text(value + "\n")
    rendered = render(least=False, google_client_id="x", content_storage_s3_bucket="b", image="a/b:1")
    read = unquoted(rendered.dotenv())
    assert {name: read[name.upper()] for name in files} == files
    assert "db" not in rendered.services


def test_a_password_with_signs_of_an_address_is_escaped(render, tmp_path):
    folder = tmp_path / "credentials" / "crowd_recital"
    folder.mkdir(parents=True)
    (folder / "database_password").write_text("a/b@c:d%e\n")
    connection = unquoted(render().dotenv())["DB_CONNECTION_STR"]
    assert connection == "postgresql://crowd_recital:a%2Fb%40c%3Ad%25e@db:5432/crowd_recital"


def test_a_credentials_file_of_aws_is_a_secret(render, tmp_path):
    file = tmp_path / "aws"
    file.write_text("[default]\naws_access_key_id = AKIAFROMFILE\n")
    keys = {"aws_access_key_id": "", "aws_secret_access_key": ""}
    rendered = render(aws_shared_credentials_file=str(file), **keys)
    assert rendered.problems() == []
    assert rendered.environment()["AWS_SHARED_CREDENTIALS_FILE"] == "/run/secrets/aws_credentials"
    assert "AWS_ACCESS_KEY_ID" not in unquoted(rendered.dotenv())
    names = [entry["File"]["Name"] for entry in rendered.container("app")["Secrets"]]
    assert "/run/secrets/aws_credentials" in names
    assert "AKIAFROMFILE" not in json.dumps(rendered.desired())


# Services

def test_the_application_is_one_replica_beside_its_recordings(render):
    rendered = render(data_node=NODES[1], data_dir="/mnt/recital")
    app = rendered.services["app"]
    assert app["Mode"] == {"Replicated": {"Replicas": 1}}
    assert mounts(rendered, "app") == {"/data": ("bind", "/mnt/recital/data")}
    assert constraints(rendered, "app") == ["node.labels.gpufleet.host == node2"]
    assert app["UpdateConfig"]["Order"] == "stop-first"
    assert rendered.container("app")["StopGracePeriod"] >= 60 * 10**9
    assert rendered.container("app")["Dir"] == "/"
    assert rendered.container("app")["CapabilityDrop"] == ["ALL"]
    assert "/env/config.js" in rendered.container("app")["Healthcheck"]["Test"][-1]


def test_the_database_is_beside_it_and_published_nowhere(render):
    rendered = render(data_node=NODES[1], postgres_image="postgres:16.4")
    assert rendered.container("db")["Image"] == "postgres:16.4"
    assert constraints(rendered, "db") == ["node.labels.gpufleet.host == node2"]
    assert mounts(rendered, "db") == {
        "/var/lib/postgresql/data": ("bind", "/srv/crowd_recital/postgres"),
        "/backup": ("bind", "/srv/crowd_recital/backup"),
    }
    assert "Ports" not in rendered.services["db"]["EndpointSpec"]
    assert networks(rendered, "db") == {"crowd_recital_database"}
    assert rendered.desired()["networks"]["crowd_recital_database"]["spec"]["Internal"] is True
    assert "POSTGRES_PASSWORD_FILE" in rendered.environment("db")
    directories = rendered.value("_crowd_recital_directories")
    found = {one["path"]: (one.get("owner", 0), one["mode"], one["node"]) for one in directories}
    assert found == {
        "/srv/crowd_recital/data": (0, "0750", "node2"),
        "/srv/crowd_recital/postgres": (999, "0700", "node2"),
        "/srv/crowd_recital/backup": (999, "0700", "node2"),
    }


def test_with_a_database_of_ones_own_there_is_no_other(render):
    rendered = render(db_connection_str=DATABASE)
    assert set(rendered.services) == {"migrate", "app"}
    assert networks(rendered, "migrate") == {"fleet_public"}
    assert networks(rendered, "app") == {"fleet_public"}
    paths = [entry["path"] for entry in rendered.value("_crowd_recital_directories")]
    assert paths == ["/srv/crowd_recital/data"]


def test_the_migration_is_a_job_before_the_application(render):
    rendered = render(job_session_finalization_disabled=True)
    services = rendered.desired()["services"]
    waves = {entry["key"]: entry["wave"] for entry in services.values()}
    assert waves["db"] < waves["migrate"] < waves["app"] == waves["jobs"]
    assert services["crowd_recital_migrate"]["job"]
    conditions = services["crowd_recital_app"]["depends_on"]
    assert conditions == {"migrate": "service_completed_successfully"}
    container = rendered.container("migrate")
    assert container["Command"] == ["python", "/gpufleet/migrate.py"]
    assert container["Dir"] == "/server"
    # Of the same image, so that a new one runs it again, first.
    assert container["Image"] == rendered.container("app")["Image"]


def test_a_database_without_a_version_is_marked(render):
    assert "Args" not in render().container("migrate")
    rendered = render(stamp_revision="70c680311d9b")
    assert rendered.container("migrate")["Args"] == ["70c680311d9b"]


def test_jobs_run_in_the_server_beside_it_or_nowhere(render):
    assert "jobs" not in render().services
    scheduled = render(job_session_finalization_disabled=True, job_session_finalization_interval_sec=45)
    assert scheduled.container("jobs")["Command"] == ["python", "/gpufleet/jobs.py"]
    assert scheduled.container("jobs")["Args"] == ["45"]
    assert scheduled.container("jobs")["Dir"] == "/"
    assert scheduled.environment("app")["JOB_SESSION_FINALIZATION_DISABLED"] == "True"
    assert networks(scheduled, "jobs") == {"crowd_recital_database", "fleet_public"}
    assert mounts(scheduled, "jobs") == mounts(scheduled, "app")
    nowhere = render(job_session_finalization_disabled=True, scheduled_jobs=False)
    assert set(nowhere.services) == {"db", "migrate", "app"}


def test_with_several_servers_one_more_has_the_jobs(render):
    rendered = render(replicas=3)
    assert rendered.services["app"]["Mode"] == {"Replicated": {"Replicas": 3}}
    assert rendered.environment("app")["JOB_SESSION_FINALIZATION_DISABLED"] == "True"
    assert rendered.environment("jobs")["JOB_SESSION_FINALIZATION_DISABLED"] == "False"
    assert rendered.services["jobs"]["Mode"] == {"Replicated": {"Replicas": 1}}
    # A server like the others, by the entry point of the image, which nothing leads to.
    assert "Command" not in rendered.container("jobs")
    assert not any(label.startswith("traefik") for label in rendered.services["jobs"]["Labels"])
    switched_off = {"job_session_finalization_disabled": True, "scheduled_jobs": False}
    assert "jobs" not in render(replicas=3, **switched_off).services


def test_with_shared_recordings_only_the_database_is_tied(render):
    rendered = render(data_on_all_nodes=True, replicas=2)
    tied = {name for name in rendered.services if constraints(rendered, name)}
    assert tied == {"db"}
    by_default = render(job_session_finalization_disabled=True)
    assert {name for name in by_default.services if constraints(by_default, name)} == {
        "db", "migrate", "app", "jobs",
    }  # fmt: skip


CLIENT = """
import sys, time
print(sys.argv[1], flush=True)
time.sleep(0.5)
print("Error: no bucket" if sys.argv[1] == "upload_sessions" else "Done.")
"""


def test_the_jobs_tell_failures_and_end_after_what_they_began(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "admin_client.py").write_text(CLIENT)
    command = [sys.executable, str(ROLE / "files" / "jobs.py"), "1"]
    jobs = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in jobs.stdout:
        lines.append(line.strip())
        if line.startswith("jobs: failed 1"):
            break
    assert lines == [
        "aggregate_sessions", "Done.", "upload_sessions", "Error: no bucket",
        "jobs: failed 1 time(s) in a row",
    ]  # fmt: skip
    time.sleep(0.7)  # somewhere in the next run
    jobs.terminate()
    rest = jobs.communicate(timeout=30)[0].split()
    assert jobs.returncode == 0
    # Whatever had begun was let to its end.
    assert rest.count("aggregate_sessions") == rest.count("Done.")
    assert rest.count("upload_sessions") == rest.count("Error:")


# Images

def test_an_image_that_is_given_is_taken(render):
    assert render(image="r.example.org/cr:1.5.0").container("app")["Image"] == "r.example.org/cr:1.5.0"
    assert render().variables["crowd_recital_resolve_image"] == "never"
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    deploy, build = tasks[-1]["vars"], tasks[1]
    assert deploy["stack_resolve_image"] == "{{ crowd_recital_resolve_image }}"
    assert "crowd_recital_image | length == 0" in build["when"]


def test_an_image_is_built_where_it_runs_unless_said_otherwise(render):
    assert render(data_node=NODES[1]).value("crowd_recital_build_host") == NODES[1]
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    (build,) = [task for task in tasks if "Build" in task["name"]]
    assert build["vars"]["images_build_host"] == "{{ crowd_recital_build_host }}"
    nodes = build["vars"]["images_nodes"].strip("{} ")
    assert render(data_node=NODES[1], build_host=NODES[0]).value(nodes) == [NODES[1]]
    assert set(render(data_on_all_nodes=True).value(nodes)) == set(NODES)


def test_an_image_is_built_without_secrets_in_it(render):
    rendered = render(
        image="",
        source="https://git.example.org/cr.git",
        version="8d3b174f0e3a8d3b174f0e3a8d3b174f0e3a8d3b",
        build_files={"server/utility/authentication/invites.py": "patched\n"},
    )
    (build,) = rendered.value("_crowd_recital_builds")
    assert build["source"] == "https://git.example.org/cr.git"
    assert build["version"] == "8d3b174f0e3a8d3b174f0e3a8d3b174f0e3a8d3b"
    assert build["buildkit"] is True
    assert "**/.env" in build["files"][".dockerignore"].splitlines()
    assert build["files"]["server/utility/authentication/invites.py"] == "patched\n"
    built = {"images_references": {"crowd-recital": "registry.lab.test:5000/crowd-recital:0123456789ab"}}
    rendered = Rendered(rendered.folder, image="", variables=built)
    for service in ("app", "migrate"):
        assert rendered.container(service)["Image"] == built["images_references"]["crowd-recital"]


# Routes

def rules(rendered):
    """Return (priority, name, paths it takes, middlewares) of each router, the first to match first."""
    found = []
    for label, rule in labels(rendered).items():
        name = re.fullmatch(r"traefik\.http\.routers\.crowd-recital-(\w+)\.rule", label)
        if name:
            stem = label.removesuffix("rule")
            patterns = [*re.findall(r"PathRegexp\(`([^`]+)`\)", rule)]
            patterns += [f"^{path}" for path in re.findall(r"PathPrefix\(`([^`]+)`\)", rule)]
            middlewares = labels(rendered).get(stem + "middlewares", "").split(",")
            found.append((int(labels(rendered)[stem + "priority"]), name[1], patterns, middlewares))
            assert rule.startswith("Host(`recital.lab.test`)")
            assert labels(rendered)[stem + "entrypoints"] == "websecure"
            assert labels(rendered)[stem + "tls"] == "true"
    return sorted(found, reverse=True)


ROUTES = [
    ("/", "pages"), ("/recite", "pages"), ("/apiary", "pages"), ("/some/client/route", "pages"),
    ("/api/status", "app"), ("/api/nope", "app"), ("/env/config.js", "app"), ("/assets/index-1a.js", "app"),
    ("/eula.he.html", "app"), ("/favicon.ico", "app"), ("/api", "app"),
    ("/api/docs", "docs"), ("/api/openapi.json", "docs"), ("/api/redoc", "docs"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "router"), ROUTES)
def test_a_path_has_its_router(render, path, router):
    first = next(
        name
        for _priority, name, patterns, _middlewares in rules(render())
        if not patterns or any(re.search(pattern, path) for pattern in patterns)
    )
    assert first == router


def test_pages_are_the_index_and_nobody_acts_for_others(render):
    rendered = render()
    for _priority, name, _patterns, middlewares in rules(rendered):
        assert middlewares[0] == "crowd-recital-nobody", name
    assert rules(rendered)[-1][3] == ["crowd-recital-nobody", "crowd-recital-index"]
    found = labels(rendered)
    assert found["traefik.http.middlewares.crowd-recital-index.replacepath.path"] == "/"
    headers = "traefik.http.middlewares.crowd-recital-nobody.headers.customrequestheaders."
    assert {label: value for label, value in found.items() if label.startswith(headers)} == {
        headers + "x-delegation-secret-key": "", headers + "x-delegated-user-email": "",
    }  # fmt: skip


def test_known_addresses_may_act_for_others(render):
    rendered = render(delegation_addresses=["203.0.113.7", "2001:db8::/64"])
    rule = labels(rendered)["traefik.http.routers.crowd-recital-delegated.rule"]
    assert "(ClientIP(`203.0.113.7`) || ClientIP(`2001:db8::/64`))" in rule
    by_name = {name: (priority, middlewares) for priority, name, _patterns, middlewares in rules(rendered)}
    assert by_name["delegated"][1] == [""]
    assert by_name["docs"][0] > by_name["delegated"][0] > by_name["app"][0] > by_name["pages"][0]


def test_the_api_documentation_is_for_known_addresses(render):
    name = "traefik.http.middlewares.crowd-recital-readers.ipallowlist.sourcerange"
    assert labels(render())[name] == "0.0.0.0/32"
    assert labels(render(api_docs_addresses=["10.1.0.0/16", "10.2.0.1"]))[name] == "10.1.0.0/16,10.2.0.1"


def test_proxies_are_believed_by_network(render):
    assert render().container("app")["Args"] == ["--proxy-headers", "--forwarded-allow-ips=10.201.0.0/16"]
    rendered = render(forwarded_allow_ips=["10.9.0.0/16", "192.0.2.4"])
    assert rendered.container("app")["Args"][1] == "--forwarded-allow-ips=10.9.0.0/16,192.0.2.4"
    own_pool = Rendered(rendered.folder, variables={"swarm_address_pools": ["10.77.0.0/16"]})
    assert own_pool.container("app")["Args"][1] == "--forwarded-allow-ips=10.77.0.0/16"


def test_a_port_for_a_proxy_outside(render):
    assert "Ports" not in render().services["app"]["EndpointSpec"]
    assert render(published_port=8000).services["app"]["EndpointSpec"]["Ports"] == [
        {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8000, "PublishMode": "host"}
    ]


def test_the_domain_is_that_of_the_routes_and_the_checks(render):
    rendered = render(domain="read.example.org")
    rule = labels(rendered)["traefik.http.routers.crowd-recital-pages.rule"]
    assert rule == "Host(`read.example.org`)"
    verify = yaml.safe_load((ROLE / "tasks" / "verify.yml").read_text())[0]
    address = Rendered(rendered.folder, domain="read.example.org", variables={"ingress_https_port": 8443})
    address.templar.available_variables = {
        **address.variables, "url": Rendered.trust(verify["vars"]["__crowd_recital_url"]),
    }  # fmt: skip
    assert address.value("url") == "https://read.example.org:8443"


# Bad input

MAIL = {"email_sender_address": "a@b.org"}
BAD = [
    ({"google_client_id": ""}, "google_client_id", "Nobody could sign in"),
    ({"dev_auto_login_user_email": "a@b.org"}, "dev_auto_login_user_email", "logged in as one user"),
    ({"db_connection_str": "postgres://u:p@h/d"}, "db_connection_str", "found postgres://"),
    ({"db_connection_str": "postgresql+asyncpg://u:p@h/d"}, "db_connection_str", "found postgresql+asyncpg"),
    ({"db_connection_str": "h/d"}, "db_connection_str", "found no scheme"),
    ({"db_connection_str": "postgresql://h"}, "db_connection_str", "not complete"),
    ({"db_connection_str": "postgresql://u:p@h:x/d"}, "db_connection_str", "not complete"),
    ({"db_connection_str": DATABASE + "?sslmode=require"}, "db_connection_str", "has options"),
    ({"db_connection_str": "postgresql://u:p@localhost/d"}, "db_connection_str", "into the container itself"),
    ({"db_connection_str": "postgresql://u:p@[::1]:5432/d"}, "db_connection_str", "found ::1"),
    ({"stamp_revision": "head"}, "stamp_revision", "12 hexadecimal digits"),
    ({"content_storage_s3_bucket": ""}, "content_storage_s3_bucket", "no bucket"),
    ({"aws_secret_access_key": ""}, "aws_secret_access_key", "half of its credentials"),
    ({"aws_access_key_id": ""}, "aws_access_key_id", "half of its credentials"),
    ({"aws_access_key_id": "", "aws_secret_access_key": ""}, "aws_access_key_id", "no credentials"),
    ({"aws_default_region": ""}, "aws_default_region", "no region"),
    ({**MAIL, "content_disable_s3_upload": True, "aws_default_region": ""}, "aws_default_region", "Mail"),
    ({"aws_endpoint_url": "s3.lab.test"}, "aws_endpoint_url", "no web address"),
    ({"aws_endpoint_url": "http://s3_moto:5000"}, "aws_endpoint_url", "no web address that boto3 takes"),
    ({**MAIL, "aws_endpoint_url": "http://s3.lab.test"}, "email_sender_address", "through the store"),
    ({"aws_shared_credentials_file": "/nowhere/aws"}, "aws_shared_credentials_file", "not on the controller"),
    ({"aws_shared_credentials_file": "pyproject.toml"}, "aws_shared_credentials_file", "not absolute"),
    ({"email_sender_address": "nobody"}, "email_sender_address", "none for mail"),
    ({"email_reply_to_address": "a@b"}, "email_reply_to_address", "none for mail"),
    ({"public_posthog_key": "phc_x"}, "public_posthog_host", "a key and a host"),
    ({"public_posthog_host": "https://h"}, "public_posthog_key", "a key and a host"),
    ({"job_session_finalization_interval_sec": 0}, "job_session_finalization_interval_sec", "too small"),
    ({"leaderboard_depth": -1}, "leaderboard_depth", "too small"),
    ({"scheduled_jobs": True}, "scheduled_jobs", "run twice"),
    ({"access_token_secret_key": "a\nb"}, "access_token_secret_key", "cannot stand in a .env"),
    ({"delegated_identity_secret_key": "${A}"}, "delegated_identity_secret_key", "cannot stand in a .env"),
    ({"image": "r/cr"}, "image", "not pinned"),
    ({"image": "r:5000/cr:latest"}, "image", "not pinned"),
    ({"postgres_image": "postgres"}, "postgres_image", "not pinned"),
    ({"image": "", "version": "main"}, "version", "not pinned"),
    ({"image": "", "version": ""}, "version", "nothing to build"),
    ({"image": "", "source": ""}, "source", "nothing to build"),
    ({"data_node": "node9", "build_host": "node1"}, "data_node", "wanted node1, node2"),
    ({"build_host": "node9"}, "build_host", "wanted node1, node2"),
    ({"data_dir": "srv/x"}, "data_dir", "not absolute"),
    ({"root_data_folder": "data"}, "root_data_folder", "not absolute"),
    ({"root_data_folder": "/"}, "root_data_folder", "not absolute"),
    ({"web_client_dist_folder": "dist"}, "web_client_dist_folder", "not absolute"),
    ({"stanza_resources_dir": "a/../b"}, "stanza_resources_dir", "not absolute"),
    ({"replicas": 0}, "replicas", "too small"),
    ({"published_port": 70000}, "published_port", "The port is none"),
    ({"published_port": 8000, "replicas": 2}, "published_port", "Several servers"),
    ({"forwarded_allow_ips": ["*"]}, "forwarded_allow_ips", "believe anybody"),
    ({"forwarded_allow_ips": []}, "forwarded_allow_ips", "No proxy"),
    ({"delegation_addresses": ["retool"]}, "delegation_addresses", "The address is none"),
    ({"api_docs_addresses": ["10.0.0.0/33"]}, "api_docs_addresses", "The address is none"),
]


@pytest.mark.parametrize(("options", "option", "words"), BAD)
def test_bad_input_is_refused_by_the_name_of_its_option(render, options, option, words):
    (problem,) = render(**options).problems()
    assert words in problem
    assert f"set crowd_recital_{option}" in problem
    for name, _value, _variable in SECRETS:
        if options.get(name):
            assert options[name] not in problem


GOOD = [
    {"db_connection_str": DATABASE},
    {"db_connection_str": "postgresql://u@h/d"},
    {"content_disable_s3_upload": True, "content_storage_s3_bucket": "", "aws_default_region": "",
     "aws_access_key_id": "", "aws_secret_access_key": ""},
    {"image": "r:5000/cr@sha256:" + "0" * 64},
    {"image": ""},
    {"aws_endpoint_url": "http://[2001:db8::1]:9000/s3"},
    {"job_session_finalization_disabled": True},
    {"replicas": 4, "data_on_all_nodes": True},
    {"public_posthog_key": "phc", "public_posthog_host": "https://h"},
    MAIL,
    {"delegation_addresses": ["203.0.113.7", "2001:db8::/64"], "api_docs_addresses": ["10.0.0.0/8"]},
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, *GOOD])
def test_good_input_is_taken(render, options):
    rendered = render(**options)
    assert rendered.problems() == []
    assert rendered.services["app"]


def test_nothing_but_what_nobody_can_know_has_to_be_set(render):
    assert {re.search(r"set crowd_recital_(\w+)", text)[1] for text in render(least=False).problems()} == {
        "google_client_id", "content_storage_s3_bucket", "aws_access_key_id", "aws_default_region",
    }  # fmt: skip
    assert set(LEAST) - {"image"} >= {"google_client_id", "content_storage_s3_bucket"}


# The .env of an existing deployment

def env_tables():
    return yaml.safe_load((ROLE / "vars" / "secrets.yml").read_text())


def options():
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())
    return specs["argument_specs"]["main"]["options"]


def test_every_variable_of_a_env_has_a_place(render):
    tables = env_tables()
    mapped = tables["_crowd_recital_env_options"]
    assert set(mapped.values()) <= set(options())
    assert not any(options()[option].get("no_log") for option in mapped.values())
    for variable, option in mapped.items():
        assert option == f"crowd_recital_{variable.lower()}"
    known = set(mapped) | set(tables["_crowd_recital_env_secrets"]) | set(tables["_crowd_recital_env_unused"])
    described = [text for option in options().values() for text in as_list(option["description"])]
    told = {name for text in described for name in re.findall(r"^C\(([A-Z][A-Z0-9_]+)\)", text)}
    assert told == known


# As the upstream documentation has it, with what else the code reads.
OLD_ENV = """
DB_CONNECTION_STR="postgresql://reciter:pa55@db.example.org:5432/recital"
GOOGLE_CLIENT_ID=1234.apps.googleusercontent.com
ACCESS_TOKEN_SECRET_KEY=0123456789abcdef0123456789abcdef
DELEGATED_IDENTITY_SECRET_KEY='fedcba9876543210fedcba9876543210'
AWS_ACCESS_KEY_ID=AKIAOLD
AWS_SECRET_ACCESS_KEY=old/secret+of/aws
AWS_DEFAULT_REGION=il-central-1
CONTENT_STORAGE_S3_BUCKET=voices
CONTENT_DISABLE_S3_UPLOAD=False
JOB_SESSION_FINALIZATION_DISABLED=True
JOB_SESSION_FINALIZATION_INTERVAL_SEC=60   # seconds
PUBLIC_POSTHOG_KEY=
PUBLIC_POSTHOG_HOST=
DEBUG=False
EMAIL_SENDER_ADDRESS=noreply@example.org
DISABLE_AUTO_SPEAKER_APPROVAL=False
CORS_ALLOW_ORIGINS=https://a.example.org,https://b.example.org
ROOT_DATA_FOLDER=/home/recital/data
"""


def test_an_existing_env_is_taken_over(render, tmp_path):
    tables = env_tables()
    variables = _secret_import.read_variables(OLD_ENV.encode(), "server/.env")
    secrets, problems = _secret_import.plan_secrets(
        variables, tables["_crowd_recital_env_secrets"], {}, lambda name: None, False, "server/.env"
    )
    assert problems == []
    folder = tmp_path / "credentials" / "crowd_recital"
    folder.mkdir(parents=True)
    for secret in secrets:
        (folder / secret["name"]).write_text(secret["value"])
    taken, left = _secret_import.plan_options(
        variables, tables["_crowd_recital_env_options"], options(), lambda name, spec, value: None
    )
    assert left == []
    short = {name.removeprefix("crowd_recital_"): value for name, value in taken.items()}
    rendered = render(least=False, image="a/b:1", **short)
    assert rendered.problems() == []
    read = {**rendered.environment(), **unquoted(rendered.dotenv())}
    for name, value in variables.items():
        if value and name not in tables["_crowd_recital_env_unused"]:
            assert read[name] == value
    # What the old server left to cron is done by the service beside it.
    assert set(rendered.services) == {"migrate", "app", "jobs"}
    assert rendered.container("jobs")["Args"] == ["60"]


def as_list(value):
    return value if isinstance(value, list) else [value]


# The page

def section_of(heading):
    return PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table(heading):
    """Return the rows of the table below a heading of the page, as lists of cells."""
    lines = section_of(heading).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return rows[2:]


def sources(path):
    """Return {test: its source, with the tables its decorators name}."""
    text = path.read_text()
    tree = ast.parse(text)
    constants = {
        node.targets[0].id: ast.get_source_segment(text, node)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            whole = [ast.get_source_segment(text, part) for part in (node, *node.decorator_list)]
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            found[node.name] = "\n".join(whole + [constants[name] for name in names & set(constants)])
    return found


def test_every_option_is_exercised_by_the_test_the_page_names():
    tests = {**sources(Path(__file__)), **sources(INTEGRATION)}
    rows = {option.strip("`"): names for option, names in table("Options and their tests")}
    assert set(rows) == set(options())
    for option, names in rows.items():
        for name in re.findall(r"`(\w+)`", names):
            assert name in tests, f"{option}: there is no {name}"
            assert re.search(rf"\b{option.removeprefix('crowd_recital_')}\b|{option}\b", tests[name]), (
                f"{name} says nothing of {option}"
            )
        assert "`" in names, option


def test_every_acceptance_fact_has_a_test():
    tests = {**sources(Path(__file__)), **sources(INTEGRATION)}
    rows = table("What is proven, and by which test")
    assert [row[0] for row in rows] == [str(number) for number in range(1, 15)]
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named and not set(named) - set(tests), row


def test_every_variable_of_the_old_deployment_stands_on_the_page():
    tables = env_tables()
    known = {name for key, values in tables.items() if "_env_" in key for name in values}
    section = section_of("From your current deployment to this one")
    assert known - set(re.findall(r"`([A-Z][A-Z0-9_]+)`", section)) == set()

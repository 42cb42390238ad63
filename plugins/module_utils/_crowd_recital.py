# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the options of crowd-recital. Private: may change in any release.

Pure. Facts about the application: server/configuration.py of ivrit-ai/crowd-recital 1.5.0, which reads its
variables with environs, and that its ``.env`` with python-dotenv. No message repeats the value of a secret.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

PREFIX = "crowd_recital_"
SECRETS = (
    "db_connection_str", "access_token_secret_key", "delegated_identity_secret_key", "aws_access_key_id",
    "aws_secret_access_key",
)  # fmt: skip

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_REVISION = re.compile(r"[0-9a-f]{12}")


def problems(options, nodes, missing_files=()):
    """Return what is wrong with the options, as sentences that name them.

    options        {option without its prefix: value}, evaluated
    nodes          inventory names of the nodes
    missing_files  options whose file is not on the controller
    """
    option = _Options(options)
    found = [
        *_file_problems(missing_files),
        *_image_problems(option),
        *_database_problems(option),
        *_sign_in_problems(option),
        *_content_problems(option),
        *_placement_problems(option, nodes),
        *_network_problems(option),
    ]
    return [str(problem) for problem in found]


class _Options:
    """Options by their name without the prefix; texts are trimmed, and what is missing is empty."""

    def __init__(self, values):
        self.values = values

    def text(self, name):
        value = self.values.get(name)
        return "" if value is None else str(value).strip()

    def switch(self, name):
        return self.text(name).lower() in ("true", "1", "yes", "on", "t", "y")

    def number(self, name):
        text = self.text(name)
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    def list(self, name):
        value = self.values.get(name) or []
        return [str(entry) for entry in ([value] if isinstance(value, str) else value)]


def _problem(what, name, found=None, wanted=None, cause=None):
    return FleetError(what, "crowd_recital", found, wanted, f"{PREFIX}{name}", cause)


def _file_problems(missing_files):
    for name in missing_files:
        yield _problem("A file is not on the controller", name, "nothing there", "its path")


def _image_problems(option):
    for name in ("image", "postgres_image"):
        image = option.text(name)
        if image and not pinned(image):
            yield _problem("The image is not pinned", name, image, "a tag other than latest, or a digest")
    if not option.text("image"):
        for name in ("source", "version"):
            if not option.text(name):
                yield _problem("There is nothing to build the image from", name, "nothing",
                               "a value, or crowd_recital_image")
        if option.text("version") in ("main", "master", "HEAD"):
            yield _problem("The version to build is not pinned", "version", option.text("version"),
                           "a tag or a commit")
    revision = option.text("stamp_revision")
    if revision and not _REVISION.fullmatch(revision):
        yield _problem("The revision of the database is none of Alembic's", "stamp_revision", revision,
                       "12 hexadecimal digits")


def pinned(image):
    """Return whether a name of an image says which one it is: by a digest, or a tag other than latest."""
    name, _at, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return bool(digest) or tag not in ("", "latest")


def _database_problems(option):
    text = option.text("db_connection_str")
    if not text:
        return
    scheme, separator, _rest = text.partition("://")
    if not text.startswith("postgresql://"):
        found = f"{scheme}://" if separator else "no scheme"
        yield _problem("The connection to the database cannot be used", "db_connection_str", found,
                       "postgresql:// at its beginning",
                       "the application puts another driver in the place of exactly that text")
        return
    try:
        parts = urlsplit(text)
        whole = parts.hostname and parts.path.strip("/") and parts.username
        _port = parts.port
    except ValueError:
        parts, whole = None, False
    if not whole:
        yield _problem("The connection to the database is not complete", "db_connection_str",
                       "no user, host or name of a database", "postgresql://USER:PASSWORD@HOST:PORT/NAME")
    elif parts.hostname in LOOPBACK:
        yield _problem("The connection to the database leads into the container itself", "db_connection_str",
                       parts.hostname, "a name or address that a container can reach")
    elif parts.query or parts.fragment:
        yield _problem("The connection to the database has options", "db_connection_str",
                       "something behind the name of the database", "nothing there",
                       "asyncpg does not understand those of psycopg2, such as sslmode")


def _sign_in_problems(option):
    client = option.text("google_client_id")
    if not client or re.search(r"\s", client):
        yield _problem("Nobody could sign in", "google_client_id", client or "nothing",
                       "the OAuth client id of the Google sign-in")
    if option.text("dev_auto_login_user_email"):
        yield _problem("Every visitor would be logged in as one user", "dev_auto_login_user_email",
                       option.text("dev_auto_login_user_email"), "nothing, it is for development")
    for name in SECRETS:
        value = option.text(name)
        if "\n" in value or "${" in value:
            yield _problem("A secret cannot stand in a .env", name, "a line break or ${",
                           "a value without either")
    for name in ("email_sender_address", "email_reply_to_address"):
        address = option.text(name)
        if address and not _ADDRESS.fullmatch(address):
            yield _problem("The address is none for mail", name, address, "NAME@DOMAIN")
    if bool(option.text("public_posthog_key")) != bool(option.text("public_posthog_host")):
        name = "public_posthog_host" if option.text("public_posthog_key") else "public_posthog_key"
        yield _problem("Tracking needs a key and a host", name, "one of them", "both, or neither")


def _content_problems(option):
    upload = not option.switch("content_disable_s3_upload")
    mail = option.text("email_sender_address")
    if upload and not option.text("content_storage_s3_bucket"):
        yield _problem("Recordings have no bucket to go to", "content_storage_s3_bucket", "nothing",
                       "its name, or crowd_recital_content_disable_s3_upload: true")
    if upload or mail:
        purpose = "The upload to S3" if upload else "Mail by SES"
        keys = [bool(option.text(name)) for name in ("aws_access_key_id", "aws_secret_access_key")]
        if any(keys) and not all(keys):
            name = "aws_secret_access_key" if keys[0] else "aws_access_key_id"
            yield _problem(f"{purpose} has half of its credentials", name, "nothing", "the other half")
        elif not any(keys) and not option.text("aws_shared_credentials_file"):
            yield _problem(f"{purpose} has no credentials", "aws_access_key_id", "nothing",
                           "the two keys, or crowd_recital_aws_shared_credentials_file")
        if not option.text("aws_default_region"):
            yield _problem(f"{purpose} has no region", "aws_default_region", "nothing",
                           "a region such as eu-central-1")
    credentials = option.text("aws_shared_credentials_file")
    if credentials and not credentials.startswith("/"):
        yield _problem("The path is not absolute", "aws_shared_credentials_file", credentials,
                       "a path that begins with /")
    endpoint = option.text("aws_endpoint_url")
    # botocore refuses names with an underscore, as Swarm's have (botocore/utils.py, is_valid_endpoint_url).
    if endpoint and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d+)?(/\S*)?", endpoint):
        yield _problem("The store is no web address that boto3 takes", "aws_endpoint_url", endpoint,
                       "http:// or https:// and a name of letters, digits, dots and hyphens")
    if endpoint and mail:
        yield _problem("Mail would be sent through the store", "email_sender_address", mail,
                       "nothing, or no crowd_recital_aws_endpoint_url",
                       "boto3 asks that address for SES as well")
    for name in ("job_session_finalization_interval_sec", "leaderboard_depth"):
        number = option.number(name)
        if number is None or number < 1:
            yield _problem("The number is too small", name, option.text(name) or "nothing", "1 or more")
    if option.switch("scheduled_jobs") and not option.switch("job_session_finalization_disabled"):
        yield _problem("Jobs would run twice, in the server and beside it", "scheduled_jobs", "true",
                       "false, or crowd_recital_job_session_finalization_disabled: true")


def _placement_problems(option, nodes):
    for name, what in (("data_node", "The data has no node"), ("build_host", "The build has no node")):
        if option.text(name) not in nodes:
            yield _problem(what, name, option.text(name) or "nothing", ", ".join(sorted(nodes)) or "a node")
    for name in ("data_dir", "root_data_folder", "web_client_dist_folder", "stanza_resources_dir"):
        path = option.text(name)
        if not path.startswith("/") or path.rstrip("/") == "" or ".." in path.split("/"):
            yield _problem("The path is not absolute", name, path or "nothing",
                           "a path that begins with / and is more than that")
    replicas, port = option.number("replicas"), option.number("published_port")
    if replicas is None or replicas < 1:
        yield _problem("The number is too small", "replicas", option.text("replicas") or "nothing",
                       "1 or more")
    if port is None or not 0 <= port <= 65535:
        yield _problem("The port is none", "published_port", option.text("published_port") or "nothing",
                       "0 to 65535")
    elif port and replicas and replicas > 1:
        yield _problem("Several servers cannot hold one port of a node", "published_port", port,
                       "0, or crowd_recital_replicas: 1")


def _network_problems(option):
    for name in ("forwarded_allow_ips", "delegation_addresses", "api_docs_addresses"):
        for entry in option.list(name):
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError:
                yield _problem("The address is none", name, entry, "an IP address or a network",
                               "* would believe anybody" if entry == "*" else None)
    if not option.list("forwarded_allow_ips"):
        yield _problem("No proxy would be believed", "forwarded_allow_ips", "an empty list",
                       "the network of the ingress")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables, database and recordings of the stand-in, by the rules of the real application."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import sqlalchemy
from dotenv import load_dotenv
from sqlalchemy import text

load_dotenv(Path(__file__).with_name(".env"))  # variables that are set win

MANDATORY = (
    "DB_CONNECTION_STR", "GOOGLE_CLIENT_ID", "ACCESS_TOKEN_SECRET_KEY", "DELEGATED_IDENTITY_SECRET_KEY",
    "EMAIL_SENDER_ADDRESS", "CONTENT_STORAGE_S3_BUCKET", "PUBLIC_POSTHOG_KEY", "PUBLIC_POSTHOG_HOST",
)  # fmt: skip
TABLES = (
    """CREATE TABLE users (id uuid PRIMARY KEY, email text UNIQUE NOT NULL, email_verified boolean NOT NULL,
    name text NOT NULL, picture text, "group" text, created_at timestamp, updated_at timestamp)""",
    "CREATE TABLE recital_sessions (id text PRIMARY KEY, user_id uuid NOT NULL, status text NOT NULL)",
    "CREATE TABLE text_documents (id uuid PRIMARY KEY, title text, lang text, source text)",
)
LAST_COLUMN = "ALTER TABLE recital_sessions ADD COLUMN discarded boolean NOT NULL DEFAULT false"


def given(name, default=None):
    """A variable; one without a default has to be there."""
    if name not in os.environ and default is None:
        sys.exit(f'stand-in: environment variable "{name}" not set')
    return os.environ.get(name, default)


def switch(name, default=None):
    word = given(name, default).lower()
    if word not in ("true", "false", "1", "0"):
        sys.exit(f'stand-in: environment variable "{name}" invalid: not a valid boolean')
    return word in ("true", "1")


def folder():
    return Path(given("ROOT_DATA_FOLDER", "data"))


class Store:
    """The database and the folder of recordings."""

    def __init__(self):
        for name in MANDATORY:
            given(name)
        self.auto_approval = not switch("DISABLE_AUTO_SPEAKER_APPROVAL")
        self.upload_disabled = switch("CONTENT_DISABLE_S3_UPLOAD", "False")
        if not given("DB_CONNECTION_STR").startswith("postgresql://"):
            sys.exit("stand-in: the connection does not begin with postgresql://")
        self.engine = sqlalchemy.create_engine(given("DB_CONNECTION_STR"))
        with self.engine.begin() as connection:
            # As the real one does at each start: what is missing is made, without a word to Alembic.
            if not sqlalchemy.inspect(connection).get_table_names():
                for statement in (*TABLES, LAST_COLUMN):
                    connection.execute(text(statement))

    def rows(self, query, **values):
        with self.engine.begin() as connection:
            result = connection.execute(text(query), values)
            return [dict(row._mapping) for row in result] if result.returns_rows else []

    def user(self, email):
        query = 'SELECT id::text, email, "group" FROM users WHERE email = :email'
        return next(iter(self.rows(query, email=email)), None)

    def add_user(self, email, group):
        self.rows(
            """INSERT INTO users (id, email, email_verified, name, "group", created_at, updated_at)
            VALUES (gen_random_uuid(), :email, true, '', :group, now(), now())""",
            email=email,
            group=group,
        )
        return self.user(email)

    def set_group(self, email, group):
        self.rows('UPDATE users SET "group" = :group WHERE email = :email', email=email, group=group)

    def set_status(self, session, status):
        self.rows("UPDATE recital_sessions SET status = :s WHERE id = :i", i=session, s=status)

    def in_status(self, status):
        rows = self.rows("SELECT id FROM recital_sessions WHERE status = :s", s=status)
        return [row["id"] for row in rows]

    def aggregate(self):
        """Make one recording of the segments of each session that has ended."""
        for session in self.in_status("ended"):
            segments = sorted(folder().glob(f"{session}.webm.seg.*"))
            if not segments:
                self.set_status(session, "disavowed")
                continue
            content = b"".join(segment.read_bytes() for segment in segments)
            for name in ("webm", "mka", "mp3"):
                (folder() / f"{session}.{name}").write_bytes(content)
            (folder() / f"{session}.vtt").write_text("WEBVTT\n")
            for segment in segments:
                segment.unlink()
            self.set_status(session, "aggregated")

    def upload(self):
        """Bring what was aggregated into the bucket, four objects for each session."""
        names = {
            "transcript.vtt": "vtt", "source.audio.webm": "webm", "main.audio.mka": "mka",
            "light.audio.mp3": "mp3",
        }  # fmt: skip
        for session in self.in_status("aggregated"):
            if not self.upload_disabled:
                import boto3

                client = boto3.client("s3")
                for name, kind in names.items():
                    file = folder() / f"{session}.{kind}"
                    client.upload_file(str(file), given("CONTENT_STORAGE_S3_BUCKET"), f"{session}/{name}")
                for kind in names.values():
                    (folder() / f"{session}.{kind}").unlink()
            self.set_status(session, "uploaded")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the database of crowd-recital to the revision of this image; runs in its container, in /server.

    python migrate.py [REVISION]

A database whose tables the application made itself has no version, and Alembic would try to make them again.
With REVISION it is marked as being at that one first; without, this ends with a word about it.
"""

from __future__ import annotations

import subprocess
import sys
import time

import sqlalchemy
from dotenv import dotenv_values

PATIENCE_SECONDS = 60  # for a database that is just starting


def tables(url: str) -> tuple[set[str], str | None]:
    """The names of the tables, and the version that Alembic wrote down."""
    engine = sqlalchemy.create_engine(url)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                names = set(sqlalchemy.inspect(connection).get_table_names())
                version = None
                if "alembic_version" in names:
                    query = sqlalchemy.text("SELECT version_num FROM alembic_version")
                    version = connection.execute(query).scalar()
                return names - {"alembic_version"}, version
        except sqlalchemy.exc.OperationalError as error:
            if time.monotonic() > deadline:
                # The first line says what the server said; the others repeat the query.
                sys.exit(f"migrate: the database does not answer: {str(error.orig).strip().splitlines()[0]}")
        time.sleep(2)


def alembic(*words: str) -> None:
    print("migrate: alembic", *words, flush=True)
    code = subprocess.run(["alembic", *words], check=False).returncode
    if code:
        sys.exit(f"migrate: alembic {' '.join(words)} ended with {code}")


def main() -> None:
    names, version = tables(dotenv_values("/server/.env")["DB_CONNECTION_STR"] or "")
    if names and not version:
        if len(sys.argv) < 2:
            sys.exit(
                "migrate: the database has tables and no version: the application made them. Set "
                "crowd_recital_stamp_revision to the Alembic revision of the version that did (for 1.5.0 "
                "70c680311d9b)."
            )
        alembic("stamp", sys.argv[1])
    alembic("upgrade", "head")


if __name__ == "__main__":
    main()

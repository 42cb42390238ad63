# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up a user of crowd-recital, or make an admin; runs in the container of the application.

    python users.py show EMAIL
    python users.py foretell EMAIL      says what `admin` would, and changes nothing
    python users.py admin EMAIL

Prints {"group": the group before, null for none or no user, "found": ..., "changed": ...}. Its admin client
can do none of it: the documentation of crowd-recital has SQL for it.
"""

from __future__ import annotations

import json
import sys

import sqlalchemy
from dotenv import dotenv_values

INSERT = """
INSERT INTO users (id, email, email_verified, name, picture, "group", created_at, updated_at)
VALUES (gen_random_uuid(), :email, true, :email, '', 'admin', now(), now())
"""
UPDATE = """UPDATE users SET "group" = 'admin', updated_at = now() WHERE lower(email) = lower(:email)"""


def main() -> None:
    action, email = sys.argv[1:3]
    engine = sqlalchemy.create_engine(dotenv_values("/server/.env")["DB_CONNECTION_STR"])
    with engine.begin() as connection:
        query = sqlalchemy.text('SELECT "group" FROM users WHERE lower(email) = lower(:email)')
        row = connection.execute(query, {"email": email}).first()
        group = row[0] if row else None
        changed = action != "show" and group != "admin"
        if changed and action == "admin":
            connection.execute(sqlalchemy.text(UPDATE if row else INSERT), {"email": email})
    print(json.dumps({"group": group, "found": row is not None, "changed": changed}))


if __name__ == "__main__":
    main()

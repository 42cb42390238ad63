# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's way to the database: the .env beside the application."""

from __future__ import annotations

import sqlalchemy
from alembic import context
from store import given

with sqlalchemy.create_engine(given("DB_CONNECTION_STR")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

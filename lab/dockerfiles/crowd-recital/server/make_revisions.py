# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the revisions of the database, under the numbers of the real ones. Runs when the image is built.

The first makes the tables, whether they are there or not, the last adds a column, those between do nothing.
"""

from __future__ import annotations

from pathlib import Path

CHAIN = (
    "adffa455220c", "33ebc0607ac1", "85bb1748266d", "6b1c4c8aa754", "e53628a150e6", "b4257de1d215",
    "3e89168f53b0", "fc28f83520f5", "70c680311d9b",
)  # fmt: skip
BODY = {
    CHAIN[0]: "for statement in store.TABLES:\n        op.execute(statement)",
    CHAIN[-1]: "op.execute(store.LAST_COLUMN)",
}
TEXT = """import store
from alembic import op

revision = {revision!r}
down_revision = {before!r}


def upgrade():
    {body}


def downgrade():
    pass
"""

folder = Path(__file__).parent / "alembic" / "versions"
folder.mkdir()
for before, revision in zip((None, *CHAIN), CHAIN, strict=False):
    body = BODY.get(revision, "pass")
    (folder / f"{revision}.py").write_text(TEXT.format(revision=revision, before=before, body=body))

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admin client of the stand-in. Like the real one it tells errors, and ends with 0 all the same."""

from __future__ import annotations

import argparse
from pathlib import Path

from store import Store


def run(options):
    store = Store()
    if options.command == "aggregate_sessions":
        print("Aggregating ended sessions.")
        store.aggregate()
        print("Done.")
    elif options.command == "upload_sessions":
        print("Uploading aggregated sessions.")
        store.upload()
        print("Done.")
    elif options.command == "approve_speaker":
        if store.user(options.speaker_email):
            store.set_group(options.speaker_email, "speaker")
        else:
            store.add_user(options.speaker_email, "speaker")
        print(f"Speaker {options.speaker_email} approved.")
    else:
        if options.source_lang not in ("he", "yi"):
            raise ValueError(f"Invalid source language: {options.source_lang}")
        if options.owner_email and not store.user(options.owner_email):
            raise ValueError(f"User with email {options.owner_email} not found")
        rows = store.rows(
            """INSERT INTO text_documents (id, title, lang, source)
            VALUES (gen_random_uuid(), :title, :lang, :source) RETURNING id::text""",
            title=options.title,
            lang=options.source_lang,
            source=Path(options.source_path).read_text(encoding="utf-8"),
        )
        print(f"Document created successfully with ID: {rows[0]['id']}")


def main():
    parser = argparse.ArgumentParser(prog="admin_client.py")
    parser.add_argument(
        "command", choices=["aggregate_sessions", "upload_sessions", "approve_speaker", "upload_document"]
    )
    for name in ("speaker-email", "owner-email", "source-type", "source-path", "source-lang", "title"):
        parser.add_argument(f"--{name}")
    try:
        run(parser.parse_args())
    except Exception as error:
        print(f"Error: {error}")
        print(parser.format_usage())


if __name__ == "__main__":
    main()

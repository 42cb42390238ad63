# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others changed of a service since the last deploy. Pure. Private: may change in any release.

Each write leaves a label on the service, SENT_LABEL, with a fingerprint of every field that was sent. A field
whose fingerprint is another one now was changed by someone else. No further object is needed for it, and no
task restarts for a label. The fingerprints of fields that hold a secret are left out, as a quick one would
help to guess it: of those only coming and going is seen.
"""

from __future__ import annotations

import hashlib
import json

from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import masking, normalise, words
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.normalise import SENT_LABEL

# Number of the way in which fields are told and counted. A label of another way tells nothing.
FORM = 1

# They say what the service is and repeat its image.
_NOT_FIELDS = (
    "deploy.labels.com.docker.stack.namespace",
    "labels.com.docker.stack.namespace",
    "deploy.labels.com.docker.stack.image",
)

_ROLLED_BACK = ("rollback_started", "rollback_paused", "rollback_completed")


def with_sent(spec):
    """Return a ServiceSpec, with names in the place of ids, that remembers what it was when it was sent."""
    label = json.dumps({"form": FORM, "fields": _prints(spec)}, sort_keys=True, separators=(",", ":"))
    return {**spec, "Labels": {**(spec.get("Labels") or {}), SENT_LABEL: label}}


def changed_fields(stored, previous=None):
    """Return the fields in Compose words that others changed, or None where nothing is known of it.

    stored    ServiceSpec with names in the place of ids
    previous  the one before it: it still has the label where another tool wrote over the service once
    """
    sent = _sent(stored)
    if sent is None:
        sent = _sent(previous or {})
    if sent is None:
        return None
    there = _prints(stored)
    return sorted(path for path in sent.keys() | there.keys() if sent.get(path) != there.get(path))


def was_rolled_back(update):
    """Tell whether the last thing that happened to a service was a rollback. update: its UpdateStatus."""
    return (update or {}).get("State") in _ROLLED_BACK


def _sent(spec):
    try:
        label = json.loads((spec.get("Labels") or {})[SENT_LABEL])
        return dict(label["fields"]) if label["form"] == FORM else None
    except (KeyError, TypeError, ValueError):
        return None


def _prints(spec):
    told = words.service(normalise.service(spec))
    secret = masking.secret_fields(told)
    return {
        path: "" if path in secret or masking.looks_secret(path, value) else _print(value)
        for path, value in told.items()
        if path not in _NOT_FIELDS
    }


def _print(value):
    return hashlib.blake2s(json.dumps(value).encode(), digest_size=4).hexdigest()

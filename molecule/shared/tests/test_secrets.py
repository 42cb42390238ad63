# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No generated secret stands where others read: specifications, containers, process lists, host files."""

from __future__ import annotations

import json

from lab.credentials import leaked

# The services whose image can read no file, and the variables through which each gets its secret instead.
# docs/systems/linto.md says the same to users; a test of the repository compares the two.
ENVIRONMENT_EXCEPTIONS = {
    "linto_stt-french-whisper-v3": {"BROKER_PASS"},
    "linto_stt-english-whisper-v3": {"BROKER_PASS"},
    "linto_stt-french-whisper-v3_workers": {"BROKER_PASS"},
    "linto_stt-english-whisper-v3_workers": {"BROKER_PASS"},
    "linto_session-postgres_migration": {"DB_PASSWORD"},
    "linto_session-api": {"DB_PASSWORD"},
    "linto_session-scheduler": {"DB_PASSWORD"},
}


def test_the_fleet_has_secrets_to_look_for(fleet):
    secrets = fleet.secrets()
    assert "ca/ca.key" in secrets
    assert all(secrets.values())


def test_credentials_are_readable_by_their_owner_only(fleet):
    loose = [
        str(path)
        for path in [fleet.credentials, *fleet.credentials.rglob("*")]
        if path.stat().st_mode & 0o077 and path.suffix not in (".crt", ".pub")
    ]
    assert loose == []


def test_no_specification_of_a_service_carries_a_secret(fleet):
    secrets, found = fleet.secrets(), {}
    for service in fleet.engine("/services"):
        name = service["Spec"]["Name"]
        for specification in filter(None, (service["Spec"], service.get("PreviousSpec"))):
            container = specification["TaskTemplate"]["ContainerSpec"]
            for entry in container.pop("Env", []):
                variable, _, value = entry.partition("=")
                if leaked(secrets, value):
                    found.setdefault(name, set()).add(variable)
            assert leaked(secrets, json.dumps(specification)) == [], name
    assert found == ENVIRONMENT_EXCEPTIONS


def test_no_config_or_network_carries_a_secret(fleet):
    for path in ("/configs", "/networks", "/nodes", "/secrets"):
        assert leaked(fleet.secrets(), json.dumps(fleet.engine(path))) == [], path


def test_no_process_list_shows_a_secret(fleet, node):
    assert leaked(fleet.secrets(), fleet.host(node).check_output("ps axww -o args")) == []


def test_no_file_everybody_can_read_holds_a_secret(fleet, node):
    host, secrets = fleet.host(node), fleet.secrets()
    patterns = "\n".join(sorted(set().union(*secrets.values())))
    found = host.run(
        "printf '%%s\\n' %s | grep -rlsF -f - --exclude-dir=.ansible /etc /srv /opt /home /root", patterns
    ).stdout.split()
    assert [path for path in found if host.file(path).mode & 0o077] == []

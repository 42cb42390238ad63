# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of another installation: what becomes a secret, what an option, what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _secret_import
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

# As crowd-recital's readme has it, with values that could be real.
CROWD_RECITAL = b"""
# database
DB_CONNECTION_STR=postgresql://recital:p%40ssw0rd-of-2024@db.example.org:5433/crowd
export ACCESS_TOKEN_SECRET_KEY="9c1f0a7e55d24d0b8f6c"
DELEGATED_IDENTITY_SECRET_KEY='4b7d6e2a91c3408fa5b0'   # for the admin tool
GOOGLE_CLIENT_ID=1234.apps.example.org
DISABLE_AUTO_SPEAKER_APPROVAL=True
LEADERBOARD_DEPTH=20
"""
MAPPING = {
    "DB_CONNECTION_STR": {"secret": "database_password", "part": "password"},
    "ACCESS_TOKEN_SECRET_KEY": "access_token_key",
    "DELEGATED_IDENTITY_SECRET_KEY": "delegation_key",
}


def secrets(text, mapping, published=(), existing=(), overwrite=False):
    variables = _secret_import.read_variables(text, "x/.env")
    return _secret_import.plan_secrets(
        variables, mapping, dict(published), dict(existing).get, overwrite, "x/.env"
    )


def test_secrets_of_crowd_recital():
    found, problems = secrets(CROWD_RECITAL, MAPPING)
    assert problems == []
    assert {one["name"]: one["value"] for one in found} == {
        "database_password": "p@ssw0rd-of-2024",
        "access_token_key": "9c1f0a7e55d24d0b8f6c",
        "delegation_key": "4b7d6e2a91c3408fa5b0",
    }
    assert {one["action"] for one in found} == {"create"}


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            b"P=superadmin",
            {"published": {"P": ["superadmin"]}},
            "A secret is one that upstream has published (P in x/.env): wanted a value that nobody knows, "
            "set another value there, or take the line out, and a new secret is made.",
        ),
        (
            b"P='two words'",
            {},
            "A value cannot be a secret of the fleet (P in x/.env): found a blank at place 4 of 9, wanted "
            "printable ASCII without blanks, quotes and backslashes, set another value there, or take the "
            "line out, and a new secret is made.",
        ),
        (
            b"P=other-value",
            {"existing": {"p": "this-value"}},
            "The fleet has another value for a secret (p): wanted that of P in x/.env, set "
            "secrets_overwrite: true to take it, or take the line out to keep the fleet's.",
        ),
    ],
)
def test_what_is_refused_is_told_without_its_value(text, arguments, message):
    _found, problems = secrets(text, {"P": "p"}, **arguments)
    assert [str(problem) for problem in problems] == [message]


def test_what_stands_there_stays_or_is_replaced_when_asked():
    found, problems = secrets(b"P=this-value", {"P": "p"}, existing={"p": "this-value"})
    assert (found[0]["action"], problems) == ("keep", [])
    found, problems = secrets(b"P=other-value", {"P": "p"}, existing={"p": "this-value"}, overwrite=True)
    assert (found[0]["action"], problems) == ("replace", [])


def test_two_variables_of_one_secret_have_to_agree():
    _found, problems = secrets(b"P=one-value\nQ=two-value", {"P": "p", "Q": "p"})
    assert "Two variables give one secret two values" in str(problems[0])
    assert secrets(b"P=one-value\nQ=one-value", {"P": "p", "Q": "p"})[1] == []


@pytest.mark.parametrize("text", [b"P=", b"Q=1", b"P=no-url"])
def test_what_is_not_set_is_not_taken_over(text):
    mapping = {"P": {"secret": "p", "part": "password"}}
    assert secrets(text, mapping) == ([], [])


def test_a_file_that_cannot_be_read_is_told_with_its_line():
    told = r"x/\.env, line 2\): found A line cannot be read, wanted NAME=value"
    with pytest.raises(FleetError, match=told):
        secrets(b"A=1\n- nonsense\n", {})


@pytest.mark.parametrize(
    "mapping", [{"A": {"secret": "a"}}, {"A": {"secret": "a", "part": "fragment"}}, {"A": 1}]
)
def test_a_mapping_that_leads_nowhere_is_refused(mapping):
    with pytest.raises(FleetError, match="mapped to nothing"):
        secrets(b"A=1", mapping)


SPECS = {
    "x_tag": {"type": "str"},
    "x_dir": {"type": "path"},
    "x_open": {"type": "bool"},
    "x_depth": {"type": "int"},
    "x_rights": {"type": "list", "elements": "str"},
    "x_mail": {"type": "str", "no_log": True},
    "x_map": {"type": "dict"},
}


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("x_tag", "latest", "latest"),
        ("x_dir", "/srv/x", "/srv/x"),
        ("x_open", "True", True),
        ("x_open", "off", False),
        ("x_depth", "20", 20),
        ("x_rights", "upload, session", ["upload", "session"]),
        ("x_rights", "none", []),
    ],
)
def test_options_have_the_type_of_their_role(option, text, value):
    found, left = _secret_import.plan_options({"V": text}, {"V": option}, SPECS, lambda *_all: None)
    assert (found, left) == ({option: value}, [])


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [
        ("x_dir", "~/x", "x_dir does not take it: '~/x' is no absolute path"),
        ("x_open", "perhaps", "x_open does not take it: 'perhaps' is neither true nor false"),
        ("x_depth", "many", "x_depth does not take it: 'many' is no number"),
        ("x_tag", "{{ a }}", "x_tag does not take it: Ansible would take it for a template"),
        ("x_tag", "refused", "x_tag does not take it: not this one"),
        ("x_mail", "s3cret", "it is secret: set x_mail in a file that Ansible Vault has encrypted"),
        ("x_map", "a", "x_map does not take it: an option of type dict is not read from a variable"),
    ],
)
def test_what_a_role_would_not_take_is_left(option, text, reason):
    def reject(_name, _spec, value):
        return "not this one" if value == "refused" else None

    found, left = _secret_import.plan_options({"V": text}, {"V": option}, SPECS, reject)
    assert (found, left) == ({}, [("V", reason)])


def test_parts_of_a_url_are_options_too():
    mapping = {"DB": {"option": "x_tag", "part": "hostname"}, "AT": {"option": "x_depth", "part": "port"}}
    url = "postgresql://u:p@db.example.org:5433/crowd"
    found, _left = _secret_import.plan_options({"DB": url, "AT": url}, mapping, SPECS, lambda *_all: None)
    assert found == {"x_tag": "db.example.org", "x_depth": 5433}
    assert _secret_import.part_of(url, "database") == "crowd"
    assert _secret_import.part_of("postgresql://u:p@db:x/crowd", "port") is None


def test_an_option_that_no_role_has_is_a_fault_of_the_mapping():
    with pytest.raises(FleetError, match="mapped to nothing"):
        _secret_import.plan_options({"V": "1"}, {"V": "y"}, SPECS, lambda *_all: None)


def test_the_rest_is_told_with_a_reason():
    rest = _secret_import.plan_rest({"A": "1", "B": "2", "C": "3"}, [{"A": "a"}], {"B": "it is fixed"})
    assert rest == [("B", "it is fixed"), ("C", "nothing here goes by this name")]

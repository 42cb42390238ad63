# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ownership of keys: cases told one by one, and properties over generated documents."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon import ownership
from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import Document, same
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

USER = (
    '{\n  "debug": true,\n  "log-opts": {\n    "max-size": "5m"\n  },\n  "dns": [\n    "10.0.0.1"\n  ]\n}\n'
)


class File:
    """A file and its state, as the module keeps them from run to run."""

    def __init__(self, text):
        self.text = text
        self.state = ownership.EMPTY_STATE
        self.conflicts = []

    def give(self, owner, data=None, items=None):
        plan = ownership.plan(self.text, self.state, owner, data or {}, items or {})
        self.text = plan.text
        self.state = json.loads(json.dumps(plan.state))
        self.conflicts = plan.conflicts
        return plan

    def value(self):
        return Document(self.text).value()


def test_merge_keeps_the_rest_and_removal_restores_it():
    file = File(USER)
    plan = file.give("docker", {"log-opts": {"max-size": "10m", "max-file": "3"}, "mtu": 1400})
    assert plan.owned == ["log-opts.max-file", "log-opts.max-size", "mtu"]
    assert file.value() == {
        "debug": True,
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "dns": ["10.0.0.1"],
        "mtu": 1400,
    }
    file.give("docker", {"mtu": 1400})
    assert file.value() == {**json.loads(USER), "mtu": 1400}
    file.give("docker")
    assert file.text == USER
    assert file.state == ownership.EMPTY_STATE


def test_a_file_we_made_goes_with_its_last_key():
    file = File(None)
    file.give("docker", {"log-opts": {"max-size": "10m"}})
    assert file.value() == {"log-opts": {"max-size": "10m"}}
    file.give("docker")
    assert file.text is None


def test_a_file_we_made_stays_when_somebody_added_a_key():
    file = File(None)
    file.give("docker", {"mtu": 1400})
    file.text = '{"mtu": 1400, "debug": true}'
    file.give("docker")
    assert file.text == '{"debug": true}'


@pytest.mark.parametrize("text", ["{}", "", "{ }\n"])
def test_an_empty_file_of_the_user_stays(text):
    file = File(text)
    file.give("docker", {"mtu": 1400})
    file.give("docker")
    assert file.value() == {}
    assert file.text is not None


def test_two_owners_in_one_object():
    file = File(USER)
    file.give("docker", {"runtimes": {"kata": {"path": "kata"}}})
    file.give("nvidia", {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}})
    file.give("docker")
    assert file.value()["runtimes"] == {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
    file.give("nvidia")
    assert file.text == USER


def test_two_owners_of_one_value_and_the_last_restores():
    file = File(USER)
    file.give("a", {"debug": False})
    file.give("b", {"debug": False})
    file.give("a")
    assert file.value()["debug"] is False
    file.give("b")
    assert file.text == USER


# what a gave, then what b asks, then the two places in the message
FOREIGN = {
    "another value": (({"debug": False}, {}), ({"debug": True}, {}), "found false, wanted true"),
    "below a value": (({"x": 1}, {}), ({"x": {"y": 1}}, {}), "found 1, wanted 1"),
    "above a value": (({"x": {"y": 1}}, {}), ({"x": 1}, {}), "found 1, wanted 1"),
    "a member of a whole list": (
        ({"dns": ["10.0.0.1"]}, {}),
        ({}, {"dns": ["10.0.0.2"]}),
        'found ["10.0.0.1"], wanted ["10.0.0.2"]',
    ),
    "the whole of a shared list": (
        ({}, {"dns": ["10.0.0.1"]}),
        ({"dns": []}, {}),
        'found ["10.0.0.1"], wanted []',
    ),
}


@pytest.mark.parametrize(("first", "second", "told"), FOREIGN.values(), ids=FOREIGN)
def test_a_key_of_another_owner_is_refused(first, second, told):
    file = File(USER)
    file.give("a", *first)
    with pytest.raises(FleetError, match="Another owner") as error:
        file.give("b", *second)
    assert "Another owner (a) already sets this key" in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("data", "path", "found", "wanted"),
    [
        ({"debug": {"x": 1}}, "debug", "a boolean", "an object"),
        ({"log-opts": "x"}, "log-opts", "an object", "a string"),
        ({"dns": {"x": {}}}, "dns", "a list", "an object"),
    ],
)
def test_a_value_of_another_kind_is_refused(data, path, found, wanted):
    with pytest.raises(FleetError) as error:
        File(USER).give("docker", data)
    assert str(error.value).startswith(
        f"Cannot merge into daemon.json ({path}): found {found}, wanted {wanted}, set a value of that kind"
    )


@pytest.mark.parametrize(
    ("data", "items", "message"),
    [
        (
            {},
            {"debug": True},
            "Cannot own members of a list (debug): found a boolean, wanted a list of members",
        ),
        ({"dns": []}, {"dns": ["x"]}, "Cannot own a list and members of it at once (dns)"),
        ({}, {"debug": ["x"]}, "Cannot merge into daemon.json (debug): found a boolean, wanted a list"),
    ],
)
def test_list_items_that_cannot_be(data, items, message):
    with pytest.raises(FleetError) as error:
        File(USER).give("docker", data, items)
    assert message in str(error.value)


def test_members_of_lists_are_owned_one_by_one():
    file = File(USER)
    file.give("a", items={"dns": ["10.0.0.1", "10.0.0.2"]})
    file.give("b", items={"dns": ["10.0.0.3"], "labels": ["x=y"]})
    assert file.value()["dns"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    file.give("a", items={"dns": ["10.0.0.4"]})
    assert file.value()["dns"] == ["10.0.0.1", "10.0.0.3", "10.0.0.4"]
    file.give("a")
    file.give("b")
    assert file.text == USER


def test_keys_changed_by_hand_are_told_and_set_back_or_left():
    file = File(USER)
    file.give("docker", {"debug": False, "mtu": 1400}, {"dns": ["10.0.0.9"]})
    file.text = json.dumps({"debug": 7, "mtu": 9000, "dns": []})
    file.give("docker", {"debug": False}, {"dns": ["10.0.0.9"]})
    assert file.conflicts == [
        "mtu was changed outside of docker: 1400 was set, 9000 is there; left alone.",
        "debug was changed outside of docker: false was set, 7 is there; set back.",
        'dns was changed outside of docker: ["10.0.0.9"] was set, now it is gone; set back.',
    ]
    assert file.value() == {"debug": False, "mtu": 9000, "dns": ["10.0.0.9"]}
    file.give("docker")
    assert file.value() == {"debug": True, "mtu": 9000, "dns": []}


def test_an_owned_key_set_by_hand_to_what_is_asked_for_now_is_no_conflict():
    file = File(USER)
    file.give("docker", {"mtu": 1400})
    file.text = file.text.replace("1400", "9000")
    assert file.give("docker", {"mtu": 9000}).conflicts == []
    file.text = USER
    assert file.give("docker").conflicts == []


def test_a_leaf_may_become_an_object_and_back():
    file = File(USER)
    for data in ({"x": 1}, {"x": {"y": 1}}, {"x": {}}, {"x": [1]}, {"x": {"y": {"z": 1}}}, {"x": 1}):
        file.give("docker", data)
        assert same(file.value(), {**json.loads(USER), **data})
    file.give("docker")
    assert file.text == USER


# -- properties ----------------------------------------------------------------------------------------------

SPACE = st.sampled_from(["", "", " ", "\n", "\n  ", "\t", "\r\n"])
KEYS = st.sampled_from(["debug", "log-opts", "dns", "runtimes", "a.b", "", "\u00e9", "x"])
SCALARS = st.one_of(
    st.sampled_from(
        ["true", "false", "null", "0", "-0", "1.0", "1e3", "-1.50E+2", "1e999", '"\\u00e9"', '"\\/"']
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.text(max_size=4).map(json.dumps),
)


@st.composite
def containers(draw, children):
    keyed = draw(st.booleans())
    members = draw(st.lists(children, max_size=4))
    if keyed:
        keys = draw(st.lists(KEYS, min_size=len(members), max_size=len(members), unique=True))
        members = [
            json.dumps(key, ensure_ascii=draw(st.booleans())) + draw(SPACE) + ":" + draw(SPACE) + member
            for key, member in zip(keys, members, strict=True)
        ]
    text = ",".join(draw(SPACE) + member + draw(SPACE) for member in members) or draw(SPACE)
    return "{" + text + "}" if keyed else "[" + text + "]"


VALUES = st.recursive(SCALARS, containers, max_leaves=12)


@st.composite
def texts(draw):
    """A daemon.json as a person may have left it: any white space, number forms and escapes."""
    keys = draw(st.lists(KEYS, max_size=5, unique=True))
    members = [draw(SPACE) + json.dumps(key) + draw(SPACE) + ":" + draw(SPACE) + draw(VALUES) for key in keys]
    return (
        draw(SPACE)
        + "{"
        + (",".join(member + draw(SPACE) for member in members) or draw(SPACE))
        + "}"
        + draw(SPACE)
    )


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "x", "10m"])),
    lambda children: st.one_of(st.lists(children, max_size=2), st.dictionaries(KEYS, children, max_size=2)),
    max_leaves=4,
)
NO_OBJECT = PLAIN.filter(lambda value: not isinstance(value, dict))


@st.composite
def requests(draw, document):
    """Data that can be merged into a document: objects meet objects only."""
    data = {}
    for key in draw(st.lists(KEYS, max_size=3, unique=True)):
        if key not in document:
            data[key] = draw(PLAIN)
        elif isinstance(document[key], dict):
            data[key] = draw(requests(document[key]))
        else:
            data[key] = draw(NO_OBJECT)
    return data


def pairs(text):
    """The meaning of a text with the order of its keys."""
    return json.loads(
        text or "{}", object_pairs_hook=lambda found: found and ("object", found), parse_float=str
    )


def untouched(document, wanted, path=()):
    """Yield (path, text) for each leaf that is none of the wanted ones, in order."""
    value = document.get(path)
    if isinstance(value, dict):
        for key in value:
            if (*path, key) not in wanted:
                yield from untouched(document, wanted, (*path, key))
    else:
        yield path, document.raw(path)


@st.composite
def cases(draw, owners=1):
    text = draw(texts())
    value = Document(text).value()
    return text, [draw(requests(value)) for _owner in range(owners)]


relaxed = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(texts())
def test_property_a_text_is_given_back_as_it_was(text):
    assert Document(text).render() == text
    assert same(Document(text).value(), json.loads(text))


@relaxed
@given(cases())
def test_property_only_owned_keys_change_and_all_comes_back(case):
    text, (data,) = case
    file = File(text)
    wanted = {path for path, _value in ownership.leaves(data)}
    before = list(untouched(Document(text), wanted))

    file.give("docker", data)
    # What is asked for is there, and every other leaf has its text and its place.
    for path, value in ownership.leaves(data):
        found = Document(file.text).get(path)
        assert isinstance(found, dict) if value == {} else same(found, value)
    assert list(untouched(Document(file.text), wanted)) == before

    # A second run writes nothing.
    first = (file.text, file.state)
    assert file.give("docker", data).conflicts == []
    assert (file.text, file.state) == first

    file.give("docker")
    assert pairs(file.text) == pairs(text)
    assert file.state == ownership.EMPTY_STATE


@relaxed
@given(cases(owners=2), st.booleans())
def test_property_two_owners_leave_in_any_order(case, swap):
    text, (one, two) = case
    file = File(text)
    try:
        file.give("a", one)
        file.give("b", two)
    except FleetError:
        # Overlapping claims are refused before anything is made of them.
        return
    for path, value in [*ownership.leaves(one), *ownership.leaves(two)]:
        found = Document(file.text).get(path)
        assert isinstance(found, dict) if value == {} else same(found, value)
    for owner in ("b", "a") if swap else ("a", "b"):
        assert file.give(owner).conflicts == []
    assert pairs(file.text) == pairs(text)
    assert file.state == ownership.EMPTY_STATE


@relaxed
@given(cases(owners=2))
def test_property_a_changed_request_equals_a_fresh_one(case):
    text, (one, two) = case
    changed, fresh = File(text), File(text)
    changed.give("docker", one)
    changed.give("docker", two)
    fresh.give("docker", two)
    assert same(changed.value(), fresh.value())
    changed.give("docker")
    assert pairs(changed.text) == pairs(text)

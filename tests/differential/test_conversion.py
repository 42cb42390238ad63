# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection would send to a Swarm equals what `docker stack deploy` sends, for the whole corpus.

Both are compared for several versions of the CLI. Every difference that is meant is an entry of
deviations.py; any other one fails, and so does an entry that one of its cases no longer shows.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import starmap
from pathlib import Path

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import ComposeError, load
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import observe, plan, wanted
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm.convert import convert

from tests.differential import forms
from tests.differential.clients import CLIENTS, ROOT, Missing, find
from tests.differential.corpus import FOLDER, KEYS, cases
from tests.differential.coverage import Coverage
from tests.differential.deviations import CLI_REFUSES, DEVIATIONS, DIFFERS, HERE_REFUSES, unmeant
from tests.differential.recorder import STACK, record
from tests.unit.fake_swarm import FakeSwarm

CASES = cases()
VERSIONS = list(CLIENTS)
OLDEST = VERSIONS[0]
LONG_FORMS = (
    *("configs.source", "depends_on.*.condition", "env_file.path", "gpus.count", "networks.*.aliases"),
    *("ports.target", "secrets.source", "ulimits.*.soft", "volumes.type"),
)


@cache
def client(version):
    try:
        return find(version)
    except Missing as missing:
        return missing


@pytest.fixture(params=VERSIONS)
def version(request):
    """One of the CLI's versions; a test of one that cannot be had says so."""
    found = client(request.param)
    if isinstance(found, Missing):
        pytest.skip(f"NOT COMPARED with docker {request.param}: {found}")
    return request.param


@cache
def runs(version):
    """Begin to run the CLI on every case, as many at a time as there are processors."""
    pool = ThreadPoolExecutor(os.cpu_count())
    return {name: pool.submit(run, version, name) for name in CASES}


def cli(version, name):
    """Return what the CLI makes of a case."""
    return runs(version)[name].result()


def run(version, name):
    case = CASES[name]
    given = {"files": [file for file, _text in case.texts]} if case.written else {"text": case.texts[0][1]}
    return record(client(version), FOLDER, environment=case.environment, **given)


def here(name):
    """Return (form of what we make of a case, names that are ours, what is wrong with it)."""
    desired, secret_values, problems = converted(name)
    if problems:
        return None, {}, problems
    return forms.ours(desired, secret_values), forms.renamed(desired), []


@cache
def converted(name):
    """Return (what we make of a case, contents of its secrets, what is wrong with it)."""
    case = CASES[name]
    try:
        model = load(
            list(case.texts), case.environment, (), lambda path: Path(path).read_bytes(), str(FOLDER)
        )
        desired = convert(model, STACK)
    except ComposeError as error:
        return None, {}, [FleetError.__str__(problem) for problem in error.problems]
    return desired, model.secret_values, []


def too_old(version, case):
    return bool(case.since) and VERSIONS.index(version) < VERSIONS.index(case.since)


def outcome(version, case):
    """Return [(kind, message, None)] of refusals and [(kind, path, both values)] of differences."""
    made, names, problems = here(case.id)
    answer = cli(version, case.id)
    found = [(HERE_REFUSES, problem, None) for problem in problems]
    if not answer.accepted:
        found.append((CLI_REFUSES, answer.output.strip(), None))
    twin = case.twin and case.id.replace(case.name, case.twin, 1)
    if made and twin and not too_old(version, CASES[twin]):
        answer = cli(version, twin)
        assert answer.accepted, f"the CLI refuses {twin}: {answer.output}"
    if made and answer.accepted:
        different = {**forms.differences(forms.theirs(answer.posted), made), **names}
        found += [(DIFFERS, path, values) for path, values in different.items()]
    return found


@pytest.mark.parametrize("name", CASES)
def test_equal_but_for_what_is_meant(version, name):
    case = CASES[name]
    if too_old(version, case):
        assert not cli(version, name).accepted, f"docker {version} takes it: since is {case.since}"
        return
    found = outcome(version, case)
    kinds = {kind for kind, *_rest in found}
    if case.refused and {HERE_REFUSES, CLI_REFUSES} <= kinds:
        return
    assert not case.refused or HERE_REFUSES in kinds, "taken here, although the file says it is refused"
    meant = [entry for entry in DEVIATIONS if entry.concerns(case.id) and version in entry.clients]
    others, shown = [], Counter()
    for kind, what, values in found:
        explaining = [entry.name for entry in meant if entry.explains(kind, what, values)]
        shown.update(explaining)
        if not explaining:
            others.append((kind, what, values))
    assert not others, f"{name} with docker {version}:\n" + "\n".join(starmap(told, others))
    gone = [entry.name for entry in meant if not shown[entry.name]]
    assert gone == [], f"deviations that {name} does not show with docker {version}; take them out"


class Stored(FakeSwarm):
    """A Swarm that keeps credential specs, and runs every task of a job."""

    def _stored(self, spec):
        credential_spec = spec["TaskTemplate"]["ContainerSpec"]["Privileges"]["CredentialSpec"]
        spec = super()._stored(spec)
        spec["TaskTemplate"]["ContainerSpec"]["Privileges"]["CredentialSpec"] = credential_spec
        return spec

    def _run(self, service, rolled_back=False):
        super()._run(service, rolled_back)
        job = service["Spec"]["Mode"].get("ReplicatedJob") or {}
        for slot in range(2, (job.get("TotalCompletions") or 1) + 1):
            self._task(service, slot, "complete")


def deployable(name):
    """Whether both sides take a case; what one of them refuses is looked at above."""
    refused = [entry for entry in DEVIATIONS if entry.kind == HERE_REFUSES and entry.concerns(name)]
    return not (CASES[name].twin or CASES[name].refused or refused)


@pytest.mark.parametrize("name", [*filter(deployable, CASES)])
def test_plan_after_the_cli(version, name):
    """A Swarm that the CLI has deployed to needs no change but for what is meant."""
    answer = cli(version, name)
    if not answer.accepted:
        return  # whether it should is seen above
    desired, secret_values, _problems = converted(name)
    swarm = Stored()
    kinds = ("networks", "secrets", "configs")
    for kind in kinds:
        for external in desired[f"external_{kind}"]:
            swarm.add(kind, {"Name": external, "Driver": "overlay", "Labels": {}})
    for kind in (*kinds, "services"):
        for spec in answer.posted[kind].values():
            swarm.add(kind, spec)
    want, marked, _left_out = wanted.prepare(desired, secret_values, swarm.api_version)
    planned = plan.make(want, marked, observe.observe(swarm, STACK, desired))
    assert unmeant(name, version, planned.as_list()) == [], planned.text()


def told(kind, what, values):
    """Return a finding as a person would read it."""
    return f"{kind}: {what}" + (f"\n    CLI  {values[0]}\n    here {values[1]}" if values else "")


def test_some_client_is_there():
    missing = {version: str(client(version)) for version in VERSIONS if isinstance(client(version), Missing)}
    print(*(f"NOT COMPARED with docker {version}: {why}" for version, why in missing.items()), sep="\n")
    assert len(missing) < len(VERSIONS), missing


def test_the_corpus_uses_every_key():
    coverage = Coverage()
    with coverage.watching():
        for name in CASES:
            converted.__wrapped__(name)
    # What hangs from the longer one of two ways to write a value is known only if that one is used.
    assert {f"services.*.{path}" for path in LONG_FORMS} <= coverage.used
    assert sorted(coverage.known - coverage.used) == []


def test_the_corpus_is_large_and_complete():
    files = {case.name for case in CASES.values()}
    assert len(files) >= 40
    for case in CASES.values():
        assert case.live and (case.since or OLDEST) in VERSIONS
        if case.twin:
            assert case.id.replace(case.name, case.twin, 1) in CASES


def test_every_deviation_is_justified_and_documented():
    documentation = re.sub(r"\s+", " ", (ROOT / "docs" / "compose.md").read_text(encoding="utf-8"))
    assert [name for name, count in Counter(entry.name for entry in DEVIATIONS).items() if count > 1] == []
    for entry in DEVIATIONS:
        assert entry.what and entry.why and entry.cases and entry.clients, entry.name
        assert entry.documented in documentation, f"{entry.name}: docs/compose.md lacks {entry.documented!r}"
        assert set(entry.clients) <= set(VERSIONS), entry.name
        assert [pattern for pattern in entry.cases if not fnmatch.filter(CASES, pattern)] == [], entry.name


def test_the_description_of_the_corpus_lists_its_keys():
    import tests.differential.corpus as module

    assert {line.split()[0] for line in module.__doc__.splitlines() if line.startswith("    ")} == KEYS

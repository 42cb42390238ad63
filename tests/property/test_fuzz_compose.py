# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is given as a Compose file, the answer is a stack or an error that says where it is wrong.

Half of the inputs are stack files that were damaged, half are made from the reader's own tables with some
wrong values. The same inputs in every run; GPUFLEET_SEED makes others. An input that fails is named by its
number: GPUFLEET_FUZZ_ONLY=number runs it alone and prints it.
"""

from __future__ import annotations

import copy
import json
import os
from collections import Counter
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils import _compose
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import schema
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import convert

from tests.property import bad_input
from tests.property.deployer import Deployer, remembered_scrypt
from tests.property.stacks import TELLTALE, TELLTALES
from tests.property.storing_swarm import StoringSwarm

SEED = int(os.environ.get("GPUFLEET_SEED", "20260"))
ONLY = os.environ.get("GPUFLEET_FUZZ_ONLY")
DAMAGED, MADE_UP, ON_A_SWARM = 12_000, 9_000, 400
MAX_CORPUS_BYTES = 3_000  # what takes longer to read is no better at being damaged
ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"PIN": f"{TELLTALE}-pin"}
VARIABLES = {"A": "1", "B": "b", **dict.fromkeys(SECRETS)}
FILES = {"/project/a.env": b"A=1\nB\n", "/project/a.txt": b"content"}
EXAMPLE = """x-common: &common
  image: tiny:${A}
  environment: {A: "1", PIN: "${PIN}"}
services:
  web:
    <<: *common
    command: ["run", "--fast"]
    ports: ["80:8080/tcp", {target: 53, published: 53, protocol: udp, mode: host}]
    networks: {front: {aliases: [www]}}
    configs: [{source: app, target: /etc/app, mode: 0440}]
    secrets: [key]
    volumes: ["data:/data", {type: tmpfs, target: /t, tmpfs: {size: 1M}}]
    depends_on: {db: {condition: service_healthy}}
    healthcheck: {test: [CMD, "true"], interval: 1m30s, retries: 3}
    deploy:
      replicas: 2
      labels: ["a=b"]
      resources:
        limits: {cpus: "0.5", memory: 64M}
        reservations: {devices: [{capabilities: [gpu], count: 1}]}
      update_config: {order: start-first, max_failure_ratio: 0.2}
  db:
    <<: *common
    env_file: a.env
    ulimits: {nofile: {soft: 1, hard: 2}}
networks: {front: {driver_opts: {a: b}, ipam: {config: [{subnet: 10.0.0.0/24}]}}}
volumes: {data: {}}
configs: {app: {file: a.txt}}
secrets: {key: {environment: PIN}}
"""


def read_file(path):
    if path not in FILES:
        raise FileNotFoundError(path)
    return FILES[path]


def corpus():
    """Return the stack files there are in the tests and the roles, the small ones."""
    found = [EXAMPLE]
    for path in sorted(ROOT.glob("tests/**/*.y*ml")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "services:" in text and len(text) <= MAX_CORPUS_BYTES:
            found.append(text)
    return found


def inputs():
    """Yield (number, input): text, bytes or a definition as data."""
    texts = corpus()
    for number in range(DAMAGED + MADE_UP):
        random = Random(f"{SEED}/{number}")
        if number < DAMAGED:
            yield number, bad_input.damaged(random, texts[number % len(texts)])
        else:
            document = bad_input.Maker(random, schema.DOCUMENT).value(schema.DOCUMENT)
            as_data = isinstance(document, dict) and number % 2
            yield number, document if as_data else bad_input.as_text(random, document)


def read(content):
    """Read and convert as the action plugin does. Return the outcome in a word."""
    source = [("stack.yml", content)]
    try:
        model = _compose.load(source, VARIABLES, SECRETS, read_file, "/project")
        json.dumps(convert.convert(model, "st"), allow_nan=False)
    except FleetError as error:
        check(error)
        return "refused"
    return "accepted"


def check(error):
    """An error names its place, and tells no secret."""
    told = str(error) + json.dumps(error.as_result())
    assert not any(word in told for word in TELLTALES), told
    for problem in getattr(error, "problems", [error]):
        assert getattr(problem, "path", None) or getattr(problem, "file", None), str(problem)
        assert str(problem).strip() and "Traceback" not in str(problem)


@pytest.fixture(autouse=True)
def fast_fingerprints():
    """A fingerprint is slow on purpose."""
    with mock.patch.object(convert.convert_objects.hashlib, "scrypt", remembered_scrypt):
        yield


def test_no_input_breaks_the_reader(count):
    outcomes = Counter()
    for number, content in inputs():
        if ONLY and number != int(ONLY):
            continue
        if ONLY:
            print(content)
        given = copy.deepcopy(content)
        try:
            kind = "damaged" if number < DAMAGED else "made up"
            outcomes[kind, read(content)] += 1
        except Exception as error:
            pytest.fail(
                f"input {number} of seed {SEED} ended in {type(error).__name__}: {error}\n{given!r:.3000}"
            )
        assert ONLY or not isinstance(content, dict) or repr(content) == repr(given), (
            "the reader changed its input"
        )
    told = ", ".join(f"{number} {kind} {outcome}" for (kind, outcome), number in sorted(outcomes.items()))
    count(f"fuzz: {sum(outcomes.values())} inputs to the Compose reader, seed {SEED}: {told}")
    if not ONLY:
        assert sum(outcomes.values()) >= 20_000
        # Inputs of which all are refused at the door test the door only.
        for kind in ("damaged", "made up"):
            for outcome in ("accepted", "refused"):
                assert outcomes[kind, outcome] >= 500, outcomes


def test_the_tables_are_found():
    """What is made up covers the reader's tables; a change of their build would go unnoticed otherwise."""
    keys = bad_input.Tables(schema.DOCUMENT).keys
    for key in (
        "services.image",
        "services.deploy.update_config.order",
        "networks.ipam.config.subnet",
        "secrets.file",
    ):
        assert key in keys
    assert len(keys) > 150


def test_nothing_reaches_the_engine_after_an_error(tmp_path, count):
    """Through the whole action: what is refused costs no call to the host, and the Engine no request."""
    for path, content in FILES.items():
        (tmp_path / Path(path).name).write_bytes(content)
    swarm = StoringSwarm()
    deployer = Deployer(swarm, tmp_path)
    refused = 0
    for number, content in inputs():
        if number % ((DAMAGED + MADE_UP) // ON_A_SWARM):
            continue
        definition = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        before = deployer.calls, swarm.reads, swarm.writes
        result = deployer.deploy(
            name="st", definition=definition, environment={"A": "1", "B": "b"}, secret_environment=SECRETS
        )
        told = json.dumps(result, default=str)
        assert not any(word in told for word in TELLTALES)
        if result.get("failed"):
            assert result["msg"] and "Traceback" not in told
            # What the controller accepts, the Engine may still refuse.
            if deployer.calls == before[0]:
                refused += 1
                assert (swarm.reads, swarm.writes) == before[1:], result["msg"]
    count(f"fuzz: {refused} refused inputs went through the whole action, none reached the Engine")
    assert refused >= 100

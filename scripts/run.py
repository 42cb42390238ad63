# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a goal of the Makefile: its steps one after the other, each announced, timed and counted.

    python scripts/run.py GOAL [NAME]      NAME is one scenario of `molecule`, or one suite of `integration`

A demo stops at its first failed step; tests go on, so that one run tells everything. The last line is
`N passed, N failed` and counts steps; the exit code is 0 only if none failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SUMMARY = ROOT / ".cache" / "summary.txt"
LAB_INVENTORY = "inventories/lab"


@dataclass(frozen=True)
class Step:
    """One command of a goal: a short name, what it does in a sentence, the command's words."""

    name: str
    purpose: str
    command: tuple[str, ...]


def python(name: str, purpose: str, *words: str) -> Step:
    """Return a step that runs the environment's Python."""
    return Step(name, purpose, (sys.executable, *words))


def playbook(name: str, purpose: str, *words: str) -> Step:
    """Return a step that runs a playbook on the lab."""
    return Step(name, purpose, ("ansible-playbook", "-i", LAB_INVENTORY, *words))


def pytest(folder: str, purpose: str) -> Step:
    """Return a step that runs the tests of one folder of tests/."""
    return python(folder, purpose, "-m", "pytest", "-q", f"tests/{folder}")


def molecule(scenario: str) -> Step:
    """Return a step that takes one molecule scenario through its whole sequence."""
    purpose = f"scenario {scenario}: a dry run on bare hosts, the real run, a second one, verification"
    # Its state lies in the checkout, so that two checkouts do not meet.
    state = f"MOLECULE_EPHEMERAL_DIRECTORY={ROOT / '.cache' / 'molecule' / scenario}"
    command = (
        "molecule",
        "--base-config",
        ".config/molecule/config.yml",
        "test",
        "--scenario-name",
        scenario,
    )
    return Step(f"molecule {scenario}", purpose, ("env", state, "MOLECULE_COMMAND_BORDERS=0", *command))


def lab_up() -> Step:
    """Return the step that makes the lab, in the size LAB_HOSTS and LAB_MANAGERS ask for."""
    hosts, managers = os.environ.get("LAB_HOSTS", "3"), os.environ.get("LAB_MANAGERS", "1")
    return python(
        "lab",
        f"make {hosts} hosts, {managers} of them managers, as containers with systemd and SSH",
        "-m",
        "lab",
        "up",
        "--hosts",
        hosts,
        "--managers",
        managers,
    )


def with_lab(name: str, purpose: str, tests: str, *options: str, hosts: str = "2") -> Step:
    """Return a step that runs tests of tests/integration on hosts of their own."""
    command = (sys.executable, "-m", "pytest", "-q", f"tests/integration/{tests}")
    return python(f"{name} tests", purpose, "scripts/with_lab.py", name, hosts, *options, "--", *command)


def scenarios() -> list[str]:
    """Return the names of the molecule scenarios on disk."""
    return sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))


LINT = [
    python("ruff", "Python style and errors", "-m", "ruff", "check", "."),
    python("yamllint", "YAML style", "-m", "yamllint", "--strict", "."),
    Step(
        "ansible-lint",
        "Ansible, profile production",
        ("ansible-lint", "--offline", "--nocolor", "--format", "pep8"),
    ),
]
SANITY = [python("sanity", "ansible-test sanity on the built collection", "tests/sanity/run.py")]
UNITS = [pytest("unit", "tests that need no host")]
PROPERTY = [pytest("property", "random stacks against their plans, and damaged Compose files")]
DIFFERENTIAL = [pytest("differential", "stack files as four versions of docker stack deploy send them")]
# The tests that make a small fleet of their own; each in the order of what it costs.
FURTHER = [pytest("faults", "bad input and broken hosts")]
INTEGRATION = [
    with_lab(
        "first-run",
        "three bare managers become a fleet, and no secret is told",
        "test_first_run.py",
        "--managers",
        "3",
        hosts="3",
    ),
    with_lab(
        "nodes",
        "hosts that leave the Swarm, and those that may not",
        "test_remove_node.py",
        "--managers",
        "3",
        "--fleet",
        hosts="4",
    ),
    with_lab("docker", "the docker role on bare hosts, from two repositories", "test_docker_role.py"),
    with_lab("certificates", "renewal, a new authority, and browsers", "test_certificates.py", "--fleet"),
    with_lab(
        "acme",
        "certificates by ACME, and changes of mode under clients",
        "test_acme.py",
        "--fronts",
        "1",
        "--fleet",
        hosts="3",
    ),
    with_lab(
        "firewall",
        "what the firewall closes, opens and survives, and how it is undone",
        "test_firewall.py",
        "--fronts",
        "1",
        "--fleet",
        hosts="3",
    ),
    with_lab(
        "ports",
        "all ports of a fleet with the five systems, seen by a stranger",
        "test_ports.py",
        "--fronts",
        "1",
        hosts="3",
    ),
    with_lab(
        "secrets",
        "secrets taken over, delivered, rotated, encrypted and looked for",
        "test_secrets.py",
        "--fleet",
    ),
    with_lab(
        "images",
        "images built, proven before a deploy, and brought from an archive",
        "test_images.py",
        "--fleet",
    ),
    with_lab("registry", "a registry of the fleet's own, and logins at it", "test_registry.py", "--fleet"),
    with_lab("tunnels", "tunnels between a node and a front", "test_tunnels.py", "--fronts", "1"),
    with_lab("stack", "the stack module against live Engines", "test_stack_module.py", "--fleet"),
    with_lab("options", "options that others take part in", "test_stack_options.py", "--fleet"),
    with_lab("failures", "failures of the stack module on live Engines", "test_stack_failures.py", "--fleet"),
    with_lab("rotation", "new content and the way back", "test_stack_rotation.py", "--fleet"),
    with_lab("plan-truth", "random edits on live Engines", "test_stack_plan_truth.py", "--fleet"),
    with_lab(
        "leader",
        "managers that are lost during a deploy",
        "test_stack_leader.py",
        "--managers",
        "3",
        "--fleet",
        hosts="3",
    ),
    with_lab("corpus", "stack files on live Engines 20.10 and 26.1", "test_stack_corpus.py", "--fleet"),
    with_lab(
        "nvidia",
        "the nvidia role on hosts with pretend cards",
        "test_nvidia_role.py",
        "--gpus",
        "manager1=2,worker1=1:t4",
    ),
    with_lab(
        "claims",
        "claims of stacks on pretend cards, and the proof that each fault is caught",
        "test_gpu_claims.py",
        "--gpus",
        "manager1=2,worker1=1",
    ),
    with_lab("linto", "all features of LinTO, with cards", "test_linto_features.py", "--gpus", "manager1=2"),
    with_lab(
        "image-server",
        "IMAGE-server: found, routed, with cards, updated, removed",
        "test_image_server.py",
        "--fleet",
        "--gpus",
        "worker1=1",
    ),
    with_lab(
        "dmi",
        "the DMI Service Manager on two nodes, with a stand-in application",
        "test_dmi_service_manager.py",
        "--fleet",
    ),
    with_lab(
        "discover-api",
        "discover-api with its front: from bare hosts over updates to its removal",
        "test_discover_api.py",
        "--fronts",
        "1",
        "--gpus",
        "worker1=2",
        hosts="3",
    ),
    with_lab(
        "crowd-recital",
        "crowd-recital with its database, jobs and admin commands",
        "test_crowd_recital.py",
        "--fleet",
    ),
    with_lab(
        "systems",
        "all five systems side by side, and one of them taken out",
        "test_all_systems.py",
        "--fronts",
        "1",
        "--gpus",
        "worker1=2,worker2=1",
        hosts="4",
    ),
]
SCENARIOS = ("single", "fleet")
DEMO = [
    lab_up(),
    playbook("site", "from bare hosts to a served fleet", "site.yml"),
    playbook("verify", "ask every service whether it answers", "playbooks/verify.yml"),
]


def goals(argument: str | None) -> dict[str, list[Step]]:
    """Return every goal with its steps, in the order they run."""
    test = [*LINT, *UNITS, *DIFFERENTIAL, *PROPERTY, *SANITY, *FURTHER, *map(molecule, SCENARIOS)]
    rest = [molecule(name) for name in scenarios() if name not in SCENARIOS]
    suites = [step for step in INTEGRATION if argument in (None, step.name.removesuffix(" tests"))]
    return {
        "demo": DEMO,
        "lint": LINT,
        "sanity": SANITY,
        "units": UNITS,
        "molecule": [molecule(argument)] if argument else list(map(molecule, scenarios())),
        "test": test,
        "integration": suites,
        "test-full": [*test, *INTEGRATION, *rest],
    }


def run(step: Step, position: str) -> tuple[bool, float]:
    """Run one step with its output shown; return whether it passed and the seconds it took."""
    print(f"\n==> [{position}] {step.name}: {step.purpose}", flush=True)
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    code = subprocess.run(step.command, cwd=ROOT, env=env, check=False).returncode
    seconds = time.monotonic() - started
    outcome = "passed" if code == 0 else f"FAILED (code {code})"
    print(f"<== [{position}] {step.name} {outcome} after {seconds:.0f} s", flush=True)
    return code == 0, seconds


def summary(results: list[tuple[Step, bool, float]]) -> str:
    """Return, and keep in .cache for .ci/run, one line per step and the count of passed and failed ones."""
    failed = sum(not passed for _, passed, _ in results)
    lines = [
        f"  {'passed' if passed else 'FAILED'}  {seconds:6.0f} s  {step.name}"
        for step, passed, seconds in results
    ]
    lines += [
        f"          {sum(seconds for *_, seconds in results):6.0f} s  in all",
        f"{len(results) - failed} passed, {failed} failed",
    ]
    SUMMARY.parent.mkdir(exist_ok=True)
    SUMMARY.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "\n".join(lines)


def main() -> int:
    """Run the goal named on the command line."""
    goal, argument = (sys.argv + [None, None])[1:3]
    known = goals(argument)
    if goal not in known:
        sys.exit(f"scripts/run.py: no goal {goal!r}, wanted one of {', '.join(known)}")
    steps, results = known[goal], []
    if not steps:
        names = ", ".join(step.name.removesuffix(" tests") for step in INTEGRATION)
        sys.exit(f"make integration: no suite {argument!r}, wanted one of {names}")
    for number, step in enumerate(steps, 1):
        results.append((step, *run(step, f"{number}/{len(steps)}")))
        if goal == "demo" and not results[-1][1]:
            break
    failed = sum(not passed for _, passed, _ in results)
    text = summary(results)
    if goal == "demo":
        text = ", ".join(f"{step.name} {seconds:.0f} s" for step, _, seconds in results)
        text += f"; in all {sum(seconds for *_, seconds in results):.0f} s"
    print(f"\n==> {goal}{' FAILED' if failed else ''}", text, sep="\n", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from what stands")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims of stacks on pretend cards, and the proof that tasks see what they were granted.

GPUFLEET_INVENTORY  inventory of a lab, a manager with two cards and a worker with one
                    (`python3 -m lab up --name claims --hosts 2 --gpus manager1=2,worker1=1`), bare or made
                    by these tests before; all of this is skipped without it, and where there are no cards

Pretended are the cards, nvidia-smi and the toolkit (lab/gpus.py). The Engines, the Swarm and what it grants
are real. The tests build on one another and run in the order of the file. Each fault is put right again.
"""

from __future__ import annotations

import json
import os

import pytest

from tests.integration.test_docker_role import BIN, HERE, Fleet, Run
from tests.integration.test_nvidia_role import CONFIG, SHELL_IMAGE, UUIDS, seen, told, wait

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet with cards")

ROLES = ("docker", "nvidia", "swarm")
DAEMON = "/etc/docker/daemon.json"
# Makes the one change to daemon.json that a test wants, and has the Engine read it again.
EDIT = (
    "python3 -c 'import json; p=\"{path}\"; d=json.load(open(p)); {change}; json.dump(d, open(p, \"w\"))' "
    "&& {then}"
)
RELOAD = "systemctl reload docker && sleep 1"
RESTART = "systemctl restart docker"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    fleet.source = {}
    if "nvidia" not in fleet.shell(fleet.manager, "ls /proc/driver"):
        pytest.skip(f"{fleet.manager} has no pretend cards: these tests need a lab made with --gpus")
    roles(fleet, *ROLES)
    for host in (fleet.manager, fleet.worker):
        # An image that asks for all cards, as those of CUDA do.
        asks = "docker import --change 'ENV NVIDIA_VISIBLE_DEVICES=all'"
        fleet.shell(host, SHELL_IMAGE.replace("docker import", asks))
    return fleet


@pytest.fixture(scope="module")
def cards(fleet):
    """Return the UUIDs of each host's cards."""
    return {host: fleet.shell(host, UUIDS).split() for host in (fleet.manager, fleet.worker)}


def roles(fleet, *names, **variables):
    """Run roles on both hosts, which must not fail."""
    tasks = [{"ansible.builtin.include_role": {"name": f"gpufleet.swarm.{name}"}} for name in names]
    run = fleet.play(tasks, docker_registry_mirrors=[], **variables)
    assert run.rc == 0, run.output
    return run


def deploy(fleet, services, name="it", **options):
    """Deploy a stack and return the result of the module."""
    made = {
        key: {"image": "shell:1", "stop_grace_period": "1s", **service} for key, service in services.items()
    }
    options = {"definition": json.dumps({"services": made}), "wait_timeout": 120, **options}
    task = {"gpufleet.swarm.stack": {"name": name, **options}, "ignore_errors": True}
    return fleet.play([task], fleet.manager).tasks(fleet.manager)[-1][1]


def exclusive(replicas=1, **more):
    """Return a service whose tasks have a card each."""
    update = {"monitor": "1s", **more.pop("update_config", {})}
    return {"gpus": [{"count": 1}], "deploy": {"replicas": replicas, "update_config": update}, **more}


def prove(fleet):
    """Run the module on both hosts; return (tasks by service, all problems as one text)."""
    run = fleet.play(
        [{"gpufleet.swarm.gpu_proof": {}, "register": "one", "failed_when": "one.proof is not defined"}]
    )
    assert run.rc == 0, run.output
    proofs = [run.tasks(host)[-1][1]["proof"] for host in (fleet.manager, fleet.worker)]
    tasks = {}
    for task in (task for proof in proofs for task in proof["tasks"]):
        tasks.setdefault(task["service"], []).append(task)
    return tasks, " ".join(problem for proof in proofs for problem in proof["problems"])


def remake(fleet, service="it_llm", replicas=3):
    """Make the tasks of a service anew."""
    fleet.shell(fleet.manager, f"docker service scale --detach {service}=0")
    for host in (fleet.manager, fleet.worker):
        fleet.shell(host, f"while docker ps -q --filter name={service}. | grep -q .; do sleep 0.5; done")
    fleet.shell(fleet.manager, f"docker service scale --detach {service}={replicas}")
    form = "{% raw %}{{.Replicas}}{% endraw %}"
    wanted = f"{replicas}/{replicas}"
    assert wait(fleet, f"docker service ls --filter name={service} --format '{form}'", wanted) == wanted


def whole(fleet):
    """Prove that everything is in order again."""
    tasks, problems = prove(fleet)
    assert problems == ""
    assert all(task["ok"] for several in tasks.values() for task in several)


# Claims


def test_three_tasks_have_a_card_each_and_a_service_without_a_claim_sees_none(fleet, manager, worker, cards):
    result = deploy(fleet, {"llm": exclusive(3), "web": {"deploy": {"mode": "global"}}})
    assert not result.get("failed"), result
    assert result["claims"] == {"it_llm": "exclusive 1 GPU"}
    path = "services.web.environment.NVIDIA_VISIBLE_DEVICES"
    assert [one["to"] for one in result["translations"] if one["path"] == path] == ["void"]
    found = seen(fleet, manager, "it_llm") + seen(fleet, worker, "it_llm")
    assert all(cards_seen == [granted] for granted, cards_seen in found), found
    assert {granted for granted, _ in found} == {*cards[manager], *cards[worker]} and len(found) == 3
    for host in (manager, worker):
        assert seen(fleet, host, "it_web") == [("", [])]
    again = deploy(fleet, {"llm": exclusive(3), "web": {"deploy": {"mode": "global"}}})
    assert again["changed"] is False, again["plan"]


def test_the_proof_agrees(fleet, manager, cards):
    tasks, problems = prove(fleet)
    assert problems == ""
    every = sorted(card for several in cards.values() for card in several)
    assert sorted(uuid for task in tasks["it_llm"] for uuid in task["seen"]) == every
    assert {task["how"] for task in tasks["it_llm"]} == {"nvidia-smi"}
    assert [(task["claim"], task["seen"]) for task in tasks["it_web"]] == [("none", [])] * 2


REFUSED = {
    "a fourth task": ({"llm": exclusive(4)}, ["found 4 cards asked, 3 there", "it_llm 4"]),
    "a fourth in another service": (
        {"llm": exclusive(3), "more": exclusive()},
        ["found 4 cards asked, 3 there", "it_llm 3, it_more 1", "manager1 2, worker1 1"],
    ),
    "an unknown kind": (
        {"llm": {"x-gpu": {"claim": "exclusive", "kind": "H100"}}},
        ["found H100, wanted one of GPU"],
    ),
    "no spare card to start first": (
        {"llm": exclusive(3, update_config={"order": "start-first"})},
        ["found start-first, 0 of 3 cards of kind GPU spare", "wanted stop-first"],
    ),
    "two cards on a node with one": (
        {"llm": {"gpus": [{"count": 2}], "deploy": {"placement": {"constraints": ["node.role==worker"]}}}},
        ["1 tasks with 2 of kind GPU each, room for 0 (worker1 1)"],
    ),
    "budgets over a card": (
        {
            "a": {"x-gpu": {"claim": "shared", "memory": "10gb"}, "deploy": {"replicas": 2}},
            "b": {"x-gpu": {"claim": "shared", "memory": "8gb"}},
        },
        ["it_a: 2 x 10240 MiB, it_b: 1 x 8192 MiB", "28672 MiB asked", "24564 MiB there"],
    ),
    "a card that nobody has": (
        {"a": {"x-gpu": {"claim": "shared", "cards": ["GPU-12345678-aaaa-bbbb-cccc-0123456789ab"]}}},
        ["No node has the cards that a service shares", "x-gpu.cards"],
    ),
}


@pytest.mark.parametrize(("services", "words"), REFUSED.values(), ids=REFUSED)
def test_a_plan_says_with_numbers_what_cannot_be(fleet, services, words):
    look = "docker service inspect it_llm it_web --format '{% raw %}{{.ID}} {{.Version.Index}}{% endraw %}'"
    before = fleet.shell(fleet.manager, look)
    result = deploy(fleet, services)
    assert result.get("failed")
    assert [word for word in words if word not in result["msg"]] == [], result["msg"]
    assert fleet.shell(fleet.manager, look) == before


def test_cards_of_other_stacks_count(fleet):
    result = deploy(fleet, {"llm": exclusive()}, name="other")
    assert result.get("failed")
    assert "found 4 cards asked, 3 there (asked: other_llm 1, it_llm 3;" in result["msg"]


def test_shared_services_see_what_they_were_told(fleet, manager, worker, cards):
    services = {
        "every": {"x-gpu": {"claim": "shared", "memory": "4gb"}, "deploy": {"mode": "global"}},
        "one": {"x-gpu": {"claim": "shared", "cards": cards[manager][1:], "memory": "4gb"}},
    }
    result = deploy(fleet, services, name="sh")
    assert not result.get("failed"), result
    for host in (manager, worker):
        assert seen(fleet, host, "sh_every") == [("", sorted(cards[host]))]
    assert seen(fleet, manager, "sh_one") == [("", cards[manager][1:])]
    assert any("Swarm may grant to another service" in str(warning) for warning in result["warnings"])
    # The budgets of this stack count for the plans of others.
    result = deploy(fleet, {"a": {"x-gpu": {"claim": "shared", "memory": "20gb"}}}, name="more")
    assert "28672 MiB asked" in result["msg"] and "sh_every: 1 x 4096 MiB" in result["msg"]
    whole(fleet)
    assert not deploy(fleet, {}, name="sh", state="absent", definition="").get("failed")


# The proof. Each fault stands alone: it is made, seen with its cause, and put right.


def test_a_task_that_lost_its_card_when_systemd_reloaded(fleet, worker):
    fleet.shell(
        worker,
        "id=$(docker ps -q --no-trunc --filter name=it_llm); cd /run/gpufleet-lab/$id; "
        "cp cards /root/cards; echo lost > cards",
    )
    tasks, problems = prove(fleet)
    assert [task["ok"] for task in tasks["it_llm"]].count(False) == 1
    assert "Failed to initialize NVML: Unknown Error" in problems
    assert "systemd has reloaded" in problems and "docker service update --force it_llm" in problems
    back = "cp /root/cards /run/gpufleet-lab/$(docker ps -q --no-trunc --filter name=it_llm)"
    fleet.shell(worker, back)
    whole(fleet)


def test_a_card_that_vanished(fleet, manager, cards):
    gone = cards[manager][1]
    look = "docker ps -q --no-trunc --filter name=it_llm"
    fleet.shell(
        manager,
        f"cd /etc/gpufleet-lab; cp -a pci proc cards /root; sed -i /{gone}/d cards; rm -r pci/0000:82:00.0 "
        f"proc/nvidia/gpus/0000:82:00.0; "
        f"for id in $({look}); do sed -i /{gone}/d /run/gpufleet-lab/$id/cards; done",
    )
    try:
        tasks, problems = prove(fleet)
        assert [task["ok"] for task in tasks["it_llm"]].count(False) == 1
        assert f"found no card, wanted {gone}, as granted by Swarm" in problems
        assert f"likely because {gone} has vanished from the node, which has {cards[manager][0]}" in problems
    finally:
        fleet.shell(manager, "cd /etc/gpufleet-lab; cp -a /root/pci /root/proc /root/cards .")
    remake(fleet)
    whole(fleet)


@pytest.mark.parametrize(
    ("fault", "repair", "words"),
    [
        (
            f"sed -i 's/^swarm-resource/#swarm-resource/' {CONFIG}",
            f"sed -i 's/^#swarm-resource/swarm-resource/' {CONFIG}",
            ["swarm-resource is commented out", "so the toolkit reads no grant"],
        ),
        (
            EDIT.format(path=DAEMON, change='d["default-runtime"]="runc"', then=RELOAD),
            EDIT.format(path=DAEMON, change='d["default-runtime"]="nvidia"', then=RELOAD),
            ["the default runtime of the node is runc", "nvidia_default_runtime: true"],
        ),
    ],
    ids=["swarm-resource commented out", "runtime not default"],
)
def test_a_setting_that_hides_the_grant(fleet, manager, fault, repair, words):
    # On the host with two cards: with one, all cards are the one that was granted.
    fleet.shell(manager, fault)
    try:
        # What runs is as it was; the next task is warned of.
        tasks, problems = prove(fleet)
        assert all(task["ok"] for task in tasks["it_llm"]) and "a task would not see" in problems
        remake(fleet)
        tasks, problems = prove(fleet)
        assert [task["ok"] for task in tasks["it_llm"]].count(False) == 2
        assert [word for word in words if word not in problems] == [], problems
        assert "update --force it_llm" in problems
    finally:
        fleet.shell(manager, repair)
    # Right for the next one, and the proof tells that these have to be made anew.
    assert "update --force it_llm" in prove(fleet)[1]
    remake(fleet)
    whole(fleet)


def test_toolkit_1_18_without_its_workaround(fleet, manager, worker):
    roles(fleet, *ROLES, nvidia_toolkit_version="1.18.*")
    remake(fleet)
    whole(fleet)
    for host in (manager, worker):
        fleet.shell(host, f"sed -i 's/mode = \"legacy\"/mode = \"auto\"/' {CONFIG}")
    remake(fleet)
    tasks, problems = prove(fleet)
    assert [task["ok"] for task in tasks["it_llm"]].count(False) >= 2
    assert "toolkit 1.18.1 in mode auto ignores what Swarm grants" in problems
    roles(fleet, *ROLES)
    remake(fleet)
    whole(fleet)


def advertise(fleet, host, kind, uuids):
    """Have the Engine of a host advertise its cards as another kind; wait until the Swarm knows."""
    change = f'd["node-generic-resources"]={json.dumps([f"{kind}={uuid}" for uuid in uuids])}'
    fleet.shell(host, EDIT.format(path=DAEMON, change=change, then=RESTART))
    form = "{% raw %}{{.Status.State}} {{json .Description.Resources.GenericResources}}{% endraw %}"
    look = f"docker node inspect {host} --format '{form}' 2> /dev/null | grep -c 'ready.*\"{kind}\"' || true"
    assert wait(fleet, look, "1") == "1"


def test_a_kind_that_the_toolkit_does_not_read(fleet, manager, cards):
    deploy(fleet, {}, state="absent", definition="")
    advertise(fleet, manager, "NVIDIA-GPU", cards[manager])
    try:
        result = deploy(fleet, {"llm": {"x-gpu": {"claim": "exclusive", "kind": "NVIDIA-GPU"}}})
        assert not result.get("failed"), result
        tasks, problems = prove(fleet)
        (task,) = tasks["it_llm"]
        assert (len(task["granted"]), sorted(task["seen"])) == (1, sorted(cards[manager]))
        words = "the grant is in DOCKER_RESOURCE_NVIDIA-GPU, and swarm-resource lists DOCKER_RESOURCE_GPU"
        assert words in task["reason"] and words in problems
        assert "a kind of letters, digits and underscores instead of NVIDIA-GPU" in problems
    finally:
        deploy(fleet, {}, state="absent", definition="")
        advertise(fleet, manager, "GPU", cards[manager])


# The playbooks


def playbook(fleet, name, **variables):
    """Run a playbook of the collection and return the Run."""
    path = str(HERE.parents[1] / "playbooks" / f"{name}.yml")
    assert (BIN / "ansible-playbook").exists()
    return Run(fleet._call("ansible-playbook", "-e", json.dumps(variables), path, check=False))


def test_the_play_proves_each_card_by_a_canary_and_leaves_nothing(fleet, manager, worker):
    run = playbook(fleet, "gpu_proof", gpu_proof_image="shell:1")
    assert run.rc == 0, run.output
    assert "3 cards are granted to tasks that see them, 3 of them to canaries" in told(run)
    assert fleet.shell(manager, "docker service ls -q") == ""
    # With a card taken, its task is the proof.
    assert not deploy(fleet, {"llm": exclusive()}).get("failed")
    run = playbook(fleet, "gpu_proof", gpu_proof_image="shell:1")
    assert run.rc == 0, run.output
    assert "3 cards are granted to tasks that see them, 2 of them to canaries" in told(run)
    fleet.shell(worker, f"sed -i 's/^swarm-resource/#swarm-resource/' {CONFIG}")
    run = playbook(fleet, "gpu_proof", gpu_proof_image="shell:1")
    assert run.rc != 0
    assert "swarm-resource is commented out" in told(run)
    assert fleet.shell(manager, "docker service ls --format '{% raw %}{{.Name}}{% endraw %}'") == "it_llm"
    fleet.shell(worker, f"sed -i 's/^#swarm-resource/swarm-resource/' {CONFIG}")


def test_the_role_proves_what_it_deployed(fleet, manager):
    deploy(fleet, {}, state="absent", definition="")
    template = fleet.folder / "llm.yml.j2"
    service = {"image": "shell:1", "stop_grace_period": "1s", **exclusive(), "environment": {"RUN": "${RUN}"}}
    service["deploy"]["placement"] = {"constraints": [f"node.hostname=={manager}"]}
    template.write_text(json.dumps({"services": {"llm": service}}))

    def deployed(number):
        tasks = [{"ansible.builtin.include_role": {"name": "gpufleet.swarm.stack"}}]
        variables = {"stack_name": "role", "stack_template": str(template), "stack_on_failure": "leave"}
        run = fleet.play(tasks, manager, **variables, stack_environment={"RUN": number})
        names = [name for name, _result in run.tasks(manager)]
        return run, any("Compare the cards that tasks were granted" in name for name in names)

    run, proven = deployed("1")
    assert (run.rc, proven) == (0, True), run.output
    # A run without a change has nothing to prove.
    run, proven = deployed("1")
    assert (run.rc, proven, run.changed()[manager]) == (0, False, 0), run.output
    fleet.shell(manager, f"sed -i 's/^swarm-resource/#swarm-resource/' {CONFIG}")
    try:
        run, proven = deployed("2")
        assert run.rc != 0 and proven
        assert "swarm-resource is commented out" in told(run)
    finally:
        fleet.shell(manager, f"sed -i 's/^#swarm-resource/swarm-resource/' {CONFIG}")
        deploy(fleet, {}, name="role", state="absent", definition="")

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nvidia role on hosts with pretend cards: check, reload, advertise, grant, upgrade, take back.

GPUFLEET_INVENTORY  inventory of a fresh lab without Docker, a manager with two cards and a worker with one
                    (`python3 -m lab up --name nvidia --hosts 2 --gpus manager1=2,worker1=1:t4`); all of this
                    is skipped without it, and where Docker is installed already

Pretended are the cards, nvidia-smi, NVIDIA's repository and the toolkit in it (lab/gpus.py). The Engines,
their reloads and restarts, the Swarm and what it grants are real. The tests build on one another and run in
the order of the file. They leave the hosts changed.
"""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.integration import test_docker_role
from tests.integration.test_docker_role import IMAGE, STATE, Fleet, config, containers, engine

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet of bare hosts")

# What a user had in daemon.json before us; every byte of its meaning has to outlive the role.
BEFORE = {
    "log-opts": {"max-size": "5m", "labels": "team"},
    "registry-mirrors": ["http://registry.lab:5000"],
    "data-root": "/var/lib/docker",
    "runtimes": {"own": {"path": "/usr/bin/runc"}},
    "default-runtime": "runc",
    "node-generic-resources": ["SSD=1"],
    "labels": ["rack=7"],
}
LOCAL = {*test_docker_role.LOCAL, "gpufleet.swarm.gpu_plan", "ansible.builtin.include_role"}
LIBRARY = "/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.580.95.05"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
# Shell: prints each card that a container's nvidia-smi lists.
UUIDS = "nvidia-smi -L 2> /dev/null | grep -o 'GPU-[0-9a-f-]*' || true"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    fleet.source = {}
    if "nvidia" not in fleet.shell(fleet.manager, "ls /proc/driver"):
        pytest.skip(f"{fleet.manager} has no pretend cards: these tests need a lab made with --gpus")
    for host in (fleet.manager, fleet.worker):
        if fleet.shell(host, "command -v dockerd || true"):
            pytest.skip(f"{host} has Docker already: these tests need bare hosts")
    return fleet


@pytest.fixture(scope="module")
def cards(fleet):
    """Return the UUIDs of each host's cards."""
    return {host: fleet.shell(host, UUIDS).split() for host in (fleet.manager, fleet.worker)}


def nvidia(fleet, hosts="gpu", check=False, **variables):
    """Run the role, which must not fail."""
    run = fleet.play("gpufleet.swarm.nvidia", hosts, check, **variables)
    assert run.rc == 0, run.output
    return run


def told(run):
    """Return all that a run said, lists of sentences too, on one line."""
    return " ".join(run.output.replace('\\"', '"').split())


def wait(fleet, script, wanted, seconds=90):
    """Wait until a script prints what is wanted on the manager; return what it printed last."""
    deadline = time.monotonic() + seconds
    while (found := fleet.shell(fleet.manager, script)) != wanted and time.monotonic() < deadline:
        time.sleep(2)
    return found


def seen(fleet, host, service):
    """Return, for each running task of a service on a host, the cards it was granted and those it sees."""
    script = f"""
    for id in $(docker ps -q --filter label=com.docker.swarm.service.name={service}); do
        granted=$(docker exec $id sh -c 'env | grep ^DOCKER_RESOURCE_ | cut -d= -f2')
        found=$(docker exec $id sh -c "{UUIDS}" | sort | tr '\\n' ' ')
        echo "$granted|$found"
    done
    """
    lines = fleet.shell(host, script).splitlines()
    return [(granted, found.split()) for granted, found in (line.split("|") for line in lines)]


# Before anything is installed


def test_check_mode_on_bare_hosts_predicts_and_changes_nothing(fleet, manager, worker, cards):
    assert [len(cards[host]) for host in (manager, worker)] == [2, 1]
    before = {host: fleet.shell(host, STATE) for host in (manager, worker)}
    run = nvidia(fleet, check=True)
    assert all(run.changed().values())
    assert "Install nvidia-container-toolkit=1.19.*" in told(run)
    assert {host: fleet.shell(host, STATE) for host in (manager, worker)} == before


@pytest.mark.parametrize(
    ("fault", "repair", "words"),
    [
        (
            "sed -i s/580.95.05/570.86.15/ /etc/gpufleet-lab/proc/nvidia/version",
            "sed -i s/570.86.15/580.95.05/ /etc/gpufleet-lab/proc/nvidia/version",
            [
                "the kernel has driver 570.86.15 loaded, the programs on disk are 580.95.05",
                "nvidia_reboot: true",
            ],
        ),
        (
            f"cd /etc/gpufleet-lab; mv /usr/bin/nvidia-smi proc/nvidia {LIBRARY} /root; "
            "for card in pci/*; do ln -sfn ../../drivers/nouveau $card/driver; done",
            f"mv /root/libnv* {LIBRARY}; mv /root/nvidia-smi /usr/bin; "
            "cd /etc/gpufleet-lab; mv /root/nvidia proc; "
            "for card in pci/*; do ln -sfn ../../drivers/nvidia $card/driver; done",
            [
                "a card and no driver",
                "nouveau drives the card (Turing at 0000:81:00.0)",
                "nvidia_driver: install",
            ],
        ),
        (
            "mkdir /etc/gpufleet-lab/pci/0000:90:00.0; cd /etc/gpufleet-lab/pci/0000:90:00.0; "
            "cp ../0000:81:00.0/vendor ../0000:81:00.0/class ../0000:81:00.0/device .",
            "rm -r /etc/gpufleet-lab/pci/0000:90:00.0",
            ["does not serve a card", "0000:90:00.0", "grep -i xid"],
        ),
    ],
    ids=["mismatch", "nouveau", "lost card"],
)
def test_a_fault_is_told_before_anything_is_changed(fleet, worker, fault, repair, words):
    fleet.shell(worker, fault)
    before = fleet.shell(worker, STATE)
    try:
        run = fleet.play("gpufleet.swarm.nvidia", worker)
        assert run.rc != 0
        assert fleet.shell(worker, STATE) == before
    finally:
        fleet.shell(worker, repair)
    text = told(run)
    assert [word for word in words if word not in text] == [], text


def test_a_driver_is_not_installed_without_a_branch(fleet, worker):
    run = fleet.play("gpufleet.swarm.nvidia", worker, nvidia_driver="install")
    assert run.rc != 0
    assert "580 (long-term support, to 2028-06)" in told(run)
    run = fleet.play("gpufleet.swarm.nvidia", worker, nvidia_default_kind="NVIDIA-GPU")
    assert run.rc != 0
    assert "letters, digits and underscores" in told(run)


# The runtime


def test_the_runtime_needs_a_reload_and_containers_run_on(fleet, manager, worker):
    for host in (manager, worker):
        fleet.shell(host, f"mkdir -p /etc/docker; echo '{json.dumps(BEFORE)}' > /etc/docker/daemon.json")
    fleet.docker("managers:workers", docker_log_driver="json-file", docker_log_options={"max-file": "3"})
    for host in (manager, worker):
        fleet.shell(host, IMAGE + "docker run --detach --name keep idle:1 sleep infinity")
    before = {host: (containers(fleet, host), engine(fleet, host)) for host in (manager, worker)}
    nvidia(fleet, nvidia_advertise=False)
    assert {host: (containers(fleet, host), engine(fleet, host)) for host in (manager, worker)} == before
    for host in (manager, worker):
        info = json.loads(fleet.shell(host, "docker info --format '{% raw %}{{json .}}{% endraw %}'"))
        assert info["DefaultRuntime"] == "nvidia"
        assert {"nvidia", "own", "runc"} <= set(info["Runtimes"])
        found = config(fleet, host)
        assert found["runtimes"]["own"] == BEFORE["runtimes"]["own"]
        assert {key: found[key] for key in ("registry-mirrors", "data-root", "labels")} == {
            key: BEFORE[key] for key in ("registry-mirrors", "data-root", "labels")
        }
        assert found["log-opts"] == {"max-size": "5m", "labels": "team", "max-file": "3"}
        assert found["node-generic-resources"] == ["SSD=1"]


def test_what_is_installed_is_pinned_held_and_told_where_grants_are(fleet, manager):
    held = set(fleet.shell(manager, "apt-mark showhold").split())
    assert {"nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container1"} <= held
    assert "CLI version 1.19.1" in fleet.shell(manager, "nvidia-ctk --version")
    text = fleet.shell(manager, f"cat {CONFIG}")
    assert 'swarm-resource = "DOCKER_RESOURCE_GPU"\n' in text
    assert 'mode = "auto"' in text
    assert fleet.shell(manager, "readlink /dev/char/195:0 /dev/char/195:1").split() == [
        "../nvidia0",
        "../nvidia1",
    ]
    assert "create-dev-char-symlinks" in fleet.shell(
        manager, "cat /etc/udev/rules.d/71-nvidia-dev-char.rules"
    )
    assert "Signed-By: /etc/apt/keyrings/nvidia-container-toolkit" in fleet.shell(
        manager, "cat /etc/apt/sources.list.d/nvidia-container-toolkit.sources"
    )


# What the Swarm grants


def test_cards_become_resources_and_other_resources_stay(fleet, manager, worker, cards):
    fleet.shell(manager, "docker rm --force keep")
    run = fleet.play(
        [
            {"ansible.builtin.include_role": {"name": f"gpufleet.swarm.{role}"}}
            for role in ("docker", "nvidia", "swarm")
        ],
        docker_registry_mirrors=[],
        docker_log_options={"max-file": "3"},
    )
    assert run.rc == 0, run.output
    for host in (manager, worker):
        assert config(fleet, host)["node-generic-resources"] == [
            "SSD=1",
            *(f"GPU={uuid}" for uuid in cards[host]),
        ]
    form = "{% raw %}{{json .Description.Resources.GenericResources}}{% endraw %}"
    told = fleet.shell(manager, f"docker node inspect self --format '{form}'")
    for uuid in cards[manager]:
        assert (
            json.dumps({"NamedResourceSpec": {"Kind": "GPU", "Value": uuid}}, separators=(",", ":")) in told
        )
    labels = json.loads(
        fleet.shell(manager, "docker node inspect self --format '{% raw %}{{json .Spec.Labels}}{% endraw %}'")
    )
    assert labels["gpufleet.gpu.count"] == "2"
    assert labels["gpufleet.gpu.0"] == f"{cards[manager][0]} GPU 24564 8.6 exclusive NVIDIA RTX A5000"


def test_second_run_changes_nothing_and_costs_little(fleet, manager, worker):
    before = {host: engine(fleet, host) for host in (manager, worker)}
    run = nvidia(fleet)
    assert run.changed() == {manager: 0, worker: 0}
    for host in (manager, worker):
        remote = [name for name, result in run.tasks(host) if result.get("action") not in LOCAL]
        assert len(remote) == 3, remote
    assert {host: engine(fleet, host) for host in (manager, worker)} == before


ALL = "NVIDIA_VISIBLE_DEVICES=all"
SERVICE = "docker service create --quiet --detach --endpoint-mode dnsrr --no-resolve-image"


def test_tasks_see_the_cards_they_were_granted(fleet, manager, worker, cards):
    for host in (manager, worker):
        fleet.shell(host, SHELL_IMAGE)
    fleet.shell(
        manager,
        f"{SERVICE} --name alone --replicas 3 --generic-resource GPU=1 --env {ALL} shell:1 "
        f"&& {SERVICE} --name none --mode global --env NVIDIA_VISIBLE_DEVICES=void shell:1 "
        f"&& {SERVICE} --name every --mode global --env {ALL} shell:1",
    )
    form = "docker service ls --format '{% raw %}{{.Name}} {{.Replicas}}{% endraw %}' | sort"
    wanted = "alone 3/3\nevery 2/2\nnone 2/2"
    assert wait(fleet, form, wanted) == wanted
    found = seen(fleet, manager, "alone") + seen(fleet, worker, "alone")
    assert all(cards_seen == [granted] for granted, cards_seen in found), found
    assert {granted for granted, _ in found} == {*cards[manager], *cards[worker]}
    for host in (manager, worker):
        assert seen(fleet, host, "none") == [("", [])]
        assert seen(fleet, host, "every") == [("", sorted(cards[host]))]


def test_a_fourth_task_waits_for_a_card(fleet, manager):
    fleet.shell(manager, "docker service scale --detach alone=4")
    form = "--no-trunc --format '{% raw %}{{.Error}}{% endraw %}'"
    wanted = '"no suitable node (insufficient resources on 2 nodes)"'
    assert wanted in wait(fleet, f"docker service ps alone {form} | grep . || true", wanted)
    fleet.shell(manager, "docker service scale --detach alone=3")


# Releases of the toolkit


def remake(fleet, service):
    """Make the tasks of a service anew, and wait for them."""
    fleet.shell(fleet.manager, f"docker service scale --detach {service}=0")
    for host in (fleet.manager, fleet.worker):
        fleet.shell(host, f"while docker ps -q --filter name={service}. | grep -q .; do sleep 0.5; done")
    fleet.shell(fleet.manager, f"docker service scale --detach {service}=3")
    form = "{% raw %}{{.Replicas}}{% endraw %}"
    script = f"docker service ls --filter name={service} --format '{form}'"
    assert wait(fleet, script, "3/3") == "3/3"
    return seen(fleet, fleet.manager, service) + seen(fleet, fleet.worker, service)


def test_toolkit_1_18_is_worked_round_and_the_workaround_goes_with_it(fleet, manager, worker, cards):
    before = {host: engine(fleet, host) for host in (manager, worker)}
    run = nvidia(fleet, nvidia_toolkit_version="1.18.*")
    assert "its mode becomes legacy" in told(run)
    assert 'mode = "legacy"' in fleet.shell(manager, f"cat {CONFIG}")
    found = remake(fleet, "alone")
    assert all(cards_seen == [granted] for granted, cards_seen in found), found
    # Without the workaround this release gives every task what its image asks for.
    for host in (manager, worker):
        fleet.shell(host, f'sed -i \'s/mode = "legacy"/mode = "auto"/\' {CONFIG}')
    found = remake(fleet, "alone")
    assert any(cards_seen != [granted] for granted, cards_seen in found), found
    run = nvidia(fleet)
    assert "CLI version 1.19.1" in fleet.shell(manager, "nvidia-ctk --version")
    text = fleet.shell(manager, f"cat {CONFIG}")
    assert 'mode = "auto"' in text
    assert "gpufleet" not in text
    # Neither way disturbed an Engine.
    assert {host: engine(fleet, host) for host in (manager, worker)} == before
    assert nvidia(fleet).changed() == {manager: 0, worker: 0}


def test_kinds_of_cards_drain_a_node_and_give_it_back(fleet, manager, worker, cards):
    fleet.shell(manager, "docker service rm every none")
    before = engine(fleet, worker)
    run = nvidia(fleet, worker, nvidia_gpu_kinds=[{"kind": "SMALL", "memory_max_mib": 16000}])
    assert "The node is drained" in told(run)
    assert engine(fleet, worker) != before
    assert f"SMALL={cards[worker][0]}" in config(fleet, worker)["node-generic-resources"]
    assert 'swarm-resource = "DOCKER_RESOURCE_GPU,DOCKER_RESOURCE_SMALL"' in fleet.shell(
        worker, f"cat {CONFIG}"
    )
    form = "{% raw %}{{.Spec.Availability}} {{.Status.State}}{% endraw %}"
    assert wait(fleet, f"docker node inspect {worker} --format '{form}'", "active ready") == "active ready"
    fleet.shell(manager, f"{SERVICE} --name small --generic-resource SMALL=1 shell:1")
    replicas = "docker service ls --filter name=small --format '{% raw %}{{.Replicas}}{% endraw %}'"
    assert wait(fleet, replicas, "1/1") == "1/1"
    assert seen(fleet, worker, "small") == [(cards[worker][0], [cards[worker][0]])]


# Hosts without a card, and the way back


def test_a_host_without_a_card_is_told_and_left_alone(fleet, worker):
    fleet.shell(
        worker,
        "mkdir /root/pci; cd /etc/gpufleet-lab; mv pci/* /root/pci; mv proc/nvidia cards /root; touch cards",
    )
    before = fleet.shell(worker, STATE)
    try:
        run = nvidia(fleet, worker)
        assert run.changed() == {worker: 0}
        assert "has no NVIDIA card on its PCI bus: left alone" in told(run)
        assert fleet.shell(worker, STATE) == before
    finally:
        fleet.shell(
            worker, "cd /etc/gpufleet-lab; mv /root/pci/* pci; mv /root/nvidia proc; mv /root/cards ."
        )


def test_everything_is_taken_back(fleet, manager, worker):
    fleet.shell(manager, "docker service rm alone small")
    nvidia(fleet, nvidia_state="absent")
    for host in (manager, worker):
        found = config(fleet, host)
        expected = {**BEFORE, "log-opts": {**BEFORE["log-opts"], "max-file": "3"}}
        assert {key: found[key] for key in BEFORE} == expected
        assert "runc" in fleet.shell(host, "docker info --format '{% raw %}{{.DefaultRuntime}}{% endraw %}'")
        assert "nvidia" not in fleet.shell(host, "apt-mark showhold")
        assert '#swarm-resource = "DOCKER_RESOURCE_GPU"' in fleet.shell(host, f"cat {CONFIG}")
        assert not fleet.shell(host, "ls /etc/apt/sources.list.d /etc/udev/rules.d | grep -i nvidia || true")
    run = nvidia(fleet, nvidia_state="absent")
    assert run.changed() == {manager: 0, worker: 0}


# An image with a shell and the few programs the tests ask, from the host's own.
SHELL_IMAGE = r"""
set -e
root=$(mktemp -d)
mkdir -p $root/bin $root/tmp
for program in sh sleep env grep cut tr sort cat; do
    path=$(readlink -f $(command -v $program))
    cp --parents $path $root
    [ -e $root/bin/$program ] || ln -s $path $root/bin/$program
    for library in $(ldd $path | grep -o '/[^ ]*'); do cp -L --parents $library $root; done
done
tar -C $root -c . > /tmp/shell.tar
docker import --change 'CMD ["sleep", "infinity"]' --change 'ENV PATH=/bin:/usr/bin' /tmp/shell.tar shell:1
rm -r $root
"""

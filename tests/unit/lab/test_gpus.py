# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pretend cards of the lab: who gets them, and which of them a container sees."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import json
import subprocess
import tarfile
import tomllib

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import parse

from lab import gpus
from lab.inventory import render_hosts
from lab.plan import plan_hosts
from lab.report import LabError

HOSTS = ["manager1", "worker1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("manager1=2", {"manager1": "2:a5000"}),
        ("manager1=2,worker1=1:t4", {"manager1": "2:a5000", "worker1": "1:t4"}),
    ],
)
def test_who_has_cards(text, expected):
    assert gpus.parse(text, HOSTS) == expected


@pytest.mark.parametrize("text", ["worker2=1", "manager1", "manager1=0", "manager1=17", "manager1=1:x9"])
def test_what_gives_no_host_cards_is_refused(text):
    with pytest.raises(LabError, match="gives no host cards"):
        gpus.parse(text, HOSTS)


def test_cards_are_the_same_whenever_a_lab_is_made():
    first, again = gpus.cards("lab", "manager1", "2:a5000"), gpus.cards("lab", "manager1", "2:a5000")
    assert first == again
    other = gpus.cards("lab", "worker1", "2:a5000")
    assert len({card.uuid for card in [*first, *other]}) == 4
    assert all(parse.UUID.fullmatch(card.uuid) for card in first)


def test_what_is_laid_over_the_kernel_reads_as_the_real_thing():
    cards = gpus.cards("lab", "manager1", "2:h100")
    files = gpus.files(cards)
    assert parse.parse_module_version(files[f"{gpus.HOME}/proc/nvidia/version"][0]) == (gpus.DRIVER, True)
    told = parse.parse_information(files[f"{gpus.HOME}/proc/nvidia/gpus/{cards[1].address}/information"][0])
    assert (told["uuid"], told["minor"], told["address"]) == (cards[1].uuid, 1, cards[1].address)
    with tarfile.open(fileobj=io.BytesIO(gpus.archive(cards))) as tar:
        link = tar.getmember(f"{gpus.HOME}/pci/{cards[0].address}/driver".lstrip("/"))
        assert link.issym()
        assert link.linkname.endswith("/nvidia")


def test_the_stand_in_of_nvidia_smi_reads_as_the_real_one(tmp_path):
    cards = gpus.cards("lab", "manager1", "2:a5000")
    for name in ("cards", "driver"):
        tmp_path.joinpath(name).write_text(gpus.files(cards)[f"{gpus.HOME}/{name}"][0])
    script = gpus.FILES.joinpath("nvidia-smi").read_text().replace(gpus.HOME, str(tmp_path))
    script = script.replace("/proc/driver", str(tmp_path))

    def ask(*arguments):
        command = ["sh", "-c", script, "nvidia-smi", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    told = parse.parse_smi_xml(ask("-q", "-x").stdout)
    assert [(card["uuid"], card["address"], card["memory_mib"]) for card in told["cards"]] == [
        (card.uuid, card.address, 24564) for card in cards
    ]
    assert told["driver_version"] == gpus.DRIVER
    compute = parse.parse_compute(ask("--query-gpu=uuid,compute_cap", "--format=csv,noheader").stdout)
    assert compute == {card.uuid: "8.6" for card in cards}
    assert [card["uuid"] for card in parse.parse_list(ask("-L").stdout)] == [card.uuid for card in cards]
    assert ask("--query-gpu=banana", "--format=csv").returncode == 2
    tmp_path.joinpath("cards").write_text("lost\n")
    lost = ask("-L")
    assert (lost.returncode, lost.stdout) == (255, "Failed to initialize NVML: Unknown Error\n")
    tmp_path.joinpath("nvidia").mkdir()
    tmp_path.joinpath("nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module  570.1.1  Release\n"
    )
    assert parse.parse_smi_error(ask("-q", "-x").stdout)[1] == gpus.DRIVER.rpartition(".")[0]


def runtime(release):
    """Load the stand-in of the runtime as a release of the toolkit."""
    loader = importlib.machinery.SourceFileLoader("runtime", str(gpus.FILES / "nvidia-container-runtime"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("runtime", loader))
    loader.exec_module(module)
    module.VERSION = release
    return module


GRANT = {"DOCKER_RESOURCE_GPU": "GPU-1", "NVIDIA_VISIBLE_DEVICES": "all"}
TOLD = 'swarm-resource = "DOCKER_RESOURCE_GPU"\n'


@pytest.mark.parametrize(
    ("release", "config", "environment", "expected"),
    [
        ("1.17.8", TOLD, GRANT, "GPU-1"),
        ("1.19.1", TOLD, GRANT, "GPU-1"),
        ("1.18.1", TOLD, GRANT, "all"),  # the regression
        ("1.18.1", TOLD + '[nvidia-container-runtime]\nmode = "legacy"\n', GRANT, "GPU-1"),
        ("1.19.1", '#swarm-resource = "DOCKER_RESOURCE_GPU"\n', GRANT, "all"),
        ("1.19.1", TOLD, {"DOCKER_RESOURCE_NVIDIA-GPU": "GPU-1", "NVIDIA_VISIBLE_DEVICES": "all"}, "all"),
        (
            "1.19.1",
            'swarm-resource = "DOCKER_RESOURCE_GPU,DOCKER_RESOURCE_BIG"\n',
            {"DOCKER_RESOURCE_BIG": "GPU-2"},
            "GPU-2",
        ),
        ("1.19.1", TOLD, {"NVIDIA_VISIBLE_DEVICES": "void"}, None),
        ("1.19.1", TOLD, {"NVIDIA_VISIBLE_DEVICES": "none"}, None),
        ("1.18.1", TOLD, {"NVIDIA_VISIBLE_DEVICES": "none"}, "all"),
        ("1.19.1", TOLD, {}, None),
    ],
)
def test_the_stand_in_of_the_runtime_chooses_as_the_real_one(release, config, environment, expected):
    assert runtime(release).chosen(tomllib.loads(config), environment) == expected


def test_a_container_gets_its_cards(tmp_path):
    module = runtime("1.19.1")
    module.CARDS, module.STATE, module.CONFIG = (
        str(tmp_path),
        str(tmp_path / "state"),
        str(tmp_path / "config.toml"),
    )
    cards = gpus.cards("lab", "manager1", "3:a5000")
    for name in ("cards", "driver"):
        tmp_path.joinpath(name).write_text(gpus.files(cards)[f"{gpus.HOME}/{name}"][0])
    tmp_path.joinpath("config.toml").write_text(TOLD)
    env = [f"DOCKER_RESOURCE_GPU={cards[2].uuid}"]
    tmp_path.joinpath("config.json").write_text(json.dumps({"process": {"env": env}, "mounts": []}))
    module.prepare(str(tmp_path), "c1")
    assert tmp_path.joinpath("state/c1/cards").read_text().split("|")[:2] == ["0", cards[2].uuid]
    mounts = json.loads(tmp_path.joinpath("config.json").read_text())["mounts"]
    assert [mount["destination"] for mount in mounts] == [str(tmp_path), "/usr/bin/nvidia-smi"]
    tmp_path.joinpath("config.json").write_text(
        json.dumps({"process": {"env": ["NVIDIA_VISIBLE_DEVICES=GPU-x"]}})
    )
    with pytest.raises(SystemExit, match="GPU-x: unknown device"):
        module.prepare(str(tmp_path), "c2")


def test_hosts_with_cards_are_in_the_group_gpu():
    text = render_hosts(plan_hosts(2, 1), "172.30.0.0/24", {"worker1": "1:t4"})
    assert "    gpu:\n      hosts:\n        worker1:\n" in text
    assert "    gpu:\n      hosts: {}\n" in render_hosts(plan_hosts(2, 1), "172.30.0.0/24")

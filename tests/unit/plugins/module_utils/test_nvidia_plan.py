# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is judged and planned from a reading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import kinds, plan, toolkit

from tests.unit.nvidia_host import KERNEL, UUIDS, WANTED, Machine, capture

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def make(machine, today="2026-11", installed=False, **wanted):
    return plan.make("node1", machine.read(), {**WANTED, **wanted}, today, installed)


def only_problem(machine, **wanted):
    problems = make(machine, **wanted)["problems"]
    assert len(problems) == 1, problems
    return str(problems[0])


def test_the_role_reads_the_files_the_plan_is_about():
    variables = yaml.safe_load((ROOT / "roles" / "nvidia" / "vars" / "main.yml").read_text(encoding="utf-8"))
    assert set(variables["_nvidia_files"]) == set(plan.FILES)
    assert variables["_nvidia_files"][0] == plan.RULES


# Hosts that are left alone


def test_a_host_without_a_card_is_left_alone(machine):
    for bus in ("81", "c1"):
        machine.card(f"0000:{bus}:00.0", vendor="8086")
    machine.remove("usr/bin/nvidia-smi")
    found = make(machine)
    assert found["skipped"] == "node1 is in group gpu but has no NVIDIA card on its PCI bus: left alone."
    assert {key for key, value in found.items() if value} == {"skipped"}


def test_docker_desktop_is_left_alone_and_told_why(machine):
    machine.write("proc/version", "Linux version 6.10.14-linuxkit")
    assert "brings the container toolkit itself" in make(machine)["skipped"]


# Verdicts before anything is changed: each names what helps


def unloaded(machine):
    machine.remove("proc/driver/nvidia/version")
    machine.answers["nvidia-smi -q -x"] = (9, "NVIDIA-SMI has failed because it couldn't communicate", "")


def no_module(machine):
    unloaded(machine)
    machine.write(f"lib/modules/{KERNEL}/modules.dep", "")


def no_dkms_build(machine):
    no_module(machine)
    machine.root.joinpath(f"lib/modules/{KERNEL}/build").mkdir()


def refused_by_secure_boot(machine):
    unloaded(machine)
    machine.write(
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06\0\0\0\x01"
    )


def nouveau(machine):
    machine.bare()
    for bus in ("81", "c1"):
        machine.card(f"0000:{bus}:00.0", driver="nouveau")


def mismatch(machine):
    machine.answers["nvidia-smi -q -x"] = (18, capture("mismatch.txt"), "")
    machine.remove("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.590.44.01")
    machine.write("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.590.48.01", "")


def silent(machine):
    machine.answers["nvidia-smi -q -x"] = (255, "Failed to initialize NVML: Unknown Error\n", "")


def one_card_lost(machine):
    text = capture("smi_590_two.xml")
    machine.answers["nvidia-smi -q -x"] = (
        0,
        text[: text.index('	<gpu id="00000000:C1')] + "</nvidia_smi_log>",
        "",
    )


def wsl2_without_driver(machine):
    machine.bare()
    machine.write("proc/version", "Linux version 5.15.153.1-microsoft-standard-WSL2")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Machine.bare, ["a card and no driver", "Ampere at 0000:81:00.0", "nvidia_driver: install"]),
        (nouveau, ["nouveau drives the card", "nvidia_driver: install"]),
        (mismatch, ["driver 590.44.01 loaded", "disk are 590.48.01", "nvidia_reboot: true"]),
        (unloaded, ["not loaded", "`sudo modprobe nvidia`"]),
        (no_module, ["headers are missing", f"apt install linux-headers-{KERNEL}"]),
        (no_dkms_build, [f"no module for kernel {KERNEL},", f"dkms autoinstall --kernelver {KERNEL}"]),
        (refused_by_secure_boot, ["secure boot on", "mokutil --import /var/lib/dkms/mok.pub"]),
        (silent, ["Failed to initialize NVML: Unknown Error", "dmesg"]),
        (one_card_lost, ["does not serve a card (node1, 0000:c1:00.0)", "grep -i xid"]),
        (wsl2_without_driver, ["the driver of Windows", "wsl --shutdown"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_with_a_driver_is_told_with_what_helps(machine, fault, words):
    fault(machine)
    text = only_problem(machine)
    assert [word for word in words if word not in text] == [], text


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            {},
            [
                "branch of the driver is not chosen",
                "580 (long-term support, to 2028-06)",
                "nvidia_driver_branch",
            ],
        ),
        ({"driver_branch": "latest"}, ["found latest", "nvidia_driver_branch"]),
    ],
    ids=["none", "no number"],
)
def test_a_driver_is_installed_only_of_a_chosen_branch(machine, wanted, words):
    machine.bare()
    text = only_problem(machine, driver="install", **wanted)
    assert [word for word in words if word not in text] == [], text


def test_a_branch_that_does_not_run_the_card(machine):
    machine.bare()
    for bus in ("81", "c1"):
        machine.card(f"0000:{bus}:00.0", device="1b06", driver=None)
    found = make(machine, driver="install", driver_branch="595", driver_modules="proprietary")
    assert len(found["problems"]) == 2
    assert "580 is the last branch for Pascal" in str(found["problems"][0])


def test_secure_boot_stops_an_installation_until_the_key_is_enrolled(machine):
    machine.bare()
    machine.write(
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06\0\0\0\x01"
    )
    text = only_problem(machine, driver="install", driver_branch="580")
    assert "nvidia_secure_boot_enrolled: true" in text
    assert make(machine, driver="install", driver_branch="580", secure_boot_enrolled=True)["problems"] == []


def test_what_an_installation_did_not_settle_is_a_problem(machine):
    machine.bare()
    assert make(machine, driver="install", driver_branch="580")["problems"] == []
    found = make(machine, driver="install", driver_branch="580", installed=True)["problems"]
    assert "a card and no driver" in str(found[0])


def test_branches_that_have_ended_and_unknown_ones_are_told(machine):
    assert make(machine)["warnings"] == [
        "Driver branch 590 on node1 is none that NVIDIA lists as kept up to date."
    ]
    found = make(machine, driver="install", driver_branch="535")["warnings"]
    assert found == ["Driver branch 535 on node1 got its last update in 2026-06."]


def test_a_runtime_that_is_not_the_default_is_told(machine):
    assert any("not the default" in text for text in make(machine, default_runtime=False)["warnings"])


# The plan


def test_a_host_without_the_toolkit(machine):
    found = make(machine)
    assert found["problems"] == []
    assert found["toolkit"]["install"] == [f"{name}=1.19.*" for name in plan.TOOLKIT_PACKAGES]
    assert found["daemon"] == {
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}},
        "default-runtime": "nvidia",
        "node-generic-resources": [f"GPU={uuid}" for uuid in UUIDS],
    }
    assert {one["path"] for one in found["files"]} == {plan.RULES, plan.TOOLKIT_PIN, plan.NO_UPGRADES}
    assert found["links"] is True
    assert found["driver"] == {}
    assert found["reboot"] == ""


def finish(machine, **wanted):
    """Carry a plan's files out, as the role does."""
    for one in make(machine, **wanted)["files"]:
        path = one["path"].lstrip("/")
        machine.remove(path) if one["content"] is None else machine.write(path, one["content"])
    for minor in (0, 1):
        machine.root.joinpath("dev/char").mkdir(parents=True, exist_ok=True)
        machine.root.joinpath(f"dev/char/195:{minor}").symlink_to(f"../nvidia{minor}")


def test_a_second_run_has_nothing_to_do(machine):
    machine.toolkit("1.19.1")
    finish(machine)
    found = make(machine)
    assert {key for key, value in found.items() if value} == {
        "warnings",
        "toolkit",
        "units",
        "labels",
        "daemon",
    }
    assert found["toolkit"]["install"] == []


def test_toolkit_1_18_gets_its_workaround_and_loses_it_after_an_upgrade(machine):
    wanted = {"toolkit_version": "1.18.*"}
    machine.toolkit("1.18.1")
    found = make(machine, **wanted)
    assert found["toolkit"]["deaf"] is True
    assert any("its mode becomes legacy" in text for text in found["actions"])
    finish(machine, **wanted)
    config = machine.read()["toolkit"]
    assert (config["mode"], config["swarm_resource"]) == ("legacy", ["DOCKER_RESOURCE_GPU"])
    assert make(machine, **wanted)["files"] == []
    upgrade = make(machine)
    assert upgrade["toolkit"]["install"] == [f"{name}=1.19.*" for name in plan.TOOLKIT_PACKAGES]
    machine.toolkit("1.19.1", config=config["config_text"])
    after = {one["path"]: one["content"] for one in make(machine)["files"]}
    assert 'mode = "auto"' in after[toolkit.PATH]
    assert toolkit.NOTE not in after[toolkit.PATH]


def test_kinds_of_cards(machine):
    rules = [
        {"kind": "BIG", "memory_min_mib": 40000},
        {"kind": "A5000", "name": "*rtx a5000*", "memory_max_mib": 30000},
    ]
    machine.toolkit("1.19.1")
    found = make(machine, kinds=rules)
    assert found["daemon"]["node-generic-resources"] == [f"A5000={uuid}" for uuid in UUIDS]
    config = next(one["content"] for one in found["files"] if one["path"] == toolkit.PATH)
    assert 'swarm-resource = "DOCKER_RESOURCE_GPU,DOCKER_RESOURCE_BIG,DOCKER_RESOURCE_A5000"' in config
    assert found["labels"]["gpufleet.gpu.kind.A5000"] == "2"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"default_kind": "NVIDIA-GPU"}, ["found NVIDIA-GPU", "letters, digits and underscores"]),
        ({"kinds": [{"kind": "gpu", "name": "*"}]}, ["differ in capitals only", "DOCKER_RESOURCE_GPU"]),
        ({"kinds": [{"kind": "BIG"}]}, ["fits every card", "memory_min_mib"]),
    ],
    ids=["hyphen", "capitals", "no condition"],
)
def test_kinds_that_would_not_work(machine, wanted, words):
    text = only_problem(machine, **wanted)
    assert [word for word in words if word not in text] == [], text


@pytest.mark.parametrize(("shared", "granted"), [([UUIDS[0]], [UUIDS[1]]), (["all"], [])])
def test_shared_cards_are_not_granted(machine, shared, granted):
    found = make(machine, shared=shared)
    assert found["daemon"].get("node-generic-resources", []) == [f"GPU={uuid}" for uuid in granted]
    assert found["labels"]["gpufleet.gpu.0"] == f"{UUIDS[0]} GPU 24564 8.6 shared NVIDIA RTX A5000"


def test_what_labels_say_can_be_read_back(machine):
    found = make(machine, shared=[UUIDS[1]])
    assert kinds.units_of(found["labels"]) == [
        {key: unit[key] for key in ("uuid", "kind", "memory_mib", "compute", "shared", "name")}
        for unit in found["units"]
    ]
    assert kinds.units_of({"gpufleet.gpu.0": "nonsense"}) == []


def test_the_parts_of_a_card_are_granted_and_not_the_card(machine):
    machine.answers["nvidia-smi -q -x"] = (0, capture("smi_535_mig.xml"), "")
    machine.answers["nvidia-smi -L"] = (0, capture("list_mig.txt"), "")
    for bus in ("81", "c1"):
        machine.card(f"0000:{bus}:00.0", vendor="8086")
    machine.card("0000:01:00.0", device="20b2")
    found = make(machine, kinds=[{"kind": "SMALL", "memory_max_mib": 20000}])
    assert found["daemon"]["node-generic-resources"] == [
        "SMALL=MIG-0e3b6f5e-1111-5c1e-8f1d-2a52c5a2f9aa",
        "GPU=MIG-0e3b6f5e-2222-5c1e-8f1d-2a52c5a2f9aa",
    ]


def test_resources_of_other_things_stay_and_cards_under_other_kinds_go(machine):
    machine.write(
        "etc/docker/daemon.json",
        json.dumps({"node-generic-resources": ["SSD=1", f"NVIDIA-GPU={UUIDS[0]}", "GPU=GPU-00000000-gone"]}),
    )
    assert make(machine)["daemon"]["node-generic-resources"] == ["SSD=1", *(f"GPU={uuid}" for uuid in UUIDS)]
    machine.write("etc/docker/daemon.json", "{")
    assert make(machine)["daemon"]["node-generic-resources"] == [f"GPU={uuid}" for uuid in UUIDS]


def test_the_driver_is_installed_without_its_desktop_half(machine):
    machine.bare()
    found = make(machine, driver="install", driver_branch="580", cuda_toolkit="12.8")
    assert found["driver"] == {
        "install": [
            f"linux-headers-{KERNEL}",
            "nvidia-driver-cuda",
            "nvidia-kernel-open-dkms",
            "cuda-toolkit-12-8",
        ],
        "driver": True,
        "folder": "debian12/x86_64",
        "key": "3bf863cc.pub",
    }
    assert found["reboot"] == "a driver is loaded by a reboot"
    written = {one["path"]: one["content"] for one in found["files"]}
    assert "Pin: version 580.*" in written[plan.DRIVER_PIN]
    assert "blacklist nouveau" in written[plan.NO_NOUVEAU]


def test_a_driver_of_the_wanted_branch_is_left_alone(machine):
    found = make(machine, driver="install", driver_branch="590")
    assert found["driver"]["install"] == []
    assert found["reboot"] == ""


def test_a_mismatch_is_settled_by_a_reboot_where_one_is_allowed(machine):
    mismatch(machine)
    found = make(machine, reboot=True)
    assert found["problems"] == []
    assert "driver 590.44.01 loaded" in found["reboot"]


def test_wsl2_takes_the_usual_path_without_the_driver(machine):
    wsl2_without_driver(machine)
    machine.write("usr/lib/wsl/lib/nvidia-smi", "")
    machine.answers["nvidia-smi -q -x"] = (0, capture("smi_wsl2.xml"), "")
    for bus in ("81", "c1"):
        machine.remove(f"sys/bus/pci/devices/0000:{bus}:00.0/vendor")
    found = make(machine, driver="install", driver_branch="580")
    assert found["problems"] == []
    assert found["driver"] == {}
    assert [one["path"] for one in found["files"]] == [plan.TOOLKIT_PIN]
    assert any("comes with Windows" in text for text in found["warnings"])


def test_old_sources_go_and_packages_are_held(machine):
    machine.toolkit("1.19.1", held=False)
    machine.write(
        "etc/apt/sources.list.d/nvidia-docker.list", "deb https://nvidia.github.io/nvidia-docker /\n"
    )
    machine.write(
        "etc/apt/sources.list.d/cuda-debian12-x86_64.list", "deb https://developer.download.nvidia.com /\n"
    )
    with machine.root.joinpath("var/lib/dpkg/status").open("a") as file:
        file.write("\nPackage: libnvidia-compute\nStatus: install ok installed\nVersion: 590.44.01-1\n")
    found = make(machine)
    removed = [one["path"] for one in found["files"] if one["content"] is None]
    # The repository of drivers is not ours to manage as long as we install none.
    assert removed == ["/etc/apt/sources.list.d/nvidia-docker.list"]
    assert found["hold"] == sorted([*plan.TOOLKIT_PACKAGES, "libnvidia-compute"])
    assert make(machine, driver_hold=False, toolkit_hold=False)["hold"] == []


def test_everything_is_taken_back(machine):
    machine.toolkit("1.18.1")
    before = machine.read()["toolkit"]["config_text"]
    finish(machine, toolkit_version="1.18.*")
    found = make(machine, state="absent")
    assert {one["path"] for one in found["files"]} == {
        plan.RULES,
        plan.TOOLKIT_PIN,
        plan.NO_UPGRADES,
        toolkit.PATH,
    }
    assert next(one["content"] for one in found["files"] if one["path"] == toolkit.PATH) == before
    assert found["release"] == sorted(plan.TOOLKIT_PACKAGES)
    assert found["labels"] == {}


def test_runtime_alone(machine):
    assert make(machine, advertise=False)["daemon"] == {
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}},
        "default-runtime": "nvidia",
    }

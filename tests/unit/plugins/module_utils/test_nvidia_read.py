# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a host, on a folder that stands for one."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import read

from tests.unit.nvidia_host import KERNEL, UUIDS, Machine, capture


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_host_with_two_cards(machine):
    machine.toolkit("1.19.1")
    found = machine.read(files=["/etc/docker/daemon.json"])
    assert [card["uuid"] for card in found["cards"]] == UUIDS
    assert found["cards"][0] == {
        "address": "0000:81:00.0",
        "device_id": "2231",
        "pci_driver": "nvidia",
        "generation": "Ampere",
        "uuid": UUIDS[0],
        "name": "NVIDIA RTX A5000",
        "memory_mib": 24564,
        "compute": "8.6",
        "minor": 1,
        "linked": False,
        "mig": None,
        "mig_devices": [],
    }
    driver = found["driver"]
    assert (driver["version"], driver["cuda_version"], driver["mismatch"]) == ("590.44.01", "13.1", False)
    assert (driver["module_open"], driver["module_file"]) == (
        True,
        f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz",
    )
    assert found["toolkit"]["version"] == "1.19.1"
    assert found["toolkit"]["runtime"] == "/usr/bin/nvidia-container-runtime"
    assert found["platform"] == "native"
    assert found["files"] == {"/etc/docker/daemon.json": None}
    assert machine.asked == [
        "nvidia-smi -q -x",
        "nvidia-smi --query-gpu=uuid,compute_cap --format=csv,noheader",
        "nvidia-ctk --version",
    ]


def test_cards_are_found_without_a_driver(machine):
    machine.bare()
    machine.card("0000:81:00.1", device="1aef", kind="040300")  # the card's audio
    machine.card("0000:00:02.0", device="3e92", vendor="8086")  # somebody else's graphics
    found = machine.read()
    assert [(card["address"], card["generation"], card["uuid"]) for card in found["cards"]] == [
        ("0000:81:00.0", "Ampere", None),
        ("0000:c1:00.0", "Ampere", None),
    ]
    assert found["driver"]["installed"] is False
    assert machine.asked == []


def test_an_upgrade_without_a_reboot(machine):
    machine.answers["nvidia-smi -q -x"] = (18, capture("mismatch.txt"), "")
    machine.remove("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.590.44.01")
    machine.write("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.173.02", "")
    driver = machine.read()["driver"]
    assert driver["mismatch"] is True
    assert (driver["module_version"], driver["library_version"]) == ("590.44.01", "580.173.02")
    assert driver["error"] == "Failed to initialize NVML: Driver/library version mismatch"


def test_the_kernel_knows_cards_when_the_program_fails(machine):
    machine.answers["nvidia-smi -q -x"] = (None, "", "no answer within 60 s")
    text = capture("information").replace("0000:62:00.0", "0000:81:00.0")
    machine.write("proc/driver/nvidia/gpus/0000:81:00.0/information", text)
    found = machine.read()
    assert found["cards"][0]["uuid"] == "GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b"
    assert found["driver"]["error"] == "no answer within 60 s"


def test_the_parts_of_a_card(machine):
    machine.answers["nvidia-smi -q -x"] = (0, capture("smi_535_mig.xml"), "")
    machine.answers["nvidia-smi -L"] = (0, capture("list_mig.txt"), "")
    card = next(card for card in machine.read()["cards"] if card["address"] == "0000:01:00.0")
    assert card["mig_devices"] == [
        {
            "index": 0,
            "memory_mib": 19968,
            "profile": "1g.20gb",
            "uuid": "MIG-0e3b6f5e-1111-5c1e-8f1d-2a52c5a2f9aa",
        },
        {
            "index": 1,
            "memory_mib": 40192,
            "profile": "3g.40gb",
            "uuid": "MIG-0e3b6f5e-2222-5c1e-8f1d-2a52c5a2f9aa",
        },
    ]


def test_wsl2_has_no_bus_and_its_program_elsewhere(machine):
    machine.bare()
    for bus in ("81", "c1"):
        machine.remove(f"sys/bus/pci/devices/0000:{bus}:00.0/vendor")
    machine.write("proc/version", "Linux version 5.15.153.1-microsoft-standard-WSL2")
    machine.write("usr/lib/wsl/lib/nvidia-smi", "")
    machine.answers["nvidia-smi -q -x"] = (0, capture("smi_wsl2.xml"), "")
    found = machine.read()
    assert found["platform"] == "wsl2"
    assert [card["name"] for card in found["cards"]] == ["NVIDIA GeForce RTX 4070 Laptop GPU"]
    assert found["cards"][0]["linked"] is None
    assert found["driver"]["loaded"] is False
    assert found["driver"]["version"] == found["driver"]["library_version"] == "566.36"


def test_docker_desktop_in_wsl2(machine):
    machine.write("proc/version", "Linux version 5.15.153.1-microsoft-standard-WSL2")
    machine.root.joinpath("mnt/wsl/docker-desktop").mkdir(parents=True)
    assert machine.read()["platform"] == "docker_desktop"


@pytest.mark.parametrize(("end", "signed"), [(read.SIGNATURE, True), (b"\0" * 64, False)])
def test_whether_a_module_is_signed(machine, end, signed):
    machine.write(f"lib/modules/{KERNEL}/modules.dep", "updates/dkms/nvidia.ko:\n")
    machine.write(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko", b"\x7fELF" + end)
    assert machine.read()["driver"]["module_signed"] is signed


def test_nouveau_secure_boot_and_links(machine):
    machine.write("proc/modules", "nouveau 2424832 1 - Live 0xffffffffc0000000\n")
    machine.write(read.SECURE_BOOT, b"\x06\0\0\0\x01")
    machine.root.joinpath("dev/char").mkdir(parents=True)
    machine.root.joinpath("dev/char/195:1").symlink_to("../nvidia1")
    found = machine.read()
    assert found["driver"]["nouveau"] is True
    assert found["driver"]["secure_boot"] is True
    assert [card["linked"] for card in found["cards"]] == [True, False]


def test_a_program_that_cannot_be_started_is_told_and_not_raised():
    assert read.run(["/nonexistent/nvidia-smi"])[0] is None

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers of NVIDIA's tools, on texts in the form of real captures (fixtures/nvidia/README.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import parse

CAPTURES = Path(__file__).resolve().parents[2] / "fixtures" / "nvidia"


def capture(name):
    return (CAPTURES / name).read_text(encoding="utf-8")


def test_every_capture_says_where_its_form_comes_from():
    listed = capture("README.md")
    files = {path.name for path in CAPTURES.iterdir()} - {"README.md"}
    assert {name for name in files if f"`{name}`" not in listed} == set()


def test_the_log_of_two_cards():
    told = parse.parse_smi_xml(capture("smi_590_two.xml"))
    assert told["driver_version"] == "590.44.01"
    assert told["cuda_version"] == "13.1"
    assert told["cards"] == [
        {
            "address": f"0000:{bus}:00.0",
            "uuid": f"GPU-12345678-aaaa-bbbb-cccc-0123456789a{end}",
            "name": "NVIDIA RTX A5000",
            "memory_mib": 24564,
            "minor": minor,
            "mig": None,
            "mig_devices": [],
        }
        for bus, end, minor in (("81", "b", 1), ("c1", "c", 0))
    ]


def test_the_log_of_a_card_in_parts_tells_the_memory_of_the_whole_and_of_each():
    card = parse.parse_smi_xml(capture("smi_535_mig.xml"))["cards"][0]
    assert card["mig"] is True
    assert card["memory_mib"] == 81920
    assert card["mig_devices"] == [{"index": 0, "memory_mib": 19968}, {"index": 1, "memory_mib": 40192}]


def test_the_log_on_wsl2_has_no_minor_number():
    card = parse.parse_smi_xml(capture("smi_wsl2.xml"))["cards"][0]
    assert card["minor"] is None
    assert card["uuid"] == "GPU-1b724e78-eef5-4163-d43c-e4da15d41176"


@pytest.mark.parametrize("text", ["", None, "Failed to initialize NVML: Unknown Error", "cut"], ids=repr)
def test_what_is_no_log_is_none_and_not_an_empty_one(text):
    text = capture("smi_590_two.xml")[:900] if text == "cut" else text
    assert parse.parse_smi_xml(text) is None


def test_a_card_whose_values_are_missing_is_not_a_card_without_memory():
    text = capture("smi_590_two.xml").replace("24564 MiB", "[Unknown Error]").replace("A5000<", "<")
    card = parse.parse_smi_xml(text)["cards"][0]
    assert card["memory_mib"] is None


def test_compute_capabilities():
    assert parse.parse_compute(capture("compute.csv")) == {
        "GPU-12345678-aaaa-bbbb-cccc-0123456789ab": "8.6",
        "GPU-12345678-aaaa-bbbb-cccc-0123456789ac": "8.6",
    }


def test_an_old_driver_does_not_know_compute_capabilities():
    assert parse.parse_compute('Field "compute_cap" is not a valid field to query.\n') == {}


def test_the_list_of_cards_and_their_parts():
    first, second = parse.parse_list(capture("list_mig.txt"))
    assert first["uuid"] == "GPU-513536b6-7d19-9063-b049-1e69664bb298"
    assert first["mig_devices"] == [
        {"profile": "1g.20gb", "index": 0, "uuid": "MIG-0e3b6f5e-1111-5c1e-8f1d-2a52c5a2f9aa"},
        {"profile": "3g.40gb", "index": 1, "uuid": "MIG-0e3b6f5e-2222-5c1e-8f1d-2a52c5a2f9aa"},
    ]
    assert second["index"] == 1
    assert second["mig_devices"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (capture("mismatch.txt"), ("Failed to initialize NVML: Driver/library version mismatch", "580.173")),
        ("Failed to initialize NVML: Unknown Error\n", ("Failed to initialize NVML: Unknown Error", None)),
        ("\n", (None, None)),
    ],
    ids=["mismatch", "lost", "silent"],
)
def test_what_a_failed_program_says(text, expected):
    assert parse.parse_smi_error(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (capture("version_open"), ("580.95.05", True)),
        (capture("version_proprietary"), ("550.135", False)),
        ("", (None, None)),
        (None, (None, None)),
        ("GCC version:  gcc version 11.4.0\n", (None, None)),
    ],
    ids=["open", "proprietary", "empty", "missing", "other"],
)
def test_the_loaded_module(text, expected):
    assert parse.parse_module_version(text) == expected


def test_what_the_kernel_tells_of_a_card():
    assert parse.parse_information(capture("information")) == {
        "uuid": "GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b",
        "name": "NVIDIA H100 80GB HBM3",
        "address": "0000:62:00.0",
        "minor": 5,
        "excluded": False,
    }


def test_a_card_that_was_not_initialised_yet_has_no_uuid():
    text = capture("information").replace("GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b", "GPU-????????-????")
    assert parse.parse_information(text)["uuid"] is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["libnvidia-ml.so", "libnvidia-ml.so.1", "libnvidia-ml.so.580.95.05"], "580.95.05"),
        (["libnvidia-ml.so.570.86.15", "libnvidia-ml.so.1580.1", "libnvidia-ml.so.580.9"], "580.9"),
        (["libnvidia-ml.so.1", "libc.so.6"], None),
    ],
    ids=["one", "two", "none"],
)
def test_the_version_of_the_libraries(names, expected):
    assert parse.parse_library_versions(names) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (capture("ctk_1.17.8.txt"), "1.17.8"),
        ("NVIDIA Container Toolkit CLI version 1.19.0-rc.2\n", "1.19.0-rc.2"),
        ("nvidia-ctk: error while loading shared libraries\n", None),
    ],
)
def test_the_version_of_the_toolkit(text, expected):
    assert parse.parse_toolkit_version(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (capture("config_1.20.toml"), (True, [], "auto")),
        (capture("config_1.13.toml"), (True, [], "auto")),
        (
            'swarm-resource = "DOCKER_RESOURCE_GPU, DOCKER_RESOURCE_H100"\n',
            (True, ["DOCKER_RESOURCE_GPU", "DOCKER_RESOURCE_H100"], "auto"),
        ),
        ('[nvidia-container-runtime]\nmode = "legacy"\n', (True, [], "legacy")),
        ("disable-require = falseswarm\n", (False, [], None)),
        (None, (True, [], "auto")),
    ],
    ids=["1.20", "1.13", "two kinds", "legacy", "broken", "missing"],
)
def test_the_configuration_of_the_toolkit(text, expected):
    found = parse.parse_toolkit_config(text)
    assert (found["readable"], found["swarm_resource"], found["mode"]) == expected


def test_the_installed_packages():
    assert parse.parse_packages(capture("dpkg_status"), lambda name: "nvidia" in name) == {
        "nvidia-container-toolkit": {"version": "1.18.1-1", "held": True},
        "libnvidia-compute": {"version": "580.95.05-1", "held": False},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Linux version 5.15.153.1-microsoft-standard-WSL2 (root@941d701f84f1) (gcc (GCC) 11.2.0)", "wsl2"),
        ("Linux version 6.10.14-linuxkit (root@buildkitsandbox) (gcc (Alpine 13.2.1) 13.2.1)", "linuxkit"),
        (
            "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14))",
            "linux",
        ),
        (None, "linux"),
    ],
)
def test_whose_kernel_it_is(text, expected):
    assert parse.parse_kernel_version(text) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False), (b"\x06", None), (None, None)],
)
def test_secure_boot(data, expected):
    assert parse.parse_secure_boot(data) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("updates/dkms/nvidia.ko.xz: kernel/drivers/acpi/video.ko.xz\n", "updates/dkms/nvidia.ko.xz"),
        ("updates/dkms/nvidia-drm.ko: updates/dkms/nvidia.ko\n", None),
        (None, None),
    ],
)
def test_where_the_module_is(text, expected):
    assert parse.module_path(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00000000:4F:00.0", "0000:4f:00.0"),
        ("0000:62:00.0", "0000:62:00.0"),
        ("10DE:2330", None),
        (None, None),
    ],
)
def test_pci_addresses_in_the_kernels_form(text, expected):
    assert parse.pci_address(text) == expected

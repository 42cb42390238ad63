# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of NVIDIA's tools and of the kernel, turned into plain data. Private: may change in any release.

Nothing here reads a file or starts a program. What cannot be read in a text is None, never a guess: a card
that answers "[N/A]" or an output that ends in the middle must not look like a card without memory.
"""

from __future__ import annotations

import re
import tomllib
from xml.etree import ElementTree

from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.versions import version_key

UUID = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MIG_UUID = re.compile(r"MIG-[0-9A-Za-z/-]+")
VENDOR = "10de"  # NVIDIA's number among the PCI vendors
DISPLAY_CLASS = "03"  # PCI base class of display controllers; audio and USB parts of a card have others
MISSING = {"", "n/a", "[n/a]", "[not supported]", "[unknown error]", "none"}


def given(text):
    """Return a value of NVIDIA's tools without blanks, or None where they say that there is none."""
    text = (text or "").strip()
    return None if text.casefold() in MISSING else text


def mebibytes(text):
    """Return the number of a text such as "24564 MiB", or None."""
    found = re.match(r"\s*(\d+)(?:\s*MiB)?\s*$", text or "")
    return int(found.group(1)) if found else None


def pci_address(text):
    """Return a PCI address as the kernel writes it.

    NVIDIA's tools write a domain of eight digits in capitals ("00000000:4F:00.0"), the kernel four in small
    letters ("0000:4f:00.0").
    """
    found = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", (text or "").strip().lower())
    return f"{int(found.group(1), 16):04x}:{found.group(2)}" if found else None


def parse_smi_xml(text):
    """Return what `nvidia-smi -q -x` tells ({driver_version, cuda_version, cards}), or None.

    Of each card: address, uuid, name, memory_mib, minor, mig (None where the card knows no MIG) and
    mig_devices [{index, memory_mib}], whose UUIDs only `nvidia-smi -L` tells.
    """
    start = (text or "").find("<nvidia_smi_log")
    if start < 0:
        return None
    try:
        log = ElementTree.fromstring(text[start:])
    except ElementTree.ParseError:
        return None
    return {
        "driver_version": given(log.findtext("driver_version")),
        "cuda_version": given(log.findtext("cuda_version")),
        "cards": [_xml_card(element) for element in log.iter("gpu")],
    }


def _xml_card(element):
    mig = given(element.findtext("mig_mode/current_mig"))
    minor = given(element.findtext("minor_number"))
    return {
        "address": pci_address(element.get("id")),
        "uuid": given(element.findtext("uuid")),
        "name": given(element.findtext("product_name")),
        "memory_mib": mebibytes(element.findtext("fb_memory_usage/total")),
        "minor": int(minor) if minor and minor.isdigit() else None,
        "mig": None if mig is None else mig == "Enabled",
        "mig_devices": [
            {
                "index": int(device.findtext("index")),
                "memory_mib": mebibytes(device.findtext("fb_memory_usage/total")),
            }
            for device in element.iter("mig_device")
            if (device.findtext("index") or "").strip().isdigit()
        ],
    }


def parse_compute(text):
    """Return {uuid: compute capability} of `nvidia-smi --query-gpu=uuid,compute_cap --format=csv,noheader`.

    Drivers before 510 do not know the field; they end with an error, whose text has no such line.
    """
    rows = (line.split(",") for line in (text or "").splitlines())
    return {
        row[0].strip(): row[1].strip()
        for row in rows
        if len(row) == 2 and UUID.fullmatch(row[0].strip()) and re.fullmatch(r"\s*\d+\.\d+\s*", row[1])
    }


def parse_list(text):
    """Return `nvidia-smi -L` as [{index, name, uuid, mig_devices: [{index, profile, uuid}]}]."""
    cards = []
    for line in (text or "").splitlines():
        card = re.match(r"GPU (\d+): (.+?) \(UUID: (GPU-[0-9a-fA-F-]+)\)", line)
        if card:
            cards.append(
                {
                    "index": int(card[1]),
                    "name": card[2],
                    "uuid": card[3].replace("gpu-", "GPU-"),
                    "mig_devices": [],
                }
            )
            continue
        part = re.match(r"\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)", line)
        if part and cards:
            cards[-1]["mig_devices"].append({"profile": part[1], "index": int(part[2]), "uuid": part[3]})
    return cards


def parse_smi_error(text):
    """Return (sentence, library version or None) of a failed nvidia-smi.

    It writes "Failed to initialize NVML: REASON", from driver 535 on followed by "NVML library version: X".
    """
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    version = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("NVML library version:")), None
    )
    said = [line for line in lines if not line.startswith("NVML library version:")]
    return (said[0].rstrip(".") if said else None), version


def parse_module_version(text):
    """Return (version, whether it is the open module) of /proc/driver/nvidia/version, or (None, None)."""
    line = re.search(r"^NVRM version:\s*(.*)$", text or "", re.MULTILINE)
    found = re.search(r"\b(\d{3}(?:\.\d+){1,2})\b", line.group(1)) if line else None
    return (found.group(1), "Open Kernel Module" in line.group(1)) if found else (None, None)


def parse_information(text):
    """Return {uuid, name, address, minor, excluded} of /proc/driver/nvidia/gpus/ADDRESS/information."""
    values = {}
    for line in (text or "").splitlines():
        key, found, value = line.partition(":")
        if found:
            values[key.strip()] = value.strip()
    uuid = values.get("GPU UUID", "")
    minor = values.get("Device Minor", "")
    return {
        # A card that has not been initialised yet shows question marks.
        "uuid": uuid if UUID.fullmatch(uuid) else None,
        "name": given(values.get("Model")),
        "address": pci_address(values.get("Bus Location")),
        "minor": int(minor) if minor.isdigit() else None,
        "excluded": values.get("GPU Excluded") == "Yes",
    }


def parse_library_versions(names):
    """Return the version in the names of libnvidia-ml.so.VERSION files, the highest first, or None."""
    found = [re.fullmatch(r"libnvidia-ml\.so\.(\d{3}(?:\.\d+)+)", name) for name in names]
    versions = sorted((match.group(1) for match in found if match), key=version_key, reverse=True)
    return versions[0] if versions else None


def parse_toolkit_version(text):
    """Return the version in the first line of `nvidia-ctk --version`, or None."""
    found = re.search(
        r"^NVIDIA Container Toolkit CLI version (\d+\.\d+\.\d+(?:[-~]rc\.\d+)?)", text or "", re.MULTILINE
    )
    return found.group(1) if found else None


def parse_toolkit_config(text):
    """Return {readable, swarm_resource, mode} of the toolkit's config.toml, or of no text at all.

    swarm_resource  the names of variables it lists, empty where the key is commented out
    mode            of the runtime; the toolkit's own default is "auto"
    """
    try:
        config = tomllib.loads(text or "")
    except tomllib.TOMLDecodeError:
        return {"readable": False, "swarm_resource": [], "mode": None}
    runtime = config.get("nvidia-container-runtime")
    resource = config.get("swarm-resource")
    return {
        "readable": True,
        "swarm_resource": [name.strip() for name in str(resource or "").split(",") if name.strip()],
        "mode": str(runtime.get("mode") or "auto") if isinstance(runtime, dict) else "auto",
    }


def parse_packages(text, wanted):
    """Return {name: {version, held}} of the installed packages in dpkg's status file that are wanted.

    Format: deb-status in dpkg(1); the three words of Status are what is wanted, an error, and the state.
    """
    packages = {}
    for block in re.split(r"\n\n+", text or ""):
        name = re.match(r"Package: (\S+)", block)
        if not name or not wanted(name[1]):
            continue
        status = re.search(r"^Status: (\S+) (\S+) (\S+)$", block, re.MULTILINE)
        version = re.search(r"^Version: (\S+)$", block, re.MULTILINE)
        if status and status[3] == "installed" and version:
            packages[name[1]] = {"version": version[1], "held": status[1] == "hold"}
    return packages


def parse_kernel_version(text):
    """Return "wsl2", "linuxkit" or "linux": whose kernel /proc/version is of.

    WSL2: "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@...)". Docker Desktop's own virtual machine
    names linuxkit.
    """
    text = (text or "").casefold()
    if "microsoft" in text:
        return "wsl2"
    return "linuxkit" if "linuxkit" in text else "linux"


def parse_secure_boot(data):
    """Return whether the EFI variable SecureBoot says that it is on: four bytes of attributes, then one."""
    return data[4] == 1 if data is not None and len(data) >= 5 else None


def module_path(dependencies, name="nvidia"):
    """Return where depmod's modules.dep has a module, relative to its folder, or None."""
    found = re.search(rf"^((?:\S*/)?{name}\.ko(?:\.\w+)?):", dependencies or "", re.MULTILINE)
    return found.group(1) if found else None

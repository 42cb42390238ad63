# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of cards, driver and toolkit. Private: may change in any release.

Reads files and starts nvidia-smi and nvidia-ctk; writes nothing and loads no kernel module. Every path is
taken below `root`, so that a folder can stand for a host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ansible_collections.gpufleet.swarm.plugins.module_utils._host import parse_os_release
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import branches, parse

# Where distributions, NVIDIA's installer and WSL2 keep the user-space library.
LIBRARIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/nvidia/current",
    "usr/lib/aarch64-linux-gnu/nvidia/current",
    "usr/lib64",
    "usr/lib",
    "usr/lib/wsl/lib",
)
PROGRAMS = ("usr/bin", "usr/local/bin", "usr/sbin", "usr/lib/wsl/lib")
TOOLKIT_CONFIG = "etc/nvidia-container-runtime/config.toml"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SIGNATURE = b"~Module signature appended~\n"
# A card that hangs makes nvidia-smi hang; a healthy one answers in a second or two.
SECONDS = 60
PACKAGES = re.compile(r"nvidia|cuda-(drivers|toolkit|keyring)|libcuda|python3-debian$|unattended-upgrades$")


def run(command):
    """Return (exit code, output, error text) of a program, (None, "", reason) where it did not end."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return None, "", f"no answer within {SECONDS} s"
    except OSError as error:
        return None, "", str(error)
    return done.returncode, done.stdout, done.stderr


class Host:
    """A host whose files lie below `root`; `run` starts a program on it."""

    def __init__(self, root="/", run=run, kernel=None, architecture=None):
        self.root = Path(root)
        self.run = run
        self.kernel = kernel or os.uname().release
        self.architecture = architecture or os.uname().machine

    def text(self, path):
        """Return the text of a file, or None where there is none that can be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def data(self, path):
        try:
            return (self.root / path).read_bytes()
        except OSError:
            return None

    def names(self, path):
        """Return the sorted names in a folder, none where there is no such folder."""
        try:
            return sorted(os.listdir(self.root / path))
        except OSError:
            return []

    def exists(self, path):
        return (self.root / path).exists()

    def program(self, name):
        """Return the path of a program, or None."""
        return shutil.which(name, path=os.pathsep.join(str(self.root / folder) for folder in PROGRAMS))


def collect(host, files=()):
    """Return everything about the cards of a host, as documented in the module gpu_info."""
    driver, told = read_driver(host)
    return {
        "platform": read_platform(host),
        "os": parse_os_release(host.text("etc/os-release") or ""),
        "architecture": host.architecture,
        "kernel": host.kernel,
        "cards": read_cards(host, told),
        "driver": driver,
        "toolkit": read_toolkit(host),
        "packages": parse.parse_packages(host.text("var/lib/dpkg/status"), PACKAGES.search),
        "files": {path: host.text(path) for path in files},
    }


def read_platform(host):
    """Return native, wsl2 or docker_desktop: who brings the driver, and who runs the Engine."""
    kernel = parse.parse_kernel_version(host.text("proc/version"))
    # With its integration, Docker Desktop mounts its own programs into a WSL2 distribution.
    if kernel == "linuxkit" or host.exists("mnt/wsl/docker-desktop"):
        return "docker_desktop"
    return "wsl2" if kernel == "wsl2" else "native"


def read_pci(host):
    """Return {address: {device_id, pci_driver}} of NVIDIA's display controllers, with or without a driver."""
    cards = {}
    for address in host.names("sys/bus/pci/devices"):
        folder = f"sys/bus/pci/devices/{address}"
        vendor, device, kind = (
            (host.text(f"{folder}/{name}") or "").strip().removeprefix("0x")
            for name in ("vendor", "device", "class")
        )
        if vendor != parse.VENDOR or not kind.startswith(parse.DISPLAY_CLASS):
            continue
        try:
            bound = os.path.basename(os.readlink(host.root / folder / "driver"))
        except OSError:
            bound = None
        cards[address] = {"device_id": device, "pci_driver": bound}
    return cards


def read_cards(host, told):
    """Return the cards by PCI address: what the bus lists, and what the driver tells of them.

    told    what nvidia-smi told, or None
    """
    cards = read_pci(host)
    by_driver = {}
    for address in host.names("proc/driver/nvidia/gpus"):
        known = parse.parse_information(host.text(f"proc/driver/nvidia/gpus/{address}/information"))
        by_driver[known["address"] or address] = known
    for card in (told or {"cards": []})["cards"]:
        by_driver.setdefault(card["address"], {}).update(card)
    found = []
    for address in sorted({*cards, *by_driver}, key=str):
        bus, known = cards.get(address, {}), by_driver.get(address, {})
        found.append(
            {
                "address": address,
                "device_id": bus.get("device_id"),
                "pci_driver": bus.get("pci_driver"),
                "generation": branches.generation(known.get("compute"), bus.get("device_id")),
                "uuid": known.get("uuid"),
                "name": known.get("name"),
                "memory_mib": known.get("memory_mib"),
                "compute": known.get("compute"),
                "minor": known.get("minor"),
                "linked": linked(host, known.get("minor")),
                "mig": known.get("mig"),
                "mig_devices": known.get("mig_devices") or [],
            }
        )
    return found


def linked(host, minor):
    """Return whether /dev/char has the link of a card's device, None for a card without one.

    195 is the major number of the driver's devices (NV_MAJOR_DEVICE_NUMBER of its code).
    """
    return None if minor is None else os.path.lexists(host.root / f"dev/char/195:{minor}")


def read_smi(host):
    """Return (what nvidia-smi tells, why it tells nothing, the library version it names); None for none."""
    program = host.program("nvidia-smi")
    if program is None:
        return None, None, None
    code, output, error = host.run([program, "-q", "-x"])
    told = parse.parse_smi_xml(output) if code == 0 else None
    if told is None:
        sentence, version = parse.parse_smi_error(output + "\n" + error)
        return None, sentence or f"exit code {code}", version
    compute = parse.parse_compute(
        host.run([program, "--query-gpu=uuid,compute_cap", "--format=csv,noheader"])[1]
    )
    for card in told["cards"]:
        card["compute"] = compute.get(card["uuid"])
    if any(card["mig"] for card in told["cards"]):
        listed = {card["uuid"]: card for card in parse.parse_list(host.run([program, "-L"])[1])}
        for card in told["cards"]:
            named = {
                one["index"]: one for one in listed.get(card["uuid"], {"mig_devices": []})["mig_devices"]
            }
            card["mig_devices"] = [{**one, **named.get(one["index"], {})} for one in card["mig_devices"]]
    return told, None, None


def read_driver(host):
    """Return (the driver, what nvidia-smi told)."""
    told, error, named = read_smi(host)
    version, is_open = parse.parse_module_version(host.text("proc/driver/nvidia/version"))
    library = (
        parse.parse_library_versions(name for folder in LIBRARIES for name in host.names(folder)) or named
    )
    if told:
        # It answers only where both are one version; WSL2 has no /proc/driver/nvidia.
        library = library or told["driver_version"]
    modules = (host.text("proc/modules") or "").splitlines()
    folder = f"lib/modules/{host.kernel}"
    module = parse.module_path(host.text(f"{folder}/modules.dep"))
    tail = (
        (host.data(f"{folder}/{module}") or b"")[-len(SIGNATURE) :]
        if module and module.endswith(".ko")
        else None
    )
    return {
        "installed": host.program("nvidia-smi") is not None,
        "loaded": version is not None,
        "module_version": version,
        "module_open": is_open,
        "library_version": library,
        "mismatch": bool(version and library and version != library),
        "version": told["driver_version"] if told else version,
        "cuda_version": told["cuda_version"] if told else None,
        "error": error,
        "nouveau": any(line.startswith("nouveau ") for line in modules),
        "secure_boot": parse.parse_secure_boot(host.data(SECURE_BOOT)),
        "module_file": f"/{folder}/{module}" if module else None,
        # Compressed modules cannot be told apart here.
        "module_signed": tail == SIGNATURE if tail is not None else None,
        "headers": host.exists(f"{folder}/build"),
    }, told


def read_toolkit(host):
    """Return the container toolkit: its version, its configuration and where its runtime is."""
    program, runtime = host.program("nvidia-ctk"), host.program("nvidia-container-runtime")
    version = parse.parse_toolkit_version(host.run([program, "--version"])[1]) if program else None
    text = host.text(TOOLKIT_CONFIG)
    return {
        "version": version,
        "runtime": runtime and "/" + str(Path(runtime).relative_to(host.root)),
        "config_text": text,
        **parse.parse_toolkit_config(text),
    }

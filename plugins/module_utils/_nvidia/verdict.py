# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a host and its cards, told before anything is changed.

Private: may change in any release.

Pure: a reading of gpu_info and what is wanted in, problems (FleetError) and warnings (sentences) out.
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import branches, kinds

INSTALL = "nvidia_driver: install with a nvidia_driver_branch, or install the driver by hand"


def skipped(name, reading):
    """Return why a host is left alone, or None."""
    if reading["platform"] == "docker_desktop":
        return (
            f"{name} runs Docker Desktop, which brings the container toolkit itself and has no daemon.json "
            "of its own here: left alone. For a GPU node install an Engine inside the WSL2 distribution, and "
            "switch off Docker Desktop's integration with it."
        )
    if not reading["cards"] and reading["platform"] == "native":
        return f"{name} is in group gpu but has no NVIDIA card on its PCI bus: left alone."
    return None


def find(name, reading, wanted, installed=False):
    """Return the problems of a host that is not skipped.

    installed   whether the driver was installed and the host restarted by this run, so that what an
                installation would have settled counts as a problem
    """
    install = wanted["driver"] == "install" and reading["platform"] == "native" and not installed
    problems = list(kinds.problems(wanted["kinds"], wanted["default_kind"]))
    if reading["toolkit"]["version"] and not reading["toolkit"]["readable"]:
        problems.append(
            FleetError(
                "The container toolkit's configuration is no TOML",
                name,
                "/etc/nvidia-container-runtime/config.toml, which cannot be read",
                "a TOML file",
                "the file by hand, or move it away and reinstall nvidia-container-toolkit-base",
            )
        )
    if wanted["driver"] == "install" and reading["platform"] == "native":
        problems += branch_problems(name, reading, wanted)
    if install and not reading["driver"]["loaded"]:
        problems += secure_boot_problems(name, reading, wanted)
    if not install or (not reboot_reason(reading) and not needs_install(reading, wanted)):
        problems += driver_problems(name, reading, wanted)
    return problems


def needs_install(reading, wanted):
    """Return whether the driver that is wanted is another one than is installed."""
    if wanted["driver"] != "install" or reading["platform"] != "native":
        return False
    return branches.branch_of(reading["driver"]["library_version"]) != wanted["driver_branch"]


def reboot_reason(reading):
    """Return why only a reboot helps the driver that is installed, or None."""
    driver = reading["driver"]
    if driver["mismatch"]:
        return (
            f"the kernel has driver {driver['module_version']} loaded, "
            f"the programs on disk are {driver['library_version']}"
        )
    if driver["library_version"] and not driver["loaded"] and nouveau(reading):
        return "the kernel has nouveau loaded instead of the driver that is installed"
    return None


def nouveau(reading):
    return reading["driver"]["nouveau"] or any(card["pci_driver"] == "nouveau" for card in reading["cards"])


def branch_problems(name, reading, wanted):
    branch = wanted["driver_branch"]
    if not branch.isdigit():
        known = ", ".join(
            f"{number} ({one.kind}, to {one.ends})" for number, one in branches.BRANCHES.items()
        )
        yield FleetError(
            "The branch of the driver is not chosen",
            name,
            found=branch or "no branch",
            wanted=f"a number such as {known}",
            option="nvidia_driver_branch",
            cause="a branch decides which cards and which CUDA work, so it has no default",
        )
        return
    for card in reading["cards"]:
        reason = branches.unsupported(branch, wanted["driver_modules"], card["generation"])
        if reason:
            yield FleetError(
                "The driver does not run the card",
                f"{name}, {card['name'] or card['address']}",
                f"branch {branch} with {wanted['driver_modules']} modules",
                cause=reason,
                option="nvidia_driver_branch or nvidia_driver_modules",
            )


def secure_boot_problems(name, reading, wanted):
    if reading["driver"]["secure_boot"] and not wanted["secure_boot_enrolled"]:
        yield FleetError(
            "Secure boot would refuse the driver's module",
            name,
            "secure boot on",
            "a key for modules that the firmware trusts, which only somebody at the console can enrol",
            "nvidia_secure_boot_enrolled: true after `mokutil --import /var/lib/dkms/mok.pub` and a reboot "
            "(Ubuntu: /var/lib/shim-signed/mok/MOK.der), or secure boot off in the firmware",
        )


def driver_problems(name, reading, wanted):
    """Yield what is wrong with the driver as it is; the first thing only, as the others follow from it."""
    driver = reading["driver"]
    if reading["platform"] == "wsl2" and not driver["installed"]:
        yield FleetError(
            "The host sees no card",
            name,
            "WSL2 without /usr/lib/wsl/lib/nvidia-smi",
            "the driver of Windows",
            "the NVIDIA driver for Windows, then `wsl --shutdown`",
        )
        return
    reason = reboot_reason(reading)
    if reason:
        if not wanted["reboot"]:
            yield FleetError(
                "The driver needs a reboot",
                name,
                reason,
                "one version of both",
                "nvidia_reboot: true, or `sudo reboot` by hand",
            )
        return
    if not driver["installed"]:
        why = "nouveau drives the card" if nouveau(reading) else "no driver"
        cards = ", ".join(f"{card['generation'] or 'card'} at {card['address']}" for card in reading["cards"])
        yield FleetError(
            "The host has a card and no driver", name, f"{why} ({cards})", "NVIDIA's driver", INSTALL
        )
    elif not driver["loaded"] and reading["platform"] == "native":
        yield unloaded(name, reading)
    elif driver["error"]:
        yield FleetError(
            "The driver does not answer",
            name,
            driver["error"],
            "an answer of nvidia-smi",
            "`sudo dmesg | grep -i nvrm` tells more; a reboot mostly helps (nvidia_reboot is about "
            "versions only)",
        )
    else:
        for card in reading["cards"]:
            if not card["uuid"]:
                yield FleetError(
                    "The driver does not serve a card",
                    f"{name}, {card['address']}",
                    f"bound to {card['pci_driver'] or 'no driver'}, no UUID",
                    "a card that nvidia-smi -L lists",
                    "`sudo dmesg | grep -i xid`, or take the card out",
                )


def unloaded(name, reading):
    """Return the problem of a driver that is installed and not loaded."""
    driver = reading["driver"]
    what = "The driver is installed and not loaded"
    if driver["secure_boot"] and driver["module_signed"] is not True:
        return FleetError(
            what,
            name,
            "secure boot on, the module not signed by a key it trusts",
            "a loaded module",
            "`sudo mokutil --import /var/lib/dkms/mok.pub`, reboot and enrol the key at the console",
        )
    if not driver["module_file"] and not driver["headers"]:
        return FleetError(
            what,
            name,
            f"no module for kernel {reading['kernel']}, whose headers are missing",
            "a module that DKMS has built",
            f"`sudo apt install linux-headers-{reading['kernel']}`, which makes DKMS build it",
        )
    if not driver["module_file"]:
        return FleetError(
            what,
            name,
            f"no module for kernel {reading['kernel']}",
            "a module that DKMS has built",
            f"`sudo dkms autoinstall --kernelver {reading['kernel']}`",
        )
    return FleetError(
        what,
        name,
        f"{driver['module_file']}, which the kernel has not loaded",
        "a loaded module",
        "`sudo modprobe nvidia`; `sudo dmesg | grep -i nvrm` tells why it was not",
    )


def warnings(name, reading, wanted, today):
    """Return what is odd and not in the way. today: year and month, such as "2026-11"."""
    found = []
    if reading["platform"] == "wsl2" and wanted["driver"] == "install":
        found.append(f"{name} is WSL2, whose driver comes with Windows: nvidia_driver is not used there.")
    branch = wanted["driver_branch"] if wanted["driver"] == "install" else None
    branch = branch or branches.branch_of(reading["driver"]["library_version"])
    ends = branches.ended(branch, today)
    if ends:
        found.append(f"Driver branch {branch} on {name} got its last update in {ends}.")
    elif branch and branch not in branches.BRANCHES:
        found.append(f"Driver branch {branch} on {name} is none that NVIDIA lists as kept up to date.")
    if not wanted["default_runtime"] and wanted["advertise"]:
        found.append(
            f"The nvidia runtime is not the default on {name} (nvidia_default_runtime), and a Swarm service "
            "cannot name one: services that are granted a card will not see it."
        )
    return found

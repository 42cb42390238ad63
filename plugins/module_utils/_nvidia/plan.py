# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done on a host with cards. Private: may change in any release.

Pure: a reading of gpu_info and what is wanted in, one plan out. The role carries it out and decides
nothing.
"""

from __future__ import annotations

import fnmatch
import json
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia import kinds, toolkit, verdict

TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# The driver in NVIDIA's repository without its desktop half, by operating system and kind of modules. Those
# of Debian are of the guide's "compute-only" installation; Ubuntu's had the branch in their names before
# release 590, so there the meta packages are taken, which did not change.
DRIVER_PACKAGES = {
    ("debian", "open"): ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"],
    ("debian", "proprietary"): ["nvidia-driver-cuda", "nvidia-kernel-dkms"],
    ("ubuntu", "open"): ["nvidia-open"],
    ("ubuntu", "proprietary"): ["cuda-drivers"],
}
# Keys of NVIDIA's repositories; Debian 13 has one of its own, as its apt takes no SHA-1 signature.
DRIVER_KEYS = {("debian", "13"): "8793F200.pub"}
DRIVER_KEY = "3bf863cc.pub"
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "sbsa"}
DRIVER_NAMES = re.compile(
    r"(lib)?nvidia-(?!container|fs)|cuda-drivers|libcuda\d|libnv(cuvid|optix|sdm)|xserver-xorg-video-nvidia"
    r"|linux-(modules|objects|signatures)-nvidia|firmware-nvidia"
)

# The same for apt. Packages of other things that the patterns fit have no version of a driver's branch.
DRIVER_PATTERNS = ("*nvidia*", "cuda-drivers*", "libcuda*", "libnv*")

RULES = "/etc/udev/rules.d/71-nvidia-dev-char.rules"
TOOLKIT_PIN = "/etc/apt/preferences.d/gpufleet-nvidia-toolkit"
DRIVER_PIN = "/etc/apt/preferences.d/gpufleet-nvidia-driver"
NO_UPGRADES = "/etc/apt/apt.conf.d/52gpufleet-nvidia"
NO_NOUVEAU = "/etc/modprobe.d/gpufleet-nouveau.conf"
DAEMON_JSON = "/etc/docker/daemon.json"
# Where older instructions, packages and roles put the same repositories; apt refuses two entries of one
# repository with different keys.
OLD_TOOLKIT_SOURCES = tuple(
    f"/etc/apt/sources.list.d/{name}.list"
    for name in (
        "nvidia-docker",
        "nvidia-container-runtime",
        "libnvidia-container",
        "nvidia-container-toolkit",
        "nvidia_github_io_libnvidia_container_stable_deb_amd64",
    )
)
OLD_DRIVER_SOURCES = tuple(
    f"/etc/apt/sources.list.d/{name}.list"
    for name in (
        "cuda",
        "nvidia-drivers",
        "cuda-debian12-x86_64",
        "cuda-debian13-x86_64",
        "cuda-ubuntu2204-x86_64",
        "cuda-ubuntu2404-x86_64",
    )
)
SOURCES = tuple(
    f"/etc/apt/sources.list.d/{name}.sources" for name in ("nvidia-container-toolkit", "nvidia-driver")
)
FILES = (
    RULES,
    TOOLKIT_PIN,
    DRIVER_PIN,
    NO_UPGRADES,
    NO_NOUVEAU,
    DAEMON_JSON,
    *OLD_TOOLKIT_SOURCES,
    *OLD_DRIVER_SOURCES,
    *SOURCES,
)

WRITTEN = "Written by the nvidia role of gpufleet.swarm"
RULES_TEXT = f"""\
# {WRITTEN}.
# Without these links systemd, when it reloads, takes cards away from running containers
# (nvidia-container-toolkit issue 48).
ACTION=="add", DEVPATH=="/bus/pci/drivers/nvidia", \
RUN+="/usr/bin/nvidia-ctk system create-dev-char-symlinks --create-all"
"""
NO_UPGRADES_TEXT = f"""\
// {WRITTEN} for nvidia_driver_hold:
// a new driver on disk and the old one in the kernel do not work together.
Unattended-Upgrade::Package-Blacklist {{
    "nvidia-";
    "libnvidia-";
    "libcuda";
    "libnv";
    "cuda-drivers";
    "firmware-nvidia";
    "xserver-xorg-video-nvidia";
    "linux-modules-nvidia-";
    "linux-objects-nvidia-";
    "linux-signatures-nvidia-";
}};
"""
NO_NOUVEAU_TEXT = f"""\
# {WRITTEN}: it would take the card before NVIDIA's driver.
blacklist nouveau
options nouveau modeset=0
"""


def pin(variable, packages, version):
    """Return an apt preference that holds packages at a version."""
    lines = [f"# {WRITTEN} for {variable}.", f"Package: {' '.join(packages)}", f"Pin: version {version}"]
    return "\n".join([*lines, "Pin-Priority: 1001", ""])


def make(name, reading, wanted, today="0000-00", installed=False):
    """Return the plan of one host, documented in the module gpu_plan; its problems are FleetErrors.

    wanted     the options of gpu_plan
    today      year and month, for branches that have ended
    installed  see verdict.find
    """
    if wanted["state"] == "absent":
        return absent(reading)
    skipped = verdict.skipped(name, reading)
    if skipped:
        return {**nothing(), "skipped": skipped}
    plan = nothing()
    plan["problems"] = verdict.find(name, reading, wanted, installed)
    plan["warnings"] = verdict.warnings(name, reading, wanted, today)
    if plan["problems"]:
        return plan
    driver = plan["driver"] = driver_plan(reading, wanted)
    plan["reboot"] = driver_reboot(reading, wanted)
    plan["toolkit"] = toolkit_plan(reading, wanted)
    plan["units"] = kinds.sort(reading["cards"], wanted["kinds"], wanted["default_kind"], wanted["shared"])
    plan["labels"] = kinds.labels(plan["units"], reading["driver"])
    plan["daemon"] = daemon_keys(reading, wanted, plan["units"])
    plan["files"] = files(reading, wanted, driver)
    plan["links"] = reading["platform"] == "native" and False in [card["linked"] for card in reading["cards"]]
    plan["hold"], plan["release"] = holds(reading, wanted)
    plan["actions"] = actions(name, reading, plan)
    return plan


def nothing():
    return {
        "skipped": "",
        "problems": [],
        "warnings": [],
        "driver": {},
        "reboot": "",
        "toolkit": {},
        "units": [],
        "labels": {},
        "daemon": {},
        "files": [],
        "links": False,
        "hold": [],
        "release": [],
        "actions": [],
    }


def driver_plan(reading, wanted):
    """Return what to install for driver and CUDA toolkit, from which repository; empty for neither."""
    native = reading["platform"] == "native"
    packages = []
    if verdict.needs_install(reading, wanted):
        packages.append(f"linux-headers-{reading['kernel']}")
        packages += DRIVER_PACKAGES.get((reading["os"]["id"], wanted["driver_modules"]), [])
    driver = bool(packages)
    if wanted["cuda_toolkit"] and native:
        package = "cuda-toolkit-" + wanted["cuda_toolkit"].replace(".", "-")
        packages += [] if package in reading["packages"] else [package]
    managed = native and (wanted["driver"] == "install" or wanted["cuda_toolkit"])
    if not managed:
        return {}
    system, release = reading["os"]["id"], reading["os"]["version_id"]
    machine = ARCHITECTURES.get(reading["architecture"], reading["architecture"])
    folder = f"{system}{release.replace('.', '')}/{machine}"
    return {
        "install": packages,
        "driver": driver,
        "folder": folder,
        "key": DRIVER_KEYS.get((system, release.partition(".")[0]), DRIVER_KEY),
    }


def driver_reboot(reading, wanted):
    if verdict.needs_install(reading, wanted):
        return (
            "a driver is loaded by a reboot" if not reading["driver"]["loaded"] else "the driver is exchanged"
        )
    return verdict.reboot_reason(reading) or ""


def toolkit_plan(reading, wanted):
    """Return {install: [package=version], version, missing}: the packages of another version than wanted."""
    pattern = wanted["toolkit_version"]
    wrong = [
        package
        for package in TOOLKIT_PACKAGES
        if package not in reading["packages"]
        or (pattern and not fnmatch.fnmatchcase(reading["packages"][package]["version"], pattern))
    ]
    # All of them: they depend on one another in one version.
    install = (
        [f"{package}={pattern}" if pattern else package for package in TOOLKIT_PACKAGES] if wrong else []
    )
    return {
        "install": install,
        "library": "python3-debian" not in reading["packages"],
        "deaf": toolkit.ignores_grants(reading["toolkit"]["version"], wanted["toolkit_mode"]),
    }


def daemon_keys(reading, wanted, units):
    """Return the keys of daemon.json that the role owns.

    The list of resources is owned as a whole: what stands in it for cards is ours to say, as a card under two
    kinds would be granted twice. Resources of other things stay.
    """
    keys = {"runtimes": {"nvidia": {"path": toolkit.RUNTIME, "args": []}}}
    if wanted["default_runtime"]:
        keys["default-runtime"] = "nvidia"
    if wanted["advertise"]:
        entries = others(reading["files"].get(DAEMON_JSON)) + kinds.resources(units)
        if entries:
            keys["node-generic-resources"] = entries
    return keys


def others(text):
    """Return the resources in a daemon.json that are no cards. daemon_config tells of what cannot be read."""
    try:
        entries = json.loads(text or "{}").get("node-generic-resources") or []
    except (ValueError, AttributeError):
        return []
    card = re.compile(r"[^=]*=(GPU|MIG)-", re.IGNORECASE)
    return [entry for entry in entries if isinstance(entry, str) and not card.match(entry)]


def files(reading, wanted, driver):
    """Return the files to write ({path, content}) and to remove (content None), those that differ only."""
    native = reading["platform"] == "native"
    found = dict.fromkeys(OLD_TOOLKIT_SOURCES)
    found[TOOLKIT_PIN] = (
        pin("nvidia_toolkit_version", TOOLKIT_PACKAGES, wanted["toolkit_version"])
        if wanted["toolkit_version"]
        else None
    )
    found[RULES] = RULES_TEXT if native else None
    found[NO_UPGRADES] = NO_UPGRADES_TEXT if wanted["driver_hold"] and native else None
    installs = wanted["driver"] == "install" and native
    found[NO_NOUVEAU] = NO_NOUVEAU_TEXT if installs else None
    # A meta package of one branch may ask for "this version or newer", so the pin has to hold all packages.
    branch = f"{wanted['driver_branch']}.*"
    found[DRIVER_PIN] = pin("nvidia_driver_branch", DRIVER_PATTERNS, branch) if installs else None
    if driver:
        found |= dict.fromkeys(OLD_DRIVER_SOURCES)
    changed = [
        {"path": path, "content": content}
        for path, content in found.items()
        if reading["files"].get(path) != content
    ]
    version = reading["toolkit"]["version"]
    if version:
        mode = toolkit.right_mode(version, wanted["toolkit_mode"])
        variables = kinds.variables(wanted["kinds"], wanted["default_kind"])
        text = toolkit.edited(reading["toolkit"]["config_text"], variables, mode)
        if text != reading["toolkit"]["config_text"]:
            changed.append({"path": toolkit.PATH, "content": text})
    return changed


def holds(reading, wanted):
    """Return (packages to hold, packages to release). WSL2 has no package of the driver."""
    hold, release = [], []
    for package, state in sorted(reading["packages"].items()):
        if package in TOOLKIT_PACKAGES:
            held = wanted["toolkit_hold"]
        elif DRIVER_NAMES.match(package):
            held = wanted["driver_hold"]
        else:
            continue
        if held != state["held"]:
            (hold if held else release).append(package)
    return hold, release


def actions(name, reading, plan):
    """Return in sentences what no task of the role can predict by itself."""
    found = []
    if plan["driver"] and plan["driver"]["install"]:
        found.append(f"Install {', '.join(plan['driver']['install'])} on {name}.")
    if plan["reboot"]:
        found.append(f"Reboot {name}: {plan['reboot']}.")
    if plan["toolkit"]["install"]:
        found.append(f"Install {', '.join(plan['toolkit']['install'])} on {name}.")
    if plan["links"]:
        found.append(f"Make the links in /dev/char on {name}.")
    if any(one["path"] == toolkit.PATH for one in plan["files"]):
        version = reading["toolkit"]["version"]
        why = " (it ignores them in mode auto, so its mode becomes legacy)" if plan["toolkit"]["deaf"] else ""
        found.append(f"Tell the toolkit {version} on {name} where Swarm writes its grants{why}.")
    return found


def absent(reading):
    """Return the plan that takes back what the role has set.

    Packages stay: containers that were made with the runtime need it until they are made anew.
    """
    plan = nothing()
    ours = [RULES, TOOLKIT_PIN, DRIVER_PIN, NO_UPGRADES, NO_NOUVEAU, *SOURCES]
    plan["files"] = [
        {"path": path, "content": None} for path in ours if reading["files"].get(path) is not None
    ]
    if reading["toolkit"]["config_text"] is not None and reading["toolkit"]["readable"]:
        text = toolkit.edited(reading["toolkit"]["config_text"], [], "auto")
        if text != reading["toolkit"]["config_text"]:
            plan["files"].append({"path": toolkit.PATH, "content": text})
    plan["release"] = [
        package
        for package, state in sorted(reading["packages"].items())
        if state["held"] and (package in TOOLKIT_PACKAGES or DRIVER_NAMES.match(package))
    ]
    return plan

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of files for gpu_info, and readings of it for what plans with them."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.plan import FILES, TOOLKIT_PACKAGES
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.read import TOOLKIT_CONFIG, Host, collect

CAPTURES = Path(__file__).resolve().parent / "fixtures" / "nvidia"
KERNEL = "6.1.0-28-amd64"
UUIDS = ["GPU-12345678-aaaa-bbbb-cccc-0123456789ab", "GPU-12345678-aaaa-bbbb-cccc-0123456789ac"]
WANTED = {
    "state": "present",
    "driver": "check",
    "driver_branch": "",
    "driver_modules": "open",
    "driver_hold": True,
    "secure_boot_enrolled": False,
    "reboot": False,
    "cuda_toolkit": "",
    "toolkit_version": "1.19.*",
    "toolkit_hold": True,
    "toolkit_mode": "auto",
    "default_runtime": True,
    "advertise": True,
    "kinds": [],
    "default_kind": "GPU",
    "shared": [],
}


def capture(name):
    return (CAPTURES / name).read_text(encoding="utf-8")


class Machine:
    """A folder that stands for a host with two RTX A5000, driver 590 and no toolkit, until it is changed."""

    def __init__(self, root):
        self.root = root
        self.answers = {
            "nvidia-smi -q -x": (0, capture("smi_590_two.xml"), ""),
            "nvidia-smi --query-gpu=uuid,compute_cap --format=csv,noheader": (0, capture("compute.csv"), ""),
        }
        self.asked = []
        self.write("proc/version", "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org)")
        self.write("etc/os-release", 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
        self.write("proc/driver/nvidia/version", capture("version_open").replace("580.95.05", "590.44.01"))
        self.write("usr/bin/nvidia-smi", "")
        self.write("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.590.44.01", "")
        self.write("proc/modules", "nvidia 14381056 0 - Live 0xffffffffc0000000 (OE)\n")
        self.write(f"lib/modules/{KERNEL}/modules.dep", "updates/dkms/nvidia.ko.xz:\n")
        for bus in ("81", "c1"):
            self.card(f"0000:{bus}:00.0")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(0o755)

    def remove(self, *paths):
        for path in paths:
            self.root.joinpath(path).unlink()

    def card(self, address, device="2231", vendor="10de", kind="030000", driver="nvidia"):
        for name, value in (("device", device), ("vendor", vendor), ("class", kind)):
            self.write(f"sys/bus/pci/devices/{address}/{name}", f"0x{value}\n")
        link = self.root / f"sys/bus/pci/devices/{address}/driver"
        link.unlink(missing_ok=True)
        if driver:
            link.symlink_to(f"../../../../bus/pci/drivers/{driver}")

    def bare(self):
        """Take the driver away, as on a host that has just been installed."""
        self.remove("proc/driver/nvidia/version", "usr/bin/nvidia-smi")
        self.remove("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.590.44.01")
        self.write("proc/modules", "")
        self.write(f"lib/modules/{KERNEL}/modules.dep", "")
        for bus in ("81", "c1"):
            self.card(f"0000:{bus}:00.0", driver=None)

    def toolkit(self, version, config=None, held=True):
        """Give the host the packages and the configuration of a release of the toolkit."""
        for name in ("nvidia-ctk", "nvidia-container-runtime"):
            self.write(f"usr/bin/{name}", "")
        self.answers["nvidia-ctk --version"] = (
            0,
            f"NVIDIA Container Toolkit CLI version {version}\ncommit: x\n",
            "",
        )
        self.write(TOOLKIT_CONFIG, capture("config_1.20.toml") if config is None else config)
        want = "hold" if held else "install"
        self.write(
            "var/lib/dpkg/status",
            "\n".join(
                f"Package: {name}\nStatus: {want} ok installed\nVersion: {version}-1\n"
                for name in TOOLKIT_PACKAGES
            ),
        )

    def run(self, command):
        asked = " ".join([Path(command[0]).name, *command[1:]])
        self.asked.append(asked)
        return self.answers.get(asked, (127, "", "not found"))

    def read(self, files=FILES):
        return collect(Host(self.root, self.run, KERNEL, "x86_64"), files)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each branch of the driver supports, and which generation a card is of.

Private: may change in any release.

Sources, read in November 2026: NVIDIA's "Supported Drivers and CUDA Toolkit Versions" (release 615, for 570
an older one) for the kind of each branch, its end and its CUDA; it calls every branch that it does not list
ended. "CUDA Toolkit, Driver, and Architecture Matrix" for the last branch of each generation; the driver
installation guide for the open kernel modules. The device numbers are those of the PCI ID database
(pci.ids), whose entries name the chip.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.versions import version_key


class Branch(NamedTuple):
    """kind: NVIDIA's word for it. ends: year and month of the last update. cuda: highest major version."""

    kind: str
    ends: str
    cuda: int


BRANCHES = {
    "535": Branch("long-term support", "2026-06", 12),
    "570": Branch("production", "2026-02", 12),
    "580": Branch("long-term support", "2028-06", 13),
    "595": Branch("production", "2027-03", 13),
    "610": Branch("new feature", "2026-08", 13),
}


class Generation(NamedTuple):
    """first, last: driver branches that support it, None for no bound. open: whether the open modules do."""

    first: int | None
    last: int | None
    open: bool
    proprietary: bool


GENERATIONS = {
    "Kepler": Generation(None, 470, False, True),
    "Maxwell": Generation(None, 580, False, True),
    "Pascal": Generation(None, 580, False, True),
    "Volta": Generation(None, 580, False, True),
    "Turing": Generation(None, None, True, True),
    "Ampere": Generation(None, None, True, True),
    "Ada": Generation(525, None, True, True),
    "Hopper": Generation(525, None, True, True),
    # Supported by the open modules alone.
    "Blackwell": Generation(570, None, True, False),
}
COMPUTE = (
    ("3.", "Kepler"),
    ("5.", "Maxwell"),
    ("6.", "Pascal"),
    ("7.0", "Volta"),
    ("7.2", "Volta"),
    ("7.5", "Turing"),
    ("8.9", "Ada"),
    ("8.", "Ampere"),
    ("9.", "Hopper"),
    ("10.", "Blackwell"),
    ("11.", "Blackwell"),
    ("12.", "Blackwell"),
)
# First and last device number of the chips of a generation.
DEVICES = (
    (0x0FC0, 0x12FF, "Kepler"),
    (0x1340, 0x13FF, "Maxwell"),
    (0x1400, 0x143F, "Maxwell"),
    (0x15F0, 0x15FF, "Pascal"),
    (0x1600, 0x167F, "Maxwell"),
    (0x1740, 0x17FF, "Maxwell"),
    (0x1B00, 0x1D7F, "Pascal"),
    (0x1D80, 0x1DFF, "Volta"),
    (0x1E00, 0x1FFF, "Turing"),
    (0x2000, 0x20FF, "Ampere"),
    (0x2180, 0x21FF, "Turing"),
    (0x2200, 0x22FF, "Ampere"),
    (0x2300, 0x23FF, "Hopper"),
    (0x2400, 0x25FF, "Ampere"),
    (0x2600, 0x28FF, "Ada"),
    (0x2900, 0x32FF, "Blackwell"),
)


def generation(compute, device_id):
    """Return the generation of a card by its compute capability, else by its PCI device number, else None."""
    if compute:
        return next((name for start, name in COMPUTE if compute.startswith(start)), None)
    if not re.fullmatch(r"[0-9a-f]{4}", device_id or ""):
        return None
    number = int(device_id, 16)
    return next((name for first, last, name in DEVICES if first <= number <= last), None)


def branch_of(version):
    """Return the branch of a driver version: "580.95.05" -> "580", None for no version."""
    numbers = version_key(version)
    return str(numbers[0]) if numbers else None


def unsupported(branch, modules, name):
    """Return why a driver branch with open or proprietary modules does not run a generation, or None."""
    known = GENERATIONS.get(name)
    if known is None or not str(branch).isdigit():
        return None
    if known.last and int(branch) > known.last:
        return f"{known.last} is the last branch for {name}"
    if known.first and int(branch) < known.first:
        return f"{known.first} is the first branch for {name}"
    if modules == "open" and not known.open:
        return f"the open kernel modules begin with Turing, so {name} needs the proprietary ones"
    if modules == "proprietary" and not known.proprietary:
        return f"{name} runs with the open kernel modules only"
    return None


def ended(branch, today):
    """Return when NVIDIA's updates of a branch ended, if they have by `today` ("2026-11"), else None."""
    known = BRANCHES.get(str(branch))
    return known.ends if known and known.ends < today else None

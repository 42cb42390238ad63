# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a driver and a card are enough for an image. Private: may change in any release.

CUDA images say what they need in the variable NVIDIA_REQUIRE_CUDA, such as "cuda>=12.4
brand=tesla,driver>=470,driver<471". Its grammar is that of NVIDIA's container library: words parted by
blanks are alternatives of which one has to hold, conditions joined by commas have to hold together. The
conditions it knows are cuda, driver, arch (compute capability) and brand; NVIDIA_DISABLE_REQUIRE switches
the check off.
"""

from __future__ import annotations

import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._nvidia.versions import version_key

CONDITION = re.compile(r"(cuda|driver|arch|brand)(>=|<=|!=|=|<|>)(\S+)")
TESTS = {
    ">=": lambda found, wanted: found >= wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    "<": lambda found, wanted: found < wanted,
    "=": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
}


def holds(condition, facts):
    """Return whether one condition holds, None where it is not known or what it asks of is not."""
    found = CONDITION.fullmatch(condition)
    if not found or facts.get(found[1]) is None:
        return None
    name, sign, wanted = found.groups()
    if name == "brand":
        return TESTS[sign](facts["brand"].casefold(), wanted.casefold()) if sign in ("=", "!=") else None
    have, want = version_key(facts[name]), version_key(wanted)
    # "driver<471" is about the first number, "cuda>=12.4" about two: compared as far as the condition goes.
    return TESTS[sign](have[: len(want)] + (0,) * (len(want) - len(have)), want)


def met(requirement, facts):
    """Return whether NVIDIA_REQUIRE_CUDA is met: True, False, or None where it cannot be told.

    facts   {cuda, driver, arch, brand}: texts, None for what is not known
    """
    unknown = False
    for alternative in requirement.split():
        results = [holds(condition, facts) for condition in alternative.split(",")]
        if all(results):
            return True
        unknown = unknown or False not in results
    return None if unknown or not requirement.split() else False


def verdict(image, environment, driver, cuda, compute=None):
    """Return a FleetError where a node cannot run an image, else None.

    environment  the image's variables {name: value}
    driver, cuda the node's driver version and the CUDA version it offers
    """
    requirement = environment.get("NVIDIA_REQUIRE_CUDA", "")
    if environment.get("NVIDIA_DISABLE_REQUIRE", "").casefold() in ("true", "1"):
        return None
    if met(requirement, {"cuda": cuda, "driver": driver, "arch": compute, "brand": None}) is not False:
        return None
    least = re.search(r"cuda>=([\d.]+)", requirement)
    return FleetError(
        "The driver is too old for the image",
        target=image,
        found=f"driver {driver}, which offers CUDA {cuda}",
        wanted=f"CUDA {least.group(1)}" if least else requirement,
        option="nvidia_driver: install with a newer nvidia_driver_branch, or an older tag of the image",
    )

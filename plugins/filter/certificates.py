# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that decide on the controller what a certificate needs; documented in the YAML files beside."""
from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils import _certificates, _chain


def certificate_reasons(certificate, **wanted):
    """Say why a certificate has to be issued; an empty list when it can stay."""
    return _certificates.reasons(certificate, **wanted)


def certificate_days_left(certificate):
    """Count the whole days until a certificate ends."""
    return _certificates.days_left(certificate)


def chain_problems(chain, **wanted):
    """Say what is wrong with a chain that somebody brings; an empty list when it can be served."""
    return [str(problem) for problem in _chain.chain_problems(chain, **wanted)]


def chain_days_left(chain):
    """Count the whole days until one of the certificates of a chain ends."""
    return _chain.days_left(chain)


def acme_problems(names, *, email, server, trial, challenge, provider, texts):
    """Say why no ACME server could be asked for these names like this; an empty list when one could."""
    found = _certificates.acme_problems(
        names, email=email, server=server, trial=trial, challenge=challenge, provider=provider, texts=texts
    )
    return [str(problem) for problem in found]


def acme_directory(name):
    """Return the URL of an ACME directory that may be given by its short name."""
    return _certificates.directory(name)


def general_names(names):
    """Put the prefix of its kind, DNS or IP, in front of each name."""
    return [_certificates.general_name(name) for name in names]


def names_outside(names, permitted):
    """Return the names that a list of domains and networks does not allow."""
    return [name for name in names if not _certificates.within(name, permitted)]


class FilterModule:
    """Register the filters."""

    def filters(self):
        """Return the filters by name."""
        return {
            "acme_directory": acme_directory,
            "acme_problems": acme_problems,
            "certificate_days_left": certificate_days_left,
            "certificate_reasons": certificate_reasons,
            "chain_days_left": chain_days_left,
            "chain_problems": chain_problems,
            "general_names": general_names,
            "names_outside": names_outside,
        }

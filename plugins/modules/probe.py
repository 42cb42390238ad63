#!/usr/bin/python

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: probe
short_description: Ask URLs and compare the answers with what is wanted
version_added: "0.1.0"
author: The gpufleet contributors (@gpufleet)
description:
  - Sends one GET per check, at most eight at a time, and says of each that fails what was found and wanted.
  - Asks the failing ones again until O(deadline), so that a fresh route is waited for and not slept for.
  - Certificates are always verified, the host name included. Redirects are not followed.
  - Needs nothing but Python's standard library, on the controller or on a host.
options:
  checks:
    description: What to ask and what has to come back.
    type: list
    elements: dict
    required: true
    suboptions:
      url:
        description: URL to ask, with the schema V(http) or V(https).
        type: str
        required: true
      connect_to:
        description:
          - Address to connect to instead of the one that the URL's host resolves to, with a port if that
            differs, too (V(10.0.0.7:8443)).
          - The URL's host is still the one that is asked for and that the certificate has to hold.
          - Default is O(connect_to).
        type: str
      status:
        description: Statuses of which one has to come back. An empty list takes any.
        type: list
        elements: int
        default: [200]
      contains:
        description: Text that has to be in the first MiB of the answer.
        type: str
        default: ""
      headers:
        description:
          - Headers that have to be in the answer, and the text each has to contain.
          - An empty text takes any value.
        type: dict
        default: {}
      issuer:
        description: Text that the name of the certificate's issuer has to contain.
        type: str
        default: ""
      service:
        description: Name of the Swarm service behind the URL, which is returned with the result for tables.
        type: str
      refused:
        description:
          - The server has to refuse the TLS handshake, as it should for a host name that it does not serve.
          - Nothing else is compared then. A server that cannot be reached does not pass.
        type: bool
        default: false
  connect_to:
    description: Address to connect to for all checks that name none of their own.
    type: str
  ca_file:
    description: Authorities to trust, a file in PEM. The default is what the machine trusts.
    type: path
  timeout:
    description: Seconds for each of connecting, the TLS handshake and the answer.
    type: float
    default: 5
  deadline:
    description: Seconds over which failing checks are asked again. V(0) asks each once.
    type: float
    default: 0
extends_documentation_fragment: gpufleet.swarm.reads_only
"""

EXAMPLES = r"""
- name: See that the fleet answers, by its own certificate
  gpufleet.swarm.probe:
    connect_to: 172.30.0.11
    ca_file: "{{ fleet_credentials_dir }}/ca/ca.crt"
    deadline: 30
    checks:
      - url: https://linto.lab.test/
        issuer: fleet CA
      - url: http://linto.lab.test/
        status: [301, 308]
        headers: {Location: https://}
      - url: https://unknown.example/
        refused: true
  delegate_to: localhost
  become: false
"""

RETURN = r"""
results:
  description: One entry per check, in their order. They are returned when checks fail, too.
  type: list
  elements: dict
  returned: always
  contains:
    url:
      description: The URL.
      type: str
      returned: always
    service:
      description: Name of the service as given, null when none was.
      type: str
      returned: always
    ok:
      description: Whether everything was as wanted.
      type: bool
      returned: always
    status:
      description: Status that came back, null when no answer did.
      type: int
      returned: always
    seconds:
      description: How long the last attempt took.
      type: float
      returned: always
    attempts:
      description: How often it was asked.
      type: int
      returned: always
    refused:
      description: Whether the server refused the TLS handshake.
      type: bool
      returned: always
    issuer:
      description: Name of the certificate's issuer, null without TLS.
      type: str
      returned: always
    days_left:
      description: Whole days until the certificate ends, null without TLS.
      type: int
      returned: always
    location:
      description: Where a redirect leads, null without one.
      type: str
      returned: always
    problems:
      description: What is wrong, with the value found and the value wanted; empty when nothing is.
      type: list
      elements: str
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError
from ansible_collections.gpufleet.swarm.plugins.module_utils._probe import Check, run

CHECK = {
    "url": {"type": "str", "required": True},
    "connect_to": {"type": "str"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "contains": {"type": "str", "default": ""},
    "headers": {"type": "dict", "default": {}},
    "issuer": {"type": "str", "default": ""},
    "service": {"type": "str"},
    "refused": {"type": "bool", "default": False},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "checks": {"type": "list", "elements": "dict", "required": True, "options": CHECK},
            "connect_to": {"type": "str"},
            "ca_file": {"type": "path"},
            "timeout": {"type": "float", "default": 5},
            "deadline": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        checks = [_check(one, given["connect_to"]) for one in given["checks"]]
        results = run(checks, given["ca_file"], given["timeout"], given["deadline"])
    except FleetError as error:
        module.fail_json(msg=str(error), results=[], **error.as_result())
    failed = [one for one in results if not one["ok"]]
    if failed:
        told = "; ".join(f"{one['url']}: {', '.join(one['problems'])}" for one in failed)
        module.fail_json(msg=f"{len(failed)} of {len(results)} checks failed. {told}.", results=results)
    module.exit_json(changed=False, results=results)


def _check(one, connect_to):
    headers = {str(name): str(text or "") for name, text in one["headers"].items()}
    return Check(**{**one, "status": tuple(one["status"]), "headers": headers,
                    "connect_to": one["connect_to"] or connect_to or ""})


if __name__ == "__main__":
    main()

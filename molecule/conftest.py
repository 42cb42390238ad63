# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of every scenario share: the fleet under test, its nodes, its Engine API, its way in.

`fleet` is the whole fleet; a test that takes `node` runs once for each node.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import testinfra
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from lab.credentials import secret_texts
from lab.footprint import footprint

ROOT = Path(__file__).resolve().parent.parent
# Where a fleet is deployed by hand: pytest molecule/fleet/tests, with `make demo` up.
INVENTORY = Path(os.environ.get("FLEET_INVENTORY", ROOT / "inventories" / "lab"))
# The oldest API both engines of the lab speak (Debian 12 ships 20.10, which is 1.41).
API = "v1.41"


@dataclass(frozen=True)
class Response:
    """What the way in answered: status, headers with lower-case names, body."""

    status: int
    headers: dict[str, str]
    body: str


class Fleet:
    """The fleet an inventory describes, as seen from the controller."""

    def __init__(self, inventory: Path, sockets: Path):
        loader = DataLoader()
        self.inventory = inventory
        self.sockets = sockets
        self._loader = loader
        self._manager = InventoryManager(loader=loader, sources=[str(inventory)])
        self._variables = VariableManager(loader=loader, inventory=self._manager)
        self._connections: dict[str, testinfra.host.Host] = {}

    def group(self, name: str) -> list[str]:
        """Return the hosts of a group, in inventory order."""
        return (
            [host.name for host in self._manager.groups[name].get_hosts()]
            if name in self._manager.groups
            else []
        )

    @property
    def nodes(self) -> list[str]:
        """Return the hosts that are members of the Swarm."""
        return [*self.group("managers"), *self.group("workers")]

    def variable(self, host: str, name: str, default=None):
        """Return an inventory variable of a host, rendered, or ``default`` where it is not set."""
        values = self._variables.get_vars(host=self._manager.get_host(host))
        return (
            Templar(loader=self._loader, variables=values).template(values[name])
            if name in values
            else default
        )

    def host(self, name: str):
        """Return a connection to a host as root, over the SSH the inventory describes."""
        if name not in self._connections:
            user, address = self.variable(name, "ansible_user"), self.variable(name, "ansible_host")
            self._connections[name] = testinfra.get_host(
                f"ssh://{user}@{address}",
                ssh_identity_file=self.variable(name, "ansible_ssh_private_key_file"),
                ssh_extra_args=self.variable(name, "ansible_ssh_common_args"),
                controlpath=str(self.sockets / name),
                sudo=True,
            )
        return self._connections[name]

    @property
    def manager(self):
        """Return a connection to the first manager."""
        return self.host(self.group("managers")[0])

    def engine(self, path: str, host: str | None = None, **filters: list[str]):
        """Return what the Engine of a host (the first manager unless named) answers to GET ``path``.

        Filters are the API's own: ``engine("/tasks", service=["linto_studio-api"])``.
        """
        target = self.host(host) if host else self.manager
        query = urllib.parse.urlencode({"filters": json.dumps(filters)}) if filters else ""
        url = f"http://engine/{API}{path}" + (("&" if "?" in path else "?") + query if query else "")
        command = "curl -sS --fail-with-body --unix-socket /var/run/docker.sock %s"
        return json.loads(target.check_output(command, url))

    @cached_property
    def domain(self) -> str:
        """Return fleet_domain."""
        return self.variable(self.nodes[0], "fleet_domain")

    @cached_property
    def credentials(self) -> Path:
        """Return the folder with everything the fleet generated on the controller."""
        return Path(self.variable(self.nodes[0], "fleet_credentials_dir", self.inventory / "credentials"))

    @property
    def ca(self) -> Path:
        """Return the certificate of the fleet's own authority."""
        return self.credentials / "ca" / "ca.crt"

    @cached_property
    def ingress(self) -> str:
        """Return the address of the node through which the fleet is reached."""
        return self.variable(self.group("managers")[0], "ansible_host")

    def get(self, name: str, path: str = "/", scheme: str = "https", ca: Path | None = None) -> Response:
        """GET ``scheme://name/path`` through the way in; HTTPS is checked against the fleet's authority."""
        if scheme == "https":
            connection = _Pinned(name, self.ingress, ssl.create_default_context(cafile=ca or self.ca))
        else:
            connection = http.client.HTTPConnection(self.ingress, 80, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": name})
            answer = connection.getresponse()
            headers = {key.lower(): value for key, value in answer.getheaders()}
            return Response(answer.status, headers, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    def site(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run site.yml on the fleet; the result carries its output."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-i", str(self.inventory), "site.yml", *arguments]
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    def secrets(self) -> dict[str, set[str]]:
        """Return, by file under the credentials folder, the texts that must appear nowhere else."""
        return secret_texts(self.credentials)


class _Pinned(http.client.HTTPSConnection):
    """HTTPS to a given address under a given name, so that no name has to be in any DNS."""

    def __init__(self, name: str, address: str, context: ssl.SSLContext):
        super().__init__(name, 443, timeout=20, context=context)
        self.address = address

    def connect(self) -> None:
        plain = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory) -> Fleet:
    """Return the fleet of the scenario."""
    if not INVENTORY.is_dir():
        pytest.exit(
            f"There is no inventory {INVENTORY}; make demo, or name one in FLEET_INVENTORY", returncode=1
        )
    return Fleet(INVENTORY, tmp_path_factory.mktemp("ssh"))


def pytest_generate_tests(metafunc) -> None:
    """Run a test that takes `node` once for each node of the fleet."""
    if "node" in metafunc.fixturenames:
        manager = InventoryManager(loader=DataLoader(), sources=[str(INVENTORY)])
        names = [host.name for host in manager.get_hosts("managers:workers")]
        metafunc.parametrize("node", names)


@pytest.fixture(scope="session")
def footprints(fleet) -> dict[str, dict[str, str]]:
    """Return the footprint of every node as it is now."""
    return {name: footprint(fleet.host(name).check_output) for name in fleet.nodes}


@pytest.fixture(scope="session")
def footprints_file() -> Path:
    """Return where the footprints from before the check are kept."""
    return INVENTORY.parent / "footprints.json"

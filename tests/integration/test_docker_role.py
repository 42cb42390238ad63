# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The docker role and daemon_config on bare hosts: install, configure, reload, restart, drain, recover.

GPUFLEET_INVENTORY  inventory of a fresh fleet, at least one manager and one worker without Docker (such as
                    `python3 -m lab up --name docker --hosts 2` makes); all of this is skipped without it, and
                    where Docker is installed already

The first manager gets the distribution's Engine, the first worker Docker's own from a stand-in of its
repository. The tests build on one another and run in the order of the file. They leave the hosts changed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet of bare hosts")

# What runs on the controller; everything else in a result is a remote task.
LOCAL = {
    "ansible.builtin.include_tasks", "ansible.builtin.set_fact", "ansible.builtin.debug",
    "ansible.builtin.validate_argument_spec", "ansible.builtin.fail",
}  # fmt: skip
VERSIONS = ["5:28.0.1-1~lab", "5:28.0.2-1~lab"]
REPOSITORY = "http://127.0.0.1:8099"
# An image from the host's own sleep, as no registry is at hand, and a container of it.
IMAGE = r"""
set -e
root=$(mktemp -d)
cp --parents /usr/bin/sleep $root
for library in $(ldd /usr/bin/sleep | grep -o '/[^ ]*'); do cp -L --parents $library $root; done
tar -C $root -c . | docker import - idle:1 > /dev/null
rm -r $root
"""


class Run:
    """The outcome of a playbook."""

    def __init__(self, process):
        start = process.stdout.find("{\n")
        self.output = process.stdout + process.stderr
        self.rc = process.returncode
        assert start >= 0, self.output
        self.data = json.loads(process.stdout[start:])

    def tasks(self, host):
        """Return (name, result) of each task that ran on a host."""
        return [
            (task["task"]["name"], task["hosts"][host])
            for play in self.data["plays"]
            for task in play["tasks"]
            if host in task["hosts"] and not task["hosts"][host].get("skipped")
        ]

    def remote(self, host):
        return [name for name, result in self.tasks(host) if result.get("action") not in LOCAL]

    def changed(self):
        return {host: stats["changed"] for host, stats in self.data["stats"].items()}

    def messages(self):
        """Return the text of all messages, those of loops included, on one line."""
        results = [
            result
            for play in self.data["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
        ]
        results += [item for result in results for item in result.get("results", [])]
        found = [result.get("msg") for result in results if not result.get("skipped")]
        return re.sub(r"\s+", " ", " ".join(text for text in found if isinstance(text, str)))


class Fleet:
    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(HERE.parents[1] / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_FORCE_COLOR": "false",
        }
        groups = json.loads(self._call("ansible-inventory", "--list").stdout)
        self.manager = groups["managers"]["hosts"][0]
        self.worker = groups["workers"]["hosts"][0]
        self.addresses = {
            name: values.get("ansible_host", name) for name, values in groups["_meta"]["hostvars"].items()
        }

    def _call(self, program, *arguments, check=True):
        return subprocess.run(
            [str(BIN / program), "-i", str(Path(INVENTORY).absolute()), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1500,
            check=check,
        )

    def play(self, tasks, hosts="managers:workers", check=False, **variables):
        """Run tasks (a list, or the name of a role) and return the Run."""
        body = {"roles": [tasks]} if isinstance(tasks, str) else {"tasks": tasks}
        play = {"hosts": hosts, "become": True, "gather_facts": False, "any_errors_fatal": True, **body}
        (self.folder / "play.yml").write_text(json.dumps([play]))
        arguments = ["--check", "--diff"] if check else []
        return Run(
            self._call("ansible-playbook", *arguments, "-e", json.dumps(variables), "play.yml", check=False)
        )

    def docker(self, hosts, check=False, **variables):
        """Run the role, which must not fail."""
        base = {"docker_registry_mirrors": [], **self.source.get(hosts, {})}
        run = self.play("gpufleet.swarm.docker", hosts, check, **{**base, **variables})
        assert run.rc == 0, run.output
        return run

    def shell(self, host, script, check=True):
        """Run a script as root and return what it prints."""
        run = self.play([{"ansible.builtin.shell": script}], host)
        result = run.tasks(host)[-1][1]
        assert run.rc == 0 or not check, run.output
        return result.get("stdout", "")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    fleet.source = {
        fleet.worker: {
            "docker_source": "docker",
            "docker_repository_url": REPOSITORY,
            "docker_version": VERSIONS[0],
        }
    }
    for host in (fleet.manager, fleet.worker):
        if fleet.shell(host, "command -v dockerd || true"):
            pytest.skip(f"{host} has Docker already: these tests need bare hosts")
    return fleet


def config(fleet, host):
    return json.loads(fleet.shell(host, "cat /etc/docker/daemon.json"))


def engine(fleet, host):
    """Return what tells one run of the Engine from another."""
    return fleet.shell(host, "systemctl show --property MainPID,ActiveEnterTimestamp docker.service")


def containers(fleet, host):
    """Return what tells one run of the container "keep" from another."""
    return fleet.shell(
        host, "docker inspect --format '{% raw %}{{.Id}} {{.State.StartedAt}}{% endraw %}' keep"
    )


STATE = "find /etc /usr/bin /usr/sbin /var/lib/dpkg /var/lib/apt -type f -exec md5sum {} + | sort | md5sum"


def test_check_mode_on_bare_hosts_predicts_and_changes_nothing(fleet, manager, worker):
    before = {host: fleet.shell(host, STATE) for host in (manager, worker)}
    run = fleet.docker("managers:workers", check=True)
    assert all(run.changed().values())
    assert "Would install docker.io, containerd" in run.messages()
    assert {host: fleet.shell(host, STATE) for host in (manager, worker)} == before


def test_installs_the_distributions_engine(fleet, manager):
    fleet.docker(manager, docker_users=["fleet"])
    assert (
        fleet.shell(manager, "systemctl is-active docker; systemctl is-enabled docker") == "active\nenabled"
    )
    assert {"docker.io", "containerd"} <= set(fleet.shell(manager, "apt-mark showhold").split())
    assert "docker" in fleet.shell(manager, "id -nG fleet").split()
    # The first start already had the file: nothing had to be restarted for it.
    assert config(fleet, manager) == {
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "live-restore": False,
    }
    assert fleet.shell(manager, "grep -c pending /var/lib/gpufleet/daemon_config.json || true") == "0"


def test_second_run_changes_nothing_and_costs_little(fleet, manager):
    before = fleet.shell(
        manager, "stat -c '%Y %i' /etc/docker/daemon.json /var/lib/gpufleet/daemon_config.json"
    )
    run = fleet.docker(manager)
    assert run.changed() == {manager: 0}
    assert len(run.remote(manager)) <= 3, run.remote(manager)
    assert before == fleet.shell(
        manager, "stat -c '%Y %i' /etc/docker/daemon.json /var/lib/gpufleet/daemon_config.json"
    )


def test_a_reload_leaves_containers_alone(fleet, manager):
    fleet.shell(
        manager, IMAGE + "docker run -d --name keep --restart always --network none idle:1 sleep 100000"
    )
    before = containers(fleet, manager), engine(fleet, manager)
    run = fleet.docker(manager, docker_registry_mirrors=["http://mirror.lab.test:5000"])
    assert run.changed() == {manager: 1}
    assert (containers(fleet, manager), engine(fleet, manager)) == before
    assert "mirror.lab.test:5000" in fleet.shell(manager, "docker info")


def test_keys_of_the_user_stay_byte_for_byte(fleet, manager):
    line = r'"experimental" :   false,\n\n  "exec-opts": ["native.cgroupdriver=\\u0063groupfs"],'
    fleet.shell(manager, f'sed -i \'0,/"log-driver"/s//{line} "log-driver"/\' /etc/docker/daemon.json')
    mine = fleet.shell(manager, "head -5 /etc/docker/daemon.json")
    assert "\\u0063groupfs" in mine
    fleet.docker(manager, docker_registry_mirrors=["http://other.lab.test:5000"])
    assert fleet.shell(manager, "head -5 /etc/docker/daemon.json") == mine


def test_a_restart_that_is_not_wanted_is_told_each_time(fleet, manager):
    options = {
        "docker_registry_mirrors": ["http://other.lab.test:5000"],
        "docker_daemon_options": {"mtu": 1450},
    }
    before = containers(fleet, manager), engine(fleet, manager)
    for _run in range(2):
        told = fleet.docker(manager, docker_restart="never", **options).messages()
        assert f"The Engine of {manager} needs a restart (mtu). It is left as it is" in told
    assert (containers(fleet, manager), engine(fleet, manager)) == before

    told = fleet.docker(manager, **options).messages()
    assert "The host is in no Swarm: its containers stop while the Engine restarts." in told
    assert engine(fleet, manager) != before[1]
    assert fleet.shell(
        manager, "docker network inspect bridge --format '{% raw %}{{json .Options}}{% endraw %}'"
    ).count('"com.docker.network.driver.mtu":"1450"')
    assert fleet.docker(manager, **options).changed() == {manager: 0}


def test_a_value_that_breaks_the_engine_is_taken_back(fleet, manager):
    before = fleet.shell(manager, "cat /etc/docker/daemon.json /var/lib/gpufleet/daemon_config.json")
    run = fleet.play(
        "gpufleet.swarm.docker",
        manager,
        docker_registry_mirrors=["http://other.lab.test:5000"],
        docker_daemon_options={"mtu": 1450, "storage-driver": "nonsense"},
        docker_restart_timeout=60,
    )
    assert run.rc != 0
    assert "The daemon did not come back after its restart" in run.messages()
    assert "the previous file is back, and the daemon runs with it" in run.messages()
    assert "nonsense" in run.messages()
    assert fleet.shell(manager, "cat /etc/docker/daemon.json /var/lib/gpufleet/daemon_config.json") == before
    assert fleet.shell(manager, "systemctl is-active docker") == "active"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n  "debug": true,\n}', "line 3, column 1"),
        ('{"debug": true, "debug": false}', 'line 1, column 17) - the key "debug" is there twice'),
        ("[]", "an object is wanted, found a list"),
    ],
)
def test_a_broken_file_is_refused_and_left(fleet, manager, text, told):
    fleet.shell(
        manager, f"cp -p /etc/docker/daemon.json /root/good && cat > /etc/docker/daemon.json <<'E'\n{text}\nE"
    )
    try:
        run = fleet.play("gpufleet.swarm.docker", manager)
        assert run.rc != 0
        assert told in run.messages()
        assert fleet.shell(manager, "cat /etc/docker/daemon.json") == text
    finally:
        fleet.shell(manager, "mv /root/good /etc/docker/daemon.json")


def test_an_option_of_the_unit_names_both_places(fleet, manager):
    fleet.shell(manager, "printf 'DOCKER_OPTS=\"--ipv6\"\\n' > /etc/default/docker")
    try:
        run = fleet.play("gpufleet.swarm.docker", manager, docker_daemon_options={"ipv6": True})
        assert run.rc != 0
        assert (
            'found --ipv6 in /etc/default/docker ($DOCKER_OPTS) and "ipv6" in /etc/docker/daemon.json'
            in run.messages()
        )
    finally:
        fleet.shell(manager, "rm /etc/default/docker")


def test_options_taken_out_go_again(fleet, manager):
    fleet.docker(manager)
    assert config(fleet, manager) == {
        "experimental": False,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "live-restore": False,
    }


def test_dockers_repository_with_keyring_pin_and_hold(fleet, worker):
    fleet.shell(
        worker, "echo 'deb [signed-by=/x] http://127.0.0.1:1/ x y' > /etc/apt/sources.list.d/docker.list"
    )
    build(fleet, worker)
    fleet.shell(
        worker,
        f"systemd-run --unit lab-repository python3 -m http.server {REPOSITORY.rpartition(':')[2]} "
        "--bind 127.0.0.1 --directory /srv/repository",
    )
    run = fleet.docker(worker)
    assert "Would install" not in run.messages()
    show = (
        "dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Want}\\n' docker-ce docker-ce-cli"
    )
    assert fleet.shell(worker, show) == "\n".join(
        f"{name} {VERSIONS[0]} hold" for name in ("docker-ce", "docker-ce-cli")
    )
    assert fleet.shell(worker, "ls /etc/apt/sources.list.d/ | grep docker") == "docker.sources"
    source = fleet.shell(worker, "cat /etc/apt/sources.list.d/docker.sources")
    assert re.search(r"^Signed-By: /etc/apt/keyrings/docker\.(asc|gpg)$", source, re.MULTILINE)
    # The pin holds against the newer one, and so does the hold against any upgrade.
    assert f"Candidate: {VERSIONS[0]}" in fleet.shell(worker, "apt-cache policy docker-ce")
    assert "docker-ce" not in fleet.shell(worker, "apt-get --simulate upgrade | grep ^Inst || true")
    assert fleet.shell(worker, "systemctl is-active docker") == "active"

    again = fleet.docker(worker)
    assert again.changed() == {worker: 0}
    assert len(again.remote(worker)) <= 5, again.remote(worker)


def test_a_renewed_key_arrives_and_another_version_is_only_told(fleet, worker):
    old = fleet.shell(worker, "cat /etc/apt/keyrings/docker.*")
    build(fleet, worker)
    run = fleet.docker(worker, docker_version=VERSIONS[1])
    assert fleet.shell(worker, "cat /etc/apt/keyrings/docker.*") != old
    assert (
        f"docker-ce {VERSIONS[0]} is installed, docker_version is {VERSIONS[1]}: left as it is."
        in run.messages()
    )
    fleet.shell(worker, "apt-get update --error-on=any")
    assert fleet.docker(worker, docker_version="5:28.*").messages().count("left as it is") == 0
    fleet.docker(worker, docker_version="", docker_hold=False)
    assert fleet.shell(worker, "ls /etc/apt/preferences.d; apt-mark showhold") == ""


def build(fleet, worker):
    system = fleet.shell(worker, ". /etc/os-release; echo $ID $VERSION_CODENAME").split()
    script = (HERE / "docker_repository" / "build.py").read_text()
    fleet.play(
        [{"ansible.builtin.copy": {"content": script, "dest": "/srv/build.py", "mode": "0755"}}], worker
    )
    fleet.shell(worker, f"python3 /srv/build.py /srv/repository {' '.join(system)} {' '.join(VERSIONS)}")


def test_a_lone_node_cannot_be_drained_and_says_so(fleet, manager):
    fleet.shell(manager, f"docker swarm init --advertise-addr {fleet.addresses[manager]}")
    before = engine(fleet, manager)
    told = fleet.docker(manager, docker_daemon_options={"mtu": 1440}).messages()
    assert "This node is the only one of its Swarm, so its tasks cannot move" in told
    assert engine(fleet, manager) != before
    node = "docker node inspect self --format '{% raw %}{{.Spec.Availability}}{% endraw %}'"
    assert fleet.shell(manager, node) == "active"


def test_nodes_of_a_swarm_are_drained_one_after_the_other(fleet, manager, worker):
    token = fleet.shell(manager, "docker swarm join-token --quiet worker")
    addresses = fleet.addresses
    fleet.shell(
        worker,
        IMAGE
        + f"docker swarm join --advertise-addr {addresses[worker]} --token {token} {addresses[manager]}:2377",
    )
    fleet.shell(
        manager,
        "docker service create --detach --name web --replicas 2 --endpoint-mode dnsrr --no-resolve-image "
        "--stop-grace-period 1s idle:1 sleep 100000",
    )
    both = f"{manager}:{worker}"
    options = {
        "docker_source": f"{{{{ 'docker' if inventory_hostname == '{worker}' else 'distribution' }}}}",
        "docker_repository_url": REPOSITORY,
        "docker_daemon_options": {"mtu": 1430},
    }
    before = {host: engine(fleet, host) for host in (manager, worker)}
    run = fleet.docker(both, **options)
    assert all(engine(fleet, host) != before[host] for host in before)

    turns = [
        (task["task"]["name"], host)
        for play in run.data["plays"]
        for task in play["tasks"]
        for host, result in task["hosts"].items()
        if result.get("changed") and not result.get("skipped")
    ]
    words = (
        "Drain the node",
        "Restart the Engine and wait until it is back",
        "Let the node have tasks again",
    )
    steps = [(name.rpartition(" : ")[2], host) for name, host in turns if name.rpartition(" : ")[2] in words]
    assert steps == [(word, host) for host in (manager, worker) for word in words]

    availability = (
        "docker node ls --format '{% raw %}{{.Hostname}} {{.Status}} {{.Availability}}{% endraw %}'"
    )
    assert sorted(fleet.shell(manager, availability).split("\n")) == sorted(
        f"{host} Ready Active" for host in (manager, worker)
    )
    assert fleet.docker(both, **options).changed() == {manager: 0, worker: 0}


def test_live_restore_is_refused_before_it_can_hurt(fleet, manager):
    run = fleet.play("gpufleet.swarm.docker", manager, docker_daemon_options={"live-restore": True})
    assert run.rc != 0
    assert (
        "A Swarm node cannot start with this key (live-restore): found true, wanted false or no key"
        in run.messages()
    )

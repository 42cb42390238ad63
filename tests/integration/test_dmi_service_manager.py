# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The DMI Service Manager on a Swarm of two nodes: from nothing over updates and a reboot to its removal.

GPUFLEET_INVENTORY  inventory of a lab of two hosts with a Swarm and its ingress and no system (such as
                    `python scripts/with_lab.py dmi 2 --fleet -- ...` makes)

The application is a stand-in (tests/unit/roles/dmi_stand_in) with upstream's interface and faults, on the
library that upstream uses; gunicorn, Docker and Traefik are real. Its git repositories and packages are
brought to the nodes beforehand, as on a site without internet. The tests build on one another and run in the
order of the file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ROLE = ROOT / "roles/dmi_service_manager"

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no fleet of two nodes")

MANAGER, NODE = "manager1", "worker1"
HOSTS = (MANAGER, NODE)
PYTHONS = {MANAGER: "3.13", NODE: "3.11"}  # Debian 13 and 12
DATA, UPLOADS, CATS = "/var/lib/dmi_service_manager", "/srv/dmi_service_manager/uploads", "/srv/4cat"
PORT = 4000
# An image of the lab that has sh and curl.
IMAGE = "lintoai/linto-stt-whisper:latest-unstable"
SHELL = {"image_name": IMAGE, "local": True, "remote": True, "command": "sh", "data_path": "/app/data/"}
OPTIONS = {
    "nodes": [NODE],
    "source": "/srv/dmi.git",
    "version": "v1",
    "pip_arguments": "--no-index --find-links /srv/wheels",
    "4cat_datasets_path": CATS,
    "allowed_extensions": ["txt"],
    "endpoints": {"shell": SHELL, "whisper": {"image_name": IMAGE}},
    "gpu_enabled": False,
}
# What the update brings: the next version, and an endpoint whose image is built on the node.
BUILT = {
    "build": {"source": "/srv/job.git", "version": "v1"},
    "remote": True,
    "command": "sh",
    "data_path": "/app/data",
}
NEXT = {"version": "v2", "endpoints": {"shell": SHELL, "built": BUILT}}
# Words that a job gets behind the script: --database_key KEY --dmi_sm_server URL.
REPORT = (
    'for step in 1 2 3; do curl -sf -X POST "$3/status_update/?key=$1&status=running&message=step$step"'
    " || exit 9; sleep 1; done"
)


# The database of a manager that was there before, brought here by root.
OLD_DATABASE = f"""
import os, sqlite3
os.makedirs("{DATA}/data")
with sqlite3.connect("{DATA}/data/dmi_sm_db.sqlite") as found:
    found.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, created_at INTEGER, jobtype TEXT, "
                  "completed_at INTEGER, status TEXT, message TEXT, processed_records INTEGER, "
                  "details JSON, results JSON)")
    found.execute("INSERT INTO jobs (id, status, message) VALUES (41, 'complete', 'of 2019')")
"""


class Run:
    """The outcome of a playbook."""

    def __init__(self, process):
        self.output = process.stdout + process.stderr
        self.rc = process.returncode
        start = process.stdout.find("{\n")
        assert start >= 0, self.output
        self.data = json.loads(process.stdout[start:])

    def changed(self):
        return sum(stats["changed"] for stats in self.data["stats"].values())

    def message(self):
        return " ".join(
            " ".join(result["msg"].split())
            for play in self.data["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
            if result.get("failed")
        )

    def remote(self):
        """Return the names of the tasks of the role that were sent to a node."""
        return [
            task["task"]["name"].rpartition(" : ")[2]
            for play in self.data["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
            for one in (result.get("results") or [result])
            if not result.get("skipped") and one.get("action", result.get("action")) not in LOCAL
            if task["task"]["name"].startswith("gpufleet.swarm.dmi_service_manager")
        ]


LOCAL = {
    "ansible.builtin.include_tasks", "ansible.builtin.set_fact", "ansible.builtin.debug",
    "ansible.builtin.assert", "ansible.builtin.include_role", "ansible.builtin.validate_argument_spec",
}  # fmt: skip


class Fleet:
    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        values = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        groups = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
        self.lab = values["fleet_name"]
        self.domain = values["fleet_domain"]
        self.address = {
            name: host["ansible_host"]
            for group in groups.values()
            for name, host in (group.get("hosts") or {}).items()
            if host
        }
        self.credentials = self.inventory / "credentials" / "dmi_service_manager"

    def call(self, playbook, *arguments, callback="ansible.posix.json", **options):
        env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": callback,
            "ANSIBLE_FORCE_COLOR": "false",
        }
        own = {f"dmi_service_manager_{name}": value for name, value in {**OPTIONS, **options}.items()}
        extra = json.dumps({**own, "fleet_systems": ["dmi_service_manager"]})
        command = [BIN / "ansible-playbook", "-i", self.inventory, *arguments, "-e", extra, playbook]
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
        )

    def play(self, *arguments, fails=False, **options):
        """Run the role as the site play does, and return the Run."""
        path = self.folder / "play.yml"
        play = {"hosts": "managers[0]", "become": True, "gather_facts": False}
        path.write_text(json.dumps([{**play, "roles": ["gpufleet.swarm.dmi_service_manager"]}]))
        run = Run(self.call(path, *arguments, **options))
        assert (run.rc != 0) is fails, run.output
        return run

    def on(self, host, script, check=True):
        """Run a script on a host, past SSH and Ansible, and return what it prints."""
        command = ["docker", "exec", f"gpufleet-{self.lab}-{host}", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def ask(self, path, *words, frm=NODE, host=NODE, method="GET", body=None):
        """Ask a manager from a host, in the clear; return (status, the answer)."""
        at = "127.0.0.1" if frm == host else self.address[host]
        return self._curl(frm, f"http://{at}:{PORT}{path}", *words, method=method, body=body)

    def secure(self, path, *words, frm=NODE, name="dmi"):
        """Ask through the ingress, by name."""
        name = f"{name}.{self.domain}"
        to = f"--resolve {name}:443:{self.address[MANAGER]}"
        return self._curl(frm, f"https://{name}{path}", to, *words)

    def _curl(self, frm, url, *words, method="GET", body=None):
        if body is not None:
            words = (*words, "-H 'Content-Type: application/json'", "--data @/tmp/body.json")
            self.put(frm, "/tmp/body.json", json.dumps(body))
        script = f"curl -s --path-as-is -m 20 -X {method} -w '\\n%{{http_code}}' {' '.join(words)} '{url}'"
        answer, _, status = self.on(frm, script, check=False).rpartition("\n")
        return int(status or 0), answer

    def put(self, host, path, text):
        command = ["docker", "exec", "-i", f"gpufleet-{self.lab}-{host}", "sh", "-c", f"cat > '{path}'"]
        subprocess.run(command, input=text, text=True, check=True)

    def start_job(self, endpoint, script, **body):
        status, answer = self.ask(
            f"/api/{endpoint}", method="POST", body={"args": ["-c", script], **body}
        )
        assert status == 202, answer
        return json.loads(answer)["key"]

    def job(self, key):
        return json.loads(self.ask(f"/api/jobs/{key}")[1])["job"]

    def finished(self, key, seconds=60):
        """Wait until a job has ended and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (job := self.job(key))["status"] in ("complete", "error"):
                return job
            time.sleep(0.3)
        raise AssertionError(self.on(NODE, "journalctl -n 60 -o cat -u dmi_service_manager"))

    def jobs(self, host=NODE):
        return json.loads(self.ask("/jobs/", frm=host, host=host)[1])["jobs"]

    def pid(self, host=NODE):
        return self.on(host, "systemctl show -P MainPID dmi_service_manager")

    def until(self, expected, question, seconds=60):
        """Ask until the answer is as expected."""
        end = time.monotonic() + seconds
        while (found := question()) != expected:
            assert time.monotonic() < end, f"found {found}, wanted {expected}"
            time.sleep(0.5)

    def containers(self, host=NODE):
        return self.on(host, "docker ps -aq --filter label=gpufleet.dmi_service_manager").split()


def repository(folder, source, tag):
    """Make a git repository of a folder, or another version in it."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "VERSION").write_text(tag)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@lab.test"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", tag], ["tag", tag]):
        subprocess.run([*git, *words], check=True)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("play"))
    if fleet.credentials.exists() or not set(HOSTS) <= set(fleet.address):
        pytest.fail(f"wanted a fresh lab of {HOSTS}, found {sorted(fleet.address)}")
    source = tmp_path_factory.mktemp("source")
    for tag in ("v1", "v2"):
        repository(source / "dmi.git", ROOT / "tests/unit/roles/dmi_stand_in", tag)
    (source / "image").mkdir()
    (source / "image" / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /built\n")
    repository(source / "job.git", source / "image", "v1")
    for host, python in PYTHONS.items():
        wheels = tmp_path_factory.mktemp("wheels")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", python, "--platform", "manylinux2014_x86_64"]
        requirements = ROLE / "files/requirements.txt"
        subprocess.run([*command, "--dest", str(wheels), "-r", str(requirements)], check=True)
        name = f"gpufleet-{fleet.lab}-{host}"
        fleet.on(host, f"mkdir -p {CATS} && echo seen > {CATS}/dataset.txt")
        subprocess.run(["docker", "cp", "-q", str(wheels), f"{name}:/srv/wheels"], check=True)
        for one in ("dmi.git", "job.git"):
            subprocess.run(["docker", "cp", "-q", str(source / one), f"{name}:/srv/{one}"], check=True)
        fleet.on(host, "chown -R root:root /srv/*.git /srv/wheels && chmod -R a+rX /srv/wheels")
    return fleet


def prints(fleet):
    """Return what tells that a node was changed."""
    find = "find /opt /srv /etc /var/lib/dmi* /usr/local /usr/share ! -path '*/__pycache__/*' 2>&1"
    find += " -printf '%p %s %U:%G %m %T@\\n'"
    return {host: fleet.on(host, find, check=False) for host in HOSTS}


def test_a_dry_run_foretells_and_changes_nothing(fleet):
    before = prints(fleet)
    run = fleet.play("--check", "--diff")
    assert run.changed() and "would be brought up to date" in run.output
    assert prints(fleet) == before
    assert not fleet.credentials.exists()


def test_bad_input_is_refused_in_the_plan(fleet):
    before = prints(fleet)
    run = Run(fleet.call(ROOT / "site.yml", log_level="debug"))
    assert run.rc != 0 and "dmi_service_manager_log_level" in run.message()
    run = Run(fleet.call(ROOT / "site.yml", gpu_enabled=True, **{"4cat_datasets_path": ""}))
    assert run.rc != 0
    for option in ("gpu_enabled", "4cat_datasets_path"):
        assert f"dmi_service_manager_{option}" in run.message()
    assert prints(fleet) == before


def test_one_run_brings_it_up_and_tells_no_secret(fleet):
    fleet.put(NODE, "/root/old.py", OLD_DATABASE)
    fleet.on(NODE, "python3 /root/old.py")
    done = fleet.call(ROOT / "site.yml", "-vv", "--diff", callback="ansible.builtin.default")
    assert done.returncode == 0, done.stdout[-6000:]
    for name in ("secret_key", "sender_key"):
        secret = (fleet.credentials / name).read_text()
        assert len(secret) == 40 and secret not in done.stdout + done.stderr
        for host in HOSTS:
            assert secret not in fleet.on(host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -o cat")
    assert fleet.on(NODE, "systemctl is-active dmi_service_manager") == "active"


def test_a_second_run_changes_nothing(fleet):
    pid = fleet.pid()
    run = Run(fleet.call(ROOT / "site.yml"))
    assert run.rc == 0 and run.changed() == 0, run.output
    print(f"remote tasks of a second run: {run.remote()}")
    assert len(run.remote()) <= 3
    assert fleet.pid() == pid


def test_a_database_that_was_brought_is_the_managers(fleet):
    assert fleet.on(NODE, f"stat -c '%U %G' {DATA}/data/dmi_sm_db.sqlite") == "dmi dmi"
    assert [(job["id"], job["message"]) for job in fleet.jobs()] == [(41, "of 2019")]


def test_the_packages_came_from_where_the_option_says(fleet):
    # There is nothing else in reach of the option pip_arguments: no index, and one folder.
    names = fleet.on(NODE, "/opt/dmi_service_manager/releases/*/venv/bin/python -m pip list --format freeze")
    wanted = [line for line in (ROLE / "files/requirements.txt").read_text().splitlines() if "==" in line]
    assert {line.lower().replace("_", "-") for line in wanted} <= {
        line.lower().replace("_", "-") for line in names.splitlines()
    }


def test_it_runs_once_on_one_node_and_on_the_nodes_own_address(fleet):
    assert fleet.on(MANAGER, "systemctl is-active dmi_service_manager", check=False) != "active"
    listening = fleet.on(NODE, f"ss -Hltn 'sport = :{PORT}'").splitlines()
    assert [line.split()[3] for line in listening] == [f"0.0.0.0:{PORT}"]
    assert fleet.on(MANAGER, f"ss -Hltn 'sport = :{PORT}'") == ""


def test_gunicorn_runs_with_one_worker_as_nobody_special(fleet):
    user, *words = fleet.on(NODE, f"ps -o user=,args= -p {fleet.pid()}").split()
    assert user == "dmi"
    assert "--workers=1" in words and "--worker-class=gthread" in words and "--threads=12" in words
    assert not {"--reload", "--log-level=debug"} & set(words)
    assert len(fleet.on(NODE, f"ps -o pid= --ppid {fleet.pid()}").split()) == 1


def test_the_configuration_is_right_and_not_for_all(fleet):
    assert fleet.on(NODE, f"stat -c '%a %U %G' {DATA}/config.yml") == "600 dmi dmi"
    config = yaml.safe_load(fleet.on(NODE, f"cat {DATA}/config.yml"))
    assert config["SECRET_KEY"] == (fleet.credentials / "secret_key").read_text() != "secret key"
    assert config["DMI_SM_SERVER"] == f"http://127.0.0.1:{PORT}"
    assert config["TRUSTED_PROXIES"] == []
    for folder in (DATA, f"{DATA}/data", UPLOADS):
        assert fleet.on(NODE, f"stat -c '%a %U %G' {folder}") == "750 dmi dmi"


def test_exactly_the_endpoints_of_the_options(fleet):
    status, answer = fleet.ask("/api/")
    # whisper is neither local nor remote.
    assert (status, json.loads(answer)) == (200, {"endpoints": ["/api/shell_local", "/api/shell_remote"]})


def test_only_listed_addresses_are_let_in(fleet):
    assert fleet.ask("/api/")[0] == 200
    assert fleet.ask("/api/", frm=MANAGER)[0] == 403
    assert fleet.ask("/api/", "-H 'X-Forwarded-For: 127.0.0.1'", frm=MANAGER)[0] == 403
    # The node's own address is listed, and the ingress tells it truly.
    fleet.until(200, lambda: fleet.secure("/api/")[0])
    assert fleet.secure("/api/", frm=MANAGER)[0] == 403
    assert fleet.secure("/api/", "-H 'X-Forwarded-For: 127.0.0.1'", frm=MANAGER)[0] == 403


def test_a_new_client_is_let_in_without_a_restart(fleet):
    pid = fleet.pid()
    assert fleet.play(ip_whitelist=[fleet.address[MANAGER]]).changed() == 1
    assert fleet.ask("/api/", frm=MANAGER)[0] == 200
    assert fleet.pid() == pid


def test_every_image_is_on_the_node(fleet):
    config = yaml.safe_load(fleet.on(NODE, f"cat {DATA}/config.yml"))
    for endpoint in config["DOCKER_ENDPOINTS"].values():
        fleet.on(NODE, f"docker image inspect {endpoint['image_name']}")


def test_a_job_runs_where_its_files_are(fleet):
    key = fleet.start_job("shell_local", "cat /app/data/dataset.txt")
    job = fleet.finished(key)
    assert job["status"] == "complete"
    assert json.loads(job["results"])["returncode"] == 0
    assert json.loads(job["results"])["report"] == "seen\n"


def test_a_job_reports_its_progress(fleet):
    key = fleet.start_job("shell_remote", REPORT, pass_key=True)
    seen, sources = set(), set()
    while (job := fleet.job(key))["status"] not in ("complete", "error"):
        seen.add(job["message"])
        for container in fleet.containers():
            for found in json.loads(fleet.on(NODE, f"docker inspect {container}", check=False) or "[]"):
                sources |= {mount["Source"] for mount in found["Mounts"]}
        time.sleep(0.3)
    assert job["status"] == "complete", job
    assert len(seen & {"step1", "step2", "step3"}) >= 2
    # What a job is given lies where the manager sees it.
    assert sources == {UPLOADS}
    assert json.loads(job["results"])["returncode"] == 0, "none of its reports was refused"


def test_a_job_whose_time_is_over_leaves_no_container(fleet):
    key = fleet.start_job("shell_remote", "sleep 600", timeout=3)
    fleet.until(1, lambda: len(fleet.containers()))
    job = fleet.finished(key)
    assert job["status"] == "error" and "timedout" in json.loads(job["results"])["error"]
    fleet.until([], fleet.containers, seconds=20)


def test_only_images_of_endpoints_are_run(fleet):
    home = "/opt/dmi_service_manager"
    docker = f"cd {DATA} && PATH={home}/front/bin:$(echo {home}/releases/*/venv/bin):$PATH docker"
    told = fleet.on(NODE, f"{docker} run --rm redis:7.4 true 2>&1", check=False)
    assert "wanted one of DOCKER_ENDPOINTS" in told
    assert "wanted docker run" in fleet.on(NODE, f"{docker} ps 2>&1", check=False)


def test_files_are_sent_and_fetched_and_do_not_lead_outside(fleet):
    fleet.put(NODE, "/tmp/hello.txt", "hello\n")
    send = "-F folder_name={} -F {}=@/tmp/hello.txt"
    status, answer = fleet.ask("/api/send_files", send.format("mine", "images"), method="POST")
    assert status == 200, answer
    assert fleet.on(NODE, f"cat {UPLOADS}/mine/images/hello.txt") == "hello"
    assert json.loads(fleet.ask("/api/list_filenames/mine")[1]) == {"images": ["hello.txt"]}
    copy = "cp /app/data/mine/images/hello.txt /app/data/result.txt"
    job = fleet.finished(fleet.start_job("shell_remote", copy))
    assert job["status"] == "complete", job
    assert fleet.ask("/api/download/result.txt") == (200, "hello\n")
    assert fleet.ask("/api/linecount/?folder=mine&file=images/hello.txt")[0] == 200
    assert fleet.ask("/api/send_files", "-F images=@/tmp/hello.txt", method="POST")[0] == 200
    for folder, field in (("../..", "images"), ("/tmp", "images"), ("mine", "../../../stolen")):
        assert fleet.ask("/api/send_files", send.format(folder, field), method="POST")[0] == 400
    # /tmp and /run are file systems of their own.
    elsewhere = f"find / /tmp /run -xdev -name hello.txt ! -path '{UPLOADS}/*'"
    assert fleet.on(NODE, elsewhere) == "/tmp/hello.txt"
    up = "%2e%2e"
    for path in (f"../../..{DATA}/config.yml", f"{up}/{up}/{up}/etc/hostname", "..%2f..%2f..%2fetc/hostname"):
        for ask in (fleet.ask, fleet.secure):
            status, answer = ask(f"/api/download/{path}")
            assert status in (400, 404) and "SECRET" not in answer, (path, status, answer)


def test_the_memory_of_cards_is_told_where_there_are_any(fleet):
    # With cards: see the page.
    assert fleet.ask("/api/check_gpu_mem/shell")[0] == 400


def test_verify_asks_the_managers(fleet):
    path = fleet.folder / "verify.yml"
    tasks = [
        {
            "ansible.builtin.include_role": {
                "name": "gpufleet.swarm.dmi_service_manager",
                "tasks_from": "verify",
            }
        },
        {
            "gpufleet.swarm.probe": {
                "checks": "{{ dmi_service_manager_checks }}",
                "connect_to": fleet.address[MANAGER],
                "ca_file": str(fleet.inventory / "credentials" / "ca" / "ca.crt"),
            },
            "delegate_to": "localhost",
            "become": False,
        },
    ]
    play = {"hosts": "managers[0]", "become": True, "gather_facts": False}
    path.write_text(json.dumps([{**play, "tasks": tasks}]))
    fleet.on(NODE, "systemctl stop dmi_service_manager")
    assert Run(fleet.call(path)).rc != 0
    # Stopped is not as it should be. And who was a client is none any more.
    assert fleet.play().changed() > 0
    run = Run(fleet.call(path))
    assert run.rc == 0, run.output
    assert fleet.ask("/api/", frm=MANAGER)[0] == 403


def test_a_new_secret_reaches_its_users_and_nothing_else(fleet):
    def rotate(name, **options):
        given = {"secrets_system": "dmi_service_manager", "secrets_name": name}
        return Run(fleet.call(ROOT / "playbooks/rotate_secret.yml", "-e", json.dumps(given), **options))

    def state():
        config = yaml.safe_load(fleet.on(NODE, f"cat {DATA}/config.yml"))
        way = fleet.on(MANAGER, "cat /etc/gpufleet/ingress/dmi_service_manager.yml")
        return fleet.pid(), config, way, sorted(path.name for path in fleet.credentials.iterdir())

    pid, before, way, names = state()
    refused = rotate("no_such")
    assert refused.rc != 0 and "wanted one of secret_key, sender_key" in refused.message()
    refused = rotate("sender_key", threads=3)
    assert refused.rc != 0 and f"changes that are not deployed yet ({NODE})" in refused.message()
    assert state() == (pid, before, way, names)
    # The manager reads it at every request, so that no job ends.
    old = (fleet.credentials / "sender_key").read_text()
    run = rotate("sender_key")
    assert run.rc == 0, run.output
    new = (fleet.credentials / "sender_key").read_text()
    assert new != old and new not in run.output
    assert state() == (
        pid, {**before, "GPUFLEET": {**before["GPUFLEET"], "SENDER_KEY": new}}, way.replace(old, new), names
    )  # fmt: skip
    fleet.until(200, lambda: fleet.secure("/api/")[0])
    vouched = "-H 'X-Gpufleet-Sender: {}' -H 'X-Forwarded-For: 127.0.0.1'"
    assert fleet.ask("/api/", vouched.format(old), frm=MANAGER)[0] == 403
    assert fleet.ask("/api/", vouched.format(new), frm=MANAGER)[0] == 200
    run = rotate("secret_key")
    assert run.rc == 0, run.output
    key = (fleet.credentials / "secret_key").read_text()
    found = state()
    assert found[0] != pid and found[1]["SECRET_KEY"] == key != before["SECRET_KEY"]
    assert found[2:] == (way.replace(old, new), names)
    assert fleet.play().changed() == 0


def test_the_scan_finds_none_of_its_secrets(fleet):
    done = fleet.call(ROOT / "playbooks/scan_secrets.yml", callback="ansible.builtin.default")
    assert done.returncode == 0 and "No secret stands open." in done.stdout, done.stdout[-6000:]


def survivors(fleet):
    """What has to survive: rows, an upload, and the mode of the folders."""
    rows = [(job["id"], job["status"]) for job in fleet.jobs()]
    assert len(rows) >= 4
    return rows, fleet.on(NODE, f"cat {UPLOADS}/mine/images/hello.txt; stat -c '%a %U' {DATA} {UPLOADS}")


def test_data_survives_an_update_which_ends_jobs(fleet):
    before, files = survivors(fleet)
    key = fleet.start_job("shell_remote", "sleep 600")
    fleet.until(1, lambda: len(fleet.containers()))
    release = fleet.on(NODE, "ls /opt/dmi_service_manager/releases")
    assert fleet.play(**NEXT).changed() > 0
    assert fleet.on(NODE, "cat /opt/dmi_service_manager/releases/*/source/VERSION") == "v2"
    assert release not in fleet.on(NODE, "ls /opt/dmi_service_manager/releases").split()
    assert fleet.containers() == [], "what nobody waits for has ended"
    after, files_after = survivors(fleet)
    assert after == [*before, (key, "error")] and files_after == files


def test_jobs_of_a_manager_that_died_have_ended(fleet):
    key = fleet.start_job("shell_remote", "sleep 600")
    fleet.until(1, lambda: len(fleet.containers()))
    pid = fleet.pid()
    fleet.on(NODE, "systemctl kill --signal KILL dmi_service_manager")
    fleet.until(200, lambda: fleet.ask("/api/")[0])
    assert fleet.pid() != pid
    job = fleet.job(key)
    assert job["status"] == "error" and "started anew" in job["message"]
    assert fleet.containers() == []


def test_a_release_that_cannot_be_fetched_harms_nothing(fleet):
    pid = fleet.pid()
    assert "v3" in fleet.play(fails=True, **{**NEXT, "version": "v3"}).output
    assert fleet.pid() == pid and fleet.ask("/api/")[0] == 200


def test_data_survives_a_reboot_of_the_node(fleet):
    before = survivors(fleet)
    subprocess.run(["docker", "restart", "--time", "20", f"gpufleet-{fleet.lab}-{NODE}"], check=True)
    fleet.until(200, lambda: fleet.ask("/api/")[0], seconds=120)
    assert survivors(fleet) == before
    assert fleet.play(**NEXT).changed() == 0


def test_an_image_is_built_on_the_node(fleet):
    job = fleet.finished(fleet.start_job("built_remote", "cat /built"))
    assert json.loads(job["results"])["report"] == "built\n"


def test_another_node_gets_a_manager_of_its_own(fleet):
    both = {"version": "v2", "nodes": [NODE, MANAGER]}
    before = survivors(fleet)
    fleet.play(**both)
    assert fleet.jobs(MANAGER) == []
    # To each its own name; the node's own address is on the list of its own manager only.
    fleet.until(200, lambda: fleet.secure("/api/")[0])
    fleet.until(403, lambda: fleet.secure("/api/", name=f"dmi-{MANAGER}")[0])
    assert survivors(fleet) == before
    assert fleet.play(**both).changed() == 0
    # And one that is no longer in the list goes.
    fleet.play(version="v2")
    assert fleet.on(MANAGER, "systemctl is-active dmi_service_manager", check=False) != "active"
    assert fleet.on(MANAGER, "ls -d /opt/dmi_service_manager", check=False) == ""
    assert fleet.secure("/api/", name=f"dmi-{MANAGER}")[0] in (0, 404)


def test_removal_takes_it_alone_and_keeps_the_data(fleet):
    before = survivors(fleet)
    services = fleet.on(MANAGER, "docker service ls -q")
    assert fleet.play(state="absent").changed() > 0
    ours = f"/opt/dmi_service_manager {DATA}/config.yml /etc/systemd/system/dmi_service_manager*"
    assert fleet.on(NODE, f"ls -d {ours}", check=False) == ""
    assert fleet.on(NODE, f"ss -Hltn 'sport = :{PORT}'") == ""
    assert fleet.on(MANAGER, "ls /etc/gpufleet/ingress | grep -c dmi", check=False) == "0"
    assert fleet.on(MANAGER, "docker service ls -q") == services
    assert fleet.play(state="absent").changed() == 0
    # Brought back, it has what it had.
    fleet.play(version="v2")
    assert survivors(fleet) == before

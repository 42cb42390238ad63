# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of LinTO's secrets on a real Swarm: taken over, delivered, rotated, encrypted, looked for.

GPUFLEET_INVENTORY  inventory of a lab of two hosts with a Swarm and no system (such as
                    `python scripts/with_lab.py secrets 2 --fleet -- pytest ...` makes); all of this is
                    skipped without it

PostgreSQL and Redis are real; LinTO's own images are stand-ins that sign in at both and stay up only as long
as that works. The tests build on one another and run in the order of the file. Figures are printed: -rP.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from lab.credentials import leaked, secret_texts

INVENTORY = os.environ.get("GPUFLEET_INVENTORY")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not INVENTORY, reason="GPUFLEET_INVENTORY names no Swarm without a system")

MANAGER, WORKER = "manager1", "worker1"
SYSTEM = {"fleet_systems": ["linto"], "linto_features": ["transcription_fr", "studio", "live"]}
OLD_REDIS, OLD_ADMIN = "redis+of/the:old=site&2019", "the-superadmin-of-2019"
ENV = f"""
# as LinTO's scripts read it
LINTO_IMAGE_TAG=latest-unstable
LINTO_FRONT_THEME=LinTO-green
DOCKER_NETWORK=linto
REDIS_PASSWORD='{OLD_REDIS}'
SUPER_ADMIN_EMAIL=boss@lab.test
SUPER_ADMIN_PWD="{OLD_ADMIN}"   # changed in March
"""
VAULT = "the password of the vault"
REDIS, POSTGRES = "linto_task-broker-redis", "linto_session-postgres"
# Who is started anew for which secret, and nobody else.
USERS = {
    "jwt_secret": {"linto_studio-api"},
    "redis_password": {REDIS, "linto_stt-french-whisper-v3", "linto_stt-french-whisper-v3_workers"},
    "postgres_password": {
        POSTGRES, "linto_session-postgres_migration", "linto_session-api", "linto_session-scheduler",
    },
}  # fmt: skip


class Fleet:
    """Runs the playbooks, and looks at the hosts past SSH and Ansible."""

    def __init__(self, folder):
        self.folder = folder
        self.inventory = Path(INVENTORY).absolute()
        self.lab = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text())["fleet_name"]
        self.secrets = self.inventory / "credentials" / "linto"
        self.vault = ()

    def play(self, playbook, *arguments, fails=False, vault=None, **variables):
        """Run a playbook of the collection; return what it printed. No secret may be in it."""
        arguments = [*(self.vault if vault is None else vault), *arguments]
        command = [BIN / "ansible-playbook", "-i", self.inventory, *arguments]
        command += ["-e", json.dumps({**SYSTEM, **variables}), ROOT / "playbooks" / f"{playbook}.yml"]
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"}
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
        )
        print(f"{playbook} {variables.get('secrets_name', '')}: {time.monotonic() - began:.1f} s")
        output = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, output
        assert leaked(self.texts(), output) == []
        return output

    def texts(self):
        return secret_texts(self.inventory / "credentials", self.open)

    def open(self, path):
        """Return the content of a file of secrets, decrypted where it is encrypted."""
        content = path.read_bytes()
        if not content.startswith(b"$ANSIBLE_VAULT"):
            return content
        return bytes(VaultLib([("default", VaultSecret(VAULT.encode()))]).decrypt(content))

    def value(self, name):
        return self.open(self.secrets / name).decode().strip()

    def on(self, host, script, check=True, text=None):
        """Run a script on a host; text is its standard input."""
        command = ["docker", "exec", "-i", f"gpufleet-{self.lab}-{host}", "sh", "-c", script]
        done = subprocess.run(
            command, input=text or "", capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def tasks(self):
        """Return {service: ids of its tasks that run, or of the last one that has completed}."""
        rows = self.on(
            MANAGER,
            "for s in $(docker service ls -q --filter label=com.docker.stack.namespace=linto); do "
            "docker service ps --no-trunc --format "
            "'{{.Name}} {{.ID}} {{.DesiredState}} {{.CurrentState}}' $s; done",
        ).splitlines()
        found = {}
        for row in rows:
            name, identity, desired, state = row.split()[:4]
            # NAME.SLOT, or NAME.NODE where a service runs on each
            service = name.partition(".")[0]
            if (desired, state) == ("Running", "Running") or (state == "Complete" and service not in found):
                found.setdefault(service, set()).add(identity)
        return found

    def inside(self, service, script, text=None):
        """Run a script in the container of a service on the manager."""
        container = f"$(docker ps -q -f label=com.docker.swarm.service.name={service} | head -1)"
        return self.on(MANAGER, f"docker exec -i {container} sh -c '{script}'", check=False, text=text)

    def redis_takes(self, password):
        """Return whether Redis lets a password in."""
        script = 'read p; REDISCLI_AUTH="$p" redis-cli --no-auth-warning ping'
        return "PONG" in self.inside(REDIS, script, password + "\n")

    def postgres_takes(self, password):
        """Return whether PostgreSQL lets a password in, from an address where it asks for one."""
        script = (
            'read PGPASSWORD; export PGPASSWORD; '
            'psql --host="$(hostname -i | cut -d" " -f1)" -U linto -d session_DB -Atc "select 40 + 2"'
        )
        return self.inside(POSTGRES, script, password + "\n") == "42"

    def sql(self, statement):
        return self.inside(POSTGRES, "psql -U linto -d session_DB -At", statement + "\n")

    def rotate(self, name, **options):
        return self.play("rotate_secret", secrets_system="linto", secrets_name=name, **options)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("secrets"))
    if fleet.secrets.exists():
        pytest.fail("wanted a fleet without LinTO, found its credentials")
    return fleet


def changed(output):
    """Return how many tasks changed something, host by host."""
    return re.findall(r" changed=(\d+) ", output.split("PLAY RECAP")[1])


def take_over(fleet, text, **options):
    path = fleet.folder / ".env"
    path.write_text(text)
    return fleet.play("import_secrets", secrets_system="linto", secrets_env_file=str(path), **options)


def test_a_published_default_is_not_taken_over(fleet):
    output = take_over(fleet, ENV.replace(OLD_REDIS, "My_Pasword"), fails=True)
    assert "A secret is one that upstream has published (REDIS_PASSWORD in" in " ".join(output.split())
    assert not fleet.secrets.exists()


def test_the_env_file_of_an_old_site_is_taken_over(fleet):
    options = fleet.folder / "linto.yml"
    output = take_over(fleet, ENV, secrets_options_file=str(options))
    assert "REDIS_PASSWORD   redis_password       create" in output
    assert "DOCKER_NETWORK  the network at the edge is always fleet_public" in output
    assert OLD_REDIS not in output and OLD_ADMIN not in output
    assert yaml.safe_load(options.read_text()) == {
        "linto_image_tag": "latest-unstable",
        "linto_superadmin_email": "boss@lab.test",
        "linto_theme": "LinTO-green",
    }
    assert (fleet.value("redis_password"), fleet.value("superadmin_password")) == (OLD_REDIS, OLD_ADMIN)
    assert changed(take_over(fleet, ENV, secrets_options_file=str(options))) == ["0"]


def test_linto_is_deployed_with_them(fleet):
    fleet.play("site")
    assert fleet.redis_takes(OLD_REDIS) and not fleet.redis_takes("another")
    assert fleet.postgres_takes(fleet.value("postgres_password")) and not fleet.postgres_takes("another")
    fleet.sql("create table kept (word text); insert into kept values ('still here')")
    assert {path.stat().st_mode & 0o777 for path in fleet.secrets.iterdir()} == {0o600}


def test_the_scan_finds_nothing_but_what_is_declared(fleet):
    output = fleet.play("scan_secrets")
    assert "No secret stands open." in output
    rows = re.findall(r"^\s*(manager1|worker1)" + r" +(\d+)" * 6, output, re.MULTILINE)
    assert len(rows) == 2, output
    host, secrets, files, containers, processes, objects, declared = rows[0]
    assert host == MANAGER and int(secrets) >= 7 and int(files) > 500 and int(containers) > 5
    assert int(processes) > 30 and int(objects) > 30 and int(declared) >= 5
    print("\n".join(" ".join(row) for row in rows))


@pytest.mark.parametrize("name", USERS)
def test_a_rotation_updates_every_user_and_nothing_else(fleet, name):
    before, old = fleet.tasks(), fleet.value(name)
    output = fleet.rotate(name)
    after, new = fleet.tasks(), fleet.value(name)
    assert new != old and len(new) == 40 and old not in output
    assert {service for service in after if after[service] != before[service]} == USERS[name]
    assert set(after) == set(before)
    assert sorted(path.name for path in fleet.secrets.iterdir() if name in path.name) == [name]
    if name == "redis_password":
        assert fleet.redis_takes(new) and not fleet.redis_takes(old)
    if name == "postgres_password":
        assert fleet.postgres_takes(new) and not fleet.postgres_takes(old)
        assert fleet.sql("select word from kept") == "still here"
        stored = fleet.sql("select substr(rolpassword, 1, 19) from pg_authid where rolname = current_user")
        assert stored == "SCRAM-SHA-256$4096:"


def test_a_rotation_that_was_interrupted_goes_on(fleet):
    old = fleet.value("postgres_password")
    coming = fleet.secrets / "postgres_password.next"
    left = "5uNq0pZr7XcK2vTf9WbY4mJd6LhS1gAe8RoQ3iDw"
    coming.write_text(left)
    coming.chmod(0o600)
    fleet.rotate("postgres_password")
    assert fleet.value("postgres_password") == left
    assert fleet.postgres_takes(left) and not fleet.postgres_takes(old)
    assert not coming.exists()
    # Interrupted after the new value counted, and before its users had it.
    (fleet.secrets / "jwt_secret.previous").write_text(fleet.value("jwt_secret"))
    left = "hB3xVn8MqTz1yKs6PwEj0CfUr5GaLo9dI2tRmY7k"
    (fleet.secrets / "jwt_secret").write_text(left)
    before = fleet.tasks()
    fleet.rotate("jwt_secret")
    after = fleet.tasks()
    assert {service for service in after if after[service] != before[service]} == USERS["jwt_secret"]
    assert fleet.value("jwt_secret") == left
    assert not (fleet.secrets / "jwt_secret.previous").exists()


def test_a_value_that_does_not_work_gives_way_to_the_old_one(fleet):
    old = fleet.value("redis_password")
    coming = fleet.secrets / "redis_password.next"
    coming.write_text("two words that no line of its settings can hold")  # Redis refuses to start
    coming.chmod(0o600)
    output = " ".join(fleet.rotate("redis_password", fails=True).split())
    assert "linto/redis_password has its old value again, everywhere; the new one did not work" in output
    assert fleet.value("redis_password") == old and fleet.redis_takes(old)
    assert sorted(path.name for path in fleet.secrets.iterdir() if "redis" in path.name) == ["redis_password"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("superadmin_password", "the Studio reads it only when it makes the account of"),
        ("no_such", "found linto/no_such, wanted one of redis_password, postgres_password"),
    ],
)
def test_what_cannot_be_rotated_is_refused(fleet, name, reason):
    before, files = fleet.tasks(), sorted(fleet.secrets.iterdir())
    assert reason in " ".join(fleet.rotate(name, fails=True).split())
    assert (fleet.tasks(), sorted(fleet.secrets.iterdir())) == (before, files)


def test_a_rotation_does_not_deploy_what_else_waits(fleet):
    before = fleet.tasks()
    output = fleet.rotate("jwt_secret", fails=True, linto_theme="another")
    assert "found changes of linto that are not deployed yet" in " ".join(output.split())
    assert fleet.tasks() == before and not (fleet.secrets / "jwt_secret.next").exists()


def test_with_a_vault_password_everything_is_encrypted_and_nothing_restarts(fleet):
    before, values = fleet.tasks(), {path.name: fleet.value(path.name) for path in fleet.secrets.iterdir()}
    password = fleet.folder / "vault"
    password.write_text(f"{VAULT}\n")
    fleet.vault = ("--vault-password-file", str(password))
    output = fleet.play("site")
    assert "failed=0" in output
    assert {path.name: fleet.value(path.name) for path in fleet.secrets.iterdir()} == values
    sealed = {path.name: path.read_bytes() for path in fleet.secrets.iterdir()}
    assert all(content.startswith(b"$ANSIBLE_VAULT;1.1;AES256\n") for content in sealed.values())
    assert changed(fleet.play("site")) == ["0", "0"]
    assert {path.name: path.read_bytes() for path in fleet.secrets.iterdir()} == sealed
    assert fleet.tasks() == before


@pytest.mark.parametrize(
    ("playbook", "kind"), [("site", "wrong"), ("rotate_secret", "without"), ("scan_secrets", "wrong")]
)
def test_a_vault_that_cannot_be_opened_changes_nothing(fleet, playbook, kind):
    wrong = fleet.folder / "wrong"
    wrong.write_text("another password\n")
    arguments = {"without": [], "wrong": ["--vault-password-file", str(wrong)]}[kind]
    before = fleet.tasks()
    output = fleet.play(
        playbook, vault=arguments, fails=True, secrets_system="linto", secrets_name="jwt_secret"
    )
    found = {
        "without": "found a file encrypted by Ansible Vault, and no Vault password",
        "wrong": "found a file encrypted by Ansible Vault that none of the given passwords opens (default)",
    }[kind]
    message = " ".join(output.split())
    assert f"Cannot read a secret ({fleet.secrets}/jwt_secret): {found}" in message
    assert "set --vault-password-file, --vault-id, or vault_password_file of ansible.cfg" in message
    assert "no host was contacted" in message
    assert fleet.tasks() == before


def test_a_rotation_under_a_vault(fleet):
    before, old = fleet.tasks(), fleet.value("postgres_password")
    fleet.rotate("postgres_password")
    after, new = fleet.tasks(), fleet.value("postgres_password")
    assert {service for service in after if after[service] != before[service]} == USERS["postgres_password"]
    assert fleet.postgres_takes(new) and not fleet.postgres_takes(old)
    assert (fleet.secrets / "postgres_password").read_bytes().startswith(b"$ANSIBLE_VAULT")


LEAK = """
printf %s "$SECRET" > /srv/loose.txt; chmod 0644 /srv/loose.txt
printf %s "$SECRET" > /srv/tight.txt; chmod 0600 /srv/tight.txt
printf %s "$SECRET" | base64 > /home/group.b64; chmod 0640 /home/group.b64
printf %s "$CA" > /root/ca.pem; chmod 0644 /root/ca.pem
echo "signed in with $SECRET" > /var/log/app.log; chmod 0600 /var/log/app.log
echo "signed in with $SECRET" | gzip > /var/log/app.log.1.gz
echo "signed in with $SECRET" | systemd-cat -t leaky
nohup sh -c "sleep 600; : $SECRET" > /dev/null 2>&1 &
create="docker service create -q -d --constraint node.role==manager --name"
$create leak_environment --env TOKEN="$SECRET" redis:7.4 sleep 600
$create leak_arguments redis:7.4 sleep 600 "$SECRET"
$create leak_label --label token="$SECRET" redis:7.4 sleep 600
$create leak_log --secret leak redis:7.4 sh -c 'cat /run/secrets/leak; echo; sleep 600'
echo "password=$SECRET" | docker config create leak_config - > /dev/null
docker network create -d overlay --label token="$SECRET" leak_network > /dev/null
docker node update --label-add leak="$SECRET" worker1 > /dev/null
"""
CLEAN = """
rm -f /srv/loose.txt /srv/tight.txt /home/group.b64 /root/ca.pem /var/log/app.log /var/log/app.log.1.gz
kill $(pgrep -f '^sh -c sleep 600') $(pgrep -x -f 'sleep 600') 2> /dev/null
docker service rm leak_environment leak_arguments leak_label leak_log > /dev/null
docker config rm leak_config > /dev/null
docker node update --label-rm leak worker1 > /dev/null
until docker network rm leak_network > /dev/null 2>&1; do sleep 1; done
docker secret rm leak > /dev/null
journalctl --rotate --quiet; journalctl --vacuum-time=1s --quiet
"""
PLACES = [
    "file /srv/loose.txt, mode 0644",
    "file /home/group.b64, mode 0640",
    "log /var/log/app.log, mode 0600",
    "log /var/log/app.log.1.gz, mode 0644",
    "journal, an entry of leaky",
    "command line of a process sh",
    "service leak_environment, variable TOKEN",
    "task of service leak_environment, variable TOKEN",
    "service leak_arguments",
    "service leak_label",
    "log of service leak_log",
    "config leak_config",
    "network leak_network",
    "node worker1",
]


def test_the_scan_finds_a_leak_of_each_kind(fleet):
    secret = fleet.value("jwt_secret")
    fleet.on(MANAGER, "docker secret create leak - > /dev/null", text=secret)
    authority = base64.b64encode(fleet.open(fleet.inventory / "credentials" / "ca" / "ca.key")).decode()
    script = f"read SECRET; read CA64; CA=$(echo $CA64 | base64 -d); {LEAK}"
    fleet.on(MANAGER, script, text=f"{secret}\n{authority}\n")
    note, loose = fleet.inventory / "note.txt", fleet.secrets / "redis_password"
    note.write_text(f"do not forget: {secret}\n")
    loose.chmod(0o640)
    deadline = time.monotonic() + 60
    while not fleet.on(MANAGER, "docker service logs leak_log 2>&1", check=False):
        assert time.monotonic() < deadline, "the service that tells its secret does not start"
        time.sleep(1)
    output = fleet.play("scan_secrets", fails=True)
    found = set(re.findall(r"^\s*(\S+: \S+ in .*?)$", output, re.MULTILINE))
    wanted = {f"{MANAGER}: linto/jwt_secret in {place}" for place in PLACES}
    wanted |= {f"{MANAGER}: ca/ca.key in file /root/ca.pem, mode 0644"}
    wanted |= {f"controller: linto/jwt_secret in file {note}, mode {note.stat().st_mode & 0o777:04o}"}
    assert wanted - found == set(), output
    assert "tight.txt" not in output and f"controller: {loose}, mode 0640, wanted 0600" in output
    # Those of the services are told again where their containers run; nothing else may be told.
    others = {line for line in found - wanted if "leak_" not in line}
    assert others == set()
    print(f"{len(wanted) + 1} leaks, found in {len(found)} places")
    fleet.on(MANAGER, CLEAN)
    for host in (MANAGER, WORKER):
        fleet.on(host, 'until [ -z "$(docker ps -aq --filter name=leak_)" ]; do sleep 1; done')
    note.unlink()
    loose.chmod(0o600)
    assert "No secret stands open." in fleet.play("scan_secrets")

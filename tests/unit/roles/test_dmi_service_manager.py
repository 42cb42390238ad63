# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role dmi_service_manager: what it writes for many choices of options, what it refuses, its page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ansible", reason="Ansible is not installed")

from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.template import Templar, trust_as_template  # noqa: E402
from ansible_collections.gpufleet.swarm.plugins.action.validate_inventory import reject  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/dmi_service_manager"
PAGE = ROOT / "docs/systems/dmi_service_manager.md"
TESTS = [*Path(__file__).parent.glob("test_dmi_*.py"), ROOT / "tests/integration/test_dmi_service_manager.py"]
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
PREFIX = "dmi_service_manager_"
GROUPS = {"all": ["m1", "g1", "g2", "f1"], "managers": ["m1"], "workers": ["g1", "g2"], "gpu": ["g1"]}
HOSTS = {name: {"ansible_host": f"192.0.2.{number}"} for number, name in enumerate(GROUPS["all"], 1)}
BUILD = {"source": "https://example.org/ocr.git", "version": "v1", "context": "ocr"}
ENDPOINT = {"image_name": "x/y:1", "command": "run me", "data_path": "/data", "remote": True}


LOADER = DataLoader()
FILES = (ROOT / "roles/fleet/vars/main.yml", ROLE / "defaults/main.yml", ROLE / "vars/main.yml")
VARIABLES = [LOADER.load_from_file(str(file), trusted_as_template=True) for file in FILES]


class Role:
    """The role on one node with some options, by their names without the role's."""

    def __init__(self, folder, node="g1", host=None, **options):
        options = {f"{PREFIX}{name}": value for name, value in options.items()}
        variables = {
            "groups": GROUPS,
            "hostvars": {**HOSTS, node: {**HOSTS[node], **options, **(host or {})}},
            "fleet_domain": "lab.test",
            "fleet_credentials_dir": str(folder),
            "role_path": str(ROLE),
            "ansible_search_path": [str(ROLE)],
            "images_references": {"dmi-ocr": "localhost/dmi-ocr:0123456789ab"},
            "__dmi_service_manager_node": node,
            f"{PREFIX}nodes": [node],
        }
        variables = {**{name: value for loaded in VARIABLES for name, value in loaded.items()}, **variables}
        self.templar = Templar(LOADER, {**variables, **options})
        by_node = self.value("__dmi_service_manager_by_node")
        self.templar = Templar(LOADER, {**variables, **options, "__dmi_service_manager_all": by_node})

    def value(self, expression):
        return self.templar.template(trust_as_template("{{ " + expression + " }}"))

    def text(self, template):
        return str(self.value(f"lookup('ansible.builtin.template', '{template}')"))

    def config(self):
        return yaml.safe_load(self.text("config.yml.j2"))

    def unit(self):
        """Return the directives of the unit, each with all of its values."""
        found = {}
        for line in self.text("dmi_service_manager.service.j2").replace("\\\n", "").splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found.setdefault(name, []).append(" ".join(value.split()))
        return found

    def gunicorn(self):
        return self.unit()["ExecStart"][0].split(" -m gunicorn ")[1].split()

    def objections(self):
        return json.loads(self.text("objections.j2"))

    def fingerprint(self):
        return self.value("__dmi_service_manager_fingerprint")


@pytest.fixture
def role(tmp_path):
    for secret in ("secret_key", "sender_key"):
        (tmp_path / "dmi_service_manager").mkdir(exist_ok=True)
        (tmp_path / "dmi_service_manager" / secret).write_text(f"made-{secret}")
    return lambda **options: Role(tmp_path, **options)


# The configuration


def test_the_configuration_without_any_option(role):
    assert role().config() == {
        "IP_WHITELIST": ["127.0.0.1", "::1", "192.0.2.2"],
        "TRUSTED_PROXIES": [],
        "DATABASE_FILE": "data/dmi_sm_db.sqlite",
        "DMI_SM_SERVER": "http://127.0.0.1:4000",
        "SECRET_KEY": "made-secret_key",
        "4CAT_DATASETS_PATH": "",
        "UPLOAD_FOLDER_PATH": "/srv/dmi_service_manager/uploads",
        "ALLOWED_EXTENSIONS": ["png", "jpg", "jpeg", "gif", "csv", "wav", "mp4", "mp3", "json"],
        "GPU_ENABLED": True,
        "DOCKER_ENDPOINTS": {},
        "GPUFLEET": {
            "SENDER_KEY": "made-sender_key",
            "GPUS": [],
            "LOG_LEVEL": "info",
            "CLOSE_LOST_JOBS": True,
        },
    }


@pytest.mark.parametrize(
    ("option", "value", "key", "wanted"),
    [
        ("database_file", "jobs.sqlite", "DATABASE_FILE", "jobs.sqlite"),
        ("port", 4100, "DMI_SM_SERVER", "http://127.0.0.1:4100"),
        ("4cat_datasets_path", "/srv/4cat", "4CAT_DATASETS_PATH", "/srv/4cat"),
        ("upload_folder_path", "", "UPLOAD_FOLDER_PATH", ""),
        ("allowed_extensions", ["txt"], "ALLOWED_EXTENSIONS", ["txt"]),
        ("gpu_enabled", False, "GPU_ENABLED", False),
        ("trusted_proxies", ["192.0.2.80"], "TRUSTED_PROXIES", ["192.0.2.80"]),
        ("ip_whitelist", ["192.0.2.9"], "IP_WHITELIST", ["127.0.0.1", "::1", "192.0.2.2", "192.0.2.9"]),
        ("open_to_all", True, "IP_WHITELIST", []),
        ("extra_config", {"SHELL_COMMAND_TIMEOUT": 60}, "SHELL_COMMAND_TIMEOUT", 60),
    ],
)
def test_an_option_is_a_setting(role, option, value, key, wanted):
    assert role(**{option: value}).config()[key] == wanted


@pytest.mark.parametrize(
    ("option", "value", "key", "wanted"),
    [
        ("gpu_cards", ["GPU-1"], "GPUS", ["GPU-1"]),
        ("log_level", "warning", "LOG_LEVEL", "warning"),
        ("close_lost_jobs", False, "CLOSE_LOST_JOBS", False),
        ("route", False, "SENDER_KEY", ""),
    ],
)
def test_an_option_is_a_setting_of_what_stands_in_front(role, option, value, key, wanted):
    assert role(**{option: value}).config()["GPUFLEET"][key] == wanted


@pytest.mark.parametrize(
    ("name", "given", "image", "command", "path"),
    [
        ("whisper", {"remote": True}, "whisper", "whisper", "/app/data/"),
        ("pixplot", {"local": True}, "pix_plot_test", "python /app/pixplot/pixplot.py", "/app/data/"),
        ("stormtrooper", {"remote": True}, "stormtrooper", "python3 interface.py", "/app/data"),
        (
            "clip",
            {"local": True, "image_name": "r.org/clip:2"},
            "r.org/clip:2",
            "python3 clip_interface.py",
            "/app/data/",
        ),
        (
            "ocr",
            {"remote": True, "build": BUILD},
            "localhost/dmi-ocr:0123456789ab",
            "python cli_interface.py",
            "/app/data/",
        ),
        ("mine", ENDPOINT, "x/y:1", "run me", "/data"),
    ],
)  # fmt: skip
def test_an_endpoint_has_all_five_keys(role, name, given, image, command, path):
    ready = role(endpoints={name: given}, **{"4cat_datasets_path": "/srv/4cat"})
    assert ready.objections() == []
    assert ready.config()["DOCKER_ENDPOINTS"] == {
        name: {
            "image_name": image,
            "local": given.get("local", False),
            "remote": given.get("remote", False),
            "command": command,
            "data_path": path,
        }
    }


@pytest.mark.parametrize(
    "given", [{}, {"local": False, "remote": False}, {"build": BUILD}, {"image_name": "gone"}]
)
def test_an_endpoint_that_is_off_is_none_and_needs_no_image(role, given):
    # Upstream's example has one that is on.
    ready = role(endpoints={"stormtrooper": given})
    assert ready.objections() == []
    assert ready.config()["DOCKER_ENDPOINTS"] == {}
    assert ready.value("__dmi_service_manager_images") == ready.value("__dmi_service_manager_builds") == []


def test_a_build_is_one_that_the_role_images_takes(role):
    (build,) = role(endpoints={"ocr": {"build": BUILD, "local": True}}).value("__dmi_service_manager_builds")
    images = yaml.safe_load((ROOT / "roles/images/meta/argument_specs.yml").read_text())
    spec = images["argument_specs"]["main"]["options"]["images_builds"]
    assert build == {"name": "dmi-ocr", **BUILD}
    assert reject("images_builds", spec, [dict(build)]) is None


def test_the_images_of_jobs_that_registries_have_are_named_for_the_archive(role):
    given = {
        "whisper": {"remote": True, "image_name": "registry.example.org/whisper:3"},
        "clip": {"image_name": "registry.example.org/off:1"},
        "blip2": {"local": True},
        "ocr": {"build": BUILD, "local": True},
        "x": {**ENDPOINT, "image_name": "x/y:1"},
    }
    named = role(endpoints=given).value("__dmi_service_manager_pulled")
    assert named == ["registry.example.org/whisper:3", "x/y:1"]
    assert role().value("__dmi_service_manager_pulled") == []


@pytest.mark.parametrize(
    ("host", "options", "reached"),
    [
        ({}, {}, True),
        ({"firewall_state": "keep"}, {}, True),
        ({"firewall_state": "present"}, {}, False),
        ({}, {"bind_address": "127.0.0.1"}, False),
    ],
)
def test_the_port_is_verified_where_the_controller_need_reach_it(role, host, options, reached):
    tasks = LOADER.load_from_file(str(ROLE / "tasks" / "ask.yml"), trusted_as_template=True)
    (expression,) = [
        task["vars"]["__dmi_service_manager_reached"]
        for task in tasks
        if "__dmi_service_manager_reached" in task.get("vars", {})
    ]
    assert role(host=host, **options).templar.template(expression) is reached


def test_the_options_of_a_host_hold_for_its_manager(role):
    config = role(port=4000, host={f"{PREFIX}port": 4200, f"{PREFIX}gpu_enabled": False}).config()
    assert (config["DMI_SM_SERVER"], config["GPU_ENABLED"]) == ("http://127.0.0.1:4200", False)


# The unit


def test_gunicorn_has_one_worker_and_nothing_of_a_developer(role):
    assert role().gunicorn() == [
        "--worker-tmp-dir=/dev/shm", "--workers=1", "--threads=12", "--worker-class=gthread",
        "--log-level=info", "--bind=0.0.0.0:4000", "dmi_front:app",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": 3}, ["--threads=3"]),
        ({"worker_tmp_dir": "/run"}, ["--worker-tmp-dir=/run"]),
        ({"log_level": "error"}, ["--log-level=error"]),
        ({"port": 4100}, ["--bind=0.0.0.0:4100"]),
        ({"bind_address": "192.0.2.2"}, ["--bind=192.0.2.2:4000", "--bind=127.0.0.1:4000"]),
        ({"bind_address": "127.0.0.1"}, ["--bind=127.0.0.1:4000"]),
    ],
)
def test_an_option_is_a_word_of_gunicorn(role, options, words):
    assert [word for word in role(**options).gunicorn() if word in words] == words
    assert len([word for word in role(**options).gunicorn() if word.startswith("--bind")]) == max(
        1, len([word for word in words if word.startswith("--bind")])
    )


def test_the_unit_is_the_users_and_may_write_its_folders_only(role):
    paths = {"data_dir": "/srv/dmi", "upload_folder_path": "/srv/up", "database_file": "jobs.db"}
    unit = role(user="dmi2", **paths).unit()
    assert unit["User"] == unit["Group"] == ["dmi2"]
    assert unit["WorkingDirectory"] == ["/srv/dmi"]
    assert unit["ReadWritePaths"] == ["/srv/dmi /srv/up"]
    assert unit["ProtectSystem"] == ["strict"] and unit["SupplementaryGroups"] == ["docker"]


def test_another_source_version_or_package_is_another_release(role):
    releases = [
        role(**options).value("__dmi_service_manager_release")
        for options in (
            {}, {"source": "/srv/dmi.git"}, {"version": "v2"}, {"requirements": ["Flask==3.1.3"]},
        )
    ]  # fmt: skip
    assert len(set(releases)) == 4
    assert all(re.fullmatch(r"/opt/dmi_service_manager/releases/[0-9a-f]{12}", one) for one in releases)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"ip_whitelist": ["192.0.2.9"]}, True),
        ({"trusted_proxies": ["192.0.2.9"]}, True),
        ({"open_to_all": True}, True),
        ({"domain": "other.lab.test"}, True),
        ({"gpu_enabled": False}, False),
        ({"threads": 3}, False),
        ({"version": "v2"}, False),
        ({"extra_config": {"X": 1}}, False),
        ({"endpoints": {"whisper": {"remote": True}}}, False),
    ],
)
def test_what_the_application_reads_again_restarts_nothing(role, options, same):
    # A restart ends the jobs that run.
    assert (role().fingerprint() == role(**options).fingerprint()) is same


def test_the_packages_are_pinned(role):
    default = role().value("__dmi_service_manager_requirements")
    lines = [line for line in default.splitlines() if not line.startswith("#")]
    assert len(lines) > 5 and all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    mine = role(requirements=["Flask==3.1.3", "gunicorn==27.0.1"]).value("__dmi_service_manager_requirements")
    assert mine == "Flask==3.1.3\ngunicorn==27.0.1\n"


@pytest.mark.parametrize(("secret", "same"), [("sender_key", True), ("secret_key", False)])
def test_a_new_key_of_the_ingress_restarts_nothing(role, tmp_path, secret, same):
    before, config = role().fingerprint(), role().config()
    (tmp_path / "dmi_service_manager" / secret).write_text("another")
    assert role().config() != config
    assert (role().fingerprint() == before) is same


def test_every_setting_that_is_written_is_known(role):
    known = role().value("__dmi_service_manager_known_settings")
    assert set(known) == set(role().config())


# Folders and files


def test_what_has_to_be_there_and_how(role):
    wanted = role().value("__dmi_service_manager_wanted")
    folder = {"type": "directory", "mode": "0750"}
    assert wanted["/var/lib/dmi_service_manager"] == folder
    assert wanted["/var/lib/dmi_service_manager/data"] == folder
    assert wanted["/srv/dmi_service_manager/uploads"] == folder
    config = wanted["/var/lib/dmi_service_manager/config.yml"]
    # Wider than this, and the playbook scan_secrets says that its keys stand open.
    assert config["mode"] == "0600"


@pytest.mark.parametrize("change", ["mode", "sha256", "exists", None])
def test_what_differs_is_seen(role, change):
    ready = role()
    path = "/etc/systemd/system/dmi_service_manager.service"
    found = {
        one: {"exists": True, "gid": 7, "uid": 7, **wanted}
        for one, wanted in ready.value("__dmi_service_manager_wanted").items()
    }
    if change == "exists":
        found[path] = dict.fromkeys(("type", "mode", "uid", "gid", "sha256"), None) | {"exists": False}
    elif change:
        found[path] = {**found[path], change: "other"}
    ready.templar.available_variables.update(
        __dmi_service_manager_look={"host": {"paths": found}},
        __dmi_service_manager_due=ready.value("__dmi_service_manager_wanted"),
    )
    assert ready.value("__dmi_service_manager_amiss") == ([path] if change else [])


# The way in


@pytest.mark.parametrize(
    ("node", "options", "host", "url"),
    [
        ("g1", {}, "dmi.lab.test", "http://192.0.2.2:4000"),
        ("g1", {"domain": "sm.example.org", "port": 81}, "sm.example.org", "http://192.0.2.2:81"),
        ("g2", {"nodes": ["g1", "g2"]}, "dmi-g2.lab.test", "http://192.0.2.3:4000"),
        ("g1", {"bind_address": "10.0.0.7"}, "dmi.lab.test", "http://10.0.0.7:4000"),
    ],
)
def test_each_manager_has_a_way_of_its_own(role, node, options, host, url):
    route = yaml.safe_load(role(node=node, **options).text("route.yml.j2"))["http"]
    router = route["routers"][f"dmi-service-manager-{node}"]
    assert router["rule"] == f"Host(`{host}`)" and router["entryPoints"] == ["websecure"]
    assert route["services"][router["service"]]["loadBalancer"]["servers"] == [{"url": url}]
    assert len(route["routers"]) == len(options.get("nodes", [node]))
    (middleware,) = route["middlewares"].values()
    assert middleware["headers"]["customRequestHeaders"] == {"X-Gpufleet-Sender": "made-sender_key"}


@pytest.mark.parametrize(
    ("gpu", "nodes", "enabled"), [(["g1"], ["g1"], True), ([], ["m1"], False), (["g2", "g1"], ["g2"], True)]
)
def test_the_node_is_the_first_with_cards(role, gpu, nodes, enabled):
    ready = role()
    ready.templar.available_variables["groups"] = {**GROUPS, "gpu": gpu}
    ready.templar.available_variables[f"{PREFIX}nodes"] = VARIABLES[1][f"{PREFIX}nodes"]
    assert ready.value(f"{PREFIX}nodes") == nodes
    assert ready.value(f"{PREFIX}gpu_enabled") is enabled


@pytest.mark.parametrize(
    ("state", "nodes", "record", "gone"),
    [
        ("present", ["g1"], ["g1"], []),
        ("present", ["g1"], ["g2", "g1"], ["g2"]),
        ("present", ["g1"], ["sold", "g1"], []),
        ("absent", ["g1"], ["g1"], ["g1"]),
        ("absent", ["g1"], [], ["g1"]),
        ("absent", ["g1"], ["g2"], ["g2", "g1"]),
    ],
)
def test_a_manager_that_is_to_be_no_more_is_removed(role, tmp_path, state, nodes, record, gone):
    (tmp_path / "dmi_service_manager/nodes.json").write_text(json.dumps(record))
    ready = role(state=state, nodes=nodes)
    assert ready.value("__dmi_service_manager_gone") == gone


# What is refused


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({"node": "f1", "gpu_enabled": False}, "nodes", "no node of the Swarm"),
        ({"node": "g2"}, "gpu_enabled", "outside the group gpu"),
        ({"gpu_enabled": False, "gpu_cards": ["GPU-1"]}, "gpu_cards", "no job gets"),
        ({"gpu_cards": ["0"]}, "gpu_cards", "UUID"),
        ({"version": "main"}, "version", "not pinned"),
        ({"requirements": ["Flask"]}, "requirements", "NAME==VERSION"),
        ({"ip_whitelist": ["192.0.2.0/24"]}, "ip_whitelist", "192.0.2.0/24"),
        ({"ip_whitelist": ["4cat.example.org"]}, "ip_whitelist", "one IP address"),
        ({"trusted_proxies": ["10.0.0.0/8"]}, "trusted_proxies", "10.0.0.0/8"),
        ({"open_to_all": True, "ip_whitelist": ["192.0.2.9"]}, "open_to_all", "one of the two"),
        ({"bind_address": "localhost"}, "bind_address", "IPv4"),
        ({"bind_address": "127.0.0.1"}, "bind_address", "dmi_service_manager_route false"),
        ({"port": 443, "node": "m1", "gpu_enabled": False}, "port", "the ingress has its port"),
        ({"port": 70000}, "port", "1 to 65535"),
        ({"upload_folder_path": "/srv/up loads"}, "upload_folder_path", "blanks"),
        ({"upload_folder_path": "srv"}, "upload_folder_path", "absolute"),
        ({"upload_folder_path": "/var/lib"}, "upload_folder_path", "secrets"),
        ({"upload_folder_path": "/"}, "upload_folder_path", "secrets"),
        ({"4cat_datasets_path": "/srv/4cat:x"}, "4cat_datasets_path", "colons"),
        ({"data_dir": "/srv/../etc"}, "data_dir", "absolute path"),
        ({"database_file": "/tmp/jobs.sqlite"}, "database_file", "relative"),
        ({"database_file": "../jobs.sqlite"}, "database_file", "relative"),
        ({"allowed_extensions": [".txt"]}, "allowed_extensions", "without the dot"),
        ({"extra_config": {"SECRET_KEY": "x"}}, "extra_config", "the file secret_key among the credentials"),
        ({"extra_config": {"DOCKER_ENDPOINTS": {}}}, "extra_config", "wanted dmi_service_manager_endpoints"),
        ({"extra_config": {"GPU_ENABLED": True}}, "extra_config", "wanted dmi_service_manager_gpu_enabled"),
        ({"extra_config": {"GPUFLEET": {}}}, "extra_config", "the role's own"),
        ({"extra_config": {"IP_WHITELIST": []}}, "extra_config", "place of its own"),
        ({"endpoints": {"whisper": True}}, "endpoints (whisper)", "mapping"),
        ({"endpoints": {"whisper": {"locale": True}}}, "endpoints (whisper)", "locale"),
        ({"endpoints": {"wisper": {"remote": True}}}, "endpoints (wisper)", "whisper, clip"),
        ({"endpoints": {"my way": ENDPOINT}}, "endpoints (my way)", "address"),
        ({"endpoints": {"x": {**ENDPOINT, "data_path": "data"}}}, "endpoints (x)", "data_path"),
        ({"endpoints": {"x": {**ENDPOINT, "image_name": "a b"}}}, "endpoints (x)", "image_name"),
        ({"endpoints": {"x": {**ENDPOINT, "image_name": "--privileged"}}}, "endpoints (x)", "image_name"),
        ({"endpoints": {"x": {**ENDPOINT, "local": "yes"}}}, "endpoints (x)", "local"),
        ({"endpoints": {"whisper": {"local": True}}}, "4cat_datasets_path", "whisper is local"),
        ({"endpoints": {"x": ENDPOINT}, "upload_folder_path": ""}, "upload_folder_path", "x is remote"),
        ({"endpoints": {"x": {**ENDPOINT, "build": BUILD}}}, "endpoints (x)", "one of them"),
        ({"endpoints": {"ocr": {"build": {"source": "x"}}}}, "endpoints (ocr)", "source and version"),
    ],
)
def test_bad_input_is_refused_with_the_name_of_the_option(role, options, option, words):
    objections = role(**options).objections()
    assert len(objections) == 1, objections
    assert objections[0].endswith(f"Set {PREFIX}{option}.") and words in objections[0]


@pytest.mark.parametrize(
    ("option", "value"),
    [("state", "off"), ("log_level", "debug"), ("port", "many"), ("endpoints", ["whisper"])],
)
def test_the_specification_refuses_the_rest(option, value):
    assert reject(PREFIX + option, SPECS[PREFIX + option], value)


@pytest.mark.parametrize("node", ["g1", "g2", "m1"])
def test_a_manager_without_options_is_not_refused(role, node):
    assert role(node=node, gpu_enabled=node == "g1").objections() == []


# The page


def names_of_tests():
    return {name for path in TESTS for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}


def options_of_page():
    return dict(re.findall(r"^\| `(dmi_service_manager_\w+)` \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))


def test_every_option_has_a_test_that_the_page_names():
    page = options_of_page()
    assert set(page) == set(SPECS)
    assert set(page.values()) <= names_of_tests()


def test_every_setting_and_word_of_the_old_deployment_stands_on_the_page(role):
    after = PAGE.read_text().partition("\n## From your current deployment to this one\n")[2]
    section = after.partition("\n## ")[0]
    told = set(re.findall(r"`([A-Z0-9_]+|--[a-z-]+)`", section))
    words = {word.partition("=")[0] for word in role().gunicorn() if word.startswith("--")} | {"--reload"}
    assert (set(role().config()) - {"GPUFLEET"} | words) - told == set()


def test_the_test_that_the_page_names_sets_the_option():
    bodies = {}
    for path in TESTS:
        for block in re.split(r"\n\n\n", path.read_text()):
            if match := re.search(r"^def (test_\w+)", block, re.MULTILINE):
                bodies[match[1]] = block
    page = options_of_page()
    assert [option for option, test in page.items() if option.removeprefix(PREFIX) not in bodies[test]] == []


def test_every_acceptance_fact_of_the_page_has_a_test_or_a_way_to_check_it():
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 13))
    for number, how in rows:
        named = re.findall(r"`(test_\w+)`", how)
        assert named and set(named) <= names_of_tests(), number


def test_a_task_that_touches_a_secret_is_not_shown():
    secret = ("src: config.yml.j2", "src: route.yml.j2")
    found = []
    for path in (ROLE / "tasks").glob("*.yml"):
        for task in re.split(r"\n(?= *- name: )", path.read_text()):
            found += [word for word in secret if word in task]
            assert "no_log: true" in task or not any(word in task for word in secret), task
    assert sorted(found) == sorted(secret)

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role discover_api: its stack for many choices of options, what it refuses, and its documentation."""

from __future__ import annotations

import ast
import base64
import configparser
import json
import re
from functools import cached_property
from itertools import combinations
from pathlib import Path

import pytest

pytest.importorskip("ansible", reason="Ansible is not installed")

from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.template import Templar, trust_as_template  # noqa: E402
from ansible_collections.gpufleet.swarm.plugins.action.validate_inventory import read_specs, reject  # noqa: E402
from ansible_collections.gpufleet.swarm.plugins.module_utils import _compose, _images  # noqa: E402
from ansible_collections.gpufleet.swarm.plugins.module_utils._inventory import find_problems  # noqa: E402
from ansible_collections.gpufleet.swarm.plugins.module_utils._swarm import convert  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "discover_api"
PAGE = ROOT / "docs" / "systems" / "discover_api.md"
UUID = "GPU-12345678-aaaa-bbbb-cccc-0123456789ab"
GROUPS = {"all": ["m1", "w1", "f1"], "managers": ["m1"], "workers": ["w1"], "gpu": ["w1"], "fronts": ["f1"]}
LINK = {"name": "discover_api", "from": "f1", "listen": 5001, "to": "w1", "wire": 8080, "target": 5001}
EVERY = ["regions", "similarity", "dticlustering", "watermarks", "vectorization"]
AT = "http://127.0.0.1:5001"
# What role stack has looked up by the time the stack is rendered.
LOOKED = {
    "host": {
        "swarm": {
            "nodes": [
                {"labels": {"gpufleet.host": "m1"}},
                {
                    "labels": {
                        "gpufleet.host": "w1",
                        "gpufleet.gpu": "true",
                        "gpufleet.gpu.0": "GPU-0 GPU 24564 8.6 exclusive A",
                        "gpufleet.gpu.2": f"{UUID} GPU 24564 8.6 exclusive A",
                    }
                },
            ]
        }
    }
}


LOADER = DataLoader()
OWN = {
    part: LOADER.load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True)
    for part in ("defaults", "vars")
}
SPECS = read_specs(ROOT / "roles")


class Role:
    """The role with some options, as a task of it on the manager sees its variables."""

    def __init__(self, **options):
        variables = {"groups": GROUPS, "fleet_domain": "lab.test", "ansible_search_path": [str(ROLE)]}
        self.templar = Templar(LOADER, {**variables, **OWN["defaults"], **OWN["vars"], **options})

    def value(self, name):
        return self.templar.template(trust_as_template("{{ " + name + " }}"))

    def text(self, template):
        return self.value(f"lookup('ansible.builtin.template', '{template}')")

    @cached_property
    def stack(self):
        """Return what the Swarm should have, by the way that the action plugin goes."""
        secrets = dict(self.value("_discover_api_proxy_secrets"))
        sources = [("discover_api.yml.j2", str(self.text("discover_api.yml.j2")))]
        variables = {"NO_PROXY": str(self.value("discover_api_no_proxy")), **dict.fromkeys(secrets)}
        model = _compose.load(sources, variables, secrets, None, "/nowhere")
        desired = convert.convert(model, "discover_api", {})
        json.dumps(desired)
        return desired

    def spec(self):
        return self.stack["services"]["discover_api_api"]["spec"]

    def container(self):
        return self.spec()["TaskTemplate"]["ContainerSpec"]

    def config(self, key):
        """Return the text of a file that the stack mounts."""
        (one,) = [entry for entry in self.stack["configs"].values() if entry["key"] == key]
        return base64.b64decode(one["spec"]["Data"]).decode()

    def processes(self):
        """Return what supervisord runs, {name: options}."""
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
        parser.read_string(str(self.text("supervisord.conf.j2")))
        return {
            name.partition(":")[2]: dict(parser[name])
            for name in parser.sections()
            if name.startswith("program:")
        }

    def environment(self):
        return dict(line.partition("=")[::2] for line in self.container()["Env"])


def resources(role):
    return role.spec()["TaskTemplate"]["Resources"]


# The stack

SUBSETS = [list(apps) for size in range(1, 6) for apps in combinations(EVERY, size)]
QUEUES = {"regions": 0, "similarity": 1, "dticlustering": 2, "watermarks": 3, "vectorization": 4}


@pytest.mark.parametrize("apps", SUBSETS, ids="-".join)
def test_each_app_has_the_worker_of_its_queue_and_no_other_has(apps):
    role = Role(discover_api_installed_apps=apps)
    processes = role.processes()
    workers = {name: options for name, options in processes.items() if name.startswith("worker")}
    assert set(workers) == {f"worker{QUEUES[app]}" for app in apps}
    for name, options in workers.items():
        assert options["command"].endswith(f" -Q queue{name.removeprefix('worker')}")
        assert options["user"] == "aikonapi"
        assert 'dramatiq_prom_host="127.0.0.1"' in options["environment"]
    assert set(processes) - set(workers) == {"redis-server", "flask", "nginx"}
    assert role.value("_discover_api_health").endswith("/sources" if apps == ["watermarks"] else "/qsizes")


def test_redis_is_first_to_start_and_last_to_stop():
    processes = Role().processes()
    order = sorted(processes, key=lambda name: int(processes[name]["priority"]))
    assert order[0] == "redis-server" and order[-1] == "nginx"
    assert "--bind 127.0.0.1" in processes["redis-server"]["command"]
    assert "--dir /data/redis --appendonly yes" in processes["redis-server"]["command"]


def test_the_service_is_one_with_its_data_on_its_node():
    role = Role(discover_api_data_folder="/srv/api/")
    spec = role.spec()
    assert spec["Mode"] == {"Replicated": {"Replicas": 1}}
    assert spec["TaskTemplate"]["Placement"]["Constraints"] == ["node.labels.gpufleet.host == w1"]
    mounts = {mount["Target"]: mount for mount in role.container()["Mounts"]}
    assert mounts["/data"]["Source"] == "/srv/api"
    assert mounts["/dev/shm"]["Type"] == "tmpfs"
    assert "/cuda" not in mounts
    assert spec["UpdateConfig"]["Order"] == "stop-first"
    assert role.container()["StopGracePeriod"] > 300 * 10**9
    targets = {one["File"]["Name"]: one["File"] for one in role.container()["Configs"]}
    env = targets["/home/aikonapi/api/.env"]
    assert (env["UID"], env["Mode"]) == ("1000", 0o440)
    assert {"/etc/nginx/conf.d/aikonapi.conf", "/home/aikonapi/supervisord.conf"} < set(targets)


def test_nothing_is_published_and_tcp_is_for_the_container_alone():
    role = Role(discover_api_port=5009)
    assert "Ports" not in role.spec()["EndpointSpec"]
    listen = re.findall(r"listen (.*);", role.config("nginx"))
    assert listen == ["unix:/run/gpufleet/api.sock", "127.0.0.1:5009"]
    assert role.container()["Healthcheck"]["Test"][-1].startswith("http://127.0.0.1:5009/")
    inside = re.findall(r"location (/media/\S+) {\n *(internal);\n *alias (/data/\S+);", role.config("nginx"))
    assert len(inside) == 5


def test_the_settings_are_those_of_production():
    text = Role(discover_api_port=5002, discover_api_redis_db_index=3).config("env")
    lines = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    assert lines["TARGET"] == "prod"
    assert lines["INSTALLED_APPS"] == ",".join(EVERY)
    assert lines["API_DATA_FOLDER"] == "/data/"
    assert lines["YOLO_CONFIG_DIR"] == "/data/yolotmp/"
    assert (lines["API_PORT"], lines["REDIS_DB_INDEX"]) == ("5002", "3")
    assert lines["PROD_URL"] == "'http://localhost:5002'"
    assert "TOKEN" not in text and "PASSWORD" not in text


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://localhost:5001"),
        ({"tunnels_links": [{**LINK, "listen": "127.0.0.1:6001"}]}, "http://localhost:6001"),
        ({"discover_api_prod_url": "https://api.example.org"}, "https://api.example.org"),
        ({"discover_api_prod_url": ""}, ""),
    ],
)
def test_the_url_of_results_is_where_the_front_reaches_them(options, url):
    assert f"PROD_URL='{url}'\n" in Role(**options).config("env")


@pytest.mark.parametrize(
    ("options", "node"),
    [
        ({}, "w1"),
        ({"tunnels_links": [{**LINK, "to": "m1"}]}, "m1"),
        ({"groups": {**GROUPS, "gpu": []}}, "m1"),
        ({"discover_api_data_node": "m1"}, "m1"),
    ],
)
def test_the_node_is_that_of_the_tunnel_or_the_first_with_cards(options, node):
    role = Role(**options)
    assert role.value("discover_api_data_node") == node
    assert {one["node"] for one in role.value("_discover_api_directories")} == {node}


SMALL = {"discover_api_shm_size": "64mb"}


@pytest.mark.parametrize(
    ("device", "cards", "environment"),
    [
        ({}, {"GPU": 1}, {}),
        ({"discover_api_device_kind": "BIG"}, {"BIG": 1}, {}),
        ({"discover_api_device_nb": UUID}, {}, {"NVIDIA_VISIBLE_DEVICES": UUID}),
        ({"discover_api_device_nb": 2, "__stack_host": LOOKED}, {}, {"NVIDIA_VISIBLE_DEVICES": UUID}),
        # In a dry run on bare hosts nobody knows the cards.
        ({"discover_api_device_nb": "2"}, {}, {"NVIDIA_VISIBLE_DEVICES": "2"}),
        ({"discover_api_device_nb": "none"}, {}, {"NVIDIA_VISIBLE_DEVICES": "void"}),
    ],
    ids=["one of its own", "of a kind", "by UUID", "by number", "by number, not known yet", "none"],
)
def test_the_card_is_the_chosen_one_and_not_a_number_of_cards(device, cards, environment):
    role = Role(**device)
    granted = resources(role).get("Reservations", {}).get("GenericResources", [])
    found = {one["DiscreteResourceSpec"]["Kind"]: one["DiscreteResourceSpec"]["Value"] for one in granted}
    assert found == cards
    visible = {name: value for name, value in role.environment().items() if "VISIBLE" in name}
    assert visible == environment


def test_a_shared_card_has_the_budget_that_was_given():
    spec = Role(discover_api_device_nb=UUID, discover_api_device_memory="8gb").spec()
    assert spec["Labels"]["gpufleet.claim"] == f"shared {UUID} {8 * 2**30}"


def test_a_number_that_the_node_does_not_have_stays_a_number_and_is_refused_by_it():
    assert Role(discover_api_device_nb="7", __stack_host=LOOKED).value("_discover_api_card") == "7"
    text = (ROLE / "tasks" / "present.yml").read_text(encoding="utf-8")
    assert "_discover_api_card is not match('[0-9]+$')" in text


def test_shared_memory_has_its_size():
    (shm,) = [one for one in Role(**SMALL).container()["Mounts"] if one["Target"] == "/dev/shm"]
    assert shm["TmpfsOptions"]["SizeBytes"] == 64 * 2**20


def test_operators_are_compiled_for_the_given_cards():
    role = Role(discover_api_torch_cuda_arch_list="7.5+PTX")
    assert role.environment()["TORCH_CUDA_ARCH_LIST"] == "7.5+PTX"
    assert "TORCH_CUDA_ARCH_LIST" not in Role().environment()


def test_proxies_go_into_container_and_build_as_secrets():
    role = Role(discover_api_http_proxy="http://u:p@proxy:3128", discover_api_no_proxy="localhost,front")
    assert role.environment()["http_proxy"] == "\x02HTTP_PROXY\x03", "a marker, never the value"
    # Its value would be hidden wherever else it stands, such as in the name of an image of localhost.
    assert role.environment()["no_proxy"] == "localhost,front", "names of hosts are no secret"
    assert set(role.environment()) >= {"http_proxy", "no_proxy"} and "https_proxy" not in role.environment()
    assert "p@proxy" not in json.dumps(role.stack)
    assert role.value("_discover_api_build.args") == {
        "USERID": "1000",
        "API_PORT": "5001",
        "HTTP_PROXY": "http://u:p@proxy:3128",
        "NO_PROXY": "localhost,front",
    }
    assert "HTTPS_PROXY" in Role(discover_api_https_proxy="http://proxy:3128").value("_discover_api_proxies")
    assert Role().value("_discover_api_proxies") == {}


def test_names_that_no_server_knows_are_given():
    hosts = Role(discover_api_extra_hosts={"front.example.org": "192.0.2.7"}).container()["Hosts"]
    assert hosts == ["192.0.2.7 front.example.org"]


def test_the_first_process_hears_when_it_has_to_end():
    """Without it bash, as the first process, is deaf, and tasks are killed after the grace period."""
    program, _, script = Role().container()["Args"]
    assert program == "bash" and script.startswith("trap 'kill -TERM") and "$$" not in script


# Image, data, models, the way in


def test_an_image_that_is_given_is_taken():
    assert Role(discover_api_image="registry/api:1").container()["Image"] == "registry/api:1"
    built = {"discover-api": "localhost/discover-api:0123456789ab"}
    assert Role(images_references=built).container()["Image"] == built["discover-api"]


def test_the_build_has_neither_token_nor_ports_and_submodules_only_if_needed():
    token = "hf_not-for-everybody"
    several = [
        Role(
            discover_api_hugging_face_hub_token=token,
            discover_api_port=port,
            discover_api_installed_apps=apps,
        )
        for port in (5001, 5002)
        for apps in (["regions"], ["similarity", "watermarks"], ["dticlustering"])
    ]
    builds = [role.value("_discover_api_build") for role in several]
    assert token not in json.dumps(builds)
    assert [build["submodules"] for build in builds] == [False, False, True] * 2
    references = [build["reference"] for build in _images.complete(builds[:1] + [{**builds[3], "name": "b"}])]
    tags = {reference.partition(":")[2] for reference in references}
    assert len(tags) == 1, "another port is no other image"
    role = Role(discover_api_git_url="/srv/api", discover_api_git_version="a" * 40)
    (one,) = _images.complete([role.value("_discover_api_build")])
    assert (one["source"], one["commit"], one["dockerfile"]) == ("/srv/api", "a" * 40, "docker/Dockerfile")
    assert ".env.*\n!.env.prod" in one["files"][".dockerignore"]


def test_the_data_are_the_users_and_not_everybodys():
    role = Role(discover_api_demo_uid=1234, discover_api_data_folder="/srv/api/")
    folders = {one["path"]: one for one in role.value("_discover_api_directories")}
    ours = folders.pop("/var/lib/gpufleet/discover_api")
    assert "owner" not in ours
    assert {one["owner"] for one in folders.values()} == {one["group"] for one in folders.values()} == {1234}
    assert folders["/srv/api/redis"]["mode"] == "0700"
    assert {"/srv/api", "/srv/api/watermarks/sources", "/srv/api/vectorization/models"} < set(folders)
    assert all(path == sorted(folders)[0] or str(Path(path).parent) in folders for path in folders)
    assert role.value("_discover_api_build.args.USERID") == "1234"


def test_the_models_of_the_apps_are_known_under_both_names():
    files = {one["path"]: one for one in Role().value("_discover_api_models")}
    # What discover-api's code looks for, and a name that one of its apps has differently.
    assert {
        "regions/models/illustration_extraction.pt",
        "regions/models/diagram_extraction.pt",
        "regions/models/line_extraction.pt",
        "regions/models/fasterrcnn_watermark_extraction.pt",
        "regions/models/fasterrcnn_watermark_extraction.pth",
        "similarity/models/resnet18_watermarks.pth",
        "vectorization/models/checkpoint0045.pth",
        "vectorization/models/config_cfg.py",
    } == set(files)
    second = files["regions/models/fasterrcnn_watermark_extraction.pth"]
    assert second["link"] == "fasterrcnn_watermark_extraction.pt"
    urls = [one["url"] for one in files.values() if "url" in one]
    assert len(urls) == 7 and all(url.startswith("https://huggingface.co/seglinglin/") for url in urls)
    only = Role(discover_api_installed_apps=["watermarks"]).value("_discover_api_models")
    assert len(only) == 3
    mine = {"path": "vectorization/models/config_cfg.py", "url": "http://mine"}
    found = Role(discover_api_models=[mine]).value("_discover_api_models")
    assert mine in found and len(found) == len(files), "another source of the same file"
    assert Role(discover_api_download_models=False, discover_api_models=[mine]).value(
        "_discover_api_models"
    ) == [mine]


def test_the_node_offers_the_api_on_the_given_address():
    role = Role(discover_api_container_host="192.0.2.1", discover_api_port=5003)
    unit = str(role.text("loopback.socket.j2"))
    assert "\nListenStream=192.0.2.1:5003\n" in unit
    assert "\nListenStream=127.0.0.1:5001\n" in str(Role().text("loopback.socket.j2"))
    service = str(Role().text("loopback.service.j2"))
    assert service.count("/var/lib/gpufleet/discover_api/api.sock") == 1


def test_the_verification_asks_what_answers():
    checks = Role(__discover_api_at=AT).value("_discover_api_asked")
    asked = {check["url"].removeprefix(AT) for check in checks}
    assert {"/regions/monitor", "/clustering/monitor", "/vectorization/models", "/watermarks/sources"} < asked
    # Those the application does not have.
    assert not {"/watermarks/monitor", "/dticlustering/monitor"} & asked


def test_the_files_of_a_deployment_give_the_defaults(tmp_path):
    (tmp_path / "env.prod").write_text(
        "# apps\nTARGET=dev\nINSTALLED_APPS=regions,similarity\nAPI_PORT='8001'\nPROD_URL=\n"
        'HUGGING_FACE_HUB_TOKEN="your_access_token"\nREDIS_DB_INDEX=2 # the third\n',
        encoding="utf-8",
    )
    (tmp_path / "docker.env").write_text(
        "DATA_FOLDER=/media/demo/\nDEVICE_NB=2\nDEMO_UID=1003\nHTTP_PROXY=http://proxy:3128\n"
        'export NO_PROXY="localhost,front"\nTORCH_CUDA_ARCH_LIST=7.5+PTX\nHTTPS_PROXY=\n',
        encoding="utf-8",
    )
    files = [str(tmp_path / name) for name in ("env.prod", "docker.env")]
    role = Role(discover_api_env_files=files, discover_api_demo_uid=1004)
    found = {
        name: role.value(f"discover_api_{name}")
        for name in (
            "installed_apps",
            "port",
            "prod_url",
            "redis_db_index",
            "data_folder",
            "device_nb",
            "demo_uid",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "torch_cuda_arch_list",
            "hugging_face_hub_token",
        )
    }
    assert found == {
        "installed_apps": ["regions", "similarity"],
        "port": 8001,
        "prod_url": "http://localhost:8001",
        "redis_db_index": 2,
        "data_folder": "/media/demo/",
        "device_nb": "2",
        "demo_uid": 1004,  # set, so the file does not count
        "http_proxy": "http://proxy:3128",
        "https_proxy": "",
        "no_proxy": "localhost,front",
        "torch_cuda_arch_list": "7.5+PTX",
        "hugging_face_hub_token": "",
    }


def test_names_of_the_files_that_do_not_count_are_told(tmp_path):
    (tmp_path / "env").write_text(
        "TARGET=prod\nCONTAINER_HOST=0.0.0.0\nINSTALED_APPS=regions\nAPI_PORT=8001\n", encoding="utf-8"
    )
    role = Role(discover_api_env_files=[str(tmp_path / "env")])
    assert role.value("_discover_api_env_left") == ["CONTAINER_HOST", "INSTALED_APPS", "TARGET"]
    # Taking that one over would open the API to everybody.
    assert role.value("discover_api_container_host") == "127.0.0.1"
    defaults = (ROLE / "defaults" / "main.yml").read_text(encoding="utf-8")
    read = set(re.findall(r"_discover_api_env\.([A-Z_]+)", defaults))
    assert read == set(role.value("_discover_api_env_read"))
    assert Role().value("_discover_api_env_left") == []


# Refused

PRIVATE = [{"path": "regions/models/a.pt", "url": "https://x/a.pt", "private": True}]
REFUSED = {
    "files that are not there": (
        {"discover_api_env_files": ["/nowhere/.env"]},
        "discover_api_env_files: found /nowhere/.env",
    ),
    "an unknown app": (
        {"discover_api_installed_apps": ["regions", "nonsense"]},
        "discover_api_installed_apps",
    ),
    "no app": ({"discover_api_installed_apps": []}, "discover_api_installed_apps"),
    "an app twice": ({"discover_api_installed_apps": ["regions", "regions"]}, "discover_api_installed_apps"),
    "a node that is a front": ({"discover_api_data_node": "f1"}, "discover_api_data_node: found f1"),
    "a card on a node without": (
        {"discover_api_data_node": "m1"},
        "discover_api_device_nb: found exclusive and no",
    ),
    "a number there": (
        {"discover_api_data_node": "m1", "discover_api_device_nb": 2},
        "discover_api_device_nb: found 2 and no card, as m1 is not in the group gpu",
    ),
    "a fleet without cards": (
        {"groups": {**GROUPS, "gpu": []}},
        "discover_api_device_nb: found exclusive and no",
    ),
    "a list of cards": ({"discover_api_device_nb": "0,1"}, "discover_api_device_nb: found 0,1"),
    "a budget without a shared card": ({"discover_api_device_memory": "8gb"}, "discover_api_device_memory"),
    "a relative folder": ({"discover_api_data_folder": "data"}, "discover_api_data_folder: found data"),
    "the root": ({"discover_api_data_folder": "/"}, "discover_api_data_folder"),
    "root as the user": ({"discover_api_demo_uid": 0}, "discover_api_demo_uid: found 0"),
    "a privileged port": ({"discover_api_port": 80}, "discover_api_port: found 80"),
    "a name to listen on": ({"discover_api_container_host": "localhost"}, "discover_api_container_host"),
    "no URL": ({"discover_api_prod_url": "localhost:5001"}, "discover_api_prod_url: found localhost:5001"),
    "a URL for the shell": ({"discover_api_prod_url": "http://x/$(id)'"}, "discover_api_prod_url"),
    "nothing to run": ({"discover_api_git_version": ""}, "discover_api_image: found none"),
    "a tunnel to elsewhere": (
        {"tunnels_links": [LINK], "discover_api_data_node": "m1"},
        "tunnels_links: found",
    ),
    "a tunnel to another port": (
        {"tunnels_links": [{**LINK, "target": 5002}]},
        "target 5001 (discover_api_port)",
    ),
    "a tunnel to another address": (
        {"tunnels_links": [{**LINK, "target": "192.0.2.1:5001"}]},
        "found the tunnel discover_api to w1",
    ),
    "a model outside": ({"discover_api_models": [{"path": "../a", "url": "x"}]}, "wanted a path below"),
    "a model from nowhere": ({"discover_api_models": [{"path": "a"}]}, "with no source"),
    "a model from two places": (
        {"discover_api_models": [{"path": "a", "url": "x", "link": "b"}]},
        "found a with url, link",
    ),
    "a file that is not there": ({"discover_api_models": [{"path": "a", "src": "/nowhere/a"}]}, "/nowhere/a"),
    "a private model without a token": (
        {"discover_api_models": PRIVATE},
        "discover_api_hugging_face_hub_token",
    ),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_by_its_option(options, words):
    said = Role(**options).value("_discover_api_objections")
    assert len(said) >= 1 and any(words in one for one in said), said
    assert all(one.startswith(("discover_api_", "tunnels_links: ")) for one in said)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tunnels_links": [LINK]},
        {"tunnels_links": [{**LINK, "target": "127.0.0.1:5001"}]},
        {"discover_api_device_nb": "none", "discover_api_data_node": "m1"},
        {"discover_api_models": PRIVATE, "discover_api_hugging_face_hub_token": "hf_x"},
        {"discover_api_device_nb": UUID, "discover_api_device_memory": "8gb"},
        {"discover_api_container_host": "0.0.0.0", "tunnels_links": [LINK]},
    ],
)
def test_what_can_work_is_not_refused(options):
    assert Role(**options).value("_discover_api_objections") == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"discover_api_installed_apps": ["watermark"]}, "discover_api_installed_apps"),
        ({"discover_api_state": "gone"}, "discover_api_state"),
        ({"discover_api_port": "first"}, "discover_api_port"),
        ({"discover_api_device": "2"}, "discover_api_device"),
    ],
)
def test_the_inventory_is_refused_before_any_host_is_contacted(variables, words):
    hosts = {host: {"ansible_host": f"192.0.2.{number}"} for number, host in enumerate(GROUPS["all"], 1)}
    common = {"fleet_domain": "lab.test", "fleet_systems": ["discover_api"], **variables}
    values = {host: {**own, **common} for host, own in hosts.items()}
    problems = find_problems(GROUPS, values, SPECS, reject)
    assert [problem for problem in problems if words in str(problem)], problems


# The page


def rows(heading):
    """Return the rows of the table below a heading of the page, each a list of cells."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def functions_of(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


TESTS = {
    "unit": "tests/unit/roles/test_discover_api.py",
    "live": "tests/integration/test_discover_api.py",
    "tunnels": "tests/integration/test_tunnels.py",
}


def named_tests(cell):
    """Return the tests that a cell names, as `unit: test_...`; none may be one that is not there."""
    found = re.findall(r"`(\w+): (test_\w+)`", cell)
    assert all(name in functions_of(TESTS[suite]) for suite, name in found), cell
    return found


def test_every_option_stands_in_the_page_with_a_test_that_is_there():
    options = SPECS["discover_api"]
    listed = {option.strip("`"): cell for option, cell in rows("Options and their tests")}
    assert set(listed) == set(options)
    for option, cell in listed.items():
        found = named_tests(cell)
        assert found, option
        # A test that says nothing of the option does not exercise it.
        texts = [(ROOT / TESTS[suite]).read_text(encoding="utf-8") for suite, _name in found]
        short = option.removeprefix("discover_api_")
        assert any(option in text or f'"{short}"' in text for text in texts), option


def test_every_fact_of_acceptance_has_a_test_or_a_way_to_check_it():
    listed = rows("What it has to show")
    assert [number for number, *_ in listed] == [str(number) for number in range(1, 14)]
    for number, _fact, cell in listed:
        assert named_tests(cell) or "operator" in cell, number


def test_every_name_of_todays_deployment_is_answered():
    cells = " ".join(row[0] for row in rows("From your deployment to this one"))
    names = set(re.findall(r"`([A-Z_]+)`", cells))
    assert names >= {
        "TARGET",
        "INSTALLED_APPS",
        "API_PORT",
        "PROD_URL",
        "API_DATA_FOLDER",
        "YOLO_CONFIG_DIR",
        "DATA_FOLDER",
        "HUGGING_FACE_HUB_TOKEN",
        "REDIS_PASSWORD",
        "REDIS_DB_INDEX",
        "DEVICE_NB",
        "DEMO_UID",
        "CUDA_HOME",
        "CONTAINER_HOST",
        "CONTAINER_NAME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "TORCH_CUDA_ARCH_LIST",
        "API_URL",
    }


def test_every_fault_of_todays_deployment_is_answered():
    numbers = [number for number, *_ in rows("Faults of today's deployment")]
    assert numbers == [str(number) for number in range(1, 26)]

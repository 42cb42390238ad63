# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Swarm is asked for by the role image_server: rendered, read and converted as in a deployment."""

from __future__ import annotations

import ast
import random
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.unit.roles.image_server_stack import (
    CATALOGUE,
    KEYS,
    ROLE,
    Rendered,
    constraints,
    environment,
    labels,
)

ROOT = ROLE.parents[1]
PAGE = ROOT / "docs" / "systems" / "image_server.md"
PREFIX = "ca.mcgill.a11y.image."
GPU_FLEET = {"gpu": ["worker1"]}
LLM = {name for name, one in CATALOGUE.items() if "llm" in one.get("needs", ())}
FOUND = {name for name, one in CATALOGUE.items() if one.get("kind") in ("preprocessor", "handler")}


@cache
def profile(name):
    """Return the services of a profile on a fleet without cards."""
    return Rendered({"image_server_profile": name}).services


def services(*names, groups=None, **options):
    """Return some services and what they require, with options by their names without the prefix."""
    given = {f"image_server_{name}": value for name, value in options.items()}
    return Rendered({"image_server_services": list(names), **given}, groups).services


# The whole


@pytest.mark.parametrize("name", ["production", "test", "default"])
def test_a_profile_converts(name):
    made = set(profile(name))
    assert made - set(CATALOGUE) == {"socket-proxy", "warmup"}
    assert len(made & set(CATALOGUE)) == {"production": 30, "test": 41, "default": 41}[name]


def test_any_subset_converts():
    source = random.Random(6)
    for _number in range(8):
        chosen = source.sample(sorted(CATALOGUE), source.randint(1, 8))
        options = {
            "path": source.choice(["", "/image"]),
            "warmup": source.choice(["attempt", "require", "none"]),
            "llm_network": source.choice(["", "models"]),
            "website_dir": source.choice(["", "/srv/www"]),
            "cache_dir": source.choice(["", "/srv/cache"]),
        }
        made = services(*chosen, groups=source.choice([None, GPU_FLEET]), **options)
        assert set(chosen) <= set(made), (chosen, options)


def test_nothing_is_told_to_be_lost():
    desired = Rendered({"image_server_profile": "default", "image_server_website_dir": "/srv/www"}).desired()
    assert (desired["warnings"], desired["ignored"]) == ([], [])


# Discovery


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_service_has_the_labels_of_upstream_on_its_containers(name):
    one, found = CATALOGUE[name], labels(profile("default")[name])
    wanted = {
        "com.docker.compose.service": name,
        f"{PREFIX}required_dependencies": ",".join(one.get("required", [])),
        f"{PREFIX}optional_dependencies": ",".join(one.get("optional", [])),
    }
    if one["kind"] == "preprocessor":
        wanted[f"{PREFIX}preprocessor"] = str(one["group"])
    else:
        wanted[f"{PREFIX}handler"] = "enable"
    for key, label in (("port", "port"), ("cache", "cacheTimeout"), ("route", "route")):
        if key in one:
            wanted[f"{PREFIX}{label}"] = str(one[key])
    # Any text would count as true, so the others must not have it.
    if name == "resize-graphic":
        wanted[f"{PREFIX}modifyRequest"] = "true"
    assert {key: value for key, value in found.items() if key != "com.docker.stack.namespace"} == wanted


def test_ports_and_routes_are_those_of_upstream():
    found = {name: labels(spec) for name, spec in profile("default").items()}
    five = {name for name, one in found.items() if one.get(f"{PREFIX}port") == "5000"}
    preprocessors = {name for name, one in found.items() if f"{PREFIX}preprocessor" in one}
    assert preprocessors - five == {"resize-graphic", "nominatim-preprocessor"}
    assert five - preprocessors == {"svg-open-street-map-handler"}
    assert {name for name, one in found.items() if one.get(f"{PREFIX}route") == "followup"} == {
        "text-followup",
        "text-followup-handler",
    }


def test_the_orchestrator_asks_a_proxy_for_its_own_stack():
    made = profile("production")
    mounts = made["orchestrator"]["TaskTemplate"]["ContainerSpec"]["Mounts"]
    assert not [one for one in mounts if "docker.sock" in one["Source"]]
    assert environment(made["orchestrator"])["DOCKER_HOST"] == "tcp://socket-proxy:2375"
    assert constraints(made["socket-proxy"]) == constraints(made["orchestrator"])
    # It finds itself by the name the Engine gives a container.
    assert "Hostname" not in made["orchestrator"]["TaskTemplate"]["ContainerSpec"]
    networks = {
        name: [one["Target"] for one in spec["TaskTemplate"]["Networks"]] for name, spec in made.items()
    }
    assert networks["socket-proxy"] == ["image_server_socket"]
    assert {name for name, found in networks.items() if "image_server_socket" in found} == {
        "socket-proxy",
        "orchestrator",
    }


PROXY = (ROLE / "files" / "haproxy.cfg").read_text()


@pytest.mark.parametrize(
    ("path", "open_to_the_orchestrator"),
    [
        ("/containers/json", True), ("/v1.45/containers/json", True), ("/_ping", True),
        ("/containers/x/json", False),
        ("/containers/../secrets", False), ("/containers/json/x", False), ("/containers/create", False),
        ("/services", False), ("/info", False), ("/events", False), ("/images/json", False), ("/", False),
    ],
)  # fmt: skip
def test_the_proxy_lets_through(path, open_to_the_orchestrator):
    expressions = re.findall(r"^\s*acl \w+ path -m reg (\S+)$", PROXY, re.MULTILINE)
    assert any(re.search(one, path) for one in expressions) is open_to_the_orchestrator
    assert "deny unless" not in PROXY and "deny_status 403 unless reads list or reads ping" in PROXY
    assert re.search(r"^\s*acl reads method GET HEAD$", PROXY, re.MULTILINE)


def test_the_proxy_asks_for_the_stack_that_the_role_deploys():
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    name = next(task["vars"]["stack_name"] for task in tasks if "stack_name" in task.get("vars", {}))
    assert f"com.docker.stack.namespace%%3D{name}%%22" in PROXY


def test_what_has_to_be_found_is_on_one_node():
    for groups in (None, GPU_FLEET):
        made = Rendered({"image_server_profile": "default"}, groups).services
        places = {tuple(constraints(made[name])) for name in FOUND | {"orchestrator"}}
        assert len(places) == 1
        assert f"node.labels.gpufleet.host=={'worker1' if groups else 'manager1'}" in next(iter(places))
        assert {made[name]["Mode"]["Replicated"]["Replicas"] for name in FOUND} == {1}


def test_services_that_are_not_looked_for_go_elsewhere():
    placement = {"espnet-tts": "worker2", "memcached": "any", "monarch-link-app": "worker1"}
    made = services("osm-streets-handler", "monarch-link-app", node="manager1", placement=placement)
    assert constraints(made["espnet-tts"]) == ["node.labels.gpufleet.host==worker2"]
    assert constraints(made["memcached"]) == []
    assert constraints(made["monarch-link-app"]) == ["node.labels.gpufleet.host==worker1"]
    assert constraints(made["osm-streets-handler"]) == ["node.labels.gpufleet.host==manager1"]


# Every service


def test_no_service_publishes_a_port():
    assert [name for name, one in profile("default").items() if one["EndpointSpec"].get("Ports")] == []


def test_every_service_starts_again_and_has_a_limit():
    for name, spec in profile("default").items():
        assert spec["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] > 0, name
        wanted = "none" if name == "warmup" else "any"
        assert spec["TaskTemplate"]["RestartPolicy"]["Condition"] == wanted, name
        if name != "warmup":
            assert spec["UpdateConfig"]["Order"] == "stop-first"


def test_health_checks_are_those_of_the_images_with_more_patience():
    for name, spec in profile("default").items():
        check = spec["TaskTemplate"]["ContainerSpec"].get("Healthcheck", {})
        if name in ("memcached", "socket-proxy"):
            assert check["Test"][0] == "CMD"
        elif name != "warmup":
            assert "Test" not in check and check["StartPeriod"] == 300 * 10**9, name


def test_start_order():
    made = {
        one["key"]: one
        for one in Rendered({"image_server_profile": "default"}).desired()["services"].values()
    }
    assert set(made["orchestrator"]["depends_on"]) == {"memcached", "socket-proxy"}
    assert set(made["osm-streets-handler"]["depends_on"]) == {"supercollider", "espnet-tts"}
    warm = {name for name, one in CATALOGUE.items() if "warmup" in one}
    assert made["warmup"]["depends_on"] == dict.fromkeys(warm, "service_healthy")


def test_personal_content_is_not_logged_and_the_setting_is_everywhere():
    without = {
        "orchestrator", "memcached", "espnet-tts", "espnet-tts-fr", "multilang-support", "monarch-link-app",
        "tat", "socket-proxy", "warmup",
    }  # fmt: skip
    found = {name: environment(spec).get("PII_LOGGING_ENABLED") for name, spec in profile("default").items()}
    assert {name for name, value in found.items() if value is None} == without
    assert {value for value in found.values() if value} == {"false"}


def test_the_size_of_a_body_is_the_same_everywhere():
    found = {name: environment(spec).get("MAX_BODY") for name, spec in profile("default").items()}
    assert {name: value for name, value in found.items() if value} == dict.fromkeys(
        [
            "orchestrator", "nominatim-preprocessor", "photo-audio-handler", "autour-handler",
            "photo-audio-haptics-handler", "high-charts-handler", "motd-handler", "hello-haptics-handler",
            "osm-streets-handler",
        ],
        "10mb",
    )  # fmt: skip


def test_no_tag_moves_unless_it_was_chosen():
    images = {
        name: spec["TaskTemplate"]["ContainerSpec"]["Image"] for name, spec in profile("default").items()
    }
    own = {name: image for name, image in images.items() if "shared-reality-lab" in image}
    assert {image.rpartition(":")[2] for image in own.values()} == {"2026-05-01"}
    assert set(images) - set(own) == {"memcached", "socket-proxy"}
    assert {"latest", "unstable"} & {image.rpartition(":")[2] for image in images.values()} == set()


# Secrets


def test_a_key_is_given_to_the_services_that_need_it_alone():
    options = {
        "image_server_profile": "default", "image_server_google_places_key": "places",
        "image_server_azure_api_key": "azure", "image_server_freeocr_api_key": "freeocr",
        "image_server_ocr_service": "AZURE_READ",
    }  # fmt: skip
    made = Rendered(options).services
    maps, ocr = {"autour-preprocessor", "openstreetmap"}, {"ocr-clouds-preprocessor"}
    for variable, users in {
        "LLM_API_KEY": LLM, "GOOGLE_PLACES_KEY": maps, "AZURE_API_KEY": ocr, "FREEOCR_API_KEY": ocr,
        "CLOUD_SERVICE": ocr, "LLM_URL": LLM, "LLM_MODEL": LLM,
    }.items():  # fmt: skip
        assert {name for name, spec in made.items() if variable in environment(spec)} == users, variable
    assert len(LLM) == 5
    # The value goes to the Engine apart from the file.
    assert environment(made["graphic-caption"])["LLM_API_KEY"] == "\x02LLM_API_KEY\x03"
    assert "sk-secret" not in str(Rendered(options).text())


def test_an_optional_key_blocks_nobody():
    made = services("ocr-handler", "autour-handler")
    found = environment(made["ocr-clouds-preprocessor"])
    # The code wants both, and takes empty ones.
    assert {"AZURE_API_KEY", "FREEOCR_API_KEY"} <= set(found)
    assert "GOOGLE_PLACES_KEY" not in environment(made["autour-preprocessor"])


def test_the_file_for_google_vision_is_a_secret(tmp_path):
    (tmp_path / "vision.json").write_text("{}")
    options = {"ocr_service": "GOOGLE_VISION", "google_vision_credentials": str(tmp_path / "vision.json")}
    spec = services("ocr-handler", **options)["ocr-clouds-preprocessor"]
    secrets = spec["TaskTemplate"]["ContainerSpec"]["Secrets"]
    assert [one["File"]["Name"] for one in secrets] == ["google_vision"]
    assert environment(spec)["GOOGLE_APPLICATION_CREDENTIALS"] == "/run/secrets/google_vision"


# Cards


def test_services_with_a_card_see_it_and_the_others_do_not():
    made = Rendered({"image_server_profile": "default"}, GPU_FLEET).services
    seeing = {name for name, spec in made.items() if "NVIDIA_VISIBLE_DEVICES" in environment(spec)}
    assert seeing == {name for name, one in CATALOGUE.items() if one.get("gpu")}
    assert made["object-detection"]["Labels"]["gpufleet.claim"] == f"shared all {768 * 2**20}"
    assert environment(made["espnet-tts"])["TORCH_DEVICE"] == "cuda"


def test_without_cards_nothing_asks_for_one():
    for spec in profile("default").values():
        assert "NVIDIA_VISIBLE_DEVICES" not in environment(spec)
        assert "gpufleet.claim" not in spec["Labels"]
    assert environment(profile("default")["espnet-tts-fr"])["TORCH_DEVICE"] == "cpu"


CARD = "GPU-12345678-aaaa-bbbb-cccc-0123456789ab"


def test_gpu_off():
    made = services("svg-od-handler", groups=GPU_FLEET, gpu=False)
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(made["object-detection"])


def test_gpu_cards():
    made = services("svg-od-handler", groups=GPU_FLEET, gpu_cards=[CARD])
    assert environment(made["object-detection"])["NVIDIA_VISIBLE_DEVICES"] == CARD


def test_gpu_claims():
    claims = {"object-detection": {"claim": "exclusive"}, "espnet-tts": {"claim": "none"}}
    made = services("svg-od-handler", "espnet-tts", groups=GPU_FLEET, gpu_claims=claims)
    reserved = made["object-detection"]["TaskTemplate"]["Resources"]["Reservations"]["GenericResources"]
    assert reserved == [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 1}}]
    assert environment(made["espnet-tts"])["TORCH_DEVICE"] == "cpu"


# Options that become a variable of a service: option, value, service, variable, what it is there

VARIABLES = [
    ("image_server_parallel_preprocessors", False, "orchestrator", "PARALLEL_PREPROCESSORS", "OFF"),
    ("image_server_store_data", True, "orchestrator", "STORE_IMAGE_DATA", "ON"),
    ("image_server_memcache_servers", ["a:1", "b:2"], "orchestrator", "MEMCACHE_SERVERS", "a:1,b:2"),
    ("image_server_preprocessor_timeout", 5000, "orchestrator", "PREPROCESSOR_TIMEOUT", "5000"),
    ("image_server_cache_dir", "", "orchestrator", "CACHE_OVERRIDE", None),
    ("image_server_max_body", "20mb", "motd-handler", "MAX_BODY", "20mb"),
    ("image_server_pii_logging", True, "motd-handler", "PII_LOGGING_ENABLED", "true"),
    ("image_server_log_level", "WARNING", "openstreetmap", "LOG_LEVEL", "WARNING"),
    ("image_server_max_graphic_dimension", 2048, "resize-graphic", "MAX_GRAPHIC_DIMENSION", "2048"),
    ("image_server_object_detection_model", "/m/y.pt", "object-detection", "YOLO_MODEL_PATH", "/m/y.pt"),
    ("image_server_object_detection_threshold", 0.5, "object-detection", "CONF_THRESHOLD", "0.5"),
    ("image_server_object_detection_llm_threshold", 0.6, "object-detection-llm", "CONF_THRESHOLD", "0.6"),
    ("image_server_segmentation_model", "/s.pt", "multistage-diagram-segmentation", "SAM_MODEL_PATH",
     "/s.pt"),
    ("image_server_followup_max_tokens", 9, "text-followup", "MAX_TOKEN_LIMIT", "9"),
    ("image_server_followup_buffer_tokens", 8, "text-followup", "BUFFER_TOKENS", "8"),
    ("image_server_followup_history_seconds", 7, "text-followup", "HISTORY_EXPIRY", "7"),
    ("image_server_followup_prompt", "Be $hort.", "text-followup", "FOLLOWUP_PROMPT_OVERRIDE", "Be $hort."),
    ("image_server_overpass_servers", ["https://a/x?", "https://b"], "openstreetmap", "SERVERS",
     "https://a/x?,https://b"),
    ("image_server_nominatim_server", "https://n", "nominatim-preprocessor", "NOMINATIM_SERVER", "https://n"),
    ("image_server_nominatim_fallback_server", "https://f", "nominatim-preprocessor",
     "NOMINATIM_FALLBACK_SERVER", "https://f"),
    ("image_server_motd", "Closed today", "motd-handler", "MOTD", "Closed today"),
    ("image_server_tat_url", "https://t/", "tat", "SERVER_URL", "https://t/"),
    ("image_server_monarch_server_name", "m.test", "monarch-link-app", "SERVER_NAME", "m.test"),
    ("image_server_llm_url", "https://l/v1", "graphic-caption", "LLM_URL", "https://l/v1"),
    ("image_server_llm_model", "gpt", "graphic-caption", "LLM_MODEL", "gpt"),
    ("image_server_llm_api_key", "k", "graphic-caption", "LLM_API_KEY", "\x02LLM_API_KEY\x03"),
    ("image_server_google_places_key", "k", "openstreetmap", "GOOGLE_PLACES_KEY",
     "\x02GOOGLE_PLACES_KEY\x03"),
    ("image_server_environment", {"tat": {"COLOUR": "a$b"}}, "tat", "COLOUR", "a$b"),
    ("image_server_warmup", "none", "graphic-caption", "WARMUP_ENABLED", None),
]  # fmt: skip


@pytest.mark.parametrize(("option", "value", "service", "variable", "wanted"), VARIABLES)
def test_an_option_is_a_variable_of_a_service(option, value, service, variable, wanted):
    assert environment(with_all_variables()[service]).get(variable) == wanted
    if wanted is not None:
        assert environment(profile("default")[service]).get(variable) != wanted or variable == "LLM_API_KEY"


@cache
def with_all_variables():
    """Return the services with all options of the table at once."""
    return Rendered({"image_server_profile": "default", **{row[0]: row[1] for row in VARIABLES}}).services


def test_the_defaults_of_the_variables_are_those_of_upstream_or_documented():
    made = profile("default")
    found = {(name, key): value for name, spec in made.items() for key, value in environment(spec).items()}
    upstream = {
        ("orchestrator", "PARALLEL_PREPROCESSORS"): "ON",
        ("orchestrator", "MEMCACHE_SERVERS"): "memcached:11211",
        ("orchestrator", "PREPROCESSOR_TIMEOUT"): "90000",
        ("orchestrator", "CACHE_OVERRIDE"): "/var/cache/IMAGE",
        ("resize-graphic", "MAX_GRAPHIC_DIMENSION"): "1200",
        ("object-detection", "YOLO_MODEL_PATH"): "/usr/src/app/models/yolo11x.pt",
        ("object-detection", "CONF_THRESHOLD"): "0.75",
        ("object-detection-llm", "CONF_THRESHOLD"): "0.8",
        ("multistage-diagram-segmentation", "SAM_MODEL_PATH"): "/usr/src/app/models/sam2.1_l.pt",
        ("text-followup", "MAX_TOKEN_LIMIT"): "32768",
        ("text-followup", "BUFFER_TOKENS"): "1000",
        ("text-followup", "HISTORY_EXPIRY"): "3600",
        ("motd-handler", "MOTD"): "Hello, world!",
        # Not those of upstream: private hosts, and the content of its users.
        ("openstreetmap", "SERVERS"): "https://overpass-api.de/api/interpreter",
        ("nominatim-preprocessor", "NOMINATIM_SERVER"): "https://nominatim.openstreetmap.org",
        ("orchestrator", "STORE_IMAGE_DATA"): "OFF",
    }
    assert {key: found.get(key) for key in upstream} == upstream


# Options that become something else


def test_memcached():
    spec = services("motd-handler", memcached_memory_mb=512, memcached_item_mb=8)["memcached"]
    assert spec["TaskTemplate"]["ContainerSpec"]["Args"] == ["-m", "512", "-I", "8m"]
    assert spec["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] == 768 * 2**20


def test_replicas():
    assert profile("production")["supercollider"]["Mode"]["Replicated"]["Replicas"] == 2
    assert profile("production")["supercollider"]["EndpointSpec"]["Mode"] == "dnsrr"
    made = services("supercollider", replicas={"supercollider": 3})
    assert made["supercollider"]["Mode"]["Replicated"]["Replicas"] == 3


def test_memory_limits():
    made = services("motd-handler", memory_limits={"motd-handler": 99, "socket-proxy": 98})
    limits = {name: spec["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] for name, spec in made.items()}
    assert (limits["motd-handler"], limits["socket-proxy"]) == (99 * 2**20, 98 * 2**20)


def test_images():
    made = services(
        "motd-handler", "tat", "line-charts", registry="mirror.test/image", image_tag="unstable",
        image_tags={"tat": "1.4"}, images={"line-charts": "mine/charts:2", "memcached": "memcached:1.6.39"},
    )  # fmt: skip
    images = {name: spec["TaskTemplate"]["ContainerSpec"]["Image"] for name, spec in made.items()}
    assert images["motd-handler"] == "mirror.test/image/image-handler-motd:unstable"
    assert images["tat"] == "mirror.test/image/image-service-tat:1.4"
    assert (images["line-charts"], images["memcached"]) == ("mine/charts:2", "memcached:1.6.39")


@pytest.mark.parametrize("tag", ["latest", "unstable", "v1.2.3", "2026-05-12T10.21"])
def test_image_tag(tag):
    made = services("motd-handler", image_tag=tag)
    assert made["motd-handler"]["TaskTemplate"]["ContainerSpec"]["Image"].endswith(
        f"/image-handler-motd:{tag}"
    )


def test_choice_of_services():
    options = {
        "image_server_profile": "test", "image_server_excluded_services": ["tat"],
        "image_server_extra_services": ["object-detection"], "image_server_enforce_dependencies": False,
        "image_server_deprecated_handlers": False,
    }  # fmt: skip
    made = set(Rendered(options).services)
    assert "tat" not in made and "object-detection" in made and "hello-haptics-handler" not in made
    assert "object-detection-llm" not in made


def test_missing_keys():
    options = {**dict.fromkeys(KEYS, ""), "image_server_missing_keys": "leave_out"}
    assert not set(Rendered(options).services) & LLM
    told = " ".join(Rendered(dict.fromkeys(KEYS, "")).plan["problems"])
    assert "image_server_llm_api_key" in told


def test_llm_network():
    made = services("graphic-caption", "motd-handler", llm_network="models")
    networks = {
        name: [one["Target"] for one in spec["TaskTemplate"]["Networks"]] for name, spec in made.items()
    }
    assert {name for name, found in networks.items() if "models" in found} == {"graphic-caption"}


def test_node():
    made = services("motd-handler", node="worker2")
    assert constraints(made["motd-handler"]) == ["node.labels.gpufleet.host==worker2"]
    directories = Rendered({"image_server_node": "worker2"}).value("_image_server_directories")
    assert {one["node"] for one in directories} == {"worker2"}


def test_data_dir():
    rendered = Rendered(
        {"image_server_data_dir": "/data", "image_server_cache_dir": "/var/docker/image/cache"}
    )
    found = {
        one["path"]: (one["owner"], one["group"], one["mode"])
        for one in rendered.value("_image_server_directories")
    }
    assert found == {
        "/data/user-logs": (1000, 1000, "0750"), "/var/docker/image/cache": (0, 0, "0755"),
        "/data/sc-store": (1000, 4322, "2775"), "/data/monarch": (1000, 1000, "0750"),
    }  # fmt: skip
    made = rendered.services
    sources = {
        mount["Source"]
        for spec in made.values()
        for mount in spec["TaskTemplate"]["ContainerSpec"].get("Mounts", [])
        if "docker.sock" not in mount["Source"]
    }
    assert sources == set(found) - {"/data/monarch"} | {"/data/monarch/data.json"}
    users = {
        name
        for name, spec in made.items()
        if any(
            one["Source"] == "/data/sc-store"
            for one in spec["TaskTemplate"]["ContainerSpec"].get("Mounts", [])
        )
    }
    assert users == {
        "supercollider", "photo-audio-handler", "autour-handler", "photo-audio-haptics-handler",
        "high-charts-handler",
    }  # fmt: skip


@pytest.mark.parametrize(("choice", "end"), [("attempt", "exit 0"), ("require", "exit $failed")])
def test_warmup(choice, end):
    spec = services("graphic-caption", "espnet-tts", warmup=choice)["warmup"]
    container = spec["TaskTemplate"]["ContainerSpec"]
    script = container["Args"][0]
    assert "http://graphic-caption:5000/warmup" in script and "http://espnet-tts:80/warmup" in script
    assert script.rstrip().endswith(end)
    assert "ReplicatedJob" in spec["Mode"]
    assert constraints(spec) == ["node.labels.gpufleet.host==manager1"]
    # Another image of a service is another job.
    assert environment(spec)["IMAGE_OF_GRAPHIC_CAPTION"].endswith("graphic-caption:2026-05-01")


# Routes


def rules(made):
    """Return {service: its rule}."""
    return {
        name: value
        for name, spec in made.items()
        for label, value in spec["Labels"].items()
        if label.endswith(".rule")
    }


def test_routes():
    made = profile("production")
    host = "Host(`image.lab.test`)"
    assert rules(made) == {
        "orchestrator": f"{host} && (Path(`/render`) || Path(`/health`) || PathPrefix(`/authenticate/`))",
        "monarch-link-app": f"{host} && (PathPrefix(`/monarch`))",
        "tat": f"{host} && (PathPrefix(`/tat`))",
    }
    port = "traefik.http.services.image-{}.loadbalancer.server.port"
    assert made["orchestrator"]["Labels"][port.format("orchestrator")] == "8080"
    assert made["tat"]["Labels"][port.format("tat")] == "80"
    assert {spec["Labels"].get("traefik.swarm.network") for spec in made.values()} == {None, "fleet_public"}


def test_domain_and_path():
    made = services("tat", domain="image.example.org", path="/image")
    assert environment(made["tat"])["SERVER_URL"] == "https://image.example.org/image/"
    assert "Host(`image.example.org`)" in rules(made)["orchestrator"]
    assert "Path(`/image/render`)" in rules(made)["orchestrator"]
    strip = "traefik.http.middlewares.image-{}-strip.stripprefix.prefixes"
    assert made["orchestrator"]["Labels"][strip.format("orchestrator")] == "/image"
    assert made["tat"]["Labels"][strip.format("tat")] == "/image/tat"


def test_rate_limit():
    middleware = "traefik.http.middlewares.image-limit.ratelimit"
    found = services("motd-handler", rate_limit=3, rate_burst=9)["orchestrator"]["Labels"]
    assert (found[f"{middleware}.average"], found[f"{middleware}.burst"]) == ("3", "9")
    off = services("motd-handler", rate_limit=0)["orchestrator"]["Labels"]
    assert not [label for label in off if "limit" in label]


def test_expose_preprocess():
    assert "preprocess" not in rules(services("motd-handler"))["orchestrator"]
    assert (
        "Path(`/render/preprocess`)"
        in rules(services("motd-handler", expose_preprocess=True))["orchestrator"]
    )


def test_website(tmp_path):
    (tmp_path / "image.conf").write_text("server {}")
    (tmp_path / "users").write_text("a:b")
    rendered = Rendered({
        "image_server_services": ["motd-handler"], "image_server_website_dir": "/srv/html",
        "image_server_website_config": str(tmp_path / "image.conf"),
        "image_server_website_passwords": {"users": str(tmp_path / "users")},
        "image_server_website_resources_dir": "/srv/resources", "image_server_website_image": "nginx:9",
        "image_server_website_report": True, "image_server_website_log": "mine.log",
        "image_server_goaccess_image": "goaccess:9",
    })  # fmt: skip
    made = rendered.services
    website, report = (made[name]["TaskTemplate"]["ContainerSpec"] for name in ("website", "goaccess"))
    assert (website["Image"], report["Image"]) == ("nginx:9", "goaccess:9")
    mounts = {one["Target"]: (one["Source"], one.get("ReadOnly", False)) for one in website["Mounts"]}
    assert mounts == {
        "/var/www/html": ("/srv/html", True), "/var/www/resources": ("/srv/resources", True),
        "/var/log/nginx": ("/srv/image_server/website-logs", False),
    }  # fmt: skip
    assert [one["File"]["Name"] for one in website["Configs"]] == ["/etc/nginx/templates/image.conf.template"]
    assert [one["File"]["Name"] for one in website["Secrets"]] == ["/etc/nginx/passwords/users"]
    assert environment(made["website"]) == {"SERVER_NAME": "image.lab.test"}
    assert report["Args"][0] == "/srv/logs/mine.log"
    assert rules(made)["website"] == "Host(`image.lab.test`) && (PathPrefix(`/`))"
    paths = {one["path"] for one in rendered.value("_image_server_directories")}
    assert {"/srv/image_server/website-logs", "/srv/image_server/website-report"} <= paths


# Options that the role hands on


def test_options_of_the_deployment():
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    handed = next(task["vars"] for task in tasks if "stack_name" in task.get("vars", {}))
    assert {
        "image_server_state": handed["stack_state"],
        "image_server_resolve_image": handed["stack_resolve_image"],
        "image_server_wait_timeout": handed["stack_wait_timeout"],
    } == {
        name: "{{ " + name + " }}"
        for name in ("image_server_state", "image_server_resolve_image", "image_server_wait_timeout")
    }  # fmt: skip


def test_env_files(tmp_path):
    (tmp_path / ".env").write_text(
        "COMPOSE_PROFILES = default\nREGISTRY_TAG = unstable\n"
        "PII_LOGGING_ENABLED=true\nMAX_BODY=1mb\nDOCKER_GID=9\n"
    )
    (tmp_path / "llm.env").write_text("LLM_API_KEY=from-file\nLLM_URL=https://file/v1\nLLM_MODEL=file\n")
    (tmp_path / "others.env").write_text(
        "GOOGLE_PLACES_KEY=g\nAZURE_API_KEY=a\nFREEOCR_API_KEY=f\nCLOUD_SERVICE=FREE_OCR\n"
    )
    files = [str(tmp_path / name) for name in (".env", "llm.env", "others.env")]
    options = {"image_server_env_files": files, "image_server_llm_model": "of-the-inventory"}
    rendered = Rendered(options)
    for name in ("image_server_image_tag", "image_server_llm_api_key", "image_server_llm_url"):
        rendered.variables[name] = rendered.role_defaults[name]
    made = rendered.services
    assert len(set(made) & set(CATALOGUE)) == 41
    assert made["tat"]["TaskTemplate"]["ContainerSpec"]["Image"].endswith(":unstable")
    assert environment(made["motd-handler"])["PII_LOGGING_ENABLED"] == "true"
    assert environment(made["motd-handler"])["MAX_BODY"] == "1mb"
    assert environment(made["graphic-caption"])["LLM_URL"] == "https://file/v1"
    assert environment(made["graphic-caption"])["LLM_MODEL"] == "of-the-inventory"
    assert environment(made["ocr-clouds-preprocessor"])["CLOUD_SERVICE"] == "FREE_OCR"
    assert rendered.value("_image_server_secret_environment") == {
        "LLM_API_KEY": "from-file", "GOOGLE_PLACES_KEY": "g", "AZURE_API_KEY": "a", "FREEOCR_API_KEY": "f",
    }  # fmt: skip


def test_files_that_are_not_there_are_refused_by_their_options(tmp_path):
    (tmp_path / "there").write_text("")
    there, gone = str(tmp_path / "there"), str(tmp_path / "gone")
    options = {
        "image_server_env_files": [there, gone], "image_server_google_vision_credentials": gone,
        "image_server_website_dir": "/srv/www", "image_server_website_config": gone,
        "image_server_website_passwords": {"users": there, "others": "not/absolute"},
    }  # fmt: skip
    assert Rendered(options).value("__image_server_lacking") == {
        "image_server_env_files": [gone],
        "image_server_google_vision_credentials": [gone],
        "image_server_website_config": [gone],
        "image_server_website_passwords": ["not/absolute"],
    }
    told = " ".join(Rendered(options).plan["problems"])
    assert told.count(gone) == 3 and "set image_server_website_passwords" in told
    # Without the website nobody reads its files.
    without = Rendered({**options, "image_server_website_dir": ""}).value("__image_server_lacking")
    assert set(without) == {"image_server_env_files", "image_server_google_vision_credentials"}
    assert Rendered().value("__image_server_lacking") == {"image_server_env_files": []}


# The page


def functions():
    """Return {test: its source, with what it is parametrized by} of all tests of the role."""
    found = {}
    files = [
        *Path(__file__).parent.glob("test_image_server*.py"),
        ROOT / "tests/integration/test_image_server.py",
    ]
    for file in files:
        text = file.read_text(encoding="utf-8")
        tables = {
            node.targets[0].id: ast.get_source_segment(text, node)
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                source = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
                used = [table for name, table in tables.items() if re.search(rf"\b{name}\b", source)]
                found[node.name] = "\n".join([source, *used])
    return found


def test_the_table_of_options_and_their_tests_is_true():
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    rows = re.findall(
        r"^\| `(image_server_\w+)` \| ((?:`test_\w+`(?:, )?)+) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert [name for name, _tests in rows] == list(options)
    sources = functions()
    for option, tests in rows:
        for test in re.findall(r"`(\w+)`", tests):
            assert test in sources, f"{option}: there is no {test}"
            names = rf"\b({option}|{option.removeprefix('image_server_')})\b"
            assert re.search(names, sources[test]), f"{test} says nothing of {option}"


# What an operator chooses today: Compose variables, env files and those of services.
TODAY = [
    "COMPOSE_PROFILES", "COMPOSE_FILE", "REGISTRY_TAG", "DOCKER_GID", "PII_LOGGING_ENABLED",
    "PARALLEL_PREPROCESSORS", "STORE_IMAGE_DATA", "MEMCACHE_SERVERS", "PREPROCESSOR_TIMEOUT",
    "CACHE_OVERRIDE", "MAX_BODY", "MAX_GRAPHIC_DIMENSION", "TORCH_DEVICE", "WARMUP_ENABLED",
    "YOLO_MODEL_PATH", "CONF_THRESHOLD", "SAM_MODEL_PATH", "MAX_TOKEN_LIMIT", "BUFFER_TOKENS",
    "HISTORY_EXPIRY", "FOLLOWUP_PROMPT_OVERRIDE", "SERVERS", "NOMINATIM_SERVER",
    "NOMINATIM_FALLBACK_SERVER", "MOTD", "SERVER_URL", "SERVER_NAME", "LOG_LEVEL", "GOOGLE_PLACES_KEY",
    "LLM_API_KEY", "LLM_URL", "LLM_MODEL", "AZURE_API_KEY", "FREEOCR_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS", "CLOUD_SERVICE",
]  # fmt: skip


def test_every_name_of_todays_deployment_is_answered():
    described = (ROLE / "meta" / "argument_specs.yml").read_text()
    today = PAGE.read_text().partition("\n## From your current deployment\n")[2].partition("\n## ")[0]
    for name in TODAY:
        assert f"C({name})" in described or f"`{name}`" in today, name


def test_the_services_on_the_page_are_those_of_the_catalogue():
    rows = re.findall(r"^\| `([a-z-]+)` \| (P?T?D?) \|", PAGE.read_text(), re.MULTILINE)
    letters = {"production": "P", "test": "T", "default": "D"}
    assert dict(rows) == {
        name: "".join(letters[one] for one in letters if one in found.get("profiles", letters))
        for name, found in CATALOGUE.items()
    }


def test_the_acceptance_facts_on_the_page_name_tests_that_exist():
    rows = re.findall(r"^\| (\d+) \| .* \| ((?:`test_\w+`(?:, )?)+) \|$", PAGE.read_text(), re.MULTILINE)
    assert [int(number) for number, _tests in rows] == list(range(1, 16))
    assert {test for _number, tests in rows for test in re.findall(r"`(\w+)`", tests)} <= set(functions())

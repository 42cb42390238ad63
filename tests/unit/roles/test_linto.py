# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LinTO's stack for every choice of features, as the Swarm is asked for it."""

from __future__ import annotations

import base64
import json
from itertools import combinations
from pathlib import Path

import pytest

from tests.unit.roles.rendered import Rendered, constraints, environment, mounts, networks, options

CARDS = {"gpu": ["worker1"]}
FEATURES = ["transcription_fr", "transcription_en", "diarization", "summary", "live", "studio", "monitoring"]
EVERYTHING = {"linto_features": FEATURES, "linto_speaker_identification": True}

STT = {"stt-mongo", "task-broker-redis"}
SOCKET = {"api-gateway", "docker-socket"}
# Services of each feature; what several share is in each.
SERVICES = {
    "transcription_fr": STT | {"stt-french-whisper-v3", "stt-french-whisper-v3_workers"},
    "transcription_en": STT | {"stt-english-whisper-v3", "stt-english-whisper-v3_workers"},
    "diarization": {"stt-diarization-pyannote"},
    "summary": {"llm-gateway", "vllm-service"},
    "live": {
        "session-api",
        "session-broker",
        "session-postgres",
        "session-postgres_migration",
        "session-scheduler",
        "session-transcriber",
    },
    "studio": {"studio-api", "studio_mongodb", "studio-frontend", "studio-websocket"},
    "monitoring": {
        "celery_flower_monitor",
        "swarmpit",
        "swarmpit_db",
        "swarmpit_influxdb",
        "swarmpit_agent",
        "docker-socket",
    },
}
# Those of upstream that anyone knows.
KNOWN = ("mypass", "jwt_secret=", "jwt_refresh_secret=", "superadmin@", "LINAGORA", "My_Pas")


class LinTO(Rendered):
    def secrets(self):
        """Return the variables of the Compose file that are secret, as role stack gives them."""
        found = {name.upper(): f"value of {name}" for name in self.value("_linto_secrets")}
        return found | {name: str(value) for name, value in self.value("_linto_secret_environment").items()}


def linto(groups=None, **chosen):
    return LinTO("linto", chosen, groups)


def services(role):
    return role.services


def possible(features):
    """Tell whether these features go together."""
    heard = {"transcription_fr", "transcription_en"} & set(features)
    return bool(heard) or not {"diarization", "monitoring"} & set(features)


# Alone, in pairs, and all of them.
CHOICES = [
    list(features)
    for number in (1, 2, len(FEATURES))
    for features in combinations(FEATURES, number)
    if possible(features)
]


@pytest.mark.parametrize("features", CHOICES, ids="-".join)
def test_each_choice_of_features_has_its_services(features):
    role = linto(CARDS, linto_features=features)
    assert role.value("_linto_problems") == []
    assert set(services(role)) == SOCKET.union(*(SERVICES[feature] for feature in features))


def test_the_gateway_goes_where_nobody_needs_it():
    role = linto(linto_features=["live"], linto_expose_gateway=False)
    assert set(services(role)) == SERVICES["live"]
    role = linto(linto_features=["live", "studio"], linto_expose_gateway=False)
    assert set(services(role)) >= SOCKET


def test_nothing_known_in_advance_is_in_a_specification():
    role = linto(CARDS, **EVERYTHING)
    text = json.dumps(role.desired())
    assert [word for word in KNOWN if word in text] == []


def test_every_image_has_a_tag_and_none_is_latest():
    for name, spec in services(linto(CARDS, **EVERYTHING)).items():
        image = spec["TaskTemplate"]["ContainerSpec"]["Image"]
        assert ":" in image.rpartition("/")[2] and not image.endswith(":latest"), name


def test_only_streams_have_ports():
    published = {
        name: [port["PublishedPort"] for port in spec["EndpointSpec"]["Ports"]]
        for name, spec in services(linto(CARDS, **EVERYTHING)).items()
        if (spec.get("EndpointSpec") or {}).get("Ports")
    }
    assert published == {"session-transcriber": [1935, 8889]}
    chosen = services(linto(linto_rtmp_port=11935, linto_srt_port=18889))["session-transcriber"]
    assert [port["PublishedPort"] for port in chosen["EndpointSpec"]["Ports"]] == [11935, 18889]


def test_the_engines_socket_is_behind_a_proxy():
    role = linto(CARDS, **EVERYTHING)
    with_socket = {
        name for name, spec in services(role).items() if "/var/run/docker.sock" in mounts(spec).values()
    }
    assert with_socket == {"docker-socket"}
    for name in ("api-gateway", "swarmpit", "swarmpit_agent"):
        assert mounts(services(role)[name])["/var/run"] == "linto_docker-socket", name


def test_diarization_without_voices():
    role = linto(linto_features=["transcription_fr", "diarization"])
    found = services(role)
    assert environment(found["stt-french-whisper-v3"])["DIARIZATION_DEFAULT"] == "stt-diarization-pyannote"
    variables = environment(found["stt-diarization-pyannote"])
    assert variables["DEVICE"] == "cpu" and "QDRANT_HOST" not in variables
    # Upstream's "false" is the name of no service.
    variables = environment(services(linto())["stt-french-whisper-v3"])
    assert "DIARIZATION_DEFAULT" not in variables


def test_diarization_with_voices():
    role = linto(
        linto_features=["transcription_fr", "diarization"],
        linto_speaker_identification=True,
        linto_speaker_collection_rebuilt=False,
    )
    found = services(role)
    name = "stt-diarization-pyannote-qdrant"
    assert environment(found["stt-french-whisper-v3"])["DIARIZATION_DEFAULT"] == name
    variables = environment(found[name])
    assert (variables["QDRANT_HOST"], variables["QDRANT_PORT"]) == ("stt-qdrant-vector-db", "6333")
    assert variables["QDRANT_RECREATE_COLLECTION"] == "false"
    assert networks(found["stt-qdrant-vector-db"]) == {"linto_voices"}
    users = {key for key, spec in found.items() if "linto_voices" in networks(spec)}
    assert users == {name, "stt-qdrant-vector-db"}
    made = {directory["path"] for directory in role.value("_linto_directories")}
    assert {"/srv/linto/shared/audios/speaker_samples", "/srv/linto/shared/qdrant_storage"} <= made


def test_every_bind_mount_is_a_directory_that_is_made():
    role = linto(CARDS, **EVERYTHING)
    made = {directory["path"] for directory in role.value("_linto_directories")}
    for name, spec in services(role).items():
        for source in mounts(spec).values():
            assert not source.startswith("/srv") or source in made, f"{name}: {source}"


def test_postgres_writes_where_its_data_is():
    spec = services(linto())["session-postgres"]
    assert list(mounts(spec)) == ["/var/lib/postgresql/data"]


def test_languages_and_models():
    role = linto(
        linto_features=["transcription_en"],
        linto_transcription_model="medium",
        linto_transcription_workers=3,
        linto_transcription_concurrency=4,
        linto_keep_audio=True,
    )
    found = services(role)
    api, worker = found["stt-english-whisper-v3"], found["stt-english-whisper-v3_workers"]
    assert environment(api)["LANGUAGE"] == "en-US" and environment(api)["KEEP_AUDIO"] == "1"
    assert environment(api)["RESSOURCE_FOLDER"] == "/opt/audio"
    assert environment(api)["CONCURRENCY"] == environment(worker)["CONCURRENCY"] == "4"
    assert environment(worker)["MODEL"] == "medium"
    assert worker["Mode"]["Replicated"]["Replicas"] == 3


def test_cards_go_to_who_claims_them():
    role = linto(
        CARDS,
        **EVERYTHING,
        linto_gpu={
            "transcription_fr": {"claim": "exclusive"},
            "diarization": {"claim": "shared", "memory": "4gb"},
        },
    )
    found = services(role)
    french, english = found["stt-french-whisper-v3_workers"], found["stt-english-whisper-v3_workers"]
    diarization = found["stt-diarization-pyannote-qdrant"]
    assert [environment(spec)["DEVICE"] for spec in (french, english, diarization)] == ["cuda", "cpu", "cuda"]
    resources = french["TaskTemplate"]["Resources"]["Reservations"]["GenericResources"]
    assert resources == [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 1}}]
    # One card for itself cannot be had twice, so the old task goes before the new one comes.
    assert french["UpdateConfig"]["Order"] == "stop-first"
    assert english["UpdateConfig"]["Order"] == "start-first"
    assert diarization["Labels"]["gpufleet.claim"].startswith("shared all ")
    model = found["vllm-service"]["TaskTemplate"]["Resources"]["Reservations"]["GenericResources"]
    assert model == [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 1}}]
    assert "NVIDIA_DRIVER_CAPABILITIES" not in environment(english)


def test_the_language_model():
    chosen = {
        "linto_llm_model": "org/model",
        "linto_llm_name": "ours",
        "linto_llm_tokenizer": "OtherTokenizer",
        "linto_llm_arguments": ["--max-model-len", "4096"],
        "linto_llm_gpu_memory_utilization": 0.5,
        "linto_llm_context_length": 4096,
        "linto_llm_generation_length": 1024,
        "linto_llm_new_turn_after": 200,
        "linto_llm_summary_turns": 3,
        "linto_llm_new_turns": 5,
        "linto_llm_temperature": 0.2,
        "linto_llm_top_p": 0.9,
        "linto_llm_timeout": 90,
        "linto_llm_hf_token": "hf-secret",
        "linto_llm_prompt": "Old: {} New: {} costs $5",
    }
    role = linto(CARDS, linto_features=["summary"], **chosen)
    desired = role.desired()
    found = {one["key"]: one["spec"] for one in desired["services"].values()}
    assert found["vllm-service"]["TaskTemplate"]["ContainerSpec"]["Args"] == [
        "--model",
        "org/model",
        "--gpu-memory-utilization",
        "0.5",
        "--max-model-len",
        "4096",
    ]
    assert "hf-secret" not in json.dumps(desired)
    assert "HF_TOKEN" in environment(found["vllm-service"])
    assert environment(found["llm-gateway"])["TIMEOUT"] == "90"
    files = {one["key"]: one["spec"]["Data"] for one in desired["configs"].values()}
    service = json.loads(text(files["summary-service"]))
    assert service["flavor"] == [
        {
            "name": "ours",
            "modelName": "org/model",
            "totalContextLength": 4096,
            "maxGenerationLength": 1024,
            "tokenizerClass": "OtherTokenizer",
            "createNewTurnAfter": 200,
            "summaryTurns": 3,
            "maxNewTurns": 5,
            "temperature": 0.2,
            "top_p": 0.9,
        }
    ]
    assert text(files["summary-prompt"]) == chosen["linto_llm_prompt"]
    assert networks(found["vllm-service"]) == {"linto_llm"}


def text(data):
    return base64.b64decode(data).decode()


def test_monitoring_asks_for_a_login():
    role = linto(linto_features=["transcription_fr", "monitoring"], linto_monitoring_user="ops")
    found = services(role)
    for name in ("celery_flower_monitor", "swarmpit"):
        labels = found[name]["Labels"]
        chain = labels[f"traefik.http.routers.linto-{name}.middlewares"].split(",")
        assert chain[0] == f"linto-{name}-login"
        assert f"traefik.http.middlewares.linto-{name}-login.basicauth.users" in labels
    assert role.value("_linto_secret_environment")["MONITORING_LOGIN"].startswith("ops:")
    assert found["swarmpit_agent"]["Mode"] == {"Global": {}}
    assert environment(found["swarmpit_agent"])["DOCKER_API_VERSION"] == "1.41"
    newer = linto(linto_features=["transcription_fr", "monitoring"], linto_monitoring_api_version="1.44")
    assert environment(services(newer)["swarmpit_agent"])["DOCKER_API_VERSION"] == "1.44"
    limits = found["swarmpit"]["TaskTemplate"]["Resources"]["Limits"]
    assert limits == {"NanoCPUs": 500_000_000, "MemoryBytes": 1024 * 2**20}


def test_live_sessions_have_a_passphrase_if_asked():
    found = linto()
    assert found.value("_linto_secret_environment")["STREAMING_PASSPHRASE"] == "false"
    role = linto(linto_streaming_passphrase="long enough for SRT")
    assert role.value("_linto_secret_environment")["STREAMING_PASSPHRASE"] == "long enough for SRT"
    for name in ("session-api", "session-transcriber"):
        assert "STREAMING_PASSPHRASE" in environment(services(role)[name])


@pytest.mark.parametrize("live", [True, False])
def test_the_studio_knows_whether_there_are_sessions(live):
    found = services(linto(linto_features=["studio", *(["live"] if live else [])]))
    components = environment(found["studio-api"])["COMPONENTS"]
    assert components == (
        "WebServer,MongoMigration,BrokerClient,IoHandler" if live else "WebServer,MongoMigration"
    )
    assert environment(found["studio-frontend"])["VUE_APP_ENABLE_SESSION"] == str(live).lower()


def test_the_studio_as_its_operator_wants_it():
    chosen = {
        "linto_features": ["studio"],
        "linto_domain": "speech.lab.test",
        "linto_superadmin_email": "root@lab.test",
        "linto_self_registration": True,
        "linto_organization_permissions": [],
        "linto_theme": "Other",
        "linto_upload_limit": 5,
        "linto_smtp_host": "mail.lab.test",
        "linto_smtp_port": 587,
        "linto_smtp_secure": False,
        "linto_smtp_require_tls": False,
        "linto_smtp_user": "sender",
        "linto_smtp_password": "mail-secret",
        "linto_smtp_sender": "no-reply@lab.test",
    }
    role = linto(**chosen)
    assert "mail-secret" not in json.dumps(role.desired())
    found = services(role)
    api, front = environment(found["studio-api"]), environment(found["studio-frontend"])
    wanted = {
        "SUPER_ADMIN_EMAIL": "root@lab.test",
        "DISABLE_USER_CREATION": "false",
        "ORGANIZATION_DEFAULT_PERMISSIONS": "none",
        "EXPRESS_SIZE_FILE_MAX": "5",
        "SMTP_HOST": "mail.lab.test",
        "SMTP_PORT": "587",
        "SMTP_SECURE": "false",
        "SMTP_REQUIRE_TLS": "false",
        "SMTP_AUTH": "sender",
        "NO_REPLY_EMAIL": "no-reply@lab.test",
        "CORS_API_WHITELIST": "https://speech.lab.test",
    }
    assert {name: api[name] for name in wanted} == wanted
    assert (front["VUE_APP_THEME"], front["VUE_APP_DISABLE_USER_CREATION"]) == ("Other", "false")


def test_exposure():
    def labels(**chosen):
        return services(linto(linto_features=["transcription_fr"], **chosen))["stt-french-whisper-v3"][
            "Labels"
        ]

    direct, gateway = "traefik.enable", "linto.gateway.enable"
    assert {direct, gateway} <= set(labels())
    assert gateway not in labels(linto_expose_gateway=False)
    only_gateway = labels(linto_expose_direct=False)
    assert direct not in only_gateway
    assert only_gateway["linto.gateway.endpoints"] == "/stt-french-whisper-v3,"
    assert json.loads(only_gateway["linto.gateway.desc"]).keys() == {"en", "fr"}


def test_replicas_resources_and_images():
    role = linto(
        linto_replicas={"studio-websocket": 2, "stt-french-whisper-v3": 3},
        linto_resources={"studio-api": {"limits": {"memory": "2g"}}},
        linto_images={"session-postgres": "postgres:17.5"},
        linto_image_tag="1.2",
    )
    found = services(role)
    assert found["studio-websocket"]["Mode"]["Replicated"]["Replicas"] == 2
    sticky = "traefik.http.services.linto-studio-websocket.loadbalancer.sticky.cookie"
    assert found["studio-websocket"]["Labels"][sticky] == "true"
    assert found["stt-french-whisper-v3"]["Mode"]["Replicated"]["Replicas"] == 3
    assert found["studio-api"]["TaskTemplate"]["Resources"]["Limits"] == {"MemoryBytes": 2 * 2**30}
    images = {name: spec["TaskTemplate"]["ContainerSpec"]["Image"] for name, spec in found.items()}
    assert images["session-postgres"] == "postgres:17.5"
    assert images["studio-api"] == "lintoai/studio-api:1.2"


def test_places():
    role = linto(linto_data_node="worker2", linto_shared_dir="/data/s", linto_local_dir="/data/l")
    found = services(role)
    place = "node.labels.gpufleet.host == worker2"
    assert constraints(found["session-postgres"]) == constraints(found["studio-api"]) == [place]
    assert list(mounts(found["session-postgres"]).values())[0].startswith("/data/l/")
    assert "/data/s/conversation-manager" in mounts(found["studio-api"]).values()
    shared = services(linto(linto_data_node="worker2", linto_shared_on_all_nodes=True))
    assert constraints(shared["studio-api"]) == [] and constraints(shared["session-postgres"]) == [place]


# What does not fit together -> the option that the sentence names.
PROBLEMS = [
    ({"linto_features": ["diarization"]}, "linto_features"),
    ({"linto_features": ["studio", "monitoring"]}, "linto_features"),
    ({"linto_speaker_identification": True}, "linto_features"),
    ({"linto_features": ["summary"]}, "gpu"),
    ({"linto_gpu": {"transcription_fr": {}}}, "linto_gpu"),
    ({"linto_gpu": {"whisper": {}}}, "linto_gpu"),
    ({"linto_replicas": {"session-postgres": 2}}, "linto_replicas"),
    ({"linto_images": {"postgres": "postgres:17"}}, "linto_images"),
    ({"linto_llm_prompt": "one {}"}, "linto_llm_prompt"),
    ({"linto_streaming_passphrase": "short"}, "linto_streaming_passphrase"),
    ({"linto_data_node": "elsewhere"}, "linto_data_node"),
]


@pytest.mark.parametrize(("chosen", "option"), PROBLEMS)
def test_what_does_not_fit_together_is_refused(chosen, option):
    problems = linto(**chosen).value("_linto_problems")
    assert problems and all(option in problem for problem in problems[:1])


def test_each_option_is_in_a_test():
    """docs/systems/linto.md points here for the options of LinTO; linto_state is in molecule."""
    here = Path(__file__).read_text()
    live = {"linto_state"}
    assert [name for name in options("linto") if name not in here and name not in live] == []

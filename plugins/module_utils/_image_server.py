# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services of IMAGE-server are deployed, where and how; and its env files.

Private: may change in any release.

Pure: plain data in, plain data out. The catalogue is vars/main.yml of the role image_server, which says what
its keys mean; wishes are the options of the role by their names without the prefix.
"""

from __future__ import annotations

import difflib
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

PROFILES = ("production", "test", "default")
BASE = ("orchestrator", "memcached")  # nothing works without them
BOUND = ("preprocessor", "handler")  # found by the orchestrator on its own node only
# Two containers of the others would be asked twice, or forget what the other one was told.
SCALABLE = ("supercollider", "espnet-tts", "espnet-tts-fr", "multilang-support", "tat")
# Not in the catalogue: the first two come from overlays, the third is this role's.
WEBSITE, REPORT, PROXY = "website", "goaccess", "socket-proxy"
ANY = "any"
CLAIMS = ("none", "shared", "exclusive")
CARD = re.compile(r"(GPU|MIG)-[0-9A-Fa-f-]+")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
OCR_NEEDS = {
    "AZURE_OCR": "image_server_azure_api_key",
    "AZURE_READ": "image_server_azure_api_key",
    "FREE_OCR": "image_server_freeocr_api_key",
    "GOOGLE_VISION": "image_server_google_vision_credentials",
}
OCR = "ocr-clouds-preprocessor"

# Names of upstream's env files: those that become options of the role (their defaults read them), and those
# that mean nothing here.
IMPORTED = (
    "COMPOSE_PROFILES", "REGISTRY_TAG", "PII_LOGGING_ENABLED", "MAX_BODY", "GOOGLE_PLACES_KEY", "LLM_API_KEY",
    "LLM_URL", "LLM_MODEL", "AZURE_API_KEY", "FREEOCR_API_KEY", "CLOUD_SERVICE",
)  # fmt: skip
WITHOUT_EFFECT = {
    "DOCKER_GID": "the orchestrator asks a proxy and no socket",
    "COMPOSE_FILE": "overlays are options here",
    "GOOGLE_APPLICATION_CREDENTIALS": "a path in the container; set image_server_google_vision_credentials",
    **dict.fromkeys(
        (
            "COMPOSE_ENV_FILE", "ENVIRONMENT", "DOCKER_DIR", "IMAGE_SERVER_DIR", "GIT_REMOTE", "LOG_DIR",
            "SLACK_WEBHOOK_URL", "SERVER", "TEST_DIR",
        ),
        "for upstream's host scripts",
    ),
}  # fmt: skip


# Env files


def read_env(paths, texts):
    """Return {"values", "ignored", "problems"} of upstream's env files; later files win.

    Blanks around "=" are allowed, as in upstream's own files; values may stand in quotes. Values are never
    repeated in a problem, for they may be secrets.
    """
    values, ignored, problems = {}, {}, []
    for path, text in zip(paths, texts, strict=True):
        for number, line in enumerate(text.splitlines(), 1):
            words = line.strip().removeprefix("export ")
            if not words or words.startswith("#"):
                continue
            name, separator, value = (part.strip() for part in words.partition("="))
            target = f"{path}, line {number}"
            if not separator or not name.isidentifier():
                problems.append(
                    _problem(
                        "Cannot read a line of an env file",
                        target,
                        wanted="NAME=value",
                        option="image_server_env_files",
                    )
                )
            elif name in WITHOUT_EFFECT:
                ignored[name] = WITHOUT_EFFECT[name]
            elif name in IMPORTED:
                values[name] = _unquoted(value)
            else:
                problems.append(
                    _problem(
                        "An env file has a variable that IMAGE-server does not know",
                        target,
                        name,
                        f"one of {', '.join(sorted(IMPORTED))}",
                        "image_server_env_files",
                    )
                )
    # An empty variable is one that nobody filled in, as those of upstream's examples are.
    return {
        "values": {name: value for name, value in values.items() if value},
        "ignored": ignored,
        "problems": problems,
    }


def _unquoted(value):
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _problem(what, target=None, found=None, wanted=None, option=None, cause=None):
    return str(FleetError(what, target, found, wanted, option, cause))


# Services


def plan(catalogue, wishes):
    """Return what is deployed, and why not.

    services   {name: {image, constraints, replicas, gpu}}, in the catalogue's order
    places     {name: node} of the services whose node is known, the website's too
    added      {name: who requires it}, beyond what was chosen
    left_out   {name: why}, of what was chosen
    problems   sentences; with any, the rest is not to be used
    """
    problems = list(wishes["env_problems"])
    problems += _lacking(wishes)
    problems += _unknown(catalogue, wishes)
    problems += _misshapen(wishes)
    if problems:
        return {"services": {}, "places": {}, "added": {}, "left_out": {}, "problems": problems}
    chosen, added, left_out = _select(catalogue, wishes, problems)
    names = [name for name in catalogue if name in chosen]
    hosts = _hosts(catalogue, wishes, names, problems)
    cards = _cards(catalogue, wishes, names, hosts, problems)
    _judge(catalogue, wishes, names, problems)
    constraints = _constraints(catalogue, wishes, hosts, cards)
    services = {
        name: {
            "image": _image(catalogue, wishes, name),
            "constraints": constraints[name],
            "replicas": int(wishes["replicas"].get(name, 1)),
            "gpu": cards.get(name),
        }
        for name in names
    }
    places = {name: host for name, host in hosts.items() if host != ANY}
    return {
        "services": services,
        "places": places,
        "added": added,
        "left_out": left_out,
        "problems": problems,
    }


def _lacking(wishes):
    """Yield a problem for each file of the controller that an option names and that is not there."""
    for option, paths in wishes["lacking"].items():
        for path in paths:
            yield _problem("A file is not there", found=path, wanted="one on the controller", option=option)


def _unknown(catalogue, wishes):
    """Yield a problem for each service that no service is called."""
    single = ("services", "extra_services", "excluded_services", "image_tags", "replicas", "gpu_claims")
    known = {
        **dict.fromkeys(single, set(catalogue)),
        **dict.fromkeys(("images", "memory_limits"), {*catalogue, WEBSITE, REPORT, PROXY}),
        **dict.fromkeys(("environment", "placement"), {*catalogue, WEBSITE}),
    }
    for option, names in known.items():
        for name in wishes[option]:
            if name not in names:
                yield _problem(
                    "IMAGE-server has no such service",
                    found=name,
                    wanted=_closest(name, names),
                    option=f"image_server_{option}",
                )
    if wishes["profile"] not in PROFILES:
        yield _problem(
            "IMAGE-server has no such profile",
            found=wishes["profile"],
            wanted=", ".join(PROFILES),
            option="image_server_profile",
        )


def _misshapen(wishes):
    """Yield a problem for each service whose entry in an option is of another kind than it has to be."""
    for option in ("replicas", "memory_limits"):
        for name, value in wishes[option].items():
            if not _counts(value):
                yield _of_another_kind(option, name, value, "a number from 1 on")
    for option in ("environment", "gpu_claims"):
        for name, value in wishes[option].items():
            if not isinstance(value, dict):
                # Not the value, in which a secret may be.
                yield _of_another_kind(option, name, type(value).__name__, "a dictionary")


def _of_another_kind(option, name, found, wanted):
    return _problem(
        "A service has something else in an option than it takes",
        name,
        found,
        wanted,
        f"image_server_{option}",
    )


def _counts(value):
    return str(value).isdecimal() and int(value) > 0


def _closest(name, names):
    found = difflib.get_close_matches(str(name), sorted(names), 1, 0.5)
    return found[0] if found else "a name of the services in docs/systems/image_server.md"


def in_profile(catalogue, profile):
    """Return the names of the services of a profile."""
    return [name for name, one in catalogue.items() if profile in one.get("profiles", PROFILES)]


def _named(wishes):
    return {*wishes["services"], *wishes["extra_services"]} - set(wishes["excluded_services"])


def _select(catalogue, wishes, problems):
    """Return (names, {added: by whom}, {left out: why}); what was chosen, closed over what it requires."""
    start = set(wishes["services"] or in_profile(catalogue, wishes["profile"]))
    if not wishes["deprecated_handlers"]:
        start = {name for name in start if not catalogue[name].get("deprecated")}
    start |= set(wishes["extra_services"]) | set(BASE)
    excluded = set(wishes["excluded_services"])
    for name in sorted(excluded & set(BASE)):
        problems.append(
            _problem(
                "IMAGE-server does not work without a service",
                name,
                "excluded",
                "included",
                "image_server_excluded_services",
            )
        )
    start -= excluded
    lacking = sorted(option for option, given in wishes["llm"].items() if not given)
    keyless = {name for name, one in catalogue.items() if "llm" in one.get("needs", ()) and lacking}
    left_out = {}
    if wishes["missing_keys"] == "leave_out":
        start, left_out = _without(catalogue, start, keyless, lacking, wishes["enforce_dependencies"])
    chosen, added = _close(catalogue, start, wishes["enforce_dependencies"])
    for name in sorted(excluded & set(added)):
        problems.append(
            _problem(
                f"A service is excluded that {added[name]} requires",
                name,
                "excluded",
                f"included, or without {added[name]}",
                "image_server_excluded_services",
                "image_server_enforce_dependencies: false deploys without it",
            )
        )
    needy = [name for name in catalogue if name in chosen & keyless]
    if needy:
        problems.append(
            _problem(
                "Services do not start without their language model",
                ", ".join(needy),
                f"no {', '.join(lacking)}",
                "a value each",
                ", ".join(lacking),
                "image_server_missing_keys: leave_out deploys without them and what requires them",
            )
        )
    return chosen, {name: why for name, why in added.items() if name not in excluded}, left_out


def requirements(catalogue, name, enforce):
    """Return what a service cannot do without: what it calls, and what it reads."""
    one = catalogue[name]
    return [*one.get("uses", ()), *(one.get("required", ()) if enforce else ())]


def _close(catalogue, start, enforce):
    chosen, added, todo = set(start), {}, [name for name in catalogue if name in start]
    while todo:
        name = todo.pop(0)
        for other in requirements(catalogue, name, enforce):
            if other not in chosen:
                chosen.add(other)
                added[other] = name
                todo.append(other)
    return chosen, added


def _without(catalogue, start, keyless, lacking, enforce):
    """Return (the services that can do without keyless ones, {the others: why})."""
    out = {name: f"no {', '.join(lacking)}" for name in catalogue if name in keyless}
    grown = True
    while grown:
        grown = False
        for name in catalogue:
            gone = [other for other in requirements(catalogue, name, enforce) if other in out]
            if gone and name not in out:
                out[name] = f"it requires {', '.join(gone)}"
                grown = True
    return start - set(out), {name: why for name, why in out.items() if name in start}


# Where, with which cards, from which image


def _hosts(catalogue, wishes, names, problems):
    """Return {service: inventory name of its node, or "any"}."""
    nodes = wishes["nodes"]
    if wishes["node"] not in nodes:
        problems.append(
            _problem(
                "The node of IMAGE-server is none of the fleet's",
                found=wishes["node"],
                wanted=f"one of {', '.join(nodes)}",
                option="image_server_node",
            )
        )
    hosts = {}
    for name in [*names, *([WEBSITE] if wishes["website_dir"] else [])]:
        host = hosts[name] = wishes["placement"].get(name, wishes["node"])
        kind = catalogue.get(name, {}).get("kind", "")
        if host == wishes["node"]:
            continue
        if name == "orchestrator" or kind in BOUND:
            problems.append(
                _problem(
                    "The orchestrator finds services on its own node only",
                    name,
                    host,
                    f"{wishes['node']}, the node of all of them",
                    "image_server_placement",
                )
            )
        elif name in ("supercollider", "monarch-link-app", WEBSITE) and host == ANY:
            problems.append(
                _problem(
                    "A service has files, and its node is not told",
                    name,
                    ANY,
                    f"one of {', '.join(nodes)}",
                    "image_server_placement",
                )
            )
        elif name == "supercollider":
            problems.append(
                _problem(
                    "The handlers share files with a service",
                    name,
                    host,
                    f"{wishes['node']}, their node",
                    "image_server_placement",
                )
            )
        elif host != ANY and host not in nodes:
            problems.append(
                _problem(
                    "A service is placed on a node that is none of the fleet's",
                    name,
                    host,
                    f"{ANY}, or one of {', '.join(nodes)}",
                    "image_server_placement",
                )
            )
    if wishes["website_report"]:
        if wishes["website_dir"]:
            hosts[REPORT] = hosts[WEBSITE]
        else:
            problems.append(
                _problem(
                    "There is no report without the website",
                    found="no image_server_website_dir",
                    wanted="the folder of the website",
                    option="image_server_website_dir",
                )
            )
    return hosts


def _cards(catalogue, wishes, names, hosts, problems):
    """Return {service: its claim, as x-gpu takes it}."""
    having = wishes["gpu_hosts"]
    if wishes["gpu"] and not having:
        problems.append(
            _problem(
                "Cards are wanted on a fleet without any",
                found="no host in group gpu",
                wanted="image_server_gpu: false, or the hosts with cards in group gpu",
                option="image_server_gpu",
            )
        )
        return {}
    if wishes["gpu_cards"] and not wishes["gpu"]:
        problems.append(
            _problem(
                "Cards are named and none is used",
                found="image_server_gpu: false",
                wanted="image_server_gpu: true",
                option="image_server_gpu_cards",
            )
        )
    named = [("image_server_gpu_cards", card) for card in wishes["gpu_cards"]]
    for name, wish in wishes["gpu_claims"].items():
        if isinstance(wish.get("cards"), list):
            named += [(f"image_server_gpu_claims.{name}.cards", card) for card in wish["cards"]]
    for option, card in named:
        if not CARD.fullmatch(str(card)):
            problems.append(
                _problem(
                    "A card is not named by its UUID",
                    found=card,
                    wanted="one of nvidia-smi -L",
                    option=option,
                )
            )
    cards = {}
    for name, wish in wishes["gpu_claims"].items():
        if wish.get("claim", "shared") not in CLAIMS or set(wish) - {"claim", "cards", "kind", "memory"}:
            problems.append(
                _problem(
                    "A claim on cards says something else than a claim can",
                    name,
                    ", ".join(f"{key}: {value}" for key, value in wish.items()),
                    f"claim ({', '.join(CLAIMS)}), cards, kind, memory",
                    "image_server_gpu_claims",
                )
            )
    for name in names:
        memory, wish = catalogue[name].get("gpu"), wishes["gpu_claims"].get(name, {})
        claim = wish.get("claim") or ("shared" if memory and wishes["gpu"] else "none")
        if claim == "none":
            continue
        if not memory:
            problems.append(
                _problem("A service cannot use a card", name, claim, "none", "image_server_gpu_claims")
            )
        elif hosts[name] not in having and (hosts[name] != ANY or not having):
            option = (
                "image_server_gpu_claims"
                if wish.get("claim")
                else "image_server_gpu or image_server_gpu_claims"
            )
            problems.append(
                _problem(
                    "A service is to use a card on a node that is not in group gpu",
                    name,
                    hosts[name],
                    f"one of {', '.join(having) or 'no host has cards'}",
                    option,
                )
            )
        else:
            cards[name] = _claim(claim, wish, memory, wishes["gpu_cards"])
    return cards


def _claim(claim, wish, memory, cards):
    if claim == "exclusive":
        return {"claim": claim, "cards": int(wish.get("cards") or 1), **_given(wish, "kind")}
    return {
        "claim": claim,
        "cards": wish.get("cards") or cards or "all",
        "memory": wish.get("memory") or f"{memory}m",
    }


def _given(wish, *keys):
    return {key: wish[key] for key in keys if wish.get(key)}


def _constraints(catalogue, wishes, hosts, cards):
    """Return {service: placement constraints}: the same ones for all that the orchestrator has to find."""
    found = {}
    core_has_cards = any(name in cards for name in hosts if catalogue.get(name, {}).get("kind") in BOUND)
    for name, host in hosts.items():
        found[name] = [] if host == ANY else [f"node.labels.gpufleet.host=={host}"]
        bound = name == "orchestrator" or catalogue.get(name, {}).get("kind") in BOUND
        shared = cards.get(name, {}).get("claim") == "shared"
        if (bound and core_has_cards) or shared:
            found[name].append("node.labels.gpufleet.gpu==true")
    return found


def _image(catalogue, wishes, name):
    one = catalogue[name]
    if name in wishes["images"]:
        return wishes["images"][name]
    if "reference" in one:
        return one["reference"]
    tag = wishes["image_tags"].get(name) or wishes["image_tag"]
    return f"{wishes['registry'].rstrip('/')}/{one['image']}:{tag}"


def _judge(catalogue, wishes, names, problems):
    """Find what is wrong with single options."""
    tagged = [name for name in names if "image" in catalogue[name] and name not in wishes["images"]]
    if not wishes["image_tag"] and [name for name in tagged if name not in wishes["image_tags"]]:
        problems.append(
            _problem(
                "Nobody has chosen a tag of the images",
                found="no image_server_image_tag",
                wanted="latest (production ready), unstable (main branch), a version or a timestamp",
                option="image_server_image_tag",
            )
        )
    given = {"image_server_image_tag": wishes["image_tag"]}
    given.update({f"image_server_image_tags.{name}": tag for name, tag in wishes["image_tags"].items()})
    for option, tag in given.items():
        if tag and not TAG.fullmatch(str(tag)):
            problems.append(
                _problem(
                    "The tag is none that a registry takes",
                    found=tag,
                    wanted="up to 128 letters, digits, dots, hyphens and underscores",
                    option=option,
                )
            )
    for name, number in wishes["replicas"].items():
        if name not in SCALABLE and int(number) != 1:
            problems.append(
                _problem(
                    "A service cannot be there more than once",
                    name,
                    number,
                    f"1; only {', '.join(SCALABLE)} have replicas",
                    "image_server_replicas",
                )
            )
    service = wishes["ocr_service"]
    need = OCR_NEEDS.get(service)
    if service and not need:
        problems.append(
            _problem(
                "The OCR service is not known",
                found=service,
                wanted=", ".join(OCR_NEEDS),
                option="image_server_ocr_service",
            )
        )
    elif need and OCR in names and not wishes["ocr"][need]:
        problems.append(
            _problem(
                "The OCR service needs a key",
                f"image_server_ocr_service {service}",
                f"no {need}",
                "a value",
                need,
            )
        )
    elif not service and OCR in _close(catalogue, _named(wishes), wishes["enforce_dependencies"])[0]:
        problems.append(
            _problem(
                "A service that was asked for by name fails each request without an OCR service",
                OCR,
                "none",
                ", ".join(OCR_NEEDS),
                "image_server_ocr_service",
            )
        )
    path = wishes["path"]
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        problems.append(
            _problem(
                "The path of the server is no path",
                found=path,
                wanted="empty, or one such as /image",
                option="image_server_path",
            )
        )

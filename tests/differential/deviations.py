# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every difference from `docker stack deploy` that is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.differential.clients import CLIENTS

ALL = tuple(CLIENTS)
SINCE_YAML_1_2 = ("28.2", "29.1")
BEFORE_YAML_1_2 = ("20.10", "26.1")

DIFFERS, CLI_REFUSES, HERE_REFUSES = "differs", "the CLI refuses", "refused here"


@dataclass(frozen=True)
class Deviation:
    """One intended difference.

    name        what it is called here
    kind        DIFFERS, CLI_REFUSES or HERE_REFUSES
    cases       ids of the corpus, or patterns of them, that show it; each has to, with each of the clients
    what, why   what the CLI does and we do, and the reason
    documented  words of docs/compose.md that tell it to users
    fields      for DIFFERS: {pattern of a path: function of (the CLI's value, ours), true if it is this}
    planned     for DIFFERS: patterns of the paths that the module plans to change after the CLI
    message     for refusals: pattern of what the refusing side says
    clients     versions of the CLI that behave so
    """

    name: str
    kind: str
    cases: tuple[str, ...]
    what: str
    why: str
    documented: str
    fields: dict = field(default_factory=dict)
    planned: tuple[str, ...] = ()
    message: str = ""
    clients: tuple[str, ...] = ALL

    def concerns(self, case):
        """Tell whether a case of the corpus shows it."""
        return any(fnmatchcase(case, pattern) for pattern in self.cases)

    def explains(self, kind, what, values):
        """Tell whether this is why; what is a path or a message, values are (the CLI's, ours)."""
        if kind != self.kind:
            return False
        if kind == DIFFERS:
            return any(
                fnmatchcase(what, pattern) and judge(*values) for pattern, judge in self.fields.items()
            )
        return re.search(self.message, what) is not None



def unmeant(case, client, plan):
    """Return what a plan after a deploy with the CLI would change without an intended deviation.

    case: id; client: the CLI's version; plan: the key plan of the module's result
    """
    meant = [
        pattern
        for entry in DEVIATIONS
        if entry.concerns(case) and client in entry.clients
        for pattern in entry.planned
    ]
    paths = [
        change["path"]
        for item in plan
        for change in item["changes"] or [{"path": f"{item['kind']}s.{item['name']}"}]
    ]
    return [path for path in paths if not any(fnmatchcase(path, pattern) for pattern in meant)]


def becomes(before, after):
    """A field that has one value with the CLI and another one here."""
    return lambda cli, here: (cli, here) == (before, after)


def grows(cli, here):
    """A list that is longer here."""
    return len(here) > len(cli or []) and all(item in here for item in cli or [])


def named_by_content(cli, here):
    """A name with twelve digits of a hash behind it."""
    return re.fullmatch(re.escape(cli) + "-[0-9a-f]{12}", here) is not None


def _mounts(change):
    """The one mount of a service, after a change."""
    return lambda cli, here: len(cli) == len(here) == 1 and change(cli[0]) == here[0]


def _with(options, key, value):
    """A copy of a mount with one more option."""
    return lambda mount: {**mount, options: {**mount.get(options, {}), key: value}}


_TASK = "services/shop_*/TaskTemplate"
_CONTAINER = f"{_TASK}/ContainerSpec"
_SPECIFICATION = "the Compose Specification has it, and Swarm can do it"
_LATER = "the Engine refuses it later, when half of the stack is changed, or does something else"


def _taken(name, key, documented=None, message=None, **words):
    """A key of a service that the CLI refuses and that we take; the case has the key's name with hyphens."""
    return Deviation(
        **{
            "name": name,
            "kind": CLI_REFUSES,
            "cases": (f"compose-keys:{key}",),
            "what": f"{name}: the CLI refuses the file, here it is taken",
            "why": _SPECIFICATION,
            "documented": documented or f"`{name}`",
            "message": message or rf"services\.{key} Additional property {name} is not allowed",
            **words,
        }
    )


def _ignored(name, key):
    """A key that concerns docker compose only."""
    return _taken(name, key, why="files are shared with docker compose, and nothing that runs depends on it")


def _refused(name, case, documented, message, why=_LATER, **words):
    """What the CLI sends and we refuse."""
    return Deviation(
        name=name,
        kind=HERE_REFUSES,
        cases=(case,),
        what=f"{name}: the CLI sends it, here it is an error",
        why=why,
        documented=documented,
        message=message,
        **words,
    )


NAMES = (
    Deviation(
        name="names of configs and secrets",
        kind=DIFFERS,
        cases=(
            *("web", "database", "windows", "configs", "secrets", "secret-drivers", "scalars", "contents"),
            *("contents-swarm", "variables", "variables-spelled", "merged", "merged-lists"),
            *("compose-keys:*", "compose-keys-swarm:*"),
        ),
        what="the CLI names them STACK_KEY; here a hash of the content follows",
        why="their content cannot change in place, so new content needs a new object",
        documented="| names of configs and secrets | STACK_KEY | STACK_KEY-HASH |",
        fields={"*/Name": named_by_content},
        planned=(
            *("configs.*", "secrets.*", "services.*.configs.*", "services.*.secrets.*"),
            "services.*.credential_spec.Config",
        ),
    ),
    Deviation(
        name="label of named configs and secrets",
        kind=DIFFERS,
        cases=("named-configs",),
        what="one with a name of the user's choice gets a label with a hash of its content",
        why="its name cannot tell the content, and that of a secret cannot be read back",
        documented="label `gpufleet.content`",
        fields={"*/Labels/gpufleet.content": lambda cli, here: cli is None and len(here) == 12},
    ),
)

VARIABLES = (
    _refused(
        "undefined variable",
        "refused-here:undefined-variable",
        "| undefined variable | empty text | error |",
        "Variable DB_HOST is not defined",
        why="a stack without its address or password must not start",
    ),
    _refused(
        "required variable with a hyphen in its message",
        "refused-here:required-variable",
        "`${A:?must-be-set}`",
        "Variable DB_HOST is required: must-be-set",
        why="the CLI takes the hyphen for a default and loses the error",
    ),
    _refused(
        "error lost to a later variable",
        "refused-here:lost-error",
        "`${A?x} ${B:-d}`",
        "Variable DB_HOST is required: is needed",
        why="the CLI forgets an error when a later variable of the same text is fine",
    ),
    Deviation(
        name="spelling of variables",
        kind=DIFFERS,
        cases=("variables-spelled",),
        what="the CLI searches for substrings; here variables are read from left to right",
        why="the specification's grammar",
        documented="substring search: wrong defaults, lost errors, swallowed text, no nesting",
        planned=("services.app.environment.*",),
        fields={
            f"{_CONTAINER}/Env": becomes(
                ["HYPHEN=one", "IMAGE=img/one", "NESTED=${B}", "REQUIRED=be-set"],
                ["HYPHEN=one-two", "IMAGE=img/one-app:1", "NESTED=two", "REQUIRED=one"],
            )
        },
    ),
    Deviation(
        name="variable that is to be empty",
        kind=DIFFERS,
        cases=("emptied",),
        what="the CLI fills in an empty value from its own environment; here empty is empty",
        why="the same result wherever it is made",
        documented="| environment of the process | fills in variables, and empty values | never looked at |",
        planned=("services.app.environment.PROXY",),
        fields={f"{_CONTAINER}/Env": becomes(["PROXY=http://proxy.example.com:3128"], ["PROXY="])},
    ),
    Deviation(
        name="octal mode from a variable",
        kind=DIFFERS,
        cases=("variables-spelled",),
        what="the CLI reads 0400 from a variable as the decimal 400; here it is octal, as in the file",
        why="nobody means the decimal number",
        documented="| `mode: ${M}` with 0444 | decimal 444 | octal |",
        planned=("services.app.configs.settings",),
        fields={
            f"{_CONTAINER}/Configs": lambda cli, here: (
                len(cli) == len(here) == 1
                and (cli[0]["File"]["Mode"], here[0]["File"]["Mode"]) == (400, 0o400)
                and {**cli[0], "File": {**cli[0]["File"], "Mode": 0o400}} == here[0]
            )
        },
    ),
    *(
        Deviation(
            name=f"variable for {case}",
            kind=CLI_REFUSES,
            cases=(f"variables-more:{case}",),
            what="the CLI refuses a variable there; here it is read as its type",
            why="a variable is good wherever a value is",
            documented="| a variable for `init`, `pids`, tmpfs `size`, generic resources | error |",
            message=r"must be a (boolean|integer|number)",
        )
        for case in ("init", "pids", "tmpfs-size", "generic")
    ),
    Deviation(
        name="${A:+x}",
        kind=CLI_REFUSES,
        cases=("variables-more:alternative",),
        what="the CLI does not know it",
        why="the specification's grammar",
        documented="`${A:+x}` too",
        message="invalid interpolation format",
    ),
    Deviation(
        name="dollar sign in a section that is skipped",
        kind=CLI_REFUSES,
        cases=("dollars-aside",),
        what="the CLI fills in variables in x- sections, too, and fails there",
        why="nothing depends on them",
        documented="| `$` in `x-` sections | error | not looked at |",
        message="invalid interpolation format for x-note",
    ),
    Deviation(
        name="quotes in a file of variables",
        kind=DIFFERS,
        cases=("env-file-quotes",),
        what="the CLI takes the rest of a line to the letter; here quotes and variables are read",
        why="the specification; the names are listed, and format: raw asks for the CLI's reading",
        documented="which takes everything behind the `=` to the letter",
        planned=("services.app.environment.*",),
        fields={
            f"{_CONTAINER}/Env": becomes(
                ["FILLED=${HOST}", "PLAIN=value", 'QUOTED="two words"', "SINGLE='$HOST stays'"],
                ["FILLED=db.example.com", "PLAIN=value", "QUOTED=two words", "SINGLE=$HOST stays"],
            )
        },
    ),
)

FILES = (
    Deviation(
        name="dates without quotes",
        kind=DIFFERS,
        cases=("dates",),
        clients=SINCE_YAML_1_2,
        what="the CLI makes a time with zone of it; here it stays the text it is",
        why="nobody means that",
        documented="| dates | 28: a time with zone | the text |",
        planned=("services.app.environment.RELEASED", "services.app.labels.com.example.since"),
        fields={
            f"{_CONTAINER}/Env": becomes(["RELEASED=2026-11-22 00:00:00 +0000 UTC"], ["RELEASED=2026-11-22"]),
            f"{_CONTAINER}/Labels/com.example.since": becomes(
                "2026-11-22 10:00:00 +0000 UTC", "2026-11-22T10:00:00Z"
            ),
        },
    ),
    Deviation(
        name="yes and off as text",
        kind=CLI_REFUSES,
        cases=("yaml-words",),
        clients=BEFORE_YAML_1_2,
        what="the CLI up to 27 takes them for booleans and refuses those as values; here they are texts",
        why="YAML 1.2, and the CLI since 28",
        documented="only `true` and `false` are booleans (`yes`, `on` are text)",
        message="must be a string, number or null",
    ),
    Deviation(
        name="yes and on as switches",
        kind=CLI_REFUSES,
        cases=("yaml-switches",),
        clients=SINCE_YAML_1_2,
        what="the CLI since 28 refuses them where true or false is meant; here they are taken",
        why="files written for older versions have them, and they can mean nothing else",
        documented="Where only a switch can be meant, `yes`, `on`, `no` and `off` are one",
        message="must be a boolean",
    ),
    _refused(
        "several documents",
        "documents",
        "| several YAML documents in a file | only the first is read | error |",
        "A second YAML document",
        why="nothing gets lost in silence",
    ),
    Deviation(
        name="entries that collapse in a merge",
        kind=DIFFERS,
        cases=("merged-lists",),
        what="the CLI keeps one port per number and one reference per object; here all stay",
        why="broken",
        documented="| 53/tcp and 53/udp, unpublished ports, a secret under two targets, when files",
        planned=("services.app.ports.*", "services.app.secrets.one"),
        fields={"services/shop_*/EndpointSpec/Ports": grows, f"{_CONTAINER}/Secrets": grows},
    ),
    Deviation(
        name="empty, 0 or false in a later file",
        kind=DIFFERS,
        cases=("merged-empty",),
        what="with the CLI they do not override what is there; here they do",
        why="specification",
        documented="| empty, 0 or false in a later file | mostly does not override | overrides |",
        planned=("services.app.environment.LEVEL", "services.app.init", "services.app.tty"),
        fields={
            f"{_CONTAINER}/Env": becomes(["LEVEL=debug"], ["LEVEL="]),
            f"{_CONTAINER}/Init": becomes(True, False),
            f"{_CONTAINER}/TTY": becomes(True, None),
        },
    ),
    Deviation(
        name="no replicas in a later file",
        kind=DIFFERS,
        cases=("merged-empty",),
        clients=("20.10",),
        what="with the CLI 20.10 0 does not override the number that is there; here it does",
        why="specification, and the CLI since 23",
        documented="| empty, 0 or false in a later file | mostly does not override | overrides |",
        planned=("services.app.deploy.replicas",),
        fields={"services/shop_app/Mode/Replicated/Replicas": becomes(2, 0)},
    ),
    Deviation(
        name="health check in two files",
        kind=DIFFERS,
        cases=("merged-empty",),
        what="the CLI concatenates the commands; here the later one replaces the earlier one",
        why="broken",
        documented="| `healthcheck.test` in two files | concatenated | replaced |",
        planned=("services.app.healthcheck.test",),
        fields={
            f"{_CONTAINER}/Healthcheck/Test": becomes(
                ["CMD", "redis-cli", "ping", "CMD", "true"], ["CMD", "true"]
            )
        },
    ),
    Deviation(
        name="top-level entry in two files",
        kind=DIFFERS,
        cases=("merged-objects",),
        what="the CLI takes the later entry alone; here they are merged",
        why="specification",
        documented="| top-level entry in two files | replaced | merged |",
        planned=(
            "networks.*_front.attachable",
            "networks.*_front.labels.com.example.a",
            "services.app.volumes./data",
        ),
        fields={
            "networks/shop_front/Attachable": becomes(None, True),
            "networks/shop_front/Labels/com.example.a": becomes(None, "1"),
            f"{_CONTAINER}/Mounts": _mounts(
                lambda mount: {
                    **mount,
                    "VolumeOptions": {"Labels": {"com.example.a": "1", **mount["VolumeOptions"]["Labels"]}},
                }
            ),
        },
    ),
    Deviation(
        name="environment, then a file of variables",
        kind=DIFFERS,
        cases=("merged-objects",),
        what="with the CLI a later env_file wins over an earlier environment; here environment wins always",
        why="specification",
        documented="| `environment` in one file, `env_file` in a later one | the file wins |",
        planned=("services.app.environment.REGION",),
        fields={
            f"{_CONTAINER}/Env": becomes(
                ["APP=shop", "REGION=eu-central"], ["APP=shop", "REGION=from the first file"]
            )
        },
    ),
    Deviation(
        name="command and mounts in two files",
        kind=DIFFERS,
        cases=("merged-commands",),
        clients=("20.10",),
        what="the CLI 20.10 appends them; here the later one replaces the earlier one",
        why="specification, and the CLI since 23",
        documented="| `command`, `entrypoint`, mounts on one target in two files | 20.10: appended |",
        planned=("services.app.command", "services.app.entrypoint", "services.app.volumes./data"),
        fields={
            f"{_CONTAINER}/{field}": (lambda cli, here: len(cli) > len(here) and cli[-len(here) :] == here)
            for field in ("Args", "Command", "Mounts")
        },
    ),
    Deviation(
        name="!reset and !override",
        kind=DIFFERS,
        cases=("merged-tags",),
        what="the CLI drops the tags, and makes the text null of a value behind one; here they are obeyed",
        why="specification",
        documented="| `!reset`, `!override` | not understood, dropped | done |",
        planned=("services.app.cap_add", "services.app.dns", "services.app.hostname"),
        fields={
            f"{_CONTAINER}/CapabilityAdd": becomes(["CAP_NET_ADMIN"], None),
            f"{_CONTAINER}/DNSConfig/Nameservers": becomes(["192.0.2.1", "192.0.2.2"], ["192.0.2.2"]),
            f"{_CONTAINER}/Hostname": becomes("null", None),
        },
    ),
)

VALUES = (
    Deviation(
        name="file systems in memory",
        kind=DIFFERS,
        cases=("memory-mounts",),
        what="the CLI drops tmpfs, shm_size and the mode of a tmpfs mount; here they are done",
        why="specification, and Swarm can do it",
        documented="| `tmpfs`, `shm_size`, list form of `depends_on`, tmpfs `mode` |",
        planned=("services.*.volumes.*",),
        fields={
            "services/shop_text/TaskTemplate/ContainerSpec/Mounts": grows,
            "services/shop_several/TaskTemplate/ContainerSpec/Mounts": grows,
            "services/shop_shared/TaskTemplate/ContainerSpec/Mounts": grows,
            "services/shop_mode/TaskTemplate/ContainerSpec/Mounts": _mounts(
                _with("TmpfsOptions", "Mode", 0o700)
            ),
        },
    ),
    Deviation(
        name="oom_score_adj",
        kind=DIFFERS,
        cases=("oom-score",),
        clients=("28.2", "29.1"),
        what="with the CLI it never arrives; here it is sent",
        why="broken",
        documented="| `oom_score_adj` | never arrives |",
        planned=("services.app.oom_score_adj",),
        fields={f"{_CONTAINER}/OomScoreAdj": becomes(None, -500)},
    ),
    Deviation(
        name="subpath of a volume",
        kind=DIFFERS,
        cases=("volume-subpath",),
        clients=("20.10", "26.1"),
        what="the CLI before 28 drops it without a word; here it is sent",
        why="specification, and Engines since 26 can do it",
        documented="| `subpath` of a volume | before 28: dropped without a word | sent",
        planned=("services.app.volumes./app",),
        fields={f"{_CONTAINER}/Mounts": _mounts(_with("VolumeOptions", "Subpath", "releases/current"))},
    ),
    Deviation(
        name='restart: "no"',
        kind=DIFFERS,
        cases=("restart-no",),
        what="with the CLI there is no policy then, which for Swarm means always; here it is none",
        why="says the opposite",
        documented="| `restart: \"no\"` | no policy, so Swarm's own: always | `none` |",
        planned=("services.app.deploy.restart_policy.condition",),
        fields={
            f"{_TASK}/RestartPolicy/Condition": becomes(None, "none"),
            f"{_TASK}/RestartPolicy/MaxAttempts": becomes(None, 0),
        },
    ),
)

_ROW = "numbers for `cpus`, booleans as values"
TAKEN = (
    _taken("cpus", "cpus"),
    _taken("mem_limit", "mem-limit", message="mem_limit: Set resource limits using deploy.resources"),
    _taken("mem_reservation", "mem-reservation"),
    _taken("pids_limit", "pids-limit"),
    _taken("scale", "scale"),
    _taken("group_add", "group-add"),
    _taken("dns_opt", "dns-opt"),
    _taken("gpus", "gpus"),
    _taken(
        "devices",
        "devices",
        message=r"resources\.reservations Additional property devices is not allowed",
        documented="`devices` of reservations",
    ),
    _taken(
        "GPUs of a whole file",
        "gpus",
        cases=("gpu-compose",),
        documented="`gpus`, `devices` of reservations",
        message=r"services\.(llm|whisper)",
    ),
    _taken("numbers as limits", "numbers", documented=_ROW, message=r"(cpus|memory) must be a string"),
    _taken("numbers as texts", "texts", documented="numbers in quotes", message="replicas must be a integer"),
    _taken("switches as texts", "words", documented="switches in quotes", message="tty must be a boolean"),
    _taken(
        "booleans as values", "booleans", documented=_ROW, message="DEBUG must be a string, number or null"
    ),
    _taken(
        "mappings in env_file",
        "env-file",
        documented="`env_file` entries as mappings",
        message=r"env_file\.0 must be a string",
    ),
    _taken(
        "published as text",
        "published",
        documented="`published` as text",
        message="published must be a integer",
    ),
    _taken(
        "name, app_protocol and host_ip of ports",
        "port-names",
        documented="`name` and `app_protocol` of ports",
        message=r"ports\.0 Additional property (host_ip|app_protocol|name) is not allowed",
    ),
    _taken(
        "addresses and priorities under networks",
        "network-addresses",
        documented="`priority` of networks",
        message=r"networks\.default must be a null",
        why="files are shared with docker compose; told in ignored, and as a warning where it matters",
    ),
    _taken(
        "several addresses of a host",
        "hosts",
        documented="lists in `extra_hosts`",
        message=r"extra_hosts\.db must be a string, number or null",
    ),
    _taken(
        "numbers for uid and gid, text for mode",
        "references",
        documented="numbers for `uid` and `gid`, text for `mode`",
        message=r"configs\.0\.(uid|gid|mode) must be a (string|number)",
    ),
    _taken(
        "no command",
        "no-command",
        documented="`command` and `entrypoint` without a value",
        message=r"(command|entrypoint) must be a string",
    ),
    _taken(
        "x- keys in nested mappings",
        "extension",
        documented="`x-` keys everywhere",
        message="deploy Additional property x-owner is not allowed",
    ),
    _ignored("attach", "attach"),
    _ignored("cgroup", "cgroup"),
    _ignored("develop", "develop"),
    _ignored("pull_policy", "pull-policy"),
    _ignored("pull_refresh_after", "pull-refresh"),
    _taken(
        "name of the stack",
        "name",
        cases=("named",),
        documented="top level `version` and `name`",
        message=r"\(root\) Additional property name is not allowed",
        why="files are shared with docker compose; the option name names the stack",
    ),
    _taken("profiles", "debugger", cases=("profiles",)),
    _taken(
        "depends_on with conditions",
        "app",
        cases=("waves",),
        documented="`depends_on` as a mapping",
        message=r"depends_on must be a list",
    ),
    _taken(
        "contents in the file and from variables",
        "contents",
        cases=("contents",),
        documented="`content` and `environment` of configs and secrets",
        message=r"(configs\.(inline|license)|secrets\.password) Additional property (content|environment)",
    ),
    _taken(
        "addresses of networks",
        "addresses",
        cases=("addresses",),
        documented="`gateway`, `ip_range`, `aux_addresses` and `options` of `ipam`, `enable_ipv6`",
        message=r"networks\.default(\.ipam(\.config\.0)?)? Additional property",
    ),
)
SENT = (
    Deviation(
        name="what group_add sends",
        kind=DIFFERS,
        cases=("compose-keys:group-add",),
        what="the CLI has no words for ContainerSpec.Groups; here it is sent",
        why=_SPECIFICATION,
        documented="`group_add`",
        fields={f"{_CONTAINER}/Groups": becomes(None, ["docker", "44"])},
    ),
    Deviation(
        name="what dns_opt sends",
        kind=DIFFERS,
        cases=("compose-keys:dns-opt",),
        what="the CLI has no words for DNSConfig.Options; here it is sent",
        why=_SPECIFICATION,
        documented="`dns_opt`",
        fields={f"{_CONTAINER}/DNSConfig/Options": becomes(None, ["ndots:2", "edns0"])},
    ),
    Deviation(
        name="what is sent of addresses of networks",
        kind=DIFFERS,
        cases=("addresses",),
        what="the CLI has no words for them; here they are sent",
        why=_SPECIFICATION,
        documented="`gateway`, `ip_range`, `aux_addresses` and `options` of `ipam`, `enable_ipv6`",
        fields={
            "networks/shop_default/EnableIPv6": becomes(None, True),
            "networks/shop_default/IPAM/Options/com.example.pool": becomes(None, "shops"),
            "networks/shop_default/IPAM/Config": lambda cli, here: (
                len(cli) == len(here) == 1
                and here[0]
                == {
                    **cli[0],
                    "IPRange": "10.77.48.128/25",
                    "Gateway": "10.77.48.1",
                    "AuxiliaryAddresses": {"printer": "10.77.48.9"},
                }
            ),
        },
    ),
)

_UNKNOWN = "| unknown keys inside `bind`, `volume`, `tmpfs` and references | ignored | error |"
_DROPPED = (
    "bind and mount options it does not know, an `extra_hosts` entry without an address, "
    "name servers that are no address"
)
REFUSED = (
    _refused(
        "one address to publish on",
        "refused-here:one-address",
        "| address to publish on |",
        "Swarm cannot publish on one address",
        why="what was meant for one address would be open to all",
    ),
    _refused(
        "build",
        "refused-here:build",
        "| `build` | ignored with a warning | error |",
        "Images are not built while a stack is deployed",
        why="the image would be missing, or another one",
    ),
    *(
        _refused(f"unknown key: {case}", f"refused-here:{case}", _UNKNOWN, "Unknown key", why="misspellings")
        for case in ("bind-misspelled", "tmpfs-misspelled", "reference-misspelled")
    ),
    _refused(
        "recursive binds",
        "refused-here:bind-recursive",
        _DROPPED,
        "Swarm keeps no setting for recursive binds",
    ),
    _refused(
        "labels of a volume in a mount",
        "refused-here:volume-labels",
        _DROPPED,
        "Swarm takes the labels of a volume from its top-level entry",
    ),
    _refused(
        "unknown option of a mount",
        "refused-here:mount-option",
        _DROPPED,
        "An option of a mount is not known",
    ),
    _refused(
        "host without an address",
        "refused-here:host-without-address",
        _DROPPED,
        "A host entry cannot be read",
    ),
    _refused(
        "name server by name",
        "refused-here:name-server-by-name",
        _DROPPED,
        "A name server is not an IP address",
    ),
    _refused(
        "two mounts on one target",
        "refused-here:two-mounts",
        "two mounts or two references with one target",
        "Two mounts have the same target",
    ),
    _refused(
        "a port published twice",
        "refused-here:port-twice",
        "a port published twice",
        "A port is published twice",
    ),
    _refused(
        "ingress ports with dnsrr",
        "refused-here:port-with-dnsrr",
        "ingress ports with `dnsrr`",
        "Swarm cannot publish a port in ingress mode with dnsrr",
    ),
    _refused(
        "times below 1 ms",
        "refused-here:short-time",
        "a health check with a time below 1 ms",
        "A time of a health check is too short",
    ),
    _refused(
        "health check without its first word",
        "refused-here:check-without-word",
        "or whose list does not begin with `CMD`, `CMD-SHELL` or `NONE`",
        "A health check does not say how it runs",
    ),
    _refused(
        "unknown words",
        "refused-here:unknown-word",
        "a word that is none of those known (`condition`, `failure_action`, `isolation`, `propagation`)",
        "A value is not one of those known",
    ),
    _refused(
        "a variable given twice",
        "refused-here:name-twice",
        "a name given twice in a list",
        "An entry is given twice",
        why="one of them is lost",
    ),
    _refused(
        "a service without an image",
        "refused:no-image",
        "a service without `image`",
        "A service has no image",
        clients=BEFORE_YAML_1_2,
    ),
    _refused(
        "impossible names of services",
        "refused-here:dotted.name",
        "impossible names",
        "A service has a name that Swarm cannot use",
    ),
    _refused(
        "updates of jobs",
        "refused-here-job",
        "`update_config` on a job",
        "A job cannot be updated step by step",
        clients=("26.1", "28.2", "29.1"),
    ),
    _refused(
        "networks of one node",
        "refused-here-network",
        "a network with driver `bridge`, `host` or `none`",
        "Services cannot use a network that lives on one node",
    ),
    _refused(
        "empty configs and secrets",
        "refused-here-config",
        "1 to 1 023 999 bytes",
        "The Engine does not store a config of that size",
    ),
)

DEVIATIONS = (*NAMES, *VARIABLES, *FILES, *VALUES, *TAKEN, *SENT, *REFUSED)

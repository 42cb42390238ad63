# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A canonical ServiceSpec told in Compose words, flat. Pure. Private: may change in any release.

``service()`` takes what normalise.service() returns and gives ``{"deploy.replicas": "2", ...}``. Nothing is
lost on the way: a field without a word in Compose appears under ``engine.``.
"""

from __future__ import annotations

import json

_UNITS = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))


def service(spec):
    """Return a flat mapping of Compose path to text, or to a list of texts."""
    rest = json.loads(json.dumps(spec))
    told = {}
    for path, words, tell in _ROWS:
        value = _take(rest, path.split("."))
        if value is not None:
            _flatten(tell(value), words, told)
    rest.pop("Name", None)
    _flatten(rest, "engine", told)
    return told


def network(spec):
    """Return the canonical form of a network in Compose words."""
    told = {"driver": spec["Driver"]}
    _flatten(spec["Options"], "driver_opts", told)
    _flatten(spec["Labels"], "labels", told)
    for key, word in (("Internal", "internal"), ("Attachable", "attachable"), ("EnableIPv6", "enable_ipv6")):
        if spec.get(key):
            told[word] = "true"
    if "Ranges" in spec:
        _flatten(spec["Ranges"], "ipam.config", told)
    if "IPAM" in spec:
        told["ipam.driver"] = spec["IPAM"]
    return told


def duration(nanoseconds):
    """Tell a duration as Compose writes it: 90000000000 becomes 1m30s."""
    if nanoseconds % 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("us", 1_000), ("ns", 1)):
            if nanoseconds % size == 0:
                return f"{nanoseconds // size}{unit}"
    seconds = nanoseconds // 1_000_000_000
    parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def size(number):
    """Tell a number of bytes as Compose writes it: 536870912 becomes 512M."""
    for unit, factor in _UNITS:
        if number and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)


def _cpus(nano):
    return f"{nano / 1e9:.9f}".rstrip("0").rstrip(".")


def _plain(value):
    return value


def _environment(entries):
    told = {}
    for entry in entries:
        name, has_value, value = entry.partition("=")
        told[name] = value if has_value else "(of the image)"
    return told


def _files(references):
    """Configs and secrets by the place where the container sees them."""
    told = {}
    for reference in references:
        name = reference.pop("SecretName", None) or reference.pop("ConfigName", None)
        file = reference.pop("File", {})
        place = file.pop("Name", name)
        mode = f"{file.pop('Mode', 0):04o}"
        owner = f"{file.pop('UID', '0')}:{file.pop('GID', '0')}"
        details = [] if (owner, mode) == ("0:0", "0444") else [owner, mode]
        told[place] = " ".join([str(name), *details, *_extra({**file, **reference})])
    return told


def _mounts(mounts):
    told = {}
    for mount in mounts:
        words = [mount.pop("Type"), mount.pop("Source", "")]
        target = mount.pop("Target", "")
        if mount.pop("ReadOnly", False):
            words.append("read-only")
        options = mount.get("VolumeOptions", {})
        # The stack's own label, which every volume of it has, tells nothing.
        if list(options.get("Labels", {})) == ["com.docker.stack.namespace"]:
            del options["Labels"]
        if not options:
            mount.pop("VolumeOptions", None)
        options = mount.get("TmpfsOptions", {})
        if "SizeBytes" in options:
            words.append(size(options.pop("SizeBytes")))
        if "Mode" in options:
            words.append(f"{options.pop('Mode'):04o}")
        if not options:
            mount.pop("TmpfsOptions", None)
        told[target] = " ".join([word for word in words if word] + _extra(mount))
    return told


def _ports(ports):
    told = {}
    for port in ports:
        key = f"{port.pop('PublishedPort', '')}:{port.pop('TargetPort', '')}/{port.pop('Protocol')}"
        told[key] = " ".join([port.pop("PublishMode"), *_extra(port)])
    return told


def _networks(attachments):
    told = {}
    for attachment in attachments:
        name = attachment.pop("Target")
        aliases = attachment.pop("Aliases", [])
        told[name] = " ".join(
            ["attached", *(["as " + ", ".join(aliases)] if aliases else []), *_extra(attachment)]
        )
    return told


def _ulimits(limits):
    return {limit["Name"]: f"{limit.get('Soft', 0)}:{limit.get('Hard', 0)}" for limit in limits}


def _mode(mode):
    ((kind, options),) = mode.items()
    told = {
        "mode": {
            "Replicated": "replicated",
            "Global": "global",
            "ReplicatedJob": "replicated-job",
            "GlobalJob": "global-job",
        }[kind]
    }
    if kind == "Replicated":
        told["replicas"] = str(options["Replicas"])
    if kind == "ReplicatedJob":
        told["replicas"] = str(options["TotalCompletions"])
        if options["MaxConcurrent"] != options["TotalCompletions"]:
            told["max_concurrent"] = str(options["MaxConcurrent"])
    return told


def _generic(resources):
    told = {}
    for resource in resources:
        for kind in ("DiscreteResourceSpec", "NamedResourceSpec"):
            if kind in resource:
                told[resource[kind].get("Kind", "")] = str(resource[kind].get("Value", 0))
    return told


def _preferences(preferences):
    return [
        preference.get("Spread", {}).get("SpreadDescriptor", json.dumps(preference))
        for preference in preferences
    ]


def _rollout(config):
    words = {"Parallelism": "parallelism", "FailureAction": "failure_action", "Order": "order"}
    told = {word: str(config.pop(key)) for key, word in words.items() if key in config}
    for key, word in (("Delay", "delay"), ("Monitor", "monitor")):
        if key in config:
            told[word] = duration(config.pop(key))
    if "MaxFailureRatio" in config:
        told["max_failure_ratio"] = f"{config.pop('MaxFailureRatio'):.6g}"
    return {**told, **config}


def _extra(rest):
    return [json.dumps(rest, sort_keys=True)] if rest else []


def _take(node, path):
    """Remove and return what is at ``path``, and the structs that it leaves empty."""
    head, *tail = path
    if not isinstance(node, dict) or head not in node:
        return None
    if not tail:
        return node.pop(head)
    value = _take(node[head], tail)
    if node[head] == {}:
        del node[head]
    return value


def _flatten(value, path, told):
    if isinstance(value, dict):
        for key, child in value.items():
            _flatten(child, f"{path}.{key}" if path else key, told)
    elif isinstance(value, list):
        told[path] = [item if isinstance(item, str) else json.dumps(item, sort_keys=True) for item in value]
    elif isinstance(value, bool):
        told[path] = str(value).lower()
    else:
        told[path] = str(value)


_C = "TaskTemplate.ContainerSpec."
_R = "TaskTemplate.Resources."
_P = "TaskTemplate.Placement."

# Engine path, Compose path, and how the value is told.
_ROWS = (
    (_C + "Image", "image", _plain),
    (_C + "Command", "entrypoint", _plain),
    (_C + "Args", "command", _plain),
    (_C + "Hostname", "hostname", _plain),
    (_C + "Env", "environment", _environment),
    (_C + "Labels", "labels", _plain),
    (_C + "Dir", "working_dir", _plain),
    (_C + "User", "user", _plain),
    (_C + "Groups", "group_add", _plain),
    (_C + "StopSignal", "stop_signal", _plain),
    (_C + "StopGracePeriod", "stop_grace_period", duration),
    (_C + "TTY", "tty", _plain),
    (_C + "OpenStdin", "stdin_open", _plain),
    (_C + "ReadOnly", "read_only", _plain),
    (_C + "Init", "init", _plain),
    (_C + "Isolation", "isolation", _plain),
    (_C + "Hosts", "extra_hosts", _plain),
    (_C + "DNSConfig.Nameservers", "dns", _plain),
    (_C + "DNSConfig.Search", "dns_search", _plain),
    (_C + "DNSConfig.Options", "dns_opt", _plain),
    (_C + "Sysctls", "sysctls", _plain),
    (_C + "CapabilityAdd", "cap_add", _plain),
    (_C + "CapabilityDrop", "cap_drop", _plain),
    (_C + "Ulimits", "ulimits", _ulimits),
    (_C + "OomScoreAdj", "oom_score_adj", _plain),
    (_C + "Privileges.CredentialSpec", "credential_spec", _plain),
    (_C + "Secrets", "secrets", _files),
    (_C + "Configs", "configs", _files),
    (_C + "Mounts", "volumes", _mounts),
    (_C + "Healthcheck.Test", "healthcheck.test", _plain),
    (_C + "Healthcheck.Interval", "healthcheck.interval", duration),
    (_C + "Healthcheck.Timeout", "healthcheck.timeout", duration),
    (_C + "Healthcheck.StartPeriod", "healthcheck.start_period", duration),
    (_C + "Healthcheck.StartInterval", "healthcheck.start_interval", duration),
    (_C + "Healthcheck.Retries", "healthcheck.retries", _plain),
    ("TaskTemplate.LogDriver.Name", "logging.driver", _plain),
    ("TaskTemplate.LogDriver.Options", "logging.options", _plain),
    ("TaskTemplate.Networks", "networks", _networks),
    ("EndpointSpec.Ports", "ports", _ports),
    ("EndpointSpec.Mode", "deploy.endpoint_mode", _plain),
    ("Mode", "deploy", _mode),
    ("Labels", "deploy.labels", _plain),
    (_P + "Constraints", "deploy.placement.constraints", _plain),
    (_P + "Preferences", "deploy.placement.preferences", _preferences),
    (_P + "MaxReplicas", "deploy.placement.max_replicas_per_node", _plain),
    (_R + "Limits.NanoCPUs", "deploy.resources.limits.cpus", _cpus),
    (_R + "Limits.MemoryBytes", "deploy.resources.limits.memory", size),
    (_R + "Limits.Pids", "deploy.resources.limits.pids", _plain),
    (_R + "Reservations.NanoCPUs", "deploy.resources.reservations.cpus", _cpus),
    (_R + "Reservations.MemoryBytes", "deploy.resources.reservations.memory", size),
    (_R + "Reservations.GenericResources", "deploy.resources.reservations.generic_resources", _generic),
    ("TaskTemplate.RestartPolicy.Condition", "deploy.restart_policy.condition", _plain),
    ("TaskTemplate.RestartPolicy.Delay", "deploy.restart_policy.delay", duration),
    ("TaskTemplate.RestartPolicy.MaxAttempts", "deploy.restart_policy.max_attempts", _plain),
    ("TaskTemplate.RestartPolicy.Window", "deploy.restart_policy.window", duration),
    ("UpdateConfig", "deploy.update_config", _rollout),
    ("RollbackConfig", "deploy.rollback_config", _rollout),
)

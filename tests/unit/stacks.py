# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small wanted stacks for unit tests, as convert() returns them."""

from __future__ import annotations


def stack(services, name="st", **objects):
    """Return a wanted stack made of {key: changes to a plain service}."""
    made = {}
    for key, given in services.items():
        changes = dict(given)
        meta = {
            word: changes.pop(word) for word in ("wave", "job", "depends_on", "stateful") if word in changes
        }
        made[f"{name}_{key}"] = {
            "key": key,
            "wave": 0,
            "job": False,
            "depends_on": {},
            "stateful": [],
            **meta,
            "spec": service(f"{name}_{key}", name, **changes),
        }
    empty = {kind: {} for kind in ("networks", "configs", "secrets")}
    external = {f"external_{kind}": [] for kind in empty}
    return {"name": name, **empty, **external, "services": made, **objects}


def service(
    full, stack, image="tiny:1", env=(), networks=(), configs=(), secrets=(), mode=None, labels=None, **task
):
    container = {"Image": image, "Labels": {"com.docker.stack.namespace": stack}}
    if env:
        container["Env"] = list(env)
    for kind, word, names in (("Secrets", "SecretName", secrets), ("Configs", "ConfigName", configs)):
        if names:
            container[kind] = [
                {
                    word: each,
                    "File": {"Name": each.rpartition("-")[0] or each, "UID": "0", "GID": "0", "Mode": 292},
                }
                for each in names
            ]
    return {
        "Name": full,
        "Labels": {"com.docker.stack.namespace": stack, "com.docker.stack.image": image, **(labels or {})},
        "TaskTemplate": {
            "ContainerSpec": container,
            "Resources": {},
            "Placement": {},
            "Networks": [{"Target": name, "Aliases": [full]} for name in networks],
            **task,
        },
        "Mode": mode or {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "vip"},
    }


def network(name, stack="st", **keys):
    return {
        "spec": {
            "Name": name,
            "Driver": "overlay",
            "Options": {},
            "Internal": False,
            "Attachable": False,
            "Labels": {"com.docker.stack.namespace": stack},
            **keys,
        }
    }


def content(name, key, data="eA==", stack="st", **keys):
    return {
        "key": key,
        "spec": {"Name": name, "Labels": {"com.docker.stack.namespace": stack}, "Data": data, **keys},
    }

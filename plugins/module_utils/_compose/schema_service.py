# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a service: what is accepted, ignored and refused. Private: may change in any release.

docs/compose.md tells the same to users; the specification's key list is that of compose-spec.json (2026).
"""

from __future__ import annotations

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import validate as v
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import values
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.mounts import tmpfs, volumes
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.ports import ports
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.schema_deploy import (
    DEPLOY,
    gpu_claim,
    gpus,
)

_NO_DEVICE = v.ignored("Swarm gives no devices to containers; GPUs are asked for with gpus", warn=True)
_CPU = "deploy.resources.limits.cpus"
_LONGER = "the keys written out, with YAML anchors or in a further file"

SERVICE = v.record(
    {
        "image": values.image,
        "command": values.command,
        "entrypoint": values.command,
        "hostname": v.word,
        "user": v.text,
        "group_add": v.list_of(v.number_or_text),
        "working_dir": v.word,
        "environment": v.pairs(),
        "env_file": values.env_file,
        "labels": v.pairs(),
        "deploy": DEPLOY,
        "healthcheck": values.healthcheck,
        "volumes": volumes,
        "tmpfs": tmpfs,
        "networks": values.networks,
        "ports": ports,
        "secrets": values.references,
        "configs": values.references,
        "depends_on": values.depends_on,
        "stop_grace_period": v.duration,
        "stop_signal": v.word,
        "tty": v.boolean,
        "stdin_open": v.boolean,
        "read_only": v.boolean,
        "init": v.boolean,
        "isolation": v.one_of("default", "process", "hyperv"),
        "sysctls": v.pairs(),
        "cap_add": v.list_of(v.word, unique=True),
        "cap_drop": v.list_of(v.word, unique=True),
        "ulimits": values.ulimits,
        "oom_score_adj": v.integer(-1000, 1000),
        "extra_hosts": values.extra_hosts,
        "dns": v.text_or_list(values.name_server),
        "dns_search": v.text_or_list(v.word),
        "dns_opt": v.list_of(v.word),
        "logging": v.record({"driver": v.word, "options": v.mapping_of(v.plain_value)}),
        "credential_spec": values.credential_spec,
        "restart": values.restart,
        "profiles": v.list_of(v.word),
        # Our own, in the form that every other reader of Compose files skips.
        "x-replicas": v.one_of("file", "keep"),
        "x-gpu": gpu_claim,
        # Compose's own spelling of what deploy has; moved there.
        "scale": v.integer(0),
        "cpus": v.nano_cpus,
        "mem_limit": v.size,
        "mem_reservation": v.size,
        "pids_limit": v.integer(-1),
        "gpus": gpus,
        "shm_size": v.size,
        # Without effect on what runs.
        "attach": v.ignored("concerns the output of docker compose up"),
        "container_name": v.ignored("Swarm names the containers of its tasks itself"),
        "develop": v.ignored("concerns docker compose watch"),
        "expose": v.ignored("services on one network reach every port of each other"),
        "pull_policy": v.ignored("the nodes get the images of their tasks themselves"),
        "pull_refresh_after": v.ignored("the nodes get the images of their tasks themselves"),
        # As docker stack deploy, with a warning, because the loss can be felt.
        "cgroup_parent": v.ignored("Swarm chooses the cgroup", warn=True),
        "cgroupns_mode": v.ignored("Swarm has no such setting", warn=True),
        "cgroup": v.ignored("Swarm has no such setting", warn=True),
        "devices": _NO_DEVICE,
        "domainname": v.ignored("Swarm has no such setting; give a full name as hostname", warn=True),
        "external_links": v.ignored("use a network that both stacks share", warn=True),
        "ipc": v.ignored("Swarm does not share memory between containers; see shm_size", warn=True),
        "links": v.ignored(
            "services on one network find each other by name; use networks.NAME.aliases", warn=True
        ),
        "mac_address": v.ignored("Swarm has no such setting", warn=True),
        "network_mode": v.ignored("Swarm attaches services to networks only; see networks", warn=True),
        "pid": v.ignored("Swarm has no such setting", warn=True),
        "privileged": v.ignored("Swarm starts no privileged containers; see cap_add", warn=True),
        "security_opt": v.ignored("Swarm has no such setting", warn=True),
        "userns_mode": v.ignored("Swarm has no such setting", warn=True),
        # What would change what runs.
        "build": v.refused(
            "Images are not built while a stack is deployed",
            "image, of one that was built before and that the nodes can get",
        ),
        "annotations": v.refused("Swarm passes no annotations", "labels"),
        "blkio_config": v.refused("Swarm limits no block devices", "the file without it"),
        "cpu_count": v.refused("Swarm has no such limit", _CPU),
        "cpu_percent": v.refused("Swarm has no such limit", _CPU),
        "cpu_period": v.refused("Swarm has no such limit", _CPU),
        "cpu_quota": v.refused("Swarm has no such limit", _CPU),
        "cpu_rt_period": v.refused("Swarm has no such limit", _CPU),
        "cpu_rt_runtime": v.refused("Swarm has no such limit", _CPU),
        "cpu_shares": v.refused("Swarm has no such limit", _CPU),
        "cpuset": v.refused("Swarm binds to no processors", _CPU),
        "device_cgroup_rules": v.refused("Swarm gives no devices to containers", "the file without it"),
        "extends": v.refused("Services are not taken from other services", _LONGER),
        "label_file": v.refused("Labels are not read from files", "labels"),
        "mem_swappiness": v.refused("Swarm has no such limit", "deploy.resources.limits.memory"),
        "memswap_limit": v.refused("Swarm has no such limit", "deploy.resources.limits.memory"),
        "models": v.refused("Swarm runs no models of its own", "a service that serves the model"),
        "oom_kill_disable": v.refused("Swarm has no such setting", "oom_score_adj"),
        "platform": v.refused(
            "Swarm chooses nodes, not platforms", "deploy.placement.constraints with node.platform.arch==..."
        ),
        "post_start": v.refused("Swarm runs no commands in a started container", "entrypoint"),
        "pre_stop": v.refused("Swarm runs no commands before a stop", "stop_signal and stop_grace_period"),
        "provider": v.refused("Swarm runs containers only", "a service with an image"),
        "runtime": v.refused(
            "Swarm chooses no runtime per service, it is the node's default",
            "gpus, if it is for GPUs",
        ),
        "storage_opt": v.refused("Swarm has no such setting", "the file without it"),
        "use_api_socket": v.refused("Swarm mounts no API socket by itself", "volumes"),
        "uts": v.refused("Swarm has no such setting", "hostname"),
        "volume_driver": v.refused("Drivers belong to volumes", "volumes.NAME.driver"),
        "volumes_from": v.refused(
            "Containers of several nodes cannot share volumes that way", "a named volume in both"
        ),
    }
)

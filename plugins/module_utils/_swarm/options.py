# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the stack module, shared by its two halves. Private: may change in any release."""

from __future__ import annotations

# Consumed on the controller by the action plugin; the module on the host never sees them filled.
CONTROLLER_ONLY = (
    "files",
    "definition",
    "definition_name",
    "project_dir",
    "environment",
    "secret_environment",
    "endpoint_mode",
    "profiles",
    "replicas",
    "plan_file",
)

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "valid"], "default": "present"},
    "files": {"type": "list", "elements": "path", "default": []},
    "definition": {"type": "raw"},
    "definition_name": {"type": "str", "default": "definition"},
    "project_dir": {"type": "path"},
    "environment": {"type": "dict", "default": {}},
    "secret_environment": {"type": "dict", "default": {}, "no_log": True},
    "endpoint_mode": {"type": "str", "choices": ["vip", "dnsrr"], "default": "vip"},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "replicas": {"type": "str", "choices": ["file", "keep"], "default": "file"},
    "resolve_image": {"type": "str", "choices": ["never", "changed", "always"], "default": "never"},
    "registry_logins": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "registry": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
        },
    },
    "prove_images": {"type": "str", "choices": ["never", "changed", "always"], "default": "never"},
    "keep_versions": {"type": "int", "default": 0},
    "plan_file": {"type": "path"},
    "prune": {"type": "bool", "default": True},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 600},
    "on_failure": {"type": "str", "choices": ["rollback", "pause", "leave"], "default": "rollback"},
    "docker_host": {"type": "str", "default": "unix:///var/run/docker.sock"},
}

# How the action plugin hands over what it made of the files.
INTERNAL_SPEC = {
    "desired": {"type": "dict"},
    "secret_values": {"type": "dict", "default": {}, "no_log": True},
}

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of each key of daemon.json asks of a running daemon. Private: may change in any release.

Sources, read in the Engine's own code: what a reload (SIGHUP) takes over is decided in daemon/reload.go,
daemon/reload_unix.go (reloadPlatform) and reloadConfig() of the command (authorization plugins, debug level);
all other keys are read once at start. Read at Engine 23.0, at moby commit 056be8b7b0e0 (24 to 28) and at
moby commit 8d9711927149 (29); 20.10 was compared on a running 20.10.24. They agree on the keys below; where
one release differs the key says so. The names of the keys are those of the flags in cmd/dockerd/config.go and
config_unix.go (29: daemon/command/), in their plural form where the flag may be repeated.

The trap in that code: most reloadable keys are taken over only while they stand in the file
(conf.IsValueSet); when such a key is removed, the daemon keeps the last value until it is restarted.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.gpufleet.swarm.plugins.module_utils._daemon.document import MISSING, same

NOTHING, RELOAD, RESTART = "none", "reload", "restart"
_ORDER = (NOTHING, RELOAD, RESTART)

# Kinds of values, as the Engine's Config structure decodes them.
BOOL, INT, STRING, STRINGS, MAP, STRING_MAP, ANY = (
    "a boolean",
    "an integer",
    "a string",
    "a list of strings",
    "an object",
    "an object of strings",
    "any value",
)


class Key(NamedTuple):
    """kind: what the daemon decodes it into. set, removed: what setting and removing it asks for."""

    kind: str
    set: str = RESTART
    removed: str = RESTART
    note: str = ""


def _kept(kind, note=""):
    """A key that a reload takes over, but only while it is in the file."""
    return Key(kind, RELOAD, RESTART, note)


def _reset(kind, note=""):
    """A key that a reload takes over and resets to its default when it is gone."""
    return Key(kind, RELOAD, RELOAD, note)


KEYS = {
    # Taken over by a reload, kept when removed.
    "debug": _kept(BOOL),
    "default-cgroupns-mode": _kept(STRING),
    "default-ipc-mode": _kept(STRING),
    "default-runtime": _kept(STRING),
    "default-shm-size": _kept(ANY),
    "insecure-registries": _kept(STRINGS),
    "labels": _kept(STRINGS),
    "live-restore": _kept(BOOL, "forbidden in Swarm"),
    "registry-mirrors": _kept(STRINGS),
    "runtimes": _kept(MAP),
    "shutdown-timeout": _kept(INT),
    # Taken over by a reload, reset when removed.
    "authorization-plugins": _reset(STRINGS),
    "features": _reset(MAP, "but some features are read at start only, see START_FEATURES"),
    "max-concurrent-downloads": _reset(INT),
    "max-concurrent-uploads": _reset(INT),
    "max-download-attempts": _reset(INT),
    "network-diagnostic-port": _reset(INT),
    "nri-opts": _reset(MAP, "Engine 29 and later"),
    # Without effect: the daemon accepts and ignores it from Engine 29 on; before, a reload took it over.
    "allow-nondistributable-artifacts": Key(STRINGS, NOTHING, NOTHING, "a reload before Engine 29"),
    "deprecated-key-path": Key(STRING, NOTHING, NOTHING, "a restart before Engine 25"),
    # Read at start only.
    "allow-direct-routing": Key(BOOL),
    "apparmor-profile": Key(STRING),
    "api-cors-header": Key(STRING),
    "bip": Key(STRING),
    "bip6": Key(STRING),
    "bridge": Key(STRING),
    "bridge-accept-fwmark": Key(STRING),
    "builder": Key(MAP),
    "cdi-spec-dirs": Key(STRINGS),
    "cgroup-parent": Key(STRING),
    "containerd": Key(STRING),
    "containerd-namespace": Key(STRING),
    "containerd-plugin-namespace": Key(STRING),
    "containerd-plugins-namespace": Key(STRING),
    "cpu-rt-period": Key(INT),
    "cpu-rt-runtime": Key(INT),
    "cri-containerd": Key(BOOL),
    "data-root": Key(STRING),
    "default-address-pools": Key(ANY),
    "default-gateway": Key(STRING),
    "default-gateway-v6": Key(STRING),
    "default-init": Key(STRING),
    "default-network-opts": Key(MAP),
    "default-ulimits": Key(MAP),
    "dns": Key(STRINGS),
    "dns-opts": Key(STRINGS),
    "dns-search": Key(STRINGS),
    "exec-opts": Key(STRINGS),
    "exec-root": Key(STRING),
    "experimental": Key(BOOL),
    "firewall-backend": Key(STRING),
    "fixed-cidr": Key(STRING),
    "fixed-cidr-v6": Key(STRING),
    "group": Key(STRING),
    "host-gateway-ip": Key(STRING),
    "host-gateway-ips": Key(STRINGS),
    "hosts": Key(STRINGS),
    "http-proxy": Key(STRING),
    "https-proxy": Key(STRING),
    "icc": Key(BOOL),
    "init": Key(BOOL),
    "init-path": Key(STRING),
    "ip": Key(STRING),
    "ip-forward": Key(BOOL),
    "ip-forward-no-drop": Key(BOOL),
    "ip-masq": Key(BOOL),
    "ip6tables": Key(BOOL),
    "iptables": Key(BOOL),
    "ipv6": Key(BOOL),
    "log-driver": Key(STRING),
    "log-format": Key(STRING),
    "log-level": Key(STRING),
    "log-opts": Key(STRING_MAP),
    "metrics-addr": Key(STRING),
    "min-api-version": Key(STRING),
    "mtu": Key(INT),
    "network-control-plane-mtu": Key(INT),
    "no-new-privileges": Key(BOOL),
    "no-proxy": Key(STRING),
    "node-generic-resources": Key(STRINGS),
    "oom-score-adjust": Key(INT),
    "pidfile": Key(STRING),
    "proxies": Key(STRING_MAP),
    "raw-logs": Key(BOOL),
    "resolv-conf": Key(STRING),
    "rootless": Key(BOOL),
    "seccomp-profile": Key(STRING),
    "selinux-enabled": Key(BOOL),
    "storage-driver": Key(STRING),
    "storage-opts": Key(STRINGS),
    "swarm-default-advertise-addr": Key(STRING),
    "tls": Key(BOOL),
    "tlscacert": Key(STRING),
    "tlscert": Key(STRING),
    "tlskey": Key(STRING),
    "tlsverify": Key(BOOL),
    "userland-proxy": Key(BOOL),
    "userland-proxy-path": Key(STRING),
    "userns-remap": Key(STRING),
}
# moby#45607 locks the snapshotter at start; CDI is registered at start (cdiEnabled in the daemon's command).
START_FEATURES = ("containerd-snapshotter", "cdi")
DNS_KEYS = ("dns", "dns-opts", "dns-search")


class Change(NamedTuple):
    """One key that differs between two documents, and what it asks of the running daemon."""

    key: str
    change: str  # added, changed, removed
    effect: str
    reason: str


def strongest(effects):
    """Return the effect that covers all of effects: none, reload or restart."""
    return max(effects, key=_ORDER.index, default=NOTHING)


def changes(before, after, engine=()):
    """Return a Change for each key that differs between two documents.

    engine  version of the running Engine as a tuple of numbers, () when it is not known
    """
    keys = [*before, *(key for key in after if key not in before)]
    found = [_change(key, before.get(key, MISSING), after.get(key, MISSING), engine) for key in keys]
    found = [change for change in found if change is not None]
    if (29,) <= engine < (29, 3) and any(key in after for key in DNS_KEYS):
        reason = "a reload of Engine 29.0 to 29.2 corrupts the DNS settings of containers (moby#52060)"
        found = [
            change._replace(effect=RESTART, reason=reason) if change.effect == RELOAD else change
            for change in found
        ]
    return found


def _change(key, old, new, engine):
    if same(old, new):
        return None
    what = "added" if old is MISSING else "removed" if new is MISSING else "changed"
    known = KEYS.get(key)
    if known is None:
        return Change(key, what, RESTART, "not a key this version knows, so the safe way")
    started = _start_features(old, new) if key == "features" else []
    if started:
        return Change(key, what, RESTART, f"the daemon reads {' and '.join(started)} at its start only")
    effect = known.removed if new is MISSING else known.set
    if key == "allow-nondistributable-artifacts" and engine < (29,):
        effect = RESTART if new is MISSING else RELOAD
    elif key == "deprecated-key-path" and engine < (25,):
        effect = RESTART
    if effect == RELOAD:
        return Change(key, what, effect, "the daemon takes it over when it reloads")
    if effect == NOTHING:
        return Change(key, what, effect, "this Engine ignores it")
    if known.set == RELOAD:
        return Change(key, what, effect, "a reload keeps the last value of this key when it is removed")
    return Change(key, what, effect, "the daemon reads it at its start only")


def _start_features(old, new):
    old, new = ({} if not isinstance(value, dict) else value for value in (old, new))
    return [
        f"features.{name}"
        for name in START_FEATURES
        if not same(old.get(name, MISSING), new.get(name, MISSING))
    ]


# -- reading a reloaded daemon back --------------------------------------------------------------------------


def not_taken(config, names, info, attributes):
    """Return sentences on reloadable keys that the daemon did not take over.

    config      the document it was told to reload
    names       the keys that changed and are still in the document
    info        its /info
    attributes  what its reload event says it now holds (all values are text; the lists are JSON)
    """
    lost = []
    for name in names:
        if name not in _READ_BACK or config[name] is None:
            continue
        wanted, found = _READ_BACK[name](config[name], info, attributes)
        if wanted != found:
            lost.append(f"{name}: the daemon reloaded, but holds {found} where {wanted} is wanted")
    return lost


def _mirror(url):
    return str(url).rstrip("/") + "/"


def _registries(value, info, attributes):
    service = info.get("RegistryConfig") or {}
    found = {
        name for name, index in (service.get("IndexConfigs") or {}).items() if not index.get("Secure", True)
    }
    found |= set(service.get("InsecureRegistryCIDRs") or [])
    bare = {str(name).rsplit("://", maxsplit=1)[-1] for name in value}
    return sorted(bare), sorted(bare & found)


def _runtimes(value, info, attributes):
    found = info.get("Runtimes") or {}
    return sorted(value), sorted(set(value) & set(found))


def _text(attribute):
    return lambda value, info, attributes: (str(value), attributes.get(attribute))


_READ_BACK = {
    "debug": lambda value, info, attributes: (value, info.get("Debug")),
    "default-cgroupns-mode": _text("default-cgroupns-mode"),
    "default-ipc-mode": _text("default-ipc-mode"),
    "default-runtime": lambda value, info, attributes: (value, info.get("DefaultRuntime")),
    "insecure-registries": _registries,
    "labels": lambda value, info, attributes: (sorted(set(value)), sorted(info.get("Labels") or [])),
    "live-restore": lambda value, info, attributes: (value, info.get("LiveRestoreEnabled")),
    "max-concurrent-downloads": _text("max-concurrent-downloads"),
    "max-concurrent-uploads": _text("max-concurrent-uploads"),
    "max-download-attempts": _text("max-download-attempts"),
    "registry-mirrors": lambda value, info, attributes: (
        sorted({_mirror(url) for url in value}),
        sorted({_mirror(url) for url in (info.get("RegistryConfig") or {}).get("Mirrors") or []}),
    ),
    "runtimes": _runtimes,
    "shutdown-timeout": _text("shutdown-timeout"),
}

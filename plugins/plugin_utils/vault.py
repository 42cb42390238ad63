# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way files of secrets are read and written on the controller. Private: may change in any release.

Whoever runs Ansible with a Vault password has its secrets encrypted with it. Decryption is done in memory.
"""

from __future__ import annotations

import os

from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import is_encrypted, match_encrypt_secret
from ansible_collections.gpufleet.swarm.plugins.module_utils import _files, _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

_PASSWORDS = "--vault-password-file, --vault-id, or vault_password_file of ansible.cfg"
FILE_MODE, FOLDER_MODE = 0o600, 0o700


def identities(loader):
    """Return the names of the Vault identities that Ansible was given."""
    return [name for name, _secret in loader._vault.secrets or []]


def is_sealed(path):
    """Tell whether a file is encrypted by Ansible Vault; False where there is none."""
    try:
        with open(path, "rb") as file:
            return is_encrypted(file.read(64))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FleetError("Cannot read a secret", path, cause=error.strerror) from error


def read(loader, path):
    """Return the content of a file, decrypted if need be, or None when there is none."""
    content = _files.read(path)
    if content is None or not is_encrypted(content):
        return content
    names = identities(loader)
    if not names:
        raise FleetError(
            "Cannot read a secret", path, "a file encrypted by Ansible Vault, and no Vault password",
            "the password it was encrypted with", _PASSWORDS,
        )  # fmt: skip
    try:
        return bytes(loader._vault.decrypt(content))
    except AnsibleError:
        label = content.split(b"\n", 1)[0].decode("ascii", "replace").split(";")[3:]
        meant = f" for the identity {label[0].strip()}" if label else ""
        raise FleetError(
            "Cannot read a secret", path,
            f"a file encrypted by Ansible Vault{meant} that none of the given passwords opens "
            f"({', '.join(names)})",
            "the password it was encrypted with", _PASSWORDS,
        ) from None  # fmt: skip


def write(loader, path, content):
    """Write a secret for this user alone: whole or not at all, and encrypted if there is an identity."""
    make_folder(os.path.dirname(path))
    _files.write(path, seal(loader, content), FILE_MODE)


def seal(loader, content):
    """Return content encrypted, or as it is where Ansible was given no Vault password."""
    if not identities(loader):
        return content
    wanted = constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
    try:
        name, secret = match_encrypt_secret(loader._vault.secrets, encrypt_vault_id=wanted)
    except AnsibleError as error:
        raise FleetError(
            "Cannot encrypt a secret", found=f"the Vault identities {', '.join(identities(loader))}",
            wanted=f"the identity {wanted}", option="--vault-id, or vault_encrypt_identity of ansible.cfg",
        ) from error  # fmt: skip
    return loader._vault.encrypt(content, secret, vault_id=name)


def make_folder(path):
    """Make a folder that is missing, and those above it, for their owner alone."""
    old = os.umask(0o077)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise FleetError("Cannot make a folder of secrets", path, cause=error.strerror) from error
    finally:
        os.umask(old)


def due(loader, path):
    """Return what has to happen to a secret's file: create, encrypt, protect, or None."""
    mode = _files.mode(path)
    if mode is None:
        return "create"
    if identities(loader) and not is_sealed(path):
        return "encrypt"
    return "protect" if mode & 0o077 else None


def secret_files(folder):
    """Return the paths of all files below a folder that are taken for secret, sorted."""
    found = []
    for place, _folders, names in os.walk(folder):
        found += [os.path.join(place, name) for name in names if _secrets.is_secret_file(name)]
    return sorted(found)


def unreadable(loader, folder, but=()):
    """Yield a FleetError for each encrypted file below a folder that cannot be opened."""
    for path in secret_files(folder):
        if is_sealed(path) and not path.startswith(tuple(but)):
            try:
                read(loader, path)
            except FleetError as error:
                yield error

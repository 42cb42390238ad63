# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of another installation's variables becomes a secret or an option here.

Private: may change in any release. Pure. No message holds a value, but for those of options that are no
secrets.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from ansible_collections.gpufleet.swarm.plugins.module_utils import _secrets
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import envfile
from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

# Parts of a value that is a URL, such as a connection string.
PARTS = ("username", "password", "hostname", "port", "database")
_WANTED = "printable ASCII without blanks, quotes and backslashes"
_ANEW = "another value there, or take the line out, and a new secret is made"
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def read_variables(content, path):
    """Return the variables of a file as the Compose Specification reads it."""
    try:
        values, _differing = envfile.compose(envfile.decode(content), {})
    except envfile.EnvFileError as error:
        raise FleetError(
            "Cannot read a file of variables", f"{path}, line {error.line}", error.what.rstrip("."),
            error.wanted, error.option,
        ) from None  # fmt: skip
    return values


def targets(mapping, kind):
    """Return (variable, name, part or None) of a mapping {variable: name or {kind: name, part: ...}}."""
    for variable, target in mapping.items():
        if isinstance(target, str):
            # Ansible's own kind of text, which YAML would not write, becomes an ordinary one.
            yield str(variable), str(target), None
            continue
        part = target.get("part") if isinstance(target, dict) else None
        if part not in PARTS or kind not in target:
            raise FleetError(
                "A variable is mapped to nothing", variable, wanted=f"a name, or {kind} and part, one of "
                + ", ".join(PARTS), option="the mapping of the role",
            )  # fmt: skip
        yield str(variable), str(target[kind]), part


def part_of(value, part):
    """Return a part of a URL as text, decoded; None where it has none."""
    if part is None:
        return value
    try:
        url = urlsplit(value)
        found = url.path.strip("/") if part == "database" else getattr(url, part)
    except ValueError:
        return None
    return unquote(str(found)) if found else None


def plan_secrets(variables, mapping, published, existing, overwrite, source):
    """Return ([{name, variable, action, value}], problems).

    mapping    {variable: secret}, as targets() reads it
    published  {variable: values that upstream has published}
    existing   function of a secret's name: its value, or None
    source     path of the file, for messages
    """
    found, problems, taken = [], [], {}
    for variable, name, part in targets(mapping, "secret"):
        value = part_of(variables.get(variable) or "", part)
        if not value:
            continue
        place = f"{variable} in {source}"
        reason = _secrets.objection(value)
        if value in (published.get(variable) or ()):
            problems.append(FleetError(
                "A secret is one that upstream has published", place, wanted="a value that nobody knows",
                option=_ANEW,
            ))  # fmt: skip
        elif reason:
            problems.append(
                FleetError("A value cannot be a secret of the fleet", place, reason, _WANTED, _ANEW)
            )
        elif taken.setdefault(name, value) != value:
            problems.append(FleetError("Two variables give one secret two values", place, f"both {name}",
                                       "one value", "one of them"))  # fmt: skip
        else:
            before = existing(name)
            if before not in (None, value) and not overwrite:
                problems.append(FleetError(
                    "The fleet has another value for a secret", name, wanted=f"that of {place}",
                    option="secrets_overwrite: true to take it, or take the line out to keep the fleet's",
                ))  # fmt: skip
            action = "create" if before is None else "keep" if before == value else "replace"
            found.append({"name": name, "variable": variable, "action": action, "value": value})
    return found, problems


def plan_options(variables, mapping, specs, reject):
    """Return ({option: value}, [(variable, why it is no option)]).

    specs   {option: its specification} of the role
    reject  function of (name, specification, value): why the role would refuse it, or None
    """
    options, left = {}, []
    for variable, name, part in targets(mapping, "option"):
        text = part_of(variables.get(variable) or "", part)
        if not text:
            continue
        spec = specs.get(name)
        if spec is None:
            raise FleetError("A variable is mapped to nothing", variable, name, "an option of the role",
                             "the mapping of the role")  # fmt: skip
        if spec.get("no_log"):
            left.append((variable, f"it is secret: set {name} in a file that Ansible Vault has encrypted"))
            continue
        value, reason = convert(text, spec)
        reason = reason or reject(name, spec, value)
        if reason:
            left.append((variable, f"{name} does not take it: {reason}"))
        else:
            options[name] = value
    return options, left


def convert(text, spec):
    """Return (value, None) of an option's type, or (None, why it is none)."""
    kind = spec.get("type", "str")
    if "{{" in text or "{%" in text:
        return None, "Ansible would take it for a template"
    if kind == "bool":
        word = text.strip().lower()
        return (word in TRUE, None) if word in TRUE + FALSE else (None, f"{text!r} is neither true nor false")
    if kind in ("int", "float"):
        try:
            return {"int": int, "float": float}[kind](text), None
        except ValueError:
            return None, f"{text!r} is no number"
    if kind == "list":
        words = [] if text.strip() == "none" else text.split(",")
        return [word.strip() for word in words if word.strip()], None
    if kind == "path" and not text.startswith("/"):
        return None, f"{text!r} is no absolute path"
    if kind == "dict":
        return None, "an option of type dict is not read from a variable"
    return text, None


def plan_rest(variables, mappings, unused):
    """Return [(variable, reason)] of all that no mapping names. unused: {variable: why}"""
    known = {variable for mapping in mappings for variable in mapping}
    rest = sorted(set(variables) - known)
    return [(variable, str(unused.get(variable, "nothing here goes by this name"))) for variable in rest]

# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from files to the model. Private: may change in any release."""

from __future__ import annotations

from functools import reduce

from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import reader as yaml_reader
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose import scalars, schema
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.content import Reader, marker
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.errors import ComposeError
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.field import ETX, STX, Field
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.merge import merge, without_tags
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.report import Report
from ansible_collections.gpufleet.swarm.plugins.module_utils._compose.settle import settle


def load(sources, environment, secret_names, read_file, project_dir, profiles=()):
    """Read, fill in, validate, merge and complete the Compose files of one stack.

    sources       list of (label, content); content is YAML text (str or bytes) or a definition as a dict;
                  later ones are laid on earlier ones
    environment   {name: value} for interpolation and for variables without a value; secret names may be there
                  with their marker; None is unset. Nothing comes from any process environment
    secret_names  the names in environment that are secret, or {name: value}; with values, a Compose secret
                  can take its content from one of them (secrets.KEY.environment)
    read_file     function from an absolute path on the controller to bytes, for env_file and for the content
                  of configs and secrets
    project_dir   directory that relative paths start from
    profiles      names of active profiles; "*" for all (default: none, only services without profiles)

    Returns a Model. Raises ComposeError with all problems found (its attribute problems).
    """
    report = Report()
    secrets = dict(secret_names) if isinstance(secret_names, dict) else {}
    variables = _variables(environment, secret_names)
    documents = [_document(label, content, variables, report) for label, content in sources]
    report.finish()
    if not documents:
        raise ComposeError("A stack has no definition", option="files or definition")
    reader = Reader(report, variables, secrets, read_file, project_dir)
    model = settle(without_tags(reduce(merge, documents)), reader, profiles)
    report.finish()
    return model


def _variables(environment, secret_names):
    variables = {}
    for name, value in environment.items():
        if name in secret_names or value is None:
            continue
        text = str.__str__(value) if isinstance(value, str) else _scalar(name, value)
        if STX in text or ETX in text:
            raise ComposeError(
                "A variable has a control character that stands for secrets",
                found=name,
                option="secret_environment for secrets",
            )
        variables[name] = text
    variables.update({name: marker(name) for name in secret_names})
    return variables


def _scalar(name, value):
    if not isinstance(value, (bool, int, float)):
        raise ComposeError(
            "A variable is not text",
            found=f"{name} is a {type(value).__name__}",
            wanted="text or a number",
            option="environment",
        )
    return scalars.number_text(value)


def _document(label, content, variables, report):
    """Validate one source on its own, so that every message can name its file and line."""
    if isinstance(content, dict):
        data, lines = yaml_reader.read_data(content, label)
    else:
        data, lines = yaml_reader.read_text(content, label)
    report.sources.append((label, lines))
    if not isinstance(data, dict):
        raise ComposeError(
            "A Compose file is not a mapping", file=label, wanted="services: and what goes with it"
        )
    # Places in this source only: an earlier file may have the same path on another line.
    before, report.sources = report.sources, [(label, lines)]
    try:
        return schema.DOCUMENT(Field(data, (), variables, report))
    finally:
        report.sources = before

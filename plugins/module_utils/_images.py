# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are built from a source: their names, and what makes them.

Pure. Private: may change in any release.

The tag of an image is a fingerprint of all that goes into it, so a node that has the image needs no look at
its source, and another version never takes the name of one that runs.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re

from ansible_collections.gpufleet.swarm.plugins.module_utils._errors import FleetError

# Without a registry of the fleet. Nobody can offer images under this name: it is each node itself, where
# "name:tag" alone would be Docker Hub's library.
NOWHERE = "localhost"
# One part of the path of a repository (distribution/reference).
NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
DEFAULTS = {
    "context": ".",
    "dockerfile": "Dockerfile",
    "target": None,
    "args": {},
    "submodules": False,
    "files": {},
    "buildkit": False,
}
# What goes into an image besides the commit. Where the source was fetched from is no part of it.
_INPUTS = ("context", "dockerfile", "target", "args", "submodules", "files")


def complete(builds, commits=None, registry=""):
    """Return the builds with their defaults, ``commit`` and ``reference``.

    builds    the value of images_builds
    commits   {source: {version: commit}} of versions that are tags or branches; one that is missing here
              makes a build without commit and reference (None)
    registry  HOST:PORT that the images are pushed to, "" for none

    FleetError: a build that cannot work.
    """
    done = [_complete(build, commits or {}, registry) for build in builds]
    names = [build["name"] for build in done]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FleetError("Two builds have one name", ", ".join(twice), option="images_builds")
    return done


def is_commit(version):
    """Tell whether a version names one commit for ever, in full."""
    return bool(COMMIT.fullmatch(version))


def _complete(build, commits, registry):
    build = {**DEFAULTS, **{key: value for key, value in build.items() if value is not None}}
    for key in ("name", "source", "version"):
        if not build.get(key):
            raise FleetError("A build says too little", build.get("name"), wanted=key, option="images_builds")
    if not NAME.fullmatch(build["name"]):
        raise FleetError(
            "An image cannot have this name",
            build["name"],
            wanted="lower-case letters and digits, with single hyphens, underscores or full stops between",
            option="name in images_builds",
        )
    version = str(build["version"])
    commit = version if is_commit(version) else commits.get(build["source"], {}).get(version)
    if commit is not None and not is_commit(commit):
        raise FleetError(
            "The source has no such version",
            build["source"],
            found=version,
            wanted="a tag, a branch, or a commit of 40 digits",
            option=f"version of {build['name']} in images_builds",
        )
    for path in (build["context"], build["dockerfile"], *build["files"]):
        _check_path(build["name"], path)
    build.update(version=version, commit=commit, reference=None)
    if commit:
        build["reference"] = f"{registry or NOWHERE}/{build['name']}:{_fingerprint(build)}"
    return build


def _check_path(name, path):
    parts = posixpath.normpath(path)
    if posixpath.isabs(parts) or parts.startswith(".."):
        raise FleetError(
            "A path leaves the source",
            name,
            found=path,
            wanted="a path within it",
            option="context, dockerfile or files in images_builds",
        )


def _fingerprint(build):
    """Return 12 hexadecimal digits of the commit and everything else that makes the image another one."""
    inputs = {key: build[key] for key in _INPUTS}
    # Numbers and booleans become texts on their way into the build.
    inputs["args"] = {key: str(value) for key, value in build["args"].items()}
    text = json.dumps([build["commit"], inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def left(answers):
    """Return {"node", "images"}: what no node has asked Docker Hub for, and the node that should ask.

    answers  results of image_info with ask_registries: sparingly, each with __images_node
    """
    unasked = {}
    for answer in answers:
        for image, found in answer["images"].items():
            if answer["engine"] and not found["present"] and found["obtainable"] is None:
                unasked.setdefault(image, answer["__images_node"])
    node = next(iter(unasked.values()), None)
    known = {
        image
        for answer in answers
        for image, found in answer["images"].items()
        if found["obtainable"] is not None
    }
    return {"node": node, "images": sorted(set(unasked) - known)}


def refused(answers, for_all):
    """Return sentences that say which node cannot get which image, and why.

    for_all  what the one node found out for all
    """
    found_out = {
        image: found
        for answer in answers
        for image, found in answer["images"].items()
        if found["obtainable"] is not None
    }
    found_out.update(for_all)
    problems = []
    for answer in answers:
        for image, found in sorted(answer["images"].items()):
            if not answer["engine"] or found["present"]:
                continue
            verdict = found if found["obtainable"] is not None else found_out.get(image, found)
            if not verdict["obtainable"] and not verdict["present"]:
                problems.append(f"{answer['__images_node']} cannot get {image} - {verdict['cause']}")
    return problems

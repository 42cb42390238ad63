# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images are made from, and when they are made again."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")

from lab import base, build, catalog  # noqa: E402
from lab.report import LabError  # noqa: E402


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "bookworm"},
        {"sources": ("deb http://other/debian trixie main",)},
        {"settings": ('Acquire::Retries "3";',)},
        {"authorities": (("ca.crt", "other"),)},
    ],
)
def test_base_hash_follows_the_recipe(change):
    recipe = base.Recipe("trixie", ("deb http://m/debian trixie main",), (), (("ca.crt", "pem"),))
    assert dataclasses.replace(recipe).hash == recipe.hash
    assert dataclasses.replace(recipe, **change).hash != recipe.hash


def test_base_command():
    recipe = base.Recipe("trixie", ("deb http://m trixie main",), ('A::B "c";',), (("my ca.crt", "pem"),))
    command = recipe.command(Path("/tmp/x"))
    assert command[0] == "mmdebstrap"
    assert command[-3:] == ["trixie", "-", "deb http://m trixie main"]
    assert '--aptopt=A::B "c";' in command
    assert any("'/tmp/x/my ca.crt'" in word for word in command)
    assert base.Recipe("trixie").command(Path("/"))[-2:] == ["trixie", "-"]


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_content_hash(tmp_path):
    first, second = tmp_path / "1" / "a", tmp_path / "2" / "a"
    write(first, {"Dockerfile": "FROM x", "sub/f": "1"})
    write(second, {"Dockerfile": "FROM x", "sub/f": "1", "__pycache__/f.pyc": "noise"})
    before = build.content_hash([first], "base")
    assert build.content_hash([second], "base") == before, "the place and compiled files do not count"
    assert build.content_hash([second], "other base") != before
    (second / "sub" / "f").chmod(0o755)
    assert build.content_hash([second], "base") != before, "the mode counts"
    (second / "sub" / "f").chmod(0o644)
    write(second, {"sub/f": "2"})
    assert build.content_hash([second], "base") != before, "the content counts"


def test_catalog():
    images = {image.name: image for image in catalog.load()}
    real = {name for name, image in images.items() if image.real}
    assert real == {
        "traefik:v3.7", "haproxy:3.0", "redis:7.4", "postgres:17", "eclipse-mosquitto:2.0", "memcached:1.6",
        "motoserver/moto:5", "influxdb:1.8",
    }  # fmt: skip
    assert images["redis:7.4"].repository == "library/redis"
    assert images["lintoai/studio-api:latest-unstable"].repository == "lintoai/studio-api"
    for image in images.values():
        assert image.labels()["gpufleet.stand-in"] == ("false" if image.name in real else "true")
        assert (build.FOLDERS / image.build / "Dockerfile").is_file()


def test_stand_in_dockerfile_has_no_layer_of_its_own():
    image = catalog.Image("a/b:1", ports=("80/tcp", "9/udp"), role="client")
    lines = image.dockerfile().splitlines()
    assert lines[:2] == ["ARG BASE", "FROM ${BASE}"]
    assert {line.split()[0] for line in lines[2:]} == {"ENV", "EXPOSE"}
    assert "EXPOSE 80/tcp 9/udp" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[real]]\nname = "a"\nbuild = "a"\n', "'a' lacks a tag"),
        ('[[stand_in]]\nname = "a:1"\nrole = "king"\n', "its role 'king' is unknown"),
        ('[[stand_in]]\nname = "a:1"\nport = 80\n', "unexpected keyword argument 'port'"),
    ],
)
def test_catalog_errors(text, message):
    with pytest.raises(LabError, match=re.escape(message)):
        catalog.load(text)

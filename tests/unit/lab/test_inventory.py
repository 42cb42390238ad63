# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that the lab writes."""

from __future__ import annotations

import pytest
import yaml

from lab import inventory
from lab.plan import plan_hosts

SUBNET = "172.30.4.0/24"


def test_hosts_have_every_group():
    read = yaml.safe_load(inventory.render_hosts(plan_hosts(2, 1), SUBNET))
    assert read["all"]["children"] == {
        "managers": {"hosts": {"manager1": {"ansible_host": "172.30.4.11"}}},
        "workers": {"hosts": {"worker1": {"ansible_host": "172.30.4.101"}}},
        "gpu": {"hosts": {}},
        "fronts": {"hosts": {}},
    }


def test_one_host():
    read = yaml.safe_load(inventory.render_hosts(plan_hosts(1, 1), SUBNET))
    assert read["all"]["children"]["workers"] == {"hosts": {}}


def test_variables():
    text = inventory.render_variables({"fleet_systems": ["linto"], "fleet_domain": "lab.test"})
    read = yaml.safe_load(text)
    assert read["ansible_user"] == "fleet"
    assert read["fleet_systems"] == ["linto"]
    assert read["fleet_domain"] == "lab.test"
    paths = [line for line in text.splitlines() if "known_hosts" in line or "id_ed25519" in line]
    assert len(paths) == 2
    assert all("{{ inventory_dir }}/.ssh/" in line for line in paths), "nothing names a place on this machine"


def test_known_hosts():
    keys = {"manager1": "ssh-ed25519 AAAA", "worker1": "ssh-ed25519 BBBB"}
    assert inventory.render_known_hosts(plan_hosts(2, 1), SUBNET, keys) == (
        "172.30.4.11 ssh-ed25519 AAAA\n172.30.4.101 ssh-ed25519 BBBB\n"
    )


def test_write_only_what_differs(tmp_path):
    assert inventory.write(tmp_path / "a", "1")
    assert not inventory.write(tmp_path / "a", "1")
    assert inventory.write(tmp_path / "a", "2")


def fill(folder):
    inventory.write(folder / "hosts.yml", inventory.render_hosts(plan_hosts(1, 1), SUBNET))
    inventory.write(folder / "group_vars" / "all.yml", inventory.render_variables({}))
    inventory.write(folder / ".ssh" / "id_ed25519", "key")


def test_a_folder_made_by_the_lab_goes_as_a_whole(tmp_path):
    folder = tmp_path / "inventories" / "x"
    inventory.prepare(folder, "x")
    fill(folder)
    (folder / "credentials").mkdir()
    assert (folder / ".gitignore").read_text() == "*\n"
    assert not inventory.remove(folder, "other"), "it belongs to another lab"
    assert inventory.remove(folder, "x")
    assert not folder.exists()
    assert not inventory.remove(folder, "x")


def test_a_folder_that_was_there_keeps_what_others_put_in_it(tmp_path):
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "mine.yml").write_text("---\n")
    inventory.prepare(tmp_path, "x")
    fill(tmp_path)
    assert inventory.remove(tmp_path, "x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["group_vars", "mine.yml"]


def test_a_file_by_hand_is_not_the_labs(tmp_path):
    (tmp_path / "hosts.yml").write_text("---\nall:\n")
    assert not inventory.remove(tmp_path, "x")
    assert (tmp_path / "hosts.yml").exists()


@pytest.mark.parametrize("lab", ["x", "y"])
def test_marker_names_the_lab(tmp_path, lab):
    inventory.prepare(tmp_path / "new", "x")
    assert inventory.made_for(tmp_path / "new", lab) == (lab == "x")

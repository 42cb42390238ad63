# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collector is off for a block, and afterwards as it was but in a worker, however the block ends."""

from __future__ import annotations

import gc
import multiprocessing

import pytest
from ansible_collections.gpufleet.swarm.plugins.plugin_utils import garbage


@pytest.fixture(params=[True, False], ids=["on", "off"])
def was_on(request):
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_it_is_off_and_then_as_it_was(was_on):
    with garbage.left_for_later():
        assert not gc.isenabled()
    assert gc.isenabled() is was_on


def test_it_is_as_it_was_after_an_error(was_on):
    with pytest.raises(KeyError), garbage.left_for_later():
        raise KeyError
    assert gc.isenabled() is was_on


def _after_a_block(queue):
    gc.enable()
    with garbage.left_for_later():
        pass
    queue.put(gc.isenabled())


def test_a_worker_leaves_it_off():
    # As Ansible starts them: ansible/executor/process/worker.py, WorkerProcess, with the context "fork".
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_after_a_block, args=(queue,))
    worker.start()
    worker.join(30)
    assert worker.exitcode == 0
    assert queue.get() is False

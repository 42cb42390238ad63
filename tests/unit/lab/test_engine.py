# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine may look like when the lab needs an engine, and what the lab tells its user."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")

from lab import __main__, commands, engine, report  # noqa: E402


def test_stale_pid_files_go_and_living_processes_stay(tmp_path, monkeypatch):
    files = [tmp_path / name for name in ("reused", "dead", "broken", "absent")]
    files[0].write_text(str(os.getpid()))  # somebody lives under that number, but it is no daemon
    files[1].write_text("999999999")
    files[2].write_text("no number")
    monkeypatch.setattr(engine, "PID_FILES", files)
    engine._forget_dead_daemons()
    assert [file.exists() for file in files] == [False, False, True, False]


def test_pid_file_of_a_daemon_stays(tmp_path, monkeypatch):
    file = tmp_path / "docker.pid"
    file.write_text("1")
    monkeypatch.setattr(engine, "PID_FILES", [file])
    monkeypatch.setattr(engine, "_is_daemon", lambda pid: pid == 1)
    engine._forget_dead_daemons()
    assert file.exists()


def test_a_foreign_engine_is_not_replaced(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(report.LabError, match=r"No Docker Engine answers at tcp://127\.0\.0\.1:9"):
        engine.ensure()


def test_without_root_the_user_learns_what_to_do(monkeypatch):
    monkeypatch.setattr(engine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(engine.shutil, "which", lambda tool: "/usr/bin/apt-get")
    with pytest.raises(report.LabError, match=r"needs root[\s\S]*sudo apt-get install docker\.io"):
        engine._install(["docker.io"])


def test_errors_are_told_without_a_traceback(monkeypatch, capsys):
    def fail(*_values):
        raise report.LabError("It did not work.", "Do this.")

    monkeypatch.setattr(commands, "up", fail)
    assert __main__.main(["up"]) == 1
    assert capsys.readouterr().err == "error: It did not work.\n       Do this.\n"


def test_a_bad_name_is_refused_before_anything_is_asked(monkeypatch, capsys):
    monkeypatch.setattr(engine, "find", lambda: pytest.fail("the engine was asked"))
    assert __main__.main(["down", "--name", "../x"]) == 1
    assert "A lab cannot be called '../x'" in capsys.readouterr().err


def test_long_steps_show_progress(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(report, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(report, "EVERY_SECONDS", 0.02)
    log = tmp_path / "log"
    log.write_text("I: first\nI: unpacking...\n")
    with report.step("Build it") as now:
        now.watch = log
        now._done.wait(0.1)
        now.note = "done"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "     ...  Build it, 0 s: unpacking"
    assert lines[-1].endswith("s  Build it: done")


def test_short_steps_take_one_line(capsys):
    with report.step("Quick"):
        pass
    assert capsys.readouterr().out == "   0.0 s  Quick\n"


def test_a_failed_step_says_so(capsys):
    with pytest.raises(ValueError), report.step("Bad"):
        raise ValueError
    assert capsys.readouterr().out == "   0.0 s  Bad: failed\n"

"""Runs: fresh artefacts are skipped, failures leave nothing, long stages go on."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sspcore.core import provenance as origins
from sspcore.core.errors import ArtefactError
from sspcore.core.files import OUTPUTS_FILE, atomic_file, atomic_folder, read_json, remove_leftovers, write_json
from sspcore.core.lock import exclusive, stay_in_run
from sspcore.core.paths import slug
from sspcore.core.provenance import provenance
from sspcore.core.store import changed_file, is_fresh, made_since, stage, working_folder


def test_stage_runs_once_per_key(tmp_path):
    calls = []

    def build(folder):
        calls.append(1)
        (folder / "a.txt").write_text("x")

    for _ in range(2):
        stage("t", tmp_path / "out", "k1", build)
    assert calls == [1] and is_fresh(tmp_path / "out", "k1")
    assert read_json(tmp_path / "out" / "key.json")["seconds"] >= 0
    stage("t", tmp_path / "out", "k2", build)
    stage("t", tmp_path / "out", "k2", build, forced_at=time.time())
    assert len(calls) == 3


def test_the_seal_names_the_commit_of_the_code_in_memory(tmp_path, monkeypatch):
    current = ["c0ffee"]
    monkeypatch.setattr(origins, "git_commit", lambda: current[0])
    origins._first_commit.cache_clear()

    def sealed(name: str, during: str) -> str:
        stage("t", tmp_path / name, "k", lambda folder: current.__setitem__(0, during))
        return read_json(tmp_path / name / "key.json")["commit"]

    assert sealed("a", "c0ffee") == "c0ffee"
    assert sealed("b", "decaf") == "c0ffee+", "checked out while the stage was made"
    assert sealed("c", "decaf") == "c0ffee+", "this process still runs the former code"
    origins._first_commit.cache_clear()  # as a new process
    assert sealed("d", "decaf") == "decaf" and sealed("e", "decaf+") == "decaf+"
    monkeypatch.undo()
    origins._first_commit.cache_clear()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A checkout with one commit, and its short name; where the test is run as root it belongs to another user."""
    settings = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "code.py").write_text("x = 1\n")
    for words in (("init", "-q"), ("add", "."), (*settings, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, text=True).strip()
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 12345, 12345)
    monkeypatch.setattr(origins, "REPOSITORY", folder)
    monkeypatch.setattr(origins, "IN_CHECKOUT", True)
    return folder, commit


def test_the_commit_is_that_of_the_checkout_whoever_owns_it_and_whatever_hook_asks(repository, tmp_path, monkeypatch):
    folder, commit = repository
    monkeypatch.setenv("HOME", str(tmp_path))  # where it is not declared safe
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of-a-hook"))
    assert origins.git_commit() == commit
    (folder / "code.py").write_text("x = 2\n")
    assert origins.git_commit() == f"{commit}+"


def test_outputs_in_a_notebook_are_no_change_of_the_code_and_a_cell_is(repository, monkeypatch):
    folder, _ = repository
    cell = {"id": "a", "cell_type": "code", "metadata": {}, "source": ["1"], "outputs": [], "execution_count": None}
    path = folder / "01_a.ipynb"

    def write(**changed) -> None:
        path.write_text(json.dumps({"cells": [cell | changed], "metadata": {}}))

    write()
    for words in (("add", "."), ("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "second")):
        subprocess.run(["git", "-c", f"safe.directory={folder}", *words], cwd=folder, check=True)
    commit = origins.git_commit()
    assert not commit.endswith("+")
    write(outputs=[{"output_type": "stream", "name": "stdout", "text": ["1"]}], execution_count=1)
    assert origins.git_commit() == commit
    for change in (lambda: write(source=["2"]), lambda: path.write_text("damaged"), path.unlink):
        change()
        assert origins.git_commit() == f"{commit}+"


def test_an_earlier_commit_is_one_of_the_history_with_the_same_packages(repository, monkeypatch):
    folder, first = repository

    def commit(name: str) -> None:
        (folder / name).write_text(name)
        for words in (("add", name), ("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", name)):
            subprocess.run(["git", "-c", f"safe.directory={folder}", *words], cwd=folder, check=True)

    assert origins.is_earlier(first, "*.lock")
    commit("chapter.txt")
    assert origins.is_earlier(first, "*.lock") and not origins.is_earlier("decaf", "*.lock")
    commit("requirements.lock")
    assert not origins.is_earlier(first, "*.lock") and origins.is_earlier(origins.git_commit(), "*.lock")


def test_a_copy_below_another_repository_has_no_commit(repository, monkeypatch):
    exported = repository[0] / "exported"
    exported.mkdir()
    monkeypatch.setattr(origins, "REPOSITORY", exported)
    assert origins.git_commit() == "unknown"


def test_failed_stage_keeps_the_former_artefact_and_no_partial_one(tmp_path):
    stage("t", tmp_path / "out", "k1", lambda folder: (folder / "a").write_text("old"))

    def fail(folder):
        (folder / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stage("t", tmp_path / "out", "k2", fail)
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_resumable_stage_goes_on_under_its_key_and_drops_other_keys(tmp_path):
    def interrupted(folder):
        (folder / "progress").write_text("1")
        raise KeyboardInterrupt

    for key in ("k1", "k2", "k2"):
        with pytest.raises(KeyboardInterrupt):
            stage("t", tmp_path / "out", key, interrupted, resumes=True)
    assert [path.name for path in tmp_path.iterdir()] == [".out.k2.partial"]
    stage("t", tmp_path / "out", "k2", lambda folder: (folder / "seen").write_text(
        (folder / "progress").read_text()), resumes=True)
    assert (tmp_path / "out" / "seen").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parts_that_lie_in_the_working_folder_are_taken_up_by_the_run_that_they_are_of(tmp_path):
    out, began = tmp_path / "out", time.time()
    folders = [working_folder(out, *which) for which in (("k",), ("other",), ("k", began), ("k", began - 60))]
    assert len({*folders}) == 4
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "part").write_text(str(number))
    stage("t", out, "k", lambda folder: None, forced_at=began, resumes=True)
    assert (out / "part").read_text() == "2" and [path.name for path in tmp_path.iterdir()] == ["out"]
    stage("t", out, "k", lambda folder: (folder / "new").touch(), forced_at=began, resumes=True)
    assert not (out / "new").exists(), "it was made since the run began"
    stage("t", out, "k", lambda folder: (folder / "new").touch(), forced_at=time.time() + 1, resumes=True)
    assert (out / "new").exists() and not (out / "part").exists()


def test_a_stage_that_does_not_resume_begins_with_nothing(tmp_path):
    working = working_folder(tmp_path / "out", "k")
    working.mkdir()
    (working / "half").touch()
    stage("t", tmp_path / "out", "k", lambda folder: (folder / "whole").touch())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"key.json", "whole"}


def test_damaged_key_file_means_stale(tmp_path):
    stage("t", tmp_path / "out", "k", lambda folder: None)
    (tmp_path / "out" / "key.json").write_text("{")
    assert not is_fresh(tmp_path / "out", "k")


def test_quick_look_finds_what_was_written_to(tmp_path):
    out = stage("t", tmp_path / "out", "k", lambda folder: (folder / "a").write_bytes(b"content"))
    now = (out / "key.json").stat().st_mtime_ns
    assert changed_file(out) is None and changed_file(tmp_path) is None
    (out / "a").write_bytes(b"contenu")
    os.utime(out / "a", ns=(now + 1, now + 1))
    assert changed_file(out) == out / "a"
    os.utime(out / "a", ns=(now, now))
    assert changed_file(out) is None and not is_fresh(out, "k")  # it does not look inside, a stage does
    (out / "a").write_bytes(b"content")
    os.utime(out / "a", ns=(now + 1, now + 1))
    assert changed_file(out) is None  # copied: later, but the same
    for damage in (b"cont", b""):
        (out / "a").write_bytes(damage)
        assert changed_file(out) == out / "a"
    (out / "key.json").write_text("[]")
    assert changed_file(out) == out / "key.json"


def test_resumable_stage_killed_after_its_seal_is_not_built_again(tmp_path, monkeypatch):
    calls = []

    class Killed(Exception):
        pass

    def killed(path, target):
        raise Killed

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        stage("t", tmp_path / "out", "k", lambda folder: calls.append("built"), resumes=True)
    monkeypatch.undo()
    stage("t", tmp_path / "out", "k", lambda folder: calls.append("built"), resumes=True)
    assert calls == ["built"] and is_fresh(tmp_path / "out", "k")


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = socket.gethostname()
    left = [
        tmp_path / "a" / f".r.s~{here}~{process.pid}.partial.json", tmp_path / "a" / f".w~{here}~{process.pid}.partial",
        tmp_path / f".old~else.where~{os.getpid()}.partial",
    ]
    kept = [
        tmp_path / "a" / f".r~{here}~{os.getpid()}.partial.json", tmp_path / "a" / "r.json", tmp_path / ".t.partial" / "x",
        tmp_path / f".t~{here}~{process.pid}.partial" / "resume.pt", tmp_path / f".w~else.where~{process.pid}.partial",
    ]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.utime(left[-1], (0, 0))
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in kept) and not any(path.exists() for path in left)


def test_writers_on_two_hosts_with_one_process_number_do_not_meet(tmp_path, monkeypatch):
    with atomic_file(tmp_path / "a.json") as ours:
        monkeypatch.setattr(socket, "gethostname", lambda: "other")
        with atomic_file(tmp_path / "a.json") as theirs:
            assert ours != theirs
            theirs.touch()
        ours.touch()


def test_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)

    def refuses(*arguments):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with exclusive(tmp_path / "smoke"):
        stay_in_run()
    assert "start no second run beside this one" in caplog.text


def test_json_errors_are_named(tmp_path):
    with pytest.raises(ArtefactError, match="missing"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ArtefactError, match="not readable as JSON"):
        read_json(tmp_path / "x.json")
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_slug_and_provenance():
    assert slug("ConvNeXt-S + UPerNet") == "convnext-s-upernet"
    assert slug("Constant alpha 0.7") == "constant-alpha-0.7"
    origin = provenance("smoke", 3, "abc")
    assert origin["seed"] == 3 and origin["versions"]["torch"] and origin["commit"]


def test_what_is_made_or_taken_up_is_noted_where_a_runner_asks(tmp_path, monkeypatch):
    noted = tmp_path / "noted"
    monkeypatch.setenv(OUTPUTS_FILE, str(noted))

    def new_lines() -> list[Path]:
        lines = noted.read_text().splitlines()
        noted.write_text("")
        return [Path(line) for line in lines]

    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert new_lines() == [tmp_path / "a.txt"]
    with atomic_folder(tmp_path / "b", "key.json"):
        pass
    assert new_lines() == [tmp_path / "b"]
    for _ in ("made", "up to date"):
        folder = stage("t", tmp_path / "c", "k", lambda out: None)
        assert folder in new_lines()
    with pytest.raises(OSError, match="disk full"), atomic_file(tmp_path / "e.txt"):
        raise OSError("disk full")
    assert new_lines() == []
    monkeypatch.delenv(OUTPUTS_FILE)
    write_json(tmp_path / "f.json", 1)
    assert new_lines() == []


def test_made_since_looks_at_the_complete_artefact(tmp_path):
    folder = stage("t", tmp_path / "out", "k", lambda out: None)
    assert made_since(folder, time.time() - 60) and not made_since(folder, time.time() + 60)
    os.utime(folder / "key.json", (0, 0))
    assert not made_since(folder, time.time() - 60) and not made_since(tmp_path / "nothing", 0)

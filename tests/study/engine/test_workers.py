"""Which workers take part: those with the same code, packages, folders and one thread; others are named with what to do."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest

from helpers.cluster import Fake, worker
from sspcore.core.errors import SspError
from sspcore.study.engine import workers
from sspcore.study.engine.workers import Workers, identity


@pytest.fixture(autouse=True)
def _as_a_worker(monkeypatch, caplog):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)


def other(**changes: Any) -> Callable[..., Any]:
    """How a worker answers that differs from this process."""
    return lambda *arguments: dataclasses.replace(identity(*arguments), **changes)


def raising(error: BaseException) -> Callable[..., Any]:
    """How a worker answers where the call fails."""
    return lambda *arguments: error


def test_workers_that_fit_are_offered_one_task_each(tmp_path):
    client = Fake({"tcp://a": worker("a"), "tcp://b": worker("b")})
    there = Workers(client, tmp_path / "root")
    there.refresh()
    assert there.free(()) == "tcp://a"
    assert there.free({"tcp://a"}) == "tcp://b"
    assert there.free({"tcp://a", "tcp://b"}) is None
    assert there.name("tcp://b") == "b on 127.0.0.1"
    assert [*(tmp_path / "root").iterdir()] == []


@pytest.mark.parametrize(("answer", "said"), [
    (other(versions=dict.fromkeys(workers.PACKAGES, "0.1")), r"has torch 0\.1, this machine .*; install requirements\.lock"),
    (other(library="other"), "another version of sspcore; check out the same commit"),
    (other(threads=None), "was started without OMP_NUM_THREADS=1"),
    (other(token=None), "does not see .*root; mount that folder there under the same path"),
    (other(unwritable="Read-only file system"), r"cannot write into .*root \(Read-only file system\)"),
    (raising(Exception('ModuleNotFoundError("No module named sspcore")')), "No module named sspcore.*; install this version"),
    (raising(AttributeError("no identity\nmore")), "AttributeError: no identity; install this version"),
])
def test_a_worker_that_does_not_fit_is_named_with_what_to_do(tmp_path, caplog, answer, said):
    client = Fake({"tcp://a": worker("a"), "tcp://b": worker("b")}, {"tcp://b": answer})
    there = Workers(client, tmp_path / "root")
    there.refresh()
    assert (there.free(()), there.free({"tcp://a"})) == ("tcp://a", None)
    (line,) = caplog.messages
    assert line.startswith("worker b on ")
    assert "\n" not in line
    caplog.clear()
    there.refresh()
    assert caplog.messages == []  # said once
    client.there.pop("tcp://a")
    there.refresh()
    assert there.free(()) is None  # one that fits may come again
    with pytest.raises(SspError, match="no worker can take part"):
        Workers(client, tmp_path / "root").refresh()


def test_a_folder_of_releases_that_is_not_seen_is_named(tmp_path, caplog):
    there = Workers(Fake({"tcp://a": worker("a")}), tmp_path, {str(tmp_path / "releases")})
    with pytest.raises(SspError, match="no worker can take part"):
        there.refresh()
    assert f"does not see {tmp_path / 'releases'}; mount" in caplog.text


def test_a_worker_that_does_not_answer_is_asked_again_and_then_left_out(tmp_path, caplog):
    client = Fake({"tcp://a": worker("a"), "tcp://b": worker("b")}, {"tcp://b": raising(OSError("timed out"))})
    there = Workers(client, tmp_path)
    for _ in range(workers.TRIES - 1):
        there.refresh()
        assert caplog.messages == []
    there.refresh()
    assert "worker b on 127.0.0.1 is left out: cannot be asked (OSError: timed out); start it again" in caplog.messages


def test_a_worker_that_hangs_does_not_hold_up_the_others(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(workers, "ASK_SECONDS", 0.05)
    client = Fake({"tcp://a": worker("a"), "tcp://b": worker("b")}, {"tcp://a": lambda *arguments: asyncio.sleep(60)})
    there = Workers(client, tmp_path)
    for _ in range(workers.TRIES):
        there.refresh()
        assert there.free(()) == "tcp://b"
    assert [line for line in caplog.messages if "worker a" in line and "no answer within" in line]
    client.there["tcp://a"] = worker("a", local_directory="second")  # another process: its tries begin again
    caplog.clear()
    there.refresh()
    assert caplog.messages == [] and there.free(()) == "tcp://b"


def test_processes_of_a_local_cluster_that_do_not_answer_are_no_matter_of_workers(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(workers, "ASK_SECONDS", 0.05)
    hangs = {"tcp://a": lambda *arguments: asyncio.sleep(60)}
    there = Workers(Fake({"tcp://a": worker("cpu-0")}, hangs, cluster="local"), tmp_path)
    for _ in range(workers.TRIES - 1):
        there.refresh()
    with pytest.raises(SspError) as raised:
        there.refresh()
    assert str(raised.value) == (
        "this machine was too busy or asleep: its worker processes did not answer within 0.05 s; run the same command or cell "
        "again, nothing is lost"
    )
    assert caplog.messages == []
    there = Workers(Fake({"tcp://a": worker("cpu-0"), "tcp://b": worker("cpu-1")}, hangs, cluster="local"), tmp_path)
    for _ in range(workers.TRIES):
        there.refresh()  # goes on with the other
    assert (there.free(()), caplog.messages) == ("tcp://b", [])


def test_a_process_started_again_under_the_same_address_is_examined_again(tmp_path, caplog):
    client = Fake({"tcp://a": worker("a"), "tcp://b": worker("b")}, {"tcp://b": other(library="other")})
    there = Workers(client, tmp_path)
    there.refresh()
    assert there.free({"tcp://a"}) is None
    client.there["tcp://b"], client.answers = worker("b", local_directory="second"), {}
    there.refresh()
    assert there.free({"tcp://a"}) == "tcp://b"


def test_a_paused_worker_is_there_and_begins_nothing(tmp_path):
    there = Workers(Fake({"tcp://a": worker("a", status="paused")}), tmp_path)
    there.refresh()
    assert there.is_there("tcp://a")
    assert there.free(()) is None


def test_several_threads_are_said_to_be_of_no_use(tmp_path, caplog):
    Workers(Fake({"tcp://a": worker("a", nthreads=4)}), tmp_path).refresh()
    assert "does one task at a time with one thread, though it has 4; start it with --nworkers 4 --nthreads 1" in caplog.text


def test_work_for_a_gpu_goes_to_its_worker(tmp_path):
    client = Fake({"tcp://a": worker("a", resources={"CPU": 1}), "tcp://g": worker("g", resources={"GPU": 1})})
    there = Workers(client, tmp_path)
    there.refresh()
    assert there.pools() == (1, 1)
    assert there.free((), "GPU") == "tcp://g"
    assert there.free((), "CPU") == "tcp://a"
    assert there.free({"tcp://g"}, "GPU") is None


def test_a_worker_with_too_little_memory_is_named_once_though_it_comes_again_and_again(tmp_path, caplog):
    client = Fake({"tcp://a": worker("a"), "tcp://s": worker("s", memory_limit=450 * 2**20)})
    there = Workers(client, tmp_path)
    there.refresh()
    client.there["tcp://s2"] = client.there.pop("tcp://s")
    there.refresh()
    assert there.free({"tcp://a"}) is None
    line = "worker s on 127.0.0.1 is left out: has 450 MiB of memory; start it with --memory-limit 2GiB"
    assert caplog.messages == [line]

"""A graph on workers that are lost, paused or dropped: every task is brought to an end, once a worker, or the run says why."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading

import pytest

from helpers.cluster import Fake, worker
from helpers.graphs import task
from sspcore.core.errors import BusyError, SspError
from sspcore.study.engine import run
from sspcore.study.engine.costs import Costs
from sspcore.study.engine.display import Lines
from sspcore.study.engine.estimate import Estimate
from sspcore.study.engine.run import ATTEMPTS, Run
from sspcore.study.engine.schedule import upward_rank
from sspcore.study.engine.task import Call, Record, StudySpec

A, B = "tcp://a", "tcp://b"
SPEC = StudySpec("{}", 0, None, "/nowhere")
TASKS = {
    each.name: dataclasses.replace(each, call=Call(SPEC, "train"))
    for each in (task("first"), task("second", "first"), task("third", "second"))
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(run, "TICK", 0.01)


def ends(each, future, after=0.02):
    """Let a task end well, a moment after it was sent."""
    record = Record(each.name, 0.0, 1.0, 1.0, 10.0, future.address)
    threading.Timer(after, future.end, [record]).start()


def outcome(client, root, tasks=TASKS):
    """Run the tasks; what became of them and what was shown."""
    costs, stream = Costs({"train Base": 1.0}), io.StringIO()
    seconds = dict.fromkeys(tasks, 1.0)
    priority = upward_rank(tasks, seconds)
    result = Run(client, root, tasks, priority, Lines(Estimate(tasks, costs, 1, priority), stream))()
    return result, stream.getvalue()


def test_tasks_are_done_in_the_order_of_their_needs(tmp_path):
    client = Fake({A: worker("a"), B: worker("b")}, work=ends)
    result, _ = outcome(client, tmp_path)
    assert [record.name for record in result.records] == ["first", "second", "third"]
    assert not result.failures


def test_a_worker_has_one_task_at_a_time(tmp_path):
    tasks = {name: dataclasses.replace(task(name), call=Call(SPEC, "train")) for name in "abcdef"}
    busy, most = set(), []

    def work(each, future):
        assert future.address not in busy
        busy.add(future.address)
        most.append(len(busy))
        future.add_done_callback(lambda future: busy.discard(future.address))
        ends(each, future)

    result, _ = outcome(Fake({A: worker("a", nthreads=8), B: worker("b")}, work=work), tmp_path, tasks)
    assert len(result.records) == 6
    assert max(most) == 2


def test_what_a_lost_worker_did_is_done_by_the_next_free_one(tmp_path):
    def work(each, future):
        if future.address == A:  # it dies, and its nanny starts another
            client.there = {B: worker("b")}
        else:
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, text = outcome(client, tmp_path)
    assert client.sent == [("first", A), ("first", B), ("second", B), ("third", B)]
    assert not result.failures
    assert "UAVid: task first: worker a on 127.0.0.1 is lost; begun again" in text


def test_a_result_that_is_lost_before_it_was_fetched_is_made_again(tmp_path):
    def work(each, future):
        if len(client.sent) == 1:
            threading.Timer(0.02, future.end, [None, "lost"]).start()
        else:
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, text = outcome(client, tmp_path)
    assert [name for name, _ in client.sent] == ["first", "first", "second", "third"] and not result.failures
    assert "is lost; begun again" in text


def test_an_artefact_that_another_process_makes_is_waited_for_as_long_as_it_takes(tmp_path):
    def work(each, future):
        if len(client.sent) <= 2 * ATTEMPTS:
            threading.Timer(0.02, future.end, [BusyError("x: process 1 on h has been at work on it"), "error"]).start()
        else:
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, text = outcome(client, tmp_path)
    assert [name for name, _ in client.sent] == ["first"] * (2 * ATTEMPTS + 1) + ["second", "third"] and not result.failures
    assert "process 1 on h" in text


def test_a_table_that_cannot_be_written_does_not_end_the_run(tmp_path):
    def after(each):
        raise OSError("disk full")

    tasks, stream = TASKS, io.StringIO()
    display = Lines(Estimate(tasks, Costs({"train Base": 1.0}), 1, dict.fromkeys(tasks, 1.0)), stream)
    result = Run(Fake({A: worker("a")}, work=ends), tmp_path, tasks, dict.fromkeys(tasks, 1.0), display, after)()
    assert len(result.records) == 3 and "tables: disk full" in stream.getvalue()


def test_work_for_a_gpu_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ALONE", 0.1)
    there = {A: worker("a", resources={"GPU": 1.0}, status="paused"), B: worker("b", resources={"CPU": 1.0})}
    tasks = {"only": dataclasses.replace(task("only"), call=Call(SPEC, "train"), device=True)}
    with pytest.raises(SspError, match="no worker takes tasks"):
        outcome(Fake(there, work=ends), tmp_path, tasks)


def test_a_task_of_which_all_workers_die_fails_alone(tmp_path):
    tasks = TASKS | {"other": dataclasses.replace(task("other"), call=Call(SPEC, "train"))}

    def work(each, future):
        if each.name == "first":
            client.there = {f"{future.address}+": worker("next")}
        else:
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, _ = outcome(client, tmp_path, tasks)
    assert [name for name, _ in client.sent].count("first") == ATTEMPTS
    assert result.left_out == {"second", "third"}
    assert [record.name for record in result.records] == ["other"]
    with pytest.raises(SspError, match="worker next on 127.0.0.1 is lost, as 3 before it: memory may have run out"):
        result.raise_failures()


def test_a_task_that_a_paused_worker_has_not_begun_goes_to_another(tmp_path):
    def work(each, future):
        if future.address == A:
            client.there = {A: worker("a", status="paused"), B: worker("b")}
        else:
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, _ = outcome(client, tmp_path)
    assert client.sent[:2] == [("first", A), ("first", B)]
    assert len(result.records) == 3


def test_a_task_that_a_paused_worker_has_begun_is_left_to_it(tmp_path):
    def work(each, future):
        client.started(each)
        client.there = {A: worker("a", status="paused"), B: worker("b")}
        ends(each, future, 0.1)

    client = Fake({A: worker("a")}, work=work)
    result, _ = outcome(client, tmp_path)
    assert client.sent == [("first", A), ("second", B), ("third", B)]
    assert len(result.records) == 3


@pytest.mark.parametrize(
    ("value", "status"), [(None, "cancelled"), (asyncio.TimeoutError(), "finished"), (OSError(), "finished")]
)
def test_a_task_that_was_dropped_or_whose_record_is_lost_is_repeated(tmp_path, value, status):
    def work(each, future):
        if len(client.sent) == 1:
            threading.Timer(0.02, future.end, [value, status]).start()
        else:
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, text = outcome(client, tmp_path)
    assert [name for name, _ in client.sent] == ["first", "first", "second", "third"]
    assert "begun again" in text
    assert not result.failures


def test_what_comes_from_a_worker_that_was_given_up_is_passed_over(tmp_path):
    late = []

    def work(each, future):
        if future.address == A:
            late.append((each, future))
            client.there = {B: worker("b")}
        else:
            for old in late:
                ends(*old, 0.0)
            late.clear()
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    result, _ = outcome(client, tmp_path)
    assert [record.worker for record in result.records] == [B, B, B]


def test_a_closed_client_ends_the_run(tmp_path):
    def work(each, future):
        client.status = "closed"

    client = Fake({A: worker("a")}, work=work)
    with pytest.raises(SspError, match="scheduler does not answer any more: start it and its workers again, then run again"):
        outcome(client, tmp_path)


def test_a_scheduler_that_comes_back_is_listened_to_again(tmp_path, monkeypatch):
    def work(each, future):
        if len(client.sent) == 1:
            client.status, client.handler = "connecting", None
            threading.Timer(0.2, setattr, [client, "status", "running"]).start()
            threading.Timer(0.1, future.end, [None, "cancelled"]).start()
        else:
            assert client.handler is not None
            ends(each, future)

    client = Fake({A: worker("a")}, work=work)
    assert len(outcome(client, tmp_path)[0].records) == 3


def test_without_any_worker_a_run_waits_a_while_and_gives_up(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ALONE", 0.1)
    with pytest.raises(SspError, match=r"no worker takes tasks: start some \(docs/cluster.md\), then run again"):
        outcome(Fake({}), tmp_path)
    with pytest.raises(SspError, match="this machine was too busy or asleep: none of its worker processes took work for 0 min"):
        outcome(Fake({}, cluster="local"), tmp_path)

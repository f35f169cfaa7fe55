"""A run on real workers: order, failures, threads, progress, a worker that is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from distributed import Client

from helpers.fakes import acting, diary, ready
from sspcore.core.errors import SspError
from sspcore.study.engine.cluster import local_cluster
from sspcore.study.engine.costs import Costs
from sspcore.study.engine.display import Display
from sspcore.study.engine.estimate import Estimate
from sspcore.study.engine.run import Outcome, Run
from sspcore.study.engine.task import Task


class Recorder(Display):
    """Remembers what it was told."""

    def __init__(self, tasks: dict[str, Task], priority: dict[str, float]) -> None:
        super().__init__(Estimate(tasks, Costs.load(), 2, priority), None)
        self.told: list[tuple] = []

    def started(self, name: str) -> None:
        super().started(name)
        self.told.append(("started", name))

    def progress(self, name: str, done: float, total: float | None) -> None:
        super().progress(name, done, total)
        self.told.append(("progress", name, done, total))

    def note(self, text: str) -> None:
        self.told.append(("note", text))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(2) as client:
        client.run(ready)
        yield client


@pytest.fixture
def run(client, tmp_path):
    """Runs tasks; their priorities are in the order in which they are given. Returns: outcome and display."""
    def run(*tasks: Task, after=lambda task: None) -> tuple[Outcome, Recorder]:
        graph = {task.name: task for task in tasks}
        priority = {name: -float(position) for position, name in enumerate(graph)}
        display = Recorder(graph, priority)
        return Run(client, tmp_path, graph, priority, display, after)(), display

    return run


def test_the_most_urgent_tasks_go_first_and_workers_have_one_at_a_time(run, tmp_path):
    tasks = [acting(tmp_path, name, seconds=0.3) for name in ("d", "b", "e", "a", "c")]
    outcome, display = run(*tasks, after=lambda task: f"{task.name} is new" if task.name == "e" else None)
    names = [name for name, _ in diary(tmp_path)]
    assert {*names[:2]} == {"d", "b"} and {*names[2:4]} == {"e", "a"} and names[4] == "c"
    assert {record.name for record in outcome.records} == {*names} and not outcome.failures
    by_worker: dict[str, list] = {}
    for record in sorted(outcome.records, key=lambda record: record.start):
        assert record.seconds >= 0.3 and record.peak_mib > 50
        by_worker.setdefault(record.worker, []).append(record)
    assert len(by_worker) == 2
    for records in by_worker.values():
        assert all(earlier.end <= later.start for earlier, later in zip(records, records[1:], strict=False))
    assert [text for what, *text in display.told if what == "note"] == [["e is new"]]


def test_needs_are_done_before_and_a_failure_leaves_out_only_what_needs_it(run, tmp_path):
    outcome, _ = run(
        acting(tmp_path, "last", "after", "good"), acting(tmp_path, "after", "bad"), acting(tmp_path, "good2", "good"),
        acting(tmp_path, "bad", deed="refuse"), acting(tmp_path, "odd", deed="break"), acting(tmp_path, "good", "not there"),
    )
    assert outcome.failures == {"bad": "bad refuses", "odd": "UAVid: odd: ValueError: it breaks"}
    assert outcome.left_out == {"after", "last"}
    names = [name for name, _ in diary(tmp_path)]
    assert {*names} == {"good", "good2", "bad", "odd"} and names.index("good") < names.index("good2")
    with pytest.raises(SspError, match=r"\(1 more tasks failed\); 2 tasks that need it were left out"):
        outcome.raise_failures()


def test_a_full_disk_and_a_lack_of_memory_name_the_worker(run, tmp_path):
    outcome, _ = run(acting(tmp_path, "full", deed="full"), acting(tmp_path, "greedy", deed="memory"))
    host = os.uname().nodename
    assert outcome.failures["full"].startswith("worker cpu-") and f" on {host}: UAVid: full: " in outcome.failures["full"]
    assert f"no space left at {tmp_path / 'diary'}" in outcome.failures["full"]
    assert "memory has run out; start fewer workers (--workers)" in outcome.failures["greedy"]


def test_workers_count_with_one_thread_and_tell_how_far_they_are(run, tmp_path):
    outcome, display = run(acting(tmp_path, "threads", deed="threads"), acting(tmp_path, "count", deed="count"))
    assert len(outcome.records) == 2 and (tmp_path / "threads").read_text() == "1 1"
    told = [event for event in display.told if event[1] == "count"]
    assert told[0] == ("started", "count") and ("progress", "count", 2, 3) in told


def test_what_a_killed_worker_was_doing_is_done_again(run, tmp_path):
    outcome, display = run(
        acting(tmp_path, "unlucky", deed="die"), *(acting(tmp_path, f"other{k}", seconds=0.2) for k in range(3)),
        acting(tmp_path, "last", "unlucky"),
    )
    assert not outcome.failures and {record.name for record in outcome.records} == {
        "unlucky", "last", "other0", "other1", "other2",
    }
    names, processes = zip(*diary(tmp_path), strict=True)
    assert names.count("unlucky") == 2 and len(names) == 6 and len({*processes}) >= 2
    killed, again = (process for name, process in diary(tmp_path) if name == "unlucky")
    assert killed != again and (tmp_path / "last").is_file()
    assert [text for what, text, *_ in display.told if what == "note" and text.endswith("is lost; begun again")]

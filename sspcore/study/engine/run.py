"""Running a graph: the tasks whose needs are done go to free workers, the most urgent first.

Dask carries tasks to workers, starts those again that have died, and tells which are there. Order and place are ours: the order
is exactly that of `schedule.simulate`, a worker has one task at a time, and what a lost worker was doing goes to the next that
is free, where Dask would queue it behind another task.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import queue
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker

from sspcore.core.errors import BusyError, SspError
from sspcore.core.errors import reason as reason_of
from sspcore.study.engine.cluster import CPU, GPU, too_busy
from sspcore.study.engine.display import Display
from sspcore.study.engine.task import Record, Task
from sspcore.study.engine.work import TOPIC, perform
from sspcore.study.engine.workers import Workers

TICK = 1.0  # seconds between two looks at the workers
PATIENCE = 60.0  # seconds without a scheduler after which a run gives up
ALONE = 300.0  # the same without any worker: a batch system may have to find room for the next
RESULT_SECONDS = 30.0  # for the few bytes that a task returns
MEMORY = "memory may have run out; start fewer workers (--workers) or give them more, then run again"
ATTEMPTS = 4  # at a task of which the workers die


@dataclass
class Outcome:
    """What became of a run's tasks: those done in the order of their ends, why others failed, and which were left out."""

    records: list[Record]
    failures: dict[str, str]
    left_out: set[str]

    def raise_failures(self) -> None:
        """Raises: SspError with the first failure, if there is one."""
        if self.failures:
            first, *others = self.failures.values()
            more = f" ({len(others)} more tasks failed)" if others else ""
            without = f"; {len(self.left_out)} tasks that need it were left out" if self.left_out else ""
            raise SspError(f"{first}{more}{without}")


@dataclass
class _Sent:
    """A task that was sent to a worker."""

    future: Future
    kind: str
    worker: str
    name: str  # of the worker
    started: bool = False


class Run:
    """One run of a graph on the workers of a cluster.

    Args:
        priority: the highest goes first.
        display: takes what happens.
        after: called with each task that is done; what it returns is shown.
        outcome: is filled as tasks end; it holds what was done also where the run is stopped.
    """

    def __init__(
        self, client: Client, root: Path, tasks: Mapping[str, Task], priority: Mapping[str, float], display: Display,
        after: Callable[[Task], str | None] = lambda task: None, outcome: Outcome | None = None,
    ) -> None:
        self._client, self._tasks, self._priority, self._display, self._after = client, tasks, priority, display, after
        releases = {folder for task in tasks.values() for folder in task.call.study.folders}
        self._workers, self._id = Workers(client, root, releases), secrets.token_hex(4)
        self._waits = {name: {need for need in task.needs if need in tasks} for name, task in tasks.items()}
        self._followers: dict[str, list[str]] = {name: [] for name in tasks}
        for name, needs in self._waits.items():
            for need in needs:
                self._followers[need].append(name)
        self._ready: dict[str | None, list[tuple[float, str]]] = {CPU: [], GPU: []}
        self._running: dict[str, _Sent] = {}
        self._sent, self._losses = itertools.count(), Counter[str]()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._outcome = outcome or Outcome([], {}, set())
        self._lost_since: float | None = None
        self._alone_since: float | None = None

    def __call__(self) -> Outcome:
        """Do all tasks that can be done. Raises: SspError if the cluster is lost."""
        self._listen()
        for name, needs in self._waits.items():
            if not needs:
                self._make_ready(name)
        looked = 0.0
        try:
            while self._running or any(self._ready.values()):
                if time.monotonic() - looked >= TICK:
                    self._look()
                    looked = time.monotonic()
                if self._lost_since is None and self._client.status == "running":
                    self._submit()
                self._take(TICK)
                self._display.tick()
        finally:
            for name in list(self._running):
                self._withdraw(name)
            if self._client.status == "running":
                self._client.unsubscribe_topic(TOPIC)
        return self._outcome

    def _listen(self) -> None:
        self._client.subscribe_topic(TOPIC, lambda event: self._events.put(("event", event[1])))

    def _make_ready(self, name: str) -> None:
        kind = GPU if self._tasks[name].device else CPU
        heapq.heappush(self._ready[kind], (-self._priority[name], name))

    def _look(self) -> None:
        """Which workers are there? Raises: SspError if there has been none, or no scheduler, for a while."""
        now = time.monotonic()
        try:
            if self._client.status != "running":
                raise OSError(self._client.status)
            self._workers.refresh()
            self._display.estimate.resize(*self._workers.pools())
        except (OSError, asyncio.TimeoutError):
            self._lost_since = self._lost_since or now
            if self._client.status == "closed" or now - self._lost_since > PATIENCE:
                if self._client.cluster is not None:
                    raise SspError(too_busy(f"the process that hands out work did not answer for {PATIENCE:.0f} s")) from None
                advice = "start it and its workers again, then run again; what is done is kept"
                raise SspError(f"the scheduler does not answer any more: {advice}") from None
            return
        if self._lost_since is not None:
            self._lost_since = None
            self._listen()  # it may be another one at the same address
        for name, sent in list(self._running.items()):
            if not self._workers.is_there(sent.worker):
                self._repeat(name, f"worker {sent.name} is lost")
            elif not sent.started and not self._workers.begins(sent.worker):
                self._withdraw(name)
                self._make_ready(name)
        self._wait_for_workers(now)

    def _wait_for_workers(self, now: float) -> None:
        split = self._workers.has(GPU)
        if self._running or any(
            heap and self._workers.free((), kind if split else None) is not None for kind, heap in self._ready.items()
        ):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
            self._display.note(f"no worker takes tasks; waiting for one, at most {ALONE / 60:.0f} min")
        elif now - self._alone_since > ALONE:
            if self._client.cluster is not None:
                raise SspError(too_busy(f"none of its worker processes took work for {ALONE / 60:.0f} min"))
            raise SspError("no worker takes tasks: start some (docs/cluster.md), then run again; what is done is kept")

    def _submit(self) -> None:
        """Send tasks to free workers."""
        split = self._workers.has(GPU)
        while True:
            taken = {sent.worker for sent in self._running.values()}
            choices = [
                (heap[0][0], kind, worker) for kind, heap in self._ready.items()
                if heap and (worker := self._workers.free(taken, kind if split else None)) is not None
            ]
            if not choices:
                return
            _, kind, worker = min(choices)
            name = heapq.heappop(self._ready[kind])[1]
            key = f"{name}-{self._id}-{next(self._sent)}"
            future = self._client.submit(perform, self._tasks[name], self._id, key=key, pure=False, workers=[worker])
            self._running[name] = _Sent(future, kind, worker, self._workers.name(worker))
            future.add_done_callback(lambda future, name=name: self._events.put(("done", (name, future))))

    def _withdraw(self, name: str) -> None:
        """Take a task back from a worker."""
        self._running.pop(name).future.release()
        self._display.withdrawn(name)

    def _repeat(self, name: str, why: str) -> None:
        """A task was not brought to its end, through no fault of its own that is known."""
        task = self._tasks[name]
        self._withdraw(name)
        self._losses[name] += 1
        if self._losses[name] < ATTEMPTS:
            self._make_ready(name)
            self._display.note(f"{task.title}: {why}; begun again")
        else:
            self._fail(task, f"{task.title}: {why}, as {ATTEMPTS - 1} before it: {MEMORY}")

    def _take(self, patience: float) -> None:
        """Wait for something to happen, and take in all that has."""
        try:
            happened = [self._events.get(timeout=patience)]
            while not self._events.empty():
                happened.append(self._events.get())
        except queue.Empty:
            return
        for kind, content in happened:
            if kind == "event":
                self._tell(content)
            else:
                self._finish(*content)

    def _tell(self, event: Mapping[str, Any]) -> None:
        if event["run"] != self._id or event["task"] not in self._running:
            return  # of another run on the same cluster, or late
        if event["event"] == "started":
            self._running[event["task"]].started = True
            self._display.started(event["task"])
        else:
            self._display.progress(event["task"], event["done"], event["total"])

    def _finish(self, name: str, future: Future) -> None:
        if name not in self._running or self._running[name].future.key != future.key:
            return  # of a worker that was given up
        task = self._tasks[name]
        if future.status == "cancelled":
            self._repeat(name, "the scheduler has dropped it")
        elif future.status == "finished":
            try:
                record: Record = future.result(RESULT_SECONDS)
            except (OSError, asyncio.TimeoutError, CancelledError):
                self._repeat(name, f"worker {self._running[name].name} is lost")
                return
            del self._running[name]
            self._outcome.records.append(record)
            self._display.done(name, record.seconds, record.made)
            for follower in self._followers[name]:
                self._waits[follower].discard(name)
                if not self._waits[follower] and follower not in self._outcome.left_out:
                    self._make_ready(follower)
            if line := self._news_after(task):
                self._display.note(line)
        elif future.status != "error":  # "lost": the worker has gone before what it returned was fetched
            self._repeat(name, f"worker {self._running[name].name} is lost")
        elif isinstance(error := future.exception(RESULT_SECONDS), BusyError):
            self._withdraw(name)  # a worker that was given up is alive and still makes it
            self._make_ready(name)
            self._display.note(str(error))
        else:
            del self._running[name]
            self._fail(task, _why(task, error))

    def _news_after(self, task: Task) -> str | None:
        """What is to be said after a task; a table that cannot be written does not end the run."""
        try:
            return self._after(task)
        except OSError as error:
            return f"tables: {reason_of(error)}"

    def _fail(self, task: Task, message: str) -> None:
        self._outcome.failures[task.name] = message
        self._display.failed(task.name, message)
        waiting = [task.name]
        while waiting:
            for follower in self._followers[waiting.pop()]:
                if follower not in self._outcome.left_out:
                    self._outcome.left_out.add(follower)
                    waiting.append(follower)


def _why(task: Task, error: BaseException) -> str:
    """Why a task failed, in one line."""
    if isinstance(error, KilledWorker):
        return f"{task.title}: worker {error.last_worker.name} is lost, as {error.allowed_failures} before it: {MEMORY}"
    if isinstance(error, SspError):
        return str(error)
    return f"{task.title}: {type(error).__name__}: {reason_of(error)}"

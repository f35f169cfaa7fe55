"""Running a graph: the tasks whose needs are done go to free workers, the most urgent first.

Dask places tasks, starts workers that have died again, and repeats what they were doing. The order is ours, so that it is
exactly that of `schedule.simulate`.
"""

from __future__ import annotations

import heapq
import queue
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker

from sspcore.core.errors import SspError
from sspcore.core.errors import reason as reason_of
from sspcore.study.engine.cluster import CPU, GPU, Workers
from sspcore.study.engine.display import Display
from sspcore.study.engine.task import Record, Task
from sspcore.study.engine.work import TOPIC, perform

TICK = 1.0  # seconds between two looks at the workers
PATIENCE = 60.0  # seconds without a scheduler, or without any worker, after which a run gives up


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


class Run:
    """One run of a graph on the workers of a cluster.

    Args:
        priority: the highest goes first.
        display: is told what happens.
        after: called with each task that is done; what it returns is shown.
    """

    def __init__(
        self, client: Client, root: Path, tasks: Mapping[str, Task], priority: Mapping[str, float], display: Display,
        after: Callable[[Task], str | None] = lambda task: None,
    ) -> None:
        self._client, self._tasks, self._priority, self._display, self._after = client, tasks, priority, display, after
        self._workers, self._id = Workers(client, root), secrets.token_hex(4)
        self._waits = {name: {need for need in task.needs if need in tasks} for name, task in tasks.items()}
        self._followers: dict[str, list[str]] = {name: [] for name in tasks}
        for name, needs in self._waits.items():
            for need in needs:
                self._followers[need].append(name)
        self._ready: dict[str | None, list[tuple[float, str]]] = {CPU: [], GPU: []}
        self._running: dict[str, tuple[Future, str]] = {}
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._outcome = Outcome([], {}, set())
        self._lonely_since: float | None = None

    def __call__(self) -> Outcome:
        """Do all tasks that can be done. Raises: SspError if the cluster is lost."""
        self._client.subscribe_topic(TOPIC, lambda event: self._events.put(("event", event[1])))
        for name, needs in self._waits.items():
            if not needs:
                self._make_ready(name)
        looked = 0.0
        try:
            while self._running or any(self._ready.values()):
                if time.monotonic() - looked >= TICK:
                    self._look()
                    looked = time.monotonic()
                self._submit()
                self._take(TICK)
                self._display.tick()
        finally:
            self._client.cancel([future for future, _ in self._running.values()])
            self._client.unsubscribe_topic(TOPIC)
        return self._outcome

    def _class_of(self, task: Task) -> str:
        return GPU if task.device and self._workers.has(GPU) else CPU

    def _make_ready(self, name: str) -> None:
        kind = GPU if self._tasks[name].device else CPU
        heapq.heappush(self._ready[kind], (-self._priority[name], name))

    def _look(self) -> None:
        """Which workers are there? Raises: SspError if there has been none, or no scheduler, for a while."""
        lost = self._client.status != "running"
        if not lost:
            try:
                self._workers.refresh()
            except (OSError, TimeoutError):
                lost = True
        if not lost and self._workers.slots(None):
            self._lonely_since = None
            return
        now = time.monotonic()
        self._lonely_since = self._lonely_since or now
        if now - self._lonely_since > PATIENCE:
            what = "the scheduler does not answer any more" if lost else "no worker is left"
            raise SspError(f"{what}: start it again, then run again; what is done is kept")

    def _submit(self) -> None:
        """Send tasks to free workers."""
        split = self._workers.has(GPU)
        while True:
            heaps = [(heap, kind) for kind, heap in self._ready.items() if heap and self._is_free(kind if split else None)]
            if not heaps:
                return
            heap, kind = min(heaps, key=lambda entry: entry[0][0])
            name = heapq.heappop(heap)[1]
            wanted = kind if split and self._workers.has(kind) else None
            future = self._client.submit(
                perform, self._tasks[name], key=f"{name}-{self._id}", pure=False, workers=self._workers.restriction(),
                resources=None if wanted is None else {wanted: 1},
            )
            self._running[name] = future, kind
            future.add_done_callback(lambda future, name=name: self._events.put(("done", (name, future))))

    def _is_free(self, kind: str | None) -> bool:
        """Whether a worker for that kind of task is free; None: for any."""
        busy = sum(kind is None or other == kind for _, other in self._running.values())
        return busy < self._workers.slots(kind if kind is not None and self._workers.has(kind) else None)

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
        if event["task"] not in self._running:
            return  # of another run, or late
        if event["event"] == "started":
            self._display.started(event["task"], event["worker"])
        else:
            self._display.progress(event["task"], event["done"], event["total"])

    def _finish(self, name: str, future: Future) -> None:
        if name not in self._running:
            return
        del self._running[name]
        task = self._tasks[name]
        if future.status == "finished":
            record: Record = future.result()
            self._outcome.records.append(record)
            self._display.done(name, record.seconds, record.cpu_seconds, record.peak_mib)
            for follower in self._followers[name]:
                self._waits[follower].discard(name)
                if not self._waits[follower] and follower not in self._outcome.left_out:
                    self._make_ready(follower)
            if line := self._after(task):
                self._display.note(line)
        else:
            self._fail(task, _why(task, future))

    def _fail(self, task: Task, message: str) -> None:
        self._outcome.failures[task.name] = message
        self._display.failed(task.name, message)
        waiting = [task.name]
        while waiting:
            for follower in self._followers[waiting.pop()]:
                if follower not in self._outcome.left_out:
                    self._outcome.left_out.add(follower)
                    waiting.append(follower)


def _why(task: Task, future: Future) -> str:
    """Why a task failed, in one line."""
    if future.status == "cancelled":
        return f"{task.title}: the scheduler has dropped it; run again"
    error = future.exception()
    if isinstance(error, KilledWorker):
        return (
            f"{task.title}: {error.allowed_failures + 1} workers died of it (the last: {error.last_worker.name}); memory may "
            "have run out: start fewer workers (--workers), then run again"
        )
    if isinstance(error, SspError):
        return str(error)
    return f"{task.title}: {type(error).__name__}: {reason_of(error)}"

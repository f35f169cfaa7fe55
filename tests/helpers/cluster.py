"""A cluster without processes: a client of Dask as far as the engine uses one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


def worker(name: str, **changes: Any) -> dict[str, Any]:
    """What a scheduler says of a worker."""
    return {
        "name": name, "host": "127.0.0.1", "nthreads": 1, "resources": {}, "status": "running", "local_directory": "first",
        "memory_limit": 2**31,
    } | changes


class Future:
    """What was sent to a worker; `end` makes it known."""

    def __init__(self, key: str, address: str) -> None:
        self.key, self.address, self.status, self.value, self.released = key, address, "pending", None, False
        self._tell: list[Callable[[Future], None]] = []

    def add_done_callback(self, tell: Callable[[Future], None]) -> None:
        self._tell.append(tell)

    def end(self, value: Any, status: str = "finished") -> None:
        self.value, self.status = value, status
        for tell in self._tell:
            tell(self)

    def result(self, timeout: float) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    def exception(self, timeout: float) -> BaseException:
        return self.value

    def release(self) -> None:
        self.released = True


class Fake:
    """A client.

    Args:
        there: what the scheduler says of its workers, by address.
        answers: how workers answer that are asked who they are; the others answer truly.
        cluster: that the client has started itself, None for one that was there.
        work: called with each task that is sent and its future.
    """

    def __init__(
        self, there: dict[str, dict[str, Any]], answers: dict[str, Callable[..., Any]] | None = None,
        work: Callable[[Any, Future], Any] = lambda task, future: None, cluster: Any = None,
    ) -> None:
        self.there, self.answers, self.work, self.status = there, answers or {}, work, "running"
        self.cluster = cluster
        self.scheduler, self.sent, self.handler = SimpleNamespace(identity=self._identity), [], None

    def _identity(self, n_workers: int) -> dict[str, Any]:
        return {"workers": dict(self.there)}

    async def _run(self, function: Callable[..., Any], *arguments: Any, workers: list[str], on_error: str) -> dict[str, Any]:
        answers = {address: self.answers.get(address, function)(*arguments) for address in workers}
        return {address: await answer if inspect.isawaitable(answer) else answer for address, answer in answers.items()}

    def sync(self, function: Callable[..., Any], *arguments: Any, callback_timeout: float, **options: Any) -> Any:
        result = function(*arguments, **options)
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    def subscribe_topic(self, topic: str, handler: Callable[[Any], None]) -> None:
        self.handler = handler

    def unsubscribe_topic(self, topic: str) -> None:
        self.handler = None

    def submit(self, function: Callable[..., Any], task: Any, run: str, *, key: str, pure: bool, workers: list[str]) -> Future:
        (address,), self.run = workers, run
        future = Future(key, address)
        self.sent.append((task.name, address))
        self.work(task, future)
        return future

    def started(self, task: Any) -> None:
        """Tell that a worker has begun."""
        self.handler((0.0, {"event": "started", "run": self.run, "task": task.name}))

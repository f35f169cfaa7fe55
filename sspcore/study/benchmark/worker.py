"""The process that measures. An error of CUDA spoils a process for good, and a hanging kernel cannot be stopped from within:
the session ends such a process and starts another.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from sspcore.core.errors import SspError, reason
from sspcore.core.parallel import end_with_parent
from sspcore.study.benchmark.part import Part, Setting

START_SECONDS = 120  # after which a process that has not answered is taken for hung
_FATAL = ("CUDA", "cuDNN", "CUBLAS", "NCCL", "captur")  # words of errors after which a process is of no more use


class PartFailed(Exception):
    """A part ended without its last row; the message says why."""


class Worker(Protocol):
    """What measures parts for a session."""

    def rows(self, part: Part, share: float, within: float, limit: float) -> Iterator[dict[str, Any]]:
        """The rows of a part, as they come.

        Args:
            share, within: see `Setting`.
            limit: seconds after which the part is stopped.
        Raises: PartFailed.
        """
        ...

    @property
    def usable(self) -> bool:
        """Whether it takes another part."""
        ...

    def close(self) -> None:
        """End it, in the middle of its work too."""
        ...


class WorkerProcess:
    """A worker in a process and a process group of its own.

    Args:
        setting: profile and device; what changes from part to part is set for each.
        limit: seconds to wait for its start, START_SECONDS at most.
    Raises: PartFailed if it does not start.
    """

    def __init__(self, setting: Setting, limit: float = START_SECONDS) -> None:
        context = get_context("spawn")  # CUDA does not survive a fork
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, setting), daemon=False)
        self._process.start()
        other.close()
        self.usable = True
        self._answer(min(limit, START_SECONDS))

    def rows(self, part: Part, share: float, within: float, limit: float) -> Iterator[dict[str, Any]]:
        """See `Worker`."""
        ends = time.monotonic() + limit
        self._connection.send((part, share, within))
        while True:
            kind, value = self._answer(ends - time.monotonic())
            if kind == "done":
                return
            if kind == "failed":
                self.usable, text = not value[0], value[1]
                raise PartFailed(text)
            yield value

    def _answer(self, limit: float) -> tuple[str, Any]:
        try:
            if self._connection.poll(max(0.0, limit)):
                return self._connection.recv()
            problem = f"gave no answer for {max(0.0, limit):.0f} s and was stopped"
        except (EOFError, OSError):
            self._process.join(10)
            problem = f"its process ended with status {self._process.exitcode}"
        self.close()
        raise PartFailed(problem)

    def close(self) -> None:
        """See `Worker`."""
        self.usable = False
        with suppress(ProcessLookupError, PermissionError):  # the group is its own once it has begun
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join(10)
        self._connection.close()


def serve(connection: Connection, setting: Setting) -> None:
    """The process: take parts, send their rows, until the other end is closed."""
    os.setsid()  # what it starts ends with it
    end_with_parent()
    connection.send(("ready", None))
    while True:
        try:
            part, share, within = connection.recv()
        except EOFError:
            return
        connection.send(measured(part, replace(setting, share=share, within=within), connection))


def measured(part: Part, setting: Setting, connection: Connection) -> tuple[str, Any]:
    """Send the rows of a part; returns the message that ends it."""
    try:
        for row in part.measure(setting):
            connection.send(("row", row))
    except SspError as error:
        return "failed", (False, str(error))
    except torch.cuda.OutOfMemoryError as error:
        return "failed", (False, f"out of memory: {reason(error)}")
    except Exception as error:  # whatever it is, the other parts are measured
        text = f"{type(error).__name__}: {reason(error)}"
        return "failed", (any(word in text for word in _FATAL), text)
    return "done", None

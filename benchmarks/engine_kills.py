"""Kill the workers of a run, each while it is at work on a task of another kind."""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil
from distributed import Client

from engine_run import Run, kill


@dataclass
class WorkerKills:
    """Called again and again while a run is at work: kills a worker (SIGKILL) in the first task of each kind that it meets.

    Attributes:
        killed: kind -> name of the task that was being done.
    """

    killed: dict[str, str] = field(default_factory=dict)
    _client: Client | None = field(default=None, repr=False)

    def __call__(self, run: Run) -> None:
        """Look once, and kill at most one worker."""
        if self._client is None:
            self._client = scheduler_of(run)
        at_work = {} if self._client is None else processing(self._client)
        for address, names in at_work.items():
            for name in names:
                kind = name.partition("-")[0]
                if kind not in self.killed and (process := listening(run, port_of(address))) is not None:
                    kill(process)
                    self.killed[kind] = name
                    return


def processing(client: Client) -> dict[str, tuple[str, ...]]:
    """Address of each worker -> names of its tasks; nothing where the scheduler has just ended."""
    try:
        return client.processing()
    except (OSError, TimeoutError, RuntimeError, AttributeError):  # AttributeError: the client has been closed
        return {}


def scheduler_of(run: Run) -> Client | None:
    """A client of the scheduler that a run has started; None if there is none yet."""
    for port in listened(run.process):
        try:
            return Client(f"tcp://127.0.0.1:{port}", timeout=2, set_as_default=False)
        except (OSError, TimeoutError, TypeError):  # TypeError: a keeper of a worker listens there
            continue
    return None


def listening(run: Run, port: int) -> psutil.Process | None:
    """The process of a run that listens on a port."""
    return next((process for process in run.tree() if port in listened(process)), None)


def listened(process: psutil.Process) -> list[int]:
    """The TCP ports that a process listens on."""
    try:
        return [each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


def port_of(address: str) -> int:
    """The port of "tcp://127.0.0.1:40001"."""
    return int(address.rpartition(":")[2])

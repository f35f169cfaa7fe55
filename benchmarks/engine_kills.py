"""Kill the worker that is at work on a task of a kind, of a run that somebody else started."""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil
from distributed import Client

from engine_run import Run, kill

KINDS = ("render", "prepare", "register", "flow", "train", "label", "fuse", "predict", "score", "draw", "notebook", "seal")


@dataclass
class WorkerKill:
    """Called again and again while a run is at work: kills one worker, with SIGKILL, in the first task of `kind` that it meets.

    Attributes:
        killed: name of the task that was being done; None as long as none was met.
    """

    kind: str
    killed: str | None = None
    _client: Client | None = field(default=None, repr=False)

    def __call__(self, run: Run) -> None:
        """Look once."""
        if self.killed is not None:
            return
        if self._client is None:
            self._client = scheduler_of(run)
            if self._client is None:
                return
        try:
            at_work = self._client.processing()
        except (OSError, TimeoutError):  # the run ends
            return
        for address, names in at_work.items():
            chosen = next((name for name in names if name.startswith(f"{self.kind}-")), None)
            if chosen is None:
                continue
            process = listening(run, port_of(address))
            if process is not None:
                kill(process)
                self.killed = chosen
                self._client.close()
                return

def scheduler_of(run: Run) -> Client | None:
    """A client of the scheduler that a run has started; None if there is none yet."""
    for port in listened(run.process):
        try:
            return Client(f"tcp://127.0.0.1:{port}", timeout=2, set_as_default=False)
        except (OSError, TimeoutError):
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

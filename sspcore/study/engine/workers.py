"""Which workers of a cluster take part: those with the same code, packages and folders as this process, and one thread."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Client

from sspcore.core.code import library_key
from sspcore.core.errors import SspError
from sspcore.core.provenance import REPORTED_PACKAGES
from sspcore.study.engine.cluster import CONNECT_SECONDS, CPU, GPU, LEAST_BYTES, too_busy

log = logging.getLogger(__name__)

PACKAGES = (*REPORTED_PACKAGES, "distributed")
THREADS = "OMP_NUM_THREADS"  # read by NumPy's library when it is loaded: too late for a task to set it
ASK_SECONDS = 120  # for a worker's answer: its first task is to import all that is ours
TRIES = 3  # to ask a worker
AT_WORK = "running"  # what Dask says of a worker that begins tasks; others are paused for want of memory, or closing


@dataclass(frozen=True)
class Identity:
    """What a process is, as far as results depend on it.

    Attributes:
        threads: what the environment says of NumPy's threads.
        token: content of a file in the folder of artefacts; None if it cannot be read.
        unwritable: why nothing can be written into that folder; None if it can be.
        missing: those of the other folders that are not there.
    """

    host: str
    library: str
    versions: dict[str, str]
    threads: str | None
    token: str | None = None
    unwritable: str | None = None
    missing: tuple[str, ...] = ()


def identity(token: Path | None = None, folders: Collection[str] = ()) -> Identity:
    """Of this process. `token`: a file in the folder of artefacts; `folders`: others that are needed."""
    seen = unwritable = None
    if token is not None:
        try:
            seen = token.read_text(encoding="utf-8")
            with tempfile.TemporaryFile(dir=token.parent):
                pass
        except OSError as error:
            unwritable = error.strerror
    return Identity(
        socket.gethostname(), library_key(), {name: version(name) for name in PACKAGES}, os.environ.get(THREADS), seen,
        unwritable, tuple(folder for folder in folders if not Path(folder).is_dir()),
    )


def workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """What the scheduler knows of its workers, by address. Raises: OSError or TimeoutError if it does not answer.

    `Client.scheduler_info` will not do: the client overwrites it every two seconds with one that has no workers.
    """
    return client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=CONNECT_SECONDS)["workers"]


class Workers:
    """The workers of a cluster that tasks may be sent to; those that do not fit are named in the log and left out.

    A worker that was restarted counts as another one, also under the same address. Of a local cluster, whose workers the run
    has started itself, nothing is said that only the owner of a cluster can act on.

    Args:
        root: folder of artefacts, which all have to see.
        folders: others, such as that of the real releases.
    """

    def __init__(self, client: Client, root: Path, folders: Collection[str] = ()) -> None:
        self._client, self._root, self._folders = client, root, folders
        self._started_here = client.cluster is not None
        self._fits: dict[str, bool] = {}
        self._process: dict[str, str] = {}  # address -> what tells one process there from the next
        self._there: dict[str, dict[str, Any]] = {}  # those that fit
        self._some_fitted = False  # once: others may come again
        self._tries: dict[str, int] = {}  # to reach one that does not answer
        self._silent: set[str] = set()  # those of a local cluster that were given up for that
        self._said: set[str] = set()

    def refresh(self) -> None:
        """Take in workers that have come or gone. Raises: SspError if there are workers and none fits."""
        there = workers_of(self._client)
        process = {address: info["local_directory"] for address, info in there.items()}
        same = {address for address, name in self._process.items() if process.get(address) == name}
        self._fits = {address: fits for address, fits in self._fits.items() if address in same}
        self._tries = {address: tries for address, tries in self._tries.items() if address in same}
        self._process = process
        if new := [address for address in there if address not in self._fits]:
            self._fits |= self._examine({address: there[address] for address in new})
        self._there = {address: info for address, info in there.items() if self._fits.get(address)}
        self._some_fitted |= bool(self._there)
        if self._fits and not any(self._fits.values()) and not self._some_fitted:
            if self._silent >= self._fits.keys():
                raise SspError(too_busy(f"its worker processes did not answer within {ASK_SECONDS} s"))
            raise SspError("no worker can take part, see the lines above; correct one of them, then run again")

    def has(self, resource: str) -> bool:
        """Whether a worker offers that resource."""
        return any(resource in info["resources"] for info in self._there.values())

    def pools(self) -> tuple[int, int | None]:
        """How many workers there are for work on the CPU, and how many for a GPU; None: all are for either."""
        gpus = sum(GPU in info["resources"] for info in self._there.values())
        return (len(self._there) - gpus, gpus) if gpus and self.has(CPU) else (len(self._there), None)

    def name(self, address: str) -> str:
        """Of a worker that is there, with its host."""
        return f"{self._there[address]['name']} on {self._there[address]['host']}"

    def is_there(self, address: str) -> bool:
        """Whether that worker is alive, as far as the scheduler knows."""
        return address in self._there

    def begins(self, address: str) -> bool:
        """Whether that worker begins with tasks that it is sent."""
        return address in self._there and self._there[address]["status"] == AT_WORK

    def free(self, taken: Collection[str], resource: str | None = None) -> str | None:
        """A worker that is not in `taken` and begins with tasks: one with that resource if any has it."""
        wanted = resource if resource is not None and self.has(resource) else None
        return next((
            address for address, info in self._there.items()
            if address not in taken and self.begins(address) and (wanted is None or wanted in info["resources"])
        ), None)

    def _examine(self, new: dict[str, dict[str, Any]]) -> dict[str, bool]:
        small = [address for address, info in new.items() if 0 < info["memory_limit"] < LEAST_BYTES]
        for info in map(new.get, small):  # they die before they can answer
            size = f"{info['memory_limit'] / 2**20:.0f} MiB"
            self._say(f"{_named(info)} is left out: has {size} of memory; start it with --memory-limit 2GiB")
        fits = dict.fromkeys(small, False)
        ours, secret = identity(), secrets.token_hex(8)
        answers = self._ask([address for address in new if address not in fits], secret)
        for address, answer in answers.items():
            if isinstance(answer, OSError) and (tries := self._tries.get(address, 1)) < TRIES:
                self._tries[address] = tries + 1  # it may be about to go, or to answer
                continue
            info, problem = new[address], self._problem(answer, ours, secret)
            name = _named(info, answer.host if isinstance(answer, Identity) else None)
            fits[address] = problem is None
            if self._started_here and isinstance(answer, OSError):
                self._silent.add(address)
            elif problem is not None:
                self._say(f"{name} is left out: {problem}")
            elif (threads := info["nthreads"]) > 1:
                advice = f"start it with --nworkers {threads} --nthreads 1 to use all its cores"
                self._say(f"{name} does one task at a time with one thread, though it has {threads}; {advice}")
        return fits

    def _ask(self, addresses: list[str], secret: str) -> dict[str, Identity | BaseException]:
        """The identities of workers; those that have gone again are missing."""
        if not addresses:
            return {}
        self._root.mkdir(parents=True, exist_ok=True)
        prefix = f".workers~{socket.gethostname()}~{os.getpid()}.partial."  # as `remove_leftovers` knows it
        with tempfile.NamedTemporaryFile("w", prefix=prefix, dir=self._root, encoding="utf-8") as token:
            token.write(secret)
            token.flush()
            answers = self._client.sync(self._ask_each, addresses, Path(token.name), callback_timeout=2 * ASK_SECONDS)
        return {address: answer for address, answer in zip(addresses, answers, strict=True) if answer is not None}

    async def _ask_each(self, addresses: list[str], token: Path) -> list[Identity | BaseException | None]:
        async def ask(address: str) -> Identity | BaseException | None:
            question = self._client._run(identity, token, self._folders, workers=[address], on_error="return")
            try:  # a process that hangs would be waited for without end
                return (await asyncio.wait_for(question, ASK_SECONDS)).get(address)
            except asyncio.TimeoutError:
                return OSError(f"no answer within {ASK_SECONDS} s")

        return await asyncio.gather(*map(ask, addresses))

    def _say(self, line: str) -> None:
        """Once, also of a worker that comes again and again under new addresses."""
        if line not in self._said:
            self._said.add(line)
            log.warning("%s", line)

    def _problem(self, answer: Identity | BaseException, ours: Identity, secret: str) -> str | None:
        """Why a worker that answered so cannot take part, and what to do; None if it can."""
        if isinstance(answer, OSError):
            return f"cannot be asked ({_words(answer)}); start it again"
        if isinstance(answer, BaseException):
            return f"{_words(answer)}; install this version of sspcore there, with requirements.lock"
        differing = [name for name in PACKAGES if answer.versions[name] != ours.versions[name]]
        if differing:
            name = differing[0]
            return f"has {name} {answer.versions[name]}, this machine {ours.versions[name]}; install requirements.lock there"
        if answer.library != ours.library:
            return "has another version of sspcore; check out the same commit there and start it again"
        if answer.threads != "1":
            return f"was started without {THREADS}=1; start it with that in its environment, or without --no-nanny"
        if answer.token != secret:
            return f"does not see {self._root}; mount that folder there under the same path"
        if answer.unwritable is not None:
            return f"cannot write into {self._root} ({answer.unwritable}); mount it writable, for the same user"
        if answer.missing:
            return f"does not see {answer.missing[0]}; mount that folder there under the same path"
        return None


def _named(info: dict[str, Any], host: str | None = None) -> str:
    return f"worker {info['name']} on {host or info['host']}"


def _words(error: BaseException) -> str:
    """The first line of an error, with its type if that says more than Exception."""
    first = str(error).partition("\n")[0]
    return first if type(error) is Exception else f"{type(error).__name__}: {first}"

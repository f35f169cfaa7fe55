"""Batches from other processes arrive, whatever shared memory there is; a process that fails or dies is one line."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from sspcore.core import loading, parallel
from sspcore.core.errors import ReleaseError, SspError
from sspcore.core.loading import load

FULL = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
LONG = "AF_UNIX path too long"


def doubled(item: torch.Tensor) -> torch.Tensor:
    return item * 2


ITEMS = list(torch.arange(12.0).reshape(3, 2, 2))
EXPECTED = list(2 * torch.arange(12.0).reshape(3, 2, 2))


@pytest.mark.parametrize("problem", ["", FULL, LONG])
def test_batches_arrive_with_and_without_shared_memory(monkeypatch, caplog, problem):
    class Pickler:
        loads = loading.ForkingPickler.loads

        @staticmethod
        def dumps(batch):
            raise (RuntimeError if problem == FULL else OSError)(problem)

    if problem:
        monkeypatch.setattr(loading, "ForkingPickler", Pickler)  # in the process that reads, which is forked
    loader = load(ITEMS, doubled, 1, "training")
    for _ in range(2):
        assert all(map(torch.equal, loader, EXPECTED)) and len(loader) == 3
    said = [record.getMessage() for record in caplog.records]
    assert said == ([f"training: batches do not pass through shared memory ({problem}), which takes longer; a container has "
                     "more with --shm-size=2g"] if problem else [])


def test_where_no_process_can_be_started_this_one_reads(monkeypatch, caplog):
    def no_room():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parallel, "get_context", lambda *kind: type("Context", (), {"Lock": staticmethod(no_room)}))
    assert not parallel.can_start(1)
    loader = load(ITEMS, lambda item: (os.getpid(), item), 2, "training")
    assert {process for process, _ in loader} == {os.getpid()}
    assert "no process to read with can be started (is /dev/shm full or missing?)" in caplog.text
    assert list(parallel.run_jobs(str, [1, 2, 3], 2)) == ["1", "2", "3"]


def refused(item):
    raise ReleaseError("a.png: is damaged: fetch it again")


def full(item):
    raise OSError(28, "No space left on device", "flow.npy")


def killed(item):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("collate, kind, line", [
    (refused, ReleaseError, r"^a\.png: is damaged: fetch it again$"),
    (full, SspError, r"^\[Errno 28\] No space left on device: 'flow.npy'$"),
    (killed, SspError, r"^training: a process that reads for it died \(DataLoader worker.*\); memory may have run out: lower"),
])
def test_a_process_that_fails_or_dies_is_one_line(collate, kind, line):
    with pytest.raises(kind, match=line) as caught:
        list(load(ITEMS, collate, 1, "training"))
    assert type(caught.value) is kind and "\n" not in str(caught.value)


def test_errors_of_this_process_stay_as_they_are():
    with pytest.raises(ReleaseError, match=r"^a\.png"):
        list(load(ITEMS, refused, 0, "training"))

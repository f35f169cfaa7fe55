"""Clusters: addresses at which there is none, too many workers, and a real one of a process that has no sspcore."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sspcore.core.errors import SspError
from sspcore.study.engine import cluster
from sspcore.study.engine.cluster import connected, local_cluster
from sspcore.study.engine.workers import Workers, workers_of


def refused(address: str) -> str:
    """What is said of an address."""
    with pytest.raises(SspError) as caught, connected(address):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("address", "said"), [
    ("abc://127.0.0.1:8786", "'abc' is not one of tcp, tls"),
    ("http://127.0.0.1:8786", "'http' is not one of tcp, tls"),
    ("127.0.0.1", "missing port number"),
    ("scheduler.json", "missing port number"),
    ("", "missing port number"),
    ("tcp://no-such-host.invalid:8786", "no-such-host.invalid, port 8786, is no place that is known here"),
    ("tls://127.0.0.1:8786", "ssl_context"),
])
def test_an_address_that_is_none_is_refused_at_once(address, said):
    text = refused(address)
    assert text.startswith(f"--scheduler {address}: no scheduler answers (")
    assert said in text
    assert text.endswith("start one with `dask scheduler`, or check the address (tcp://HOST:8786)")


def test_a_place_where_nobody_or_something_else_listens_is_given_up(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "no answer within 1 s" in refused(f"tcp://127.0.0.1:{port}")
    assert "no answer within 1 s" in refused(f"tcp://127.0.0.1:{port}")


class Scheduler:
    """A client of a scheduler that answers so when it is asked for its version of sspcore."""

    def __init__(self, answer):
        self.answer = answer

    def run_on_scheduler(self, function):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(("answer", "said"), [
    (ModuleNotFoundError("No module named 'sspcore'\nmore"), r"cannot use sspcore \(No module named 'sspcore'\); start"),
    ("other", "has another version of sspcore; start it again from the same commit"),
])
def test_a_scheduler_that_cannot_read_tasks_is_refused(answer, said):
    with pytest.raises(SspError, match=rf"--scheduler tcp://h:1: {said}"):
        cluster._check_scheduler(Scheduler(answer), "tcp://h:1")


def test_more_workers_than_there_is_memory_for_are_refused(monkeypatch):
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", 3 * 2**30)
    with pytest.raises(SspError, match="4 workers: each would have 0.8 GiB of memory"), local_cluster(4):
        pass
    assert cluster.default_workers() == 1


def test_far_more_workers_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(cluster, "cores", lambda: 2)
    with pytest.raises(SspError, match="1000 workers: more than 8 only slow down a machine with 2 cores"), local_cluster(1000):
        pass


@pytest.mark.slow
def test_a_worker_on_a_gpu_is_not_restarted_for_its_size(monkeypatch, tmp_path):
    """CUDA's libraries and pinned memory count as resident: a share of the machine's memory would end trainings."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with local_cluster(1) as client:
        limits = {info["name"].partition("-")[0]: info["memory_limit"] for info in workers_of(client).values()}
        assert limits["gpu"] == 0 < limits["cpu"] <= cluster.MEMORY_LIMIT // 2
        workers = Workers(client, tmp_path)
        workers.refresh()
        assert workers.pools() == (1, 1)  # without a limit it is not one that has too little


def test_workers_spend_their_time_on_tasks(monkeypatch):
    """Dask's profiler and health checks take 7 % of the time of two workers, its setting of malloc a third of rendering."""
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)

    def checks(dask_worker) -> dict[str, float]:
        return {name: each.callback_time for name, each in dask_worker.periodic_callbacks.items()}

    with local_cluster(1) as client:
        (found,) = client.run(checks).values()
        assert "profile" not in found and found["tick"] == 1000 and found["monitor"] == 5000
        assert set(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == {None}
        assert set(client.run(os.environ.get, "OMP_NUM_THREADS").values()) == {"1"}


NO_SSPCORE = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "sspcore":
            raise ModuleNotFoundError("No module named 'sspcore'")
sys.meta_path.insert(0, Finder())
from dask.__main__ import main
main()
"""


def test_a_worker_without_sspcore_and_the_address_of_a_worker(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    commands = [
        ["-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        ["-c", NO_SSPCORE, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--name", "bare"],
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL, cwd=tmp_path, env=environment)
        for command in commands
    ]
    try:
        with connected(address) as client:
            client.wait_for_workers(1, timeout=60)
            (worker,) = workers_of(client)
            with pytest.raises(SspError, match="no worker can take part"):
                Workers(client, Path(tmp_path)).refresh()
        assert "there is a worker of a cluster" in refused(worker)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert "worker bare on 127.0.0.1 is left out" in caplog.text
    assert "No module named 'sspcore'" in caplog.text


def test_a_machine_without_shared_memory_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "can_start", lambda processes: False)
    with pytest.raises(SspError, match=r"no worker can be started: .*--shm-size=1g"), local_cluster(1):
        pass

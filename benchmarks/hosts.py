"""The smoke study on three hosts, one of them cut off in the middle: the part "hosts" of figures/engine.json.

    python benchmarks/hosts.py              needs Linux and root (ip netns, unshare)

A host is a network namespace with a host name and process numbers of its own; a bridge joins them, and they share this
machine's folders. The first has the scheduler and the run, the other two a worker each. Tables are compared with those of a
run with two local workers. Cut off means that the link goes down: the worker goes on, and the scheduler is not informed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from engine import FIGURES, differing, repository
from engine_run import Run, finish, remove, watch
from sspcore.core.files import read_json, write_json
from sspcore.core.provenance import provenance

NETWORK, PORT = "10.77.0", 8786
MAIN, HOSTS = "sspmain", ("sspone", "ssptwo")
MIDDLE = 30  # per cent of a run's work after which a host is cut off
LOST = "is lost; begun again"  # what a run says of a worker that has gone


def ip(*arguments: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def network() -> Iterator[None]:
    """The hosts: MAIN has the bridge, at NETWORK.1; the others follow."""
    try:
        for name in (MAIN, *HOSTS):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", MAIN, "link", "add", "bridge", "type", "bridge")
        ip("-n", MAIN, "addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
        ip("-n", MAIN, "link", "set", "bridge", "up")
        for k, name in enumerate(HOSTS, 2):
            ip("-n", MAIN, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", MAIN, "link", "set", name, "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{k}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield
    finally:
        for name in (MAIN, *HOSTS):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def on(host: str, *command: str) -> list[str]:
    """A command as it is run on a host. All that it starts ends with it."""
    set_up = ["sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
    return ["ip", "netns", "exec", host, "unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", *set_up]


@contextmanager
def daemons(where: Path, folder: Path) -> Iterator[None]:
    """A scheduler on MAIN and a worker on each of the others, by the code in `where`."""
    environment = os.environ | {"PYTHONPATH": str(where), "PYTHONSAFEPATH": "1"}
    dask = [sys.executable, "-m", "dask"]
    commands = {MAIN: [*dask, "scheduler", "--host", f"{NETWORK}.1", "--port", str(PORT), "--no-dashboard"]}
    for name in HOSTS:
        commands[name] = [*dask, "worker", address(), "--nthreads", "1", "--no-dashboard", "--name", name]
    started = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                started.append(subprocess.Popen(on(name, *command), env=environment, stdout=log, stderr=log, cwd=folder))
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def address() -> str:
    """Of the scheduler."""
    return f"tcp://{NETWORK}.1:{PORT}"


def run_on_hosts(where: Path, home: Path, options: Sequence[str], poll: Callable[[Run], None] | None = None) -> Run:
    """A run on MAIN that uses the workers. Raises: RuntimeError with the end of its log if it fails."""
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "PYTHONPATH": "", "SSPCORE_HOME": str(home)}
    home.mkdir(parents=True)
    command = on(MAIN, "bash", "./reproduce.sh", *options, "--scheduler", address())
    log = home.with_suffix(".log")
    with log.open("wb") as file:
        process = psutil.Popen(command, cwd=where, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    run = Run(process, home, "smoke", log)
    if watch(run, poll) != 0:
        raise RuntimeError(f"the run ended with status {process.returncode}: {log.read_text(errors='replace')[-3000:]}")
    return run


class Cut:
    """Takes the link of the first worker's host down in the middle of a run, and notes when the run has noticed."""

    def __init__(self) -> None:
        self.after: float | None = None  # seconds
        self.noticed: float | None = None  # seconds after that
        self.line = ""

    def __call__(self, run: Run) -> None:
        """Look once."""
        if self.noticed is not None:
            return
        lines = run.log.read_text(errors="replace").splitlines()
        if self.after is None:
            if any(float(share) >= MIDDLE for line in lines for share in re.findall(r"^\[\d\d:\d\d (\d+) %\]", line)):
                ip("-n", MAIN, "link", "set", HOSTS[0], "down")
                self.after = run.age
        elif said := [line for line in lines if LOST in line and HOSTS[0] in line]:
            self.line, self.noticed = said[0], run.age - self.after


def measure(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """All three runs, each from nothing."""
    where = repository(folder)
    homes = [folder / name for name in ("local", "hosts", "cut")]
    remove(homes)
    local = finish(where, homes[0], "smoke", *options, "--workers", "2")
    expected, options = local.tables(), ("--profile", "smoke", *options)
    with network(), daemons(where, folder):
        hosts = run_on_hosts(where, homes[1], options)
    cut = Cut()
    with network(), daemons(where, folder):
        shortened = run_on_hosts(where, homes[2], options, cut)
    return {
        "profile": "smoke", "options": " ".join(options[2:]), "local_seconds": round(local.seconds, 1),
        "three_hosts": {
            "seconds": round(hosts.seconds, 1), "tasks": tasks_by_host(hosts), "differing": differing(hosts, expected),
        },
        "one_cut_off": {
            "seconds": round(shortened.seconds, 1), "cut_after_seconds": cut.after and round(cut.after, 1),
            "noticed_after_seconds": cut.noticed and round(cut.noticed, 1), "said": cut.line,
            "tasks": tasks_by_host(shortened), "differing": differing(shortened, expected),
        },
    }


def tasks_by_host(run: Run) -> dict[str, int]:
    """How many tasks each worker did."""
    names = [task["worker"] for task in run.tasks()]
    return {name: names.count(name) for name in sorted(set(names))}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep clone and runs here")
    parser.add_argument("--run", default="", help='options of the runs, such as "--systems Base --only 08" (default: all)')
    parser.add_argument("--json", type=Path, default=FIGURES, help=f"the report (default: {FIGURES})")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        part = measure(folder, options.run.split())
    report = read_json(options.json) if options.json.exists() else {}
    write_json(options.json, report | {"hosts": {"provenance": provenance("smoke", 0, "none"), **part}})
    print(json.dumps(part, indent=2))


if __name__ == "__main__":
    sys.exit(main())

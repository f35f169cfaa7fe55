"""How long whole runs took (`./reproduce.sh --times FILE`): the figures that README prints of them.

A file holds one entry a choice of profile, data sets and systems: wall and CPU time, the largest process, and seconds of
each notebook. Only a run that starts from nothing is timed; one that goes on with what is there says nothing.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sspcore.core.errors import SspError
from sspcore.core.files import read_json, write_json

CHOICE = ("profile", "datasets", "systems")


@contextmanager
def timed(file: Path | None, artefacts: Path, entry: dict[str, Any], seconds: dict[str, float]) -> Iterator[None]:
    """Time the run in this block and write it into `file` when the block ends well.

    Args:
        file: JSON, a list of entries; None: nothing is timed or written.
        artefacts: folder of the run's artefacts, not there before it.
        entry: what was run and where it comes from; the fields of CHOICE tell entries apart.
        seconds: of each notebook, filled in the block.
    Raises: SspError if the artefacts' folder is there already; ArtefactError if the file is no JSON.
    """
    if file is None:
        yield
        return
    if artefacts.exists():
        raise SspError(f"--times {file}: {artefacts} is there already, so the run would not do everything; use a fresh clone")
    others = [other for other in (read_json(file) if file.exists() else []) if _choice(other) != _choice(entry)]
    load, cpu, began = os.getloadavg()[0], _cpu_seconds(), time.perf_counter()
    yield
    measured = {
        "minutes": round((time.perf_counter() - began) / 60, 2), "cpu_minutes": round((_cpu_seconds() - cpu) / 60, 2),
        "peak_mib": round(_peak_mib()), "load_before": round(load, 2), "notebooks": dict(seconds),
    }
    write_json(file, sorted([*others, entry | measured], key=lambda one: [str(value) for value in _choice(one)]))


def _choice(entry: dict[str, Any]) -> list[Any]:
    return [entry[name] for name in CHOICE]


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended, theirs included."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mib() -> float:
    """Largest resident size of any process that has ended below this one, or of this one."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit

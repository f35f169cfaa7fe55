"""How long a piece of work takes on a device, how much memory it needs there, and figures as an aligned table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of each timed call, and the most GiB that the GPU held since before the first one (None on a CPU)."""

    seconds: tuple[float, ...]
    memory_gib: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seconds)


def timed(work: Callable[[int], object], device: torch.device | str = "cpu", times: int = 3, warm_up: int = 1) -> Timing:
    """Call `work(k)` for k = 0, 1, ...: `warm_up` calls that do not count, then `times` that do.

    On a GPU the time is taken by events of the device, and the queue is empty before each call.
    """
    device, seconds = torch.device(device), []
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    for k in range(warm_up + times):
        if on_gpu:
            torch.cuda.synchronize(device)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work(k)
            end.record()
            torch.cuda.synchronize(device)
            seconds.append(start.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter()
            work(k)
            seconds.append(time.perf_counter() - began)
    memory = round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if on_gpu else None
    return Timing(tuple(seconds[warm_up:]), memory)


def aligned(rows: Sequence[Mapping[str, float | str | None]], columns: Mapping[str, tuple[str, str]]) -> str:
    """Rows as an aligned text table.

    Args:
        columns: field of a row -> title and format; words, whose format is "", are aligned on the left. None shows as "-".
    """
    shown = {}
    for name, (title, form) in columns.items():
        texts = ["-" if row[name] is None else format(row[name], form) for row in rows]
        if not form:
            width = max(map(len, [title, *texts]))
            title, texts = title.ljust(width), [text.ljust(width) for text in texts]
        shown[title] = texts
    return "\n".join(line.rstrip() for line in pd.DataFrame(shown).to_string(index=False).splitlines())

"""What a run shows of itself: its log, and progress bars, as widgets in an interactive notebook, as plain text in a terminal.

No one sees the widgets of a notebook that papermill executes: `sspcore.study.chapters` sets SSPCORE_PROGRESS=plain in
its kernels. A process that works for another one shows no bars: it passes their state on (`reporting`).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

_PLAIN = os.environ.get("SSPCORE_PROGRESS") == "plain"
if _PLAIN:
    from tqdm.std import tqdm as _Bar
else:
    from tqdm.auto import tqdm as _Bar

__all__ = ["configure_logging", "reporting", "tqdm"]

Reporter = Callable[[str, float, float | None], None]  # what is done, how much of it, of how much
REPORT_EVERY = 0.5  # seconds
_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


class tqdm(_Bar):
    """A progress bar; inside a block of `reporting` it draws nothing and reports instead."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._report, self._reported = _reporter.get(), 0.0
        if self._report is not None:
            options["disable"] = True
        super().__init__(*arguments, **options)
        # a disabled bar keeps neither
        self._what, self._done = options.get("desc", ""), options.get("initial", 0)
        self._total = options.get("total") or (len(self.iterable) if hasattr(self.iterable, "__len__") else None)

    def __iter__(self) -> Iterator[Any]:
        if self._report is None:
            yield from super().__iter__()
            return
        for item in self.iterable:
            yield item
            self.update(1)

    def update(self, n: float = 1) -> bool | None:
        if self._report is None:
            return super().update(n)
        self._done += n
        if time.monotonic() - self._reported >= REPORT_EVERY:
            self._reported = time.monotonic()
            self._report(self._what, self._done, self._total)
        return None


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Let the bars of this block report to `reporter` and draw nothing."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def configure_logging(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send the log of `sspcore` to a stream; once set, it stays.

    Default: standard output, as notebooks want it; in one that papermill executes standard error, which is not published.
    """
    logger = logging.getLogger("sspcore")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(stream or (sys.stderr if _PLAIN else sys.stdout))
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False

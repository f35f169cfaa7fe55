"""The runtime: a source through the streaming loop in time, with a writer in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from sspcore.core.progress import tqdm
from sspcore.inference.backends import Backend
from sspcore.inference.motion import MotionSource
from sspcore.inference.outputs import Consumer
from sspcore.inference.report import Report
from sspcore.inference.sources import Source
from sspcore.inference.stream import stream

_OUTBOX = 8  # results that wait for the writer


def run(
    source: Source, backend: Backend, motion: MotionSource, consumers: Iterable[Consumer] = (),
    drop: bool | None = None, max_frames: int | None = None, title: str = "segmenting",
) -> Report:
    """Segment a source until it ends, `max_frames` are done, or Ctrl-C.

    Args:
        source: see `open_source`.
        backend: what segments.
        motion: see `motion_for`.
        consumers: called in a thread of their own with (number in the source, image, class map), in order.
        drop: whether the oldest waiting frame makes room for a new one; default: for live sources.
        max_frames: None runs to the end of the source.
        title: of the progress bar.
    Returns: the report; what was done until an interrupt is complete.
    Raises: whatever the source, the backend or a consumer raised.
    """
    report, consumers, written = Report(), tuple(consumers), deque[Future[None]]()

    def write(*item: Any) -> None:
        for consume in consumers:
            consume(*item)

    total = source.n_frames if max_frames is None else max_frames
    drop = source.live if drop is None else drop
    # the writer ends, and has written what was segmented, when the block is left
    with ThreadPoolExecutor(1) as writer, tqdm(total=total, desc=title, unit="frame") as bar:
        try:
            with closing(stream(source, backend, motion, report, max_frames, threads=True, drop=drop)) as results:
                for result in results:
                    while written and (len(written) == _OUTBOX or written[0].done()):
                        written.popleft().result()
                    written.append(writer.submit(write, result.number, result.image, result.labels))
                    bar.update(1)
        except KeyboardInterrupt:
            report.interrupted = True
    for future in written:
        future.result()
    return report

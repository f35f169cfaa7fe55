"""Long streams: systems under one condition, scored by windows of the footage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sspcore.core.classes import ClassSpec
from sspcore.core.images import resize_labels
from sspcore.core.types import VideoSegmenter
from sspcore.evaluation.clips import as_json
from sspcore.inference.backends import Backend
from sspcore.inference.stream import Segmented, stream
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.study.long_footage import Condition, Pairs
from sspcore.study.recurrence import changed_share

METRICS = ("tc", "flicker")
LABELLED_METRICS = ("miou", "miou_moving", *METRICS, "lag")
DIGITS = 5


@dataclass
class Window:
    """What a system did in one window: its metrics, and means over frames."""

    suite: MetricSuite
    means: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Run:
    """All systems under one condition. A frame is scored when the next one is known, and with it the flow to there."""

    def __init__(
        self, condition: Condition, models: Mapping[str, VideoSegmenter], pairs: Pairs, spec: ClassSpec, window: int,
        backend: Callable[[VideoSegmenter], Backend],
    ) -> None:
        self._condition, self._pairs, self._spec, self._length = condition, pairs, spec, window
        self._streams: dict[str, Iterator[Segmented]] = {
            name: stream((pairs.frame(k) for k in condition.order), backend(model), pairs.motion(condition))
            for name, model in models.items()
        }
        self._windows: dict[tuple[str, int], Window] = {}
        self._position = 0
        self._clip: int | None = None  # window of the frame before, None at a cut
        self._waiting: tuple[int, dict[str, np.ndarray | None], dict[str, np.ndarray]] | None = None
        self._counts = dict.fromkeys(("cuts_found", "cuts_elsewhere", "unregistered"), 0)

    def advance(self, k: int) -> None:
        """Stream frame k, the next of the condition, through all systems."""
        position, condition = self._position, self._condition
        results = {name: next(results) for name, results in self._streams.items()}
        self._count(next(iter(results.values())), position)
        truth, to_previous = self._pairs.labels(k), None
        if position and position not in condition.jumps:
            before = condition.order[position - 1]
            to_previous = self._pairs.flow(k, before)
            self._waiting[1]["flow_to_next"] = self._pairs.flow(before, k)
        for name, result in results.items():
            means = self._window(name, k, truth is not None).means
            if (alpha := getattr(result.state, "alpha", None)) is not None and not result.reset:
                means["alpha"].append(float(result.fit.cropped(alpha[0]).mean()))
            if to_previous is not None:
                means["changed"].append(changed_share(result.labels, self._waiting[2][name], to_previous))
        self._score()
        labels = {name: result.labels for name, result in results.items()}
        shape = next(iter(labels.values())).shape
        known = {"target": None if truth is None else resize_labels(truth, shape), "flow_to_previous": to_previous}
        self._waiting = k, known, labels
        self._position += 1

    def scores(self) -> dict[str, Any]:
        """Counts, and the scores of each system over all windows and window by window."""
        self._score()
        self._waiting = None
        found = {}
        numbers = sorted({number for _, number in self._windows})
        for name in self._streams:
            windows = [self._windows[name, number] for number in numbers]
            rows = [self._row([window]) for window in windows]
            found[name] = {"overall": self._row(windows), "windows": {key: [row[key] for row in rows] for key in rows[0]}}
        order, jumps = self._condition.order, self._condition.jumps
        counts = {"frames": len(order), "jumps": len(jumps), **self._counts}
        return counts | {"first_frames": [number * self._length for number in numbers], "systems": found}

    def _count(self, result: Segmented, position: int) -> None:
        """Motion is the same for all systems, so one of them counts."""
        if position and result.reset:
            self._counts["cuts_found" if position in self._condition.jumps else "cuts_elsewhere"] += 1
        elif not result.registered:
            self._counts["unregistered"] += 1

    def _window(self, name: str, k: int, labelled: bool) -> Window:
        key = name, k // self._length
        if key not in self._windows:
            self._windows[key] = Window(self._suite(labelled))
        return self._windows[key]

    def _suite(self, labelled: bool) -> MetricSuite:
        return MetricSuite(self._spec.n_classes, LABELLED_METRICS if labelled else METRICS, self._spec.moving_ids)

    def _score(self) -> None:
        """Score the frame that waits."""
        if self._waiting is None:
            return
        k, known, labels = self._waiting
        number = k // self._length
        starts = known["flow_to_previous"] is None or number != self._clip
        for name, prediction in labels.items():
            suite = self._windows[name, number].suite
            if starts:
                suite.start_clip()
            suite.update(FrameRecord(prediction, **known))
        self._clip = number

    def _row(self, windows: Sequence[Window]) -> dict[str, float | None]:
        """Scores over windows; None where nothing could be scored."""
        total = self._suite("miou" in windows[0].suite.metrics)
        for window in windows:
            total.merge(window.suite)
        values = total.compute()
        for key in ("changed", "alpha"):
            of_frames = [value for window in windows for value in window.means[key]]
            values[key] = float(np.mean(of_frames)) if of_frames else float("nan")
        return {key: None if value is None else round(value, DIGITS) for key, value in as_json(values).items()}

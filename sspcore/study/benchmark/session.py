"""Parts one after the other within a number of minutes: what failed, what was left out, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sspcore.core.progress import tqdm
from sspcore.study.benchmark.part import Part
from sspcore.study.benchmark.worker import PartFailed, Worker

LEAST_SHARE = 0.25  # of the usual repetitions: below that a part is left out
SET_UP = 0.5  # of a part's seconds that repetitions have no share in: building networks, first calls
PATIENCE, LEAST_LIMIT = 4.0, 60.0  # a part is stopped after so many times what it should take, but not before so many seconds
SECTIONS = ("streams", "live", "training", "ranks", "estimators")
DONE, FAILED, LEFT_OUT = "done", "failed", "left out"


@dataclass(frozen=True)
class Outcome:
    """How a part ended: DONE, FAILED (rows that came before are kept) or LEFT_OUT, with the reason."""

    part: str
    outcome: str
    seconds: float
    rows: int
    reason: str = ""


class Session:
    """Measures parts.

    Args:
        seconds: for all parts together, starts of workers included.
        make_worker: called with the seconds that are left; raises PartFailed.
        save: called with the figures after every row and every part.
        clock: seconds, for tests.
    """

    def __init__(
        self, seconds: float, make_worker: Callable[[float], Worker], save: Callable[[dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_worker, self._save, self._clock = make_worker, save, clock
        self._ends, self._worker = clock() + seconds, None
        self._taken = self._expected = 0.0  # seconds of the parts that are done
        self.figures: dict[str, Any] = {section: [] for section in SECTIONS} | {"parts": []}

    def run(self, parts: Iterable[Part]) -> dict[str, Any]:
        """Measure what there is time for; returns the figures: rows by section, and an `Outcome` a part."""
        waiting = list(parts)
        try:
            for part in tqdm(list(waiting), desc="benchmark", unit="part"):
                waiting.remove(part)
                self._note(self._outcome(part, waiting))
        finally:
            if self._worker is not None:
                self._worker.close()
        return self.figures

    def _outcome(self, part: Part, later: list[Part]) -> Outcome:
        if part.why_not is not None:
            return Outcome(part.title, LEFT_OUT, 0.0, 0, part.why_not)
        share = self._share(part, later)
        expected, least = (_seconds(part, of) * self._pace() for of in (share, LEAST_SHARE))
        if least > self._left():
            left = max(0.0, self._left())
            return Outcome(part.title, LEFT_OUT, 0.0, 0, f"{left:.0f} s were left, it takes about {least:.0f} s")
        began = self._clock()
        try:
            if self._worker is None or not self._worker.usable:
                self._worker = None
                self._worker = self._make_worker(self._left())
        except PartFailed as problem:
            return Outcome(part.title, FAILED, round(self._clock() - began, 1), 0, str(problem))
        limit = min(self._left(), max(LEAST_LIMIT, PATIENCE * expected))
        began, rows, failure = self._clock(), 0, None
        try:
            for row in self._worker.rows(part, share, max(2.0, expected / 2), limit):
                rows += 1
                self.figures[part.section].append(row)
                self._save(self.figures)
        except PartFailed as problem:
            failure = problem
        taken = self._clock() - began
        if failure is None or taken > expected:  # one that was stopped says that parts take longer
            self._taken, self._expected = self._taken + taken, self._expected + _seconds(part, share)
        return Outcome(part.title, DONE if failure is None else FAILED, round(taken, 1), rows, str(failure or ""))

    def _left(self) -> float:
        return self._ends - self._clock()

    def _pace(self) -> float:
        """How much longer parts take here than they say."""
        return max(0.05, self._taken / self._expected) if self._expected else 1.0

    def _share(self, part: Part, later: list[Part]) -> float:
        """Of the usual repetitions: all where there is time for every part that this machine can measure."""
        later = [each for each in later if each.why_not is None and not each.spare]
        wanted = self._pace() * sum(each.seconds for each in (part, *later))
        return min(1.0, max(LEAST_SHARE, (self._left() / wanted - SET_UP) / (1 - SET_UP)))

    def _note(self, outcome: Outcome) -> None:
        self.figures["parts"].append(asdict(outcome))
        self._save(self.figures)


def _seconds(part: Part, share: float) -> float:
    return part.seconds * (SET_UP + (1 - SET_UP) * share)

"""What `benchmarks/engine.py` works out of a run's record, on a record made by hand."""

from __future__ import annotations

import pytest

from benchmarks import engine
from sspcore.study.engine.costs import BEGIN


def record(name: str, kind: str, start: float, end: float, *needs: str, rate: str = "", units: float = 1.0, title: str = ""):
    return {
        "name": name, "kind": kind, "title": title or name, "rate": rate or kind, "units": units, "seconds": end - start,
        "cpu_seconds": (end - start) / 2, "start": start, "end": end, "needs": list(needs),
    }


RECORD = [
    record("render-1", "render", 10, 12, units=4.0), record("render-2", "render", 12, 15, units=6.0),
    record("train-1", "train", 15, 25, "render-1", rate="train Base", units=7.0),
    record("train-2", "train", 25, 29, "render-2", rate="train SSP", units=2.0),
    record("score-2", "score", 29, 30, "train-2", title="UAVid: scoring SSP"),
]


def test_other_numbers_of_workers():
    # one worker: 20 s of work; two: the path of SSP is wanted early and runs beside train-1
    assert engine.predicted(RECORD, 1) == pytest.approx(20)
    assert engine.predicted(RECORD, 2) == pytest.approx(12)
    assert engine.span(RECORD) == 20


def test_sums_and_rates():
    assert engine.by_kind(RECORD)["render"] == {"tasks": 2, "seconds": 5.0, "cpu_seconds": 2.5}
    found = engine.rates(RECORD)
    assert found["render"] == {"rate": pytest.approx((5 - 2 * BEGIN) / 10, rel=1e-2), "units": 10.0}
    assert found["train Base"]["rate"] == pytest.approx((10 - BEGIN) / 7, rel=1e-2)

"""The reference's readings of TC and VC against NumPy that writes them out; their effect on a known example."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torchmetrics import Metric

from sspcore.core.conventions import CORRECTED, REFERENCE, Conventions
from sspcore.metrics import FrameRecord, MetricSuite, ScriptVideoConsistency, build_metric

CLASSES, H, W = 4, 20, 30


def labels(rng: np.random.Generator, frames: int, shift: float = 1.4) -> np.ndarray:
    """(frames, H, W): stripes that move to the left by `shift` px a frame, with a tenth of the pixels at random."""
    y, x = np.mgrid[:H, :W]
    maps = np.stack([(x + y // 3 + shift * k) // 6 % CLASSES for k in range(frames)]).astype(np.uint8)
    return np.where(rng.random(maps.shape) < 0.1, rng.integers(0, CLASSES, maps.shape), maps).astype(np.uint8)


@pytest.fixture(scope="module")
def clips() -> list[tuple[np.ndarray, np.ndarray]]:
    """The known example: predictions of two clips, and flow of fractions to the next frame."""
    rng = np.random.default_rng(11)
    return [
        (labels(rng, frames), np.stack((rng.normal(-1.4, 0.4, (H, W)), rng.normal(0, 0.4, (H, W)))).astype(np.float32))
        for frames in (5, 7)
    ]


def figures(clips, conventions: Conventions) -> dict[str, float]:
    suite = MetricSuite(CLASSES, ("tc", "tc_reference"), conventions=conventions)
    for maps, flow in clips:
        suite.start_clip()
        for k, each in enumerate(maps):
            suite.update(FrameRecord(each, flow_to_next=flow if k + 1 < len(maps) else None))
    return suite.compute()


def test_tc_with_all_slips(clips):
    """Read as if by W where scaled by W - 1; from outside class 0; per video a mean over pairs, then over videos."""
    videos = []
    for maps, flow in clips:
        y, x = np.mgrid[:H, :W] + flow[::-1].astype(np.float64)
        column, row = (np.rint((2 * at / (side - 1) * side - 1) / 2).astype(int) for at, side in ((x, W), (y, H)))
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        scores = []
        for now, following in zip(maps[:-1], maps[1:], strict=True):
            warped = np.where(inside, following[np.clip(row, 0, H - 1), np.clip(column, 0, W - 1)], 0)
            unions = {c: np.count_nonzero((now == c) | (warped == c)) for c in range(CLASSES)}
            scores.append(np.mean([np.count_nonzero((now == c) & (warped == c)) / unions[c] for c in unions if unions[c]]))
        videos.append(np.mean(scores))
    assert figures(clips, REFERENCE)["tc"] == pytest.approx(np.mean(videos), abs=1e-6)


def test_the_size_of_the_slips_in_tc(clips):
    corrected, reference = (figures(clips, conventions) for conventions in (CORRECTED, REFERENCE))
    assert reference["tc"] == reference["tc_reference"] == corrected["tc_reference"]
    assert reference["tc"] - corrected["tc"] == pytest.approx(-0.0590, abs=5e-4)


def test_only_named_metrics_change():
    for name in ("miou", "tc_pooled", "flicker", "tc_reference"):
        assert type(build_metric(name, CLASSES, conventions=REFERENCE)) is type(build_metric(name, CLASSES))
    for name, field in (("tc", "tc"), ("vc8", "vc"), ("vc16", "vc")):
        other = {"tc": "reference", "vc": "script"}[field]
        changed = build_metric(name, CLASSES, conventions=Conventions(**{field: other}))
        assert type(changed) is not type(build_metric(name, CLASSES))
        assert type(changed) is type(build_metric(name, CLASSES, conventions=REFERENCE))


def run(metric: Metric, videos: list[tuple[np.ndarray, list[np.ndarray | None]]]) -> float:
    for predictions, targets in videos:
        metric.start_clip()
        for prediction, target in zip(predictions, targets, strict=True):
            metric.update(FrameRecord(prediction, target=target))
    return float(metric.compute())


def script(videos: list[tuple[np.ndarray, list[np.ndarray | None]]], n: int) -> float:
    values = []
    for predictions, targets in videos:
        if any(target is None for target in targets):
            continue
        for k in range(len(predictions) - n):  # the last window is never looked at
            truth = np.all([targets[k] == targets[k + j] for j in range(1, n)], axis=0)
            same = np.all([predictions[k] == predictions[k + j] for j in range(1, n)], axis=0)
            if truth.any():
                values.append((truth & same).sum() / truth.sum())
    return float(np.mean(values)) if values else math.nan


@pytest.fixture(scope="module")
def videos() -> list[tuple[np.ndarray, list[np.ndarray | None]]]:
    """Dense labels that move slowly, an ignored corner, class 1 taken for 2, a video without two labels, one too short."""
    rng = np.random.default_rng(2)
    found = []
    for frames in (12, 5, 9, 4):
        targets = labels(rng, frames, shift=0.2)
        targets[:, :4, :4] = 255
        predictions = labels(rng, frames, shift=0.3)
        found.append((np.where(predictions == 1, 2, predictions).astype(np.uint8), list(targets)))
    found[2][1][6] = found[2][1][8] = None
    return found


def test_vc_of_the_script(videos):
    expected = script(videos, 4)
    assert 0 < expected < 1
    assert run(ScriptVideoConsistency(CLASSES, n=4), videos) == pytest.approx(expected, abs=1e-6)
    assert math.isnan(run(ScriptVideoConsistency(CLASSES, n=4), videos[2:]))


def test_the_size_of_the_slips_in_vc(videos):
    corrected, reference = (
        run(build_metric("vc8", CLASSES, conventions=each), [videos[0]]) for each in (CORRECTED, REFERENCE)
    )
    assert reference == pytest.approx(script(videos[:1], 8), abs=1e-6)
    assert reference - corrected == pytest.approx(0.2242, abs=5e-4)


def test_the_script_forgives_what_is_wrong_and_stays_so():
    wrong = np.zeros((10, H, W), np.uint8)
    targets = list(np.ones((10, H, W), np.uint8))
    assert run(build_metric("vc8", CLASSES, conventions=REFERENCE), [(wrong, targets)]) == 1
    assert run(build_metric("vc8", CLASSES), [(wrong, targets)]) == 0


def test_two_processes_add_up(videos):
    whole, first, second = (ScriptVideoConsistency(CLASSES, n=4) for _ in range(3))
    run(first, videos[:1])
    run(second, videos[1:])
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(run(whole, videos), abs=1e-12)
    with pytest.raises(ValueError, match="1..254"):
        ScriptVideoConsistency(CLASSES, n=0)

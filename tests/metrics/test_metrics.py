"""mIoU, the shared counting, the record, and the suite as a whole (controls, order, merging, torchmetrics)."""

from __future__ import annotations

import inspect
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex

from sspcore.metrics import (
    METRICS,
    BoundaryIoU,
    FrameRecord,
    MeanIoU,
    MetricSuite,
    MovingMeanIoU,
    TemporalConsistency,
    build_metric,
    confusion,
    metrics_for,
    pair_counts,
)

LOWER_IS_BETTER = {"flicker": 0.0, "lag": 0.0}
SIZE = (12, 20)


def random_clip(seed: int, frames: int = 20, n_classes: int = 4, sparse: bool = False) -> list[dict]:
    """Unrelated labels and whole-pixel flows: nothing about it is nice."""
    rng = np.random.default_rng(seed)
    return [
        {
            "prediction": rng.integers(0, n_classes, SIZE).astype(np.uint8),
            "target": None if sparse and k % 5 else rng.choice([*range(n_classes), 255], SIZE).astype(np.uint8),
            "flow_to_next": rng.integers(-2, 3, (2, *SIZE)).astype(np.float32),
            "flow_to_previous": rng.integers(-2, 3, (2, *SIZE)).astype(np.float32),
        }
        for k in range(frames)
    ]


def score(clips: list[list[dict]], names: tuple[str, ...] | None = None, n_classes: int = 4) -> dict[str, float]:
    suite = MetricSuite(n_classes, names, moving=(2, 3))
    for clip in clips:
        suite.start_clip()
        for frame in clip:
            suite.update(FrameRecord(**frame))
    return suite.compute()


def still_clip(prediction: np.ndarray, frames: int = 20) -> list[dict]:
    zero = np.zeros((2, *prediction.shape), np.float16)
    return [
        {"prediction": prediction, "target": prediction, "flow_to_next": zero, "flow_to_previous": zero}
        for _ in range(frames)
    ]


@pytest.mark.parametrize("n_classes", [1, 4, 15, 16, 40])  # 16 and more leave the 8-bit histogram
def test_pair_counts_equal_a_double_loop(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    a, b = (rng.choice([*range(n_classes), 255], (9, 11)).astype(np.uint8) for _ in range(2))
    expected = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    for i, j in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        expected[min(i, n_classes), min(j, n_classes)] += 1
    np.testing.assert_array_equal(pair_counts(a, b, n_classes), expected)
    np.testing.assert_array_equal(confusion(b, a, n_classes), expected[:-1, :-1])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_classes=st.integers(2, 12))
def test_miou_equals_torchmetrics(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    prediction = rng.integers(0, n_classes, (3, 6, 7))
    target = rng.choice([*range(n_classes), 255], (3, 6, 7))
    target[0, 0, :], prediction[0, 0, :] = 0, np.arange(7) % n_classes  # something to score
    theirs = MulticlassJaccardIndex(n_classes, average="none", ignore_index=255)
    ours = MeanIoU(n_classes)
    for p, t in zip(prediction, target, strict=True):
        ours.update(FrameRecord(p, target=t))
        theirs.update(torch.from_numpy(p), torch.from_numpy(t))
    present = np.union1d(target[target != 255], prediction[target != 255])
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()[present].mean()), abs=1e-6)


def test_miou_by_hand() -> None:
    target = np.array([[0, 0, 1, 1], [0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1], [0, 0, 3, 2]], np.uint8)
    metric = MeanIoU(5)
    metric.update(FrameRecord(prediction, target=target))
    metric.update(FrameRecord(prediction))  # a frame without truth
    # class 0: 3 of 4; class 1: 2 of 4; class 2 only on an ignored pixel: left out; class 3: 0 of 1; class 4: absent
    assert float(metric.compute()) == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    per_class = metric.details()["per_class"]
    assert per_class[:2] == [0.75, 0.5] and per_class[3] == 0 and math.isnan(per_class[2]) and math.isnan(per_class[4])


def test_abstaining_does_not_help() -> None:
    target = np.zeros((4, 4), np.uint8)
    prediction = target.copy()
    prediction[0] = 255
    metric = MeanIoU(2)
    metric.update(FrameRecord(prediction, target=target))
    assert float(metric.compute()) == 0.75


def test_moving_miou_takes_the_moving_classes_of_the_same_confusion() -> None:
    frame = random_clip(0)[0]
    everything, moving = MeanIoU(4), MovingMeanIoU(4, (3, 1))
    for metric in (everything, moving):
        metric.update(FrameRecord(**frame))
    per_class = everything.details()["per_class"]
    assert float(moving.compute()) == pytest.approx((per_class[1] + per_class[3]) / 2)


# --- the suite -----------------------------------------------------------------------------------------------------


def test_identical_maps_and_zero_flow_are_perfect() -> None:
    prediction = np.random.default_rng(0).integers(0, 4, SIZE).astype(np.uint8)
    values = score([still_clip(prediction)])
    for name, value in values.items():
        if name in {"tc_reference", "lag"}:
            continue
        assert value == LOWER_IS_BETTER.get(name, 1.0), name
    assert values["tc_reference"] < 1  # its slips cost even the perfect prediction
    assert math.isnan(values["lag"])  # nothing new was seen


def test_a_shift_by_whole_pixels_is_perfect() -> None:
    """A 3 px/frame pan to the right and 1 px down over fixed ground, labels cut from one large map."""
    ground = np.random.default_rng(1).integers(0, 4, (60, 90)).astype(np.uint8)
    frames = [ground[k : k + 12, 3 * k : 3 * k + 20] for k in range(20)]
    there = np.stack([np.full(SIZE, -3.0), np.full(SIZE, -1.0)])
    clip = [{"prediction": f, "target": f, "flow_to_next": there, "flow_to_previous": -there} for f in frames]
    values = score([clip], ("tc", "tc_pooled", "tc_masked", "vote5", "flicker", "miou", "boundary_iou"))
    assert values == {name: LOWER_IS_BETTER.get(name, 1.0) for name in values}
    opposite = [{**frame, "flow_to_next": -there} for frame in clip]
    assert score([opposite], ("tc",))["tc"] < 0.5  # the direction matters


def test_a_constant_label_fools_consistency_but_not_accuracy() -> None:
    clip = [{**frame, "prediction": np.ones(SIZE, np.uint8)} for frame in random_clip(3)]
    values = score([clip])
    assert values["tc"] == values["tc_pooled"] == values["tc_masked"] == values["vote5"] == 1
    assert values["flicker"] == 0
    assert values["miou"] < 0.1


def test_order_of_clips_types_and_chunks_do_not_matter() -> None:
    clips = [random_clip(seed, frames) for seed, frames in ((0, 20), (1, 18), (2, 25))]
    expected = score(clips)
    assert all(not math.isnan(value) for name, value in expected.items() if name not in {"vc8", "vc16"})
    assert score(clips[::-1]) == pytest.approx(expected, rel=1e-14, nan_ok=True)
    as_torch = [
        [{key: torch.as_tensor(value, dtype=torch.int64 if "flow" not in key else torch.float64)
          for key, value in frame.items()} for frame in clip]
        for clip in clips
    ]  # fmt: skip
    assert score(as_torch) == pytest.approx(expected, abs=0, nan_ok=True)

    suite = MetricSuite(4, moving=(2, 3))  # saved and loaded again after every frame
    for clip in clips:
        suite.start_clip()
        for frame in clip:
            suite.update(FrameRecord(**frame))
            suite = pickle.loads(pickle.dumps(suite))  # noqa: S301
    assert suite.compute() == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu_give_the_same() -> None:
    clip = random_clip(0)
    on_gpu = [{key: torch.as_tensor(value).cuda() for key, value in frame.items()} for frame in clip]
    assert score([on_gpu]) == pytest.approx(score([clip]), abs=0, nan_ok=True)


def test_merged_parts_equal_the_whole_and_reset_forgets() -> None:
    clips = [still_clip(random_clip(seed)[0]["prediction"], 18)[:17] + random_clip(seed, 9) for seed in range(3)]
    parts = []
    for clip in clips:
        parts.append(MetricSuite(4, moving=(2, 3)))
        parts[-1].start_clip()
        for frame in clip:
            parts[-1].update(FrameRecord(**frame))
    merged = MetricSuite(4, moving=(2, 3))
    for part in parts:
        part.compute()  # a value computed before the merge must not stay
        merged.merge(part)
    expected = score(clips)
    assert merged.compute() == pytest.approx(expected, rel=1e-14)
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    assert parts[0].compute() == pytest.approx(expected, rel=1e-14)
    parts[0].reset()
    for clip in clips:
        parts[0].start_clip()
        for frame in clip:
            parts[0].update(FrameRecord(**frame))
    assert parts[0].compute() == expected


def test_a_clip_goes_on_after_a_merge() -> None:
    clip, other = random_clip(0), random_clip(1)
    whole, there = TemporalConsistency(4), TemporalConsistency(4)
    for frame in other:
        there.update(FrameRecord(**frame))
    for k, frame in enumerate(clip):
        whole.update(FrameRecord(**frame))
        if k == 9:
            whole.merge_state(there)
    assert float(whole.compute()) == pytest.approx(score([clip, other], ("tc",))["tc"], rel=1e-14)


def test_synchronised_states_equal_one_process() -> None:
    """Two "ranks" through torchmetrics' own gathering, replaced by a look at the other metric's state."""
    clips = [random_clip(0), random_clip(1)]
    here, there = TemporalConsistency(4), TemporalConsistency(4)
    for metric, clip in zip((here, there), clips, strict=True):
        for frame in clip:
            metric.update(FrameRecord(**frame))
    states = iter(torch.atleast_1d(torch.cat(v) if isinstance(v, list) else v) for v in there.metric_state.values())
    here.sync(dist_sync_fn=lambda value, group: [value, next(states)], distributed_available=lambda: True)
    synchronised = here._clip_means()
    here.unsync()
    assert np.mean(synchronised) == pytest.approx(score(clips, ("tc",))["tc"], rel=1e-14)


def test_pairs_do_not_straddle_clips() -> None:
    a, b = still_clip(np.zeros(SIZE, np.uint8), 3), still_clip(np.ones(SIZE, np.uint8), 3)
    assert score([a, b], ("tc", "vc8", "flicker")) == pytest.approx(
        {"tc": 1.0, "vc8": math.nan, "flicker": 0.0}, nan_ok=True
    )
    assert score([a + b], ("tc",))["tc"] == pytest.approx(4 / 5)


def test_metrics_do_not_disturb_each_other() -> None:
    clips = [random_clip(0), random_clip(1)]
    names = tuple(METRICS)
    together = score(clips, names[::-1])
    for name in names:
        assert score(clips, (name,))[name] == pytest.approx(together[name], abs=0, nan_ok=True), name


def test_shared_work_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from sspcore.metrics import records

    calls = []
    original = records.nearest_sampling
    monkeypatch.setattr(records, "nearest_sampling", lambda flow: calls.append(1) or original(flow))
    score([random_clip(0, frames=5)], ("tc", "tc_pooled", "tc_masked", "flicker", "lag"))
    # to the next frame of 0..3 (tc), to the previous one of 1..4 (lag); flicker and the others add none
    assert len(calls) == 8


def test_only_a_window_is_held() -> None:
    """Memory: a record is let go once no window needs it."""
    import gc
    import weakref

    suite = MetricSuite(4, moving=(2,))
    alive = []
    for frame in random_clip(0, frames=20):
        record = FrameRecord(**frame)
        alive.append(weakref.ref(record))
        suite.update(record)
    del record
    gc.collect()
    assert sum(reference() is not None for reference in alive) == 5


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"target"}, {"miou", "boundary_iou"}),
        ({"flow_to_next"}, {"tc", "tc_reference", "tc_pooled"}),
        ({"dense_target"}, {"miou", "boundary_iou", "vc8", "vc16"}),
        ({"flow_to_next", "flow_to_previous", "dense_target"}, set(METRICS) - {"miou_moving", "lag"}),
    ],
)
def test_metrics_for_what_there_is(inputs: set[str], expected: set[str]) -> None:
    assert set(metrics_for(inputs, 4)) == expected


def test_every_docstring_says_what_it_must() -> None:
    for name in METRICS:
        lines = inspect.getdoc(type(build_metric(name, 4, (1,)))).splitlines()
        for title in ("Formula", "Range", "Rewards", "Fooled by", "Source", "Needs"):
            assert sum(line.startswith(f"{title}: ") for line in lines) == 1, (name, title)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"prediction": np.zeros((3, 4, 1), np.uint8)}, r"prediction: expected integer labels \[H,W\]"),
        ({"prediction": np.zeros((3, 4))}, "prediction: expected integer labels"),
        ({"prediction": np.full((3, 4), 300)}, "0..255"),
        ({"prediction": np.full((3, 4), -1)}, "0..255"),
        ({"prediction": np.zeros((3, 4), int), "target": np.zeros((3, 5), int)}, "target: expected shape"),
        ({"prediction": np.zeros((3, 4), int), "flow_to_next": np.zeros((3, 4, 2))}, "flow_to_next: expected shape"),
    ],
)
def test_bad_frames_are_named(frame: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameRecord(**frame)


def test_bad_use_is_named() -> None:
    frame = {"prediction": np.full(SIZE, 7), "target": np.zeros(SIZE, int)}
    for name in METRICS:
        with pytest.raises(ValueError, match="prediction holds class 7, n_classes is 4"):
            build_metric(name, 4, (1,)).update(FrameRecord(**frame))
    metric = TemporalConsistency(4)
    metric.update(FrameRecord(np.zeros(SIZE, int)))
    with pytest.raises(ValueError, match="flow_to_next is missing"):
        metric.update(FrameRecord(np.zeros(SIZE, int)))
    with pytest.raises(ValueError, match="size changes within a clip"):
        metric.update(FrameRecord(np.zeros((3, 4), int)))
    with pytest.raises(ValueError, match="unknown metric 'iou'"):
        build_metric("iou", 4)
    with pytest.raises(ValueError, match="moving: expected class ids"):
        build_metric("lag", 4)
    with pytest.raises(ValueError, match="n_classes"):
        BoundaryIoU(255)

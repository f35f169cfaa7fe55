"""The TC family against few-line NumPy and torch versions, and each slip of the reference on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sspcore.metrics import FrameRecord, build_metric, warp_labels
from sspcore.metrics.records import occluded_in_next, reference_sampling, sample_labels
from sspcore.motion import geometry


def plain_iou(a: np.ndarray, b: np.ndarray, keep: np.ndarray, n_classes: int) -> list[float]:
    """IoU of each class present in a or b among the kept pixels."""
    scores = []
    for c in range(n_classes):
        union = (((a == c) | (b == c)) & keep).sum()
        if union:
            scores.append((((a == c) & (b == c)) & keep).sum() / union)
    return scores


def plain_warp(labels: np.ndarray, flow: np.ndarray, fill: int = 255) -> np.ndarray:
    height, width = labels.shape
    out = np.full_like(labels, fill)
    for y in range(height):
        for x in range(width):
            source_x, source_y = round(x + float(flow[0, y, x])), round(y + float(flow[1, y, x]))
            if 0 <= source_x < width and 0 <= source_y < height:
                out[y, x] = labels[source_y, source_x]
    return out


def clip_of(seed: int, frames: int, size: tuple[int, int] = (9, 14), n_classes: int = 4) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    predictions = rng.integers(0, n_classes, (frames, *size)).astype(np.uint8)
    return predictions, *(rng.normal(0, 1.5, (frames, 2, *size)).astype(np.float32) for _ in range(2))


def run(name: str, clips: list[tuple[np.ndarray, ...]], n_classes: int = 4):
    metric = build_metric(name, n_classes)
    for predictions, flow_next, flow_previous in clips:
        metric.start_clip()
        for p, there, back in zip(predictions, flow_next, flow_previous, strict=True):
            metric.update(FrameRecord(p, flow_to_next=there, flow_to_previous=back))
    return metric


def test_label_warp_equals_geometry_and_a_plain_loop() -> None:
    labels, flow, _ = (values[0] for values in clip_of(0, 1, (40, 50)))
    ours = warp_labels(labels, 3 * flow)
    values, valid = geometry.warp_by_flow(
        torch.from_numpy(labels)[None, None], torch.from_numpy(3 * flow)[None], mode="nearest"
    )
    np.testing.assert_array_equal(ours, torch.where(valid, values, 255)[0, 0].numpy())
    np.testing.assert_array_equal(ours, plain_warp(labels, 3 * flow))
    assert (ours == 255).any() and (ours != 255).any()


def test_flow_that_is_not_finite_leads_outside() -> None:
    flow = np.zeros((2, 2, 4), np.float32)
    flow[0, 0, :3] = [np.nan, np.inf, -np.inf]
    with np.errstate(invalid="ignore"):
        assert (warp_labels(np.zeros((2, 4), np.uint8), flow) == 255).sum() == 3


def test_tc_is_the_mean_over_pairs_then_over_videos() -> None:
    clips = [clip_of(0, 2), clip_of(1, 5)]  # of different length: pooling the pairs would give another figure
    means, every = [], []
    for predictions, flow, _ in clips:
        pairs = []
        for k in range(len(predictions) - 1):
            warped = plain_warp(predictions[k + 1], flow[k])
            pairs.append(np.mean(plain_iou(predictions[k], warped, warped != 255, 4)))
        means.append(np.mean(pairs))
        every += pairs
    metric = run("tc", clips)
    assert float(metric.compute()) == pytest.approx(np.mean(means), rel=1e-12)
    assert float(metric.compute()) != pytest.approx(np.mean(every), rel=1e-6)
    assert metric.details()["per_clip"] == pytest.approx(means)


def test_tc_per_class_by_hand() -> None:
    zero = np.zeros((2, 1, 4), np.float32)
    maps = [np.array([row], np.uint8) for row in ([0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0])]
    metric = build_metric("tc", 3)
    for labels in maps:
        metric.update(FrameRecord(labels, flow_to_next=zero))
    # pairs: class 0: 2/3, 3/4; class 1: 1/2, 0/1
    assert float(metric.compute()) == pytest.approx(((2 / 3 + 1 / 2) / 2 + (3 / 4 + 0) / 2) / 2)
    per_class = metric.details()["per_class"]
    assert per_class[:2] == pytest.approx([(2 / 3 + 3 / 4) / 2, 1 / 4]) and math.isnan(per_class[2])


@pytest.mark.parametrize("flipped", [1, 30, 90])
def test_a_known_share_of_flipped_pixels(flipped: int) -> None:
    """Two halves of class 0 and 1; in the second frame f pixels of class 0 turn into 1."""
    first = np.zeros((10, 20), np.uint8)
    first[5:] = 1
    second = first.copy()
    second.reshape(-1)[:flipped] = 1
    metric = build_metric("tc", 2)
    for labels in (first, second):
        metric.update(FrameRecord(labels, flow_to_next=np.zeros((2, 10, 20))))
    assert float(metric.compute()) == pytest.approx(((100 - flipped) / 100 + 100 / (100 + flipped)) / 2)


def test_pooled_tc_is_one_confusion_over_all_pairs() -> None:
    clips = [clip_of(0, 3), clip_of(1, 5)]
    a, b = [], []
    for predictions, flow, _ in clips:
        for k in range(len(predictions) - 1):
            a.append(predictions[k])
            b.append(plain_warp(predictions[k + 1], flow[k]))
    a, b = np.concatenate(a), np.concatenate(b)
    expected = np.mean(plain_iou(a, b, b != 255, 4))
    assert float(run("tc_pooled", clips).compute()) == pytest.approx(expected, rel=1e-12)


def test_masked_tc_leaves_out_the_given_mask() -> None:
    predictions, flow, _ = clip_of(2, 2)
    occluded = np.random.default_rng(5).random(predictions.shape[1:]) < 0.4
    metric = build_metric("tc_masked", 4)
    for labels in predictions:
        metric.update(FrameRecord(labels, flow_to_next=flow[0], occluded_next=occluded))
    warped = plain_warp(predictions[1], flow[0])
    expected = np.mean(plain_iou(predictions[0], warped, (warped != 255) & ~occluded, 4))
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)


def test_m_occ_equals_geometry_where_flow_is_whole() -> None:
    """With whole-pixel flow to the next frame, nearest and bilinear reading of the flow back are the same."""
    rng = np.random.default_rng(0)
    there = np.stack([np.full((30, 40), 2), np.full((30, 40), -1)]).astype(np.float32)
    back = (-there + rng.normal(0, 0.8, there.shape)).astype(np.float32)
    labels = np.zeros((30, 40), np.uint8)
    ours = occluded_in_next(FrameRecord(labels, flow_to_next=there), FrameRecord(labels, flow_to_previous=back))
    theirs = geometry.occlusion_mask(torch.from_numpy(there)[None], torch.from_numpy(back)[None])[0, 0].numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert 0.1 < ours.mean() < 0.95


# --- tc_reference: slip by slip ------------------------------------------------------------------------------------


def reference_warp(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What METHOD section 7 says of the reference, in torch: normalised by W - 1, align_corners=False, zeros."""
    height, width = labels.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = x + torch.from_numpy(flow[0]), y + torch.from_numpy(flow[1])
    grid = torch.stack([2.0 * x / (width - 1) - 1.0, 2.0 * y / (height - 1) - 1.0], dim=-1)
    source = torch.from_numpy(labels).float()[None, None]
    warped = torch.nn.functional.grid_sample(source, grid[None], "nearest", "zeros", align_corners=False)
    return warped[0, 0].to(torch.uint8).numpy()


@pytest.mark.parametrize("size", [(10, 16), (12, 30), (36, 64)])
@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_reference_sampling_equals_torch(size: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 250, size).astype(np.uint8)
    flow = (scale * rng.normal(size=(2, *size))).astype(np.float32)
    ours = sample_labels(labels, reference_sampling(flow), fill=0)
    np.testing.assert_array_equal(ours, reference_warp(labels, flow))


def test_reference_tc_equals_the_plain_computation() -> None:
    clips = [clip_of(0, 3, (8, 14)), clip_of(1, 4, (8, 14))]
    means = []
    for predictions, flow, _ in clips:
        everywhere = np.ones((8, 14), bool)
        pairs = [(predictions[k], reference_warp(predictions[k + 1], flow[k])) for k in range(len(predictions) - 1)]
        means.append(np.mean([np.mean(plain_iou(a, b, everywhere, 4)) for a, b in pairs]))
    assert float(run("tc_reference", clips).compute()) == pytest.approx(np.mean(means), rel=1e-12)


def test_slip_zero_flow_moves_samples_by_up_to_half_a_pixel() -> None:
    """Column x is read at x W/(W-1) - 1/2: half a pixel too far left at the left edge, too far right at the right."""
    columns = np.tile(np.arange(1, 17, dtype=np.uint8), (16, 1))
    row = sample_labels(columns, reference_sampling(np.zeros((2, 16, 16), np.float32)), fill=0)[0]
    exact = [x * 16 / 15 - 0.5 for x in range(16)]
    assert row.tolist() == [columns[0, round(x)] if round(x) < 16 else 0 for x in exact]


def test_slip_last_row_and_column_fall_outside_and_count_as_class_0() -> None:
    """Everything is class 1 for ever, under zero flow: still the last row and column of 8x16 turn into class 0."""
    record = {"prediction": np.ones((8, 16), np.uint8), "flow_to_next": np.zeros((2, 8, 16), np.float32)}
    reference, corrected = build_metric("tc_reference", 2), build_metric("tc", 2)
    for metric in (reference, corrected):
        for _ in range(2):
            metric.update(FrameRecord(**record))
    inside = 7 * 15
    assert float(reference.compute()) == pytest.approx((0 + inside / (8 * 16)) / 2)  # class 0: 0 of 23
    assert float(corrected.compute()) == 1
    as_class_0 = build_metric("tc_reference", 2)
    for _ in range(2):
        as_class_0.update(FrameRecord(np.zeros((8, 16), np.uint8), flow_to_next=record["flow_to_next"]))
    assert float(as_class_0.compute()) == 1  # class 0 is favoured


def test_slip_out_of_view_is_scored_as_class_0() -> None:
    flow = np.full((2, 8, 16), 100.0, np.float32)
    reference, corrected = build_metric("tc_reference", 3), build_metric("tc", 3)
    for metric in (reference, corrected):
        for _ in range(2):
            metric.update(FrameRecord(np.ones((8, 16), np.uint8), flow_to_next=flow))
    assert float(reference.compute()) == 0
    assert math.isnan(float(corrected.compute()))


def test_one_pixel_of_a_class_in_one_map_scores_0_for_the_pair() -> None:
    first = np.zeros((8, 16), np.uint8)
    first[3, 4] = 1
    metric = build_metric("tc_reference", 3)
    for labels in (first, np.zeros((8, 16), np.uint8)):
        metric.update(FrameRecord(labels, flow_to_next=np.zeros((2, 8, 16), np.float32)))
    assert float(metric.compute()) == pytest.approx((127 / 128 + 0) / 2)

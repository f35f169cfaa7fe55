"""Flicker, vote, video consistency, boundary IoU and lag: hand-made cases and slow, plain versions."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from sspcore.metrics import FrameRecord, Lag, VideoConsistency, build_metric
from sspcore.metrics.confusion import BoundaryIoU, contours
from sspcore.metrics.consistency import largest_agreement


def run(metric, predictions, targets=None, flow_next=None, flow_previous=None):
    metric.start_clip()
    zero = np.zeros((2, *predictions[0].shape), np.float32)
    for k, labels in enumerate(predictions):
        metric.update(
            FrameRecord(
                labels,
                target=None if targets is None else targets[k],
                flow_to_next=zero if flow_next is None else flow_next[k],
                flow_to_previous=zero if flow_previous is None else flow_previous[k],
            )
        )
    return metric


def rows(*sequences: str) -> list[np.ndarray]:
    """Each string is one pixel's labels over time -> frames of 1 x n pixels."""
    return [np.array([[int(c) for c in frame]], np.uint8) for frame in zip(*sequences, strict=True)]


# --- flicker and vote ----------------------------------------------------------------------------------------------


def test_flicker_by_hand() -> None:
    # per pixel, blinks in the middle three frames: none; one; none (a lasting change); three; none (never back to it)
    clip = rows("00000", "00100", "00011", "01010", "01230")
    assert float(run(build_metric("flicker", 4), clip).compute()) == pytest.approx((1 + 3) / 15)


def test_flicker_follows_the_flow() -> None:
    """A pattern that moves 1 px a frame to the right flickers in place, not along its flow."""
    ground = np.tile(np.arange(40) % 2, (4, 1)).astype(np.uint8)
    frames = [ground[:, 20 - k : 36 - k] for k in range(6)]
    there = [np.stack([np.ones((4, 16)), np.zeros((4, 16))])] * 6
    back = [-flow for flow in there]
    moving = run(build_metric("flicker", 2), frames, flow_next=there, flow_previous=back)
    assert float(moving.compute()) == 0
    assert moving.details()["pixels"] == 4 * 4 * 14  # a column leaves the view on either side
    assert float(run(build_metric("flicker", 2), frames).compute()) == 1


def test_vote_by_hand() -> None:
    # majorities among the five frames: 5, 4, 3, 2
    clip = rows("00000", "00100", "01010", "01230")
    assert float(run(build_metric("vote5", 4), clip).compute()) == pytest.approx((5 + 4 + 3 + 2) / 20)
    assert math.isnan(float(run(build_metric("vote5", 4), clip[:4]).compute()))


def test_vote_follows_composed_flows() -> None:
    """A pan that speeds up: two steps lead to where the sum of both flows does, never twice the first."""
    ground = np.random.default_rng(0).integers(0, 4, (6, 80)).astype(np.uint8)
    starts = [0, 1, 3, 6, 10, 15]
    frames = [ground[:, start : start + 24] for start in starts]
    steps = [0, *np.diff(starts), 0]
    zero = np.zeros((6, 24))
    there = [np.stack([zero - steps[k + 1], zero]) for k in range(6)]
    back = [np.stack([zero + steps[k], zero]) for k in range(6)]
    metric = run(build_metric("vote5", 4), frames, flow_next=there, flow_previous=back)
    assert float(metric.compute()) == 1
    # frame 2 sees all five where neither 3 px to the left nor 7 px to the right is lost; frame 3: 5 and 9
    assert metric.details()["pixels"] == 6 * (24 - 3 - 7) + 6 * (24 - 5 - 9)


def test_largest_agreement_equals_a_count() -> None:
    maps = list(np.random.default_rng(0).integers(0, 3, (5, 8, 9)).astype(np.uint8))
    expected = np.max([sum((m == c).astype(int) for m in maps) for c in range(3)], axis=0)
    np.testing.assert_array_equal(largest_agreement(maps), expected)


# --- video consistency ---------------------------------------------------------------------------------------------


def plain_vc(predictions: np.ndarray, targets: np.ndarray, n: int, right: bool) -> float:
    """VC_n of one clip with n frames in the hand."""
    shares = []
    for k in range(len(targets) - n + 1):
        truth, prediction = targets[k : k + n], predictions[k : k + n]
        constant = (truth == truth[0]).all(0) & (truth[0] != 255)
        kept = (prediction == truth).all(0) if right else (prediction == prediction[0]).all(0)
        if constant.any():
            shares.append((constant & kept).sum() / constant.sum())
    return float(np.mean(shares))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16])
def test_vc_equals_the_version_with_n_frames_in_hand(n: int) -> None:
    rng = np.random.default_rng(n)
    metric = VideoConsistency(4, n=n)
    expected, constant_only = [], []
    for frames in (20, 30):
        targets = np.repeat(rng.choice([0, 1, 2, 255], (1, 8, 9)), frames, axis=0).astype(np.uint8)
        targets[rng.random(targets.shape) < 0.03] = 3
        targets[rng.random(targets.shape) < 0.01] = 255
        predictions = np.where(targets == 255, 0, targets).astype(np.uint8)
        predictions[rng.random(targets.shape) < 0.03] = 1
        predictions[:, :, :2] = 2  # constant, mostly wrong
        run(metric, predictions, targets)
        expected.append(plain_vc(predictions, targets, n, right=True))
        constant_only.append(plain_vc(predictions, targets, n, right=False))
    assert float(metric.compute()) == pytest.approx(np.mean(expected), rel=1e-12)
    assert metric.details()["constant_only"] == pytest.approx(np.mean(constant_only), rel=1e-12)
    if n > 1:
        assert np.mean(constant_only) > np.mean(expected)


def test_vc_is_not_fooled_by_a_constant_label_but_the_script_of_vspw_is() -> None:
    targets = [np.array([[0, 0, 0, 1]], np.uint8)] * 8
    metric = run(build_metric("vc8", 2), [np.ones((1, 4), np.uint8)] * 8, targets)
    assert float(metric.compute()) == 0.25
    assert metric.details()["constant_only"] == 1


def test_vc_starts_anew_after_a_frame_without_truth() -> None:
    labels = [np.zeros((2, 2), np.uint8)] * 15
    assert math.isnan(float(run(build_metric("vc8", 2), labels, [*labels[:7], None, *labels[:7]]).compute()))


# --- boundary IoU --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1, 3])
def test_contours_equal_an_erosion_per_class(distance: int) -> None:
    rng = np.random.default_rng(distance)
    labels = cv2.resize(rng.choice([0, 1, 2, 255], (5, 6)).astype(np.uint8), (48, 40), interpolation=cv2.INTER_NEAREST)
    expected = np.full_like(labels, 255)
    for c in range(3):
        padded = np.pad((labels == c).astype(np.uint8), 1)  # zeros around the image: its border is a contour
        core = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
        expected[(labels == c) & (core == 0)] = c
    np.testing.assert_array_equal(contours(labels, distance), expected)
    assert 0.05 < (expected == 255).mean() < 0.95


def test_boundary_iou_by_hand() -> None:
    """A square of side 12 in a 40x30 image, d = 1: strips of 44 pixels; shifted by one pixel they share 22."""
    target, prediction = np.zeros((2, 30, 40), np.uint8)
    target[9:21, 10:22] = 1
    prediction[9:21, 11:23] = 1
    metric = BoundaryIoU(2, dilation_ratio=0.02)
    metric.update(FrameRecord(prediction, target=target))
    ring = {(y, x) for y in range(9, 21) for x in range(10, 22) if y in (9, 20) or x in (10, 21)}
    shifted = {(y, x + 1) for y, x in ring}
    assert metric.details()["per_class"][1] == pytest.approx(len(ring & shifted) / len(ring | shifted))
    perfect = BoundaryIoU(2)
    perfect.update(FrameRecord(target, target=target))
    assert float(perfect.compute()) == 1


def test_boundary_iou_makes_ignored_pixels_void_in_both() -> None:
    target = np.zeros((30, 40), np.uint8)
    target[:, 20:] = 255
    prediction = np.zeros_like(target)
    prediction[:, 20:] = 1  # whatever is predicted there
    metric = BoundaryIoU(2)
    metric.update(FrameRecord(prediction, target=target))
    metric.update(FrameRecord(prediction))
    assert float(metric.compute()) == 1


def test_boundary_iou_sees_what_miou_hardly_does() -> None:
    target = np.zeros((100, 100), np.uint8)
    target[:, 50:] = 1
    prediction = np.roll(target, 3, axis=1)
    prediction[:, :3] = 0
    values = {}
    for name in ("miou", "boundary_iou"):
        metric = build_metric(name, 2)
        metric.update(FrameRecord(prediction, target=target))
        values[name] = float(metric.compute())
    assert values["boundary_iou"] < values["miou"] - 0.1


# --- lag -----------------------------------------------------------------------------------------------------------

CAR, SIZE = 1, (24, 60)


def drive_in(frames: int, appears: int, predicted: int, speed: int = 3) -> tuple[list, list, list]:
    """One car there from the start, another from frame `appears`, predicted from frame `predicted` on."""
    targets, predictions, flows = [], [], []
    for k in range(frames):
        target = np.zeros(SIZE, np.uint8)
        flow = np.zeros((2, *SIZE), np.float32)
        for top, there in ((2, True), (14, k >= appears)):
            if there:
                left = speed * k + 5
                target[top : top + 5, left : left + 8] = CAR
                flow[0, top : top + 5, left : left + 8] = -speed
        if k == appears:
            flow[0, 14:19] = 0  # it was not there: the flow shows the ground
        prediction = target.copy()
        if k < predicted:
            prediction[14:] = 0
        targets.append(target)
        predictions.append(prediction)
        flows.append(flow)
    return predictions, targets, flows


@pytest.mark.parametrize(("predicted", "expected"), [(0, 0), (4, 0), (5, 1), (8, 4), (99, 8)])
def test_lag_counts_the_frames_until_the_new_car_is_predicted(predicted: int, expected: int) -> None:
    predictions, targets, flows = drive_in(12, appears=4, predicted=predicted)
    metric = run(Lag(2, moving=(CAR,)), predictions, targets, flow_previous=flows)
    assert float(metric.compute()) == expected
    assert metric.details() == {"objects": 1, "missed": float(predicted == 99)}


def test_lag_is_capped_and_a_vanished_object_waits_no_longer() -> None:
    predictions, targets, flows = drive_in(14, appears=2, predicted=99)
    assert float(run(Lag(2, (CAR,), cap=5), predictions, targets, flow_previous=flows).compute()) == 5
    for k in range(6, 14):
        targets[k][14:] = 0
    vanished = run(Lag(2, (CAR,)), predictions, targets, flow_previous=flows)
    assert float(vanished.compute()) == 4
    assert vanished.details() == {"objects": 1, "missed": 1.0}


def test_lag_a_touch_of_another_car_does_not_make_it_the_same() -> None:
    """The new car's flow leads 3 of its 40 pixels onto the old one: still new; with 4 it is the same."""
    for pixels, new in ((3, 1), (4, 0)):
        predictions, targets, flows = drive_in(6, appears=3, predicted=99)
        flows[3][1, 14, 14 : 14 + pixels] = -10  # row 14 -> row 4, where the old car was at columns 11..18
        assert run(Lag(2, (CAR,)), predictions, targets, flow_previous=flows).details()["objects"] == new


def test_lag_follows_fast_cars_only_along_their_flow() -> None:
    """A car that moves by more than its length is the same car with its flow and a new one each frame without."""
    predictions, targets, flows = drive_in(5, appears=99, predicted=0, speed=11)
    assert run(Lag(2, (CAR,)), predictions, targets, flow_previous=flows).details()["objects"] == 0
    assert run(Lag(2, (CAR,)), predictions, targets).details()["objects"] == 4


def test_lag_half_of_the_pixels_are_enough() -> None:
    predictions, targets, flows = drive_in(6, appears=3, predicted=0)
    left = 3 * 3 + 5
    predictions[3][14:19, left : left + 4] = 0  # 20 of 40 remain
    assert float(run(Lag(2, (CAR,)), predictions, targets, flow_previous=flows).compute()) == 0
    predictions[3][14, left + 4] = 0  # 19 remain
    assert float(run(Lag(2, (CAR,)), predictions, targets, flow_previous=flows).compute()) == 1


def test_lag_clock_starts_when_an_object_is_large_enough() -> None:
    """A car that drives in from the left border, 1 column a frame: 5, 10, 15, 20 ... pixels."""
    targets, flows = [], []
    for k in range(8):
        target = np.zeros(SIZE, np.uint8)
        target[4:9, : max(0, k - 1)] = CAR
        targets.append(target)
        flows.append(np.stack([np.where(target == CAR, -1.0, 0.0), np.zeros(SIZE)]))
    nothing = [np.zeros(SIZE, np.uint8)] * 8
    metric = run(Lag(2, (CAR,), min_pixels=16), nothing, targets, flow_previous=flows)
    assert metric.details() == {"objects": 1, "missed": 1.0}
    assert float(metric.compute()) == 3  # frames 5, 6, 7 with 20, 25, 30 pixels


def test_lag_has_the_same_objects_whatever_is_predicted() -> None:
    predictions, targets, flows = drive_in(10, appears=3, predicted=6)
    counts = {
        run(Lag(2, (CAR,)), maps, targets, flow_previous=flows).details()["objects"]
        for maps in (predictions, targets, [np.zeros(SIZE, np.uint8)] * 10)
    }
    assert counts == {1}

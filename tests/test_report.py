"""Pictures: drawn from data alone, written as PNG and PDF, the same bytes for the same input."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from conftest import SIZE, panning_frames
from test_tables import row

from sspcore.data.specs import UAVID
from sspcore.registration import build_registrator
from sspcore.report import figures, motion
from sspcore.report.style import save


def test_flicker_is_change_along_the_flow_and_not_motion():
    labels = np.tile(np.arange(SIZE[1]) // 8 % 3, (SIZE[0], 1)).astype(np.uint8)
    moved, flow = np.roll(labels, -2, axis=1), np.zeros((2, *SIZE), np.float32)
    flow[0] = 2
    assert figures.flicker_mask(moved, labels, flow)[:, :-2].sum() == 0
    moved[10, 10] = 7
    changed = figures.flicker_mask(moved, labels, flow)[:, :-2]
    assert changed.sum() == 1 and changed[10, 10]


def test_consecutive_strip_paints_flicker_and_leaves_the_prediction_alone():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 8, SIZE).astype(np.uint8) for _ in range(3)]
    kept = [label.copy() for label in labels]
    picture = figures.consecutive_strip(
        panning_frames(3, 0), {"Base": labels}, [np.zeros((2, *SIZE), np.float32)] * 2, [None, None, labels[2]], UAVID, "t"
    )
    shown = [axes.images[0].get_array() for axes in picture.axes if axes.images]
    assert len(shown) == 6  # frame, truth and Base for two frames
    assert (shown[-1] == figures.FLICKER).all(-1).mean() == pytest.approx((labels[2] != labels[1]).mean())
    assert all(np.array_equal(a, b) for a, b in zip(labels, kept, strict=True))


def test_frontier_draws_the_control_as_a_curve_from_base():
    rows = [row("Base", "image", 0.6, 0.7), row("SSP", "video", 0.62, 0.85), row("Constant alpha 0.5", "control", 0.6, 0.8)]
    curve = figures.frontier(rows, "t").axes[0].lines[0]
    assert curve.get_xydata().tolist() == [[70.0, 60.0], [80.0, 60.0]]


def test_training_curves_have_a_panel_per_loss():
    history = [{"ce": 1.0, "tc": 0.5, "total": 1.25, "lr": 1e-3, "seconds": 1.0}] * 2
    base = [{"ce": 1.0, "total": 1.0, "lr": 1, "seconds": 1}]
    assert len(figures.training_curves({"SSP": history, "Base": base}, "t").axes) == 2


def test_pictures_are_written_twice_alike(tmp_path):
    rows = [row("Base", "image", 0.6, 0.7), row("SSP", "video", 0.62, 0.85)]
    digests = []
    for name in ("a", "b"):
        save(figures.per_class(rows, "t"), tmp_path / name, "p")
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())])
    assert digests[0] == digests[1] and len(digests[0]) == 2


def test_motion_panels_state_precision_and_recall():
    previous, current = panning_frames(2, 0)
    flow = torch.zeros(2, *SIZE)
    flow[0] = 2.0
    exact = np.zeros(SIZE, bool)
    exact[:, -2:] = True  # what leaves the view on the right
    titles = [axes.get_title() for axes in motion.occlusion_panels(current, flow, -flow, exact).axes]
    assert "precision 1.00, recall 1.00" in titles[1]
    assert len(motion.warp_panels(previous, current, flow).axes) >= 6
    registration = build_registrator("lk")(previous, current)
    assert f"{registration.inliers} inliers" in motion.registration_panels(previous, current, registration).axes[0].get_title()


def test_precision_and_recall_of_known_masks():
    mask, truth = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    mask[0], truth[:, 0] = True, True
    assert motion.precision_recall(mask, truth) == (0.25, 0.5)

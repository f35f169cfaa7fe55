"""Truth files: the coding of flow, the reader's answers and errors."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from sspcore.core.errors import ReleaseError
from sspcore.data.truth import SequenceTruth, read_flow_png, write_flow_png


def test_flow_survives_writing(tmp_path):
    rng = np.random.default_rng(0)
    flow = rng.uniform(-500, 500, (2, 7, 9)).astype(np.float32)
    in_view, occluded = rng.random((7, 9)) < 0.5, rng.random((7, 9)) < 0.5
    write_flow_png(tmp_path / "f.png", flow, in_view, occluded)
    read, seen, hidden = read_flow_png(tmp_path / "f.png")
    assert np.abs(read - flow).max() <= 0.5 / 64 + 1e-6
    assert (seen == in_view).all() and (hidden == occluded).all()


def test_flow_channels_are_u_v_flags(tmp_path):
    flow = np.zeros((2, 1, 1), np.float32)
    flow[0], flow[1] = 1.5, -2
    write_flow_png(tmp_path / "f.png", flow, np.ones((1, 1), bool), np.ones((1, 1), bool))
    blue, green, red = cv2.imread(str(tmp_path / "f.png"), cv2.IMREAD_UNCHANGED)[0, 0]
    assert (red, green, blue) == (32768 + 96, 32768 - 128, 3)


def test_sequence_truth_reads_its_folder(tmp_path):
    homography = [[1.0, 0, 3], [0, 1, 4], [0, 0, 1]]
    content = {"size": [2, 3], "frames": [0, 2], "frame_step": 2, "seed": 5, "H_prev_to_cur": {"2": homography}}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / "000002.png"), np.full((2, 3), 255, np.uint8))
    truth = SequenceTruth(tmp_path)
    assert truth.frames == [0, 2] and truth.size == (2, 3)
    assert (truth.labels(2) == 255).all()
    assert truth.homography(2)[1, 2] == 4
    with pytest.raises(ReleaseError, match="no homography into frame 0"):
        truth.homography(0)
    with pytest.raises(ReleaseError, match="000000.png"):
        truth.labels(0)


def test_missing_truth_says_what_to_do(tmp_path):
    with pytest.raises(ReleaseError, match="only rendered releases carry truth"):
        SequenceTruth(tmp_path)

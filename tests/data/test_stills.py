"""Windows from stills: frames, labels, homographies and flow of a moving camera fit together, and nothing outside is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.media import SIZE as VIDEO
from sspcore.core.classes import IGNORE
from sspcore.core.store import stage
from sspcore.data import stills
from sspcore.data.clips import load_clips
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.samples import Sample
from sspcore.data.stills import moving_camera
from sspcore.data.windows import WindowDataset, WindowRef, collate, labelled_windows, strided_windows

SIZE = (64, 96)


def smooth(size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3): waves that bilinear sampling reproduces to within two grey levels."""
    y, x = np.mgrid[:size[0], :size[1]]
    return np.stack([127 + 100 * np.sin(x / 9 + channel) * np.cos(y / 11) for channel in range(3)], -1).round().astype(np.uint8)


def still(teacher: bool = False) -> Sample:
    labels = np.zeros(SIZE, np.uint8)
    labels[:, 48:] = 1
    logits = torch.from_numpy(smooth()[::4, ::4, :2].copy()).movedim(-1, 0)[None].float() if teacher else None
    return Sample(
        torch.from_numpy(smooth()).movedim(-1, 0)[None], torch.from_numpy(labels)[None], torch.empty(0, 3, 3).double(),
        teacher=logits,
    )


def read(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values of (H, W, 3) at places, by the four neighbours: independent of the library's warps."""
    left, top = np.clip(np.floor(x).astype(int), 0, image.shape[1] - 2), np.clip(np.floor(y).astype(int), 0, image.shape[0] - 2)
    a, b, image = (x - left)[..., None], (y - top)[..., None], image.astype(float)
    above = (1 - a) * image[top, left] + a * image[top, left + 1]
    below = (1 - a) * image[top + 1, left] + a * image[top + 1, left + 1]
    return (1 - b) * above + b * below


@pytest.mark.parametrize("seed", range(4))
def test_the_earlier_frame_warped_by_its_homography_is_the_later_one(seed: int) -> None:
    torch.manual_seed(seed)
    window = moving_camera(still(teacher=True), 3, flow=True)
    assert window.frames.shape == (3, 3, *SIZE) and window.teacher.shape == (3, 2, 16, 24)
    y, x = np.mgrid[:SIZE[0], :SIZE[1]].astype(float)
    frames = window.frames.movedim(1, -1).numpy()
    for k, H in enumerate(window.H_prev_to_cur.numpy(), 1):
        back = np.linalg.inv(H) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        there = (back[:2] / back[2]).reshape(2, *SIZE)
        inside = (there[0] >= 0) & (there[0] <= SIZE[1] - 1) & (there[1] >= 0) & (there[1] <= SIZE[0] - 1)
        assert inside.mean() > 0.8 and not np.allclose(H, np.eye(3), atol=1e-4)
        error = np.abs(read(frames[k - 1], *there) - frames[k])[inside]
        assert error.mean() < 1.5 and error.max() < 8
        np.testing.assert_allclose(window.flow_to_prev[k - 1].numpy(), there - np.stack([x, y]), atol=1e-3)
        # the teacher's logits go with the frames: cell (i, j) is the mean of its pixels, up to the waves' curvature
        cells = frames[k][..., :2].reshape(16, 4, 24, 4, 2).mean((1, 3))
        of_teacher = window.teacher[k].movedim(0, -1).numpy()
        assert np.abs(cells - of_teacher)[2:-2, 2:-2].mean() < 25 > np.abs(frames[k - 1][::4, ::4, :2] - of_teacher).mean()


def test_labels_are_of_the_last_frame_alone_and_go_with_it() -> None:
    torch.manual_seed(1)
    window = moving_camera(still(), 2)
    assert (window.labels[0] == IGNORE).all() and set(window.labels[1].unique().tolist()) == {0, 1}
    assert window.flow_to_prev is None and window.correspondences is None and window.teacher is None
    # the enlargement is about the centre, so the border between the classes stays in the middle of the frame
    assert (window.labels[1, :, :47] == 0).all() and (window.labels[1, :, 49:] == 1).all()


def test_no_frame_shows_anything_beyond_the_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A still whose border is 100 and whose inside is 200: the border is a line, not an area, though the motion is large."""
    monkeypatch.setattr(stills, "SHIFT", 0.2)
    image = torch.full((1, 3, *SIZE), 200, dtype=torch.uint8)
    image[..., [0, -1], :], image[..., [0, -1]] = 100, 100
    views = []
    for seed in range(5):
        torch.manual_seed(seed)
        window = moving_camera(Sample(image, image[:, 0] // 200, torch.empty(0, 3, 3).double()), 4)
        assert int(window.frames.min()) >= 100 and (window.frames < 150).float().mean((1, 2, 3)).max() < 0.06
        views.append(window.frames)
    assert any(int(view.min()) == 100 for view in views)  # the enlargement is the least that does


def test_matches_are_spread_over_the_frame_and_fit() -> None:
    matches = moving_camera(still(), 3, correspondences=True).correspondences
    assert matches.shape == (2, 4 * 6, 3) and (matches[..., 2] == 1).all()
    assert [matches[0, :, k].unique().tolist() for k in (0, 1)] == [[*range(8, 96, 16)], [*range(8, 64, 16)]]


def test_one_motion_is_of_the_size_that_the_limits_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift alone, by hand: 3 % of 96 columns are 2.88 pixels, 3 % of 64 rows 1.92."""
    monkeypatch.setattr(stills, "uniform", lambda low, high: high)
    for name in ("ROTATION", "ZOOM", "PERSPECTIVE"):
        monkeypatch.setattr(stills, name, 0.0)
    (H,) = moving_camera(still(), 2).H_prev_to_cur.numpy()
    np.testing.assert_allclose(H, [[1, 0, 1.5 * 2.88], [0, 1, 1.5 * 1.92], [0, 0, 1]], atol=1e-9)


def test_stills_and_labelled_first_frames_train_video_systems_beside_videos(uavid_release: Path, tmp_path: Path) -> None:
    rules = ClipRules(frame_step=1, clip_length=8, min_clip_length=4, drop_first=False)
    folder = stage("c", tmp_path / "clips", "k", lambda out: prepare_clips(uavid_release, UAVID, rules, out))
    video = load_clips(folder, "train")[0]
    picture = replace(video, numbers=video.numbers[4:5], labelled=(0,))
    assert video.labelled == (0, 4)
    assert [ref.last for ref in labelled_windows([video, picture], 2)] == [4, 0]  # as published, but for the still
    assert [ref.last for ref in labelled_windows([video, picture], 2, first=True)] == [0, 4, 0]
    assert strided_windows([picture]) == [WindowRef(picture, 0)]
    drawn = strided_windows([video, video, picture])  # windows of videos end at 1, 3, 5, 7
    assert [ref.clip is picture for ref in drawn].count(True) == len(drawn) / 2 == 8
    assert len(strided_windows([video, *[picture] * 3])) == 4 + 3
    assert len(strided_windows([replace(video, numbers=video.numbers[:2]), *[picture] * 3])) == 1 + 3  # none is left out
    data = WindowDataset(
        labelled_windows([video, picture], 3), 3, VIDEO, lambda sample: sample, seed=0,
        teacher=lambda clip, positions: torch.ones(len(positions), 2, VIDEO[0] // 4, VIDEO[1] // 4),
    )
    window = collate([data[0, 0], data[0, 1]])
    assert window.frames.shape == (2, 3, 3, *VIDEO) and window.teacher.shape[:3] == (2, 3, 2)
    moved = (window.H_prev_to_cur - torch.eye(3)).abs().amax((1, 2, 3))
    assert moved[0] == 0 and moved[1] > 1e-3  # no store of homographies is given for the video
    assert torch.equal(data[0, 1].frames, data[0, 1].frames) and not torch.equal(data[0, 1].frames, data[1, 1].frames)
    assert (data[0, 1].labels[:2] == IGNORE).all() and (data[0, 1].labels[2] != IGNORE).any()

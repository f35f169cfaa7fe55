"""Moving pictures: what is marked, where panels lie, and that the files hold it."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.media import SIZE, panning_frames
from sspcore.data.datasets import UAVID
from sspcore.report import collect, movie, pictures
from sspcore.report.figures import FLICKER

STILL = np.zeros((2, *SIZE), np.float32)
ORIGIN = {"commit": "abc", "profile": "smoke", "seed": 3, "data": "rendered data, not the real data set"}


class ClipOfThree(SimpleNamespace):
    def __len__(self) -> int:
        return 3


def changing_labels(n: int) -> list[np.ndarray]:
    """One block of 10 x 20 pixels changes from frame 0 to 1, nothing else ever."""
    labels = [np.zeros(SIZE, np.uint8) for _ in range(n)]
    for ids in labels[1:]:
        ids[20:30, 30:50] = 4
    return labels


def magenta(image: np.ndarray) -> np.ndarray:
    return (np.asarray(image) == FLICKER).all(-1)


def test_flicker_is_marked_and_counted():
    panel = movie.label_panel("Base", panning_frames(3, 0), changing_labels(3), [STILL] * 2, UAVID)
    assert [int(magenta(frame).sum()) for frame in panel.frames] == [0, 200, 0]
    assert magenta(panel.frames[1])[20:30, 30:50].all()
    assert panel.notes == ["first frame", f"{100 * 200 / (SIZE[0] * SIZE[1]):.1f} % changed", "0.0 % changed"]


def test_alpha_goes_from_dark_to_bright():
    panel = movie.alpha_panel("alpha", [np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)])
    assert panel.frames[0][-1, -1].sum() > panel.frames[0][0, 0].sum() and panel.notes == ["mean 0.50"]


@pytest.fixture
def sheets() -> list[np.ndarray]:
    frames = panning_frames(3, 0)
    panels = [
        movie.photo_panel("frame", frames), movie.label_panel("Base", frames, changing_labels(3), [STILL] * 2, UAVID),
        movie.photo_panel("again", frames),
    ]
    return movie.compose(panels, 2, UAVID, "Where this is from, at some length. " * 8)


def test_panels_lie_in_rows_and_sheets_have_even_sizes(sheets):
    height, width = sheets[0].shape[:2]
    assert width == 2 * movie.PANEL_WIDTH + 6 and height % 2 == 0 and len(sheets) == 3
    panel_height = round(movie.PANEL_WIDTH * SIZE[0] / SIZE[1])
    assert magenta(sheets[1])[: 22 + panel_height, : movie.PANEL_WIDTH].sum() == 0  # the photo
    block = magenta(sheets[1])[22: 22 + panel_height, movie.PANEL_WIDTH + 6:]
    assert block.mean() == pytest.approx(200 / (SIZE[0] * SIZE[1]), rel=0.2)
    assert (sheets[0][-3:] == 255).all()  # no text runs over the edge
    assert (sheets[0][22: 22 + panel_height, :4] < 255).any()


def test_gif_holds_all_frames_their_colours_and_its_origin(sheets):
    content = movie.gif(sheets, UAVID, "where from", fps=10)
    assert content == movie.gif(sheets, UAVID, "where from", fps=10)
    with Image.open(io.BytesIO(content)) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (3, 100, 0)
        assert image.info["comment"] == b"where from"
        for k, sheet in enumerate(sheets):
            image.seek(k)
            shown = np.asarray(image.convert("RGB"))
            off = np.abs(shown.astype(int) - sheet)
            assert not off[magenta(sheet)].size or off[magenta(sheet)].max() <= 4
            assert off.mean() < 8 and off.mean() < np.abs(shown.astype(int) - sheets[k - 1]).mean()
            assert not magenta(shown)[np.abs(sheet.astype(int) - FLICKER).max(-1) > 100].any()


def test_movie_of_a_run_shows_the_first_and_the_last_system_of_the_strip(tmp_path, monkeypatch):
    frames, made = panning_frames(3, 0), []
    clip = ClipOfThree(name="seq16_000001", frame=lambda k, size: frames[k])
    monkeypatch.setattr(pictures, "typical_clip", lambda study, dataset, system: clip)
    compose = movie.compose
    monkeypatch.setattr(movie, "compose", lambda panels, *rest: made.append(panels) or compose(panels, *rest))
    study = SimpleNamespace(
        profile=SimpleNamespace(input_size=SIZE), spec=lambda name: UAVID,
        flows=lambda name: SimpleNamespace(between=lambda *_: torch.from_numpy(STILL)),
        label_maps=lambda system, dataset, clip: changing_labels(3), seed=3, began=math.inf,
    )
    path = pictures.write_movie(study, "uavid", ["Teacher", "Base", "SSP", "KD-SSP"], ORIGIN, tmp_path)
    assert [panel.title for panel in made[0]] == ["UAVid, seq16_000001", "Base", "KD-SSP"]
    with Image.open(path) as image:
        assert b"commit abc" in image.info["comment"] and image.n_frames == 3
    video = cv2.VideoCapture(str(path.with_suffix(".mp4")))
    read = [video.read()[1] for _ in range(3)]
    assert read[2].shape[:2] == image.size[::-1] and not video.read()[0]
    pictures.write_movie(study, "uavid", ["Base"], ORIGIN, tmp_path)
    assert len(made[1]) == 2
    study.began = 0.0  # a run that has drawn it already
    assert pictures.write_movie(study, "uavid", ["Base"], ORIGIN, tmp_path) == path and len(made) == 2


def test_typical_clip_is_neither_the_worst_nor_the_best(monkeypatch):
    shares = {"aa": 0.3, "bb": 0.1, "cc": 0.2, "dd": 0.9}
    monkeypatch.setattr(collect, "flicker_shares", lambda study, dataset, clip, system: np.array([shares[clip]]))
    assert collect.typical_clip(SimpleNamespace(clips=lambda *_: ["aa", "x", "bb", "cc"]), "uavid", "Base") == "cc"
    assert collect.typical_clip(SimpleNamespace(clips=lambda *_: ["aa", "bb", "cc", "dd"]), "uavid", "Base") == "aa"

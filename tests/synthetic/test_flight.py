"""The rendered flight: a video and CVAT's export of a few labels that fit it, and nothing of a person's own is touched."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from sspcore.core.errors import SspError
from sspcore.data.annotations.cvat import read_labelmap
from sspcore.synthetic import FlightSettings, flight, render_flight
from sspcore.synthetic.flight import NAMES

SIZE, FRAMES, EVERY = (64, 96), 7, 3
SETTINGS = FlightSettings(size=SIZE, frames=FRAMES, labelled_every=EVERY, seed=2)
SHORT = SETTINGS.model_copy(update={"frames": 2, "labelled_every": 1})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("flight")
    return render_flight(root / "flight", SETTINGS, truth=root / "truth"), root / "truth"


def frames_of(video):
    capture, frames = cv2.VideoCapture(str(video)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_a_video_and_the_labels_of_some_of_its_frames(folders):
    folder, truth = folders
    assert sorted(path.name for path in folder.iterdir()) == [".rendered.json", "flight.mp4", "labels"]
    assert [frame.shape for frame in frames_of(folder / "flight.mp4")] == [(*SIZE, 3)] * FRAMES
    names = [f"frame_{number:06d}" for number in range(0, FRAMES, EVERY)]
    assert sorted(path.stem for path in (folder / "labels/SegmentationClass").iterdir()) == names
    assert (folder / "labels/ImageSets/Segmentation/default.txt").read_text().split() == names
    assert "not filmed" in json.loads((folder / ".rendered.json").read_text())["note"]
    assert not truth.is_relative_to(folder) and len(list(truth.iterdir())) == FRAMES


def test_labels_are_the_truth_in_the_colours_of_the_labelmap(folders):
    folder, truth = folders
    colours = read_labelmap(folder / "labels/labelmap.txt")
    assert set(colours) == {"background", *NAMES} and len(set(colours.values())) == len(colours)
    seen = set()
    for number in range(0, FRAMES, EVERY):
        label = cv2.imread(str(folder / f"labels/SegmentationClass/frame_{number:06d}.png"))[..., ::-1]
        ids = cv2.imread(str(truth / f"{number:06d}.png"), cv2.IMREAD_GRAYSCALE)
        for k, name in enumerate(NAMES):
            assert np.array_equal((label == colours[name]).all(-1), ids == k), name
        seen |= set(np.unique(ids).tolist())
    assert {0, 1, 2, 4} <= seen


def test_what_is_there_is_kept_and_other_settings_render_again(folders, monkeypatch):
    folder, _ = folders
    (folder / "dataset.yaml").write_text("mine")
    before = (folder / "flight.mp4").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(flight, "film", lambda *_: pytest.fail("rendered again"))
        render_flight(folder, SETTINGS)
    render_flight(folder, SHORT)
    assert len(frames_of(folder / "flight.mp4")) == 2 and len(list((folder / "labels/SegmentationClass").iterdir())) == 2
    render_flight(folder, SETTINGS)
    assert (folder / "flight.mp4").read_bytes() == before and (folder / "dataset.yaml").read_text() == "mine"


def test_labels_that_a_person_has_added_stay(tmp_path):
    labels = render_flight(tmp_path, SHORT) / "labels" / "SegmentationClass"
    added = [labels / "frame_000003.png", labels / "mine.png"]  # the first is also rendered under the other settings
    for path in added:
        path.write_bytes(b"mine")
    for settings in (SETTINGS, SHORT):
        render_flight(tmp_path, settings)
        assert [path.read_bytes() for path in added] == [b"mine"] * 2
    rendered = [f"frame_{number:06d}.png" for number in range(2)]
    assert sorted(path.name for path in labels.iterdir()) == sorted([*rendered, *(path.name for path in added)])


def test_a_killed_rendering_counts_as_none(folders, monkeypatch):
    folder, _ = folders

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(flight, "_put", kill)
        with pytest.raises(KeyboardInterrupt):
            render_flight(folder, SHORT)
    render_flight(folder, SETTINGS)
    assert len(frames_of(folder / "flight.mp4")) == FRAMES


def test_a_video_of_ones_own_is_not_overwritten(tmp_path):
    (tmp_path / "flight.mp4").write_bytes(b"mine")
    with pytest.raises(SspError, match="were not rendered here; name another folder"):
        render_flight(tmp_path, SHORT)
    assert (tmp_path / "flight.mp4").read_bytes() == b"mine"

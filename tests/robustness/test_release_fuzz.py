"""A release with random damage is refused in one line, or its clips are whole and its labels true; never something between."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_inputs.cases import uavid
from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError, SspError
from sspcore.core.store import stage
from sspcore.data import video
from sspcore.data.clips import load_clips
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips

RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=3)
KINDS = ("cut", "flip", "zeros", "append", "delete", "folder", "swap", "rename", "empty")
CONTENT = ("cut", "flip", "zeros", "append")  # damage that a checksum or a decoder must notice, if it does any harm


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return uavid(tmp_path_factory.mktemp("sound") / "uavid")


@pytest.fixture(scope="module")
def truth(sound, tmp_path_factory) -> dict[tuple[str, str], np.ndarray]:
    """Labels of the clips of the sound release, by clip and file."""
    return labels_of(prepared(sound, tmp_path_factory.mktemp("truth")))


def prepared(release: Path, out: Path) -> Path:
    return stage("clips", out / "clips", "key", lambda folder: prepare_clips(release, UAVID, RULES, folder))


def labels_of(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """Labels of all clips, every frame read: (clip, position) -> ids."""
    labels = {}
    for split in ("train", "val"):
        for clip in load_clips(folder, split):
            for k in range(len(clip)):
                assert clip.frame(k, clip.stored_size).shape == (*clip.stored_size, 3)
            labels |= {(clip.name, str(k)): clip.label(k, clip.stored_size) for k in clip.labelled}
    return labels


def damage(release: Path, kind: str, which: int, where: float, bit: int) -> Path:
    """Damage one file of a release; returns its path."""
    files = sorted(path for path in release.rglob("*") if path.is_file())
    path, other = files[which % len(files)], files[(which * 7 + 3) % len(files)]
    data = bytearray(path.read_bytes())
    at = min(int(where * len(data)), max(0, len(data) - 1))
    if kind == "cut":
        path.write_bytes(data[:at])
    elif kind == "flip" and data:
        data[at] ^= 1 << bit
        path.write_bytes(data)
    elif kind == "zeros":
        data[at : at + 16] = bytes(len(data[at : at + 16]))
        path.write_bytes(data)
    elif kind == "append":
        path.write_bytes(data + data[:at])
    elif kind == "delete":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "swap":
        path.write_bytes(other.read_bytes())
    elif kind == "rename":
        path.rename(path.with_name(f"{at:09d}{path.suffix}"))
    elif kind == "empty":
        path.write_bytes(b"")
    return path


damages = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=3
)


@settings(
    max_examples=30, deadline=None, derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(plan=damages)
def test_damage_is_one_line_or_does_no_harm(sound, truth, plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "uavid"
        shutil.copytree(sound, release)
        damaged = [damage(release, *step) for step in plan]
        try:
            made = prepared(release, Path(folder))
        except SspError as error:
            assert len(str(error).splitlines()) == 1 and folder in str(error)
            assert [path.name for path in Path(folder).iterdir()] == ["uavid"]
            return
        labels = labels_of(made)
        assert labels and all(set(np.unique(ids)) <= {*range(UAVID.n_classes), IGNORE} for ids in labels.values())
        if all(step[0] in CONTENT and path.suffix == ".png" for step, path in zip(plan, damaged, strict=True)):
            assert labels.keys() == truth.keys()
            assert all(np.array_equal(labels[key], truth[key]) for key in truth)


class Liar:
    """A capture of a video whose header announces as many frames as it likes."""

    def __init__(self, frames: float) -> None:
        self.frames = frames

    def get(self, key: int) -> float:
        return self.frames


@pytest.mark.parametrize("frames", [2.0**40, -9.2e18])
def test_a_video_that_announces_more_frames_than_it_has_bytes_is_refused(sound, monkeypatch, frames) -> None:
    """A plan for so many would fill the memory before the first frame is read."""
    monkeypatch.setattr(video, "open_video", lambda path: nullcontext(Liar(frames)))
    with pytest.raises(ReleaseError, match=r"images\.mp4: announces -?\d+ frames in \d+ bytes; the file is damaged"):
        video.count_frames(sound / "uavid_train" / "seq1" / "images.mp4")


def test_a_line_end_in_a_name_makes_no_second_line() -> None:
    assert str(ReleaseError("a\nb\r\u2028c.png: missing")) == "a b  c.png: missing"

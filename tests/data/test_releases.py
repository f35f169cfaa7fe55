"""The files of a release, and the key that says whether clips made from them still fit."""

from __future__ import annotations

import os
import shutil

import pytest

from helpers.media import half_and_half, write_rgb
from sspcore.data import releases
from sspcore.data.datasets import RURALSCAPES, UAVID
from sspcore.data.releases import find_sequences, list_sequences, release_key_of
from sspcore.study import Study


def replaced_at_the_same_size(label) -> None:
    """Another label, as many bytes: a PNG decoder passes over what follows the image."""
    size = label.stat().st_size
    write_rgb(label, half_and_half(UAVID.labels["road"], UAVID.labels["tree"]))
    data = label.read_bytes()
    assert len(data) <= size
    label.write_bytes(data.ljust(size, b"\0"))


@pytest.fixture
def label(uavid_release):
    path = uavid_release / "uavid_train" / "seq1" / "Labels" / "000004.png"
    path.write_bytes(path.read_bytes() + bytes(200))  # room for another of the same size
    return path


def test_a_label_of_the_same_size_changes_the_key(uavid_release, label):
    before, size = release_key_of(uavid_release, "uavid"), label.stat().st_size
    replaced_at_the_same_size(label)
    assert label.stat().st_size == size and release_key_of(uavid_release, "uavid") != before


def test_a_file_that_was_only_touched_or_copied_changes_no_key(uavid_release, label, tmp_path):
    before = release_key_of(uavid_release, "uavid")
    os.utime(label, (1, 1))
    assert release_key_of(uavid_release, "uavid") == before
    assert release_key_of(shutil.copytree(uavid_release, tmp_path / "elsewhere"), "uavid") == before


@pytest.mark.parametrize("place", [0, -1])
def test_either_end_of_a_video_counts(uavid_release, monkeypatch, place):
    monkeypatch.setattr(releases, "END_BYTES", 1000)
    video = uavid_release / "uavid_val" / "seq16" / "images.mp4"
    before, data = release_key_of(uavid_release, "uavid"), bytearray(video.read_bytes())
    assert len(data) > 3000
    data[place] ^= 1
    video.write_bytes(data)
    assert release_key_of(uavid_release, "uavid") != before


def test_clips_are_prepared_again_from_a_label_of_the_same_size_and_not_after_a_touch(uavid_release, label, tmp_path):
    def prepared():
        study = Study.open("smoke", data=tmp_path, root=tmp_path / "work")
        folder = study.prepare("uavid")
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}, folder.stat().st_mtime_ns

    first, made = prepared()
    os.utime(label)
    assert prepared() == (first, made)
    replaced_at_the_same_size(label)
    second, made_again = prepared()
    assert second != first and made_again != made


def test_upper_case_names_and_missing_videos(uavid_release, ruralscapes_release):
    (uavid_release / "uavid_train").rename(uavid_release / "UAVid_Train")
    video = uavid_release / "UAVid_Train" / "seq2" / "images.mp4"
    video.rename(video.with_name("IMAGES.MP4"))
    found = find_sequences(uavid_release, UAVID)
    assert [(each.name, each.split, each.video.is_file(), len(each.labels)) for each in found] == [
        ("seq1", "train", True, 3), ("seq2", "train", True, 3), ("seq16", "val", True, 3),
    ]
    (ruralscapes_release / "videos" / "DJI_0043.mp4").unlink()
    first, _ = list_sequences(ruralscapes_release, RURALSCAPES)
    assert first.video == ruralscapes_release / "videos" / "DJI_0043.mp4" and sorted(first.labels) == [0, 10, 20]

"""Preparation: clip rules, label conversion, and one clear line for each kind of damage."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.media import SIZE, panning_frames, write_rgb, write_video
from sspcore.core.classes import IGNORE, colourise
from sspcore.core.errors import ArtefactError, ReleaseError
from sspcore.core.images import resize_labels, write_image
from sspcore.core.store import stage
from sspcore.data import prepare
from sspcore.data.annotations import read_label_image
from sspcore.data.clips import load_clips
from sspcore.data.datasets import RURALSCAPES, UAVID
from sspcore.data.prepare import ClipRules, plan_clips, prepare_clips
from sspcore.data.releases import find_sequences
from sspcore.data.video import read_video
from sspcore.study.profiles import load_profile

RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=3)
RURAL_RULES = ClipRules(frame_step=5, clip_length=3, min_clip_length=2, drop_last=True)


def prepared(release: Path, spec, rules: ClipRules, out: Path) -> Path:
    return stage("clips", out, "key", lambda folder: prepare_clips(release, spec, rules, folder))


def test_published_uavid_rule_gives_nine_clips_that_end_in_their_label():
    rules = load_profile("paper").clips["uavid"]
    plan = plan_clips(901, set(range(0, 901, 100)), rules)
    assert [clip[-1] for clip in plan] == list(range(100, 901, 100))
    assert all(len(clip) == 100 for clip in plan)


def test_published_uavid_rule_drops_the_short_rest():
    plan = plan_clips(901 + 40, set(range(0, 901, 100)) | {930}, load_profile("paper").clips["uavid"])
    assert len(plan) == 9


def test_published_ruralscapes_rule_takes_every_fifth_and_drops_first_and_last():
    rules = load_profile("paper").clips["ruralscapes"]
    plan = plan_clips(1003, {0, 250, 500, 750, 1000, 1001}, rules)
    assert plan[0][0] == 5 and plan[0][-1] == 250 and len(plan[0]) == 50
    assert plan[-1][-1] == 1000  # 1002, the last frame, was taken and dropped


def test_published_ruralscapes_rule_drops_the_first_and_the_last_label_file():
    """The clip that ends in frame 1000 has no label left; a video with two label files has none at all."""
    rules = load_profile("paper").clips["ruralscapes"]
    plan = plan_clips(1003, {250, 500, 750, 1000}, rules)
    assert [clip[-1] for clip in plan] == [500, 750]
    assert plan_clips(1003, {250, 500}, rules) == []
    keeping = rules.model_copy(update={"drop_end_labels": False})
    assert [clip[-1] for clip in plan_clips(1003, {250, 500}, keeping)] == [250, 500]


def test_published_uavid_rule_keeps_a_rest_of_fifty_frames_without_a_label():
    plan = plan_clips(901 + 50, range(0, 901, 100), load_profile("paper").clips["uavid"])
    assert len(plan) == 10 and plan[-1] == list(range(901, 951))


def test_clips_without_a_label_are_dropped():
    assert plan_clips(9, {8}, RULES) == [[5, 6, 7, 8]]


def test_uavid_clips_hold_frames_labels_and_merged_vdd(uavid_release, tmp_path):
    folder = prepared(uavid_release, UAVID, RULES, tmp_path / "clips")
    clips = load_clips(folder, "train")
    assert [clip.name for clip in clips] == ["seq1_000001", "seq1_000005", "seq2_000001", "seq2_000005"]
    assert clips[0].numbers == (1, 2, 3, 4) and clips[0].labelled == (3,)
    label = clips[0].label(3, SIZE)
    names = np.array([*UAVID.classes, *["?"] * (IGNORE - 8), "ignored"])[label]
    assert (names[:32, :48] == "roof").all() and (names[32:, :48] == "building").all()
    assert (names[:32, 48:] == "ignored").all() and (names[32:, 48:] == "water").all()
    without_vdd = clips[2].label(3, SIZE)
    assert set(np.unique(without_vdd)) == {UAVID.id_of("building"), IGNORE}


def test_frames_come_from_the_video_in_order(uavid_release, tmp_path):
    clip = load_clips(prepared(uavid_release, UAVID, RULES, tmp_path / "clips"), "train")[0]
    truth = panning_frames(9, 0)
    for position, number in enumerate(clip.numbers):
        errors = [np.abs(clip.frame(position, SIZE).astype(int) - frame).mean() for frame in truth]
        assert int(np.argmin(errors)) == number


def test_ruralscapes_split_and_positions(ruralscapes_release, tmp_path):
    folder = prepared(ruralscapes_release, RURALSCAPES, RURAL_RULES, tmp_path / "clips")
    train, val = load_clips(folder, "train"), load_clips(folder, "val")
    assert [clip.name for clip in train] == ["DJI_0043_000005"] and val[0].sequence == "DJI_0051"
    assert train[0].numbers == (5, 10, 15) and train[0].labelled == (1,)


def test_stored_frames_and_loaded_frames_are_resized_as_the_rules_say(uavid_release, tmp_path):
    """By the tools' own calls: OpenCV's cubic into a lossless file, Pillow's bilinear out of it."""
    rules = RULES.model_copy(update={"store_size": (40, 60)})
    clip = load_clips(prepared(uavid_release, UAVID, rules, tmp_path / "clips"), "train")[0]
    capture = cv2.VideoCapture(str(uavid_release / "uavid_train" / "seq1" / "images.mp4"))
    decoded = [capture.read()[1] for _ in range(3)][2]
    stored = cv2.resize(decoded, (60, 40), interpolation=cv2.INTER_CUBIC)[..., ::-1]
    assert clip.suffix == ".png" and clip.stored_size == (40, 60) and np.array_equal(clip.frame(1, (40, 60)), stored)
    loaded = np.array(Image.fromarray(np.ascontiguousarray(stored)).resize((31, 21), Image.BILINEAR))
    assert np.array_equal(clip.frame(1, (21, 31)), loaded)
    averaged = load_clips(prepared(uavid_release, UAVID, rules.model_copy(update={
        "store_interpolation": "area", "load_interpolation": "area", "image_format": "jpg",
    }), tmp_path / "area"), "train")[0]
    expected = cv2.imdecode(cv2.imencode(
        ".jpg", cv2.resize(decoded, (60, 40), interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 95]
    )[1], cv2.IMREAD_COLOR)
    expected = cv2.resize(expected, (31, 21), interpolation=cv2.INTER_AREA)[..., ::-1]
    assert averaged.suffix == ".jpg" and np.array_equal(averaged.frame(1, (21, 31)), expected)


def test_labels_are_resized_once_whatever_size_frames_are_stored_at(uavid_release, tmp_path):
    """From the release's label to the size that is asked for: rows and columns whose centres are nearest."""
    colours = np.array(list(UAVID.labels.values()), np.uint8)
    noise = colours[np.random.default_rng(0).integers(0, len(colours), SIZE)]
    path = uavid_release / "uavid_train" / "seq2" / "Labels" / "000004.png"
    write_rgb(path, noise)
    rules = RULES.model_copy(update={"store_size": (40, 60)})
    clip = load_clips(prepared(uavid_release, UAVID, rules, tmp_path / "clips"), "train")[2]
    (rows, row_ties), (columns, column_ties) = (
        np.divmod((2 * np.arange(n) + 1) * side, 2 * n) for n, side in zip((22, 34), SIZE, strict=True)
    )
    clear = (row_ties[:, None] > 0) & (column_ties > 0)  # on a tie either neighbour is as near
    expected = read_label_image(path, UAVID)[rows[:, None], columns]
    assert clear.mean() > 0.8 and np.array_equal(clip.label(3, (22, 34))[clear], expected[clear])


def test_a_label_between_two_pixels_goes_to_the_side_that_pillow_takes():
    """4096 -> 1280 and 2560 columns, as RuralScapes: every fifth centre is a tie, and OpenCV takes some the other way."""
    labels = np.random.default_rng(0).integers(0, 12, (27, 4096), np.uint8)
    for size in ((23, 1280), (18, 2560)):
        expected = np.array(Image.fromarray(labels).resize(size[::-1], Image.NEAREST))
        assert np.array_equal(resize_labels(labels, size), expected)
        other = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        assert (other != expected).mean() > 0.05


def test_ids_and_colours_are_inverse_for_every_class(tmp_path):
    for spec in (UAVID, RURALSCAPES):
        colours = {i: c for c, i in spec.label_colours.items() if i != IGNORE}
        label = np.array([[colours[i] for i in sorted(colours)]], np.uint8)
        write_rgb(tmp_path / "label.png", label)
        assert read_label_image(tmp_path / "label.png", spec).tolist() == [sorted(colours)]
        shown = colourise(np.arange(spec.n_classes, dtype=np.uint8)[None], spec)[0]
        assert len({tuple(colour) for colour in shown}) == spec.n_classes


@pytest.mark.parametrize("damage, message", [
    ("unknown colour", r"000004\.png.*\(1, 2, 3\).*not a label colour"),
    ("other size", r"000004\.png.*50x40.*96x64"),
    ("broken label", r"000004\.png: not a readable image"),
    ("missing video", r"images\.mp4: file is missing"),
    ("empty video", r"images\.mp4: not a readable video \(0 bytes\)"),
    ("no val", r"no val sequence of UAVid"),
])
def test_damage_gives_one_line_and_leaves_nothing_behind(uavid_release, tmp_path, damage, message):
    folder = uavid_release / "uavid_train" / "seq1"
    label = folder / "Labels" / "000004.png"
    if damage == "unknown colour":
        write_rgb(label, np.full((*SIZE, 3), (1, 2, 3), np.uint8))
    elif damage == "other size":
        write_rgb(label, np.zeros((40, 50, 3), np.uint8))
    elif damage == "broken label":
        label.write_bytes(label.read_bytes()[:20])
    elif damage == "missing video":
        (folder / "images.mp4").unlink()
    elif damage == "empty video":
        (folder / "images.mp4").write_bytes(b"")
    else:
        (uavid_release / "uavid_val").rename(uavid_release / "elsewhere")
    with pytest.raises(ReleaseError, match=message) as error:
        prepared(uavid_release, UAVID, RULES, tmp_path / "clips")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "clips").exists() and not list(tmp_path.glob(".clips*"))


def test_without_the_vdd_layer_roofs_are_building_and_it_is_said(uavid_release, tmp_path, caplog, monkeypatch):
    (uavid_release / "UAVid7").rename(uavid_release / "elsewhere")
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="sspcore"):
        folder = prepared(uavid_release, UAVID, RULES, tmp_path / "clips")
    assert "no VDD labels: roofs count as building" in caplog.text
    assert set(np.unique(load_clips(folder, "train")[0].label(3, SIZE))) == {UAVID.id_of("building"), IGNORE}


def test_stray_images_among_the_labels_are_passed_over(uavid_release):
    labels = uavid_release / "uavid_train" / "seq1" / "Labels"
    for name in ("Thumbs.png", "._000004.png"):
        (labels / name).write_bytes(b"")
    assert sorted(find_sequences(uavid_release, UAVID)[0].labels) == [0, 4, 8]


def test_copies_of_labels_are_no_labels_of_other_frames(uavid_release):
    labels = uavid_release / "uavid_train" / "seq1" / "Labels"
    for name in ("000004 (1).png", "000004 - Copy 2.png", "4.png"):
        shutil.copy(labels / "000008.png", labels / name)
    found = find_sequences(uavid_release, UAVID)[0].labels
    assert sorted(found) == [0, 4, 8] and found[4].name == "000004.png"


def test_truncated_video_is_named(uavid_release):
    video = uavid_release / "uavid_train" / "seq1" / "images.mp4"
    with pytest.raises(ReleaseError, match="ends at frame 9 though 15 are announced"):
        list(read_video(video, {3, 14}))


def test_rules_that_leave_nothing_are_named(uavid_release, tmp_path):
    rules = RULES.model_copy(update={"clip_length": 50, "min_clip_length": 50})
    with pytest.raises(ReleaseError, match="no train clip is left"):
        prepared(uavid_release, UAVID, rules, tmp_path / "clips")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_preparation_goes_on_with_the_clip_it_was_at(uavid_release, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    whole.mkdir()
    prepare_clips(uavid_release, UAVID, RULES, whole)
    written = []

    def write_five(path, image):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path)
        write_image(path, image)

    # a label is the fifth file of the first clip: the second clip is just begun
    monkeypatch.setattr(prepare, "write_image", write_five)
    with pytest.raises(KeyboardInterrupt):
        prepare_clips(uavid_release, UAVID, RULES, out)
    assert [path.name for path in (out / "train").iterdir()] == ["seq1_000001"], "an unfinished clip was left"
    first = (out / "train" / "seq1_000001" / "frames" / "000001.png").stat()
    # what a kill that nothing can tidy up after leaves behind
    (out / "train" / ".seq1_000005.partial" / "frames").mkdir(parents=True)
    (out / "train" / ".seq1_000005.partial" / "frames" / "999999.png").write_bytes(b"half")
    monkeypatch.setattr(prepare, "write_image", write_image)
    prepare_clips(uavid_release, UAVID, RULES, out)
    assert files(out) == files(whole)
    assert (out / "train" / "seq1_000001" / "frames" / "000001.png").stat().st_mtime_ns == first.st_mtime_ns
    monkeypatch.setattr(prepare, "prepare_sequence", lambda *_: pytest.fail("a complete sequence was done again"))
    prepare_clips(uavid_release, UAVID, RULES, out)


def test_several_processes_write_the_same_files_and_an_error_of_one_arrives(uavid_release, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    prepare_clips(uavid_release, UAVID, RULES, one)
    write_rgb(uavid_release / "uavid_train" / "seq1" / "Labels" / "000008.png", np.full((*SIZE, 3), (1, 2, 3), np.uint8))
    with pytest.raises(ReleaseError, match=r"000008\.png.*not a label colour"):
        prepare_clips(uavid_release, UAVID, RULES, two, workers=2)
    made, whole = files(two), files(one)
    assert {path.split("/")[1] for path in made} >= {"seq1_000001", "seq2_000001", "seq2_000005"}
    assert all(whole[path] == content for path, content in made.items())
    assert not list(two.rglob("*.partial*")) and not (two / "train" / "seq1_000005").exists()


def test_room_is_asked_for_beforehand(uavid_release, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="sspcore"):
        made = prepared(uavid_release, UAVID, RULES, tmp_path / "clips")
    logged = re.search(r"UAVid: 24 frames of clips: about ([\d.]+)(kB|MB) are needed", caplog.text)
    used = sum(len(content) for content in files(made).values())
    assert used <= float(logged[1]) * {"kB": 1e3, "MB": 1e6}[logged[2]] < 3 * used
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ReleaseError, match=r"UAVid: 24 frames of clips need about .* and 1.00kB are free; make room"):
        prepared(uavid_release, UAVID, RULES, tmp_path / "more")
    assert not (tmp_path / "more").exists() and not list(tmp_path.glob(".more*"))


def test_sequences_are_in_natural_order(uavid_release):
    write_video(uavid_release / "uavid_train" / "seq10" / "images.mp4", panning_frames(9, 5))
    assert [s.name for s in find_sequences(uavid_release, UAVID)] == ["seq1", "seq2", "seq10", "seq16"]


def test_loading_what_is_not_prepared_says_what_to_run(tmp_path):
    with pytest.raises(ArtefactError, match="make them with sspcore prepare"):
        load_clips(tmp_path, "train")


def test_asking_for_a_label_that_is_not_there(uavid_release, tmp_path):
    clip = load_clips(prepared(uavid_release, UAVID, RULES, tmp_path / "clips"), "train")[0]
    with pytest.raises(ArtefactError, match="frame 0 has no label"):
        clip.label(0, SIZE)


def test_clip_record_is_plain_json(uavid_release, tmp_path):
    folder = prepared(uavid_release, UAVID, RULES, tmp_path / "clips")
    record = json.loads((folder / "train" / "seq1_000001" / "clip.json").read_text())
    assert record["frames"] == [1, 2, 3, 4] and record["labelled"] == [3] and record["size"] == list(SIZE)

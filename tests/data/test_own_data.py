"""Data sets of one's own: every layout and every form of labels becomes the same clips."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.media import write_rgb
from helpers.own import (
    LABEL,
    SIZE,
    coco_file,
    describe,
    images,
    label_png,
    labelme_file,
    shade,
    turned_jpeg,
    video,
)
from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError
from sspcore.core.files import read_json, write_json
from sspcore.core.store import seal
from sspcore.data.clips import Clip, load_clips
from sspcore.data.footage import Sequence
from sspcore.data.labels import read_label
from sspcore.data.prepare import ClipRules, clips_of, plan_clips, prepare_clips
from sspcore.data.releases import list_sequences, survey

RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=2, drop_first=False, require_label=False)
STILLS = {"stills": "stills/{still}.*", "still_labels": "stills/{still}_label.png"}


def prepared(spec, out: Path, rules: ClipRules = RULES, sequences=None) -> dict[str, Clip]:
    """All clips of a data set by name."""
    out.mkdir()
    prepare_clips(spec.root, spec, rules, out, sequences=sequences)
    seal(out, "key", "clips", 0.0)
    clips = [clip for split in ("train", "val") for clip in load_clips(out, split)]
    assert len({clip.name for clip in clips}) == len(clips)
    return {clip.name: clip for clip in clips}


def found(spec) -> dict[tuple[str, str], Sequence]:
    return {(each.split, each.name): each for each in list_sequences(spec.root, spec)}


# --------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("layout, files, names", [
    ("*.mp4", ["b.mp4", "a.mp4", "a.srt", ".c.mp4"], ["a", "b"]),
    ("flights/{sequence}.*", ["flights/a.MOV", "flights/b.2 (1).mkv", "flights/a.srt", "flights/notes.txt"], ["a", "b.2 (1)"]),
    ("{sequence}/*.mp4", ["day 1/DJI_0001.MP4", "Überflug/x.mp4", "empty/x.png"], ["day 1", "Überflug"]),
    ("flight.mp4", ["flight.mp4", "other.mp4"], ["flight"]),
    ("*/raw/{sequence}_cam.mp4", ["x/raw/a_cam.mp4", "y/raw/b_cam.mp4", "y/raw/b_log.mp4"], ["a", "b"]),
])
def test_videos_are_found_by_layout(tmp_path, layout, files, names):
    spec = describe(tmp_path, {"video": layout, "labels": "labels/{sequence}/{frame}.png"}, validation=[names[-1]])
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    label_png(tmp_path / "labels" / names[0] / "7.png")
    sequences = found(spec)
    assert sorted(sequences) == sorted([("train", name) for name in names[:-1]] + [("val", names[-1])])
    assert [sequence.labels for sequence in sequences.values() if sequence.name == names[0]] == [
        {7: tmp_path / "labels" / names[0] / "7.png"}
    ]


def test_folders_of_images_keep_their_numbers_and_pass_over_what_lies_beside_them(tmp_path):
    files = {"frames": "{sequence}/img_{frame}.*", "labels": "{sequence}/img_{frame}_mask.png"}
    spec = describe(tmp_path, files, validation=["b"])
    images(tmp_path / "a", [3, 4, 9], "img_{:04d}.png")
    images(tmp_path / "b", [1], "IMG_{:04d}.PNG")
    label_png(tmp_path / "a" / "img_0004_mask.png")
    for name in ("._img_0003.png", "img_0003 (1).png", "Thumbs.db", "img_0005_mask.txt"):
        (tmp_path / "a" / name).touch()
    sequences = found(spec)
    assert list(sequences["train", "a"].frames) == [3, 4, 9] and list(sequences["train", "a"].labels) == [4]
    assert list(sequences["val", "b"].frames) == [1] and sequences["val", "b"].numbers() == [1]


def test_letters_that_two_systems_write_differently_are_the_same(tmp_path):
    spec = describe(tmp_path, {"video": "flüge/{sequence}.mp4", "labels": "{sequence}/{frame}.png"}, validation=["\u00fcber"])
    video(tmp_path / "flu\u0308ge" / "u\u0308ber.mp4", 2)
    assert [*found(spec)] == [("val", "\u00fcber")]


@pytest.mark.parametrize("files, made, message", [
    ({"video": "*/{sequence}.mp4", "labels": "{frame}.png"}, ["x/a.mp4", "y/a.mp4"], "goes by the same name as .*x/a.mp4"),
    ({"video": "{sequence}.mp4", "frames": "{sequence}/{frame}.png", "labels": "x.json"}, ["a.mp4", "a/1.png"], "same name"),
    ({"video": "{sequence}.mp4", "labels": "labels/{frame}.png"}, ["a.mp4", "b.mp4", "labels/1.png"], "may be of 2 videos"),
    ({"video": "{sequence}.mp4", "labels": "labels/{frame}.png"}, ["labels/1.png"], "is of no video that is there"),
    ({"stills": "*/{still}.png", "still_labels": "l/{still}.png"}, ["x/a.png", "y/a.png"], "same name"),
])
def test_what_layouts_leave_open_is_an_error(tmp_path, files, made, message):
    spec = describe(tmp_path, files)
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ReleaseError, match=message) as error:
        list_sequences(tmp_path, spec)
    assert "\n" not in str(error.value)


# ----------------------------------------------------------------------------- split


def test_names_patterns_shares_and_stills_make_the_split(tmp_path):
    spec = describe(tmp_path, {"video": "{sequence}.mp4", "labels": "x/{frame}.png", **STILLS}, validation=["v*", "s3"],
                    validation_share=0.25)
    for name in ("a", "v1", "v2"):
        video(tmp_path / f"{name}.mp4")
    for name in ("s1", "s2", "s3"):
        images(tmp_path / "stills", [1], f"{name}.png")
        label_png(tmp_path / "stills" / f"{name}_label.png")
    sequences = found(spec)
    assert sorted(sequences) == [
        ("train", "a"), ("train", "s1"), ("train", "s2"), ("val", "a"), ("val", "s3"), ("val", "v1"), ("val", "v2"),
    ]
    assert sequences["train", "a"].numbers() == [*range(9)] and sequences["val", "a"].numbers() == [9, 10, 11]
    assert sequences["val", "v1"].numbers() == [*range(12)] and sequences["val", "s3"].still


def test_the_last_stills_are_for_validation_where_none_is_named(tmp_path):
    spec = describe(tmp_path, STILLS, validation_share=0.3)
    for number in (1, 2, 10):
        images(tmp_path / "stills", [1], f"s{number}.png")
        label_png(tmp_path / "stills" / f"s{number}_label.png")
    assert sorted(found(spec)) == [("train", "s1"), ("train", "s2"), ("val", "s10")]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.floats(0.01, 0.99), st.integers(1, 5))
def test_the_parts_of_a_video_share_no_frame_and_lose_none(n_frames, share, step):
    parts = [
        Sequence("a", split, Path(), {}, {}, span=span, length=n_frames)
        for split, span in (("train", (0.0, 1 - share)), ("val", (1 - share, 1.0)))
    ]
    assert parts[0].numbers() + parts[1].numbers() == [*range(n_frames)]
    rules = RULES.model_copy(update={"frame_step": step})
    first, second = ({number for clip in clips_of(part, rules) for number in clip} for part in parts)
    assert not first & second


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.sets(st.integers(0, 119)), st.integers(1, 9))
def test_a_frame_step_that_starts_from_labels_passes_over_none(n_frames, labels, step):
    rules = RULES.model_copy(update={"frame_step": step, "from_labels": True, "clip_length": 1000})
    taken = (plan_clips(n_frames, labels, rules) or [[]])[0]
    assert labels.intersection(range(n_frames)) <= set(taken) or len(taken) < 2
    assert all(0 < b - a <= step for a, b in zip(taken, taken[1:], strict=False)) and (not taken or taken[0] < step)
    before = [number for number in taken if number <= min(labels, default=0)]
    assert all(b - a == step for a, b in zip(before, before[1:], strict=False))
    multiples = {label - label % step for label in labels}
    plain = rules.model_copy(update={"from_labels": False})
    assert plan_clips(n_frames, multiples, rules) == plan_clips(n_frames, multiples, plain)


def test_a_rest_too_short_for_a_clip_of_its_own_keeps_its_label():
    rules = ClipRules(frame_step=1, clip_length=48, min_clip_length=2, drop_first=False, from_labels=True)
    assert plan_clips(97, {96}, rules) == [[*range(48, 97)]]
    assert plan_clips(97, {0, 96}, rules) == [[*range(48)], [*range(48, 97)]]
    assert plan_clips(97, {0, 96}, rules.model_copy(update={"from_labels": False})) == [[*range(48)]]
    assert plan_clips(1, {0}, rules) == []


def test_copies_of_frames_are_told_of_both_parts_of_a_video(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    files = {"frames": "{sequence}/{frame}.png", "labels": "{sequence}.json"}
    spec = describe(tmp_path, files, validation_share=0.5)
    for number, level in enumerate([0, 0, 1, 2, 3, 3]):
        write_rgb(tmp_path / "a" / f"{number}.png", shade(level))
    prepared(spec, tmp_path / "clips")
    assert "2 frames taken are copies" in caplog.text


# -------------------------------------------------------------------- forms of labels


@pytest.mark.parametrize("form", ["png", "labelme", "coco of the sequence", "coco of all", "coco by folder"])
def test_labels_of_a_video_in_every_form_are_the_same(tmp_path, form):
    """first_frame: label files count from 1, as many tools do."""
    layouts = {
        "png": "labels/{sequence}_{frame}.png", "labelme": "labels/{sequence}/{frame}.json",
        "coco of the sequence": "labels/{sequence}.json", "coco of all": "instances.json", "coco by folder": "*/instances.json",
    }
    spec = describe(tmp_path, {"video": "{sequence}.mp4", "labels": layouts[form]}, validation=["a1"], first_frame=1)
    for name in ("a1", "a10", "b"):
        video(tmp_path / f"{name}.mp4", 4)
    if form == "png":
        label_png(tmp_path / "labels" / "a10_000003.png")
    elif form == "labelme":
        labelme_file(tmp_path / "labels" / "a10" / "3.json")
    elif form == "coco of the sequence":
        coco_file(tmp_path / "labels" / "a10.json", ["frame_000003.PNG"])
    else:
        coco_file(tmp_path / ("x/instances.json" if "folder" in form else "instances.json"), [
            "a10/frame_000003.png" if "folder" in form else "a10_000003.png",
        ])
    clips = prepared(spec, tmp_path / "clips")
    assert {name: clip.labelled for name, clip in clips.items()} == {"a1_000000": (), "a10_000000": (2,), "b_000000": ()}
    assert np.array_equal(clips["a10_000000"].label(2, SIZE), LABEL)
    assert clips["b_000000"].spec == spec.alone


@pytest.mark.parametrize("form", ["png", "labelme", "coco"])
def test_labels_of_images_and_stills_find_their_pictures(tmp_path, form):
    labels = {"png": "l/{sequence}/{frame}.png", "labelme": "{sequence}/{frame}.json", "coco": "all.json"}
    still_labels = {"png": "l/{still}.png", "labelme": "stills/{still}.json", "coco": "all.json"}
    spec = describe(tmp_path, {
        "frames": "{sequence}/{frame}.jpg", "labels": labels[form],
        "stills": "stills/{still}.*", "still_labels": still_labels[form],
    }, validation=["b", "t*"], first_frame=7)  # of videos alone
    for name in ("a", "b"):
        images(tmp_path / name, [2, 5], "{:03d}.jpg")
    for name in ("s.jpg", "t.png"):
        images(tmp_path / "stills", [0], name)
    if form == "coco":
        coco_file(tmp_path / "all.json", ["a/005.jpg", "set/b/002.png", "S.JPG", "stills/t.png"])
    for name in ("a/005", "b/002", "stills/s", "stills/t") if form != "coco" else ():
        if form == "png":
            label_png(tmp_path / "l" / f"{name.removeprefix('stills/')}.png")
        else:
            labelme_file(tmp_path / f"{name}.json")
    clips = prepared(spec, tmp_path / "clips")
    assert {name: (clip.split, clip.numbers, clip.labelled) for name, clip in clips.items()} == {
        "a_000002": ("train", (2, 5), (1,)), "s_000000": ("train", (0,), (0,)),
        "b_000002": ("val", (2, 5), (0,)), "t_000000": ("val", (0,), (0,)),
    }
    for clip in clips.values():
        assert np.array_equal(clip.label(clip.labelled[0], SIZE), LABEL)


def test_an_image_without_an_annotation_is_not_labelled(tmp_path):
    """Exports list every image of a task, whether it was labelled or not."""
    spec = describe(tmp_path, {"frames": "{sequence}/{frame}.png", "labels": "all.json"}, validation=["b"], unlabelled="road")
    for name in ("a", "b"):
        images(tmp_path / name, [1, 2])
    coco_file(tmp_path / "all.json", ["a/000001.png", "a/000002.png", "b/000001.png"])
    content = read_json(tmp_path / "all.json")
    write_json(tmp_path / "all.json", content | {"annotations": content["annotations"][:2]})
    sequences, lines = survey((tmp_path,), spec)
    assert [[*each.labels] for each in sequences] == [[1], []]
    assert lines == [
        f"{tmp_path}/all.json: 2 of its images, such as a/000002.png, have no annotation and do not count as labelled"
    ]


@pytest.mark.parametrize("entry, name", [
    ("a_1_000002.png", "a_1"), ("a_000002.png", "a"), ("a/000002.png", "a"), ("a2.png", None),
])
def test_the_video_that_an_entry_names_is_the_one_with_the_longest_name(tmp_path, entry, name):
    spec = describe(tmp_path, {"video": "{sequence}.mp4", "labels": "all.json"}, validation=["b"])
    for each in ("a", "a_1", "b"):
        (tmp_path / f"{each}.mp4").touch()
    coco_file(tmp_path / "all.json", [entry])
    sequences, lines = survey((tmp_path,), spec)
    assert [(each.name, [*each.labels]) for each in sequences if each.labels] == ([(name, [2])] if name else [])
    assert bool(lines) == (name is None)


def test_pictures_that_a_coco_file_names_and_nobody_has_are_told(tmp_path):
    spec = describe(tmp_path, {"frames": "{sequence}/{frame}.png", "labels": "all.json"}, validation=["b", "c"])
    for name in ("a", "b"):
        images(tmp_path / name, [1])
    coco_file(tmp_path / "all.json", ["a/000001.png", "000001.png", "c/000009.png"])
    sequences, lines = survey((tmp_path,), spec)
    assert [len(each.labels) for each in sequences] == [1, 0]
    assert len(lines) == 2 and "all.json: 000001.png: is no picture of Own (2 such images)" in lines[0]
    assert "validation: c: no video or still of Own is called so; there are a, b" in lines[1]


# ------------------------------------------------------------------------------ clips


def test_clips_hold_the_frames_of_every_kind_of_source_under_safe_names(tmp_path):
    spec = describe(tmp_path, {
        "video": "{sequence}.*", "frames": "pics/{sequence}/{frame}.png", "labels": "l/{sequence}/{frame}.png", **STILLS,
    }, validation=["Flug über.Wald (1)"])
    video(tmp_path / "Flug über.Wald (1).avi", 3)
    images(tmp_path / "pics" / "a b", [5, 7, 1000000])
    images(tmp_path / "pics" / "a-b", [5, 7])
    images(tmp_path / "stills", [4], "one.png")
    label_png(tmp_path / "l" / "a b" / "7.png")
    label_png(tmp_path / "stills" / "one_label.png")
    clips = prepared(spec, tmp_path / "clips", RULES.model_copy(update={"min_clip_length": 3}))
    assert all(name.replace("_", "").replace("-", "").isalnum() and name.isascii() for name in clips)
    by_sequence = {clip.sequence: clip for clip in clips.values()}
    assert sorted(by_sequence) == ["Flug über.Wald (1)", "a b", "one"], "two frames are too short for a clip, one still is not"
    assert by_sequence["a b"].numbers == (5, 7, 1000000) and by_sequence["one"].numbers == (0,)
    for name, level in (("a b", 5), ("one", 4)):
        assert np.array_equal(by_sequence[name].frame(0, SIZE), shade(level))
    assert by_sequence["Flug über.Wald (1)"].frame(2, SIZE)[-1, 0, 0] == pytest.approx(60, abs=3)
    record = read_json(by_sequence["one"].folder / "clip.json")
    assert record["classes"]["classes"] == ["road", "car"] and record["dataset"] == spec.name


def test_a_still_that_is_called_like_a_video_has_a_clip_of_its_own(tmp_path):
    spec = describe(tmp_path, {"video": "{sequence}.mp4", "labels": "l/{frame}.png", **STILLS}, validation=["b"])
    for name in ("a", "b"):
        video(tmp_path / f"{name}.mp4", 3)
    images(tmp_path / "stills", [1], "a.png")
    label_png(tmp_path / "stills" / "a_label.png")
    clips = prepared(spec, tmp_path / "clips")
    assert sorted((clip.sequence, len(clip), clip.labelled) for clip in clips.values()) == [
        ("a", 3, ()), ("a (still)", 1, (0,)), ("b", 3, ()),
    ]


def test_pictures_of_any_size_are_taken(tmp_path):
    """Each is resized when it is read, with its label."""
    spec = describe(tmp_path, STILLS, validation=["small"])
    for name, size in (("large", (96, 128)), ("small", SIZE)):
        (tmp_path / "stills").mkdir(exist_ok=True)
        label_png(tmp_path / "stills" / f"{name}_label.png", np.tile(np.repeat([0, 1], [24, 40]).astype(np.uint8).repeat(
            size[1] // 64), (size[0], 1)))
        label_png(tmp_path / "stills" / f"{name}.png", shade(3, size))
    clips = prepared(spec, tmp_path / "clips")
    for clip in clips.values():
        assert np.array_equal(clip.label(0, SIZE), LABEL) and np.array_equal(clip.frame(0, SIZE)[-1], shade(3)[-1])


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("form", ["png", "png as stored", "labelme as stored", "coco as stored"])
def test_a_picture_that_is_stored_on_its_side_comes_out_upright_with_its_label(tmp_path, orientation, form):
    kind = form.split()[0]
    layouts = {"png": "{still}_label.png", "labelme": "{still}.json", "coco": "all.json"}
    spec = describe(tmp_path, {"stills": "{still}.jpg", "still_labels": layouts[kind]}, validation_share=0.0, validation=["x"])
    turned_jpeg(tmp_path / "phone.jpg", shade(5, SIZE), orientation)
    if kind == "png":
        label_png(tmp_path / "phone_label.png", np.rot90(LABEL, 1 if orientation == 6 else -1) if "stored" in form else LABEL)
    elif kind == "labelme":
        labelme_file(tmp_path / "phone.json", SIZE[::-1])
    else:
        coco_file(tmp_path / "all.json", ["phone.jpg"], SIZE[::-1])
    (sequence,) = list_sequences(tmp_path, spec)
    ((_, frame),) = sequence.read({0})
    assert frame.shape[:2] == SIZE and frame[[2, -3], 30, 0].tolist() == pytest.approx([45, 90], abs=4)
    drawn = LABEL
    if kind != "png":  # the helpers draw a column of 24 on a picture of 64 rows and 48 columns
        drawn = np.rot90(np.tile(np.repeat([0, 1], [24, 24]), (64, 1)), -1 if orientation == 6 else 1)
    assert np.array_equal(read_label(sequence, 0, spec, SIZE), drawn)


def test_ids_that_are_ignored_are_ignored(tmp_path):
    spec = describe(tmp_path, STILLS, labels={"ground": 3, "car": 9, "sky": 4}, label_classes={"ground": "road", "sky": None},
                    validation=["x"])
    images(tmp_path / "stills", [1], "one.png")
    ids = np.array([[3, 9, 4, 255]] * 48, np.uint8).repeat(16, axis=1)
    label_png(tmp_path / "stills" / "one_label.png", ids)
    (sequence,) = list_sequences(tmp_path, spec)
    assert read_label(sequence, 0, spec, SIZE)[0, ::16].tolist() == [0, 1, IGNORE, IGNORE]

"""sspcore init-dataset: for each layout that tools write, the file that is written finds all labels, and they can be read."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers.label_folders import (
    CAR,
    COLOURS,
    LAYOUTS,
    LEFT,
    NUMBERS,
    ROAD,
    coco_objects,
    cvat_of_a_video,
    cvat_of_pictures,
    flight,
    frames_taken_out_of_a_video,
    masks,
    pictures,
)
from helpers.labels import polygon, write_coco, write_labelme
from helpers.media import SIZE, half_and_half, texture, write_rgb
from sspcore.cli.main import main
from sspcore.core.errors import ReleaseError, SspError
from sspcore.data.draft import draft_dataset
from sspcore.data.draft.files import _is_drawn
from sspcore.data.draft.labels import is_moving
from sspcore.data.draft.pairs import paired
from sspcore.data.labels import read_label
from sspcore.data.releases import survey


def draft(folder, **options):
    """What was drafted, and the ids of all labels that the description finds, by sequence and frame."""
    made = draft_dataset(folder, **options)
    sequences, lost = survey((made.spec.root,), made.spec)
    assert not lost
    return made, {(each.name, n): read_label(each, n, made.spec, SIZE) for each in sequences for n in each.labels}


def labelled(made, labels):
    """Which frames have a label, after it was looked at: road on the left, car on the right."""
    spec = made.spec
    for ids in labels.values():
        assert {*ids[:, 4]} == {spec.id_of("road")} and {*ids[:, -4]} == {spec.id_of("car")}
    return [*labels]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_layout_is_found_again(tmp_path, layout):
    expected, files = layout(tmp_path)
    made, labels = draft(tmp_path)
    assert sorted({*labelled(made, labels)}) == expected
    assert made.spec.files == files and made.spec.moving == ("car",)
    assert made.path == tmp_path / "dataset.yaml"


def test_what_labels_hold_gives_classes_colours_and_what_is_ignored(tmp_path):
    cvat_of_a_video(tmp_path)
    spec = draft(tmp_path)[0].spec
    assert (spec.classes, spec.palette) == (("road", "car"), (ROAD, CAR))
    assert spec.label_classes == {"background": None} and spec.labels["background"] == (0, 0, 0)
    assert spec.first_frame == 0 and spec.validation_share == 0.5
    assert "5 of" not in made_text(tmp_path) and "6,144 pixels, 50.00%" in made_text(tmp_path)


def made_text(folder):
    return (folder / "dataset.yaml").read_text()


def test_frames_of_a_video_that_lie_there_too_tell_the_number_of_the_first(tmp_path):
    frames_taken_out_of_a_video(tmp_path)
    assert draft(tmp_path)[0].spec.first_frame == 1
    assert "img0002.png looks like frame 1 of flight.mp4" in made_text(tmp_path)
    assert not draft(tmp_path, overwrite=True)[0].notes


def test_a_list_of_what_is_for_validation_is_taken(tmp_path):
    cvat_of_pictures(tmp_path)
    spec = draft(tmp_path)[0].spec
    assert (spec.validation, spec.validation_share) == (("b",), 0.0)


def test_colours_and_numbers_that_nobody_names_get_names_to_be_changed(tmp_path):
    pictures(tmp_path / "images", "ab")
    masks(tmp_path / "labels", "a")
    stray = COLOURS.copy()
    stray[0, :2] = 7
    stray[9] = 0
    write_rgb(tmp_path / "labels/b.png", stray)
    spec = draft(tmp_path)[0].spec
    assert spec.labels == {"class_1": CAR, "class_2": ROAD, "black": (0, 0, 0), "class_4": (7, 7, 7)}
    assert spec.label_classes == {"black": None, "class_4": None} and spec.classes == ("class_1", "class_2")
    assert "nothing says what they are called" in made_text(tmp_path) and "2 pixels, 0.02%" in made_text(tmp_path)


def test_a_palette_is_read_as_numbers_and_255_needs_no_name(tmp_path):
    pictures(tmp_path / "images", "ab")
    (tmp_path / "masks").mkdir()
    indices = NUMBERS.copy()
    indices[0] = 255
    for name in "ab":
        image = Image.fromarray(indices).convert("P")
        image.putdata(indices.ravel().tolist())
        image.save(tmp_path / f"masks/{name}.png")
    assert draft(tmp_path)[0].spec.labels == {"class_1": 1, "class_2": 2}


def test_colours_of_uavid_have_their_names(tmp_path):
    pictures(tmp_path / "images", "ab")
    for name in "ab":
        image = half_and_half((128, 0, 0), (0, 128, 0))
        image[:9] = (128, 64, 128)
        write_rgb(tmp_path / f"labels/{name}.png", image)
    spec = draft(tmp_path)[0].spec
    assert spec.labels["building"] == (128, 0, 0) and spec.labels["moving car"] == (64, 0, 128)
    assert spec.classes == ("building", "road", "tree") and spec.label_classes["human"] is None


def test_boxes_are_no_labels_of_pixels(tmp_path):
    pictures(tmp_path, "ab")
    boxes = [each | {"segmentation": []} for each in coco_objects(2)]
    path = tmp_path / "coco.json"
    write_coco(path, [*boxes[:2], *coco_objects(2)[2:]], SIZE, {1: "road", 2: "car", 3: "never"}, ("a.jpg", "b.jpg"))
    made = draft_dataset(tmp_path)
    assert made.notes[0] == "2 of 4 objects are boxes; pictures with them cannot be used: draw polygons"
    assert made.spec.classes == ("road", "car") and made.spec.label_classes == {"never": None}
    write_coco(path, boxes, SIZE, {1: "road", 2: "car"}, ("a.jpg", "b.jpg"))
    with pytest.raises(ReleaseError, match=r"coco\.json: holds boxes only"):
        draft_dataset(tmp_path, overwrite=True)


def test_a_label_that_is_exported_again_is_looked_at_again(tmp_path):
    path = tmp_path / "a.png"
    write_rgb(path, texture(SIZE, 0))
    assert _is_drawn(path) is False
    write_rgb(path, NUMBERS)
    assert _is_drawn(path) is True


def test_a_single_category_has_a_background(tmp_path):
    pictures(tmp_path, "ab")
    for name in "ab":
        write_labelme(tmp_path / f"{name}.json", [polygon("pool", *LEFT)], SIZE)
    spec = draft(tmp_path)[0].spec
    assert (spec.classes, spec.unlabelled) == (("background", "pool"), "background")


@pytest.mark.parametrize("names, validation, share", [
    (("north_1", "north_2", "north_3", "south_1", "south_2"), ("south_*",), 0.0), (("a", "b", "c", "d"), (), 0.25),
    (("1", "2", "3", "4"), (), 0.25),
])
def test_stills_with_names_alike_are_kept_together(tmp_path, names, validation, share):
    pictures(tmp_path / "images", names)
    masks(tmp_path / "labels", names)
    spec = draft(tmp_path)[0].spec
    assert (spec.validation, spec.validation_share) == (validation, share)


def test_of_labelled_stills_beside_a_video_it_is_said_what_is_scored_and_what_ignored_names_become(tmp_path):
    flight(tmp_path / "flight.mp4")
    cvat_of_pictures(tmp_path)
    names = ("north_1", "north_2", "north_3", "south_1", "south_2")
    shutil.rmtree(tmp_path / "SegmentationClass")
    shutil.rmtree(tmp_path / "JPEGImages")
    pictures(tmp_path / "JPEGImages", names)
    masks(tmp_path / "SegmentationClass", names)
    made = draft(tmp_path)[0]
    assert any(note.startswith("no label is of a video: mIoU says nothing") for note in made.notes)
    text = made_text(tmp_path)
    assert made.spec.validation_share == 0.25 and "# Here, for validation: videos: their last 25 %; stills: south_*." in text
    assert "# of its own, add its name under classes and take its line out here: background." in text


def test_of_many_labelled_videos_the_last_are_for_validation(tmp_path):
    for number in (1, 2, 9, 10):
        flight(tmp_path / f"v{number}.mp4", number)
        masks(tmp_path / f"labels/v{number}", ("000004",))
    spec = draft(tmp_path)[0].spec
    assert (spec.validation, spec.validation_share) == (("v10",), 0.0)


@pytest.mark.parametrize("numbers, first", [((0, 5), 0), ((1, 2), 1), ((4, 12), 1), ((1, 6, 11), 1), ((6, 11), 1), ((3, 7), 0)])
def test_the_number_of_a_video_s_first_frame_is_guessed(tmp_path, numbers, first):
    flight(tmp_path / "flight.mp4")
    masks(tmp_path / "labels", [f"{number:05}" for number in numbers])
    assert draft(tmp_path)[0].spec.first_frame == first


@pytest.mark.parametrize("numbers, share", [
    ((0, 4, 8), 0.35), ((0, 10), 0.25), ((0, 6), 0.5), ((0, 2), 0.25), ((0,), 0.25),
])
def test_the_part_of_a_video_for_validation_has_a_label_if_it_can(tmp_path, numbers, share):
    flight(tmp_path / "flight.mp4")
    masks(tmp_path / "labels", [f"{number:05}" for number in numbers])
    made = draft_dataset(tmp_path)
    assert made.spec.validation_share == share
    held = numbers[-1] >= 12 * (1 - share)
    assert made.notes == (() if held else ("no label is for validation: label more, or change the lines about validation",))


def test_the_file_may_lie_above_the_folder(tmp_path):
    cvat_of_pictures(tmp_path / "deep/data")
    made, labels = draft(tmp_path / "deep/data", out=tmp_path / "mine.yaml")
    assert made.spec.files["stills"] == "deep/data/JPEGImages/{still}.jpg" and len(labels) == 4
    with pytest.raises(ReleaseError, match="must lie in .*deep/data or above it"):
        draft_dataset(tmp_path / "deep/data", tmp_path / "deep/data/JPEGImages/x.yaml")
    with pytest.raises(ReleaseError, match=r"not a \.yaml file"):
        draft_dataset(tmp_path / "deep/data", tmp_path / "mine.json")


def test_a_file_that_is_there_is_kept(tmp_path, capsys):
    cvat_of_pictures(tmp_path)
    (tmp_path / "dataset.yaml").write_text("mine")
    with pytest.raises(SspError, match="exists already"):
        draft_dataset(tmp_path)
    assert main(["init-dataset", str(tmp_path)]) == 2 and made_text(tmp_path) == "mine"
    assert main(["init-dataset", str(tmp_path), "--overwrite"]) == 0
    assert yaml.safe_load(made_text(tmp_path))["title"] == tmp_path.name
    said = capsys.readouterr().out
    assert f"sspcore check --dataset {tmp_path / 'dataset.yaml'}" in said and "labelled stills: 4, for validation: 1" in said


def test_a_former_file_stays_if_the_new_one_would_be_none(tmp_path, monkeypatch):
    cvat_of_pictures(tmp_path)
    (tmp_path / "dataset.yaml").write_text("mine")
    monkeypatch.setattr("sspcore.data.draft.written", lambda *_: "classes: 3")
    with pytest.raises(ReleaseError, match=f"^{tmp_path / 'dataset.yaml'}: classes: "):
        draft_dataset(tmp_path, overwrite=True)
    assert made_text(tmp_path) == "mine"
    (tmp_path / "uavid").mkdir()
    with pytest.raises(ReleaseError, match=f"comes with sspcore; name another: --out {tmp_path / 'uavid/flight.yaml'}"):
        draft_dataset(tmp_path / "uavid")


def test_what_stream_wrote_is_no_truth_and_no_flight(tmp_path):
    cvat_of_a_video(tmp_path)
    masks(tmp_path / "masks", [f"{k:06d}" for k in range(12)], NUMBERS)
    (tmp_path / "masks/masks.csv").write_text("".join(["file,frame\n", *(f"{k:06d}.png,{k}\n" for k in range(12))]))
    flight(tmp_path / "overlay.mp4")
    made, labels = draft(tmp_path)
    assert labelled(made, labels) == [("flight", 0), ("flight", 6)]
    assert {"masks", "overlay.mp4"} < {note.split(":")[0] for note in made.notes}


def test_only_the_description_is_written(tmp_path):
    cvat_of_a_video(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    draft(tmp_path)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {tmp_path / "dataset.yaml"} and before.items() <= after.items()


def test_what_is_not_used_is_said(tmp_path):
    cvat_of_a_video(tmp_path)
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "damaged.json").write_text('{"shapes": 3}')
    pictures(tmp_path / "other", "xyz")
    notes = draft(tmp_path)[0].notes
    places = ["annotations.xml", str(tmp_path / "damaged.json"), "export/SegmentationObject"]
    assert [note.split(": ")[0] for note in notes[:3]] == places
    assert notes[3] == "3 pictures without a label, and of no video, are not used"


def test_a_damaged_label_and_a_link_that_leads_back_do_not_stop_it(tmp_path):
    cvat_of_pictures(tmp_path / "data")
    (tmp_path / "data/again").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data/SegmentationClass/c.png").write_bytes(b"\x89PNG")
    made = draft_dataset(tmp_path / "data")
    assert any("c.png: not a readable image (4 bytes)" in note for note in made.notes)
    assert made.summary == "classes: 2; labelled stills: 4, for validation: 1"


@pytest.mark.parametrize("make, message", [
    (lambda folder: shutil.rmtree(folder), "no such folder"), (lambda folder: None, "holds no video and no picture"),
    (lambda folder: flight(folder / "a.mp4"), "holds no labels of its pictures; label some frames"),
    (lambda folder: (pictures(folder / "images", "ab"), pictures(folder / "labels", "ab")),
     r"holds no labels .*labels: too many colours for labels; export them as PNG"),
    (lambda folder: (pictures(folder / "images", "a"), masks(folder / "masks", "a", np.ones(SIZE, np.uint8))),
     "the labels hold class_1 only, but two or more classes"),
    (lambda folder: (folder / "a.json").write_text(json.dumps({"shapes": []})), "holds no video and no picture"),
])
def test_a_folder_that_cannot_be_described_is_one_line(tmp_path, make, message):
    folder = tmp_path / "flight"
    folder.mkdir()
    make(folder)
    with pytest.raises(ReleaseError, match=rf"flight: {message}") as error:
        draft_dataset(folder)
    assert "\n" not in str(error.value) and not (folder / "dataset.yaml").exists()


@pytest.mark.parametrize("labels, pictures, pairs", [
    (["a", "b"], ["a", "b", "c"], {"a": ("a", "a"), "b": ("b", "b")}),
    (["a_mask", "aa_mask"], ["a", "aa"], {"a_mask": ("a", "a"), "aa_mask": ("aa", "aa")}),
    (["label_3", "label_14"], ["img_3", "img_14", "img_5"], {"label_3": ("3", "img_3"), "label_14": ("14", "img_14")}),
    (["x", "y"], ["a", "b"], {}), ([], ["a"], {}), (["a"], [], {}),
])
def test_names_of_labels_and_pictures_are_paired(labels, pictures, pairs):
    assert paired(labels, pictures) == pairs


@pytest.mark.parametrize("name, moves", [
    ("car", True), ("Moving car", True), ("static car", False), ("parking_lot", False), ("CarRoof", True), ("carpet", False),
    ("Bus lane", False), ("people", True), ("road", False),
])
def test_names_of_what_moves(name, moves):
    assert is_moving(name) is moves

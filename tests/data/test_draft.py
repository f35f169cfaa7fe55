"""sspcore init-dataset: for each layout that tools write, the file that is written finds all labels, and they can be read."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from helpers.labels import polygon, write_coco, write_labelme
from helpers.media import SIZE, half_and_half, texture, write_rgb, write_video
from sspcore.cli.main import main
from sspcore.core.errors import ReleaseError, SspError
from sspcore.data.draft import draft_dataset
from sspcore.data.draft.files import _is_drawn
from sspcore.data.draft.labels import is_moving
from sspcore.data.draft.pairs import paired
from sspcore.data.labels import read_label
from sspcore.data.releases import survey

ROAD, CAR = (128, 64, 128), (10, 0, 200)
COLOURS = half_and_half(ROAD, CAR)
NUMBERS = half_and_half((1, 1, 1), (2, 2, 2))[..., 0]
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:10,0,200::\n"
LEFT, RIGHT = [(0, 0), (48, 0), (48, 64), (0, 64)], [(48, 0), (96, 0), (96, 64), (48, 64)]
SHAPES = [polygon("road", *LEFT), polygon("car", *RIGHT)]


def slow_frames(count, seed):
    """Frames of a camera that moves slowly over coarse ground."""
    ground = cv2.resize(texture((40, 60), seed), (240, 160), interpolation=cv2.INTER_CUBIC)
    return [ground[k: k + SIZE[0], 2 * k: 2 * k + SIZE[1]] for k in range(count)]


def flight(path, seed=0):
    """A video of 12 frames."""
    write_video(path, slow_frames(12, seed))


def pictures(folder, names, suffix=".jpg"):
    """Pictures that look unlike each other."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / f"{name}{suffix}"), texture(SIZE, 40 + number))


def frames(folder, names, seed=0):
    """Frames of a video as pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, slow_frames(len(names), seed), strict=True):
        cv2.imwrite(str(folder / f"{name}.jpg"), frame[..., ::-1])


def masks(folder, names, image=COLOURS):
    for name in names:
        write_rgb(folder / f"{name}.png", image)


def coco_objects(count):
    halves = [(1, LEFT), (2, RIGHT)]
    return [
        {"image_id": k + 1, "category_id": number, "segmentation": [[side for point in points for side in point]]}
        for k in range(count) for number, points in halves
    ]


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


def cvat_of_a_video(folder):
    flight(folder / "flight.mp4")
    masks(folder / "export/SegmentationClass", ["frame_000000", "frame_000006"])
    masks(folder / "export/SegmentationObject", ["frame_000000", "frame_000006"], half_and_half((1, 2, 3), (4, 5, 6)))
    (folder / "export/labelmap.txt").write_text(LABELMAP)
    (folder / "export/ImageSets/Segmentation").mkdir(parents=True)
    (folder / "export/ImageSets/Segmentation/default.txt").write_text("frame_000000\nframe_000006\n")
    return [("flight", 0), ("flight", 6)], {"video": "flight.mp4", "labels": "export/SegmentationClass/frame_{frame}.png"}


def cvat_of_pictures(folder):
    pictures(folder / "JPEGImages", "abcd")
    masks(folder / "SegmentationClass", "abcd")
    (folder / "labelmap.txt").write_text(LABELMAP)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/val.txt").write_text("b\n")
    return [(name, 0) for name in "abcd"], {
        "stills": "JPEGImages/{still}.jpg", "still_labels": "SegmentationClass/{still}.png",
    }


def frames_taken_out_of_a_video(folder):
    shown = slow_frames(12, 0)
    flight(folder / "flight.mp4")
    for number in (2, 7):
        write_rgb(folder / f"out/img{number:04}.png", shown[number - 1])  # ffmpeg counts from 1
        write_rgb(folder / f"masks/img{number:04}.png", COLOURS)
    (folder / "masks/labelmap.txt").write_text(LABELMAP)
    return [("flight", 1), ("flight", 6)], {"video": "flight.mp4", "labels": "masks/img{frame}.png"}


def masks_beside_pictures(folder):
    pictures(folder, ("a1", "a2", "b1", "b2"), ".png")
    masks(folder, ("a1_mask", "a2_mask", "b1_mask", "b2_mask"))
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [(name, 0) for name in ("a1", "a2", "b1", "b2")], {"stills": "{still}.png", "still_labels": "{still}_mask.png"}


def numbers_with_a_list(folder):
    pictures(folder / "images", ("img_1", "img_2"))
    masks(folder / "gt", ("label_1", "label_2"), NUMBERS)
    (folder / "gt/classes.txt").write_text("nothing\nroad\ncar\n")
    return [("1", 0), ("2", 0)], {"stills": "images/img_{still}.jpg", "still_labels": "gt/label_{still}.png"}


def labelme_beside_pictures(folder):
    pictures(folder, "ab")
    for name in "ab":
        write_labelme(folder / f"{name}.json", SHAPES, SIZE)
    return [("a", 0), ("b", 0)], {"stills": "{still}.jpg", "still_labels": "{still}.json"}


def labelme_of_two_videos(folder):
    for number, name in enumerate(("north", "south")):
        flight(folder / f"flights/{name}.mp4", number)
        (folder / "labels" / name).mkdir(parents=True)
        write_labelme(folder / f"labels/{name}/000004.json", SHAPES, SIZE)
    return [("north", 4), ("south", 4)], {"video": "flights/{sequence}.mp4", "labels": "labels/{sequence}/{frame}.json"}


def coco_of_pictures(folder):
    pictures(folder / "images/default", ("p", "q"), ".png")
    path = folder / "annotations/instances_default.json"
    write_coco(path, coco_objects(2), SIZE, {1: "road", 2: "car"}, ("p.png", "q.png"))
    return [("p", 0), ("q", 0)], {
        "stills": "images/default/{still}.png", "still_labels": "annotations/instances_default.json",
    }


def coco_of_a_video(folder):
    flight(folder / "flight.MOV")
    names = ("frame_000003.PNG", "frame_000009.PNG")
    write_coco(folder / "annotations/instances_default.json", coco_objects(2), SIZE, {1: "road", 2: "car"}, names)
    return [("flight", 3), ("flight", 9)], {"video": "flight.mov", "labels": "annotations/instances_default.json"}


def coco_of_two_videos(folder):
    for number, name in enumerate(("north", "south")):
        flight(folder / f"{name}.mp4", number)
        write_coco(folder / f"coco/{name}.json", coco_objects(1), SIZE, {1: "road", 2: "car"}, ("frame_000003.PNG",))
    return [("north", 3), ("south", 3)], {"video": "{sequence}.mp4", "labels": "coco/{sequence}.json"}


def folders_of_frames(folder):
    for number, name in enumerate(("car1", "car2")):
        frames(folder / "data" / name, [f"{k:06}" for k in range(1, 13)], number)
        masks(folder / "labels" / name, ("000005",))
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [("car1", 5), ("car2", 5)], {"frames": "data/{sequence}/{frame}.jpg", "labels": "labels/{sequence}/{frame}.png"}


def a_folder_for_each_split(folder):
    for split, names in (("train", "ab"), ("val", "c")):
        pictures(folder / "images" / split, names)
        masks(folder / "masks" / split, names)
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [("a", 0), ("b", 0), ("c", 0)], {"stills": "images/{split}/{still}.jpg", "still_labels": "masks/{split}/{still}.png"}


def videos_of_one_name(folder):
    for number, name in enumerate(("east", "west")):
        flight(folder / name / "video.mp4", number)
        masks(folder / name / "labels", ("000002",))
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [("east", 2), ("west", 2)], {"video": "{sequence}/video.mp4", "labels": "{sequence}/labels/{frame}.png"}


def kaggle(folder):
    """Numbers in one folder, the same labels in colours in another one, a table of the colours."""
    pictures(folder / "original_images", ("000", "001"))
    masks(folder / "label_images_semantic", ("000", "001"), NUMBERS)
    masks(folder / "rgb_masks", ("000", "001"), half_and_half((9, 9, 9), (8, 8, 8)))
    (folder / "class_dict.csv").write_text("name, r, g, b\nunlabeled, 0, 0, 0\nroad, 128, 64, 128\ncar, 10, 0, 200\n")
    return [("000", 0), ("001", 0)], {
        "stills": "original_images/{still}.jpg", "still_labels": "label_images_semantic/{still}.png",
    }


def floodnet(folder):
    for split, names in (("train", ("6", "7")), ("val", ("8",)), ("test", ("9",))):
        pictures(folder / split / f"{split}-org-img", names)
        masks(folder / split / f"{split}-label-img", [f"{name}_lab" for name in names])
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [("6", 0), ("7", 0), ("8", 0)], {
        "stills": "{split}/*-org-img/{still}.jpg", "still_labels": "{split}/*-label-img/{still}_lab.png",
    }


def roboflow(folder):
    for split, names in (("train", "ab"), ("valid", "c"), ("test", "d")):
        pictures(folder / split, names)
        path = folder / split / "_annotations.coco.json"
        write_coco(path, coco_objects(len(names)), SIZE, {1: "road", 2: "car"}, tuple(f"{name}.jpg" for name in names))
    return [("test_d", 0), ("train_a", 0), ("train_b", 0), ("valid_c", 0)], {
        "stills": "{sequence}/{still}.jpg", "still_labels": "*/_annotations.coco.json",
    }


def frames_in_folders_of_one_name(folder):
    for number, name in enumerate(("seq{1}", "seq 2")):
        frames(folder / name / "Images", [f"{k:06}" for k in range(12)], number)
        masks(folder / name / "Labels", ("000004",))
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [("seq 2", 4), ("seq{1}", 4)], {"frames": "{sequence}/Images/{frame}.jpg", "labels": "{sequence}/Labels/{frame}.png"}


def names_with_braces(folder):
    pictures(folder / "a{b}", ("{x}", "{y}"))
    masks(folder / "l{b}", ("{x}", "{y}"))
    (folder / "labelmap.txt").write_text(LABELMAP)
    return [("{x}", 0), ("{y}", 0)], {"stills": "a{{b}}/{still}.jpg", "still_labels": "l{{b}}/{still}.png"}


def voc(folder):
    pictures(folder / "JPEGImages", "abcde")
    (folder / "SegmentationClass").mkdir()
    for name in "abcd":
        image = Image.fromarray(NUMBERS).convert("P")
        image.putdata(NUMBERS.ravel().tolist())
        image.putpalette([0, 0, 0, *ROAD, *CAR])
        image.save(folder / f"SegmentationClass/{name}.png")
    (folder / "classes.txt").write_text("background\nroad\ncar\n")
    return [(name, 0) for name in "abcd"], {
        "stills": "JPEGImages/{still}.jpg", "still_labels": "SegmentationClass/{still}.png",
    }


LAYOUTS = (
    cvat_of_a_video, cvat_of_pictures, frames_taken_out_of_a_video, masks_beside_pictures, numbers_with_a_list,
    labelme_beside_pictures, labelme_of_two_videos, coco_of_pictures, coco_of_a_video, coco_of_two_videos,
    folders_of_frames, a_folder_for_each_split, videos_of_one_name, kaggle, floodnet, roboflow,
    frames_in_folders_of_one_name, names_with_braces, voc,
)


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

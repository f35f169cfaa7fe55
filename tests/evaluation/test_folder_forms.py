"""Scoring what people have: maps of a video, of another size, in colours; labels in a data set's forms; names that differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.media import SIZE, panning_frames, write_rgb, write_video
from sspcore.cli.main import main
from sspcore.core.classes import IGNORE, ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.paths import SAMPLE
from sspcore.data.datasets import UAVID, open_dataset
from sspcore.evaluation.folders import find_clips, score_folders
from sspcore.evaluation.label_maps import LabelFile, colours_of, read_label_map, read_palette, read_truth
from sspcore.motion.cache import FlowStore

N, N_CLASSES = 6, 4
FRAMES = panning_frames(N, 0)
STRIPES = np.kron(np.arange(N_CLASSES, dtype=np.uint8), np.ones((SIZE[0], SIZE[1] // N_CLASSES), np.uint8))
MAPS = [np.roll(STRIPES, -2 * k, 1) for k in range(N)]
CLASSES = ClassSpec("three", "three", ("road", "car", "tree", "roof"), ((9, 0, 0), (0, 9, 0), (0, 0, 9), (7, 7, 7)), ())


class Still:
    """Flow of nothing that moves; keeps the frames that it was asked for."""

    name = "still"

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.asked += [source[0].numpy(), target[0].numpy()]
        return torch.zeros(1, 2, *source.shape[-2:])


def write_maps(folder: Path, names: list[str], maps: list[np.ndarray] = MAPS) -> Path:
    for name, labels in zip(names, maps, strict=True):
        write_rgb(folder / f"{name}.png", labels)
    return folder


def scored(tmp_path: Path, predictions: Path, frames: Path, labels: Path | None = None, **options: object) -> dict:
    clips = find_clips(predictions, frames, labels, options.pop("first_frame", None))
    return score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", Still(), None), **options)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "flight.mp4", FRAMES)
    return tmp_path / "flight.mp4"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_frames_may_be_any_image_that_stream_takes(tmp_path, suffix):
    (tmp_path / "frames").mkdir()
    for k, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{k}{suffix}")
    assert scored(tmp_path, write_maps(tmp_path / "maps", list("012345")), tmp_path / "frames")["metrics"]["tc"] is not None


@pytest.mark.parametrize("names, first, note", [
    ([f"{k:06d}" for k in range(N)], None, []),
    ([f"frame_{k + 1:04d}" for k in range(N)], None, ["maps: by their numbers, frame_0001 is taken as frame 0 of flight.mp4"]),
    ([f"frame_{k + 1:04d}" for k in range(N - 1)], 1, ["maps: by their numbers, frame_0001 is taken as frame 0 of flight.mp4"]),
    ([f"x{k}" for k in range(2, N)], None, []),
])  # fmt: skip
def test_maps_of_a_video_are_matched_by_number(tmp_path, video, names, first, note):
    clip, = find_clips(write_maps(tmp_path / "maps", names, MAPS[: len(names)]), video, first_frame=first)
    assert clip.positions == (tuple(range(2, N)) if names[0] == "x2" else tuple(range(len(names))))
    capture = cv2.VideoCapture(str(video))
    decoded = [capture.read()[1][..., ::-1] for _ in range(N)]
    for k in (0, 1, 2, 1, 0, 3):  # as flow asks, and back to the beginning
        assert (clip.frame(k) == decoded[clip.positions[k]]).all()
    assert scored(tmp_path, tmp_path / "maps", video, first_frame=first)["notes"][:-1] == note


def test_masks_of_images_counted_from_one_fit_the_video_that_these_were_taken_from(tmp_path, video):
    """FFmpeg counts from 1: the list of the masks tells which is which, though one number fewer would fit as well."""
    names = [f"frame_{k + 1:04d}" for k in range(N - 1)]
    write_maps(tmp_path / "maps", names, MAPS[:-1])
    assert find_clips(tmp_path / "maps", video)[0].positions == (1, 2, 3, 4, 5)
    rows = [f"{name}.png,{k}" for k, name in enumerate(names)]
    (tmp_path / "maps" / "masks.csv").write_text("\n".join(["file,frame", *rows]))
    assert find_clips(tmp_path / "maps", video)[0].positions == (0, 1, 2, 3, 4)


def test_labels_of_a_data_set_count_as_it_says(tmp_path, video):
    predictions = write_maps(tmp_path / "maps", [f"{k:06d}" for k in range(N)])
    write_maps(tmp_path / "labels", ["000001", "000004"], [MAPS[0], MAPS[3]])
    assert list(find_clips(predictions, video, tmp_path / "labels")[0].labels) == [1, 4]
    assert list(find_clips(predictions, video, tmp_path / "labels", first_label=1)[0].labels) == [0, 3]
    # masks of another count that have the same names say nothing of the labels
    of_one = write_maps(tmp_path / "of_one", [f"{k + 1:06d}" for k in range(N)])
    for first_label, positions in ((0, [1, 4]), (1, [0, 3])):
        clip, = find_clips(of_one, video, tmp_path / "labels", first_frame=1, first_label=first_label)
        assert list(clip.labels) == positions


def test_labels_may_be_called_masks_of_their_frames(tmp_path, video):
    write_maps(tmp_path / "labels", ["000001_mask", "000004_mask"], [MAPS[1], MAPS[4]])
    clip, = find_clips(write_maps(tmp_path / "maps", [f"{k:06d}" for k in range(N)]), video, tmp_path / "labels", first_label=0)
    assert list(clip.labels) == [1, 4]


def test_labelme_s_files_may_lie_beside_the_pictures(tmp_path, video):
    predictions = write_maps(tmp_path / "maps", [f"{k:06d}" for k in range(N)])
    write_maps(tmp_path / "labels", ["000002", "000003"], FRAMES[2:4])
    (tmp_path / "labels" / "000003.json").write_text("{}")
    clip, = find_clips(predictions, video, tmp_path / "labels", first_label=0)
    assert {k: label.path.name for k, label in clip.labels.items()} == {3: "000003.json"}


def test_videos_named_like_the_clips(tmp_path, video):
    for clip in ("a", "b"):
        write_maps(tmp_path / "maps" / clip, [f"{k:06d}" for k in range(N)])
        shutil.copy(video, tmp_path / f"{clip}.mp4")
    assert [len(clip.frames) for clip in find_clips(tmp_path / "maps", tmp_path)] == [N, N]
    with pytest.raises(SspError, match="one video for several clips"):
        find_clips(tmp_path / "maps", video)


def test_maps_of_another_size_are_scored_at_theirs(tmp_path):
    """Flow is estimated between frames of the maps' size, and its cache tells one size from the other."""
    for k, frame in enumerate(FRAMES):
        write_rgb(tmp_path / "frames" / f"{k}.png", frame)
    small = [np.ascontiguousarray(labels[::2, ::2]) for labels in MAPS]
    for maps, size, note in ((MAPS, SIZE, 0), (small, (SIZE[0] // 2, SIZE[1] // 2), 1)):
        estimator, folder = Still(), tmp_path / f"maps{note}"
        write_maps(folder, list("012345"), maps)
        clips = find_clips(folder, tmp_path / "frames", write_maps(tmp_path / "labels", list("012345")))
        scores = score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", estimator, None))
        assert {asked.shape[1:] for asked in estimator.asked} == {size} and scores["flow"]["computed"] == 2 * (N - 1)
        assert scores["metrics"]["miou"] == 1 and len(scores["notes"]) == 2 * note
    assert scores["notes"] == [f"maps1: {what} are 64x96, resized to the label maps' 32x48" for what in ("frames", "labels")]
    write_maps(tmp_path / "turned", list("012345"), [np.ascontiguousarray(labels.T) for labels in MAPS])
    with pytest.raises(SspError, match=r"turned/0\.png: label map is 96x64, its frame 0\.png 64x96; they are of other f"):
        scored(tmp_path, tmp_path / "turned", tmp_path / "frames")


def test_names_that_do_not_fit_are_shown_from_both_sides(tmp_path):
    for k, frame in enumerate(FRAMES):
        write_rgb(tmp_path / "frames" / f"frame_{k + 1:04d}.png", frame)
    write_maps(tmp_path / "maps", [f"{k:06d}" for k in range(N)])
    with pytest.raises(SspError, match=r"000000\.png: its frame is missing \(maps 000000 to 000005, frames frame_0001\.png t"):
        find_clips(tmp_path / "maps", tmp_path / "frames")
    write_maps(tmp_path / "maps", [f"frame_{k + 1:04d}" for k in range(N)])  # beside those of an older run
    with pytest.raises(SspError, match=r"000000\.png: its frame is missing \(6 of 12 maps have none: .*remove those of "):
        find_clips(tmp_path / "maps", tmp_path / "frames")
    write_maps(tmp_path / "other", [f"{k:03d}" for k in range(1, N + 1)])
    assert scored(tmp_path, tmp_path / "other", tmp_path / "frames")["notes"][0].endswith("001 is taken as frame_0001.png")


def drawn(labels: np.ndarray, palette: tuple) -> np.ndarray:
    return np.array(palette, np.uint8)[labels]


def test_colours_and_palettes_are_read_by_what_they_mean(tmp_path):
    labels, path = MAPS[0], tmp_path / "map.png"
    colours = colours_of(CLASSES)
    write_rgb(path, drawn(labels, CLASSES.palette))
    assert (read_label_map(path, 4, colours) == labels).all()
    Image.fromarray(np.dstack([drawn(labels, CLASSES.palette), np.full(SIZE, 255, np.uint8)])).save(path)
    assert (read_label_map(path, 4, colours) == labels).all()
    black = drawn(labels, CLASSES.palette)
    black[:9] = 0
    write_rgb(path, black)
    assert (read_label_map(path, 4, colours)[:9] == IGNORE).all()
    other = Image.fromarray(labels + 20, mode="P")  # another tool's indices
    other.putpalette(sum(([0, 0, 0] for _ in range(20)), []) + [value for colour in CLASSES.palette for value in colour])
    other.save(path)
    assert (read_label_map(path, 4, colours) == labels).all()
    write_rgb(path, np.repeat(labels[..., None], 3, 2))  # ids in each channel
    assert (read_label_map(path, 4) == labels).all()
    write_rgb(path, labels.astype(np.uint16))
    assert (read_label_map(path, 4) == labels).all()
    write_rgb(path, np.full((*SIZE, 3), (1, 2, 3), np.uint8))
    with pytest.raises(SspError, match=r"map\.png: colour \(1, 2, 3\) at x=0, y=0 is no class's \(6144 such pixels\); give"):
        read_label_map(path, 4, colours)


def test_palettes_are_files_of_labelling_tools_or_yaml(tmp_path):
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nroad:9,0,0::\ncar:0,9,0::\n")
    (tmp_path / "colours.yaml").write_text("road: [9, 0, 0]\ncar: [0, 9, 0]\n")
    for name in ("labelmap.txt", "colours.yaml"):
        palette = read_palette(tmp_path / name)
        assert palette.classes == ("road", "car") and palette.palette == ((9, 0, 0), (0, 9, 0))
    (tmp_path / "colours.yaml").write_text("road: red\n")
    with pytest.raises(SspError, match=r"colours\.yaml: road: no colour; give red, green and blue"):
        read_palette(tmp_path / "colours.yaml")


def own(folder: Path, labels: str) -> Path:
    path = folder / "flight.yaml"
    path.write_text(
        f"classes: {{road: [9, 0, 0], car: [0, 9, 0]}}\nmoving: [car]\nlabels: {labels}\nunlabelled: road\n"
        "files: {video: '*.mp4', labels: 'labels/{frame}.png'}\n"
    )
    return path


@pytest.mark.parametrize("labels, value", [
    ("{road: 7, car: 30}", (7, 30)),
    ("{road: [1, 2, 3], car: [4, 5, 6]}", ((3, 2, 1), (6, 5, 4))),
])  # fmt: skip
def test_labels_have_the_form_of_their_data_set(tmp_path, labels, value):
    spec, truth = open_dataset(own(tmp_path, labels)), np.zeros((4, 6), np.uint8)
    truth[:, 3:] = 1
    cv2.imwrite(str(tmp_path / "map.png"), np.array(value, np.uint8)[truth])
    assert (read_truth(LabelFile(tmp_path / "map.png"), 2, spec, (4, 6)) == truth).all()


def test_polygons_of_labelme_and_coco(tmp_path, video):
    """The left half is a car, on frame 3 alone."""
    spec = open_dataset(own(tmp_path, "[road, car]"))
    half = [[0, 0], [48, 0], [48, 64], [0, 64]]
    truth = np.zeros(SIZE, np.uint8)
    truth[:, :48] = 1
    predictions = write_maps(tmp_path / "maps", [f"{k:06d}" for k in range(N)], [truth] * N)
    shape = {"label": "car", "points": half, "shape_type": "polygon"}
    (tmp_path / "labelme").mkdir()
    (tmp_path / "labelme" / "shot_3.json").write_text(json.dumps({"shapes": [shape], "imageHeight": 64, "imageWidth": 96}))
    (tmp_path / "coco.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "maps/000003.jpg", "height": 64, "width": 96}],
        "categories": [{"id": 5, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "segmentation": [sum(half, [])]}],
    }))
    for labels in (tmp_path / "labelme", tmp_path / "coco.json"):
        clip, = find_clips(predictions, video, labels)
        assert list(clip.labels) == [3]
        scores = scored(tmp_path, predictions, video, labels, classes=spec, moving=spec.moving_ids)
        assert scores["metrics"]["miou"] == scores["metrics"]["miou_moving"] == 1


def test_the_packaged_clip_and_maps_in_the_release_s_colours_by_command(tmp_path, capsys):
    clip = SAMPLE / "clips" / "val" / "seq19_000025"
    common = ["--frames", str(clip / "frames"), "--dataset", "uavid", "--flow", "dis-fast", "--flow-cache", str(tmp_path / "c")]
    for k in (25, 26, 27):
        labels = read_label_map(clip / "labels" / f"{k:06d}.png", UAVID.n_classes)
        write_rgb(tmp_path / "maps" / f"{k:06d}.png", drawn(np.minimum(labels, 8), (*UAVID.palette, (0, 0, 0))))
    assert main(["evaluate", "--predictions", str(tmp_path / "maps"), "--labels", str(clip / "labels"), *common]) == 0
    out = capsys.readouterr().out
    assert "miou 100.00 %" in " ".join(out.split()) and "3 frames, 3 labels" in out
    assert main(["evaluate", "--predictions", str(tmp_path / "maps"), *common, "--classes", "8"]) == 2
    assert "one of --classes N, --dataset NAME and --palette FILE is needed, and no more" in capsys.readouterr().err

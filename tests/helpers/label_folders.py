"""Folders of pictures, videos and labels as labelling tools and public data sets leave them.

Each layout writes its files into a folder. Returns: (sequence, frame) of every label, and the `files` of its description.
"""

from __future__ import annotations

import cv2
from PIL import Image

from helpers.labels import polygon, write_coco, write_labelme
from helpers.media import SIZE, half_and_half, texture, write_rgb, write_video

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

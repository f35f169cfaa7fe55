"""LabelMe, COCO and CVAT's labelmap: shapes counted by hand, orders of painting, and one line for each fault."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.labels import labels_spec, mask_shape, polygon, write_coco, write_labelme
from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import coco, cvat, labelme

SIZE = (6, 8)
SPEC = labels_spec({"street": 0, "car": 1, "sky": 2})
FULL = [(0, 0), (8, 0), (8, 6), (0, 6)]
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]  # rows and columns 1 and 2


def shown(labels):
    return ["".join({0: "r", 1: "c", IGNORE: "."}[value] for value in row) for row in labels.tolist()]


def drawn(tmp_path, *shapes, size=SIZE, own=SIZE, spec=SPEC):
    return shown(labelme.read(write_labelme(tmp_path / "a.json", list(shapes), own), spec, size))


def test_labelme_paints_later_shapes_over_earlier_ones(tmp_path):
    street, car = polygon("street", *FULL), polygon("car", (1, 1), (3, 3), kind="rectangle")
    assert drawn(tmp_path, street, car) == ["rrrrrrrr", "rccrrrrr", "rccrrrrr", "rrrrrrrr", "rrrrrrrr", "rrrrrrrr"]
    assert drawn(tmp_path, car, street) == ["rrrrrrrr"] * 6
    assert drawn(tmp_path, street, polygon("sky", *FULL)) == ["........"] * 6


def test_pixels_that_no_shape_covers_are_unlabelled(tmp_path):
    car = polygon("car", (7, 0), (8, 1), kind="rectangle")
    assert drawn(tmp_path, car)[0] == ".......c"
    assert drawn(tmp_path, car, spec=labels_spec(SPEC.labels, "road"))[0] == "rrrrrrrc"


@pytest.mark.parametrize("shape, rows", [
    (polygon("car", (4, 3), (4, 1), kind="circle"), ["........", "...cc...", "..cccc..", "..cccc..", "...cc...", "........"]),
    (polygon("car", (1, 1), (3, 1), (3, 2), (1, 2), kind="rectangle"), ["........", ".cc....."] + ["........"] * 4),
    (mask_shape("car", 2, 1, np.array([[1, 0, 1], [0, 1, 0]])), ["........", "..c.c...", "...c....", *["........"] * 3]),
    (mask_shape("car", -1, 5, np.ones((3, 3))), [*["........"] * 5, "cc......"]),
])
def test_shapes_of_labelme(tmp_path, shape, rows):
    assert drawn(tmp_path, shape) == rows


def test_labelme_of_a_scaled_copy_is_scaled(tmp_path):
    shapes = polygon("car", (1, 1), (3, 3), kind="rectangle"), mask_shape("street", 3, 0, np.array([[1], [0], [1]]))
    small = drawn(tmp_path, *shapes)
    assert drawn(tmp_path, *shapes, size=(12, 16)) == ["".join(v * 2 for v in row) for row in small for _ in range(2)]
    assert drawn(tmp_path, *shapes, own=None) == small
    # halved, a pixel has the mask's value under its centre: of rows and columns 2k and 2k + 1 the second
    mask = mask_shape("car", 0, 0, np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]]))
    assert drawn(tmp_path, mask, size=(3, 4))[:2] == ["....", "c..."]


def test_a_mark_before_the_text_is_passed_over(tmp_path):
    path = write_labelme(tmp_path / "a.json", [polygon("car", *FULL)], SIZE)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert shown(labelme.read(path, SPEC, SIZE)) == ["cccccccc"] * 6


def test_lines_and_points_of_labelme_are_passed_over_and_logged(tmp_path, caplog):
    shapes = polygon("car", (0, 0), (8, 6), kind="line"), polygon("street", (1, 1), kind="point")
    assert drawn(tmp_path, *shapes) == ["........"] * 6
    assert "2 lines or points have no area" in caplog.text


@pytest.mark.parametrize("shape, message", [
    (polygon("tram", *FULL), r"shapes\.1: 'tram' is not a label of Two \(street, car, sky\); write it under labels:"),
    (polygon("car", (0, 0), (1, 1)), r"shapes\.1: a polygon of 2 points"),
    (polygon("car", (0, 0), (float("nan"), 1), (2, 2)), r"shapes\.1\.points\.1\.0: Input should be a finite number"),
    (polygon("car", (0, 0), (1e12, 1), (2, 2)), r"shapes\.1\.points\.1\.0"), (polygon(7, *FULL), r"shapes\.1\.label"),
    (polygon("car", *FULL, kind="cuboid"), r"shapes\.1\.shape_type"), ("car", r"shapes\.1"),
    (mask_shape("car", 0, 0, np.ones((1, 1))) | {"mask": "&"}, r"shapes\.1: the mask of 'car' is not a readable PNG"),
    (mask_shape("car", 0, 0, np.ones((1, 1))) | {"mask": None}, r"shapes\.1: the mask of 'car' is not a readable PNG"),
])
def test_a_fault_of_labelme_names_file_and_shape(tmp_path, shape, message):
    with pytest.raises(ReleaseError, match=rf"a\.json: {message}") as error:
        drawn(tmp_path, polygon("car", *FULL), shape)
    assert "\n" not in str(error.value)


def test_labelme_of_another_image_is_refused(tmp_path):
    with pytest.raises(ReleaseError, match=r"a\.json: the labels are of an image of 6x8, but the frame is 8x6"):
        drawn(tmp_path, own=(8, 6))


def read_coco(tmp_path, *objects, spec=SPEC, size=SIZE, own=SIZE, name="a.jpg"):
    names = {1: "street", 5: "car", 9: "sky", 10: "tram"}
    path = write_coco(tmp_path / "coco.json", list(objects), own, names, ("a.jpg", "more/b.jpg"))
    return shown(coco.read(path, name, spec, size))


def test_coco_paints_small_objects_over_large_ones_whatever_their_order(tmp_path):
    car = {"category_id": 5, "segmentation": [SQUARE]}
    street = {"category_id": 1, "segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]]}
    expected = ["rrrrrrrr", "rccrrrrr", "rccrrrrr", "rrrrrrrr", "rrrrrrrr", "rrrrrrrr"]
    assert read_coco(tmp_path, car, street) == read_coco(tmp_path, street, car) == expected
    assert read_coco(tmp_path, car, street, name="more/b.jpg") == ["........"] * 6
    assert coco.frames(tmp_path / "coco.json") == {"a.jpg": SIZE}, "b.jpg has no annotation"
    assert coco.unlabelled(tmp_path / "coco.json") == ["more/b.jpg"]


def test_an_object_of_coco_has_all_its_parts_also_where_they_overlap(tmp_path):
    parts = [SQUARE, [2, 2, 4, 2, 4, 4, 2, 4], [7, 5, 8, 5, 8, 6, 7, 6]]
    rows = read_coco(tmp_path, {"category_id": 5, "segmentation": parts, "iscrowd": 0})
    assert rows == ["........", ".cc.....", ".ccc....", "..cc....", "........", ".......c"]
    twice = read_coco(tmp_path, {"category_id": 5, "segmentation": parts}, size=(12, 16))
    assert twice == ["".join(value * 2 for value in row) for row in rows for _ in range(2)]


@pytest.mark.parametrize("counts", [
    [13, 2, 4, 2, 27], "=240g0",  # runs go down the columns; the text is COCO's own code of the same runs
])
def test_run_lengths_of_coco(tmp_path, counts):
    crowd = {"category_id": 5, "segmentation": {"size": list(SIZE), "counts": counts}, "iscrowd": 1}
    assert read_coco(tmp_path, crowd) == ["........", "..cc....", "..cc....", *["........"] * 3]
    assert read_coco(tmp_path, crowd, size=(12, 16))[2:6] == ["....cccc........"] * 4


def test_run_lengths_that_get_shorter(tmp_path):
    # as COCO's own library writes the runs 7, 4, 4, 1, 2, 1, 29: from the fourth on differences, here -3 and -2
    objects = {"category_id": 5, "segmentation": {"size": list(SIZE), "counts": "744MN0k0"}}
    assert read_coco(tmp_path, objects) == ["...c....", ".c......", ".c......", ".cc.....", ".c......", "........"]


@pytest.mark.parametrize("change, message", [
    ({"category_id": 10}, "annotation 1 of a.jpg: 'tram' is not a label of Two"),
    ({"category_id": 4}, "annotation 1 of a.jpg: there is no category 4"),
    ({"segmentation": []}, "annotation 1 of a.jpg: has a box at most, no outline"),
    ({"segmentation": None}, "annotation 1 of a.jpg: has a box at most, no outline"),
    ({"segmentation": [[1, 1, 2, 2]]}, "annotation 1 of a.jpg: a polygon of 4 numbers"),
    ({"segmentation": [SQUARE, [*SQUARE, 1]]}, "annotation 1 of a.jpg: a polygon of 9 numbers"),
    ({"segmentation": [[1, 1, float("inf"), 2, 3, 3]]}, r"annotations\.0\.segmentation.*finite"),
    ({"segmentation": {"size": [6, 8], "counts": [5, 3]}}, "its mask has 8 pixels of 8x6, the image 8x6"),
    ({"segmentation": {"size": [6, 8], "counts": [5, 43, 1]}}, "its mask has 49 pixels"),
    ({"segmentation": {"size": [8, 6], "counts": [5, 43]}}, "its mask has 48 pixels of 6x8, the image 8x6"),
    ({"segmentation": {"size": [6, 8], "counts": [-5, 53]}}, r"annotations\.0\.segmentation"),
    ({"segmentation": {"size": [6, 8], "counts": "~~"}}, "its mask is no run-length code of COCO"),
    ({"segmentation": {"size": [6, 8], "counts": "o" * 1000}}, "its mask is no run-length code of COCO"),
    ({"segmentation": {"size": [6, 8], "counts": "5Po"}}, "annotation 1 of a.jpg: its mask"), ({"image_id": "a"}, "image_id"),
])
def test_a_fault_of_coco_names_file_and_annotation(tmp_path, change, message):
    with pytest.raises(ReleaseError, match=rf"coco\.json: .*{message}") as error:
        read_coco(tmp_path, {"category_id": 5, "segmentation": [SQUARE]} | change)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_an_image_that_coco_does_not_have_or_has_twice_is_one_line(tmp_path):
    with pytest.raises(ReleaseError, match=r"coco\.json: has no image c\.jpg"):
        read_coco(tmp_path, name="c.jpg")
    with pytest.raises(ReleaseError, match=r"coco\.json: a\.jpg: the labels are of an image of 8x6, but the frame is 6x8"):
        read_coco(tmp_path, size=(8, 6))
    with pytest.raises(ReleaseError, match=r"coco\.json: two images have the same name or id"):
        coco.frames(write_coco(tmp_path / "coco.json", [], SIZE, {}, ("a.jpg", "a.jpg")))


def test_a_coco_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    read, times = coco.read_checked, []
    monkeypatch.setattr(coco, "read_checked", lambda *given: times.append(1) or read(*given))
    path = write_coco(tmp_path / "coco.json", [{"category_id": 1}], SIZE, {}, ("a.jpg",))
    assert coco.frames(path) == coco.frames(path) == {"a.jpg": SIZE} and len(times) == 1
    write_coco(path, [{"category_id": 1}], SIZE, {}, ("b.jpg",))
    os.utime(path, ns=(1, 1))
    assert coco.frames(path) == {"b.jpg": SIZE} and len(times) == 2


@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe{}", b'{"shapes": NaN, "images": NaN}', b'{"shapes": 1e999, "images": 1e999}',
    b'{"shapes": [], "imageHeight": 99999999999999999999999, "imageWidth": 1, "images": [{"id": 1e400}], "categories": []}',
], ids=range(8))
def test_what_is_no_label_file_is_one_line(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    for reading in (lambda path: labelme.read(path, SPEC, SIZE), coco.frames):
        with pytest.raises(ReleaseError, match=r"a\.json: ") as error:
            reading(tmp_path / "a.json")
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
        with pytest.raises(ReleaseError, match=r"absent\.json: cannot be read"):
            reading(tmp_path / "absent.json")


values = st.recursive(
    st.none() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3) | st.sampled_from(["car", "mask"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8,
)
short = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@short
@given(entry=st.sampled_from(["label", "points", "shape_type", "mask", "imageHeight", "imageWidth", "shapes"]), value=values)
def test_labelme_with_any_value_anywhere_is_read_or_one_line(tmp_path, entry, value):
    content = {"shapes": [mask_shape("car", 1, 1, np.ones((2, 2)))], "imageHeight": 6, "imageWidth": 8}
    (content if entry in content else content["shapes"][0])[entry] = value
    (tmp_path / "a.json").write_text(json.dumps(content))
    with suppress(ReleaseError):
        assert labelme.read(tmp_path / "a.json", SPEC, SIZE).shape == SIZE


@short
@given(
    entry=st.sampled_from(["id", "image_id", "category_id", "segmentation", "counts", "size"]), value=values,
    text=st.text("04PQo_", max_size=9),
)
def test_coco_with_any_value_anywhere_is_read_or_one_line(tmp_path, entry, value, text):
    segmentation = {"size": [6, 8], "counts": text} | ({entry: value} if entry in ("counts", "size") else {})
    annotation = {"id": 1, "image_id": 1, "category_id": 5, "segmentation": segmentation}
    with suppress(ReleaseError):
        assert len(read_coco(tmp_path, annotation | ({entry: value} if entry in annotation else {}))) == 6


def test_a_labelmap_of_cvat(tmp_path):
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\nlane:left:1,2,3::\n\n", encoding="utf-8-sig"
    )
    expected = {"background": (0, 0, 0), "road": (128, 64, 128), "lane:left": (1, 2, 3)}
    assert cvat.read_labelmap(tmp_path / "labelmap.txt") == expected


@pytest.mark.parametrize("text, message", [
    ("road", "line 1"), ("#\nroad:1,2::", "line 2"), ("road:1,2,256::", "line 1"), (":1,2,3::", "line 1"),
    ("road:1,2,3::\nroad:3,4,5::", "line 2"), ("road:a,b,c::", "line 1"), ("# nothing", "names no label"), ("\xff", "readable"),
])
def test_a_fault_of_a_labelmap_is_one_line(tmp_path, text, message):
    (tmp_path / "labelmap.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(ReleaseError, match=rf"labelmap\.txt: .*{message}") as error:
        cvat.read_labelmap(tmp_path / "labelmap.txt")
    assert "\n" not in str(error.value)
    with pytest.raises(ReleaseError, match="absent"):
        cvat.read_labelmap(tmp_path / "absent.txt")

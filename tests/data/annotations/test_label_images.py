"""Label images: colours, grey numbers, palettes; one line for each fault."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.labels import labels_spec
from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import read_label_image

COLOURS = labels_spec({"street": (128, 64, 128), "car": (64, 0, 128), "sky": (0, 0, 0)})
NUMBERS = labels_spec({"street": 7, "car": 300, "sky": 0})
SMALL = labels_spec({"street": 1, "car": 2, "sky": 0})
IDS = np.array([[0, 1, IGNORE], [1, 1, 0]], np.uint8)
RGB = np.array([[(128, 64, 128), (64, 0, 128), (0, 0, 0)], [(64, 0, 128), (64, 0, 128), (128, 64, 128)]], np.uint8)
INDICES = np.array([[1, 2, 0], [2, 2, 1]], np.uint8)


def with_palette(indices, colours):
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([part for colour in colours for part in colour])
    return image


def with_alpha(alpha):
    return Image.fromarray(np.dstack([RGB, np.array(alpha, np.uint8)]))


FORMS = {
    "colours": (COLOURS, Image.fromarray(RGB)),
    "colours of a palette": (COLOURS, with_palette(INDICES, [(0, 0, 0), (128, 64, 128), (64, 0, 128)])),
    "colours with an opaque alpha": (COLOURS, with_alpha(np.full((2, 3), 255))),
    "numbers of 8 bits": (SMALL, Image.fromarray(INDICES)),
    "numbers of 16 bits": (NUMBERS, Image.fromarray(np.array([[7, 300, 0], [300, 300, 7]], np.uint16))),
    "indices of a palette": (SMALL, with_palette(INDICES, [(0, 0, 0), (128, 0, 0), (0, 128, 0)])),
    "indices of a palette with a colour twice": (SMALL, with_palette(INDICES, [(0, 0, 0)] * 3)),
    "numbers in three equal channels": (SMALL, Image.fromarray(np.dstack([INDICES] * 3))),
    "grey as colours": (labels_spec({"street": (1, 1, 1), "car": (2, 2, 2), "sky": (0, 0, 0)}), Image.fromarray(INDICES)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_ids(tmp_path, form):
    spec, image = FORMS[form]
    image.save(tmp_path / "a.png")
    ids = read_label_image(tmp_path / "a.png", spec)
    assert ids.dtype == np.uint8 and np.array_equal(ids, IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_indices_of_few_bits_are_the_ids(tmp_path, bits):
    indices = INDICES % 2 if bits == 1 else INDICES
    with_palette(indices, [(5, 5, 5), (6, 6, 6), (7, 7, 7)]).save(tmp_path / "a.png", bits=bits)
    expected = np.where(indices == 0, IGNORE, indices - 1)
    assert np.array_equal(read_label_image(tmp_path / "a.png", SMALL), expected)


@pytest.mark.parametrize("unlabelled, value", [(None, IGNORE), ("car", 1)])
def test_transparent_pixels_are_unlabelled(tmp_path, unlabelled, value):
    with_alpha([[255, 255, 255], [0, 0, 255]]).save(tmp_path / "a.png")
    expected = IDS.copy()
    expected[1, :2] = value
    assert np.array_equal(read_label_image(tmp_path / "a.png", labels_spec(COLOURS.labels, unlabelled)), expected)


def test_255_is_ignored_among_numbers_unless_it_has_a_name(tmp_path):
    Image.fromarray(np.array([[1, 255]], np.uint8)).save(tmp_path / "a.png")
    assert read_label_image(tmp_path / "a.png", SMALL).tolist() == [[0, IGNORE]]
    assert read_label_image(tmp_path / "a.png", labels_spec({"street": 1, "car": 255, "sky": 0})).tolist() == [[0, 1]]


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(1, 60, (8, 8, 3), np.uint8))


@pytest.mark.parametrize("spec, image, message", [
    (COLOURS, Image.fromarray(np.full((2, 3, 3), (1, 2, 3), np.uint8)),
     r"colour \(1, 2, 3\) at x=0, y=0 is not a label colour of Two \(6 pixels of 1 such colours\); write `name: \[1, 2, 3\]`"),
    (COLOURS, Image.fromarray(np.array([[7, 0]], np.uint8)), r"colour \(7, 7, 7\) at x=0, y=0 .*1 pixels"),
    (COLOURS, noise(), "stored with loss or blended: use the lossless PNG"),
    (SMALL, Image.fromarray(np.array([[0, 0], [0, 9]], np.uint8)), r"number 9 at x=1, y=1 .*`name: 9`"),
    (NUMBERS, Image.fromarray(np.array([[7, 65535]], np.uint16)), "number 65535 at x=1, y=0"),
    (SMALL, Image.fromarray(RGB), r"is in colours, but labels: of Two are numbers; write `name: \[r, g, b\]`"),
    (COLOURS, Image.fromarray(np.array([[7, 300]], np.uint16)), "has values of uint16, not 8 bits for a colour"),
    (COLOURS, with_alpha([[255, 255, 255], [0, 90, 255]]), "half transparent"),
])
def test_a_fault_is_one_line_that_says_what_to_write(tmp_path, spec, image, message):
    image.save(tmp_path / "a.png")
    with pytest.raises(ReleaseError, match=rf"a\.png: .*{message}") as error:
        read_label_image(tmp_path / "a.png", spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("spec", [COLOURS, SMALL])
def test_a_jpeg_is_refused_whatever_its_name(tmp_path, spec, name):
    Image.fromarray(RGB).save(tmp_path / name, format="JPEG")
    with pytest.raises(ReleaseError, match="a JPEG does not keep the colours that were drawn; export the labels as PNG"):
        read_label_image(tmp_path / name, spec)


@pytest.mark.parametrize("spec", [COLOURS, SMALL])
def test_what_is_damaged_or_not_there_is_one_line(tmp_path, spec):
    with_palette(INDICES.repeat(50, 0).repeat(50, 1), [(0, 0, 0)] * 3).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for end in (0, 5, 30, 100):
        (tmp_path / "a.png").write_bytes(data[:end])
        with pytest.raises(ReleaseError, match=r"a\.png: not a readable image"):
            read_label_image(tmp_path / "a.png", spec)
    with pytest.raises(ReleaseError, match=r"b\.png: file is missing"):
        read_label_image(tmp_path / "b.png", spec)


def test_colours_are_read_as_opencv_writes_them(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), RGB[..., ::-1])
    assert np.array_equal(read_label_image(tmp_path / "a.png", COLOURS), IDS)

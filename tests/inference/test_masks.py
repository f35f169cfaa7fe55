"""Class maps in a folder: named after their frames, with or without colours, never mixed with those of another run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers.media import SIZE
from sspcore.core.classes import colourise
from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.inference import Segmented, mask_folder
from sspcore.inference.fit import Fit
from sspcore.inference.masks import require_masks


def result(number: int, name: str | None = None, labels: np.ndarray | None = None, **more) -> Segmented:
    labels = np.full(SIZE, number % 8, np.uint8) if labels is None else labels
    image = np.full((*labels.shape, 3), 10 * number, np.uint8)
    fit = Fit.of(labels.shape, SIZE)
    return Segmented(number, name or f"{number:06d}", image, labels, None, None, number == 0, True, fit, **more)


def test_masks_are_named_after_their_frames_and_listed(tmp_path):
    write = mask_folder(tmp_path / "masks")
    write(result(3, "frame_0004"))
    write(result(5, "a, b"))
    assert sorted(path.name for path in tmp_path.glob("masks/*")) == ["a, b.png", "frame_0004.png", "masks.csv"]
    assert (tmp_path / "masks" / "masks.csv").read_text() == 'file,frame\nframe_0004.png,3\n"a, b.png",5\n'
    assert np.array_equal(np.array(Image.open(tmp_path / "masks" / "frame_0004.png")), np.full(SIZE, 3))
    with pytest.raises(SspError, match="two frames of the source are called frame_0004"):
        write(result(6, "frame_0004"))


def test_a_palette_shows_colours_and_keeps_the_ids(tmp_path):
    labels = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % 8
    labels[0, 0] = 255
    mask_folder(tmp_path, UAVID)(result(0, labels=labels))
    with Image.open(tmp_path / "000000.png") as image:
        assert image.mode == "P" and np.array_equal(np.array(image), labels)
        assert np.array_equal(np.array(image.convert("RGB")), colourise(labels, UAVID))


def test_masks_of_an_earlier_run_make_room_and_all_else_stays(tmp_path):
    write = mask_folder(tmp_path)
    for number in range(4):
        write(result(number))
    (tmp_path / "notes.txt").write_text("mine")
    outside = tmp_path.parent / "outside.png"
    outside.write_text("mine")
    with (tmp_path / "masks.csv").open("a") as file:
        file.write("../outside.png,9\nnotes.txt,9\n")
    require_masks(tmp_path)
    write = mask_folder(tmp_path)
    for number in range(2):
        write(result(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.png", "000001.png", "masks.csv", "notes.txt"]
    assert outside.read_text() == "mine" and "000003" not in (tmp_path / "masks.csv").read_text()


def test_files_that_no_run_listed_are_refused_and_left(tmp_path):
    (tmp_path / "000007.png").write_text("mine")
    for attempt in (lambda: require_masks(tmp_path), lambda: mask_folder(tmp_path)(result(0))):
        with pytest.raises(SspError, match="holds 000007.png, which no masks.csv there lists"):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["000007.png"]

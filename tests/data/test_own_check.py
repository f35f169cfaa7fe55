"""The check of one's own data: what is wrong is one line that says what to do, and the rest goes on."""

from __future__ import annotations

import logging
import re
import shutil
import zipfile

import pytest
from PIL import ExifTags, Image

from helpers.media import write_rgb
from helpers.own import LABEL, SIZE, describe, images, label_png, shade, video
from sspcore.cli.main import main
from sspcore.core.errors import ReleaseError
from sspcore.core.files import read_json
from sspcore.core.paths import Workspace
from sspcore.data.check import check_release, require_release, source_files
from sspcore.data.datasets import open_dataset
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.releases import find_sequences

STILLS = {"stills": "stills/{still}.*", "still_labels": "stills/{still}_label.png"}
RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=2, drop_first=False, require_label=False)


@pytest.fixture
def flight(tmp_path):
    """Two videos, one without a label, and a still; the last quarters are for validation."""
    root = tmp_path / "the harbour"
    files = {"video": "{sequence}.mp4", "labels": "labels/{sequence}/{frame}.png"}
    spec = describe(root, files | STILLS, validation_share=0.25)
    for name in ("a", "b"):
        video(root / f"{name}.mp4")
    for number in (2, 10):
        label_png(root / "labels" / "a" / f"{number}.png")
    images(root / "stills", [1], "one.png")
    label_png(root / "stills" / "one_label.png")
    return spec


def checked(spec, tmp_path):
    return check_release(None, spec, Workspace("demo", tmp_path / "work"))


def test_what_is_in_order_is_found_and_read_once(flight, tmp_path, monkeypatch):
    first = checked(flight, tmp_path)
    assert first.problems == () and first.stops == "" and first.conclusion == (
        "Own goes on: train: 2 videos, 1 stills, 2 labelled frames; val: 2 videos, 0 stills, 1 labelled frames"
    )
    assert [(row.what, row.found, row.missing, row.damaged) for row in first.rows] == [
        ("videos", 2, 0, 0), ("labels", 1, 1, 0), ("stills", 1, 0, 0), ("labels of stills", 1, 0, 0),
    ]
    monkeypatch.setattr("sspcore.data.check.examine", lambda job: pytest.fail(f"{job[0].name} was read again"))
    assert checked(flight, tmp_path) == first
    assert check_release(None, flight, Workspace("paper+harbour", tmp_path / "work")) == first  # a run under any profile
    assert len(source_files(None, flight)) == 2 + 2 + 2


def test_the_key_tells_labels_apart_and_not_where_the_folder_lies(flight, tmp_path):
    before = checked(flight, tmp_path).key()
    moved = shutil.copytree(flight.root, tmp_path / "elsewhere" / "the harbour")
    assert checked(open_dataset(moved), tmp_path / "second").key() == before
    label_png(flight.root / "labels" / "a" / "2.png", 1 - LABEL)
    assert checked(flight, tmp_path).key() != before


@pytest.mark.parametrize("harm, line, count", [
    (lambda root: label_png(root / "labels/a/40.png"), r"a\.mp4: has frames 0 to 11, but labels up to frame 40 \(1 l", 0),
    (lambda root: label_png(root / "labels/a/12.png"), r"up to frame 12; if they count from 1, write first_frame: 1", 0),
    (lambda root: label_png(root / "labels/a/2.png", LABEL + 5), r"labels/a/2\.png: number 5 .*under labels:", 1),
    (lambda root: label_png(root / "labels/a/2.png", LABEL[:9]), r"2\.png: label is 64x9 but the frame is 64x48; export", 1),
    (lambda root: label_png(root / "labels/c/2.png"), r"c\.mp4: file is missing.*\(c is left out\)", 0),
    (lambda root: (root / "b.mp4").write_bytes(b"x" * 99), r"b\.mp4: not a readable video.*\(b is left out\)", 0),
    (lambda root: (root / "stills/one.png").write_bytes(b"x"), r"one\.png: not a readable image", 1),
    (lambda root: (root / "stills/one_label.png").unlink(), r"one\.png: has no label \(distillation alone", 1),
    (lambda root: label_png(root / "stills/two_label.png"), r"two_label\.png: is the label of no still that is there", 0),
])
def test_what_is_wrong_is_one_line_and_the_rest_goes_on(flight, tmp_path, caplog, monkeypatch, harm, line, count):
    """`count`: labels that are lost."""
    monkeypatch.setattr(logging.getLogger("sspcore"), "propagate", True)
    harm(flight.root)
    result = checked(flight, tmp_path)
    assert len(result.problems) == 1 and re.search(line, result.problems[0]) and not result.stops
    assert sum(len(each.labels) for each in result.sequences) == 3 - count
    assert require_release(None, flight, Workspace("demo", tmp_path / "work")) == result
    assert f"listed by: sspcore check --dataset '{flight.root}/dataset.yaml'" in caplog.text


def test_a_damaged_image_of_a_folder_is_left_out_of_its_video(tmp_path):
    files = {"frames": "{sequence}/{frame}.png", "labels": "l/{sequence}/{frame}.png"}
    spec = describe(tmp_path / "own", files, validation=["b"])
    for name in ("a", "b"):
        images(spec.root / name, [1, 2, 3])
    (spec.root / "a" / "000002.png").write_bytes(b"x")
    for number in (1, 2, 9):
        label_png(spec.root / "l" / "a" / f"{number}.png")
    result = checked(spec, tmp_path)
    a, b = result.sequences
    assert ([*a.frames], [*a.labels], [*b.frames], [*b.labels]) == ([1, 3], [1], [1, 2, 3], [])
    first, second = result.problems
    assert "000002.png: not a readable image" in first and "l/a/9.png: its frame is not in" in second
    (tmp_path / "clips").mkdir()
    prepare_clips(spec.root, spec, RULES, tmp_path / "clips", sequences=result.sequences)
    assert read_json(tmp_path / "clips" / "train" / "a_000001" / "clip.json")["frames"] == [1, 3]
    assert "no mIoU" in result.conclusion


def test_without_a_label_to_learn_from_it_stops(flight, tmp_path):
    shutil.rmtree(flight.root / "labels")
    shutil.rmtree(flight.root / "stills")
    result = checked(flight, tmp_path)
    assert "no train sequence of Own can be used with its labels; label some frames" in result.stops
    with pytest.raises(ReleaseError, match="label some frames"):
        require_release(None, flight, Workspace("demo", tmp_path / "work"))
    (flight.root / "a.mp4").unlink()
    (flight.root / "b.mp4").unlink()
    with pytest.raises(ReleaseError, match=r"no train sequence of Own found; nothing there fits video: \{sequence\}"):
        find_sequences(flight.root, flight)


def test_labels_of_stills_alone_are_said_to_tell_nothing_of_the_video(flight, tmp_path):
    note = "no label is of a video: mIoU says nothing about your video; label some frames of it"
    assert note not in checked(flight, tmp_path).conclusion
    shutil.rmtree(flight.root / "labels")
    assert checked(flight, tmp_path).conclusion.endswith(f"0 labelled frames (so there will be no mIoU); {note}")


def test_archives_in_its_folder_are_left_alone_and_told(tmp_path, flight):
    """A forgotten copy of old labels must not be read where a new one was taken out."""
    with zipfile.ZipFile(flight.root / "old_labels.zip", "w") as file:
        file.write(flight.root / "labels" / "a" / "2.png", "labels/a/2.png")
    (flight.root / "labels" / "a" / "2.png").unlink()
    result = checked(flight, tmp_path)
    assert result.problems == (f"{flight.root}/old_labels.zip: archives are not read here; unpack it",)
    assert sum(len(each.labels) for each in result.sequences) == 2 and not (tmp_path / "work").joinpath("unpacked").exists()
    assert all(path.suffix != ".zip" for path in source_files(None, flight))


def test_pictures_of_another_shape_are_told(tmp_path):
    files = {"frames": "{sequence}/{frame}.png", "labels": "l/{frame}.json"}
    spec = describe(tmp_path / "own", files | STILLS, validation=["b"])
    for name in ("a", "b"):
        images(spec.root / name, [1])
    write_rgb(spec.root / "high" / "1.png", shade(1, SIZE[::-1]))
    write_rgb(spec.root / "stills" / "near.png", shade(1, (48, 76)))
    write_rgb(spec.root / "stills" / "wide.png", shade(1, (48, 84)))
    (line,) = (line for line in checked(spec, tmp_path).problems if "stretches" in line)
    assert line.startswith(f"{spec.root}: high, wide: of another shape than 64x48, so training stretches them to that")
    given = describe(spec.root, spec.files, validation=["b"], input_size=[64, 32])
    assert any("a, high, near, wide, b: of another" in line for line in checked(given, tmp_path).problems)


@pytest.mark.parametrize("orientation, size, told", [(1, SIZE, False), (3, SIZE, True), (6, SIZE, False), (6, (48, 48), True)])
def test_a_turned_picture_whose_label_may_be_turned_too_is_told(tmp_path, orientation, size, told):
    spec = describe(tmp_path / "own", STILLS, validation=["two"])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    (spec.root / "stills").mkdir()
    for name in ("one", "two"):
        Image.fromarray(shade(1, size)).save(spec.root / "stills" / f"{name}.jpg", exif=exif)
        label_png(spec.root / "stills" / f"{name}_label.png", LABEL[:, :size[1]].T if orientation == 6 else LABEL)
    problems = checked(spec, tmp_path).problems
    assert [f"(EXIF orientation {orientation})" in line for line in problems] == [True, True] * told


def test_the_command_takes_the_file_or_the_folder(flight, tmp_path, capsys):
    label_png(flight.root / "labels/a/2.png", LABEL + 5)
    for source in (flight.root, flight.root / "dataset.yaml"):
        assert main(["check", "--dataset", str(source), "--root", str(tmp_path / "work"), "--workers", "1"]) == 0
        text = capsys.readouterr().out
        assert "2.png: number 5" in text and "Own goes on" in text and "where to get it" not in text
    for arguments in ([], ["--data", str(tmp_path), "--dataset", str(flight.root)], ["--dataset", str(tmp_path / "absent")],
                      ["--dataset", ""], ["--dataset", " ,"]):
        assert main(["check", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_same_problem_of_many_files_is_counted(flight, tmp_path, capsys):
    for number in range(12):
        label_png(flight.root / "labels" / "a" / f"{number}.png", LABEL + 5)
    main(["check", "--dataset", str(flight.root), "--root", str(tmp_path / "work"), "--workers", "1"])
    text = capsys.readouterr().out
    assert text.count("number 5 at x=0") == 3 and "... and so of 9 more files" in text

"""Data sets as files: the two that come with the package, and one line for each fault of a description."""

from __future__ import annotations

import pytest
import yaml
from pydantic import TypeAdapter

from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError
from sspcore.data.datasets import RURALSCAPES, SPECS, UAVID, DatasetSpec, file_of, open_dataset, read_spec

SMALL = {
    "title": "Two", "classes": {"road": [1, 2, 3], "car": [4, 5, 6]}, "moving": ["car"], "validation": ["b"],
    "labels": {"street": [9, 9, 9], "car": [0, 0, 255], "sky": [7, 7, 7]}, "label_classes": {"street": "road", "sky": None},
    "files": {"video": "{split}/{sequence}.mp4", "labels": "{split}/{sequence}/{frame}.png"},
}


def written(folder, content):
    path = folder / "two.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def test_classes_colours_and_what_moves_of_the_packaged_data_sets():
    assert UAVID.classes == ("road", "vegetation", "tree", "person", "vehicle", "water", "building", "roof")
    assert UAVID.palette[0] == (128, 64, 128) and UAVID.palette[-1] == (225, 130, 60) and UAVID.moving_ids == (3, 4)
    assert UAVID.label_colours == {
        (0, 0, 0): IGNORE, (128, 0, 0): 6, (128, 64, 128): 0, (0, 128, 0): 2, (128, 128, 0): 1, (64, 0, 128): 4,
        (192, 0, 192): 4, (64, 64, 0): 3,
    }
    assert RURALSCAPES.classes == (
        "residential", "land", "forest", "sky", "fence", "road", "hill", "church", "car", "person", "haystack", "water",
    )
    assert RURALSCAPES.palette[7] == (90, 20, 150) and RURALSCAPES.moving_ids == (8, 9)
    assert RURALSCAPES.label_colours[0, 0, 0] == IGNORE and RURALSCAPES.label_colours[255, 0, 255] == 7
    assert sorted(RURALSCAPES.label_colours.values()) == [*range(12), IGNORE]


def test_the_packaged_data_sets_by_name():
    assert {**SPECS} == {"uavid": UAVID, "ruralscapes": RURALSCAPES}


def test_a_description_is_read_from_a_file(tmp_path):
    spec = read_spec(written(tmp_path, SMALL))
    assert (spec.name, spec.classes, spec.palette) == ("two", ("road", "car"), ((1, 2, 3), (4, 5, 6)))
    assert spec.label_colours == {(9, 9, 9): 0, (0, 0, 255): 1, (7, 7, 7): IGNORE}
    assert spec.path("labels", "val", "b", "0007") == "val/b/0007.png"


FILES = SMALL["files"]


@pytest.mark.parametrize("change, message", [
    ({"moving": ["bus"]}, "moving: bus: no such class; choose from road, car"),
    ({"unlabelled": "bus"}, "unlabelled: bus: no such class"),
    ({"label_classes": {"street": "lane", "sky": None}}, "label_classes: street: lane: no such class; .* or null to ignore"),
    ({"label_classes": {"street": "road"}}, "labels: sky: no such class; say under label_classes which it is"),
    ({"label_classes": {"street": "road", "sky": None, "sea": None}}, "label_classes: sea: no such label"),
    ({"classes": {"road": [1, 2, 300], "car": [0, 0, 0]}}, r"classes: \(1, 2, 300\) is no colour"),
    ({"classes": {"road": [1, 2], "car": [0, 0, 0]}}, r"classes: road: \[1, 2\] is no colour.*to each class or to none"),
    ({"classes": {"road": [1, 2, 3], "car": None}}, "classes: car: None is no colour.*to each class or to none"),
    ({"classes": {"road": [1, 2, 3], "car": [1, 2, 3]}}, r"classes: \(1, 2, 3\) is given twice"),
    ({"classes": ["road", "car", "car"]}, "classes: car is named twice"), ({"classes": ["road"]}, "classes: 1 are given"),
    ({"classes": ["road", False]}, "classes: False is no name; write it in quotes"), ({"classes": None}, "classes: is missing"),
    ({"labels": {"street": [9, 9, 9], "car": [9, 9, 9], "sky": [7, 7, 7]}}, r"labels: street and car have the same colour"),
    ({"labels": {"street": [9, 9, 9], "car": 3, "sky": [7, 7, 7]}}, "labels: colours and ids are mixed"),
    ({"labels": {"street": 1, "car": 1, "sky": 2}}, "labels: street and car have the same id 1"),
    ({"labels": {"street": 1, "car": -1, "sky": 2}}, "labels: car: -1 is no id"),
    ({"labels": {"street": "red", "car": 1, "sky": 2}}, "labels: street: 'red' is neither a colour"),
    ({"labels": ["street", "street"]}, "labels: street is named twice"),
    ({"files": {"video": "{sequence}.mp4"}}, "files: labels is missing"),
    ({"files": {"labels": "{frame}.png"}}, "files: video is missing"),
    ({"files": {"stills": "{still}.jpg"}}, "files: labels is missing"),
    ({"files": FILES | {"stills": "{still}.jpg"}}, "files: still_labels is missing"),
    ({"files": FILES | {"still_labels": "{still}.png"}}, "files: stills is missing, which still_labels are of"),
    ({"files": FILES | {"frames": "{sequence}/a.png"}}, r"files: frames: \{sequence\}/a\.png: must name \{frame\}"),
    ({"files": FILES | {"labels": "{sequence}/a.png"}}, r"files: labels: \{sequence\}/a\.png: must name \{frame\}"),
    ({"files": FILES | {"labels": "{number}.png"}}, r"files: labels: \{number\}\.png: \{number\} is no field of it"),
    ({"files": FILES | {"labels": "{frame.png"}}, r"files: labels: \{frame\.png: .*write fields as \{sequence\}"),
    ({"files": FILES | {"labels": "../{frame}.png"}}, "files: labels: .*leads outside"),
    ({"files": FILES | {"labels": "/labels/{frame}.png"}}, "files: labels: .*leads outside"),
    ({"files": FILES | {"labels": "C:/labels/{frame}.png"}}, "files: labels: .*leads outside"),
    ({"files": FILES | {"label": "{frame}.png"}}, "files.label: unknown kind of file; choose from 'video', 'frames'"),
    ({"files": FILES | {"vdd": "{split}/{sequence}/{frame}.png"}}, "files: vdd: that layer refines"),
    ({"files": FILES | {"frames": "{sequence}/{frame}.png"}}, "must name .split., as .split./.sequence..mp4"),
    ({"palette": []}, "palette: unknown setting; choose from title, classes"), ({"title": None}, "title"),
    ({"validation_share": 1}, "validation_share"), ({"frame_step": 0}, "frame_step"), ({"frame_step": True}, "frame_step"),
    ({"validation": [16]}, "validation.0: 16 is no text; write it in quotes"),
    ({"input_size": [100, 200]}, "input_size: 100x200"),
    ({"validation": "b"}, r"validation: 'b' is no list; write one, as in \[b\]; see"),
    ({"validation": [], "files": {"video": "{sequence}.mp4", "labels": "{frame}.png"}}, "validation: is missing"),
    ({"sequence": "("}, "sequence: .*no regular expression"),
    ({"sequence": "(?P<frame>a+)"}, "sequence: .*the group frame has a name; write it as"),
    ({"files": FILES | {"labels": "{frame:>9}.png"}}, r"files: labels: .*a field takes no format; write \{frame\}; see "),
    ({"files": FILES | {"labels": "{frame!r}.png"}}, "files: labels: .*a field takes no format"),
])
def test_a_fault_is_one_line_that_names_the_file(tmp_path, change, message):
    with pytest.raises(ReleaseError, match=rf"two\.yaml: .*{message}") as error:
        read_spec(written(tmp_path, SMALL | change))
    assert "\n" not in str(error.value)


def test_what_the_shortest_file_leaves_out(tmp_path):
    """Names alone: colours are chosen, labels hold ids in their order, the last quarter of every video is for validation."""
    spec = read_spec(written(tmp_path, "classes: [road, car]\nfiles: {video: '*.mp4', labels: '{sequence}/{frame}.png'}\n"))
    assert (spec.name, spec.title, spec.root, spec.validation, spec.validation_share) == ("two", "two", tmp_path, (), 0.25)
    assert len(set(spec.palette)) == 2 and spec.label_ids == {0: 0, 1: 1, 255: IGNORE} and spec.label_colours == {}
    assert spec.label_names == {"road": 0, "car": 1} and spec.moving == () and spec.frame_step is None


def test_ids_and_names_of_labels(tmp_path):
    spec = read_spec(written(tmp_path, SMALL | {"labels": {"street": 7, "car": 255, "sky": 300}}))
    assert spec.label_ids == {7: 0, 255: 1, 300: IGNORE}  # 255 is the file's to name
    spec = read_spec(written(tmp_path, SMALL | {"labels": ["sky", "car", "street"]}))
    assert spec.label_names == {"sky": IGNORE, "car": 1, "street": 0} and spec.label_ids == {0: IGNORE, 1: 1, 2: 0, 255: IGNORE}


@pytest.mark.parametrize("labels", [SMALL["labels"], {"street": 1, "car": 2, "sky": 3}])
def test_a_description_survives_json(tmp_path, labels):
    content = SMALL | {"labels": labels, "input_size": [64, 96], "frame_step": 2, "validation_share": 0.5}
    spec, kind = read_spec(written(tmp_path, content)), TypeAdapter(DatasetSpec)
    assert kind.validate_json(kind.dump_json(spec), strict=True) == spec
    assert kind.validate_python(kind.dump_python(UAVID)) == UAVID


def test_a_data_set_is_opened_by_name_file_or_folder(tmp_path):
    assert open_dataset("uavid") is UAVID and UAVID.root is None
    path = written(tmp_path, SMALL)
    assert open_dataset(path) == open_dataset(str(path)) and open_dataset(path).root == tmp_path
    folder = tmp_path / "Flüge über Land (1)"
    folder.mkdir()
    path.rename(folder / "dataset.yaml")
    (folder / "dataset.yaml").write_text("\ufeff" + (folder / "dataset.yaml").read_text().replace("title: Two\n", ""))
    spec = open_dataset(folder)
    assert (spec.name, spec.title, spec.root) == ("fluge-uber-land-1", folder.name, folder)
    assert not is_absolute_in_key(spec) and spec.is_validation("b") and not spec.is_validation("B")


def is_absolute_in_key(spec: DatasetSpec) -> bool:
    """Whether artefacts would be made again where the folder is moved."""
    return str(spec.root) in str(spec.key)


def test_a_description_knows_its_file(tmp_path):
    written(tmp_path, SMALL)
    path = tmp_path / "My flight.yml"
    path.write_text(yaml.safe_dump(SMALL))
    assert file_of(open_dataset(path)) == path and file_of(UAVID) is None


@pytest.mark.parametrize("source, message", [
    ("absent.yaml", "no such file; give uavid, ruralscapes"), ("mine", "no such file"),
    (".", "dataset.yaml: no such file; write"), ("my flight", r"\(sspcore init-dataset 'my flight'\)"),
    ("notes.txt", "not a .yaml file"), ("uavid.yaml", "uavid is the name of a data set that comes with sspcore"),
    ("twice.yaml", r"twice\.yaml: title \(line 2\): is set twice"),
])
def test_what_cannot_be_opened_is_one_line(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "my flight").mkdir()
    (tmp_path / "uavid.yaml").write_text(yaml.safe_dump(SMALL | {"title": "uavid"}))
    (tmp_path / "twice.yaml").write_text("title: a\ntitle: b\n")
    with pytest.raises(ReleaseError, match=message) as error:
        open_dataset(source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "- a", "classes: {", "classes: {a: [1, 2, 3]}\n\x00"])
def test_what_is_no_description_is_one_line(tmp_path, content):
    with pytest.raises(ReleaseError, match=r"two\.yaml: (expected a mapping|not readable|classes: \{)") as error:
        read_spec(written(tmp_path, content))
    assert "\n" not in str(error.value)
    with pytest.raises(ReleaseError, match="absent"):
        read_spec(tmp_path / "absent.yaml")

"""Data sets as files: the two that come with the package, and one line for each fault of a description."""

from __future__ import annotations

import pytest
import yaml

from sspcore.core.classes import IGNORE
from sspcore.core.errors import ReleaseError
from sspcore.data.datasets import RURALSCAPES, SPECS, UAVID, read_spec

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


@pytest.mark.parametrize("change, message", [
    ({"moving": ["bus"]}, "bus: no such class; choose from road, car"),
    ({"label_classes": {"street": "lane", "sky": None}}, "lane: no such class"),
    ({"label_classes": {"street": "road", "sky": None, "sea": None}}, "label_classes: sea: no such label"),
    ({"classes": {"road": [1, 2, 300], "car": [0, 0, 0]}}, r"\(1, 2, 300\) is no colour"),
    ({"classes": {"road": [1, 2], "car": [0, 0, 0]}}, r"palette\.0"),
    ({"classes": ["road", "car"]}, "not the description of a data set"),
    ({"labels": {"street": [9, 9, 9], "car": [9, 9, 9], "sky": [7, 7, 7]}}, "two names have the same colour"),
    ({"files": {"video": "{sequence}.mp4"}}, "files: labels is missing"),
    ({"files": {"video": "{sequence}.mp4", "labels": "{number}.png"}}, r"files: \{number\}\.png: must name \{sequence\}"),
    ({"palette": []}, "palette: follows from classes"), ({"colours": {}}, "colours"), ({"title": None}, "title"),
])
def test_a_fault_is_one_line_that_names_the_file(tmp_path, change, message):
    with pytest.raises(ReleaseError, match=rf"two\.yaml: .*{message}") as error:
        read_spec(written(tmp_path, SMALL | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "- a", "classes: {", "classes: {a: [1, 2, 3]}\n\x00"])
def test_what_is_no_description_is_one_line(tmp_path, content):
    with pytest.raises(ReleaseError, match=r"two\.yaml: not the description of a data set") as error:
        read_spec(written(tmp_path, content))
    assert "\n" not in str(error.value)
    with pytest.raises(ReleaseError, match="absent"):
        read_spec(tmp_path / "absent.yaml")

"""The setting `conventions`: its names, its readings, and what it says of itself."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from sspcore.core.conventions import CORRECTED, REFERENCE, Conventions
from sspcore.core.errors import ProfileError
from sspcore.study.profiles import load_profile

FIELDS = Conventions.model_fields


def test_every_field_has_two_readings_the_default_first():
    for name, field in FIELDS.items():
        corrected, reference = get_args(field.annotation)
        assert corrected == field.default == getattr(CORRECTED, name) and getattr(REFERENCE, name) == reference != corrected
        assert f"        {name}: " in Conventions.__doc__


@pytest.mark.parametrize("value, expected", [
    ("corrected", {}),
    ("reference", dict(REFERENCE)),
    ({}, {}),
    ({"soft_occlusion": "sum"}, {"soft_occlusion": "sum"}),
    ({"base": "corrected", "tc": "reference"}, {"tc": "reference"}),
    ({"base": "reference", "soft_occlusion": "l1"}, {k: v for k, v in REFERENCE if k != "soft_occlusion"}),
])
def test_what_a_profile_may_say(value, expected):
    found = load_profile("smoke", {"conventions": value}).conventions
    assert found.slips() == expected
    assert Conventions.model_validate_json(found.model_dump_json(), strict=True) == found


@pytest.mark.parametrize("value, problem", [
    ("legacy", "conventions: 'legacy': unknown; take corrected or reference, or a mapping of readings"),
    ({"base": "printed"}, "conventions: 'printed': unknown"),
    ({"soft_occlusion": "l2"}, "conventions.soft_occlusion: Input should be 'l1' or 'sum'"),
    ({"base": "reference", "soft_occlusoin": "l1"}, "conventions.soft_occlusoin: unknown key"),
    ({"half_pixel": False}, "conventions.half_pixel: Input should be"),
    (3, "conventions: "),
])
def test_what_it_may_not_say(value, problem):
    with pytest.raises(ProfileError, match="^profile smoke") as caught:
        load_profile("smoke", {"conventions": value})
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_single_readings_by_dotted_overrides():
    assert load_profile("smoke", {"conventions.tc": "reference"}).conventions.slips() == {"tc": "reference"}
    all_but_one = load_profile("paper-reference", {"conventions.tc": "corrected"}).conventions
    assert all_but_one.slips().keys() == FIELDS.keys() - {"tc"}
    with pytest.raises(ProfileError, match="conventions.occlusions"):
        load_profile("smoke", {"conventions.occlusions": "followed"})


def test_the_shipped_profiles():
    assert load_profile("paper-reference").conventions == REFERENCE
    for name in ("smoke", "demo", "paper", "paper-equal-steps"):
        assert load_profile(name).conventions == CORRECTED
    paper, slipped = (load_profile(name).model_dump() for name in ("paper", "paper-reference"))
    assert {key for key in paper if paper[key] != slipped[key]} == {"name", "description", "publish_to", "conventions"}


@pytest.mark.parametrize("own, slips", [
    ("conventions: {tc: corrected}", FIELDS.keys() - {"tc"}),
    ("conventions: {base: corrected, tc: reference}", {"tc"}),
    ("conventions: corrected", set()),
    ("seed: 1", set(FIELDS)),
])
def test_a_file_that_extends_one_with_the_references_readings(tmp_path, own, slips):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: paper-reference\n{own}\n")
    assert load_profile(str(path)).conventions.slips().keys() == set(slips)


def test_it_is_frozen_and_says_what_is_not_corrected():
    with pytest.raises(ValidationError):
        CORRECTED.tc = "reference"
    assert CORRECTED.in_words() == "" and REFERENCE.in_words() == "the reference's conventions"
    assert Conventions(tc="reference", vc="script").in_words() == "the reference's reading of tc, vc"
    assert CORRECTED.of("tc", "vc") == {"tc": "corrected", "vc": "formula"}

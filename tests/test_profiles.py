"""Profiles: every shipped one is valid; a wrong key or value is one clear line."""

from __future__ import annotations

import pytest

from sspcore.errors import ProfileError
from sspcore.models.registry import SYSTEMS
from sspcore.profiles import available_profiles, load_profile


@pytest.mark.parametrize("name", ["smoke", "demo", "paper"])
def test_shipped_profiles_are_valid(name):
    profile = load_profile(name)
    assert profile.name == name and name in available_profiles()
    for system in profile.systems:
        for dataset in profile.datasets:
            assert profile.recipe(SYSTEMS[system].recipe, dataset).epochs >= 1
    for side in (*profile.input_size, *profile.teacher_size):
        assert side % 32 == 0


def test_paper_profile_has_the_published_settings():
    profile = load_profile("paper")
    assert profile.input_size == (736, 1280) and profile.teacher_size == (1440, 2560)
    video, image = profile.recipe("video", "uavid"), profile.recipe("image", "uavid")
    assert (video.batch_size, video.lr, video.crop, video.lambda_tc) == (4, 5e-5, (736, 736), 0.5)
    assert (image.lr, image.epochs, image.schedule_epochs, image.weight_decay) == (2.5e-5, 200, 250, 0.05)


@pytest.mark.parametrize("overrides, message", [
    ({"training.video.lambda_ct": 1.0}, r"training\.video\.lambda_ct.*names no existing setting"),
    ({"nonsense": 1}, "nonsense"),
    ({"training.video.lambda_tc": -1.0}, r"training\.video\.lambda_tc: .*greater than or equal to 0"),
    ({"training.video.schedule_epochs": 1}, r"schedule_epochs \(1\) is shorter than epochs"),
    ({"input_size": "big"}, "input_size"),
])
def test_bad_overrides_are_named(overrides, message):
    with pytest.raises(ProfileError, match=message) as error:
        load_profile("smoke", overrides)
    assert "\n" not in str(error.value)


def test_unknown_profile_and_unknown_key_in_a_file(tmp_path):
    with pytest.raises(ProfileError, match="'demmo' is unknown; choose from demo, paper, smoke"):
        load_profile("demmo")
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nlearning_rate: 3\n")
    with pytest.raises(ProfileError, match="mine.yaml"):
        load_profile(str(path))
    path.write_text("name: [")
    with pytest.raises(ProfileError, match="not readable as YAML"):
        load_profile(str(path))


def test_override_changes_the_key_of_its_section_only():
    before, after = load_profile("smoke"), load_profile("smoke", {"training.video.lambda_tc": 0.2})
    assert after.training["video"].lambda_tc == 0.2
    assert before.key("training.video") != after.key("training.video")
    assert before.key("training.image", "clips") == after.key("training.image", "clips")


def test_recipe_of_a_data_set_comes_before_the_general_one():
    profile = load_profile("smoke")
    other = profile.training["video"].model_copy(update={"epochs": 1})
    special = profile.model_copy(update={"training": profile.training | {"video@uavid": other}})
    assert special.recipe("video", "uavid").epochs == 1
    assert special.recipe("video", "ruralscapes").epochs == profile.training["video"].epochs
    with pytest.raises(ProfileError, match="training.nothing is missing"):
        profile.recipe("nothing", "uavid")

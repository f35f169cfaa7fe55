"""What `folds.py` compares: sets of variants, each a system under one changed setting.

kd-moving: why students of the teacher lose on moving classes of rendered RuralScapes, where persons are a few pixels wide.
Each guess, and what tests it:

  the teacher does not see them           its own row; its labels on the training frames without a label; "labels of the truth"
  the labels' grid is too coarse          "truth at stride 4" among the labels: what is lost without any error of a teacher
  fusion smears what moves                the labels, unfused and fused (KD Base learns from unfused ones)
  all pixels weigh alike, rare ones less  "class balance 0.5" and "1": pixels weigh by the classes that the teacher expects
  no label is seen any more               "truth on labelled frames": their cross entropy beside the teacher's labels
  the targets are too soft, or too hard   "temperature 1" and "2"
  too few steps for small things          "twice the steps"; and with "class balance 1", whether the two add up

kd-video: the same weights of pixels, and more steps, for the distillation of KD-SSP, which starts from KD Base.

head-rate, kd-head-rate: the rate of SSP's own head, as a multiple of the base rate, from the same image model; and KD-SSP's.
SSP-R's was chosen so too.

mIoU and TC pull apart in the last three, so what counts there is mIoU above the constant-alpha curve of the image model at
equal TC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sspcore.models.systems import SYSTEMS
from sspcore.report.frontier import image_of
from sspcore.study import Study
from sspcore.training.recipe import Recipe

BALANCES = (0.0, 0.5, 1.0)
CURVE = "above_curve"


@dataclass(frozen=True)
class Variant:
    """A system under one changed setting; none for what the others are compared with."""

    name: str
    system: str
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """One set of variants.

    Attributes:
        compared_with: the variant that nothing is changed in.
        rank: figures whose sum is highest in the chosen variant, in the mean over folds and data sets.
        labels: whether the teacher's labels are scored too.
    """

    variants: Callable[[Study, str], list[Variant]]  # of a study and a data set
    compared_with: str
    rank: tuple[str, ...]
    labels: bool = False


def with_recipe(study: Study, dataset: str, changed: str, name: str, **settings: Any) -> Variant:
    """A system with settings of its recipe changed: the data set's own recipe where there is one."""
    recipe = SYSTEMS[changed].recipe
    place = f"{recipe}@{dataset}" if f"{recipe}@{dataset}" in study.profile.training else recipe
    return Variant(name, changed, {f"training.{place}.{setting}": value for setting, value in settings.items()})


def of_distillation(study: Study, dataset: str) -> list[Variant]:
    """KD Base with one thing changed, and what it stands between."""
    recipe, changed = study.profile.recipe("kd_image", dataset), partial(with_recipe, study, dataset, "KD Base")
    longer = twice(recipe)
    truth = [Variant("labels of the truth", "KD Base", {"distil_from": "truth"})] if not study.is_real else []
    return [
        Variant("Teacher", "Teacher"), Variant("Base", "Base"), Variant("KD Base", "KD Base"),
        *of_balance(recipe.class_balance, changed),
        *(changed(f"temperature {value:g}", temperature=value) for value in (1.0, 2.0) if value != recipe.temperature),
        changed("truth on labelled frames", truth_weight=1.0),
        changed("twice the steps", **longer),
        *([changed("class balance 1, twice the steps", class_balance=1.0, **longer)] if recipe.class_balance < 1 else []),
        *truth,
    ]


def twice(recipe: Recipe) -> dict[str, float]:
    """The settings of twice the steps."""
    return {name: 2 * getattr(recipe, name) for name in ("epochs", "schedule_epochs")}


def of_curve(study: Study, image: str) -> list[Variant]:
    """An image system and the constant alphas on it."""
    return [Variant(name, name) for name in (image, *study.controls([image])) if image_of(name) == image]


def of_balance(now: float, changed: Callable[..., Variant]) -> list[Variant]:
    """Other weights of pixels by the classes that the teacher expects (0: all weigh alike)."""
    return [changed(f"class balance {balance:g}", class_balance=balance) for balance in BALANCES if balance != now]


def of_distilled_video(study: Study, dataset: str) -> list[Variant]:
    """KD-SSP with other weights of pixels and more steps in its own training, from the same KD Base."""
    recipe, changed = study.profile.recipe("kd_video", dataset), partial(with_recipe, study, dataset, "KD-SSP")
    return [
        *of_curve(study, "KD Base"), Variant("KD-SSP", "KD-SSP"), *of_balance(recipe.class_balance, changed),
        changed("twice the steps", **twice(recipe)),
    ]


def of_rates(
    study: Study, dataset: str, name: str = "SSP", image: str = "Base", rates: Sequence[float] = (1.0, 3.0, 8.0, 24.0)
) -> list[Variant]:
    """A system with other rates of its head, and the constant alphas of its image model that it is held against."""
    now = study.profile.recipe(SYSTEMS[name].recipe, dataset).head_lr_factor
    changed = partial(with_recipe, study, dataset, name)
    others = [changed(f"rate {rate:g}", head_lr_factor=rate) for rate in rates if rate != now]
    return [*of_curve(study, image), Variant(name, name), *others]


SETS = {
    "kd-moving": Comparison(of_distillation, "KD Base", ("miou_moving",), labels=True),
    "kd-video": Comparison(of_distilled_video, "KD-SSP", (CURVE,)),
    "head-rate": Comparison(of_rates, "SSP", (CURVE,)),
    "kd-head-rate": Comparison(partial(of_rates, name="KD-SSP", image="KD Base", rates=(3.0, 24.0)), "KD-SSP", (CURVE,)),
}

"""Ablations: the study again with one thing changed at a time (`sspcore ablations`, notebook 09).

A variant is a system and, where a number changes, one override of the profile. What a variant shares with the main study
(data, motion, starting weights, teacher) has the same key and is reused; a variant that changes nothing is the main run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from sspcore.core.errors import ProfileError, SspError
from sspcore.models.systems import START, SYSTEMS
from sspcore.study import Study, places
from sspcore.study.profiles import Profile

log = logging.getLogger(__name__)

LAMBDAS = (0.0, 0.2, 0.35, 0.5, 0.65)  # weights of L_tc that the paper compares
# What a smoke run takes: enough to see a changed number and a changed part go through all stages.
SMOKE_VARIANTS = {
    "SSP": ("Base", "Constant alpha 0.5", "SSP", "lambda 0", "lambda 0.5", "no registration", "gate", "gate at inference"),
    "SSP-R": ("SSP-R", "no evidence"),
}
HELD_OUT = 3  # training sequences that choices among variants of SSP-R are made on


@dataclass(frozen=True)
class Variant:
    """One row of the ablation table."""

    name: str
    question: str  # what the row answers, in one line
    system: str  # name in the registry
    group: Literal["reference", "method", "lambda", "part", "teacher"]  # "method": what the others are compared with
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted settings of the profile
    compared_with: str | None = "SSP"  # the variant that differs in this one thing; None for what is compared with
    weight: float | None = None  # lambda, in the group "lambda"


def variants(profile: Profile, dataset: str, method: str = "SSP") -> list[Variant]:
    """All variants of a method ("SSP" or "SSP-R") in the order of the table.

    Names are the same for all data sets, overrides may not be. Raises: ProfileError for another method.
    """
    if method not in FAMILIES:
        raise ProfileError(f"ablations of {method}: unknown; choose from {', '.join(FAMILIES)}")
    return FAMILIES[method](profile, dataset)


def _references(profile: Profile) -> list[Variant]:
    questions = {"Base": "What does the image model do on its own?"}
    for alpha in profile.constant_alphas:
        questions[f"Constant alpha {alpha:g}"] = "What does plain averaging give without training?"
    return [Variant(name, question, name, "reference", compared_with=None) for name, question in questions.items()]


def _of_ssp(profile: Profile, dataset: str) -> list[Variant]:
    """Those of the paper's method.

    "Untrained image model": video systems start from an image model that was trained on the labelled frames (the
    paper's way). Here only the encoder keeps its pretrained weights, decoder and head start at random. As published the
    video recipe stays as it is; with `equal_steps` it runs for as many epochs as both trainings of SSP together.
    """
    video, part, longer = _recipe_setting(profile, "SSP", dataset), partial(Variant, group="part"), {}
    if profile.equal_steps:
        trainings = [profile.recipe(SYSTEMS[name].recipe, dataset) for name in (START, "SSP")]
        longer = {
            f"{video}.{name}": sum(getattr(recipe, name) for recipe in trainings) for name in ("epochs", "schedule_epochs")
        }
    return [
        *_references(profile),
        Variant("SSP", "What does the method do with nothing changed?", "SSP", "method", compared_with=None),
        Variant("KD-SSP", "What does it do with the teacher's labels?", "KD-SSP", "method", compared_with=None),
        *(
            Variant(f"lambda {value:g}", "How much consistency loss is right?", "SSP", "lambda",
                    {f"{video}.lambda_tc": value}, weight=value)
            for value in LAMBDAS
        ),
        part("cosine similarity", "Has the similarity to be learned?", "SSP (cosine similarity)"),
        part("no registration", "Has the past to be moved into place?", "SSP (no registration)"),
        part("no interpolation", "What does the loss bring without the recurrence (alpha 0)?", "SSP (no interpolation)"),
        part("alpha not masked", "Does alpha learn by itself where there is no past?", "SSP (alpha not masked)"),
        part("gate", "Does flow help where the homography has few inliers?", "SSP (gate)"),
        part("gate at inference", "Does it help an SSP that was trained without it?", "SSP (gate at inference)"),
        part("flow at inference", "Does the gate bring more than flow everywhere?", "SSP (flow at inference)"),
        part("untrained image model", "Has the image model to be trained first?", "SSP (untrained image model)",
             overrides=longer),
        Variant("unfused labels", "Do fused teacher labels make the better student?", "KD-SSP", "teacher",
                {"fuse_teacher": False}, compared_with="KD-SSP"),
    ]


def _of_recurrent(profile: Profile, dataset: str) -> list[Variant]:
    """SSP-R with one part taken away, added or set otherwise, and SSP. Without evidence there are no classes either."""
    recipe = _recipe_setting(profile, "SSP-R", dataset)
    now = profile.recipe(SYSTEMS["SSP-R"].recipe, dataset)

    def part(name: str, question: str, system: str = "SSP-R", **settings: Any) -> Variant:
        overrides = {f"{recipe}.{setting}": value for setting, value in settings.items()}
        return Variant(name, question, system, "part", overrides, compared_with="SSP-R")

    return [
        *_references(profile),
        Variant("SSP", "What does the paper's method do?", "SSP", "method", compared_with="SSP-R"),
        Variant("SSP-R", "What do all ingredients do together?", "SSP-R", "method", compared_with=None),
        part("no recurrence", "Has alpha to see a past of several frames?", "SSP-R (no recurrence)"),
        part("no evidence", "Does the head need anything beside the features?", "SSP-R (no evidence)"),
        part("no classes", "Does it help to know which classes past and present name?", "SSP-R (no classes)"),
        part("with variance", "Would it help to know how far the past is averaged?", "SSP-R (with variance)"),
        part("classes not balanced", "Have rare classes to weigh as much as frequent ones?", class_balance=0.0),
        part("image model trained too", "Has the image model to stay as it is?", freeze_image=False),
        part("four times lambda", "What does more weight of the consistency loss do?", lambda_tc=4 * now.lambda_tc),
        part("an eighth of the rate", "Has the head to learn fast?", head_lr_factor=now.head_lr_factor / 8),
    ]


FAMILIES = {"SSP": _of_ssp, "SSP-R": _of_recurrent}


def plan(
    study: Study, datasets: Iterable[str] | None = None, only: Iterable[str] | None = None, method: str = "SSP"
) -> list[tuple[str, Variant]]:
    """What `run` does: (data set, variant). A smoke run takes SMOKE_VARIANTS unless some are named."""
    if only is None and study.profile.name == "smoke":
        only = SMOKE_VARIANTS[method]
    return [(dataset, each) for dataset in datasets or study.profile.datasets for each in chosen(study, dataset, only, method)]


def under_choice(study: Study, method: str) -> Study:
    """The study that variants of a method are compared in: those of SSP-R, which is ours, on held-out training sequences."""
    if method == "SSP":
        return study
    releases = study.profile.rendering.releases.values() if study.profile.rendering else ()
    return study.changed({"held_out": min([HELD_OUT, *(release.train_sequences - 1 for release in releases)])})


def run(
    study: Study, datasets: Iterable[str] | None = None, only: Iterable[str] | None = None, method: str = "SSP",
) -> dict[str, Any]:
    """Train and score the variants; what is up to date is reused.

    A variant that fails is logged and named under "failed"; the others go on.

    Args:
        study: the main study, see `under_choice`.
        datasets: default: the profile's.
        only: names of variants; default: all.
        method: whose variants, see `variants`.
    Returns: {"method", "provenance", "titles", "rows", "failed"}: a row is the system's row of the results table with the
        variant's fields.
    Raises: ProfileError for an unknown data set or variant; nothing has been run then.
    """
    study = under_choice(study, method)
    asked = plan(study, datasets, only, method)
    names = list(dict.fromkeys(dataset for dataset, _ in asked))
    try:
        study.ask("variants", tuple((variant.overrides, variant.system, dataset) for dataset, variant in asked))
    except SspError as error:
        log.error("not all could be made: %s", error)
    rows, failed = [], []
    for dataset, variant in asked:
        title = f"{study.spec(dataset).title}, {variant.name}"
        log.info("ablation %s", title)
        try:
            rows.append(evaluate(study.changed(variant.overrides), variant, dataset))
        except Exception as error:  # whatever stops one variant: hours of the others' training are not to be lost
            log.error("ablation %s: failed: %s", title, error, exc_info=not isinstance(error, SspError))
            failed.append({"variant": variant.name, "dataset": dataset, "error": f"{type(error).__name__}: {error}"})
    return {"method": method, "provenance": study.origin(names), "titles": study.titles(names), "rows": rows, "failed": failed}


def finished(study: Study, datasets: Iterable[str], only: Iterable[str], method: str = "SSP") -> list[dict[str, Any]]:
    """Rows of those variants that an earlier run has scored, as `run` has them; nothing is trained."""
    study = under_choice(study, method)
    wanted = [(study.changed(variant.overrides), variant, dataset) for dataset, variant in plan(study, datasets, only, method)]
    return [evaluate(*each) for each in wanted if places.scores(each[0], each[1].system, each[2]).is_made()]


def chosen(study: Study, dataset: str, only: Iterable[str] | None, method: str = "SSP") -> list[Variant]:
    """The variants of these names, in the order of the table. Raises ProfileError for an unknown name or data set."""
    study.spec(dataset)
    found = variants(study.profile, dataset, method)
    names = [variant.name for variant in found]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise ProfileError(f"ablation {', '.join(unknown)}: unknown; choose from {', '.join(names)}")
    return found if only is None else [variant for variant in found if variant.name in set(only)]


def evaluate(study: Study, variant: Variant, dataset: str) -> dict[str, Any]:
    """The variant's row, under a study with its overrides; trains and predicts what is missing."""
    fields = asdict(variant)
    origin = {"variant": fields.pop("name"), **fields, "train_key": study.train_key(variant.system, dataset)}
    return origin | study.evaluate(variant.system, dataset)


def _recipe_setting(profile: Profile, name: str, dataset: str) -> str:
    """The setting that holds a system's recipe: the data set's own where there is one (see `Profile.recipe`)."""
    recipe = SYSTEMS[name].recipe
    own = f"{recipe}@{dataset}"
    return f"training.{own if own in profile.training else recipe}"

"""What a training is given: model, objective, windows and motion of one system, by its recipe in the profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.machine import worker_count
from sspcore.core.types import VideoSegmenter
from sspcore.data.augmentation import Augmenter
from sspcore.data.clips import class_shares
from sspcore.data.crops import CropRegistration
from sspcore.data.windows import WindowDataset, WindowRef, labelled_windows, strided_windows
from sspcore.models.checkpoint import WEIGHTS, config_of, read_weights, save_checkpoint
from sspcore.models.systems import SystemSpec, build, freeze_image, image_spec, start_from, system
from sspcore.models.whole import starts_trained
from sspcore.training.loop import BOARD, RESUME, Training, train
from sspcore.training.losses import Objective, balanced_weights, build_objective

if TYPE_CHECKING:
    from sspcore.study.stages import Study


def training(study: Study, name: str, dataset: str, out: Path, model: VideoSegmenter | None = None) -> Training:
    """What the training loop is given for a system; what it starts from must be trained already.

    Args:
        out: folder that receives the weights.
        model: of the user's own, to be trained in place of the system's; see `fit`.
    Raises: ArtefactError if the weights that it starts from are missing.
    """
    spec, profile, title = system(name), study.profile, study.spec(dataset).title
    recipe = profile.recipe(spec.recipe, dataset)
    torch.manual_seed(study.seed)
    if model is not None:
        trained = {n for n, _ in model.named_parameters() if spec.kind == "image" or n.startswith("image.")}
    else:
        model, trained = _as_published(study, name, dataset)
    if recipe.freeze_image:
        freeze_image(model, name)
    crops = None
    if profile.register_crops and "homography" in model.needs:
        crops = CropRegistration(study.registrator, "correspondences" in model.needs)
    return Training(
        name=f"{name} on {title}", model=model, objective=objective(study, spec, dataset),
        dataset=_windows(study, spec, model, dataset, crops), recipe=recipe, seed=study.seed,
        fresh=frozenset(n for n, _ in model.named_parameters() if n not in trained), folder=out, device=study.device,
        workers=worker_count(profile.loader_workers, profile.machine.process_count(recipe.batch_size, study.device)),
        crops=crops if crops is not None and crops.on_gpu else None, machine=profile.machine,
    )


def _as_published(study: Study, name: str, dataset: str) -> tuple[VideoSegmenter, set[str]]:
    """A system with the weights that its training starts from, and which of its parameters these are."""
    spec = system(name)
    model = build(name, study.spec(dataset).n_classes, study.profile)
    if (start := study.start(spec)) is not None:
        weights = study.folder(start, dataset) / "training" / WEIGHTS
        return model, start_from(model, read_weights(weights), str(weights))
    spec_of_image = image_spec(name, study.profile)  # an image model is the whole system, or the part `image` of one
    return model, {n for n, _ in model.named_parameters() if starts_trained(n.removeprefix("image."), spec_of_image)}


def fit(study: Study, model: VideoSegmenter, name: str, dataset: str, out: Path) -> Path:
    """Train a model of the user's own as a system of the table is trained, in this process, and write its checkpoint.

    Args:
        model: an image model for an image system, SSP on one for "SSP" and "KD-SSP", and so on. Its weights change. Those of
            its image model learn at the recipe's rate, the others at the rate of new parts.
        name: the system whose recipe, windows and objective are taken. The teacher of a distilled one is the study's.
        out: new or empty folder.
    Returns: the folder.
    Raises: ProfileError if the model is none of that kind, ArtefactError if the folder is a file or holds files.
    """
    spec, classes = system(name), study.spec(dataset)
    if getattr(model, "method", None) != spec.method or spec.recipe is None:
        raise ProfileError(f"{name}: is not trained with a {type(model).__name__}; name a system of its kind: SSP for SSP")
    if model.n_classes != classes.n_classes:
        raise ProfileError(f"{classes.title} has {classes.n_classes} classes, the model {model.n_classes}; build it with those")
    if out.exists() and not out.is_dir():
        raise ArtefactError(f"{out}: is a file; choose a new folder")
    if held := {path.name for path in out.iterdir()} if out.is_dir() else set():
        if RESUME in held or held == {BOARD}:
            raise ArtefactError(f"{out}: holds an interrupted training; delete it to begin again, or choose another folder")
        raise ArtefactError(f"{out}: holds files already; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    trained_as = study.config(name, dataset)
    entries = ("input_size", "registration", "flow", "interpolation", "data", "provenance")
    same = {entry: getattr(trained_as, entry) for entry in entries}
    config = config_of(model, system=name, classes=classes, **same)
    job = training(study, name, dataset, out, model)
    train(replace(job, save=lambda trained: save_checkpoint(out, trained, config, overwrite=True)))
    return out


def objective(study: Study, spec: SystemSpec, dataset: str) -> Objective:
    """What a system's recipe minimises."""
    recipe, weights = study.profile.recipe(spec.recipe, dataset), None
    if recipe.class_balance:
        shares = class_shares(study.clips(dataset, "train"), study.spec(dataset), study.profile.input_size)
        weights = balanced_weights(list(shares.values()), recipe.class_balance, recipe.class_weight_limit)
    return build_objective(recipe, spec.teacher, weights, study.profile.conventions)


def training_steps(study: Study, name: str, dataset: str) -> int:
    """Optimiser steps that a system's weights have seen, its starting weights' included."""
    spec = system(name)
    start = study.start(spec)
    steps = 0 if start is None else training_steps(study, start, dataset)
    if spec.recipe is None:
        return steps
    recipe = study.profile.recipe(spec.recipe, dataset)
    model = build(name, study.spec(dataset).n_classes, study.profile, load_weights=False)
    windows = len(_window_refs(study, spec, model, dataset))
    return steps + recipe.epochs * recipe.steps(windows)


def _windows(
    study: Study, spec: SystemSpec, model: VideoSegmenter, dataset: str, crops: CropRegistration | None
) -> WindowDataset:
    recipe = study.profile.recipe(spec.recipe, dataset)
    compares = model.window - model.context > 1 and recipe.lambda_tc > 0  # L_tc wants flow, whatever the model
    return WindowDataset(
        _window_refs(study, spec, model, dataset), model.window, study.input_size(spec),
        Augmenter(study.profile.augmentation.steps(model.window), recipe.crop), study.seed,
        homographies=study.homographies(dataset) if "homography" in model.needs and crops is None else None,
        flows=study.flows(dataset) if "flow" in model.needs or compares else None,
        correspondences="correspondences" in model.needs and crops is None,
        teacher=study.labels_for(spec, dataset).read if spec.teacher else None,
        crops=None if crops is None or crops.on_gpu else crops,
    )


def _window_refs(study: Study, spec: SystemSpec, model: VideoSegmenter, dataset: str) -> list[WindowRef]:
    clips = study.clips(dataset, "train")
    if spec.teacher:
        return strided_windows(clips)
    return labelled_windows(clips, model.window, first=bool(study.profile.described))

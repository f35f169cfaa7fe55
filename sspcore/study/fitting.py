"""What a training is given: model, objective, windows and motion of one system, by its recipe in the profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sspcore.core.machine import worker_count
from sspcore.core.types import VideoSegmenter
from sspcore.data.augmentation import Augmenter
from sspcore.data.clips import class_shares
from sspcore.data.crops import CropRegistration
from sspcore.data.windows import WindowDataset, WindowRef, labelled_windows, strided_windows
from sspcore.models.checkpoint import WEIGHTS, read_weights
from sspcore.models.systems import SystemSpec, build, freeze_image, image_spec, start_from, system
from sspcore.models.whole import starts_trained
from sspcore.training.loop import Training
from sspcore.training.losses import Objective, balanced_weights, build_objective

if TYPE_CHECKING:
    from sspcore.study.stages import Study


def training(study: Study, name: str, dataset: str, out: Path) -> Training:
    """What the training loop is given for a system; what it starts from must be trained already.

    Args:
        out: folder that receives the weights.
    Raises: ArtefactError if the weights that it starts from are missing.
    """
    spec, profile, title = system(name), study.profile, study.spec(dataset).title
    recipe = profile.recipe(spec.recipe, dataset)
    torch.manual_seed(study.seed)
    model = build(name, study.spec(dataset).n_classes, profile)
    if (start := study.start(spec)) is not None:
        weights = study.folder(start, dataset) / "training" / WEIGHTS
        trained = start_from(model, read_weights(weights), str(weights))
    else:
        spec_of_image = image_spec(name, profile)  # an image model is the whole system, or the part `image` of one
        trained = {n for n, _ in model.named_parameters() if starts_trained(n.removeprefix("image."), spec_of_image)}
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
    return strided_windows(clips) if spec.teacher else labelled_windows(clips, model.window)

"""An image model from its description alone: the study's own, a network of smp, or one of torchvision."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from sspcore.core.errors import ProfileError, reason
from sspcore.models.description import BuildableSpec, SmpSpec, TorchvisionSpec
from sspcore.models.image import ImageSegmenter, ImageSystem
from sspcore.models.loading import load_encoder
from sspcore.models.torchvision_networks import load_backbone, network
from sspcore.models.wrap import SmpModel, WrappedModel


def build_image(spec: BuildableSpec, n_classes: int, load_weights: bool = True) -> ImageSystem:
    """The image model of a description.

    Args:
        load_weights: whether the pretrained weights that it names are loaded; False where a checkpoint follows.
    Raises: ProfileError if the library cannot make it or its parts do not fit SSP, WeightsError if weights cannot be had.
    """
    if isinstance(spec, SmpSpec):
        return _build_smp(spec, n_classes, load_weights)
    if isinstance(spec, TorchvisionSpec):
        model = WrappedModel(network(spec, n_classes), spec.features_part, n_classes, interpolate=spec.interpolate, spec=spec)
        if load_weights:
            load_backbone(model.network, spec)
        return model
    return ImageSegmenter(spec, n_classes, load_weights)


def _build_smp(spec: SmpSpec, n_classes: int, load_weights: bool) -> SmpModel:
    if spec.arguments.get("classes", n_classes) != n_classes:
        raise ProfileError(
            f"{spec.smp}: arguments.classes is {spec.arguments['classes']}, there are {n_classes} classes; leave it out, it is "
            "filled in"
        )
    arguments = spec.arguments | {"encoder_weights": None, "classes": n_classes}
    try:
        model = SmpModel(getattr(smp, spec.smp)(**arguments), spec)
    except (TypeError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise ProfileError(
            f"{spec.smp}: cannot be made by segmentation_models_pytorch {smp.__version__} ({reason(error)}); correct "
            "its arguments, or install another version"
        ) from error
    if load_weights:
        load_encoder(model.network.encoder, spec)
    return model

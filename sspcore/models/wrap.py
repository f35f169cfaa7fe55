"""Image models made of other people's networks: any network of segmentation_models_pytorch, any `nn.Module` with logits."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn

from sspcore.core.errors import ProfileError, reason
from sspcore.models.description import CustomSpec, SmpSpec, TorchvisionSpec
from sspcore.models.image import ImageSystem, renormalise
from sspcore.models.interface import FEATURE_STRIDE, ImageModel, StagedImageModel, require_multiples
from sspcore.models.torchvision_networks import recognised

_PROBE = (128, 160)
_LISTED = 8  # names in an error


def wrap(
    module: nn.Module, features: str, n_classes: int, *, interpolate: bool = False, probe_size: tuple[int, int] = _PROBE
) -> WrappedModel:
    """Make an image model of any network: `SSP(wrap(deeplabv3_resnet50(num_classes=5), "backbone.layer1", 5))`.

    Args:
        module: called with frames (B, 3, H, W), RGB, ImageNet-normalised; returns logits of any stride as a tensor, as a
            mapping with "out", or as an object with `.logits`.
        features: name of the part whose output at stride 4 tells how alike two places look, as `named_modules` has it; its
            end is enough where only one name ends so.
        n_classes: number of classes of the logits.
        interpolate: bring features of another stride to stride 4; without it they are refused.
        probe_size: (H, W) of a frame of zeros that is run once, to find the strides.
    Raises: ProfileError if there is no such part, its features are not at stride 4, or the logits do not fit.

    A checkpoint on a network that torchvision's builders make comes back by itself; one on your own code needs it again:
    `load_checkpoint` takes it as `image=`, the commands as --image MODULE:FUNCTION.
    """
    return WrappedModel(module, features, n_classes, interpolate=interpolate, probe_size=probe_size)


def as_image_model(image: nn.Module) -> ImageModel:
    """The model itself if it follows the protocol; a bare network of smp is wrapped. Raises ProfileError for others."""
    if isinstance(image, SegmentationModel):
        return SmpModel(image)
    if isinstance(image, ImageModel):
        return image
    raise ProfileError(
        f"{type(image).__name__} is no image model: give a network of segmentation_models_pytorch, "
        "sspcore.wrap(module, features=..., n_classes=...), or a class with what sspcore.models.interface.ImageModel names"
    )


def as_staged_model(image: nn.Module, method: str) -> StagedImageModel:
    """As `as_image_model`, for methods that work between the stages of a network. Raises ProfileError."""
    model = as_image_model(image)
    if not isinstance(model, StagedImageModel):
        raise ProfileError(
            f"{method}: {type(image).__name__} has no stages (encode, decode_features, classify); give a network of "
            "segmentation_models_pytorch or a class with what sspcore.models.interface.StagedImageModel names"
        )
    return model


class WrappedModel(ImageSystem):
    """A network with logits at any stride, and the output of one of its parts as features; see `wrap`."""

    def __init__(
        self, network: nn.Module, features: str, n_classes: int, *, interpolate: bool = False,
        probe_size: tuple[int, int] = _PROBE, spec: SmpSpec | TorchvisionSpec | None = None,
    ) -> None:
        super().__init__()
        self.network, self.n_classes, self.interpolate = network, n_classes, interpolate
        self.part = _resolve(network, features)
        self.spec: CustomSpec | SmpSpec | TorchvisionSpec = (
            spec or recognised(network, n_classes, self.part, interpolate)
            or CustomSpec(module=f"{type(network).__module__}.{type(network).__qualname__}")
        )
        outputs, logits = _probe(network, probe_size)
        if logits.ndim != 4 or logits.shape[1] != n_classes:
            found = logits.shape[1] if logits.ndim == 4 else f"shape {tuple(logits.shape)}"
            raise ProfileError(f"n_classes={n_classes}: the logits of {type(network).__name__} have {found} channels; say that")
        levels = _levels(outputs.get(self.part))
        strides = [_stride(level, probe_size) for level in levels]
        fine = [k for k, stride in enumerate(strides) if stride == FEATURE_STRIDE and levels[k].shape[1]]
        if not fine and not (interpolate and levels):
            raise ProfileError(_no_level(network, self.part, strides, outputs, probe_size))
        self.level = fine[-1] if fine else 0
        self.feature_channels = levels[self.level].shape[1]

    def logits_and_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Any] = []
        handle = self.network.get_submodule(self.part).register_forward_hook(lambda part, inputs, output: seen.append(output))
        try:
            with _single_frame_explained(self, frames):
                logits = _logits(self.network(frames))
        finally:
            handle.remove()
        features = _levels(seen[-1])[self.level]
        size = tuple(side // FEATURE_STRIDE for side in frames.shape[-2:])
        if self.interpolate and tuple(features.shape[-2:]) != size:
            features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
        return logits, features


class SmpModel(WrappedModel):
    """A network of segmentation_models_pytorch; its own head brings the logits to full size, as when it is called alone."""

    def __init__(self, network: SegmentationModel, spec: SmpSpec | None = None) -> None:
        arguments = {key: value for key, value in network.config.items() if not key.startswith("_")}
        name = type(network).__name__
        if arguments.get("in_channels", 3) != 3:
            raise ProfileError(f"{name}: takes {arguments['in_channels']} channels; frames are RGB: in_channels=3")
        if arguments.get("activation") is not None:
            raise ProfileError(f"{name}: activation={arguments['activation']!r} gives no logits; make it with activation=None")
        if isinstance(network, smp.DPT):  # its transformer takes frames of one size only, so a probe would tell less
            raise ProfileError(
                f"{name}: its encoder has features at stride 16, SSP needs stride {FEATURE_STRIDE}; take another "
                "architecture, or sspcore.wrap(network, 'decoder.fusion_blocks.2', n_classes, probe_size=(224, 224))"
            )
        convolutions = [part for part in network.segmentation_head.modules() if isinstance(part, nn.Conv2d)]
        spec = spec or SmpSpec(smp=name, arguments=arguments | {"encoder_weights": None})
        super().__init__(network, "encoder", convolutions[-1].out_channels, spec=spec)
        self.renormalise = renormalise(spec)
        self.pyramid_channels: tuple[int, ...] = tuple(network.encoder.out_channels[-4:])

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Pyramid of the encoder. Raises: ProfileError if the frame's size is not a multiple of its stride."""
        require_multiples(frames, max(FEATURE_STRIDE, self.network.encoder.output_stride))
        return list(self.network.encoder(self.renormalise(frames)))

    def decode_features(self, pyramid: list[Tensor]) -> Tensor:
        with _single_frame_explained(self, pyramid[-1]):
            return self.network.decoder(list(pyramid))

    def classify(self, features: Tensor) -> Tensor:
        return self.network.segmentation_head(features)

    def logits_and_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pyramid = self.encode(frames)
        return self.classify(self.decode_features(pyramid)), pyramid[self.level]


@contextmanager
def _single_frame_explained(model: WrappedModel, frames: Tensor) -> Iterator[None]:
    """Raise ProfileError where a network with BatchNorm behind a global pooling (DeepLabV3) is trained on a single frame."""
    try:
        yield
    except ValueError as error:
        if not (model.training and len(frames) == 1 and "more than 1 value per channel" in str(error)):
            raise
        raise ProfileError(
            f"{type(model.network).__name__}: BatchNorm behind its global pooling cannot be trained on a single frame; take 2 "
            "frames or more at once (batch_size, machine.microbatch)"
        ) from error


def _resolve(network: nn.Module, name: str) -> str:
    """The full name of a part. Raises ProfileError with near names if there is none, or more than one."""
    names = [part for part, _ in network.named_modules() if part]
    if name in names:
        return name
    ends = [part for part in names if part.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    near = ends or difflib.get_close_matches(name, names, 5, 0.4) or [part for part in names if "." not in part]
    problem = "names more than one part" if ends else "no such part"
    raise ProfileError(f"features={name!r}: {problem} of {type(network).__name__}; did you mean {', '.join(near[:_LISTED])}?")


def _probe(network: nn.Module, size: tuple[int, int]) -> tuple[dict[str, Any], Tensor]:
    """Outputs of all parts by name, and logits, for a frame of zeros; the network is left as it was."""
    outputs: dict[str, Any] = {}
    handles = [
        part.register_forward_hook(lambda part, inputs, output, name=name: outputs.__setitem__(name, output))
        for name, part in network.named_modules() if name
    ]
    some = next(network.parameters(), torch.zeros(()))
    try:
        with evaluating(network), torch.no_grad():
            logits = _logits(network(torch.zeros(1, 3, *size, device=some.device, dtype=some.dtype)))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ProfileError(
            f"{type(network).__name__}: cannot segment a frame of {size[0]}x{size[1]} ({reason(error)}); pass a fitting "
            "probe_size"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return outputs, logits


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards each part in the mode that it had."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _logits(output: Any) -> Tensor:
    if isinstance(output, Mapping) and "out" in output:
        output = output["out"]
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, tuple) and output:  # smp with a classification head: (logits, labels of the image)
        output = output[0]
    if not isinstance(output, Tensor):
        raise ProfileError(f"network returns {type(output).__name__}; logits are a tensor, a mapping with 'out', or .logits")
    return output


def _levels(output: Any) -> list[Tensor]:
    """The feature maps in what a part returned: a tensor, or tensors in lists and mappings."""
    if isinstance(output, Tensor):
        return [output] if output.ndim == 4 else []
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, Sequence) else ()
    return [level for part in parts for level in _levels(part)]


def _stride(level: Tensor, size: tuple[int, int]) -> int | None:
    """Stride of a feature map of a frame of `size`; None where height and width have different ones."""
    height, width = level.shape[-2:]
    stride = size[0] // height if height else 0
    return stride if stride and (height * stride, width * stride) == tuple(size) else None


def _no_level(network: nn.Module, part: str, strides: list[int | None], outputs: dict[str, Any], size: tuple[int, int]) -> str:
    """The line for features that are not at stride 4: what there is, and where stride 4 is."""
    known = ", ".join(str(stride) for stride in strides if stride) or "none"
    good = [name for name, output in outputs.items() if FEATURE_STRIDE in [_stride(level, size) for level in _levels(output)]]
    good.sort(key=lambda name: (name.count("."), -list(outputs).index(name)))
    advice = f"at stride {FEATURE_STRIDE} are {', '.join(good[:_LISTED])}" if good else "it has none: choose another network"
    return f"{type(network).__name__}: {part} has features at stride {known}, SSP needs stride {FEATURE_STRIDE}; {advice}"

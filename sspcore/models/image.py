"""Image systems: an encoder of timm or smp with the UPerNet or SegFormer decoder of segmentation_models_pytorch.

The stages are separate methods, since video systems reuse them one by one:

    encode -> pyramid -> decode_features -> classify (stride 4) -> upsample (bicubic, full size)
"""

from __future__ import annotations

from abc import abstractmethod

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from sspcore.core.errors import ProfileError, reason
from sspcore.core.settings import STRIDE
from sspcore.core.types import Motion, Outputs, VideoSegmenter, VideoState, Window
from sspcore.models import pretrained as weights
from sspcore.models import whole
from sspcore.models.description import SmpSpec
from sspcore.models.hub import Checkpointed
from sspcore.models.interface import require_agreement, require_multiples, upsample
from sspcore.models.loading import load_encoder
from sspcore.models.spec import ImageModelSpec

_NORMAL_STD = 0.02


class Renormalise(nn.Module):
    """ImageNet-normalised frames to the input range that the encoder's weights were trained on, per channel affine.

    Folding it into the stem convolution would not be exact at the border, where zero padding is zero after it.
    """

    def __init__(self, scale: tuple[float, ...], shift: tuple[float, ...]) -> None:
        super().__init__()
        # Constants of the specification, not learned: they are not part of a checkpoint.
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def forward(self, frame: Tensor) -> Tensor:
        return frame * self.scale + self.shift


def renormalise(spec: ImageModelSpec | SmpSpec) -> nn.Module:
    """What brings normalised frames to the input range of the weights that a spec names."""
    input_range = weights.input_range(spec)
    return nn.Identity() if input_range is None else Renormalise(*input_range)


class ImageSystem(VideoSegmenter, Checkpointed):
    """An image model as a system: frame by frame, without memory. The state is empty and motion is ignored.

    A subclass sets `n_classes` and `feature_channels` and follows `sspcore.models.interface.ImageModel`.
    """

    method = "image"
    window = 1
    feature_channels: int
    upsampling = "bicubic"  # of the logits to full size

    @abstractmethod
    def logits_and_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """See `sspcore.models.interface.ImageModel`."""

    def forward(self, window: Window) -> Outputs:
        """Every frame on its own: T_out = T."""
        logits, _ = self.step(window.frames.flatten(0, 1))
        return Outputs(logits.unflatten(0, tuple(window.frames.shape[:2])))

    def step(self, frame: Tensor, state: VideoState | None = None, motion: Motion | None = None) -> tuple[Tensor, VideoState]:
        logits, features = self.logits_and_features(frame)
        require_agreement(self, frame, logits, features)
        return upsample(logits, tuple(frame.shape[-2:]), self.upsampling), VideoState()


class ImageSegmenter(ImageSystem):
    """The image models of the study; see `ImageModelSpec`."""

    def __init__(self, spec: ImageModelSpec, n_classes: int, load_weights: bool = True) -> None:
        super().__init__()
        self.spec, self.n_classes, self.upsampling = spec, n_classes, spec.upsampling
        network = _network(spec, n_classes)
        self.encoder: nn.Module = network.encoder
        self.decoder: nn.Module = network.decoder
        self.classifier: nn.Conv2d = network.segmentation_head[0]  # [1] is smp's own upsampling, which we do not use
        self.dropout = nn.Dropout(spec.dropout)
        self.renormalise = renormalise(spec)
        channels = self.encoder.out_channels
        self.pyramid_channels: tuple[int, ...] = tuple(channels[-4:])  # strides 4, 8, 16, 32
        self.feature_channels = self.pyramid_channels[0]
        self.auxiliary_head: nn.Module | None = None
        if spec.auxiliary_channels:
            self.auxiliary_head = _auxiliary_head(self.pyramid_channels[2], spec.auxiliary_channels, n_classes)
        for part in filter(None, (self.decoder, self.classifier, self.auxiliary_head)):
            _initialise(part, spec.decoder_init)
        if load_weights and spec.checkpoint is not None:
            whole.load_network(self, spec)
        elif load_weights:
            load_encoder(self.encoder, spec)

    def encode(self, frame: Tensor) -> list[Tensor]:
        """Pyramid of (B, C_l, H/s, W/s) features; the last four entries have strides 4, 8, 16, 32.

        Raises: ProfileError if the frame's size is not a multiple of 32.
        """
        require_multiples(frame, STRIDE)
        return self.encoder(self.renormalise(frame))

    def logits_and_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pyramid = self.encode(frames)
        return self.decode(pyramid), pyramid[-4]

    def decode_features(self, pyramid: list[Tensor]) -> Tensor:
        """The decoder's features in front of the classifier, (B, D, H/4, W/4)."""
        return self.decoder(list(pyramid))  # smp's decoders may write into the list

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, C, H/4, W/4) of the decoder's features."""
        return self.classifier(self.dropout(features))

    def decode(self, pyramid: list[Tensor]) -> Tensor:
        """Logits (B, C, H/4, W/4) of a pyramid."""
        return self.classify(self.decode_features(pyramid))

    def forward(self, window: Window) -> Outputs:
        """Every frame on its own: T_out = T."""
        batch, n_frames = window.frames.shape[:2]
        size = tuple(window.frames.shape[-2:])
        pyramid = self.encode(window.frames.flatten(0, 1))
        logits = upsample(self.decode(pyramid), size, self.upsampling).unflatten(0, (batch, n_frames))
        auxiliary = None
        if self.training and self.auxiliary_head is not None:
            auxiliary = upsample(self.auxiliary_head(pyramid[-2]), size, self.upsampling).unflatten(0, (batch, n_frames))
        return Outputs(logits, auxiliary)


def _network(spec: ImageModelSpec, n_classes: int) -> nn.Module:
    """The network of smp, without any pretrained weight."""
    try:
        kind, width = {"upernet": (smp.UPerNet, "decoder_channels"),
                       "segformer": (smp.Segformer, "decoder_segmentation_channels")}[spec.arch]
        network = kind(spec.encoder, encoder_weights=None, classes=n_classes, **{width: spec.decoder_channels})
    except (KeyError, RuntimeError) as error:
        problem = f"encoder {spec.encoder!r}: {reason(error)}; name an encoder of smp, or `tu-` and one of timm"
        raise ProfileError(problem) from error
    if spec.arch == "upernet" and not spec.feature_norm:
        network.decoder.feature_norms = nn.ModuleList(nn.Identity() for _ in network.decoder.feature_norms)
    return network


def _initialise(part: nn.Module, rule: str) -> None:
    """Start the convolutions and linear layers of a decoder or head again by a rule of `ImageModelSpec.decoder_init`.

    "smp" leaves them as that library made them.
    """
    for layer in part.modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or rule == "smp":
            continue
        layer.reset_parameters()
        if rule == "normal":
            nn.init.normal_(layer.weight, std=_NORMAL_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _auxiliary_head(in_channels: int, channels: int, n_classes: int) -> nn.Module:
    """FCN head: conv 3x3, batch norm, ReLU, classifier. 0.887 M parameters for 384 -> 256 -> 8 (ConvNeXt-S)."""
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, n_classes, 1))

"""Temporal Context Blending (Miao et al., VSPW, CVPR 2021) on a base image model, as the paper compares with it.

    X_k  = stride-32 features of the encoder
    S_k  = decoder(..., conv1x1([X_k, context(X_{k-3}, ..., X_k)]))

The context is a pyramid pooling averaged over the clip (TCB_ppm) or object contexts averaged over the clip (TCB_ocr).
At the start of a video, where fewer than four frames have been seen, the first one fills the clip (the reference: the image
model alone, `Conventions.tcb_start`). In a stream each frame is encoded once: the state keeps the stride-32 features of the
three frames before.

Published parameters at C = 768 channels and 8 classes, RAFT (5.258 M, which TCB never runs) and base (43.174 M) taken
off, against the layouts below: TCB_ppm 16.128 M, here 16.129; TCB_ocr 15.058 M, here 15.063.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.types import Motion, Outputs, VideoSegmenter, VideoState, Window
from sspcore.models.hub import Checkpointed
from sspcore.models.interface import upsample
from sspcore.models.wrap import as_staged_model

CLIP = 4
PPM_BINS = (1, 2, 3, 6)
PPM_CHANNELS = 512


class PyramidContext(nn.Module):
    """Pyramid pooling over a clip: the frames' averages in each bin, mixed with softmax weights of the frames.

    Layout: frame score conv1x1(C -> 1); per bin conv1x1(C -> 512) BN ReLU; conv3x3(C + 4 * 512 -> 512) BN ReLU,
    dropout 0.1, conv1x1(512 -> C). `conventions`: tcb_weights is read.
    """

    def __init__(self, channels: int, conventions: Conventions = CORRECTED) -> None:
        super().__init__()
        self.conventions = conventions
        self.frame_score = nn.Conv2d(channels, 1, 1, bias=False)
        self.bins = nn.ModuleList(_conv_bn_relu(channels, PPM_CHANNELS, 1, bias=False) for _ in PPM_BINS)
        self.fuse = nn.Sequential(
            _conv_bn_relu(channels + len(PPM_BINS) * PPM_CHANNELS, PPM_CHANNELS, 3, bias=False),
            nn.Dropout2d(0.1),
            nn.Conv2d(PPM_CHANNELS, channels, 1),
        )

    def forward(self, clip: Tensor) -> Tensor:
        """clip (B, 4, C, h, w), oldest first -> context (B, C, h, w) of the newest frame."""
        batch, n_frames = clip.shape[:2]
        frames, newest = clip.flatten(0, 1), clip[:, -1]
        score = self.frame_score(frames).mean(dim=(2, 3)).view(batch, n_frames, 1, 1, 1)
        weight = score.softmax(dim=1)
        if self.conventions.tcb_weights == "shifted":
            weight = weight.roll(1, dims=1) / n_frames
        levels = [newest]
        for bins, conv in zip(PPM_BINS, self.bins, strict=True):
            pooled = F.adaptive_avg_pool2d(frames, bins).unflatten(0, (batch, n_frames))
            pooled = conv((weight * pooled).sum(dim=1))
            levels.append(F.interpolate(pooled, size=newest.shape[-2:], mode="bilinear", align_corners=False))
        return self.fuse(torch.cat(levels, dim=1))


class ObjectContext(nn.Module):
    """Object contexts of a clip: per class a mean of pixel features under its soft region, averaged over the frames;
    the newest frame's pixels attend to them.

    Layout: region head conv3x3(C) BN ReLU, dropout, conv1x1(C -> classes) and pixel features conv3x3(C) BN ReLU on all
    frames; query and key two conv1x1 (C -> C/2 -> C/2), value one, up conv1x1(C/2 -> C), each BN ReLU; out
    conv1x1(2C -> C) BN ReLU, dropout, conv1x1(C -> C).
    """

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        half = channels // 2
        self.regions = nn.Sequential(
            _conv_bn_relu(channels, channels, 3), nn.Dropout2d(0.05), nn.Conv2d(channels, n_classes, 1)
        )
        self.pixels = _conv_bn_relu(channels, channels, 3)
        self.query = nn.Sequential(_conv_bn_relu(channels, half, 1), _conv_bn_relu(half, half, 1))
        self.key = nn.Sequential(_conv_bn_relu(channels, half, 1), _conv_bn_relu(half, half, 1))
        self.value = _conv_bn_relu(channels, half, 1)
        self.up = _conv_bn_relu(half, channels, 1)
        self.out = nn.Sequential(
            _conv_bn_relu(2 * channels, channels, 1), nn.Dropout2d(0.05), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, clip: Tensor) -> Tensor:
        """clip (B, 4, C, h, w), oldest first -> context (B, C, h, w) of the newest frame."""
        batch, n_frames = clip.shape[:2]
        frames = clip.flatten(0, 1)
        regions = self.regions(frames).flatten(2).softmax(dim=2)
        pixels = self.pixels(frames)
        objects = torch.matmul(regions, pixels.flatten(2).transpose(1, 2))  # (B * 4, classes, C)
        objects = objects.unflatten(0, (batch, n_frames)).mean(dim=1).transpose(1, 2).unsqueeze(3)
        newest = pixels.unflatten(0, (batch, n_frames))[:, -1]
        query = self.query(newest).flatten(2).transpose(1, 2)
        key, value = self.key(objects).flatten(2), self.value(objects).flatten(2).transpose(1, 2)
        attention = (torch.matmul(query, key) * key.shape[1] ** -0.5).softmax(dim=-1)
        attended = torch.matmul(attention, value).transpose(1, 2).unflatten(2, tuple(newest.shape[-2:]))
        return self.out(torch.cat((self.up(attended), newest), dim=1))


@dataclass(frozen=True)
class TCBState(VideoState):
    """Stride-32 features (B, C, H/32, W/32) of the three frames before, oldest first; fewer where a video starts without."""

    features: tuple[Tensor, ...]


class TCB(VideoSegmenter, Checkpointed):
    """Training window: 4 frames, output for the last (T_out = T - 3). Frames follow one another without motion.

    `conventions`: tcb_weights and tcb_start are read.
    """

    context: ClassVar[int] = CLIP - 1

    def __init__(
        self, image: nn.Module, block: Literal["ppm", "ocr"], conventions: Conventions = CORRECTED
    ) -> None:
        super().__init__()
        self.conventions = conventions
        self.image, self.window, self.method = as_staged_model(image, "TCB"), CLIP, f"tcb_{block}"
        self.n_classes = self.image.n_classes
        channels = self.image.pyramid_channels[-1]
        self.block = PyramidContext(channels, conventions) if block == "ppm" else ObjectContext(channels, self.n_classes)
        self.merge = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, window: Window) -> Outputs:
        batch, n_frames = window.frames.shape[:2]
        n_out = n_frames - self.context
        pyramid = self.image.encode(window.frames.flatten(0, 1))
        levels = [level.unflatten(0, (batch, n_frames)) for level in pyramid]
        coarse = levels[-1]
        clips = torch.stack([coarse[:, k : k + CLIP] for k in range(n_out)], dim=1).flatten(0, 1)
        newest = [level[:, self.context :].flatten(0, 1) for level in levels]
        logits = self._segment(newest, clips, tuple(window.frames.shape[-2:]))
        return Outputs(logits.unflatten(0, (batch, n_out)))

    def step(self, frame: Tensor, state: TCBState | None, motion: Motion | None = None) -> tuple[Tensor, TCBState]:
        pyramid = self.image.encode(frame)
        coarse = pyramid[-1]
        past = () if state is None else state.features
        if len(past) < self.context:
            if self.conventions.tcb_start == "image-model":
                return self._decode(pyramid, tuple(frame.shape[-2:])), TCBState((*past, coarse))
            past = (coarse,) * self.context
        clip = torch.stack((*past, coarse), dim=1)
        return self._segment(pyramid, clip, tuple(frame.shape[-2:])), TCBState((*past[1:], coarse))

    def _segment(self, pyramid: list[Tensor], clip: Tensor, size: tuple[int, int]) -> Tensor:
        merged = self.merge(torch.cat((pyramid[-1], self.block(clip)), dim=1))
        return self._decode([*pyramid[:-1], merged], size)

    def _decode(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        return upsample(self.image.classify(self.image.decode_features(pyramid)), size)


def _conv_bn_relu(in_channels: int, out_channels: int, kernel: int, bias: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

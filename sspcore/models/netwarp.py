"""NetWarp (Gadde et al., ICCV 2017) on a base image model, as the paper compares with it.

    W  = FlowCNN(flow, I_{k-1}, I_k)                                   the flow, refined for this use
    Z~ = c_l * Z_k^l + p_l * warp(Z_{k-1}^l, W)    for l = 1..4        Z: encoder pyramid; c, p: weights per channel
    S_k = decoder(Z~)

The weights start at c = 1, p = 0, so training starts from the image model. What is carried on is the frame's own
pyramid Z_k, not the mixture: the same in training and in a stream. (The reference carries the mixture in a stream, after
training on pairs without it: `Conventions.netwarp_state`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.types import Motion, Outputs, VideoSegmenter, VideoState, Window
from sspcore.models.hub import Checkpointed
from sspcore.models.interface import upsample
from sspcore.models.wrap import as_staged_model
from sspcore.motion import geometry
from sspcore.motion.raft import RAFT, flow_to_prev, window_flow_to_prev
from sspcore.motion.readings import FEATURE_WARPS

LEVELS = 4  # strides 4, 8, 16, 32: the last entries of a pyramid


class FlowCNN(nn.Module):
    """Refines a flow: convs 11 -> 16 -> 32 -> 2 on flow, both frames and their difference, then 4 -> 2 with the flow.

    The last convolution starts as "take the flow as it is"; random values would send the first warps anywhere. `random`: all
    start as torch's do, as published.
    """

    def __init__(self, random: bool = False) -> None:
        super().__init__()
        self.correction = nn.Sequential(
            nn.Conv2d(11, 16, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(32, 2, 3, padding=1),
        )
        self.merge = nn.Conv2d(4, 2, 3, padding=1)
        if random:
            return
        with torch.no_grad():
            # Small, not zero: zero weights on the correction would keep its gradient at zero for ever.
            self.merge.weight.mul_(0.1)
            self.merge.bias.zero_()
            for component in range(2):
                self.merge.weight[component, 2:] = 0
                self.merge.weight[component, 2 + component, 1, 1] = 1

    def forward(self, flow: Tensor, previous: Tensor, current: Tensor) -> Tensor:
        """flow (B, 2, H, W) from current to previous, frames (B, 3, H, W) -> refined flow (B, 2, H, W), pixels."""
        dtype = self.merge.weight.dtype
        # Autocast would round displacements: bfloat16 knows 20 px to an eighth of a pixel only.
        with torch.autocast("cuda" if flow.is_cuda else "cpu", enabled=False):  # counting runs on "meta", unknown to it
            inputs = torch.cat((flow.to(dtype), previous, current, previous - current), dim=1)
            return self.merge(torch.cat((self.correction(inputs), flow.to(dtype)), dim=1)).float()


@dataclass(frozen=True)
class NetWarpState(VideoState):
    """The frame before (B, 3, H, W) and its pyramid, four levels (B, C_l, H/s, W/s)."""

    frame: Tensor
    pyramid: tuple[Tensor, ...]


class NetWarp(VideoSegmenter, Checkpointed):
    """Training window: 2 frames, output for the second (T_out = T - 1). The first frame of a stream has no past.

    `conventions`: feature_warp and netwarp_state are read. `raft`: estimates the flow and learns, as published; None: the
    flow is given. `random_flow_cnn`: FlowCNN starts at random, as published, not as "take the flow as it is".
    """

    method: ClassVar[str] = "netwarp"
    context: ClassVar[int] = 1

    def __init__(
        self, image: nn.Module, conventions: Conventions = CORRECTED, raft: RAFT | None = None, random_flow_cnn: bool = False
    ) -> None:
        super().__init__()
        self.image, self.window, self.conventions = as_staged_model(image, "NetWarp"), 2, conventions
        self.n_classes, self.raft = self.image.n_classes, raft
        self.needs = frozenset({"flow"} if raft is None else ())
        self.flow_cnn = FlowCNN(random_flow_cnn)
        channels = self.image.pyramid_channels
        self.past_weights = nn.ParameterList(nn.Parameter(torch.zeros(1, c, 1, 1)) for c in channels)
        self.present_weights = nn.ParameterList(nn.Parameter(torch.ones(1, c, 1, 1)) for c in channels)

    def forward(self, window: Window) -> Outputs:
        frames = window.frames
        batch, n_pairs = frames.shape[0], frames.shape[1] - 1
        pyramid = self.image.encode(frames.flatten(0, 1))
        levels = [level.unflatten(0, (batch, n_pairs + 1)) for level in pyramid]
        past = tuple(level[:, :-1].flatten(0, 1) for level in levels[-LEVELS:])
        present = [level[:, 1:].flatten(0, 1) for level in levels]
        flow = window_flow_to_prev(self.raft, window, self).flatten(0, 1)
        state = NetWarpState(frames[:, :-1].flatten(0, 1), past)
        mixed = self._mix(frames[:, 1:].flatten(0, 1), present, state, flow)
        return Outputs(self._segment(mixed, tuple(frames.shape[-2:])).unflatten(0, (batch, n_pairs)))

    def step(self, frame: Tensor, state: NetWarpState | None, motion: Motion | None = None) -> tuple[Tensor, NetWarpState]:
        pyramid = self.image.encode(frame)
        if state is None:
            mixed = pyramid
        else:
            mixed = self._mix(frame, pyramid, state, flow_to_prev(self.raft, frame, state.frame, motion, self))
        carried = mixed if self.conventions.netwarp_state == "mixture" else pyramid
        return self._segment(mixed, tuple(frame.shape[-2:])), NetWarpState(frame, tuple(carried[-LEVELS:]))

    def _mix(self, frame: Tensor, pyramid: list[Tensor], state: NetWarpState, flow: Tensor) -> list[Tensor]:
        """The frame's pyramid with the past, along the flow (B, 2, H, W) to it, mixed into its last levels."""
        flow = self.flow_cnn(flow, state.frame, frame)
        warp, mixed = FEATURE_WARPS[self.conventions.feature_warp], []
        for level, present in enumerate(pyramid[-LEVELS:]):
            past, _ = warp(state.pyramid[level], geometry.resize_flow(flow, tuple(present.shape[-2:])))
            mixed.append(self.present_weights[level] * present + self.past_weights[level] * past)
        return [*pyramid[:-LEVELS], *mixed]

    def _segment(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        return upsample(self.image.classify(self.image.decode_features(pyramid)), size)

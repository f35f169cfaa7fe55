"""Deep Feature Flow (Zhu et al., CVPR 2017) on a base image model, as the paper compares with it.

    key frame (every 8th):  D_k = decoder(encoder(I_k))
    between:                D_k = warp(D_{k-1}) by optical flow,       S_k = classifier(D_k)

D are the decoder's last features at stride 4. Between key frames nothing of a frame is looked at but its flow, so the
cost is the flow's; errors of chained warps build up until the next key frame. The flow is given, or estimated by a RAFT of the
system's own that is trained with it, as published; without one it adds no parameter.
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

KEY_INTERVAL = 8


@dataclass(frozen=True)
class DFFState(VideoState):
    """What DFF keeps of the frame before.

    Attributes:
        features: (B, D, H/4, W/4), the decoder's last.
        since_key: how many frames ago its key frame was (0 = key).
        frame: (B, 3, H, W), the frame itself; only with a RAFT of its own.
    """

    features: Tensor
    since_key: int
    frame: Tensor | None = None


class DFF(VideoSegmenter, Checkpointed):
    """Training window: 2 frames, the first taken as key frame, output for the second (T_out = T - 1).

    `conventions`: feature_warp is read. `raft`: estimates the flow and learns; None: the flow is given.
    """

    method: ClassVar[str] = "dff"
    context: ClassVar[int] = 1

    def __init__(
        self, image: nn.Module, key_interval: int = KEY_INTERVAL, conventions: Conventions = CORRECTED,
        raft: RAFT | None = None,
    ) -> None:
        super().__init__()
        self.image, self.key_interval, self.conventions = as_staged_model(image, "DFF"), key_interval, conventions
        self.n_classes, self.window, self.raft = self.image.n_classes, 2, raft
        self.needs = frozenset({"flow"} if raft is None else ())

    def forward(self, window: Window) -> Outputs:
        """Frame 0 and every `key_interval`-th after it are key frames, encoded in one call."""
        batch, n_frames = window.frames.shape[:2]
        flows = window_flow_to_prev(self.raft, window, self)
        keys = window.frames[:, :: self.key_interval]
        key_features = self._key_features(keys.flatten(0, 1)).unflatten(0, (batch, keys.shape[1]))
        features, all_features = key_features[:, 0], []
        for k in range(1, n_frames):
            key, since_key = divmod(k, self.key_interval)
            features = self._carry(features, flows[:, k - 1]) if since_key else key_features[:, key]
            all_features.append(features)
        stacked = torch.stack(all_features, dim=1)
        logits = self._segment(stacked.flatten(0, 1), tuple(window.frames.shape[-2:]))
        return Outputs(logits.unflatten(0, (batch, n_frames - 1)))

    def step(self, frame: Tensor, state: DFFState | None, motion: Motion | None = None) -> tuple[Tensor, DFFState]:
        since_key = 0 if state is None else (state.since_key + 1) % self.key_interval
        if since_key == 0:
            features = self._key_features(frame)
        else:
            features = self._carry(state.features, flow_to_prev(self.raft, frame, state.frame, motion, self))
        kept = None if self.raft is None else frame
        return self._segment(features, tuple(frame.shape[-2:])), DFFState(features, since_key, kept)

    def _key_features(self, frame: Tensor) -> Tensor:
        return self.image.decode_features(self.image.encode(frame))

    def _carry(self, features: Tensor, flow: Tensor) -> Tensor:
        """Decoder features of the frame before brought into the current one, along its flow (B, 2, H, W) to that frame."""
        flow = geometry.resize_flow(flow, tuple(features.shape[-2:]))
        carried, _ = FEATURE_WARPS[self.conventions.feature_warp](features, flow)
        return carried

    def _segment(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return upsample(self.image.classify(features), size)

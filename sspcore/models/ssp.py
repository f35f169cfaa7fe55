"""Semantic Similarity Propagation: a light recurrent step on any image model (paper, section 3).

    P_k = alpha * warp(P_{k-1}) + (1 - alpha) * S_k,      P_0 = S_0,
    alpha = sigmoid(sim([warp(F_{k-1}), F_k])),

with S_k the image model's logits (upsampled to full size before mixing), F_k its stride-4 encoder features, P_{k-1} the
previous OUTPUT, and warp the homography that registers frame k-1 to frame k. Every part that an ablation takes away is
one value of `SSPOptions`. Three deviations from the reference: alpha is 0 where the past lies outside the view
(`mask_alpha`), homographies are rescaled to stride 4 with the half pixel (`half_pixel`), and samples beyond the last pixel's
centre repeat it in place of fading to zero (`border`). With `gate` the past of some cells is read along the optical flow (see
`sspcore.models.gate`).

SSP-R (ours, not the paper's) is the same class with `evidence` and `classes`: the similarity head also sees what the
registration and the two predictions say about each other and which classes they name; and training windows are longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sspcore.core.types import Motion, Outputs, Tensors, VideoSegmenter, VideoState, Window, required
from sspcore.models.gate import homography_holds, pixels_of
from sspcore.models.hub import Checkpointed
from sspcore.models.interface import FEATURE_STRIDE, at_feature_stride, require_agreement, upsample
from sspcore.models.similarity import build_similarity, carried_variance, evidence_channels
from sspcore.models.spec import CLASS_CHANNELS, SSPOptions
from sspcore.models.wrap import as_image_model
from sspcore.motion import geometry


@dataclass(frozen=True)
class SSPState(VideoState):
    """What SSP keeps of the frame before.

    Attributes:
        logits: (B, C, H, W) float32, the output P at full size.
        features: (B, F, H/4, W/4), the encoder's stride-4 features.
        alpha: (B, 1, H, W), weight of the past in `logits` (0 on the first frame); the next step ignores it.
        frame: (B, 3, H/4, W/4), the frame itself, averaged; only with evidence channels.
        variance: (B, 1, H/4, W/4), see `carried_variance`; only with the option of that name.
    """

    logits: Tensor
    features: Tensor
    alpha: Tensor
    frame: Tensor | None = None
    variance: Tensor | None = None


@dataclass(frozen=True)
class Observation(Tensors):
    """What the image model says of one frame, before any past is mixed in.

    Attributes:
        logits: (B, C, H, W) float32, S_k at full size. logits_stride4: the same at stride 4.
        features: (B, F, H/4, W/4). frame: (B, 3, H/4, W/4), averaged; None without evidence channels.
    """

    logits: Tensor
    logits_stride4: Tensor
    features: Tensor
    frame: Tensor | None

    def each_frame(self, sizes: tuple[int, int]) -> list[Observation]:
        """Of windows (B, T), given as B * T frames: what is said of their first frames, of their second ones, and so on."""
        # unbind, not an index a frame: on the way back it writes one stack in place of T arrays that are mostly zero
        parts = self.map(lambda tensor: tensor.unflatten(0, sizes).unbind(1))
        frames = [None] * sizes[1] if parts.frame is None else parts.frame
        return list(map(Observation, parts.logits, parts.logits_stride4, parts.features, frames))


@dataclass(frozen=True)
class Route(Tensors):
    """Where the past of a frame is read from.

    Attributes:
        H_cur_to_prev: (B, 3, 3) at full size, current pixels to previous ones (`geometry.sampling_homography`).
        flow_to_prev: (B, 2, H, W), pixels, from the current frame to the one before; None where it is not used.
        by_flow: (B, 1, G, G) bool, cells of the current frame whose past is read along the flow; None: nowhere.
    """

    H_cur_to_prev: Tensor
    flow_to_prev: Tensor | None = None
    by_flow: Tensor | None = None


@dataclass(frozen=True)
class Propagation:
    """One recurrent step with all that it worked out on the way: pictures, timing and export read it from here.

    Attributes:
        state: after the step; its `logits` are the output P_k.
        past: (B, C, H, W), the previous output in the current frame. valid: (B, 1, H, W) bool, where it has a source.
        past_features: (B, F, H/4, W/4), registered, 0 where there is no source. valid_small: (B, 1, H/4, W/4) bool.
        evidence: (B, E, H/4, W/4), what the similarity head sees besides the features; None without the option.
        by_flow: (B, 1, H, W) bool, where the past came by flow; None: nowhere.
    """

    state: SSPState
    past: Tensor
    valid: Tensor
    past_features: Tensor
    valid_small: Tensor
    evidence: Tensor | None
    by_flow: Tensor | None


class SSP(VideoSegmenter, Checkpointed):
    """SSP on an image model. `forward` outputs every frame of the window (T_out = T), the first as P_0 = S_0.

    Args:
        image: the image model, shared by all frames: a network of segmentation_models_pytorch, what `sspcore.wrap` makes of
            any other, or a class of your own (`sspcore.models.interface.ImageModel`).
        options: see SSPOptions.
        window: frames of a training window: 2 in the paper, more for back-propagation through the recurrence.
    """

    method = "ssp"

    def __init__(self, image: nn.Module, options: SSPOptions | None = None, window: int = 2) -> None:
        super().__init__()
        self.image, self.options, self.window = as_image_model(image), options or SSPOptions(), window
        self.n_classes = self.image.n_classes
        self.needs = frozenset({"homography", "flow"} & {self.options.registration})
        if self.options.gate is not None:
            self.needs = frozenset({"homography", "flow", "correspondences"})
        self.similarity = build_similarity(self.options, self.image.feature_channels)
        self.class_embedding = nn.Conv2d(2 * self.n_classes, CLASS_CHANNELS, 1) if self.options.classes else None
        self._image_is_frozen = False

    def freeze_image(self) -> None:
        """From now on training changes only what is around the image model: its weights and BatchNorm statistics stay."""
        self.image.requires_grad_(False)
        self.image.eval()
        self._image_is_frozen = True

    def train(self, mode: bool = True) -> SSP:
        super().train(mode)
        if self._image_is_frozen:
            self.image.eval()
        return self

    def forward(self, window: Window) -> Outputs:
        sizes = tuple(window.frames.shape[:2])
        first, *others = self.observe(window.frames.flatten(0, 1)).each_frame(sizes)
        state = self.start(first)
        outputs = [state.logits]
        for k, observation in enumerate(others, 1):
            route = self.route(window.frames[:, k], window.motion(k))
            state = self.propagate(observation, state, route).state
            outputs.append(state.logits)
        return Outputs(torch.stack(outputs, dim=1))

    def step(self, frame: Tensor, state: SSPState | None, motion: Motion | None = None) -> tuple[Tensor, SSPState]:
        observation = self.observe(frame)
        if state is None:
            state = self.start(observation)
        else:
            state = self.propagate(observation, state, self.route(frame, motion)).state
        return state.logits, state

    def observe(self, frame: Tensor) -> Observation:
        """Run the image model on frames (B, 3, H, W)."""
        logits, features = self.image.logits_and_features(frame)
        require_agreement(self.image, frame, logits, features)
        return Observation(
            logits=upsample(logits, tuple(frame.shape[-2:])),
            logits_stride4=at_feature_stride(logits, features.shape[-2:]),
            features=features,
            frame=F.avg_pool2d(frame, FEATURE_STRIDE) if self.options.evidence else None,
        )

    def start(self, observation: Observation) -> SSPState:
        """The state after the first frame of a video: P_0 = S_0."""
        nothing = torch.zeros_like(observation.logits[:, :1])
        variance = torch.ones_like(observation.logits_stride4[:, :1]) if self.options.variance else None
        return SSPState(observation.logits, observation.features, nothing, observation.frame, variance)

    def route(self, frame: Tensor, motion: Motion | None) -> Route:
        """Where the past of a frame (B, 3, H, W) is read from. Raises ValueError for motion that is missing (see `needs`)."""
        motion, gate = motion or Motion(), self.options.gate
        if self.options.registration == "homography":
            H_cur_to_prev = geometry.sampling_homography(required(motion.H_prev_to_cur, "motion.H_prev_to_cur", self))
        else:
            H_cur_to_prev = torch.eye(3, device=frame.device).expand(frame.shape[0], 3, 3)
        if "flow" not in self.needs:
            return Route(H_cur_to_prev)
        flow = required(motion.flow_to_prev, "motion.flow_to_prev", self).to(frame.device)
        if gate is None:
            return Route(H_cur_to_prev, flow, torch.ones(len(frame), 1, 1, 1, dtype=torch.bool, device=frame.device))
        matches = required(motion.correspondences, "motion.correspondences", self)
        return Route(H_cur_to_prev, flow, ~homography_holds(matches, tuple(frame.shape[-2:]), gate).to(frame.device))

    def propagate(self, observation: Observation, state: SSPState, route: Route) -> Propagation:
        """One recurrent step: register the past, work out alpha, mix.

        Args:
            observation: of the current frame.
            state: after the frame before.
            route: where the past is read from.
        Free of matrix inverses, so it can be exported.
        """
        size = tuple(observation.logits.shape[-2:])
        past, valid, valid_small = self.register(state, route)
        evidence = self._evidence(past, observation, valid_small) if self.options.evidence else None
        alpha = self.similarity(past.features, observation.features, evidence).float()
        variance = carried_variance(alpha * valid_small, past.variance) if self.options.variance else None
        alpha = F.interpolate(alpha, size=size, mode="bilinear", align_corners=False)
        past_logits = past.logits
        if self.options.mask_alpha:
            alpha = alpha * valid
        elif self.options.border == "repeat":
            past_logits = past_logits * valid
        logits = alpha * past_logits + (1 - alpha) * observation.logits
        state = SSPState(logits, observation.features, alpha, observation.frame, variance)
        by_flow = None if route.by_flow is None else pixels_of(route.by_flow, size)
        return Propagation(state, past_logits, valid, past.features, valid_small, evidence, by_flow)

    def register(self, state: SSPState, route: Route) -> tuple[SSPState, Tensor, Tensor]:
        """The state of the frame before, brought into the current frame, and where it has a source.

        Returns: the state (its features are 0 where there is no source, its alpha is left as it was), and the bool masks
            `valid` (B, 1, H, W) and `valid_small` (B, 1, H/4, W/4).
        """
        size, small = tuple(state.logits.shape[-2:]), tuple(state.features.shape[-2:])
        padding = "zeros" if self.options.border == "zeros" else "border"
        H_small = geometry.rescale_homography(route.H_cur_to_prev, size, small, self.options.half_pixel)
        logits, valid = _warped(state.logits, route.H_cur_to_prev, route, padding)
        features, valid_small = _warped(state.features, H_small, route, padding)
        if padding == "border":
            # Border values that repeat would look alike: no features where there is no past.
            features = features * valid_small
        frame, variance = (
            None if value is None else _warped(value, H_small, route)[0]
            for value in (state.frame, state.variance)
        )
        return SSPState(logits, features, state.alpha, frame, variance), valid, valid_small

    def _evidence(self, past: SSPState, observation: Observation, valid: Tensor) -> Tensor:
        """What the similarity head sees besides the features, (B, E, h, w). past, valid: what `register` returns, stride 4."""
        past_probs = F.avg_pool2d(past.logits, FEATURE_STRIDE).float().softmax(1)
        probs = observation.logits_stride4.float().softmax(1)
        channels = [evidence_channels(past.frame, observation.frame, past_probs, probs, valid)]
        if past.variance is not None:
            channels.append(past.variance)
        if self.class_embedding is not None:
            named = torch.cat([past_probs * valid, probs], dim=1)
            channels.append(self.class_embedding(named.to(observation.features.dtype)).float())
        return torch.cat(channels, dim=1)


def _warped(source: Tensor, H_cur_to_prev: Tensor, route: Route, padding: str = "border") -> tuple[Tensor, Tensor]:
    """`source` (B, C, h, w) in the current frame, and where it comes from inside; H_cur_to_prev is the route's at that size."""
    values, valid = geometry.warp_by_sampling_homography(source, H_cur_to_prev, padding=padding)
    if route.by_flow is None:
        return values, valid
    size = tuple(source.shape[-2:])
    flowed, flow_valid = geometry.warp_by_flow(source, geometry.resize_flow(route.flow_to_prev, size))
    if padding == "zeros":
        flowed = flowed * flow_valid
    by_flow = pixels_of(route.by_flow, size)
    return torch.where(by_flow, flowed, values), torch.where(by_flow, flow_valid, valid)

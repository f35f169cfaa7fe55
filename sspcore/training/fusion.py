"""Fusion of the teacher's labels over pairs of frames (METHOD section 4).

Frames 2i and 2i + 1 of a clip are a pair: their logits are fused through bidirectional flow once, since neither flow nor
fusion depends on the student. So no flow network runs inside the distillation loop.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.progress import tqdm
from sspcore.data.clips import Clip
from sspcore.motion.cache import FlowSource
from sspcore.motion.geometry import occlusion_mask, occlusion_mask_same_pixel, resize_flow, warp_by_flow
from sspcore.training.distill import LabelStore

OcclusionRule = Callable[[Tensor, Tensor], Tensor]
OCCLUSION_RULES: dict[str, OcclusionRule] = {"followed": occlusion_mask, "same-pixel": occlusion_mask_same_pixel}


def fuse_pair(
    previous: Tensor, current: Tensor, flow_to_next: Tensor, flow_to_prev: Tensor, rule: OcclusionRule
) -> tuple[Tensor, Tensor]:
    """Both frames' logits, each averaged with the other's where the point is visible in both.

        T^c_{k-1} = (T_{k-1} + (1 - M_occ) warp(T_k)) / (2 - M_occ),   T^c_k likewise.

    Args:
        previous, current: (B, C, h, w) logits of frames k-1 and k, on a grid of stride s.
        flow_to_next, flow_to_prev: (B, 2, H, W) pixels at full size, k-1 -> k and k -> k-1.
        rule: M_occ from (flow there, flow back), (B, 1, H, W) bool; its constants are in full-size pixels.
    Returns: the fused logits of k-1 and k, (B, C, h, w). M_occ is averaged over a cell of the logits' grid.
    Source: paper, section on distillation; METHOD section 4.
    """
    return (
        _fuse(previous, current, flow_to_next, rule(flow_to_next, flow_to_prev)),
        _fuse(current, previous, flow_to_prev, rule(flow_to_prev, flow_to_next)),
    )


def _fuse(own: Tensor, other: Tensor, flow_to_other: Tensor, occluded: Tensor) -> Tensor:
    size = tuple(own.shape[-2:])
    warped, valid = warp_by_flow(other, resize_flow(flow_to_other, size))
    hidden = F.interpolate(occluded.float(), size, mode="area")
    hidden = torch.where(valid, hidden, torch.ones_like(hidden))
    return (own + (1 - hidden) * warped) / (2 - hidden)


@torch.inference_mode()
def fuse_clips(clips: list[Clip], source: LabelStore, target: LabelStore, flows: FlowSource, rule: OcclusionRule) -> None:
    """Fuse the labels of frames 2i and 2i + 1 of every clip; clips that are there and whole are skipped.

    A last frame without a partner keeps its own logits.
    """
    todo = [clip for clip in clips if not target.is_whole(clip)]
    with tqdm(total=sum(len(clip) // 2 for clip in todo), desc="fusing labels", unit="pair") as bar:
        for clip in todo:
            logits = source.read(clip, list(range(len(clip))))
            fused = logits.clone()
            for k in range(1, len(clip), 2):
                there, back = flows.between(clip, k - 1, k)[None], flows.between(clip, k, k - 1)[None]
                fused[k - 1 : k], fused[k : k + 1] = fuse_pair(logits[k - 1 : k], logits[k : k + 1], there, back, rule)
                bar.update(1)
            target.write(clip, fused)

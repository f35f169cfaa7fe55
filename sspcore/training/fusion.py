"""Fusion of the teacher's labels over pairs of frames (METHOD section 4).

Frames 2i and 2i + 1 of a clip are a pair: their logits are fused through bidirectional flow once, since neither flow nor
fusion depends on the student. So no flow network runs inside the distillation loop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.progress import tqdm
from sspcore.data.clips import Clip
from sspcore.motion.cache import FlowSource
from sspcore.motion.geometry import resize_flow
from sspcore.motion.readings import FLOW_WARPS, OCCLUSION_RULES
from sspcore.training.distill import LabelStore


def fuse_pair(
    previous: Tensor, current: Tensor, flow_to_next: Tensor, flow_to_prev: Tensor, conventions: Conventions = CORRECTED
) -> tuple[Tensor, Tensor]:
    """Both frames' logits, each averaged with the other's where the point is visible in both.

        T^c_{k-1} = (T_{k-1} + (1 - M_occ) warp(T_k)) / (2 - M_occ),   T^c_k likewise.

    Args:
        previous, current: (B, C, h, w) logits of frames k-1 and k, on a grid of stride s.
        flow_to_next, flow_to_prev: (B, 2, H, W) pixels at full size, k-1 -> k and k -> k-1.
        conventions: its occlusion, flow_warp and outside_view are read. The constants of M_occ are in full-size pixels, and so
            is the nearest pixel of the reference's warp.
    Returns: the fused logits of k-1 and k, (B, C, h, w). M_occ is averaged over a cell of the logits' grid.
    Source: paper, section on distillation; METHOD section 4.
    """
    rule = OCCLUSION_RULES[conventions.occlusion]
    return (
        _fuse(previous, current, flow_to_next, rule(flow_to_next, flow_to_prev), conventions),
        _fuse(current, previous, flow_to_prev, rule(flow_to_prev, flow_to_next), conventions),
    )


def _fuse(own: Tensor, other: Tensor, flow_to_other: Tensor, occluded: Tensor, conventions: Conventions) -> Tensor:
    size, full = tuple(own.shape[-2:]), tuple(flow_to_other.shape[-2:])
    warp = FLOW_WARPS[conventions.flow_warp]
    if conventions.flow_warp == "reference":  # the nearest pixel of the full size, not of the logits' coarser grid
        warped, valid = warp(F.interpolate(other, full, mode="bilinear", align_corners=False), flow_to_other)
        warped, valid = F.interpolate(warped, size, mode="area"), F.interpolate(valid.to(own.dtype), size, mode="area")
    else:
        warped, valid = warp(other, resize_flow(flow_to_other, size))
    hidden = F.interpolate(occluded.to(own.dtype), size, mode="area")
    if conventions.outside_view == "left-out":
        hidden = torch.maximum(hidden, 1 - valid.to(own.dtype))
    return (own + (1 - hidden) * warped) / (2 - hidden)


@torch.inference_mode()
def fuse_clips(
    clips: list[Clip], source: LabelStore, target: LabelStore, flows: FlowSource, conventions: Conventions = CORRECTED
) -> None:
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
                pair = fuse_pair(logits[k - 1 : k], logits[k : k + 1], there, back, conventions)
                fused[k - 1 : k], fused[k : k + 1] = pair
                bar.update(1)
            target.write(clip, fused)

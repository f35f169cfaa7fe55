"""The functions of `geometry` by their reading in `sspcore.core.conventions`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from sspcore.motion import geometry

Warp = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (source, flow) -> (values, valid)
OcclusionRule = Callable[[Tensor, Tensor], Tensor]  # (flow there, flow back) -> (B, 1, H, W) bool

FLOW_WARPS: dict[str, Warp] = {"aligned": geometry.warp_by_flow, "reference": geometry.warp_by_flow_reference}
FEATURE_WARPS: dict[str, Warp] = {
    "aligned": geometry.warp_by_flow, "reference": partial(geometry.warp_by_flow_reference, mode="bilinear"),
}
SOFT_OCCLUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": geometry.soft_occlusion, "sum": geometry.soft_occlusion_sum,
}
OCCLUSION_RULES: dict[str, OcclusionRule] = {
    "followed": geometry.occlusion_mask, "same-pixel": geometry.occlusion_mask_same_pixel,
}

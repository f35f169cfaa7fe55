"""Functions of `geometry`, and names of estimators, by their reading in `sspcore.core.conventions`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from sspcore.core.conventions import Conventions
from sspcore.motion import geometry
from sspcore.motion.names import IDENTITY, IMAGENET, LIGHTGLUE, RANSAC, raft_name, uses_lightglue, uses_raft

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


def flow_under(name: str, conventions: Conventions) -> str:
    """Name of the estimator that stands for `name` under the conventions: RAFT may see other frames, all others stay."""
    sees_others = uses_raft(name) and conventions.raft_input == "imagenet"
    return name.removesuffix(IMAGENET) + IMAGENET if sees_others else name


def registrator_under(name: str, conventions: Conventions) -> str:
    """Name of the registrator that stands for `name` under the conventions.

    LightGlue's DISK may see other frames, and RANSAC's homography may be taken unchecked. The identity stays.
    """
    matcher, ransac = name.removesuffix(RANSAC), name.endswith(RANSAC) or conventions.registration_rule == "ransac"
    if matcher == IDENTITY:
        return name
    if uses_lightglue(matcher) and conventions.disk_input == "imagenet":
        matcher = LIGHTGLUE + IMAGENET
    return matcher + RANSAC if ransac else matcher


def fusion_flow(name: str, conventions: Conventions) -> str:
    """The same for the fusion of teacher labels, where RAFT may have another number of updates."""
    if uses_raft(name) and conventions.fusion_updates == "15":
        name = raft_name(15, name.endswith(IMAGENET))
    return flow_under(name, conventions)

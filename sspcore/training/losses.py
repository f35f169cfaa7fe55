"""Losses of the paper: temporal consistency, distillation, and the objectives that combine them (METHOD sections 3, 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.classes import IGNORE
from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.types import Outputs, Window
from sspcore.motion.readings import FLOW_WARPS, SOFT_OCCLUSIONS
from sspcore.training.recipe import Recipe

Objective = Callable[[Outputs, Window], dict[str, Tensor]]


def temporal_consistency(
    logits: Tensor, previous_logits: Tensor, frame: Tensor, previous_frame: Tensor, flow_to_prev: Tensor,
    conventions: Conventions = CORRECTED,
) -> Tensor:
    """L_tc = 1/(HW) sum_ij O_ij ||P_k,ij - Phat_{k-1},ij||^2, the mean over batch and pixels, the SUM over classes.

    O_ij = exp(-||I_k,ij - Ihat_{k-1},ij||_1), the L1 norm over the three normalised channels. Pixels whose past lies
    outside the frame carry no term. Nothing is differentiated through flow or O.

    Args:
        logits, previous_logits: (B, C, H, W).
        frame, previous_frame: (B, 3, H, W), normalised.
        flow_to_prev: (B, 2, H, W), current -> previous, pixels.
        conventions: its flow_warp, soft_occlusion and outside_view are read.
    Returns: scalar.
    Source: paper, eq. of L_tc. The reference's mean over classes in place of the squared norm is a constant factor, see
    `supervised`.
    """
    warp = FLOW_WARPS[conventions.flow_warp]
    warped_logits, valid = warp(previous_logits, flow_to_prev)
    with torch.no_grad():
        warped_frame, _ = warp(previous_frame, flow_to_prev)
        weight = SOFT_OCCLUSIONS[conventions.soft_occlusion](frame, warped_frame)
        if conventions.outside_view == "left-out":
            weight = weight * valid
    return (weight * (logits - warped_logits).square().sum(1, keepdim=True)).mean()


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float, class_weights: Tensor | None = None) -> Tensor:
    """KL(softmax(T / t) || softmax(P / t)) * t^2, the mean over batch and pixels.

    Args:
        logits: (B, C, H, W) of the student.
        teacher_logits: (B, C, h, w); brought to the student's size bilinearly.
        temperature: t > 0; the paper uses 2.
        class_weights: (C,); a pixel then weighs what its classes do, by the teacher's probabilities.
    Returns: scalar >= 0, 0 where the distributions agree.
    Source: METHOD section 4; the reference sums over pixels and scales lambda_kd accordingly.
    """
    if teacher_logits.shape[-2:] != logits.shape[-2:]:
        teacher_logits = F.interpolate(teacher_logits, logits.shape[-2:], mode="bilinear", align_corners=False)
    student = F.log_softmax(logits / temperature, dim=1)
    target = F.log_softmax(teacher_logits / temperature, dim=1)
    divergence = F.kl_div(student, target, reduction="none", log_target=True).sum(1)
    if class_weights is not None:
        divergence = divergence * torch.einsum("bchw,c->bhw", teacher_logits.softmax(1), class_weights.to(logits.device))
    return divergence.mean() * temperature**2


def cross_entropy(
    logits: Tensor, labels: Tensor, labelled: Tensor | None = None, class_weights: Tensor | None = None
) -> Tensor:
    """Cross entropy, the mean over labelled pixels; 0 (with a gradient of 0) where no pixel is labelled.

    `labelled` (scalar) divides the sum instead of the number of labelled pixels, for one of several parts of a batch.
    `class_weights` (C,) multiply the pixels of each class; the number that divides stays (see `balanced_weights`).
    """
    weights = None if class_weights is None else class_weights.to(logits.device)
    total = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
    if labelled is not None:
        return total / labelled.clamp(min=1e-6).to(total.dtype)
    return total / (labels != IGNORE).sum().clamp(min=1)


def _labelled_frames(logits: Tensor, window: Window, class_weights: Tensor | None) -> Tensor:
    """Cross entropy of outputs (B, T, C, H, W), which belong to the window's last frames, where these have a label."""
    n_outputs = logits.shape[1]
    labelled = None if window.labelled is None else window.labelled[-n_outputs:].sum()
    return cross_entropy(logits.flatten(0, 1), window.labels[:, -n_outputs:].flatten(0, 1), labelled, class_weights)


def balanced_weights(shares: Sequence[float], exponent: float, limit: float | None = None) -> Tensor:
    """Weights of the classes (C,) that fall with their share of the labelled pixels, of mean 1 over those pixels.

    A class that hardly any pixel shows would outweigh a whole batch wherever it appears, so no weight is above `limit`
    times that mean. What the limit takes from rare classes goes to the others, in their proportion.

    Args:
        shares: of each class in the labelled pixels of the training frames, in 0..1, 1 in all.
        exponent: 0 weighs all pixels alike, 1 all classes, as the mean of their IoU does. Classes that no label shows
            weigh nothing.
        limit: at least 1; None: unlimited.
    """
    share = torch.tensor(shares, dtype=torch.float32)
    weights = torch.where(share > 0, share.clamp(min=1e-6) ** -exponent, 0.0)
    weights = weights / (weights * share).sum()
    while limit is not None and bool((weights > limit).any()):
        limited = weights >= limit
        rest = (weights * share)[~limited].sum().clamp(min=1e-9)
        room = 1 - limit * share[limited].sum()
        weights = torch.where(limited, limit, weights * (room / rest))
    return weights


def _with_consistency(
    losses: dict[str, Tensor], total: Tensor, lambda_tc: float, outputs: Outputs, window: Window, conventions: Conventions
) -> dict[str, Tensor]:
    """The losses, their weighted sum `total`, and in both L_tc, averaged over all pairs of consecutive outputs."""
    n_outputs, n_classes = outputs.logits.shape[1:3]
    if n_outputs < 2 or lambda_tc <= 0:
        return losses | {"total": total}
    offset = window.frames.shape[1] - n_outputs  # outputs belong to the last frames of the window
    logits = outputs.logits.unbind(1)
    terms = [
        temporal_consistency(
            logits[k], logits[k - 1],
            window.frames[:, k + offset], window.frames[:, k + offset - 1], window.flow_to_prev[:, k + offset - 1],
            conventions,
        )
        for k in range(1, n_outputs)
    ]
    consistency = torch.stack(terms).mean()
    return losses | {"tc": consistency, "total": total + lambda_tc / n_classes * consistency}


def supervised(
    lambda_tc: float, auxiliary_weight: float, class_weights: Tensor | None = None, conventions: Conventions = CORRECTED
) -> Objective:
    """L = CE(P_k, A_k) + lambda / C * L_tc (METHOD section 3), C the number of classes.

    L_tc sums over classes, as printed. The published lambda = 0.5 was used with code that averages over classes, so it
    is divided by C here: the weight that the published results come from.

    CE is taken at every frame of the window that has a label and an output; L_tc where the system outputs consecutive
    frames. An auxiliary head (ConvNeXt-S + UPerNet) adds `auxiliary_weight` * CE; with 0 it learns nothing.
    `class_weights`: see `cross_entropy`. `conventions`: of L_tc.
    """

    def objective(outputs: Outputs, window: Window) -> dict[str, Tensor]:
        losses = {"ce": _labelled_frames(outputs.logits, window, class_weights)}
        total = losses["ce"]
        if outputs.auxiliary is not None and auxiliary_weight > 0:
            losses["auxiliary"] = _labelled_frames(outputs.auxiliary, window, class_weights)
            total = total + auxiliary_weight * losses["auxiliary"]
        return _with_consistency(losses, total, lambda_tc, outputs, window, conventions)

    return objective


def build_objective(
    recipe: Recipe, distils: bool, class_weights: Tensor | None = None, conventions: Conventions = CORRECTED
) -> Objective:
    """What a recipe minimises: `distilled` where the teacher's logits are learned from, else `supervised`."""
    if distils:
        return distilled(recipe.lambda_tc, recipe.temperature, class_weights, conventions, recipe.truth_weight)
    return supervised(recipe.lambda_tc, recipe.auxiliary_weight, class_weights, conventions)


def distilled(
    lambda_tc: float, temperature: float, class_weights: Tensor | None = None, conventions: Conventions = CORRECTED,
    truth_weight: float = 0.0,
) -> Objective:
    """L = KL(P_k, T^c_k) + KL(P_{k-1}, T^c_{k-1}) + lambda_kd / C * L_tc (METHOD section 4); KL alone on single frames.

    lambda_kd is divided by the number of classes for the reason given in `supervised`.

    The KL terms are summed over the frames of a pair as in the formula; for longer windows the sum is scaled to two
    frames, so that lambda_kd keeps its meaning. `class_weights`: see `distillation`. `conventions`: of L_tc.
    `truth_weight` (ours) adds so much of the cross entropy at the window's labelled frames, a mean over their pixels.
    """

    def objective(outputs: Outputs, window: Window) -> dict[str, Tensor]:
        n_outputs = outputs.logits.shape[1]
        teacher = window.teacher[:, -n_outputs:]
        kl = distillation(outputs.logits.flatten(0, 1), teacher.flatten(0, 1), temperature, class_weights)
        losses, total = {"kl": kl}, kl * min(n_outputs, 2)
        if truth_weight > 0:
            losses["ce"] = _labelled_frames(outputs.logits, window, class_weights)
            total = total + truth_weight * losses["ce"]
        return _with_consistency(losses, total, lambda_tc, outputs, window, conventions)

    return objective

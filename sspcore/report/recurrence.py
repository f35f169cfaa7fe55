"""What a recurrent system sees and does: its evidence channels, and alpha over what moves and what does not (notebook 12)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sspcore.core.classes import IGNORE
from sspcore.data.clips import Clip
from sspcore.data.datasets import DatasetSpec
from sspcore.report.frontier import image_of
from sspcore.report.style import figure, hide_axes
from sspcore.study import Study

SETTLED = 4  # frames after which the past is averaged over several
CHANNELS = (
    "photometric residual", "disagreement of past and present", "confidence of the past", "confidence of the present",
    "inside the view before",
)  # the classes' channels follow; what they mean is learned, so none is shown


def gains(n_frames: int) -> dict[str, list[float]]:
    """The best weight of a past averaged over 1, 2, ... frames on what stays the same, and the variance that is left.

    The gain of a Kalman filter without process noise: alpha_k = 1 / (1 + v_{k-1}), v_k = alpha_k^2 v_{k-1} +
    (1 - alpha_k)^2, v_0 = 1 (see `models.ssp.carried_variance`).
    """
    variance, found = 1.0, {"best alpha": [], "variance left": []}
    for _ in range(n_frames):
        alpha = 1 / (1 + variance)
        variance = alpha**2 * variance + (1 - alpha) ** 2
        found["best alpha"].append(alpha)
        found["variance left"].append(variance)
    return found


def alpha_by_motion(study: Study, name: str, dataset: str) -> dict[str, float | None]:
    """Mean alpha over labelled validation frames from the `SETTLED`-th on, for pixels of moving classes and for the others.

    Pixels whose past lies outside the view (alpha is 0 there) are left out; None where no pixel is left.
    """
    spec = study.spec(dataset)
    moving = np.array([spec.id_of(label) for label in spec.moving])
    sums = {"moving": [0.0, 0], "other": [0.0, 0]}
    for clip in study.clips(dataset, "val"):
        wanted = [k for k in clip.labelled if k >= SETTLED]
        if not wanted:
            continue
        steps = study.segment(name, dataset, clip)
        for k in wanted:
            labels = clip.label(k, study.profile.input_size)
            alpha = steps[k].state.alpha[0, 0].cpu().numpy()
            counted = (labels != IGNORE) & (alpha > 0)
            for key, mask in (("moving", np.isin(labels, moving)), ("other", ~np.isin(labels, moving))):
                sums[key][0] += float(alpha[mask & counted].sum())
                sums[key][1] += int((mask & counted).sum())
    return {key: total / count if count else None for key, (total, count) in sums.items()}


def evidence_story(study: Study, name: str, dataset: str) -> Figure:
    """One frame with moving things: the frame, alpha, and the channels that the similarity head sees beside the features."""
    clip, k = most_moving(study, dataset)
    seen: list[Tensor] = []
    model = study.model(name, dataset)
    handle = model.similarity.register_forward_pre_hook(_keep(seen))
    try:
        steps = list(study.stream(model, name, dataset, clip))
    finally:
        handle.remove()
    channels = seen[k - 1][0].cpu().numpy()  # the first frame has no past and asks nothing
    panels = [("frame", clip.frame(k, study.profile.input_size), None)]
    panels.append(("alpha: weight of the past", steps[k].state.alpha[0, 0].cpu().numpy(), 1.0))
    panels += [(title, channel, 1.0) for title, channel in zip(CHANNELS, channels, strict=False)]
    rows = -(-len(panels) // 4)
    height, width = study.profile.input_size
    picture, axes = figure(11.2, rows * (2.7 * height / width + 0.35) + 0.5, rows, 4, squeeze=False)
    drawn = None
    for cell, (title, image, top) in zip(axes.flat, panels, strict=False):
        shown = cell.imshow(image, cmap="viridis", vmin=0, vmax=top, extent=(0, width, height, 0))
        drawn = shown if top else drawn
        cell.set_title(title, fontsize=9)
    for cell in axes.flat:
        hide_axes(cell)
    for cell in axes.flat[len(panels):]:
        cell.set_axis_off()
    picture.colorbar(drawn, ax=axes, shrink=0.7, label="all but the frame: 0 to 1")
    picture.suptitle(f"{name} on {study.spec(dataset).title}, {clip.name}, frame {k}: what alpha is worked out from")
    return picture


def most_moving(study: Study, dataset: str) -> tuple[Clip, int]:
    """The labelled validation frame, past the first few, with the largest share of moving classes."""
    spec = study.spec(dataset)
    moving = [spec.id_of(label) for label in spec.moving]
    size = study.profile.input_size
    places = [(clip, k) for clip in study.clips(dataset, "val") for k in clip.labelled if k > 0]
    settled = [place for place in places if place[1] >= SETTLED]
    return max(settled or places, key=lambda place: float(np.isin(place[0].label(place[1], size), moving).mean()))


def losses_per_class(rows: list[dict[str, Any]], dataset: str, spec: DatasetSpec, name: str) -> dict[str, dict[str, float]]:
    """IoU of a system and of its image model in percent, the classes on which it falls furthest behind first."""
    image = image_of(name)
    by_name = {row["system"]: row["per_class_iou"] for row in rows if row["dataset"] == dataset}
    found = {
        label: {image: 100 * before, name: 100 * after, "difference": 100 * (after - before)}
        for label in spec.classes
        if None not in (before := by_name[image][label], after := by_name[name][label])
    }
    return dict(sorted(found.items(), key=lambda item: item[1]["difference"]))


def _keep(seen: list[Tensor]) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, Tensor, Tensor | None]) -> None:
        evidence = inputs[2]
        seen.append(torch.zeros(1, 0) if evidence is None else evidence.detach())

    return hook

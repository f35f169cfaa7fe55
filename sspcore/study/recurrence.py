"""Numbers about the recurrence of alpha (notebook 12): the best constant gain, alpha by motion, the price by class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sspcore.core.classes import IGNORE, ClassSpec
from sspcore.study.stages import Study

SETTLED = 4  # frames after which the past is averaged over several


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
    sums = {"moving": [0.0, 0], "other": [0.0, 0]}
    for clip in study.clips(dataset, "val"):
        wanted = [k for k in clip.labelled if k >= SETTLED]
        if not wanted:
            continue
        steps = study.segment(name, dataset, clip)
        for k in wanted:
            labels = clip.label(k, study.profile.input_size)
            alpha = steps[k].state.alpha[0, 0].cpu().numpy()
            counted, moving = (labels != IGNORE) & (alpha > 0), np.isin(labels, study.spec(dataset).moving_ids)
            for key, mask in (("moving", moving & counted), ("other", ~moving & counted)):
                sums[key][0] += float(alpha[mask].sum())
                sums[key][1] += int(mask.sum())
    return {key: total / count if count else None for key, (total, count) in sums.items()}


def losses_per_class(
    rows: Iterable[Mapping[str, Any]], dataset: str, spec: ClassSpec, name: str, image: str = "Base"
) -> dict[str, dict[str, float]]:
    """IoU of a system and of its image model in percent, the classes on which it falls furthest behind first."""
    by_name = {row["system"]: row["per_class_iou"] for row in rows if row["dataset"] == dataset}
    found = {
        label: {image: 100 * before, name: 100 * after, "difference": 100 * (after - before)}
        for label in spec.classes
        if None not in (before := by_name[image][label], after := by_name[name][label])
    }
    return dict(sorted(found.items(), key=lambda item: item[1]["difference"]))

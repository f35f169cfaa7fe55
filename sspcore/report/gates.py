"""A gate on one frame: where its past comes by flow, what each motion would have brought; and what it buys (notebook 12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sspcore.core.classes import IGNORE
from sspcore.models.spec import Gate
from sspcore.report.collect import most_moving
from sspcore.report.grids import Panel, image_grid, in_rows
from sspcore.report.style import legend_below
from sspcore.report.tables import SHIPPED, Row, points
from sspcore.study.gates import pasts
from sspcore.study.stages import Study

BY_FLOW, WRONG = (0, 114, 178), (213, 94, 0)  # Okabe and Ito's blue and vermilion, as in the other pictures
MEANINGS = {BY_FLOW: "cell whose past comes by flow", WRONG: "the past names the wrong class"}


def verdict(rows: Iterable[Row], dataset: str, titles: Mapping[str, str] = SHIPPED) -> str:
    """Whether a gate pays at inference, in two sentences worked out from rows of the ablations (`study.ablations.finished`).

    Returns: "" where SSP, the gate or flow everywhere has no row.
    """
    found = {row["variant"]: row for row in rows if row["dataset"] == dataset}
    names = ("gate at inference", "flow at inference")
    if not {"SSP", *names} <= found.keys():
        return ""
    gains = [found[name]["miou"] - found["SSP"]["miou"] for name in names]
    moving = [found[name]["miou_moving"] - found["SSP"]["miou_moving"] for name in names]
    gate, flow = (f"{points(miou)} mIoU and {points(one)} of moving classes" for miou, one in zip(gains, moving, strict=True))
    if gains[0] > gains[1] and moving[0] > moving[1]:
        judged = "The gate brings more than the flow that it needs anyway"
    elif gains[0] <= gains[1] and moving[0] <= moving[1]:
        judged = "Flow everywhere, which the gate needs anyway, brings as much or more"
    else:
        judged = "One is better in all classes, the other in those that move"
    return f"**{titles[dataset]}.** The gate at inference changes SSP by {gate}, flow everywhere by {flow}. {judged}."


def gate_picture(study: Study, dataset: str, gate: Gate) -> Figure | None:
    """The labelled validation frame with most moving pixels; None for real data, whose frames have no exact labels.

    Panels: the frame with the cells that take the flow, then where the past names the wrong class: the homography's, the
    flow's, and the one that the gate takes. Shares are of the pixels with a known past: one that has a source in the frame
    before and a class in both.
    """
    if study.truth_root(dataset) is None:
        return None
    clip, k = most_moving(study, dataset)
    (found,) = pasts(study, dataset, clip, [k])
    frame = clip.frame(k, study.profile.input_size)
    past, flows = found.chosen(gate)
    panels = [Panel(_painted(frame, flows, BY_FLOW), "cells that take the flow")]
    titles = ("past by homography", "past by flow", "past by the gate")
    for title, labels in zip(titles, (found.by_homography, found.by_flow, past), strict=True):
        known = (labels != IGNORE) & (found.labels != IGNORE)
        wrong = known & (labels != found.labels)
        share = wrong.sum() / max(1, known.sum())
        panels.append(Panel(_painted(frame, wrong, WRONG, 0.9), title, f"{100 * share:.2f} % wrong"))
    title = f"{study.spec(dataset).title}, {clip.name}, frame {k}\n{study.data_origin}"
    picture, _ = image_grid(in_rows(panels, 2), title, extra=0.6)
    handles = [Patch(color=[c / 255 for c in colour], label=meaning) for colour, meaning in MEANINGS.items()]
    legend_below(picture, handles, len(handles), title="% of the pixels with a known past", title_fontsize=9)
    return picture


def _painted(frame: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], weight: float = 0.5) -> np.ndarray:
    """The frame in grey with a mask painted over it."""
    grey = np.repeat(frame.mean(-1, keepdims=True), 3, axis=-1)
    return np.where(mask[..., None], (1 - weight) * grey + weight * np.array(colour), grey).astype(np.uint8)

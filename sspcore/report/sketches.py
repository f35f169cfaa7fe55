"""A sketch of what each video system keeps of the past, and how it uses it (notebook 06)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from sspcore.core.types import VideoState
from sspcore.report.style import BLACK, BLUE, ORANGE, SKY, VERMILION, figure, legend_below

FRAMES = ("k−3", "k−2", "k−1", "k")
STAGES = ("frame", "encoder", "decoder", "logits")
Place = tuple[int, int]  # frame 0..3, stage 0..3
BOX = 0.36, 0.22  # half width and half height
WORKED_OUT, KEPT, SKIPPED = ("#C7E5F6", SKY), ("#FBE3B5", ORANGE), ("#FFFFFF", "#BBBBBB")  # inside and edge of a box


@dataclass(frozen=True)
class Sketch:
    """What is worked out for the four frames, and where the past goes in.

    Attributes:
        title, note: above and below.
        skipped: places that are not worked out.
        kept: places whose values are kept for the next frames.
        uses: (from, to, how: a key of COLOURS) for each use of the past.
    """

    title: str
    note: str
    skipped: tuple[Place, ...]
    kept: tuple[Place, ...]
    uses: tuple[tuple[Place, Place, str], ...]


FLOW, HOMOGRAPHY, UNMOVED = "moved by flow", "moved by a homography", "not moved"
COLOURS = {FLOW: BLUE, HOMOGRAPHY: VERMILION, UNMOVED: BLACK}
SKETCHES = (
    Sketch(
        "DFF: Deep Feature Flow",
        "Frame k−3 is a key frame. Until the next one\n"
        "its features are moved on; a new frame gives its flow alone.",
        skipped=((1, 1), (2, 1), (3, 1)), kept=tuple((frame, 2) for frame in range(4)),
        uses=tuple(((frame, 2), (frame + 1, 2), FLOW) for frame in range(3)),
    ),
    Sketch(
        "NetWarp",
        "Features of one frame before, on four levels,\n"
        "are added with a learned weight for each channel.",
        skipped=(), kept=tuple((frame, 1) for frame in range(4)),
        uses=tuple(((frame, 1), (frame + 1, 1), FLOW) for frame in range(3)),
    ),
    Sketch(
        "TCB: Temporal Context Blending",
        "The coarsest features of four frames share a context,\n"
        "pooled over areas (ppm) or over objects (ocr).",
        skipped=(), kept=tuple((frame, 1) for frame in range(4)),
        uses=tuple(((frame, 1), (3, 1), UNMOVED) for frame in range(3)),
    ),
    Sketch(
        "SSP: Semantic Similarity Propagation",
        "The output itself is moved on and mixed in;\n"
        "moved features are compared, which gives its weight α.",
        skipped=(), kept=tuple((frame, stage) for frame in range(4) for stage in (1, 3)),
        uses=tuple(((frame, stage), (frame + 1, stage), HOMOGRAPHY) for frame in range(3) for stage in (1, 3)),
    ),
)


def memory_sketch(sketches: Iterable[Sketch] = SKETCHES) -> Figure:
    """A panel a system: four frames from left to right, from the frame below to its logits above."""
    sketches = list(sketches)
    rows = -(-len(sketches) // 2)
    picture, axes = figure(10.4, 3.3 * rows + 0.6, rows, 2, squeeze=False)
    picture.get_layout_engine().set(hspace=0.08)  # a note must not look like the title of what is below it
    for panel in axes.flat[len(sketches):]:
        panel.remove()
    for panel, sketch in zip(axes.flat, sketches, strict=False):
        _draw(panel, sketch)
    boxes = {"worked out": WORKED_OUT, "kept for later frames": KEPT, "left out": SKIPPED}
    legend_below(picture, [
        *(Patch(facecolor=inside, edgecolor=edge, label=label) for label, (inside, edge) in boxes.items()),
        *(Patch(color=colour, label=f"the past, {how}") for how, colour in COLOURS.items()),
    ], 3)
    return picture


def kept_values(state: VideoState) -> dict[str, str]:
    """Field of a state -> the shapes of its tensors; numbers as they are."""
    found = {each.name: getattr(state, each.name) for each in fields(state)}
    return {name: _shape(value) for name, value in found.items() if value is not None}


def _shape(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return "x".join(map(str, value.shape))
    return ", ".join(map(_shape, value)) if isinstance(value, tuple) else str(value)


def _draw(axes: Axes, sketch: Sketch) -> None:
    for frame in range(len(FRAMES)):
        for stage in range(len(STAGES)):
            _box(axes, sketch, (frame, stage))
        stages = [stage for stage in range(len(STAGES)) if (frame, stage) not in sketch.skipped]
        for lower, upper in zip(stages[:-1], stages[1:], strict=True):
            if upper == lower + 1:
                _arrow(axes, (frame, lower + BOX[1]), (frame, upper - BOX[1]), "#777777", 0.8)
    for (start, low), (end, high), how in sketch.uses:
        if end == start + 1:
            _arrow(axes, (start + BOX[0], low), (end - BOX[0], high), COLOURS[how], 2.0)
        else:  # over the frames between
            _arrow(axes, (start, low + BOX[1]), (end - 0.1, high + BOX[1]), COLOURS[how], 2.0, bend=-0.28)
    axes.set(xlim=(-1.1, 3.5), ylim=(-0.75, 3.4))
    axes.set_xticks(range(len(FRAMES)), FRAMES)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for stage, name in enumerate(STAGES):
        axes.text(-0.48, stage, name, ha="right", va="center", fontsize=9)
    axes.set_title(sketch.title)
    axes.set_xlabel(sketch.note, fontsize=9, linespacing=1.3)


def _box(axes: Axes, sketch: Sketch, place: Place) -> None:
    kept, skipped = place in sketch.kept, place in sketch.skipped
    inside, edge = KEPT if kept else SKIPPED if skipped else WORKED_OUT
    axes.add_patch(FancyBboxPatch(
        (place[0] - BOX[0], place[1] - BOX[1]), 2 * BOX[0], 2 * BOX[1], boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=inside, edgecolor=edge, linestyle=":" if skipped else "-", linewidth=1.2,
    ))


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, width: float, bend: float = 0.0
) -> None:
    axes.add_patch(FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=10, color=colour, linewidth=width, shrinkA=0, shrinkB=0,
        connectionstyle=f"arc3,rad={bend}", zorder=3,
    ))

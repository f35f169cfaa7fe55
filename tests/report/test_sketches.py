"""The sketch of what systems keep says what their code does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sspcore.core.types import VideoState
from sspcore.models.tcb import CLIP
from sspcore.report import sketches


@dataclass(frozen=True)
class State(VideoState):
    one: torch.Tensor
    several: tuple[torch.Tensor, ...]
    number: int
    nothing: torch.Tensor | None = None


def test_a_state_is_told_by_the_shapes_of_what_it_keeps():
    state = State(torch.zeros(1, 2, 3), (torch.zeros(1), torch.zeros(4, 5)), 7)
    assert sketches.kept_values(state) == {"one": "1x2x3", "several": "1, 4x5", "number": "7"}


def test_every_system_has_a_panel_with_its_boxes_and_one_arrow_for_each_use_of_the_past():
    picture = sketches.memory_sketch()
    panels = {axes.get_title(): axes for axes in picture.axes}
    assert list(panels) == [sketch.title for sketch in sketches.SKETCHES]
    for sketch in sketches.SKETCHES:
        patches = panels[sketch.title].patches
        assert sum(isinstance(patch, FancyBboxPatch) for patch in patches) == 16
        thick = [patch for patch in patches if isinstance(patch, FancyArrowPatch) and patch.get_linewidth() == 2]
        assert len(thick) == len(sketch.uses)


def test_the_note_of_a_panel_is_far_from_the_title_below_it():
    picture = sketches.memory_sketch()
    picture.draw_without_rendering()
    above, below = picture.axes[0], picture.axes[2]
    gap = above.xaxis.label.get_window_extent().y0 - below.title.get_window_extent().y1
    assert gap > above.title.get_window_extent().height  # more than a line


def test_nothing_is_used_that_is_left_out_or_lies_ahead():
    for sketch in sketches.SKETCHES:
        for start, end, how in sketch.uses:
            assert start[0] < end[0] and start in sketch.kept and start not in sketch.skipped and how in sketches.COLOURS
    tcb = next(sketch for sketch in sketches.SKETCHES if sketch.title.startswith("TCB"))
    assert len(tcb.uses) == CLIP - 1

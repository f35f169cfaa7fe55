"""The pixel that is looked at, its picture, and the teacher's pair that it is taken from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sspcore.data.datasets import UAVID
from sspcore.report import collect, pixel

SPEC = UAVID.alone


def logits_of(probabilities: list[list[float]]) -> torch.Tensor:
    """(1, C, 1, w) logits of the probabilities of w pixels."""
    return torch.tensor(probabilities).log().T[None, :, None]


def test_a_hesitant_pixel_has_a_second_class_of_three_tenths():
    assert pixel.hesitant_pixel(logits_of([[0.9, 0.05, 0.05], [0.65, 0.3, 0.05], [0.5, 0.5, 1e-6]])) == (0, 1)


@pytest.mark.parametrize("y, x", [(0, 10), (19, 10), (10, 0), (10, 39)])
def test_a_chosen_pixel_is_off_the_rim_so_that_its_ring_is_whole(y, x):
    """The best one lies on the rim, the next best further in."""
    second = torch.full((20, 40), 0.1)
    second[y, x], second[8, 12] = pixel.HESITATION, 0.25
    logits = torch.stack([1 - second, second]).log()[None]
    assert pixel.hesitant_pixel(logits) == (8, 12)
    hidden = torch.zeros(1, 1, 20, 40)
    hidden[0, 0, y, x], hidden[0, 0, 8, 12] = 1.0, 0.5
    assert pixel.misled_pixel(logits, -logits, hidden) == (8, 12)


def test_a_misled_pixel_is_hidden_and_its_average_names_another_class():
    own = logits_of([[0.6, 0.4], [0.6, 0.4], [0.999, 0.001]])  # the last is further from the other frame, but stays
    other = logits_of([[0.1, 0.9], [0.1, 0.9], [0.3, 0.7]])
    hidden = torch.tensor([0.0, 1.0, 1.0]).view(1, 1, 1, 3)
    assert pixel.misled_pixel(own, other, hidden) == (0, 1)


def test_of_two_misled_pixels_the_one_that_was_right_is_taken():
    own, other = logits_of([[0.6, 0.4], [0.6, 0.4]]), logits_of([[0.1, 0.9], [0.2, 0.8]])
    hidden, truth = torch.ones(1, 1, 1, 2), np.array([[1, 0]], np.uint8)
    assert pixel.misled_pixel(own, other, hidden) == (0, 0)
    assert pixel.misled_pixel(own, other, hidden, truth) == (0, 1)


def test_a_pixel_of_the_coarse_grid_lies_in_the_middle_of_its_cell():
    assert pixel.full_size((0, 2)) == (9.5, 1.5)


@pytest.mark.parametrize("share, x, y", [(1.0, (-0.5, 79.5), (39.5, -0.5)), (0.5, (39.5, 79.5), (19.5, -0.5))])
def test_bars_have_the_lengths_of_the_probabilities_and_the_view_stays_inside(share, x, y):
    view = pixel.View(np.zeros((40, 80, 3), np.uint8), (78, 1), "frame", share)
    bars = {"one": torch.eye(8)[2], "even": torch.full((8,), 1 / 8)}
    picture = pixel.pixel_picture([view], bars, SPEC, "title")
    axes = {len(each.patches): each for each in picture.axes}
    assert axes[0].get_xlim() == x and axes[0].get_ylim() == y
    drawn = axes[16].patches
    lengths = np.array([bar.get_width() for bar in drawn]).reshape(2, 8)
    starts = np.array([bar.get_x() for bar in drawn]).reshape(2, 8)
    assert np.allclose(lengths, 100 * torch.stack(list(bars.values())).numpy())
    assert np.allclose(starts, np.cumsum(lengths, axis=1) - lengths)
    assert [text.get_text() for text in axes[16].get_yticklabels()] == ["one", "even"]


class Clip:
    """Frames whose grey level is their position."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def frame(self, position: int, size: tuple[int, int]) -> np.ndarray:
        return np.full((*size, 3), position, np.uint8)


def test_the_teachers_pair_is_the_middle_one_and_stills_have_none(monkeypatch):
    film, still = Clip(6), Clip(1)
    store = SimpleNamespace(read=lambda clip, positions: torch.tensor(positions).view(-1, 1, 1, 1).expand(-1, 2, 2, 2))
    study = SimpleNamespace(
        profile=SimpleNamespace(input_size=(8, 8)), teacher_labels=lambda dataset: store, fused_labels=lambda dataset: store,
        fusion_flows=lambda dataset: SimpleNamespace(between=lambda clip, a, b: torch.full((2, 8, 8), float(b - a))),
        clips=lambda dataset, split: [still, film] if split == "train" else [], truth_root=lambda dataset: None,
    )
    monkeypatch.setattr(collect, "true_labels", lambda clip, k, size, root: None)
    pair = collect.teacher_pair(study, "uavid")
    assert pair.k == 3 and [int(frame[0, 0, 0]) for frame in pair.frames] == [2, 3]
    assert [int(one[0, 0, 0, 0]) for one in (*pair.teacher, *pair.fused)] == [2, 3, 2, 3]
    assert pair.flow_to_next.unique().item() == 1 and pair.flow_to_prev.unique().item() == -1
    study.clips = lambda dataset, split: [still]
    assert collect.teacher_pair(study, "uavid") is None

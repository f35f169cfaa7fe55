"""SSP's gate: which cells trust the homography, and that the past of the others comes along the flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sspcore.core.errors import ProfileError
from sspcore.data.samples import Sample, crop_and_resize, flip_horizontally, transform
from sspcore.export.step import StepModule, StepOptions
from sspcore.models import ImageModelSpec, ImageSegmenter, Window
from sspcore.models.gate import cell_counts, homography_holds, pixels_of
from sspcore.models.spec import Gate
from sspcore.models.ssp import SSP, SSPOptions

CLASSES, HEIGHT, WIDTH, GRID = 4, 64, 96, 8
CELL = HEIGHT // GRID, WIDTH // GRID
LITE = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=16, weights="none")
STILL = torch.eye(3)[None, None]


@pytest.fixture(scope="module")
def image() -> ImageSegmenter:
    torch.manual_seed(0)
    return ImageSegmenter(LITE, CLASSES).eval()


def gated(image: ImageSegmenter, **options) -> SSP:
    return SSP(image, SSPOptions(gate=Gate(grid=GRID, threshold=0.5), **options)).eval()


def matches_of(inlier: np.ndarray, a_cell: int = 3) -> Tensor:
    """(1, 1, N, 3): so many matches inside each cell of the grid, inliers where `inlier` (GRID, GRID) says so."""
    chance = np.random.default_rng(0)
    rows, columns = np.repeat(np.stack(np.mgrid[:GRID, :GRID]).reshape(2, -1), a_cell, axis=1)
    within = chance.uniform(-0.4, 0.4, (2, len(rows)))
    x, y = (columns + 0.5 + within[0]) * CELL[1] - 0.5, (rows + 0.5 + within[1]) * CELL[0] - 0.5
    return torch.from_numpy(np.stack([x, y, inlier[rows, columns]], axis=1)).float()[None, None]


def pair(inlier: np.ndarray, flow: tuple[float, float] = (4.0, -8.0)) -> Window:
    """Two frames whose homography says that nothing moved, and whose flow says `flow` everywhere."""
    frames = torch.randn(1, 2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    field = torch.tensor(flow).view(1, 1, 2, 1, 1).expand(1, 1, 2, HEIGHT, WIDTH).clone()
    return Window(frames, STILL, field, matches_of(inlier))


@torch.no_grad()
def test_with_inliers_everywhere_it_is_plain_ssp_to_the_bit(image: ImageSegmenter) -> None:
    window, model = pair(np.ones((GRID, GRID))), gated(image)
    plain = SSP(image).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.rollout(window), plain.rollout(window))
    assert not torch.equal(model.rollout(pair(np.zeros((GRID, GRID)))), plain.rollout(window))


@torch.no_grad()
def test_without_inliers_the_past_and_its_features_come_along_the_flow(image: ImageSegmenter) -> None:
    window, model = pair(np.zeros((GRID, GRID))), gated(image)
    before = model.start(model.observe(window.frames[:, 0]))
    step = model.propagate(model.observe(window.frames[:, 1]), before, model.route(window.frames[:, 1], window.motion(1)))
    assert step.by_flow.all()
    # out[y, x] = before[y - 8, x + 4] at full size, before[y - 2, x + 1] at stride 4
    torch.testing.assert_close(step.past[..., 8:, :-4], before.logits[..., :-8, 4:], rtol=0, atol=1e-4)
    torch.testing.assert_close(step.past_features[..., 2:, :-1], before.features[..., :-2, 1:], rtol=0, atol=1e-4)
    assert step.valid[..., 8:, :-4].all() and not step.valid[..., :8, :].any() and not step.valid[..., -4:].any()
    assert step.valid_small[..., 2:, :-1].all() and not step.valid_small[..., :2, :].any()


@torch.no_grad()
def test_registered_by_flow_everywhere_is_a_gate_that_never_trusts_the_homography(image: ImageSegmenter) -> None:
    window, closed = pair(np.zeros((GRID, GRID))), gated(image)
    model = SSP(image, SSPOptions(registration="flow")).eval()
    model.load_state_dict(closed.state_dict())
    assert model.needs == {"flow"}
    found = model.rollout(replace(window, H_prev_to_cur=None, correspondences=None))
    assert torch.equal(found, closed.rollout(window))


@torch.no_grad()
def test_a_moving_object_without_inliers_takes_the_flows_past(image: ImageSegmenter) -> None:
    """Against independent lines: cells 2..3 x 3..5 move by the flow, all else stands still; alpha is 0.5 throughout."""
    inlier = np.ones((GRID, GRID))
    inlier[2:4, 3:6] = 0
    window = pair(inlier)
    model = gated(image, similarity="constant", alpha=0.5)
    alone = [model.image.step(window.frames[:, k])[0].numpy() for k in (0, 1)]
    expected = 0.5 * alone[0] + 0.5 * alone[1]
    rows, columns = slice(2 * CELL[0], 4 * CELL[0]), slice(3 * CELL[1], 6 * CELL[1])
    moved = np.roll(alone[0], (8, -4), axis=(2, 3))  # the object does not touch the border
    expected[..., rows, columns] = 0.5 * moved[..., rows, columns] + 0.5 * alone[1][..., rows, columns]
    np.testing.assert_allclose(model.rollout(window)[0, 1].numpy(), expected[0], atol=1e-4)
    torch.testing.assert_close(model(window).logits, model.rollout(window))


@torch.no_grad()
def test_evidence_and_variance_take_the_same_way(image: ImageSegmenter) -> None:
    model = gated(image, evidence=True, variance=True)
    window = pair(np.zeros((GRID, GRID)))
    before = model.start(model.observe(window.frames[:, 0]))
    before = replace(before, variance=torch.rand_like(before.variance))
    past, valid, valid_small = model.register(before, model.route(window.frames[:, 1], window.motion(1)))
    for name in ("frame", "variance", "features"):
        now, then = getattr(past, name), getattr(before, name)
        torch.testing.assert_close(now[..., 2:, :-1], then[..., :-2, 1:], rtol=0, atol=1e-4)


class TestRule:
    def test_counts_of_cells(self) -> None:
        """Against a histogram of NumPy's; what is outside the frame or NaN counts nowhere."""
        chance = np.random.default_rng(0)
        points = chance.uniform((-20, -20), (WIDTH + 20, HEIGHT + 20), (500, 2))
        inlier = chance.integers(0, 2, 500)
        padded = np.concatenate([np.column_stack([points, inlier]), np.full((7, 3), np.nan)])
        found = cell_counts(torch.from_numpy(padded)[None].float(), (HEIGHT, WIDTH), GRID)[0].numpy()
        edges = np.linspace(-0.5, HEIGHT - 0.5, GRID + 1), np.linspace(-0.5, WIDTH - 0.5, GRID + 1)
        for counted, weights in zip(found, (inlier, np.ones(500)), strict=True):
            assert np.array_equal(counted, np.histogram2d(points[:, 1], points[:, 0], edges, weights=weights)[0])

    def cells(self, inliers: list[int], matches: list[int], **gate) -> list[bool]:
        """Which of the two cells of a row trust the homography, of a frame of 2 x 4 pixels (grid 2, lower row empty)."""
        points = [(x, 0.0, float(i < good)) for x, good, n in zip((0.5, 2.5), inliers, matches, strict=True) for i in range(n)]
        holds = homography_holds(torch.tensor(points).view(1, -1, 3), (2, 4), Gate(grid=2, **gate))
        return holds[0, 0].tolist()

    def test_threshold_is_reached_by_equality(self) -> None:
        assert self.cells([1, 2], [2, 2], threshold=0.5)[0] == [True, True]
        assert self.cells([1, 2], [2, 2], threshold=0.51)[0] == [False, True]

    def test_median_of_the_cells_with_matches(self) -> None:
        assert self.cells([1, 2], [2, 3], threshold="median") == [[True, True], [True, True]]  # lower median, 3/5 in all
        assert self.cells([0, 4], [1, 4], threshold="median") == [[False, True], [True, True]]

    def test_empty_cells_take_the_share_of_the_frame(self) -> None:
        assert self.cells([3, 0], [3, 2], threshold=0.5) == [[True, False], [True, True]]  # 3 of 5 in all
        assert self.cells([2, 0], [2, 3], threshold=0.5) == [[True, False], [False, False]]  # 2 of 5

    @pytest.mark.parametrize("threshold", ["median", 0.0, 0.5])
    def test_a_failed_registration_takes_the_flow_everywhere(self, threshold) -> None:
        assert self.cells([0, 0], [3, 2], threshold=threshold) == [[False, False], [False, False]]
        nothing = homography_holds(torch.full((1, 5, 3), torch.nan), (2, 4), Gate(grid=2, threshold=threshold))
        assert not nothing.any()
        assert not homography_holds(torch.empty(1, 0, 3), (2, 4), Gate(grid=2, threshold=threshold)).any()

    def test_reach_counts_the_cells_around(self) -> None:
        assert self.cells([1, 0], [1, 3], threshold=0.5, reach=0)[0] == [True, False]
        assert self.cells([1, 0], [1, 3], threshold=0.5, reach=1) == [[False, False], [False, False]]  # 1 of 4 for all

    def test_frames_of_a_batch_are_judged_each_by_itself(self) -> None:
        matches = torch.cat([matches_of(np.ones((GRID, GRID)))[0], matches_of(np.zeros((GRID, GRID)))[0]])
        holds = homography_holds(matches, (HEIGHT, WIDTH), Gate(grid=GRID))
        assert holds[0].all() and not holds[1].any()

    def test_cells_cover_pixels_by_their_centres(self) -> None:
        cells = torch.rand(1, 1, 5, 7) > 0.5
        found = pixels_of(cells, (33, 50))[0, 0].numpy()
        row, column = (np.arange(33) + 0.5) * 5 // 33, (np.arange(50) + 0.5) * 7 // 50
        assert np.array_equal(found, cells[0, 0].numpy()[np.ix_(row.astype(int), column.astype(int))])


class TestAugmentation:
    def sample(self) -> Sample:
        window = pair(np.random.default_rng(3).integers(0, 2, (GRID, GRID)))
        frames = torch.zeros(2, 3, HEIGHT, WIDTH, dtype=torch.uint8)
        return Sample(frames, frames[:, 0], STILL[0].double(), window.flow_to_prev[0], window.correspondences[0])

    def test_flip_mirrors_the_cells(self) -> None:
        sample = self.sample()
        flipped = flip_horizontally(sample)
        before, now = (cell_counts(each.correspondences, (HEIGHT, WIDTH), GRID) for each in (sample, flipped))
        assert torch.equal(now, before.flip(-1)) and not torch.equal(now, before)

    def test_any_map_of_pixels_moves_the_points_with_it(self) -> None:
        sample = self.sample()
        matrix = torch.tensor([[0.9, -0.1, 5.0], [0.05, 1.1, -2.0], [1e-3, 2e-3, 1.0]], dtype=torch.float64)
        changed = transform(sample, matrix, (HEIGHT, WIDTH))
        x, y = sample.correspondences[0, :, :2].double().numpy().T
        scale = 1e-3 * x + 2e-3 * y + 1
        expected = np.stack([(0.9 * x - 0.1 * y + 5) / scale, (0.05 * x + 1.1 * y - 2) / scale], axis=1)
        np.testing.assert_allclose(changed.correspondences[0, :, :2].numpy(), expected, rtol=1e-5, atol=1e-4)
        assert torch.equal(changed.correspondences[..., 2], sample.correspondences[..., 2])

    def test_crop_of_whole_cells_keeps_their_counts(self) -> None:
        """A crop of half the grid, doubled in size: each cell becomes four, which hold its matches."""
        sample = self.sample()
        box = HEIGHT // 2, WIDTH // 2
        cropped = crop_and_resize(sample, 2 * CELL[0], 4 * CELL[1], box, (HEIGHT, WIDTH))
        before = cell_counts(sample.correspondences, (HEIGHT, WIDTH), GRID)[..., 2:6, 4:8]
        assert torch.equal(cell_counts(cropped.correspondences, (HEIGHT, WIDTH), GRID // 2), before)


def test_a_step_on_a_device_has_no_flow(image: ImageSegmenter) -> None:
    with pytest.raises(ProfileError, match="SSP whose past comes by flow cannot be exported: a step has no input for flow"):
        StepModule(gated(image), StepOptions((HEIGHT, WIDTH)))


def test_missing_flow_is_named(image: ImageSegmenter) -> None:
    window = pair(np.ones((GRID, GRID)))
    with pytest.raises(ValueError, match="SSP needs motion.flow_to_prev"):
        SSP(image, SSPOptions(registration="flow")).route(window.frames[:, 1], replace(window.motion(1), flow_to_prev=None))


def test_missing_matches_are_named(image: ImageSegmenter) -> None:
    window, model = pair(np.ones((GRID, GRID))), gated(image)
    assert model.needs == {"homography", "flow", "correspondences"}
    for name in ("correspondences", "flow_to_prev"):
        motion = replace(window.motion(1), **{name: None})
        with pytest.raises(ValueError, match=f"SSP needs motion.{name}"):
            model.route(window.frames[:, 1], motion)

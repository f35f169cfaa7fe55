"""Geometry against exact cases, OpenCV and a few lines of NumPy."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sspcore.motion import geometry

H_KNOWN = np.array([[1.03, 0.04, -3.2], [-0.03, 0.98, 2.1], [2e-4, -3e-4, 1.0]])


def smooth_image(height: int, width: int, channels: int = 2, stretch: float = 1.0) -> torch.Tensor:
    """Low-frequency waves, so that interpolation differs little between libraries: (1, C, H, W) float64 in -1..1."""
    x, y = geometry.pixel_grid(height, width, dtype=torch.float64)[0] / stretch
    waves = [torch.sin(x / (7 + c) + 0.3 * c) * torch.cos(y / (9 - c)) for c in range(channels)]
    return torch.stack(waves)[None]


def interior(image: torch.Tensor, H: torch.Tensor, margin: int = 2) -> torch.Tensor:
    """Where a warp reads at least `margin` pixels inside the source: (1, 1, H, W) bool."""
    core = F.pad(torch.ones_like(image[:, :1, margin:-margin, margin:-margin]), [margin] * 4)
    return geometry.warp_by_homography(core, H)[0] > 0.999


def bilinear(image: np.ndarray, x: float, y: float) -> float:
    """One value of a (H, W) array at a point inside it, by the textbook."""
    x0, y0 = min(int(np.floor(x)), image.shape[1] - 2), min(int(np.floor(y)), image.shape[0] - 2)
    a, b = x - x0, y - y0
    top = (1 - a) * image[y0, x0] + a * image[y0, x0 + 1]
    return (1 - b) * top + b * ((1 - a) * image[y0 + 1, x0] + a * image[y0 + 1, x0 + 1])


def test_pixel_grid_is_x_then_y():
    grid = geometry.pixel_grid(3, 5)
    assert grid.shape == (1, 2, 3, 5)
    assert grid[0, :, 2, 4].tolist() == [4, 2]


def test_sample_agrees_with_the_textbook_at_fractional_points():
    image = torch.rand(1, 1, 6, 9, dtype=torch.float64)
    points = torch.rand(1, 2, 4, 4, dtype=torch.float64) * torch.tensor([8.0, 5.0]).view(1, 2, 1, 1)
    values, valid = geometry.sample(image, points)
    expected = [[bilinear(image[0, 0].numpy(), *points[0, :, i, j].tolist()) for j in range(4)] for i in range(4)]
    torch.testing.assert_close(values[0, 0], torch.tensor(expected, dtype=torch.float64))
    assert valid.all()


def test_sample_keeps_edge_pixels_bright_and_marks_the_pixel_area():
    image = torch.ones(1, 1, 4, 6)
    xs = torch.tensor([-0.51, -0.49, 5.49, 5.51, float("nan"), float("inf"), 1, 1, 1, 1])
    ys = torch.tensor([1.0, 1, 1, 1, 1, 1, -0.51, -0.49, 3.49, 3.51])
    values, valid = geometry.sample(image, torch.stack((xs, ys)).view(1, 2, 1, 10))
    assert valid.flatten().tolist() == [False, True, True, False, False, False, False, True, True, False]
    torch.testing.assert_close(values, torch.ones_like(values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sources_keep_exact_coordinates(dtype):
    stripes = (torch.arange(1001) % 2).expand(1, 1, 3, 1001).to(dtype)
    values, _ = geometry.sample(stripes, geometry.pixel_grid(3, 1001))
    assert values.dtype == dtype
    torch.testing.assert_close(values, stripes, atol=0.001, rtol=0)


def test_sample_errors_name_shapes_mode_and_dtype():
    image, grid = torch.zeros(2, 1, 4, 4), geometry.pixel_grid(4, 4)
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\).*\(1, 2, 4, 4\)"):
        geometry.sample(image, grid)
    with pytest.raises(ValueError, match="bicubic"):
        geometry.sample(image[:1], grid, mode="bicubic")
    with pytest.raises(ValueError, match="nearest"):
        geometry.sample(image[:1].long(), grid)


@pytest.mark.parametrize("mode", geometry.MODES)
def test_zero_flow_and_identity_homography_return_the_source(mode):
    image = torch.rand(2, 3, 11, 17)
    for values, valid in (
        geometry.warp_by_flow(image, torch.zeros(2, 2, 11, 17), mode),
        geometry.warp_by_homography(image, torch.eye(3).expand(2, 3, 3), mode),
    ):
        torch.testing.assert_close(values, image, atol=1e-5, rtol=0)
        assert valid.all()


def test_integer_flow_reads_the_pixel_it_points_to():
    labels = torch.arange(6 * 8).view(1, 1, 6, 8)
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 6, 8)
    values, valid = geometry.warp_by_flow(labels, flow, "nearest")
    assert values.dtype == torch.int64
    assert torch.equal(values[..., 1:, :-2], labels[..., :-1, 2:])
    assert torch.equal(valid[0, 0], torch.tensor([[y >= 1 and x < 6 for x in range(8)] for y in range(6)]))


def test_integer_translation_moves_content_forward():
    """H_prev_to_cur adds (3, 1): what was at (x, y) is now at (x + 3, y + 1)."""
    image = torch.rand(1, 2, 7, 9)
    H = torch.tensor([[[1.0, 0, 3], [0, 1, 1], [0, 0, 1]]])
    values, valid = geometry.warp_by_homography(image, H)
    torch.testing.assert_close(values[..., 1:, 3:], image[..., :-1, :-3], atol=1e-5, rtol=0)
    assert valid[..., 1:, 3:].all() and valid.sum() == 6 * 6


def test_each_sample_of_a_batch_has_its_own_motion():
    image = torch.rand(1, 1, 6, 6).expand(2, 1, 6, 6)
    H = torch.eye(3).repeat(2, 1, 1)
    H[1, 0, 2] = 2
    flow = torch.zeros(2, 2, 6, 6)
    flow[1, 0] = -2
    for values, _ in (geometry.warp_by_homography(image, H), geometry.warp_by_flow(image, flow)):
        torch.testing.assert_close(values[0], image[0])
        torch.testing.assert_close(values[1, ..., 2:], image[1, ..., :-2])


def test_everything_out_of_view_is_not_valid():
    image = torch.rand(1, 1, 5, 5)
    _, valid = geometry.warp_by_flow(image, torch.full((1, 2, 5, 5), 50.0))
    assert not valid.any()


def test_warps_agree_with_opencv_in_the_interior():
    image = smooth_image(60, 80)
    array = image[0, 0].float().numpy()
    values, _ = geometry.warp_by_homography(image, torch.tensor(H_KNOWN)[None])
    expected = cv2.warpPerspective(array, H_KNOWN, (80, 60), flags=cv2.INTER_LINEAR)
    inside = interior(image, torch.tensor(H_KNOWN)[None])[0, 0].numpy()
    assert inside.mean() > 0.8
    # OpenCV rounds positions to 1/32 px; the steepest slope is 1/7 a pixel.
    assert np.abs(values[0, 0].numpy() - expected)[inside].max() < 0.004

    generator = torch.Generator().manual_seed(0)
    flow = torch.randint(-160, 161, (1, 2, 60, 80), generator=generator) / 32  # exact in OpenCV's fixed point
    values, valid = geometry.warp_by_flow(image.float(), flow)
    points = (geometry.pixel_grid(60, 80) + flow)[0].numpy()
    expected = cv2.remap(array, points[0], points[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(values[0, 0].numpy() - expected).max() < 1e-5
    assert 0.8 < valid.float().mean() < 1


def test_homography_warp_equals_the_warp_by_its_flow():
    image = smooth_image(24, 32)
    H_cur_to_prev = geometry.sampling_homography(torch.tensor(H_KNOWN)[None])
    flow = geometry.homography_to_flow(H_cur_to_prev, (24, 32))
    point = np.linalg.inv(H_KNOWN) @ [20, 10, 1]
    np.testing.assert_allclose(flow[0, :, 10, 20].numpy(), point[:2] / point[2] - [20, 10], rtol=1e-12)
    by_flow, valid_flow = geometry.warp_by_flow(image, flow)
    by_homography, valid = geometry.warp_by_sampling_homography(image, H_cur_to_prev)
    torch.testing.assert_close(by_flow, by_homography)
    assert torch.equal(valid_flow, valid)


def test_sampling_homography_is_a_scaled_inverse_in_double_precision():
    H = torch.tensor(H_KNOWN, dtype=torch.float32)[None]
    inverse = geometry.sampling_homography(H)
    assert inverse.dtype == torch.float64 and inverse[0, 2, 2] == 1
    product = (inverse @ H.double())[0]
    torch.testing.assert_close(product / product[2, 2], torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="singular"):
        geometry.sampling_homography(torch.zeros(1, 3, 3))


def test_pixels_behind_the_horizon_are_not_valid():
    """Denominator 1 - x / 10: columns from 10 on are behind. Without the check they would fold back into the frame."""
    H_cur_to_prev = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]]])
    image = torch.rand(1, 1, 4, 30)
    values, valid = geometry.warp_by_sampling_homography(image, H_cur_to_prev)
    assert valid[0, 0, 0, :7].all() and not valid[..., 10:].any()
    assert torch.isfinite(values).all()
    assert geometry.homography_to_flow(H_cur_to_prev, (4, 30)).isnan()[..., 10:].all()


def test_the_side_of_the_horizon_survives_inversion():
    """The current frame's corner is behind the horizon: the part in front must stay the valid one."""
    H_prev_to_cur = torch.tensor([[[1.0, 0, 5], [0, 1, 0], [0.25, 0, 1]]], dtype=torch.float64)
    visible = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    in_current = H_prev_to_cur[0] @ visible
    assert in_current[2] > 0
    back = geometry.sampling_homography(H_prev_to_cur)[0] @ (in_current / in_current[2])
    assert back[2] > 0
    torch.testing.assert_close(back / back[2], visible)


def test_gradients_reach_the_source_and_the_coordinates():
    image = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (0.2 + 0.6 * torch.rand(1, 2, 4, 5, dtype=torch.float64)).requires_grad_()
    H = torch.tensor(H_KNOWN)[None]
    assert torch.autograd.gradcheck(lambda s, f: geometry.warp_by_flow(s, f)[0], (image, flow))
    assert torch.autograd.gradcheck(lambda s: geometry.warp_by_homography(s, H)[0], (image,))


def test_autocast_does_not_touch_coordinates():
    image = smooth_image(40, 400).float()
    H = torch.tensor(H_KNOWN, dtype=torch.float32)[None]
    expected, _ = geometry.warp_by_homography(image, geometry.rescale_homography(H, (80, 800), (40, 400)))
    with torch.autocast("cpu", torch.bfloat16):
        values, _ = geometry.warp_by_homography(image, geometry.rescale_homography(H, (80, 800), (40, 400)))
    torch.testing.assert_close(values, expected)


def test_rescaled_homography_commutes_with_downsampling():
    """Warp then shrink = shrink then warp, up to the image's curvature, and only with the half pixel."""
    image = smooth_image(96, 128, stretch=4)
    H = torch.tensor([[[1.2, 0.2, -20.0], [-0.2, 1.2, 5.0], [1e-4, 2e-4, 1.0]]], dtype=torch.float64)
    small = F.avg_pool2d(image, 4)
    expected = F.avg_pool2d(geometry.warp_by_homography(image, H)[0], 4)
    inside = (F.avg_pool2d(interior(image, H, margin=8).double(), 4) == 1).expand_as(small)
    assert inside.double().mean() > 0.6

    def error(H_small: torch.Tensor) -> float:
        return (geometry.warp_by_homography(small, H_small)[0] - expected)[inside].abs().mean().item()

    without_half_pixel = H * torch.tensor([[1, 1, 0.25], [1, 1, 0.25], [4, 4, 1]])
    half_pixel_correct = geometry.rescale_homography(H, (96, 128), (24, 32))
    assert error(half_pixel_correct) < 0.001
    assert error(without_half_pixel) > 0.003


def test_rescaled_homography_maps_the_same_points():
    H = torch.tensor(H_KNOWN)
    small = geometry.rescale_homography(H, (90, 160), (30, 40))
    point = np.array([50.0, 20.0])
    scale = np.array([40 / 160, 30 / 90])
    moved = H_KNOWN @ [*point, 1]
    moved_small = small.numpy() @ [*((point + 0.5) * scale - 0.5), 1]
    np.testing.assert_allclose(moved_small[:2] / moved_small[2], (moved[:2] / moved[2] + 0.5) * scale - 0.5)
    back = geometry.rescale_homography(small, (30, 40), (90, 160))
    torch.testing.assert_close(back / back[2, 2], H)


def test_resize_flow_scales_the_vectors():
    flow = torch.tensor([4.0, -6.0]).view(1, 2, 1, 1).expand(1, 2, 8, 12)
    small = geometry.resize_flow(flow, (4, 3))
    assert small.shape == (1, 2, 4, 3)
    torch.testing.assert_close(small[0, :, 2, 1], torch.tensor([1.0, -3.0]))
    assert geometry.resize_flow(flow, (8, 12)) is flow


def test_warps_refuse_different_grids_naming_both_shapes():
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(1, 2, 4, 8\).*resize_flow"):
        geometry.warp_by_flow(image, torch.zeros(1, 2, 4, 8))
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(2, 3, 3\)"):
        geometry.warp_by_homography(image, torch.eye(3).expand(2, 3, 3))
    for function in (geometry.soft_occlusion, geometry.photometric_error, geometry.endpoint_error):
        with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(1, 3, 4, 4\)"):
            function(image, image[..., :4, :4])
    for function in (geometry.occlusion_mask, geometry.occlusion_mask_same_pixel):
        with pytest.raises(ValueError, match=r"\(1, 2, 8, 8\).*\(1, 2, 4, 8\)"):
            function(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 4, 8))


def test_soft_occlusion_is_the_l1_norm_over_channels():
    frame = torch.zeros(1, 3, 2, 2)
    warped = torch.tensor([0.5, -0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 2, 2)  # |sum| would be 0.25
    weight = geometry.soft_occlusion(frame, warped)
    assert weight.shape == (1, 1, 2, 2)
    torch.testing.assert_close(weight, torch.full_like(weight, float(np.exp(-1.25))))


def layered_flows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A 10 x 10 square moves 6 px to the right over a still ground, 20 x 40: flow_ab, flow_ba, hidden in b (true)."""
    square_a, square_b = torch.zeros(20, 40, dtype=torch.bool), torch.zeros(20, 40, dtype=torch.bool)
    square_a[5:15, 10:20] = True
    square_b[5:15, 16:26] = True
    flow_ab, flow_ba = torch.zeros(1, 2, 20, 40), torch.zeros(1, 2, 20, 40)
    flow_ab[0, 0, square_a] = 6
    flow_ba[0, 0, square_b] = -6
    return flow_ab, flow_ba, (square_b & ~square_a)[None, None]


def test_followed_occlusion_is_exactly_the_hidden_ground():
    flow_ab, flow_ba, hidden = layered_flows()
    assert torch.equal(geometry.occlusion_mask(flow_ab, flow_ba), hidden)


def test_same_pixel_occlusion_also_takes_what_comes_to_light():
    flow_ab, flow_ba, hidden = layered_flows()
    mask = geometry.occlusion_mask_same_pixel(flow_ab, flow_ba)
    revealed = torch.zeros_like(hidden)
    revealed[..., 5:15, 10:16] = True  # the square is here in a: nothing hides it in b
    assert torch.equal(mask, hidden | revealed)


def test_leaving_the_view_counts_as_occluded_only_when_followed():
    flow_ab = torch.zeros(1, 2, 4, 10)
    flow_ab[:, 0] = 3
    mask = geometry.occlusion_mask(flow_ab, -flow_ab)
    assert mask[..., 7:].all() and not mask[..., :7].any()
    assert not geometry.occlusion_mask_same_pixel(flow_ab, -flow_ab).any()


def test_errors_average_over_valid_pixels_only():
    truth = torch.zeros(2, 2, 2, 2)
    flow = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).repeat(2, 1, 2, 2)
    flow[0, :, 0, 0] = float("nan")
    valid = ~flow[:, :1].isnan()
    assert geometry.endpoint_error(flow, truth, valid).tolist() == [5, 5]
    assert geometry.photometric_error(flow, truth, valid).tolist() == [3.5, 3.5]
    assert geometry.endpoint_error(flow, truth, torch.zeros_like(valid)).isnan().all()

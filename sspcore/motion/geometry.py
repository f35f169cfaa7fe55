"""Grids, warps and occlusion: pure functions of tensors, no state.

Convention (one for the whole library):
    - The centre of the upper left pixel is (0, 0); a frame covers [-0.5, W - 0.5] x [-0.5, H - 0.5].
    - Vectors and coordinates are (x, y) in pixels, along the channel axis; sizes are (height, width).
    - Normalised coordinates are (2x + 1) / W - 1, with align_corners=False.
    - `flow_a_to_b` moves a pixel of a to where it is seen in b; `H_prev_to_cur` maps a pixel of the previous frame into
      the current one. Warps are backward: each output pixel looks up its source.
    - A warp returns (values, valid). Values outside the source repeat its border; `valid` tells them apart.

Coordinates are worked out element by element, never by a matrix product: autocast or TF32 would round a product to a
few pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = ("bilinear", "nearest")
PADDINGS = ("border", "zeros")

# With [2, 2] scaled to one, pixels with a smaller denominator lie behind the horizon, or so near it that their source
# is a million pixels away.
_HORIZON = 1e-6


def pixel_grid(
    height: int, width: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Pixel coordinates of a frame: (1, 2, H, W), grid[0, :, y, x] = (x, y)."""
    ys = torch.arange(height, device=device, dtype=dtype)
    xs = torch.arange(width, device=device, dtype=dtype)
    return torch.stack((xs.expand(height, width), ys[:, None].expand(height, width)))[None]


def sample(
    source: Tensor, coords: Tensor, mode: str = "bilinear", padding: str = "border"
) -> tuple[Tensor, Tensor]:
    """Read `source` at pixel coordinates: out[:, :, y, x] = source at (X, Y) = coords[:, :, y, x].

    Args:
        source: (B, C, H, W); integers (labels) with mode "nearest" only. Half precision is sampled in float32.
        coords: (B, 2, h, w), (x, y) in pixels of `source`; the output takes their grid.
        mode: "bilinear" for values, "nearest" for labels.
        padding: outside, "border": the nearest border value; "zeros": 0, faded to within a pixel of the border.
    Returns: values (B, C, h, w) in the dtype of `source`, and valid (B, 1, h, w)
        bool, True within the source's pixel area [-0.5, W - 0.5] x [-0.5, H - 0.5]. A NaN or infinite coordinate is not
        valid, and its value is still finite.
    Raises: ValueError for an unknown mode or padding, shapes that do not fit, or integers with "bilinear".
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}: take one of {MODES}")
    if padding not in PADDINGS:
        raise ValueError(f"padding is {padding!r}: take one of {PADDINGS}")
    if source.ndim != 4 or coords.ndim != 4 or coords.shape[1] != 2 or coords.shape[0] != source.shape[0]:
        raise ValueError(
            f"source {tuple(source.shape)} and coords {tuple(coords.shape)} do not fit: "
            "give (B, C, H, W) and (B, 2, h, w)"
        )
    if mode == "bilinear" and not source.is_floating_point():
        raise ValueError(f"source is {source.dtype}: sample labels with mode='nearest'")
    dtype = _working_dtype(source)
    coords = coords.to(dtype)
    height, width = source.shape[-2:]
    x, y = coords[:, 0], coords[:, 1]
    valid = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    values = F.grid_sample(source.to(dtype), grid, mode=mode, padding_mode=padding, align_corners=False)
    return values.to(source.dtype), valid[:, None]


def warp_by_flow(source: Tensor, flow: Tensor, mode: str = "bilinear") -> tuple[Tensor, Tensor]:
    """Bring `source` into the frame that `flow` starts from: out[y, x] = source[y + v, x + u], (u, v) = flow[y, x].

    Args:
        source: (B, C, H, W), logits, features or labels of the other frame.
        flow: (B, 2, H, W), displacement in pixels of this grid, (u = x, v = y).
        mode: "bilinear" for values, "nearest" for labels.
    Returns: values (B, C, H, W) and valid (B, 1, H, W), False where the source lies outside the frame.
    Raises: ValueError if the grids differ (resize the flow with `resize_flow`, which scales the vectors too).
    Source: paper, eq. for L_tc; `warp_by_flow_reference` is the reference's reading of it.
    """
    return sample(source, _led_to(source, flow), mode)


def warp_by_flow_reference(source: Tensor, flow: Tensor, mode: str = "nearest") -> tuple[Tensor, Tensor]:
    """The reference's warp: coordinates normalised by 2x / (W - 1) - 1 but sampled with align_corners=False, zeros outside.

    So a place x is read at x W / (W - 1) - 1/2: half a pixel to the left at the left side, half a pixel to the right at the
    right one. Arguments and errors as `warp_by_flow`. Returns: values, and valid, False where mostly zeros were read.
    """
    height, width = source.shape[-2:]
    x, y = _led_to(source, flow).unbind(1)
    grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), dim=-1)
    ones = torch.ones_like(source[:, :1], dtype=grid.dtype)
    values, inside = (
        F.grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False)
        for image in (source.to(grid.dtype), ones)
    )
    return values.to(source.dtype), inside >= 0.5


def warp_by_homography(source: Tensor, H_prev_to_cur: Tensor, mode: str = "bilinear") -> tuple[Tensor, Tensor]:
    """Bring the previous frame into the current one: out[x] = source[H_prev_to_cur^-1 x], as cv2.warpPerspective does.

    Args:
        source: (B, C, H, W), logits, features or labels of the previous frame.
        H_prev_to_cur: (B, 3, 3), pixels of the previous to pixels of the current frame, at the size of `source` (bring
            a homography of another size to it with `rescale_homography`).
        mode: "bilinear" for values, "nearest" for labels.
    Returns: values (B, C, H, W) and valid (B, 1, H, W), False where the source lies outside the frame or behind the
        plane's horizon.
    Raises: ValueError for shapes that do not fit or a singular homography.
    Source: paper, the warp of P_{k-1} and F_{k-1} into frame k.
    """
    return warp_by_sampling_homography(source, sampling_homography(H_prev_to_cur), mode)


def warp_by_sampling_homography(
    source: Tensor, H_cur_to_prev: Tensor, mode: str = "bilinear", padding: str = "border"
) -> tuple[Tensor, Tensor]:
    """`warp_by_homography` for a homography that is inverted already: out[x] = source[H_cur_to_prev x].

    No inverse and no double precision inside, so it can be exported to ONNX. Arguments and returns as there; `padding` as in
    `sample`.
    """
    if H_cur_to_prev.shape != (source.shape[0], 3, 3):
        raise ValueError(
            f"source {tuple(source.shape)} and homography {tuple(H_cur_to_prev.shape)} do not fit: "
            "give (B, C, H, W) and (B, 3, 3)"
        )
    coords, in_front = _project(H_cur_to_prev.to(source.device, _working_dtype(source)), source.shape[-2:])
    values, valid = sample(source, coords, mode, padding)
    if padding == "zeros":
        values = values * in_front
    return values, valid & in_front


def sampling_homography(H_prev_to_cur: Tensor) -> Tensor:
    """Where a current pixel is read from: H_cur_to_prev, the inverse in float64 with [2, 2] scaled to one.

    Args:
        H_prev_to_cur: (..., 3, 3), any floating dtype, scaled so that its denominators are positive on what is seen.
    Returns: (..., 3, 3) float64. Divided by |[2, 2]|, so the sign that tells the sides of the horizon apart is kept
        ([2, 2] is -1 where the current frame's upper left corner lies behind it).
    Raises: ValueError for a singular homography.
    """
    try:
        inverse = torch.linalg.inv(H_prev_to_cur.double())
    except torch.linalg.LinAlgError as error:
        raise ValueError("H_prev_to_cur is singular: use the identity where a registration failed") from error
    return inverse / inverse[..., 2:, 2:].abs()


def rescale_homography(
    H: Tensor, from_size: tuple[int, int], to_size: tuple[int, int], half_pixel: bool = True
) -> Tensor:
    """The same motion between frames resized from `from_size` to `to_size` (height, width), in the dtype of `H`.

    A pixel x of the old frame is x_s = (x + 0.5) s - 0.5 in the new one, so H_s = S H S^-1 with S that affine map.
    `half_pixel` False: x_s = x s, as the reference has it. H is (..., 3, 3); both of its frames are resized.
    """
    scale_y, scale_x = to_size[0] / from_size[0], to_size[1] / from_size[1]
    shift_y, shift_x = ((scale_y - 1) / 2, (scale_x - 1) / 2) if half_pixel else (0.0, 0.0)
    third = H[..., 2, :]
    rows = torch.stack((scale_x * H[..., 0, :] + shift_x * third, scale_y * H[..., 1, :] + shift_y * third, third), -2)
    column_x, column_y = rows[..., 0] / scale_x, rows[..., 1] / scale_y
    return torch.stack((column_x, column_y, rows[..., 2] - shift_x * column_x - shift_y * column_y), -1)


def homography_to_flow(H_cur_to_prev: Tensor, size: tuple[int, int]) -> Tensor:
    """Displacement of every pixel under a homography: flow_cur_to_prev (B, 2, H, W) in pixels.

    H_cur_to_prev is (B, 3, 3) with [2, 2] = 1; the direction of the flow is that of the homography. Vectors on or
    behind the horizon are NaN, which every warp reports as not valid.
    """
    coords, in_front = _project(H_cur_to_prev, size)
    flow = coords - pixel_grid(*size, device=coords.device, dtype=coords.dtype)
    return flow.masked_fill(~in_front, float("nan"))


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow (B, 2, h, w) on a frame resized to `size` (height, width): bilinear, and the vectors are scaled with it."""
    height, width = flow.shape[-2:]
    if (height, width) == tuple(size):
        return flow
    scale = flow.new_tensor((size[1] / width, size[0] / height)).view(1, 2, 1, 1)
    return F.interpolate(flow, size=tuple(size), mode="bilinear", align_corners=False) * scale


def soft_occlusion(frame: Tensor, warped_previous: Tensor) -> Tensor:
    """O = exp(-||I_k - Ihat_{k-1}||_1), the weight of a pixel in L_tc: (B, 1, H, W) in (0, 1].

    The norm runs over the colour channels of the normalised frames (B, 3, H, W). `soft_occlusion_sum` is the reference's
    reading of it.
    """
    _require_same_grid(frame, warped_previous, "frame", "warped_previous")
    return torch.exp(-(frame - warped_previous).abs().sum(1, keepdim=True))


def soft_occlusion_sum(frame: Tensor, warped_previous: Tensor) -> Tensor:
    """The reference's O: from the absolute value of the summed differences, where a shift of hue can cancel out."""
    _require_same_grid(frame, warped_previous, "frame", "warped_previous")
    return torch.exp(-(frame - warped_previous).sum(1, keepdim=True).abs())


def occlusion_mask(flow_ab: Tensor, flow_ba: Tensor, c1: float = 0.01, c2: float = 0.5) -> Tensor:
    """Pixels of a that b does not show: the forward-backward check, flow_ba read where flow_ab leads.

        M = ||f_ab + f_ba(x + f_ab)||^2 > c1 (||f_ab||^2 + ||f_ba(x + f_ab)||^2) + c2, or x + f_ab outside of b

    Args:
        flow_ab, flow_ba: (B, 2, H, W), pixels. c1 has no unit, c2 is in square pixels.
    Returns: (B, 1, H, W) bool on the grid of a, True where occluded.
    Source: paper, M_occ of the teacher's fusion; `occlusion_mask_same_pixel` is the reference's reading of it.
    """
    _require_same_grid(flow_ab, flow_ba, "flow_ab", "flow_ba")
    returned, valid = warp_by_flow(flow_ba, flow_ab)
    return _flows_disagree(flow_ab, returned, c1, c2) | ~valid


def occlusion_mask_same_pixel(flow_ab: Tensor, flow_ba: Tensor, c1: float = 0.01, c2: float = 0.5) -> Tensor:
    """The reference's M_occ: both flows taken at the same pixel, so a and b share one mask. Else as `occlusion_mask`.

    Wrong by the flow's change over its own length: it misses parts of an occlusion and adds others at motion edges.
    """
    _require_same_grid(flow_ab, flow_ba, "flow_ab", "flow_ba")
    return _flows_disagree(flow_ab, flow_ba, c1, c2)


def photometric_error(frame: Tensor, warped: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean absolute difference over channels and valid pixels: (B,), in the frames' units; NaN where none is valid."""
    _require_same_grid(frame, warped, "frame", "warped")
    return _masked_mean((frame - warped).abs().mean(1, keepdim=True), valid)


def endpoint_error(flow: Tensor, flow_true: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean length of the difference of two flows over valid pixels: (B,), pixels; NaN where none is valid."""
    _require_same_grid(flow, flow_true, "flow", "flow_true")
    return _masked_mean(torch.linalg.vector_norm(flow - flow_true, dim=1, keepdim=True), valid)


def _led_to(source: Tensor, flow: Tensor) -> Tensor:
    """Where each pixel's flow leads: coordinates (B, 2, H, W) in the working precision."""
    if source.shape[-2:] != flow.shape[-2:]:
        raise ValueError(
            f"source {tuple(source.shape)} and flow {tuple(flow.shape)} have different grids: use resize_flow first"
        )
    dtype = _working_dtype(source)
    return pixel_grid(*source.shape[-2:], device=source.device, dtype=dtype) + flow.to(dtype)


def _working_dtype(source: Tensor) -> torch.dtype:
    """float32, or float64 for a source in double precision: half precision cannot hold pixel coordinates."""
    return torch.float64 if source.dtype == torch.float64 else torch.float32


def _project(H: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels of a frame through H (B, 3, 3): coordinates (B, 2, h, w) and in_front (B, 1, h, w).

    Behind the horizon the coordinates are finite but have no meaning.
    """
    x, y = pixel_grid(*size, device=H.device, dtype=H.dtype).unbind(1)
    h = H[:, :, :, None, None]
    numerator_x = h[:, 0, 0] * x + h[:, 0, 1] * y + h[:, 0, 2]
    numerator_y = h[:, 1, 0] * x + h[:, 1, 1] * y + h[:, 1, 2]
    denominator = h[:, 2, 0] * x + h[:, 2, 1] * y + h[:, 2, 2]
    in_front = denominator > _HORIZON
    denominator = torch.where(in_front, denominator, torch.ones_like(denominator))
    return torch.stack((numerator_x / denominator, numerator_y / denominator), 1), in_front[:, None]


def _flows_disagree(flow_there: Tensor, flow_back: Tensor, c1: float, c2: float) -> Tensor:
    gap = (flow_there + flow_back).square().sum(1, keepdim=True)
    length = flow_there.square().sum(1, keepdim=True) + flow_back.square().sum(1, keepdim=True)
    # Written so that a flow that is not finite counts as occluded.
    return ~(gap <= c1 * length + c2)


def _masked_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.flatten(1).mean(1)
    kept = torch.where(valid, values, torch.zeros_like(values))
    return kept.flatten(1).sum(1) / valid.flatten(1).sum(1)


def _require_same_grid(a: Tensor, b: Tensor, name_a: str, name_b: str) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{name_a} {tuple(a.shape)} and {name_b} {tuple(b.shape)} differ in shape: resize one first")

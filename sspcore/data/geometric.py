"""Geometric operations of augmentation: settings that change a sample when called with the crop that is wanted.

Randomness comes from torch's global generator.
"""

from __future__ import annotations

from dataclasses import replace
from math import cos, radians, sin
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torchvision.transforms import v2

from sspcore.core.classes import IGNORE
from sspcore.core.settings import Section
from sspcore.core.types import Size
from sspcore.data.photometric import Share, Span, uniform
from sspcore.data.samples import Sample, crop_and_resize, flip_horizontally, transform

CELL = 4  # pixels of a teacher logit, along both sides


def _are_factors(factors: tuple[float, ...]) -> tuple[float, ...]:
    if any(factor < 1 for factor in factors):
        raise ValueError(f"{list(factors)}: a factor below 1 would show more than the frame holds")
    return factors


def _is_a_range(zoom: tuple[float, float]) -> tuple[float, float]:
    if not 0 < zoom[0] <= zoom[1]:
        raise ValueError(f"{list(zoom)}: expected the smaller factor first, both above 0")
    return zoom


def _position(room: int, step: int = 1) -> int:
    """A place from 0 to `room`, in steps."""
    return step * int(torch.randint(0, room // step + 1, ()))


class Flip(Section):
    """Left and right mirrored."""

    kind: Literal["flip"] = "flip"

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The mirrored sample, of its own size."""
        return flip_horizontally(sample)


class Crop(Section):
    """The published crop: the frame enlarged by a factor, cut back to its size, and from that the crop (METHOD section 5).

    Two cuts, each anywhere: a crop that is narrower than the frame lies more often in the middle than one cut would.

    Attributes:
        zoom: factors, one of which enlarges the frame; none: it stays as it is.
        zoom_probability: of an enlargement.
    """

    kind: Literal["crop"] = "crop"
    zoom: Annotated[tuple[float, ...], AfterValidator(_are_factors)] = ()
    zoom_probability: Share = 0.75

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The crop, in both directions at one scale."""
        height, width = sample.frames.shape[-2:]
        zoomed = bool(self.zoom) and bool(torch.rand(()) < self.zoom_probability)
        if not zoomed:
            step = 1 if sample.teacher is None else CELL
            top, left = _position(height - crop[0], step), _position(width - crop[1], step)
            return crop_and_resize(sample, top, left, crop, crop)
        factor = self.zoom[int(torch.randint(len(self.zoom), ()))]
        top = _position(int(height * factor) - height) + _position(height - crop[0])
        left = _position(int(width * factor) - width) + _position(width - crop[1])
        # pixel centres: x' = (x + 0.5) * factor - 0.5 - left
        matrix = torch.tensor([
            [factor, 0, (factor - 1) / 2 - left], [0, factor, (factor - 1) / 2 - top], [0, 0, 1],
        ], dtype=torch.float64)
        return transform(sample, matrix, crop, repeat_border=True)


class Box(Section):
    """A box of the crop's size divided by a factor, resized to the crop; it starts and ends at multiples of 4 px.

    A factor below 1 shows more than the crop; where the frame has no room for that, the largest box that fits is taken. The
    box has the crop's proportions but for rounding: each of its sides is at most 2 px from the crop's side over the factor.

    Attributes:
        zoom: range of the factor.
        zoom_probability: of a factor other than 1.
    """

    kind: Literal["box"] = "box"
    zoom: Annotated[tuple[float, float], AfterValidator(_is_a_range)] = (0.9, 1.4)
    zoom_probability: Share = 0.75

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The box, of the crop's size."""
        whole, zoom = sample.frames.shape[-2:], 1.0
        if torch.rand(()) < self.zoom_probability:
            zoom = float(torch.empty(()).uniform_(*self.zoom))
        # once for both sides: a clamp for each would squeeze the picture
        zoom = max(zoom, *(side / full for side, full in zip(crop, whole, strict=True)))
        box = tuple(max(CELL, CELL * round(side / zoom / CELL)) for side in crop)
        top, left = (_position(full - side, CELL) for side, full in zip(box, whole, strict=True))
        return crop_and_resize(sample, top, left, box, crop)


class Perspective(Section):
    """A quadrilateral with corners near the frame's becomes the frame.

    The published training's library then enlarges it once more, from the upper left corner on, by the frame's sides over
    the quadrilateral's; so does this.

    Attributes:
        scale: range of the standard deviation of a corner's distance from the frame's, as a share of the side.
    """

    kind: Literal["perspective"] = "perspective"
    scale: Span = (0.01, 0.05)

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The sample seen in perspective, of its own size."""
        moved = (uniform(*self.scale) * torch.randn(4, 2)).abs().remainder(0.32)
        return transform(sample, perspective(moved, sample.frames.shape[-2:]), sample.frames.shape[-2:])


def perspective(moved: Tensor, size: Size) -> Tensor:
    """The homography (3, 3) of `Perspective`.

    Args:
        moved: (4, 2), how far each corner lies inside, (x, y) as shares of the sides; clockwise from the upper left one.
        size: (H, W) of the frame.
    """
    height, width = size
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    corners = frame + inwards * moved.numpy().astype(np.float32) * np.array([width, height], np.float32)
    top, right, bottom, left = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
    again = np.diag([width / int(max(top, bottom)), height / int(max(left, right)), 1])
    return torch.from_numpy(again @ cv2.getPerspectiveTransform(corners, frame))


class ShiftScaleRotate(Section):
    """Shift, scale and rotation about the frame's centre.

    Attributes:
        shift: up to this share of each side.
        scale: up to this much more or less than 1, drawn for each side on its own, as in the published training.
        rotate: up to so many degrees.
    """

    kind: Literal["shift_scale_rotate"] = "shift_scale_rotate"
    shift: Share = 0.0625
    scale: float = Field(0.1, ge=0, lt=1)
    rotate: float = Field(15, ge=0, le=180)

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The moved sample, of its own size."""
        size = sample.frames.shape[-2:]
        shift = [int(uniform(-self.shift, self.shift) * side) for side in reversed(size)]
        scale = [1 + uniform(-self.scale, self.scale) for _ in range(2)]
        return transform(sample, shift_scale_rotate(shift, scale, uniform(-self.rotate, self.rotate), size), size)


def shift_scale_rotate(shift: list[int], scale: list[float], degrees: float, size: Size) -> Tensor:
    """The affine map (3, 3): scaled (x, y), rotated (counterclockwise to the eye) and shifted (x, y) about the centre."""
    cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    turned = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    linear = turned @ torch.tensor(scale, dtype=torch.float64).diag()
    centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=torch.float64)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2], matrix[:2, 2] = linear, centre + torch.tensor(shift) - linear @ centre
    return matrix


class Affine(Section):
    """torchvision's rotation (degrees), scale and shear (degrees) of a single frame; what lies outside is black and ignored."""

    kind: Literal["affine"] = "affine"
    degrees: float = Field(10, ge=0, le=180)
    scale: Span = (0.9, 1.1)
    shear: float = Field(5, ge=0, lt=90)

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The changed sample, of its own size, without teacher logits.

        Raises: ValueError for a window of several frames, or with teacher logits: their change is not worked out.
        """
        if len(sample.frames) > 1 or sample.teacher is not None:
            raise ValueError("an affine change takes single frames without teacher logits; use shift_scale_rotate")
        height, width = sample.frames.shape[-2:]
        angle, shift, scale, shear = v2.RandomAffine.get_params(
            [-self.degrees, self.degrees], None, list(self.scale), [-self.shear, self.shear], [height, width]
        )
        change = (angle, list(shift), scale, list(shear))
        frames = v2.functional.affine(sample.frames, *change, interpolation=v2.InterpolationMode.BILINEAR)
        labels = v2.functional.affine_mask(sample.labels, *change, fill=IGNORE)
        return replace(sample, frames=frames, labels=labels)


Geometric = Flip | Crop | Box | Perspective | ShiftScaleRotate | Affine

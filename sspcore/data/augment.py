"""Augmentation of whole windows: frames, labels, flow and homographies change together.

Geometry is a horizontal flip and a scaled crop: an affine map A of pixel coordinates, x' = A x. Flow vectors are scaled
and mirrored with it and homographies become A H A^-1; nothing is estimated again. Photometric changes use
torchvision.transforms.v2 with the same parameters for all frames of the window, as in the paper (METHOD section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from sspcore.core.classes import IGNORE
from sspcore.core.types import Size


@dataclass(frozen=True)
class Sample:
    """One training window before it is batched, all at the same size (H, W).

    Attributes:
        frames: (T, 3, H, W) uint8.
        labels: (T, H, W) uint8, 255 where there is none.
        H_prev_to_cur: (T-1, 3, 3) float64.
        flow_to_prev: (T-1, 2, H, W) float32, or None where neither model nor loss wants flow.
        teacher: (T, C, H/4, W/4) float, teacher logits, or None.
        registered: (T-1,) bool, whether a homography was found; only where samples are registered as they are read.
    """

    frames: Tensor
    labels: Tensor
    H_prev_to_cur: Tensor
    flow_to_prev: Tensor | None = None
    teacher: Tensor | None = None
    registered: Tensor | None = None


def crop_and_resize(sample: Sample, top: int, left: int, box: Size, size: Size) -> Sample:
    """Cut the box (height, width) at (top, left) and resize it to `size`; top, left and box in multiples of 4 if there
    are teacher logits (they live on a grid of stride 4)."""
    scale_y, scale_x = size[0] / box[0], size[1] / box[1]
    # pixel centres: x' = (x - left + 0.5) * s - 0.5
    affine = torch.tensor([
        [scale_x, 0.0, (0.5 - left) * scale_x - 0.5],
        [0.0, scale_y, (0.5 - top) * scale_y - 0.5],
        [0.0, 0.0, 1.0],
    ], dtype=torch.float64)
    rows, columns = slice(top, top + box[0]), slice(left, left + box[1])
    frames, labels = sample.frames[..., rows, columns], sample.labels[..., rows, columns]
    flow = None if sample.flow_to_prev is None else sample.flow_to_prev[..., rows, columns]
    teacher = sample.teacher
    if teacher is not None:
        teacher = teacher[..., top // 4: (top + box[0]) // 4, left // 4: (left + box[1]) // 4]
    if box != size:
        frames = F.resize_image(frames, list(size), antialias=True)
        # nearest by pixel centres, as the frames: torchvision's mask resize rounds down, half a pixel off
        labels = interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].to(labels.dtype)
        if flow is not None:
            flow = interpolate(flow, size, mode="bilinear", align_corners=False)
            flow = flow * torch.tensor([scale_x, scale_y])[:, None, None]
        if teacher is not None:
            teacher = interpolate(teacher, (size[0] // 4, size[1] // 4), mode="bilinear", align_corners=False)
    return replace(
        sample, frames=frames, labels=labels, flow_to_prev=flow, teacher=teacher,
        H_prev_to_cur=affine @ sample.H_prev_to_cur @ torch.linalg.inv(affine),
    )


def flip_horizontally(sample: Sample) -> Sample:
    """Mirror left and right: x' = W - 1 - x."""
    width = sample.frames.shape[-1]
    mirror = torch.tensor([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    flow = sample.flow_to_prev
    if flow is not None:
        flow = flow.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    return replace(
        sample, frames=sample.frames.flip(-1), labels=sample.labels.flip(-1), flow_to_prev=flow,
        H_prev_to_cur=mirror @ sample.H_prev_to_cur @ mirror,
        teacher=None if sample.teacher is None else sample.teacher.flip(-1),
    )


class WindowAugmentation:
    """Random flip (0.5), zoom by 1.1 .. 1.4 (p 0.75), crop, and colour jitter 0.3, the same for the whole window.

    Randomness comes from torch's global generator; the dataset seeds it per sample.
    """

    def __init__(self, crop: Size, zoom: tuple[float, float] = (1.1, 1.4), zoom_probability: float = 0.75) -> None:
        self._crop, self._zoom, self._zoom_probability = crop, zoom, zoom_probability
        self._colour = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)

    def __call__(self, sample: Sample) -> Sample:
        """A randomly changed copy of the sample, of the crop's size."""
        whole, zoom = sample.frames.shape[-2:], 1.0
        if torch.rand(()) < self._zoom_probability:
            zoom = float(torch.empty(()).uniform_(*self._zoom))
        box = tuple(max(4, 4 * round(min(side / zoom, full) / 4)) for side, full in zip(self._crop, whole, strict=True))
        top, left = (4 * int(torch.randint(0, (full - side) // 4 + 1, ())) for side, full in zip(box, whole, strict=True))
        sample = crop_and_resize(sample, top, left, box, self._crop)
        if torch.rand(()) < 0.5:
            sample = flip_horizontally(sample)
        return self.colours(sample)

    def colours(self, sample: Sample) -> Sample:
        """Photometric change, one draw for the window."""
        return replace(sample, frames=self._colour(sample.frames))


def jpeg_artefacts(frame: Tensor) -> Tensor:
    """The (3, H, W) uint8 frame after JPEG of a random quality 50 .. 95 (OpenCV's codec; torchvision's is deprecated)."""
    quality = int(torch.randint(50, 96, ()))
    _, data = cv2.imencode(".jpg", frame.movedim(0, -1).numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)).movedim(-1, 0)


def sensor_noise(frame: Tensor) -> Tensor:
    """The (3, H, W) uint8 frame with Gaussian noise of a random strength up to 8 grey levels."""
    strength = 8 * float(torch.rand(()))
    return (frame + strength * torch.randn(frame.shape)).round().clamp(0, 255).to(torch.uint8)


class ImageAugmentation(WindowAugmentation):
    """The richer augmentation of image models: small rotation and shear, tone, noise, JPEG or sharpening."""

    def __init__(self, crop: Size) -> None:
        super().__init__(crop, zoom=(0.9, 1.4))
        self._affine = v2.RandomAffine(degrees=10, scale=(0.9, 1.1), shear=5)
        self._degrade = v2.RandomChoice([
            jpeg_artefacts, v2.RandomAdjustSharpness(2.0, p=1.0), v2.GaussianBlur(3, (0.1, 0.8)), sensor_noise,
        ])

    def __call__(self, sample: Sample) -> Sample:
        """A randomly changed copy; only for windows of one frame, whose motion is not read.

        Rotation and shear are left out where there are teacher logits: what they draw in from outside has no teacher.
        """
        if sample.teacher is None and torch.rand(()) < 0.2:
            height, width = sample.frames.shape[-2:]
            angle, shift, scale, shear = self._affine.get_params(
                self._affine.degrees, None, self._affine.scale, self._affine.shear, [height, width]
            )
            change = (angle, list(shift), scale, list(shear))
            frames = F.affine(sample.frames, *change, interpolation=v2.InterpolationMode.BILINEAR)
            sample = replace(sample, frames=frames, labels=F.affine_mask(sample.labels, *change, fill=IGNORE))
        return super().__call__(sample)

    def colours(self, sample: Sample) -> Sample:
        """Tone (p 0.8), then JPEG artefacts, sharpening, blur or noise (p 0.6)."""
        frames = sample.frames
        if torch.rand(()) < 0.8:
            frames = self._colour(frames)
        if torch.rand(()) < 0.6:
            frames = torch.stack([self._degrade(frame) for frame in frames])
        return replace(sample, frames=frames)

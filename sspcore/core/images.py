"""The file boundary: uint8 RGB images on one side, normalised float tensors on the other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sspcore.core.errors import ReleaseError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["area", "bilinear", "cubic"]

# PNG level 1: on frames of drone videos of 2560x1440 level 3 saves 2 to 7 % for 1.5 times the time, and no level, which filters
# every line alike, takes half the time for 5 to 20 % more.
_OPTIONS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100: lossless
}


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) or (T, H, W, 3) uint8 RGB -> (3, H, W) or (T, 3, H, W) float32, ImageNet-normalised, on a device.

    The bytes are moved and normalised there: a quarter of what floats would be, and a GPU takes no time for it.
    """
    return normalise(torch.from_numpy(image.copy()).to(device).movedim(-1, -3))


def normalise(image: Tensor) -> Tensor:
    """(..., 3, H, W) uint8 RGB -> float32, ImageNet-normalised."""
    mean, std = _statistics(image.device)
    return (image.float() / 255 - mean) / std


def to_uint8(frames: Tensor) -> np.ndarray:
    """(..., 3, H, W) normalised float -> (..., H, W, 3) uint8 RGB."""
    mean, std = _statistics(frames.device)
    image = ((frames * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return image.movedim(-3, -1).cpu().numpy()


def _statistics(device: torch.device) -> list[Tensor]:
    return [torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)]


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises ReleaseError if the file is missing or not an image."""
    return cv2.cvtColor(read_image(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_grey(path: Path) -> np.ndarray:
    """(H, W) uint8. Raises ReleaseError if the file is missing, not an image or not 8 bit with one channel."""
    image = read_image(path)
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ReleaseError(f"{path}: expected an 8 bit grey image, found shape {image.shape} of {image.dtype}; replace it")
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W) or RGB (H, W, 3) uint8 as `encode_image` has it.

    Raises: OSError if the bytes cannot be written.
    """
    path.write_bytes(encode_image(path.suffix, image))


def encode_image(suffix: str, image: np.ndarray) -> np.ndarray:
    """The bytes of a file: lossless as ".png" or ".webp" (a third smaller), as ".jpg" of quality 95.

    Raises: OSError if the image cannot be encoded.
    """
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, data = cv2.imencode(suffix, stored, _OPTIONS[suffix])
    if not done:
        raise OSError(f"an image of {image.shape} could not be encoded as {suffix}")
    return data


def resize_frame(image: np.ndarray, size: tuple[int, int], how: Interpolation = "area") -> np.ndarray:
    """Resize a uint8 image to (H, W).

    Args:
        how: "area": averages areas along sides that shrink, linear along those that grow; "bilinear": Pillow's, whose triangle
            widens as the image shrinks, so that all pixels count; "cubic": OpenCV's over 4x4 pixels, which lets detail alias
            when it shrinks.
            The published settings store frames by "cubic" and read them by "bilinear" (METHOD section 9).
    """
    if image.shape[:2] == tuple(size):
        return image
    width_height = (size[1], size[0])
    if how == "bilinear":
        return np.array(Image.fromarray(image).resize(width_height, Image.Resampling.BILINEAR))
    if how == "cubic":
        return cv2.resize(image, width_height, interpolation=cv2.INTER_CUBIC)
    # a side that shrinks is averaged, one that grows is not: OpenCV averages only where neither grows
    least = (min(size[1], image.shape[1]), min(size[0], image.shape[0]))
    if least != image.shape[1::-1]:
        image = cv2.resize(image, least, interpolation=cv2.INTER_AREA)
    return image if least == width_height else cv2.resize(image, width_height, interpolation=cv2.INTER_LINEAR)


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a uint8 label map to (H, W) by the nearest pixel centre."""
    if labels.shape == tuple(size):
        return labels
    # Pillow, not OpenCV: where a centre falls between two pixels (4096 -> 1280) the two round to different sides
    return np.array(Image.fromarray(labels).resize((size[1], size[0]), Image.Resampling.NEAREST))


def read_image(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """An image as OpenCV has it, by its flags. Raises ReleaseError if the file is missing or not an image."""
    # np.fromfile + imdecode, not imread: imread fails on some non-ASCII paths and prints warnings of its own
    if not path.is_file():
        raise ReleaseError(f"{path}: file is missing; restore it")
    data = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:  # a header that announces an absurd size
        image = None
    if image is None:
        raise ReleaseError(f"{path}: not a readable image ({data.size} bytes); restore it")
    return image

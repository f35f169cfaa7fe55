"""Label images: colours, grey numbers of 8 or 16 bits, palettes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sspcore.core.classes import Colour
from sspcore.core.errors import ReleaseError, reason
from sspcore.core.images import read_image
from sspcore.data.annotations.shapes import unlabelled_id
from sspcore.data.datasets import DatasetSpec

UNKNOWN = 254
_MANY = 20  # unknown colours, from which on an image was not drawn but compressed with loss or blended
_JPEG, _PNG, _PALETTE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", 3


def read_label_image(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Class ids and IGNORE (H, W) uint8 of a label image.

    Whether colours or numbers are read follows from `spec.labels`: of a PNG with a palette the colours or the indices count,
    of a grey image the colours of three equal parts or the values. Pixels that are wholly transparent are unlabelled.

    Raises: ReleaseError naming the file, what is in it that the data set does not know, where, how often, and what to do.
    """
    numbers, colours = spec.label_ids, {pack(*colour): each for colour, each in spec.label_colours.items()}
    image, clear = read_drawn(path, indices=bool(numbers))
    codes = _values(image, path, spec) if numbers else packed_colours(image, path)
    ids = code_table(tuple((numbers or colours).items()), 16 if numbers else 24)[codes]
    if clear is not None:
        ids[clear] = unlabelled_id(spec)
    if (unknown := ids == UNKNOWN).any():
        y, x = np.argwhere(unknown)[0]
        code, others = int(codes[y, x]), len(np.unique(codes[unknown]))
        what = f"number {code}" if numbers else f"colour {unpack(code)}"
        entry = str(code) if numbers else str(list(unpack(code)))
        raise ReleaseError(
            f"{path}: {what} at x={x}, y={y} is not a label colour of {spec.title} ({unknown.sum()} pixels of {others} such "
            f"{'numbers' if numbers else 'colours'}); " + (
                "the image was stored with loss or blended: use the lossless PNG" if others >= _MANY and not numbers
                else f"write `name: {entry}` under labels: of its dataset.yaml, and its class, or null, under label_classes:"
            )
        )
    return ids


def read_drawn(path: Path, indices: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """A label image as it was drawn, grey (H, W) or BGR (H, W, 3), and where it is transparent (H, W) bool, None if nowhere.

    Args:
        indices: of a PNG with a palette, its indices (H, W) instead of its colours.
    Raises: ReleaseError if it is a JPEG, half transparent or not readable.
    """
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(26)
    if head.startswith(_JPEG):
        raise ReleaseError(f"{path}: a JPEG does not keep the colours that were drawn; export the labels as PNG")
    if indices and head.startswith(_PNG) and head[25:] == bytes([_PALETTE]):
        try:
            with Image.open(path) as picture:
                return np.array(picture), None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ReleaseError(f"{path}: not a readable image ({reason(error)}); export it again") from error
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2 or image.shape[2] == 3:
        return image, None
    alpha, opaque = image[..., 3], np.iinfo(image.dtype).max
    if ((alpha != 0) & (alpha != opaque)).any():
        raise ReleaseError(f"{path}: is half transparent, which blends colours; export the labels opaque")
    return image[..., :3], alpha == 0 if (alpha == 0).any() else None


def packed_colours(image: np.ndarray, path: Path) -> np.ndarray:
    """(H, W) int32, red, green and blue of each pixel in one number."""
    if image.dtype != np.uint8:
        raise ReleaseError(f"{path}: has values of {image.dtype}, not 8 bits for a colour; export the labels with 8 bits")
    if image.ndim == 2:
        return image * np.int32(pack(1, 1, 1))
    return (image[..., 2].astype(np.int32) << 16) | (image[..., 1].astype(np.int32) << 8) | image[..., 0]


def _values(image: np.ndarray, path: Path, spec: DatasetSpec) -> np.ndarray:
    """(H, W) uint8 or uint16, the number of each pixel."""
    if image.dtype not in (np.uint8, np.uint16):
        raise ReleaseError(f"{path}: has values of {image.dtype}; export the numbers of labels as a PNG of 8 or 16 bits")
    if image.ndim == 3 and not (image == image[..., :1]).all():
        raise ReleaseError(
            f"{path}: is in colours, but labels: of {spec.title} are numbers; write `name: [r, g, b]` in its dataset.yaml"
        )
    return image if image.ndim == 2 else image[..., 0]


def pack(r: int, g: int, b: int) -> int:
    """A colour as one number."""
    return (r << 16) | (g << 8) | b


def unpack(code: int) -> Colour:
    """The colour that `pack` made a number."""
    return code >> 16, code >> 8 & 255, code & 255


@lru_cache(maxsize=4)
def code_table(ids: tuple[tuple[int, int], ...], bits: int) -> np.ndarray:
    """Class id of every code, UNKNOWN of others; a look-up is several times faster than a comparison for each class."""
    table = np.full(1 << bits, UNKNOWN, np.uint8)
    for code, class_id in ids:
        table[code] = class_id
    return table

"""Pictures of a result side by side: the frame, its classes, the image model alone, alpha, and what changed along the flow."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from sspcore.core.classes import IGNORE, ClassSpec
from sspcore.core.errors import SspError
from sspcore.core.images import resize_frame, resize_labels, to_tensor
from sspcore.export.device.class_maps import OPACITY, blended, colour_table
from sspcore.inference.backends import Backend
from sspcore.inference.outputs import scaled_size
from sspcore.inference.stream import Segmented
from sspcore.metrics.records import warp_labels
from sspcore.motion.flow import FlowEstimator

PANELS = ("frame", "overlay", "alone", "alpha", "flicker")
_OF_SSP = ("alone", "alpha")
_MAGENTA = (255, 0, 255)
_GAP = 6
_FONT, _README = cv2.FONT_HERSHEY_SIMPLEX, 800  # pixels: the width at which captions are still to be read


def require_panels(names: Sequence[str], backend: Backend) -> None:
    """Raise SspError for a panel that does not exist, or that this backend has nothing for."""
    unknown = [name for name in names if name not in PANELS]
    if unknown or not names:
        raise SspError(f"--panels {','.join(names)}: take some of {', '.join(PANELS)}")
    missing = [name for name in names if name in _OF_SSP]
    if missing and not hasattr(getattr(backend, "model", None), "propagate"):
        raise SspError(f"--panels {missing[0]}: only SSP run from a checkpoint has it; leave it out")


class Panels:
    """A picture of several panels with captions; see `PANELS`. One serves one video, whose results it is called with in order.

    Args:
        names: which, from left to right; more than three take two rows.
        system: name of what segments.
        flow: tells which labels changed along it; needed for "flicker" alone.
        scale: of the sheet: at 1 it is about as wide as the frame.
    """

    def __init__(
        self, names: Sequence[str], classes: ClassSpec, system: str, flow: FlowEstimator | None = None, scale: float = 1.0
    ) -> None:
        self.names, self.system, self.flow, self.scale = tuple(names), system, flow, scale
        self.table = colour_table(classes.palette)
        self.columns = len(names) if len(names) <= 3 else -(-len(names) // 2)
        self._content: np.ndarray | None = None  # of the frame before, and its labels by panel
        self._labels: dict[str, np.ndarray] = {}

    def __call__(self, result: Segmented) -> np.ndarray:
        """The sheet (H, W, 3) uint8 RGB of a result."""
        size = scaled_size(result, self.scale / self.columns)
        changed = self._changed(result) if "flicker" in self.names else {}
        image = resize_frame(result.image, size)
        cells = [self._cell(name, result, image, changed) for name in self.names]
        width = self.columns * (size[1] + _GAP) - _GAP
        bar = max(16, round(width / _README * 26))
        rows = -(-len(cells) // self.columns)
        sheet = np.full((rows * (bar + size[0]), width, 3), 255, np.uint8)
        longest = max((f"{title}  {note}" for _, title, note in cells), key=len)
        scale = min(cv2.getFontScaleFromHeight(_FONT, bar // 2, 1), (size[1] - 8) / _width(longest, 1.0))
        for k, (picture, title, note) in enumerate(cells):
            x, y = k % self.columns * (size[1] + _GAP), k // self.columns * (bar + size[0])
            _write(sheet[y : y + bar, x : x + size[1]], title, note, scale)
            sheet[y + bar : y + bar + size[0], x : x + size[1]] = picture
        return sheet

    def _cell(
        self, name: str, result: Segmented, image: np.ndarray, changed: dict[str, np.ndarray | None]
    ) -> tuple[np.ndarray, str, str]:
        """A panel's picture, title and note."""
        size = image.shape[:2]
        share = {key: "" if mask is None else f"{100 * mask.mean():.1f} % changed" for key, mask in changed.items()}
        if name == "frame":
            return image, "frame", result.name
        if name == "overlay":
            return self._overlay(image, result.labels), self.system, share.get("overlay", "")
        if name == "alone":
            return self._overlay(image, _argmax(result.alone)), "image model alone", share.get("alone", "")
        if name == "alpha":
            alpha = result.fit.cropped(result.state.alpha)[0, 0].cpu().numpy()
            shown = cv2.applyColorMap((alpha * 255).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)
            return resize_frame(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB), size), "alpha", f"mean {alpha.mean():.2f}"
        picture, mask = image // 3, changed["overlay"]
        if mask is not None:
            picture[resize_labels(mask.astype(np.uint8), size).view(bool)] = _MAGENTA
        return picture, "flicker along the flow", ""

    def _overlay(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return blended(image, resize_labels(labels, image.shape[:2]), self.table, OPACITY)

    def _changed(self, result: Segmented) -> dict[str, np.ndarray | None]:
        """Panel -> (h, w) bool: its label differs from that of the same point in the frame before; None where there is none."""
        content = resize_frame(result.image, result.fit.content)
        labels = {"overlay": _seen(result)} | ({} if result.alone is None else {"alone": _argmax(result.alone)})
        masks: dict[str, np.ndarray | None] = dict.fromkeys(labels)
        previous, self._content = self._content, content
        if not result.reset and previous is not None and previous.shape == content.shape:
            backward = self.flow(to_tensor(content)[None], to_tensor(previous)[None])[0].cpu().numpy()
            for name, ids in labels.items():
                warped = warp_labels(self._labels[name], backward)
                masks[name] = (warped != ids) & (warped != IGNORE)
        self._labels = labels
        return masks


def _argmax(logits: Tensor) -> np.ndarray:
    return logits.max(0).indices.byte().cpu().numpy()


def _seen(result: Segmented) -> np.ndarray:
    """Labels at the size at which the network saw the frame."""
    return resize_labels(result.labels, result.fit.content) if result.logits is None else _argmax(result.logits)


def _width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]


def _write(bar: np.ndarray, title: str, note: str, scale: float) -> None:
    """Title at the left, note at the right."""
    thick, base = max(1, round(scale * 1.4)), round(bar.shape[0] * 0.72)
    for text, x, shade in ((title, 4, 0), (note, bar.shape[1] - 4 - _width(note, scale), 90)):
        cv2.putText(bar, text, (x, base), _FONT, scale, (shade, shade, shade), thick, cv2.LINE_AA)

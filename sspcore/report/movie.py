"""Moving pictures: labelled panels side by side, frame by frame, as an animated GIF and as mp4.

GIFs go where nothing can be installed (README, notebooks, their HTML); all their frames share one palette without
dithering, so that nothing flickers but what is shown to flicker.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sspcore.core.classes import ClassSpec, colourise
from sspcore.core.files import atomic_file
from sspcore.core.images import resize_frame
from sspcore.inference.encoding import video_file
from sspcore.report.figures import FLICKER, flicker_mask

PANEL_WIDTH = 320
FPS = 8
_OPACITY = 0.6
_GAP, _BAR, _LINE, _POINTS = 6, 22, 19, 13
_COLOURS = 192  # of the GIF's palette: its size on disk grows with it


@dataclass(frozen=True)
class Panel:
    """One of the pictures side by side.

    Attributes:
        title: what is shown, left above it.
        frames: (H, W, 3) uint8, one for every moment.
        notes: a few words of each moment, right above it.
    """

    title: str
    frames: Sequence[np.ndarray]
    notes: Sequence[str]


def photo_panel(title: str, frames: Sequence[np.ndarray]) -> Panel:
    """The frames themselves, numbered."""
    return Panel(title, frames, [f"{k + 1} of {len(frames)}" for k in range(len(frames))])


def label_panel(
    title: str, frames: Sequence[np.ndarray], labels: Sequence[np.ndarray], flows_to_prev: Sequence[np.ndarray],
    spec: ClassSpec,
) -> Panel:
    """Classes over the frames; magenta where a label changed along the flow, with the share of such pixels.

    Args:
        frames: n images (H, W, 3). labels: n label maps (H, W).
        flows_to_prev: n - 1 flows (2, H, W), frame k + 1 -> k.
    """
    drawn, notes = [], []
    for k, (frame, ids) in enumerate(zip(frames, labels, strict=True)):
        image = cv2.addWeighted(frame, 1 - _OPACITY, colourise(ids, spec), _OPACITY, 0)
        if k:
            changed = flicker_mask(ids, labels[k - 1], flows_to_prev[k - 1])
            image[changed] = FLICKER
        drawn.append(image)
        notes.append(f"{100 * changed.mean():.1f} % changed" if k else "first frame")
    return Panel(title, drawn, notes)


def alpha_panel(title: str, alphas: Sequence[np.ndarray]) -> Panel:
    """Alpha (H, W) in 0..1, the weight of the past, dark for 0 and bright for 1."""
    table = mpl.colormaps["viridis"]
    drawn = [(table(alpha)[..., :3] * 255).round().astype(np.uint8) for alpha in alphas]
    return Panel(title, drawn, [f"mean {alpha.mean():.2f}" for alpha in alphas])


def compose(panels: Sequence[Panel], columns: int, spec: ClassSpec, text: str) -> list[np.ndarray]:
    """All panels of each moment on one sheet (H, W, 3) uint8 of even size, with the palette and a line of text below."""
    height, width = panels[0].frames[0].shape[:2]
    size = (round(PANEL_WIDTH * height / width), PANEL_WIDTH)
    rows = -(-len(panels) // columns)
    sheet_width = columns * (PANEL_WIDTH + _GAP) - _GAP
    below = _legend(spec, text, sheet_width)
    top = rows * (_BAR + size[0] + _GAP)
    sheets = []
    for k in range(len(panels[0].frames)):
        sheet = Image.new("RGB", (sheet_width, (top + below.height + 1) // 2 * 2), "white")
        draw = ImageDraw.Draw(sheet)
        for place, panel in enumerate(panels):
            x, y = place % columns * (PANEL_WIDTH + _GAP), place // columns * (_BAR + size[0] + _GAP)
            draw.text((x + 2, y + _BAR // 2), panel.title, "black", _font(bold=True), "lm")
            draw.text((x + PANEL_WIDTH - 2, y + _BAR // 2), panel.notes[k], "black", _font(), "rm")
            sheet.paste(Image.fromarray(resize_frame(np.ascontiguousarray(panel.frames[k]), size)), (x, y + _BAR))
        sheet.paste(below, (0, top))
        sheets.append(np.asarray(sheet))
    return sheets


def gif(sheets: Sequence[np.ndarray], spec: ClassSpec, comment: str = "", fps: float = FPS) -> bytes:
    """An endless animated GIF of sheets (H, W, 3) uint8; the same bytes for the same sheets."""
    kept = (*spec.palette, FLICKER.tolist())
    # one palette: from a few frames at once, and the colours that mean something (Pillow hits them within four levels)
    sample = [sheets[k] for k in np.unique(np.linspace(0, len(sheets) - 1, 6).round().astype(int))]
    common = Image.fromarray(np.concatenate(sample)).quantize(_COLOURS, Image.Quantize.MEDIANCUT)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*common.getpalette()[: 3 * _COLOURS], *np.ravel(kept).tolist()])
    frames = [Image.fromarray(sheet).quantize(palette=palette, dither=Image.Dither.NONE) for sheet in sheets]
    content = io.BytesIO()
    frames[0].save(
        content, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, optimize=False,
        comment=comment.encode(),
    )
    return content.getvalue()


def write(panels: Sequence[Panel], spec: ClassSpec, text: str, path: Path) -> Path:
    """Write panels side by side as `path` (GIF) and as mp4 beside it, with a line of text below; returns `path`."""
    sheets = compose(panels, len(panels), spec, text)
    with atomic_file(path) as temporary:
        temporary.write_bytes(gif(sheets, spec, text))
    with video_file(path.with_suffix(".mp4"), FPS) as add:
        for sheet in sheets:
            add(sheet)
    return path


def _legend(spec: ClassSpec, text: str, width: int) -> Image.Image:
    """The palette, magenta included, and a line of text, both wrapped to `width`."""
    font, entries = _font(), zip(
        (*spec.palette, tuple(FLICKER.tolist())), (*spec.classes, "changed along the flow"), strict=True,
    )
    places, x, y = [], 2, 4
    for colour, name in entries:
        needed = 12 + 4 + round(font.getlength(name)) + 12
        if x + needed > width:
            x, y = 2, y + _LINE
        places.append((x, y, colour, name))
        x += needed
    lines = _wrapped(text, width)
    image = Image.new("RGB", (width, y + _LINE * (1 + len(lines)) + 3), "white")
    draw = ImageDraw.Draw(image)
    for left, upper, colour, name in places:
        draw.rectangle((left, upper + 3, left + 11, upper + 14), fill=colour)
        draw.text((left + 16, upper + 9), name, "black", font, "lm")
    for row, line in enumerate(lines, 1):
        draw.text((2, y + row * _LINE + 9), line, "#444444", font, "lm")
    return image


def _wrapped(text: str, width: int) -> list[str]:
    font, lines = _font(), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 4:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"  # matplotlib's own: the same on every machine
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, _POINTS)

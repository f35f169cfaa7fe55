"""The browser's part of the explorers: pictures, their captions, a stage to compare two of them, and clicks."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from sspcore.core.classes import ClassSpec
from sspcore.explore.panels import Panel, encode

_HERE = Path(__file__).parent


class Stage(anywidget.AnyWidget):
    """Shows panels; what is drawn in the browser stands in stage.js.

    Traits:
        images, panels: the panels' bytes and captions, sent together with `version`, a counter that tells them apart.
        columns: panels a row.
        pair: the two panels that are compared at first.
        mark: the chosen pixel as shares (x, y) of width and height; empty where none is.
        details: HTML beside the stage.
        clicked: {"panel", "x", "y", "number"}: the last click, as shares of that panel's width and height.
    """

    _esm = _HERE / "stage.js"
    _css = _HERE / "stage.css"

    images = traitlets.List(traitlets.Bytes()).tag(sync=True)
    panels = traitlets.List(traitlets.Dict()).tag(sync=True)
    columns = traitlets.Int(3).tag(sync=True)
    pair = traitlets.List(traitlets.Int(), default_value=[0, 1]).tag(sync=True)
    mark = traitlets.List(traitlets.Float()).tag(sync=True)
    details = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int(0).tag(sync=True)
    clicked = traitlets.Dict().tag(sync=True)

    def show(self, panels: list[Panel], mark: tuple[float, float] | None, details: str) -> None:
        """Send new pictures, in one message."""
        with self.hold_sync():
            self.images = [encode(panel) for panel in panels]
            self.panels = [_caption(panel) for panel in panels]
            self.mark = [] if mark is None else list(mark)
            self.details = details
            self.version += 1


def value_table(title: str, rows: list[tuple[str, str]]) -> str:
    """Rows (name, value) as HTML."""
    body = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<b>{html.escape(title)}</b><table>{body}</table>"


def legend(spec: ClassSpec) -> str:
    """Class names with their colours as HTML."""
    entries = "".join(
        f"<span><i class='swatch' style='background:rgb({r},{g},{b})'></i>{html.escape(name)}</span> "
        for name, (r, g, b) in zip(spec.classes, spec.palette, strict=True)
    )
    return f"<p class='legend'>{entries}</p>"


def _caption(panel: Panel) -> dict[str, Any]:
    caption: dict[str, Any] = {"title": panel.title, "note": panel.note, "wide": panel.wide}
    if panel.scale is None:
        return caption
    low, high = panel.scale.low, panel.scale.high
    colours = ",".join(f"rgb({r},{g},{b})" for r, g, b in panel.scale.paint(np.linspace(low, high, 9)[None])[0])
    gradient = f"linear-gradient(90deg,{colours})"
    return caption | {"gradient": gradient, "low": f"{low:g}", "high": f"{high:g}", "meaning": panel.scale.meaning}

"""The widgets: panels in the browser, and sliders around them. Only imported where a browser is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets
from jinja2 import Template

from sspcore.core.errors import SspError
from sspcore.explore.panels import Explorer, Panel, encode

_HERE = Path(__file__).parent
_DETAILS = Template((_HERE / "details.html.jinja").read_text(encoding="utf-8"), autoescape=True, trim_blocks=True)
_LABEL = {"description_width": "70px"}
_PLAY_MS = 400


class Stage(anywidget.AnyWidget):
    """Pictures, their captions, a stage to compare two of them, and clicks; stage.js draws them in the browser.

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


class Live:
    """An explorer with its controls: data set, clip, frame and play button, its own settings, and the stage.

    Args:
        explorers: data set -> explorer, made at first use; all of one kind.
    Attributes:
        box: what is displayed.
        controls: name -> widget, of the frame and of the explorer's own settings.
        pixel: the chosen one as shares of width and height, None where none is.
    """

    def __init__(self, explorers: Mapping[str, Callable[[], Explorer]]) -> None:
        self._makers, self._made, self._quiet = dict(explorers), {}, False
        self.pixel: tuple[float, float] | None = None
        self.dataset = widgets.Dropdown(options=list(self._makers), description="data set", style=_LABEL)
        self.clip = widgets.SelectionSlider(
            options=[("", 0)], description="clip", style=_LABEL, layout=widgets.Layout(width="400px")  # names are long
        )
        first = self.explorer.first()
        self.controls: dict[str, Any] = {}
        for name, limits in self.explorer.controls(**first).items():
            self.controls[name] = control = widgets.interactive.widget_from_abbrev(limits, first[name])
            control.description, control.style.description_width = self.explorer.labels.get(name, name), "70px"
            if isinstance(control, widgets.FloatSlider):
                control.readout_format = ".3f"
        self.play = widgets.Play(interval=_PLAY_MS, description="play", value=first["frame"])
        widgets.jslink((self.play, "value"), (self.controls["frame"], "value"))
        self.status = widgets.HTML()
        self.stage = Stage(columns=self.explorer.columns, pair=list(self.explorer.compared))
        self._fit_dataset()
        self.dataset.observe(self._fit_dataset, "value")
        for control in (self.clip, *self.controls.values()):
            control.observe(self._fit, "value")
        self.stage.observe(self._on_click, "clicked")
        frame, *others = self.controls.values()
        rows = [[self.dataset] if len(self._makers) > 1 else [], [self.clip], [frame, self.play], others]
        for control in (control for row in rows for control in row):
            control.layout.max_width = "100%"  # in a narrow window
        wrapped = widgets.Layout(flex_flow="row wrap")
        self.box = widgets.VBox([widgets.HBox(row, layout=wrapped) for row in rows] + [self.stage, self.status])

    @property
    def explorer(self) -> Explorer:
        """The explorer of the chosen data set."""
        name = self.dataset.value
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def choice(self) -> dict[str, Any]:
        """What the controls say."""
        return {"clip": self.clip.value, **{name: control.value for name, control in self.controls.items()}}

    def _fit_dataset(self, _change: Any = None) -> None:
        with self._one_picture():
            self.clip.options = [(clip.name, number) for number, clip in enumerate(self.explorer.clips)]
            self.clip.layout.display = None if len(self.clip.options) > 1 else "none"
            first = self.explorer.first()
            self.clip.value = first.pop("clip")
            self._fit()
            for name, value in first.items():
                self.controls[name].value = value

    def _fit(self, _change: Any = None) -> None:
        """Bring the controls to what the chosen clip has, and draw."""
        with self._one_picture():
            for name in reversed(self.controls):  # the frame's limits come last: they depend on the others
                limits, control = self.explorer.controls(**self.choice())[name], self.controls[name]
                if isinstance(limits, list):
                    if list(control.options) != limits:
                        control.options = limits
                    continue
                for slider in (control, self.play) if name == "frame" else (control,):
                    slider.max = max(limits[1], slider.min)  # at no moment may the least exceed the largest
                    slider.min, slider.max = limits[:2]

    @contextmanager
    def _one_picture(self) -> Iterator[None]:
        """Changes of controls within this block draw nothing; at the end of the outermost block all is drawn once."""
        outermost, self._quiet = not self._quiet, True
        try:
            yield
        finally:
            self._quiet = not outermost
        if outermost:
            self._draw()

    def _draw(self) -> None:
        """Work the panels out and show them; an error for people goes to the status line."""
        began = time.perf_counter()
        try:
            panels = self.explorer.panels(**self.choice())
            self.stage.show(panels, self.pixel, self._details(panels[0].image.shape))
        except SspError as error:
            self.status.value = f"<b>{error}</b>"
        else:
            self.status.value = f"{self.explorer.origin}; worked out in {1000 * (time.perf_counter() - began):.0f} ms"

    def _details(self, shape: tuple[int, ...]) -> str:
        """HTML beside the stage: values of the chosen pixel of a picture (H, W, 3), and the classes."""
        pixel, rows = None, []
        if self.pixel is not None:
            pixel = [min(int(share * side), side - 1) for share, side in zip(self.pixel, (shape[1], shape[0]), strict=True)]
            rows = self.explorer.values(*pixel, **self.choice())
        return _DETAILS.render(pixel=pixel, rows=rows, classes=self.explorer.classes)

    def _on_click(self, _change: Any) -> None:
        clicked = self.stage.clicked
        frame = self.explorer.frame_at(clicked["panel"], clicked["x"], **self.choice()) if clicked else None
        if frame is not None:
            self.controls["frame"].value = frame
        elif clicked:
            self.pixel = (clicked["x"], clicked["y"])
            self._draw()


def _caption(panel: Panel) -> dict[str, Any]:
    caption: dict[str, Any] = {"title": panel.title, "note": panel.note, "wide": panel.wide}
    scale = panel.scale
    if scale is None:
        return caption
    colours = ",".join(f"rgb({r},{g},{b})" for r, g, b in scale.paint(np.linspace(scale.low, scale.high, 9)[None])[0])
    ends = {"low": f"{scale.low:g}", "high": f"{scale.high:g}", "meaning": scale.meaning}
    return caption | {"gradient": f"linear-gradient(90deg,{colours})"} | ends

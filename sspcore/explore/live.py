"""Sliders around the stage: the live face of the two explorers. Only imported where a browser is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from sspcore.core.errors import SspError
from sspcore.explore.pair import Choice, PairExplorer, PairView
from sspcore.explore.stage import Stage, legend, value_table
from sspcore.explore.systems import SystemsChoice, SystemsExplorer

HINT = "Click on a pixel for its values."
LARGEST_GAP = 6
_LABEL = {"description_width": "70px"}
_PLAY_MS = 400


class Live:
    """What both explorers share: data set, clip, frame and play button, the stage, and when to draw anew.

    Args:
        explorers: data set -> explorer, made at first use.
        pair: the two panels on the stage at first.
    Attributes: box, what is displayed.
    A subclass adds its controls, and says in `_draw` what they lead to.
    """

    def __init__(self, explorers: Mapping[str, Callable[[], Any]], pair: tuple[int, int]) -> None:
        self._makers, self._made, self._quiet = dict(explorers), {}, False
        self.dataset = widgets.Dropdown(options=list(self._makers), description="data set", style=_LABEL)
        self.clip = widgets.SelectionSlider(
            options=[("", 0)], description="clip", style=_LABEL, layout=widgets.Layout(width="400px")  # names are long
        )
        self.frame = widgets.IntSlider(description="frame", style=_LABEL)
        self.play = widgets.Play(interval=_PLAY_MS, description="play")
        widgets.jslink((self.play, "value"), (self.frame, "value"))
        self.status = widgets.HTML()
        self.stage = Stage(columns=self.explorer.columns, pair=list(pair))
        self.pixel: tuple[float, float] | None = None
        self.box = widgets.VBox()
        self._fit_dataset()
        self.dataset.observe(self._on_dataset, "value")
        self.clip.observe(self._on_clip, "value")
        self.stage.observe(self._on_click, "clicked")

    @property
    def explorer(self) -> Any:
        """The explorer of the chosen data set."""
        name = self.dataset.value
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def redraw(self, _change: Any = None) -> None:
        """Work the panels out and show them; a failure is told in the status line."""
        if self._quiet:
            return
        began = time.perf_counter()
        try:
            self._draw()
        except SspError as error:
            self.status.value = f"<b>{error}</b>"
        else:
            self.status.value = f"{self.explorer.origin}; worked out in {1000 * (time.perf_counter() - began):.0f} ms"

    def pixel_of(self, share: tuple[float, float]) -> tuple[int, int]:
        """(x, y) of the pixel at shares of width and height."""
        height, width = self.explorer.size
        return min(int(share[0] * width), width - 1), min(int(share[1] * height), height - 1)

    def _draw(self) -> None:
        raise NotImplementedError

    def _first_frame(self) -> int:
        return 0

    def _compose(self, rows: list[list[widgets.Widget]], heard: list[widgets.Widget]) -> None:
        """Lay the controls out, listen to some of them, and show the first pictures."""
        for control in (self.frame, *heard):
            control.observe(self.redraw, "value")
        first = [self.dataset, self.clip] if len(self._makers) > 1 else [self.clip]
        every = [first, [self.frame, self.play], *rows]
        self.box.children = [*(widgets.HBox(row) for row in every), self.stage, self.status]
        self.redraw()

    def _fit_dataset(self) -> None:
        clips = self.explorer.clips
        self.clip.options = [(clip.name, number) for number, clip in enumerate(clips)]
        self.clip.value = 0
        self._fit_clip(self.explorer.first().frame)

    def _fit_clip(self, frame: int) -> None:
        """Sliders that fit the chosen clip, at `frame` where it has that."""
        last, first = len(self.explorer.clips[self.clip.value]) - 1, self._first_frame()
        for control in (self.frame, self.play):
            control.max = max(last, control.min)  # at no moment may the least exceed the largest
            control.min, control.max = first, last
            control.value = min(max(frame, first), last)

    def _on_dataset(self, _change: Any) -> None:
        with _Quiet(self):
            self._fit_dataset()
        self.redraw()

    def _on_clip(self, _change: Any) -> None:
        with _Quiet(self):
            self._fit_clip(self.frame.value)
        self.redraw()

    def _on_click(self, _change: Any) -> None:
        clicked = self.stage.clicked
        if clicked and not self._on_panel(clicked["panel"], clicked["x"]):
            self.pixel = (clicked["x"], clicked["y"])
            self.redraw()

    def _on_panel(self, panel: int, share: float) -> bool:
        """Whether the click meant something else than a pixel."""
        return False


class _Quiet:
    """Within this block changes of controls draw nothing."""

    def __init__(self, live: Live) -> None:
        self.live, self.before = live, live._quiet

    def __enter__(self) -> None:
        self.live._quiet = True

    def __exit__(self, *_error: object) -> None:
        self.live._quiet = self.before


class LivePair(Live):
    """Notebook 02: two frames of a clip, the motion between them, warps and masks."""

    def __init__(self, explorers: Mapping[str, Callable[[], PairExplorer]]) -> None:
        self.gap = widgets.IntSlider(1, 1, LARGEST_GAP, description="frame gap", style=_LABEL)
        self.estimator = widgets.ToggleButtons(description="flow", style=_LABEL | {"button_width": "100px"})
        self.c1 = widgets.FloatSlider(0.01, min=0, max=0.1, step=0.005, description="c1", readout_format=".3f", style=_LABEL)
        self.c2 = widgets.FloatSlider(0.5, min=0, max=4, step=0.1, description="c2 (px²)", style=_LABEL)
        super().__init__(explorers, pair=(0, 3))
        self.gap.observe(self._on_clip, "value")
        self._compose([[self.estimator], [self.gap], [self.c1, self.c2]], heard=[self.estimator, self.c1, self.c2])

    def choice(self) -> Choice:
        """What the sliders say."""
        return Choice(
            self.clip.value, self.frame.value, self.gap.value, self.estimator.value, self.c1.value, self.c2.value
        )

    def _draw(self) -> None:
        view = self.explorer.view(self.choice())
        self.stage.show(self.explorer.panels(view), self.pixel, self._details(view))

    def _details(self, view: PairView) -> str:
        if self.pixel is None:
            return HINT
        x, y = self.pixel_of(self.pixel)
        return value_table(f"Pixel ({x}, {y}) of frame k", self.explorer.values(view, x, y))

    def _first_frame(self) -> int:
        return self.gap.value

    def _fit_clip(self, frame: int) -> None:
        self.gap.max = min(LARGEST_GAP, len(self.explorer.clips[self.clip.value]) - 1)
        super()._fit_clip(frame)

    def _fit_dataset(self) -> None:
        super()._fit_dataset()
        self.estimator.options = self.explorer.estimators
        self.estimator.value = self.explorer.first().estimator


class LiveSystems(Live):
    """Notebook 07: two systems side by side over a clip."""

    def __init__(self, explorers: Mapping[str, Callable[[], SystemsExplorer]]) -> None:
        self.left = widgets.Dropdown(description="left", style=_LABEL)
        self.right = widgets.Dropdown(description="right", style=_LABEL)
        super().__init__(explorers, pair=(3, 6))
        self._compose([[self.left, self.right]], heard=[self.left, self.right])

    def choice(self) -> SystemsChoice:
        """What the controls say."""
        return SystemsChoice(self.clip.value, self.frame.value, self.left.value, self.right.value)

    def _draw(self) -> None:
        choice = self.choice()
        self.stage.show(self.explorer.panels(choice), self.pixel, self._details(choice))

    def _details(self, choice: SystemsChoice) -> str:
        spec = self.explorer.spec
        classes = legend(list(zip(spec.classes, spec.palette, strict=True)))
        if self.pixel is None:
            return f"{HINT} A click on the curves goes to that frame.{classes}"
        x, y = self.pixel_of(self.pixel)
        return value_table(f"Pixel ({x}, {y})", self.explorer.values(choice, x, y)) + classes

    def _fit_dataset(self) -> None:
        super()._fit_dataset()
        first = self.explorer.first()
        for control, name in ((self.left, first.left), (self.right, first.right)):
            control.options = self.explorer.systems
            control.value = name

    def _on_panel(self, panel: int, share: float) -> bool:
        choice = self.choice()
        if panel != len(self.stage.panels) - 1:
            return False
        self.frame.value = self.explorer.curves(choice.clip, choice.left, choice.right).frame_at(share)
        return True

"""What a long stream shows (notebook 07): tables, a picture and sentences from the file of `benchmarks/long_stream.py`.

A report holds "streams": title -> "data" in words, and what `sspcore.study.long_stream.long_streams` returns.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from sspcore.core.files import read_json
from sspcore.core.paths import REPOSITORY
from sspcore.report.scores import PERCENT
from sspcore.report.style import BLACK, CYCLE, figure, footnote, legend_below, origin_line, whole_numbers
from sspcore.report.tables import points
from sspcore.study.long_footage import UNDISTURBED

FILE = "long_stream.json"
COMMAND = f"python benchmarks/long_stream.py --json figures/{FILE}"
IMAGE = "Base"
COLUMNS = {
    "miou": "mIoU (%)", "miou_moving": "mIoU moving (%)", "tc": "TC (%)", "flicker": "flicker (%)", "changed": "changed (%)",
    "alpha": "mean alpha", "lag": "lag (frames)",
}
PLAIN = {"alpha": 2, "lag": 1}  # no shares of pixels -> digits after the point
Stream = Mapping[str, Any]


class Drift(NamedTuple):
    """How mIoU against the image model changes along a stream: points in 1,000 frames, and the ends of the interval."""

    slope: float
    low: float
    high: float

    def text(self) -> str:
        """The slope, and its interval in brackets."""
        return f"{self.slope:+.1f} ({self.low:+.1f} to {self.high:+.1f})".replace("-", "−")


def committed() -> dict[str, Any] | None:
    """The report that the repository holds; None where it has none."""
    path = REPOSITORY / "figures" / FILE
    return read_json(path) if path.is_file() else None


def missing() -> str:
    """What to say in place of a report."""
    return f"No long stream has been measured in this checkout; with a finished run of the demo: {COMMAND}"


def is_labelled(stream: Stream) -> bool:
    """Whether the footage has true labels."""
    return "miou" in _overall(stream, UNDISTURBED)[IMAGE]


def system_table(stream: Stream, condition: str = UNDISTURBED) -> dict[str, dict[str, Any]]:
    """System -> heading -> value, of the whole stream."""
    shown: dict[str, dict[str, Any]] = {}
    for name, values in _overall(stream, condition).items():
        shown[name] = {
            title: None if values[key] is None else round(values[key], PLAIN[key]) if key in PLAIN else 100 * values[key]
            for key, title in COLUMNS.items() if key in values
        }
        if (found := drift(stream, name)) is not None:
            shown[name]["drift of mIoU in 1,000 frames (points)"] = found.text()
    return shown


def condition_table(stream: Stream) -> dict[str, dict[str, Any]]:
    """Condition -> what happened to the stream, and what each system gains over the image model under it, in points."""
    shown: dict[str, dict[str, Any]] = {}
    scores = ("miou", "tc") if is_labelled(stream) else ("tc",)
    for condition, found in stream["conditions"].items():
        values = _overall(stream, condition)
        shown[condition] = {
            "frames": found["frames"],
            "cuts found": f"{found['cuts_found']} of {found['jumps']}" if found["jumps"] else None,
            "other cuts found": found["cuts_elsewhere"],
            "registrations failed": found["unregistered"],
        } | {
            f"{name}: {', '.join(PERCENT[key] for key in scores)}": ", ".join(
                points(_gain(values, name, key)) for key in scores
            )
            for name in values if name != IMAGE
        }
    return shown


def drift(stream: Stream, name: str) -> Drift | None:
    """A straight line through the windows; None of the image model, without labels, and with fewer than three windows."""
    windows = stream["conditions"][UNDISTURBED]
    gains = _window_gains(windows, name, "miou")
    if name == IMAGE or gains is None or np.isfinite(gains).sum() < 3:
        return None
    known = np.isfinite(gains)
    line = stats.linregress(np.array(windows["first_frames"])[known] / 1000, gains[known])
    reach = stats.t.ppf(0.975, known.sum() - 2) * line.stderr
    return Drift(float(line.slope), float(line.slope - reach), float(line.slope + reach))


def findings(stream: Stream) -> list[str]:
    """A sentence a system that has a drift, worked out from its interval."""
    sentences = []
    for name in _overall(stream, UNDISTURBED):
        if (found := drift(stream, name)) is not None:
            verdict = "it rises" if found.low > 0 else "it falls" if found.high < 0 else "no drift is seen"
            sentences.append(
                f"{name}: change of mIoU against {IMAGE} in 1,000 frames, in points, with its 95 % interval: {found.text()}; "
                f"{verdict}."
            )
    return sentences


def picture(stream: Stream, title: str, origin: Mapping[str, Any]) -> Figure:
    """Scores along the stream, a line a system, and what each gains over the image model under all conditions."""
    names = list(_overall(stream, UNDISTURBED))
    styles = _styles(names)
    labelled = is_labelled(stream)
    panels = (["miou"] if labelled else []) + ["tc", "changed", "alpha"] + (["lag", "conditions"] if labelled else [])
    made, axes = figure(9.6, 2.6 * -(-len(panels) // 2) + 0.9, -(-len(panels) // 2), 2, squeeze=False)
    for spare in axes.flat[len(panels):]:
        spare.remove()
    for panel, key in zip(axes.flat, panels, strict=False):  # three panels leave one over
        if key == "conditions":
            _draw_conditions(panel, stream, styles)
        else:
            _draw_windows(panel, stream["conditions"][UNDISTURBED], key, styles)
    legend_below(made, [Line2D([], [], label=name, **style) for name, style in styles.items()], 4)
    made.suptitle(f"{title}: windows of {stream['window']} frames")
    return footnote(made, origin_line({**origin, "data": stream["data"]}))


def _draw_windows(panel: Axes, windows: Mapping[str, Any], key: str, styles: Mapping[str, dict[str, Any]]) -> None:
    gain = key in ("miou", "tc")
    for name, style in styles.items():
        values = windows["systems"][name]["windows"].get(key)
        shown = _window_gains(windows, name, key) if gain else None if values is None else np.array(values, float)
        if shown is None or not np.isfinite(shown).any():
            continue
        scale = 100 if key == "changed" else 1
        panel.plot(windows["first_frames"], scale * shown, marker="o" if len(shown) == 1 else None, **style)
    title = f"{PERCENT[key]} above {IMAGE} (points)" if gain else COLUMNS[key]
    whole_numbers(panel)
    panel.set(xlabel="frame", ylabel=title.replace("changed", "labels changed"))
    if key == "alpha":
        panel.set_ylim(0, 1)
    elif not gain:
        panel.set_ylim(0, None)


def _draw_conditions(panel: Axes, stream: Stream, styles: Mapping[str, dict[str, Any]]) -> None:
    conditions = list(stream["conditions"])
    places = np.arange(len(conditions))
    for (name, style), aside in zip(styles.items(), np.linspace(-0.25, 0.25, len(styles)), strict=True):  # none hides another
        gains = [_gain(_overall(stream, condition), name, "miou") for condition in conditions]
        shown = [np.nan if gain is None else 100 * gain for gain in gains]
        panel.plot(places + aside, shown, **style | {"linestyle": "none", "marker": "o"})
    names = [textwrap.fill(condition, 12, break_long_words=False) for condition in conditions]
    panel.set_xticks(places, names, fontsize=8)
    panel.set(ylabel=f"{PERCENT['miou']} above {IMAGE} (points)", xlim=(-0.5, len(conditions) - 0.5))


def _styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Learned systems in colours, constant alphas dashed in greys, the image model black."""
    constants = [name for name in names if name.startswith("Constant")]
    greys = dict(zip(constants, np.linspace(0.75, 0.35, len(constants)), strict=True))
    colours = itertools.cycle(colour for colour in CYCLE if colour != BLACK)
    return {
        name: {"color": BLACK, "linewidth": 1.2} if name == IMAGE
        else {"color": str(greys[name]), "linestyle": "--", "linewidth": 1.4} if name in greys
        else {"color": next(colours), "linewidth": 1.8}
        for name in names
    }


def _overall(stream: Stream, condition: str) -> dict[str, dict[str, float | None]]:
    return {name: found["overall"] for name, found in stream["conditions"][condition]["systems"].items()}


def _gain(values: Mapping[str, Mapping[str, float | None]], name: str, key: str) -> float | None:
    new, old = values[name][key], values[IMAGE][key]
    return None if new is None or old is None else new - old


def _window_gains(windows: Mapping[str, Any], name: str, key: str) -> np.ndarray | None:
    """What a system gains over the image model in each window, in points; None where the score is not there."""
    new, old = (windows["systems"][one]["windows"].get(key) for one in (name, IMAGE))
    return None if new is None else 100 * (np.array(new, float) - np.array(old, float))

"""Pictures of notebook 10."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from sspcore.report.style import CYCLE, figure


def drift_plot(rollouts: dict[str, list[dict[str, Any]]], title: str) -> Figure:
    """Drift of an exported step over a rollout: pixels with another class, and the largest difference of the logits."""
    picture, (left, right) = figure(9.0, 3.2, 1, 2)
    for colour, (name, rows) in zip(CYCLE, rollouts.items(), strict=False):
        frames = [row["frame"] for row in rows]
        left.plot(frames, [100 * (1 - row["identical"]) for row in rows], color=colour, label=name)
        right.plot(frames, [max(row["logits_max_difference"], 1e-9) for row in rows], color=colour, label=name)
    left.set(xlabel="frame", ylabel="pixels with another class (%)", ylim=(-0.02, None))
    right.set(xlabel="frame", ylabel="largest difference of the logits", yscale="log")
    left.legend()
    picture.suptitle(title)
    return picture


def latency_bars(parts: dict[str, float], title: str) -> Figure:
    """Milliseconds of each part of a frame, as one bar a part."""
    picture, axes = figure(7.0, 0.4 * len(parts) + 1.2)
    names = list(parts)[::-1]
    bars = axes.barh(names, [parts[name] for name in names], color=CYCLE[0])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set(xlabel="median time of a frame (ms)", title=title)
    axes.grid(False, axis="y")
    return picture

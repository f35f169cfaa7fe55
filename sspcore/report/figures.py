"""Pictures from arrays: training, flicker, alpha, classes, streams by position."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from sspcore.core.classes import IGNORE, ClassSpec, colourise
from sspcore.metrics.records import warp_labels
from sspcore.report.grids import Panel, coloured_table, image_grid, in_rows, percent_texts
from sspcore.report.style import BLACK, BLUE, CYCLE, GREEN, ORANGE, VERMILION, class_legend, figure, legend_below, whole_numbers
from sspcore.report.tables import shown_names

Row = dict[str, Any]
DASHES = ("-", "--", ":")
FLICKER = np.array([255, 0, 255], np.uint8)  # magenta: in no palette, visible on all
LOSSES = {
    "ce": "cross entropy", "auxiliary": "auxiliary cross entropy", "tc": "temporal consistency loss $L_{tc}$",
    "kl": "KL to the teacher",
}
LOSS_TICKS = (1, 1.5, 2, 3, 4, 5, 7)  # within a power of ten
FROM = ("trained from the start", "going on from a trained system")
NO_LOSSES = ("lr", "seconds", "registration_fallback")  # what else a history holds


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]], title: str, going_on: Collection[str] = ()
) -> Figure:
    """Losses by epoch on a log scale, one panel a loss, one line a system.

    Args:
        histories: system -> an entry an epoch, loss -> value; NO_LOSSES and "total" are not drawn.
        going_on: systems that start from a trained one, where the others end: they have a panel of their own.
    """
    panels = _training_panels(histories, going_on)
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    picture, axes = figure(8.4, 2.9 * lines + 0.5 + 0.2 * -(-len(histories) // 4), lines, columns, squeeze=False)
    for spare in axes.flat[len(panels):]:
        spare.remove()
    styles = {
        system: {"color": CYCLE[k % len(CYCLE)], "linestyle": DASHES[k // len(CYCLE) % len(DASHES)]}
        for k, system in enumerate(histories)
    }
    for panel, (name, systems, about) in zip(axes.flat, panels, strict=False):  # an odd number leaves a panel over
        longest = max(len(histories[system]) for system in systems)
        for system in systems:
            values, mark = [entry[name] for entry in histories[system]], "o" if len(histories[system]) == 1 else None
            panel.plot(range(1, len(values) + 1), values, label=system, marker=mark, **styles[system])
        panel.set(xlabel="epoch", ylabel=LOSSES.get(name, name), xlim=(1, None), yscale="log")
        panel.set_title(about, fontsize=10)
        panel.yaxis.set_major_locator(LogLocator(subs=LOSS_TICKS))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
        whole_numbers(panel)
        if longest == 1:
            panel.set(xlim=(0.5, 1.5), xticks=[1])
    legend_below(picture, [Line2D([], [], label=system, **style) for system, style in styles.items()], 4)
    picture.suptitle(title)
    return picture


def _training_panels(
    histories: Mapping[str, Sequence[Mapping[str, float]]], going_on: Collection[str]
) -> list[tuple[str, list[str], str]]:
    """(loss, systems, what is said above) of each panel."""
    panels = []
    for name in dict.fromkeys(name for history in histories.values() for name in history[0]):
        if name in (*NO_LOSSES, "total"):
            continue
        systems = [system for system, history in histories.items() if name in history[0]]
        groups = [[system for system in systems if (system in going_on) == later] for later in (False, True)]
        panels += list(zip([name] * 2, groups, FROM, strict=True)) if all(groups) else [(name, systems, "")]
    return panels


def flicker_mask(labels: np.ndarray, previous: np.ndarray, flow_to_prev: np.ndarray) -> np.ndarray:
    """(H, W) bool: the label differs from the label of the same point in the frame before, where that is in view."""
    warped = warp_labels(previous, flow_to_prev)
    return (warped != labels) & (warped != IGNORE)


def flicker_image(
    labels: np.ndarray, previous: np.ndarray, flow_to_prev: np.ndarray, spec: ClassSpec
) -> tuple[np.ndarray, float]:
    """Labels in their colours with flicker in magenta (H, W, 3), and the share of pixels that flicker."""
    changed = flicker_mask(labels, previous, flow_to_prev)
    image = colourise(labels, spec)
    image[changed] = FLICKER
    return image, float(changed.mean())


def consecutive_strip(
    frames: Sequence[np.ndarray], predictions: Mapping[str, Sequence[np.ndarray]], flows_to_prev: Sequence[np.ndarray],
    truth: Sequence[np.ndarray | None], spec: ClassSpec, title: str,
) -> Figure:
    """Consecutive frames: the image, the truth where known, and each system's labels with flicker in magenta.

    Args:
        frames: n + 1 images (H, W, 3); the first only serves to see flicker in the second.
        predictions: system -> n + 1 label maps (H, W).
        flows_to_prev: n flows (2, H, W), frame k + 1 -> k.
        truth: n + 1 label maps or None.
    """
    shown = range(1, len(frames))
    rows = {"frame": [Panel(frames[k], "k" if k == 1 else f"k + {k - 1}") for k in shown]}
    blank, has_truth = np.full_like(frames[0], 255), any(truth[k] is not None for k in shown)
    if has_truth:
        rows["truth"] = [Panel(blank if truth[k] is None else colourise(truth[k], spec)) for k in shown]
    for name, labels in predictions.items():
        images = [flicker_image(labels[k], labels[k - 1], flows_to_prev[k - 1], spec) for k in shown]
        rows[name] = [Panel(image, note=f"{100 * share:.1f} % changed") for image, share in images]
    picture, _ = image_grid(list(rows.values()), title, list(rows), extra=0.5)
    class_legend(picture, spec, columns=7, more={"changed along the flow": "magenta"} | (
        {"not scored": "black"} if has_truth else {}
    ))
    return picture


def alpha_strip(frames: Sequence[np.ndarray], alphas: Sequence[np.ndarray], title: str) -> Figure:
    """Frames (H, W, 3) above, alpha (H, W), the weight of the past in 0..1, below, on one colour scale."""
    rows = [[Panel(frame) for frame in frames], [Panel(alpha, below=f"mean {alpha.mean():.2f}") for alpha in alphas]]
    return image_grid(rows, title, ("frame", "alpha"), bar="weight of the past")[0]


def evidence_panels(frame: np.ndarray, alpha: np.ndarray, channels: Mapping[str, np.ndarray], title: str) -> Figure:
    """A frame (H, W, 3), alpha (H, W), and what the similarity head sees beside the features (h, w), all in 0..1."""
    panels = [Panel(frame, "frame"), Panel(alpha, "alpha: weight of the past")]
    panels += [Panel(channel, name) for name, channel in channels.items()]
    return image_grid(in_rows(panels, 4), title, width=11.2, bar="all but the frame: 0 to 1")[0]


def teacher_panels(
    frame: np.ndarray, occluded: np.ndarray, labels: Mapping[str, tuple[np.ndarray, np.ndarray]], flow_to_prev: np.ndarray,
    truth: np.ndarray | None, spec: ClassSpec, title: str,
) -> Figure:
    """The later frame of a pair: where it is occluded in the other one, teacher labels with flicker in magenta, truth.

    Args:
        frame: (H, W, 3). occluded: (H, W) bool. truth: (H, W) or None.
        labels: name -> label maps (H, W) of the later and of the former frame.
        flow_to_prev: (2, H, W), from the later frame to the former.
    """
    panels = [Panel(overlay(frame, occluded), f"frame k: {100 * occluded.mean():.1f} % occluded ($M_{{occ}}$)")]
    for name, (current, previous) in labels.items():
        image, share = flicker_image(current, previous, flow_to_prev, spec)
        panels.append(Panel(image, f"{name}: {100 * share:.1f} % changed"))
    if truth is not None:
        panels.append(Panel(colourise(truth, spec), "exact labels"))
    picture, _ = image_grid(in_rows(panels, 2), title, width=8.4, extra=0.65)
    more = {"occluded, or changed along the flow": "magenta"} | ({} if truth is None else {"not scored": "black"})
    class_legend(picture, spec, columns=5, more=more)
    return picture


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image (H, W, 3), dimmed, with the mask (H, W) in magenta."""
    shown = (0.6 * image + 50).astype(np.uint8)
    shown[mask] = FLICKER
    return shown


def per_class(rows: Sequence[Row], title: str, column: str = "per_class_iou") -> Figure:
    """IoU (or TC) in percent by class, one line a system: a table in colours; a dash where there was nothing to score."""
    classes = list(rows[0][column])
    values = np.array([[np.nan if row[column][name] is None else 100 * row[column][name] for name in classes] for row in rows])
    picture, axes = figure(8.4, 0.3 * len(rows) + 1.7)
    names = shown_names(rows)
    drawn = coloured_table(axes, values, percent_texts(values), names, classes, values < 55, cmap="cividis", vmin=0, vmax=100)
    axes.set_title(title)
    picture.colorbar(drawn, ax=axes, label="IoU (%)" if column == "per_class_iou" else "TC (%)")
    return picture


def drift_plot(streams: Mapping[str, Mapping[str, np.ndarray]], controls: Sequence[str], title: str) -> Figure:
    """mIoU against the first stream's, and share of labels changed, over frames since the start.

    Args:
        streams: name -> "miou" and "changed" (T,), NaN where nothing is known: the image model, the recurrent system, others.
        controls: names among the others that are plain averaging, at most two.
    """
    reference, base = next(iter(streams.items()))
    picture, (above, below) = figure(8.4, 6.6, 2, 1, sharex=True)
    averaged = iter(((BLUE, ":"), (ORANGE, "-.")))
    for k, (name, stream) in enumerate(streams.items()):
        first = ((BLACK, "-"), (VERMILION, "-"))[k:k + 1]
        colour, dash = first[0] if first else next(averaged) if name in controls else (GREEN, "--")
        for axes, values in ((above, stream["miou"] - base["miou"]), (below, stream["changed"])):
            known = np.flatnonzero(~np.isnan(values))
            axes.plot(known, 100 * values[known], color=colour, linestyle=dash, marker="o", markersize=3, linewidth=1.6,
                      label=name, zorder=3 if colour == GREEN else 2)
    above.set(ylabel=f"mIoU over {reference}'s\non the same frames (points)")
    below.set(ylabel="labels changed along the flow\nsince the frame before (%)", xlabel="frames since the start of the clip")
    below.set(ylim=(0, None))
    whole_numbers(below)
    legend_below(picture, below.get_legend_handles_labels()[0], 3)
    picture.suptitle(title)
    return picture


def rollout_plot(rollouts: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> Figure:
    """Drift of an exported step over a rollout: pixels with another class, and the largest difference of the logits."""
    picture, (left, right) = figure(9.0, 3.2, 1, 2)
    for colour, (name, rows) in zip(CYCLE, rollouts.items(), strict=False):
        frames = [row["frame"] for row in rows]
        left.plot(frames, [100 * (1 - row["identical"]) for row in rows], color=colour, label=name)
        right.plot(frames, [max(row["logits_max_difference"], 1e-9) for row in rows], color=colour, label=name)
    for panel in (left, right):
        whole_numbers(panel)
    left.set(xlabel="frame", ylabel="pixels with another class (%)", ylim=(-0.02, None))
    right.set(xlabel="frame", ylabel="largest difference of the logits", yscale="log")
    left.legend()
    picture.suptitle(title)
    return picture


def latency_bars(parts: Mapping[str, float], title: str) -> Figure:
    """Milliseconds of each part of a frame, as one bar a part."""
    picture, axes = figure(7.0, 0.4 * len(parts) + 1.2)
    names = list(parts)[::-1]
    bars = axes.barh(names, [parts[name] for name in names], color=CYCLE[0])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set(xlabel="median time of a frame (ms)", title=title)
    axes.grid(False, axis="y")
    return picture

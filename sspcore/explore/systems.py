"""Two systems side by side over a clip: labels, flicker, alpha, scores frame by frame; the explorer of notebook 07."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import ImageColor
from torch import Tensor

from sspcore.core.classes import IGNORE, ClassSpec, colourise
from sspcore.explore.pair import estimated_flow
from sspcore.explore.panels import Explorer, Panel, Scale, marked, nothing, numbers, percent
from sspcore.metrics.confusion import confusion, iou_per_class, mean_present, pair_counts
from sspcore.metrics.records import warp_labels
from sspcore.report.figures import flicker_mask
from sspcore.report.style import BLUE, VERMILION, figure, whole_numbers

ALPHA = Scale("viridis", 0, 1, "weight of the past")
LEFT, RIGHT = BLUE, VERMILION
BOTH_RIGHT, BOTH_WRONG = (235, 235, 235), (40, 40, 40)

Maps = Sequence[np.ndarray]


@dataclass(frozen=True)
class SegmentedClip:
    """A clip with the predictions of several systems. Frames, labels and flows may be made when they are asked for.

    Attributes:
        frames: (H, W, 3) uint8 RGB each: an array (T, H, W, 3), a list, or any sequence.
        truth: label maps (H, W), None where a frame has none.
        truth_is: what the truth is, one word.
        predict: system -> its label maps (H, W), and its alphas (H, W) or None.
        flow: flow(source, target) between neighbours, (2, H, W) in pixels, for flicker.
        metric_flow: the same, for TC.
    """

    name: str
    frames: Maps
    truth: Sequence[np.ndarray | None]
    predict: Callable[[str], tuple[Maps, Maps | None]]
    flow: Callable[[int, int], Tensor]
    metric_flow: Callable[[int, int], Tensor]
    truth_is: str = "label"

    @classmethod
    def of_arrays(
        cls, name: str, frames: Maps, labels: Mapping[str, Maps], alphas: Mapping[str, Maps] | None = None,
        truth: Sequence[np.ndarray | None] | None = None, flow: str = "dis-medium",
    ) -> SegmentedClip:
        """A clip of frames and label maps by system; alphas and truth where they are known; flow is estimated."""
        between, known = lru_cache(maxsize=256)(estimated_flow(flow, frames)), alphas or {}
        unlabelled = [None] * len(frames)
        return cls(name, frames, truth or unlabelled, lambda system: (labels[system], known.get(system)), between, between)


class Track:
    """One system over one clip of N frames.

    Attributes:
        labels: N label maps (H, W) as predicted. alpha: N maps (H, W), weight of the past; None for a system without.
        flicker: N masks (H, W): changed along the flow since the frame before; none on the first frame.
        tc: (N,), TC of the pair of frames that ends here, NaN on the first frame.
        miou: (N,), over the classes present in the frame alone, NaN where no truth is known.
    """

    def __init__(self, clip: SegmentedClip, system: str, n_classes: int) -> None:
        self.labels, self.alpha = clip.predict(system)
        self.flicker, tc, miou = [np.zeros(self.labels[0].shape, bool)], [np.nan], []
        for k in range(1, len(self.labels)):
            now, before = self.labels[k], self.labels[k - 1]
            self.flicker.append(flicker_mask(now, before, clip.flow(k, k - 1).numpy()))
            counts = pair_counts(before, warp_labels(now, clip.metric_flow(k - 1, k).numpy()), n_classes)
            tc.append(mean_present(iou_per_class(counts[:n_classes, :n_classes])))
        for labels, truth in zip(self.labels, clip.truth, strict=True):
            miou.append(np.nan if truth is None else mean_present(iou_per_class(confusion(labels, truth, n_classes))))
        self.tc, self.miou = np.array(tc), np.array(miou)


class Curves:
    """TC and mIoU of tracks, frame by frame, as a picture (h, w, 3) in which a frame can be found."""

    def __init__(self, tracks: Mapping[str, Track]) -> None:
        picture, axes = figure(8.4, 2.0, 1, 2)  # letters that can be read where the picture is 450 pixels wide
        for (name, track), colour, style in zip(tracks.items(), (LEFT, RIGHT), ("-", "--"), strict=False):
            for panel, values in zip(axes, (track.tc, track.miou), strict=True):
                known = np.flatnonzero(~np.isnan(values))
                panel.plot(known, 100 * values[known], style, color=colour, marker=".", markersize=4, label=name)
        n_frames = len(track.labels)
        for panel, title in zip(axes, ("TC (%)", "mIoU (%)"), strict=True):
            whole_numbers(panel)
            panel.set(xlim=(-0.5, n_frames - 0.5), ylabel=title, xlabel="frame")
        if all(np.isnan(track.miou).all() for track in tracks.values()):
            axes[1].set_yticks([])
            axes[1].text(0.5, 0.5, "no labels here", transform=axes[1].transAxes, ha="center", va="center")
        axes[0].legend(loc="best", fontsize=8)
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        self.image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        # (axes, N): the pixel column of every frame; the rows between which a curve lies
        self.columns = np.array([[round(panel.transData.transform((k, 0))[0]) for k in range(n_frames)] for panel in axes])
        box = axes[0].get_window_extent()
        self.rows = slice(len(self.image) - round(box.y1), len(self.image) - round(box.y0))

    def with_cursor(self, frame: int) -> np.ndarray:
        """The picture with a line at that frame."""
        shown = self.image.copy()
        for column in self.columns[:, frame]:
            shown[self.rows, column - 1:column + 1] = 0
        return shown

    def frame_at(self, share: float) -> int:
        """The frame nearest to a place, given as a share of the picture's width."""
        apart = np.abs(self.columns - share * self.image.shape[1])
        return int(np.unravel_index(apart.argmin(), apart.shape)[1])


class SystemsExplorer(Explorer):
    """Two systems on a clip; what was worked out is kept.

    Args:
        clips: one or more.
        classes: names and colours of the labels.
        systems: names to choose from, two or more for a comparison.
        origin: where the clips are from, for the heading.
        pair: the two systems to begin with; None: the first and the last.
    A choice has `clip`, `frame`, and the systems `left` and `right`.
    """

    compared = (3, 6)

    def __init__(
        self, clips: Sequence[SegmentedClip], classes: ClassSpec, systems: Sequence[str], origin: str,
        pair: tuple[str, str] | None = None,
    ) -> None:
        self.clips, self.classes, self.systems, self.origin = clips, classes, list(systems), origin
        self._pair = pair or (systems[0], systems[-1])
        # a clip of the paper's size takes hundreds of megabytes
        self.track = lru_cache(maxsize=8)(lambda clip, system: Track(self.clips[clip], system, classes.n_classes))
        self.curves = lru_cache(maxsize=24)(lambda clip, *names: Curves({name: self.track(clip, name) for name in names}))

    def first(self) -> dict[str, Any]:
        truth, middle = self.clips[0].truth, len(self.clips[0].frames) // 2
        outwards = sorted(range(len(truth)), key=lambda k: abs(k - middle))  # of one's own data few frames have a label
        frame = next((k for k in outwards if truth[k] is not None), middle)
        return {"clip": 0, "frame": frame, "left": self._pair[0], "right": self._pair[1]}

    def controls(self, clip: int, **_: Any) -> dict[str, Any]:
        return {"frame": (0, len(self.clips[clip].frames) - 1), "left": self.systems, "right": self.systems}

    def frame_at(self, panel: int, share: float, **choice: Any) -> int | None:
        return self.curves(choice["clip"], choice["left"], choice["right"]).frame_at(share) if panel == 9 else None

    def panels(self, clip: int, frame: int, left: str, right: str) -> list[Panel]:
        shown, truth = self.clips[clip], self.clips[clip].truth[frame]
        image, curves = shown.frames[frame], self.curves(clip, left, right).with_cursor(frame)
        return [
            Panel("frame", image, f"{shown.name}, position {frame}"),
            Panel("truth", nothing(image.shape[:2]), "this frame has no label") if truth is None
            else Panel("truth", colourise(truth, self.classes), shown.truth_is),
            _agreement_panel(*((name, self.track(clip, name).labels[frame]) for name in (left, right)), truth),
            *self._system_panels(left, clip, frame),
            *self._system_panels(right, clip, frame),
            Panel("TC of the pair that ends here, and mIoU of the frame", curves, wide=True),
        ]

    def values(self, x: int, y: int, clip: int, frame: int, left: str, right: str) -> list[tuple[str, str]]:
        truth = self.clips[clip].truth[frame]
        rows = [
            ("RGB", numbers(self.clips[clip].frames[frame][y, x])),
            ("truth", "not known" if truth is None else self._class(truth[y, x])),
        ]
        for name in dict.fromkeys((left, right)):
            track = self.track(clip, name)
            rows.append((name, self._class(track.labels[frame][y, x])))
            if track.flicker[frame][y, x]:
                rows.append(("", "changed along the flow"))
            if track.alpha is not None:
                rows.append((f"{name}: alpha", f"{track.alpha[frame][y, x]:.3f}"))
        return rows

    def _class(self, label: int) -> str:
        return "ignored" if label == IGNORE else self.classes.classes[label]

    def _system_panels(self, name: str, clip: int, k: int) -> list[Panel]:
        track = self.track(clip, name)
        labels = colourise(track.labels[k], self.classes)
        miou = "" if np.isnan(track.miou[k]) else f"mIoU of this frame {100 * track.miou[k]:.1f} %"
        changed = f"magenta: {100 * track.flicker[k].mean():.1f} % changed; TC {100 * track.tc[k]:.1f} %"
        weight = Panel(f"{name}: alpha", nothing(labels.shape[:2]), "this system has none")
        if track.alpha is not None:
            alpha = track.alpha[k].astype(np.float32)
            weight = Panel(f"{name}: alpha", ALPHA.paint(alpha), f"mean {alpha.mean():.2f}", ALPHA)
        return [
            Panel(f"{name}: labels", labels, miou),
            Panel(f"{name}: flicker", marked(labels // 2 + 110, track.flicker[k]), changed if k else "the first frame"),
            weight,
        ]


def _agreement_panel(left: tuple[str, np.ndarray], right: tuple[str, np.ndarray], truth: np.ndarray | None) -> Panel:
    """Where one of two systems is right and the other is not; without truth, where their labels differ."""
    (name_a, a), (name_b, b) = left, right
    if truth is None:
        return Panel("where they differ", marked(nothing(a.shape), a != b, BOTH_WRONG), percent(a != b))
    ignored = truth == IGNORE
    image = marked(nothing(a.shape), ~ignored, BOTH_WRONG)
    image[b == truth] = ImageColor.getrgb(RIGHT)
    image[a == truth] = ImageColor.getrgb(LEFT)
    image[((a == truth) & (b == truth)) | ignored] = BOTH_RIGHT
    scored = max(int((~ignored).sum()), 1)
    only = [100 * int(((x == truth) & (y != truth) & ~ignored).sum()) / scored for x, y in ((a, b), (b, a))]
    note = f"blue: only {name_a}, {only[0]:.1f} %; vermilion: only {name_b}, {only[1]:.1f} %"
    return Panel("who is right (black: neither)", image, note)

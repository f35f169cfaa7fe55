"""Two systems side by side over a clip: labels, flicker, alpha, scores frame by frame; the explorer of notebook 07."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sspcore.core.classes import IGNORE, colourise
from sspcore.data.clips import Clip
from sspcore.data.truth import true_labels
from sspcore.explore.panels import Panel, Scale, nothing, paint, rgb
from sspcore.metrics.confusion import confusion, iou_per_class, mean_present, pair_counts
from sspcore.metrics.records import warp_labels
from sspcore.models.systems import system
from sspcore.report.figures import FLICKER, flicker_mask
from sspcore.report.style import BLUE, VERMILION, figure
from sspcore.study import Study

ALPHA = Scale("viridis", 0, 1, "weight of the past")
LEFT, RIGHT = BLUE, VERMILION
BOTH_RIGHT, BOTH_WRONG = (235, 235, 235), (40, 40, 40)


@dataclass(frozen=True)
class SystemsChoice:
    """What the sliders of notebook 07 say: position of the validation clip, of the frame in it, and two systems."""

    clip: int
    frame: int
    left: str
    right: str


@dataclass(frozen=True)
class Track:
    """One system over one clip of N frames.

    Attributes:
        labels: N label maps (H, W) as predicted.
        flicker: N masks (H, W): changed along the flow since the frame before; none on the first frame.
        alpha: N maps (H, W) float16, weight of the past; None for a system that has none.
        tc: (N,), TC of the pair of frames that ends here, NaN on the first frame.
        miou: (N,), over the classes present in the frame alone, NaN where no truth is known.
    """

    labels: list[np.ndarray]
    flicker: list[np.ndarray]
    alpha: list[np.ndarray] | None
    tc: np.ndarray
    miou: np.ndarray


@dataclass(frozen=True)
class Curves:
    """A picture of curves (h, w, 3), and where its frames lie: columns (axes, N) in pixels, rows (top, bottom)."""

    image: np.ndarray
    columns: np.ndarray
    rows: tuple[int, int]

    def with_cursor(self, frame: int) -> np.ndarray:
        """The picture with a line at that frame."""
        shown, (top, bottom) = self.image.copy(), self.rows
        for column in self.columns[:, frame]:
            shown[top:bottom, column - 1:column + 1] = 0
        return shown

    def frame_at(self, share: float) -> int:
        """The frame nearest to a place, given as a share of the picture's width."""
        apart = np.abs(self.columns - share * self.image.shape[1])
        return int(np.unravel_index(apart.argmin(), apart.shape)[1])


class SystemsExplorer:
    """The explorer's state: trained systems on the validation clips of one data set; what was worked out is kept.

    Args:
        study: gives predictions, flow and truth; what is missing is trained and predicted.
        dataset: "uavid" or "ruralscapes".
        systems: names to choose from, two or more for a comparison.
    """

    columns = 3

    def __init__(self, study: Study, dataset: str, systems: list[str]) -> None:
        self.study, self.dataset = study, dataset
        self.spec = study.spec(dataset)
        self.size = study.profile.input_size
        self.clips: list[Clip] = study.clips(dataset, "val")
        self.systems = list(systems)
        self.origin = f"{self.spec.title}, {study.data_origin}"
        self._truth_root = study.truth_root(dataset)
        self._flows = study.flows(dataset)
        self._metric_flows = study.flows(dataset, study.profile.metric_flow)
        self.track = lru_cache(maxsize=8)(self._track)  # a clip of the paper's size takes hundreds of megabytes
        self.curves = lru_cache(maxsize=24)(self._curves)
        self._truth = lru_cache(maxsize=256)(self._read_truth)

    def first(self) -> SystemsChoice:
        """The first system beside the last one that has an alpha (or the last), in the middle of the first clip."""
        learned = [name for name in self.systems if system(name).options is not None]
        return SystemsChoice(0, len(self.clips[0]) // 2, self.systems[0], (learned or self.systems)[-1])

    def panels(self, choice: SystemsChoice) -> list[Panel]:
        """Ten panels: the frame, its truth and who is right; labels, flicker and alpha of each system; the curves."""
        clip, k = self.clips[choice.clip], choice.frame
        truth = self._truth(choice.clip, k)
        if truth is None:
            shown = Panel("truth", nothing(self.size), "this frame has no label")
        else:
            shown = Panel("truth", colourise(truth, self.spec), "exact" if self._truth_root is not None else "label")
        curves = self.curves(choice.clip, choice.left, choice.right)
        return [
            Panel("frame", clip.frame(k, self.size), f"{clip.name}, position {k}"),
            shown,
            self._agreement_panel(choice, truth),
            *self._system_panels(choice.left, choice.clip, k),
            *self._system_panels(choice.right, choice.clip, k),
            Panel("TC of the pair that ends here, and mIoU of the frame", curves.with_cursor(k), wide=True),
        ]

    def values(self, choice: SystemsChoice, x: int, y: int) -> list[tuple[str, str]]:
        """What is known of pixel (x, y): rows (name, value)."""
        k, truth = choice.frame, self._truth(choice.clip, choice.frame)
        rgb = ", ".join(str(value) for value in self.clips[choice.clip].frame(k, self.size)[y, x].tolist())
        rows = [("RGB", rgb), ("truth", "not known" if truth is None else self._class(truth[y, x]))]
        for name in dict.fromkeys((choice.left, choice.right)):
            track = self.track(choice.clip, name)
            rows.append((name, self._class(track.labels[k][y, x])))
            if track.flicker[k][y, x]:
                rows.append(("", "changed along the flow"))
            if track.alpha is not None:
                rows.append((f"{name}: alpha", f"{track.alpha[k][y, x]:.3f}"))
        return rows

    def _class(self, label: int) -> str:
        return "ignored" if label == IGNORE else self.spec.classes[label]

    def _system_panels(self, name: str, number: int, k: int) -> list[Panel]:
        track = self.track(number, name)
        labels = colourise(track.labels[k], self.spec)
        flicker = labels // 2 + 110
        flicker[track.flicker[k]] = FLICKER
        miou = "" if np.isnan(track.miou[k]) else f"mIoU of this frame {100 * track.miou[k]:.1f} %"
        changed = "the first frame" if k == 0 else (
            f"magenta: {100 * track.flicker[k].mean():.1f} % changed; TC {100 * track.tc[k]:.1f} %"
        )
        if track.alpha is None:
            weight = Panel(f"{name}: alpha", nothing(self.size), "this system has none")
        else:
            alpha = track.alpha[k].astype(np.float32)
            weight = Panel(f"{name}: alpha", paint(alpha, ALPHA), f"mean {alpha.mean():.2f}", ALPHA)
        return [Panel(f"{name}: labels", labels, miou), Panel(f"{name}: flicker", flicker, changed), weight]

    def _agreement_panel(self, choice: SystemsChoice, truth: np.ndarray | None) -> Panel:
        left, right = (self.track(choice.clip, name).labels[choice.frame] for name in (choice.left, choice.right))
        if truth is None:
            image = nothing(self.size)
            image[left != right] = BOTH_WRONG
            return Panel("where they differ", image, f"{100 * (left != right).mean():.1f} % of pixels")
        image = np.empty((*self.size, 3), np.uint8)
        image[:] = BOTH_WRONG
        image[right == truth] = rgb(RIGHT)
        image[left == truth] = rgb(LEFT)
        image[((left == truth) & (right == truth)) | (truth == IGNORE)] = BOTH_RIGHT
        scored = max(int((truth != IGNORE).sum()), 1)
        only = [100 * int(((a == truth) & (b != truth)).sum()) / scored for a, b in ((left, right), (right, left))]
        note = f"blue: only {choice.left}, {only[0]:.1f} %; vermilion: only {choice.right}, {only[1]:.1f} %"
        return Panel("who is right (black: neither)", image, note)

    def _track(self, number: int, name: str) -> Track:
        clip, n = self.clips[number], self.spec.n_classes
        labels = self.study.label_maps(name, self.dataset, clip)
        flicker, tc = [np.zeros(self.size, bool)], [np.nan]
        for k in range(1, len(clip)):
            flicker.append(flicker_mask(labels[k], labels[k - 1], self._flows.between(clip, k, k - 1).numpy()))
            warped = warp_labels(labels[k], self._metric_flows.between(clip, k - 1, k).numpy())
            tc.append(mean_present(iou_per_class(pair_counts(labels[k - 1], warped, n)[:n, :n])))
        miou = []
        for k in range(len(clip)):
            truth = self._truth(number, k)
            miou.append(np.nan if truth is None else mean_present(iou_per_class(confusion(labels[k], truth, n))))
        return Track(labels, flicker, self._alpha(name, clip), np.array(tc), np.array(miou))

    def _alpha(self, name: str, clip: Clip) -> list[np.ndarray] | None:
        if system(name).options is None:
            return None
        results = self.study.segment(name, self.dataset, clip)
        return [result.state.alpha[0, 0].cpu().numpy().astype(np.float16) for result in results]

    def _read_truth(self, number: int, k: int) -> np.ndarray | None:
        return true_labels(self.clips[number], k, self.size, self._truth_root)

    def _curves(self, number: int, left: str, right: str) -> Curves:
        picture, axes = figure(11.2, 2.1, 1, 2)
        for name, colour, style in ((left, LEFT, "-"), (right, RIGHT, "--")):
            track = self.track(number, name)
            for panel, values in zip(axes, (track.tc, track.miou), strict=True):
                known = np.flatnonzero(~np.isnan(values))
                panel.plot(known, 100 * values[known], style, color=colour, marker=".", markersize=4, label=name)
        for panel, title in zip(axes, ("TC (%)", "mIoU (%)"), strict=True):
            panel.set(xlim=(-0.5, len(self.clips[number]) - 0.5), ylabel=title, xlabel="frame")
        axes[0].legend(loc="best", fontsize=8)
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        columns = np.array([
            [round(panel.transData.transform((k, 0))[0]) for k in range(len(self.clips[number]))] for panel in axes
        ])
        box = axes[0].get_window_extent()
        return Curves(image, columns, (image.shape[0] - round(box.y1), image.shape[0] - round(box.y0)))

"""Two frames of a clip and all that this library says of the motion between them: the explorer of notebook 02."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from sspcore.core.images import to_tensor
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_motion
from sspcore.explore.panels import NOTHING, Panel, Scale, inset, nothing, paint, rgb
from sspcore.motion.flow import RAFT_WEIGHTS
from sspcore.motion.geometry import (
    homography_to_flow,
    occlusion_mask,
    pixel_grid,
    sample,
    sampling_homography,
    soft_occlusion,
    warp_by_flow,
    warp_by_homography,
)
from sspcore.motion.registration import Registration, build_registrator
from sspcore.report.figures import FLICKER as MAGENTA
from sspcore.report.motion import flow_picture, flow_wheel, overlay, precision_recall
from sspcore.report.style import GREEN, VERMILION
from sspcore.study import Study

WHEEL = flow_wheel()
EXACT, DIS, RAFT = "exact", ("dis-fast", "dis-medium"), "raft-20"
DIFFERENCE = Scale("magma", 0, 80, "grey levels")
SOFT = Scale("viridis", 0, 1, "1: the frames look alike")
APART = Scale("cividis", 0, 4, "pixels")
_ENLARGED = 2  # points and tracks are drawn on a larger picture: at the size of a pixel they could not be told apart


@dataclass(frozen=True)
class Choice:
    """What the sliders of notebook 02 say.

    Attributes:
        clip: position among the validation clips.
        frame: position k in the clip, at least `gap`.
        gap: the other frame is k - gap.
        estimator: of flow, one of `PairExplorer.estimators`.
        c1, c2: constants of M_occ; c2 in square pixels.
    """

    clip: int = 0
    frame: int = 1
    gap: int = 1
    estimator: str = EXACT
    c1: float = 0.01
    c2: float = 0.5


@dataclass(frozen=True)
class Motion:
    """Motion between frame k and an earlier one; flows (2, H, W) are NaN where a composed exact flow is not known."""

    flow_to_prev: Tensor
    flow_from_prev: Tensor
    exact_occlusion: np.ndarray | None
    registration: Registration


@dataclass(frozen=True)
class PairView:
    """Everything worked out for one choice; images (H, W, 3) uint8, masks (H, W) bool.

    warped, valid: k - gap brought into k by flow, and where it has a source; soft: O (H, W), 0 where not valid.
    occluded: M_occ; returned: (2, H, W), the flow back, read where the flow leads.
    registered, registered_valid: k - gap brought into k by the homography; flow_of_H: (2, H, W), its displacement.
    """

    choice: Choice
    current: np.ndarray
    previous: np.ndarray
    motion: Motion
    warped: np.ndarray
    valid: np.ndarray
    soft: np.ndarray
    occluded: np.ndarray
    returned: np.ndarray
    registered: np.ndarray
    registered_valid: np.ndarray
    flow_of_H: np.ndarray


class PairExplorer:
    """The explorer's state: the clips of one data set, and flows that were estimated already.

    Args:
        study: gives clips, flow and truth; flow is kept in its cache on disk.
        dataset: "uavid" or "ruralscapes".
    """

    columns = 3

    def __init__(self, study: Study, dataset: str) -> None:
        self.size = study.profile.input_size
        self.clips: list[Clip] = study.clips(dataset, "val")
        self.origin = f"{study.spec(dataset).title}, {study.data_origin}"
        self._truth = study.truth_root(dataset)
        offered = (EXACT,) * (self._truth is not None) + DIS + (RAFT,) * RAFT_WEIGHTS.exists()
        self.estimators: tuple[str, ...] = tuple(dict.fromkeys((*offered, study.profile.flow)))
        self._default = study.profile.flow
        self._stores = lru_cache(maxsize=None)(lambda name: study.flows(dataset, name))
        self._registrator = build_registrator(study.profile.registration)
        self._motion = lru_cache(maxsize=64)(self._estimate)
        self._step = lru_cache(maxsize=64)(
            lambda number, source, target: exact_motion(self._truth, self.clips[number], source, target, self.size)
        )

    def first(self) -> Choice:
        """The choice to begin with: the middle of the first clip, with the flow that the study itself uses."""
        return Choice(frame=len(self.clips[0]) // 2, estimator=self._default)

    def view(self, choice: Choice) -> PairView:
        """Work out everything for one choice. Raises: ValueError if the frame before lies outside the clip."""
        clip = self.clips[choice.clip]
        before = choice.frame - choice.gap
        if choice.gap < 1 or before < 0 or choice.frame >= len(clip):
            raise ValueError(f"frames {before} and {choice.frame} of {clip.name}: give two of its {len(clip)} in order")
        current, previous = clip.frame(choice.frame, self.size), clip.frame(before, self.size)
        motion = self._motion(choice.clip, choice.frame, choice.gap, choice.estimator)
        there, back = motion.flow_to_prev[None], motion.flow_from_prev[None]
        image = _image_tensor(previous)
        warped, valid = warp_by_flow(image, there)
        frame, frame_before = to_tensor(current)[None], to_tensor(previous)[None]
        soft = soft_occlusion(frame, warp_by_flow(frame_before, there)[0]) * valid
        H_prev_to_cur = torch.from_numpy(motion.registration.H_prev_to_cur)[None]
        registered, registered_valid = warp_by_homography(image, H_prev_to_cur)
        return PairView(
            choice, current, previous, motion,
            warped=_to_image(warped), valid=valid[0, 0].numpy(), soft=soft[0, 0].numpy(),
            occluded=occlusion_mask(there, back, choice.c1, choice.c2)[0, 0].numpy(),
            returned=warp_by_flow(back, there)[0][0].numpy(),
            registered=_to_image(registered), registered_valid=registered_valid[0, 0].numpy(),
            flow_of_H=homography_to_flow(sampling_homography(H_prev_to_cur), self.size)[0].numpy(),
        )

    def panels(self, view: PairView) -> list[Panel]:
        """The twelve panels, three a row."""
        before = f"frame k−{view.choice.gap}"
        by_flow = _difference(view.warped, view.current, view.valid)
        by_homography = _difference(view.registered, view.current, view.registered_valid)
        return [
            Panel("frame k", view.current, f"{self.clips[view.choice.clip].name}, position {view.choice.frame}"),
            Panel(before, view.previous, f"position {view.choice.frame - view.choice.gap}"),
            self._flow_panel(view),
            Panel(f"{before} warped by flow", _marked(view.warped, ~view.valid),
                  f"magenta: no source, {_percent(~view.valid)}"),
            Panel("difference to k, by flow", paint(by_flow, DIFFERENCE), _mean(by_flow), DIFFERENCE),
            Panel("soft mask O", paint(view.soft, SOFT), f"mean {view.soft.mean():.2f}", SOFT),
            self._matches_panel(view),
            Panel(f"{before} warped by homography", _marked(view.registered, ~view.registered_valid),
                  f"magenta: no source, {_percent(~view.registered_valid)}"),
            Panel("difference to k, by homography", paint(by_homography, DIFFERENCE), _mean(by_homography), DIFFERENCE),
            self._mask_panel(view),
            self._exact_panel(view),
            self._parallax_panel(view),
        ]

    def values(self, view: PairView, x: int, y: int) -> list[tuple[str, str]]:
        """What is known of pixel (x, y) of frame k: rows (name, value)."""
        before, exact = f"frame k−{view.choice.gap}", view.motion.exact_occlusion
        there, back, mine = view.motion.flow_to_prev[:, y, x].numpy(), view.returned[:, y, x], view.flow_of_H[:, y, x]
        closing = float(np.square(there + back).sum())
        bound = view.choice.c1 * float(np.square(there).sum() + np.square(back).sum()) + view.choice.c2
        sign = "≤" if closing <= bound else ">"
        return [
            ("RGB in frame k", _rgb(view.current[y, x])),
            (f"RGB in {before}, same pixel", _rgb(view.previous[y, x])),
            (f"RGB in {before}, where flow leads", _rgb(view.warped[y, x]) if view.valid[y, x] else "no source"),
            (f"RGB in {before}, where H leads", _rgb(view.registered[y, x]) if view.registered_valid[y, x] else "no source"),
            ("flow", _vector(there)),
            ("homography's displacement", _vector(mine)),
            ("flow back, read there", _vector(back)),
            ("M_occ: ‖sum‖² and bound", f"{closing:.2f} {sign} {bound:.2f} px²"),
            ("M_occ says", "occluded" if view.occluded[y, x] else "visible"),
            ("truth says", "not known" if exact is None else "occluded" if exact[y, x] else "visible"),
            ("O", f"{view.soft[y, x]:.3f}"),
        ]

    def _estimate(self, number: int, frame: int, gap: int, estimator: str) -> Motion:
        clip, before = self.clips[number], frame - gap
        registration = self._registrator(clip.frame(before, self.size), clip.frame(frame, self.size))
        hidden = self._step(number, frame, before)[1].numpy() if self._truth is not None and gap == 1 else None
        if estimator == EXACT:
            return Motion(self._exact(number, frame, before), self._exact(number, before, frame), hidden, registration)
        store = self._stores(estimator)
        return Motion(store.between(clip, frame, before), store.between(clip, before, frame), hidden, registration)

    def _exact(self, number: int, source: int, target: int) -> Tensor:
        """Exact flow (2, H, W), composed of steps between neighbours; NaN where the point is hidden on the way."""
        grid = pixel_grid(*self.size)
        total, known = torch.zeros_like(grid), torch.ones(1, 1, *self.size, dtype=torch.bool)
        hidden = torch.zeros_like(known)
        direction = 1 if target > source else -1
        for position in range(source, target, direction):
            known &= ~hidden
            flow, hidden_next = self._step(number, position, position + direction)
            # nearest: between the flows of two surfaces lies the flow of neither
            step, inside = sample(flow[None], grid + total, "nearest")
            hidden = sample(hidden_next[None, None].float(), grid + total, "nearest")[0] > 0
            known &= inside
            total = total + step
        return total.masked_fill(~known, float("nan"))[0]

    def _flow_panel(self, view: PairView) -> Panel:
        flow = view.motion.flow_to_prev
        known = torch.isfinite(flow).all(0)
        picture = flow_picture(flow.nan_to_num())
        picture[~known.numpy()] = NOTHING
        longest = float(flow.nan_to_num().norm(dim=0).max())
        note = f"{view.choice.estimator}; the wheel's rim is {longest:.1f} px"
        if not known.all():
            note += "; grey: hidden on the way"
        return Panel(f"flow k to k−{view.choice.gap}", inset(picture, WHEEL), note)

    def _mask_panel(self, view: PairView) -> Panel:
        note, exact = _percent(view.occluded), view.motion.exact_occlusion
        if exact is not None:
            precision, recall = precision_recall(view.occluded, exact)
            note += f"; precision {precision:.2f}, recall {recall:.2f}"
        return Panel("hard mask M_occ", overlay(view.current, view.occluded), note)

    def _exact_panel(self, view: PairView) -> Panel:
        exact = view.motion.exact_occlusion
        if exact is not None:
            return Panel("exact occlusion", overlay(view.current, exact), _percent(exact))
        why = "no exact truth for real data" if self._truth is None else "known between neighbours only: take gap 1"
        return Panel("exact occlusion", nothing(self.size), why)

    def _matches_panel(self, view: PairView) -> Panel:
        registration = view.motion.registration
        found = f"{registration.inliers} inliers (green) of {registration.matches} matches"
        note = found if registration.ok else f"registration failed ({registration.matches} matches): the identity"
        return Panel("homography's matches, from there to here", draw_matches(view.current, registration), note)

    def _parallax_panel(self, view: PairView) -> Panel:
        apart = np.linalg.norm(view.motion.flow_to_prev.numpy() - view.flow_of_H, axis=0)
        middle = f"median {np.nanmedian(apart):.2f} px" if np.isfinite(apart).any() else ""
        return Panel("flow against homography", paint(apart, APART), middle, APART)


def draw_matches(frame: np.ndarray, registration: Registration) -> np.ndarray:
    """The frame enlarged, with a line from where each point was to where it is: inliers green, outliers vermilion."""
    height, width = frame.shape[:2]
    picture = cv2.resize(frame, (width * _ENLARGED, height * _ENLARGED), interpolation=cv2.INTER_LINEAR)
    pairs = zip(registration.previous_points, registration.current_points, registration.inlier_mask, strict=True)
    for previous, current, inlier in sorted(pairs, key=lambda match: bool(match[2])):  # inliers last, on top
        colour = rgb(GREEN if inlier else VERMILION)
        start, end = (tuple(np.rint((point + 0.5) * _ENLARGED - 0.5).astype(int).tolist()) for point in (previous, current))
        cv2.line(picture, start, end, colour, 1, cv2.LINE_AA)
        cv2.circle(picture, end, 4, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, end, 3, colour, -1, cv2.LINE_AA)
    return picture


def _image_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).movedim(-1, 0)[None].float()


def _to_image(values: Tensor) -> np.ndarray:
    return values[0].round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy().copy()


def _marked(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    shown = image.copy()
    shown[missing] = MAGENTA
    return shown


def _difference(warped: np.ndarray, current: np.ndarray, valid: np.ndarray) -> np.ndarray:
    difference = np.abs(warped.astype(np.float32) - current).mean(-1)
    difference[~valid] = np.nan
    return difference


def _mean(values: np.ndarray) -> str:
    return f"mean {np.nanmean(values):.1f}" if np.isfinite(values).any() else "nothing to compare"


def _percent(mask: np.ndarray) -> str:
    return f"{100 * mask.mean():.1f} % of pixels"


def _rgb(pixel: np.ndarray) -> str:
    return ", ".join(str(int(value)) for value in pixel)


def _vector(vector: np.ndarray) -> str:
    return f"({vector[0]:+.2f}, {vector[1]:+.2f}) px"

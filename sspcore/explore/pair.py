"""Two frames of a clip and all that this library says of the motion between them: the explorer of notebook 02."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from PIL import ImageColor
from torch import Tensor

from sspcore.core.images import to_tensor
from sspcore.explore.panels import NOTHING, Explorer, Panel, Scale, marked, nothing, numbers, percent
from sspcore.motion import geometry
from sspcore.motion.flow import build_flow
from sspcore.motion.geometry import soft_occlusion, warp_by_flow
from sspcore.motion.registration import Registration, Registrator, build_registrator
from sspcore.report.motion import flow_picture, flow_wheel, overlay, precision_recall
from sspcore.report.style import GREEN, VERMILION

WHEEL = flow_wheel()
DIFFERENCE = Scale("magma", 0, 80, "grey levels")
SOFT = Scale("viridis", 0, 1, "(the frames look alike)")
APART = Scale("cividis", 0, 4, "pixels")
LARGEST_GAP = 6
_ENLARGED = 2  # points and tracks are drawn on a larger picture: at the size of a pixel they would look like one


@dataclass(frozen=True)
class MotionClip:
    """A clip and what is known of its motion. Frames and flows may be made when they are asked for.

    Attributes:
        frames: (H, W, 3) uint8 RGB each: an array (T, H, W, 3), a list, or any sequence.
        flows: estimator -> flow(source, target) between two positions, (2, H, W) in pixels, NaN where it is not known.
        register: the homography between two frames.
        occlusion: occlusion(k, j), exact, (H, W) bool: hidden in frame j or out of its view; None where it is not known.
        why_unknown: words for that case.
    """

    name: str
    frames: Sequence[np.ndarray]
    flows: Mapping[str, Callable[[int, int], Tensor]]
    register: Registrator
    occlusion: Callable[[int, int], np.ndarray | None] = lambda source, target: None
    why_unknown: str = "no exact truth for real data"

    @classmethod
    def of_frames(
        cls, name: str, frames: Sequence[np.ndarray], flows: Sequence[str] = ("dis-fast", "dis-medium"),
        registration: str = "lk",
    ) -> MotionClip:
        """A clip of which nothing but its frames is known: motion is estimated as it is looked at."""
        return cls(name, frames, {flow: estimated_flow(flow, frames) for flow in flows}, build_registrator(registration))


def estimated_flow(name: str, frames: Sequence[np.ndarray]) -> Callable[[int, int], Tensor]:
    """flow(source, target) between two frames by the estimator of that name."""
    estimate = build_flow(name)
    return lambda source, target: estimate(*(to_tensor(np.asarray(frames[k]))[None] for k in (source, target)))[0].cpu()


class PairView:
    """Everything worked out of two frames; images are (H, W, 3) uint8, masks (H, W) bool.

    Args:
        current, previous: frame k and an earlier one.
        flow_to_prev, flow_from_prev: (2, H, W) in pixels.
        exact_occlusion: None where it is not known.
        registration: previous to current.
        c1, c2: constants of M_occ; c2 in square pixels.
    Attributes:
        warped, valid: the frame before brought into k by flow, and where it has a source; soft: O, 0 where not valid.
        occluded: M_occ; returned: (2, H, W), the flow back, read where the flow leads.
        registered, registered_valid: the frame before brought into k by the homography; flow_of_H: its displacement.
    """

    def __init__(
        self, current: np.ndarray, previous: np.ndarray, flow_to_prev: Tensor, flow_from_prev: Tensor,
        exact_occlusion: np.ndarray | None, registration: Registration, c1: float, c2: float,
    ) -> None:
        self.current, self.previous, self.flow_to_prev = current, previous, flow_to_prev
        self.exact_occlusion, self.registration = exact_occlusion, registration
        there, back = flow_to_prev[None], flow_from_prev[None]
        image = torch.from_numpy(previous.copy()).movedim(-1, 0)[None].float()
        H_prev_to_cur = torch.from_numpy(registration.H_prev_to_cur)[None]
        self.warped, self.valid = _arrays(*warp_by_flow(image, there))
        soft = soft_occlusion(to_tensor(current)[None], warp_by_flow(to_tensor(previous)[None], there)[0])[0, 0].numpy()
        self.soft = soft * self.valid
        self.occluded = geometry.occlusion_mask(there, back, c1, c2)[0, 0].numpy()
        self.returned = warp_by_flow(back, there)[0][0].numpy()
        self.registered, self.registered_valid = _arrays(*geometry.warp_by_homography(image, H_prev_to_cur))
        H_cur_to_prev = geometry.sampling_homography(H_prev_to_cur)
        self.flow_of_H = geometry.homography_to_flow(H_cur_to_prev, current.shape[:2])[0].numpy()


class PairExplorer(Explorer):
    """Two frames k and k - gap of a clip; estimated motion is kept.

    Args:
        clips: one or more.
        origin: where they are from, for the heading.
        estimator: of flow, to begin with; None: the first of the first clip.
    A choice has `clip`, `frame`, `gap`, `estimator`, and the constants of M_occ, `c1` and `c2` (square pixels).
    """

    compared = (0, 3)
    labels = {"estimator": "flow", "gap": "frame gap", "c2": "c2 (px²)"}

    def __init__(self, clips: Sequence[MotionClip], origin: str, estimator: str | None = None) -> None:
        self.clips, self.origin, self._estimator = clips, origin, estimator or next(iter(clips[0].flows))
        self._motion = lru_cache(maxsize=64)(self._estimate)
        self.view = lru_cache(maxsize=1)(self._view)

    def first(self) -> dict[str, Any]:
        middle = len(self.clips[0].frames) // 2
        return {"clip": 0, "frame": middle, "gap": 1, "estimator": self._estimator, "c1": 0.01, "c2": 0.5}

    def controls(self, clip: int, gap: int, **_: Any) -> dict[str, Any]:
        last = len(self.clips[clip].frames) - 1
        return {
            "frame": (gap, last), "estimator": list(self.clips[clip].flows), "gap": (1, min(LARGEST_GAP, last)),
            "c1": (0.0, 0.1, 0.005), "c2": (0.0, 4.0, 0.1),
        }

    def _view(self, clip: int, frame: int, gap: int, estimator: str, c1: float, c2: float) -> PairView:
        """Everything of one choice. Raises: ValueError if the frame before lies outside the clip."""
        shown, before = self.clips[clip], frame - gap
        if gap < 1 or before < 0 or frame >= len(shown.frames):
            raise ValueError(f"frames {before} and {frame} of {shown.name}: give two of its {len(shown.frames)} in order")
        motion = self._motion(clip, frame, before, estimator)
        return PairView(shown.frames[frame], shown.frames[before], *motion, c1, c2)

    def _estimate(self, number: int, frame: int, before: int, estimator: str) -> tuple[Any, ...]:
        clip = self.clips[number]
        flow, registration = clip.flows[estimator], clip.register(clip.frames[before], clip.frames[frame])
        return flow(frame, before), flow(before, frame), clip.occlusion(frame, before), registration

    def panels(self, **choice: Any) -> list[Panel]:
        view, clip = self.view(**choice), self.clips[choice["clip"]]
        k, before = choice["frame"], f"frame k−{choice['gap']}"
        exact, registration = view.exact_occlusion, view.registration
        found = f"{registration.inliers} inliers (green) of {registration.matches} matches"
        hard = percent(view.occluded)
        if exact is not None:
            hard += "; precision {:.2f}, recall {:.2f}".format(*precision_recall(view.occluded, exact))
        apart = np.linalg.norm(view.flow_to_prev.numpy() - view.flow_of_H, axis=0)
        return [
            Panel("frame k", view.current, f"{clip.name}, position {k}"),
            Panel(before, view.previous, f"position {k - choice['gap']}"),
            _flow_panel(view.flow_to_prev, f"flow k to k−{choice['gap']}", choice["estimator"]),
            *_warp_panels("flow", before, view.current, view.warped, view.valid),
            Panel("soft mask O", SOFT.paint(view.soft), f"mean {view.soft.mean():.2f}", SOFT),
            Panel(
                "homography's matches, from there to here", draw_matches(view.current, registration),
                found if registration.ok else f"registration failed ({registration.matches} matches): the identity",
            ),
            *_warp_panels("homography", before, view.current, view.registered, view.registered_valid),
            Panel("hard mask M_occ", overlay(view.current, view.occluded), hard),
            Panel("exact occlusion", nothing(view.valid.shape), clip.why_unknown) if exact is None
            else Panel("exact occlusion", overlay(view.current, exact), percent(exact)),
            Panel(
                "flow against homography", APART.paint(apart),
                f"median {np.nanmedian(apart):.2f} px" if np.isfinite(apart).any() else "", APART,
            ),
        ]

    def values(self, x: int, y: int, **choice: Any) -> list[tuple[str, str]]:
        view, before = self.view(**choice), f"frame k−{choice['gap']}"
        exact, there, back = view.exact_occlusion, view.flow_to_prev[:, y, x].numpy(), view.returned[:, y, x]
        closing = float(np.square(there + back).sum())
        bound = choice["c1"] * float(np.square(there).sum() + np.square(back).sum()) + choice["c2"]
        return [
            ("RGB in frame k", numbers(view.current[y, x])),
            (f"RGB in {before}, same pixel", numbers(view.previous[y, x])),
            (f"RGB in {before}, where flow leads", numbers(view.warped[y, x]) if view.valid[y, x] else "no source"),
            (f"RGB in {before}, where H leads", numbers(view.registered[y, x]) if view.registered_valid[y, x] else "no source"),
            ("flow", _vector(there)),
            ("homography's displacement", _vector(view.flow_of_H[:, y, x])),
            ("flow back, read there", _vector(back)),
            ("M_occ: ‖sum‖² and bound", f"{closing:.2f} {'≤' if closing <= bound else '>'} {bound:.2f} px²"),
            ("M_occ says", "occluded" if view.occluded[y, x] else "visible"),
            ("truth says", "not known" if exact is None else "occluded" if exact[y, x] else "visible"),
            ("O", f"{view.soft[y, x]:.3f}"),
        ]


def draw_matches(frame: np.ndarray, registration: Registration) -> np.ndarray:
    """The frame enlarged, with a line from where each point was to where it is: inliers green, outliers vermilion."""
    picture = cv2.resize(frame, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_LINEAR)
    pairs = zip(registration.previous_points, registration.current_points, registration.inlier_mask, strict=True)
    for previous, current, inlier in sorted(pairs, key=lambda match: bool(match[2])):  # inliers last, on top
        colour = ImageColor.getrgb(GREEN if inlier else VERMILION)
        start, end = (tuple(np.rint((point + 0.5) * _ENLARGED - 0.5).astype(int).tolist()) for point in (previous, current))
        cv2.line(picture, start, end, colour, 1, cv2.LINE_AA)
        cv2.circle(picture, end, 4, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, end, 3, colour, -1, cv2.LINE_AA)
    return picture


def _flow_panel(flow: Tensor, title: str, estimator: str) -> Panel:
    known = torch.isfinite(flow).all(0)
    picture = flow_picture(flow.nan_to_num())
    picture[~known.numpy()] = NOTHING
    longest = float(flow.nan_to_num().norm(dim=0).max())
    note = f"{estimator}; the wheel's rim is {longest:.1f} px" + ("" if known.all() else "; grey: hidden on the way")
    side = round(0.3 * len(picture))
    picture[-side:, -side:] = cv2.resize(WHEEL, (side, side), interpolation=cv2.INTER_AREA)
    return Panel(title, picture, note)


def _warp_panels(by: str, before: str, current: np.ndarray, warped: np.ndarray, valid: np.ndarray) -> tuple[Panel, Panel]:
    """The frame before as it was warped, and its difference to the current frame."""
    difference = np.abs(warped.astype(np.float32) - current).mean(-1)
    difference[~valid] = np.nan
    mean = f"mean {np.nanmean(difference):.1f} grey levels" if valid.any() else "nothing to compare"
    return (
        Panel(f"{before} warped by {by}", marked(warped, ~valid), f"magenta: no source, {percent(~valid)}"),
        Panel(f"difference to k, by {by}", DIFFERENCE.paint(difference), mean, DIFFERENCE),
    )


def _arrays(image: Tensor, valid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A warped image (1, 3, H, W) and its mask as (H, W, 3) uint8 and (H, W) bool."""
    return image[0].round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy().copy(), valid[0, 0].numpy()


def _vector(vector: np.ndarray) -> str:
    return f"({vector[0]:+.2f}, {vector[1]:+.2f}) px"

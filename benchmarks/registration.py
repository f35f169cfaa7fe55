"""What each registrator is worth: python benchmarks/registration.py [--frames DIR_OR_VIDEO ...] [--json FILE].

On any clip, at the size of the paper's input: the mean grey-level difference that is left after the warp, beside the
identity's on the same pixels; failures; models chosen; how far the corners move; milliseconds. On rendered clips, at their
profile's size: the distance from the exact homography of the ground too.

  --frames     folders of images or videos; named by their last two parts, such as nadir/drone
  --sources    a JSON file, {name of a clip: where it is from and its licence}, copied into the report
  --profiles   profiles that render, whose data is there or is rendered (smoke, demo)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import common
from sspcore.core.errors import SspError
from sspcore.core.images import read_image, resize_frame
from sspcore.core.progress import tqdm
from sspcore.data.truth import sequence_truth
from sspcore.data.video import open_video
from sspcore.motion import lightglue
from sspcore.motion.geometry import rescale_homography
from sspcore.motion.registration import build_registrator
from sspcore.study import Study

SIZE = (736, 1280)
MATCHERS = ("identity", "lk", "sift", "akaze", "orb")
IMAGES = (".jpg", ".jpeg", ".png")
WORSE_BY = 0.005  # grey levels: less than that is rounding of the warp


@dataclass(frozen=True)
class Pair:
    """Two frames (H, W, 3) uint8 and, where it is known, the exact homography of the ground between them."""

    previous: np.ndarray
    current: np.ndarray
    exact: np.ndarray | None = None


@dataclass
class Scores:
    """What was measured of one matcher on one clip, a value a pair."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    models: Counter[str] = field(default_factory=Counter)

    def add(self, pair: Pair, matcher: Any) -> None:
        began = time.perf_counter()
        found = matcher(pair.previous, pair.current)
        spent = time.perf_counter() - began
        after, before = residuals(pair, found.H_prev_to_cur)
        size = pair.current.shape[:2]
        measured = {
            "residual": after, "identity": before, "worse": after > before + WORSE_BY, "failed": not found.ok,
            "shift_px": corner_distance(found.H_prev_to_cur, np.eye(3), size).max(), "inliers": found.inliers,
            "ms": 1e3 * spent,
        }
        if pair.exact is not None:
            measured["exact_px"] = ground_distance(found.H_prev_to_cur, pair.exact, size)
            measured["exact_corner_px"] = corner_distance(found.H_prev_to_cur, pair.exact, size).max()
        for name, value in measured.items():
            self.values[name].append(float(value))
        self.models[found.model if found.ok else "failed"] += 1

    def summary(self) -> dict[str, Any]:
        """Means, counts and the largest corner shift, as JSON values."""
        kept = {name: np.array(values) for name, values in self.values.items()}
        means = {name: round(float(kept[name].mean()), 3) for name in ("residual", "identity", "exact_px", "exact_corner_px")
                 if name in kept}
        return {
            "pairs": len(kept["ms"]), **means, "worse": int(kept["worse"].sum()), "failed": int(kept["failed"].sum()),
            "models": dict(self.models), "inliers": int(np.median(kept["inliers"])),
            "largest_shift_px": round(float(kept["shift_px"].max()), 1), "ms": round(float(np.median(kept["ms"])), 1),
        }


def residuals(pair: Pair, H: np.ndarray) -> tuple[float, float]:
    """Mean grey-level difference after the warp and without one, on the pixels that the warp has a source for."""
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (pair.previous, pair.current))
    size = before.shape[::-1]
    warped = cv2.warpPerspective(before, H, size, flags=cv2.INTER_LINEAR)
    valid = cv2.warpPerspective(np.ones_like(before), H, size, flags=cv2.INTER_LINEAR) > 0.999
    if not valid.any():
        return 255.0, 0.0
    return float(np.abs(warped - after)[valid].mean()), float(np.abs(before - after)[valid].mean())


def corner_distance(H: np.ndarray, other: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How far two homographies send each corner of a frame apart, in pixels: (4,)."""
    height, width = size
    corners = np.array([[[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]], np.float64)
    ends = [cv2.perspectiveTransform(corners, matrix)[0] for matrix in (H, other)]
    return np.linalg.norm(ends[0] - ends[1], axis=1)


def ground_distance(H: np.ndarray, exact: np.ndarray, size: tuple[int, int]) -> float:
    """How far two homographies send the pixels of a frame apart on average, on a grid of every fourth."""
    points = np.stack(np.meshgrid(np.arange(0, size[1], 4), np.arange(0, size[0], 4)), -1).reshape(1, -1, 2).astype(np.float64)
    ends = [cv2.perspectiveTransform(points, matrix)[0] for matrix in (H, exact)]
    return float(np.linalg.norm(ends[0] - ends[1], axis=1).mean())


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB of a folder of images, in the order of their names, or of a video, at SIZE."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)
        images = (read_image(file, cv2.IMREAD_COLOR) for file in files)
    else:
        images = video_frames(path)
    for image in images:
        yield resize_frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), SIZE)


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Frames of a video as OpenCV gives them, to its end. Raises ReleaseError if it is missing or no video."""
    with open_video(path) as video:
        while (read := video.read())[0]:
            yield read[1]


def real_pairs(path: Path, every: int) -> Iterator[Pair]:
    """Neighbouring frames, every so many frames one pair."""
    previous = None
    for k, frame in enumerate(frames_of(path)):
        if previous is not None and (k - 1) % every == 0:
            yield Pair(previous, frame)
        previous = frame


def rendered_pairs(study: Study, dataset: str, every: int) -> Iterator[Pair]:
    """Neighbouring frames of the validation clips with the ground's exact homography, at the profile's size."""
    size, root = study.profile.input_size, study.truth_root(dataset)
    for clip in study.clips(dataset, "val"):
        truth = sequence_truth(root / clip.sequence)
        for k in range(1, len(clip), every):
            exact = rescale_homography(torch.from_numpy(truth.homography(clip.numbers[k]))[None], truth.size, size)
            yield Pair(clip.frame(k - 1, size), clip.frame(k, size), exact[0].numpy())


def measure(name: str, pairs: Iterator[Pair], matchers: dict[str, Any], slow_pairs: int) -> dict[str, Any]:
    """All matchers on the pairs of a clip; LightGlue on the first so many."""
    scores = {matcher: Scores() for matcher in matchers}
    for number, pair in enumerate(tqdm(pairs, desc=name, unit="pair")):
        for matcher, registrator in matchers.items():
            if matcher != "lightglue" or number < slow_pairs:
                scores[matcher].add(pair, registrator)
    return {matcher: each.summary() for matcher, each in scores.items()}


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser("registration", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", nargs="*", type=Path, default=[], metavar="DIR_OR_VIDEO")
    parser.add_argument("--sources", type=Path, help="a JSON file, {clip: source and licence}")
    parser.add_argument("--profiles", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--root", type=Path, help="folder of the profiles' artefacts (default: the repository's data folder)")
    parser.add_argument("--every", type=int, default=3, help="every so many frames one pair (default: 3)")
    parser.add_argument("--pairs", type=int, help="at most so many pairs a clip")
    parser.add_argument("--lightglue", type=int, default=0, metavar="N", help="LightGlue on a clip's first N pairs (default 0)")
    parser.add_argument("--matchers", nargs="*", default=list(MATCHERS))
    common.add_json(parser, "registration")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    if options.lightglue and not lightglue.is_installed():
        raise SspError("--lightglue: it is not installed; run ./reproduce.sh setup --extra lightglue")
    names = (*options.matchers, *(("lightglue",) if options.lightglue else ()))
    matchers = {name: build_registrator(name) for name in names}
    sources = json.loads(options.sources.read_text(encoding="utf-8")) if options.sources else {}
    report: dict[str, Any] = {}
    for path in options.frames:
        name = "/".join(path.resolve().with_suffix("").parts[-2:])
        found = measure(name, islice(real_pairs(path, options.every), options.pairs), matchers, options.lightglue)
        report[name] = {"source": sources.get(name, "not stated"), "size": SIZE, **found}
    for profile in options.profiles:
        study = Study.open(profile, root=options.root)
        for dataset in study.profile.datasets:
            pairs = islice(rendered_pairs(study, dataset, options.every), options.pairs)
            found = measure(f"{profile}, {dataset}", pairs, matchers, options.lightglue)
            report[f"{profile}/{dataset}"] = {"source": study.data_origin, "size": study.profile.input_size, **found}
    common.write({"threads": 1, "clips": report}, options, ",".join(options.profiles) or "none")
    return 0


if __name__ == "__main__":
    sys.exit(main())

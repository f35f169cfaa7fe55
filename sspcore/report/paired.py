"""Paired differences between systems, with intervals by bootstrap over validation sequences and training seeds.

A draw takes as many seeds and as many sequences as there are, each with replacement, and of a sequence all its clips: clips of
one flight are alike. The sequences are the same for all seeds, and both systems are scored on the same draw: mIoU from the
summed confusion matrices of the drawn clips, TC as the mean over them. The interval lies between percentiles over all draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sspcore.models.systems import system
from sspcore.report.curve import above_curve
from sspcore.report.frontier import averaging, curve_names, image_of
from sspcore.report.scores import COMPARED
from sspcore.report.spread import spread
from sspcore.report.tables import NONE, by_dataset, points, titles_of
from sspcore.study import Study

Row = dict[str, Any]
Scores = dict[str, np.ndarray]  # score -> (draws, seeds); the first draw is the measurement itself: every seed and clip once

BASE, CURVE = "Base", "constant alpha"
DRAWS, LEVEL, RANDOM_SEED = 2000, 0.95, 0
FEWEST = 5  # sequences for an interval: draws of fewer are nearly all alike
PAIRS = (("KD Base", "Teacher"), ("KD-SSP", "Teacher"), ("KD-SSP", "KD Base"), ("KD-SSP", "SSP"))
PAPER_VIDEO = ("DFF", "NetWarp", "TCB_ppm", "TCB_ocr")  # the paper's other video systems
OWN = (("SSP-R", "SSP"), ("KD-SSP-R", "KD-SSP"), ("KD-SSP-R", "KD Base"))
BETTER, WORSE, UNDECIDED = "better", "worse", "not told apart"


def pairs_of(systems: Sequence[str]) -> list[tuple[str, str]]:
    """(new, old) of the comparisons to print: systems to Base, those of the paper's claims, and KD-SSP to all students."""
    trained = [name for name in systems if system(name).kind != "control"]
    students = [name for name in trained if name != "Teacher"]
    wanted = [
        *((name, BASE) for name in trained), *PAIRS, *(("SSP", name) for name in PAPER_VIDEO), *OWN,
        *(("KD-SSP", name) for name in students),
    ]
    return [(new, old) for new, old in dict.fromkeys(wanted) if new != old and {new, old} <= set(systems)]


def differences(
    studies: Sequence[Study], datasets: Iterable[str], pairs: Iterable[tuple[str, str]], curves: Iterable[str] = ()
) -> list[Row]:
    """Differences of scores, new minus old, each with its interval.

    Args:
        studies: one a training seed; what they have not scored yet is scored.
        pairs: (new, old) systems.
        curves: systems to hold against the constant-alpha curve of their own image model, see `on_curves`.
    Returns: a row a comparison: dataset, new, old, sequences, seeds, and of each score that both have {"difference", "low",
        "high"} as fractions; of curves, with old = "constant alpha", "miou" at equal TC.
    """
    pairs, curves, found = list(pairs), list(curves), []
    for dataset in datasets:
        names = {name for pair in pairs for name in pair}
        lines = {name: _curve(studies[0], name) for name in curves}
        names |= {name for own, curve in lines.items() for name in (own, *curve)}
        number_of = np.unique([clip.sequence for clip in studies[0].clips(dataset, "val")], return_inverse=True)[1]
        n_sequences = int(number_of.max()) + 1
        of_seeds, of_sequences = (drawn if n_sequences >= FEWEST else drawn[:1] for drawn in draws(len(studies), n_sequences))
        moving = studies[0].spec(dataset).moving_ids
        scored = {
            name: resampled([study.counts(name, dataset) for study in studies], of_sequences[:, number_of], moving)
            for name in sorted(names)
        }
        about = {"dataset": dataset, "sequences": n_sequences, "seeds": len(studies)}
        for new, old in pairs:
            found.append({"new": new, "old": old} | about | {
                score: interval(scored[new][score] - scored[old][score], of_seeds)
                for score in COMPARED if score in scored[new] and score in scored[old]
            })
        for name, curve in lines.items():
            above = _above([scored[each] for each in curve], scored[name])
            found.append({"new": name, "old": CURVE} | about | {"miou": interval(above, of_seeds)})
    return found


def on_curves(study: Study, names: Iterable[str]) -> list[str]:
    """Of systems and controls the video systems whose image model, and constant alphas on it, are among them."""
    names = list(dict.fromkeys(names))
    curves = {name: _curve(study, name) for name in names if system(name).kind == "video"}
    return [name for name, curve in curves.items() if len(curve) > 1 and set(curve) <= set(names)]


def _curve(study: Study, name: str) -> list[str]:
    """Names along the constant-alpha curve of a system's own image model."""
    image = image_of(name)
    if image is None:
        return []
    names = [each for each in study.controls([image]) if averaging(each)[0] == image]
    return curve_names([image, *names]).get(image, [])


def of_run(studies: Sequence[Study], rows: Sequence[Row]) -> list[Row]:
    """The differences that the tables print, of all systems and controls among the rows, which all studies have scored."""
    found = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        names = [row["system"] for row in rows if row["dataset"] == dataset]
        found += differences(studies, [dataset], pairs_of(names), on_curves(studies[0], names))
    return found


def draws(n_seeds: int, n_sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each draw takes each seed (draws, seeds) and each sequence (draws, sequences); the first takes all once."""
    rng = np.random.default_rng(RANDOM_SEED)
    drawn = (rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) for n in (n_seeds, n_sequences))
    return tuple(np.concatenate([np.ones_like(each[:1]), each]) for each in drawn)


def resampled(clips: Sequence[Sequence[Row]], weights: np.ndarray, moving: Sequence[int] = ()) -> Scores:
    """Scores of one system on drawn clips, (draws, seeds); NaN where a draw has nothing to score.

    Args:
        clips: for each seed what the scores rest on, clip by clip (`Study.counts`).
        weights: how often each draw takes each clip, (draws, clips).
        moving: class ids.
    """
    counts = np.array([[clip["counts"] for clip in seed] for seed in clips], dtype=np.float64)
    iou = _iou(np.einsum("dk,sktp->dstp", weights, counts, optimize=True))
    found = {"miou": _mean(iou)} | ({"miou_moving": _mean(iou[..., list(moving)])} if moving else {})
    for score in ("tc", "tc_exact_flow"):
        values = np.array([[clip[score] for clip in seed] for seed in clips], dtype=np.float64)  # None becomes NaN
        if not np.isnan(values).all():
            found[score] = _ratio(weights @ np.nan_to_num(values).T, weights @ (~np.isnan(values)).T)
    return found


def _iou(counts: np.ndarray) -> np.ndarray:
    """IoU of each class, (..., n), from counts (..., n, n + 1); see `sspcore.metrics.confusion.iou_per_class`."""
    n = counts.shape[-2]
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    return _ratio(both, counts.sum(-1) + counts[..., :n].sum(-2) - both)


def _mean(values: np.ndarray) -> np.ndarray:
    return _ratio(np.nan_to_num(values).sum(-1), (~np.isnan(values)).sum(-1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _above(curve: Sequence[Scores], own: Scores) -> np.ndarray:
    """mIoU above a curve at equal TC, draw by draw and seed by seed; NaN where no clip has a pair of frames for TC."""
    if any("tc" not in each for each in (own, *curve)):
        return np.full(own["miou"].shape, np.nan)
    line = np.stack([[point["tc"], point["miou"]] for point in curve])  # points, TC and mIoU, draws, seeds
    found = np.full(own["tc"].shape, np.nan)
    for place in zip(*np.nonzero(~np.isnan(line).any((0, 1)) & ~np.isnan(own["miou"])), strict=True):
        of_draw = [(float(tc), float(miou)) for tc, miou in line[(slice(None), slice(None), *place)]]
        found[place] = above_curve(of_draw, float(own["tc"][place]), float(own["miou"][place]))[0]
    return found


def interval(values: np.ndarray, weights: np.ndarray) -> dict[str, float | None]:
    """The measured difference, mean over the seeds, and the ends of its interval; None where nothing could be scored.

    Args:
        values: differences (draws, seeds), the first draw being the measurement; no other: no interval.
        weights: of the seeds in each draw.
    """
    means = (values * weights).sum(1) / weights.sum(1)
    if np.isnan(means[0]):
        return {"difference": None, "low": None, "high": None}
    ends = np.nanquantile(means[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(means) > 1 else (None, None)
    return {"difference": float(means[0]), "low": ends[0], "high": ends[1]}


# ------------------------------------------------------------------------- words


def verdict(found: Mapping[str, float | None] | None) -> str | None:
    """What an interval bears: "better", "worse", or "not told apart" where it holds 0; None where there is none."""
    if not found or found["low"] is None:
        return None
    return BETTER if found["low"] > 0 else WORSE if found["high"] < 0 else UNDECIDED


def cell(found: Mapping[str, float | None] | None) -> str:
    """A difference and its interval in points, "+1.35 [−0.20, +2.90]"; bold where the interval leaves 0 out."""
    if not found or found["difference"] is None:
        return NONE
    if found["low"] is None:
        return points(found["difference"])
    ends, digits = (found["low"], found["high"]), 2
    while verdict(found) != UNDECIDED and digits < 5 and any(not round(100 * end, digits) for end in ends):
        digits += 1  # an end that is not 0 is not printed as 0
    value, low, high = (spread(found[key], None, "+", digits) for key in ("difference", "low", "high"))
    return f"{value} [{low}, {high}]" if verdict(found) == UNDECIDED else f"**{value}** [{low}, {high}]"


def in_words(rows: Iterable[Row], titles: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """"<new> against <old>, <title of the data set>" -> score -> difference, interval and verdict, for notebooks.

    Without titles the rows are those of one data set, which is not named. Raises: ValueError if they are of several.
    """
    rows = list(rows)
    if titles is None and len({row["dataset"] for row in rows}) > 1:
        raise ValueError("differences of several data sets need the titles of these")
    return {
        f"{row['new']} against {row['old']}" + ("" if titles is None else f", {titles[row['dataset']]}"): {
            title: f"{cell(row[score]).replace('**', '')}: {verdict(row[score]) or 'no interval'}"
            for score, title in COMPARED.items() if score in row
        }
        for row in rows
    }


def comparison(rows: Iterable[Row], dataset: str, new: str, old: str) -> Row | None:
    """The row of one comparison, None where there is none."""
    return next((row for row in rows if (row["dataset"], row["new"], row["old"]) == (dataset, new, old)), None)


def note(rows: Sequence[Row]) -> str:
    """What intervals are, for a caption; "" without any."""
    if not rows:
        return ""
    seeds, counts = rows[0]["seeds"], {row["dataset"]: str(row["sequences"]) for row in rows}
    sequences = " and ".join(counts.values())
    drawn = f"the {seeds} training seeds and " if seeds > 1 else ""
    curves = (
        f" Old = {CURVE}: mIoU above the constant-alpha curve of the system's own image model at equal TC; where the TC lies "
        "outside the curve, the mIoU of the curve's end is taken." if any(row["old"] == CURVE for row in rows) else ""
    )
    return (
        f"Differences in points, new minus old, with the {100 * LEVEL:.0f} % interval of {DRAWS} bootstrap draws over "
        f"{drawn}the validation sequences ({sequences}), both systems on the same draw. Where the interval leaves 0 out, the "
        f"new one is *{BETTER}* or *{WORSE}*; else the two are *{UNDECIDED}*. Of so few an interval is rather "
        f"too narrow; of fewer than {FEWEST} sequences there is none."
        + ("" if seeds > 1 else " It knows nothing of other seeds.") + curves
    )


def difference_notes(results: Mapping[str, Any]) -> list[str]:
    """The caption of `difference_tables`; nothing for results without differences."""
    return [note(results["differences"])] if results.get("differences") else []


def difference_tables(results: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Heading -> the differences of a data set as cells."""
    frames = by_dataset({"rows": results.get("differences", [])}, difference_frame)
    return {f"{titles_of(results)[dataset]}: differences": frame for dataset, frame in frames.items()}


def difference_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A line a comparison, the scores of `COMPARED` as columns."""
    cells = {"New": [row["new"] for row in rows], "Old": [row["old"] for row in rows]}
    cells |= {title: [cell(row.get(score)) for row in rows] for score, title in COMPARED.items()}
    return pd.DataFrame(cells, index=[""] * len(rows))

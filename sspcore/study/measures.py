"""Measure the measures: every metric for systems, controls and the truth itself, under several flows (notebook 11).

A control is a prediction that nobody would want and that some metric may prize. Those here need no model of their own:
they are label maps made from the data, or from what Base wrote to disk. The constant-alpha controls are systems of the
study and are scored like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sspcore.core.classes import IGNORE
from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.files import read_json, write_json
from sspcore.core.paths import REPOSITORY, slug
from sspcore.core.progress import tqdm
from sspcore.core.store import KEY_FILE, stable_hash
from sspcore.data.clips import Clip
from sspcore.data.statistics import class_shares
from sspcore.data.truth import exact_labels, exact_motion, true_labels
from sspcore.evaluation.clips import read_prediction
from sspcore.metrics import METRICS, FrameRecord, MetricSuite, build_metric, metrics_for
from sspcore.metrics.records import warp_labels
from sspcore.models.systems import SYSTEMS, system
from sspcore.motion.cache import FlowSource
from sspcore.motion.flow import RAFT_WEIGHTS
from sspcore.study import TEACHER, Study
from sspcore.study.keys import made_by

Row = dict[str, Any]
LabelMaps = Callable[[Clip], Iterator[np.ndarray]]

EXACT, TRUTH, SOURCE = "exact", "Ground truth", "Base"
CONSTANT, HELD, CARRIED = "Constant label", "First frame held", "First frame carried"
LOWER_IS_BETTER = frozenset(name for name in METRICS if not build_metric(name, 1, (0,)).higher_is_better)
FAMILIES: dict[str, tuple[str, ...]] = {
    "accuracy": ("miou", "miou_moving", "boundary_iou"),
    "consistency": ("tc", "tc_reference", "tc_pooled", "tc_masked", "vote5", "flicker"),
    "both": ("vc8", "vc16", "lag"),
}


def estimators(study: Study, dataset: str) -> list[str]:
    """Flows to score under: exact on rendered data, DIS, and RAFT where its weights are there (nothing is fetched)."""
    exact = [EXACT] if study.truth_root(dataset) is not None else []
    return [*exact, "dis-fast", "dis-medium", *(["raft-20"] if (REPOSITORY / RAFT_WEIGHTS).is_file() else [])]


def evaluated_systems(study: Study, dataset: str) -> list[str]:
    """Systems and controls of this profile, data and seed whose scores lie on disk, in the order of the table.

    Ablations and steps on the way (`hidden`) are left out: they are no rows of the table.
    """
    found = set()
    runs = study.workspace.run(dataset, study.seed, "any", "any").parent
    for path in runs.glob("*/scores/row.json"):
        name = read_json(path)["system"]
        try:
            hidden, folder = system(name).hidden, study.folder(name, dataset)
        except ProfileError:
            continue  # a system that this version of the registry does not know
        if folder == path.parents[1] and not hidden:
            study.predict(name, dataset)
            found.add(name)
    averaging = [system(name) for name in found if name not in SYSTEMS]
    averaging.sort(key=lambda spec: (spec.starts_from, spec.options.alpha))
    return [*(name for name in SYSTEMS if name in found), *(spec.name for spec in averaging)]


def controls(study: Study, dataset: str, systems: Iterable[str]) -> list[str]:
    """Controls and bounds that need no model: those for which the data, and Base among `systems`, suffice."""
    carried = [HELD, CARRIED] if SOURCE in systems else []
    return [CONSTANT, *carried, *([TRUTH] if study.truth_root(dataset) is not None else [])]


def metric_matrix(study: Study, systems: Iterable[str], dataset: str, estimator: str) -> list[Row]:
    """All metrics of systems (names of the registry) and model-free controls (`controls`) under one flow.

    Accuracy is counted on the dense exact labels of rendered data, on the sparse labels of real data; it may therefore
    differ by a little from the results table. Rows are kept on disk, and made anew when what they rest on changes.

    Returns: a row each: system, kind ("image", "video", "control", "truth"), dataset, estimator, seed, and all METRICS
        (None where it cannot be scored).
    """
    names, rows, missing = list(systems), {}, {}
    for name in names:
        path, key = _row_file(study, name, dataset, estimator)
        stored = {} if "evaluate" in study.force else _stored(path)
        if stored.get("key") == key:
            rows[name] = stored["row"]
        else:
            missing[name] = (path, key)
    for name, scores in _score(study, list(missing), dataset, estimator).items():
        path, key = missing[name]
        origin = {"system": name, "kind": _kind(name), "dataset": dataset, "estimator": estimator, "seed": study.seed}
        rows[name] = origin | {metric: scores.get(metric) for metric in METRICS}
        write_json(path, {"key": key, "row": rows[name], "checksum": stable_hash(rows[name])})
    return [rows[name] for name in names]


def _stored(path: Path) -> Row:
    """The file of a row; empty where there is none, or it is not as it was written."""
    try:
        stored = read_json(path)
        return stored if stored["checksum"] == stable_hash(stored["row"]) else {}
    except (ArtefactError, KeyError, TypeError):
        return {}


def ceilings(study: Study, dataset: str, estimators: Iterable[str]) -> dict[str, dict[str, float | None]]:
    """Estimator -> metric -> value of the ground truth itself: the best that a perfect system could be given.

    Raises: ArtefactError on real data, which has no truth of every frame.
    """
    if study.truth_root(dataset) is None:
        raise ArtefactError(f"{dataset}: real data has no dense truth, so no ceilings; use a profile that renders")
    rows = {name: metric_matrix(study, [TRUTH], dataset, name)[0] for name in estimators}
    return {name: {metric: row[metric] for metric in METRICS} for name, row in rows.items()}


def oriented(metric: str, value: float | None) -> float:
    """A value such that more is better; NaN for None."""
    if value is None:
        return math.nan
    return -value if metric in LOWER_IS_BETTER else value


def is_student(row: Row) -> bool:
    """A trained system that sees what all see: no control, no truth, no teacher (it sees a larger image)."""
    return row["kind"] in ("image", "video") and row["system"] != TEACHER


def advantage(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Control -> metric -> by how much it scores better than the best trained student (negative: worse); NaN unknown.

    A metric is fooled where this is not negative: by that metric alone one would choose the control.
    """
    students = [row for row in rows if is_student(row)]
    best = {metric: max((oriented(metric, row[metric]) for row in students), default=math.nan) for metric in METRICS}
    return {
        row["system"]: {metric: float(oriented(metric, row[metric]) - best[metric]) for metric in METRICS}
        for row in rows
        if row["kind"] == "control"
    }


def rank_correlation(rows: list[Row], metrics: Iterable[str] = tuple(METRICS)) -> np.ndarray:
    """Spearman's rank correlation of metrics over rows, (M, M), oriented so that 1 means: the same order of merit.

    Ties get their mean rank; each pair of metrics uses the rows that have both; NaN below three rows or without spread.
    """
    values = np.array([[oriented(metric, row[metric]) for row in rows] for metric in metrics])
    return np.array([[_spearman(a, b) for b in values] for a in values])


def flow_sensitivity(rows_by_estimator: Mapping[str, list[Row]]) -> dict[str, float]:
    """Metric -> largest difference that the choice of flow makes for one system or control (truth left out); NaN unknown."""
    by_system: dict[str, list[Row]] = {}
    for rows in rows_by_estimator.values():
        for row in rows:
            if row["kind"] != "truth":
                by_system.setdefault(row["system"], []).append(row)
    spans = {metric: [math.nan] for metric in METRICS}
    for group in by_system.values():
        for metric, span in spans.items():
            values = [row[metric] for row in group if row[metric] is not None]
            if len(values) > 1:
                span.append(max(values) - min(values))
    return {metric: float(np.nanmax(span)) if len(span) > 1 else math.nan for metric, span in spans.items()}


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    known = ~(np.isnan(a) | np.isnan(b))
    if known.sum() < 3:
        return math.nan
    ranks = [_ranks(values[known]) for values in (a, b)]
    if any(np.ptp(values) == 0 for values in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _kind(name: str) -> str:
    if name == TRUTH:
        return "truth"
    return "control" if name in (CONSTANT, HELD, CARRIED) else system(name).kind


def _row_file(study: Study, name: str, dataset: str, estimator: str) -> tuple[Path, str]:
    source = None
    if name not in (TRUTH, CONSTANT):
        source = read_json(study.predict(SOURCE if name in (HELD, CARRIED) else name, dataset) / KEY_FILE)["key"]
    settings = study.profile.key("input_size", "held_out", "metric_flow")
    key = stable_hash([made_by(__name__), name, source, study.clips_key(dataset), estimator, settings, list(METRICS)])
    folder = study.workspace.base / "metrics" / dataset / f"seed{study.seed}" / estimator
    return folder / f"{slug(name)}.json", key


def _score(study: Study, names: list[str], dataset: str, estimator: str) -> dict[str, dict[str, float | None]]:
    """One pass over the validation clips: motion and truth are read once for all of `names`."""
    if not names:
        return {}
    spec, clips, truth = study.spec(dataset), study.clips(dataset, "val"), study.truth_root(dataset)
    inputs = {"target", "flow_to_next", "flow_to_previous"} | ({"dense_target"} if truth is not None else set())
    metrics = metrics_for(inputs, spec.n_classes, spec.moving_ids)
    suites = {name: MetricSuite(spec.n_classes, metrics, spec.moving_ids) for name in names}
    sources = {name: _label_maps(study, name, dataset) for name in names}
    with tqdm(total=sum(map(len, clips)), desc=f"{spec.title}: all metrics, {estimator} flow", unit="frame") as bar:
        for clip in clips:
            for suite in suites.values():
                suite.start_clip()
            streams = {name: source(clip) for name, source in sources.items()}
            for known in _knowledge(study, dataset, clip, estimator):
                for name, suite in suites.items():
                    suite.update(FrameRecord(prediction=next(streams[name]), **known))
                bar.update(1)
    return {
        name: {metric: None if math.isnan(value) else value for metric, value in suite.compute().items()}
        for name, suite in suites.items()
    }


def _knowledge(study: Study, dataset: str, clip: Clip, estimator: str) -> Iterator[dict[str, np.ndarray | None]]:
    """What FrameRecords of a clip hold beside the prediction."""
    size, truth = study.profile.input_size, study.truth_root(dataset)
    flows = None if estimator == EXACT else study.flows(dataset, estimator)
    for k in range(len(clip)):
        known: dict[str, np.ndarray | None] = {"target": true_labels(clip, k, size, truth)}
        for field, other in (("flow_to_next", k + 1), ("flow_to_previous", k - 1)):
            if not 0 <= other < len(clip):
                continue
            if flows is not None:
                known[field] = flows.between(clip, k, other).numpy()
                continue
            flow, hidden = exact_motion(truth, clip, k, other, size)
            known[field] = flow.numpy()
            if other > k:
                known["occluded_next"] = hidden.numpy()
        yield known


def _label_maps(study: Study, name: str, dataset: str) -> LabelMaps:
    """Where the label maps of a system, a control or the truth come from: clip -> its maps in order."""
    size, truth = study.profile.input_size, study.truth_root(dataset)
    if name == TRUTH:
        return lambda clip: (exact_labels(truth, clip, k, size) for k in range(len(clip)))
    if name == CONSTANT:
        shares = list(class_shares(study.clips(dataset, "train"), study.spec(dataset), size).values())
        labels = np.full(size, int(np.argmax(shares)), np.uint8)
        return lambda clip: (labels for _ in range(len(clip)))
    folder = study.predict(SOURCE if name in (HELD, CARRIED) else name, dataset)
    if name == HELD:
        return lambda clip: (read_prediction(folder, clip, 0) for _ in range(len(clip)))
    if name == CARRIED:
        flows = study.exact_flows(dataset) or study.flows(dataset, study.profile.metric_flow)
        return lambda clip: carried(folder, clip, flows)
    return lambda clip: (read_prediction(folder, clip, k) for k in range(len(clip)))


def carried(predictions: Path, clip: Clip, flows: FlowSource) -> Iterator[np.ndarray]:
    """The first frame's label map moved along the flow through the whole clip; what comes into view is filled as predicted.

    With exact flow it is a memory that never forgets and never learns: all but perfectly consistent by construction.
    """
    labels = read_prediction(predictions, clip, 0)
    yield labels
    for k in range(1, len(clip)):
        warped = warp_labels(labels, flows.between(clip, k, k - 1).numpy())
        labels = np.where(warped == IGNORE, read_prediction(predictions, clip, k), warped)
        yield labels

"""Every metric for a study's systems, controls and the truth itself, under several flows (notebook 11).

The controls of `sspcore.evaluation.controls` need no model of their own: they are label maps made from the data, or from
what Base wrote to disk. The constant-alpha controls are systems of the study and are scored like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.files import read_json, write_json
from sspcore.core.images import resize_labels
from sspcore.core.paths import slug
from sspcore.core.store import KEY_FILE, stable_hash
from sspcore.data.clips import class_shares
from sspcore.data.truth import exact_labels
from sspcore.evaluation.clips import LabelMaps, read_prediction, score_all
from sspcore.evaluation.controls import CARRIED, CONSTANT, HELD, Row, carried, constant_label, held
from sspcore.metrics import METRICS
from sspcore.models.controls import AVERAGING
from sspcore.models.systems import SYSTEMS, system
from sspcore.motion.weights import RAFT_WEIGHTS
from sspcore.study import Study
from sspcore.study.keys import made_by

EXACT, TRUTH, SOURCE = "exact", "Ground truth", "Base"
KINDS = {TRUTH: "truth", CONSTANT: "control", HELD: "control", CARRIED: "control"}  # of what is no system


def estimators(study: Study, dataset: str) -> list[str]:
    """Flows to score under: exact on rendered data, DIS, and RAFT where its weights are there (nothing is fetched)."""
    exact = [EXACT] if study.truth_root(dataset) is not None else []
    return [*exact, "dis-fast", "dis-medium", *(["raft-20"] if RAFT_WEIGHTS.is_file() else [])]


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
        if name not in SYSTEMS and not name.startswith(AVERAGING):
            continue  # another control, which only chapter 12 or a call by name has scored
        if folder == path.parents[1] and not hidden:
            study.predict(name, dataset)
            found.add(name)
    unlearned = [system(name) for name in found if name not in SYSTEMS]
    unlearned.sort(key=lambda spec: (spec.starts_from, spec.name))
    return [*(name for name in SYSTEMS if name in found), *(spec.name for spec in unlearned)]


def controls(study: Study, dataset: str, systems: Iterable[str]) -> list[str]:
    """Controls and bounds that need no model: those for which the data, and Base among `systems`, suffice."""
    carried = [HELD, CARRIED] if SOURCE in systems else []
    return [CONSTANT, *carried, *([TRUTH] if study.truth_root(dataset) is not None else [])]


def metric_matrix(study: Study, systems: Iterable[str], dataset: str, estimator: str) -> list[Row]:
    """All metrics of systems (names of the registry) and model-free controls (`controls`) under one flow.

    Accuracy is counted on the dense exact labels of rendered data, on the sparse labels of real data; it may therefore
    differ by a little from the results table. Rows are kept on disk, and made again when what they rest on changes.

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
    spec, scored = study.spec(dataset), {}
    if missing:
        scored = score_all(
            study.clips(dataset, "val"), {name: _label_maps(study, name, dataset) for name in missing}, spec,
            None if estimator == EXACT else study.flows(dataset, estimator), study.truth_root(dataset),
            study.profile.input_size, f"{spec.title}: all metrics, {estimator} flow", study.profile.conventions,
        )
    for name, scores in scored.items():
        path, key = missing[name]
        kind = KINDS.get(name) or system(name).kind
        origin = {"system": name, "kind": kind, "dataset": dataset, "estimator": estimator, "seed": study.seed}
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


def _row_file(study: Study, name: str, dataset: str, estimator: str) -> tuple[Path, str]:
    source = None
    if name not in (TRUTH, CONSTANT):
        source = read_json(study.predict(SOURCE if name in (HELD, CARRIED) else name, dataset) / KEY_FILE)["key"]
    conventions = study.profile.conventions
    scored = study.profile.key("input_size", "held_out", "held_out_fold", "metric_flow")
    settings = scored, conventions.of("tc", "vc", "raft_input")
    data = study.clips_key(dataset), study.spec(dataset).moving
    key = stable_hash([made_by(__name__), name, source, data, estimator, settings, list(METRICS)])
    folder = study.workspace.base / "metrics" / dataset / f"seed{study.seed}" / estimator
    return folder / f"{slug(name)}.json", key


def _label_maps(study: Study, name: str, dataset: str) -> LabelMaps:
    """Where the label maps of a system, a control or the truth come from: clip -> its maps in order."""
    size, truth = study.profile.input_size, study.truth_root(dataset)
    if name == TRUTH:
        return lambda clip: (exact_labels(truth, clip, k, size) for k in range(len(clip)))
    if name == CONSTANT:
        shares = class_shares(study.clips(dataset, "train"), study.spec(dataset), size).values()
        return lambda clip: constant_label(clip, shares, size)
    folder = study.predict(SOURCE if name in (HELD, CARRIED) else name, dataset)
    if name == HELD:
        return lambda clip: held(folder, clip)
    if name == CARRIED:
        flows = study.exact_flows(dataset) or study.flows(dataset, study.profile.metric_flow)
        return lambda clip: carried(folder, clip, flows)
    return lambda clip: (resize_labels(read_prediction(folder, clip, k), size) for k in range(len(clip)))

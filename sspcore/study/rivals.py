"""SSP against what steadies Base without learning: scores, flicker, lag and cost in one report (notebook 12).

Nothing is trained here. `benchmarks/rivals.py` writes the report to a file.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from sspcore.core.errors import SspError
from sspcore.evaluation.clips import as_json, knowledge
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.models.controls import RIVALS
from sspcore.models.systems import system
from sspcore.study import places
from sspcore.study.gates import frame_times
from sspcore.study.stages import Study

IMAGE = "Base"
LEARNED = ("SSP", "SSP (gate)", "SSP (gate at inference)", "SSP-R")
SCORES = ("miou", "miou_moving", "tc", "tc_exact_flow")
ALONG_FLOW = ("flicker", "lag")
TIMED_FRAMES = 24
Report = dict[str, Any]


def compared(study: Study, dataset: str) -> list[str]:
    """Base, the constant alphas, the rivals, and those of LEARNED that have been trained.

    Raises: SspError if Base has not.
    """
    if not _is_trained(study, IMAGE, dataset):
        raise SspError(f"{study.spec(dataset).title}: {IMAGE} is not trained under profile {study.profile.name}; run it first")
    return [IMAGE, *study.controls(), *RIVALS, *(name for name in LEARNED if _is_trained(study, name, dataset))]


def _is_trained(study: Study, name: str, dataset: str) -> bool:
    spec = system(name)
    return places.training(study, name if spec.recipe is not None else spec.starts_from, dataset).is_made()


def measure(study: Study, datasets: Iterable[str]) -> Report:
    """Stream and score what `compared` names; scores that are there already are taken from the study.

    Returns: "provenance", "titles" and "rows": of each system and data set its name, kind, seed, SCORES and ALONG_FLOW
        (fractions in 0..1, lag in frames; None: nothing could be scored), and what a frame takes: "network_ms" (network and
        mixing) and "motion_ms" (registration, flow, or both).
    """
    datasets, rows = list(datasets), []
    for dataset in datasets:
        names = compared(study, dataset)
        scored = study.evaluate_all(names, [dataset])
        further, times = along_flow(study, dataset, names), frame_times(study, dataset, names, TIMED_FRAMES, statistics.median)
        rows += [
            {"system": name, "kind": row["kind"], "dataset": dataset, "seed": study.seed}
            | {score: row[score] for score in SCORES} | further[name]
            | {f"{part}_ms": round(times[name][f"{part} (ms)"], 2) for part in ("network", "motion")}
            for name, row in zip(names, scored, strict=True)
        ]
    return {"provenance": study.origin(datasets), "titles": study.titles(datasets), "rows": rows}


def along_flow(study: Study, dataset: str, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """System -> ALONG_FLOW over the validation clips: by exact flow where the data is rendered, else by the metric's.

    Labels and flow of a frame are read once for all systems.
    """
    spec, size, truth = study.spec(dataset), study.profile.input_size, study.truth_root(dataset)
    flows = study.flows(dataset, study.profile.metric_flow) if truth is None else None
    wanted = [name for name in ALONG_FLOW if name != "lag" or (truth is not None and spec.moving_ids)]
    suites = {name: MetricSuite(spec.n_classes, wanted, spec.moving_ids) for name in names}
    for clip in study.clips(dataset, "val"):
        maps = {name: study.label_maps(name, dataset, clip) for name in names}
        for suite in suites.values():
            suite.start_clip()
        for k, known in enumerate(knowledge(clip, size, flows, truth)):
            for name, suite in suites.items():
                suite.update(FrameRecord(prediction=maps[name][k], **known))
    return {name: dict.fromkeys(ALONG_FLOW) | as_json(suite.compute()) for name, suite in suites.items()}

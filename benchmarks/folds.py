"""Settings compared on folds of the training sequences: python benchmarks/folds.py [--sets ...] [--plan] [--json FILE].

A fold takes `held_out` training sequences away, trains on the rest and scores on these, so that nothing is chosen on the
reported split. Variants differ in one setting. All artefacts lie in the profile's data folder: a stopped run goes on where
it was, and what is finished is only read. The file gets the rows of each fold as soon as it is done.

The sets of variants, and the question behind each, are in fold_variants.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import common
from fold_variants import CURVE, SETS, Comparison
from sspcore.core.errors import SspError
from sspcore.core.files import read_json, write_json
from sspcore.core.progress import configure_logging, tqdm
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash
from sspcore.data.truth import true_labels
from sspcore.evaluation.clips import as_json
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.models.systems import system
from sspcore.report.curve import above_curve
from sspcore.report.frontier import curve_names, image_of
from sspcore.study import Study
from sspcore.study.ablations import under_choice
from sspcore.study.engine.costs import Costs
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.make import make
from sspcore.study.engine.task import Task
from sspcore.study.teacher import stored_labels
from sspcore.study.text_table import text_table

FIGURES = ("miou", "miou_moving", "tc", "tc_exact_flow", "per_class_iou")
KEPT = ("system", *FIGURES, "training_steps")  # of a row of the results table


def rows_of(study: Study, comparison: Comparison, datasets: Iterable[str]) -> list[dict[str, Any]]:
    """Train and score the variants on one fold, which the study's profile names."""
    asked = [(dataset, variant) for dataset in datasets for variant in comparison.variants(study, dataset)]
    study.ask("variants", tuple((variant.overrides, variant.system, dataset) for dataset, variant in asked))
    rows, fold = [], study.profile.held_out_fold
    for dataset, variant in asked:
        row = study.changed(variant.overrides).evaluate(variant.system, dataset)
        fields = {"dataset": dataset, "fold": fold, "variant": variant.name, "changes": variant.overrides}
        rows.append(fields | {name: row[name] for name in KEPT})
    return [row | {CURVE: height(row, [one for one in rows if one["dataset"] == row["dataset"]])} for row in rows]


def height(row: dict[str, Any], rows: list[dict[str, Any]]) -> float | None:
    """mIoU of a video system above its image model and the constant alphas on it among a fold's rows; None without a curve."""
    if system(row["system"]).kind != "video" or None in (row["tc"], row["miou"]):
        return None
    points = {one["system"]: (one["tc"], one["miou"]) for one in rows if None not in (one["tc"], one["miou"])}
    curve = [points[name] for name in curve_names(points).get(image_of(row["system"]), [])]
    return above_curve(curve, row["tc"], row["miou"])[0] if len(curve) > 1 else None


def rows_of_labels(study: Study, dataset: str) -> list[dict[str, Any]]:
    """How good the labels are that students learn from, on training frames without a label, at the students' size."""
    size, spec = study.profile.input_size, study.spec(dataset)
    stores = {"unfused": study.teacher_labels(dataset), "fused": study.fused_labels(dataset)}
    if not study.is_real:
        stores["truth at stride 4"] = study.changed({"distil_from": "truth"}).teacher_labels(dataset)
    suites = {name: MetricSuite(spec.n_classes, ("miou", "miou_moving"), spec.moving_ids) for name in stores}
    for clip in tqdm(study.clips(dataset, "train"), desc=f"{spec.title}: labels", unit="clip"):
        for k in sorted({*range(len(clip))} - {*clip.labelled}):
            target = true_labels(clip, k, size, study.truth_root(dataset))
            for name, store in stores.items():
                suites[name].update(FrameRecord(stored_labels(store, clip, k, size), target))
    fold = study.profile.held_out_fold
    return [
        {"dataset": dataset, "fold": fold, "labels": name, **as_json(suite.compute()), "per_class_iou": as_json(dict(zip(
            spec.classes, suite.details()["miou"]["per_class"], strict=True
        )))}
        for name, suite in suites.items()
    ]


def summary(rows: list[dict[str, Any]], compared_with: str) -> list[dict[str, Any]]:
    """Means over folds, and on how many folds a variant is better than the one that nothing is changed in."""
    found = []
    for dataset, name in dict.fromkeys((row["dataset"], row["variant"]) for row in rows):
        ours, theirs = (
            [row for row in rows if (row["dataset"], row["variant"]) == (dataset, each)] for each in (name, compared_with)
        )
        line: dict[str, Any] = {"dataset": dataset, "variant": name, "folds": len(ours)}
        for figure in ("miou", "miou_moving", "tc", CURVE):
            pairs = [(a[figure], b[figure]) for a, b in zip(ours, theirs, strict=True) if None not in (a[figure], b[figure])]
            line[figure] = fmean(a for a, _ in pairs) if pairs else None
            line[f"{figure}_better"] = sum(a > b for a, b in pairs)
        found.append(line)
    return found


def chosen(rows: list[dict[str, Any]], comparison: Comparison) -> str | None:
    """The variant of the compared system of the highest mean over folds and data sets; truth in the teacher's place is none."""
    compared = next(row["system"] for row in rows if row["variant"] == comparison.compared_with)
    values: dict[str, list[float | None]] = {}
    for row in rows:
        if row["system"] == compared and "distil_from" not in row["changes"]:
            values.setdefault(row["variant"], []).extend(row[figure] for figure in comparison.rank)
    means = {name: fmean(each) for name, each in values.items() if None not in each}
    return max(means, key=lambda name: means[name]) if means else None


def tables(content: dict[str, Any], comparison: Comparison) -> str:
    """What is printed of one set; "better": on how many folds."""
    columns = {"dataset": ("data set", ""), "variant": ("variant", ""), "folds": ("folds", "")}
    for figure, title in (("miou", "mIoU"), ("miou_moving", "moving"), ("tc", "TC"), (CURVE, "above curve")):
        columns |= {figure: (title, ".2%"), f"{figure}_better": ("better", "")}
    text = text_table(content["summary"], columns)
    if content["labels"]:
        columns = {"dataset": ("data set", ""), "fold": ("fold", ""), "labels": ("labels", "")}
        text += "\n\n" + text_table(content["labels"], columns | {"miou": ("mIoU", ".2%"), "miou_moving": ("moving", ".2%")})
    return f"{text}\n\nchosen by {' + '.join(comparison.rank)}: {content['chosen']}"


def work(studies: Iterable[Study], names: Iterable[str], datasets: Iterable[str]) -> float:
    """Minutes of one core that are still to be done."""
    tasks: dict[str, Task] = {}
    for study in studies:
        for name in names:
            for dataset in datasets:
                for variant in SETS[name].variants(study, dataset):
                    Planner(study.changed(variant.overrides), tasks).goal("evaluate", variant.system, dataset)
                if SETS[name].labels:
                    Planner(study, tasks).goal("fused", dataset)
    costs = Costs.load()
    return sum(costs.seconds(task) for task in tasks.values()) / 60


def numbers(text: str) -> list[int]:
    """The numbers of a list with commas."""
    return [int(part) for part in text.split(",")]


def main(arguments: list[str] | None = None) -> int:
    """Compare and write; returns the exit status."""
    parser = argparse.ArgumentParser("folds", description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS), help=f"of variants (default: {','.join(SETS)})")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seed", type=int, help="of training (default: the profile's)")
    parser.add_argument("--folds", type=numbers, default="0,1,2", metavar="N,N", help="default: 0,1,2")
    parser.add_argument("--datasets", help="default: the profile's")
    parser.add_argument("--data", type=Path, help="folder of the real releases, for profiles that do not render")
    parser.add_argument("--root", type=Path, help="folder of artefacts (default: the repository's data folder)")
    parser.add_argument("--workers", type=int, help="processes (default: by the machine's cores)")
    parser.add_argument("--plan", action="store_true", help="say how many minutes of one core are to be done, and do nothing")
    parser.add_argument("--json", type=Path, default=common.REPOSITORY / "figures" / "folds.json")
    options = parser.parse_args(arguments)
    configure_logging()
    names = options.sets.split(",")
    if unknown := [name for name in names if name not in SETS]:
        raise SspError(f"--sets {','.join(unknown)}: unknown; choose from {', '.join(SETS)}")
    maker = partial(make, workers=options.workers)
    study = under_choice(Study.open(options.profile, options.seed, options.data, root=options.root, maker=maker), "SSP-R")
    datasets = options.datasets.split(",") if options.datasets else list(study.profile.datasets)
    studies = [study.changed({"held_out_fold": fold}) for fold in options.folds]
    for each in studies:  # a fold that is not there is said before anything is trained
        for dataset in datasets:
            Planner(each, {}).clips(dataset, "val")
    if options.plan:
        print(f"{', '.join(names)}: {work(studies, names, datasets):.0f} minutes of one core")
        return 0
    written = read_json(options.json) if options.json.is_file() else {}
    for name in names:
        comparison, content = SETS[name], {"rows": [], "labels": []}
        for each in studies:
            content["rows"] += rows_of(each, comparison, datasets)
            if comparison.labels:
                content["labels"] += [row for dataset in datasets for row in rows_of_labels(each, dataset)]
            data = stable_hash([each.clips_key(dataset) for dataset in datasets])
            origin = provenance(study.profile.name, study.seed, data) | {
                "data": study.changed({"held_out": 0}).data_origin, "held_out": study.profile.held_out,
                "folds": sorted({row["fold"] for row in content["rows"]}), "titles": study.titles(datasets),
            }
            content["summary"] = summary(content["rows"], comparison.compared_with)
            content["chosen"] = chosen(content["rows"], comparison)
            written[name] = {"provenance": origin, "compared_with": comparison.compared_with, **content}
            write_json(options.json, written)
        print(f"\n{name}\n{tables(content, comparison)}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SspError as error:
        sys.exit(str(error))

"""Several training seeds of one profile: mean, spread, difference to Base, and distance to the constant-alpha curve.

    sspcore seeds --profile demo --seeds 0,1,2

Reads what finished runs have left in the workspace and trains nothing; a run that is missing is an error of one line.
Writes tables/seeds.* and, for each data set, `<dataset>_frontier_seeds` and `<dataset>_frontier_moving_seeds` beside the
pictures of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sspcore.core.errors import ArtefactError
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash
from sspcore.models.systems import control
from sspcore.report.cost import with_costs
from sspcore.report.curve import CURVE_NOTE, above_curve
from sspcore.report.frontier import curve_names, frontier, image_of
from sspcore.report.paired import cell, comparison, difference_notes, difference_tables, of_run
from sspcore.report.scores import COMPARED
from sspcore.report.spread import mean_and_std, spread
from sspcore.report.style import origin_line, save_set
from sspcore.report.tables import NONE, SHIPPED, Document, Row, by_dataset, headings, shown_names, side_by_side, titles_of
from sspcore.study import Study

BASE = "Base"
OF_A_SYSTEM = ("system", "kind", "dataset", "encoder_start", "stand_in", "gmacs", "data", "scored_size")  # under all seeds
CURVE_COLUMN = "Above the curve of"
PICTURES = {"frontier_seeds": "miou", "frontier_moving_seeds": "miou_moving"}
SPREAD_NOTE = (
    "Mean ± sample standard deviation over the seeds; differences to Base are taken seed by seed, with their interval where "
    "scores of single clips were kept."
)


def finished_studies(study: Study, systems: Sequence[str], datasets: Sequence[str]) -> list[Study]:
    """This study's seed first, then all others of its workspace under which every one of the systems has finished.

    Raises: ArtefactError if this study's own seed has not.
    """
    folders = (path for dataset in datasets for path in (study.workspace.base / "runs" / dataset).glob("seed*"))
    others = sorted({int(path.name.removeprefix("seed")) for path in folders if path.name.removeprefix("seed").isdigit()})
    found = []
    for seed in dict.fromkeys([study.seed, *others]):
        other = Study(study.profile, seed, study.release_root, study.workspace, read_only=True)
        try:
            gather([other], systems, datasets)
        except ArtefactError:
            if seed == study.seed:
                raise
            continue
        found.append(other)
    return found


def gather(studies: Iterable[Study], systems: Sequence[str], datasets: Sequence[str]) -> list[Row]:
    """Rows of all systems and controls of all studies, each with its "seed", and with costs.

    Constant-alpha controls on image systems other than Base are taken too where every study has them.
    Raises: ArtefactError if a finished run of a system is missing.
    """
    studies = list(studies)
    rows = [
        study.evaluate(name, dataset) | {"seed": study.seed}
        for study in studies for dataset in datasets for name in dict.fromkeys([*systems, *study.controls()])
    ]
    there = {row["system"] for row in rows}
    images = sorted({image for name in systems if (image := image_of(name)) is not None and image in systems})
    alphas = studies[0].profile.constant_alphas if studies else ()
    more = [name for image in images for alpha in alphas if (name := control(alpha, image).name) not in there]
    for dataset in datasets:
        rows += [row for name in more for row in _if_all_have_it(studies, name, dataset)]
    if not rows:
        return rows
    return with_costs({"provenance": {"data": studies[0].data_origin}, "rows": rows}, studies[0].profile)["rows"]


def _if_all_have_it(studies: list[Study], name: str, dataset: str) -> list[Row]:
    try:
        return [study.evaluate(name, dataset) | {"seed": study.seed} for study in studies]
    except ArtefactError:
        return []


def summary(rows: list[Row]) -> list[Row]:
    """One entry a data set and system: mean, standard deviation and values over the seeds.

    Of the COMPARED as such, as differences to Base ("to_base", None without Base), and "above_curve": the distance to the
    constant-alpha curve of the system's own image model (None for controls, for that image model itself and where the
    run has no such curve). Values are fractions; the standard deviation of one seed is None.
    """
    by_seed = {(row["dataset"], row["seed"], row["system"]): row for row in rows}
    systems = dict.fromkeys((row["dataset"], row["system"]) for row in rows)
    entries = []
    for dataset, name in systems:
        group = [row for row in rows if (row["dataset"], row["system"]) == (dataset, name)]
        bases = [by_seed.get((dataset, row["seed"], BASE)) for row in group]
        entries.append(
            {key: group[0].get(key) for key in OF_A_SYSTEM}
            | {"seeds": [row["seed"] for row in group]}
            | {metric: _statistics([row[metric] for row in group]) for metric in COMPARED}
            | {"to_base": None if None in bases or name == BASE else {
                metric: _statistics([
                    None if None in (row[metric], base[metric]) else row[metric] - base[metric]
                    for row, base in zip(group, bases, strict=True)
                ]) for metric in COMPARED
            }}
            | {"above_curve": _distances(group, by_seed)}
        )
    return entries


def _distances(group: list[Row], by_seed: dict[tuple[str, int, str], Row]) -> Row | None:
    name, dataset = group[0]["system"], group[0]["dataset"]
    image = image_of(name)
    if group[0]["kind"] == "control" or image in (None, name):
        return None
    values, ends = [], []
    for row in group:
        rows = {system: entry for (where, seed, system), entry in by_seed.items() if (where, seed) == (dataset, row["seed"])}
        curve = [
            (rows[name]["tc"], rows[name]["miou"]) for name in curve_names(rows).get(image, ())
            if None not in (rows[name]["tc"], rows[name]["miou"])
        ]
        if len(curve) < 2 or None in (row["tc"], row["miou"]):
            return None
        value, end = above_curve(curve, row["tc"], row["miou"])
        values.append(value)
        ends.append(end)
    return {"image_model": image, **_statistics(values), "ends": ends}


def _statistics(values: list[float | None]) -> Row:
    mean, std = mean_and_std(values)
    return {"mean": mean, "std": std, "values": values}


def above_curves(rows: list[Row]) -> dict[str, Row]:
    """"<system>, <data set>" -> how far it is above the curve of its image model, and what both make of moving classes."""
    entries = {(entry["system"], entry["dataset"]): entry for entry in summary(rows)}
    found = {
        f"{name}, {SHIPPED.get(dataset, dataset)}": (entry, dataset)
        for (name, dataset), entry in entries.items() if entry["above_curve"]
    }
    return {
        name: {
            "image model": (curve := entry["above_curve"])["image_model"], "seeds": len(entry["seeds"]),
            "points above curve": 100 * curve["mean"], "ends": " ".join(filter(None, curve["ends"])),
            "mIoU moving (%)": _percent(entry["miou_moving"]["mean"]),
            "of the image model (%)": _percent(entries[curve["image_model"], dataset]["miou_moving"]["mean"]),
        }
        for name, (entry, dataset) in found.items()
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def document(results: Row) -> Document:
    """Tables of mean and spread, in percent and points of percent; `results` is the content of seeds.json."""
    origin, entries = results["provenance"], results["rows"]
    paired = results.get("differences", [])
    frames = by_dataset(results, lambda rows: _frame(rows, paired))
    columns = {"mIoU": "mIoU", "TC": "TC", "mIoU moving": "mIoU moving", CURVE_COLUMN: "above the curve"}
    wide = side_by_side(frames, columns, titles_of(results))
    lines = [
        {"system": entry["system"], "dataset": entry["dataset"], "seeds": len(entry["seeds"])}
        | {f"{column}_{value}": found[value] for column, found in _columns(entry) for value in ("mean", "std")}
        for entry in entries
    ]
    caption = f"{origin_line(origin)} {SPREAD_NOTE} All in percent or points of percent."
    shown = headings(frames, results) | difference_tables(results)
    return Document("Over training seeds", [caption, CURVE_NOTE, *difference_notes(results)], shown, wide, lines, origin)


def _columns(entry: Row) -> list[tuple[str, Row]]:
    """(column, mean and spread) of an entry; empty values where there is nothing to compare with."""
    empty = {"mean": None, "std": None}
    to_base = entry["to_base"] or {}
    return [
        *((metric, entry[metric]) for metric in COMPARED),
        *((f"{metric}_to_base", to_base.get(metric, empty)) for metric in COMPARED),
        ("above_curve", entry["above_curve"] or empty),
    ]


def _frame(entries: list[Row], paired: list[Row]) -> pd.DataFrame:
    columns = [dict(_columns(entry)) for entry in entries]
    to_base = ("miou", "tc", "miou_moving") if paired else ("miou", "tc")
    return pd.DataFrame({
        "System": shown_names(entries),
        "Encoder start": [entry["encoder_start"] or NONE for entry in entries],
        "Seeds": [str(len(entry["seeds"])) for entry in entries],
        **{title: [_spread(found[metric]) for found in columns] for metric, title in COMPARED.items()},
        **{f"{COMPARED[metric]} to Base": [_to_base(entry, metric, paired) for entry in entries] for metric in to_base},
        CURVE_COLUMN: [_curve_cell(entry["above_curve"]) for entry in entries],
    }, index=[""] * len(entries))


def _to_base(entry: Row, metric: str, paired: list[Row]) -> str:
    """The difference with its interval; with its deviation over the seeds in results that hold no intervals."""
    found = comparison(paired, entry["dataset"], entry["system"], BASE)
    if found or paired:
        return cell(found.get(metric)) if found else NONE
    return _spread((entry["to_base"] or {}).get(metric, {"mean": None}), "+")


def _spread(value: Row, sign: str = "") -> str:
    return NONE if value["mean"] is None else spread(value["mean"], value["std"], sign)


def _curve_cell(value: Row | None) -> str:
    if value is None:
        return NONE
    marks = "".join(mark for mark, end in (("†", "below"), ("‡", "beyond")) if end in value["ends"])
    return f"{_spread(value, '+')}{marks} ({value['image_model']})"


def write_seeds(studies: Sequence[Study], systems: Sequence[str], datasets: Sequence[str], folder: Path) -> list[Path]:
    """Gather, and write the tables (tables/seeds.*) and the pictures into `folder`; returns the paths."""
    rows, first = gather(studies, systems, datasets), studies[0]
    origin = provenance(first.profile.name, first.seed, stable_hash([first.clips_key(name) for name in datasets]))
    del origin["seed"]
    origin |= {"seeds": [study.seed for study in studies], "data": first.data_origin, "metric_flow": first.profile.metric_flow}
    titles = first.titles(datasets)
    results = {
        "provenance": origin, "titles": titles, "notes": [SPREAD_NOTE, CURVE_NOTE], "rows": summary(rows),
        "differences": of_run(studies, rows),
    }
    written = document(results).write(results, folder / "tables", "seeds")
    pictures = {}
    for dataset in datasets:
        own = [row for row in rows if row["dataset"] == dataset]
        for name, accuracy in PICTURES.items():
            if any(row[accuracy] is not None for row in own):
                title = titles[dataset] + (", moving classes" if accuracy == "miou_moving" else "")
                pictures[f"{dataset}_{name}"] = frontier(own, title, accuracy=accuracy)
    return [*written, *save_set(pictures, folder, origin, PICTURES, datasets)]

"""Mean and spread over training seeds: how they are worked out, how they are written, and results of several seeds as one.

Results are the content of results.json. Of several seeds, a row holds the mean of each score, "<score>_std" beside it, and
"seeds"; the rows of the seeds themselves are in "rows_by_seed", each with its "seed". Results of one seed have none of these.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
STD = "_std"
MEASURED = ("miou", "tc", "tc_exact_flow", "tc_reference", "miou_moving", "registration_fallback_rate")
PER_CLASS = ("per_class_iou", "per_class_tc")


def mean_and_std(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation of the values that are known; None for what cannot be said of so few."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None, statistics.stdev(known) if len(known) > 1 else None


def spread(mean: float, std: float | None, sign: str = "", digits: int = 2) -> str:
    """Mean and standard deviation of fractions in percent, "77.72 ± 0.51"; the mean alone where there is no deviation.

    `sign`: "+" for differences, whose sign is always written.
    """
    return f"{100 * mean:{sign}.{digits}f}".replace("-", "−") + ("" if std is None else f" ± {100 * std:.{digits}f}")


def seeds_of(origin: Mapping[str, Any]) -> list[int]:
    """The training seeds of a provenance."""
    return list(origin["seeds"]) if "seeds" in origin else [origin["seed"]]


def seeds_text(origin: Mapping[str, Any]) -> str:
    """The training seeds of a provenance in words: "seed 0", "seeds 0, 1, 2"."""
    seeds = seeds_of(origin)
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def of_seed(origin: Mapping[str, Any], seed: int) -> Row:
    """The provenance of what is drawn from the artefacts of one of the seeds."""
    return _renamed(origin, "seeds", "seed", seed) if "seeds" in origin else dict(origin)


def seed_rows(results: Mapping[str, Any]) -> list[Row]:
    """The rows of every seed by itself, several of a system where there are several seeds."""
    return results.get("rows_by_seed", results["rows"])


def keyed_rows(results: Mapping[str, Any]) -> dict[tuple[str, int, str], Row]:
    """The rows of every seed by data set, seed and system."""
    seed = seeds_of(results["provenance"])[0]
    return {(row["dataset"], row.get("seed", seed), row["system"]): row for row in seed_rows(results)}


def over_seeds(found: Sequence[Mapping[str, Any]]) -> Row:
    """Results of several seeds as one (see this module); those of one seed as they are.

    Args:
        found: results of one seed each; a system may be missing from some of them.
    """
    if len(found) == 1:
        return dict(found[0])
    seeds = [results["provenance"]["seed"] for results in found]
    origin = _renamed(found[-1]["provenance"], "seed", "seeds", seeds)
    rows = [row | {"seed": seed} for seed, results in zip(seeds, found, strict=True) for row in results["rows"]]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in _in_order(rows):
        groups.setdefault((row["dataset"], row["system"]), []).append(row)
    return {**found[-1], "provenance": origin, "rows": [_mean_row(group) for group in groups.values()], "rows_by_seed": rows}


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Rows by data set and then by system, as the seed with the most rows of a data set has them."""
    places: dict[tuple[str, str], int] = {}
    by_seed: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        by_seed.setdefault((row["dataset"], row["seed"]), []).append(row)
    for group in sorted(by_seed.values(), key=len, reverse=True):
        for row in group:
            places.setdefault((row["dataset"], row["system"]), len(places))
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    return sorted(rows, key=lambda row: (datasets.index(row["dataset"]), places[row["dataset"], row["system"]]))


def _mean_row(group: Sequence[Row]) -> Row:
    mean: Row = {}
    for key, value in group[0].items():
        if key in MEASURED:
            mean[key], mean[key + STD] = mean_and_std(row[key] for row in group)
        elif key in PER_CLASS:
            classes = {name: mean_and_std(row[key][name] for row in group) for name in value}
            mean[key], mean[key + STD] = ({name: pair[k] for name, pair in classes.items()} for k in (0, 1))
        elif key != "seed":
            mean[key] = value
    return mean | {"seeds": [row["seed"] for row in group]}


def _renamed(origin: Mapping[str, Any], old: str, new: str, value: Any) -> Row:
    """The entry `old` as `new` with another value, in its place."""
    return {new if key == old else key: value if key == old else kept for key, kept in origin.items()}

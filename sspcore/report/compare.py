"""A run's scores against the committed ones, row by row.

With the pinned packages a run repeats every digit of its scores on CPUs of one kind, with any number of workers. Another kind
of CPU or a GPU rounds differently, and training makes the difference larger: it is to be compared with the spread over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from sspcore.core.errors import SspError
from sspcore.core.files import read_json
from sspcore.core.paths import REPOSITORY, shown
from sspcore.report.scores import COMPARED, SCORES
from sspcore.report.spread import STD, keyed_rows, mean_and_std, seeds_of, seeds_text
from sspcore.study.profiles import Profile
from sspcore.study.text_table import text_table

TABLE = Path("tables", "results.json")
ADDED = ("seed", "data", "gmacs", "gmacs_with_attention", "flow_counted")  # by the finished table; scoring does not know them
Found = dict[str, Any]


def tables_of(profile: Profile, figures: Path) -> tuple[Path, Path]:
    """The results tables of a profile's run, whose figures lie in `figures`, and of its committed run.

    Raises: SspError if one of them is missing.
    """
    if profile.publish_to is None:
        raise SspError(f"profile {profile.name} publishes nothing, so no run of it is committed; take another profile")
    ours, committed = figures / TABLE, REPOSITORY / profile.publish_to / TABLE
    if not ours.is_file():
        raise SspError(f"{shown(ours)}: is missing; run ./reproduce.sh --profile {profile.name} first")
    if not committed.is_file():
        raise SspError(f"{shown(committed)}: is missing: no run of profile {profile.name} is committed; take another profile")
    return ours, committed


def compare(run: Mapping[str, Any], committed: Mapping[str, Any]) -> Found:
    """Compare the rows that two results tables share.

    Args:
        run, committed: contents of results.json, each of one seed or of several; the run's may be unfinished.

    Returns: JSON values: "run" and "committed", their provenance; "rows", what both have, each with the names of the entries
        that "differ" in any digit, and its scores in both with their standard deviation over the committed seeds (fractions);
        "identical", how many rows do not differ; "apart", score -> mean and largest distance of those that do, and their mean
        deviation over seeds; "missing", how many committed rows of the run's seeds and data sets the run has not (yet);
        "only_here", how many rows are not committed.
    Raises: SspError if the tables are of different data or share no row.
    """
    ours, theirs = keyed_rows(run), keyed_rows(committed)
    data = [results["provenance"]["data"] for results in (run, committed)]
    if data[0] != data[1]:
        raise SspError(f"the run is on {data[0]}, the committed one on {data[1]}; they do not compare")
    if not (shared := [key for key in theirs if key in ours]):
        raise SspError("the run's table and the committed one have no row in common: other seeds, systems or data sets")
    deviations = {(row["dataset"], row["system"]): row for row in committed["rows"]}
    rows = [
        {
            "dataset": key[0], "seed": key[1], "system": key[2],
            "differ": [name for name in theirs[key] if name not in ADDED and ours[key].get(name) != theirs[key][name]],
        } | {
            name: {
                "committed": theirs[key].get(name), "run": ours[key].get(name),
                "std": deviations[key[0], key[2]].get(name + STD),
            } for name in COMPARED
        } for key in shared
    ]
    differing = [row for row in rows if row["differ"]]
    expected = [key for key in theirs if key[0] in run["titles"] and key[1] in seeds_of(run["provenance"])]
    return {
        "run": run["provenance"], "committed": committed["provenance"], "identical": len(rows) - len(differing),
        "missing": len(expected) - len(shared), "only_here": len(ours) - len(shared),
        "apart": {name: _apart(differing, name) for name in COMPARED}, "rows": rows,
    }


def _apart(rows: Sequence[Found], name: str) -> dict[str, float | None] | None:
    """How far rows are apart in one score; None where none has it."""
    found = [row[name] for row in rows if None not in (row[name]["run"], row[name]["committed"])]
    distances = [abs(each["run"] - each["committed"]) for each in found]
    if not distances:
        return None
    return {"mean": fmean(distances), "largest": max(distances), "std": mean_and_std(each["std"] for each in found)[0]}


def after_run(profile: Profile, figures: Path) -> str:
    """The summary for a run that has ended; "" where there is no committed run to compare with, or no row of it."""
    try:
        found = compare(*map(read_json, tables_of(profile, figures)))
    except SspError:
        return ""
    return summary(found) + ("; sspcore compare shows them" if found["identical"] < len(found["rows"]) else "")


def summary(found: Mapping[str, Any]) -> str:
    """What a comparison has found, in one line."""
    count = len(found["rows"])
    parts = [f"{found['identical']} of {count} rows are the committed ones in every digit"]
    apart = {SCORES[name]: found["apart"][name] for name in ("miou", "tc") if found["apart"][name] is not None}
    if apart:
        parts.append("the others differ by " + " and ".join(
            f"{100 * each['mean']:.2f} points of {title} (at most {100 * each['largest']:.2f})" for title, each in apart.items()
        ))
    if found["missing"]:
        parts.append(f"{found['missing']} more are committed and not scored here")
    if found["only_here"]:
        parts.append(f"{found['only_here']} are scored here only")
    return f"{'; '.join(parts)} ({seeds_text(found['run'])}, committed run {found['committed']['commit']})"


def details(found: Mapping[str, Any]) -> str:
    """The rows that differ, in percent, and in what else the two runs differ; "" where no row does."""
    differing = [row for row in found["rows"] if row["differ"]]
    if not differing:
        return ""
    columns = {"dataset": ("data set", ""), "system": ("system", ""), "seed": ("seed", ""), "entries": ("entries", "")}
    lines = [
        {**{name: row[name] for name in ("dataset", "system", "seed")}, "entries": len(row["differ"])} for row in differing
    ]
    for name in ("miou", "tc"):
        for key, title in (("committed", "committed"), ("run", "here"), ("std", "± seeds")):
            columns[f"{name} {key}"] = (f"{SCORES[name]} {title}", ".2f")
            for line, row in zip(lines, differing, strict=True):
                line[f"{name} {key}"] = None if row[name][key] is None else 100 * row[name][key]
    note = "entries: how many of the row differ; ± seeds: standard deviation over the committed seeds; scores in percent"
    return "\n".join((text_table(lines, columns), note, *_recorded_differences(found)))


def _recorded_differences(found: Mapping[str, Any]) -> list[str]:
    """What the provenance of two runs says of their machines, packages and data that is not the same."""
    run, committed = (
        origin["versions"] | {name: origin.get(name) for name in ("machine", "data_key", "metric_flow", "commit")}
        for origin in (found["run"], found["committed"])
    )
    return [f"{name}: {value} committed, {run.get(name)} here" for name, value in committed.items() if run.get(name) != value]

"""The tables within README.md and docs/*.md, written from the files under figures/: `python docs/blocks.py`.

A document holds `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is the table NAME of this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import blocks_of_benchmarks
import blocks_of_claims
import blocks_of_runs
import blocks_of_streams
import pandas as pd
from blocks_of_benchmarks import ROOT, TITLES, read

from sspcore.core.files import atomic_file
from sspcore.report.results import SCORES
from sspcore.report.seeds import document, summary
from sspcore.report.spread import STD, seed_rows
from sspcore.report.tables import NONE, markdown, percent, points, text

DOCUMENTS = ("README.md", "docs/METHOD.md", "docs/deviations.md", "docs/real_footage.md", "docs/export.md", "docs/claims.md")
BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
README_SYSTEMS = ("Base", "DFF", "SSP", "KD Base", "KD-SSP")


def rows_of(dataset: str) -> dict[str, dict[str, Any]]:
    """System -> its row of the committed results."""
    return {row["system"]: row for row in read("tables/results.json")["rows"] if row["dataset"] == dataset}


def score(dataset: str, name: str, column: str) -> str:
    """A score of a system in the committed results, as a cell."""
    row = rows_of(dataset)[name]
    return percent(row[column], row.get(column + STD))


def curve_distance(dataset: str, name: str) -> tuple[float | None, float | None]:
    """mIoU above the constant-alpha curve of a system's own image model, at equal TC; None for image models.

    Returns: mean over the training seeds, and its standard deviation (None for one seed).
    """
    rows = [{"seed": 0} | row for row in seed_rows(read("tables/results.json")) if row["dataset"] == dataset]
    found = {entry["system"]: entry["above_curve"] for entry in summary(rows)}[name]
    return (None, None) if found is None else (found["mean"], found["std"])


def results() -> pd.DataFrame:
    """The systems that README speaks of."""
    columns: dict[str, list[str]] = {"System": list(README_SYSTEMS)}
    for dataset, title in TITLES.items():
        columns |= {
            f"{title}: {SCORES[column]}": [score(dataset, name, column) for name in README_SYSTEMS]
            for column in ("miou", "tc", "miou_moving")
        }
        columns[f"{title}: above the curve"] = [points(*curve_distance(dataset, name)) for name in README_SYSTEMS]
    return pd.DataFrame(columns)


def seeds() -> pd.DataFrame:
    """SSP and SSP-R over training seeds."""
    tables = []
    for heading, frame in document(read("tables/seeds.json")).tables.items():
        if "System" not in frame:
            continue  # the table of all differences
        chosen = frame[frame["System"].isin(["Base", "SSP", "SSP-R"])]
        chosen = chosen.drop(columns=["Encoder start", "TC, exact flow", "Seeds", "mIoU moving to Base"], errors="ignore")
        chosen.insert(0, "Data set", heading.split(" (")[0])
        tables.append(chosen)
    return pd.concat(tables)


def costs() -> pd.DataFrame:
    """Parameters and multiply-adds of the paper's systems, printed and counted by us."""
    entries = read("complexity.json")
    columns = {
        "params (M), printed": ("published_params_m", ".2f"), "params, counted as printed": ("params_m", ".2f"),
        "params of our network": ("own_params_m", ".2f"), "multiply-adds (G), printed": ("published_gflops", ".1f"),
        "counted as printed": ("gmacs", ".1f"), "with attention": ("gmacs_with_attention", ".1f"),
        "of our stream": ("own_gmacs", ".1f"),
    }
    return pd.DataFrame({"System": [entry["system"] for entry in entries]} | {
        title: [text(entry[key], form) for entry in entries] for title, (key, form) in columns.items()
    })


def measured(lines: Iterable[tuple[str, Callable[[dict[str, Any]], float], str]]) -> pd.DataFrame:
    """Rows (what, where it stands in deviations.json of a data set, format), a column a data set."""
    return pd.DataFrame([
        [title, *(format(value(read("deviations.json")[dataset]), form) for dataset in TITLES)] for title, value, form in lines
    ], columns=["", *TITLES.values()])


def geometry() -> pd.DataFrame:
    """Half pixel, past outside the view, flow warp."""
    frame = measured([
        ("A. shift of a place of the stride-4 grid (px)", lambda found: found["stride4"]["mean_px"], ".3f"),
        ("B. pixels without a past (%)", lambda found: 100 * found["no_past"]["share"], ".2f"),
        ("C. error of the warp, one convention (grey levels)", lambda found: found["flow_warp"]["one_convention"], ".2f"),
        ("C. error of the warp, two conventions", lambda found: found["flow_warp"]["two_conventions"], ".2f"),
    ])
    epe = read("tables/results.json")["provenance"]["metric_flow_epe_px"]
    frame.loc[len(frame)] = ["end-point error of the demo's flow, DIS (px)", *(f"{epe[name]:.2f}" for name in TITLES)]
    return frame


def soft_occlusion() -> pd.DataFrame:
    """Mean weight O on visible and hidden pixels."""
    return measured([
        (f"{norm}, {place} pixels", lambda found, key=f"{key}_{place}": found["soft_occlusion"][key], ".2f")
        for norm, key in (("L1 norm", "l1"), ("absolute sum", "sum")) for place in ("visible", "hidden")
    ])


def occlusion() -> pd.DataFrame:
    """Both readings of M_occ, and what fusion under them does to teacher labels."""
    masks = [
        (f"M_occ, {name}: {score}", lambda found, name=name, score=score: found["occlusion"][name][score], ".2f")
        for name in ("followed", "same-pixel") for score in ("precision", "recall")
    ]
    labels = [
        (f"labels, {name}: {title} (%)", lambda found, name=name, key=key: 100 * found["fusion"][name][key], ".2f")
        for name in ("unfused", "followed", "same-pixel") for key, title in (("miou", "mIoU"), ("tc", "TC"))
    ]
    return measured([*masks, *labels])


def consistency() -> pd.DataFrame:
    """TC as corrected, as the reference computes it, and under exact flow."""
    columns: dict[str, list[str]] = {"System": ["Base", "SSP", "KD-SSP"]}
    for dataset, title in TITLES.items():
        for column, name in (("tc", "TC"), ("tc_reference", "reference's"), ("tc_exact_flow", "exact flow")):
            columns[f"{title}: {name}"] = [score(dataset, system, column) for system in columns["System"]]
    return pd.DataFrame(columns)


BLOCKS = {
    "results": results, "seeds": seeds, "costs": costs, "geometry": geometry, "soft-occlusion": soft_occlusion,
    "occlusion": occlusion, "consistency": consistency, **blocks_of_benchmarks.BLOCKS,
    **blocks_of_claims.BLOCKS, **blocks_of_runs.BLOCKS, **blocks_of_streams.BLOCKS,
}


def written(document_text: str) -> str:
    """A document with its blocks as the files under figures/ have it."""
    def block(found: re.Match[str]) -> str:
        frame = BLOCKS[found[2]]()
        return found[1] + markdown(frame.set_axis([""] * len(frame)).fillna(NONE)) + found[3]

    return BLOCK.sub(block, document_text)


if __name__ == "__main__":
    for name in DOCUMENTS:
        with atomic_file(ROOT / name) as temporary:
            temporary.write_text(written((ROOT / name).read_text(encoding="utf-8")), encoding="utf-8")

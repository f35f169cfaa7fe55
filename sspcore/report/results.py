"""The results table: every cell is read from `results.json`, the published figure stands beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sspcore.report.paired import difference_notes, difference_tables
from sspcore.report.scores import SCORES
from sspcore.report.spread import seeds_of, seeds_text
from sspcore.report.tables import (
    NONE,
    Document,
    Row,
    by_dataset,
    datasets_of,
    headings,
    needs_flow,
    percent,
    ranked,
    sectioned,
    shown_names,
    side_by_side,
    size_text,
    text,
    titles_of,
)
from sspcore.study.published import published, published_rows

SECTIONS = {"image": "Image systems", "video": "Video systems", "control": "Controls (no training)"}
COST_NOTE = (
    "Multiply-adds: billions for one streamed frame at the size that a system sees, by the convention of the published table "
    "(convolutions and linear layers; attention's products are in the JSON). "
    "Registration is in no figure; +: needs optical flow that runs on the CPU and is not counted either."
)
PUBLISHED_NOTE = (
    "Published: the paper's figures on the real data sets; they are not comparable with figures on rendered data. "
)
START_NOTE = (
    "Encoder start: an encoder that began from scratch does not compare with one that began from ImageNet weights, even where "
    "it trained for more steps. Steps: optimiser steps in all, those of the weights started from included."
)
SIZE_NOTE = (
    "A teacher that was scored at another size than the students, which stands beside its name, was compared with labels and "
    "flow of that size."
)
LATEX_NOTE = "An asterisk marks the published scores, a dagger encoders that began from scratch. G: multiply-adds."
SPREAD_NOTE = "Mean ± sample standard deviation over the training seeds."
PAIR = "mIoU / TC published"
THEIRS = ("published mIoU", "published TC", "published params (M)", "published multiply-adds (G)")


def caption(results: Mapping[str, Any]) -> str:
    """What the numbers are and where they are from."""
    origin = results["provenance"]
    theirs = PUBLISHED_NOTE if any(map(_is_published, datasets_of(results))) else ""
    return (
        f"Ours: {origin['data']}, profile {origin['profile']}, training {seeds_text(origin)}, commit {origin['commit']}. "
        f"{theirs}Scores in percent, best trained student bold, second best underlined. "
        "TC is to be read together with mIoU: constant predictions are perfectly consistent."
    )


def document(results: Mapping[str, Any]) -> Document:
    """The results table of a run; `results` is the content of results.json."""
    frames = by_dataset(results, _frame)
    names = by_dataset(results, lambda rows: dict(zip(shown_names(rows), rows, strict=True)))
    from_scratch = {name for named in names.values() for name, row in named.items() if row["encoder_start"] == "scratch"}
    scratch = {name: f"{name}†" for name in from_scratch}
    columns = {"mIoU": "mIoU", "TC": "TC", "mIoU moving": "mIoU moving", "Multiply-adds (G)": "G"}
    compared = any(map(_is_published, frames))
    if compared:
        columns |= {"published mIoU": "mIoU∗", "published TC": "TC∗"}
    wide = side_by_side(
        {name: frame.replace({"System": scratch}) for name, frame in frames.items()}, columns, titles_of(results)
    )
    origin, notes = results["provenance"], [caption(results), START_NOTE, COST_NOTE]
    if len(seeds_of(origin)) > 1:
        notes.insert(1, SPREAD_NOTE)
    if any(name != row["system"] for named in names.values() for name, row in named.items()):
        notes.insert(1, SIZE_NOTE)
    notes += difference_notes(results)
    if "so_far" in results:
        notes.insert(0, results["so_far"])
    written = {"seeds": lambda seeds: " ".join(map(str, seeds)), "scored_size": size_text}
    lines = [{key: written.get(key, lambda value: value)(value) for key, value in row.items()} for row in results["rows"]]
    return Document(
        "Results", tuple(notes), headings(frames, results) | difference_tables(results), wide, lines, origin,
        hidden={"md": THEIRS, "html": (PAIR,)} if compared else {}, latex_note=LATEX_NOTE if compared else "",
    )


def write_tables(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write results.json, .csv, .md, .tex and .html into `folder`; returns their paths."""
    return document(results).write(results, folder, "results")


def _frame(rows: list[Row]) -> pd.DataFrame:
    """All cells of one data set; published figures last, if there are any of it."""
    rows, sections = sectioned(rows, "kind", SECTIONS)
    cells = {
        "System": shown_names(rows),
        "Ours for the paper's encoder": [row.get("stand_in") or "the paper's own" for row in rows],
        "Encoder start": [row["encoder_start"] for row in rows],
        "Steps": [text(row.get("training_steps")) for row in rows],
        **{title: ranked(rows, name, _is_student) for name, title in SCORES.items()},
        "Params (M)": [text(row["params_m"], ".2f") for row in rows],
        "Multiply-adds (G)": [gmacs_text(row) for row in rows],
    }
    if not any(_is_published(row["dataset"]) for row in rows):
        return pd.DataFrame(cells, index=sections)
    theirs = [
        [percent(published(row["system"], f"{row['dataset']}_{name}")) for name in ("miou", "tc")]
        + [text(published(row["system"], name), ".2f") for name in ("params_m", "gflops")] for row in rows
    ]
    cells |= {title: [line[k] for line in theirs] for k, title in enumerate(THEIRS)}
    cells[PAIR] = [NONE if NONE in line[:2] else " / ".join(line[:2]) for line in theirs]
    return pd.DataFrame(cells, index=sections)


def gmacs_text(row: Row) -> str:
    """Multiply-adds in billions; + where a flow on the CPU comes on top."""
    return text(row.get("gmacs"), ".2f") + "+" * needs_flow(row)


def _is_published(dataset: str) -> bool:
    """Whether the paper has figures on a data set."""
    return f"{dataset}_miou" in next(iter(published_rows().values()))


def _is_student(row: Row) -> bool:
    return row["kind"] != "control" and row["system"] != "Teacher"

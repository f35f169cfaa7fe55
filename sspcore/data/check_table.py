"""What `sspcore check` says: the table of what was found, the problems beneath it, and what goes on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from sspcore.data.archives import Unpacked
from sspcore.data.datasets import DatasetSpec
from sspcore.data.footage import Sequence
from sspcore.data.layouts import SPLITS
from sspcore.data.verdicts import Verdict

if TYPE_CHECKING:
    from sspcore.data.check import Checked

_SHOWN = 3  # problems of one kind; the others are counted
_KINDS = {  # name of a kind of file, and what becomes of a run without it
    "video": ("videos", "goes on without that sequence"),
    "frames": ("videos as images", "goes on without that sequence"),
    "labels": ("labels", "goes on: distillation and TC alone can use that sequence"),
    "vdd": ("VDD labels", "goes on: roofs count as building, water is not labelled"),
    "stills": ("stills", "goes on without that still"),
    "still_labels": ("labels of stills", "goes on: distillation alone can use that still"),
}


NO_VIDEO_LABEL = "no label is of a video: mIoU says nothing about your video; label some frames of it"


class Row(NamedTuple):
    """A line of the table: counts of sequences, or of an archive's members."""

    dataset: str
    what: str
    found: int
    missing: int
    damaged: int
    source: str
    without: str


def table_rows(
    spec: DatasetSpec, judged: Iterable[tuple[Sequence, Verdict]], archives: Iterable[Unpacked]
) -> Iterator[Row]:
    """Lines of the table for one data set, a split video counted once."""
    for archive in archives:
        if archive.kept or archive.problems:  # else the user has unpacked it all
            name, source = f"{archive.archive.name} (files)", spec.sources.get("video", "")
            yield Row(
                spec.title, name, archive.kept, archive.closed or int(bool(archive.sealed)),
                len(archive.problems) - bool(archive.sealed), source, "goes on with the files that can be read",
            )
    once = {(each.still, each.name, each.video): (each, verdict) for each, verdict in judged}.values()
    # a pattern may name many, or stills: only names of a published split are known to be missing
    absent = set() if spec.root else set(spec.validation) - {each.name for each, _ in once}
    for kind in spec.files:
        of_stills, as_images = kind in ("stills", "still_labels"), kind == "frames"
        states = [
            getattr(verdict, {"frames": "video", "stills": "video", "still_labels": "labels"}.get(kind, kind))
            for each, verdict in once
            if each.still == of_stills and (kind not in ("video", "frames") or bool(each.frames) == as_images)
        ] + ["missing"] * len(absent)
        counts = [states.count(state) for state in ("found", "missing", "damaged")]
        what, without = _KINDS[kind]
        yield Row(spec.title, what, *counts, spec.sources.get(kind, ""), without)


def conclusion(spec: DatasetSpec, sequences: Collection[Sequence], stops: str) -> str:
    """Whether a data set goes on, in one line.

    Args:
        sequences: those that can be used. stops: why it cannot, "" if it can.
    """
    if stops:
        return f"{spec.title} stops: {stops}"
    if spec.root:
        note = f"; {NO_VIDEO_LABEL}" if labels_stills_alone(sequences) else ""
        return f"{spec.title} goes on: {'; '.join(_of_split(split, sequences) for split in SPLITS)}{note}"
    labelled = [sequence for sequence in sequences if sequence.labels]
    train = sum(sequence.split == "train" for sequence in labelled)
    known = {sequence.name for sequence in labelled if sequence.split == "val"}
    absent = [name for name in spec.validation if name not in known]
    without = f" (without {', '.join(absent)} of the published split: scores are not comparable)" if absent else ""
    more = len(sequences) - len(labelled)
    unlabelled = f", {more} without labels" if more else ""
    return f"{spec.title} goes on: {train} train and {len(known)} val sequences{unlabelled}{without}"


def labels_stills_alone(sequences: Collection[Sequence]) -> bool:
    """Whether there are videos and labels, but none of a video."""
    labelled = {each.still: False for each in sequences} | {each.still: True for each in sequences if each.labels}
    return labelled.get(True, False) and labelled.get(False) is False


def _of_split(split: str, sequences: Collection[Sequence]) -> str:
    """What one's own data has of a split."""
    ours = [sequence for sequence in sequences if sequence.split == split]
    stills = sum(sequence.still for sequence in ours)
    labels = sum(len(sequence.labels) for sequence in ours)
    note = "" if labels else " (so there will be no mIoU)"
    return f"{split}: {len(ours) - stills} videos, {stills} stills, {labels} labelled frames{note}"


def report(checked: Iterable[Checked]) -> str:
    """The table, the problems beneath it, and what goes on."""
    checked = list(checked)
    return "\n".join([findings(checked), "", *(each.conclusion for each in checked)])


def findings(checked: Iterable[Checked]) -> str:
    """The table and the problems beneath it. What goes on is in the log of a study."""
    checked = list(checked)
    header = ("data set", "what, in sequences", "found", "missing", "damaged", "where to get it", "without it")
    cells = [header, *(row for each in checked for row in each.rows)]
    if not any(row[5] for row in cells[1:]):
        cells = [(*row[:5], row[6]) for row in cells]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*cells, strict=True)]
    shape = "  ".join(f"{{:{'>' if 2 <= k <= 4 else '<'}{width}}}" for k, width in enumerate(widths))
    lines = [shape.format(*row).rstrip() for row in cells]
    problems = [line for each in checked for line in shortened(each.problems)]
    return "\n".join([*lines, *([""] if problems else []), *problems])


def shortened(problems: Iterable[str]) -> list[str]:
    """The problems, of those that say the same of many files the first ones and a count."""
    alike = defaultdict(list)
    for line in problems:
        alike[re.sub(r"\d+", "0", line.partition(": ")[2])].append(line)
    lines = []
    for same in alike.values():
        lines += same[:_SHOWN]
        if len(same) > _SHOWN:
            lines.append(f"... and so of {len(same) - _SHOWN} more files")
    return lines

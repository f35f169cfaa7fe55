"""What is wrong with the files of one video or still: all its frames and all its labels are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sspcore.core.errors import ReleaseError
from sspcore.core.types import Size
from sspcore.data.datasets import DatasetSpec
from sspcore.data.footage import Sequence
from sspcore.data.labels import orientation, read_label
from sspcore.data.video import read_through


@dataclass(frozen=True)
class Verdict:
    """State of one sequence's files.

    Attributes:
        video, labels, vdd: "found", "missing" or "damaged" (labels, vdd: at least one file).
        bad_labels, bad_vdd: frame numbers of files that cannot be used.
        problems: a line each.
        bad_frames: numbers of images that cannot be used.
        length: number of frames of a video file.
        size: (H, W) of the first frame.
    """

    video: str
    labels: str
    vdd: str
    bad_labels: tuple[int, ...] = ()
    bad_vdd: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()
    bad_frames: tuple[int, ...] = ()
    length: int | None = None
    size: Size | None = None

    def usable(self, sequence: Sequence) -> Sequence:
        """Of a sequence that this is the verdict on, or of a part of it, the files that can be used."""
        frames = {number: path for number, path in sequence.frames.items() if number not in self.bad_frames}
        whole = replace(sequence, frames=frames, length=self.length)
        inside = set(whole.numbers())
        return replace(
            whole, labels={n: path for n, path in sequence.labels.items() if n in inside and n not in self.bad_labels},
            vdd={n: path for n, path in sequence.vdd.items() if n not in self.bad_vdd},
        )


def examine(job: tuple[Sequence, DatasetSpec]) -> Verdict:
    """Read one sequence's video or images to their end and all its labels; for another process."""
    sequence, spec = job
    sizes, problems, bad_frames = _look_through(sequence)
    bad_labels, bad_vdd = set(), set()
    without_vdd = replace(sequence, vdd={})
    steps = (without_vdd, bad_labels, "the label is left out"), (sequence, bad_vdd, "the label is used without it")
    for number in sorted(sizes.keys() & sequence.labels):
        for files, bad, effect in steps:
            try:
                read_label(files, number, spec, sizes[number])
            except ReleaseError as error:
                bad.add(number)
                problems.append(f"{error} ({effect})")
                break
    if sizes:
        bad_labels.update(sequence.labels.keys() - sizes)
        problems += _labels_without_frame(sequence, sizes, bad_frames, spec)
        problems += _turned(sequence, sizes)
        problems += _not_labelled(sequence, spec)
    video = "found" if sizes else "damaged" if sequence.is_there else "missing"
    return Verdict(
        video, _state(sequence.labels, bad_labels), _state(sequence.vdd, bad_vdd), tuple(sorted(bad_labels)),
        tuple(sorted(bad_vdd)), tuple(problems), tuple(bad_frames), None if sequence.frames else len(sizes),
        next(iter(sizes.values()), None),
    )


def _look_through(sequence: Sequence) -> tuple[dict[int, Size], list[str], list[int]]:
    """(H, W) of every frame that can be read; a line for what cannot; numbers of images that cannot."""
    if not sequence.frames:
        try:
            n_frames, size = read_through(sequence.video)
        except ReleaseError as error:
            return {}, [f"{error} ({sequence.name} is left out)"], []
        return dict.fromkeys(range(n_frames), size), [], []
    sizes, problems, bad = {}, [], []
    for number in sequence.frames:
        try:
            ((_, image),) = sequence.read({number})
        except ReleaseError as error:
            problems.append(f"{error} (the image is left out)")
            bad.append(number)
        else:
            sizes[number] = image.shape[:2]
    return sizes, problems, bad


def _labels_without_frame(
    sequence: Sequence, sizes: dict[int, Size], bad_frames: list[int], spec: DatasetSpec
) -> Iterator[str]:
    lost = sorted(sequence.labels.keys() - sizes.keys() - set(bad_frames))
    if lost and sequence.frames:
        yield f"{sequence.labels[lost[0]]}: its frame is not in {sequence.video} ({len(lost)} such labels are not used)"
    elif lost and spec.root:
        first, last = spec.first_frame, lost[-1] + spec.first_frame
        one_more = "; if they count from 1, write first_frame: 1" if lost == [len(sizes)] and not first else ""
        yield (
            f"{sequence.video}: has frames {first} to {first + len(sizes) - 1}, but labels up to frame {last}{one_more} "
            f"({len(lost)} labels are not used)"
        )
    elif lost:
        yield (
            f"{sequence.video}: has {len(sizes)} frames, but labels up to frame {lost[-1]}; it may have been shortened: "
            f"fetch it again ({len(lost)} labels are not used)"
        )


def _turned(sequence: Sequence, sizes: dict[int, Size]) -> Iterator[str]:
    """Labelled pictures that are shown turned or mirrored where the label's sides do not tell whether it is, too."""
    labelled = [n for n in sorted(sequence.labels) if n in sequence.frames and n in sizes]
    turned = {n: orientation(sequence.frames[n]) for n in labelled}
    unclear = [n for n in labelled if turned[n] in (2, 3, 4) or turned[n] != 1 and sizes[n][0] == sizes[n][1]]
    if unclear:
        first = sequence.frames[unclear[0]]
        yield (
            f"{first}: is shown turned or mirrored (EXIF orientation {turned[unclear[0]]}), and its label is taken as drawn on "
            f"what is shown ({len(unclear)} such pictures); if it was drawn otherwise, store the picture without that note"
        )


def _not_labelled(sequence: Sequence, spec: DatasetSpec) -> Iterator[str]:
    """Of one's own data most videos have no labels; a release should have some of all."""
    if not sequence.labels and spec.root is None:
        yield f"{sequence.video}: has no labels (distillation and TC alone can use {sequence.name})"
    elif not sequence.labels and sequence.still:
        yield f"{sequence.video}: has no label (distillation alone can use it)"
    if "vdd" in spec.files and sequence.labels and not sequence.vdd:
        yield f"{sequence.video.parent}: no VDD labels (roofs count as building, water is not labelled)"


def _state(files: dict[int, object], bad: set[int]) -> str:
    return "missing" if not files else "damaged" if bad else "found"

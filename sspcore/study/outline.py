"""Which clips a data set will have, before it is prepared: from the headers of its videos, or from what is to be rendered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sspcore.data.clips import clip_name
from sspcore.data.footage import Sequence
from sspcore.data.prepare import clips_of, used_labels
from sspcore.study.profiles import Profile
from sspcore.synthetic import sequence_names


@dataclass(frozen=True)
class PlannedClip:
    """A clip by the source frames that it will have and the positions of those with a label."""

    split: str
    sequence: str
    numbers: tuple[int, ...]
    labelled: tuple[int, ...]

    @property
    def name(self) -> str:
        return clip_name(self.sequence, self.numbers[0])

    def __len__(self) -> int:
        return len(self.numbers)


def planned_clips(profile: Profile, dataset: str, sequences: Iterable[Sequence] | None) -> list[PlannedClip]:
    """All clips of a data set in the order of its sequences.

    Args:
        sequences: of the real release; None: as the profile renders them.
    """
    if sequences is None:
        made = profile.rendering.releases[dataset]
        labels = dict.fromkeys(range(0, made.source_frames, made.label_interval * made.frame_step), Path())
        n_frames, names = made.source_frames, sequence_names(dataset, made)
        sequences = [Sequence(name, split, Path(), labels, {}, length=n_frames) for split, name in names]
    planned, rules = [], profile.clips[dataset]
    for each in sequences:
        used = used_labels(each.labels, rules)
        for numbers in clips_of(each, rules):
            labelled = tuple(k for k, number in enumerate(numbers) if number in used)
            planned.append(PlannedClip(each.split, each.name, tuple(numbers), labelled))
    return planned

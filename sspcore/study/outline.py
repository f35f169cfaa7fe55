"""Which clips a data set will have, before it is prepared: from the headers of its videos, or from what is to be rendered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sspcore.data.prepare import plan_clips, used_labels
from sspcore.data.releases import Sequence
from sspcore.data.video import count_frames
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
        return f"{self.sequence}_{self.numbers[0]:06d}"

    def __len__(self) -> int:
        return len(self.numbers)


def planned_clips(profile: Profile, dataset: str, sequences: Iterable[Sequence] | None) -> list[PlannedClip]:
    """All clips of a data set in the order of its sequences.

    Args:
        sequences: of the real release; None: as the profile renders them.
    """
    if sequences is not None:
        videos = [(each.split, each.name, count_frames(each.video), set(each.labels)) for each in sequences]
    else:
        made = profile.rendering.releases[dataset]
        labels = set(range(0, made.source_frames, made.label_interval * made.frame_step))
        videos = [(split, name, made.source_frames, labels) for split, name in sequence_names(dataset, made)]
    rules = profile.clips[dataset]
    return [
        PlannedClip(
            split, name, tuple(numbers), tuple(k for k, number in enumerate(numbers) if number in used_labels(labels, rules))
        )
        for split, name, n_frames, labels in videos for numbers in plan_clips(n_frames, labels, rules)
    ]

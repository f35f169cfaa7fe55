"""How much a data set holds once it is prepared: frames, clips and training windows, before anything is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sspcore.data.footage import Sequence
from sspcore.data.windows import labelled_ends, strided_ends
from sspcore.study.outline import planned_clips
from sspcore.study.profiles import Profile


@dataclass(frozen=True)
class Counts:
    """What a data set holds once it is prepared: `labels` are frames with a label, `labelled` windows of several frames that
    end in one, `strided` windows for distillation; `example` is a video, or a still; None before a release is rendered.
    """

    train_frames: int
    train_clips: int
    labels: int
    labelled: int
    strided: int
    val_frames: int
    val_clips: int
    example: Sequence | None


def count(profile: Profile, dataset: str, sequences: Iterable[Sequence] | None) -> Counts:
    """Count clips and windows of a data set from the headers of its videos, or from the renderer's settings (None)."""
    sequences = None if sequences is None else list(sequences)
    clips = planned_clips(profile, dataset, sequences)
    train, val = ([clip for clip in clips if clip.split == split] for split in ("train", "val"))
    return Counts(
        train_frames=sum(map(len, train)), train_clips=len(train), labels=sum(len(clip.labelled) for clip in train),
        labelled=sum(len(labelled_ends(clip, 2, first=bool(profile.described))) for clip in train),
        strided=sum(map(len, map(strided_ends, train))),
        val_frames=sum(map(len, val)), val_clips=len(val),
        example=next((each for each in sequences or () if not each.still), sequences[0] if sequences else None),
    )

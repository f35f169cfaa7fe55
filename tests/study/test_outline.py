"""The clips that are foretold are those that preparation makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sspcore.core.store import seal
from sspcore.data.clips import Clip, load_clips
from sspcore.data.datasets import SPECS
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.releases import find_sequences
from sspcore.study import Study
from sspcore.study.outline import PlannedClip, planned_clips
from sspcore.study.profiles import load_profile

RULES = (
    {"frame_step": 1, "clip_length": 8, "min_clip_length": 4},
    {"frame_step": 1, "clip_length": 3, "min_clip_length": 2},  # some without a label
    {"frame_step": 1, "clip_length": 3, "min_clip_length": 2, "require_label": False, "drop_first": False, "drop_last": True},
    {"frame_step": 2, "clip_length": 5, "min_clip_length": 2, "drop_last": True},  # the last frame is taken, then dropped
    {"frame_step": 1, "clip_length": 3, "min_clip_length": 2, "require_label": False, "drop_end_labels": True},
)


def as_planned(clip: Clip) -> tuple[str, str, tuple[int, ...], tuple[int, ...]]:
    return clip.split, clip.name, tuple(clip.numbers), tuple(sorted(clip.labelled))


def planned(clip: PlannedClip) -> tuple[str, str, tuple[int, ...], tuple[int, ...]]:
    return clip.split, clip.name, clip.numbers, clip.labelled


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
def test_clips_of_a_release_are_foretold(request, tmp_path, dataset, rules):
    release: Path = request.getfixturevalue(f"{dataset}_release")
    spec, sequences = SPECS[dataset], find_sequences(release, SPECS[dataset])
    profile = load_profile("smoke").model_copy(update={"rendering": None, "clips": {dataset: ClipRules(**rules)}})
    prepare_clips(release, spec, profile.clips[dataset], tmp_path / "clips")
    seal(tmp_path / "clips", "k", "clips", 0.0)
    made = [as_planned(clip) for split in ("train", "val") for clip in load_clips(tmp_path / "clips", split)]
    foretold = [planned(clip) for clip in planned_clips(profile, dataset, sequences)]
    assert sorted(foretold) == sorted(made) and len({clip[:2] for clip in made}) == len(made)
    if rules.get("require_label", True):
        assert all(labelled for *_, labelled in foretold)


def test_clips_of_what_is_yet_to_be_rendered_are_foretold(tmp_path):
    """With the labels that the renderer writes, and the frames that it encodes; UAVid's: tests/study/engine/test_work.py."""
    settings = {"size": [64, 96], "train_sequences": 1, "val_sequences": 1, "frames": 9, "label_interval": 4}
    overrides = {f"rendering.releases.ruralscapes.{name}": value for name, value in settings.items()}
    rules = {"clips.ruralscapes.clip_length": 3, "clips.ruralscapes.min_clip_length": 2, "rendering.workers": 1}
    study = Study.open("smoke", root=tmp_path, overrides=overrides | rules)
    foretold = [planned(clip) for clip in planned_clips(study.profile, "ruralscapes", None)]
    assert not study.workspace.base.exists(), "nothing is made to tell this"
    made = [as_planned(clip) for split in ("train", "val") for clip in study.clips("ruralscapes", split)]
    assert foretold == made and len(made) == 2

"""Clips by name: the packaged one, those of a folder, those of a study, and one line where there are none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.paths import Workspace
from sspcore.core.store import stage
from sspcore.data import clips
from sspcore.data.clips import hold_out, load_dataset
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips

RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=3)


@pytest.fixture
def prepared(uavid_release, tmp_path, monkeypatch):
    """Clips of a study in the workspace of a profile "made"."""
    monkeypatch.setattr(clips, "Workspace", lambda profile: Workspace(profile, tmp_path / "root"))
    folder = Workspace("made", tmp_path / "root").clips("uavid")
    return stage("clips", folder, "key", lambda out: prepare_clips(uavid_release, UAVID, RULES, out))


def test_the_packaged_sample_has_frames_labels_and_class_names():
    clip, = load_dataset("sample")
    pairs = list(clip)
    assert len(pairs) == len(clip) and all(frame.shape == (*clip.stored_size, 3) for frame, _ in pairs)
    assert all(set(np.unique(label)) <= {*range(8), 255} for _, label in pairs)
    assert clip.spec.classes == UAVID.classes


def test_clips_of_a_folder_and_of_a_profile_are_the_same(prepared):
    by_folder, by_name = load_dataset(prepared, "train"), load_dataset("made/uavid", "train")
    assert [clip.folder for clip in by_folder] == [clip.folder for clip in by_name] and len(by_folder) == 4
    frames, labels = zip(*by_folder[0], strict=True)
    assert [label is not None for label in labels] == [False, False, False, True]
    assert np.array_equal(frames[2], by_folder[0].frame(2, by_folder[0].stored_size))


@pytest.mark.parametrize("name, split, line", [
    ("made/ruralscapes", "val", r'made.clips.ruralscapes: no prepared clips here; .*, "sample", or profile'),
    ("uavid", "val", r'^uavid: no prepared clips here; .* another folder of clips, "sample"'),
    ("made/uavid", "test", "no clips of the split 'test', but of train, val"),
    ("sample", "train", "no clips of the split 'train', but of val"),
])
def test_what_is_not_there_is_one_line(prepared, name, split, line):
    with pytest.raises(ArtefactError, match=line) as error:
        load_dataset(name, split)
    assert "\n" not in str(error.value)


CLIPS = [SimpleNamespace(sequence=f"seq{k}", part=part) for k in (10, 9, 8, 3, 2, 1, 7) for part in "ab"]


def test_folds_are_the_last_sequences_those_before_and_so_on():
    scored = [{clip.sequence for clip in hold_out(CLIPS, 2, "val", fold)} for fold in range(3)]
    assert scored == [{"seq9", "seq10"}, {"seq7", "seq8"}, {"seq2", "seq3"}]
    for fold, names in enumerate(scored):
        trained = hold_out(CLIPS, 2, "train", fold)
        assert not {clip.sequence for clip in trained} & names
        assert len(trained) + len(hold_out(CLIPS, 2, "val", fold)) == len(CLIPS)
    assert hold_out(CLIPS, 2, "val") == hold_out(CLIPS, 2, "val", 0)


@pytest.mark.parametrize("count, fold, line", [
    (2, 3, "^held_out_fold: 3: the last fold of 2 among 7 training sequences is 2; take that or a lower one$"),
    (5, 1, "^held_out_fold: 1: the last fold of 5 among 7 training sequences is 0; take"),
    (7, 0, "^held_out: 7 of 7 training sequences leave none to train on$"),
])
def test_a_fold_that_is_not_there_is_one_line(count, fold, line):
    with pytest.raises(ProfileError, match=line):
        hold_out(CLIPS, count, "val", fold)

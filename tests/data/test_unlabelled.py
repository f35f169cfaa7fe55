"""Clips without a label, which the published rule for UAVid keeps: where they count, and where they do not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.media import SIZE
from sspcore.core.classes import IGNORE
from sspcore.core.images import write_image
from sspcore.core.store import stage
from sspcore.data.clips import Clip, class_shares, load_clips, summary
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.windows import WindowDataset, collate, labelled_windows, strided_windows
from sspcore.evaluation.clips import evaluate_system, score_all
from sspcore.report.data import label_density, label_gallery

RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=3, require_label=False)
STILL = SimpleNamespace(between=lambda clip, source, target: torch.zeros(2, *SIZE))


@pytest.fixture
def clips(uavid_release: Path, tmp_path: Path) -> dict[str, list[Clip]]:
    """Of seq2 no clip has a label, of seq16 the first has none."""
    for sequence, numbers in (("uavid_train/seq2", (0, 4, 8)), ("uavid_val/seq16", (0, 4))):
        for number in numbers:
            (uavid_release / sequence / "Labels" / f"{number:06d}.png").unlink()
    folder = stage("clips", tmp_path / "clips", "key", lambda out: prepare_clips(uavid_release, UAVID, RULES, out))
    return {split: load_clips(folder, split) for split in ("train", "val")}


def test_they_are_kept_only_if_no_label_is_required(clips, uavid_release, tmp_path):
    assert [(clip.name, clip.labelled) for clip in clips["train"]] == [
        ("seq1_000001", (3,)), ("seq1_000005", (3,)), ("seq2_000001", ()), ("seq2_000005", ()),
    ]
    assert summary(clips["val"]) == {"sequences": 1, "clips": 2, "frames": 8, "labelled frames": 1}
    strict = RULES.model_copy(update={"require_label": True})
    folder = stage("clips", tmp_path / "strict", "key", lambda out: prepare_clips(uavid_release, UAVID, strict, out))
    assert [clip.name for clip in load_clips(folder, "train")] == ["seq1_000001", "seq1_000005"]
    assert [clip.name for clip in load_clips(folder, "val")] == ["seq16_000005"]


def test_distillation_trains_on_them_and_labels_do_not(clips):
    assert [ref.clip.name for ref in labelled_windows(clips["train"], 2)] == ["seq1_000001", "seq1_000005"]
    refs = strided_windows(clips["train"])
    assert [(ref.clip.name, ref.last) for ref in refs if ref.clip.sequence == "seq2"] == [
        ("seq2_000001", 1), ("seq2_000001", 3), ("seq2_000005", 1), ("seq2_000005", 3),
    ]
    teacher = torch.arange(2 * 8 * 16 * 24, dtype=torch.float32).view(2, 8, 16, 24)
    windows = WindowDataset(refs, 2, SIZE, lambda sample: sample, 0, teacher=lambda clip, positions: teacher)
    window = collate([windows.sample(ref) for ref in refs[-2:]])
    assert (window.labels == IGNORE).all() and torch.equal(window.teacher[1], teacher)


def test_tc_counts_them_and_miou_does_not(clips, tmp_path):
    rng = np.random.default_rng(0)
    maps = {clip.name: rng.integers(0, 3, (4, *SIZE), np.uint8) for clip in clips["val"]}
    for clip in clips["val"]:
        (tmp_path / "maps" / clip.name).mkdir(parents=True)
        for number, labels in zip(clip.numbers, maps[clip.name], strict=True):
            write_image(tmp_path / "maps" / clip.name / f"{number:06d}.png", labels)
    row = evaluate_system(clips["val"], tmp_path / "maps", UAVID, STILL, None, SIZE)

    def mean_iou(a: np.ndarray, b: np.ndarray) -> float:
        both = [((a == k) & (b == k)).sum() / ((a == k) | (b == k)).sum() for k in np.union1d(a, b)]
        return float(np.mean(both))

    consistency = [np.mean([mean_iou(a, b) for a, b in pairwise(each)]) for each in maps.values()]
    assert row["tc"] == pytest.approx(np.mean(consistency)) and abs(consistency[0] - consistency[1]) > 1e-4
    labelled = clips["val"][1]
    truth = labelled.label(3, SIZE)
    known = truth != IGNORE
    assert row["miou"] == pytest.approx(mean_iou(truth[known], maps[labelled.name][3][known]))
    scores = score_all(clips["val"], {"maps": lambda clip: iter(maps[clip.name])}, UAVID, STILL, None, SIZE, "test")["maps"]
    assert scores["miou"] == row["miou"] and scores["tc"] == row["tc"]


def test_shares_and_pictures_of_the_data_take_them(clips):
    with_labels = [clip for clip in clips["train"] if clip.labelled]
    assert class_shares(clips["train"], UAVID, SIZE) == class_shares(with_labels, UAVID, SIZE)
    assert class_shares(clips["train"][2:], UAVID, SIZE) == dict.fromkeys(UAVID.classes, 0.0)
    dark, _ = label_density(clips, UAVID, SIZE).axes[:2]
    assert (np.asarray(dark.images[0].get_array()) == 1).sum() == 3
    shown = [axes.get_title() for axes in label_gallery(clips["train"], UAVID, SIZE, "t").axes if axes.images]
    assert shown == ["seq1, frame 4", "seq1, frame 8", "", ""]

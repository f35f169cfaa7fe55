"""Teacher labels: compact and readable at random, fused as the formula says, resumable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.media import SIZE
from sspcore.core.conventions import Conventions
from sspcore.core.errors import ArtefactError, SspError
from sspcore.core.images import to_tensor
from sspcore.core.store import stage
from sspcore.data.clips import load_clips
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.motion.readings import OCCLUSION_RULES
from sspcore.training import distill
from sspcore.training.distill import LabelStore, label_by_truth, label_clips
from sspcore.training.fusion import fuse_clips, fuse_pair


@pytest.fixture
def clips(uavid_release, tmp_path):
    rules = ClipRules(frame_step=1, clip_length=8, min_clip_length=4)
    folder = stage("c", tmp_path / "clips", "k", lambda out: prepare_clips(uavid_release, UAVID, rules, out))
    return load_clips(folder, "train")


def test_store_keeps_half_precision_and_reads_any_frames(clips, tmp_path):
    store, logits = LabelStore(tmp_path), torch.randn(len(clips[0]), 8, 16, 24)
    store.write(clips[0], logits)
    read = store.read(clips[0], [5, 0, 5])
    assert read.dtype == torch.float32 and torch.equal(read, logits.half().float()[[5, 0, 5]])
    full_size = len(clips[0]) * 8 * SIZE[0] * SIZE[1] * 4
    assert store.path(clips[0]).stat().st_size < full_size / 16


def test_store_errors_are_named(clips, tmp_path):
    store = LabelStore(tmp_path)
    with pytest.raises(ArtefactError, match="run notebook 04"):
        store.read(clips[0], [0])
    with pytest.raises(ArtefactError, match="not finite"):
        store.write(clips[0], torch.full((8, 8, 2, 2), 1e6))
    assert not list(tmp_path.glob("*.safetensors"))
    store.path(clips[0]).write_bytes(b"x" * 20)
    with pytest.raises(ArtefactError, match="damaged"):
        store.read(clips[0], [0])
    store.write(clips[1], torch.zeros(3, 8, 2, 2))
    with pytest.raises(ArtefactError, match="holds 3 frames, the clip 8"):
        store.read(clips[1], [0])


def test_labels_of_the_truth_are_the_shares_of_a_cell(clips, tmp_path, monkeypatch):
    labels = np.zeros((8, 12), np.uint8)
    labels[:4, :4] = 3
    labels[0, 0] = 5
    labels[4:, 8:] = 255
    monkeypatch.setattr(distill, "exact_labels", lambda root, clip, k, size: labels)
    store = LabelStore(tmp_path / "truth")
    label_by_truth(tmp_path, clips[:1], store, (8, 12))
    probs = store.read(clips[0], [0, len(clips[0]) - 1]).softmax(1)
    assert probs.shape == (2, 8, 2, 3) and torch.equal(probs[0], probs[1])
    assert float(probs[0, 3, 0, 0]) == pytest.approx(15 / 16, abs=0.01)
    assert float(probs[0, 5, 0, 0]) == pytest.approx(1 / 16, abs=0.01)
    assert float(probs[0, 0, 0, 1]) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(probs[0, :, 1, 2], torch.full((8,), 1 / 8), atol=1e-3, rtol=0)  # ignored pixels
    written = store.path(clips[0]).stat().st_mtime_ns
    label_by_truth(tmp_path, clips[:1], store, (8, 12))
    assert store.path(clips[0]).stat().st_mtime_ns == written


def test_labelling_resumes_and_equals_the_teacher(clips, tmp_path):
    torch.manual_seed(0)
    teacher = ImageSegmenter(
        ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none"), 8
    ).eval()
    store = LabelStore(tmp_path / "labels")
    label_clips(teacher, clips[:1], store, SIZE, SIZE)
    stamp = store.path(clips[0]).stat().st_mtime_ns
    label_clips(teacher, clips, store, SIZE, SIZE, batch_size=3)
    assert store.path(clips[0]).stat().st_mtime_ns == stamp
    with torch.inference_mode():
        expected = teacher.decode(teacher.encode(to_tensor(clips[1].frame(4, SIZE))[None]))[0]
    assert torch.allclose(store.read(clips[1], [4])[0], expected, atol=2e-2)


@pytest.mark.parametrize("frames, remedy", [(4, "set machine.label_batch below 4"), (1, "lower teacher_size")])
def test_a_lack_of_gpu_memory_is_one_line(clips, tmp_path, monkeypatch, frames, remedy):
    teacher, seen = torch.nn.Identity(), []

    def refuse(batch):
        seen.append(len(batch))
        raise torch.cuda.OutOfMemoryError

    teacher.logits_and_features = refuse
    with pytest.raises(SspError, match=f"^teacher labels: the GPU's memory has run out; {remedy}$"):
        label_clips(teacher, clips, LabelStore(tmp_path), SIZE, SIZE, batch_size=frames)
    assert seen == [frames]


def test_damaged_labels_of_an_interrupted_stage_are_made_anew(clips, tmp_path):
    source, target = LabelStore(tmp_path / "a"), LabelStore(tmp_path / "b")
    clip = clips[0]
    source.write(clip, torch.randn(len(clip), 8, 16, 24))
    fuse_clips([clip], source, target, ZeroFlow())
    path = target.path(clip)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1000] ^= 1
    assert target.is_whole(clip) and not target.is_whole(clips[1])
    for damaged in (bytes(flipped), whole[:-1000], b""):
        path.write_bytes(damaged)
        fuse_clips([clip], source, target, ZeroFlow())
        assert path.read_bytes() == whole


def test_fusion_equals_the_formula_for_an_integer_motion():
    """Content moves right by 4 px (one cell of the stride-4 grid); nothing is occluded but what leaves the view."""
    rng = np.random.default_rng(0)
    previous, current = (torch.from_numpy(rng.standard_normal((1, 3, 4, 6))).float() for _ in range(2))
    there = torch.zeros(1, 2, 16, 24)
    there[:, 0] = 4.0
    fused_previous, fused_current = fuse_pair(previous, current, there, -there, Conventions(occlusion="same-pixel"))
    for x in range(6):
        expected = previous[..., x] if x == 5 else (previous[..., x] + current[..., x + 1]) / 2
        assert torch.allclose(fused_previous[..., x], expected, atol=1e-5)
        expected = current[..., x] if x == 0 else (current[..., x] + previous[..., x - 1]) / 2
        assert torch.allclose(fused_current[..., x], expected, atol=1e-5)


def test_occluded_points_keep_their_own_logits(monkeypatch):
    previous, current, still = torch.randn(1, 3, 4, 6), torch.randn(1, 3, 4, 6), torch.zeros(1, 2, 16, 24)

    def left_half(flow_there, flow_back):
        mask = torch.zeros_like(flow_there[:, :1], dtype=torch.bool)
        mask[..., :12] = True
        return mask

    monkeypatch.setitem(OCCLUSION_RULES, "followed", left_half)
    fused, _ = fuse_pair(previous, current, still, still)
    assert torch.equal(fused[..., :3], previous[..., :3])
    assert torch.allclose(fused[..., 3:], (previous[..., 3:] + current[..., 3:]) / 2)


class ZeroFlow:
    def between(self, clip, source, target):
        return torch.zeros(2, *SIZE)


def test_fused_store_pairs_frames_and_leaves_a_single_last_one(clips, tmp_path):
    source, target = LabelStore(tmp_path / "a"), LabelStore(tmp_path / "b")
    clip = clips[0]
    logits = torch.randn(len(clip), 8, 16, 24).half().float()
    source.write(clip, logits)
    fuse_clips([clip], source, target, ZeroFlow())
    fused = target.read(clip, list(range(len(clip))))
    assert torch.allclose(fused[0], (logits[0] + logits[1]) / 2, atol=2e-3)
    assert torch.allclose(fused[0], fused[1], atol=2e-3) and not torch.allclose(fused[1], fused[2], atol=0.1)

"""The packaged sample: complete, untouched, what its manifest says; made again from a run; refused where it was changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.media import SIZE, panning_frames, write_rgb
from sspcore import study
from sspcore.cli.main import main
from sspcore.core.errors import ArtefactError
from sspcore.core.files import read_json, write_json
from sspcore.core.images import read_rgb
from sspcore.data.clips import load_clips
from sspcore.data.datasets import UAVID
from sspcore.inference import live_motion, segment_frames
from sspcore.models.checkpoint import CONFIG, WEIGHTS
from sspcore.models.spec import ImageModelSpec
from sspcore.models.systems import build
from sspcore.motion.cache import FlowStore
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator
from sspcore.report import sample as module
from sspcore.report.sample import ALONE, MANIFEST, SAMPLE, SYSTEM, make_sample, open_sample
from sspcore.study.profiles import load_profile

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=16, weights="none")


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "sample"))


def test_manifest_names_every_file_and_the_sample_is_small():
    sample = open_sample()
    files = {path.relative_to(SAMPLE).as_posix() for path in SAMPLE.rglob("*") if path.is_file()}
    assert files == {*sample.manifest["sha256"], MANIFEST}
    assert sum((SAMPLE / name).stat().st_size for name in files) < 10e6
    assert len(sample.clip) == 24 == len(sample.clip.labelled) and sample.frames()[0].shape == (*sample.size, 3)
    assert "Rendered" in sample.origin and sample.config.provenance["commit"] in sample.origin
    assert sample.manifest["share_of_pixels_that_differ"]["from_float32_weights"] < 2e-3


def test_shipped_model_scores_what_the_manifest_says(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FLOW_CACHE", tmp_path)
    sample = open_sample()
    model = sample.model()
    assert not model.training and {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    shown = sample.compared({SYSTEM: sample.segment(model), ALONE: sample.segment(model.image)})
    for name, scores in sample.manifest["scores_on_the_clip"].items():
        assert shown[name]["mIoU (%)"] == pytest.approx(100 * scores["miou"], abs=1), name
        assert shown[name]["TC (%)"] == pytest.approx(100 * scores["tc"], abs=1), name
    assert 1 < shown[SYSTEM]["labels changed (%)"] < 0.7 * shown[ALONE]["labels changed (%)"] < 70
    on_clip = sample.manifest["scores_on_the_clip"]
    assert on_clip[SYSTEM]["tc"] > on_clip[ALONE]["tc"] + 0.05  # what the tour shows
    assert set(sample.validation()) == {"Base", SYSTEM}
    assert all(1 < row["TC (%)"] < 100 for row in sample.validation().values())


@pytest.mark.parametrize("name, damage, problem", [
    (WEIGHTS, lambda path: path.unlink(), "is missing"),
    (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "differs from the one shipped"),
    ("README.md", lambda path: path.write_text("mine"), "differs from the one shipped"),
    (CONFIG, lambda path: path.write_text(path.read_text().replace("SSP", "ssp")), "differs from the one shipped"),
    (MANIFEST, lambda path: path.unlink(), "file is missing"),
])
def test_changed_sample_is_refused(copy, name, damage, problem):
    open_sample(copy)
    damage(copy / name)
    with pytest.raises(ArtefactError, match=problem):
        open_sample(copy)


class FinishedRun:
    """What `make_sample` asks of a study: one clip of a panning camera, SSP with random weights, its predictions."""

    def __init__(self, root: Path) -> None:
        profile = load_profile("smoke", {"input_size": list(SIZE)})
        self.profile = profile.model_copy(update={"models": profile.models | {"base": TINY}})
        self.seed, self.data_origin, self.root = 0, "rendered data", root
        folder = root / "clips" / "val" / "seq16_000001"
        for k, frame in enumerate(panning_frames(4, 0)):
            write_rgb(folder / "frames" / f"{k:06d}.png", frame)
        write_json(folder / "clip.json", {
            "dataset": "uavid", "split": "val", "sequence": "seq16", "frames": [0, 1, 2, 3], "labelled": [],
            "size": list(SIZE), "suffix": ".png", "interpolation": "area",
        })
        write_json(root / "clips" / "key.json", {"key": "k"})
        torch.manual_seed(0)
        self.trained = build(SYSTEM, UAVID.n_classes, self.profile, load_weights=False).eval()

    def truth_root(self, dataset: str) -> Path | None:
        return self.root

    def clips_key(self, dataset: str) -> str:
        return "k"

    def clips(self, dataset: str, split: str):
        return load_clips(self.root / "clips", split)

    def flows(self, dataset: str) -> FlowStore:
        return FlowStore(self.root / "motion", build_flow("dis-ultrafast"), SIZE)

    def model(self, name: str, dataset: str):
        return self.trained

    def evaluate(self, name: str, dataset: str) -> dict[str, float]:
        return {"miou": 0.5, "tc": 0.75, "tc_exact_flow": 0.7}

    def label_maps(self, name: str, dataset: str, clip) -> list[np.ndarray]:
        frames = (clip.frame(k, SIZE) for k in range(len(clip)))
        motion = live_motion(build_registrator(self.profile.registration))
        return [result.labels for result in segment_frames(self.trained, frames, motion, SIZE)]


@pytest.fixture
def finished(tmp_path, monkeypatch) -> FinishedRun:
    monkeypatch.setattr(module, "FLOW_CACHE", tmp_path / "flow-cache")
    truth = {k: np.full(SIZE, k % 2, np.uint8) for k in range(4)}
    monkeypatch.setattr(module, "exact_labels", lambda root, clip, position, size: truth[position])
    return FinishedRun(tmp_path)


def test_sample_is_made_from_a_run_without_loss_but_half_precision(finished, tmp_path):
    sample = make_sample(finished, "uavid", tmp_path / "out")
    assert sample.clip.name == "seq16_000001" and sample.clip.label(1, SIZE).all() and not sample.clip.label(2, SIZE).any()
    for k, frame in enumerate(sample.frames()):
        assert np.array_equal(frame, read_rgb(tmp_path / "clips" / "val" / "seq16_000001" / "frames" / f"{k:06d}.png"))
    trained, shipped = finished.trained.state_dict(), load_file(sample.folder / WEIGHTS)
    loaded = sample.model().state_dict()
    for key, value in shipped.items():
        halved = trained[key].is_floating_point() and trained[key].ndim > 1
        assert value.dtype == (torch.float16 if halved else trained[key].dtype), key
        assert torch.equal(loaded[key], trained[key].half().float() if halved else trained[key]), key
    assert sample.config.input_size == SIZE and sample.config.classes.name == "uavid"
    assert sample.config.scores == {"miou (all validation clips)": 0.5, "tc (all validation clips)": 0.75}
    manifest = read_json(sample.folder / MANIFEST)
    assert manifest["scores_on_all_validation_clips"] == {name: {"miou": 0.5, "tc": 0.75} for name in ("Base", SYSTEM)}
    differ = manifest["share_of_pixels_that_differ"]
    assert differ["from_float32_weights"] == differ["from_the_run"] < 0.02  # the frames are the run's


def test_real_data_are_not_passed_on(finished, tmp_path, monkeypatch, capsys):
    finished.truth_root = lambda dataset: None
    monkeypatch.setattr(study, "Study", SimpleNamespace(open=lambda *_: finished))
    assert main(["sample", "--out", str(tmp_path / "out")]) == 2
    assert "only rendered data may be shipped" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_sample_is_tracked_by_git_as_it_is():
    root = SAMPLE.parents[1]
    assert "!/data/sample/" in (root / ".gitignore").read_text().splitlines()
    assert "/data/sample/** -text" in (root / ".gitattributes").read_text()

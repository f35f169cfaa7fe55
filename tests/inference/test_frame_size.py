"""Frames of another size reach a system as those did that it was trained on, however it is run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.media import SIZE, panning_frames, texture, write_rgb
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.core.images import read_rgb, resize_frame, to_tensor
from sspcore.data.clips import Clip, load_clips
from sspcore.data.datasets import UAVID
from sspcore.export.device import step_runner
from sspcore.export.rollout import video_rollout
from sspcore.inference import BundleBackend, TorchBackend, live_motion, open_bundle, segment_frames, segment_video, stream
from sspcore.inference.fit import Fit
from sspcore.models.checkpoint import load_checkpoint, save_checkpoint, system_config
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.motion.registration import Identity

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")
STORED = (150, 225)  # of the aspect of SIZE
WAYS = ("area", "bilinear", "cubic")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    """A prepared clip whose frames are read by Pillow's bilinear, as the published settings read them."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "key.json").write_text('{"key": "k"}')
    made = folder / "val" / "seq1_000001"
    for k in range(3):
        rough = np.random.default_rng(k).integers(0, 60, (*STORED, 3), np.uint8)
        write_rgb(made / "frames" / f"{k:06d}.png", texture(STORED, k) // 2 + rough)
    (made / "clip.json").write_text(json.dumps({
        "dataset": "uavid", "split": "val", "sequence": "seq1", "suffix": ".png", "size": STORED, "frames": [0, 1, 2],
        "labelled": [], "interpolation": "bilinear",
    }))
    return load_clips(folder, "val")[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = system_config("SSP", TINY, UAVID, SIZE, interpolation="bilinear", registration="identity")
    return save_checkpoint(tmp_path_factory.mktemp("saved") / "ssp", SSP(ImageSegmenter(TINY, UAVID.n_classes)), config)


@pytest.fixture(scope="module")
def bundle(checkpoint, clip, tmp_path_factory) -> Path:
    """Exported by the command, its golden rollout from the stored frames."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    frames = [str(clip.folder / "frames" / f"{k % 3:06d}.png") for k in range(20)]
    for k, path in enumerate(frames):
        write_rgb(out.parent / "video" / f"{k:06d}.png", read_rgb(Path(path)))
    video = str(out.parent / "video")
    assert main(["export", "--checkpoint", str(checkpoint), "--video", video, "--out", str(out)]) == 0
    return out


def as_stored(clip: Clip) -> list[np.ndarray]:
    return [clip.frame(k, STORED) for k in range(len(clip))]


@pytest.fixture
def seen(monkeypatch) -> list[np.ndarray]:
    """The frames that networks are given from here on."""
    frames = []
    for backend in (TorchBackend, BundleBackend):
        monkeypatch.setattr(backend, "step", lambda *given, step=backend.step: frames.append(given[1]) or step(*given))
    return frames


def test_a_stream_sees_what_the_loader_of_clips_gives(checkpoint, clip, bundle, seen):
    """Bit by bit, from the folder and from frames, by torch and by a bundle, in turn and in threads."""
    model, config = load_checkpoint(checkpoint)
    motion = live_motion(Identity())
    ways = {
        "a folder of images": segment_video(checkpoint, clip.folder / "frames"),
        "frames": segment_video(model, as_stored(clip)),
        "segment_frames": segment_frames(model, as_stored(clip), motion, config.input_size),
        "threads": stream(as_stored(clip), TorchBackend(model, SIZE), motion, threads=True),
        "a bundle": stream(as_stored(clip), open_bundle(bundle, "cpu")[0], motion),
    }
    for way, results in ways.items():
        seen.clear()
        for k, result in enumerate(results):
            assert torch.equal(to_tensor(seen[k]), to_tensor(clip.frame(k, SIZE))), (way, k)
            assert np.array_equal(result.image, clip.frame(k, STORED)) and result.labels.shape == STORED
        assert k == 2, way
    assert not np.array_equal(clip.frame(0, SIZE), resize_frame(clip.frame(0, STORED), SIZE, "area"))


def test_what_is_asked_for_comes_before_what_the_checkpoint_says(checkpoint, clip, seen):
    frames = as_stored(clip)
    for size in (SIZE, (128, 192)):
        for given, how in (({"interpolation": "area"}, "area"), ({}, "bilinear")):
            seen.clear()
            list(segment_video(checkpoint, frames, size=size, max_frames=1, **given))
            assert np.array_equal(seen[0], resize_frame(frames[0], size, how))


def test_a_model_without_a_config_and_a_backend_that_does_not_say_resize_by_area(clip, seen):
    class Silent:
        size, needs = SIZE, frozenset()

        def step(self, frame, motion):
            return TorchBackend(model, SIZE).step(frame, motion)

    model, frames = SSP(ImageSegmenter(TINY, 8)), as_stored(clip)
    expected = resize_frame(frames[0], SIZE, "area")
    for results in (
        segment_video(model, frames, size=SIZE, registration="identity"), stream(frames, Silent(), live_motion(None)),
    ):
        seen.clear()
        next(iter(results))
        assert np.array_equal(seen[0], expected)


def test_the_bundle_carries_it_and_its_golden_rollout_follows(bundle, clip):
    sidecar = json.loads((bundle / "bundle.json").read_text())
    assert (sidecar["size"], sidecar["interpolation"], sidecar["channels"]) == ([*SIZE], "bilinear", "RGB")
    with np.load(bundle / "golden.npz") as golden:
        assert np.array_equal(golden["frames"][:3], [clip.frame(k, SIZE) for k in range(3)])
    readme = (bundle / "README.md").read_text()
    assert "by Pillow's bilinear" in readme and "Without Pillow" in readme


@pytest.mark.parametrize("how", WAYS)
def test_the_device_s_script_resizes_as_the_library_does(how, clip):
    frame = clip.frame(0, STORED)
    for size in (SIZE, (96, 320), (300, 460), (64, 230), (320, 32), STORED):
        fit, description = Fit.of(STORED, size), {"size": size, "interpolation": how}
        assert step_runner.content_size(frame, description) == fit.content
        assert np.array_equal(step_runner.resized(frame, description), fit.filled(fit.content_of(frame, how)))


def test_the_device_s_script_says_what_is_missing(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RuntimeError, match="Pillow's bilinear: apt install python3-pil, or pip install Pillow"):
        step_runner.resized(clip.frame(0, STORED), {"size": SIZE, "interpolation": "bilinear"})
    assert step_runner.resized(clip.frame(0, STORED), {"size": SIZE}).shape == (*SIZE, 3)


def test_an_older_bundle_resizes_by_area_and_an_unknown_way_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path, dirs_exist_ok=True)
    sidecar = json.loads((bundle / "bundle.json").read_text())
    del sidecar["interpolation"], sidecar["channels"]
    (tmp_path / "bundle.json").write_text(json.dumps(sidecar))
    assert open_bundle(tmp_path, "cpu")[0].interpolation == "area"
    (tmp_path / "bundle.json").write_text(json.dumps(sidecar | {"interpolation": "lanczos"}))
    with pytest.raises(SspError, match="interpolation 'lanczos' is unknown"):
        open_bundle(tmp_path, "cpu")


@pytest.mark.parametrize("how", WAYS)
def test_a_rollout_from_a_video_resizes_as_it_is_told(how, clip):
    rollout = video_rollout(as_stored(clip), Identity(), SIZE, 2, interpolation=how)
    assert np.array_equal(rollout.frames[1], resize_frame(clip.frame(1, STORED), SIZE, how))


def test_the_golden_rollout_keeps_the_aspect_of_a_video():
    """A square frame lies in the left part of a network's, unsquashed; registration sees it alone."""
    seen, square = [], [frame[:, : SIZE[0]] for frame in panning_frames(2, 0)]

    class Watching(Identity):
        def __call__(self, previous, current):
            seen.append(current)
            return super().__call__(previous, current)

    rollout = video_rollout(square, Watching(), SIZE, 2)
    assert rollout.frames.shape == (2, *SIZE, 3) and (rollout.frames[:, :, : SIZE[0]] == square).all()
    assert len(seen) == 1 and (seen[0] == square[1]).all()

"""`segment_video`: from a checkpoint's folder and a video to label maps, without any other setting."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from helpers.media import SIZE, panning_frames, write_rgb, write_video
from sspcore.core.errors import SspError
from sspcore.core.images import read_grey
from sspcore.data.datasets import UAVID
from sspcore.inference import live_motion, segment_frames, segment_video
from sspcore.models.checkpoint import save_checkpoint, system_config
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.motion.registration import build_registrator

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SSP(ImageSegmenter(TINY, UAVID.n_classes)).eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("video") / "ssp", model, system_config("SSP", TINY, UAVID, SIZE))


@pytest.fixture(scope="module")
def expected(model):
    motion = live_motion(build_registrator("lk"))
    return [result.labels for result in segment_frames(model, panning_frames(4, 0), motion, SIZE)]


def test_frames_a_folder_and_a_model_give_the_same_label_maps(checkpoint, model, expected, tmp_path):
    frames = panning_frames(4, 0)
    for k, frame in enumerate(frames):
        write_rgb(tmp_path / "frames" / f"{k}.png", frame)
    for segmenter, source, more in (
        (checkpoint, frames, {}), (str(checkpoint), tmp_path / "frames", {}), (model, iter(frames), {"size": SIZE}),
    ):
        found = [result.labels for result in segment_video(segmenter, source, **more)]
        assert len(found) == 4 and all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_overlay_and_masks_are_written_on_the_way(checkpoint, expected, tmp_path):
    write_video(tmp_path / "flight.mp4", panning_frames(4, 0))
    out, masks = tmp_path / "new" / "overlay.mp4", tmp_path / "masks"
    results = list(segment_video(checkpoint, str(tmp_path / "flight.mp4"), out=str(out), masks=str(masks)))
    assert all(np.array_equal(read_grey(masks / f"{result.number:06d}.png"), result.labels) for result in results)
    assert int(cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT)) == len(results) == 4
    with pytest.raises(SspError, match="the file exists already"):
        segment_video(checkpoint, tmp_path / "flight.mp4", out=out)
    again = segment_video(checkpoint, tmp_path / "flight.mp4", out=out, overwrite=True)
    next(again), next(again)
    again.close()
    assert int(cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT)) == 2


def test_what_the_model_sees_at_another_size_comes_at_the_source_s(checkpoint):
    results = list(segment_video(checkpoint, panning_frames(3, 0), size=(96, 128), max_frames=2))
    assert [result.labels.shape for result in results] == [SIZE] * 2
    assert [tuple(result.logits.shape) for result in results] == [(8, 85, 128)] * 2


def test_a_wrong_suffix_or_number_of_classes_leaves_no_folder_behind(checkpoint, model, tmp_path):
    out, masks = tmp_path / "new" / "overlay.mp4", tmp_path / "masks"
    with pytest.raises(SspError, match="name one of them"):
        segment_video(checkpoint, panning_frames(2, 0), out=tmp_path / "new" / "overlay.gif", masks=masks)
    with pytest.raises(SspError, match="classes: 2 are named, the model has 8"):
        segment_video(model, panning_frames(2, 0), size=SIZE, classes=["a", "b"], out=out)
    assert not out.parent.exists() and not masks.exists()


def test_an_error_leaves_a_former_overlay_as_it_was(checkpoint, tmp_path):
    def frames():
        yield panning_frames(1, 0)[0]
        raise SspError("the camera is gone")

    (tmp_path / "overlay.mp4").write_text("former")
    with pytest.raises(SspError, match="the camera is gone"):
        list(segment_video(checkpoint, frames(), out=tmp_path / "overlay.mp4", overwrite=True))
    assert (tmp_path / "overlay.mp4").read_text() == "former" and len(list(tmp_path.iterdir())) == 1


def test_wrong_arguments_are_one_line_before_any_work(checkpoint, model, tmp_path):
    write_video(tmp_path / "flight.mp4", panning_frames(2, 0))
    source = tmp_path / "flight.mp4"
    for message, arguments in (
        ("is an input", {"model": checkpoint, "out": source, "overwrite": True}),
        ("is an input", {"source": source.as_uri(), "model": checkpoint, "out": source, "overwrite": True}),
        ("lies in an input", {"model": checkpoint, "masks": checkpoint / "masks"}),
        ("no checkpoint|folder is missing", {"model": tmp_path / "nothing"}),
        ("size: the model carries no config", {"model": model}),
        ("device tpu9", {"model": checkpoint, "device": "tpu9"}),
    ):
        with pytest.raises(SspError, match=message):
            segment_video(**{"source": source, **arguments})
    with pytest.raises(SspError, match="no such video"):
        list(segment_video(checkpoint, "nothing.mp4"))

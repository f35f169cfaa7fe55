"""Bad files: images, labels, videos, releases, truth, clips, teacher labels, weights."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from bad_inputs.cases import SIZE, Case, huge_png, panning_frames, png, ssp_state, uavid
from helpers.media import half_and_half, write_rgb
from sspcore.core.checksums import require_checksum
from sspcore.core.images import read_grey, read_rgb
from sspcore.core.store import stage
from sspcore.data.clips import Clip, FrameCache, load_clips
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.truth import SequenceTruth, read_flow_png, write_flow_png
from sspcore.data.video import read_video
from sspcore.models.checkpoint import read_weights
from sspcore.models.systems import build, start_from
from sspcore.motion.flow import build_flow
from sspcore.study.profiles import load_profile
from sspcore.training.distill import LabelStore

RULES = ClipRules(frame_step=1, clip_length=4, min_clip_length=3)
FRAME = panning_frames(1, 0)[0]


def _read(data: bytes, name: str = "frame.png", reader: Callable[[Path], object] = read_rgb):
    def run(folder: Path) -> None:
        (folder / name).write_bytes(data)
        reader(folder / name)

    return run


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


IMAGES = (
    Case("image of zero bytes", _read(b""), r"frame\.png: not a readable image \(0 bytes\)"),
    Case("PNG cut in half", _read(png(FRAME)[:6000]), r"frame\.png: not a readable image"),
    Case("PNG that lacks its last bytes", _read(png(FRAME)[:-20]), r"frame\.png: not a readable image"),
    Case("PNG with one wrong bit", _read(_flipped(png(FRAME), 5000)), r"frame\.png: not a readable image"),
    Case("JPEG cut in half", _read(png(FRAME, ".jpg")[:1500], "frame.jpg"), r"frame\.jpg: not a readable image"),
    Case("text under the name of an image", _read(b"no image at all"), r"frame\.png: not a readable image"),
    Case("PNG that announces 100000x100000 pixels", _read(huge_png()), r"frame\.png: not a readable image"),
    Case("folder under the name of an image", lambda folder: read_rgb(folder), "file is missing"),
    Case("class map of 16 bits", _read(png(np.zeros(SIZE, np.uint16)), reader=read_grey), "frame.png: expected an 8 bit grey"),
    Case("class map in colours", _read(png(FRAME), reader=read_grey), r"frame\.png: expected an 8 bit grey"),
)


def _prepared(spoil: Callable[[Path], object]):
    """Prepare a release after `spoil` has been at it; nothing may be left behind."""
    def run(folder: Path) -> None:
        spoil(uavid(folder / "uavid"))
        try:
            stage("clips", folder / "clips", "key", lambda out: prepare_clips(folder / "uavid", UAVID, RULES, out))
        finally:
            left = [path.name for path in folder.iterdir()]
            if left != ["uavid"]:
                raise AssertionError(f"left behind: {left}")

    return run


def _label(image: np.ndarray | bytes):
    def spoil(release: Path) -> None:
        data = image if isinstance(image, bytes) else png(image)
        (release / "uavid_train" / "seq1" / "Labels" / "000004.png").write_bytes(data)

    return _prepared(spoil)


def _video(change: Callable[[bytes], bytes]):
    def spoil(release: Path) -> None:
        video = release / "uavid_train" / "seq1" / "images.mp4"
        video.write_bytes(change(video.read_bytes()))

    return _prepared(spoil)


def _video_is_a_folder(release: Path) -> None:
    video = release / "uavid_train" / "seq1" / "images.mp4"
    video.unlink()
    video.mkdir()


def _vdd(image: np.ndarray):
    return _prepared(lambda release: write_rgb(release / "UAVid7/uavid_train/seq1/VDD_Labels/000004.png", image))


def _shortened_video(folder: Path) -> None:
    """An AVI keeps its number of frames at its beginning."""
    path = folder / "images.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, SIZE[::-1])
    for frame in panning_frames(20, 0):
        writer.write(frame)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    list(read_video(path, {3, 19}))


GOOD_LABEL = half_and_half(UAVID.labels["building"], UAVID.labels["clutter"])
ONE_PIXEL = GOOD_LABEL.copy()
ONE_PIXEL[30, 40] = (128, 1, 0)

RELEASES = (
    Case("label of zero bytes", _label(b""), r"000004\.png: not a readable image"),
    Case("label cut in half", _label(png(GOOD_LABEL)[:100]), r"000004\.png: not a readable image"),
    Case("label of another size", _label(np.zeros((40, 50, 3), np.uint8)), r"000004\.png: label is 50x40"),
    Case("label in colours of another data set", _label(np.full((*SIZE, 3), 255, np.uint8)), r"000004.*\(255, 255, 255\)"),
    Case("label with one pixel of an unknown colour", _label(ONE_PIXEL), r"000004.*x=40, y=30 .*\(1 pixels of 1 such"),
    Case("label that went through JPEG", _label(png(GOOD_LABEL, ".jpg")), r"000004\.png: a JPEG does not keep the colours"),
    Case("label of class ids for colours", _label(np.full(SIZE, 3, np.uint8)), r"000004\.png: colour \(3, 3, 3\)"),
    Case("VDD label of another size", _vdd(np.zeros((8, 8), np.uint8)), r"VDD_Labels.000004\.png: VDD label"),
    Case("VDD label in colours", _vdd(GOOD_LABEL), r"VDD_Labels.000004\.png: expected an 8 bit grey"),
    Case("video of zero bytes", _video(lambda data: b""), r"images\.mp4: not a readable video \(0 bytes\)"),
    Case("video cut in half", _video(lambda data: data[: len(data) // 2]), r"images\.mp4: not a readable video"),
    Case("video that lacks its last bytes", _video(lambda data: data[:-100]), r"images\.mp4: ends at frame 0 though \d+ are"),
    Case("text under the name of a video", _video(lambda data: b"no video"), r"images\.mp4: not a readable video"),
    Case("folder under the name of a video", _prepared(_video_is_a_folder), r"images\.mp4: file is missing"),
    Case("video shorter than it announces", _shortened_video, r"images\.avi: ends at frame \d+ though 20 are announced"),
    Case("release without its validation split", _prepared(lambda release: shutil.rmtree(release / "uavid_val")), "no val seq"),
    Case("release that is empty", _prepared(lambda release: [shutil.rmtree(p) for p in release.glob("*")]), "no train"),
    Case("release without a label", _prepared(lambda release: [shutil.rmtree(p) for p in release.rglob("Labels")]), "no train"),
)

TRUTH = {"size": SIZE, "frames": [0, 1], "frame_step": 1, "seed": 0, "H_prev_to_cur": {"1": np.eye(3).tolist()}}


def _truth(record: str | dict, spoil: Callable[[Path], object] = lambda folder: None, frame: int = 1):
    """Read everything of a sequence's truth."""
    def run(folder: Path) -> None:
        (folder / "truth.json").write_text(record if isinstance(record, str) else json.dumps(record))
        flow, flags = np.zeros((2, *SIZE), np.float32), np.ones(SIZE, bool)
        for name in ("flow_backward", "labels"):
            (folder / name).mkdir()
        write_flow_png(folder / "flow_backward" / "000001.png", flow, flags, ~flags)
        write_rgb(folder / "labels" / "000001.png", np.zeros(SIZE, np.uint8))
        spoil(folder)
        truth = SequenceTruth(folder)
        assert truth.labels(frame).shape == SIZE and (truth.homography(frame) == np.eye(3)).all()
        assert not truth.flow_backward(frame)[0].any()

    return run


def _flow_file(data: bytes):
    return _truth(TRUTH, lambda folder: (folder / "flow_backward" / "000001.png").write_bytes(data))


def _with_homography(H: object) -> dict:
    return TRUTH | {"H_prev_to_cur": {"1": H}}


TRUTHS = (
    Case("truth of zero bytes", _truth(""), r"truth\.json: not a readable record"),
    Case("truth cut in half", _truth(json.dumps(TRUTH)[:40]), r"truth\.json: not a readable record"),
    Case("truth that is a list", _truth("[1, 2]"), r"truth\.json: not a readable record"),
    Case("truth without frames", _truth({k: v for k, v in TRUTH.items() if k != "frames"}), r"truth\.json: .*'frames'"),
    Case("truth with NaN in a homography", _truth(_with_homography([[float("nan")] * 3] * 3)), "no homography into frame 1"),
    Case("truth with a singular homography", _truth(_with_homography(np.ones((3, 3)).tolist())), "no homography into frame 1"),
    Case("truth with half a homography", _truth(_with_homography([[1, 0, 0]])), "no homography into frame 1"),
    Case("truth asked for another frame", _truth(TRUTH, frame=7), r"000007\.png"),
    Case("flow of zero bytes", _flow_file(b""), r"000001\.png: missing or not a 16-bit flow image"),
    Case("flow of 8 bits", _flow_file(png(FRAME)), r"000001\.png: missing or not a 16-bit flow image"),
    Case("flow cut in half", _flow_file(png(np.zeros((*SIZE, 3), np.uint16))[:60]), r"000001\.png: missing or not a 16-bit"),
    Case("flow of another size", _flow_file(png(np.zeros((8, 8, 3), np.uint16))), r"000001\.png: is \(8, 8\), truth\.json"),
    Case("flow in one channel", _read(png(np.zeros(SIZE, np.uint16)), reader=read_flow_png), "not a 16-bit flow image"),
    Case(
        "true labels of another size",
        _truth(TRUTH, lambda folder: write_rgb(folder / "labels" / "000001.png", np.zeros((8, 8), np.uint8))),
        r"000001\.png: is \(8, 8\)",
    ),
)

RECORD = {
    "dataset": "uavid", "split": "train", "sequence": "seq1", "suffix": ".png", "size": SIZE, "frames": [1, 2], "labelled": [1],
    "interpolation": "area",
}


def _clips(record: dict | list):
    def run(folder: Path) -> None:
        clip = folder / "clips" / "train" / "seq1_000001"
        clip.mkdir(parents=True)
        (folder / "clips" / "key.json").write_text('{"key": "k"}')
        (clip / "clip.json").write_text(json.dumps(record))
        assert [len(clip) for clip in load_clips(folder / "clips", "train")] == [2]

    return run


CLIPS = (
    Case("clip without a frame", _clips(RECORD | {"frames": [], "labelled": []}), r"clip\.json: has 0 frames"),
    Case("clip with a label beyond its end", _clips(RECORD | {"labelled": [9]}), r"clip\.json: has 2 frames, labels at \(9,\)"),
    Case("clip without a size", _clips({k: v for k, v in RECORD.items() if k != "size"}), r"clip\.json: .*'size'"),
    Case("clip that is a list", _clips([1]), r"clip\.json: not the record of a clip"),
)

CLIP = Clip(Path("seq1_000001"), UAVID, "train", "seq1", (1, 2), (1,), SIZE, ".png", "area", FrameCache(1))
LOGITS = torch.randn(2, 8, 4, 6)
SPOILT = LOGITS.half()
SPOILT[1, 3, 2, 2] = float("nan")


def _teacher(tensors: dict[str, torch.Tensor], cut: int | None = None):
    def run(folder: Path) -> None:
        store = LabelStore(folder)
        save_file(tensors, store.path(CLIP))
        store.path(CLIP).write_bytes(store.path(CLIP).read_bytes()[:cut])
        store.read(CLIP, [0, 1])

    return run


def _teacher_writes(value: float):
    def run(folder: Path) -> None:
        try:
            LabelStore(folder).write(CLIP, torch.full_like(LOGITS, value))
        finally:
            assert not list(folder.iterdir())

    return run


TEACHER = (
    Case("teacher labels of zero bytes", _teacher({"logits": LOGITS}, 0), r"\.safetensors: teacher labels are damaged"),
    Case("teacher labels cut off", _teacher({"logits": LOGITS}, -9), r"seq1_000001\.safetensors: teacher labels are damaged"),
    Case("teacher labels under another name", _teacher({"other": LOGITS}), r"\.safetensors: teacher labels are damaged"),
    Case("teacher labels of fewer frames", _teacher({"logits": LOGITS[:1].clone()}), "holds 1 frames, the clip 2"),
    Case("teacher labels without classes", _teacher({"logits": LOGITS[:, 0].clone()}), r"shape \[2, 4, 6\]"),
    Case("teacher labels with NaN", _teacher({"logits": SPOILT}), r"\.safetensors: teacher labels are no finite numbers"),
    Case("teacher labels that are missing", lambda folder: LabelStore(folder).read(CLIP, [0]), "teacher labels are missing"),
    Case("teacher that gives NaN", _teacher_writes(float("nan")), "logits of clip seq1_000001 are not finite"),
    Case("teacher that gives infinities", _teacher_writes(float("inf")), "logits of clip seq1_000001 are not finite"),
    Case("teacher beyond half precision", _teacher_writes(1e6), "logits of clip seq1_000001 are not finite"),
)


def _weights(change: Callable[[Path], object]):
    def run(folder: Path) -> None:
        path = folder / "weights.safetensors"
        save_file(ssp_state(), path)
        change(path)
        model = build("SSP", UAVID.n_classes, load_profile("smoke"), load_weights=False)
        start_from(model, read_weights(path), str(path))

    return run


def _with_nan(path: Path) -> None:
    name, tensor = next((name, value) for name, value in ssp_state().items() if value.ndim == 4)
    spoilt = tensor.clone()
    spoilt.view(-1)[-1] = float("nan")
    save_file(ssp_state() | {name: spoilt}, path)


def _raft(folder: Path) -> None:
    path = folder / "raft_large-00000000.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    build_flow("raft-8", raft_weights=path)


def _cached(folder: Path) -> None:
    blob = folder / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    blob.write_bytes(b"half a file")
    (folder / "model.safetensors").symlink_to(blob)
    require_checksum(folder / "model.safetensors")


WEIGHTS = (
    Case("weights of zero bytes", _weights(lambda path: path.write_bytes(b"")), r"weights\.safetensors: not readable"),
    Case("weights cut in half", _weights(lambda path: path.write_bytes(path.read_bytes()[:9999])), "not readable as safet"),
    Case("weights that are text", _weights(lambda path: path.write_text("weights " * 99)), "not readable as safetensors"),
    Case("weights that are a pickle", _weights(lambda path: path.write_bytes(pickle.dumps([1]))), "not readable as safetens"),
    Case("weights that are a folder", _weights(lambda path: (path.unlink(), path.mkdir())), r"weights\.safetensors: "),
    Case("weights that are missing", _weights(lambda path: path.unlink()), r"weights\.safetensors: file is missing"),
    Case("weights with one NaN", _weights(_with_nan), r"weights\.safetensors: \S+ holds values that are no finite numbers"),
    Case("weights of another model", _weights(lambda path: save_file({"x": torch.ones(2)}, path)), "no weights for"),
    Case("flow weights that are not what their name says", _raft, r"raft_large-0+\.pth: SHA-256 is .*, published is 0"),
    Case("hub file that is not what the hub published", _cached, r"model\.safetensors: SHA-256 is"),
)

CASES = (*IMAGES, *RELEASES, *TRUTHS, *CLIPS, *TEACHER, *WEIGHTS)

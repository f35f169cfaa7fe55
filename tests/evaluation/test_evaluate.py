"""Scoring folders of label maps: known values, flow once per frame pair, and one line for every kind of wrong input."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.media import SIZE, panning_frames, write_rgb
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.data.releases import natural_order
from sspcore.evaluation.folders import find_clips, read_label_map, score_folders
from sspcore.metrics import METRICS, FrameRecord, MetricSuite
from sspcore.motion.cache import FlowStore

PAN, N_FRAMES, N_CLASSES = 2, 9, 4


class PanFlow:
    """The exact flow of `panning_frames`; counts its calls."""

    name = "pan"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        forward = (source[..., PAN:] - target[..., :-PAN]).abs().mean() < (source[..., :-PAN] - target[..., PAN:]).abs().mean()
        flow = torch.zeros(1, 2, *source.shape[-2:])
        flow[:, 0] = -PAN if forward else PAN
        return flow


def ground(seed: int = 0) -> np.ndarray:
    """(H, wide) class ids in blocks, to pan over."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, N_CLASSES, (SIZE[0] // 8, SIZE[1] // 8 + N_FRAMES), np.uint8)
    return np.kron(blocks, np.ones((8, 8), np.uint8))


def view(labels: np.ndarray, k: int) -> np.ndarray:
    return np.ascontiguousarray(labels[:, PAN * k : PAN * k + SIZE[1]])


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Two clips: frames as JPEG and PNG, predictions = truth with one class wrong in frame 4, labels on frames 0, 4, 8."""
    paths = {name: tmp_path / name for name in ("predictions", "frames", "labels")}
    for seed, clip in enumerate(("clip2", "clip10")):
        for k, frame in enumerate(panning_frames(N_FRAMES, seed)):
            truth = view(ground(seed), k)
            prediction = truth.copy()
            if k == 4:
                prediction[:16, :16] = (prediction[:16, :16] + 1) % N_CLASSES
            write_rgb(paths["predictions"] / clip / f"{k + 5}.png", prediction)
            write_rgb(paths["frames"] / clip / f"{k + 5}.{'png' if seed else 'jpg'}", frame)
            if k % 4 == 0:
                write_rgb(paths["labels"] / clip / f"{k + 5}.png", truth)
    return paths


def command(folders: dict[str, Path], *extra: str) -> list[str]:
    cache = folders["predictions"].parent / "cache"
    return [
        "evaluate",
        "--predictions",
        str(folders["predictions"]),
        "--frames",
        str(folders["frames"]),
        "--classes",
        str(N_CLASSES),
        "--flow",
        "dis-fast",
        "--flow-cache",
        str(cache),
        *extra,
    ]


def test_equals_the_metrics_fed_by_hand(folders, tmp_path):
    clips = find_clips(folders["predictions"], folders["frames"], folders["labels"])
    scores = score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", PanFlow(), None), moving=[1])
    suite = MetricSuite(N_CLASSES, tuple(scores["metrics"]), moving=[1])
    for seed in range(2):
        suite.start_clip()
        for k in range(N_FRAMES):
            prediction = truth = view(ground(seed), k)
            if k == 4:
                prediction = truth.copy()
                prediction[:16, :16] = (prediction[:16, :16] + 1) % N_CLASSES
            there, back = np.zeros((2, *SIZE), np.float32), np.zeros((2, *SIZE), np.float32)
            there[0], back[0] = -PAN, PAN
            suite.update(
                FrameRecord(prediction, truth if k % 4 == 0 else None, there if k + 1 < N_FRAMES else None, back if k else None)
            )
    assert scores["metrics"] == pytest.approx(suite.compute(), nan_ok=True)
    assert 0.9 < scores["metrics"]["tc"] < 1 and 0.9 < scores["metrics"]["miou"] < 1
    # 256 pixels blink once: in the middle frame of 7 windows, seen in all three frames
    seen = SIZE[0] * (SIZE[1] - 2 * PAN)
    assert scores["metrics"]["flicker"] == pytest.approx(16 * (16 - PAN) / (7 * seen))


def test_what_cannot_be_scored_is_left_out_and_said(folders, tmp_path):
    flows = FlowStore(tmp_path / "cache", PanFlow(), None)
    without = score_folders(find_clips(folders["predictions"], folders["frames"]), N_CLASSES, flows)
    assert set(without["metrics"]) == {"tc", "tc_reference", "tc_pooled", "tc_masked", "vote5", "flicker"}
    assert without["skipped"]["miou"] == "needs --labels" and "never read TC alone" in without["notes"][0]
    sparse = score_folders(find_clips(folders["predictions"], folders["frames"], folders["labels"]), N_CLASSES, flows, [1])
    assert set(METRICS) - set(sparse["metrics"]) == {"vc8", "vc16", "lag"}
    assert sparse["skipped"]["lag"] == "needs a label on every frame" and sparse["notes"] == []
    shutil.copytree(folders["predictions"], tmp_path / "dense")
    dense = score_folders(find_clips(folders["predictions"], folders["frames"], tmp_path / "dense"), N_CLASSES, flows, [1])
    assert dense["metrics"]["miou"] == 1 and dense["metrics"]["vc8"] == 1 and dense["skipped"] == {}
    assert dense["metrics"]["vc16"] is None  # clips of 9 frames


def test_a_second_system_costs_no_flow(folders, tmp_path):
    estimator = PanFlow()
    clips = find_clips(folders["predictions"], folders["frames"])
    first = score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", estimator, None))
    assert estimator.calls == 2 * 2 * (N_FRAMES - 1) == first["flow"]["computed"]
    other = tmp_path / "other"
    shutil.copytree(folders["predictions"], other)
    write_rgb(other / "clip2" / "5.png", np.zeros(SIZE, np.uint8))
    second = score_folders(find_clips(other, folders["frames"]), N_CLASSES, FlowStore(tmp_path / "cache", estimator, None))
    assert estimator.calls == 2 * 2 * (N_FRAMES - 1) and second["flow"]["computed"] == 0
    assert second["metrics"]["tc"] < first["metrics"]["tc"]


def test_changed_frames_and_damaged_files_get_new_flow(folders, tmp_path):
    flows = FlowStore(tmp_path / "cache", PanFlow(), None)

    def between() -> np.ndarray:
        clips = find_clips(folders["predictions"], folders["frames"])
        return flows.map(next(clip for clip in clips if clip.name == "clip10"), 0, 1)

    before = np.array(between())
    assert before.dtype == np.float16 and isinstance(between(), np.memmap) and (flows.computed, flows.reused) == (1, 1)
    stored = next((tmp_path / "cache").rglob("*.npy"))
    stored.write_bytes(stored.read_bytes()[:200])
    assert np.array_equal(between(), before) and flows.computed == 2
    flipped = bytearray(stored.read_bytes())
    flipped[-100] ^= 1
    stored.write_bytes(flipped)
    assert np.array_equal(between(), before) and flows.computed == 3
    frame = folders["frames"] / "clip10" / "5.png"
    os.utime(frame, (1, 1))
    between()
    assert flows.computed == 3  # the same content
    write_rgb(frame, panning_frames(N_FRAMES, 7)[3])
    between()
    assert flows.computed == 4


def test_command_line_table_and_json(folders, tmp_path, capsys):
    report = tmp_path / "out" / "scores.json"
    options = command(folders, "--labels", str(folders["labels"]), "--moving", "1,2", "--json", str(report))
    assert main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 clips, 18 frames, 6 labels; flow dis-fast: 32 estimated, 0 from the cache"
    written = json.loads(report.read_text())
    assert list(written["clips"]) == ["clip2", "clip10"] and written["n_classes"] == N_CLASSES
    row = next(line for line in lines if line.split()[0] == "miou")
    assert row.split() == ["miou", f"{100 * written['metrics']['miou']:.2f}", "%"]
    assert len({len(line.split(" %")[0]) for line in lines if " %" in line}) == 1  # aligned
    assert written["metrics"]["tc"] > 0.8 and len(written["details"]["tc"]["per_clip"]) == 2
    assert main([*options, "--overwrite"]) == 0
    assert "0 estimated, 32 from the cache" in capsys.readouterr().out
    assert json.loads(report.read_text())["metrics"] == written["metrics"]


def test_a_flat_folder_is_one_clip_and_gaps_are_said(folders, tmp_path):
    (folders["predictions"] / "clip2" / "8.png").unlink()
    clips = find_clips(folders["predictions"] / "clip2", folders["frames"] / "clip2", folders["labels"] / "clip2")
    assert [clip.name for clip in clips] == ["clip2"] and [path.stem for path in clips[0].predictions[3:5]] == ["9", "10"]
    scores = score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", PanFlow(), None))
    assert scores["notes"] == ["clip2: 1 frames between predictions have none and are jumped over"]


def test_a_clip_of_one_frame_is_reported(folders, tmp_path):
    for k in range(1, N_FRAMES):
        (folders["predictions"] / "clip2" / f"{k + 5}.png").unlink()
    shutil.rmtree(folders["predictions"] / "clip10")
    clips = find_clips(folders["predictions"], folders["frames"], folders["labels"])
    scores = score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", PanFlow(), None))
    assert scores["metrics"]["tc"] is None and scores["metrics"]["miou"] == 1
    assert scores["notes"][0] == "clip2: a clip of one frame, TC and its relatives are not defined there"
    write_rgb(folders["predictions"] / "clip2" / "5.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(SspError, match=r"5\.png: label map is 8x8, the maps before it 64x96; remove"):
        score_folders(clips, N_CLASSES, FlowStore(tmp_path / "cache", PanFlow(), None))


def test_natural_order():
    names = ["s10_f2", "s9_f10", "s9_f9", "s9", "a"]
    assert sorted(names, key=natural_order) == ["a", "s9", "s9_f9", "s9_f10", "s10_f2"]


def test_label_maps_with_a_palette_are_read_by_index(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % N_CLASSES
    image = Image.fromarray(labels, mode="P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    for bits in (2, 8):
        image.save(tmp_path / "map.png", bits=bits)
        assert np.array_equal(read_label_map(tmp_path / "map.png", N_CLASSES), labels)


def _write(name: str, image: np.ndarray):
    return lambda paths: write_rgb(paths["predictions"] / "clip2" / name, image)


def _damage(paths: dict[str, Path]) -> None:
    path = paths["predictions"] / "clip2" / "6.png"
    path.write_bytes(path.read_bytes()[:120])


def _frame_of_another_size(paths: dict[str, Path]) -> None:
    cv2.imwrite(str(paths["frames"] / "clip2" / "6.jpg"), np.zeros((32, 48, 3), np.uint8))


def _only_other_labels(paths: dict[str, Path]) -> None:
    shutil.rmtree(paths["labels"])
    write_rgb(paths["labels"] / "clip2" / "other.png", np.zeros(SIZE, np.uint8))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda paths: shutil.rmtree(paths["frames"]), "no such folder"),
        (lambda paths: shutil.rmtree(paths["labels"]), "--labels"),
        (lambda paths: (shutil.rmtree(paths["predictions"]), paths["predictions"].mkdir()), "no PNG label maps here"),
        (lambda paths: write_rgb(paths["predictions"] / "5.png", np.zeros(SIZE, np.uint8)), "keep one of the two"),
        (lambda paths: (paths["frames"] / "clip10" / "7.png").unlink(), "clip10/7.png: its frame is missing"),
        (_write("6.png", np.zeros((32, 48), np.uint8)), "clip2/6.png: label map is 32x48, the maps before it 64x96; remove"),
        (_write("6.png", np.full(SIZE, 4, np.uint8)), "clip2/6.png: holds the value 4, but classes are 0..3"),
        (_write("6.png", np.full((*SIZE, 3), (9, 0, 0), np.uint8)), "clip2/6.png: expected class ids, found colours"),
        (_write("6.png", np.full(SIZE, 256, np.uint16)), "clip2/6.png: expected class ids"),
        (_damage, "clip2/6.png: not a readable PNG (120 bytes)"),
        (_frame_of_another_size, "6.jpg is 32x48, the frames before it 64x96"),
        (lambda paths: (paths["frames"] / "clip2" / "6.jpg").write_bytes(b"no image"), "6.jpg: not a readable image"),
        (_only_other_labels, "no label has the name of a prediction, such as clip2/5.png"),
        (
            lambda paths: write_rgb(paths["labels"] / "clip2" / "5.png", np.zeros(SIZE[::-1], np.uint8)),
            "labels/clip2/5.png: label map is 96x64, the prediction 64x96; they are of other frames, or turned",
        ),
        (lambda paths: write_rgb(paths["frames"] / "clip2" / "6.png", np.zeros((*SIZE, 3), np.uint8)), "6.jpg lies beside it"),
    ],
)
def test_wrong_input_is_one_line(folders, spoil, message, capsys):
    spoil(folders)
    assert main(command(folders, "--labels", str(folders["labels"]))) == 2
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--classes", "0"], "--classes 0: take 1..254"),
        (["--moving", "1,4"], "--moving 1,4: expected class ids within 0..3"),
        (["--moving", "car"], "'car': expected whole numbers"),
    ],
)
def test_wrong_settings_are_one_line(folders, extra, message, capsys):
    assert main(command(folders, *extra)) == 2
    assert message in capsys.readouterr().err


def test_a_data_set_gives_classes_and_moving_ids(folders, capsys):
    options = [
        part for part in command(folders, "--labels", str(folders["labels"])) if part not in ("--classes", str(N_CLASSES))
    ]
    assert main([*options, "--dataset", "uavid"]) == 0
    assert "miou_moving" in capsys.readouterr().out


def test_json_says_what_was_not_given(folders, tmp_path):
    assert main(command(folders, "--json", str(tmp_path / "scores.json"))) == 0
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["labels"] is None and written["classes"] is None and written["predictions"].endswith("predictions")

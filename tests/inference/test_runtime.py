"""The runtime: same results as the plain loop, nothing lost or out of order, and it ends well however it ends."""

from __future__ import annotations

import _thread
import json
import signal
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.media import SIZE, panning_frames, write_rgb, write_video
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.inference import (
    Prediction,
    Source,
    TorchBackend,
    live_motion,
    mask_folder,
    open_source,
    overlay_video,
    percentiles,
    run,
    segment_frames,
)
from sspcore.models.checkpoint import save_checkpoint, system_config
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP
from sspcore.motion.registration import Identity, Registration, build_registrator

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")


class Fake:
    """A back end that answers with the frame's own first channel, after so many seconds."""

    size, needs = SIZE, frozenset({"homography"})

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.motions = seconds, []

    def step(self, frame, motion):
        time.sleep(self.seconds)
        moved = motion()
        self.motions.append(None if moved is None else moved.H_prev_to_cur[0].numpy())
        return Prediction(frame[..., 0].copy())


class SlowRegistrator(Identity):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, previous, current):
        time.sleep(self.seconds)
        return super().__call__(previous, current)


def source(frames, live=False, n=None):
    return Source(iter(frames), live, 12.0, n)


def collector():
    seen = []
    return seen, lambda result: seen.append((result.number, result.labels))


def test_equals_the_plain_loop():
    torch.manual_seed(0)
    model = SSP(ImageSegmenter(TINY, 8)).eval()
    frames = panning_frames(4, 0)
    seen, consume = collector()
    report = run(source(frames), TorchBackend(model, SIZE), live_motion(build_registrator("lk")), [consume])
    plain = segment_frames(model, frames, live_motion(build_registrator("lk")), SIZE)
    for (number, class_map), (k, expected) in zip(seen, enumerate(plain), strict=True):
        assert number == expected.number == k and np.array_equal(class_map, expected.labels)
    assert report.frames == 4 and report.summary()["latency_ms"]["p50"] > 0


def test_registration_hides_behind_the_network():
    began = time.perf_counter()
    report = run(source(panning_frames(12, 0)), Fake(0.05), live_motion(SlowRegistrator(0.04)))
    assert time.perf_counter() - began < 12 * 0.05 + 0.4  # one after the other it would be 1.04 s
    assert np.median(list(report.waited)) < 0.02
    assert np.median(list(report.interval)) < 0.07


def test_broken_frames_are_counted_and_skipped():
    frames = panning_frames(5, 0)
    seen, consume = collector()
    report = run(source([frames[0], None, frames[2], None, frames[4]]), Fake(), live_motion(Identity()), [consume])
    assert [number for number, _ in seen] == [0, 2, 4] and report.broken == 2 and report.frames == 3


def test_cut_starts_anew_and_failed_registration_does_not():
    flat = np.full((*SIZE, 3), 120, np.uint8)
    flat[: SIZE[0] // 2] = 30
    other = np.full((*SIZE, 3), 200, np.uint8)
    backend = Fake()
    report = run(source([flat, flat, other]), backend, live_motion(build_registrator("lk")))
    assert report.unregistered == 1 and report.cuts == 1
    assert backend.motions[0] is None and np.array_equal(backend.motions[1], np.eye(3)) and backend.motions[2] is None


def test_live_sources_drop_the_oldest_and_register_what_was_seen():
    pairs = []

    class Recorder(Identity):
        def __call__(self, previous, current):
            pairs.append((int(previous[0, 0, 0]), int(current[0, 0, 0])))
            return Registration(np.eye(3), True)

    def live():
        for k in range(40):
            time.sleep(0.005)
            yield np.full((*SIZE, 3), k, np.uint8)

    seen, consume = collector()
    report = run(source(live(), live=True), Fake(0.03), live_motion(Recorder()), [consume])
    numbers = [number for number, _ in seen]
    assert report.dropped > 5 and report.frames + report.dropped == 40
    assert numbers == sorted(numbers) and numbers[-1] == 39
    assert pairs == list(zip(numbers, numbers[1:], strict=False))


def test_files_are_never_dropped():
    report = run(source(panning_frames(20, 0)), Fake(0.005), live_motion(Identity()))
    assert report.frames == 20 and report.dropped == 0


@pytest.mark.parametrize("culprit", ["source", "registrator", "backend", "consumer"])
def test_an_error_anywhere_ends_the_run_and_arrives(culprit):
    def fail(*_):
        raise SspError(culprit)

    def frames():
        yield from panning_frames(3, 0)
        if culprit == "source":
            fail()
        yield from panning_frames(3, 0)

    backend = Fake()
    if culprit == "backend":
        backend.step = fail
    registrator = fail if culprit == "registrator" else Identity()
    threads = threading.active_count()
    with pytest.raises(SspError, match=culprit):
        run(source(frames()), backend, live_motion(registrator), [fail] if culprit == "consumer" else [])
    assert threading.active_count() <= threads + 1  # tqdm keeps a monitor


@pytest.fixture
def ctrl_c():
    """Ctrl-C works as in a terminal, also where the tests run in the background, whose shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield _thread.interrupt_main
    signal.signal(signal.SIGINT, before)


def test_interrupt_leaves_a_playable_file(tmp_path, ctrl_c):
    def long_video():
        for k in range(1000):
            if k == 24:
                ctrl_c()
            yield panning_frames(1, 0)[0]

    with overlay_video(tmp_path / "out.mp4", UAVID, 12) as overlay:
        report = run(source(long_video()), Fake(0.01), live_motion(Identity()), [overlay, mask_folder(tmp_path / "masks")])
    assert report.interrupted and report.frames >= 5
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    assert written == len(list((tmp_path / "masks").glob("*.png")))
    assert report.frames - 1 <= written <= report.frames  # the interrupt may fall between counting and handing on
    assert capture.read()[0] and not list(tmp_path.glob(".*"))


def test_max_frames():
    assert run(source(panning_frames(9, 0)), Fake(), live_motion(Identity()), max_frames=4).frames == 4


def test_sources(tmp_path):
    frames = panning_frames(3, 0)
    write_video(tmp_path / "video.mp4", frames)
    with open_source(str(tmp_path / "video.mp4")) as video:
        assert video.n_frames == 3 and not video.live and len(list(video)) == 3
    folder = tmp_path / "images"
    for k in (10, 9):
        write_rgb(folder / f"{k}.png", frames[k - 9])
    (folder / "11.png").write_bytes(b"no image")
    with open_source(str(folder)) as images:
        read = list(images)
    assert np.array_equal(read[0], frames[0]) and np.array_equal(read[1], frames[1]) and read[2] is None
    with open_source(str(tmp_path / "video.mp4"), rate=50) as paced:
        began = time.perf_counter()
        assert paced.live and len(list(paced)) == 3 and time.perf_counter() - began > 0.05
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in (("nothing.mp4", "no such"), ("empty", "no image"), ("text.mp4", "cannot be opened")):
        with pytest.raises(SspError, match=message), open_source(str(tmp_path / name)):
            pass


def test_percentiles_by_hand():
    assert percentiles([0.001, 0.002, 0.003]) == {"p50": 2.0, "p95": 2.9, "p99": 2.98} and percentiles([]) is None


def test_command_line(tmp_path, capsys):
    model = SSP(ImageSegmenter(TINY, UAVID.n_classes))
    save_checkpoint(tmp_path / "ssp", model, system_config("SSP", TINY, UAVID, (32, 64)))
    write_video(tmp_path / "video.mp4", panning_frames(3, 0))
    common = ["--checkpoint", str(tmp_path / "ssp"), "--size", "64x96"]
    done = main([
        "stream", str(tmp_path / "video.mp4"), *common, "--out", str(tmp_path / "o.mp4"), "--report", str(tmp_path / "r.json")
    ])
    assert done == 0 and (tmp_path / "o.mp4").is_file()
    assert json.loads((tmp_path / "r.json").read_text())["frames"] == 3
    capsys.readouterr()
    assert main(["stream", "nothing.mp4", *common]) == 2
    assert main(["stream", str(tmp_path / "video.mp4"), "--bundle", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors)


def test_the_command_writes_at_the_source_s_size_and_says_where(tmp_path, capsys):
    save_checkpoint(tmp_path / "ssp", SSP(ImageSegmenter(TINY, UAVID.n_classes)), system_config("SSP", TINY, UAVID, SIZE))
    for k, frame in enumerate(panning_frames(2, 0)):
        write_rgb(tmp_path / "frames" / f"shot{k + 8}.png", frame[:50])
    masks, video = tmp_path / "masks", tmp_path / "o.avi"
    common = ["stream", str(tmp_path / "frames"), "--checkpoint", str(tmp_path / "ssp"), "--masks", str(masks)]
    panels = ["--panels", "frame,overlay,alone,alpha,flicker", "--view", "0"]
    assert main([*common, "--out", str(video), *panels, "--palette"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["outputs"] == {"overlay": str(video), "masks": str(masks)}
    assert json.loads(told.out)["meaning"].keys() <= json.loads(told.out).keys()
    assert f"overlay: {video}\nmasks: {masks}" in told.err and "view: http://127.0.0.1:" in told.err
    assert sorted(path.name for path in masks.iterdir()) == ["masks.csv", "shot8.png", "shot9.png"]
    with Image.open(masks / "shot9.png") as mask:
        assert mask.mode == "P" and mask.size == (96, 50)
    assert cv2.VideoCapture(str(video)).read()[1].shape[1] == 3 * 32 + 2 * 6  # three columns

    assert main([*common, "--system", "Base", "--max-frames", "1", "--overwrite"]) == 0
    assert sorted(path.name for path in masks.iterdir()) == ["masks.csv", "shot8.png"]
    capsys.readouterr()
    (masks / "mine.png").touch()
    for more, line in (
        (["--overwrite"], "holds mine.png, which no masks.csv"),
        (["--system", "Base", "--panels", "alpha", "--view", "0"], "only SSP"),
        (["--scale", "0"], "--scale 0: take"), (["--out", str(tmp_path / "o.gif")], "name one of them"),
        (["--view", "x"], "--view x"), (["--scale", "0.5"], "--scale 0.5: is for the overlay; give --out or --view too"),
        (["--panels", "frame"], "--panels: are for the overlay"),
    ):
        assert main([*(common if "--overwrite" in more else common[:4]), *more]) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1 and line in error[0]

"""Bad values: settings of a profile, and the arrays that functions are called with."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from bad_inputs.cases import SIZE, Case, panning_frames
from sspcore.core.errors import ProfileError
from sspcore.core.types import Motion, Outputs, VideoSegmenter, Window
from sspcore.export.device.step_runner import StepRunner
from sspcore.inference import Observed, TorchBackend, segment_frames
from sspcore.metrics import FrameRecord, MeanIoU, MetricSuite
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.motion import geometry
from sspcore.motion.registration import build_registrator
from sspcore.study import Study
from sspcore.study.profiles import PROFILE_FOLDER, load_profile
from sspcore.training.losses import cross_entropy

SMOKE = (PROFILE_FOLDER / "smoke.yaml").read_text(encoding="utf-8")


def _text(data: bytes):
    def run(folder: Path) -> None:
        (folder / "mine.yaml").write_bytes(data)
        load_profile(str(folder / "mine.yaml"))

    return run


def _set(dotted: str, value: Any):
    """The smoke profile with one value written into its file."""
    def run(folder: Path) -> None:
        tree = json.loads(json.dumps(yaml.safe_load(SMOKE)))  # what is written once under two names is two things
        *parents, last = dotted.split(".")
        node = tree
        for part in parents:
            node = node[part]
        node[last] = value
        (folder / "mine.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        load_profile(str(folder / "mine.yaml"))

    return run


INF, NAN = float("inf"), float("nan")
PROFILES = (
    Case("profile of zero bytes", _text(b""), r"mine\.yaml: expected a mapping"),
    Case("profile that is a list", _text(b"- 1\n- 2\n"), r"mine\.yaml: expected a mapping"),
    Case("profile that is no text", _text(b"\xff\xfe\x00\x01"), r"mine\.yaml: not readable as YAML"),
    Case("profile that breaks off", _text(SMOKE.partition("frame_step")[0].encode()), r"mine\.yaml: not readable as YAML"),
    Case("profile nested without end", _text(b"[" * 1000), r"mine\.yaml: not readable as YAML"),
    Case("profile that would run code", _text(b"!!python/object/apply:os.getcwd []"), r"mine\.yaml: not readable as YAML"),
    Case("profile with an impossible date", _text(SMOKE.encode() + b"x: 2026-02-31\n"), r"mine\.yaml: not readable as YAML"),
    Case("profile that holds itself", _text(SMOKE.encode() + b"x: &a [*a]\n"), r"mine\.yaml: not readable as YAML"),
    Case("list for a key", _text(SMOKE.encode() + b"? [a, b]\n: 2\n"), r"mine\.yaml: not readable as YAML"),
    Case("setting written twice", _text(SMOKE.encode() + b"seed: 5\n"), r"mine\.yaml: seed \(line \d+\): is set twice"),
    Case(
        "nested setting written twice", _text(SMOKE.replace("lambda_tc: 0.5}", "lambda_tc: 0.5, lr: 1.0}").encode()),
        r"mine\.yaml: lr \(line \d+\): is set twice",
    ),
    Case("unknown section", _set("trainings", {}), "trainings: unknown key"),
    Case("unknown setting", _set("training.video.lamda", 1), r"training\.video\.lamda: unknown key"),
    Case("words for a number", _set("training.video.lr", "fast"), r"training\.video\.lr: .*valid number"),
    Case("yes for a number", _set("training.video.epochs", True), r"training\.video\.epochs: Input should be a valid integer"),
    Case("yes for a width", _set("models.base.decoder_channels", True),
         r"models\.base\.decoder_channels: Input should be a valid int"),
    Case("half an epoch", _set("training.video.epochs", 1.5), r"training\.video\.epochs: .*integer"),
    Case("learning rate that is NaN", _set("training.video.lr", NAN), r"training\.video\.lr: .*finite"),
    Case("learning rate that is infinite", _set("training.video.lr", INF), r"training\.video\.lr: .*finite"),
    Case("weight that is infinite", _set("training.video.lambda_tc", INF), r"training\.video\.lambda_tc: .*finite"),
    Case("zoom that is infinite", _set("augmentation.windows.box.one_of", [{"kind": "box", "zoom": [1.0, INF]}]),
         r"box\.zoom.*finite"),
    Case("negative learning rate", _set("training.video.lr", -1e-3), r"training\.video\.lr: .*greater than 0"),
    Case("negative seed", _set("seed", -1), "seed: .*greater than or equal to 0"),
    Case("seed beyond all generators", _set("seed", 2**64), "seed: .*less than"),
    Case("negative seed on the command line", lambda folder: Study.open("smoke", seed=-1, root=folder), "--seed -1: take 0"),
    Case("three sides of a frame", _set("input_size", [96, 160, 3]), "input_size: .*2 items"),
    Case("frame of no height", _set("input_size", [0, 160]), "input_size: 0x160"),
    Case("profile named after a folder above", _set("name", "../../elsewhere"), r"name: '\.\./\.\./elsewhere'"),
    Case("profile without a name", _set("name", ""), "name: ''"),
    Case("published outside of the repository", _set("publish_to", "../elsewhere"), r"publish_to: '\.\./elsewhere'"),
    Case("published at the root of the disk", _set("publish_to", "/elsewhere"), "publish_to: '/elsewhere'"),
    Case("control beyond one", _set("constant_alphas", [1.5]), r"constant_alphas\.0"),
    Case("one word for a list of systems", _set("systems", "SSP"), "systems: "),
    Case(
        "encoder that does not exist",
        lambda folder: ImageSegmenter(ImageModelSpec(encoder="tu-nonsense", decoder_channels=8, weights="none"), 8),
        "encoder 'tu-nonsense'",
    ),
)


class Constant(VideoSegmenter):
    """A system whose logits are one value, but for a pixel of another."""

    def __init__(self, odd: float) -> None:
        super().__init__()
        self.odd = odd

    def forward(self, window: Window) -> Outputs:
        raise NotImplementedError

    def step(self, image: torch.Tensor, state: object, motion: Motion | None) -> tuple[torch.Tensor, object]:
        logits = torch.zeros(1, 8, *image.shape[-2:])
        logits[0, 3, 5, 7] = self.odd
        return logits, object()


def _still(position: int, previous: np.ndarray, current: np.ndarray) -> Observed:
    return Observed(Motion(torch.eye(3)[None], None))


def _streamed(odd: float):
    return lambda folder: list(segment_frames(Constant(odd), panning_frames(2, 0), _still, SIZE))


def _torch_backend(folder: Path) -> None:
    model = ImageSegmenter(ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none"), 8)
    with torch.no_grad():
        model.classifier.bias[2] = NAN
    TorchBackend(model, SIZE).step(panning_frames(1, 0)[0], lambda: None)


def _empty_video(folder: Path) -> None:
    assert list(segment_frames(Constant(1.0), [], _still, SIZE)) == []


def _suite_of_nothing(folder: Path) -> None:
    suite = MetricSuite(4, moving=(1,))
    suite.start_clip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics says that there was nothing to count
        figures = suite.compute()
    assert all(np.isnan(value) for value in figures.values()), figures


def _odd_flow(value: float):
    """Flow that is no number must count as leading out of view, whatever the processor makes of it as an integer."""
    def run(folder: Path) -> None:
        rng = np.random.default_rng(0)
        labels = [rng.integers(0, 4, (8, 12)).astype(np.uint8) for _ in range(3)]
        figures = []
        for odd in (value, 5000.0):
            flow = np.zeros((2, 8, 12), np.float32)
            flow[:, 2:4] = odd
            suite = MetricSuite(4, ("tc", "tc_reference", "tc_masked", "vc8", "flicker"))
            for prediction in labels:
                suite.update(FrameRecord(prediction, prediction, flow, flow))
            figures.append(suite.compute())
        np.testing.assert_equal(figures[0], figures[1])

    return run


def _record(prediction: np.ndarray, target: np.ndarray | None = None, **fields: Any):
    return lambda folder: MeanIoU(4).update(FrameRecord(prediction, target, **fields))


def _homography(H: Any, check: Callable[[torch.Tensor, torch.Tensor], bool]):
    def run(folder: Path) -> None:
        values, valid = geometry.warp_by_homography(torch.rand(1, 2, 6, 8), torch.tensor(H, dtype=torch.float64)[None])
        assert check(values, valid), (values, valid)

    return run


def _step(H: np.ndarray):
    class Step(StepRunner):
        def __init__(self) -> None:
            self.sidecar, self.size = {"state": {"a": "b"}}, SIZE
            self._shapes = {"frame": ((1, *SIZE, 3), np.dtype(np.uint8))}

        def _run(self, inputs):
            return inputs

    return lambda folder: Step().step(panning_frames(1, 0)[0], H)


def _black_frames(folder: Path) -> None:
    black = np.zeros((*SIZE, 3), np.uint8)
    for name in ("lk", "sift", "akaze", "orb"):
        found = build_registrator(name)(black, black)
        assert not found.ok and np.array_equal(found.H_prev_to_cur, np.eye(3)), name


def _nothing_labelled(folder: Path) -> None:
    logits = torch.randn(1, 4, 6, 8, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 6, 8), 255))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


GREY = np.zeros((6, 8), np.uint8)
ARRAYS = (
    Case("logits with one NaN", _streamed(NAN), "the network: its logits are no finite numbers"),
    Case("logits with one infinity", _streamed(INF), "the network: its logits are no finite numbers"),
    Case("network with NaN in the runtime", _torch_backend, "its logits are no finite numbers"),
    Case("video without a frame", _empty_video),
    Case("metrics of an empty clip", _suite_of_nothing),
    Case("flow of NaN", _odd_flow(NAN)),
    Case("flow of infinity", _odd_flow(INF)),
    Case("flow of minus infinity", _odd_flow(-INF)),
    Case("labels of floating point", _record(GREY.astype(float)), "prediction: expected integer labels", ValueError),
    Case("labels below zero", _record(GREY.astype(int) - 1), "prediction: labels must lie in 0..255", ValueError),
    Case("labels of no pixel", _record(GREY[:0]), "prediction: expected integer labels", ValueError),
    Case("labels of an unknown class", _record(GREY + 7, GREY), "prediction holds class 7, n_classes is 4", ValueError),
    Case("truth of an unknown class", _record(GREY, GREY + 9), "target holds class 9, n_classes is 4", ValueError),
    Case("truth of another size", _record(GREY, GREY[:3]), "target: expected shape", ValueError),
    Case("flow of another size than labels", _record(GREY, flow_to_next=np.zeros((2, 3, 3))), "flow_to_next: ", ValueError),
    Case("size that changes within a clip", lambda folder: [
        (suite := MetricSuite(4, ("tc",))).update(FrameRecord(GREY, flow_to_next=np.zeros((2, 6, 8)))),
        suite.update(FrameRecord(GREY[:3])),
    ], "size changes within a clip", ValueError),
    Case(
        "homography of NaN",
        _homography(np.full((3, 3), NAN), lambda values, valid: not valid.any() and values.isfinite().all()),
    ),
    Case("singular homography", _homography(np.ones((3, 3)), lambda values, valid: False), "singular", ValueError),
    Case("homography of NaN on a device", _step(np.full((3, 3), NAN)), "H_cur_to_prev is .*give a finite 3x3", ValueError),
    Case("half a homography on a device", _step(np.eye(3)[:2]), "H_cur_to_prev is .*give a finite 3x3", ValueError),
    Case("black frames to register", _black_frames),
    Case("window without a labelled pixel", _nothing_labelled),
    Case("override of a setting that does not exist", lambda folder: load_profile("smoke", {"training.video.lrr": 1}),
         r"training\.video\.lrr", ProfileError),
)

CASES = (*PROFILES, *ARRAYS)

"""The bundle's own programs: run_camera.py is `sspcore stream` to the pixel, and what is missing is said in one line."""

from __future__ import annotations

import argparse
import ast
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from helpers.media import panning_frames, texture, write_rgb
from sspcore.cli.main import main
from sspcore.core.checksums import sha256
from sspcore.data.datasets import UAVID
from sspcore.export.device import (
    bench_engine,
    build_engine,
    camera_source,
    class_maps,
    compare_engine,
    engine_runner,
    run_camera,
    script,
)
from sspcore.export.device.camera_source import Source
from sspcore.export.device.engine_runner import EngineRunner
from sspcore.export.device.step_runner import OnnxRunner, StepError, sampling_homography
from sspcore.export.device.threads import in_thread
from sspcore.export.rollout import synthetic_rollout
from sspcore.export.scripts import write_scripts
from sspcore.inference.fit import Fit

SIZE, CLASSES = (64, 96), UAVID.n_classes
CLIP = Path(__file__).resolve().parents[2] / "data/sample/clips/val/seq19_000025/frames"


def step_graph() -> onnx.ModelProto:
    """A step in small: each class likes a colour, and the logits of the frame before, warped, count four fifths."""
    height, width = SIZE
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    constants = {
        "colours": np.random.default_rng(0).normal(0, 0.05, (CLASSES, 3, 1, 1)), "weight": [0.8],
        "points": np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)], 1)[None],
        "scale": [2 / width, 2 / height], "shift": [1 / width - 1, 1 / height - 1],
    }
    integers = {"grid_shape": [1, height, width, 2], "from": [0], "to": [2], "last": [3], "axis": [2]}
    nodes = [
        ("Transpose", ["frame"], "planes", {"perm": [0, 3, 1, 2]}), ("Cast", ["planes"], "image", {"to": TensorProto.FLOAT}),
        ("Conv", ["image", "colours"], "scores", {}), ("Transpose", ["H_cur_to_prev"], "turned", {"perm": [0, 2, 1]}),
        ("MatMul", ["points", "turned"], "moved", {}), ("Slice", ["moved", "from", "to", "axis"], "xy", {}),
        ("Slice", ["moved", "to", "last", "axis"], "z", {}), ("Div", ["xy", "z"], "pixels", {}),
        ("Mul", ["pixels", "scale"], "scaled", {}), ("Add", ["scaled", "shift"], "flat", {}),
        ("Reshape", ["flat", "grid_shape"], "grid", {}),
        ("GridSample", ["previous_logits", "grid"], "past", {"mode": "bilinear", "padding_mode": "border"}),
        ("Mul", ["weight", "past_valid"], "alpha", {}), ("Sub", ["past", "scores"], "change", {}),
        ("Mul", ["alpha", "change"], "mixed", {}), ("Add", ["scores", "mixed"], "logits", {}),
        ("ArgMax", ["logits"], "best", {"axis": 1, "keepdims": 0}), ("Cast", ["best"], "class_map", {"to": TensorProto.UINT8}),
    ]
    values = {name: np.array(value, np.float32) for name, value in constants.items()}
    values |= {name: np.array(value, np.int64) for name, value in integers.items()}
    types = {"frame": TensorProto.UINT8, "class_map": TensorProto.UINT8}
    borders = [[
        helper.make_tensor_value_info(each["name"], types.get(each["name"], TensorProto.FLOAT), each["shape"]) for each in part
    ] for part in (INPUTS, OUTPUTS)]
    made = [helper.make_node(kind, given, [name], name, **attributes) for kind, given, name, attributes in nodes]
    stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(made, "step", *borders, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def described(name: str, shape: tuple[int, ...], dtype: str = "float32") -> dict[str, object]:
    return {"name": name, "shape": list(shape), "dtype": dtype}


INPUTS = [
    described("frame", (1, *SIZE, 3), "uint8"), described("H_cur_to_prev", (1, 3, 3)),
    described("previous_logits", (1, CLASSES, *SIZE)), described("past_valid", (1,)),
]
OUTPUTS = [described("logits", (1, CLASSES, *SIZE)), described("class_map", (1, *SIZE), "uint8")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle with all scripts, whose step was made by hand."""
    folder = tmp_path_factory.mktemp("camera") / "bundle"
    folder.mkdir()
    onnx.save(step_graph(), folder / "step.onnx")
    write_scripts(folder)
    (folder / "bundle.json").write_text(json.dumps({
        "system": "SSP", "size": SIZE, "interpolation": "area", "dataset": "uavid", "classes": UAVID.classes,
        "palette": UAVID.palette, "normalisation": {}, "inputs": INPUTS, "outputs": OUTPUTS,
        "state": {"logits": "previous_logits"}, "sha256": {"step.onnx": sha256(folder / "step.onnx")},
    }))
    return folder


def run_alone(bundle: Path, *arguments: object) -> subprocess.CompletedProcess:
    """run_camera.py as on the device: from elsewhere, nothing of ours on the path, no screen."""
    left_out = ("PYTHONPATH", "PYTHONSAFEPATH", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    command = [sys.executable, str(bundle / "run_camera.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=bundle.parent, env=environment, timeout=300)


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))}


def test_the_bundle_s_files_need_numpy_and_opencv_and_nothing_of_ours(bundle):
    beside = {path.stem for path in bundle.glob("*.py")} | {"motion"}
    for path in bundle.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        used = {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
        used |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert used - beside - sys.stdlib_module_names <= {"numpy", "cv2", "PIL"}, path.name
        assert "sspcore" not in path.read_text(), path.name
        if path.parent.name == "motion":
            assert "PIL" not in used and "torch" not in used
    assert len((bundle / "run_camera.py").read_text().splitlines()) <= 250


def packaged(folder: Path) -> Path:
    return CLIP


def other_size_with_cuts(folder: Path) -> Path:
    """Upright frames with a margin in the network's, that pan, jump elsewhere and lose all texture."""
    frames = [np.ascontiguousarray(each[:, :60]) for each in panning_frames(6, 0) + panning_frames(4, 5)]
    for k, frame in enumerate([*frames, *[np.full((64, 60, 3), 90, np.uint8)] * 2]):
        write_rgb(folder / "source" / f"{k + 7}.png", cv2.resize(frame, (135, 150), interpolation=cv2.INTER_CUBIC))
    return folder / "source"


@pytest.mark.parametrize("source", [packaged, other_size_with_cuts])
def test_its_class_maps_are_those_of_the_stream(bundle, tmp_path, source):
    video = source(tmp_path)
    assert main(["stream", str(video), "--bundle", str(bundle), "--masks", str(tmp_path / "ours"), "--report",
                 str(tmp_path / "ours.json")]) == 0
    outputs = ("--masks", tmp_path / "theirs", "--out", tmp_path / "overlay.avi", "--report", tmp_path / "theirs.json")
    done = run_alone(bundle, video, "--headless", *outputs)
    assert done.returncode == 0, done.stderr
    ours, theirs = masks(tmp_path / "ours"), masks(tmp_path / "theirs")
    assert list(ours) == list(theirs) and len(ours) > 9
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    found, expected = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("theirs", "ours"))
    for name in ("frames", "cuts", "unregistered", "dropped"):
        assert found[name] == expected[name], name
    assert found["cuts"] == (0 if source is packaged else 2) and found["fps"] > 0
    capture = cv2.VideoCapture(str(tmp_path / "overlay.avi"))
    assert sum(capture.grab() for _ in range(100)) == len(ours)


def test_what_is_missing_is_said_in_one_line(bundle, tmp_path, monkeypatch):
    (tmp_path / "masks").mkdir()
    for mine in ("masks/mine.png", "mine.mp4", "flight.part.avi", "step.onnx"):
        (tmp_path / mine).touch()
    shutil.copy(bundle / "bundle.json", tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    here, headless = ("--bundle", bundle), (CLIP, "--headless", "--bundle", bundle)
    for module, arguments, words in [
        (build_engine, here, "tensorrt cannot be imported .*: it comes with JetPack"),
        (compare_engine, (*here, "--runtime", "tensorrt"), "sudo apt install nvidia-jetpack"),
        (compare_engine, here, "golden.npz: no such file: copy the whole bundle"),
        (bench_engine, ("--bundle", bundle.parent), "bundle.json: no such file"),
        (bench_engine, ("--bundle", tmp_path), "onnxruntime cannot start"),
        (run_camera, (CLIP, *here), "--headless"),
        (run_camera, ("nothing.mp4", "--headless", *here), "nothing.mp4: no such video"),
        (run_camera, (tmp_path / "masks", "--headless", *here), "no frame came|holds no image|cannot"),
        (run_camera, (*headless, "--masks", tmp_path / "masks"), "name another folder"),
        (run_camera, (*headless, "--out", tmp_path / "mine.mp4"), "--overwrite"),
        (run_camera, (*headless, "--out", tmp_path / "flight.avi"), r"flight\.part\.avi: is there already"),
        (run_camera, (*headless, "--out", tmp_path / "none" / "flight.avi"), "none: no such folder; make it first"),
        (run_camera, (*headless, "--out", CLIP, "--overwrite"), "name a video"),
    ]:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            script.run_script(module.main)
        said = str(stop.value.code)
        assert said.startswith("error: ") and "\n" not in said and re.search(words, said), said
    assert not (tmp_path / "mine.mp4").stat().st_size and len(list((tmp_path / "masks").iterdir())) == 1
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SystemExit, match="on a Jetson sudo apt install python3-opencv, elsewhere pip install opencv-python$"):
        script.need("cv2")
    with pytest.raises(argparse.ArgumentTypeError, match="such as 1280x720@30"):
        run_camera.capture("1280x720")


@pytest.mark.parametrize("source", [(150, 225), (90, 50), (32, 48)])
@pytest.mark.parametrize("with_logits", [True, False])
def test_answers_are_restored_as_the_library_restores_them(source, with_logits):
    fit = Fit.of(source, SIZE)
    logits = np.random.default_rng(1).normal(0, 6, (CLASSES, *SIZE)).astype(np.float32)
    labels = logits.argmax(0).astype(np.uint8)
    expected, _ = fit.restored(labels, torch.from_numpy(logits) if with_logits else None)
    found = class_maps.restored(labels, logits if with_logits else None, fit.content, source)
    assert found.shape == source and np.array_equal(found, expected)


class Camera:
    """A capture that gives frames, then nothing, and after it is opened again the rest."""

    parts: list[list[np.ndarray]] = []
    opened: list[tuple[object, ...]] = []

    def __init__(self, *given):
        Camera.opened.append(given)
        self.frames = iter(Camera.parts.pop(0) if Camera.parts else [])

    def isOpened(self):
        return True

    def get(self, key):
        return 0.0

    def set(self, key, value):
        return True

    def read(self):
        frame = next(self.frames, None)
        return frame is not None, frame

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(camera_source.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(camera_source, "WAIT", 0.0)
    Camera.parts, Camera.opened = [], []
    return Camera


def test_a_lost_camera_is_opened_again_and_the_video_starts_there(bundle, camera):
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in panning_frames(5, 0)]
    camera.parts = [frames[:3], [frames[3], cv2.cvtColor(frames[4], cv2.COLOR_BGR2GRAY)]]
    source, counts = Source("0", (64, 96, 30), reconnect=0.05), run_camera.Counts()
    shots = list(run_camera.segmented(SimpleNamespace(frames=source.frames, live=False), OnnxRunner(bundle), counts, None))
    assert source.live and [shot.H is None for shot in shots] == [True, False, False, True, False]
    assert (counts.frames, counts.restarted, counts.cuts) == (5, 1, 0)
    assert np.allclose(shots[1].H, sampling_homography([[1, 0, -2], [0, 1, 0], [0, 0, 1]]), atol=0.05)  # it pans to the right


def test_pipelines_end_where_opencv_takes_the_newest_frame(camera, monkeypatch):
    monkeypatch.setattr(camera_source.cv2.videoio_registry, "hasBackend", lambda which: True)
    names = "csi:1", "gst:rtspsrc location=rtsp://a:b@c/d ! decodebin", "filesrc location=a ! decodebin", "v4l2src ! appsink"
    for name in names:
        Source(name, (1080, 1920, 60))
    csi, rtsp, file, own = (pipeline for pipeline, _ in camera.opened)
    assert csi.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=60/1 ! ")
    assert all(each.endswith("format=BGR ! appsink drop=true max-buffers=1") for each in (csi, rtsp))
    assert file.endswith("format=BGR ! appsink") and own == "v4l2src ! appsink"
    assert not Source("filesrc location=a.mp4 ! decodebin").live and "a:b" not in Source("rtsp://a:b@c/d").shown


def test_a_live_source_is_never_ahead_of_the_network():
    """The next frame is taken when the one before has gone to the network, and then it is the newest."""
    made, dropped, (gone, all_came, given) = [], [], (threading.Event() for _ in range(3))

    def arriving():
        yield 0
        gone.wait(5)
        for k in range(1, 50):
            time.sleep(0.001)  # whoever waits for no one takes each
            yield k
        all_came.set()
        given.wait(5)

    def registered(items):
        for item in items:
            made.append(item)
            yield item

    taken = in_thread(registered(in_thread(arriving(), 1, lambda: dropped.append(1))), 1)
    first = next(taken)
    gone.set()
    all_came.wait(5)
    ahead = len(made) - 1
    second = next(taken)
    given.set()
    rest = list(taken)
    assert ahead <= 1 and first == 0 and [second, *rest][-1] == 49
    assert len(dropped) + 2 + len(rest) == 50


class Cuda:
    """libcudart over the computer's own memory; a graph is the context that was enqueued while it was captured."""

    def __init__(self):
        self.memory, self.captured, self.capturing = [], [], None

    def made(self, function, *arguments):
        if function == "cudaMalloc":
            self.memory.append(ctypes.create_string_buffer(b"\xff" * arguments[0], arguments[0]))
            return ctypes.addressof(self.memory[-1])
        if function == "cudaGraphInstantiateWithFlags":
            self.captured.append(self.capturing)
            return len(self.captured) - 1
        return 0

    def call(self, function, *arguments):
        if function == "cudaMemset":
            ctypes.memset(*arguments)
        elif function == "cudaMemcpyAsync":
            ctypes.memmove(*arguments[:3])
        elif function == "cudaGraphLaunch":
            self.captured[arguments[0]].compute()
        elif function == "cudaStreamBeginCapture":
            self.capturing = True

    def attribute(self, number):
        return {75: 8, 76: 6}[number]


class Context:
    """An execution context that computes with onnxruntime."""

    def __init__(self, data: bytes, cuda: Cuda) -> None:
        self.session, self.cuda, self.addresses = onnxruntime.InferenceSession(data), cuda, {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in {value.name for value in (*self.session.get_inputs(), *self.session.get_outputs())}

    def execute_async_v3(self, stream: int) -> None:
        if self.cuda.capturing is True:
            self.cuda.capturing = self
        else:
            self.compute()

    def view(self, value: dict[str, object]) -> np.ndarray:
        dtype = np.dtype(value["dtype"])
        size = int(np.prod(value["shape"])) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self.addresses[value["name"]])
        return np.frombuffer(memory, dtype).reshape(value["shape"])

    def compute(self) -> None:
        names = [value["name"] for value in OUTPUTS]
        made = self.session.run(names, {value["name"]: self.view(value) for value in INPUTS})
        for value, array in zip(OUTPUTS, made, strict=True):
            self.view(value)[...] = array


@pytest.fixture
def tensorrt(monkeypatch):
    """A stand-in for TensorRT and libcudart: engines are ONNX files."""
    cuda = Cuda()
    engine = lambda data: SimpleNamespace(create_execution_context=lambda: Context(data, cuda)) if data else None  # noqa: E731
    logger = type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None})
    runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=engine)  # noqa: E731
    fake = SimpleNamespace(Logger=logger, Runtime=runtime, __version__="0")
    monkeypatch.setattr(engine_runner, "CudaRuntime", lambda: cuda)
    monkeypatch.setattr(engine_runner, "import_runtime", lambda name: fake)


@pytest.mark.parametrize("runtime, file", [("tensorrt", "step.plan"), ("tensorrt-rtx", "engines/step-sm86.engine")])
def test_an_engine_s_state_changes_places_and_a_reset_clears_it(bundle, tensorrt, tmp_path, runtime, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / "bundle.json").write_text((bundle / "bundle.json").read_text())
    with pytest.raises(StepError, match="no engine"):
        EngineRunner(tmp_path, runtime=runtime)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(StepError, match="not an engine of this device"):
        EngineRunner(tmp_path, runtime=runtime)
    (tmp_path / file).write_bytes((bundle / "step.onnx").read_bytes())
    rollout = synthetic_rollout(SIZE, 7, reset_at=4)
    ours, theirs = OnnxRunner(bundle, threads=1), EngineRunner(tmp_path, True, runtime)
    for k, frame in enumerate(rollout.frames):
        expected, found = ours.step(frame, rollout.motion(k)), theirs.step(frame, rollout.motion(k))
        assert np.array_equal(found, expected) and np.array_equal(theirs.outputs["logits"], ours.outputs["logits"]), k
    assert not np.array_equal(expected, ours.step(frame)), "the past counts for nothing: the test shows nothing"


def test_auto_takes_an_engine_of_rtx_only_where_it_is_for_the_gpu(tensorrt, bundle, tmp_path, monkeypatch):
    """A bundle that was compiled elsewhere runs on a computer without a GPU too, whatever is installed there."""
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    options = SimpleNamespace(bundle=folder, runtime="auto", threads=1)
    monkeypatch.setattr(script, "find_spec", lambda module: module != "tensorrt")
    chosen = []
    for engine in ("sm89", "sm86"):
        (folder / "engines").mkdir(exist_ok=True)
        (folder / f"engines/step-{engine}.engine").write_bytes((bundle / "step.onnx").read_bytes())
        chosen.append(script.open_runner(options).name)
    assert chosen == ["onnxruntime", "tensorrt-rtx"]  # the GPU of the stand-in is an sm86

    monkeypatch.setattr(script, "find_spec", lambda module: True)
    (folder / "engines/step-sm86.engine").unlink()
    with pytest.raises(StepError, match="no engine yet"):  # a Jetson before build_engine.py: not the CPU silently
        script.open_runner(options)

    def nothing():
        raise StepError("libcudart is not found")

    monkeypatch.setattr(engine_runner, "CudaRuntime", nothing)
    assert script.open_runner(options).name == "onnxruntime"


def test_text_is_drawn_over_the_classes():
    shot = SimpleNamespace(image=texture(SIZE), labels=np.zeros(SIZE, np.uint8))
    table = class_maps.colour_table([(10, 20, 30)])
    plain = class_maps.blended(shot.image, shot.labels, table)
    drawn = run_camera.drawn(shot, table, "12.0 frames/s")
    changed = np.abs(drawn.astype(int) - plain).max(-1) > 0
    assert 20 < changed[:32].sum() < 32 * 96 and not changed[40:].any()
